"""Draw: the axis of steps, on which windows have widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from actstats.plot import _style
from actstats.plot._axes import note
from actstats.recording import Window

__all__ = ["Cells", "mark_broken", "steps_axis", "told_steps", "without_finite"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Windows as cells on the axis of steps.

    Parameters
    ----------
    edges : ndarray of float64, shape (n + 1,)
        Ascending.
    index : ndarray of int64, shape (n,)
        The window in each cell; -1 where none saw these steps.
    """

    edges: NDArray[np.float64]
    index: NDArray[np.int64]

    @classmethod
    def of(cls, first: NDArray[np.int64], last: NDArray[np.int64]) -> Cells:
        """Return a cell for each window, in order of time, as wide as its steps.

        Cells meet half-way over a gap between windows, unless it is longer than is usual here.
        """
        starts, ends = first - 0.5, last + 0.5
        gaps = starts[1:] - ends[:-1]
        usual = np.median(np.diff((starts + ends) / 2)) if len(first) > 1 else 0.0
        meet = np.flatnonzero(gaps <= 1.5 * usual)  # overlapping ones too
        middle = (starts[meet + 1] + ends[meet]) / 2
        starts[meet + 1], ends[meet] = middle, middle
        edges, index = [float(starts[0])], []
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            if start > edges[-1]:
                edges.append(start)
                index.append(-1)
            if end > edges[-1]:
                edges.append(end)
                index.append(i)
        return cls(np.array(edges), np.array(index, np.int64))

    @classmethod
    def of_windows(cls, windows: Sequence[Window]) -> Cells:
        """Return a cell for each window."""
        steps = np.array([(window.first_step, window.last_step) for window in windows], np.int64)
        return cls.of(steps[:, 0], steps[:, 1])

    def spread(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows of windows as columns of cells, nan in gaps; (W, n) becomes (n, cells)."""
        padded = np.concatenate((values.astype(np.float64), np.full((1, values.shape[1]), np.nan)))
        return padded[self.index].T


def steps_axis(axes: Axes, low: float, high: float, *, label: bool = True) -> None:
    """Scale the axis of steps."""
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if label:
        axes.set_xlabel("step")


def told_steps(window: Window) -> str:
    """Name a window by its steps.

    Examples
    --------
    >>> told_steps(Window(0, 0, "train", {}))
    'step 0'
    """
    first, last = window.first_step, window.last_step
    return f"step {first:,}" if first == last else f"steps {first:,}\N{EN DASH}{last:,}"


def mark_broken(axes: Axes, windows: Sequence[Window], sites: Sequence[str]) -> None:
    """Mark the windows in which one of the sites saw NaN or Inf, at the upper edge."""
    wanted = set(sites)
    broken = [w for w in windows if not wanted.isdisjoint(w.first_non_finite)]
    if not broken:
        return
    axes.plot(
        [(w.first_step + w.last_step) / 2 for w in broken],
        np.ones(len(broken)),
        linestyle="none",
        marker="v",
        markersize=5,
        color=_style.ALARM,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
        gid="non-finite",
    )
    note(axes, "▼ NaN or Inf", color=_style.ALARM)


def without_finite(windows: Sequence[Window], sites: Sequence[str], what: str) -> str:
    """Say at how many sites the last of the windows has no finite value; nothing where all have.

    Pictures by depth have no axis of steps to mark: what is not finite is a gap there, as is what
    was not seen.
    """
    held = [[w.stats[site] for site in sites if site in w.stats] for w in windows]
    lost = [sum(1 for one in stats if one.count and not one.finite_count) for stats in held]
    broken = [(w, n) for w, n in zip(windows, lost, strict=True) if n]
    if not broken:
        return ""
    window, n = broken[-1]
    others = len(broken) - 1
    too = f" (some in {others} other window{'s' * (others > 1)})" if others else ""
    return f"{told_steps(window)}: no finite value at {n} of {len(sites)} {what}{too}"
