"""Who merges what: each rank a share of the windows, known to all before any number travels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actstats.log.codec import layout_from_json, layout_to_json
from actstats.log.schema import from_json, to_json
from actstats.merging import grouped, refuse_unequal
from actstats.recording import Recording, Window
from actstats.sites import Site
from actstats.table import Columns, Kept, SiteTable
from actstats.tables import part_of

__all__ = ["Held", "Outline", "Plan", "Share", "table_of", "tabled"]

IntArray = NDArray[np.int64]

FEWEST = 4  # sites of a share: cutting a window finer costs more than it spreads


class Held(NamedTuple):
    """A window that some rank holds."""

    rank: int
    number: int
    first_step: int
    last_step: int
    phase: str
    columns: Columns


@dataclass(frozen=True, eq=False)
class Outline:
    """What one rank holds, without the numbers.

    Parameters
    ----------
    layouts : sequence of Columns
        Each once.
    windows : sequence of (int, int, str, int)
        First and last step, phase and number of the layout.
    sites : mapping of str to Site
        What is known of each.
    """

    layouts: Sequence[Columns]
    windows: Sequence[tuple[int, int, str, int]]
    sites: dict[str, Site]

    @classmethod
    def of(cls, windows: Sequence[Window], sites: dict[str, Site]) -> Outline:
        """Return the outline of windows whose statistics are tables."""
        layouts: dict[tuple[Kept, ...], Columns] = {}
        numbers: dict[tuple[Kept, ...], int] = {}
        rows = []
        for window in windows:
            columns = table_of(window).columns
            layouts.setdefault(columns.sites, columns)
            number = numbers.setdefault(columns.sites, len(numbers))
            rows.append((window.first_step, window.last_step, window.phase, number))
        return cls(list(layouts.values()), rows, sites)

    def to_bytes(self) -> bytes:
        """Return the outline as JSON; ranks that hold the same have the same bytes."""
        parts = (
            [layout_to_json(columns) for columns in self.layouts],
            self.windows,
            [asdict(site) for site in self.sites.values()],
        )
        return to_json(parts).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Outline:
        """Rebuild what :meth:`to_bytes` was given."""
        layouts, windows, sites = from_json(data.decode())
        return cls(
            [layout_from_json(layout) for layout in layouts],
            [(first, last, phase, layout) for first, last, phase, layout in windows],
            {site.key: site for site in (Site(**one) for one in sites)},
        )

    def held(self, rank: int) -> Iterator[Held]:
        """Yield the windows as this rank's."""
        for number, (first, last, phase, layout) in enumerate(self.windows):
            yield Held(rank, number, first, last, phase, self.layouts[layout])


class Share(NamedTuple):
    """Windows that become one, or some sites of them: what one rank merges for all.

    Parameters
    ----------
    number : int
        Place among all shares.
    group : int
        Place among all groups of windows.
    block : int
        Which sites; the first block has the scalars too.
    """

    number: int
    group: int
    block: int


class Plan:
    """How ranks merge: every rank makes the same of the same outlines.

    Parameters
    ----------
    outlines : sequence of Outline
        Of each rank; ranks that hold the same may have the same object.
    names : sequence of str
        What a message calls each rank.

    Raises
    ------
    ValueError
        If a site's statistics do not merge.
    """

    def __init__(self, outlines: Sequence[Outline], names: Sequence[str]) -> None:
        self.world = len(outlines)
        different = dict.fromkeys(outlines)  # most ranks hold the same
        refuse_unequal({names[outlines.index(one)]: _kept(one) for one in different})
        self.groups = grouped([held for r, one in enumerate(outlines) for held in one.held(r)])
        sites = dict.fromkeys(kept.site for one in different for kept in _kept(one))
        wanted = ceil(self.world / max(1, len(self.groups)))
        self.blocks = max(1, min(wanted, ceil(len(sites) / FEWEST)))
        size = max(1, ceil(len(sites) / self.blocks))
        self._block = {site: place // size for place, site in enumerate(sites)}
        self._parts: dict[tuple[Columns, int], tuple[IntArray, Columns]] = {}
        self.shares = [
            Share(group * self.blocks + block, group, block)
            for group in range(len(self.groups))
            for block in range(self.blocks)
        ]

    def shares_of(self, rank: int) -> list[Share]:
        """Return the shares that this rank merges for all."""
        return self.shares[rank :: self.world]

    def owner(self, share: Share) -> int:
        """Return the rank that merges a share."""
        return share.number % self.world

    def held_by(self, rank: int) -> list[list[Held]]:
        """Return the windows of one rank in each group."""
        return [[held for held in group.windows if held.rank == rank] for group in self.groups]

    # ---- sites of a block ------------------------------------------------------------------------

    def places(self, columns: Columns, block: int) -> IntArray:
        """Return which sites of a layout belong to a block."""
        return self._part(columns, block)[0]

    def columns(self, columns: Columns, block: int) -> Columns:
        """Return the layout of the sites that belong to a block."""
        return self._part(columns, block)[1]

    def _part(self, columns: Columns, block: int) -> tuple[IntArray, Columns]:
        found = self._parts.get((columns, block))
        if found is None:
            blocks = [self._block[kept.site] for kept in columns.sites]
            places = np.flatnonzero(np.array(blocks, np.int64) == block)
            found = self._parts[columns, block] = places, part_of(columns, places)
        return found

    def has_piece(self, held: Held, block: int) -> bool:
        """Tell whether a window has something in a block: scalars, or a site."""
        return block == 0 or bool(self.columns(held.columns, block).sites)

    def is_filled(self, share: Share) -> bool:
        """Tell whether any window of a share's group has something in its block."""
        return share.block == 0 or bool(self.expected(share).sites)

    def expected(self, share: Share) -> Columns:
        """Return the layout that a merged share has if all its windows have the same sites."""
        parts = [self.columns(columns, share.block) for columns in self._layouts[share.group]]
        return next((columns for columns in parts if columns.sites), parts[0])

    @cached_property
    def _layouts(self) -> list[list[Columns]]:
        """The different layouts in each group."""
        return [list(dict.fromkeys(h.columns for h in group.windows)) for group in self.groups]


def table_of(window: Window) -> SiteTable:
    """Return a window's statistics as a table."""
    return SiteTable.from_stats(window.stats)


def tabled(recording: Recording) -> list[Window]:
    """Return a recording's windows, their statistics as tables."""
    return [
        window
        if isinstance(window.stats, SiteTable)
        else Window(
            window.first_step, window.last_step, window.phase, table_of(window), window.scalars
        )
        for window in recording.windows
    ]


def _kept(outline: Outline) -> Iterator[Kept]:
    for columns in outline.layouts:
        yield from columns.sites
