"""Paths of files inside a release. Specified in docs/spec/content.md, section 4."""

import re
import unicodedata
from collections.abc import Iterable

from modelreg.errors import FormatError

__all__ = ["MAX_COMPONENTS", "MAX_PATH_BYTES", "check_path", "check_paths"]

MAX_PATH_BYTES = 1024
MAX_COMPONENTS = 64
_MAX_COMPONENT_BYTES = 255

# Control and invisible characters, and what turns the direction of text: they make two paths look like one.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff0-\uffff\U000e0000-\U000e0fff\\\\:]"
)
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])\s*(?:\..*)?", re.I | re.S
)


def check_path(path: str) -> str:
    """Return a relative POSIX path unchanged.

    Raises:
        FormatError: it breaks a rule; the message says which.
    """
    flaw = _flaw(path)
    if flaw is not None:
        raise FormatError("path in a release", expected=flaw, found=ascii(path[:120]))
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Check each path, and that all of them can stand beside each other on any file system.

    Raises:
        FormatError: a path breaks a rule, comes twice, differs from another only by case, or is a directory
            of another.
    """
    root = _Directory()
    for path in paths:
        root.add(check_path(path))


class _Directory:
    """The names in one directory, by their folded form."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, _Directory | None]] = {}

    def add(self, path: str) -> None:
        """Enter a file below this directory."""
        *directories, name = path.split("/")
        at = self
        for directory in directories:
            _, entered = at._enter(directory, path, is_file=False)
            at = entered or at
        at._enter(name, path, is_file=True)

    def _enter(self, name: str, path: str, *, is_file: bool) -> "tuple[str, _Directory | None]":
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
        known = self._names.get(folded)
        if known is None:
            known = self._names[folded] = (name, None if is_file else _Directory())
        elif is_file or known[1] is None or known[0] != name:
            raise FormatError(
                "paths in a release",
                expected="no two that are equal, differ only by case, or contain each other",
                found=f"{path[:120]!a} beside a path with {known[0]!a}",
            )
        return known


def _flaw(path: str) -> str | None:
    if not path or _FORBIDDEN.search(path):
        return "text without control or invisible characters, backslash and colon"
    # Before normalizing, which takes time for long texts.
    if len(path) > MAX_PATH_BYTES or len(path.encode()) > MAX_PATH_BYTES:
        return f"at most {MAX_PATH_BYTES} bytes of UTF-8"
    if not unicodedata.is_normalized("NFC", path):
        return "Unicode in normalization form C"
    components = path.split("/")
    if len(components) > MAX_COMPONENTS:
        return f"at most {MAX_COMPONENTS} components"
    return next((flaw for flaw in map(_component_flaw, components) if flaw), None)


def _component_flaw(name: str) -> str | None:
    if name in ("", ".", ".."):
        return "components other than '', '.' and '..', so a relative path that stays inside"
    if len(name.encode()) > _MAX_COMPONENT_BYTES:
        return f"components of at most {_MAX_COMPONENT_BYTES} bytes"
    if name[-1] in ". " or name[0] == " ":
        return "components without a space at an end or a dot at the end"
    if _DEVICE.fullmatch(name):
        return "no name of a Windows device"
    return None
