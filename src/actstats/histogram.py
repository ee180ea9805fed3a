"""Histograms over float bit patterns, and how one distribution is read from them.

A bin is a float's sign, exponent and first `resolution` mantissa bits, so all of float32 is covered
with no range to choose, any two histograms add exactly, and a histogram goes coarser exactly.

Prior art: DDSketch's bitwise mapping (Masson, Rim & Lee 2019), HdrHistogram, H2Histogram.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray: TypeAlias = NDArray[np.float64]
    IntArray: TypeAlias = NDArray[np.int64]

__all__ = [
    "AsymptoteHistogram",
    "BinCounts",
    "BitHistogram",
    "Distribution",
    "bin_bounds",
    "bin_index",
]

MAX_RESOLUTION = 7
_FLOAT32_MAX = np.finfo(np.float32).max
_FLOAT32_TINY = np.finfo(np.float32).smallest_subnormal
_BIAS = 127  # of float32's exponent
_UPPER_HALF = _BIAS - 1  # biased exponent of 0.5 <= |x| < 1
_NON_FINITE = 255  # biased exponent of Inf and NaN
_OCTAVES = 24  # of d = 1 - |x|, from 2**-25 to 0.5
_NEAREST = _BIAS - 25  # biased exponent of d = 2**-25
_POINT_WIDTH = 2.0**-900  # bins narrower than this are points: a slope over them would overflow


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
    rounded = _to_float32(values)
    if not _is_counted(rounded).all():
        raise ValueError("`values` must be finite and non-zero; count zeros, NaN and Inf apart.")
    return _shifted_bits(rounded, _checked_resolution(resolution))


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
    _check_finite_bins(bins, _checked_resolution(resolution))
    half = 1 << (8 + resolution)
    near, far = _magnitude(bins % half, resolution), _magnitude(bins % half + 1, resolution)
    is_negative = bins >= half
    return np.where(is_negative, -far, near), np.where(is_negative, 0.0 - near, far)


def _checked_resolution(resolution: int) -> int:
    checked = operator.index(resolution)
    if not 0 <= checked <= MAX_RESOLUTION:
        raise ValueError(f"`resolution` must be in 0 to {MAX_RESOLUTION}; got {resolution}.")
    return checked


def _check_finite_bins(bins: NDArray[np.integer[Any]], resolution: int) -> None:
    size = 1 << (9 + resolution)
    if bins.size and (bins.min() < 0 or bins.max() >= size):
        raise ValueError(f"bin indices must be in [0, {size}) at resolution {resolution}.")
    if np.any(_exponent(bins, resolution) == _NON_FINITE):
        raise ValueError("bins of Inf and NaN must be empty: only finite values are counted.")


def _to_float32(values: ArrayLike) -> NDArray[np.float32]:
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


def _is_counted(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values) & (values != 0))


def _shifted_bits(values: NDArray[np.float32], resolution: int) -> IntArray:
    return (values.view(np.uint32) >> np.uint32(23 - resolution)).astype(np.int64)


def _exponent(bins: NDArray[np.integer[Any]], resolution: int) -> NDArray[np.integer[Any]]:
    """Biased exponent, 0 to 255, of the values in bins."""
    return (bins >> resolution) & 0xFF


def _magnitude(bins: IntArray, resolution: int) -> FloatArray:
    """Give the smallest |x| of bins; one past the last finite bin gives 2**128."""
    exponent, mantissa = bins >> resolution, bins & ((1 << resolution) - 1)
    implicit_bit = np.where(exponent > 0, 1 << resolution, 0)
    power = np.maximum(exponent, 1) - _BIAS - resolution
    return np.asarray(np.ldexp((implicit_bit + mantissa).astype(np.float64), power))


@dataclass(frozen=True, eq=False, repr=False)
class _SparseHistogram(ABC):
    """Exact counts of the occupied bins; subclasses say which bin a value belongs to.

    Laws: `merge` is associative and commutative, `merge(empty(resolution))` is a no-op at the same
    resolution, and coarsening commutes with merging.
    """

    resolution: int
    index: NDArray[np.int32]
    counts: IntArray

    def __post_init__(self) -> None:
        _checked_resolution(self.resolution)
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
        shape = cls._shape(_checked_resolution(resolution))
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
        shape = cls._shape(_checked_resolution(resolution))
        rounded = _to_float32(values).reshape(-1)
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
        >>> BitHistogram.from_values([1.0, 1.9], resolution=3).coarsen(0).counts
        array([2])
        """
        if _checked_resolution(resolution) > self.resolution:
            raise ValueError(
                f"a histogram of resolution {self.resolution} cannot be made finer; "
                f"got {resolution}. Record with a higher resolution."
            )
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
        bins = np.concatenate([part.index for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        order = np.argsort(bins, kind="stable")
        return type(self)(resolution, *_summed_by_index(bins[order], counts[order]))

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


def _summed_by_index(
    bins: NDArray[np.int32], counts: IntArray
) -> tuple[NDArray[np.int32], IntArray]:
    """Add the counts of equal neighbours in ascending `bins`."""
    if not bins.size:
        return bins, counts
    starts = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    return bins[starts], np.add.reduceat(counts, starts)


@dataclass(frozen=True, eq=False, repr=False)
class BitHistogram(_SparseHistogram):
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
        _check_finite_bins(bins, resolution)

    @staticmethod
    def _holds(values: NDArray[np.float32]) -> NDArray[np.bool_]:
        return _is_counted(values)

    @staticmethod
    def _locate(values: NDArray[np.float32], resolution: int) -> IntArray:
        return _shifted_bits(values, resolution)

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Give low and high bounds of the occupied bins, shape (bins,), in the order of `index`."""
        return bin_bounds(self.index, self.resolution)


@dataclass(frozen=True, eq=False, repr=False)
class AsymptoteHistogram(_SparseHistogram):
    """Counts of 0.5 <= |x| < 1 by the distance to the asymptote, d = 1 - |x|.

    For layers known to end at +-1 (tanh, sigmoid), whose values crowd where the bins of
    `BitHistogram` are too wide. d is exact in float32 (Sterbenz 1974). Values of exactly +-1 after
    rounding to float32 are left out: they are an atom, counted elsewhere. Dense layout:
    int64[2, 24 * 2**k], row 0 for x < 0 and row 1 for x > 0, columns ascending in d from 2**-25;
    d = 0.5 shares the last column. `index` is flat: row * 24 * 2**k + column.

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
        columns = _shifted_bits(distance, resolution) - (_NEAREST << resolution)
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


@dataclass(frozen=True, eq=False)
class BinCounts:
    """Counts between edges; unpacks like what numpy.histogram returns: ``counts, edges = ...``.

    Parameters
    ----------
    counts : ndarray of float64 or int64, shape (bins,)
        Mass in each bin, in values; a fraction where an edge cuts a recorded bin.
    edges : ndarray of float64, shape (bins + 1,)
        As asked for.
    exact : bool
        No edge cuts a recorded bin. (A value equal to an edge may be on either side of it.)
    below, above : float
        Mass under the first and over the last edge; with the sum of `counts` it makes the total.

    Examples
    --------
    >>> histogram = BitHistogram.from_values([1.0, 3.0], resolution=3)
    >>> found = Distribution(histogram, None, {}, min=1.0, max=3.0).counts([0, 2, 4])
    >>> found.counts, found.exact
    (array([1., 1.]), True)
    """

    counts: NDArray[Any]
    edges: FloatArray
    exact: bool
    below: float
    above: float

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.counts, self.edges))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, item: int) -> NDArray[Any]:
        return (self.counts, self.edges)[item]

    def __repr__(self) -> str:
        return (
            f"BinCounts({self.counts.sum():.6g} values in {self.counts.size} bins from "
            f"{self.edges[0]:.6g} to {self.edges[-1]:.6g}, {self.below:.6g} below, "
            f"{self.above:.6g} above, {'exact' if self.exact else 'interpolated'})"
        )


