"""Parts of tables, and several tables as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actstats.histogram.sparse import merged_counts
from actstats.kernels.state import Layout
from actstats.stats import TensorStats
from actstats.table import Columns, Kept, SiteTable, union

__all__ = ["coarsened", "joined", "part", "part_of", "summed"]

IntArray = NDArray[np.int64]

LINEAR = 2  # of a site's three parts with bins, the one that no resolution changes


def summed(tables: Sequence[SiteTable]) -> Mapping[str, TensorStats]:
    """Return the merge of tables, one after the other, bit for bit, whichever sites they have.

    Sites that the same tables have, and keep alike, are merged together; others one by one.
    """
    if all(tables[0].fits(other) for other in tables[1:]):
        return SiteTable.sum(tables)
    groups, odd = _held_by(tables)
    tables = [SiteTable(one.columns, one.dense, one.bins, one.counts) for one in tables]
    parts = []
    for holders, sites in groups.items():
        places = [[tables[i].columns.places[site] for site in sites] for i in holders]
        alike = [part(tables[i], np.array(at)) for i, at in zip(holders, places, strict=True)]
        parts.append(SiteTable.sum(alike))
    single = ({site: table[site] for site in odd if site in table} for table in tables)
    parts.append(SiteTable.from_stats(reduce(union, single)))
    return joined([some for some in parts if some] or parts)


def _held_by(tables: Sequence[SiteTable]) -> tuple[dict[tuple[int, ...], list[str]], list[str]]:
    """Return sites by which tables have them, and sites that not all keep alike."""
    held: dict[str, list[tuple[int, Kept]]] = {}
    for i, table in enumerate(tables):
        for kept in table.columns.sites:
            held.setdefault(kept.site, []).append((i, kept))
    groups: dict[tuple[int, ...], list[str]] = {}
    odd = []
    for site, ((_, first), *others) in held.items():
        if all(kept == first for _, kept in others):
            groups.setdefault(tuple(i for i, _ in held[site]), []).append(site)
        else:
            odd.append(site)
    return groups, odd


def part_of(columns: Columns, places: IntArray) -> Columns:
    """Return the columns of some sites; the same object for all of them in their order."""
    if np.array_equal(places, np.arange(len(columns.sites))):
        return columns
    return Columns.of(tuple(columns.sites[place] for place in places))


def part(table: SiteTable, places: IntArray) -> SiteTable:
    """Return some sites of a table, in the order of their places."""
    whole, columns = table.columns, part_of(table.columns, places)
    if columns is whole:
        return table
    rows, numbers = table.rows, _ranges(whole.units, places)
    dense = (
        rows.header.view(np.int64)[:, places],
        rows.moments.view(np.int64)[:, numbers],
        rows.judged[:, _ranges(whole.judged, places)],
        rows.custom.view(np.int64)[_ranges(whole.custom, places)],
    )
    bins, counts = _bins_of(table, places, columns)
    return SiteTable(columns, np.concatenate([block.reshape(-1) for block in dense]), bins, counts)


def _bins_of(
    table: SiteTable, places: IntArray, columns: Columns
) -> tuple[NDArray[np.integer[Any]], IntArray]:
    """Return the bins of some sites, where they lie among these alone, and what is in them."""
    starts = table.columns.starts
    if len(places) and (np.diff(places) == 1).all():  # neighbours, as they mostly are
        first, last = int(starts[places[0]]), int(starts[places[-1] + 1])
        ends = np.array((first, last), table.bins.dtype)  # of another type, all bins were copied
        held = slice(*np.searchsorted(table.bins, ends))
        return table.bins[held] - table.bins.dtype.type(first), table.counts[held]
    shift = np.full(len(table.columns.sites), -1, np.int64)
    shift[places] = columns.starts[:-1]
    owner = np.searchsorted(starts, table.bins, side="right") - 1
    chosen = shift[owner] >= 0
    owner = owner[chosen]
    bins = table.bins[chosen] - starts[owner] + shift[owner]
    order = np.argsort(bins, kind="stable")  # ascending, also where the sites do not
    return bins[order].astype(table.bins.dtype), table.counts[chosen][order]


def joined(tables: Sequence[SiteTable]) -> SiteTable:
    """Return tables of different sites as one, in their order."""
    if len(tables) == 1:
        return tables[0]
    columns = Columns.of(tuple(kept for table in tables for kept in table.columns.sites))
    rows = [table.rows for table in tables]
    dense = (
        np.hstack([row.header.view(np.int64) for row in rows]),
        np.hstack([row.moments.view(np.int64) for row in rows]),
        np.hstack([row.judged for row in rows]),
        np.concatenate([row.custom.view(np.int64) for row in rows]),
    )
    words = np.cumsum([0, *(table.columns.starts[-1] for table in tables)])
    bins = [table.bins + start for table, start in zip(tables, words, strict=False)]
    return SiteTable(
        columns,
        np.concatenate([block.reshape(-1) for block in dense]),
        np.concatenate(bins).astype(np.int32 if words[-1] < 2**31 else np.int64),
        np.concatenate([table.counts for table in tables]),
    )


def coarsened(table: SiteTable, resolution: int) -> SiteTable:
    """Return a table with histograms of at most a resolution, exactly.

    ``coarsened(table, k)[site]`` is ``table[site].coarsen(k)``, bit for bit.
    """
    specs = [kept.spec for kept in table.columns.sites]
    lower = [spec.at_most(resolution) for spec in specs]
    sites = zip(table.columns.sites, lower, strict=True)
    columns = Columns.of(tuple(kept._replace(spec=spec) for kept, spec in sites))
    owner = np.searchsorted(table.columns.starts, table.bins, side="right") - 1
    pairs = zip(specs, lower, strict=True)
    finer = np.array([a.resolution - b.resolution for a, b in pairs], np.int64)
    old, new = _parts_with_bins(table.columns), _parts_with_bins(columns)
    which = (table.bins[:, None] >= old[owner, 1:]).sum(1)
    shift = np.where(which < LINEAR, finer[owner], 0)
    bins = new[owner, which] + (table.bins - old[owner, which] >> shift)
    bins, counts = merged_counts((bins, table.counts))
    return SiteTable(columns, table.dense, bins.astype(table.bins.dtype), counts)


def _parts_with_bins(columns: Columns) -> IntArray:
    """Return where each site's float-bit bins, asymptote's bins and linear bins begin."""
    layouts = (Layout.of(kept.spec) for kept in columns.sites)
    begin = [(at.histogram, at.asymptote, at.linear) for at in layouts]
    return columns.starts[:-1, None] + np.array(begin, np.int64).reshape(-1, 3)


def _ranges(ends: IntArray, places: IntArray) -> IntArray:
    """Return all numbers in the ranges that begin at these places of ``ends``."""
    pieces = [np.arange(ends[place], ends[place + 1]) for place in places]
    return np.concatenate([np.empty(0, np.int64), *pieces])
