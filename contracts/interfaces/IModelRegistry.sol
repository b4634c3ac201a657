// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// keccak256 of "namespace/name".
type ModelId is bytes32;

/// The commitment to all that a release says; see `IModelRegistry.publish`. Zero means "none".
type ReleaseId is bytes32;

/// A short ASCII text, left-aligned and padded with zero bytes.
type Label is bytes32;

using {sameModel as ==, differentModel as !=} for ModelId global;
using {sameRelease as ==, differentRelease as !=} for ReleaseId global;

ReleaseId constant NO_RELEASE = ReleaseId.wrap(0);

function sameModel(ModelId a, ModelId b) pure returns (bool) {
    return ModelId.unwrap(a) == ModelId.unwrap(b);
}

function differentModel(ModelId a, ModelId b) pure returns (bool) {
    return ModelId.unwrap(a) != ModelId.unwrap(b);
}

function sameRelease(ReleaseId a, ReleaseId b) pure returns (bool) {
    return ReleaseId.unwrap(a) == ReleaseId.unwrap(b);
}

function differentRelease(ReleaseId a, ReleaseId b) pure returns (bool) {
    return ReleaseId.unwrap(a) != ReleaseId.unwrap(b);
}

/// @title A registry of machine-learning models and their releases
/// @notice History is append-only: a namespace is never freed, a version never moves, a release never
/// changes except that it can be yanked once. Readers look things up in storage, with storage proofs;
/// the events are for explorers. Specified in docs/spec/contract.md.
interface IModelRegistry {
    /// @param owner the account that has every role; never zero once claimed
    /// @param pendingOwner the account that may accept the namespace, or zero
    struct Namespace {
        address owner;
        address pendingOwner;
    }

    /// @param roles a set of PUBLISH (1), YANK (2), CHANNEL (4), ADMIN (8)
    /// @param underOwner the namespace's owner when the roles were set: a new owner inherits no grants
    struct Grant {
        uint96 roles;
        address underOwner;
    }

    /// @param name "namespace/name"
    /// @param branches every branch that has a head, oldest first
    /// @param channels every channel that was ever set, oldest first
    struct Model {
        string name;
        Label[] branches;
        Label[] channels;
    }

    /// @param model the model it is a release of
    /// @param parent the release it was made from, of any model, or zero
    /// @param contentRoot the Merkle root over the plaintext chunks
    /// @param manifestDigest the digest in the CID of the manifest's root block
    /// @param version the Semantic Version
    /// @param branch the branch whose head it became
    /// @param publisher the account that published it
    /// @param publishedAt the block's time in unix seconds
    /// @param seq 1, or one more than the parent's
    /// @param manifestHash the multihash code of manifestDigest: 0x1e blake3, 0x12 sha2-256
    /// @param yanked whether it was withdrawn; `yankReason` says why
    struct Release {
        ModelId model;
        ReleaseId parent;
        bytes32 contentRoot;
        bytes32 manifestDigest;
        Label version;
        Label branch;
        address publisher;
        uint40 publishedAt;
        uint32 seq;
        uint8 manifestHash;
        bool yanked;
    }

    /// @param current the release the channel points to before the block `activation`, or zero
    /// @param next the release it points to from that block on; zero if no move was ever put off, or none since
    /// @param activation the block's number; zero if `next` is
    struct Channel {
        ReleaseId current;
        ReleaseId next;
        uint64 activation;
    }

    /// @param pathHash keccak256 of the file's path in UTF-8
    /// @param offset where the chunk begins in the file, in bytes
    /// @param length how long it is, in bytes
    /// @param hashCode the multihash code of the content tree's digests
    /// @param digest the chunk's digest
    struct Leaf {
        bytes32 pathHash;
        uint64 offset;
        uint64 length;
        uint8 hashCode;
        bytes32 digest;
    }

    event NamespaceClaimed(Label indexed namespace, address indexed owner);
    event NamespaceOffered(Label indexed namespace, address indexed owner, address indexed pendingOwner);
    event NamespaceTransferred(Label indexed namespace, address indexed from, address indexed to);
    event RolesSet(Label indexed namespace, address indexed account, uint256 roles, address by);
    event ModelCreated(ModelId indexed model, string name);
    event Published(
        ModelId indexed model, ReleaseId indexed release, ReleaseId indexed parent, Label version, Label branch
    );
    event Yanked(ModelId indexed model, ReleaseId indexed release, address by, string reason);
    event ChannelSet(
        ModelId indexed model, Label indexed channel, ReleaseId release, ReleaseId previous, uint64 activation
    );

