// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReceiptLog, PolicyId, ReceiptId} from "./interfaces/IReceiptLog.sol";
import {AuditPolicies} from "./libraries/AuditPolicies.sol";
import {BatchProof} from "./libraries/BatchProof.sol";
import {Statements} from "./libraries/Statements.sol";

/// @title The receipt log; specified in docs/spec/receipt-log.md
/// @dev The order of the state variables, after those of the two bases, is part of the specification.
contract ReceiptLog is AuditPolicies {
    using BatchProof for Batch;
    using Statements for Receipt;

    uint16 private constant SCHEMA = 1;
    uint256 private constant MAX_COUNT = 1 << 20;
    uint256 private constant DEPOSIT = 0.01 ether;
    uint256 private constant CHALLENGE_WINDOW = 7 days;
    uint40 private constant RESPONSE_TIME = 3 days;

    mapping(address node => mapping(uint256 index => bytes32)) private _batches;
    mapping(ReceiptId => Challenge) private _challenges;
    mapping(PolicyId => mapping(ReceiptId => uint256 amount)) private _charged;
    mapping(bytes32 commitment => uint256 blockNumber) private _announced;

    // Anchoring

    /// @inheritdoc IReceiptLog
    function anchor(uint64 epoch, uint64 first, uint32 count, bytes32 root)
        external
        onlyIn(Status.Active)
        returns (uint64 index)
    {
        if (count == 0 || count > MAX_COUNT) revert BadCount(count);
        if (root == 0) revert ZeroRoot();
        Node storage node = _nodes[msg.sender];
        (uint64 atEpoch, uint64 atSeq) = (node.epoch, node.nextSeq);
        bool goesOn = epoch == atEpoch && first == atSeq;
        if (!goesOn && (epoch <= atEpoch || first != 0)) revert OutOfSequence(atEpoch, atSeq);
        index = node.batches;
        (node.epoch, node.nextSeq, node.batches) = (epoch, first + count, uint40(index) + 1);
        Batch memory batch =
            Batch(index, epoch, first, count, root, uint64(block.number), uint40(block.timestamp));
        _batches[msg.sender][index] = keccak256(abi.encode(batch));
        emit Anchored(msg.sender, epoch, index, first, count, root);
    }

    // Evidence that needs no judge

    /// @inheritdoc IReceiptLog
    function announce(bytes32 commitment) external {
        if (_announced[commitment] == 0) _announced[commitment] = block.number;
        emit Announced(commitment);
    }

    /// @inheritdoc IReceiptLog
    function slashEquivocation(
        Receipt calldata a,
        bytes calldata signatureA,
        Receipt calldata b,
        bytes calldata signatureB,
        bytes32 salt
    ) external {
        ReceiptId idA = _requireSigned(a, signatureA);
        ReceiptId idB = _requireSigned(b, signatureB);
        bool samePlace = a.node == b.node && a.epoch == b.epoch && a.seq == b.seq;
        if (!samePlace || idA == idB) revert NoContradiction();
        emit Equivocated(a.node, a.epoch, a.seq, idA, idB);
        _expel(a.node, _reporterOf(idA, idB, salt));
    }

    /// @inheritdoc IReceiptLog
    function slashMisanchored(
        Receipt calldata receipt,
        bytes calldata signature,
        Batch calldata batch,
        ReceiptId anchored,
        bytes32[] calldata proof,
        bytes32 salt
    ) external {
        ReceiptId id = _requireSigned(receipt, signature);
        if (id == anchored) revert NoContradiction();
        _requireIncluded(receipt, batch, anchored, proof);
        emit Misanchored(receipt.node, receipt.epoch, receipt.seq, id, anchored);
        _expel(receipt.node, _reporterOf(id, anchored, salt));
    }

    // Challenges

    /// @inheritdoc IReceiptLog
    function challenge(Receipt calldata receipt, bytes calldata signature, Batch calldata batch, PolicyId policy)
        external
        payable
        returns (ReceiptId id)
    {
        if (msg.value != DEPOSIT) revert WrongDeposit(msg.value, DEPOSIT);
        id = _requireSigned(receipt, signature);
        _requireHolds(receipt, batch);
        _requireUntil(batch.anchoredAt + CHALLENGE_WINDOW);
        bool free = receipt.client == address(0) || receipt.client == msg.sender;
        if (!free) _requireAuditor(_requireJurisdiction(policy, receipt, batch), msg.sender, 0);
        if (_challenges[id].state != ChallengeState.None) revert AlreadyChallenged(id);
        uint40 deadline = uint40(block.timestamp) + RESPONSE_TIME;
        _challenges[id] = Challenge(msg.sender, deadline, ChallengeState.Open);
        ++_nodes[receipt.node].openChallenges;
        emit Challenged(receipt.node, id, msg.sender, deadline);
    }

    /// @inheritdoc IReceiptLog
    function respond(
        Receipt calldata receipt,
        Opening calldata opening,
        Batch calldata batch,
        bytes32[] calldata proof
    ) external {
        (ReceiptId id, Challenge storage open) = _openChallenge(receipt);
        _requireUntil(open.deadline);
        _requireIncluded(receipt, batch, id, proof);
        bytes32 input = keccak256(abi.encodePacked(bytes1(0x07), opening.inputSalt, opening.inputValues));
        bytes32 output = keccak256(abi.encodePacked(bytes1(0x08), opening.outputSalt, opening.outputValues));
        if (input != receipt.inputCommit || output != receipt.outputCommit) revert BadOpening();
        open.state = ChallengeState.Answered;
        --_nodes[receipt.node].openChallenges;
        _credit(receipt.node, DEPOSIT);
        emit Answered(receipt.node, id, opening);
    }

    /// @inheritdoc IReceiptLog
    function slashTimeout(Receipt calldata receipt) external {
        (ReceiptId id, Challenge storage open) = _openChallenge(receipt);
        if (block.timestamp <= open.deadline) revert TooEarly(uint256(open.deadline) + 1);
        open.state = ChallengeState.Missed;
        --_nodes[receipt.node].openChallenges;
        _credit(open.challenger, DEPOSIT);
        emit Missed(receipt.node, id);
        _slash(receipt.node, type(uint256).max, open.challenger);
    }

    // Verdicts

    /// @inheritdoc IReceiptLog
    function slashByQuorum(
        PolicyId policy,
        uint8 outcome,
        Receipt calldata receipt,
        Batch calldata batch,
        bytes32[] calldata proof,
        Vote[] calldata votes
    ) external {
        if (outcome != FAIL && outcome != WITHHELD) revert BadOutcome(outcome);
        ReceiptId id = receipt.digest();
        _requireIncluded(receipt, batch, id, proof);
        Policy storage body = _requireJurisdiction(policy, receipt, batch);
        _requireUntil(uint256(batch.anchoredAt) + body.deadline);
        _requireQuorum(body, Verdict(policy, id, receipt.node, outcome, 0, 0), votes);
        uint256 penalty = outcome == FAIL ? body.penalty : body.withheldPenalty;
        uint256 charged = _charged[policy][id];
        if (penalty <= charged) revert AlreadyJudged(id);
        _charged[policy][id] = penalty;
        emit Judged(policy, id, receipt.node, outcome);
        _slash(receipt.node, penalty - charged, address(0));
    }

    // Views

    /// @inheritdoc IReceiptLog
    function batchHash(address node, uint64 index) external view returns (bytes32) {
        return _batches[node][index];
    }

    /// @inheritdoc IReceiptLog
    function getChallenge(ReceiptId receipt) external view returns (Challenge memory) {
        return _challenges[receipt];
    }

    /// @inheritdoc IReceiptLog
    function chargedFor(PolicyId policy, ReceiptId receipt) external view returns (uint256) {
        return _charged[policy][receipt];
    }

    /// @inheritdoc IReceiptLog
    function announcedIn(bytes32 commitment) external view returns (uint256) {
        return _announced[commitment];
    }

    /// @inheritdoc IReceiptLog
    function provesReceipt(
        address node,
        Batch calldata batch,
        ReceiptId receipt,
        uint64 seq,
        bytes32[] calldata proof
    ) external view returns (bool) {
        return _isAnchored(node, batch) && batch.isIncluded(node, receipt, seq, proof);
    }

    /// @inheritdoc IReceiptLog
    function receiptDigest(Receipt calldata receipt) external view returns (ReceiptId) {
        return receipt.digest();
    }

    /// @inheritdoc IReceiptLog
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        // Name, version, chain id and contract: the four lowest bits.
        return (0x0f, Statements.NAME, Statements.VERSION, block.chainid, address(this), 0, new uint256[](0));
    }

    // Checks

    function _requireSigned(Receipt calldata receipt, bytes calldata signature) private view returns (ReceiptId id) {
        if (receipt.schema != SCHEMA) revert BadSchema(receipt.schema);
        id = receipt.digest();
        address signer = Statements.signer(ReceiptId.unwrap(id), signature);
        if (signer != receipt.node) revert WrongSigner(receipt.node, signer);
    }

    function _isAnchored(address node, Batch calldata batch) private view returns (bool) {
        return _batches[node][batch.index] == keccak256(abi.encode(batch));
    }

    /// @dev The receipt's node anchored the batch, and the batch has the receipt's place.
    function _requireHolds(Receipt calldata receipt, Batch calldata batch) private view {
        if (!_isAnchored(receipt.node, batch)) revert UnknownBatch(receipt.node, batch.index);
        if (!batch.holds(receipt.epoch, receipt.seq)) revert OutsideBatch(receipt.epoch, receipt.seq);
    }

    /// @dev The batch holds the digest `id` at the receipt's place.
    function _requireIncluded(
        Receipt calldata receipt,
        Batch calldata batch,
        ReceiptId id,
        bytes32[] calldata proof
    ) private view {
        _requireHolds(receipt, batch);
        if (!batch.isIncluded(receipt.node, id, receipt.seq, proof)) revert BadProof();
    }

    function _requireUntil(uint256 end) private view {
        if (block.timestamp > end) revert TooLate(end);
    }

    function _openChallenge(Receipt calldata receipt) private view returns (ReceiptId id, Challenge storage open) {
        id = receipt.digest();
        open = _challenges[id];
        if (open.state != ChallengeState.Open) revert NoOpenChallenge(id);
    }

    /// @dev The caller if it announced this very evidence in an earlier block, else nobody.
    function _reporterOf(ReceiptId a, ReceiptId b, bytes32 salt) private view returns (address) {
        uint256 announced = _announced[keccak256(abi.encode(msg.sender, a, b, salt))];
        return announced != 0 && announced < block.number ? msg.sender : address(0);
    }
}
