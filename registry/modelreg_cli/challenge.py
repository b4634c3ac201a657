"""`challenge`: demanding what nodes owe, and answering what is demanded."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import NotFoundError, NotPermittedError, UnreachableError
from modelreg_cli.challenge_answer import answer_all
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_file import read_receipt
from modelreg_cli.receipt_log import ADDRESS, WORD, challenge_writer, cost, receipt_log, utc
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.receipt import SignedReceipt
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.receipt_log_open import OpenChallenge
    from modelreg_cli.challenge_files import ChallengeFiles, Target

__all__ = ["challenge_command"]

_WORD_MAX = (1 << 64) - 1
_NUMBER = click.IntRange(0, _WORD_MAX)


@click.group("challenge")
def challenge_command() -> None:
    """Demand what nodes owe, and answer what is demanded of this one.

    A challenge costs a deposit of 0.01 ether. A node that answers within three days gets it; one that does
    not loses its whole bond, and a tenth of that goes to the challenger.
    """


@challenge_command.command("open")
@click.argument("receipt_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--policy", type=WORD, default=bytes(32), help="The policy whose auditor you are.  [default: none]"
)
@password_file_option
@pass_session
def _open(session: Session, receipt_file: Path, policy: bytes, password_file: Path | None) -> None:
    """Demand proof that the receipt in RECEIPT_FILE was anchored, and what its commitments open to.

    Receipts for nobody in particular can be challenged by anybody, others by their client, or by an auditor
    of a policy that the node is under.
    """
    from modelreg.ledger.receipt_log_batches import find_batch

    signed = read_receipt(session, receipt_file)
    node, epoch, seq = signed.receipt.node, signed.receipt.epoch, signed.receipt.seq
    with receipt_log(session) as log:
        anchored = find_batch(log, node, epoch, seq)
    if anchored is None:
        hint = "what is not anchored can be held against a node only if it contradicts something"
        raise NotFoundError(f"0x{node.hex()} has not anchored epoch {epoch}, seq {seq}", hint=hint)
    _require_entitled(session, signed, policy)
    with (
        _files(session).keeping(signed) as target,
        challenge_writer(session, password_file) as challenges,
    ):
        receipt = challenges.challenge(signed, anchored, policy)
    _opened(session, target, receipt)


@challenge_command.command("place")
@click.argument("node", type=ADDRESS)
@click.argument("seq", type=_NUMBER)
@click.option("--batch", "index", type=_NUMBER, required=True, help="Which of the node's batches, from 0.")
@password_file_option
@pass_session
def _place(session: Session, node: bytes, seq: int, index: int, password_file: Path | None) -> None:
    """Demand the signed receipt that stands at SEQ in a batch of NODE.

    This is for batches of which a node hands out nothing. Once it is answered, `challenge claim` writes the
    receipt to a file.
    """
    from modelreg.ledger.receipt_log_batches import find_batch_at
    from modelreg_cli.challenge_files import Place

    with receipt_log(session) as log:
        anchored = find_batch_at(log, node, index)
    with (
        _files(session).keeping(Place(node, index, seq)) as target,
        challenge_writer(session, password_file) as challenges,
    ):
        receipt = challenges.challenge_place(anchored, seq)
    _opened(session, target, receipt)


@challenge_command.command("answer")
@click.option("--dry-run", is_flag=True, help="Send nothing; say what could be answered.")
@password_file_option
@pass_session
@click.pass_context
def _answer(context: click.Context, session: Session, dry_run: bool, password_file: Path | None) -> None:  # noqa: FBT001
    """Answer every open challenge against this home's key, from the journal of `serve`.

    A running `serve` does the same on its own.
    """
    found = list(answer_all(session, password_file, dry_run=dry_run))
    rows = [row for row, _ in found]
    lines = [f"{row['id']}  {row['error'] or row['outcome']}, due {row['deadline']}" for row in rows]
    session.output.result(rows, "\n".join(lines) or "no challenges wait")
    failed = [error for _, error in found if error]
    if failed:
        session.output.failure(failed[0])
        context.exit(failed[0].exit_code)


@challenge_command.command("claim")
@password_file_option
@pass_session
def _claim(session: Session, password_file: Path | None) -> None:
    """Have the bond slashed of every node that let the deadline of a challenge of this home pass.

    What was answered is said too. The receipt that answered `challenge place` is kept in a file, for
    `challenge open`.
    """
    files = _files(session)
    rows = [_settled(session, password_file, files, target) for target in list(files)]
    lines = [
        f"{row['id']}  {row['outcome']}  {row['node']}" + (f"  {row['receipt']}" if row["receipt"] else "")
        for row in rows
    ]
    session.output.result(rows, "\n".join(lines) or "nothing that this home challenged waits")


def _settled(
    session: Session, password_file: Path | None, files: "ChallengeFiles", target: "Target"
) -> dict[str, Any]:
    """What has become of a challenge; one that ran out is claimed, and one that has ended forgotten."""
    receipt = shown = None
    with receipt_log(session) as log:
        found = log.challenge(target.id)
        outcome = found.state.name.lower() if found else "not sent"
        if outcome == "answered":
            shown = files.show(log, target)
    if found and outcome == "open" and max(log.header.time, time.time()) > found.deadline:
        with challenge_writer(session, password_file) as challenges:
            receipt = target.slash(challenges)
        outcome = "missed"
    if outcome in ("answered", "missed"):
        files.remove(target)
    return _row(target) | {"outcome": outcome, "receipt": str(shown) if shown else None, **cost(receipt)}


@challenge_command.command("list")
@click.argument("node", type=ADDRESS, required=False)
@pass_session
def _list(session: Session, node: bytes | None) -> None:
    """List the open challenges of NODE; of this home's key unless NODE names another."""
    from itertools import islice

    from modelreg.ledger.receipt_log_open import open_challenges

    account = node or session.home.key
    with receipt_log(session) as log:
        count = log.require_node(account).open_challenges
        found = list(islice(open_challenges(log, account), count))
    if len(found) < count:
        raise UnreachableError(
            f"{log.rpc.name} does not show all open challenges of 0x{account.hex()}",
            expected=count,
            found=len(found),
            hint="use an RPC that keeps all events",
        )
    rows = [_open_row(each) for each in found]
    lines = [f"{row['id']}  {row['of']}, due {row['deadline']}, by {row['challenger']}" for row in rows]
    session.output.result(rows, "\n".join(lines) or "no open challenges")


