// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Label, ModelId, ReleaseId} from "./IModelRegistry.sol";

/// The EIP-712 digest of a receipt, which names it.
type ReceiptId is bytes32;

/// keccak256 of all that an audit policy says; see `IReceiptLog.createPolicy`. Zero means "none".
type PolicyId is bytes32;

using {sameReceipt as ==, differentReceipt as !=} for ReceiptId global;

function sameReceipt(ReceiptId a, ReceiptId b) pure returns (bool) {
    return ReceiptId.unwrap(a) == ReceiptId.unwrap(b);
}

function differentReceipt(ReceiptId a, ReceiptId b) pure returns (bool) {
    return ReceiptId.unwrap(a) != ReceiptId.unwrap(b);
}

/// @title Nodes, their bonds, the roots of their receipts, and what costs a node its bond
/// @notice No part of it can be changed or stopped by anybody, and ether leaves it only to accounts that withdraw
/// their own balance. Readers look things up in storage, with storage proofs. Specified in docs/spec/receipt-log.md.
interface IReceiptLog {
    /// Unknown never registered; Exiting may not anchor; Exited may register again; Expelled may never.
    enum Status {
        Unknown,
        Active,
        Exiting,
        Exited,
        Expelled
    }

    enum ChallengeState {
        None,
        Open,
        Answered,
        Missed
    }

    /// @param epoch the epoch of the last anchored batch
    /// @param nextSeq the seq after the last anchored one
    /// @param batches how many batches were anchored
    /// @param registeredAt when it last became a node, in unix seconds
    /// @param exitableAt when `exit` may be called; zero unless Exiting
    /// @param status see `Status`
    /// @param bond what can be slashed, in wei
    /// @param openChallenges how many wait for an answer or for `slashTimeout`
    /// @param endpoint the URL it serves at
    struct Node {
        uint64 epoch;
        uint64 nextSeq;
        uint40 batches;
        uint40 registeredAt;
        uint40 exitableAt;
        Status status;
        uint128 bond;
        uint64 openChallenges;
        string endpoint;
    }

    /// The signed statement of docs/spec/receipt.md, section 1, field for field.
    struct Receipt {
        uint16 schema;
        address node;
        ReleaseId releaseId;
        bytes32 planId;
        bytes32 requestId;
        address client;
        bytes32 inputCommit;
        bytes32 outputCommit;
        bytes32 traceRoot;
        bytes32 runtimeFingerprint;
        uint64 epoch;
        uint64 seq;
        uint64 issuedAt;
        bytes32 prevReceipt;
    }

    /// @notice What was anchored; the log keeps keccak256 of its seven words.
    /// @param index its place among the node's batches, from 0
    /// @param epoch of the receipts in it
    /// @param first the seq of the first one
    /// @param count how many there are
    /// @param root docs/spec/receipt.md, section 5
    /// @param blockNumber the block that anchored it
    /// @param anchoredAt that block's time in unix seconds
    struct Batch {
        uint64 index;
        uint64 epoch;
        uint64 first;
        uint32 count;
        bytes32 root;
        uint64 blockNumber;
        uint40 anchoredAt;
    }

    /// @notice What opens the commitments to a receipt's input and output.
    struct Opening {
        bytes32 inputSalt;
        bytes32 inputValues;
        bytes32 outputSalt;
        bytes32 outputValues;
    }

    /// @param challenger who gets the deposit back if no answer comes
    /// @param deadline the last second for an answer
    /// @param state see `ChallengeState`
    struct Challenge {
        address challenger;
        uint40 deadline;
        ChallengeState state;
    }

    /// @param model whose receipts are judged
    /// @param terms digest of the document that says by which rules the auditors judge
    /// @param penalty what `fail` costs, in wei
    /// @param withheldPenalty what `withheld` costs, in wei
    /// @param minimumBond what a node must have locked to enrol; no penalty is above it
    /// @param deadline how many seconds after a batch was anchored its receipts may be judged
    /// @param quorum how many equal verdicts it takes: at least two and more than half of the auditors
    /// @param auditors 2 to 32 accounts, ascending
    struct Policy {
        ModelId model;
        bytes32 terms;
        uint128 penalty;
        uint128 withheldPenalty;
        uint128 minimumBond;
        uint40 deadline;
        uint8 quorum;
        address[] auditors;
    }

