"""An adapter's file as a hint of how a merged release came about. docs/spec/delta.md, section 12.

Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) add a multiple of B · A to a matrix. With A and B at hand
nothing has to be found in the rounded sum, and fewer bytes say the same.
"""

import re
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modelreg.errors import FormatError, InputError
from modelreg.format import safetensors
from modelreg.format.delta.factoring import Product
from modelreg.format.delta.lowrank import MAX_RANK
from modelreg.format.dtypes import DType
from modelreg.format.tensors import Tensor
from modelreg.store.files import os_errors

__all__ = ["Adapter"]

_Floats = NDArray[np.float64]
# As PEFT names them (`base_model.model.X.lora_A.weight`, `X.lora_A.default.weight`), or `X.lora_A` alone.
_NAME = re.compile(r"(?:base_model\.model\.)?(.+?)\.lora_([AB])(?:\.\w+)?(?:\.weight)?")
_MAX_BYTES = 4 << 30
_VIEWS = {DType.F32: "<f4", DType.F16: "<f2", DType.BF16: "<u2"}


class Adapter:
    """The products of an adapter, by the names of the matrices that they change."""

    def __init__(self, products: dict[str, Product]) -> None:
        self._products = products

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a safetensors file.

        Raises:
            InputError: it is no such file, or has no pair of factors.
            NotFoundError, NotPermittedError: it cannot be read.
        """
        with os_errors(f"cannot read {path}"):
            size = path.stat().st_size
            if size > _MAX_BYTES:
                raise InputError(f"{path} is too large", expected=f"at most {_MAX_BYTES} bytes", found=size)
            raw = path.read_bytes()
        try:
            tensors = safetensors.index(lambda at, length: raw[at : at + length], len(raw))
        except FormatError as error:
            raise InputError(f"{path} is no adapter", expected="safetensors", found=str(error)) from None
        sides: dict[str, dict[str, _Floats]] = {}
        for tensor in tensors:
            matched = _NAME.fullmatch(tensor.name)
            if matched and len(tensor.shape) == 2 and tensor.length and tensor.dtype in _VIEWS:
                sides.setdefault(matched[1], {})[matched[2]] = _values(raw, tensor)
        products = {name: Product(pair["B"], pair["A"]) for name, pair in sides.items() if _fit(pair)}
        if not products:
            raise InputError(
                f"{path} is no adapter",
                expected="pairs of tensors *.lora_A and *.lora_B that fit each other",
                found=f"{len(tensors)} other tensors",
            )
        return cls(products)

    def of(self, name: str, shape: tuple[int, ...]) -> Product | None:
        """What changes the matrix of this name, if it fits the shape."""
        product = self._products.get(name.removesuffix(".weight")) or self._products.get(name)
        if product is None or shape != (len(product.left), product.right.shape[1]):
            return None
        return product


def _values(raw: bytes, tensor: Tensor) -> _Floats:
    words: Any = np.frombuffer(
        raw, _VIEWS[tensor.dtype], offset=tensor.offset, count=int(np.prod(tensor.shape))
    )
    if tensor.dtype is DType.BF16:
        words = (words.astype("<u4") << 16).view("<f4")
    with np.errstate(invalid="ignore"):  # of signalling NaN
        return np.asarray(words.astype(np.float64).reshape(tensor.shape))


def _fit(pair: dict[str, _Floats]) -> bool:
    if len(pair) != 2:
        return False
    rank = len(pair["A"])
    finite = np.isfinite(pair["A"]).all() and np.isfinite(pair["B"]).all()
    return bool(pair["B"].shape[1] == rank and 1 <= rank <= MAX_RANK and finite)
