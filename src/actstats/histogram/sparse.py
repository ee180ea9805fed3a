"""What both kinds of histogram are: exact counts of the occupied bins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from actstats.histogram.bits import checked_resolution, to_float32

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from actstats.histogram.bits import FloatArray, IntArray

Index = TypeVar("Index", bound="np.integer[Any]")


@dataclass(frozen=True, eq=False, repr=False)
class SparseHistogram(ABC):
    """Exact counts of the occupied bins; subclasses say which bin a value belongs to.

    Laws: `merge` is associative and commutative, `merge(empty(resolution))` is a no-op at the same
    resolution, and coarsening commutes with merging.
    """

    resolution: int
    index: NDArray[np.int32]
    counts: IntArray

    def __post_init__(self) -> None:
        checked_resolution(self.resolution)
        object.__setattr__(self, "index", np.asarray(self.index, np.int32))
        object.__setattr__(self, "counts", np.asarray(self.counts, np.int64))
        if self.index.ndim != 1 or self.index.shape != self.counts.shape:
            raise ValueError(
                "`index` and `counts` must be 1-d and equally long; "
                f"got shapes {self.index.shape} and {self.counts.shape}."
            )
        if np.any(self.index[1:] <= self.index[:-1]):
            raise ValueError("`index` must be ascending without repeats.")
        if np.any(self.counts <= 0):
            raise ValueError("counts must not be negative, and empty bins are left out.")
        self._check_bins(self.index, self.resolution)

    @staticmethod
    @abstractmethod
    def _shape(resolution: int) -> tuple[int, ...]:
        """Shape of the dense counts."""

    @staticmethod
    @abstractmethod
    def _check_bins(bins: NDArray[np.int32], resolution: int) -> None:
        """Raise ValueError for bins that no value can be in."""

    @staticmethod
    @abstractmethod
    def _holds(values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Say which values are counted here."""

    @staticmethod
    @abstractmethod
    def _locate(values: NDArray[np.float32], resolution: int) -> IntArray:
        """Flat index of the bin of each value; only for values that are counted here."""

    @abstractmethod
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Give low and high bounds of the occupied bins as float64, in the order of `index`."""

    @classmethod
    def empty(cls, resolution: int) -> Self:
        """Make a histogram of no values, the identity of `merge` at its resolution."""
        return cls(resolution, np.empty(0, np.int32), np.empty(0, np.int64))

    @classmethod
    def from_dense(cls, counts: ArrayLike, resolution: int) -> Self:
        """Take over dense counts, as kernels make them.

        Parameters
        ----------
        counts : array_like of int
            int64[2**(9 + resolution)] for `BitHistogram`,
            int64[2, 24 * 2**resolution] for `AsymptoteHistogram`. Copied.
        resolution : int
            Mantissa bits kept, 0 to 7.

        Raises
        ------
        ValueError
            If the shape does not fit the resolution, a count is negative, or a bin of Inf or NaN
            is occupied.
        """
        dense = np.asarray(counts)
        shape = cls._shape(checked_resolution(resolution))
        if dense.shape != shape:
            raise ValueError(
                f"dense counts at resolution {resolution} must have shape {shape}; "
                f"got {dense.shape}."
            )
        flat = dense.reshape(-1)
        occupied = np.flatnonzero(flat)
        return cls(resolution, occupied.astype(np.int32), flat[occupied].astype(np.int64))

    @classmethod
    def from_values(cls, values: ArrayLike, resolution: int) -> Self:
        """Count values of any shape; those that do not belong here are left out.

        float64 is rounded to float32 first, as in `bin_index`. One pass; needs the dense counts
        for a moment (8 bytes times their number).
        """
        shape = cls._shape(checked_resolution(resolution))
        rounded = to_float32(values).reshape(-1)
        bins = cls._locate(rounded[cls._holds(rounded)], resolution)
        dense = np.bincount(bins, minlength=int(np.prod(shape)))
        return cls.from_dense(dense.reshape(shape), resolution)

    def dense(self) -> IntArray:
        """Return all counts, empty bins too, as a new array in the layout of `from_dense`."""
        counts = np.zeros(self._shape(self.resolution), np.int64)
        counts.reshape(-1)[self.index] = self.counts
        return counts

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the two arrays: 12 per occupied bin."""
        return self.index.nbytes + self.counts.nbytes

    def coarsen(self, resolution: int) -> Self:
        """Return the histogram that the same values give at a lower resolution, exactly.

        Raises
        ------
        ValueError
            If `resolution` is finer than that of the histogram.

        Examples
        --------
        >>> from actstats.histogram import BitHistogram
        >>> BitHistogram.from_values([1.0, 1.9], resolution=3).coarsen(0).counts
        array([2])
        """
        if checked_resolution(resolution) > self.resolution:
            raise ValueError(
                f"a histogram of resolution {self.resolution} cannot be made finer; "
                f"got {resolution}. Record with a higher resolution."
            )
        if resolution == self.resolution:
            return self
        # One shift serves both layouts: a row of AsymptoteHistogram is a multiple of 2**k bins.
        bins = self.index >> (self.resolution - resolution)
        return type(self)(resolution, *_summed_by_index(bins, self.counts))

    def merge(self, other: Self) -> Self:
        """Return the histogram of both sets of values, exactly; neither argument changes.

        Of different resolutions the coarser one is kept.

        Raises
        ------
        TypeError
            If `other` is another kind of histogram.

        Examples
        --------
        >>> from actstats.histogram import BitHistogram
        >>> one = BitHistogram.from_values([1.0, 2.0], resolution=3)
        >>> one.merge(BitHistogram.from_values([2.1], resolution=3)).counts
        array([1, 2])
        """
        if type(other) is not type(self):
            raise TypeError(
                f"a {type(self).__name__} merges with its own kind only; "
                f"got {type(other).__name__}."
            )
        resolution = min(self.resolution, other.resolution)
        parts = self.coarsen(resolution), other.coarsen(resolution)
        return type(self)(resolution, *merged_counts(*((p.index, p.counts) for p in parts)))

    def _counts_without(self, atoms: Mapping[float, int]) -> IntArray:
        """Give the counts less those of the atoms that are counted here."""
        counts = self.counts.copy()
        values = to_float32(np.array(list(atoms), np.float64))
        held = self._holds(values)
        bins = self._locate(values[held], self.resolution)
        heights = np.array(list(atoms.values()), np.int64)[held]
        places = np.searchsorted(self.index, bins)
        for value, bin_, place, height in zip(values[held], bins, places, heights, strict=True):
            if place == counts.size or self.index[place] != bin_ or counts[place] < height:
                raise ValueError(
                    f"the atom at {value} has {height} values, more than its bin in {self!r}."
                )
            counts[place] -= height
        return counts

    def __add__(self, other: Self) -> Self:
        return self.merge(other) if type(other) is type(self) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self.resolution == other.resolution
            and np.array_equal(self.index, other.index)
            and np.array_equal(self.counts, other.counts)
        )

    def __repr__(self) -> str:
        low, high = self.bounds()
        span = f", from {low.min():.6g} to {high.max():.6g}" if low.size else ""
        return (
            f"{type(self).__name__}(resolution={self.resolution}: "
            f"{self.total} values in {low.size} bins{span})"
        )


def merged_counts(
    *parts: tuple[NDArray[Index], IntArray],
) -> tuple[NDArray[Index], IntArray]:
    """Merge counts by bin, each part's bins ascending; the stable sort finds ascending runs."""
    bins = np.concatenate([bins for bins, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    order = np.argsort(bins, kind="stable")
    return _summed_by_index(bins[order], counts[order])


def _summed_by_index(bins: NDArray[Index], counts: IntArray) -> tuple[NDArray[Index], IntArray]:
    """Add the counts of equal neighbours in ascending `bins`."""
    if not bins.size:
        return bins, counts
    starts = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    return bins[starts], np.add.reduceat(counts, starts)
