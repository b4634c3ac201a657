"""`node`: being a node, with a bond, and seeing who is one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from modelreg.errors import InputError
from modelreg_cli.output import printable
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import ADDRESS, ETHER, WORD, cost, ether, log_writer, receipt_log, utc
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.receipt_log_records import Node

__all__ = ["node_command"]


class _UrlType(click.ParamType[str]):
    name = "URL"

    def convert(self, value: object, *_: object) -> str:
        text = str(value)
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not text.isascii() or not text.isprintable() or " " in text:
            raise InputError(
                "not an endpoint", expected="http://HOST:PORT or https://…", found=ascii(text)[:90]
            )
        return text


@click.group("node")
def node_command() -> None:
    """Be a node with a bond, and see who is one.

    Nodes sign receipts of their answers and anchor them. A node that contradicts itself, that does not open a
    challenged receipt, or that its policy's auditors find cheating, loses from its bond.
    """


@node_command.command("register")
@click.option("--endpoint", type=_UrlType(), required=True, help="Where clients reach the node.")
@click.option(
    "--bond", type=ETHER, default="0", help="How much is to be locked; what lacks is sent.  [default: 0]"
)
@password_file_option
@pass_session
def _register(session: Session, endpoint: str, bond: int, password_file: Path | None) -> None:
    """Become a node, or change its endpoint or raise its bond."""
    with log_writer(session, password_file) as writer:
        receipt = writer.register(endpoint, bond)
    _report(session, receipt, "registered")


@node_command.command("bond")
@click.argument("amount", type=ETHER)
@click.option("--node", type=ADDRESS, help="Whose bond.  [default: this home's key]")
@password_file_option
@pass_session
def _bond(session: Session, amount: int, node: bytes | None, password_file: Path | None) -> None:
    """Raise a node's bond to AMOUNT ether in all; what lacks is sent. It may be another's."""
    node = node or session.home.key
    with log_writer(session, password_file) as writer:
        receipt = writer.raise_bond(node, amount)
    _report(session, receipt, "bonded", node)


@node_command.command("status")
@click.argument("address", type=ADDRESS, required=False)
@pass_session
def _status(session: Session, address: bytes | None) -> None:
    """Show a node's standing; that of this home's key unless ADDRESS names another."""
    account = address or session.home.key
    with receipt_log(session) as log:
        node, balance = log.require_node(account), log.balance(account)
    document = _document(node) | {"balance": ether(balance)}
    lines = [f"{name.replace('_', ' '):15}  {printable(str(value))}" for name, value in document.items()]
    session.output.result(document, "\n".join(lines))


@node_command.command("list")
@pass_session
def _list(session: Session) -> None:
    """List all nodes, in the order of their registration."""
    with receipt_log(session) as log:
        documents = [_document(node) for node in log.nodes()]
    lines = [
        f"{row['address']}  {row['status']:8}  {row['bond']:>8} ETH  {printable(row['endpoint'])}"
        for row in documents
    ]
    session.output.result(documents, "\n".join(lines) or "no nodes")


@node_command.command("exit")
@click.option("--cancel", is_flag=True, help="Stay a node after all.")
@password_file_option
@pass_session
def _exit(session: Session, cancel: bool, password_file: Path | None) -> None:  # noqa: FBT001  click's way
    """Stop being a node: ask for the exit, and 14 days later, with the same command, take it.

    The bond moves to the key's balance then, from where `node withdraw` takes it.
    """
    from modelreg.ledger.receipt_log_records import Status

    with receipt_log(session) as log:
        before = log.require_node(session.home.key).status
    with log_writer(session, password_file) as writer:
        if cancel:
            receipt = writer.cancel_exit()
        elif before in (Status.EXITING, Status.EXITED):
            receipt = writer.exit()
        else:
            receipt = writer.request_exit()
    _report(session, receipt, "stays" if cancel else "exit")


@node_command.command("withdraw")
@password_file_option
@pass_session
def _withdraw(session: Session, password_file: Path | None) -> None:
    """Take this key's balance out of the receipt log: a bond after an exit, deposits, and rewards."""
    key = session.home.key
    with receipt_log(session) as log:
        amount = log.balance(key)
    with log_writer(session, password_file) as writer:
        receipt = writer.withdraw() if amount else None
    document = {"address": f"0x{key.hex()}", "withdrawn": ether(amount), **cost(receipt)}
    session.output.result(document, f"withdrew {ether(amount)} ETH" if amount else "nothing to withdraw")


@node_command.command("enrol")
@click.argument("policy", type=WORD)
@password_file_option
@pass_session
def _enrol(session: Session, policy: bytes, password_file: Path | None) -> None:
    """Agree to be judged by the auditors of POLICY, and by them alone."""
    with log_writer(session, password_file) as writer:
        receipt = writer.enrol(policy)
    _enrolment(session, policy, receipt)


@node_command.command("resign")
@click.argument("policy", type=WORD)
@password_file_option
@pass_session
def _resign(session: Session, policy: bytes, password_file: Path | None) -> None:
    """Leave POLICY: what is anchored 14 days from now or later is not judged under it."""
    with log_writer(session, password_file) as writer:
        receipt = writer.resign(policy)
    _enrolment(session, policy, receipt)


def _enrolment(session: Session, policy: bytes, receipt: "Receipt | None") -> None:
    with receipt_log(session) as log:
        found = log.enrolment(session.home.key, policy)
    document = {
        "policy": f"0x{policy.hex()}",
        "since": found.since if found else None,
        "until": found.until if found else None,
        **cost(receipt),
    }
    until = f"until {utc(found.until)}" if found and found.until else "enrolled"
    session.output.result(document, f"{until}: policy {document['policy']}")


def _report(session: Session, receipt: "Receipt | None", word: str, node: bytes | None = None) -> None:
    with receipt_log(session) as log:
        found = log.require_node(node or session.home.key)
    document = _document(found) | cost(receipt)
    text = f"{word}: 0x{found.address.hex()} is {document['status']} with a bond of {document['bond']} ETH"
    if found.exitable_at:
        text += f", which can be taken from {document['exitable_at']} on"
    session.output.result(document, text)


def _document(node: "Node") -> dict[str, Any]:
    return {
        "address": f"0x{node.address.hex()}",
        "status": node.status.name.lower(),
        "endpoint": node.endpoint,
        "bond": ether(node.bond),
        "batches": node.batches,
        "epoch": node.epoch,
        "next_seq": node.next_seq,
        "open_challenges": node.open_challenges,
        "registered_at": utc(node.registered_at) if node.registered_at else None,
        "exitable_at": utc(node.exitable_at) if node.exitable_at else None,
    }
