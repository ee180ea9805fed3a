"""One site's histogram over time, a row for each window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from actstats.plot import _style
from actstats.plot._axes import add_title, note, own_axes
from actstats.plot._panels import Panel, Range, check_range, describe, pooled_range
from actstats.plot._plan import check_bins
from actstats.plot._sites import History, history
from actstats.plot._style import Color
from actstats.recording import Source

__all__ = ["ridgeline"]

MOST_ROWS = 60
OVERLAP = 2.2  # rows that a ridge of all values is high
SPIKE = 0.92  # and a spike of all values


def ridgeline(
    recording: Source,
    site: str | tuple[str, str],
    *,
    rows: int = 30,
    bins: int = 80,
    range: Range | None = None,
    phase: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one site's histogram over time, a row for each window, the first on top.

    What sits exactly at 0, 1 or -1 is a spike, as high as its share: one of all values reaches the
    row above. A ridge shows the other values, its peak as high as their share.

    Parameters
    ----------
    recording : recorder, Recording, Window or path of a recording's file
        What to show.
    site : str or (str, str)
        Such as ``"act3"`` or ``"act3:grad"``.
    rows : int, default 30
        At most so many, 1 to 60; neighbouring windows are merged, exactly, where there are more.
    bins : int, default 80
        Equal ones over ``range``.
    range : (float, float), optional
        Ends of the value axis. None: the limits of the activation function, or round numbers
        around the middle 99 % of the values.
    phase : str, optional
        None: train's, or else the first seen.
    ax : Axes, optional
        Where to draw; None makes a figure (``ax.figure``).
    title : str, optional
        None: the site's name.

    Returns
    -------
    Axes

    Raises
    ------
    KeyError
        If the site or the phase was not recorded.
    ValueError
        If nothing was recorded, or an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1)
    >>> with ActivationRecorder(net) as recorder:
    ...     for i in range(5):
    ...         _ = net(torch.randn(64, 2))
    ...         recorder.step()
    >>> ax = ridgeline(recorder, "act2")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('value', 'from step')
    """
    check_bins(bins)
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"`rows` must be an integer from 1 to {MOST_ROWS}; got {rows!r}.")
    shown = history(recording, site, phase).merged(rows)
    view = check_range(range) or pooled_range(shown.stats, limited=True)
    panels = [describe(stats, bins=bins, range=view, own_edges=False) for stats in shown.stats]
    with _style.style():
        axes = own_axes(ax, (5.4, 1.6 + 0.11 * max(len(panels), 12)))
        for row, (panel, color) in enumerate(zip(panels, _style.moments(len(panels)), strict=True)):
            _draw_ridge(axes, panel, len(panels) - 1 - row, color)
        _tell_empty_rows(axes, panels)
        _mark_broken_rows(axes, shown)
        _finish_ridges(axes, shown, view, title)
    return axes


def _draw_ridge(axes: Axes, panel: Panel, base: int, color: Color) -> None:
    """Draw one window: its ridge and its spikes, above the row's base line."""
    order = 2.0 - base / 100  # lower rows, which are later, lie in front
    if not panel.total or not panel.counts.sum():
        axes.axhline(base, color="0.8", linewidth=0.6, zorder=order)
        return
    middle = (panel.edges[1:] + panel.edges[:-1]) / 2
    share = panel.spread.sum() / panel.total
    peak = panel.spread.max() or 1.0
    height = base + OVERLAP * share * panel.spread / peak
    axes.fill_between(middle, base, height, color=color, alpha=0.75, linewidth=0, zorder=order)
    axes.plot(middle, height, color="white", linewidth=0.6, zorder=order, gid="ridge")
    for atom in panel.atoms:
        axes.plot(
            *([atom.value] * 2, [base, base + SPIKE * atom.share]),
            color=_style.ALARM,
            linewidth=1.8,
            solid_capstyle="butt",
            zorder=order + 0.001,
            gid="atom",
        )


def _tell_empty_rows(axes: Axes, panels: Sequence[Panel]) -> None:
    """Say why rows have no ridge, once for as many as follow each other."""
    before = ""
    for row, panel in enumerate(panels):
        told = _why_empty(panel)
        if told and told != before:
            axes.text(
                *(0.5, len(panels) - 1 - row, told),
                transform=axes.get_yaxis_transform(),
                fontsize=_style.SMALL,
                color=_style.ALARM,
                ha="center",
                va="bottom",
                gid="nothing",
            )
        before = told


def _mark_broken_rows(axes: Axes, shown: History) -> None:
    """Mark the rows with NaN or Inf, at the right edge."""
    last = len(shown.stats) - 1
    rows = [last - i for i, one in enumerate(shown.stats) if one.nan_count or one.inf_count]
    if rows:
        axes.plot(
            *(np.ones(len(rows)), rows),
            color=_style.ALARM,
            marker="<",
            markersize=4.5,
            linestyle="none",
            transform=axes.get_yaxis_transform(),
            clip_on=False,
            gid="non-finite",
        )
        note(axes, "\N{BLACK LEFT-POINTING TRIANGLE} NaN or Inf", color=_style.ALARM)


def _why_empty(panel: Panel) -> str:
    if not panel.total:
        return panel.note
    if panel.counts.sum():
        return ""
    return "all values are outside" if panel.below or panel.above else "no finite value"


def _finish_ridges(axes: Axes, shown: History, view: Range, title: str | None) -> None:
    """Scale and label the axes."""
    rows = len(shown.windows)
    reach = 0.025 * (view[1] - view[0])
    axes.set_xlim(view[0] - reach, view[1] + reach)
    axes.set_ylim(-0.3, rows - 1 + OVERLAP + 0.2)
    places = np.unique(np.linspace(0, rows - 1, min(rows, 8)).round().astype(int)).tolist()
    axes.set_yticks(
        [rows - 1 - place for place in places],
        [f"{shown.windows[place].first_step:,}" for place in places],
    )
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("value")
    axes.set_ylabel("from step")
    if any(line.get_gid() == "atom" for line in axes.lines):
        note(axes, "red: share of values exactly there; a full row is 100 %", color=_style.ALARM)
    add_title(axes, shown.name if title is None else title)
    _style.despine(axes)
