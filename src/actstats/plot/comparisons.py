"""Two recordings side by side: which sites differ, since when, and how."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from actstats.comparison import Comparison, SiteComparison
from actstats.comparison import compare as compare_recordings
from actstats.plot import _style
from actstats.plot._panels import Range, describe, pooled_range
from actstats.plot._style import Color
from actstats.sites import split_key
from actstats.stats import TensorStats

if TYPE_CHECKING:
    from actstats.recording import Source

__all__ = ["compare"]

LABELS = {"w1_normalised": "W1 / std", "psi": "PSI", "w1": "W1"}
MOST_LABELS = 44  # of sites; more are thinned out
ROOM = 18  # characters of a site's name
ROW = 0.17  # inches
BINS = 40
COLORS = "rocket_r"  # light to dark, which needs no hue
MARK = "#0b7fab"  # blue, which the map has not


def compare(
    a: Source | Comparison,
    b: Source | None = None,
    *,
    distance: str = "w1_normalised",
    names: tuple[str, str] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    **options: Any,
) -> Figure:
    """Draw how far apart two recordings are, by site and over time, and where they separate.

    Left a row per site, outputs from the first layer to the last, gradients below: the darker,
    the farther apart; a blue tick is the window from which on a site is apart, a blue box the
    first of all. With one window a bar per site. Right the distributions of the site that
    separates first, and of the one that is farthest apart.

    Parameters
    ----------
    a : Comparison, or Recording, ActivationRecorder, Window or path
        What :func:`actstats.compare` returned, or one side of what it takes.
    b : Recording, ActivationRecorder, Window or path, optional
        The other side.
    distance : {"w1_normalised", "psi", "w1"}
        What the colours mean.
    names : (str, str), optional
        What to call the two sides. None: the comparison's names.
    figsize : (float, float), optional
        Inches. Default: by the number of sites.
    title : str, optional
        Above it all. None: the verdict's first sentence.
    **options
        For :func:`actstats.compare`, where `a` is no comparison: ``sites=``, ``match=`` ...

    Returns
    -------
    Figure
        Not known to pyplot: ``figure.savefig("compare.png")`` writes it.

    Raises
    ------
    TypeError
        If `b` or options are given beside a comparison, or `b` is missing without one.
    ValueError
        If there is no such distance.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(2, [8, 8], 1)
    >>> sides = [actstats.ActivationRecorder(net, window=1) for _ in range(2)]
    >>> for recorder, shift in zip(sides, (0, 2)):
    ...     with recorder:
    ...         _ = net(torch.randn(64, 2) + shift)
    >>> figure = compare(*sides, names=("train", "live"))
    >>> figure.axes[0].get_xlabel()
    'W1 / std'
    """
    found = _compared(a, b, options)
    values = found.series(distance=distance).values
    order = _rows_in_order(found)
    shown = _shown_pairs(found)
    with _style.style():
        size = figsize or _default_size(len(order), len(found.pairs))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(len(shown), 2, width_ratios=(1.55, 1))
        left = figure.add_subplot(grid[:, 0])
        draw = _draw_bars if len(found.pairs) == 1 else _draw_map
        draw(left, found, values[:, order], order, distance)
        _label_sites(left, found, order)
        sides = names or found.names
        for i, (row, window, why) in enumerate(shown):
            _draw_distributions(figure.add_subplot(grid[i, 1]), found, row, window, why, sides)
        _head(figure, found, title, sides)
    return figure


# ---- what to show ------------------------------------------------------------------------------


def _compared(a: Any, b: Any, options: dict[str, Any]) -> Comparison:
    if isinstance(a, Comparison):
        if b is not None or options:
            raise TypeError("`b` and options go to `actstats.compare`; a comparison is done.")
        return a
    if b is None:
        raise TypeError(f"`b` must be given where `a` is no Comparison; got {type(a).__name__}.")
    return compare_recordings(a, b, **options)


def _is_gradient(site: str) -> bool:
    return split_key(site)[1] == "grad"


def _rows_in_order(found: Comparison) -> list[int]:
    """Return indices of sites, gradients after all others."""
    return sorted(range(len(found)), key=lambda i: _is_gradient(found.sites[i]))


def _shown_pairs(found: Comparison) -> list[tuple[SiteComparison, int, str]]:
    """Return the site and window that separate first, and those that are farthest apart."""
    distances = np.nan_to_num(found.measured.normalised)
    window, i = np.unravel_index(int(np.argmax(distances)), distances.shape)
    farthest = (found.rows[i], int(window), "farthest apart")
    if found.first is None:
        return [farthest]
    first = (found[found.first.site], found.first.window, "apart first")
    same = (first[0].site, first[1]) == (farthest[0].site, farthest[1])
    return [(*first[:2], "apart first, and farthest")] if same else [first, farthest]


def _default_size(sites: int, windows: int) -> tuple[float, float]:
    return 8.6 if windows > 1 else 7.8, min(max(1.5 + ROW * sites, 3.9), 9.0)


def _steps(found: Comparison, window: int) -> str:
    pair = found.pairs[window]
    if pair.first_step == pair.last_step:
        return f"step {pair.first_step:,}"
    return f"steps {pair.first_step:,}\N{EN DASH}{pair.last_step:,}"


# ---- left: every site --------------------------------------------------------------------------


def _draw_map(
    axes: Axes, found: Comparison, values: NDArray[Any], order: list[int], distance: str
) -> None:
    """Draw a row per site and a column per window."""
    edges, columns = _columns(found)
    sparse = np.full((len(order), len(edges) - 1), np.nan)
    sparse[:, columns] = values.T
    norm = Normalize(0, max(float(np.nanmax(values, initial=0.0)), _least_top(found, distance)))
    mesh = axes.pcolormesh(
        edges, np.arange(len(order) + 1) - 0.5, sparse, cmap=_colors(), norm=norm, rasterized=True
    )
    mesh.set_gid("map")
    axes.set_facecolor("0.93")  # where nothing was seen
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step")
    _mark_separations(axes, found, order)
    _add_scale(axes, mesh, found, distance)


def _columns(found: Comparison) -> tuple[NDArray[np.float64], list[int]]:
    """Return edges of columns, and which of them are windows; the others are gaps."""
    edges, columns = [found.pairs[0].first_step - 0.5], []
    for pair in found.pairs:
        if pair.first_step - 0.5 > edges[-1]:
            edges.append(pair.first_step - 0.5)
        columns.append(len(edges) - 1)
        edges.append(max(pair.last_step + 0.5, edges[-1] + 0.5))
    return np.array(edges), columns


def _colors() -> Any:
    import seaborn as sns

    return sns.color_palette(COLORS, as_cmap=True)


def _least_top(found: Comparison, distance: str) -> float:
    """Return what the scale reaches at least, so that noise does not look dark."""
    least = {"w1_normalised": 3 * found.marks.w1, "psi": 2 * found.marks.psi}
    return max(least.get(distance, 0.0), 1e-12)


def _mark_separations(axes: Axes, found: Comparison, order: list[int]) -> None:
    starts = {pair.first_step: pair for pair in found.pairs}
    ticks = [(y, found.rows[i].since) for y, i in enumerate(order)]
    kept = [(y, since - 0.5) for y, since in ticks if since is not None]
    if kept:
        rows, steps = (np.array(part) for part in zip(*kept, strict=True))
        axes.vlines(steps, rows - 0.5, rows + 0.5, color=MARK, linewidth=1.8, zorder=3, gid="since")
    if found.first is not None:
        y = order.index(found.sites.index(found.first.site))
        pair = starts[found.first.first_step]
        width = max(pair.last_step - pair.first_step + 1, 0.012 * float(np.ptp(axes.get_xlim())))
        box = Rectangle((pair.first_step - 0.5, y - 0.5), width, 1, fill=False, zorder=4)
        box.set(edgecolor=MARK, linewidth=2, gid="first", clip_on=False)
        axes.add_patch(box)


def _add_scale(axes: Axes, mesh: QuadMesh, found: Comparison, distance: str) -> None:
    bar = axes.figure.colorbar(mesh, ax=axes, aspect=40, pad=0.02)
    bar.set_label(LABELS[distance])
    bar.outline.set_visible(False)
    mark = {"w1_normalised": found.marks.w1, "psi": found.marks.psi}.get(distance)
    if mark is not None:
        bar.ax.axhline(mark, color=MARK, linewidth=1.6)


def _draw_bars(
    axes: Axes, found: Comparison, values: NDArray[Any], order: list[int], distance: str
) -> None:
    """Draw a bar per site, those that are apart in full colour."""
    is_apart = [found.rows[i].is_apart for i in order]
    colors = [_style.ALARM if apart else "0.62" for apart in is_apart]
    axes.barh(np.arange(len(order)), np.nan_to_num(values[0]), height=0.74, color=colors)
    mark = {"w1_normalised": found.marks.w1, "psi": found.marks.psi}.get(distance)
    if mark is not None:
        axes.axvline(mark, color=MARK, linewidth=1.2, dashes=(3, 2), gid="mark")
    axes.set_xlabel(LABELS[distance])
    axes.set_xlim(0, max(float(np.nanmax(values, initial=0.0)), _least_top(found, distance)) * 1.04)
    _style.despine(axes, left=False)


def _label_sites(axes: Axes, found: Comparison, order: list[int]) -> None:
    """Name the rows, as many as can be read, the first at the top."""
    every = -(-len(order) // MOST_LABELS)
    rows = range(0, len(order), every)
    names = [found.rows[i].site for i in order]
    axes.set_yticks(list(rows), [_style.shorten(names[y], ROOM) for y in rows])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    first = next((y for y, name in enumerate(names) if _is_gradient(name)), 0)
    if first:
        axes.axhline(first - 0.5, color="white", linewidth=2.4, zorder=2, gid="gradients")


# ---- right: two distributions ------------------------------------------------------------------


def _draw_distributions(
    axes: Axes,
    found: Comparison,
    row: SiteComparison,
    window: int,
    why: str,
    names: tuple[str, str],
) -> None:
    """Draw one site of both sides, a's upwards and b's downwards."""
    pair = found.pairs[window]
    a, b = pair.a.stats[row.site], pair.b.stats[row.site_b]
    view = pooled_range([a, b])
    tops = [
        _draw_side(axes, stats, view, color, sign)
        for stats, color, sign in zip((a, b), _style.palette(2), (1, -1), strict=True)
    ]
    up, down = (max(1.12 * top, 1e-9) for top in tops)
    axes.set(xlim=view, ylim=(-max(down, 0.2 * up), max(up, 0.2 * down)), yticks=[])
    axes.axhline(0, color="0.4", linewidth=0.7)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("value", labelpad=1)
    i = found.sites.index(row.site)
    distance, psi = (m[window, i] for m in (found.measured.normalised, found.measured.psi))
    axes.set_title(
        f"{_style.shorten(row.site, 26)}: {why}", fontsize=_style.LARGE, fontweight="bold", pad=14
    )
    axes.annotate(
        f"{_steps(found, window)}, W1/std {distance:.3g}, PSI {psi:.3g}",
        xy=(0.5, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=_style.SMALL,
        color=_style.FAINT,
        gid="distances",
    )
    _style.despine(axes)


def _draw_side(axes: Axes, stats: TensorStats, view: Range, color: Color, sign: int) -> float:
    """Draw one side's histogram and atoms as shares; return its highest share."""
    panel = describe(stats, bins=BINS, range=view, own_edges=False)
    if not panel.total:
        return 0.0
    spread = panel.spread / panel.total
    axes.stairs(sign * spread, panel.edges, fill=True, color=color, gid="bars")
    top = float(spread.max())
    for atom in panel.atoms:
        axes.vlines(
            atom.value, 0, sign * atom.share, color=_style.darker(color), lw=2.4, gid="atom"
        )
        top = max(top, atom.share)
    return top


def _head(figure: Figure, found: Comparison, title: str | None, names: tuple[str, str]) -> None:
    verdict = _style.verbatim(found.verdict.split(". ")[0].rstrip("."))
    text = title if title is not None else verdict
    room = int(10 * figure.get_size_inches()[0])
    figure.suptitle(
        "\n".join(textwrap.wrap(text, room)), x=0.01, ha="left", fontsize=10.5, fontweight="bold"
    )
    handles = [*_map_handles(found), *_side_handles(names)]
    columns = len(handles)
    figure.legend(handles=handles, loc="outside lower right", ncols=columns, fontsize=_style.MEDIUM)


def _side_handles(names: tuple[str, str]) -> list[Artist]:
    return [
        Patch(color=c, label=_style.legend_label(n))
        for n, c in zip(names, _style.palette(2), strict=True)
    ]


def _map_handles(found: Comparison) -> list[Artist]:
    """Explain what is drawn on the left."""
    if not found.separated:
        return []
    if len(found.pairs) == 1:
        return [Patch(color=_style.ALARM, label="apart")]
    return [Line2D([], [], color=MARK, linewidth=1.8, label="apart from here on")]
