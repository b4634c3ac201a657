"""What the operator asked to serve, and the names that it gets.

Specified in docs/spec/serve.md, section 1.
"""

from dataclasses import dataclass

from modelreg.errors import FormatError, InputError
from modelreg.format.names import AtBranch, AtChannel, AtRelease, ModelName, Reference, parse_reference
from modelreg.format.paths import check_path

__all__ = ["Target", "parse_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A reference, and the ONNX file of its release; None where the release has but one."""

    reference: Reference
    file: str | None

    def __str__(self) -> str:
        return f"{self.reference}/{self.file}" if self.file else str(self.reference)

    @property
    def moves(self) -> bool:
        """Whether the reference names now one release and now another."""
        return isinstance(self.reference, AtChannel | AtBranch)

    @property
    def selector(self) -> str:
        """What names it among the targets of one model."""
        if isinstance(self.reference, AtRelease):
            return str(self.reference)
        return str(self.reference).partition("@")[2]

    def served_name(self, model: ModelName) -> str:
        """The name under which clients ask for it."""
        return f"{model}/{self.file}" if self.file else str(model)


def parse_target(text: str) -> Target:
    """Read `REF` or `REF/FILE`. Raises InputError."""
    head, at, selector = text.partition("@")
    if at:
        label, slash, file = selector.partition("/")
        head = f"{head}@{label}"
    elif text.startswith("0x"):
        head, slash, file = text.partition("/")
    else:
        namespace, first, rest = text.partition("/")
        name, slash, file = rest.partition("/")
        head = f"{namespace}{first}{name}"
    try:
        return Target(parse_reference(head), check_path(file) if slash else None)
    except FormatError as error:
        raise InputError(error.what, expected=error.expected, found=error.found) from None
