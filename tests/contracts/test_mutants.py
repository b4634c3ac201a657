"""Every check of the contract is broken once; the quick tests must notice each time.

Gas is left out, since it notices any change. Needs `npm ci` in contracts/; takes some minutes.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.abi import ROOT
from tests.contracts.test_build import CONTRACTS, build, copy_of_contracts

REGISTRY, LABELS, PROOF = "ModelRegistry.sol", "libraries/Labels.sol", "libraries/ContentProof.sol"
QUICK_TESTS = ["registry", "attacks", "storage", "vectors", "labels", "stateful"]
LIKELY = {REGISTRY: "registry", LABELS: "labels", PROOF: "vectors"}
GUARD = re.compile(r"if \((?P<condition>.*)\) (?=revert|return false)")

# (file, text that occurs once, what stands there instead)
EDITS = [
    (REGISTRY, "pendingOwner: address(0)", "pendingOwner: before.pendingOwner"),
    (REGISTRY, "onlyWith(OWNER, namespace)", "onlyWith(ADMIN, namespace)"),
    (REGISTRY, "onlyWith(ADMIN, namespace)", "onlyWith(PUBLISH, namespace)"),
    (REGISTRY, "onlyWith(PUBLISH, namespace)", "onlyWith(YANK, namespace)"),
    (REGISTRY, "_requireRole(YANK,", "_requireRole(PUBLISH,"),
    (REGISTRY, "_requireRole(CHANNEL,", "_requireRole(PUBLISH,"),
    (REGISTRY, "_requireRole(role, namespace);", ""),
    (REGISTRY, "contentRoot == 0 || ", ""),
    (REGISTRY, " || manifestDigest == 0", ""),
    (REGISTRY, "manifestHash != BLAKE3 && ", ""),
    (REGISTRY, " && manifestHash != SHA2_256", ""),
    (REGISTRY, "_heads[model][branch] = release;", ""),
    (REGISTRY, "_versions[model][version] = release;", "if (false) _versions[model][version] = release;"),
    (REGISTRY, "_releases[release] = body;", ""),
    (REGISTRY, "_channels[model][channel] = release;", ""),
    (REGISTRY, "_yankReasons[release] = reason;", ""),
    (REGISTRY, "_modelIds.push(model);", ""),
    (REGISTRY, "_models[model].branches.push(branch);", "_models[model].branches.push();"),
    (REGISTRY, "_models[model].channels.push(channel);", ""),
    (REGISTRY, "body.yanked = true;", ""),
    (REGISTRY, "size == 0 || size > MAX_REASON", "size > MAX_REASON"),
    (REGISTRY, "size == 0 || size > MAX_REASON", "size == 0"),
    (REGISTRY, "MAX_REASON = 256", "MAX_REASON = 255"),
    (REGISTRY, "} else if (current != parent) {", "} else if (false) {"),
    (REGISTRY, ".seq + 1", ".seq"),
    (REGISTRY, '"modelreg/release/1"', '"modelreg/release/2"'),
    (REGISTRY, "account == owner && owner != address(0)", "account == owner"),
    (REGISTRY, "grant.underOwner == owner ?", "grant.underOwner == owner || true ?"),
    (REGISTRY, "grant.underOwner == owner ?", "grant.underOwner == owner && false ?"),
    (REGISTRY, "& ADMIN != 0", "& CHANNEL != 0"),
    (REGISTRY, "(_granted(namespace, account, owner) ^ roles)", "roles"),
    (REGISTRY, "uint40(block.timestamp)", "uint40(block.number)"),
    (LABELS, "isBranch(label) && !isVersion(label)", "isBranch(label)"),
    (LABELS, "MAX_NAME = 96", "MAX_NAME = 97"),
    (LABELS, "size == 0 || size > MAX_NAME", "size > MAX_NAME"),
    (LABELS, ' || (c == "." && last == ".")', ""),
    (LABELS, "_in(LOWER | UPPER | DIGITS, text[0]) && ", ""),
    (LABELS, " && _in(LOWER | UPPER | DIGITS, last)", ""),
    (LABELS, "i == start || ", ""),
    (LABELS, "leadingZero && part != BUILD", "leadingZero && false"),
    (LABELS, "leadingZero && part != BUILD", "leadingZero"),
    (LABELS, "numeric && i > start + 1", "i > start + 1"),
    (LABELS, "i > start + 1", "i > start"),
    (LABELS, "part >= PATCH && text << (8 * i) == 0", "part >= PATCH"),
    (LABELS, "part >= PATCH && text << (8 * i) == 0", "text << (8 * i) == 0"),
    (LABELS, "part >= PRERELEASE && _in", "part >= PATCH && _in"),
    (LABELS, "            numeric = true;\n", ""),
    (LABELS, "part < PATCH ? part + MINOR : part == PATCH ? 0 : part", "part < PATCH ? part + MINOR : part"),
    (LABELS, "part == PATCH ? PRERELEASE : 0", "PRERELEASE"),
    (LABELS, "part == PATCH || part == PRERELEASE ? BUILD : 0", "part == PATCH ? BUILD : 0"),
    (LABELS, "part == PATCH || part == PRERELEASE ? BUILD : 0", "BUILD"),
    (LABELS, "_in(ends, text[0]) && ", ""),
    (LABELS, "_in(ends, text[size - 1]) && ", ""),
    (LABELS, " && text << (8 * size) == 0", ""),
    (LABELS, 'word[size] != "/"', 'word[size] != "m"'),
    (LABELS, "(256 - 8 * size)", "(248 - 8 * size)"),
    (PROOF, "bytes1(0x00)", "bytes1(0x01)"),
    (PROOF, "bytes1(0x01), proof[i]", "bytes1(0x00), proof[i]"),
    (PROOF, "bytes1(0x01), top", "bytes1(0x00), top"),
    (PROOF, "bytes1(0x02), ", ""),
    (PROOF, "leaf.pathHash, ", ""),
    (PROOF, "leaf.offset, ", ""),
    (PROOF, "leaf.length, ", ""),
    (PROOF, "leaf.hashCode, ", ""),
    (PROOF, "leaf.hashCode, count, ", "leaf.hashCode, "),
    (PROOF, "right || node == last", "right"),
    (PROOF, "!right && node == last && node & 1 == 0", "false"),
    (PROOF, "return last == 0 && ", "return "),
]


def mutants():
    for name in (REGISTRY, LABELS, PROOF):
        text = (CONTRACTS / name).read_text()
        for guard in GUARD.finditer(text):
            changed = f"if (false && ({guard['condition']})) "
            yield pytest.param(name, guard.start(), guard[0], changed, id=f"{name}: {guard[0]}")
    for name, before, after in EDITS:
        text = (CONTRACTS / name).read_text()
        yield pytest.param(name, text.find(before), before, after, id=f"{name}: {before} -> {after}")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The contracts and their tests, to be broken."""
    tree = tmp_path_factory.mktemp("mutants")
    copy_of_contracts(tree)
    shutil.copy(ROOT / "pyproject.toml", tree)
    for part in ("contracts", "reference", "vectors/contract"):
        shutil.copytree(ROOT / "tests" / part, tree / "tests" / part)
    shutil.copy(ROOT / "tests" / "__init__.py", tree / "tests")
    return tree


def quick_tests(tree: Path, first: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", "not slow and not node"]
    command += [f"tests/contracts/test_{name}.py" for name in dict.fromkeys([first, *QUICK_TESTS])]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.parametrize(("name", "place", "before", "after"), list(mutants()))
def test_a_broken_check_is_noticed(tree, name, place, before, after):
    source = tree / "contracts" / name
    whole = source.read_text()
    assert place >= 0, "the source has changed: mend this list"
    source.write_text(whole[:place] + after + whole[place + len(before) :])
    try:
        done = build(tree / "contracts", "--write")
        assert done.returncode == 0, done.stderr
        assert quick_tests(tree, LIKELY[name]).returncode == 1
    finally:
        source.write_text(whole)


@pytest.mark.slow
@pytest.mark.node
def test_the_whole_code_passes(tree):
    assert build(tree / "contracts", "--write").returncode == 0
    done = quick_tests(tree, QUICK_TESTS[0])
    assert done.returncode == 0, done.stdout
