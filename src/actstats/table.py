"""Statistics of many sites as columns: what a closed window keeps, made and merged all at once.

Closing a window and merging two cost a few array operations for all sites together;
:class:`TensorStats` are made when a site is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain, compress
from typing import Any, ClassVar, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from actstats.activations import Activation
from actstats.custom import CustomSpec
from actstats.histogram.sparse import merged_counts
from actstats.kernels import Spec
from actstats.kernels.state import NEVER, Layout
from actstats.moments import Moments
from actstats.stats import TensorStats

__all__ = ["Columns", "Kept", "SiteTable", "union"]

IntArray = NDArray[np.int64]

HEADER = Layout.BROKEN + 1  # words of a state's header that are in use
LAST_ACTIVE = 4  # row of what is judged
FEW = 4  # tables that are merged pair by pair
MOST_BINS = 1 << 24  # words of all bins that many tables are summed in, 128 MiB


class Kept(NamedTuple):
    """What is known of a site beside its numbers, and the same from window to window.

    Parameters
    ----------
    site : str
        Its key.
    spec : Spec
        What its state keeps.
    activation, saturation_slope, units
        As in :class:`TensorStats`.
    notes : tuple of (str, str)
        Items of the notes.
    """

    site: str
    spec: Spec
    activation: Activation | None = None
    saturation_slope: float = 0.05
    units: int = 0
    notes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, site: str, stats: TensorStats) -> Kept:
        """Return what is known of statistics beside their numbers."""
        notes = tuple(stats.notes.items())
        slope = stats.saturation_slope
        return cls(site, stats.spec, stats.activation, slope, stats.units, notes)

    def __hash__(self) -> int:
        return hash(self.site)  # the rest is slow to hash, and rarely tells two apart

    def stats(self, memory: IntArray) -> TensorStats:
        """Return the statistics in a copy of a state's memory, which is used up."""
        return TensorStats.from_memory(
            memory,
            self.spec,
            activation=self.activation,
            saturation_slope=self.saturation_slope,
            units=self.units,
            notes=dict(self.notes),
        )


class Rows(NamedTuple):
    """The dense numbers of all sites, as views, one row per kind."""

    header: NDArray[np.float64]  # (12, sites), as in `Layout`; integers by their bits
    moments: NDArray[np.float64]  # (5, units of all sites)
    judged: IntArray  # (5, units of all activation sites)
    custom: NDArray[np.float64]  # (words of all of the user's own statistics,)


