"""Opening the ledger only at a head that the rules of `head` accept, and remembering it."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from modelreg.errors import FormatError, InputError, NotFoundError, VerificationError
from modelreg.format.names import ModelName
from modelreg.format.release import Release
from modelreg.ledger.artifact import load_artifact
from modelreg.ledger.header import Header
from modelreg.ledger.hexdata import address_text
from modelreg.ledger.reader import Reader
from modelreg.ledger.view import View
from modelreg.store.files import os_errors, read_regular, replace_file
from modelreg.store.lock import file_lock
from modelreg_verifier import head
from modelreg_verifier.evidence_file import Evidence, ReplayingRpc
from modelreg_verifier.head import HeadPolicy, ObservedBlock
from modelreg_verifier.head_record import TrustedHead

__all__ = ["HeadPolicy", "follow_branch", "open_evidence", "open_trusted"]

_MAX_BYTES = 8 << 20
_LOCK_SECONDS = 30.0


def open_trusted(reader: Reader, state: Path, policy: HeadPolicy) -> View:
    """The ledger at its head.

    Args:
        reader: reads the ledger.
        state: the file that remembers the newest head; its directory must exist.
        policy: what is put up with.

    Raises:
        VerificationError: rollback, reorganisation, fast-forward, or another chain or contract.
        UnreachableError: the endpoint is stuck at an old head.
    """
    opened: list[View] = []

    def advance(seen: TrustedHead | None) -> TrustedHead:
        # The head is read while the state is locked, lest a faster process make it look old.
        view = reader.at_head()
        opened.append(view)
        block = _observe(reader, view, seen)
        now = int(time.time())
        return head.first(block, policy, now) if seen is None else head.advance(seen, block, policy, now)

    _update(state, advance)
    return opened[0]


def follow_branch(view: View, state: Path, name: ModelName, branch: str) -> None:
    """Refuse a branch whose head does not descend from the one seen last, and remember it.

    Raises:
        VerificationError: the branch was rolled back, or has another history.
    """

    def advance(seen: TrustedHead | None) -> TrustedHead | None:
        if seen is None:
            return None
        known = seen.branch(name.id, branch)
        lineage: list[Release] = []
        for release in view.lineage(view.head(name, branch)):
            lineage.append(release)
            if known is None or release.seq <= known.seq:
                break
        return head.advance_branch(seen, name.id, branch, lineage)

    _update(state, advance)


def _observe(reader: Reader, view: View, seen: TrustedHead | None) -> ObservedBlock:
    header = view.header
    older = seen is not None and seen.number < header.number
    return ObservedBlock(
        chain_id=reader.chain_id,
        contract=reader.address,
        genesis=reader.header(0).hash,
        number=header.number,
        hash=header.hash,
        parent_hash=header.parent_hash,
        time=header.time,
        hash_at_seen=reader.header(seen.number).hash if seen is not None and older else None,
    )


def _update(state: Path, advance: Callable[[TrustedHead | None], TrustedHead | None]) -> None:
    lock = file_lock(state.with_name(state.name + ".lock"), exclusive=True, timeout=_LOCK_SECONDS)
    with os_errors(f"cannot note the head in {state}"), lock:
        seen = _read(state)
        new = advance(seen)
        if new is not None and new != seen:
            replace_file(state, new.to_json().encode())


def _read(state: Path) -> TrustedHead | None:
    try:
        with os_errors(f"cannot read {state}"):
            return TrustedHead.from_json(read_regular(state, _MAX_BYTES).decode("utf-8", "replace"))
    except NotFoundError:
        return None
    except FormatError as error:
        hint = "restore it; or remove it, and a rollback of the ledger to before now goes unnoticed"
        raise FormatError(f"cannot use {state}", expected=error.expected, hint=hint) from None


def open_evidence(evidence: Evidence, state: Path, block: str | None) -> View:
    """The ledger in the block of a bundle, if the user names its hash or the home saw it last.

    Args:
        evidence: what the bundle holds; every answer is verified when it is used.
        state: the file that remembers the newest head, if there is one.
        block: the text of a block hash that is trusted.

    Raises:
        VerificationError: the user's hash is another one, or the contract or chain is not the trusted one.
        InputError: nobody vouches for the header.
        ModelregError: the bundle proves nothing.
    """
    rpc = ReplayingRpc(evidence.answers)
    view = Reader(rpc, evidence.contract, evidence.chain_id).at_block(evidence.block)
    seen = _read(state)
    if seen is not None and seen.chain_id != evidence.chain_id:
        raise VerificationError(
            "the bundle is of another chain", expected=seen.chain_id, found=evidence.chain_id
        )
    _require_known_block(view.header, evidence.contract, seen, block)
    return view


def _require_known_block(
    header: Header, contract: bytes, seen: TrustedHead | None, block: str | None
) -> None:
    trusted = seen.contract if seen else load_artifact().address
    if contract != trusted:
        raise VerificationError(
            "the bundle is of another contract", expected=address_text(trusted), found=address_text(contract)
        )
    found = f"0x{header.hash.hex()}"
    if block is not None and re.fullmatch(r"0x[0-9a-fA-F]{64}", block) is None:
        raise InputError("not a block hash", expected="0x and 64 hex digits", found=repr(block)[:80])
    if block is not None:
        if block.lower() != found:
            raise VerificationError("the bundle is of another block", expected=block, found=found)
        return
    if seen is None or (seen.number, seen.hash) != (header.number, header.hash):
        raise InputError(
            f"nothing tells that block {header.number} is on the chain",
            expected="a block hash that you trust",
            found=found,
            hint=f"if an explorer or a person you trust confirms it, add --block {found}",
        )
