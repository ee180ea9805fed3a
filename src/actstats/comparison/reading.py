"""From a window to the distributions of its sites, all at once where it is a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actstats.comparison.distributions import Distributions, Moments
from actstats.comparison.scale import STRIDE, Grid
from actstats.kernels.state import Layout
from actstats.stats import TensorStats
from actstats.table import Columns, SiteTable

__all__ = ["Reader", "resolution_of"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ZEROS, _PLUS, _MINUS = Layout.COUNTS + 1, Layout.COUNTS + 5, Layout.COUNTS + 6  # header's rows


def resolution_of(table: SiteTable, site: str) -> tuple[int, bool]:
    """Return the resolution of a site's histogram, and whether it has bins of 1 - |x|."""
    spec = table.columns.sites[table.columns.places[site]].spec
    return spec.resolution, spec.asymptote


class Reader:
    """Reads sites of one recording's windows.

    Parameters
    ----------
    sites : sequence of str
        Which, in the order of what is read.
    grid : Grid
        Their scales.
    """

    def __init__(self, sites: Sequence[str], grid: Grid) -> None:
        self.sites, self.grid = tuple(sites), grid
        self._plans: dict[Columns, _Plan] = {}

    def read(self, stats: Mapping[str, TensorStats]) -> Distributions:
        """Return the distributions of the sites; those that were not seen are empty."""
        table = SiteTable.from_stats(stats)
        if table.columns not in self._plans:
            self._plans[table.columns] = _Plan(table.columns, self.sites, self.grid)
        plan, rows = self._plans[table.columns], table.rows
        counted = plan.by_site(rows.header.view(np.int64)[[_MINUS, _ZEROS, _PLUS]])
        bins = _with_atoms(self.grid, *plan.binned(table), counted)
        return Distributions(self.grid, *bins, plan.moments(rows.header, rows.moments))


class _Plan:
    """What is the same for all tables with the same columns: which place is which site."""

    def __init__(self, columns: Columns, sites: Sequence[str], grid: Grid) -> None:
        self.columns, self.grid = columns, grid
        places = [columns.places.get(site, -1) for site in sites]
        self._seen = np.array(places, np.int64) >= 0
        self._place = np.array(places, np.int64)[self._seen]
        self._site = np.full(len(columns.sites), -1, np.int64)  # of each place
        self._site[self._place] = np.flatnonzero(self._seen)
        layouts = [Layout.of(kept.spec) for kept in columns.sites]
        self._begin = columns.starts[:-1] + np.array([at.histogram for at in layouts], np.int64)
        self._end = columns.starts[:-1] + np.array([at.linear for at in layouts], np.int64)
        resolutions = np.array([kept.spec.resolution for kept in columns.sites], np.int64)
        self._shift = np.maximum(resolutions - grid.resolution[self._site], 0)
        self._units = np.array([kept.units for kept in columns.sites], np.int64)
        self._widths = np.array([kept.spec.width for kept in columns.sites], np.int64)

    def by_site(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return what is known of the places (last axis) by site; 0 for sites not seen."""
        found = np.zeros((*rows.shape[:-1], len(self._seen)), rows.dtype)
        found[..., self._seen] = rows[..., self._place]
        return found

    def binned(self, table: SiteTable) -> tuple[IntArray, IntArray]:
        """Return keys and counts of all bins of the sites."""
        ends = np.searchsorted(table.bins, self.columns.starts.astype(table.bins.dtype))
        place = np.repeat(np.arange(len(self._site)), np.diff(ends))
        is_bin = (table.bins < self._end[place]) & (self._site[place] >= 0)
        place = place[is_bin]
        words = (table.bins[is_bin] - self._begin[place]) >> self._shift[place]
        keys = self.grid.keys(self._site[place], words)
        return keys[keys >= 0], table.counts[is_bin][keys >= 0]

    def moments(self, header: FloatArray, units: FloatArray) -> Moments:
        """Return the moments of all units of each site together."""
        n, high, low, m2, abs_sum = units
        total = self.columns.total(n)
        some = np.maximum(total, 1)
        mean = self.columns.total(n * (high + low)) / some
        deviation = (high - np.repeat(mean, self._widths)) + low
        between = self.columns.total(n * deviation * deviation) / some
        var = self.columns.total(m2) / some + between
        known = np.where(self._units > 0, between, np.nan)
        extrema = header[[Layout.EXTREMA, Layout.EXTREMA + 1]]
        rows = (*extrema, mean, self.columns.total(abs_sum) / some, var, known)
        whole = self.by_site(np.stack((total.astype(np.int64), self._units)))
        min_, max_, mean, size, var, known = self.by_site(np.stack(rows))
        return Moments(whole[0], min_, max_, mean, size, var, known, whole[1])


# ---- atoms -------------------------------------------------------------------------------------


def _with_atoms(
    grid: Grid, keys: IntArray, counts: IntArray, counted: IntArray
) -> tuple[IntArray, IntArray]:
    """Add what was counted at -1, 0 and 1, shape (3, sites), and take it out of the bins."""
    moves: list[tuple[int, int]] = []  # bins of sites, and the values to add to them
    for site, scale in enumerate(grid.scales):
        minus, zeros, plus = counted[:, site].tolist()
        bins = scale.ones[0], int(scale.rank[0]), scale.ones[1]
        places = zip(bins, scale.atoms, strict=True)
        for n, (place, atom) in zip((minus, zeros, plus), places, strict=True):
            if n and atom >= 0:
                moves += [(site * STRIDE + atom, n), (site * STRIDE + place, -n)]
    extra = np.array(moves, np.int64).reshape(-1, 2)
    return _summed(np.concatenate((keys, extra[:, 0])), np.concatenate((counts, extra[:, 1])))


def _summed(keys: IntArray, counts: IntArray) -> tuple[IntArray, IntArray]:
    """Return ascending keys, each once, with the sum of its counts where there are any."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    sums = np.add.reduceat(counts, starts) if len(starts) else counts
    return keys[starts][sums > 0], sums[sums > 0]
