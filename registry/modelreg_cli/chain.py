"""`chain`: the embedded chain as a chain."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from modelreg.errors import InputError, NotPermittedError
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import cost
from modelreg_cli.session import Session, pass_session

__all__ = ["chain_command"]


@click.group("chain")
def chain_command() -> None:
    """Serve and check the embedded chain, and deploy on any."""


@chain_command.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=8545, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--read-only", is_flag=True, help="Take no transactions; only so beyond this machine.")
@click.option(
    "--block-time",
    type=click.FloatRange(1.0),
    metavar="SECONDS",
    help="Mine an empty block where none came for so long.  [default: none]",
)
@pass_session
def _serve(
    session: Session,
    host: str,
    port: int,
    read_only: bool,  # noqa: FBT001  click passes options by name
    block_time: float | None,
) -> None:
    """Serve the chain over JSON-RPC, for any Ethereum tool, until interrupted.

    What this home holds of releases is served too, below /ipfs/, as an IPFS trustless gateway. So another
    home can join by the URL alone: modelreg init --join URL.

    A block is mined for each transaction. With --block-time the chain grows by itself too, so that the block
    of a channel's planned move is reached.
    """
    from modelreg.chain import open_chain
    from modelreg.chain.server import serve
    from modelreg.gateway import PATHS, BlockServer
    from modelreg.held import HeldBlocks

    file, held = _file(session), HeldBlocks(session.root)
    with open_chain(file, readonly=read_only) as chain:
        serve(
            chain,
            host=host,
            port=port,
            below=dict.fromkeys(PATHS, BlockServer(held, held.squashes).answer),
            block_seconds=block_time,
            ready=lambda url: session.output.result({"url": url}, url),
        )


@chain_command.command("status")
@click.option(
    "--replay", is_flag=True, help="Execute every transaction again and compare all that was stored."
)
@pass_session
def _status(session: Session, replay: bool) -> None:  # noqa: FBT001  click passes options by name
    """Show the chain's head; with --replay prove that its state follows from its transactions."""
    with session.home.reader() as reader:
        head = reader.at_head().header
    document = {
        "chain_id": session.home.config.chain.chain_id,
        "contract": "0x" + session.home.config.chain.contract.hex(),
        "block": head.number,
        "hash": "0x" + head.hash.hex(),
        "state_root": "0x" + head.state_root.hex(),
        "time": head.time,
        "replayed": None,
    }
    if replay:
        from modelreg.chain.replay import replay as replay_chain

        report = replay_chain(_file(session))
        document["replayed"] = {"blocks": report.blocks, "state_root": "0x" + report.state_root.hex()}
    session.output.result(document, "\n".join(_lines(document)))


@chain_command.command("deploy")
@click.option("--yes", is_flag=True, help="Do not ask on a chain that is not embedded.")
@password_file_option
@pass_session
def _deploy(session: Session, yes: bool, password_file: Path | None) -> None:  # noqa: FBT001  as above
    """Deploy the contracts, unless the chain has them, where they are on every chain."""
    from modelreg.ledger.artifact import load_artifact
    from modelreg.ledger.receipt_log_writer import ReceiptLogWriter

    chain = session.home.config.chain
    question = f"Deploy the contracts on chain {chain.chain_id}?"
    if chain.file is None and not yes and not session.confirm(question):
        raise NotPermittedError("the contracts are not deployed", hint="deploy them with --yes")
    with session.writer(password_file) as writer:
        # A home may name a registry at another place, which is there.
        registry = writer.deploy() if chain.contract == load_artifact().address else None
        receipt_log = ReceiptLogWriter(writer).deploy()
    address = f"0x{load_artifact('ReceiptLog').address.hex()}"
    document = {
        "registry": {"contract": f"0x{chain.contract.hex()}", **cost(registry)},
        "receipt_log": {"contract": address, **cost(receipt_log)},
    }
    session.output.result(
        document,
        "\n".join(f"{name.replace('_', ' '):11}  {row['contract']}" for name, row in document.items()),
    )


def _lines(document: dict[str, Any]) -> Iterator[str]:
    shown = document | {"time": datetime.fromtimestamp(document["time"], UTC).isoformat()}
    if document["replayed"]:
        shown["replayed"] = f"{document['replayed']['blocks']} blocks, all as stored"
    return (f"{key.replace('_', ' '):11} {value}" for key, value in shown.items() if value is not None)


def _file(session: Session) -> Path:
    file = session.home.config.chain.file
    if file is None:
        raise InputError("this home uses a chain behind an RPC endpoint", expected="an embedded chain")
    return file
