"""Closed windows in bounded memory."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actstats.kernels import Spec
from actstats.kernels.state import HostCopy, Layout, reset
from actstats.leaf import Leaf
from actstats.recording import Scalar, Window, default_phase, merge_leading, merged_pairs
from actstats.sharding import Units, widened
from actstats.shared import Shared
from actstats.stats import TensorStats
from actstats.table import Kept, SiteTable
from actstats.update_ratios import Moved, with_updates

__all__ = ["Closing", "Taken", "Windows", "certainly", "forget", "take"]

CAP = 64  # windows of a phase before neighbours merge
FLOOR = 8  # windows kept apart however small the budget


@dataclass(frozen=True)
class Taken:
    """What the states of one phase on one device held."""

    phase: str
    sites: tuple[Kept, ...]
    copy: HostCopy
    shards: tuple[tuple[Spec, Units | None], ...] = ()  # what a state keeps, of which units

    def words(self) -> NDArray[np.int64]:
        """Return the memory of one site's state after the other's; waits for the device."""
        words = self.copy.words()
        if not any(units for _, units in self.shards):
            return words
        ends = np.cumsum([Layout.of(spec).words for spec, _ in self.shards])
        pieces = zip(np.split(words, ends[:-1]), self.shards, strict=True)
        return np.concatenate(
            [
                piece if units is None else widened(piece, spec, units)
                for piece, (spec, units) in pieces
            ]
        )


Groups = Mapping[tuple[str, torch.device], list[Leaf]]  # by phase and device


def take(shared: Shared, *, closing: bool, site: str | None = None) -> list[Taken]:
    """Begin to copy all hot state, or one site's; waits for no device.

    Nothing is observed meanwhile, so that all is of one moment. What was judged of a first call
    that is under way is left, in ``closing``, for the window that its output goes to.
    """
    slope = shared.options.saturation_slope
    taken = []
    with shared.lock:
        for (phase, _), leaves in _groups(shared, closing, site).items():
            kept = tuple(_kept(leaf, slope) for leaf in leaves)
            shards = tuple((leaf.state.spec, leaf.shard) for leaf in leaves)
            copy = HostCopy([leaf.state for leaf in leaves])
            taken.append(Taken(phase, kept, copy, shards))
    return taken


def certainly(work: Callable[..., None], *args: Any) -> None:
    """Do something that may be done again: where an interrupt breaks it off, from the beginning."""
    try:
        work(*args)
    except BaseException:
        work(*args)
        raise


def forget(shared: Shared) -> None:
    """Reset what a window that closes has taken; may be done again where it was interrupted."""
    with shared.lock:
        for leaves in _groups(shared, closing=True).values():
            reset([leaf.state for leaf in leaves])
            for leaf in leaves:
                leaf.version += 1
                leaf.handed = False


def _groups(shared: Shared, closing: bool, site: str | None = None) -> Groups:
    groups = defaultdict(list)
    for phase, leaf in shared.leaves():
        if site in (None, leaf.site.key) and not (closing and leaf.is_begun):
            groups[phase, leaf.state.device].append(leaf)
    return groups


def _kept(leaf: Leaf, slope: float) -> Kept:
    notes = tuple(leaf.notes.items())
    return Kept(leaf.site.key, leaf.spec, leaf.activation, slope, leaf.all_units, notes)


@dataclass(frozen=True)
class Closing:
    """A window whose numbers may still be on their way from a device.

    Parameters
    ----------
    first_step, last_step : int
        Inclusive.
    taken : sequence of Taken
        Its numbers.
    scalars : mapping of str to Scalar
        What was given to ``step()``; goes to train's window, if there is one.
    carried : sequence of Window
        What a resumed run had seen of it before.
    moved : sequence of Moved
        How far optimizers moved the weights; beside the scalars.
    """

    first_step: int
    last_step: int
    taken: Sequence[Taken]
    scalars: Mapping[str, Scalar]
    carried: Sequence[Window] = ()
    moved: Sequence[Moved] = ()

    @property
    def is_ready(self) -> bool:
        """Whether all numbers have arrived."""
        copies = (*(taken.copy for taken in self.taken), *(moved.copy for moved in self.moved))
        return all(copy.is_ready for copy in copies)

    def windows(self) -> list[Window]:
        """Return one window per phase; waits for the numbers."""
        tables = {phase: table for phase, table in self._tables() if table}
        phases = dict.fromkeys((*(window.phase for window in self.carried), *tables))
        main, told = default_phase(phases), with_updates(self.scalars, self.moved)
        windows = []
        for phase in phases:
            scalars = told if phase == main else {}
            stats: Mapping[str, TensorStats] = tables.get(phase, {})
            window = Window(self.first_step, self.last_step, phase, stats, scalars)
            for earlier in self.carried:
                window = earlier.merge(window) if earlier.phase == phase else window
            windows.append(window)
        return windows

    def _tables(self) -> Iterator[tuple[str, SiteTable]]:
        """Yield what was seen in each phase, on all devices together."""
        for phase in dict.fromkeys(taken.phase for taken in self.taken):
            parts = [taken for taken in self.taken if taken.phase == phase]
            sites = chain.from_iterable(taken.sites for taken in parts)
            words = [taken.words() for taken in parts]
            together = words[0] if len(words) == 1 else np.concatenate(words)
            yield phase, SiteTable.of(tuple(sites), together)


class Windows:
    """The closed windows of a run, by phase; several threads may read them.

    Parameters
    ----------
    shared : Shared
        Where the hot state is, which has to fit the budget too.
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
    dropped : dict
        What was given up to fit the budget, in order, as keys.
    arrived : list of Window or None
        Windows as they closed, before any merging, until they are taken; None: not kept.
    restored : list of Window
        What a resumed run began with.
    spilled : bool
        Whether older windows are merged here because they lie in a file one by one.
    """

    def __init__(self, shared: Shared, fixed: int | None, every: int, budget: int) -> None:
        self.shared = shared
        self.fixed = fixed
        self.budget = budget
        self.width = every if fixed is None else fixed
        self.dropped: dict[str, None] = {}
        self.arrived: list[Window] | None = None
        self.restored: list[Window] = []
        self.spilled = False
        self._by_phase: dict[str, list[Window]] = {}
        self._pending: deque[Closing] = deque()
        self._leading: list[Window] | None = None

    def __iter__(self) -> Iterator[Window]:
        with self.shared.ending:
            self.settle()
            return iter([*chain.from_iterable(self._by_phase.values())])

    def __len__(self) -> int:
        with self.shared.ending:
            self.settle()
            return sum(map(len, self._by_phase.values()))

    @property
    def nbytes(self) -> int:
        """Memory held by the statistics, in bytes."""
        return sum(window.nbytes for window in self)

    @property
    def latest(self) -> Window | None:
        """The last closed window, or None; train's if several phases closed together."""
        with self.shared.ending:
            self.settle()
            last = {phase: held[-1] for phase, held in self._by_phase.items()}
        newest = max((window.last_step for window in last.values()), default=None)
        closed = {phase: w for phase, w in last.items() if w.last_step == newest}
        return closed.get(default_phase(closed) or "")

    @property
    def leading(self) -> list[Window]:
        """The windows, leading ones merged as far as they fit; kept until another window closes."""
        with self.shared.ending:
            self.settle()
            if self._leading is None:
                self._leading = merge_leading(self)
            return self._leading

    def hold(self, closing: Closing) -> None:
        """Take a window that has closed; what is to be done with it is left for later."""
        self._pending.append(closing)

    def holds(self, closing: Closing) -> bool:
        """Tell whether a window is among those that wait to be kept."""
        return _is_among(closing, self._pending)

    def catch_up(self) -> None:
        """Keep what has arrived.

        Waits for the rest only where windows may have to merge, which the next one's width hangs
        on: once each time the width doubles.
        """
        self.settle(wait=self.fixed is None and self._longest + len(self._pending) > CAP)

    def settle(self, *, wait: bool = True) -> None:
        """Keep the closed windows whose numbers have arrived, in order; all if ``wait``."""
        with self.shared.ending:
            while self._pending and (wait or self._pending[0].is_ready):
                certainly(self._keep, self._pending[0], self._pending[0].windows())
                self._fit()

    def _keep(self, closing: Closing, windows: Sequence[Window]) -> None:
        """Append the windows that closed together, one per phase; may be done again."""
        for window in windows:
            if not _is_among(window, self._by_phase.get(window.phase, [])[-1:]):
                self.restore((window,))
        if self.arrived is not None:
            self.arrived += [w for w in windows if not _is_among(w, self.arrived)]
        if self.holds(closing):
            self._pending.popleft()

    def _fit(self) -> None:
        """Keep to the budget, and to so many windows."""
        self._halve(CAP)
        while self._nbytes_in_all > self.budget:
            if not (self._halve(FLOOR) or self._drop_units() or self._drop_resolution()):
                self.dropped["what must be kept alone exceeds the budget"] = None
                return

    def restore(self, windows: Iterable[Window]) -> None:
        """Append windows as they are."""
        self._leading = None
        for window in windows:
            self._by_phase.setdefault(window.phase, []).append(window)

    def spill(self) -> None:
        """Keep the latest windows of each phase and the sum of the others, which are in a file."""
        for held in self._by_phase.values():
            if len(held) > 2 * FLOOR:  # many at once: it costs little more than two
                held[:-FLOOR] = [Window.sum(held[:-FLOOR])]
                self.spilled = True

    @property
    def _longest(self) -> int:
        """Windows of the phase that has most."""
        return max(map(len, self._by_phase.values()), default=0)

    @property
    def _nbytes_in_all(self) -> int:
        held = chain.from_iterable(self._by_phase.values())
        return self.shared.nbytes + sum(window.nbytes for window in held)

    def _halve(self, floor: int) -> bool:
        """Merge neighbours of each phase that has more than ``floor`` windows."""
        if self.fixed is not None or self._longest <= floor:
            return False
        for held in self._by_phase.values():
            if len(held) > floor:
                held[:] = merged_pairs(held)
        self.width *= 2
        return True

    def _drop_units(self) -> bool:
        """Pool the units of the oldest window that still tells them apart."""
        for held in self._by_phase.values():
            for i, window in enumerate(held[:-1]):
                if _tells_units_apart(window.stats):
                    held[i] = window.map(_without_units)
                    self.dropped["per-unit detail of old windows"] = None
                    return True
        return False

    def _drop_resolution(self) -> bool:
        """Lower the resolution of the finest histograms until the hot state alone would fit."""
        shared = self.shared
        with shared.lock:
            specs = Counter(leaf.state.spec for _, leaf in shared.leaves())
            finest = max((spec.resolution for spec in specs), default=0)
            if finest == 0:
                return False
            shared.coarsest = self._resolution_that_fits(specs, below=finest)
            for _, leaf in shared.leaves():
                leaf.state.coarsen(shared.coarsest)
        for held in self._by_phase.values():
            held[:] = [window.coarsen(shared.coarsest) for window in held]
        self.dropped = {k: None for k in self.dropped if not k.startswith("histogram")}
        self.dropped[f"histogram resolution above {shared.coarsest}"] = None
        return True

    def _resolution_that_fits(self, specs: Mapping[Spec, int], below: int) -> int:
        """Return the highest resolution at which so many states fit the budget; else 0."""
        for resolution in range(below - 1, 0, -1):
            lower = ((spec.at_most(resolution), number) for spec, number in specs.items())
            if sum(8 * Layout.of(spec).words * n for spec, n in lower) <= self.budget:
                return resolution
        return 0


def _is_among(one: object, some: Iterable[object]) -> bool:
    return any(other is one for other in some)


def _tells_units_apart(stats: Mapping[str, TensorStats]) -> bool:
    if isinstance(stats, SiteTable):
        return any(kept.units for kept in stats.columns.sites)
    return any(one.units for one in stats.values())  # what is kept of the user's own goes with them


def _without_units(stats: TensorStats) -> TensorStats:
    return stats.pool_units("dropped to fit the budget")