    /// @param since from when on batches are judged; zero: never enrolled
    /// @param until from when on they are no more; zero: the node has not resigned
    struct Enrolment {
        uint40 since;
        uint40 until;
    }

    /// @param outcome 1 pass, 2 fail, 3 inconclusive, 4 undecidable, 5 withheld
    /// @param report digest of the audit's report
    /// @param issuedAt unix seconds by the auditor's clock
    struct Verdict {
        PolicyId policyId;
        ReceiptId receipt;
        address node;
        uint8 outcome;
        bytes32 report;
        uint64 issuedAt;
    }

    /// @notice What differs between the verdicts of a quorum.
    struct Vote {
        bytes32 report;
        uint64 issuedAt;
        bytes signature;
    }

    event Registered(address indexed node, string endpoint);
    event BondAdded(address indexed node, uint256 amount, address by);
    event ExitRequested(address indexed node, uint256 exitableAt);
    event ExitCancelled(address indexed node);
    event Exited(address indexed node, uint256 bond);
    event Withdrawn(address indexed account, uint256 amount);
    event Anchored(
        address indexed node, uint64 indexed epoch, uint64 index, uint64 first, uint32 count, bytes32 root
    );
    event Announced(bytes32 indexed commitment);
    event Equivocated(address indexed node, uint64 epoch, uint64 seq, ReceiptId a, ReceiptId b);
    event Misanchored(address indexed node, uint64 epoch, uint64 seq, ReceiptId signed, ReceiptId anchored);
    /// What was taken from a bond, and the part of it that went to whoever brought the evidence.
    event Slashed(address indexed node, uint256 amount, address reporter, uint256 share);
    event Challenged(address indexed node, ReceiptId indexed receipt, address challenger, uint256 deadline);
    event Answered(address indexed node, ReceiptId indexed receipt, Opening opening);
    event Missed(address indexed node, ReceiptId indexed receipt);
    event PlaceChallenged(
        address indexed node, uint64 indexed index, uint64 seq, address challenger, uint256 deadline
    );
    event PlaceAnswered(address indexed node, ReceiptId indexed id, Receipt receipt, bytes signature);
    event PlaceMissed(address indexed node, uint64 indexed index, uint64 seq);
    event PolicyCreated(PolicyId indexed policy, ModelId indexed model, address by);
    event Enrolled(address indexed node, PolicyId indexed policy);
    event Resigned(address indexed node, PolicyId indexed policy, uint256 until);
    event VerdictRecorded(
        PolicyId indexed policy,
        ReceiptId indexed receipt,
        address indexed auditor,
        address node,
        uint8 outcome,
        bytes32 report,
        uint64 issuedAt
    );
    event Judged(PolicyId indexed policy, ReceiptId indexed receipt, address indexed node, uint8 outcome);
    event Attached(ReleaseId indexed release, address indexed account, bytes32 digest);

