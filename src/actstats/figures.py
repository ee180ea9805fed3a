"""The figures of many sites at once, from the columns that a closed window keeps.

What :class:`~actstats.TensorStats` says of one site, computed for all of them together: counts
are identical, other numbers the same up to rounding (1e-12 relative).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actstats.custom import read_custom
from actstats.kernels.state import Layout
from actstats.stats import DORMANT_THRESHOLD, ENOUGH_SAMPLES, FIGURES
from actstats.table import Columns, SiteTable

__all__ = ["figures"]

FloatArray: TypeAlias = NDArray[np.float64]


def figures(table: SiteTable) -> dict[str, FloatArray]:
    """Return every figure of every site.

    Parameters
    ----------
    table : SiteTable
        S sites.

    Returns
    -------
    dict of str to ndarray of float64, shape (S,)
        By the names and in the order of ``actstats.stats.FIGURES``, then those of the user's own
        statistics; nan where one does not apply.
    """
    with np.errstate(all="ignore"):
        found = _Reader(table).found()
    return {name: found[name] for name in FIGURES} | _own(table)


def _own(table: SiteTable) -> dict[str, FloatArray]:
    """Return the figures of the user's own statistics."""
    found: dict[str, FloatArray] = {}
    columns = table.columns
    if not columns.custom[-1]:
        return found
    words = table.rows.custom
    for place, kept in enumerate(columns.sites):
        for one in read_custom(kept.spec.custom, words[columns.custom[place] :]).values():
            for name, value in one.figures.items():
                found.setdefault(name, np.full(len(columns.sites), np.nan))[place] = value
    return found


class Pieces:
    """Values of all sites' units in one row, reduced to one number a site.

    Parameters
    ----------
    ends : ndarray of int64, shape (S + 1,)
        Where each site's values begin, and where the last one's end; a site may have none.
    """

    def __init__(self, ends: NDArray[np.int64]) -> None:
        self.sizes = np.diff(ends)
        self._filled = self.sizes > 0
        self._starts = ends[:-1][self._filled]

    def sum(self, values: NDArray[Any]) -> FloatArray:
        """Return the sum over each site's values; 0 of none."""
        return self._reduced(np.add, values)

    def min(self, values: NDArray[Any]) -> FloatArray:
        """Return the least of each site's values; 0 of none."""
        return self._reduced(np.minimum, values)

    def max(self, values: NDArray[Any]) -> FloatArray:
        """Return the largest of each site's values; 0 of none."""
        return self._reduced(np.maximum, values)

    def spread(self, by_site: FloatArray) -> FloatArray:
        """Return each site's number once for each of its values."""
        return np.repeat(by_site, self.sizes)

    def _reduced(self, how: np.ufunc, values: NDArray[Any]) -> FloatArray:
        out = np.zeros(len(self.sizes))
        if self._starts.size:
            out[self._filled] = how.reduceat(values, self._starts)
        return out


class Traits:
    """What the sites of a table are, as rows of flags; one object for all tables of one kind."""

    def __init__(self, columns: Columns) -> None:
        kept = columns.sites
        known = [one.activation for one in kept]
        self.units, self.judged = Pieces(columns.units), Pieces(columns.judged)
        self.told_apart = np.array([one.units > 0 for one in kept], bool)
        self.has_slope = np.array([a is not None and a.reason is None for a in known], bool)
        self.is_activation = np.array([a is not None for a in known], bool)
        self.can_die = np.array([a is not None and a.can_die for a in known], bool)


@lru_cache(maxsize=64)
def _traits(columns: Columns) -> Traits:
    return Traits(columns)


class _Reader:
    """The rows of a table, and what several figures are made of."""

    def __init__(self, table: SiteTable) -> None:
        rows, self.traits = table.rows, _traits(table.columns)
        counts = rows.header.view(np.int64)[: Layout.EXTREMA].astype(np.float64)
        _, self.count, self.zeros, self.nan, self.posinf, self.neginf, *_ = counts
        self.finite = self.count - self.nan - self.posinf - self.neginf
        self.least, self.largest = rows.header[Layout.EXTREMA : Layout.OPENNESS]
        self.openness = rows.header[Layout.OPENNESS]
        self.n, self.high, self.low, self.m2, self.abs_sum = rows.moments
        self.seen, self.active, self.saturated_low, self.saturated_high, _ = rows.judged
        self.samples = self.traits.judged.sum(self.seen)
        self.mean, self.var = self._moments()
        self.rms = np.hypot(np.sqrt(self.var), self.mean)

    def found(self) -> dict[str, FloatArray]:
        return {**self._of_the_tensor(), **self._of_the_gate(), **self._of_the_units()}

    def _moments(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance over all units of each site, as ``Moments.pooled`` has them."""
        units = self.traits.units
        n = units.sum(self.n)
        centre = units.sum(np.where(self.n > 0, self.high * (self.n / units.spread(n)), 0.0))
        delta = np.where(self.n > 0, (self.high - units.spread(centre)) + self.low, 0.0)
        shift = units.sum(self.n * delta) / n
        m2 = units.sum(self.m2) + units.sum(self.n * (delta - units.spread(shift)) ** 2)
        return centre + shift, m2 / n

    def _of_the_tensor(self) -> dict[str, FloatArray]:
        ends = self.least <= self.largest  # not where nothing finite was seen: inf to -inf
        return {
            "count": self.count,
            "zeros": self.zeros,
            "nan_count": self.nan,
            "inf_count": self.posinf + self.neginf,
            "min": np.where(ends, self.least, np.nan),
            "max": np.where(ends, self.largest, np.nan),
            "mean": self.mean,
            "var": self.var,
            "std": np.sqrt(self.var),
            "rms": self.rms,
            "zero_fraction": self.zeros / self.count,
        }

    def _of_the_gate(self) -> dict[str, FloatArray]:
        total, applies = self.traits.judged.sum, self.traits.has_slope & (self.samples > 0)
        sums = {
            "saturated_fraction": total(self.saturated_low + self.saturated_high),
            "saturated_low": total(self.saturated_low),
            "saturated_high": total(self.saturated_high),
            "gate_openness": self.openness,
        }
        return {name: np.where(applies, sums[name] / self.samples, np.nan) for name in sums}

    def _of_the_units(self) -> dict[str, FloatArray]:
        traits = self.traits
        silent = traits.judged.sum((self.active == 0) & (self.seen > 0)) / traits.judged.sizes
        applies = traits.is_activation & traits.told_apart & (self.samples > 0)
        dies = traits.can_die & (traits.judged.min(self.seen) >= ENOUGH_SAMPLES)
        return {
            "signal_fraction": self._signal(),
            "silent_fraction": np.where(applies, silent, np.nan),
            "dead_fraction": np.where(applies & dies, silent, np.nan),
            "dormant_fraction": self._dormant(),
        }

    def _signal(self) -> FloatArray:
        units = self.traits.units
        varying = units.sum(np.where(self.n > 0, self.m2 / self.n, 0.0)) / units.sum(self.n > 0)
        enough = self.traits.told_apart & (units.max(self.n) >= 2) & (self.rms > 0)
        return np.where(enough, varying / self.rms**2, np.nan)

    def _dormant(self) -> FloatArray:
        units, seen = self.traits.units, self.n > 0
        size = np.where(seen, self.abs_sum / np.maximum(self.n, 1), 0.0)
        mean = units.sum(size) / units.sum(seen)
        dormant = units.sum(seen & (size <= DORMANT_THRESHOLD * units.spread(mean)))
        return np.where(self.traits.told_apart & (self.finite > 0), dormant / units.sizes, np.nan)
