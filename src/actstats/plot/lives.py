"""Units over time: which are active, which fell silent, which came back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from actstats.plot import _style
from actstats.plot._axes import add_colorbar, add_title, draw_mesh, note, own_axes
from actstats.plot._sites import MOST_COLUMNS, History, history
from actstats.plot._time import Cells, steps_axis
from actstats.recording import Source
from actstats.stats import ENOUGH_SAMPLES, TensorStats

__all__ = ["units"]

Sort: TypeAlias = Literal["fate", "activity", "index"]

FATES = (
    "always active",
    "woke up",
    "came back",
    "active until not finite",
    "fell silent",
    "never active",
    "never finite",
    "not seen",
)
FATE_COLORS = {
    "active until not finite": _style.ALARM,
    "fell silent": _style.SILENT,
    "never active": _style.SILENT,
    "never finite": _style.ALARM,
}


@dataclass(frozen=True, eq=False)
class Lives:
    """What became of the units of a layer.

    Parameters
    ----------
    active : ndarray of float64, shape (W, C)
        Share of active samples of each unit in each window; nan where it was not seen.
    broken : ndarray of bool, shape (W, C), optional
        Where that is nan because none of the unit's samples was finite. None: nowhere.
    """

    active: NDArray[np.float64]
    broken: NDArray[np.bool_] | None = None

    @property
    def fates(self) -> NDArray[np.int64]:
        """Index into ``FATES`` for each unit, shape (C,)."""
        seen = np.isfinite(self.active)
        awake, silent = self.active > 0, self.active == 0
        was_awake = np.logical_or.accumulate(awake, axis=0)
        last = np.take_along_axis(awake, _last(seen)[None], axis=0)[0]
        first = np.take_along_axis(awake, seen.argmax(axis=0)[None], axis=0)[0]
        came_back = (silent & was_awake).any(axis=0)
        broken = np.zeros_like(seen) if self.broken is None else self.broken
        lost = broken.any(axis=0) & (_last(broken) > _last(seen))
        fates = np.where(
            last,
            np.where(lost, 3, np.where(came_back, 2, np.where(first, 0, 1))),
            np.where(awake.any(axis=0), 4, 5),
        )
        return np.where(seen.any(axis=0), fates, np.where(broken.any(axis=0), 6, 7))

    def order(self, sort: Sort) -> NDArray[np.intp]:
        """Return the units from the top down."""
        index = np.arange(self.active.shape[1])
        if sort == "index":
            return index
        seen = np.isfinite(self.active)
        activity = np.where(seen, self.active, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        if sort == "activity":
            return np.lexsort((index, -activity))
        return np.lexsort((index, -activity, -_last(self.active > 0), self.fates))


def _last(true: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the last window in which something is true of each unit, 0 where it never is."""
    return np.where(true.any(axis=0), len(true) - 1 - true[::-1].argmax(axis=0), 0)