    /// The account's status does not admit the call.
    error WrongStatus(address account, Status actual);
    /// An endpoint has 1 to 256 bytes.
    error BadEndpoint(uint256 length);
    /// Not before this time.
    error TooEarly(uint256 from);
    /// Not after this time.
    error TooLate(uint256 until);
    /// The bond stays while challenges are open.
    error ChallengesOpen(uint256 count);
    error NothingToWithdraw();
    /// The caller did not take its ether.
    error TransferFailed();
    /// A batch has 1 to 2^20 receipts.
    error BadCount(uint256 count);
    /// Epochs, seqs and times are below 2^53.
    error NumberTooLarge();
    /// A root of zero commits to nothing.
    error ZeroRoot();
    /// The batch neither goes on at this epoch and seq, nor begins a later epoch at seq 0.
    error OutOfSequence(uint64 epoch, uint64 nextSeq);
    /// The node has not anchored this batch.
    error UnknownBatch(address node, uint64 index);
    /// The batch is of another epoch, or does not reach this seq.
    error OutsideBatch(uint64 epoch, uint64 seq);
    /// The proof does not lead to the batch's root.
    error BadProof();
    error BadSchema(uint16 schema);
    /// Not 65 bytes, or not a signature in its one canonical form.
    error BadSignature();
    error WrongSigner(address expected, address actual);
    /// The two are equal, or of different nodes, epochs or places.
    error NoContradiction();
    error WrongDeposit(uint256 sent, uint256 needed);
    /// The account lacks this role in the model's namespace.
    error NotPermitted(address account, uint256 needed);
    /// `id` is a receipt's digest, or what `challengePlace` returns.
    error AlreadyChallenged(ReceiptId id);
    error NoOpenChallenge(ReceiptId id);
    /// It opens other commitments than the receipt's.
    error BadOpening();
    error UnknownPolicy(PolicyId policy);
    error PolicyExists(PolicyId policy);
    /// The policy is for another model than the one named.
    error WrongModel(ModelId expected, ModelId actual);
    /// There are 2 to 32 auditors, ascending, none of them zero.
    error BadAuditors();
    error BadQuorum(uint256 quorum, uint256 auditors);
    error BadDeadline(uint256 deadline);
    /// A penalty is above zero and not above the minimum bond.
    error BadPenalty();
    error BondTooLow(uint256 bond, uint256 needed);
    error AlreadyEnrolled(PolicyId policy);
    error NotEnrolled(address node, PolicyId policy);
    /// The receipt is for a release of another model than the policy's.
    error ForeignRelease(ReleaseId release, ModelId model);
    error BadOutcome(uint8 outcome);
    /// Not an auditor of the policy, or one whose vote stands already, or out of order.
    error NotAuditor(address account);
    error AlreadyRecorded(address auditor);
    error NoQuorum(uint256 votes, uint256 needed);
    /// This receipt has cost the node as much under this policy before.
    error AlreadyJudged(ReceiptId receipt);
    /// A digest of zero names nothing.
    error ZeroDigest();

    // Nodes

    /// @notice Become a node, or change the endpoint; what is sent is added to the bond.
    /// @param endpoint a URL of 1 to 256 bytes
    function register(string calldata endpoint) external payable;

    /// @notice Add to a node's bond.
    function topUp(address node) external payable;

    /// @notice Anchor no more; the bond can be freed in 14 days.
    function requestExit() external;

    /// @notice Stay a node.
    function cancelExit() external;

    /// @notice Move the bond to the caller's balance. The history stays.
    function exit() external;

    /// @notice Send the caller its balance.
    function withdraw() external;

    /// @notice Append a batch of the caller's receipts.
    /// @param epoch the node's, with `first` its next seq; or a later one, with `first` 0; both below 2^53
    /// @param count 1 to 2^20
    /// @param root docs/spec/receipt.md, section 5
    /// @return index the batch's place among the node's batches
    function anchor(uint64 epoch, uint64 first, uint32 count, bytes32 root) external returns (uint64 index);

    // Evidence that needs no judge

    /// @notice Say that evidence will follow, without saying which, to be the one that is paid for it.
    /// @param commitment keccak256 of four words: the reporter, the two digests in the evidence, a salt
    function announce(bytes32 commitment) external;

    /// @notice Expel a node that signed two receipts for one place, and slash its whole bond.
    /// @param salt of the announcement, which must be in an earlier block; without one all is burned
    function slashEquivocation(
        Receipt calldata a,
        bytes calldata signatureA,
        Receipt calldata b,
        bytes calldata signatureB,
        bytes32 salt
    ) external;

    /// @notice Expel a node that signed one receipt and anchored another in its place, and slash its whole bond.
    /// @param anchored the digest that the batch holds at the receipt's seq
    /// @param salt as in `slashEquivocation`
    function slashMisanchored(
        Receipt calldata receipt,
        bytes calldata signature,
        Batch calldata batch,
        ReceiptId anchored,
        bytes32[] calldata proof,
        bytes32 salt
    ) external;

    // Challenges

    /// @notice Demand proof that a signed receipt is in the batch that has its place, and the openings of its
    /// input and output. Costs a deposit, which an answer gives to the node.
    /// @param policy whose auditor the caller is; ignored if the receipt is for the caller or for anybody
    function challenge(Receipt calldata receipt, bytes calldata signature, Batch calldata batch, PolicyId policy)
        external
        payable
        returns (ReceiptId id);

    /// @notice Answer a challenge. Anybody may.
    function respond(
        Receipt calldata receipt,
        Opening calldata opening,
        Batch calldata batch,
        bytes32[] calldata proof
    ) external;

    /// @notice Slash the whole bond of a node that let a challenge's deadline pass.
    function slashTimeout(Receipt calldata receipt) external;

