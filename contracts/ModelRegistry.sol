// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry, Label, ModelId, NO_RELEASE, ReleaseId} from "./interfaces/IModelRegistry.sol";
import {ContentProof} from "./libraries/ContentProof.sol";
import {Labels} from "./libraries/Labels.sol";

/// @title The registry; specified in docs/spec/contract.md
/// @dev The order of the state variables is part of the specification: readers prove them slot by slot.
contract ModelRegistry is IModelRegistry {
    using Labels for Label;
    using Labels for string;

    uint256 private constant PUBLISH = 1;
    uint256 private constant YANK = 2;
    uint256 private constant CHANNEL = 4;
    uint256 private constant ADMIN = 8;
    uint256 private constant GRANTABLE = PUBLISH | YANK | CHANNEL | ADMIN;
    /// Never stored: it stands for being the owner.
    uint256 private constant OWNER = 16;

    uint8 private constant BLAKE3 = 0x1e;
    uint8 private constant SHA2_256 = 0x12;
    uint256 private constant MAX_REASON = 256;
    bytes32 private constant RELEASE_TAG = keccak256("modelreg/release/1");

    mapping(Label namespace => Namespace) private _namespaces;
    mapping(Label namespace => mapping(address account => Grant)) private _grants;
    mapping(ModelId => Model) private _models;
    mapping(ModelId => mapping(Label branch => ReleaseId)) private _heads;
    mapping(ModelId => mapping(Label version => ReleaseId)) private _versions;
    mapping(ModelId => mapping(Label channel => Channel)) private _channels;
    mapping(ReleaseId => Release) private _releases;
    mapping(ReleaseId => string) private _yankReasons;
    ModelId[] private _modelIds;

    modifier onlyWith(uint256 role, Label namespace) {
        _requireRole(role, namespace);
        _;
    }

    // Namespaces

    /// @inheritdoc IModelRegistry
    function claimNamespace(Label namespace) external {
        if (!namespace.isNamespace()) revert BadLabel(namespace);
        address owner = _namespaces[namespace].owner;
        if (owner != address(0)) revert NamespaceTaken(owner);
        _namespaces[namespace].owner = msg.sender;
        emit NamespaceClaimed(namespace, msg.sender);
    }

    /// @inheritdoc IModelRegistry
    function transferNamespace(Label namespace, address to) external onlyWith(OWNER, namespace) {
        _namespaces[namespace].pendingOwner = to;
        emit NamespaceOffered(namespace, msg.sender, to);
    }

    /// @inheritdoc IModelRegistry
    function acceptNamespace(Label namespace) external {
        Namespace memory before = _namespaces[namespace];
        if (before.owner == address(0)) revert UnknownNamespace(namespace);
        if (before.pendingOwner != msg.sender) revert NotPendingOwner(msg.sender, before.pendingOwner);
        _namespaces[namespace] = Namespace({owner: msg.sender, pendingOwner: address(0)});
        emit NamespaceTransferred(namespace, before.owner, msg.sender);
    }

    /// @inheritdoc IModelRegistry
    function setRoles(Label namespace, address account, uint256 roles) external onlyWith(ADMIN, namespace) {
        if (roles & ~GRANTABLE != 0) revert BadRoles(roles);
        address owner = _namespaces[namespace].owner;
        bool changesAdmin = (_granted(namespace, account, owner) ^ roles) & ADMIN != 0;
        if (changesAdmin && msg.sender != owner) revert NotPermitted(msg.sender, OWNER);
        _grants[namespace][account] = Grant({roles: uint96(roles), underOwner: owner});
        emit RolesSet(namespace, account, roles, msg.sender);
    }

    // Releases

    /// @inheritdoc IModelRegistry
    function publish(
        Label namespace,
        string calldata name,
        Label version,
        Label branch,
        ReleaseId parent,
        bytes32 contentRoot,
        bytes32 manifestDigest,
        uint8 manifestHash
    ) external onlyWith(PUBLISH, namespace) returns (ReleaseId release) {
        if (contentRoot == 0 || manifestDigest == 0) revert ZeroDigest();
        if (manifestHash != BLAKE3 && manifestHash != SHA2_256) revert BadHashCode(manifestHash);
        ModelId model = _openModel(namespace, name);
        uint32 seq = _advance(model, branch, parent);
        Release memory body = Release({
            model: model,
            parent: parent,
            contentRoot: contentRoot,
            manifestDigest: manifestDigest,
            version: version,
            branch: branch,
            publisher: msg.sender,
            publishedAt: uint40(block.timestamp),
            seq: seq,
            manifestHash: manifestHash,
            yanked: false
        });
        release = _releaseId(body);
        _takeVersion(model, version, release);
        _heads[model][branch] = release;
        _releases[release] = body;
        emit Published(model, release, parent, version, branch);
    }

    /// @inheritdoc IModelRegistry
    function yank(ReleaseId release, string calldata reason) external {
        Release storage body = _existing(release);
        ModelId model = body.model;
        _requireRole(YANK, _namespaceOf(model));
        if (body.yanked) revert AlreadyYanked(release);
        uint256 size = bytes(reason).length;
        if (size == 0 || size > MAX_REASON) revert BadReason(size);
        body.yanked = true;
        _yankReasons[release] = reason;
        emit Yanked(model, release, msg.sender, reason);
    }

    /// @inheritdoc IModelRegistry
    function setChannel(ModelId model, Label channel, ReleaseId release, ReleaseId expected, uint64 activation)
        external
    {
        _requireRole(CHANNEL, _namespaceOf(model));
        Release storage body = _existing(release);
        if (body.model != model) revert ForeignRelease(release, body.model);
        if (body.yanked) revert AlreadyYanked(release);
        if (activation != 0 && activation <= block.number) revert ActivationPassed(activation, block.number);
        Channel memory before = _channels[model][channel];
        ReleaseId previous = before.next == NO_RELEASE ? before.current : before.next;
        if (previous != expected) revert ChannelMoved(expected, previous);
        if (previous == NO_RELEASE) {
            if (!channel.isChannel()) revert BadLabel(channel);
            _models[model].channels.push(channel);
        }
        _channels[model][channel] = activation == 0
            ? Channel({current: release, next: NO_RELEASE, activation: 0})
            : Channel({current: _inForce(before), next: release, activation: activation});
        emit ChannelSet(model, channel, release, previous, activation);
    }

    // Views

    /// @inheritdoc IModelRegistry
    function getNamespace(Label namespace) external view returns (Namespace memory) {
        return _namespaces[namespace];
    }

    /// @inheritdoc IModelRegistry
    function roleOf(Label namespace, address account) external view returns (uint256 roles) {
        return _roles(namespace, account, _namespaces[namespace].owner);
    }

    /// @inheritdoc IModelRegistry
    function getModel(ModelId model) external view returns (Model memory) {
        if (!_exists(model)) revert UnknownModel(model);
        return _models[model];
    }

    /// @inheritdoc IModelRegistry
    function modelCount() external view returns (uint256) {
        return _modelIds.length;
    }

    /// @inheritdoc IModelRegistry
    function modelAt(uint256 index) external view returns (ModelId) {
        return _modelIds[index];
    }

    /// @inheritdoc IModelRegistry
    function getRelease(ReleaseId release) external view returns (Release memory) {
        return _existing(release);
    }

    /// @inheritdoc IModelRegistry
    function yankReason(ReleaseId release) external view returns (string memory) {
        return _yankReasons[release];
    }

    /// @inheritdoc IModelRegistry
    function head(ModelId model, Label branch) external view returns (ReleaseId) {
        return _heads[model][branch];
    }

    /// @inheritdoc IModelRegistry
    function versionOf(ModelId model, Label version) external view returns (ReleaseId) {
        return _versions[model][version];
    }

    /// @inheritdoc IModelRegistry
    function channelOf(ModelId model, Label channel) external view returns (ReleaseId) {
        return _inForce(_channels[model][channel]);
    }

    /// @inheritdoc IModelRegistry
    function getChannel(ModelId model, Label channel) external view returns (Channel memory) {
        return _channels[model][channel];
    }

    /// @inheritdoc IModelRegistry
    function provesChunk(
        ReleaseId release,
        Leaf calldata leaf,
        uint64 index,
        uint64 count,
        bytes32[] calldata proof
    ) external view returns (bool) {
        return ContentProof.isIncluded(leaf, index, count, proof, _existing(release).contentRoot);
    }

    // Roles

    function _requireRole(uint256 role, Label namespace) private view {
        address owner = _namespaces[namespace].owner;
        if (owner == address(0)) revert UnknownNamespace(namespace);
        if (_roles(namespace, msg.sender, owner) & role == 0) revert NotPermitted(msg.sender, role);
    }

    function _roles(Label namespace, address account, address owner) private view returns (uint256) {
        if (account == owner && owner != address(0)) return GRANTABLE | OWNER;
        return _granted(namespace, account, owner);
    }

    function _granted(Label namespace, address account, address owner) private view returns (uint256) {
        Grant memory grant = _grants[namespace][account];
        return grant.underOwner == owner ? grant.roles : 0;
    }

    // Models and releases

    function _exists(ModelId model) private view returns (bool) {
        return bytes(_models[model].name).length != 0;
    }

    /// @dev The model of that name, made if it is new.
    function _openModel(Label namespace, string calldata name) private returns (ModelId model) {
        string memory fullName = string.concat(string(namespace.toText()), "/", name);
        model = ModelId.wrap(keccak256(bytes(fullName)));
        if (_exists(model)) return model;
        if (!name.isModelName()) revert BadModelName();
        _models[model].name = fullName;
        _modelIds.push(model);
        emit ModelCreated(model, fullName);
    }

    /// @dev The compare half of the compare-and-swap; returns the seq of the release on top of `parent`.
    function _advance(ModelId model, Label branch, ReleaseId parent) private returns (uint32 seq) {
        ReleaseId current = _heads[model][branch];
        if (current == NO_RELEASE) {
            if (!branch.isBranch()) revert BadLabel(branch);
            _models[model].branches.push(branch);
        } else if (current != parent) {
            revert HeadMoved(parent, current);
        }
        return parent == NO_RELEASE ? 1 : _existing(parent).seq + 1;
    }

    function _takeVersion(ModelId model, Label version, ReleaseId release) private {
        ReleaseId by = _versions[model][version];
        if (by != NO_RELEASE) revert VersionTaken(by);
        if (!version.isVersion()) revert BadLabel(version);
        _versions[model][version] = release;
    }

    function _releaseId(Release memory body) private pure returns (ReleaseId) {
        return ReleaseId.wrap(
            keccak256(
                abi.encode(
                    RELEASE_TAG,
                    body.model,
                    body.version,
                    body.branch,
                    body.parent,
                    body.contentRoot,
                    body.manifestDigest,
                    uint256(body.manifestHash),
                    uint256(body.seq)
                )
            )
        );
    }

    function _inForce(Channel memory channel) private view returns (ReleaseId) {
        bool moved = channel.activation != 0 && channel.activation <= block.number;
        return moved ? channel.next : channel.current;
    }

    function _existing(ReleaseId release) private view returns (Release storage body) {
        body = _releases[release];
        if (body.publisher == address(0)) revert UnknownRelease(release);
    }

    function _namespaceOf(ModelId model) private view returns (Label) {
        string memory fullName = _models[model].name;
        if (bytes(fullName).length == 0) revert UnknownModel(model);
        return fullName.namespaceOf();
    }
}
