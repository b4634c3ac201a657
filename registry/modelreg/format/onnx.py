"""The tensor index of an ONNX file. Specified in docs/spec/content.md, section 2.2.

Field numbers are those of onnx.proto (github.com/onnx/onnx, IR version 13). Only the structure is read: of a
tensor's data no more than where it lies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelreg.errors import FormatError
from modelreg.format.onnx_tensor import ExternalTensor, read_tensor
from modelreg.format.paths import check_path
from modelreg.format.protobuf import Field, Wire, WireType
from modelreg.format.tensors import MAX_NAME_BYTES, ReadAt, Tensor, lay_out

__all__ = ["ExternalTensor", "OnnxIndex", "index", "resolve"]

# A protobuf message ends at 2 GiB, so larger models keep their weights outside.
_MAX_BYTES = (1 << 31) - 1
_MAX_FIELDS = 1 << 23
_MAX_TENSORS = 1 << 17
_MAX_GRAPHS_DEEP = 32
_MAX_ATTRIBUTES = 4096


@dataclass(frozen=True, slots=True)
class OnnxIndex:
    """The tensors inside an ONNX file in ascending order of offset, and those it keeps in other files."""

    tensors: tuple[Tensor, ...]
    external: tuple[ExternalTensor, ...]


def index(read_at: ReadAt, size: int) -> OnnxIndex:
    """Find the tensors of an ONNX model.

    Args:
        read_at: reads bytes of the file; the data of tensors is not read.
        size: bytes of the file.

    Raises:
        FormatError: the file is no protobuf message, breaks a rule of ONNX, or exceeds a limit.
    """
    if size > _MAX_BYTES:
        raise FormatError("ONNX file", expected=f"at most {_MAX_BYTES} bytes", found=size)
    walk = _Walk(Wire(read_at, size, _MAX_FIELDS))
    walk.model(size)
    return OnnxIndex(lay_out(walk.tensors, size), tuple(walk.external))


def resolve(
    model: str, external: Sequence[ExternalTensor], sizes: Mapping[str, int]
) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a model keeps in other files, each with the path of its file in the release.

    Args:
        model: path of the model in the release.
        external: what `index` found in it.
        sizes: bytes of each file of the release, by path.

    Raises:
        FormatError: a location leaves the model's directory, names no file of the release or the model
            itself, or a tensor reaches beyond the file's end. Overlaps are for `lay_out` to refuse, which
            sees the tensors of all models in a file.
    """
    directory = model.rpartition("/")[0]
    for found in external:
        path = check_path(found.location)
        path = f"{directory}/{path}" if directory else path
        tensor = found.tensor
        if path == model or path not in sizes:
            raise _escape(tensor, "data in another file of the release", path)
        if tensor.end > sizes[path]:
            expected = f"a span inside {path} of {sizes[path]} bytes"
            raise _escape(tensor, expected, f"{tensor.length} bytes at {tensor.offset}")
        yield path, tensor


def _escape(tensor: Tensor, expected: str, found: str) -> FormatError:
    return FormatError(f"ONNX external data of {tensor.name[:60]!r}", expected=expected, found=found[:200])


class _Walk:
    """Walks over a model and collects its tensors."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.tensors: list[Tensor] = []
        self.external: list[ExternalTensor] = []

    def model(self, size: int) -> None:
        """ModelProto: graph 7, training_info 20, functions 25."""
        graphs = 0
        for field in self._wire.fields(0, size):
            if field.number == 7:
                graphs += 1
                self._graph(field, 0)
            elif field.number == 20:
                self._training(field)
            elif field.number == 25:
                self._function(field)
        if graphs != 1:
            raise FormatError("ONNX model", expected="one graph", found=graphs)

    def _message(self, field: Field) -> Iterator[Field]:
        if field.type is not WireType.BYTES:
            raise FormatError(
                "ONNX field", expected="a message", found=f"{field.type.name} at {field.offset}"
            )
        return self._wire.fields(field.offset, field.end)

    def _training(self, message: Field) -> None:
        """TrainingInfoProto: initialization 1, algorithm 2."""
        for field in self._message(message):
            if field.number in (1, 2):
                self._graph(field, 1)

    def _function(self, message: Field) -> None:
        """FunctionProto: name 1, node 7, attribute_proto 11."""
        name = ""
        attributes: list[Field] = []
        for field in self._message(message):
            if field.number == 1:
                name = self._wire.text(field, MAX_NAME_BYTES)
            elif field.number == 7:
                self._node(field, 1)
            elif field.number == 11:
                _append(attributes, field, _MAX_ATTRIBUTES)
        for attribute in attributes:
            self._attribute(attribute, name, 1)

    def _graph(self, message: Field, depth: int) -> None:
        """GraphProto: node 1, initializer 5, sparse_initializer 15."""
        if depth > _MAX_GRAPHS_DEEP:
            raise FormatError("ONNX graph", expected=f"at most {_MAX_GRAPHS_DEEP} graphs deep", found="more")
        for field in self._message(message):
            if field.number == 1:
                self._node(field, depth)
            elif field.number == 5:
                self._tensor(field, None)
            elif field.number == 15:
                self._sparse(field, None)

    def _node(self, message: Field, depth: int) -> None:
        """NodeProto: output 2, attribute 5. What a node holds is named after the node's first output."""
        output: Field | None = None
        attributes: list[Field] = []
        for field in self._message(message):
            if field.number == 2:
                output = output or field
            elif field.number == 5:
                _append(attributes, field, _MAX_ATTRIBUTES)
        for attribute in attributes:
            self._attribute(attribute, output, depth)

    def _attribute(self, message: Field, owner: Field | str | None, depth: int) -> None:
        """AttributeProto: name 1, t 5, g 6, tensors 10, graphs 11, sparse_tensor 22, sparse_tensors 23."""
        name: Field | None = None
        held: list[Field] = []
        for field in self._message(message):
            if field.number == 1:
                name = field
            elif field.number in (6, 11):
                self._graph(field, depth + 1)
            elif field.number in (5, 10, 22, 23):
                _append(held, field, _MAX_TENSORS)
        label = f"{self._text(owner)}:{self._text(name)}" if held else ""
        for number, field in enumerate(held):
            numbered = f"{label}[{number}]" if len(held) > 1 else label
            if field.number in (5, 10):
                self._tensor(field, numbered)
            else:
                self._sparse(field, numbered)

    def _text(self, of: Field | str | None) -> str:
        return self._wire.text(of, MAX_NAME_BYTES) if isinstance(of, Field) else of or ""

    def _sparse(self, message: Field, label: str | None) -> None:
        """SparseTensorProto: values 1 (whose name is the tensor's), indices 2."""
        name = label or ""
        for field in self._message(message):
            if field.number == 1:
                name = self._tensor(field, label)
            elif field.number == 2:
                self._tensor(field, f"{name}:indices")

    def _tensor(self, message: Field, label: str | None) -> str:
        """TensorProto. Returns its name, which is its own unless a label is given."""
        if len(self.tensors) + len(self.external) >= _MAX_TENSORS:
            raise FormatError("ONNX model", expected=f"at most {_MAX_TENSORS} tensors", found="more")
        name, found = read_tensor(self._wire, self._message(message), label)
        if isinstance(found, ExternalTensor):
            self.external.append(found)
        elif found is not None:
            self.tensors.append(found)
        return name


def _append(fields: list[Field], field: Field, most: int) -> None:
    if len(fields) == most:
        raise FormatError("ONNX fields", expected=f"at most {most} in one message", found="more")
    fields.append(field)
