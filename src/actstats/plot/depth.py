"""What changes from layer to layer: a figure or the values themselves, by depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from actstats.plot import _style
from actstats.plot._axes import (
    add_legend,
    add_title,
    depth_axis,
    draw_line,
    drawn_label,
    note,
    own_axes,
)
from actstats.plot._figures import WIDE, Scale, scale_of
from actstats.plot._sites import chosen_series, opened, picked
from actstats.plot._style import Color
from actstats.plot._time import told_steps, without_finite
from actstats.recording import Recording, Source, Window, require_figure

__all__ = ["layers"]

_Look = dict[str, Any]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
USUAL = (0.05, 0.95)  # where a figure was in 90 % of the windows
MOST_NAMED = 8  # lines that the legend tells
ENOUGH_WINDOWS = 8  # for a band over them
MOST_DECADES = 6  # of a symlog axis
MOST_BLOCKS = 40  # sites whose blocks stand apart
BLOCK = 0.72
DASHES = ((0, (3, 1.2)), (0, (1, 1)), (0, (5, 1.2, 1, 1.2)))  # of earlier windows


def layers(
    recording: Source,
    figure: str = "values",
    *,
    sites: str | Sequence[str] | None = None,
    windows: int | Sequence[int] | None = None,
    phase: str | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a figure, or the values themselves, by depth.

    A figure is a line for each of a few windows, the last the darkest, over the band in which it
    was in 90 % of all windows. Values are bands of their quantiles in the last window, 5 to 95 %
    and 25 to 75 % around the median; of an earlier window the 5, 50 and 95 % quantiles are lines.
    Sites without a finite value in a window that is drawn are gaps; a red note tells of them.

    Parameters
    ----------
    recording : recorder, Recording, Window or path of a recording's file
        What to show.
    figure : str, default "values"
        ``"values"``, or one of ``recording.figure_names``.
    sites : str or sequence of str, optional
        Patterns, such as ``"fc*"`` or ``"act*:grad"``. None: the layers (activations, or weight
        layers where there are few), in the order of the forward.
    windows : int or sequence of int, optional
        How many, evenly spread from the first to the last; or which, by index. None: 5 for a
        figure; the first and the last for values.
    phase : str, optional
        None: train's, or else the first seen.
    log : bool, optional
        Whether the value axis is logarithmic (on both sides of 0, where there are signs). None:
        where sizes differ more than 30-fold, for values, std, rms and var.
    ax : Axes, optional
        Where to draw; None makes a figure (``ax.figure``).
    title : str, optional
        Above it.

    Returns
    -------
    Axes

    Raises
    ------
    KeyError
        If ``sites``, ``phase`` or one of ``windows`` were not recorded.
    ValueError
        If nothing was recorded, or the figure is unknown or applies to none of the sites.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1)
    >>> with ActivationRecorder(net) as recorder:
    ...     for i in range(5):
    ...         _ = net(torch.randn(64, 2))
    ...         recorder.step()
    >>> ax = layers(recorder, "std", windows=2)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['step 0', 'step 4']
    """
    found, seen = opened(recording, phase)
    require_figure(figure, ("values", *found.figure_names))
    with _style.style():
        axes = own_axes(ax, (7.2, 3.4))
        if figure == "values":
            chosen = picked(seen, 2 if windows is None else windows)
            names = _draw_values(axes, found, sites, [seen[i] for i in chosen], log)
        else:
            chosen = picked(seen, 5 if windows is None else windows)
            names = _draw_figure(axes, found, figure, sites, seen, chosen, log)
        broken = without_finite([seen[i] for i in chosen], names, "sites")
        if broken:
            note(axes, broken, color=_style.ALARM)
        depth_axis(axes, names)
        add_legend(axes, beside=ax is None)
        add_title(axes, title)
    return axes


# ---- a figure ----------------------------------------------------------------------------------


def _draw_figure(
    axes: Axes,
    recording: Recording,
    figure: str,
    sites: str | Sequence[str] | None,
    seen: Sequence[Window],
    chosen: Sequence[int],
    log: bool | None,
) -> tuple[str, ...]:
    """Draw one figure's lines and band; return the sites."""
    series, left_out = chosen_series(recording, figure, sites, seen[0].phase)
    places = np.arange(len(series.sites))
    if len(seen) >= ENOUGH_WINDOWS:
        low, high = np.nanquantile(series.values, USUAL, axis=0)
        axes.fill_between(
            places, low, high, color="0.88", linewidth=0, label="90 % of the windows", gid="band"
        )
    finite = [window for window in chosen if np.isfinite(series.values[window]).any()]
    named = {finite[i] for i in _named(len(finite))}
    for window, color in zip(chosen, _style.moments(len(chosen)), strict=True):
        label = told_steps(seen[window]) if window in named else "_"
        draw_line(axes, places, series.values[window], color=color, label=label, gid="line")
    if left_out:
        note(axes, f"{left_out} chosen site{'s' * (left_out > 1)} without this figure")
    scale_of(figure, series.values, log, of=series.sites).on_axis(axes)
    return series.sites


