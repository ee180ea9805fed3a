"""Closed windows in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from actstats.recording import Window, default_phase
from actstats.shared import Shared
from actstats.stats import TensorStats

__all__ = ["Windows"]

CAP = 64  # windows of a phase before neighbours merge
FLOOR = 8  # windows kept apart however small the budget


class Windows:
    """The closed windows of a run, by phase.

    Parameters
    ----------
    fixed : int, optional
        Steps per window, all kept. None: neighbours merge when there are too many.
    every : int
        Steps between observed ones; the width of the first windows.
    budget : int
        Bytes for these and the hot state together.

    Attributes
    ----------
    width : int
        Steps of the next window.
    latest : Window or None
        The last closed window; train's if several phases closed together.
    dropped : dict
        What was given up to fit the budget, in order, as keys.
    """

    def __init__(self, fixed: int | None, every: int, budget: int) -> None:
        self.fixed = fixed
        self.budget = budget
        self.width = every if fixed is None else fixed
        self.latest: Window | None = None
        self.dropped: dict[str, None] = {}
        self._by_phase: dict[str, list[Window]] = {}

    def __iter__(self) -> Iterator[Window]:
        return chain.from_iterable(self._by_phase.values())

    def __len__(self) -> int:
        return sum(map(len, self._by_phase.values()))

    @property
    def nbytes(self) -> int:
        """Memory held by the statistics, in bytes."""
        return sum(window.nbytes for window in self)

    def add(self, windows: list[Window], shared: Shared) -> None:
        """Append the windows that closed together, one per phase, and keep to the budget."""
        self.restore(windows)
        if self.fixed is None and any(len(held) > CAP for held in self._by_phase.values()):
            self._halve(CAP)
        while shared.nbytes + self.nbytes > self.budget:
            if not (self._halve(FLOOR) or self._drop_units() or self._drop_resolution(shared)):
                self.dropped["what must be kept alone exceeds the budget"] = None
                return

    def restore(self, windows: Iterable[Window]) -> None:
        """Append windows as they are."""
        for window in windows:
            self._by_phase.setdefault(window.phase, []).append(window)
        newest = max((window.last_step for window in self), default=None)
        closed = {w.phase: w for w in self if w.last_step == newest}
        self.latest = closed.get(default_phase(closed) or "")

    def _halve(self, floor: int) -> bool:
        """Merge neighbours of each phase that has more than ``floor`` windows."""
        longest = max(map(len, self._by_phase.values()), default=0)
        if self.fixed is not None or longest <= floor:
            return False
        for held in self._by_phase.values():
            if len(held) > floor:
                pairs = zip(held[::2], [*held[1::2], None], strict=False)
                held[:] = [a if b is None else a.merge(b) for a, b in pairs]
        self.width *= 2
        return True

    def _drop_units(self) -> bool:
        """Pool the units of the oldest window that still tells them apart."""
        for held in self._by_phase.values():
            for i, window in enumerate(held[:-1]):
                if any(stats.units for stats in window.values()):
                    held[i] = window.map(_without_units)
                    self.dropped["per-unit detail of old windows"] = None
                    return True
        return False

    def _drop_resolution(self, shared: Shared) -> bool:
        """Halve the resolution of the finest histograms."""
        finest = max((leaf.state.spec.resolution for _, leaf in shared.leaves()), default=0)
        if finest == 0:
            return False
        shared.coarsest = finest - 1
        for _, leaf in shared.leaves():
            leaf.state.coarsen(shared.coarsest)
        coarser = _coarser(shared.coarsest)
        for held in self._by_phase.values():
            held[:] = [window.map(coarser) for window in held]
        self.dropped = {k: None for k in self.dropped if not k.startswith("histogram")}
        self.dropped[f"histogram resolution above {shared.coarsest}"] = None
        return True


def _without_units(stats: TensorStats) -> TensorStats:
    return stats.pool_units("dropped to fit the budget")


def _coarser(resolution: int) -> Callable[[TensorStats], TensorStats]:
    return lambda stats: stats.coarsen(resolution)
