"""Fingerprints of runtimes against a slow reference."""

import pytest

from modelreg.errors import FormatError
from modelreg.format.runtime_info import RuntimeInfo
from tests.reference import trace as reference

VALID = reference.vectors("valid.json", "runtime")
REFUSED = reference.vectors("refused.json", "runtime")


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    block = bytes.fromhex(VALID[name]["hex"])
    info = RuntimeInfo.from_bytes(block)
    assert bytes(info) == block
    assert info.fingerprint.hex() == VALID[name]["digest"]
    assert info.value == reference.read("runtime", block)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    block = bytes.fromhex(REFUSED[name]["hex"])
    with pytest.raises(FormatError):
        RuntimeInfo.from_bytes(block)
    with pytest.raises(reference.Refused):
        reference.read("runtime", block)
