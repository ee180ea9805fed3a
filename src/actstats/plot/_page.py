"""Draw: the page of the grid, what stays and what each frame replaces."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from actstats.plot import _style
from actstats.plot._draw import draw_panel, prepare_axes, set_top
from actstats.plot._layers import Pre
from actstats.plot._panels import Range
from actstats.plot._plan import LABELS, RIGHT, Panels, Plan, Row
from actstats.plot._style import Color

__all__ = ["Canvas"]

# Inches.
PANEL = (1.3, 1.05)  # one cell of the grid
HEAD = 0.86  # title, legend, layers
FOOT = 0.3
GAP = (0.14, 0.14)  # between cells, taken from them
BLOCK_GAP = 0.26  # below each kind of row, for its ticks

MOST_IN_LEGEND = 4  # variants; the row labels name them all


class Canvas:
    """The drawn page: what stays from frame to frame, and what each frame replaces."""

    def __init__(
        self, plan: Plan, scales: Mapping[str, Range], title: str | None, *, has_atoms: bool
    ) -> None:
        self.plan, self.scales = plan, scales
        self.figure = Figure(figsize=plan.figsize or _default_size(plan))
        self.axes = {
            (r, c): self._make_axes(r, c)
            for r in range(len(plan.rows))
            for c in range(len(plan.columns))
        }
        self._write_title(title)
        self._write_notes()
        self._add_legend(has_atoms)
        self.changing: list[Artist] = []

    # ---- what stays

    def _make_axes(self, r: int, c: int) -> Axes:
        row, place = self.plan.rows[r], self.plan.place(self.plan.rows[r], c)
        axes = self.figure.add_axes(_cell(self.plan, self.figure.get_size_inches().tolist(), r, c))
        axes.set_label(f"{row.kind} {self.plan.names[row.variant]} {c}")
        view = self.scales[self.plan.scale(row, c)]
        prepare_axes(axes, view, place.zones, ticks=row.last_of_kind)
        if place.site is None:
            axes.spines["bottom"].set_visible(row.last_of_kind)
            axes.tick_params(axis="x", length=0)
        if r == 0:
            self._write_layer(axes, c)
        if c == 0:
            self._write_row(axes, row)
        return axes

    def _write_layer(self, axes: Axes, c: int) -> None:
        layer = self.plan.first(c)
        room = int(axes.get_window_extent().width / self.figure.dpi * 72 / 4.0)
        axes.set_title(f"L{layer.number}", fontsize=_style.LARGE, fontweight="bold", pad=13)
        axes.annotate(
            "input" if layer.is_input else _style.shorten(layer.name, room),
            (0.5, 1),
            xycoords="axes fraction",
            xytext=(0, 3.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=_style.SMALL,
            color=_style.FAINT,
            gid="site",
        )

    def _write_row(self, axes: Axes, row: Row) -> None:
        name, what = self.plan.names[row.variant], _what(row, self.plan.pre)
        color = _style.darker(self.plan.colors[row.variant], 0.3)
        lines: list[tuple[str, str, Color]] = [(what, "normal", _style.INK)]
        if name:
            lines.insert(0, (_style.verbatim(_wrap(name)), "bold", color))
        for i, (text, weight, ink) in enumerate(lines):
            axes.annotate(
                text,
                (0, 0.5),
                xycoords="axes fraction",
                xytext=(-9, 0 if len(lines) == 1 else 1.5 - 3 * i),
                textcoords="offset points",
                ha="right",
                va=("center" if len(lines) == 1 else "bottom" if i == 0 else "top"),
                fontsize=_style.MEDIUM,
                fontweight=weight,
                color=ink,
                gid="row",
            )

    def _write_title(self, title: str | None) -> None:
        width, height = self.figure.get_size_inches()
        self._has_title = bool(title)
        if title:
            x, y = 0.12 / width, 1 - 0.13 / height
            self.figure.text(x, y, title, fontsize=11.5, fontweight="bold", va="top", gid="title")

    def _write_notes(self) -> None:
        if not self.plan.left_out:
            return
        width, height = self.figure.get_size_inches()
        shown = len(self.plan.columns)
        note = (
            f"{shown} of {shown + self.plan.left_out} layers, evenly spread; "
            "choose others by `sites`, or show more by a wider `figsize`."
        )
        x, y = 0.12 / width, (0.06 + FOOT * _legend_at_foot(width)) / height
        self.figure.text(
            x, y, note, fontsize=_style.SMALL, color=_style.FAINT, va="bottom", gid="note"
        )

    def _add_legend(self, has_atoms: bool) -> None:
        handles = self._legend_handles(has_atoms)
        width, height = self.figure.get_size_inches()
        at_foot = _legend_at_foot(width)
        self.figure.legend(
            handles=handles,
            loc="lower right" if at_foot else "upper right",
            bbox_to_anchor=(1 - 0.05 / width, (0.02 if at_foot else height - 0.05) / height),
            ncols=max(len(handles), 1),
            fontsize=_style.MEDIUM,
            handlelength=1.1,
            columnspacing=1.4,
            borderpad=0.3,
        )

    def _legend_handles(self, has_atoms: bool) -> list[Artist]:
        plan, handles = self.plan, list[Artist]()
        if 1 < len(plan.names) <= MOST_IN_LEGEND:
            handles += [
                Patch(color=c, label=_style.legend_label(n))
                for n, c in zip(plan.names, plan.colors, strict=True)
            ]
        if any(plan.place(row, c).zones for row in plan.rows for c in range(len(plan.columns))):
            slope = plan.first(-1).saturation_slope
            label = f"saturated: slope below {_style.percent(slope)} of its maximum"
            handles.append(Patch(color=_style.ZONE, label=label))
        if has_atoms:
            handles.append(Line2D([], [], color="0.25", lw=2.2, label="spike: exactly one value"))
        return handles

    # ---- what a frame replaces

    def draw(
        self,
        panels: Panels,
        caption: str,
        tops: Mapping[tuple[int, int], tuple[float, int]] | None = None,
    ) -> None:
        """Replace the changing artists by those of a frame.

        Parameters
        ----------
        panels : mapping of (row, column) to Panel
            What to show.
        caption : str
            Which steps these are.
        tops : mapping of (row, column) to (float, int), optional
            Highest share and lines of text of each panel; None: its own.
        """
        for artist in self.changing:
            artist.remove()
        self.changing = [self._write_caption(caption)]
        for (r, c), axes in self.axes.items():
            panel = panels[r, c]
            set_top(axes, panel, *((panel.top, panel.lines) if tops is None else tops[r, c]))
            self.changing += draw_panel(axes, panel, self.plan.colors[self.plan.rows[r].variant])

    def _write_caption(self, caption: str) -> Artist:
        width, height = self.figure.get_size_inches()
        x, y = 0.12 / width, 1 - (0.38 if self._has_title else 0.13) / height
        return self.figure.text(
            x, y, caption, fontsize=_style.MEDIUM, color=_style.FAINT, va="top", gid="caption"
        )


def _what(row: Row, pre: Pre) -> str:
    if row.kind == "act":
        return "activation"
    return "linear output" if pre == "linear" else "z"


def _wrap(name: str, room: int = 14) -> str:
    lines = textwrap.wrap(name, room) or [name]
    return "\n".join(lines[:2]) + ("…" if len(lines) > 2 else "")


def _default_size(plan: Plan) -> tuple[float, float]:
    width = LABELS + max(len(plan.columns), 4) * PANEL[0] + RIGHT
    return width, HEAD + len(plan.rows) * PANEL[1] + 2 * BLOCK_GAP + _foot(plan, width)


def _legend_at_foot(width: float) -> bool:
    return width < 10


def _foot(plan: Plan, width: float) -> float:
    return FOOT * (bool(plan.left_out) + _legend_at_foot(width))


def _cell(plan: Plan, size: Sequence[float], r: int, c: int) -> tuple[float, float, float, float]:
    """Return a panel's place in shares of the figure."""
    width, height = size
    foot = _foot(plan, width)
    across = (width - LABELS - RIGHT) / len(plan.columns)
    down = (height - HEAD - 2 * BLOCK_GAP - foot) / len(plan.rows)
    below = height - HEAD - (r + 1) * down - (BLOCK_GAP if plan.rows[r].kind == "act" else 0)
    x, y = LABELS + c * across, below + GAP[1] / 2
    return (
        x / width,
        y / height,
        (across - GAP[0]) / width,
        (down - GAP[1]) / height,
    )
