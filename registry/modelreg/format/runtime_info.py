"""What an inference ran on, as its node states it. Specified in docs/spec/trace.md, section 4."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from modelreg.errors import FormatError
from modelreg.format import canonical, schema
from modelreg.format.digest import HashAlgorithm
from modelreg.format.trace_plan import NumericClass

__all__ = ["OPTIMIZATIONS", "RuntimeInfo"]

OPTIMIZATIONS = ("disabled", "basic", "extended", "all")
_KIND = "modelreg/runtime/1"
_MAX_BLOCK_BYTES = 8192
_MAX_TEXT_BYTES = 64
_MAX_THREADS = 4096
_MAX_FEATURES = 64
_NAMES = (
    "runtime",
    "version",
    "provider",
    "optimization",
    "threads",
    "class",
    "device",
    "features",
)


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A runtime, its settings and its machine.

    `threads` are those within one operator; `features` are instruction sets in ascending order.

    Raises:
        FormatError: a text that is empty, long or not printable ASCII, a number out of range, or an order.
    """

    runtime: str
    version: str
    provider: str
    optimization: str
    threads: int
    numeric_class: NumericClass
    device: str
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = (self.runtime, self.version, self.provider, self.device, *self.features)
        for text in texts:
            if not 0 < len(text) <= _MAX_TEXT_BYTES or not (text.isascii() and text.isprintable()):
                raise FormatError(
                    "runtime", expected=f"1 to {_MAX_TEXT_BYTES} ASCII characters", found=ascii(text)[:90]
                )
        if self.optimization not in OPTIMIZATIONS:
            raise FormatError(
                "optimization", expected=", ".join(OPTIMIZATIONS), found=ascii(self.optimization)[:40]
            )
        if not 1 <= self.threads <= _MAX_THREADS:
            raise FormatError("threads", expected=f"1 to {_MAX_THREADS}", found=self.threads)
        if len(self.features) > _MAX_FEATURES or any(a >= b for a, b in pairwise(self.features)):
            raise FormatError("features", expected=f"at most {_MAX_FEATURES}, ascending", found="others")

    @property
    def value(self) -> dict[str, Any]:
        """The map that stands for it in canonical blocks."""
        return {
            "kind": _KIND,
            "runtime": self.runtime,
            "version": self.version,
            "provider": self.provider,
            "optimization": self.optimization,
            "threads": self.threads,
            "class": self.numeric_class.value,
            "device": self.device,
            "features": list(self.features),
        }

    def __bytes__(self) -> bytes:
        return canonical.encode(self.value, max_bytes=_MAX_BLOCK_BYTES)

    @classmethod
    def from_bytes(cls, block: bytes) -> Self:
        """Read a canonical block of at most 8192 bytes. Raises FormatError."""
        return cls.from_value(canonical.decode(block, max_bytes=_MAX_BLOCK_BYTES))

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Read a decoded map. Raises FormatError."""
        *texts, threads, label, device, features = schema.fields(value, _KIND, _NAMES)
        runtime, version, provider, optimization = (schema.text(text, _MAX_TEXT_BYTES) for text in texts)
        return cls(
            runtime,
            version,
            provider,
            optimization,
            schema.uint(threads, _MAX_THREADS),
            NumericClass.from_label(label),
            schema.text(device, _MAX_TEXT_BYTES),
            tuple(schema.text(name, _MAX_TEXT_BYTES) for name in schema.array(features, _MAX_FEATURES)),
        )

    @property
    def fingerprint(self) -> bytes:
        """The blake3 digest of the block, 32 bytes: `runtimeFingerprint` in receipts."""
        return HashAlgorithm.BLAKE3_256.digest(bytes(self)).value
