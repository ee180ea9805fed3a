"""The steps of a run: which is open, which windows have closed, who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from actstats._torch import quiet
from actstats.packing import pack_scalars, pack_window, unpack_scalars
from actstats.recording import Scalar, Window
from actstats.shared import Shared, logger
from actstats.sites import Site
from actstats.stats import TensorStats
from actstats.update_ratios import Moved, with_updates
from actstats.updates import Updates
from actstats.windows import Closing, Windows, certainly, forget, take

if TYPE_CHECKING:
    from actstats.log.live import Log

__all__ = ["Run"]

MOST_STEPS = 1 << 62


def _nothing() -> Mapping[str, Any]:
    return {}


class Run:
    """What a recorder knows of time. It holds neither the recorder nor the model.

    Parameters
    ----------
    shared : Shared
        Where the hot state is.
    every : int
        Steps between observed ones.
    fixed : int, optional
        Steps per window; None: neighbours merge when there are too many.
    budget : int
        Bytes for state and windows together.
    log : Log, optional
        The file that closed windows go to.

    Attributes
    ----------
    step : int
        Number of the step that is open.
    windows : Windows
        Those that have closed.
    listeners : list of callable
        Called with each window that closes.
    metadata : dict
        What is known of the run.
    updates : Updates
        The optimizers that are watched.
    describe : callable
        Returns more of what is known, for the file: notes, modules never called.
    """

    def __init__(
        self, shared: Shared, *, every: int, fixed: int | None, budget: int, log: Log | None = None
    ) -> None:
        self.shared = shared
        self.every = every
        self.fixed = fixed
        self.budget = budget
        self.log = log
        self.listeners: list[Callable[[Window], None]] = []
        self.metadata: dict[str, Any] = {}
        self.describe: Callable[[], Mapping[str, Any]] = _nothing
        self._begun = False  # some step has ended
        self.updates = Updates()
        if log is not None:
            log.owner = WeakMethod(self.finish)
        self.forget()

    def forget(self) -> None:
        """Begin anew: nothing was seen."""
        start = 0 if self.log is None else self.log.next_step
        self.step = self._first = start  # the open step; the first of the open window
        self._last = 0  # number of the last closed step
        self._steps_open = 0
        self._steps = 0
        self._seen = False  # anything, in a closed step of the open window
        self.windows = Windows(self.shared, self.fixed, self.every, self.budget)
        self.watch()
        self.updates.forget()
        self.carried: list[Window] = []  # of a resumed run's open window
        self._resumed: dict[str, Site] = {}
        self._scalars: dict[str, Scalar] = {}
        self.shared.step = start
        self.shared.active = not self.shared.forked
        self.shared.seek()
        self.shared.observed = False

    def watch(self) -> None:
        """Keep windows as they close for those who want them, or not."""
        wanted = bool(self.listeners) or self.log is not None
        self.windows.arrived = (self.windows.arrived or []) if wanted else None

    # ---- steps -----------------------------------------------------------------------------------

    def end_step(self, scalars: Mapping[str, Scalar], step: int | None = None) -> None:
        """Close the open step, by this number if any, and the window if it is full.

        One thread at a time; what others observe meanwhile waits for a copy, not for a file. In a
        forked child nothing happens: what is open is the parent's, and torch's threads, which would
        copy it, are not here.
        """
        if self.shared.forked:
            return
        with self.shared.ending:
            if step is not None:
                self.go_to(step)
            self.add_scalars(scalars)
            self.windows.settle(wait=False)
            with self.shared.lock:
                self._end_step()
            self.windows.catch_up()
            arrived = self._written()
        self._tell(arrived)

    def add_scalars(self, scalars: Mapping[str, Scalar]) -> None:
        """Put numbers into the open window."""
        with self.shared.ending:
            for name, scalar in scalars.items():
                known = self._scalars.get(name)
                self._scalars[name] = scalar if known is None else known.merge(scalar)

    def _end_step(self) -> None:
        """Begin the next step, and the next window if this one is full."""
        self._begun = True
        self._steps_open += 1
        self._steps += 1
        self._last = self.step
        self.step += 1  # first, so that an interrupt below leaves no step twice
        self._seen |= self.shared.observed
        self.shared.observed = False
        if self._steps_open >= self.windows.width:
            self.close_window(self.step)
        self.shared.go_on(self.step, active=self._steps % self.every == 0)

    def go_to(self, step: int) -> None:
        """Give the open step another number.

        Raises
        ------
        ValueError
            If it goes backwards; only a run that goes on in a file may, before its first step.
        """
        first = 0 if self.log is not None and not self._begun else self.step
        if isinstance(step, bool) or not isinstance(step, int) or not first <= step < MOST_STEPS:
            raise ValueError(f"`step` must be an integer of at least {first}; got {step!r}.")
        if step < self.step and self.log is not None:
            self.log.rewind(step)
        if not self._steps_open:
            self._first = step
        self.step = step

    def close_window(self, first: int) -> None:
        """Close the open window, unless nothing was observed yet: then it goes on.

        ``first`` is the first step of the next. Called with the lock of what hooks change.
        """
        if not (self._seen or self.carried):
            return
        certainly(self._begin_window, first, self._closing(closing=True))

    def _begin_window(self, first: int, closing: Closing) -> None:
        """Keep the window that has closed, and forget what it had; may be done again."""
        if not self.windows.holds(closing):
            self.windows.hold(closing)
        with quiet():
            forget(self.shared)
            self.updates.forget()
        self.carried, self._scalars, self._seen = [], {}, False
        self._first, self._steps_open = first, 0

    def _closing(self, *, closing: bool, site: str | None = None) -> Closing:
        """Take what the open window holds, or one site's part of it."""
        with quiet(), self.shared.ending, self.shared.lock:
            last = self.step if self.shared.observed else max(self._first, self._last)
            taken = take(self.shared, closing=closing, site=site)
            moved = self.updates.take() if site is None else ()
            carried = tuple(self.carried)
            return Closing(self._first, last, taken, dict(self._scalars), carried, moved)

    def close_early(self) -> None:
        """Close the open window though it is not full, unless nothing was observed in it."""
        if self.shared.forked:
            return
        with self.shared.ending:
            arrived = self._finish()
        self._tell(arrived)

    def open_windows(self, site: str | None = None) -> list[Window]:
        """Copy what the open window holds, or one site's part of it, by phase."""
        return self._closing(closing=False, site=site).windows()

    def all_windows(self) -> list[Window]:
        """Return every window in order of time, those that lie in the file and the open one too."""
        with self.shared.ending:
            windows = [*self._closed(), *self.open_windows()]
        return sorted(windows, key=lambda w: (w.first_step, w.last_step))

    def _closed(self) -> list[Window]:
        if self.log is not None and self.windows.spilled:
            try:
                return [*self.windows.restored, *self.log.own_windows()]
            except Exception as error:  # then those in memory, merged, have to do
                logger.warning("%s cannot be read: %s", self.log.path, error)
        return list(self.windows)

    def parts(self, site: str) -> list[tuple[str, TensorStats]]:
        """Return one site's statistics with their phases, closed windows first."""
        with self.shared.ending:
            windows = [*self.windows.leading, *self.open_windows(site)]
        return [(window.phase, window.stats[site]) for window in windows if site in window.stats]

    # ---- who is told -----------------------------------------------------------------------------

    def _tell(self, arrived: Sequence[Window]) -> None:
        """Hand windows that have closed to those who listen; they may read from other threads."""
        for window in arrived:
            for listener in tuple(self.listeners):
                listener(window)

    def _written(self) -> Sequence[Window]:
        """Hand windows that have closed to the file; return them."""
        waiting = self.windows.arrived
        if not waiting:
            return ()
        arrived = tuple(waiting)
        if self.log is not None:
            self.log.append(waiting, self.facts)
            if self.fixed is not None and not self.log.trouble:
                self.windows.spill()
        waiting.clear()
        return arrived

    def finish(self) -> None:
        """Put everything into the file, the open window too, and close it; a step opens it again.

        Without a file nothing happens.
        """
        if self.log is None or self.shared.forked:
            return
        arrived: Sequence[Window] = ()
        with self.shared.ending:
            try:
                arrived = self._finish()
            except Exception as error:  # a device that failed, say; it must not hide the user's
                logger.warning("the open window is lost: %s", error, exc_info=error)
            self.log.close(self.facts)
        self._tell(arrived)

    def _finish(self) -> Sequence[Window]:
        with self.shared.lock:
            self._seen |= self.shared.observed
            self.close_window(self.step)
            self.shared.observed = False
        self.windows.settle()
        return self._written()

    # ---- resuming --------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as numbers, strings and tensors."""
        with self.shared.ending:
            return {
                "sites": [asdict(site) for site in self.sites().values()],
                "dropped": list(self.windows.dropped),
                "step": self.step,
                "first": self._first,
                "steps_open": self._steps_open,
                "steps": self._steps,
                "width": self.windows.width,
                "closed": [pack_window(w) for w in self.windows],
                "open": [pack_window(replace(w, scalars={})) for w in self.open_windows()],
                "scalars": pack_scalars(with_updates(self._scalars, self._moved())),
                "last": self._last,
            }

    def _moved(self) -> list[Moved]:
        with self.shared.lock:
            return self.updates.take()

    def resume(
        self, state: Mapping[str, Any], closed: Sequence[Window], carried: Sequence[Window]
    ) -> None:
        """Go on from :meth:`state`, whose windows have been unpacked; begun anew before."""
        self.step = self.shared.step = state["step"]
        self._first, self._steps_open = state["first"], state["steps_open"]
        self._steps, self._last = state["steps"], state["last"]
        if self.fixed is None:
            self.windows.width = state["width"]
        self.shared.active = self._steps % self.every == 0 and not self.shared.forked
        self.windows.restore(closed)
        self.windows.restored = list(closed)
        self.windows.dropped = dict.fromkeys(state["dropped"])
        self.carried = list(carried)
        self._resumed = {site.key: site for site in (Site(**fields) for fields in state["sites"])}
        self._scalars = unpack_scalars(state["scalars"])
        if self.log is not None:
            if not self.log.windows:
                self.log.pending = list(closed)
            self.log.rewind(self._first)

    def facts(self) -> dict[str, Any]:
        """Return what is to be known beside the windows."""
        sites = [asdict(site) for site in self.sites().values()]
        return {"metadata": self.metadata, "sites": sites, **self.describe()}

    def sites(self) -> dict[str, Site]:
        """Return every site seen, by its key."""
        leaves = (leaf for _, leaf in self.shared.leaves() if leaf.observed)
        return self._resumed | {leaf.site.key: leaf.site for leaf in leaves}
