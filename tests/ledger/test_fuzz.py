"""What an RPC endpoint or a sender of transactions may send, mutated."""

import pytest

from tests.format.fuzzing import fuzz_in_subprocess


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", ["header", "proof", "rlp", "transaction"])
def test_fuzz_campaign(target):
    fuzz_in_subprocess(target)