class Columns:
    """Where the numbers of many sites lie; one object for all windows that have the same sites.

    Parameters
    ----------
    sites : tuple of Kept
        In the order of their states' memory, which lies end to end.

    Attributes
    ----------
    starts : ndarray of int64, shape (sites + 1,)
        Where each site's memory begins, and where the last one's ends.
    histograms : ndarray of int64, shape (sites, 2)
        Where each site's float-bit bins begin and end.
    units, judged, custom : ndarray of int64, shape (sites + 1,)
        Where each site's units begin in the rows of moments and of judged samples, and where what
        statistics of the user's own know of it begins.
    dense : ndarray of int64
        Where the words of header, moments, judged samples and the user's own statistics lie, row
        by row; all other words are counts of bins.
    """

    def __init__(self, sites: tuple[Kept, ...]) -> None:
        self.sites = sites
        self.places = {kept.site: place for place, kept in enumerate(sites)}
        layouts = [Layout.of(kept.spec) for kept in sites]
        self.starts = _ends(at.words for at in layouts)
        self.units = _ends((at.judged - at.moments) // 5 for at in layouts)
        self.judged = _ends((at.histogram - at.judged) // 5 for at in layouts)
        self.custom = _ends(at.words - at.custom for at in layouts)
        ends = np.array([(at.histogram, at.asymptote) for at in layouts], np.int64).reshape(-1, 2)
        self.histograms = self.starts[:-1, None] + ends

    @cached_property
    def dense(self) -> IntArray:
        """Where the dense words lie; what is read from a file never asks, so a claim costs none."""
        layouts = [Layout.of(kept.spec) for kept in self.sites]
        found = list(zip(self.starts[:-1], layouts, strict=True))
        return np.concatenate(
            (
                _rows(HEADER, ((start, start + HEADER) for start, _ in found)),
                _rows(5, ((start + at.moments, start + at.judged) for start, at in found)),
                _rows(5, ((start + at.judged, start + at.histogram) for start, at in found)),
                _rows(1, ((start + at.custom, start + at.words) for start, at in found)),
            )
        )

    @property
    def dense_words(self) -> int:
        """How many dense words there are."""
        by_unit = 5 * int(self.units[-1] + self.judged[-1])
        return HEADER * len(self.sites) + by_unit + int(self.custom[-1])

    @classmethod
    def of(cls, sites: tuple[Kept, ...]) -> Columns:
        """Return the columns of these sites, the same object for as long as a table holds it."""
        columns = _KNOWN.get(sites)
        if columns is None:
            columns = _KNOWN[sites] = cls(sites)
        return columns

    def rows(self, dense: IntArray) -> Rows:
        """Return views of dense words by kind."""
        header = HEADER * len(self.sites)
        judged = header + 5 * int(self.units[-1])
        custom = judged + 5 * int(self.judged[-1])
        floats = dense.view(np.float64)
        return Rows(
            floats[:header].reshape(HEADER, -1),
            floats[header:judged].reshape(5, -1),
            dense[judged:custom].reshape(5, -1),
            floats[custom:],
        )

    def total(self, by_unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over each site's units."""
        return np.add.reduceat(by_unit, self.units[:-1]) if len(self.sites) else by_unit

    def merged(self, one: IntArray, other: IntArray) -> IntArray:
        """Return the dense words of two tables together; neither changes."""
        merged = one + other  # what does not add is written over
        a, b, out = self.rows(one), self.rows(other), self.rows(merged)
        least, largest, openness = Layout.EXTREMA, Layout.EXTREMA + 1, Layout.OPENNESS
        np.fmin(a.header[least], b.header[least], out=out.header[least])
        np.fmax(a.header[largest], b.header[largest], out=out.header[largest])
        np.add(a.header[openness], b.header[openness], out=out.header[openness])
        first = [rows.header.view(np.int64)[Layout.BROKEN] for rows in (a, b, out)]
        np.maximum(first[0], first[1], out=first[2])
        moments = Moments(*a.moments).merge(Moments(*b.moments))
        out.moments[:] = moments.n, moments.high, moments.low, moments.m2, moments.abs_sum
        np.maximum(a.judged[LAST_ACTIVE], b.judged[LAST_ACTIVE], out=out.judged[LAST_ACTIVE])
        at = 0
        for site, own in ((kept.site, own) for kept in self.sites for own in kept.spec.custom):
            words = slice(at, at := at + own.words)
            out.custom[words] = own.merged(a.custom[words], b.custom[words], site)
        return merged

    @cached_property
    def custom_specs(self) -> tuple[CustomSpec, ...]:
        """The statistics of the user's own, of one site after the other."""
        return tuple(chain.from_iterable(kept.spec.custom for kept in self.sites))

    def memory(self, place: int, rows: Rows) -> IntArray:
        """Return memory for one site's state with its dense words in place, and no bins."""
        at = Layout.of(self.sites[place].spec)
        memory = np.zeros(at.words, np.int64)
        units = slice(*self.units[place : place + 2])
        judged = slice(*self.judged[place : place + 2])
        memory[:HEADER] = rows.header.view(np.int64)[:, place]
        memory[at.moments : at.judged] = rows.moments.view(np.int64)[:, units].reshape(-1)
        memory[at.judged : at.histogram] = rows.judged[:, judged].reshape(-1)
        custom = slice(*self.custom[place : place + 2])
        memory[at.custom :] = rows.custom.view(np.int64)[custom]
        return memory


_KNOWN: WeakValueDictionary[tuple[Kept, ...], Columns] = WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class SiteTable(Mapping[str, TensorStats]):
    """Statistics of many sites; a mapping from site to :class:`TensorStats`, made when read.

    ``a.merge(b)[site]`` is ``a[site].merge(b[site])``, bit for bit. About 1 KiB a site.

    Parameters
    ----------
    columns : Columns
        What is where.
    dense : ndarray of int64
        Words that ``columns.dense`` points at; floats by their bits.
    bins : ndarray of int, ascending
        Where the occupied bins lie.
    counts : ndarray of int64
        What is in them.
    """

    columns: Columns
    dense: IntArray
    bins: NDArray[np.integer[Any]]
    counts: IntArray
    packed: ClassVar[bool] = False  # whether reading the numbers takes a while

    @classmethod
    def of(cls, sites: tuple[Kept, ...], words: IntArray) -> SiteTable:
        """Copy what the memory of these sites' states holds; sites not called are left out.

        Parameters
        ----------
        sites : tuple of Kept
            In the order of the memory.
        words : ndarray of int64
            Memory of one state after the other's.
        """
        columns = Columns.of(sites)
        called = words[columns.starts[:-1] + Layout.CALLS] > 0
        if not called.all():
            words = words[np.repeat(called, np.diff(columns.starts))]
            columns = Columns.of(tuple(compress(sites, called)))
        occupied = words != 0
        occupied[columns.dense] = False
        bins = np.flatnonzero(occupied)
        narrow = np.int32 if len(words) < 2**31 else np.int64
        return cls(columns, words[columns.dense], bins.astype(narrow), words[bins])

    @classmethod
    def from_stats(cls, stats: Mapping[str, TensorStats]) -> SiteTable:
        """Return the table of statistics that were made one by one; of nothing, nothing."""
        if isinstance(stats, SiteTable):
            return stats
        seen = {site: one for site, one in stats.items() if one.calls}
        memory = [np.empty(0, np.int64), *(one.to_memory() for one in seen.values())]
        return cls.of(tuple(Kept.of(*item) for item in seen.items()), np.concatenate(memory))

    def __getitem__(self, site: str) -> TensorStats:
        columns, place = self.columns, self.columns.places[site]
        memory = columns.memory(place, self.rows)
        start, stop = columns.starts[place : place + 2]
        ends = np.array((start, stop), self.bins.dtype)  # of another type, all bins were copied
        bins = slice(*np.searchsorted(self.bins, ends))
        memory[self.bins[bins] - start] = self.counts[bins]
        return columns.sites[place].stats(memory)

    def __contains__(self, site: object) -> bool:
        return site in self.columns.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns.places)

    def __len__(self) -> int:
        return len(self.columns.sites)

    def __reduce__(self) -> tuple[type[dict[str, TensorStats]], tuple[dict[str, TensorStats]]]:
        return dict, (dict(self),)  # specs hold functions, which are not for pickles

    @property
    def nbytes(self) -> int:
        """Memory held by the arrays, in bytes."""
        return self.dense.nbytes + self.bins.nbytes + self.counts.nbytes

    @cached_property
    def rows(self) -> Rows:
        """The dense numbers by kind, as views."""
        return self.columns.rows(self.dense)

    def first_non_finite(self) -> dict[str, int]:
        """Return the first step with NaN or Inf of each site that saw one."""
        words = self.rows.header.view(np.int64)[Layout.BROKEN].tolist()
        return {site: NEVER - word for site, word in zip(self, words, strict=True) if word}

    def fits(self, other: Mapping[str, TensorStats]) -> bool:
        """Tell whether the other has the same sites, which keep the same."""
        return isinstance(other, SiteTable) and self.columns.sites == other.columns.sites

    def merge(self, other: Mapping[str, TensorStats]) -> Mapping[str, TensorStats]:
        """Return the statistics of both, by site; neither side changes.

        All at once where both have the same sites, which keep the same.
        """
        if not (isinstance(other, SiteTable) and self.fits(other)):
            return union(self, other)
        bins, counts = merged_counts((self.bins, self.counts), (other.bins, other.counts))
        dense = self.columns.merged(self.dense, other.dense)
        return SiteTable(self.columns, dense, bins, counts)

    @classmethod
    def sum(cls, tables: Sequence[SiteTable]) -> SiteTable:
        """Return the merge of tables that fit one another, one after the other, bit for bit.

        Many are summed in an array of all bins, empty ones too, where that is small enough.
        """
        first = tables[0]
        columns, words = first.columns, int(first.columns.starts[-1])
        if len(tables) < FEW or words > MOST_BINS:
            return reduce(lambda a, b: a.merge(b), tables)  # type: ignore[arg-type,return-value]
        total, dense = np.zeros(words, np.int64), None
        for table in tables:
            dense = table.dense if dense is None else columns.merged(dense, table.dense)
            total[table.bins] += table.counts
        assert dense is not None
        bins = np.flatnonzero(total).astype(first.bins.dtype)
        return cls(columns, dense, bins, total[bins])


def union(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings value by value; what is on one side only is kept as it is."""
    merged = dict(a)
    for key, value in b.items():
        merged[key] = merged[key].merge(value) if key in merged else value
    return merged


def _ends(sizes: Iterable[int]) -> IntArray:
    """Return where pieces of these sizes begin, end to end, and where the last one ends."""
    return np.cumsum((0, *sizes), dtype=np.int64)


def _rows(number: int, pieces: Iterable[tuple[int, int]]) -> IntArray:
    """Return the places in pieces of so many rows, the first rows of all pieces first."""
    places = [np.arange(first, end).reshape(number, -1) for first, end in pieces]
    return np.concatenate((np.empty((number, 0), np.int64), *places), axis=1).reshape(-1)
