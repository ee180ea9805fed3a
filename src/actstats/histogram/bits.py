"""Bins: what a float's first bits say, and which values share them."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray: TypeAlias = NDArray[np.float64]
    IntArray: TypeAlias = NDArray[np.int64]

MAX_RESOLUTION = 7
_FLOAT32_MAX = np.finfo(np.float32).max
_FLOAT32_TINY = np.finfo(np.float32).smallest_subnormal
BIAS = 127  # of float32's exponent
_NON_FINITE = 255  # biased exponent of Inf and NaN


def bin_index(values: ArrayLike, resolution: int) -> IntArray:
    """Give each value the index of its bin: its float32 bits shifted right by 23 - `resolution`.

    The plain definition that kernels are tested against.

    Parameters
    ----------
    values : array_like, any shape
        Finite and non-zero. Wider types are rounded to float32 first; what would overflow goes to
        the outermost finite bin of its sign, what would become 0 to the innermost.
    resolution : int
        Mantissa bits kept, 0 to 7.

    Returns
    -------
    ndarray of int64, shape of `values`
        In [0, 2**(9 + resolution)); positive values first, each sign ascending in magnitude.

    Raises
    ------
    ValueError
        If a value is zero, NaN or infinite: those have counters of their own.

    Examples
    --------
    >>> bin_index([1.0, 1.1, 2.0, -1.0], resolution=3)
    array([1016, 1016, 1024, 3064])
    """
    rounded = to_float32(values)
    if not is_counted(rounded).all():
        raise ValueError("`values` must be finite and non-zero; count zeros, NaN and Inf apart.")
    return shifted_bits(rounded, checked_resolution(resolution))


def bin_bounds(index: ArrayLike, resolution: int) -> tuple[FloatArray, FloatArray]:
    """Give the bounds of bins, ascending in value.

    A positive bin holds low <= x < high, a negative one low < x <= high.

    Parameters
    ----------
    index : array_like of int, any shape
        As from `bin_index`.
    resolution : int
        Mantissa bits kept, 0 to 7.

    Returns
    -------
    low, high : ndarray of float64, shape of `index`
        Exact. The outermost bins end at +-2**128, the innermost at 0.

    Raises
    ------
    ValueError
        If an index is out of range or belongs to Inf or NaN.

    Examples
    --------
    >>> low, high = bin_bounds([1016, 3064], resolution=3)
    >>> low.tolist(), high.tolist()
    ([1.0, -1.125], [1.125, -1.0])
    """
    bins = np.asarray(index, dtype=np.int64)
    check_finite_bins(bins, checked_resolution(resolution))
    half = 1 << (8 + resolution)
    near, far = _magnitude(bins % half, resolution), _magnitude(bins % half + 1, resolution)
    is_negative = bins >= half
    return np.where(is_negative, -far, near), np.where(is_negative, 0.0 - near, far)


def checked_resolution(resolution: int) -> int:
    """Return it as an int, or raise ValueError."""
    checked = operator.index(resolution)
    if not 0 <= checked <= MAX_RESOLUTION:
        raise ValueError(f"`resolution` must be in 0 to {MAX_RESOLUTION}; got {resolution}.")
    return checked


def check_finite_bins(bins: NDArray[np.integer[Any]], resolution: int) -> None:
    """Raise ValueError unless finite values can be in all of these bins."""
    size = 1 << (9 + resolution)
    if bins.size and (bins.min() < 0 or bins.max() >= size):
        raise ValueError(f"bin indices must be in [0, {size}) at resolution {resolution}.")
    if np.any(biased_exponent(bins, resolution) == _NON_FINITE):
        raise ValueError("bins of Inf and NaN must be empty: only finite values are counted.")


def to_float32(values: ArrayLike) -> NDArray[np.float32]:
    """Round to float32, keeping finite values finite and non-zero values non-zero."""
    wide = np.asarray(values)
    with np.errstate(over="ignore", under="ignore"):
        narrow = wide.astype(np.float32, copy=False)
    if wide.dtype.kind == "f" and wide.dtype.itemsize <= narrow.dtype.itemsize:
        return narrow
    overflowed = np.isinf(narrow) & np.isfinite(wide)
    narrow = np.where(overflowed, np.copysign(_FLOAT32_MAX, narrow), narrow)
    vanished = (narrow == 0) & (wide != 0)
    return np.where(vanished, np.copysign(_FLOAT32_TINY, narrow), narrow)


def is_counted(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which values have a bin."""
    return np.asarray(np.isfinite(values) & (values != 0))


def shifted_bits(values: NDArray[np.float32], resolution: int) -> IntArray:
    """Give each value's bits without the mantissa bits that are not kept."""
    return (values.view(np.uint32) >> np.uint32(23 - resolution)).astype(np.int64)


def biased_exponent(bins: NDArray[np.integer[Any]], resolution: int) -> NDArray[np.integer[Any]]:
    """Biased exponent, 0 to 255, of the values in bins."""
    return (bins >> resolution) & 0xFF


def _magnitude(bins: IntArray, resolution: int) -> FloatArray:
    """Give the smallest ``|x|`` of bins; one past the last finite bin gives 2**128."""
    exponent, mantissa = bins >> resolution, bins & ((1 << resolution) - 1)
    implicit_bit = np.where(exponent > 0, 1 << resolution, 0)
    power = np.maximum(exponent, 1) - BIAS - resolution
    return np.asarray(np.ldexp((implicit_bit + mantissa).astype(np.float64), power))
