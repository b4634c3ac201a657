"""What `sync` may write to."""

from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.errors import InputError, ModelregError
from modelreg.format.selection import PARTIAL_SUFFIX

if TYPE_CHECKING:
    from modelreg.home import Home
    from modelreg.store.installed import Copy

__all__ = ["check_not_whole", "check_target"]


def check_target(home: "Home", target: Path) -> None:
    """Never replace a directory that modelreg did not write, or one that holds files of the user's."""
    if not target.is_dir():
        return
    copy = home.installed.at(target)
    foreign = _foreign_file(home, copy, target) if copy else next(iter(sorted(target.iterdir())), None)
    if foreign is not None:
        raise InputError(
            f"{target} holds other files",
            expected="a directory that is empty, or that holds only what sync wrote",
            found=foreign.name,
            hint="move them away, or name another directory with --to",
        )


def check_not_whole(home: "Home", target: Path) -> None:
    """Never replace a whole copy by a part."""
    copy = home.installed.at(target)
    if copy is not None and not copy.only and target.is_dir():
        raise InputError(
            f"{target} holds a whole release",
            expected="a directory for the part alone",
            found=copy.reference,
            hint="name another directory with --to",
        )


def _foreign_file(home: "Home", copy: "Copy", target: Path) -> Path | None:
    """A file in a copy that is of no release which this home knows; None if it no longer knows the copy's.

    After a crash the files may be those of the release before the one that is noted: its pin names it.
    """
    strangers = {path for path in target.rglob("*") if not path.is_dir()}
    for cid in (copy.manifest_cid, *home.pins.list().values()):
        if not strangers:
            return None
        try:
            manifest = home.plaintext.manifest(cid)
        except ModelregError:
            if cid == copy.manifest_cid:
                return None
            continue
        for file in manifest.files:
            strangers -= {target / file.path, target / (file.path + PARTIAL_SUFFIX)}
    return min(strangers, default=None)
