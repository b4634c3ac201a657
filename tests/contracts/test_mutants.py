"""Every check of the contracts is broken once; the quick tests must notice each time.

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
LOG, BONDS, POLICIES = "ReceiptLog.sol", "libraries/NodeBonds.sol", "libraries/AuditPolicies.sol"
STATEMENTS, BATCH = "libraries/Statements.sol", "libraries/BatchProof.sol"
CHALLENGES = "libraries/BatchChallenges.sol"
QUICK_TESTS = {
    "ModelRegistry": ["registry", "attacks", "storage", "vectors", "labels", "stateful"],
    "ReceiptLog": [f"receipt_log{part}" for part in ("", "_attacks", "_storage", "_stateful")],
}
# File -> (the contract that it is tested as a part of, the tests that likely notice)
PARTS = {
    REGISTRY: ("ModelRegistry", "registry"),
    LABELS: ("ModelRegistry", "labels"),
    PROOF: ("ModelRegistry", "vectors"),
    LOG: ("ReceiptLog", "receipt_log"),
    CHALLENGES: ("ReceiptLog", "receipt_log"),
    BONDS: ("ReceiptLog", "receipt_log"),
    POLICIES: ("ReceiptLog", "receipt_log"),
    STATEMENTS: ("ReceiptLog", "receipt_log_attacks"),
    BATCH: ("ReceiptLog", "receipt_log_attacks"),
}
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
    (
        REGISTRY,
        "_channels[model][channel] = activation == 0",
        "if (false) _channels[model][channel] = activation == 0",
    ),
    (REGISTRY, "activation != 0 && activation <= block.number) revert", "activation != 0 && false) revert"),
    (
        REGISTRY,
        "activation != 0 && activation <= block.number) revert",
        "activation < block.number && activation > 0) revert",
    ),
    (REGISTRY, "before.next == NO_RELEASE ? before.current : before.next", "_inForce(before)"),
    (REGISTRY, "current: _inForce(before)", "current: before.current"),
    (REGISTRY, "channel.activation <= block.number;", "channel.activation < block.number;"),
    (REGISTRY, "channel.activation != 0 && ", ""),
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
    (CHALLENGES, "count == 0 || ", ""),
    (CHALLENGES, "count == 0 || count > MAX_COUNT", "count == 0"),
    (CHALLENGES, "MAX_COUNT = 1 << 20", "MAX_COUNT = 1 << 19"),
    (CHALLENGES, "onlyIn(Status.Active)", ""),
    (CHALLENGES, "epoch == atEpoch && first == atSeq", "first == atSeq"),
    (CHALLENGES, "epoch == atEpoch && first == atSeq", "epoch == atEpoch"),
    (CHALLENGES, "epoch <= atEpoch || first != 0", "epoch < atEpoch || first != 0"),
    (CHALLENGES, "epoch <= atEpoch || first != 0", "epoch <= atEpoch"),
    (CHALLENGES, "first + count, uint40(index) + 1", "count, uint40(index) + 1"),
    (CHALLENGES, "uint40(index) + 1", "uint40(index)"),
    (CHALLENGES, "uint64(block.number), uint40(block.timestamp)", "0, uint40(block.timestamp)"),
    (LOG, "if (_announced[commitment] == 0) ", ""),
    (LOG, "a.node == b.node && ", ""),
    (LOG, " && a.epoch == b.epoch", ""),
    (LOG, " && a.seq == b.seq", ""),
    (LOG, "!samePlace || idA == idB", "!samePlace"),
    (LOG, "_requireSigned(b, signatureB)", "signatureB.length > 0 ? b.digest() : idA"),
    (LOG, "_requireSigned(a, signatureA)", "signatureA.length > 0 ? a.digest() : ReceiptId.wrap(0)"),
    (
        LOG,
        "_requireIncluded(receipt, batch, anchored, proof);",
        "if (false) _requireIncluded(receipt, batch, anchored, proof);",
    ),
    (
        CHALLENGES,
        "        _requireHolds(receipt.node, batch, receipt.epoch, receipt.seq);\n        _requireUntil",
        "        _requireUntil",
    ),
    (
        CHALLENGES,
        "        _requireHolds(node, batch, batch.epoch, seq);\n        _requireUntil",
        "        _requireUntil",
    ),
    (
        CHALLENGES,
        "        _requireUntil(batch.anchoredAt + CHALLENGE_WINDOW);\n        place = ",
        "        place = ",
    ),
    (CHALLENGES, "epoch >= NUMBER_END || ", ""),
    (CHALLENGES, " || uint256(first) + count > NUMBER_END", ""),
    (CHALLENGES, "epoch >= NUMBER_END", "epoch > NUMBER_END"),
    (CHALLENGES, "first) + count > NUMBER_END", "first) + count >= NUMBER_END"),
    (CHALLENGES, "_placeOf(receipt.node, batch.index, receipt.seq)", "receipt.digest()"),
    (CHALLENGES, "abi.encode(node, index, seq)", "abi.encode(node == address(0), index, seq)"),
    (CHALLENGES, "abi.encode(node, index, seq)", "abi.encode(node, index * 0, seq)"),
    (CHALLENGES, "abi.encode(node, index, seq)", "abi.encode(node, index, seq * 0)"),
    (
        CHALLENGES,
        "_requireSigned(receipt, signature);\n        _requireIncluded(receipt, batch, id, proof);",
        "receipt.digest();\n        _requireIncluded(receipt, batch, id, proof);",
    ),
    (
        CHALLENGES,
        "        _requireIncluded(receipt, batch, id, proof);\n        if (receipt",
        "        if (false) _requireIncluded(receipt, batch, id, proof);\n        if (receipt",
    ),
    (LOG, "        REGISTRY.getRelease(release);\n", ""),
    (LOG, "_attachments[release][msg.sender]", "_attachments[release][address(0)]"),
    (CHALLENGES, "receipt.client == address(0) || ", ""),
    (CHALLENGES, " || receipt.client == msg.sender", ""),
    (CHALLENGES, "if (!free) _requireAuditor", "if (!free && false) _requireAuditor"),
    (CHALLENGES, "++_nodes[node].openChallenges;", "if (false) ++_nodes[node].openChallenges;"),
    (CHALLENGES, "--_nodes[node].openChallenges;", "if (false) --_nodes[node].openChallenges;"),
    (CHALLENGES, "        _requireUntil(open.deadline);\n", ""),
    (
        CHALLENGES,
        "_requireIncluded(receipt, batch, id, proof);\n        bytes32 input",
        "if (false) _requireIncluded(receipt, batch, id, proof);\n        bytes32 input",
    ),
    (CHALLENGES, "bytes1(0x07)", "bytes1(0x08)"),
    (CHALLENGES, "bytes1(0x08)", "bytes1(0x07)"),
    (CHALLENGES, "input != receipt.inputCommit", "input == 0"),
    (CHALLENGES, "output != receipt.outputCommit", "output == 0"),
    (CHALLENGES, "        open.state = state;\n", "        if (false) open.state = state;\n"),
    (CHALLENGES, "_credit(winner, DEPOSIT);", "if (false) _credit(winner, DEPOSIT);"),
    (CHALLENGES, "block.timestamp <= open.deadline", "block.timestamp < open.deadline"),
    (CHALLENGES, "ChallengeState.Missed, open.challenger", "ChallengeState.Missed, node"),
    (CHALLENGES, "type(uint256).max, open.challenger", "type(uint256).max, msg.sender"),
    (LOG, "outcome != FAIL && ", ""),
    (LOG, " && outcome != WITHHELD", ""),
    (
        LOG,
        "_requireIncluded(receipt, batch, id, proof);\n        Policy",
        "if (false) _requireIncluded(receipt, batch, id, proof);\n        Policy",
    ),
    (LOG, "        _requireUntil(uint256(batch.anchoredAt) + body.deadline);\n", ""),
    (LOG, "_requireQuorum(body,", "if (false) _requireQuorum(body,"),
    (LOG, "outcome == FAIL ? body.penalty : body.withheldPenalty", "body.penalty"),
    (LOG, "_charged[policy][id] = penalty;", ""),
    (LOG, "penalty - charged, address(0)", "penalty, address(0)"),
    (LOG, "penalty - charged, address(0)", "penalty - charged, msg.sender"),
    (CHALLENGES, "_isAnchored(node, batch) && ", "(_isAnchored(node, batch) || true) && "),
    (LOG, "announced != 0 && ", ""),
    (LOG, " && announced < block.number", ""),
    (LOG, "abi.encode(msg.sender, a, b, salt)", "abi.encode(a, b, salt)"),
    (CHALLENGES, "CHALLENGE_WINDOW = 7 days", "CHALLENGE_WINDOW = 8 days"),
    (CHALLENGES, "RESPONSE_TIME = 3 days", "RESPONSE_TIME = 4 days"),
    (BONDS, "size == 0 || size > MAX_ENDPOINT", "size == 0"),
    (BONDS, "size == 0 || size > MAX_ENDPOINT", "size > MAX_ENDPOINT"),
    (BONDS, "if (status == Status.Unknown) _nodeList", "_nodeList"),
    (BONDS, "status == Status.Unknown || status == Status.Exited", "status == Status.Unknown"),
    (BONDS, "status == Status.Unknown || status == Status.Exited", "true"),
    (BONDS, "status != Status.Active && ", ""),
    (BONDS, " && status != Status.Exiting", ""),
    (BONDS, "requestExit() external onlyIn(Status.Active)", "requestExit() external"),
    (BONDS, "cancelExit() external onlyIn(Status.Exiting)", "cancelExit() external"),
    (BONDS, "exit() external onlyIn(Status.Exiting)", "exit() external"),
    (BONDS, "node.bond) = (Status.Exited, 0, 0)", "node.registeredAt) = (Status.Exited, 0, 0)"),
    (BONDS, "        _balances[msg.sender] = 0;\n", ""),
    (BONDS, "amount < bond ? amount : bond", "amount < bond ? bond : bond"),
    (BONDS, "reporter == address(0) ? 0 : ", ""),
    (BONDS, "_burned += taken - share;", "_burned += taken;"),
    (BONDS, "_nodes[node].bond = uint128(bond - taken);", ""),
    (BONDS, "= (Status.Expelled, 0)", "= (Status.Exited, 0)"),
    (BONDS, "EXIT_DELAY = 14 days", "EXIT_DELAY = 10 days"),
    (POLICIES, "0x0614547Ded824B403009604Fe8DBa1Ae664da8Fd", "0x4e59b44847b379578588920cA78FbF26c0B4956C"),
    (POLICIES, "ADMIN = 8", "ADMIN = 1"),
    (POLICIES, "_policiesOf[model].push(id);", ""),
    (POLICIES, "external onlyIn(Status.Active)", "external"),
    (POLICIES, "if (enrolment.since == 0) enrolment", "if (enrolment.until != 1) enrolment"),
    (POLICIES, "else enrolment.until = 0;", ""),
    (POLICIES, "enrolment.since == 0 || enrolment.until != 0", "enrolment.since == 0"),
    (POLICIES, "enrolment.since == 0 || enrolment.until != 0", "enrolment.until != 0"),
    (POLICIES, "verdict.outcome == 0 || ", ""),
    (POLICIES, " || verdict.outcome > WITHHELD", ""),
    (POLICIES, "_requireAuditor(policy, auditor, 0);", "if (false) _requireAuditor(policy, auditor, 0);"),
    (POLICIES, "enrolment.since != 0 && ", ""),
    (POLICIES, " && enrolment.since <= batch.anchoredAt", ""),
    (POLICIES, " || (enrolment.until != 0 && enrolment.until <= batch.anchoredAt)", ""),
    (POLICIES, "enrolment.until <= batch.anchoredAt", "enrolment.until < batch.anchoredAt"),
    (POLICIES, "next = _requireAuditor(policy, auditor, next);", "_requireAuditor(policy, auditor, next);"),
    (POLICIES, "MAX_AUDITORS = 32", "MAX_AUDITORS = 33"),
    (POLICIES, "] <= (i == 0", "] < (i == 0"),
    (POLICIES, "quorum < MIN_QUORUM || ", ""),
    (POLICIES, "quorum > size || ", ""),
    (POLICIES, " || 2 * quorum <= size", ""),
    (POLICIES, "policy.deadline == 0 || ", ""),
    (POLICIES, " || policy.deadline > MAX_DEADLINE", ""),
    (POLICIES, "MAX_DEADLINE = 13 days", "MAX_DEADLINE = 14 days"),
    (POLICIES, "        _requirePenalty(policy.penalty, policy.minimumBond);\n", ""),
    (POLICIES, "        _requirePenalty(policy.withheldPenalty, policy.minimumBond);\n", ""),
    (POLICIES, "penalty == 0 || ", ""),
    (POLICIES, " || penalty > minimumBond", " || penalty > minimumBond + penalty"),
    (POLICIES, "                    policy.terms,\n", ""),
    (POLICIES, '"modelreg/policy/1"', '"modelreg/policy/2"'),
    (STATEMENTS, "signature.length != 65 || ", ""),
    (STATEMENTS, " || uint256(bytes32(signature[32:])) > MAX_S", ""),
    (STATEMENTS, "b20a0", "b20a1"),
    (STATEMENTS, "block.chainid", "uint256(1)"),
    (STATEMENTS, "address(this))", "address(0))"),
    (BATCH, "batch.epoch == epoch && ", "(batch.epoch == epoch || true) && "),
    (BATCH, "seq >= batch.first && ", ""),
    (BATCH, " && seq - batch.first < batch.count", ""),
    (BATCH, "bytes1(0x04)", "bytes1(0x00)"),
    (BATCH, "bytes1(0x01), sibling", "bytes1(0x00), sibling"),
    (BATCH, "bytes1(0x01), top", "bytes1(0x00), top"),
    (BATCH, "bytes1(0x03), ", ""),
    (BATCH, "uint160(node)", "uint160(node) & 0"),
    (BATCH, "batch.first, uint64", "uint64"),
    (BATCH, "batch.epoch, batch.first", "batch.first"),
    (BATCH, "uint64(batch.count), top", "top"),
    (BATCH, "return taken == proof.length && ", "return "),
    (BATCH, "if (!right && index == last) continue;", ""),
]


def mutants():
    for name in PARTS:
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
    script = copy_of_contracts(tree) / "build.mjs"
    # The older way to generate code compiles in a third of the time; what is tested is the source.
    script.write_text(script.read_text().replace("viaIR: true", "viaIR: false"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for part in ("contracts", "reference", "vectors/contract"):
        shutil.copytree(ROOT / "tests" / part, tree / "tests" / part)
    shutil.copy(ROOT / "tests" / "__init__.py", tree / "tests")
    return tree


def quick_tests(tree: Path, contract: str, first: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", "not slow and not node"]
    command += [f"tests/contracts/test_{name}.py" for name in dict.fromkeys([first, *QUICK_TESTS[contract]])]
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
        contract, likely = PARTS[name]
        done = build(tree / "contracts", "--write", contract)
        assert done.returncode == 0, done.stderr
        assert quick_tests(tree, contract, likely).returncode == 1
    finally:
        source.write_text(whole)


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.parametrize("contract", QUICK_TESTS)
def test_the_whole_code_passes(tree, contract):
    assert build(tree / "contracts", "--write").returncode == 0
    done = quick_tests(tree, contract, QUICK_TESTS[contract][0])
    assert done.returncode == 0, done.stdout
