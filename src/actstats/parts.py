"""What tensors of other layouts and dtypes hold, as plain tensors of real numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from actstats import _torch
from actstats._torch import PLAIN, is_own, no_memory

__all__ = ["Part", "parts", "unreadable"]

_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


class Part(NamedTuple):
    """Values of a tensor that go to one site.

    Parameters
    ----------
    values : Tensor
        Of real numbers, strided, without a graph; the tensor itself where it is such a one.
    dtype : torch.dtype
        What the user's tensor keeps them in.
    path : str
        What is added to the site's name.
    zeros : int
        Values that are zero and not stored.
    pooled : str
        Why units are not told apart; empty where they may be.
    irregular : bool
        Whether the axes of the values are not those of the tensor.
    """

    values: Tensor
    dtype: torch.dtype
    path: str = ""
    zeros: int = 0
    pooled: str = ""
    irregular: bool = False


def parts(tensor: Tensor) -> Iterator[Part]:
    """Yield what a readable tensor holds; nothing is copied unless its layout asks for it.

    Examples
    --------
    >>> import torch
    >>> [(part.path, part.values.tolist()) for part in parts(torch.tensor([1 + 2j]))]
    [("['real']", [1.0]), ("['imag']", [2.0])]
    """
    way = _way(tensor)
    if way is None:
        yield Part(tensor, tensor.dtype)
    else:
        yield from way(tensor.detach())


def unreadable(tensor: Tensor) -> str | None:
    """Return why what a tensor holds cannot be observed when code runs, or None if it can."""
    if _way(tensor) is None:
        return _torch.unreadable(tensor)
    return None if tensor.layout is not torch.strided else no_memory(tensor)


def _way(tensor: Tensor) -> Callable[[Tensor], Iterator[Part]] | None:
    """Return how a tensor is made plain; None if it is plain, or nobody knows how."""
    if tensor.is_meta:
        return None
    if tensor.is_nested:
        return _nested if tensor.dtype in PLAIN else None
    if not is_own(tensor):
        return None
    if tensor.is_complex():
        return _complex if tensor.layout is torch.strided else None
    if tensor.is_quantized:
        return _quantized
    if tensor.layout is torch.strided or tensor.dtype not in PLAIN:
        return None
    if tensor.is_mkldnn:
        return _mkldnn
    if tensor.layout is torch.sparse_coo:
        return _coo
    return _compressed if tensor.layout in _COMPRESSED else None


def _complex(tensor: Tensor) -> Iterator[Part]:
    """Yield real and imaginary parts, as sites of their own: both are what backward speaks of."""
    for path, values in (("['real']", tensor.real), ("['imag']", tensor.imag)):
        yield Part(values, values.dtype, path)


def _nested(tensor: Tensor) -> Iterator[Part]:
    """Yield all samples of a batch of unequal lengths, one a row; there is no padding."""
    tensor = tensor.contiguous()
    values = tensor.values()
    width = _width(tensor)
    if width is None:
        pooled = "its last axis is of unequal lengths"
        yield Part(values.flatten(), tensor.dtype, pooled=pooled, irregular=True)
    else:
        yield Part(values.reshape(-1, width), tensor.dtype, irregular=True)


def _width(nested: Tensor) -> int | None:
    """Return the length of the last axis; None if it is one of those that differ."""
    try:
        width = nested.size(-1)
    except RuntimeError:
        return None
    return width if isinstance(width, int) else None


def _coo(tensor: Tensor) -> Iterator[Part]:
    yield _stored(tensor, tensor.coalesce().values())  # values at equal places are a sum


def _compressed(tensor: Tensor) -> Iterator[Part]:
    yield _stored(tensor, tensor.values())


def _stored(tensor: Tensor, values: Tensor) -> Part:
    zeros = tensor.numel() - values.numel()
    pooled = "units of a sparse tensor are pooled"
    return Part(values.flatten(), tensor.dtype, "", zeros, pooled, irregular=True)


def _mkldnn(tensor: Tensor) -> Iterator[Part]:
    yield Part(tensor.to_dense(), tensor.dtype)


def _quantized(tensor: Tensor) -> Iterator[Part]:
    """Yield the numbers that the integers stand for."""
    yield Part(tensor.dequantize(), tensor.dtype)
