"""Names of models, versions, labels, releases and references. Specified in docs/spec/names.md."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

from modelreg.errors import FormatError, InputError
from modelreg.format.digest import keccak256

__all__ = [
    "LABEL_BYTES",
    "MAIN_BRANCH",
    "AtBranch",
    "AtChannel",
    "AtRelease",
    "AtVersion",
    "ModelName",
    "Reference",
    "ReleaseId",
    "Version",
    "check_branch",
    "check_channel",
    "check_namespace",
    "label_from_word",
    "label_word",
    "parse_reference",
]

LABEL_BYTES = 32
MAIN_BRANCH = "main"
_NAME_MAX = 96

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"(?P<core>{_NUMBER}\.{_NUMBER}\.{_NUMBER})"
    rf"(?:-(?P<pre>{_WORD}(?:\.{_WORD})*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_SHOWN = 120


def _checked(text: str, pattern: re.Pattern[str], most: int, what: str, rule: str) -> str:
    if len(text) > most or pattern.fullmatch(text) is None:
        raise InputError(
            f"not a {what}", expected=f"1 to {most} characters: {rule}", found=repr(text[:_SHOWN])
        )
    return text


def check_namespace(text: str) -> str:
    """Return a namespace unchanged, or raise InputError."""
    rule = "a-z, 0-9 and inner hyphens"
    return _checked(text, _NAMESPACE, LABEL_BYTES, "namespace", rule)


def check_branch(text: str) -> str:
    """Return a branch label unchanged, or raise InputError."""
    rule = "a-z, 0-9 and inner . _ -"
    return _checked(text, _LABEL, LABEL_BYTES, "branch", rule)


def check_channel(text: str) -> str:
    """Return a channel label unchanged, or raise InputError; what reads as a version is no channel."""
    rule = "a-z, 0-9 and inner . _ -"
    _checked(text, _LABEL, LABEL_BYTES, "channel", rule)
    if _VERSION.fullmatch(text):
        raise InputError("not a channel", expected="a label that does not read as a version", found=text)
    return text


def label_word(text: str) -> bytes:
    """The 32 bytes that stand for a label on the ledger: ASCII, zero-padded on the right."""
    if not 0 < len(text) <= LABEL_BYTES or not text.isascii() or "\0" in text:
        raise InputError("not a label", expected="1 to 32 ASCII characters", found=repr(text[:_SHOWN]))
    return text.encode("ascii").ljust(LABEL_BYTES, b"\0")


def label_from_word(word: bytes) -> str:
    """Read `label_word` back. Raises FormatError for any other 32 bytes."""
    text = word.rstrip(b"\0")
    if len(word) != LABEL_BYTES or not text or b"\0" in text or not text.isascii():
        raise FormatError("label", expected="ASCII, zero-padded on the right to 32 bytes", found=word.hex())
    return text.decode("ascii")


@dataclass(frozen=True, slots=True, order=True)
class ModelName:
    """The name of a model; prints as `namespace/name`."""

    namespace: str
    name: str

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        _checked(self.name, _NAME, _NAME_MAX, "model name", "A-Z, a-z, 0-9 and inner . _ -")
        if ".." in self.name:
            raise InputError("not a model name", expected="no two dots in a row", found=repr(self.name))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def id(self) -> bytes:
        """The model id on the ledger: keccak-256 of the printed name, 32 bytes."""
        return keccak256(str(self).encode("ascii"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `namespace/name`. Raises InputError."""
        namespace, slash, name = text.partition("/")
        if not slash:
            raise InputError("not a model", expected="namespace/name", found=repr(text[:_SHOWN]))
        return cls(namespace, name)


def _identifier_key(identifier: str) -> tuple[int, int, str]:
    return (0, int(identifier), "") if identifier.isdigit() else (1, 0, identifier)


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version label, as Semantic Versions 2.0.0 define it, of at most 32 bytes.

    `<` follows the precedence of that document's section 11; it leaves build metadata out, while `==`
    compares the text.
    """

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > LABEL_BYTES or _VERSION.fullmatch(self.text) is None:
            raise InputError(
                "not a version",
                expected=f"MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD] of at most {LABEL_BYTES} characters",
                found=repr(self.text[:_SHOWN]),
            )

    def __str__(self) -> str:
        return self.text

    @property
    def precedence(self) -> tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...]]:
        """A sort key: equal for versions that differ in build metadata alone."""
        match = _VERSION.fullmatch(self.text)
        assert match is not None  # noqa: S101  checked at construction
        core = tuple(int(number) for number in match["core"].split("."))
        pre = match["pre"]
        return core, pre is None, tuple(map(_identifier_key, pre.split("."))) if pre else ()

    @property
    def without_build(self) -> "Version":
        """The version that differs at most in build metadata, and has none."""
        return Version(self.text.partition("+")[0])

    def __lt__(self, other: Self) -> bool:
        return self.precedence < other.precedence

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version. Raises InputError."""
        return cls(text)


@dataclass(frozen=True, slots=True)
class ReleaseId:
    """The id of a release on the ledger: 32 bytes, never all zero; prints as `0x` and 64 hex digits."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != 32 or not any(self.value):
            raise FormatError("release id", expected="32 bytes, not all zero", found=self.value[:40].hex())

    def __bytes__(self) -> bytes:
        return self.value

    def __str__(self) -> str:
        return f"0x{self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` prints; lower case only. Raises InputError."""
        if re.fullmatch(r"0x[0-9a-f]{64}", text) is None or not int(text, 16):
            raise InputError(
                "not a release id", expected="0x and 64 lower-case hex digits", found=repr(text[:_SHOWN])
            )
        return cls(bytes.fromhex(text[2:]))


@dataclass(frozen=True, slots=True)
class AtVersion:
    """The release that has this version: `namespace/name@1.2.0`."""

    model: ModelName
    version: Version

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True)
class AtChannel:
    """The release that a channel names now: `namespace/name@stable`."""

    model: ModelName
    channel: str

    def __str__(self) -> str:
        return f"{self.model}@{self.channel}"


@dataclass(frozen=True, slots=True)
class AtBranch:
    """The head of a branch: `namespace/name@branch:main`, or `namespace/name` for the branch `main`."""

    model: ModelName
    branch: str = MAIN_BRANCH

    def __str__(self) -> str:
        return f"{self.model}@branch:{self.branch}"


@dataclass(frozen=True, slots=True)
class AtRelease:
    """One release by its id: `0x…`."""

    release: ReleaseId

    def __str__(self) -> str:
        return str(self.release)


Reference = AtVersion | AtChannel | AtBranch | AtRelease

_FORMS = "namespace/name, namespace/name@VERSION, namespace/name@CHANNEL, namespace/name@branch:NAME or 0x…"


def parse_reference(text: str) -> Reference:
    """Read a reference as the command takes it. Raises InputError that lists the forms."""
    if text.startswith("0x") and "/" not in text:
        return AtRelease(ReleaseId.parse(text))
    model_text, at, selector = text.partition("@")
    try:
        model = ModelName.parse(model_text)
        if not at:
            return AtBranch(model)
        return _select(model, selector)
    except InputError as error:
        if error.hint is None:
            error.hint = f"a reference is {_FORMS}"
        raise


def _select(model: ModelName, selector: str) -> Reference:
    if selector.startswith("branch:"):
        return AtBranch(model, check_branch(selector.removeprefix("branch:")))
    if _VERSION.fullmatch(selector):
        return AtVersion(model, Version.parse(selector))
    return AtChannel(model, check_channel(selector))
