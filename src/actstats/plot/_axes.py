"""Draw: what pictures over time and over depth share: their axes, lines and meshes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, takewhile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from actstats.plot import _style

__all__ = [
    "add_colorbar",
    "add_legend",
    "add_title",
    "depth_axis",
    "draw_line",
    "draw_mesh",
    "drawn_label",
    "figure_of",
    "label_sites",
    "note",
    "own_axes",
]

MISSING = "0.82"  # the colour of what was not seen
MANY_POINTS = 30  # more have no markers
MANY_LETTERS = 80  # on the axis of layers; more stand aslant


def own_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """Return the axes given, or those of a figure of their own."""
    return Figure(figsize=figsize, layout="constrained").subplots() if ax is None else ax


# ---- drawing -----------------------------------------------------------------------------------


def draw_line(
    axes: Axes, x: NDArray[Any] | Sequence[float], y: NDArray[np.float64], **options: Any
) -> None:
    """Draw a line with gaps where it is nan; points without neighbours are marked too."""
    seen = np.isfinite(y)
    padded = np.pad(seen, 1)
    alone = seen & ~padded[:-2] & ~padded[2:]
    marked = seen if seen.sum() <= MANY_POINTS else alone
    style = {"linewidth": 1.4, "marker": "o", "markersize": 2.8, **options}
    axes.plot(x, y, markevery=np.flatnonzero(marked).tolist(), **style)


def drawn_label(label: str, values: NDArray[np.float64]) -> str:
    """Return the label, or one that legends leave out where no value is finite to be drawn."""
    return label if np.isfinite(values).any() else "_"


def draw_mesh(
    axes: Axes,
    x: NDArray[Any],
    y: NDArray[Any],
    values: NDArray[np.float64],
    norm: Normalize,
    colors: Colormap,
    *,
    missing: str = MISSING,
    gid: str = "mesh",
) -> QuadMesh:
    """Draw cells in colours; what is nan in a colour of its own."""
    shown = colors.with_extremes(bad=missing)
    mesh = axes.pcolormesh(
        x, y, np.ma.masked_invalid(values), norm=norm, cmap=shown, rasterized=True, gid=gid
    )
    axes.tick_params(length=2.5)
    return mesh


def add_colorbar(axes: Axes, mesh: Any, label: str, **options: Any) -> Colorbar:
    """Put a labelled colour bar beside the axes."""
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(mesh, ax=axes, pad=0.015, aspect=28, **options)
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)
    return bar


def add_legend(axes: Axes, *, beside: bool) -> None:
    """Tell what the lines are: to the right of the axes, or where there is room on them."""
    if not axes.get_legend_handles_labels()[0]:
        return
    look: dict[str, Any] = {"fontsize": _style.SMALL, "handlelength": 1.8, "labelspacing": 0.4}
    if beside:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), **look)
    else:
        axes.legend(loc="best", **look)


def add_title(axes: Axes, title: str | None) -> None:
    """Write a title at the left, if there is one."""
    if title:
        axes.set_title(title, loc="left", fontsize=_style.LARGE, fontweight="bold")


def figure_of(axes: Axes) -> Figure:
    """Return the whole figure."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def note(axes: Axes, text: str, *, color: str = _style.FAINT) -> None:
    """Say something small above the right end of the axes, to the left of what is said there."""
    before = [len(one.get_text()) for one in axes.texts if one.get_gid() == "note"]
    width = sum(0.55 * _style.SMALL * (letters + 3) for letters in before)
    axes.annotate(
        text,
        (1, 1),
        xycoords="axes fraction",
        xytext=(-width, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=_style.SMALL,
        color=color,
        gid="note",
    )


# ---- depth -------------------------------------------------------------------------------------


def depth_axis(axes: Axes, names: Sequence[str]) -> None:
    """Scale and label the axis of layers, the first on the left."""
    flat = sum(map(len, names)) <= MANY_LETTERS
    label_sites(axes.xaxis, names, most=22, room=18)
    if not flat:
        for text in axes.get_xticklabels():
            text.set(rotation=45, rotation_mode="anchor", ha="right")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.tick_params(axis="x", length=2.5, pad=2)
    _style.despine(axes, left=False)


def label_sites(axis: Axis, names: Sequence[str], *, most: int, room: int) -> None:
    """Write as many site names as there is room for: every second, fifth, ... and the last."""
    stride = next(step for step in _strides() if len(names) <= most * step)
    chosen = list(range(0, len(names), stride))
    if len(names) - 1 - chosen[-1] <= stride / 2 and len(chosen) > 1:
        chosen.pop()  # it would touch the last
    chosen += [len(names) - 1] * (chosen[-1] < len(names) - 1)
    told = without_common_beginning(names, room)
    axis.set_ticks(chosen, [_style.shorten(told[place], room) for place in chosen])


def _strides() -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20 ..."""
    return (step * 10**decade for decade in count() for step in (1, 2, 5))


def without_common_beginning(names: Sequence[str], room: int) -> list[str]:
    """Leave out the modules that all names begin with, where a name is too long.

    Examples
    --------
    >>> without_common_beginning(["model.layers.0.act", "model.layers.1.act"], room=12)
    ['…0.act', '…1.act']
    """
    if len(names) < 2 or max(map(len, names)) <= room:
        return list(names)
    parts = [name.split(".") for name in names]
    alike = takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False))
    common = min(len(list(alike)), min(map(len, parts)) - 1)
    return [f"…{'.'.join(part[common:])}" for part in parts] if common else list(names)