    /// The text breaks the rules of its kind, or is not padded with zero bytes alone.
    error BadLabel(Label label);
    /// The model's name breaks the rules.
    error BadModelName();
    /// The reason for a yank must have 1 to 256 bytes.
    error BadReason(uint256 length);
    /// The set contains a role that does not exist or cannot be granted.
    error BadRoles(uint256 roles);
    /// The code is neither blake3 (0x1e) nor sha2-256 (0x12).
    error BadHashCode(uint8 code);
    /// A content root or digest of zero commits to nothing.
    error ZeroDigest();
    error UnknownNamespace(Label namespace);
    error UnknownModel(ModelId model);
    error UnknownRelease(ReleaseId release);
    /// The namespace has an owner already.
    error NamespaceTaken(address owner);
    /// The version names another release already.
    error VersionTaken(ReleaseId by);
    /// The branch's head is not the parent that the publisher built on.
    error HeadMoved(ReleaseId expected, ReleaseId actual);
    /// The channel does not point where the caller believes.
    error ChannelMoved(ReleaseId expected, ReleaseId actual);
    /// A channel can be moved from a later block on, or at once (zero), but not in the past.
    error ActivationPassed(uint64 activation, uint256 blockNumber);
    /// The release belongs to another model.
    error ForeignRelease(ReleaseId release, ModelId model);
    /// The release was withdrawn before.
    error AlreadyYanked(ReleaseId release);
    /// The account lacks this role; 16 stands for being the owner.
    error NotPermitted(address account, uint256 needed);
    /// Only the account that the namespace was offered to can accept it.
    error NotPendingOwner(address account, address pendingOwner);

    /// @notice Become the owner of a namespace that nobody has, for good.
    function claimNamespace(Label namespace) external;

    /// @notice Offer the namespace to an account; zero withdraws the offer. Owner only.
    function transferNamespace(Label namespace, address to) external;

    /// @notice Take over an offered namespace. All roles granted under the old owner end.
    function acceptNamespace(Label namespace) external;

    /// @notice Replace an account's roles. ADMIN may do it, but only the owner may give or take ADMIN.
    /// @param roles the whole new set; zero takes all
    function setRoles(Label namespace, address account, uint256 roles) external;

    /// @notice Append a release and make it its branch's head. Needs PUBLISH.
    /// @dev A compare-and-swap: if the branch has a head, `parent` must be it.
    /// @param name the model's name within the namespace; a new one creates the model
    /// @param branch a new one may begin at any release of any model, or at none
    /// @return release keccak256 of nine words: keccak256("modelreg/release/1"), the model, version,
    /// branch, parent, contentRoot, manifestDigest, manifestHash, seq
    function publish(
        Label namespace,
        string calldata name,
        Label version,
        Label branch,
        ReleaseId parent,
        bytes32 contentRoot,
        bytes32 manifestDigest,
        uint8 manifestHash
    ) external returns (ReleaseId release);

    /// @notice Withdraw a release, for good. Its data stay readable. Needs YANK.
    /// @param reason UTF-8, 1 to 256 bytes
    function yank(ReleaseId release, string calldata reason) external;

    /// @notice Point a channel at a release of the model that is not yanked. Needs CHANNEL.
    /// @dev Replaces a move that was put off and is not in force yet.
    /// @param expected where the last call pointed it, whether that is in force or not; zero if there was none
    /// @param activation the block from which on it points there; zero for at once
    function setChannel(ModelId model, Label channel, ReleaseId release, ReleaseId expected, uint64 activation)
        external;

    /// @notice The owner, zero if unclaimed, and the account the namespace is offered to.
    function getNamespace(Label namespace) external view returns (Namespace memory);

    /// @notice The account's roles in force; the owner has all and 16 beside them.
    function roleOf(Label namespace, address account) external view returns (uint256 roles);

    /// @notice Reverts with UnknownModel.
    function getModel(ModelId model) external view returns (Model memory);

    function modelCount() external view returns (uint256);

    /// @param index from 0, in the order of creation
    function modelAt(uint256 index) external view returns (ModelId);

    /// @notice Reverts with UnknownRelease.
    function getRelease(ReleaseId release) external view returns (Release memory);

    /// @notice Empty unless the release is yanked.
    function yankReason(ReleaseId release) external view returns (string memory);

    /// @notice The branch's newest release, or zero.
    function head(ModelId model, Label branch) external view returns (ReleaseId);

    /// @notice The release with this version, or zero.
    function versionOf(ModelId model, Label version) external view returns (ReleaseId);

    /// @notice The release the channel points to in this block, which may be yanked since, or zero.
    function channelOf(ModelId model, Label channel) external view returns (ReleaseId);

    /// @notice All that is known of a channel; zeros if it does not exist.
    function getChannel(ModelId model, Label channel) external view returns (Channel memory);

    /// @notice Whether the release's content has this chunk at this position.
    /// @param index the chunk's position among `count`
    /// @param count the number of chunks in the release
    /// @param proof the siblings from the leaf up, as in RFC 9162, section 2.1.3.2
    function provesChunk(ReleaseId release, Leaf calldata leaf, uint64 index, uint64 count, bytes32[] calldata proof)
        external
        view
        returns (bool);
}