    /// @notice Demand the signed receipt at a place of a batch, so that a batch that is withheld as a whole can be
    /// challenged too. Costs a deposit, which an answer gives to the node. Anybody may.
    /// @param seq of a receipt in the batch
    /// @return place keccak256 of three words: node, the batch's index, seq; `getChallenge` knows it
    function challengePlace(address node, Batch calldata batch, uint64 seq)
        external
        payable
        returns (ReceiptId place);

    /// @notice Answer with the receipt, which is in the event. Anybody may.
    function respondPlace(
        Receipt calldata receipt,
        bytes calldata signature,
        Batch calldata batch,
        bytes32[] calldata proof
    ) external;

    /// @notice Slash the whole bond of a node that let the deadline of a challenged place pass.
    function slashPlaceTimeout(address node, uint64 index, uint64 seq) external;

    // Policies and verdicts

    /// @notice Lay down who judges receipts of a model, for good. Needs ADMIN in the model's namespace.
    /// @return id keccak256 of nine words: keccak256("modelreg/policy/1"), the policy's seven fields before
    /// `auditors`, and keccak256 of the auditors, a word each
    function createPolicy(Label namespace, string calldata name, Policy calldata policy)
        external
        returns (PolicyId id);

    /// @notice Agree to be judged under a policy; again after `resign`, as if one had never done that.
    function enrol(PolicyId policy) external;

    /// @notice From 14 days on, be judged no more for what is anchored then.
    function resign(PolicyId policy) external;

    /// @notice Put an auditor's verdict on record. It moves no bond.
    function recordVerdict(Verdict calldata verdict, bytes calldata signature) external;

    /// @notice Take the policy's penalty from a node's bond, all of it burned.
    /// @param outcome 2 fail or 5 withheld, of all votes
    /// @param votes in the order of the policy's auditors
    function slashByQuorum(
        PolicyId policy,
        uint8 outcome,
        Receipt calldata receipt,
        Batch calldata batch,
        bytes32[] calldata proof,
        Vote[] calldata votes
    ) external;

    // What auditors publish

    /// @notice Say that a block belongs to a release, in the caller's view. Who reads chooses whom to trust.
    /// @param digest the block's; twice is no error, and says nothing new
    function attach(ReleaseId release, bytes32 digest) external;

    // Views

    /// @notice What the account attached to the release, oldest first.
    function attachments(ReleaseId release, address account) external view returns (bytes32[] memory);

    function getNode(address node) external view returns (Node memory);

    function nodeCount() external view returns (uint256);

    /// @param index from 0, in the order of first registration
    function nodeAt(uint256 index) external view returns (address);

    /// @notice keccak256 of the batch's seven words, or zero.
    function batchHash(address node, uint64 index) external view returns (bytes32);

    /// @param id a receipt's digest, or what `challengePlace` returns
    function getChallenge(ReceiptId id) external view returns (Challenge memory);

    /// @notice Reverts with UnknownPolicy.
    function getPolicy(PolicyId policy) external view returns (Policy memory);

    function policyCount(ModelId model) external view returns (uint256);

    /// @param index from 0, in the order of creation
    function policyAt(ModelId model, uint256 index) external view returns (PolicyId);

    function getEnrolment(address node, PolicyId policy) external view returns (Enrolment memory);

    /// @notice What the receipt has cost the node under the policy, had the bond been large enough.
    function chargedFor(PolicyId policy, ReceiptId receipt) external view returns (uint256);

    /// @notice When the auditor's verdict with this digest was put on record, or zero.
    function recordedAt(bytes32 verdict, address auditor) external view returns (uint256);

    /// @notice The block that announced it, or zero.
    function announcedIn(bytes32 commitment) external view returns (uint256);

    function balanceOf(address account) external view returns (uint256);

    /// @notice What slashes have locked up for ever.
    function burned() external view returns (uint256);

    /// @notice Whether the node anchored this batch and the batch holds the receipt at this seq.
    function provesReceipt(
        address node,
        Batch calldata batch,
        ReceiptId receipt,
        uint64 seq,
        bytes32[] calldata proof
    ) external view returns (bool);

    /// @notice The digest that the node signs.
    function receiptDigest(Receipt calldata receipt) external view returns (ReceiptId);

    /// @notice The digest that the auditor signs.
    function verdictDigest(Verdict calldata verdict) external view returns (bytes32);

    /// @notice EIP-5267.
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
        );
}
