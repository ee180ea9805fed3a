"""Compute: the layout of the grid, from recordings to described panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

from actstats.plot import _style
from actstats.plot._layers import Column, Frame, Place, Pre, as_variants, find_columns
from actstats.plot._panels import Panel, Range, check_ranges, describe, pooled_range
from actstats.plot._style import Color
from actstats.recording import Recording, Window
from actstats.stats import TensorStats

__all__ = ["Panels", "Plan", "Row", "check_bins", "describe_windows", "has_atoms", "make_plan"]

LABELS = 1.12  # inches left of the panels
RIGHT = 0.12  # inches right of them
MOST_COLUMNS = 17  # 23 inches; more would be too small to read on a screen
NARROWEST = 0.85  # inches of a panel, where `figsize` was given

_NO_LAYER = Place(None, why="")

Panels: TypeAlias = Mapping[tuple[int, int], Panel]


def has_atoms(panels: Panels) -> bool:
    """Tell whether some panel has a spike."""
    return any(panel.atoms for panel in panels.values())


@dataclass(frozen=True)
class Row:
    """One row: a kind of panel of one variant."""

    kind: str
    variant: int
    last_of_kind: bool


@dataclass(frozen=True)
class Plan:
    """What goes where, before any number is read."""

    names: list[str]
    recordings: list[Recording]
    columns: list[tuple[Column | None, ...]]  # per column, one for each variant
    colors: list[Color]
    bins: int
    pre: Pre
    given: Mapping[str, Range]
    figsize: tuple[float, float] | None
    left_out: int

    @property
    def rows(self) -> list[Row]:
        """Rows in order: the kinds of panel, within them the variants."""
        last = len(self.names) - 1
        return [Row(kind, v, v == last) for kind in ("pre", "act") for v in range(last + 1)]

    @property
    def keys(self) -> list[str]:
        """Every site that some panel shows."""
        places = (self.place(row, i) for row in self.rows for i in range(len(self.columns)))
        return list(dict.fromkeys(place.site for place in places if place.site is not None))

    def place(self, row: Row, column: int) -> Place:
        """Return what a panel shows."""
        layer = self.columns[column][row.variant]
        return _NO_LAYER if layer is None else layer.places[row.kind]

    def first(self, column: int) -> Column:
        """Return the first variant's layer of a column, which names it."""
        return next(layer for layer in self.columns[column] if layer is not None)

    def scale(self, row: Row, column: int) -> str:
        """Return the kind of range of a panel."""
        return "input" if self.first(column).is_input else row.kind

    def stats(self, row: Row, column: int, frames: Sequence[Frame]) -> TensorStats | None:
        """Return a panel's statistics in one frame."""
        site = self.place(row, column).site
        return None if site is None else frames[row.variant].get(site)

    def scales(self, every: Sequence[Sequence[Frame]]) -> dict[str, Range]:
        """Return the range of each kind of panel over all frames."""
        seen: dict[str, list[TensorStats]] = {"pre": [], "act": [], "input": []}
        for frames in every:
            for row in self.rows:
                for i in range(len(self.columns)):
                    stats = self.stats(row, i, frames)
                    if stats is not None:
                        seen[self.scale(row, i)].append(stats)
        return {
            kind: self.given.get(kind) or pooled_range(stats, limited=kind == "act")
            for kind, stats in seen.items()
        }

    def panels(self, frames: Sequence[Frame], scales: Mapping[str, Range]) -> Panels:
        """Describe every panel of one frame, by row and column."""
        return {
            (r, c): self._panel(row, c, frames, scales)
            for r, row in enumerate(self.rows)
            for c in range(len(self.columns))
        }

    def _panel(
        self, row: Row, column: int, frames: Sequence[Frame], scales: Mapping[str, Range]
    ) -> Panel:
        """Describe one panel."""
        kind, place = self.scale(row, column), self.place(row, column)
        stats = self.stats(row, column, frames)
        return describe(
            stats,
            bins=self.bins,
            range=scales[kind],
            own_edges=kind not in self.given,
            judged=row.kind == "act" and not self.first(column).is_input,
            why=place.why if place.site is None else "not seen here",
        )


def make_plan(
    recordings: object,
    sites: str | Sequence[str] | None,
    bins: int,
    pre: Pre,
    ranges: Mapping[str, Range] | None,
    colors: Any,
    figsize: tuple[float, float] | None,
    phase: str | None,
) -> Plan:
    """Check the arguments and lay out the grid."""
    check_bins(bins)
    if pre not in ("linear", "z"):
        raise ValueError(f'`pre` must be "linear" or "z"; got {pre!r}.')
    variants = as_variants(recordings)
    layers = [find_columns(_of_phase(one, phase), sites, pre) for one in variants.values()]
    columns = _align(layers)
    kept = _spread(
        len(columns), _most_columns(figsize), first=any(_is_input(c) for c in columns[0])
    )
    return Plan(
        names=list(variants),
        recordings=list(variants.values()),
        columns=[columns[i] for i in kept],
        colors=_style.named_colors(list(variants), colors),
        bins=bins,
        pre=pre,
        given=check_ranges(ranges),
        figsize=figsize,
        left_out=len(columns) - len(kept),
    )


def _of_phase(recording: Recording, phase: str | None) -> Recording:
    return recording if phase is None else recording.select(phase=phase)


def check_bins(bins: int) -> None:
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"`bins` must be an integer of at least 1; got {bins!r}.")


def _align(layers: Iterable[list[Column]]) -> list[tuple[Column | None, ...]]:
    """Put variants side by side by position; L0 only beside L0."""
    many = [list(columns) for columns in layers]
    inputs = tuple(c.pop(0) if c and c[0].is_input else None for c in many)
    aligned: list[tuple[Column | None, ...]] = list(zip_longest(*many))
    return [inputs, *aligned] if any(inputs) else aligned


def _most_columns(figsize: tuple[float, float] | None) -> int:
    if figsize is None:
        return MOST_COLUMNS
    return max(MOST_COLUMNS, int((figsize[0] - LABELS - RIGHT) / NARROWEST))


def _is_input(layer: Column | None) -> bool:
    return layer is not None and layer.is_input


def _spread(n: int, most: int, *, first: bool) -> list[int]:
    """Return at most ``most`` indices, evenly spread, both ends kept; and L0 if it is ``first``."""
    if n <= most:
        return list(range(n))
    start = int(first)
    return [*range(start), *(round(i) for i in np.linspace(start, n - 1, most - start))]


def describe_windows(chosen: Sequence[Sequence[Window]]) -> str:
    """Say which steps are shown: ``steps 0-12, eval``."""
    texts = dict.fromkeys(_steps(windows) for windows in chosen)
    return " / ".join(texts)


def _steps(windows: Sequence[Window]) -> str:
    first, last = windows[0].first_step, windows[-1].last_step
    phases = "+".join(dict.fromkeys(window.phase for window in windows))
    steps = f"step {first:,}" if first == last else f"steps {first:,}\N{EN DASH}{last:,}"
    return f"{steps}, {phases}"
