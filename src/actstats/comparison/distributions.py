"""The distributions of many sites in one window, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actstats.comparison.scale import STRIDE, Grid

__all__ = ["Distributions", "Moments"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of the finite values of many sites, each array of shape (sites,).

    Parameters
    ----------
    total : ndarray of int64
        Values; where there is none, the rest means nothing.
    min, max, mean, abs_mean, var : ndarray of float64
        `var` is over all values of a site, divided by n.
    between : ndarray of float64
        Variance of the units' means, which is part of `var`; nan where units are not told apart.
    units : ndarray of int64
        Units told apart, 0 where they are not.
    """

    total: IntArray
    min: FloatArray
    max: FloatArray
    mean: FloatArray
    abs_mean: FloatArray
    var: FloatArray
    between: FloatArray
    units: IntArray


@dataclass(frozen=True, eq=False)
class Distributions:
    """Occupied bins of many sites, ascending by site and value, and the moments of each.

    Parameters
    ----------
    grid : Grid
        What the keys mean.
    keys, counts : ndarray of int64, shape (bins,)
        Of the occupied bins, ascending, and what is in them.
    moments : Moments
        Of each site.
    """

    grid: Grid
    keys: IntArray
    counts: IntArray
    moments: Moments

    @cached_property
    def site(self) -> IntArray:
        """The site of each bin, shape (bins,)."""
        return self.keys // STRIDE

    @cached_property
    def share(self) -> FloatArray:
        """The share of its site's values in each bin, shape (bins,)."""
        return np.asarray(self.counts / self._totals[self.site])

    @cached_property
    def cumulative(self) -> FloatArray:
        """The share of values up to each bin, its own too; 1 in a site's last, shape (bins,)."""
        before = np.cumsum(self._totals) - self._totals
        return np.asarray((np.cumsum(self.counts) - before[self.site]) / self._totals[self.site])

    @cached_property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """Low and high ends of the bins, cut to the least and largest value, shape (bins,)."""
        low, high = self.grid.ends(self.keys)
        least, largest = self.moments.min[self.site], self.moments.max[self.site]
        return np.clip(low, least, largest), np.clip(high, least, largest)

    @cached_property
    def _totals(self) -> IntArray:
        """Values in the bins of each site."""
        sums = np.bincount(self.site, self.counts, minlength=len(self.grid.scales))
        return sums.astype(np.int64)
