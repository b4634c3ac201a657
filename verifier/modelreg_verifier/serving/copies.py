"""From a release on the ledger to verified bytes of its model.

Specified in docs/spec/serve.md, section 1, checks 1 to 5.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelreg.errors import InputError, NotFoundError, NotPermittedError, VerificationError
from modelreg.format import onnx as onnx_format
from modelreg.format.digest import Digest
from modelreg.format.manifest import Manifest
from modelreg.format.names import ModelName
from modelreg.format.release import Release
from modelreg.format.tensors import FileFormat
from modelreg.home import Home
from modelreg.ledger.view import View
from modelreg.peers import node_urls
from modelreg.store.plaintext import LocalPlaintext
from modelreg_verifier.install import install_release
from modelreg_verifier.release import read_release
from modelreg_verifier.serving.engine import ExternalValue
from modelreg_verifier.serving.target import Target
from modelreg_verifier.trust import follow_branch
from modelreg_verifier.verify import verify_directory

__all__ = ["Source", "VerifiedCopy", "resolve", "verified_copy"]


@dataclass(frozen=True, slots=True)
class Source:
    """The release that a target means now, and nodes that may have its blocks."""

    model: ModelName
    release: Release
    peers: tuple[str, ...] = ()


def resolve(home: Home, view: View, target: Target, *, allow_yanked: bool) -> Source:
    """Find a target's release on the ledger.

    Raises:
        NotFoundError: there is none.
        NotPermittedError: it was yanked, and that is not allowed.
        VerificationError: its branch was rolled back, or its model has no name.
    """
    release = view.resolve(target.reference)
    name = view.model_name(release.model)
    if name is None:
        raise VerificationError(f"the model of {release.release_id} has no name on the ledger")
    if release.yanked and not allow_yanked:
        reason = view.yank_reason(release.release_id) or ""
        raise NotPermittedError(
            f"{name}@{release.version} was yanked",
            found=ascii(reason)[:200],
            hint="serve another release, or add --allow-yanked",
        )
    follow_branch(view, home.trusted_head, name, release.branch)
    return Source(name, release, node_urls(view, home.config.key) if home.config.nodes else ())


class VerifiedCopy:
    """The files of a release on this machine, every byte compared with the manifest.

    Files change: what `read` gives was read once more and has the digest that the manifest names.
    """

    def __init__(self, manifest: Manifest, root: Path, hint: str) -> None:
        problems = verify_directory(root, manifest)
        if problems:
            first = problems[0]
            raise VerificationError(
                f"{root} is not the release: {first.path}: {first.kind}",
                expected=first.expected,
                found=first.found,
                hint=hint,
            )
        self._manifest, self._root, self._hint = manifest, root, hint
        self._files = {file.path: number for number, file in enumerate(manifest.files)}
        self._plaintext = LocalPlaintext()
        self._plaintext.add(manifest, root)

    @property
    def paths(self) -> frozenset[str]:
        """The paths of the release's files."""
        return frozenset(self._files)

    def read(self, path: str) -> bytes:
        """A whole file. Raises VerificationError where it was changed since."""
        number = self._files[path]
        return b"".join(self._chunks(number, path))

    def _chunks(self, number: int, path: str) -> Iterator[bytes]:
        for chunk in self._manifest.file_chunks(number):
            data = self._plaintext.read(Digest(self._manifest.algorithm, chunk.digest))
            if data is None:
                raise VerificationError(f"{self._root / path} was changed while it was read", hint=self._hint)
            yield data

    def onnx_file(self, wanted: str | None) -> str:
        """The path of the ONNX file to serve.

        Raises:
            NotFoundError: there is none, or not the wanted one.
            InputError: there are several, and none was named.
        """
        found = [file.path for file in self._manifest.files if file.format is FileFormat.ONNX]
        if wanted in found:
            return wanted
        listed = ", ".join(found) or "no ONNX file"
        if wanted is not None or not found:
            raise NotFoundError("no such model in the release", expected=wanted or "ONNX", found=listed)
        if len(found) > 1:
            raise InputError("the release has several ONNX files", found=listed, hint="name one as REF/FILE")
        return found[0]

    def model(self, path: str) -> tuple[bytes, list[ExternalValue]]:
        """An ONNX file, and what it keeps in other files of the release.

        Raises:
            FormatError: external data leaves the release.
            InputError: external data is kept where the runtime would have to open files.
        """
        raw = self.read(path)
        found = onnx_format.index(lambda offset, length: raw[offset : offset + length], len(raw))
        if not found.external:
            return raw, []
        sizes = {file.path: file.size for file in self._manifest.files}
        outside = dict(zip((item.tensor.name for item in found.external), found.external, strict=True))
        places = onnx_format.resolve(path, list(outside.values()), sizes)
        spans = {tensor.name: (file, tensor.offset, tensor.end) for file, tensor in places}
        types = _graph_types(raw)
        if len(outside) != len(found.external) or spans.keys() != types.keys():
            raise InputError("external data inside sub-graphs", expected="initializers of the graph alone")
        data = {file: self.read(file) for file in {file for file, _, _ in spans.values()}}
        return raw, [
            _value(name, *types[name], memoryview(data[file])[start:end])
            for name, (file, start, end) in spans.items()
        ]


def _graph_types(raw: bytes) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Type and shape of the graph's own initializers whose data is external."""
    from onnx import ModelProto, TensorProto

    model = ModelProto.FromString(raw)
    return {
        tensor.name: (tensor.data_type, tuple(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }


def _value(name: str, kind: int, dims: tuple[int, ...], data: memoryview) -> ExternalValue:
    from onnx import TensorProto
    from onnx.helper import tensor_dtype_to_np_dtype

    dtype = np.dtype("<u2") if kind == TensorProto.BFLOAT16 else np.dtype(tensor_dtype_to_np_dtype(kind))
    if data.nbytes != dtype.itemsize * int(np.prod(dims, dtype=object)):
        raise InputError(
            f"external data of {name!a}", expected="whole words of its type", found=f"type {kind}"
        )
    array = np.frombuffer(data, dtype).reshape(dims)
    return ExternalValue(name, kind, array if array.flags.aligned else array.copy())


def verified_copy(root: Path, source: Source, remark: Callable[[str], None]) -> VerifiedCopy:
    """A copy of a release: the one that the home has, else a new one in the home's directory of models.

    Args:
        root: the home.
        source: the release.
        remark: told if another process works at the same place, and this one waits for it.

    Raises:
        VerificationError: the copy is not as released.
        InputError: something else stands where a new copy would go.
        NotFoundError, UnreachableError: a block cannot be had.
    """
    home = Home(root)  # anew each time: copies and peers come and go while a channel is followed
    release, reference = source.release, f"{source.model}@{source.release.version}"
    for known in home.installed.copies():
        place = Path(known.path)
        if known.release == str(release.release_id) and not known.only and place.exists():
            hint = f"fetch it again: modelreg sync {reference} --to {place}"
            return VerifiedCopy(read_release(release, home.plaintext), place, hint)
    place = home.models / source.model.namespace / source.model.name / str(release.version)
    if place.is_dir() and any(place.iterdir()):
        hint = f"choose another place: modelreg sync {reference} --to DIR"
        raise InputError(f"{place} holds other files", hint=hint)
    home.add_peers(source.peers)
    manifest = install_release(home, release, place, reference, remark=remark).manifest
    return VerifiedCopy(manifest, place, f"fetch it again: modelreg sync {reference}")
