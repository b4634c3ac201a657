"""`serve`."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import InputError
from modelreg_cli.audit_blocks import plan_option, read_plans
from modelreg_cli.challenge_answer import ChallengeWatch
from modelreg_cli.inference_extra import require_inference
from modelreg_cli.password import password_file_option
from modelreg_cli.serve_receipts import open_receipts, parse_auditor, prune_receipts
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg_verifier.receipts.service import ReceiptService
    from modelreg_verifier.serving.loader import Loader
    from modelreg_verifier.serving.server import InferenceServer, ServerSettings

__all__ = ["serve_command"]

_TOKEN_BYTES_MIN, _TOKEN_BYTES_MAX = 16, 4096
_MIB = 1 << 20
_PRUNE_SECONDS = 3600.0


@click.command("serve")
@click.argument("targets", nargs=-1, required=True, metavar="REF[/FILE]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name under which clients may ask.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Holds the token that clients must bring.",
)
@click.option("--allow-yanked", is_flag=True, help="Serve releases that were withdrawn.")
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=15.0,
    show_default=True,
    help="Seconds between looks at the ledger.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="Those within one inference.  [default: all]")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Inferences at a time."
)
@click.option(
    "--queue", type=click.IntRange(0, 65536), default=64, show_default=True, help="Inferences that may wait."
)
@click.option(
    "--memory", type=click.IntRange(1), metavar="MIB", help="For tensors, besides weights.  [default: half]"
)
@click.option(
    "--receipts/--no-receipts", default=None, help="Sign a receipt of each answer.  [default: with a key]"
)
@password_file_option
@click.option(
    "--openings",
    type=click.IntRange(1),
    metavar="GIB",
    help="For what opens receipts.  [default: half of the free disk]",
)
@click.option(
    "--auditor",
    "auditors",
    multiple=True,
    metavar="ADDRESS",
    help="Who may see openings, beside the auditors of policies that this key is enrolled in.",
)
@click.option(
    "--operator-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Holds a token that shows openings; never the clients'.",
)
@click.option("--blocks/--no-blocks", default=True, help="Give the blocks of releases to other nodes, too.")
@plan_option("A plan by which its file is traced, as `calibrate` wrote it.")
@pass_session
def serve_command(
    session: Session,
    targets: tuple[str, ...],
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    token_file: Path | None,
    allow_yanked: bool,  # noqa: FBT001  click passes options by name
    every: float,
    threads: int | None,
    workers: int,
    queue: int,
    memory: int | None,
    receipts: bool | None,  # noqa: FBT001  as above
    password_file: Path | None,
    openings: int | None,
    auditors: tuple[str, ...],
    operator_token_file: Path | None,
    blocks: bool,  # noqa: FBT001  as above
    plans: tuple[Path, ...],
) -> None:
    """Answer inference requests with the releases REF, every byte of them verified, until interrupted.

    Clients ask over the Open Inference Protocol, version 2, as Triton and KServe speak it. Where a release
    has several ONNX files, FILE chooses one. Channels and branches are followed; a release that is yanked
    is served no longer.

    Each answer carries a receipt that the home's key signed. They are kept below `receipts` in the home, and
    handed out at /receipts, /batches and /openings, and a registered node's challenges are answered. By a
    plan, receipts bind what the model computed on its way too, so that an auditor can tell whether it is the
    release; without --plan that is the one that the publisher attached, if there is one. A release is refused
    with which this home's key would break the terms of a policy that it is enrolled in.

    What this home holds of releases is given to other nodes below /ipfs/, as an IPFS trustless gateway, and
    below /squashes/ what shorter ways to a release it offers.
    """
    require_inference()
    from modelreg.gateway import BlockServer
    from modelreg.held import HeldBlocks
    from modelreg_verifier.serving.engine import limit_memory
    from modelreg_verifier.serving.limits import Limits
    from modelreg_verifier.serving.loader import Loader, Loading
    from modelreg_verifier.serving.reloading import released_engines
    from modelreg_verifier.serving.server import InferenceServer, ServerSettings
    from modelreg_verifier.serving.target import parse_target
    from modelreg_verifier.serving.tuning import tune_process
    from modelreg_verifier.serving.vouching import vouching
    from modelreg_verifier.trace.plans import PlanTable

    settings = ServerSettings(
        host=host,
        port=port,
        workers=workers,
        token=_token(token_file) if token_file else None,
        allowed_hosts=allow_host,
        limits=Limits(queue=queue),
    )
    table, given = PlanTable(read_plans(plans)), HeldBlocks(session.root)
    allowed = set(map(parse_auditor, auditors))
    limit_memory(memory * _MIB if memory else _half_of_memory())
    tune_process()
    loading = Loading(
        home=session.root,
        ledger=session.ledger,
        threads=threads or len(os.sched_getaffinity(0)),
        allow_yanked=allow_yanked,
        remark=session.output.remark,
        plans=table,
        every=every,
        vouch=vouching(
            session.root, session.ledger, session.home.config.key, session.output.remark, allowed.update
        ),
    )
    with contextlib.ExitStack() as held:
        service = None
        if session.home.config.key is not None if receipts is None else receipts:
            operator = _token(operator_token_file) if operator_token_file else None
            service = open_receipts(session, password_file, allowed, operator, table, openings)
            held.callback(service.close)
        loader = Loader([parse_target(text) for text in targets], loading)
        table.require_used({served.file for served in loader.models})
        server = InferenceServer(
            loader.models,
            settings,
            recorder=service.recorder if service else None,
            blocks=BlockServer(given, given.squashes) if blocks else None,
            pages=service.pages(loader.models, released_engines(loading)) if service else None,
            log=_log,
        )
        watch = ChallengeWatch(session, password_file) if service else None
        asyncio.run(_serve(session, server, loader, service, watch, settings))


async def _serve(
    session: Session,
    server: "InferenceServer",
    loader: "Loader",
    service: "ReceiptService | None",
    watch: ChallengeWatch | None,
    settings: "ServerSettings",
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    await server.start()
    _announce(session, server, loader, service, settings)
    pruned = -_PRUNE_SECONDS
    try:
        while not stopping.is_set():
            if await asyncio.to_thread(loader.pace.is_due, session.height):
                await asyncio.to_thread(loader.refresh, _log)
                if watch is not None and not stopping.is_set():
                    watch.look(_log)
            if service is not None and loop.time() >= pruned + _PRUNE_SECONDS:
                pruned = loop.time()
                await asyncio.to_thread(prune_receipts, session, service, _log)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), loader.pace.seconds)
    finally:
        await server.stop()
        if watch is not None:
            watch.end()


def _announce(
    session: Session,
    server: "InferenceServer",
    loader: "Loader",
    service: "ReceiptService | None",
    settings: "ServerSettings",
) -> None:
    models = [
        {"name": served.name, "version": served.version, "release_id": str(served.release)}
        for served in loader.models
    ]
    lines = [f"{server.url} serves"]
    lines += [f"  {model['name']} {model['version']}, verified, {model['release_id']}" for model in models]
    node = f"0x{service.journal.node.hex()}" if service else None
    lines.append(f"receipts signed by {node}" if node else "without receipts")
    session.output.result({"url": server.url, "models": models, "node": node}, "\n".join(lines))
    sys.stdout.flush()
    if settings.token is None and settings.host not in ("127.0.0.1", "::1", "localhost"):
        session.output.remark(
            f"warning: whoever reaches {settings.host} can ask; --token-file keeps others out"
        )


def _log(line: dict[str, Any]) -> None:
    # One write a line, so that lines of several threads do not mix; a log that nobody reads stops nothing.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
        sys.stderr.flush()


def _token(path: Path) -> bytes:
    from modelreg.store.files import os_errors, read_regular

    with os_errors(f"cannot read {path}"):
        token = read_regular(path, _TOKEN_BYTES_MAX).strip()
    if len(token) < _TOKEN_BYTES_MIN or not token.isascii() or not token.decode().isprintable():
        raise InputError(
            f"{path} holds no token", expected=f"one line of at least {_TOKEN_BYTES_MIN} printable characters"
        )
    return token


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
