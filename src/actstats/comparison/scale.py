"""The axis that a site of two recordings is read on: its bins in order of value, atoms apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from actstats.histogram.bits import BIAS, biased_exponent, bin_bounds
from actstats.kernels.state import ASYMPTOTE_OCTAVES

__all__ = ["STRIDE", "Grid", "Scale"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ATOMS = (-1.0, 0.0, 1.0)  # values that a recording counts apart
STRIDE = 1 << 17  # keys of a site: more than the bins of any scale
NEAREST = BIAS - 25  # biased exponent of 1 - |x| = 2**-25, as in `AsymptoteHistogram`


@dataclass(frozen=True, eq=False)
class Scale:
    """Bins in order of value, at one resolution, with or without those of 1 - |x|.

    Parameters
    ----------
    resolution : int
        k of the histogram.
    low, high : ndarray of float64, shape (bins,)
        Ends of the bins, ascending; the same for an atom.
    is_atom : ndarray of bool, shape (bins,)
        Which are atoms: 0, and with the bins of 1 - |x| also -1 and 1.
    rank : ndarray of int64, shape (words,)
        Place of each word of a state's histogram, and then of its bins of 1 - |x|; -1 for words
        that are no bin here.
    atoms : tuple of int
        Places of -1, 0 and 1; -1 where it is no atom.
    ones : tuple of int
        Places of the bins that -1 and 1 are counted in.
    """

    resolution: int
    low: FloatArray
    high: FloatArray
    is_atom: NDArray[np.bool_]
    rank: IntArray
    atoms: tuple[int, ...]
    ones: tuple[int, int]

    @classmethod
    @lru_cache(maxsize=16)  # eight resolutions, with and without the bins of 1 - |x|
    def of(cls, resolution: int, near_one: bool) -> Scale:
        """Return the scale of a resolution, made once."""
        low, high, is_bin = _words(resolution, near_one)
        values = np.array(ATOMS if near_one else ATOMS[1:2])
        lows = np.concatenate((low[is_bin], values))
        highs = np.concatenate((high[is_bin], values))
        order = np.lexsort((highs, lows))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        rank = np.full(len(low), -1, np.int64)
        rank[is_bin], at = place[: -len(values)], place[-len(values) :].tolist()
        half = 1 << (8 + resolution)
        one = BIAS << resolution
        return cls(
            resolution,
            low=lows[order],
            high=highs[order],
            is_atom=np.isin(np.arange(len(order)), at),
            rank=rank,
            atoms=tuple(at) if near_one else (-1, *at, -1),
            ones=(int(rank[half + one]), int(rank[one])),
        )


def _words(resolution: int, near_one: bool) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return the ends of what each word counts, and which words are bins of the scale."""
    words = np.arange(1 << (9 + resolution))
    exponent = biased_exponent(words, resolution)
    is_bin = exponent < 255
    low, high = np.zeros((2, len(words)))
    low[is_bin], high[is_bin] = bin_bounds(words[is_bin], resolution)
    row = ASYMPTOTE_OCTAVES << resolution
    near, far = bin_bounds(np.arange(row) + (NEAREST << resolution), resolution)
    if near_one:
        is_bin &= exponent != BIAS - 1  # 0.5 <= |x| < 1
    return (
        np.concatenate((low, near - 1, 1 - far)),
        np.concatenate((high, far - 1, 1 - near)),
        np.concatenate((is_bin, np.full(2 * row, near_one))),
    )


class Grid:
    """The scales of many sites: a bin of one is known by its key, ``site * STRIDE + place``.

    Parameters
    ----------
    scales : sequence of Scale
        One per site.
    """

    def __init__(self, scales: Sequence[Scale]) -> None:
        self.scales = tuple(scales)
        distinct = list(dict.fromkeys(self.scales))
        self._starts = _starts_by_site(self.scales, [len(scale.low) for scale in distinct])
        self._rank_starts = _starts_by_site(self.scales, [len(scale.rank) for scale in distinct])
        self._low = np.concatenate([scale.low for scale in distinct])
        self._high = np.concatenate([scale.high for scale in distinct])
        self._is_atom = np.concatenate([scale.is_atom for scale in distinct])
        self._rank = np.concatenate([scale.rank for scale in distinct])
        self.resolution = np.array([scale.resolution for scale in self.scales], np.int64)

    def keys(self, site: IntArray, words: IntArray) -> IntArray:
        """Return the keys of words of the sites' states; -1 for words that are no bins here."""
        rank = self._rank[self._rank_starts[site] + words]
        return np.where(rank < 0, -1, site * STRIDE + rank)

    def ends(self, keys: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return low and high ends of bins."""
        place = self._place(keys)
        return self._low[place], self._high[place]

    def is_atom(self, keys: IntArray) -> NDArray[np.bool_]:
        """Tell which bins are atoms."""
        return np.asarray(self._is_atom[self._place(keys)])

    def _place(self, keys: IntArray) -> IntArray:
        site, rank = np.divmod(keys, STRIDE)
        return np.asarray(self._starts[site] + rank)


def _starts_by_site(scales: Sequence[Scale], sizes: Sequence[int]) -> IntArray:
    """Return where each site's part begins, the parts of distinct scales being end to end."""
    distinct = dict.fromkeys(scales)
    starts = dict(zip(distinct, np.cumsum([0, *sizes]).tolist(), strict=False))
    return np.array([starts[scale] for scale in scales], np.int64)
