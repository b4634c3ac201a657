"""`doctor`."""

import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from modelreg.errors import ModelregError
from modelreg.store.files import os_errors
from modelreg_cli.output import human_bytes
from modelreg_cli.session import Session, pass_session

__all__ = ["doctor_command"]

_LOW_DISK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Finding:
    check: str
    ok: bool
    message: str


@click.command("doctor")
@pass_session
@click.pass_context
def doctor_command(context: click.Context, session: Session) -> None:
    """Check this set-up piece by piece, and say how to mend what is wrong."""
    checks: dict[str, Callable[[Session], str]] = {
        "home": _home,
        "key": _key,
        "chain": _chain,
        "ledger": _ledger,
        "store": _store,
        "kubo": _kubo,
        "pins": _pins,
        "peers": _peers,
        "disk": _disk,
    }
    findings = [_run(name, check, session) for name, check in checks.items()]
    documents = [{"check": f.check, "ok": f.ok, "message": f.message} for f in findings]
    lines = [f"{'ok ' if f.ok else 'BAD'}  {f.check:7} {f.message}" for f in findings]
    session.output.result(documents, "\n".join(lines))
    if not all(finding.ok for finding in findings):
        context.exit(1)


def _run(name: str, check: Callable[[Session], str], session: Session) -> _Finding:
    try:
        with os_errors(f"cannot check the {name}"):
            return _Finding(name, ok=True, message=check(session))
    except ModelregError as error:
        return _Finding(name, ok=False, message=str(error))


def _home(session: Session) -> str:
    mode = stat.S_IMODE(session.root.stat().st_mode) if session.root.exists() else 0
    home = session.home
    if mode & 0o022:
        raise ModelregError(
            f"others may write to {home.root}",
            expected="mode 0700",
            found=oct(mode),
            hint=f"chmod 700 {home.root}",
        )
    return str(home.root)


def _key(session: Session) -> str:
    from modelreg.keys import KeyStore

    home = session.home
    path = KeyStore(home.keystore).find(home.key).path
    for file in filter(None, (path, home.config.password_file)):
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0
        if mode & 0o077:
            raise ModelregError(
                f"others may read {file}", expected="mode 0600", found=oct(mode), hint=f"chmod 600 {file}"
            )
    return f"0x{home.key.hex()} in {path.name}"


def _chain(session: Session) -> str:
    from modelreg.ledger.hexdata import quantity

    with session.home.rpc() as rpc:
        number = quantity(rpc.request("eth_blockNumber", []), "block number")
        return f"{rpc.name}, at block {number}"


def _ledger(session: Session) -> str:
    with session.ledger() as view:
        return f"{sum(1 for _ in view.models())} models, all proofs hold at block {view.header.number}"


def _store(session: Session) -> str:
    counted = session.home.local_store.stat()
    return f"{counted.blocks} blocks, {human_bytes(counted.size)}"


def _kubo(session: Session) -> str:
    home = session.home
    if home.kubo is None or home.kubo_pins is None:
        return "not used"
    if missing := home.kubo_pins.lost():
        raise ModelregError(
            f"{home.kubo.name} lost {len(missing)} pins",
            found=missing[0],
            hint="pin the releases again: modelreg pin",
        )
    return f"{home.kubo.name}, version {home.kubo.api.version()}, {home.kubo_pins.count} pins"


def _pins(session: Session) -> str:
    home = session.home
    pins = home.pins.list()
    missing = [name for name, cid in pins.items() if not home.store.has(cid)]
    if missing:
        raise ModelregError(
            f"{len(missing)} pinned releases lack their manifest",
            found=missing[0],
            hint=f"fetch it again: modelreg pin {missing[0]}",
        )
    return f"{len(pins)} releases kept"


def _peers(session: Session) -> str:
    from modelreg.store.local import LocalStore

    peers = session.home.config.peers
    for peer in peers:
        if isinstance(peer, Path):
            LocalStore(peer / "store", readonly=True)
    return ", ".join(map(str, peers)) or "none"


def _disk(session: Session) -> str:
    free = shutil.disk_usage(session.root if session.root.exists() else session.root.anchor).free
    if free < _LOW_DISK_BYTES:
        raise ModelregError(
            "little disk space", expected="1 GB free", found=human_bytes(free), hint="modelreg gc"
        )
    return f"{human_bytes(free)} free"
