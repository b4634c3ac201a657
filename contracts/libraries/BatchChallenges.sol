// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReceiptLog, PolicyId, ReceiptId} from "../interfaces/IReceiptLog.sol";
import {AuditPolicies} from "./AuditPolicies.sol";
import {BatchProof} from "./BatchProof.sol";
import {Statements} from "./Statements.sol";

/// @title Anchored batches and what nodes owe of them; docs/spec/receipt-log.md, sections 3 and 5
/// @dev The order of the state variables is part of the specification.
abstract contract BatchChallenges is AuditPolicies {
    using BatchProof for Batch;
    using Statements for Receipt;

    uint16 private constant SCHEMA = 1;
    uint256 private constant MAX_COUNT = 1 << 20;
    /// Readers take no number from here on.
    uint256 private constant NUMBER_END = 1 << 53;
    uint256 private constant DEPOSIT = 0.01 ether;
    uint256 private constant CHALLENGE_WINDOW = 7 days;
    uint40 private constant RESPONSE_TIME = 3 days;

    mapping(address node => mapping(uint256 index => bytes32)) private _batches;
    mapping(ReceiptId => Challenge) private _challenges;

    // Anchoring

    /// @inheritdoc IReceiptLog
    function anchor(uint64 epoch, uint64 first, uint32 count, bytes32 root)
        external
        onlyIn(Status.Active)
        returns (uint64 index)
    {
        if (count == 0 || count > MAX_COUNT) revert BadCount(count);
        if (epoch >= NUMBER_END || uint256(first) + count > NUMBER_END) revert NumberTooLarge();
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

    // Challenges

    /// @inheritdoc IReceiptLog
    function challenge(Receipt calldata receipt, bytes calldata signature, Batch calldata batch, PolicyId policy)
        external
        payable
        returns (ReceiptId id)
    {
        _requireDeposit();
        id = _requireSigned(receipt, signature);
        _requireHolds(receipt.node, batch, receipt.epoch, receipt.seq);
        _requireUntil(batch.anchoredAt + CHALLENGE_WINDOW);
        bool free = receipt.client == address(0) || receipt.client == msg.sender;
        if (!free) _requireAuditor(_requireJurisdiction(policy, receipt, batch), msg.sender, 0);
        emit Challenged(receipt.node, id, msg.sender, _openChallenge(id, receipt.node));
    }

    /// @inheritdoc IReceiptLog
    function respond(
        Receipt calldata receipt,
        Opening calldata opening,
        Batch calldata batch,
        bytes32[] calldata proof
    ) external {
        ReceiptId id = receipt.digest();
        Challenge storage open = _requireAnswerable(id);
        _requireIncluded(receipt, batch, id, proof);
        bytes32 input = keccak256(abi.encodePacked(bytes1(0x07), opening.inputSalt, opening.inputValues));
        bytes32 output = keccak256(abi.encodePacked(bytes1(0x08), opening.outputSalt, opening.outputValues));
        if (input != receipt.inputCommit || output != receipt.outputCommit) revert BadOpening();
        _close(open, receipt.node, ChallengeState.Answered, receipt.node);
        emit Answered(receipt.node, id, opening);
    }

    /// @inheritdoc IReceiptLog
    function slashTimeout(Receipt calldata receipt) external {
        ReceiptId id = receipt.digest();
        Challenge storage open = _requireOverdue(id);
        emit Missed(receipt.node, id);
        _slashOverdue(open, receipt.node);
    }

    /// @inheritdoc IReceiptLog
    function challengePlace(address node, Batch calldata batch, uint64 seq)
        external
        payable
        returns (ReceiptId place)
    {
        _requireDeposit();
        _requireHolds(node, batch, batch.epoch, seq);
        _requireUntil(batch.anchoredAt + CHALLENGE_WINDOW);
        place = _placeOf(node, batch.index, seq);
        emit PlaceChallenged(node, batch.index, seq, msg.sender, _openChallenge(place, node));
    }

    /// @inheritdoc IReceiptLog
    function respondPlace(
        Receipt calldata receipt,
        bytes calldata signature,
        Batch calldata batch,
        bytes32[] calldata proof
    ) external {
        Challenge storage open = _requireAnswerable(_placeOf(receipt.node, batch.index, receipt.seq));
        ReceiptId id = _requireSigned(receipt, signature);
        _requireIncluded(receipt, batch, id, proof);
        if (receipt.issuedAt >= NUMBER_END) revert NumberTooLarge();
        _close(open, receipt.node, ChallengeState.Answered, receipt.node);
        emit PlaceAnswered(receipt.node, id, receipt, signature);
    }

    /// @inheritdoc IReceiptLog
    function slashPlaceTimeout(address node, uint64 index, uint64 seq) external {
        Challenge storage open = _requireOverdue(_placeOf(node, index, seq));
        emit PlaceMissed(node, index, seq);
        _slashOverdue(open, node);
    }

    // Views

    /// @inheritdoc IReceiptLog
    function batchHash(address node, uint64 index) external view returns (bytes32) {
        return _batches[node][index];
    }

    /// @inheritdoc IReceiptLog
    function getChallenge(ReceiptId id) external view returns (Challenge memory) {
        return _challenges[id];
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

    // Checks

    function _requireDeposit() private view {
        if (msg.value != DEPOSIT) revert WrongDeposit(msg.value, DEPOSIT);
    }

    function _requireSigned(Receipt calldata receipt, bytes calldata signature) internal view returns (ReceiptId id) {
        if (receipt.schema != SCHEMA) revert BadSchema(receipt.schema);
        id = receipt.digest();
        address signer = Statements.signer(ReceiptId.unwrap(id), signature);
        if (signer != receipt.node) revert WrongSigner(receipt.node, signer);
    }

    function _isAnchored(address node, Batch calldata batch) private view returns (bool) {
        return _batches[node][batch.index] == keccak256(abi.encode(batch));
    }

    /// @dev The node anchored the batch, and the batch has the place.
    function _requireHolds(address node, Batch calldata batch, uint64 epoch, uint64 seq) private view {
        if (!_isAnchored(node, batch)) revert UnknownBatch(node, batch.index);
        if (!batch.holds(epoch, seq)) revert OutsideBatch(epoch, seq);
    }

    /// @dev The batch holds the digest `id` at the receipt's place.
    function _requireIncluded(
        Receipt calldata receipt,
        Batch calldata batch,
        ReceiptId id,
        bytes32[] calldata proof
    ) internal view {
        _requireHolds(receipt.node, batch, receipt.epoch, receipt.seq);
        if (!batch.isIncluded(receipt.node, id, receipt.seq, proof)) revert BadProof();
    }

    function _requireUntil(uint256 end) internal view {
        if (block.timestamp > end) revert TooLate(end);
    }

    function _requireOpen(ReceiptId id) private view returns (Challenge storage open) {
        open = _challenges[id];
        if (open.state != ChallengeState.Open) revert NoOpenChallenge(id);
    }

    function _requireAnswerable(ReceiptId id) private view returns (Challenge storage open) {
        open = _requireOpen(id);
        _requireUntil(open.deadline);
    }

    function _requireOverdue(ReceiptId id) private view returns (Challenge storage open) {
        open = _requireOpen(id);
        if (block.timestamp <= open.deadline) revert TooEarly(uint256(open.deadline) + 1);
    }

    // What a challenge goes through

    /// @dev Three words, where a digest is over 66 bytes: a place is never taken for a receipt.
    function _placeOf(address node, uint64 index, uint64 seq) private pure returns (ReceiptId) {
        return ReceiptId.wrap(keccak256(abi.encode(node, index, seq)));
    }

    function _openChallenge(ReceiptId id, address node) private returns (uint40 deadline) {
        if (_challenges[id].state != ChallengeState.None) revert AlreadyChallenged(id);
        deadline = uint40(block.timestamp) + RESPONSE_TIME;
        _challenges[id] = Challenge(msg.sender, deadline, ChallengeState.Open);
        ++_nodes[node].openChallenges;
    }

    function _close(Challenge storage open, address node, ChallengeState state, address winner) private {
        open.state = state;
        --_nodes[node].openChallenges;
        _credit(winner, DEPOSIT);
    }

    function _slashOverdue(Challenge storage open, address node) private {
        _close(open, node, ChallengeState.Missed, open.challenger);
        _slash(node, type(uint256).max, open.challenger);
    }
}
