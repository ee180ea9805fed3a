"""How one distribution is read: its cumulative counts, its quantiles, its counts between edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from actstats.histogram.counts import BinCounts
from actstats.histogram.curve import Curve
from actstats.histogram.kinds import (
    AsymptoteHistogram,
    BitHistogram,
    bins_in_value_order,
    is_upper_half,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from actstats.histogram.bits import FloatArray, IntArray

_POINT_WIDTH = 2.0**-900  # bins narrower than this are points: a slope over them would overflow


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
        `histogram` with ``0.5 <= |x| < 1``.
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
        coarse = int(self.histogram.counts[is_upper_half(self.histogram)].sum())
        if coarse != self.asymptote.total:
            raise ValueError(
                f"`asymptote` must count the values of `histogram` with 0.5 <= |x| < 1, "
                f"which are {coarse}; it has {self.asymptote.total}."
            )

    @property
    def total(self) -> int:
        """Number of finite values."""
        return self.histogram.total + int(self.atoms.get(0.0, 0))

    def bins(self) -> tuple[FloatArray, FloatArray, IntArray]:
        """Give the occupied bins as they were counted, ascending in value.

        Returns
        -------
        low, high : ndarray of float64, shape (bins,)
            Bounds, exact. An atom is a bin without width: ``low == high``.
        counts : ndarray of int64, shape (bins,)
            Above 0; they sum to `total`.

        Examples
        --------
        >>> histogram = BitHistogram.from_values([1.0, 3.0], resolution=3)
        >>> low, high, counts = Distribution(histogram, None, {0.0: 5}, min=0.0, max=3.0).bins()
        >>> low.tolist(), high.tolist(), counts.tolist()
        ([0.0, 1.0, 3.0], [0.0, 1.125, 3.25], [5, 1, 1])
        """
        atoms = {x: n for x, n in self.atoms.items() if n}
        low, high, counts = bins_in_value_order(self.histogram, self.asymptote, atoms)
        at = np.array(list(atoms), np.float64)
        heights = np.array(list(atoms.values()), np.int64)
        low, high = np.concatenate((low, at)), np.concatenate((high, at))
        order = np.lexsort((high, low))
        return low[order], high[order], np.concatenate((counts, heights))[order]

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
        if not self.total:
            values = np.full(shares.shape, np.nan)
        else:
            values = self._curve.inverse(shares * self.total)
            values = np.where(shares == 0, self.min, np.where(shares == 1, self.max, values))
        return values if shares.ndim else float(values)

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
    def _curve(self) -> Curve:
        atoms = {float(x): int(n) for x, n in sorted(self.atoms.items()) if n}
        low, high, counts = bins_in_value_order(self.histogram, self.asymptote, atoms)
        if low.size:
            self._fit_to_range(low, high, atoms)
        is_point = high - low < _POINT_WIDTH
        steps = np.concatenate([np.array(list(atoms), np.float64), low[is_point]])
        heights = np.concatenate([np.array(list(atoms.values()), np.int64), counts[is_point]])
        if steps.size:  # float64 may have been rounded to an atom beyond its range
            steps = np.clip(steps, self.min, self.max)
        keep = ~is_point
        return Curve.through(low[keep], high[keep], counts[keep], steps, heights)

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
