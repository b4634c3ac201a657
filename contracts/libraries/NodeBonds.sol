// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReceiptLog} from "../interfaces/IReceiptLog.sol";

/// @title Nodes, their bonds and what accounts may withdraw; docs/spec/receipt-log.md, section 2
/// @dev The order of the state variables is part of the specification.
abstract contract NodeBonds is IReceiptLog {
    /// Longer than any evidence takes that a judge weighs.
    uint40 internal constant EXIT_DELAY = 14 days;

    uint256 private constant MAX_ENDPOINT = 256;
    /// Who brings evidence gets one part in so many.
    uint256 private constant REPORTER_PARTS = 10;

    mapping(address node => Node) internal _nodes;
    address[] private _nodeList;
    mapping(address account => uint256) private _balances;
    uint256 private _burned;

    modifier onlyIn(Status needed) {
        _requireStatus(msg.sender, needed);
        _;
    }

    /// @inheritdoc IReceiptLog
    function register(string calldata endpoint) external payable {
        Node storage node = _nodes[msg.sender];
        Status status = node.status;
        if (status == Status.Expelled) revert WrongStatus(msg.sender, status);
        uint256 size = bytes(endpoint).length;
        if (size == 0 || size > MAX_ENDPOINT) revert BadEndpoint(size);
        if (status == Status.Unknown) _nodeList.push(msg.sender);
        if (status == Status.Unknown || status == Status.Exited) {
            (node.status, node.registeredAt) = (Status.Active, uint40(block.timestamp));
        }
        node.endpoint = endpoint;
        emit Registered(msg.sender, endpoint);
        if (msg.value > 0) _addToBond(msg.sender);
    }

    /// @inheritdoc IReceiptLog
    function topUp(address node) external payable {
        Status status = _nodes[node].status;
        if (status != Status.Active && status != Status.Exiting) revert WrongStatus(node, status);
        _addToBond(node);
    }

    /// @inheritdoc IReceiptLog
    function requestExit() external onlyIn(Status.Active) {
        Node storage node = _nodes[msg.sender];
        (node.status, node.exitableAt) = (Status.Exiting, uint40(block.timestamp) + EXIT_DELAY);
        emit ExitRequested(msg.sender, node.exitableAt);
    }

    /// @inheritdoc IReceiptLog
    function cancelExit() external onlyIn(Status.Exiting) {
        Node storage node = _nodes[msg.sender];
        (node.status, node.exitableAt) = (Status.Active, 0);
        emit ExitCancelled(msg.sender);
    }

    /// @inheritdoc IReceiptLog
    function exit() external onlyIn(Status.Exiting) {
        Node storage node = _nodes[msg.sender];
        if (block.timestamp < node.exitableAt) revert TooEarly(node.exitableAt);
        if (node.openChallenges > 0) revert ChallengesOpen(node.openChallenges);
        uint256 bond = node.bond;
        (node.status, node.exitableAt, node.bond) = (Status.Exited, 0, 0);
        _credit(msg.sender, bond);
        emit Exited(msg.sender, bond);
    }

    /// @inheritdoc IReceiptLog
    function withdraw() external {
        uint256 amount = _balances[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        _balances[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        (bool taken,) = msg.sender.call{value: amount}("");
        if (!taken) revert TransferFailed();
    }

    /// @inheritdoc IReceiptLog
    function getNode(address node) external view returns (Node memory) {
        return _nodes[node];
    }

    /// @inheritdoc IReceiptLog
    function nodeCount() external view returns (uint256) {
        return _nodeList.length;
    }

    /// @inheritdoc IReceiptLog
    function nodeAt(uint256 index) external view returns (address) {
        return _nodeList[index];
    }

    /// @inheritdoc IReceiptLog
    function balanceOf(address account) external view returns (uint256) {
        return _balances[account];
    }

    /// @inheritdoc IReceiptLog
    function burned() external view returns (uint256) {
        return _burned;
    }

    function _requireStatus(address account, Status needed) internal view {
        Status status = _nodes[account].status;
        if (status != needed) revert WrongStatus(account, status);
    }

    /// @dev Takes at most the bond; a reporter of zero has no share.
    function _slash(address node, uint256 amount, address reporter) internal {
        uint256 bond = _nodes[node].bond;
        uint256 taken = amount < bond ? amount : bond;
        uint256 share = reporter == address(0) ? 0 : taken / REPORTER_PARTS;
        _nodes[node].bond = uint128(bond - taken);
        _credit(reporter, share);
        _burned += taken - share;
        emit Slashed(node, taken, reporter, share);
    }

    /// @dev For good: a key that contradicted itself answers for nothing any more.
    function _expel(address node, address reporter) internal {
        Status status = _nodes[node].status;
        if (status == Status.Expelled) revert WrongStatus(node, status);
        (_nodes[node].status, _nodes[node].exitableAt) = (Status.Expelled, 0);
        _slash(node, type(uint256).max, reporter);
    }

    function _credit(address account, uint256 amount) internal {
        if (amount > 0) _balances[account] += amount;
    }

    /// @dev No chain has 2^128 wei to send.
    function _addToBond(address node) private {
        _nodes[node].bond += uint128(msg.value);
        emit BondAdded(node, msg.value, msg.sender);
    }
}
