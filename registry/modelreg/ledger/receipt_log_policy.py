"""Audit policies and the verdicts under them. Specified in docs/spec/receipt-log.md, section 6. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Any

from modelreg.errors import FormatError, InputError, VerificationError
from modelreg.format.digest import keccak256
from modelreg.format.receipt import INTEGER_END, Domain, typed_digest
from modelreg.ledger.layout import fields

__all__ = ["AUDITORS_MAX", "DEADLINE_MAX", "Outcome", "Policy", "Verdict", "policy_of"]

AUDITORS_MAX = 32
DEADLINE_MAX = 13 * 86_400
_MIN_QUORUM = 2
_WEI_END = 1 << 128
_TAG = keccak256(b"modelreg/policy/1")
_VERDICT = keccak256(
    b"Verdict(bytes32 policyId,bytes32 receipt,address node,uint8 outcome,bytes32 report,uint64 issuedAt)"
)


class Outcome(IntEnum):
    """What an auditor finds; FAIL and WITHHELD can cost a bond."""

    PASS = 1
    FAIL = 2
    INCONCLUSIVE = 3
    UNDECIDABLE = 4
    WITHHELD = 5


def _word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may judge receipts of a model, and what that can cost.

    Attributes:
        model: the model's id, 32 bytes.
        terms: digest of the document with the auditors' rules, 32 bytes; zero for none.
        penalty: wei that `fail` costs.
        withheld_penalty: wei that `withheld` costs.
        minimum_bond: wei that a node must have locked to enrol.
        deadline: seconds after a batch was anchored in which its receipts can be judged.
        quorum: how many equal verdicts it takes.
        auditors: addresses of 20 bytes, ascending.

    Raises:
        InputError: no such policy can be made.
    """

    model: bytes
    terms: bytes
    penalty: int
    withheld_penalty: int
    minimum_bond: int
    deadline: int
    quorum: int
    auditors: tuple[bytes, ...]

    def __post_init__(self) -> None:
        size = len(self.auditors)
        _require(len(self.model) == len(self.terms) == 32, "words of a policy", "32 bytes", "others")
        lengths = {len(auditor) for auditor in self.auditors}
        ascending = all(a < b for a, b in pairwise((bytes(20), *self.auditors)))
        _require(size <= AUDITORS_MAX, "auditors", f"at most {AUDITORS_MAX}", size)
        _require(lengths <= {20} and ascending, "auditors", "addresses, ascending, none twice", "others")
        quorum = _MIN_QUORUM <= self.quorum <= size < 2 * self.quorum
        _require(
            quorum, "quorum", "2 or more, and more than half of the auditors", f"{self.quorum} of {size}"
        )
        _require(0 < self.deadline <= DEADLINE_MAX, "deadline", f"1 to {DEADLINE_MAX} seconds", self.deadline)
        for wei in (self.penalty, self.withheld_penalty):
            _require(0 < wei <= self.minimum_bond, "penalty", f"1 to {self.minimum_bond} wei", wei)
        _require(self.minimum_bond < _WEI_END, "minimum bond", "less than 2^128 wei", self.minimum_bond)

    @property
    def policy_id(self) -> bytes:
        """What names the policy, 32 bytes."""
        auditors = keccak256(b"".join(map(_word, self.auditors)))
        return keccak256(b"".join(map(_word, (_TAG, *self.arguments[:-1], auditors))))

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The contract's struct."""
        amounts = self.penalty, self.withheld_penalty, self.minimum_bond
        auditors = tuple(f"0x{auditor.hex()}" for auditor in self.auditors)
        return (self.model, self.terms, *amounts, self.deadline, self.quorum, auditors)

    def penalty_of(self, outcome: Outcome) -> int:
        """What a verdict costs in wei. Raises InputError for one that costs nothing."""
        _require(outcome in (Outcome.FAIL, Outcome.WITHHELD), "outcome", "fail or withheld", outcome.name)
        return self.penalty if outcome is Outcome.FAIL else self.withheld_penalty


def _require(ok: bool, what: str, expected: str, found: object) -> None:  # noqa: FBT001
    if not ok:
        raise InputError(what, expected=expected, found=found)


def policy_of(policy_id: bytes, words: Sequence[int], auditors: Sequence[int]) -> Policy | None:
    """Read a policy's first four words and its auditors; None if there is no such policy.

    Raises FormatError for what breaks the rules and VerificationError if it has another id.
    """
    model, terms, penalties, rest = words
    penalty, withheld = fields(penalties, 128, 128)
    minimum_bond, deadline, quorum = fields(rest, 128, 40, 8)
    if quorum == 0:
        return None
    accounts = tuple(fields(word, 160)[0].to_bytes(20, "big") for word in auditors)
    try:
        policy = Policy(
            _word(model), _word(terms), penalty, withheld, minimum_bond, deadline, quorum, accounts
        )
    except InputError as error:
        raise FormatError("policy on the ledger", expected=error.expected, found=error.found) from None
    if policy.policy_id != policy_id:
        raise VerificationError(
            "policy", expected=f"0x{policy_id.hex()}", found=f"0x{policy.policy_id.hex()}"
        )
    return policy


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an auditor says of a receipt.

    `policy_id`, `receipt` (its digest) and `report` (digest of the audit's report) have 32 bytes, `node` has
    20, `issued_at` is in Unix seconds.

    Raises:
        FormatError: other lengths, or a time beyond 2^53 - 1.
    """

    policy_id: bytes
    receipt: bytes
    node: bytes
    outcome: Outcome
    report: bytes
    issued_at: int

    def __post_init__(self) -> None:
        words = self.policy_id, self.receipt, self.report
        if set(map(len, words)) != {32} or len(self.node) != 20:
            raise FormatError("verdict", expected="words of 32 bytes, a node of 20")
        if not 0 <= self.issued_at < INTEGER_END:
            raise FormatError("time of a verdict", expected="0 to 2^53 - 1", found=self.issued_at)

    @property
    def _values(self) -> tuple[int | bytes, ...]:
        outcome = int(self.outcome)
        return self.policy_id, self.receipt, self.node, outcome, self.report, self.issued_at

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return tuple(f"0x{value.hex()}" if value is self.node else value for value in self._values)

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest, 32 bytes, that the auditor signs."""
        return typed_digest(domain, keccak256(b"".join(map(_word, (_VERDICT, *self._values)))))

    def of(self, report: bytes, issued_at: int) -> "Verdict":
        """The same verdict with another auditor's report and time."""
        return replace(self, report=report, issued_at=issued_at)