def _named(lines: int) -> set[int]:
    """Return which lines the legend tells."""
    return set(np.linspace(0, lines - 1, min(lines, MOST_NAMED)).round().astype(int).tolist())


# ---- the values --------------------------------------------------------------------------------


def _draw_values(
    axes: Axes,
    recording: Recording,
    sites: str | Sequence[str] | None,
    windows: Sequence[Window],
    log: bool | None,
) -> tuple[str, ...]:
    """Draw bands of the last window and lines of the others; return the sites."""
    series, _ = chosen_series(recording, "mean", sites, windows[0].phase)
    tables = [_quantiles(window, series.sites) for window in windows]
    *earlier, last = tables
    before, now = _style.palette(2)
    _draw_bands(axes, last, now, told_steps(windows[-1]))
    for i, (window, table) in enumerate(zip(windows[:-1], earlier, strict=True)):
        _draw_outline(axes, table, before, DASHES[i % len(DASHES)], told_steps(window))
    _value_scale(np.stack(tables), log, series.sites).on_axis(axes)
    axes.axhline(0, color="0.6", linewidth=0.6, zorder=0.5)
    return series.sites


def _quantiles(window: Window, sites: Sequence[str]) -> NDArray[np.float64]:
    """Return quantiles of each site in a window, shape (S, 5); nan where it was not seen."""
    held = (window.stats.get(site) for site in sites)
    missing = np.full(len(LEVELS), np.nan)
    return np.array([missing if one is None else one.quantile(LEVELS) for one in held])


def _draw_bands(axes: Axes, table: NDArray[np.float64], color: Color, steps: str) -> None:
    """Draw a window's quantiles as two bands and the median."""
    edges, levels = _blocks(table)
    for i, alpha in enumerate((0.22, 0.45)):
        label = drawn_label(
            f"{steps}: {100 * LEVELS[i]:.0f} to {100 * LEVELS[-1 - i]:.0f} %", table
        )
        look = _Look(color=color, alpha=alpha, linewidth=0, label=label, gid="band")
        axes.stairs(levels[-1 - i], edges, baseline=levels[i], fill=True, **look)
    look = _Look(color=color, linewidth=1.8, label=drawn_label("median", table), gid="median")
    axes.stairs(levels[2], edges, baseline=None, **look)


def _draw_outline(
    axes: Axes, table: NDArray[np.float64], color: Color, dashes: Any, steps: str
) -> None:
    """Draw a window's outer quantiles and its median as lines."""
    edges, levels = _blocks(table)
    many = len(table) > MOST_BLOCKS
    for level in (0, 2, 4):
        label = drawn_label(f"{steps}: 5, 50, 95 %", table) if level == 2 else "_"
        width = 0.7 if many else 1.5 if level == 2 else 0.9
        look = _Look(color=color, linewidth=width, linestyle="-" if many else dashes, label=label)
        axes.stairs(levels[level], edges, baseline=None, gid="earlier", **look)


def _blocks(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of a block for each site, with gaps between a few, and values by level.

    Shapes (n + 1,) and (5, n), nan in the gaps.
    """
    sites = np.arange(len(table), dtype=np.float64)
    if len(table) > MOST_BLOCKS:
        return np.append(sites, len(table)) - 0.5, table.T
    edges = np.stack((sites - BLOCK / 2, sites + BLOCK / 2), axis=1).reshape(-1)
    levels = np.full((len(LEVELS), 2 * len(table) - 1), np.nan)
    levels[:, ::2] = table.T
    return edges, levels


def _value_scale(tables: NDArray[np.float64], log: bool | None, sites: Sequence[str]) -> Scale:
    """Choose the scale of the value axis by how much the layers' sizes differ."""
    sizes = np.abs(tables[..., (0, -1)]).max(axis=-1)
    sizes = sizes[sizes > 0]  # nan compares false
    if not sizes.size or not (log or (log is None and sizes.max() > WIDE * sizes.min())):
        return scale_of("values", tables, False, of=sites)
    least = max(float(sizes.min()), float(sizes.max()) * 10.0**-MOST_DECADES)
    scale = scale_of("values", tables, False, of=sites)
    return replace(scale, kind="symlog", threshold=10.0 ** math.floor(math.log10(least)))
