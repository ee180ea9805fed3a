"""The table of layers: one row per site, its figures at the end and how they came about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.diagnosis.finding import SEVERITIES
from actstats.plot._panels import pooled_range
from actstats.report import svg
from actstats.report.axis import Axis, Scale
from actstats.report.charts import across
from actstats.report.findings import WORDS
from actstats.report.run import Run
from actstats.report.text import number, share
from actstats.stats import TensorStats

__all__ = ["Badge", "Cell", "Column", "LayerTable", "Row", "layer_table"]

Floats = NDArray[np.float64]

POINTS = 60  # of a sparkline
WIDTH, HEIGHT = 240, 48  # of small pictures, in units
BINS = 24
MIDDLE = "middle 99 %"


@dataclass(frozen=True)
class Column:
    """A figure: its title, unit, and how it is drawn over time, if it is."""

    figure: str
    title: str
    unit: str = ""
    drawn: Scale | None = None


COLUMNS = (
    Column("mean", "Mean"),
    Column("std", "Std", "", "log"),
    Column("min", "Min"),
    Column("max", "Max"),
    Column("signal_fraction", "Signal", "%"),
    Column("saturated_fraction", "Saturated", "%", "share"),
    Column("dead_fraction", "Dead units", "%", "share"),
)
BROKEN = Column("non_finite", "NaN, Inf")


@dataclass(frozen=True)
class Cell:
    """A figure as text, as a value to sort by, and as a small picture with its words."""

    text: str
    value: str
    line: str = ""
    band: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Badge:
    """The gravest finding of a site, and the rules of its other ones."""

    tone: str
    word: str
    rule: str
    anchor: str
    others: tuple[str, ...]
    rank: int


@dataclass(frozen=True)
class Row:
    """One site."""

    number: int
    anchor: str
    site: str
    module: str
    kind: str
    badge: Badge | None
    bars: str
    bars_alt: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class LayerTable:
    """All rows, and what the columns are."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    kinds: tuple[str, ...]
    drawn: bool
    notes: tuple[str, ...]


def layer_table(run: Run) -> LayerTable:
    """Return a row for each site in the recording's order."""
    columns = tuple(_columns(run))
    cells = zip(*(_cells(run, column) for column in columns), strict=True)
    rows = tuple(
        _row(run, i, site, found)
        for i, (site, found) in enumerate(zip(run.part, cells, strict=True), 1)
    )
    kinds = tuple(dict.fromkeys(row.kind for row in rows))
    drawn = len(run.part.windows) > 1
    return LayerTable(columns, rows, kinds, drawn, tuple(_notes(run, drawn)))


def _columns(run: Run) -> Iterator[Column]:
    """Yield the figures, without those that apply nowhere; NaN and Inf only where there are any."""
    yield from COLUMNS[:4]
    for column in COLUMNS[4:]:
        if any(not math.isnan(value) for value in run.latest(column.figure).values()):
            yield column
    if any(window.first_non_finite for window in run.part.windows):
        yield BROKEN


def _notes(run: Run, drawn: bool) -> Iterator[str]:
    yield (
        f"Figures are those of the last window that saw the layer, and so is the histogram "
        f"({BINS} bins over the {MIDDLE} of the values, the highest bar at full height)."
    )
    if drawn:
        yield (
            "Small lines show all windows: std on a logarithmic axis of its own of at least a "
            "decade, shares from 0 to 100 %."
        )
    if len(run.part.windows) > POINTS:
        yield (
            f"{len(run.part.windows):,} windows are drawn as {POINTS} pieces, each from the "
            "least to the largest value of neighbouring windows, so that no peak is lost."
        )


# ---- rows ----------------------------------------------------------------------------------------


def _row(run: Run, place: int, site: str, cells: Sequence[Cell]) -> Row:
    known = run.part.sites[site]
    bars, alt = _histogram(run.last_seen[site].stats[site])
    return Row(
        place,
        run.anchors[site],
        site,
        known.module_type,
        known.kind,
        _badge(run, site),
        bars,
        alt,
        tuple(cells),
    )


def _badge(run: Run, site: str) -> Badge | None:
    found = run.by_site.get(site)
    if not found:
        return None
    worst, *others = found
    return Badge(
        worst.severity,
        WORDS[worst.severity],
        worst.rule,
        run.finding_anchors[id(worst)],
        tuple(finding.rule for finding in others),
        SEVERITIES.index(worst.severity) + 1,
    )


def _histogram(stats: TensorStats) -> tuple[str, str]:
    if not stats.finite_count:
        return "", "no finite value"
    low, high = pooled_range([stats], limited=True)
    counts = stats.histogram(BINS, (low, high)).counts
    return svg.bars(
        np.asarray(counts, float), WIDTH, HEIGHT
    ), f"histogram from {number(low)} to {number(high)}"


# ---- cells ---------------------------------------------------------------------------------------


def _cells(run: Run, column: Column) -> list[Cell]:
    if column is BROKEN:
        return _broken(run)
    latest = run.latest(column.figure)
    write = share if column.unit == "%" else number
    plain = [Cell(write(latest[site]), _sortable(latest[site])) for site in run.part]
    if column.drawn is None or len(run.part.windows) < 2:
        return plain
    return _with_lines(run, column, plain)


def _broken(run: Run) -> list[Cell]:
    nan, inf = run.latest("nan_count"), run.latest("inf_count")
    found = [int(nan[site] + inf[site]) for site in run.part]
    return [Cell(number(n), str(n)) for n in found]


def _sortable(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _with_lines(run: Run, column: Column, plain: Sequence[Cell]) -> list[Cell]:
    series = run.over_time(column.figure)
    buckets = svg.Buckets(len(series.values), POINTS)
    least, most = buckets.ends(series.values)
    x = across(buckets.mean(series.steps), run.span, WIDTH)
    return [
        _with_line(cell, column, x, least[:, i], most[:, i], merged=buckets.merged)
        for i, cell in enumerate(plain)
    ]


def _with_line(
    cell: Cell, column: Column, x: Floats, least: Floats, most: Floats, *, merged: bool
) -> Cell:
    if not np.isfinite(least).any():
        return cell
    axis = Axis.of(column.drawn or "linear", np.append(least, most))
    low, high = (2 + (HEIGHT - 4) * (1 - axis.place(end)) for end in (least, most))
    drawn = {"band": svg.band(x, low, high)} if merged else {"line": svg.line(x, low)}
    write, unit = (share, " %") if column.unit == "%" else (number, "")
    ends = write(float(np.nanmin(least))), write(float(np.nanmax(most)))
    alt = f"{column.title} over time: {ends[0]} to {ends[1]}{unit}"
    return Cell(cell.text, cell.value, alt=alt, **drawn)
