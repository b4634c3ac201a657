"""Manifests that were changed somewhere are refused, or read as the slow reference reads them."""

import re
import subprocess
import sys

import pytest

from modelreg.errors import FormatError
from tests.format.fuzzing import MEMORY_MB, ROOT, SECONDS
from tests.format.manifest_campaign import check_bytes, check_structure
from tests.format.test_manifest import VALID, from_json, read, release_of


@pytest.mark.parametrize("start", range(0, 1200, 100))
def test_mutations_of_structure_are_read_as_by_the_reference(start):
    accepted = sum(check_structure(seed) for seed in range(start, start + 100))
    assert 0 < accepted < 100


@pytest.mark.parametrize("start", range(0, 800, 200))
def test_mutations_of_bytes_are_read_as_by_the_reference(start):
    for seed in range(start, start + 200):
        check_bytes(seed)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_fuzz_manifests():
    command = [sys.executable, "-m", "tests.format.manifest_campaign", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    count, peak = map(int, re.search(r"manifests (\d+),.*peak (\d+) MB", done.stdout).groups())
    assert count > 20 * SECONDS
    assert peak < MEMORY_MB


def test_every_cut_and_every_changed_byte_of_a_node_is_noticed():
    root, blocks = from_json(VALID["several files, tensors and bases"])
    sealed = release_of(read(root, blocks))
    for cid, data in blocks.items():
        if cid == root:
            continue
        for place in range(0, len(data), 3):
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            try:
                found = read(root, blocks | {cid: changed})
            except (FormatError, KeyError):
                continue
            # The store checks blocks against links; even without it the content root holds the plaintext.
            assert [row[:2] for file in release_of(found)["files"] for row in file["rows"]] == [
                row[:2] for file in sealed["files"] for row in file["rows"]
            ]
