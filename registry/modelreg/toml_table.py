"""Values of a table in a configuration file, each of the type that is expected."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelreg.errors import InputError

__all__ = ["Table", "bad_value"]


def bad_value(path: Path, expected: str, found: object) -> InputError:
    """What to raise for a value that cannot be used."""
    return InputError(
        f"cannot use {path}", expected=expected, found=found, hint="mend it, or run `modelreg init`"
    )


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file; every method raises InputError for a value of another type."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> str | None:
        """A text, None where there is no such key."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise bad_value(self.path, f"a text for {key}", value)
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty where there is no such key."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise bad_value(self.path, f"a list of texts for {key}", value)
        return value

    def number(self, key: str, what: str) -> int | None:
        """A whole number above 0, None where there is no such key; `what` it is, for the message."""
        value = self.values.get(key)
        if value is not None and (type(value) is not int or value <= 0):
            raise bad_value(self.path, f"{what} above 0 for {key}", repr(value))
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if type(value) is not bool:
            raise bad_value(self.path, f"true or false for {key}", repr(value))
        return value

    def file(self, key: str) -> Path | None:
        """A path relative to the directory of the file, None where there is no such key."""
        text = self.text(key)
        return self.path.parent / text if text else None
