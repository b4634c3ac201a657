"""Plans and calibrations in files, as `calibrate` writes them, and blocks that others are to fetch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelreg.errors import FormatError
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg.format.calibration import Calibration
    from modelreg.format.trace_plan import TracePlan

__all__ = ["FILE", "keep_block", "plan_option", "read_calibrations", "read_plans"]

FILE = click.Path(path_type=Path, dir_okay=False)
_Block = TypeVar("_Block")


def plan_option(text: str) -> Callable[[Any], Any]:
    """The option --plan, with this help."""
    return click.option("--plan", "plans", multiple=True, type=FILE, help=text)


def read_plans(files: Sequence[Path]) -> "list[TracePlan]":
    """Read plans. Raises FormatError for what is none, NotFoundError without a file."""
    from modelreg.format.trace_plan import TracePlan

    return [_read(path, "a plan", TracePlan.from_bytes) for path in files]


def read_calibrations(files: Sequence[Path]) -> "list[Calibration]":
    """Read calibrations. Raises as `read_plans`."""
    from modelreg.format.calibration import Calibration

    return [_read(path, "a calibration", Calibration.from_bytes) for path in files]


def _read(path: Path, what: str, parse: Callable[[bytes], _Block]) -> _Block:
    from modelreg.format.block import MAX_BLOCK_BYTES
    from modelreg.store.files import os_errors, read_regular

    with os_errors(f"cannot read {path}"):
        raw = read_regular(path, MAX_BLOCK_BYTES)
    try:
        return parse(raw)
    except FormatError as error:
        raise FormatError(f"{path} is not {what}", found=str(error)[:200]) from None


def keep_block(session: Session, name: str, block: bytes) -> bytes:
    """Store a DAG-CBOR block where others fetch it, pinned under a name; returns its blake3 digest."""
    from modelreg.format.cid import Cid, Codec
    from modelreg.format.digest import HashAlgorithm

    home, cid = session.home, Cid.of(Codec.DAG_CBOR, block, HashAlgorithm.BLAKE3_256)
    with home.store_lock.shared(session.output.remark):
        home.store.put_many([(cid, block)])
        home.keep(cid, name)
        home.pins.add(name, cid)
    return cid.digest.value
