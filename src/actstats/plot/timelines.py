"""One figure of every layer over the steps, the loss beneath it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import overload

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actstats.plot import _style
from actstats.plot._axes import (
    add_colorbar,
    add_legend,
    add_title,
    draw_line,
    draw_mesh,
    figure_of,
    label_sites,
    note,
)
from actstats.plot._figures import WIDE, Scale, scale_of
from actstats.plot._sites import chosen_series, opened
from actstats.plot._time import Cells, mark_broken, steps_axis
from actstats.recording import Source, Window
from actstats.series import Series
from actstats.sites import close_matches
from actstats.update_ratios import UPDATE_RATIO

__all__ = ["timeline"]

MOST_LINES = 12  # more sites are a heat map
MOST_SCALARS = 3  # panels beneath, unless more are named


@overload
def timeline(
    recording: Source,
    figure: str = ...,
    *,
    sites: str | Sequence[str] | None = ...,
    phase: str | None = ...,
    scalars: str | Sequence[str] | None = ...,
    log: bool | None = ...,
    ax: None = ...,
    figsize: tuple[float, float] | None = ...,
    title: str | None = ...,
) -> Figure: ...
@overload
def timeline(
    recording: Source,
    figure: str = ...,
    *,
    sites: str | Sequence[str] | None = ...,
    phase: str | None = ...,
    scalars: str | Sequence[str] | None = ...,
    log: bool | None = ...,
    ax: Axes,
    figsize: tuple[float, float] | None = ...,
    title: str | None = ...,
) -> Axes: ...
def timeline(
    recording: Source,
    figure: str = "std",
    *,
    sites: str | Sequence[str] | None = None,
    phase: str | None = None,
    scalars: str | Sequence[str] | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure | Axes:
    """Draw a figure of every layer over the steps, and the loss beneath.

    Up to 12 sites are lines, from dark (the first) to bright (the last); more are a heat map with
    the first site on top. Each window counts at its middle, or is as wide as its steps. Where a
    site was not seen there is a gap; a red mark above tells of NaN or Inf.

    Parameters
    ----------
    recording : recorder, Recording, Window or path of a recording's file
        What to show.
    figure : str, default "std"
        One of ``recording.figure_names``.
    sites : str or sequence of str, optional
        Patterns, such as ``"act*"`` or ``"act*:grad"``. None: the layers (activations, or weight
        layers where there are few).
    phase : str, optional
        None: train's, or else the first seen.
    scalars : str or sequence of str, optional
        Scalars given to ``step()`` to draw beneath: their mean in each window, and the range
        between their least and largest value. None: the first three, update ratios left out;
        ``()``: none.
    log : bool, optional
        Whether the figure's axis (or colours) is logarithmic. None: for std, rms and var where
        they span more than 30-fold.
    ax : Axes, optional
        Draw the figure alone on these.
    figsize : (float, float), optional
        Inches, of the figure that is made.
    title : str, optional
        Above it.

    Returns
    -------
    Figure or Axes
        ``ax`` where that was given.

    Raises
    ------
    KeyError
        If ``sites``, ``phase`` or ``scalars`` were not recorded.
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
    ...         recorder.step(loss=1 / (i + 1))
    >>> picture = timeline(recorder, "saturated_fraction")
    >>> [ax.get_ylabel() for ax in picture.axes]
    ['saturated values (%)', 'loss']
    """
    found, windows = opened(recording, phase)
    series, left_out = chosen_series(found, figure, sites, windows[0].phase)
    names = [] if ax is not None else _scalars(windows, scalars)
    scale = scale_of(figure, series.values, log, of=series.sites)
    with _style.style():
        panels = [ax] if ax is not None else _panels(len(names), len(series.sites), figsize)
        _draw(panels[0], series, scale, alone=ax is None)
        mark_broken(panels[0], windows, series.sites)
        if left_out:
            note(panels[0], f"{left_out} chosen site{'s' * (left_out > 1)} without this figure")
        for panel, name in zip(panels[1:], names, strict=True):
            _draw_scalar(panel, windows, name)
        for panel in panels[:-1]:
            panel.tick_params(labelbottom=False)
        _set_steps(panels, series)
        add_title(panels[0], title)
        figure_of(panels[0]).align_ylabels(panels)
    return figure_of(panels[0]) if ax is None else ax


def _scalars(windows: Sequence[Window], wanted: str | Sequence[str] | None) -> list[str]:
    """Return the names of the scalars to draw."""
    given = [(name, one) for window in windows for name, one in window.scalars.items()]
    known = list(dict.fromkeys(name for name, _ in given))
    if wanted is None:
        finite = {name for name, one in given if math.isfinite(one.mean)}
        shown = (n for n in known if n in finite and not n.startswith(UPDATE_RATIO))
        return list(islice(shown, MOST_SCALARS))
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise KeyError(f"no scalar {name!r} was given to step(){close_matches(name, known)}")
    return names


def _panels(scalars: int, sites: int, figsize: tuple[float, float] | None) -> list[Axes]:
    """Make the figure: one panel, and a low one for each scalar."""
    tall = 3.4 if sites <= MOST_LINES else 3.0 + 0.03 * min(sites, 60)
    page = Figure(figsize=figsize or (7.2, tall + 1.0 * scalars), layout="constrained")
    heights = [tall, *[1.0] * scalars]
    made = page.subplots(1 + scalars, sharex=True, squeeze=False, height_ratios=heights)
    return list(made.flat)


def _set_steps(panels: Sequence[Axes], series: Series) -> None:
    low, high = float(series.first_steps.min()), float(series.last_steps.max())
    reach = 0.5 if len(series.sites) > MOST_LINES else max(0.5, 0.01 * (high - low))
    for panel in panels:
        steps_axis(panel, low - reach, high + reach, label=panel is panels[-1])


# ---- the figure --------------------------------------------------------------------------------


def _draw(axes: Axes, series: Series, scale: Scale, *, alone: bool) -> None:
    if len(series.sites) > MOST_LINES:
        _draw_heat(axes, series, scale)
    else:
        _draw_lines(axes, series, scale, alone=alone)


def _draw_lines(axes: Axes, series: Series, scale: Scale, *, alone: bool) -> None:
    colors = _style.shades(len(series.sites))
    widths = np.linspace(2.6, 1.2, len(colors))  # a line beneath another is seen on both sides
    for site, color, width in zip(series.sites, colors, widths, strict=True):
        look = {"color": color, "linewidth": width, "label": _style.legend_label(site, 24)}
        draw_line(axes, series.steps, series[site], gid=site, **look)
    scale.on_axis(axes)
    add_legend(axes, beside=alone)
    _style.despine(axes, left=False)


def _draw_heat(axes: Axes, series: Series, scale: Scale) -> None:
    cells = Cells.of(series.first_steps, series.last_steps)
    rows = np.arange(len(series.sites) + 1) - 0.5
    colors = _style.color_map(signed=scale.is_signed)
    mesh = draw_mesh(axes, cells.edges, rows, cells.spread(series.values), scale.norm, colors)
    axes.set_ylim(rows[-1], rows[0])
    label_sites(axes.yaxis, series.sites, most=24, room=26)
    add_colorbar(axes, mesh, scale.label, format=scale.formatter)


# ---- scalars -----------------------------------------------------------------------------------


def _draw_scalar(axes: Axes, windows: Sequence[Window], name: str) -> None:
    """Draw a scalar's mean in each window, and its range."""
    steps = np.array([(window.first_step + window.last_step) / 2 for window in windows])
    held = [window.scalars.get(name) for window in windows]
    numbers = np.array(
        [(np.nan,) * 3 if one is None else (one.min, one.mean, one.max) for one in held]
    )
    numbers[~np.isfinite(numbers)] = np.nan
    low, mean, high = numbers.T
    axes.fill_between(steps, low, high, color="0.85", linewidth=0, gid="range")
    draw_line(axes, steps, mean, color=_style.INK, linewidth=1.2, gid=name)
    least, largest = np.nanmin(mean, initial=np.inf), np.nanmax(mean, initial=-np.inf)
    if 0 < least < largest / WIDE:
        axes.set_yscale("log")
    axes.set_ylabel(_style.shorten(name, 14))
    _style.despine(axes, left=False)
