// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReleaseId} from "./interfaces/IModelRegistry.sol";
import {IReceiptLog, PolicyId, ReceiptId} from "./interfaces/IReceiptLog.sol";
import {BatchChallenges} from "./libraries/BatchChallenges.sol";
import {Statements} from "./libraries/Statements.sol";

/// @title The receipt log; specified in docs/spec/receipt-log.md
/// @dev The order of the state variables, after those of the three bases, is part of the specification.
contract ReceiptLog is BatchChallenges {
    using Statements for Receipt;

    mapping(PolicyId => mapping(ReceiptId => uint256 amount)) private _charged;
    mapping(bytes32 commitment => uint256 blockNumber) private _announced;
    mapping(ReleaseId => mapping(address account => bytes32[])) private _attachments;

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

    // What auditors publish

    /// @inheritdoc IReceiptLog
    function attach(ReleaseId release, bytes32 digest) external {
        REGISTRY.getRelease(release);
        if (digest == 0) revert ZeroDigest();
        _attachments[release][msg.sender].push(digest);
        emit Attached(release, msg.sender, digest);
    }

    // Views

    /// @inheritdoc IReceiptLog
    function attachments(ReleaseId release, address account) external view returns (bytes32[] memory) {
        return _attachments[release][account];
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

    /// @dev The caller if it announced this very evidence in an earlier block, else nobody.
    function _reporterOf(ReceiptId a, ReceiptId b, bytes32 salt) private view returns (address) {
        uint256 announced = _announced[keccak256(abi.encode(msg.sender, a, b, salt))];
        return announced != 0 && announced < block.number ? msg.sender : address(0);
    }
}
