"""The two kinds of histogram: by the value's bits, and by those of its distance to +-1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actstats.histogram.bits import (
    BIAS,
    biased_exponent,
    bin_bounds,
    check_finite_bins,
    is_counted,
    shifted_bits,
)
from actstats.histogram.sparse import SparseHistogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actstats.histogram.bits import FloatArray, IntArray

_UPPER_HALF = BIAS - 1  # biased exponent of 0.5 <= |x| < 1
_OCTAVES = 24  # of d = 1 - |x|, from 2**-25 to 0.5
_NEAREST = BIAS - 25  # biased exponent of d = 2**-25


@dataclass(frozen=True, eq=False, repr=False)
class BitHistogram(SparseHistogram):
    """Counts of finite non-zero values by sign, exponent and first mantissa bits.

    Zeros, NaN and Inf are left out: they are counted exactly elsewhere. Only occupied bins are
    stored, ascending in index. A value is known within a factor of 1 + 2**-resolution.

    Parameters
    ----------
    resolution : int
        Mantissa bits kept, k = 0 to 7; 2**(9 + k) bins.
    index : ndarray of int32, shape (bins,)
        Occupied bins, ascending, as from `bin_index`.
    counts : ndarray of int64, shape (bins,)
        Values in each, all above 0.

    Raises
    ------
    ValueError
        If the arrays are not of this form.

    Examples
    --------
    >>> BitHistogram.from_values([0.0, 1.0, 1.1, -2.0], resolution=3)
    BitHistogram(resolution=3: 3 values in 2 bins, from -2.25 to 1.125)
    """

    @staticmethod
    def _shape(resolution: int) -> tuple[int, ...]:
        return (1 << (9 + resolution),)

    @staticmethod
    def _check_bins(bins: NDArray[np.int32], resolution: int) -> None:
        check_finite_bins(bins, resolution)

    @staticmethod
    def _holds(values: NDArray[np.float32]) -> NDArray[np.bool_]:
        return is_counted(values)

    @staticmethod
    def _locate(values: NDArray[np.float32], resolution: int) -> IntArray:
        return shifted_bits(values, resolution)

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Give low and high bounds of the occupied bins, shape (bins,), in the order of `index`."""
        return bin_bounds(self.index, self.resolution)


@dataclass(frozen=True, eq=False, repr=False)
class AsymptoteHistogram(SparseHistogram):
    """Counts of ``0.5 <= |x| < 1`` by the distance to the asymptote, ``d = 1 - |x|``.

    For layers known to end at +-1 (tanh, sigmoid), whose values crowd where the bins of
    `BitHistogram` are too wide. d is exact in float32 (Sterbenz 1974). Values of exactly +-1 after
    rounding to float32 are left out: they are an atom, counted elsewhere.

    Dense layout: ``int64[2, 24 * 2**k]``, row 0 for x < 0 and row 1 for x > 0, columns ascending in
    d from 2**-25; d = 0.5 shares the last one. `index` is flat: ``row * 24 * 2**k + column``.

    Parameters
    ----------
    resolution : int
        Mantissa bits of d kept, k = 0 to 7.
    index : ndarray of int32, shape (bins,)
        Occupied bins, ascending.
    counts : ndarray of int64, shape (bins,)
        Values in each, all above 0.

    Raises
    ------
    ValueError
        If the arrays are not of this form.

    Examples
    --------
    >>> AsymptoteHistogram.from_values([0.2, 0.75, 1.0], resolution=3)
    AsymptoteHistogram(resolution=3: 1 values in 1 bins, from 0.71875 to 0.75)
    """

    @staticmethod
    def _shape(resolution: int) -> tuple[int, ...]:
        return (2, _OCTAVES << resolution)

    @staticmethod
    def _check_bins(bins: NDArray[np.int32], resolution: int) -> None:
        size = 2 * _OCTAVES << resolution
        if bins.size and not (bins[0] >= 0 and bins[-1] < size):
            raise ValueError(f"bin indices must be in [0, {size}) at resolution {resolution}.")

    @staticmethod
    def _holds(values: NDArray[np.float32]) -> NDArray[np.bool_]:
        magnitude = np.abs(values)
        return (magnitude >= 0.5) & (magnitude < 1)

    @staticmethod
    def _locate(values: NDArray[np.float32], resolution: int) -> IntArray:
        distance = np.float32(1) - np.abs(values)
        columns = shifted_bits(distance, resolution) - (_NEAREST << resolution)
        width = _OCTAVES << resolution
        return np.clip(columns, 0, width - 1) + np.where(values > 0, width, 0)

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Give low and high bounds in x of the occupied bins, in the order of `index`.

        A positive bin holds low < x <= high, a negative one low <= x < high; d = 0.5 belongs to
        the bin that ends there.
        """
        rows, columns = np.divmod(self.index.astype(np.int64), _OCTAVES << self.resolution)
        near, far = bin_bounds(columns + (_NEAREST << self.resolution), self.resolution)
        return np.where(rows == 0, near - 1, 1 - far), np.where(rows == 0, far - 1, 1 - near)


def is_upper_half(histogram: BitHistogram) -> NDArray[np.bool_]:
    """Say which bins hold ``0.5 <= |x| < 1``."""
    return np.asarray(biased_exponent(histogram.index, histogram.resolution) == _UPPER_HALF)


def bins_in_value_order(
    histogram: BitHistogram, asymptote: AsymptoteHistogram | None, atoms: Mapping[float, int]
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Give low, high and count of the occupied bins without their atoms, ascending, as new arrays.

    Neighbours share an edge exactly: all edges come from `bin_bounds`, and 1 - d is exact.
    """
    low, high = histogram.bounds()
    counts = histogram._counts_without(atoms)
    if asymptote is not None:
        near_low, near_high = asymptote.bounds()
        counts = np.where(is_upper_half(histogram), 0, counts)
        low, high = np.concatenate([low, near_low]), np.concatenate([high, near_high])
        counts = np.concatenate([counts, asymptote._counts_without(atoms)])
    order = np.argsort(low, kind="stable")
    order = order[counts[order] > 0]
    return low[order], high[order], counts[order]
