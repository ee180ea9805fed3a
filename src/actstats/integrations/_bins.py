"""Our occupied bins, as loggers take them: one row of counts between edges without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstats.histogram import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actstats.histogram.bits import FloatArray, IntArray
    from actstats.stats import TensorStats

__all__ = ["all_bins", "bins_at_most"]


def all_bins(stats: TensorStats) -> tuple[IntArray, FloatArray]:
    """Return the bins as they were kept, and an empty one in each gap.

    Parameters
    ----------
    stats : TensorStats
        With at least one finite value.

    Returns
    -------
    counts : ndarray of int64, shape (bins,)
        They sum to ``stats.finite_count``.
    edges : ndarray of float64, shape (bins + 1,)
        Zeros, and values at -1 or 1 of a function that ends there, are in bins without width.
    """
    return _joined(*stats.distribution.bins())


def bins_at_most(stats: TensorStats, most: int) -> tuple[IntArray, FloatArray]:
    """Return the bins of the finest resolution at which there are at most so many.

    Parameters
    ----------
    stats : TensorStats
        With at least one finite value.
    most : int
        At least 511, which resolution 0 never exceeds.

    Returns
    -------
    counts : ndarray of int64, shape (bins,)
        Exact, as coarser bins are sums of finer ones.
    edges : ndarray of float64, shape (bins + 1,)
        Zeros have the bin between their neighbours, so that it has a width to be drawn with.
    """
    bits = stats.bits
    while True:
        read = Distribution(bits, None, {0.0: stats.zeros}, stats.min, stats.max)
        counts, edges = _joined(*_with_wide_zeros(*read.bins()))
        if len(counts) <= most or not bits.resolution:
            return counts, edges
        bits = bits.coarsen(bits.resolution - 1)


def _joined(
    low: FloatArray, high: FloatArray, counts: IntArray
) -> tuple[NDArray[np.int64], FloatArray]:
    gaps = np.flatnonzero(low[1:] > high[:-1]) + 1
    edges = np.append(low[:1], np.insert(high, gaps, low[gaps]))
    return np.insert(counts, gaps, 0), edges


def _with_wide_zeros(
    low: FloatArray, high: FloatArray, counts: IntArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Stretch the bin of zeros to its neighbours; alone it is as wide as numpy's."""
    for i in np.flatnonzero((low == 0) & (high == 0)):
        if len(counts) == 1:
            return np.array([-0.5]), np.array([0.5]), counts
        low[i] = high[i - 1] if i > 0 else 0.0
        high[i] = low[i + 1] if i + 1 < len(low) else 0.0
    return low, high, counts
