"""The place where receipts enter: who answers a request hands it to a recorder first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from modelreg.errors import UnreachableError
from modelreg.format.commitments import Tensor
from modelreg.format.names import ReleaseId
from modelreg.format.runtime_info import RuntimeInfo
from modelreg_verifier.serving.protocol import Scalar

__all__ = ["Addition", "FullError", "Inference", "Loaded", "Recorder"]


class FullError(UnreachableError):
    """There is no room to keep what an answer obliges to keep; later there may be."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What runs: a file, by its path, of a release, and the names of the tensors at the cuts of its trace.

    Only itself is equal to it, which is quick to look up.
    """

    release: ReleaseId
    file: str
    runtime: RuntimeInfo
    cuts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Inference:
    """One answered request, before its answer is sent.

    Attributes:
        loaded: what ran.
        parameters: the request's parameters, of which a recorder may have its own.
        inputs: as the client sent them, views of the request's body.
        outputs: all that the graph has, asked for or not.
        cuts: the tensors at each cut of the trace, in order; none where the model is served without.
    """

    loaded: Loaded
    parameters: Mapping[str, Scalar]
    inputs: Mapping[str, Tensor] = field(repr=False)
    outputs: Mapping[str, Tensor] = field(repr=False)
    cuts: tuple[Mapping[str, Tensor], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Addition:
    """What a recorder adds to an answer."""

    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Recorder(Protocol):
    """Takes note of every inference before anybody has its answer."""

    @property
    def room(self) -> tuple[int, int]:
        """Bytes that are kept, and how many may be; nothing is recorded where the first reach the second."""
        ...

    def record(self, inference: Inference) -> Addition:
        """Note an inference durably; called by the threads that infer, several at once, before the answer.

        The tensors are views of buffers that live until this returns: copy or hash what is to stay.

        Raises:
            InputError, FormatError: the client's own parameters are wrong; it is answered with 400.
            FullError: there is no room to note it; it is answered with 503.
            ModelregError: nothing could be noted; it is answered with 500.
        """
        ...