def units(
    recording: Source,
    site: str,
    *,
    sort: Sort = "fate",
    phase: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the share of active samples of each unit over time: deaths, births and revivals.

    A row for each unit, a column for each window (neighbours are merged, exactly, where there are
    more than 400). A unit without any active sample in a window
    is vermilion there: silent. On the right stands what became of the units: which were active in
    every window, which woke up or came back and are active in the last one, which fell silent,
    and which were active until none of their samples was finite.
    Of ReLU and its kin silent units are dead, where 30 samples or more tell it.

    Parameters
    ----------
    recording : recorder, Recording, Window or path of a recording's file
        What to show.
    site : str
        The output of an activation function, such as ``"act3"``.
    sort : {"fate", "activity", "index"}, default "fate"
        Order of the rows: by what became of the units (and the silent ones by when they were last
        active), by mean activity, or as they are in the layer.
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
        If nothing was recorded, the site is not the output of an activation function that can be
        judged, or its units are not told apart; with the reason.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1, activation="relu")
    >>> with ActivationRecorder(net) as recorder:
    ...     for i in range(5):
    ...         _ = net(torch.randn(64, 2))
    ...         recorder.step()
    >>> ax = units(recorder, "act1")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('step', '8 units')
    """
    if sort not in get_args(Sort):
        raise ValueError(f"`sort` must be one of {get_args(Sort)}; got {sort!r}.")
    shown = history(recording, site, phase).merged(MOST_COLUMNS)
    lives = _lives(shown)
    order = lives.order(sort)
    with _style.style():
        axes = own_axes(ax, (7.2, min(2.2 + 0.05 * len(order), 5.2)))
        _draw(axes, shown, lives.active[:, order])
        _mark_fates(axes, lives.fates[order], in_blocks=sort == "fate")
        _label_units(axes, order, sort)
        add_title(axes, shown.name if title is None else title)
    return axes


def _lives(shown: History) -> Lives:
    """Return the activity of each unit in each window, nan where units were not told apart."""
    parts = [stats.active_fraction for stats in shown.stats]
    width = next((len(part) for part in reversed(parts) if part is not None), None)
    if width is None:
        reasons = (stats.why("active_fraction") for stats in shown.stats)
        reason = next((r for r in reasons if r), "nothing was judged")
        raise ValueError(f"{shown.site} has no active fraction per unit: {reason}.")
    missing = np.full(width, np.nan)
    fits = [missing if part is None or len(part) != width else part for part in parts]
    return Lives(np.array(fits), np.array([_broken(stats, width) for stats in shown.stats]))


def _broken(stats: TensorStats, width: int) -> NDArray[np.bool_]:
    """Return which units had samples in a window, but no finite one."""
    if not (stats.nan_count or stats.inf_count):
        return np.zeros(width, np.bool_)
    if not stats.finite_count:
        return np.ones(width, np.bool_)
    seen = np.ones(width) if stats.judged is None else stats.judged.seen
    return seen == 0 if len(seen) == width else np.zeros(width, np.bool_)


# ---- drawing -----------------------------------------------------------------------------------


def _draw(axes: Axes, shown: History, active: NDArray[np.float64]) -> None:
    cells = Cells.of_windows(shown.windows)
    values = cells.spread(active)
    rows = np.arange(len(values) + 1) - 0.5
    least = np.nextafter(0, 1)
    colors = _style.activity_map().with_extremes(under=_style.SILENT)
    mesh = draw_mesh(axes, cells.edges, rows, values, Normalize(least, 1), colors)
    axes.set_ylim(rows[-1], rows[0])
    steps_axis(axes, cells.edges[0], cells.edges[-1])
    percent = FuncFormatter(lambda share, _: _style.number(100 * share))
    bar = add_colorbar(
        axes, mesh, "active samples (%)", format=percent, extend="min", extendfrac=0.06
    )
    bar.ax.annotate(
        *("silent", (0.5, -0.07)),
        xycoords="axes fraction",
        ha="center",
        va="top",
        fontsize=_style.SMALL,
        color=_style.SILENT,
        annotation_clip=False,
    )
    if not np.isfinite(values).all():
        note(axes, "grey: not seen, or not finite")
    seen = [int(s.judged.seen.max()) for s in shown.stats if s.judged is not None]
    fewest = min(n for n in seen if n)
    if fewest < ENOUGH_SAMPLES:
        note(axes, f"only {fewest} sample{'s' * (fewest != 1)} in some windows")


def _label_units(axes: Axes, order: NDArray[np.intp], sort: Sort) -> None:
    what = {"fate": "", "activity": ", most active on top", "index": ""}[sort]
    axes.set_ylabel(f"{len(order):,} units{what}")
    axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    if sort != "index":
        axes.set_yticks([])


def _mark_fates(axes: Axes, fates: NDArray[np.int64], *, in_blocks: bool) -> None:
    """Tell how many units fared how: beside their block, or all above."""
    counts = np.bincount(fates, minlength=len(FATES))
    told = [(i, int(n)) for i, n in enumerate(counts) if n]
    if not in_blocks:
        note(axes, ", ".join(f"{n:,} {FATES[i]}" for i, n in told))
        return
    start, lowest = 0, -1.0
    apart = 0.055 * len(fates)
    for i, n in told:
        if start:
            axes.axhline(start - 0.5, color="white", linewidth=1.2, gid="border")
        place = max(start + n / 2 - 0.5, lowest + apart)
        color = FATE_COLORS.get(FATES[i], _style.INK)
        axes.text(
            *(1.012, place),
            f"{n:,} {FATES[i]}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=_style.SMALL,
            color=color,
            gid="fate",
        )
        start, lowest = start + n, place
