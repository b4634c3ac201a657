// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry, Label, ModelId} from "../interfaces/IModelRegistry.sol";
import {IReceiptLog, PolicyId, ReceiptId} from "../interfaces/IReceiptLog.sol";
import {Labels} from "./Labels.sol";
import {NodeBonds} from "./NodeBonds.sol";
import {Statements} from "./Statements.sol";

/// @title Who may judge which receipts; docs/spec/receipt-log.md, section 6
/// @dev The order of the state variables is part of the specification.
abstract contract AuditPolicies is NodeBonds {
    using Labels for Label;
    using Statements for Verdict;

    /// The same on every chain.
    IModelRegistry internal constant REGISTRY = IModelRegistry(0x0614547Ded824B403009604Fe8DBa1Ae664da8Fd);

    uint8 internal constant FAIL = 2;
    uint8 internal constant WITHHELD = 5;

    uint256 private constant ADMIN = 8;
    uint256 private constant MAX_AUDITORS = 32;
    /// No single auditor convicts.
    uint256 private constant MIN_QUORUM = 2;
    uint256 private constant MAX_DEADLINE = 13 days;
    bytes32 private constant POLICY_TAG = keccak256("modelreg/policy/1");

    mapping(PolicyId => Policy) internal _policies;
    mapping(ModelId => PolicyId[]) private _policiesOf;
    mapping(address node => mapping(PolicyId => Enrolment)) private _enrolments;
    mapping(bytes32 verdict => mapping(address auditor => uint256 time)) private _recorded;

    /// @inheritdoc IReceiptLog
    function createPolicy(Label namespace, string calldata name, Policy calldata policy)
        external
        returns (PolicyId id)
    {
        if (REGISTRY.roleOf(namespace, msg.sender) & ADMIN == 0) revert NotPermitted(msg.sender, ADMIN);
        ModelId model = ModelId.wrap(keccak256(abi.encodePacked(namespace.toText(), "/", name)));
        if (policy.model != model) revert WrongModel(model, policy.model);
        _requireSound(policy);
        id = _policyId(policy);
        if (_exists(id)) revert PolicyExists(id);
        _policies[id] = policy;
        _policiesOf[model].push(id);
        emit PolicyCreated(id, model, msg.sender);
    }

    /// @inheritdoc IReceiptLog
    function enrol(PolicyId policy) external onlyIn(Status.Active) {
        uint256 needed = _existing(policy).minimumBond;
        uint256 bond = _nodes[msg.sender].bond;
        if (bond < needed) revert BondTooLow(bond, needed);
        Enrolment storage enrolment = _enrolments[msg.sender][policy];
        if (enrolment.since == 0) enrolment.since = uint40(block.timestamp);
        else if (enrolment.until == 0) revert AlreadyEnrolled(policy);
        else enrolment.until = 0;
        emit Enrolled(msg.sender, policy);
    }

    /// @inheritdoc IReceiptLog
    function resign(PolicyId policy) external {
        Enrolment storage enrolment = _enrolments[msg.sender][policy];
        if (enrolment.since == 0 || enrolment.until != 0) revert NotEnrolled(msg.sender, policy);
        enrolment.until = uint40(block.timestamp) + EXIT_DELAY;
        emit Resigned(msg.sender, policy, enrolment.until);
    }

    /// @inheritdoc IReceiptLog
    function recordVerdict(Verdict calldata verdict, bytes calldata signature) external {
        if (verdict.outcome == 0 || verdict.outcome > WITHHELD) revert BadOutcome(verdict.outcome);
        Policy storage policy = _existing(verdict.policyId);
        bytes32 typed = verdict.digest();
        address auditor = Statements.signer(typed, signature);
        _requireAuditor(policy, auditor, 0);
        if (_recorded[typed][auditor] != 0) revert AlreadyRecorded(auditor);
        _recorded[typed][auditor] = block.timestamp;
        emit VerdictRecorded(
            verdict.policyId,
            verdict.receipt,
            auditor,
            verdict.node,
            verdict.outcome,
            verdict.report,
            verdict.issuedAt
        );
    }

    /// @inheritdoc IReceiptLog
    function getPolicy(PolicyId policy) external view returns (Policy memory) {
        return _existing(policy);
    }

    /// @inheritdoc IReceiptLog
    function policyCount(ModelId model) external view returns (uint256) {
        return _policiesOf[model].length;
    }

    /// @inheritdoc IReceiptLog
    function policyAt(ModelId model, uint256 index) external view returns (PolicyId) {
        return _policiesOf[model][index];
    }

    /// @inheritdoc IReceiptLog
    function getEnrolment(address node, PolicyId policy) external view returns (Enrolment memory) {
        return _enrolments[node][policy];
    }

    /// @inheritdoc IReceiptLog
    function recordedAt(bytes32 verdict, address auditor) external view returns (uint256) {
        return _recorded[verdict][auditor];
    }

    /// @inheritdoc IReceiptLog
    function verdictDigest(Verdict calldata verdict) external view returns (bytes32) {
        return verdict.digest();
    }

    /// @dev The policy is of the receipt's model, and the node was under it when it anchored the batch.
    function _requireJurisdiction(PolicyId id, Receipt calldata receipt, Batch calldata batch)
        internal
        view
        returns (Policy storage policy)
    {
        policy = _existing(id);
        Enrolment memory enrolment = _enrolments[receipt.node][id];
        bool enrolled = enrolment.since != 0 && enrolment.since <= batch.anchoredAt;
        if (!enrolled || (enrolment.until != 0 && enrolment.until <= batch.anchoredAt)) {
            revert NotEnrolled(receipt.node, id);
        }
        ModelId model = REGISTRY.getRelease(receipt.releaseId).model;
        if (model != policy.model) revert ForeignRelease(receipt.releaseId, model);
    }

    /// @dev Walks both ascending lists together, so that each auditor counts once; at most MAX_AUDITORS steps.
    function _requireQuorum(Policy storage policy, Verdict memory verdict, Vote[] calldata votes) internal view {
        uint256 quorum = policy.quorum;
        if (votes.length < quorum) revert NoQuorum(votes.length, quorum);
        uint256 next;
        for (uint256 i = 0; i < votes.length; ++i) {
            (verdict.report, verdict.issuedAt) = (votes[i].report, votes[i].issuedAt);
            address auditor = Statements.signer(verdict.digest(), votes[i].signature);
            next = _requireAuditor(policy, auditor, next);
        }
    }

    /// @dev The place after the auditor's, if that is at `from` or behind it.
    function _requireAuditor(Policy storage policy, address account, uint256 from) internal view returns (uint256) {
        uint256 size = policy.auditors.length;
        for (uint256 i = from; i < size; ++i) {
            if (policy.auditors[i] == account) return i + 1;
        }
        revert NotAuditor(account);
    }

    function _requireSound(Policy calldata policy) private pure {
        uint256 size = policy.auditors.length;
        if (size > MAX_AUDITORS) revert BadAuditors();
        for (uint256 i = 0; i < size; ++i) {
            if (policy.auditors[i] <= (i == 0 ? address(0) : policy.auditors[i - 1])) revert BadAuditors();
        }
        uint256 quorum = policy.quorum;
        if (quorum < MIN_QUORUM || quorum > size || 2 * quorum <= size) revert BadQuorum(quorum, size);
        if (policy.deadline == 0 || policy.deadline > MAX_DEADLINE) revert BadDeadline(policy.deadline);
        _requirePenalty(policy.penalty, policy.minimumBond);
        _requirePenalty(policy.withheldPenalty, policy.minimumBond);
    }

    function _requirePenalty(uint128 penalty, uint128 minimumBond) private pure {
        if (penalty == 0 || penalty > minimumBond) revert BadPenalty();
    }

    function _policyId(Policy calldata policy) private pure returns (PolicyId) {
        return PolicyId.wrap(
            keccak256(
                abi.encode(
                    POLICY_TAG,
                    policy.model,
                    policy.terms,
                    policy.penalty,
                    policy.withheldPenalty,
                    policy.minimumBond,
                    policy.deadline,
                    policy.quorum,
                    keccak256(abi.encodePacked(policy.auditors))
                )
            )
        );
    }

    function _existing(PolicyId id) private view returns (Policy storage) {
        if (!_exists(id)) revert UnknownPolicy(id);
        return _policies[id];
    }

    function _exists(PolicyId id) private view returns (bool) {
        return _policies[id].quorum != 0;
    }
}
