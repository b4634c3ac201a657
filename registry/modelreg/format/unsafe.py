"""Files whose loaders run code from them. Specified in docs/spec/content.md, section 6.

The rules are conservative: they look at names and at content, and a harmless name excuses nothing. They keep
accidents and known formats out of a release; they cannot prove that a file is harmless.
"""

import re

from modelreg.format.tensors import ReadAt
from modelreg.format.unsafe_archive import tar_reason, zip_reason
from modelreg.format.unsafe_pickle import compressed_reason, numpy_reason, pickle_reason

__all__ = ["HEAD_BYTES", "classify"]

# What the rules look at from the start of a file.
HEAD_BYTES = 64 << 10
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_PICKLE = "a pickle, which runs code when it is loaded"
_PROGRAM = "a program or a library of machine code"
_SCRIPT = "a script"
_KERAS = "a Keras or HDF5 model, which can hold code in Lambda layers"

_BY_SUFFIX = {
    _PICKLE: r"pkl|pickle|p|pt|pth|pth\.tar|ckpt|joblib|dill|cloudpickle|pt2|torchscript|ptl|mar|nemo",
    _KERAS: r"keras|h5|hdf5",
    _PROGRAM: r"exe|dll|so(?:\.[0-9]+)*|dylib|pyd|pyc|pyo|class|jar|wasm|whl|egg|o|a|llamafile",
    _SCRIPT: r"py|pyw|pyz|sh|bash|zsh|bat|cmd|ps1|pl|rb|js|mjs|cjs|lua|vbs",
}
_SUFFIXES = {
    reason: re.compile(rf".*\.(?:{suffixes})(?:\.(?:gz|bz2|xz|z|lz4|zst))?", re.IGNORECASE | re.DOTALL)
    for reason, suffixes in _BY_SUFFIX.items()
}

_MAGICS = (
    (b"\x7fELF", _PROGRAM),
    (b"\xfe\xed\xfa\xce", _PROGRAM),
    (b"\xfe\xed\xfa\xcf", _PROGRAM),
    (b"\xce\xfa\xed\xfe", _PROGRAM),
    (b"\xcf\xfa\xed\xfe", _PROGRAM),
    (b"\xca\xfe\xba\xbe\x00\x00\x00", _PROGRAM),
    (b"\x00asm\x01\x00\x00\x00", _PROGRAM),
    (b"!<arch>\n", _PROGRAM),
    (b"MZqFpD", _PROGRAM),
    (_HDF5_MAGIC, _KERAS),
    (b"#!", _SCRIPT),
)


def classify(path: str, head: bytes, read_at: ReadAt, size: int) -> str | None:
    """Say why a file can run code when it is loaded, or None.

    Args:
        path: its path; the suffix counts.
        head: its first bytes, HEAD_BYTES of them or all there are; fewer are completed by reading.
        read_at: reads bytes of the file, for what lies behind its head.
        size: bytes of the file.
    """
    if size == 0:
        return None
    wanted = min(size, HEAD_BYTES)
    if len(head) < wanted:
        head = read_at(0, wanted)
    return _name_reason(path) or _content_reason(head, read_at, size)


def _name_reason(path: str) -> str | None:
    name = path.rpartition("/")[2]
    if name.lower() == "saved_model.pb":
        return "a TensorFlow graph, which can read and write files"
    return next((reason for reason, pattern in _SUFFIXES.items() if pattern.fullmatch(name)), None)


def _content_reason(head: bytes, read_at: ReadAt, size: int) -> str | None:
    for magic, reason in _MAGICS:
        if head.startswith(magic):
            return reason
    if _is_windows_program(head, read_at, size):
        return _PROGRAM
    if _is_hdf5_behind_user_block(head):
        return _KERAS
    if head.startswith(b"PK\x03\x04"):
        return zip_reason(read_at, size, _name_reason)
    return (
        pickle_reason(head, size)
        or numpy_reason(head)
        or compressed_reason(head)
        or tar_reason(head, read_at, size, _name_reason)
    )


def _is_windows_program(head: bytes, read_at: ReadAt, size: int) -> bool:
    """MZ, and the PE header where offset 60 says."""
    if not head.startswith(b"MZ") or len(head) < 64:
        return False
    at = int.from_bytes(head[60:64], "little")
    return at + 4 <= size and read_at(at, 4) == b"PE\0\0"


def _is_hdf5_behind_user_block(head: bytes) -> bool:
    """HDF5 may begin at 512, 1024, 2048 … bytes (HDF5 file format, section II.A)."""
    return any(head.startswith(_HDF5_MAGIC, 512 << power) for power in range(7))