@dataclass(frozen=True)
class Distribution:
    """What is known of one distribution, ready to read.

    The cumulative counts are exact at the edges of occupied bins and a monotone cubic in between
    (Fritsch & Carlson 1980); atoms are exact steps. `quantile` inverts the same curve. The curve is
    made at the first reading and kept.

    Parameters
    ----------
    histogram : BitHistogram
        All finite non-zero values, those of atoms too.
    asymptote : AsymptoteHistogram or None
        Of the same values, if the layer is known to end at +-1; its bins replace those of
        `histogram` with 0.5 <= |x| < 1.
    atoms : mapping from float to int
        Exact counts of single finite values, such as ``{0.0: zeros, 1.0: high}``. Zeros are known
        from here only; other atoms are taken out of their bins.
    min, max : float
        Exact, over finite values, zeros too. Not used when there are none.

    Raises
    ------
    ValueError
        If the parts contradict each other.

    Examples
    --------
    >>> histogram = BitHistogram.from_values([1.0, 2.0, 3.0], resolution=3)
    >>> distribution = Distribution(histogram, None, {0.0: 5}, min=0.0, max=3.0)
    >>> distribution.total, distribution.quantile(0.5), distribution.cdf(0.0)
    (8, 0.0, 5.0)
    """

    histogram: BitHistogram
    asymptote: AsymptoteHistogram | None = None
    atoms: Mapping[float, int] = field(default_factory=dict)
    min: float = np.nan
    max: float = np.nan

    def __post_init__(self) -> None:
        if any(n < 0 or not np.isfinite(x) for x, n in self.atoms.items()):
            raise ValueError(f"atoms must be finite, their counts >= 0; got {dict(self.atoms)}.")
        if self.total and not -np.inf < self.min <= self.max < np.inf:
            raise ValueError(
                f"`min` and `max` must be finite and in order; got {self.min} and {self.max}."
            )
        self._check_asymptote()

    def _check_asymptote(self) -> None:
        if self.asymptote is None:
            return
        coarse = int(self.histogram.counts[_is_upper_half(self.histogram)].sum())
        if coarse != self.asymptote.total:
            raise ValueError(
                f"`asymptote` must count the values of `histogram` with 0.5 <= |x| < 1, "
                f"which are {coarse}; it has {self.asymptote.total}."
            )

    @property
    def total(self) -> int:
        """Number of finite values."""
        return self.histogram.total + int(self.atoms.get(0.0, 0))

    @overload
    def cdf(self, x: float, side: Literal["left", "right"] = ...) -> float: ...
    @overload
    def cdf(
        self, x: Sequence[float] | NDArray[Any], side: Literal["left", "right"] = ...
    ) -> FloatArray: ...
    @overload
    def cdf(self, x: ArrayLike, side: Literal["left", "right"] = ...) -> Any: ...
    def cdf(self, x: ArrayLike, side: Literal["left", "right"] = "right") -> float | FloatArray:
        """Count the values up to x.

        Parameters
        ----------
        x : float or array_like of float, any shape
            Infinities are allowed; NaN gives NaN.
        side : {"right", "left"}
            Whether an atom at x is counted ("right": values <= x) or not ("left": values < x).

        Returns
        -------
        float or ndarray of float64, shape of `x`
            Between 0 and `total`, ascending in x.

        Raises
        ------
        ValueError
            If `side` is neither.
        """
        if side not in ("left", "right"):
            raise ValueError(f'`side` must be "left" or "right"; got {side!r}.')
        points = np.asarray(x, dtype=np.float64)
        values = self._curve.at(points, side)
        return values if points.ndim else float(values)

    @overload
    def quantile(self, q: float) -> float: ...
    @overload
    def quantile(self, q: Sequence[float] | NDArray[Any]) -> FloatArray: ...
    @overload
    def quantile(self, q: ArrayLike) -> Any: ...
    def quantile(self, q: ArrayLike) -> float | FloatArray:
        """Find where the cumulative counts reach the share q of all values.

        In the same bin as ``numpy.quantile(values, q, method="inverted_cdf")``, so the relative
        error is at most 2**-resolution for normal float32 numbers; exact in an atom, at q = 0 (min)
        and q = 1 (max). Ascending in q, and ``cdf(quantile(q)) == q * total`` outside atoms up to
        rounding.

        Parameters
        ----------
        q : float or array_like of float, any shape
            In [0, 1].

        Returns
        -------
        float or ndarray of float64, shape of `q`
            NaN if there are no values.

        Raises
        ------
        ValueError
            If a q is outside [0, 1] or NaN.
        """
        shares = np.asarray(q, dtype=np.float64)
        if not np.all((shares >= 0) & (shares <= 1)):
            raise ValueError(f"`q` must be in [0, 1]; got {shares}.")
        values = self._quantiles(shares) if self.total else np.full(shares.shape, np.nan)
        return values if shares.ndim else float(values)

    def _quantiles(self, shares: FloatArray) -> FloatArray:
        values = self._curve.inverse(shares * self.total)
        return np.where(shares == 0, self.min, np.where(shares == 1, self.max, values))

    def counts(self, edges: ArrayLike) -> BinCounts:
        """Count the values between edges, each bin closed below, the last one closed above too.

        Parameters
        ----------
        edges : array_like of float, shape (bins + 1,)
            Ascending, of any width; infinities are allowed.

        Returns
        -------
        BinCounts
            ``below + counts.sum() + above == total`` up to rounding.

        Raises
        ------
        ValueError
            If there are fewer than two edges or they do not ascend.
        """
        bin_edges = np.asarray(edges, dtype=np.float64)
        if bin_edges.ndim != 1 or bin_edges.size < 2:
            raise ValueError(f"`edges` must be 1-d, two or more; got shape {bin_edges.shape}.")
        if not np.all(bin_edges[1:] >= bin_edges[:-1]):
            raise ValueError("`edges` must ascend and hold no NaN.")
        cumulative = self._curve.at(bin_edges, "left")
        cumulative[-1] = self._curve.at(bin_edges[-1:], "right")[0]
        cumulative = np.maximum.accumulate(cumulative)  # rounding must not make counts negative
        return BinCounts(
            counts=np.diff(cumulative),
            edges=bin_edges,
            exact=not self._curve.is_interpolated(bin_edges).any(),
            below=float(cumulative[0]),
            above=float(self.total - cumulative[-1]),
        )

    @cached_property
    def _curve(self) -> _Curve:
        atoms = {float(x): int(n) for x, n in sorted(self.atoms.items()) if n}
        low, high, counts = _bins_in_value_order(self.histogram, self.asymptote, atoms)
        if low.size:
            self._fit_to_range(low, high, atoms)
        is_point = high - low < _POINT_WIDTH
        positions = np.concatenate([np.array(list(atoms), np.float64), low[is_point]])
        heights = np.concatenate([np.array(list(atoms.values()), np.int64), counts[is_point]])
        if positions.size:  # float64 may have been rounded to an atom beyond its range
            positions = np.clip(positions, self.min, self.max)
        keep = ~is_point
        return _Curve.through(low[keep], high[keep], counts[keep], positions, heights)

    def _fit_to_range(self, low: FloatArray, high: FloatArray, atoms: Mapping[float, int]) -> None:
        """Move the outer edges to the exact min and max, in place, unless an atom is there.

        Mostly inwards; outwards where rounding to float32 put a float64 into the bin beyond it.
        """
        np.clip(low, self.min, self.max, out=low)
        np.clip(high, self.min, self.max, out=high)
        if not any(x <= self.min for x in atoms):
            low[0] = self.min
        if not any(x >= self.max for x in atoms):
            high[-1] = self.max


