"""The table that ``recorder.summary()`` shows: plain text, HTML, or rich."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from actstats.custom import known
from actstats.names import printable
from actstats.recording import Recording
from actstats.stats import FIGURES, TensorStats
from actstats.text import aligned, html_list, html_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["COLUMNS", "EXTRA", "Row", "Summary", "cell", "columns_of", "heading"]

COLUMNS = (
    *("calls", "mean", "std", "min", "max"),
    *("zero_fraction", "signal_fraction", "saturated_fraction", "dead_fraction"),
)
"""The figures that a table shows."""

EXTRA = ("calls", "abs_mean", "condition")
"""Numbers that a table may show though they are none of :data:`actstats.stats.FIGURES`."""

_EXPLAINED = ("saturated_fraction", "dead_fraction")


class Row(NamedTuple):
    """A site in one phase."""

    site: str
    phase: str
    stats: TensorStats


class Summary:
    """A table of sites and figures; ``str()`` is plain text.

    Parameters
    ----------
    recording : Recording
        What to show; a site seen in several phases is shown in each.
    kernel : str
        Name of the kernel that ran; empty where it is not known.
    """

    def __init__(self, recording: Recording, *, kernel: str = "reference") -> None:
        self.kernel = kernel
        self.notes = recording.notes
        self.title = printable(repr(recording))
        self.columns = columns_of(recording)
        self.header = ("site", "module", "phase", *(heading(name) for name in self.columns))
        self.rows: list[tuple[str, ...]] = []
        self.found: list[Row] = []
        self.reasons: list[str] = []
        self._read(recording)

    def _read(self, recording: Recording) -> None:
        missing: dict[str, list[str]] = {}
        for phase in recording.phases:
            part = recording.select(phase=phase)
            for site, stats in part.items():
                module = recording.sites[site].module_type
                self.found.append(Row(site, phase, stats))
                self.rows.append(
                    (site, module, phase, *(cell(name, stats) for name in self.columns))
                )
                for text in _remarks(stats):
                    missing.setdefault(text, []).append(site)
        for text, sites in missing.items():
            names = list(dict.fromkeys(sites))
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            self.reasons.append(f"{', '.join(names[:4])}{more}: {text}")

    @property
    def footer(self) -> list[str]:
        """Lines below the table: the kernel, what is missing and why."""
        kernel = [f"kernel: {self.kernel}"] if self.kernel else []
        return [printable(line) for line in (*kernel, *self.notes, *self.reasons)]

    def __str__(self) -> str:
        return "\n".join([self.title, *aligned(self.header, self.rows, left=3), *self.footer])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = html_table(self.header, self.rows, left=range(3), caption=self.title)
        return f"{table}{html_list(self.footer)}"

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text  # in a plain string `[red]` would be a style

        table = Table(title=Text(self.title), caption=Text("\n".join(self.footer)))
        for i, title in enumerate(self.header):
            left = i < 3
            table.add_column(title, justify="left" if left else "right", no_wrap=True, ratio=None)
        for row in self.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        return table


def columns_of(recording: Recording) -> tuple[str, ...]:
    """Return the figures that a table of this recording shows: the user's own are the last."""
    return (*COLUMNS, *recording.figure_names[len(FIGURES) :])


def heading(figure: str) -> str:
    """Return a figure's name above its column."""
    return figure.replace("_fraction", " %").replace("_", " ")


def cell(name: str, stats: TensorStats) -> str:
    """Return a figure as a table shows it: shares in percent, ``-`` where it does not apply."""
    value: Any = getattr(stats, name, math.nan)  # a statistic of the user's own may not be here
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if name.endswith("_fraction") else f"{value:.4g}"


def _remarks(stats: TensorStats) -> list[str]:
    """Return what a reader must know of a row: reasons for dashes, and warnings."""
    remarks = []
    reasons = dict.fromkeys(stats.why(figure) for figure in _EXPLAINED)
    remarks += [f"-: {reason}" for reason in reasons if reason]
    if "axis" in stats.notes:
        remarks.append(stats.notes["axis"])
    remarks += [f"no {name}: {stats.notes[name]}" for name in known() if name in stats.notes]
    remarks += [f"no {name}: {one.fault}" for name, one in stats.custom.items() if one.fault]
    if "units" in stats.notes:
        remarks.append(f"no per-unit figures: {stats.notes['units']}")
    if stats.nan_count or stats.inf_count:
        remarks.append(f"{stats.nan_count} NaN and {stats.inf_count} Inf, not in the other figures")
    if stats.under_resolved:
        remarks.append("under-resolved: narrow and far from zero; raise `resolution` for this site")
    return remarks
