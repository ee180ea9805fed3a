"""One site's distribution over time, in colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from actstats.plot import _style
from actstats.plot._axes import add_colorbar, add_title, draw_mesh, note, own_axes
from actstats.plot._panels import Range, check_range
from actstats.plot._plan import check_bins
from actstats.plot._sites import MOST_COLUMNS, History, history
from actstats.plot._time import Cells, mark_broken, steps_axis
from actstats.recording import Source
from actstats.stats import TensorStats

__all__ = ["heatmap"]

FAINTEST = 1e-4  # share of a window's values that is still coloured
SYMLOG_FROM = 100.0  # largest over usual size from which on a linear axis shows one bin only
DECADES = 8  # of a symlog axis, at most
LINEAR = 10 / 9  # decades that its linear part takes on each side, with linscale=1
_QUANTILES = (np.arange(100) + 0.5) / 100


def heatmap(
    recording: Source,
    site: str | tuple[str, str],
    *,
    bins: int = 96,
    range: Range | None = None,
    linthresh: float | None = None,
    phase: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one site's distribution over time in colours: what is known as the colourful dimension.

    A column for each window, as wide as its steps (neighbours are merged, exactly, where there are
    more than 400); the colour tells which share of the window's
    values lies in a bin, on a logarithmic scale, so that tails are seen too. The value axis is
    linear around 0 and logarithmic beyond ``linthresh`` on both sides. The median is a line.

    Parameters
    ----------
    recording : recorder, Recording, Window or path of a recording's file
        What to show.
    site : str or (str, str)
        Such as ``"act3"`` or ``"act3:grad"``.
    bins : int, default 96
        Equally high ones on the axis.
    range : (float, float), optional
        Ends of the value axis. None: the least and the largest value.
    linthresh : float, optional
        Positive. None: a power of ten at the size of the usual values; the axis is linear
        throughout where all values are of one size (up to 100-fold).
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
    >>> ax = heatmap(recorder, "act2")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('step', 'value')
    """
    check_bins(bins)
    if linthresh is not None and not linthresh > 0:
        raise ValueError(f"`linthresh` must be a positive number; got {linthresh!r}.")
    shown = history(recording, site, phase).merged(MOST_COLUMNS)
    low, high = check_range(range) or _ends(shown.stats)
    threshold = linthresh or _threshold(shown.stats, max(-low, high))
    edges = _symlog_edges(low, high, bins, threshold)
    shares = np.array([_shares(stats, edges) for stats in shown.stats])
    medians = np.array([_median(stats) for stats in shown.stats])
    with _style.style():
        axes = own_axes(ax, (7.2, 3.4))
        if threshold < max(-low, high):
            axes.set_yscale("symlog", linthresh=threshold, linscale=1)
        _draw_shares(axes, shown, edges, shares, medians)
        axes.set_ylim(*_with_margins(edges, threshold))  # else what sits at an end is not seen
        add_title(axes, shown.name if title is None else title)
        mark_broken(axes, shown.windows, [shown.site])
    return axes


def _ends(stats: Sequence[TensorStats]) -> Range:
    """Return the least and the largest value; some room where they are the same."""
    held = [one for one in stats if one.finite_count]
    low, high = min((s.min for s in held), default=0.0), max((s.max for s in held), default=1.0)
    reach = 0.0 if low < high else 0.1 * abs(low) or 1.0
    return low - reach, high + reach


def _threshold(stats: Sequence[TensorStats], largest: float) -> float:
    """Return where a symlog axis leaves its linear part; the largest value: nowhere."""
    held = [one.quantile(_QUANTILES) for one in stats if one.finite_count]
    sizes = [float(np.median(np.abs(points[points != 0]))) for points in held if points.any()]
    usual = max(min(sizes, default=largest), largest * 10.0**-DECADES)
    return largest if largest <= SYMLOG_FROM * usual else float(10.0 ** np.floor(np.log10(usual)))


def _symlog_edges(low: float, high: float, bins: int, threshold: float) -> NDArray[np.float64]:
    """Return edges that are equally far apart on a symlog axis, 0 among them if it is inside."""
    ends = _bent(np.array([low, high]), threshold)
    places = np.linspace(ends[0], ends[1], bins + 1)
    if ends[0] < 0 < ends[1]:
        places -= places[np.abs(places).argmin()]
    return _unbent(places, threshold)


def _with_margins(edges: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return the ends of the axis, a bin beyond the outer edges."""
    low, high = _bent(edges[[0, -1]], threshold)
    reach = (high - low) / (len(edges) - 1)
    return _unbent(np.array([low - reach, high + reach]), threshold)


def _bent(values: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return places on matplotlib's symlog axis, in decades from 0."""
    size = np.abs(values) / threshold
    beyond = LINEAR + np.log10(np.maximum(size, 1))
    return np.sign(values) * np.where(size <= 1, LINEAR * size, beyond)


def _unbent(places: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    size = np.abs(places)
    inside = size <= LINEAR
    return np.sign(places) * threshold * np.where(inside, size / LINEAR, 10.0 ** (size - LINEAR))


def _shares(stats: TensorStats, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the finite values in each bin; nan where there is none."""
    if not stats.finite_count:
        return np.full(len(edges) - 1, np.nan)
    return np.asarray(stats.distribution.counts(edges).counts / stats.finite_count)


def _median(stats: TensorStats) -> float:
    return float(stats.quantile(0.5))


def _draw_shares(
    axes: Axes,
    shown: History,
    edges: NDArray[np.float64],
    shares: NDArray[np.float64],
    medians: NDArray[np.float64],
) -> None:
    cells = Cells.of_windows(shown.windows)
    values = cells.spread(shares)
    values[values < FAINTEST] = FAINTEST / 2  # below the colours, as an empty bin is
    top = max(float(np.nanmax(values, initial=0.0)), 10 * FAINTEST)
    colors = _style.density_map().with_extremes(under="white")
    mesh = draw_mesh(axes, cells.edges, edges, values, LogNorm(FAINTEST, top), colors)
    bar = add_colorbar(axes, mesh, "share of the window's values per bin (%)")
    bar.formatter = FuncFormatter(lambda share, _: _style.number(100 * share))
    bar.update_ticks()
    padded = cells.spread(medians[:, None])[0]
    axes.stairs(
        padded, cells.edges, baseline=None, color=_style.MEDIAN, linewidth=1.2, gid="median"
    )
    note(axes, "\N{EM DASH} median", color=_style.MEDIAN)
    axes.set_ylabel("value")
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(7))
    steps_axis(axes, cells.edges[0], cells.edges[-1])