def _is_upper_half(histogram: BitHistogram) -> NDArray[np.bool_]:
    """Say which bins hold 0.5 <= |x| < 1."""
    return np.asarray(_exponent(histogram.index, histogram.resolution) == _UPPER_HALF)


def _bins_in_value_order(
    histogram: BitHistogram, asymptote: AsymptoteHistogram | None, atoms: Mapping[float, int]
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Give low, high and count of the occupied bins without their atoms, ascending, as new arrays.

    Neighbours share an edge exactly: all edges come from `bin_bounds`, and 1 - d is exact.
    """
    low, high = histogram.bounds()
    counts = _counts_without(atoms, histogram)
    if asymptote is not None:
        near_low, near_high = asymptote.bounds()
        counts = np.where(_is_upper_half(histogram), 0, counts)
        low, high = np.concatenate([low, near_low]), np.concatenate([high, near_high])
        counts = np.concatenate([counts, _counts_without(atoms, asymptote)])
    order = np.argsort(low, kind="stable")
    order = order[counts[order] > 0]
    return low[order], high[order], counts[order]


def _counts_without(atoms: Mapping[float, int], histogram: _SparseHistogram) -> IntArray:
    """Give the counts of a histogram less those of the atoms in its bins."""
    counts = histogram.counts.copy()
    values = _to_float32(np.array(list(atoms), np.float64))
    held = histogram._holds(values)
    bins = histogram._locate(values[held], histogram.resolution)
    heights = np.array(list(atoms.values()), np.int64)[held]
    places = np.searchsorted(histogram.index, bins)
    for value, bin_, place, height in zip(values[held], bins, places, heights, strict=True):
        if place == counts.size or histogram.index[place] != bin_ or counts[place] < height:
            raise ValueError(
                f"the atom at {value} has {height} values, more than its bin in {histogram!r}."
            )
        counts[place] -= height
    return counts


@dataclass(frozen=True)
class _Curve:
    """Cumulative counts: a monotone cubic through knots, plus steps.

    On segment j, with u in [0, 1] across it and v = 1 - u, the cubic is
    base + rise * u**2 * (3 - 2u) + start * u * v**2 - end * u**2 * v (Hermite's form). Being whole
    numbers, base and base + rise are exact at the knots.
    """

    knots: FloatArray  # n + 1, strictly ascending
    width: FloatArray  # n segments from here on
    base: FloatArray
    rise: FloatArray
    start: FloatArray  # tangents, times the width of the segment
    end: FloatArray
    steps: FloatArray  # positions, ascending
    stairs: FloatArray  # summed heights of the steps, beginning with 0

    @classmethod
    def through(
        cls,
        low: FloatArray,
        high: FloatArray,
        counts: IntArray,
        positions: FloatArray,
        heights: IntArray,
    ) -> _Curve:
        knots, cumulative = _knots(low, high, counts)
        width, rise = np.diff(knots), np.diff(cumulative)
        tangents = _monotone_tangents(width, rise / width)
        order = np.argsort(positions, kind="stable")
        stairs = np.concatenate([[0], np.cumsum(heights[order])]).astype(np.float64)
        return cls(
            knots=knots,
            width=width,
            base=cumulative[:-1],
            rise=rise,
            start=tangents[:-1] * width,
            end=tangents[1:] * width,
            steps=positions[order],
            stairs=stairs,
        )

    def at(self, x: FloatArray, side: Literal["left", "right"]) -> FloatArray:
        segment, u = self._place(x)
        return self._cubic(segment, u) + self.stairs[np.searchsorted(self.steps, x, side)]

    def is_interpolated(self, x: FloatArray) -> NDArray[np.bool_]:
        segment, u = self._place(x)
        return (u > 0) & (u < 1) & (self.rise[segment] > 0)

    def inverse(self, target: FloatArray) -> FloatArray:
        """Find the smallest x where the curve is at least target; ascends with target."""
        nodes, left, right = self._nodes
        node = np.minimum(np.searchsorted(right, target), nodes.size - 1)
        segment = np.maximum(np.searchsorted(self.knots, nodes[node]) - 1, 0)
        segment = np.minimum(segment, self.width.size - 1)
        stairs = self.stairs[np.searchsorted(self.steps, nodes[node])]
        u = self._solve(segment, target - stairs)
        between = np.clip(
            self.knots[segment] + u * self.width[segment],
            nodes[np.maximum(node - 1, 0)],
            nodes[node],
        )
        return np.where(target > left[node], nodes[node], between)

    @cached_property
    def _nodes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """All knots and steps, with the curve on their left and right."""
        nodes = np.union1d(self.knots, self.steps)
        return nodes, self.at(nodes, "left"), self.at(nodes, "right")

    def _place(self, x: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
        inside = np.clip(x, self.knots[0], self.knots[-1])
        segment = np.searchsorted(self.knots, inside, "right") - 1
        segment = np.minimum(segment, self.width.size - 1)
        return segment, (inside - self.knots[segment]) / self.width[segment]

    def _cubic(self, segment: NDArray[np.intp], u: FloatArray) -> FloatArray:
        v = 1 - u
        bend = self.start[segment] * v - self.end[segment] * u
        climb = self.rise[segment] * (u * u * (3 - 2 * u))
        return np.asarray(self.base[segment] + climb + bend * u * v)

    def _solve(self, segment: NDArray[np.intp], target: FloatArray) -> FloatArray:
        """Find u in [0, 1] digit by digit: u ascends with target whatever the rounding is."""
        u = np.zeros(target.shape)
        for digit in 0.5 ** np.arange(1, 54):
            u = np.where(self._cubic(segment, u + digit) < target, u + digit, u)
        return u


def _knots(low: FloatArray, high: FloatArray, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Give the edges of ascending bins, each once, and the counts up to them.

    A run of empty bins leaves its two ends. No bins give a flat line.
    """
    if not low.size:
        return np.array([0.0, 1.0]), np.zeros(2)
    edges = np.stack([low, high], axis=1).reshape(-1)
    after = np.cumsum(counts)
    cumulative = np.stack([after - counts, after], axis=1).reshape(-1).astype(np.float64)
    is_new = np.concatenate([[True], edges[1:] > edges[:-1]])
    return edges[is_new], cumulative[is_new]


def _monotone_tangents(width: FloatArray, slope: FloatArray) -> FloatArray:
    """Give the tangents at n + 1 knots of a monotone cubic over n rising segments.

    Those of the parabola through three knots, held between 0 and three times the flatter of the
    two neighbouring slopes, which is enough for monotony.

    Source: Fritsch & Carlson 1980, SIAM J. Numer. Anal. 17, 238-246; the bound of three is
    de Boor & Swartz 1977, J. Approx. Theory 21, 411-416.
    """
    if slope.size == 1:
        return np.repeat(slope, 2)
    share = width[:-1] / (width[:-1] + width[1:])
    inner = slope[:-1] + share * (slope[1:] - slope[:-1])
    first = slope[0] - share[0] * (slope[1] - slope[0])
    last = slope[-1] + (1 - share[-1]) * (slope[-1] - slope[-2])
    parabola = np.concatenate([[first], inner, [last]])
    flatter = np.minimum(np.append(slope, slope[-1]), np.insert(slope, 0, slope[0]))
    return np.asarray(np.clip(parabola, 0, 3 * flatter))