def _require_entitled(session: Session, signed: "SignedReceipt", policy: bytes) -> None:
    client = signed.receipt.client
    if any(client) and client != session.home.key and not any(policy):
        raise NotPermittedError(
            f"the receipt is for the client 0x{client.hex()}, and its answer would open what that asked",
            hint="an auditor names a policy that the node is under: --policy 0x…",
        )


def _files(session: Session) -> "ChallengeFiles":
    from modelreg.ledger.receipt_log_evidence import receipt_domain
    from modelreg_cli.challenge_files import ChallengeFiles

    home = session.home
    return ChallengeFiles(home.root / "challenges", receipt_domain(home.config.chain.chain_id))


def _row(target: "Target") -> dict[str, Any]:
    return {"id": f"0x{target.id.hex()}", "node": f"0x{target.node.hex()}"}


def _open_row(found: "OpenChallenge") -> dict[str, Any]:
    of = "a receipt" if found.place is None else f"batch {found.place[0]}, seq {found.place[1]}"
    return {
        "id": f"0x{found.id.hex()}",
        "of": of,
        "deadline": utc(found.challenge.deadline),
        "challenger": f"0x{found.challenge.challenger.hex()}",
    }


def _opened(session: Session, target: "Target", receipt: "Receipt | None") -> None:
    with receipt_log(session) as log:
        found = log.challenge(target.id)
    document = _row(target) | {"deadline": utc(found.deadline) if found else None, **cost(receipt)}
    text = f"challenged {document['id']} of {document['node']}, which has until {document['deadline']}"
    session.output.result(document, text)
