"""The one error root. Every message says what was expected, what was found and what to do."""

__all__ = [
    "ConflictError",
    "FormatError",
    "InputError",
    "ModelregError",
    "NotFoundError",
    "NotPermittedError",
    "UnreachableError",
    "VerificationError",
]


class ModelregError(Exception):
    """Root of all errors that modelreg raises on purpose.

    Args:
        what: one line, no full stop, that says what went wrong.
        expected: what should have been there.
        found: what was there instead.
        hint: what the user can do about it.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, expected: object = None, found: object = None, hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        line = parts[0] + (": " + ", ".join(parts[1:]) if len(parts) > 1 else "")
        return f"{line}; {self.hint}" if self.hint else line


class InputError(ModelregError):
    """What the user gave cannot be used: an option, a reference, a file to publish."""

    exit_code = 2


class VerificationError(ModelregError):
    """Bytes, a proof or a signature do not match what they were checked against."""

    exit_code = 3


class FormatError(VerificationError):
    """Bytes that claim a format break its rules: too large, too deep, not canonical, out of range."""


class NotFoundError(ModelregError):
    """A model, release, block or file does not exist where it was looked for."""

    exit_code = 4


class ConflictError(ModelregError):
    """Somebody else was first: the head moved, the version or the name is taken."""

    exit_code = 5


class UnreachableError(ModelregError):
    """A chain, store or peer did not answer in time, or answered that it cannot serve."""

    exit_code = 6


class NotPermittedError(ModelregError):
    """The key lacks the role, or the operating system refuses the access."""

    exit_code = 8
