"""Show a run while it trains, from inside it: one output that is replaced in place."""

from __future__ import annotations

import math
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from actstats import arguments
from actstats.cli.view import View, view_of
from actstats.live.notebook import Notebook, is_notebook
from actstats.live.terminal import Terminal
from actstats.recorder import ActivationRecorder
from actstats.recording import Window, default_phase
from actstats.shared import logger
from actstats.sites import close_matches

__all__ = ["LiveDisplay"]

KEPT = 32  # windows of each phase: what is shown costs the same however long the run
REST = 19  # it rests so many times as long as showing took: a twentieth of the time at most
TITLE = "actstats"


class LiveDisplay:
    """Show the sites, the last scalars and the gravest finding, in place, while a run trains.

    Used as a context manager around the training loop, beside the recorder. In a notebook one
    output is replaced; elsewhere rich shows a table below what the run prints, or, where the output
    is no terminal, once at the end. It is updated when a window has closed in ``recorder.step()``
    and at the end of the block, also where an error ends it; what was shown last stays.

    Showing it takes about a millisecond per site, and at most a twentieth of the run's time. What
    goes wrong in it is logged, once, and the run goes on.

    Parameters
    ----------
    recorder : ActivationRecorder
        What to show; it is not kept alive.
    figure : str, default "rms"
        The figure whose value and trend are shown, one of ``recorder.figure_names``.
    site : str or sequence of str, optional
        Patterns of sites to show; None: all, the gravest where there are many.
    phase : str, optional
        Whose windows to show; None: train's where there are some, else the first phase's.
    interval : float, default 1.0
        Least seconds between two updates.

    Raises
    ------
    ImportError
        If this is no notebook and rich is not installed.
    ValueError
        If an argument is not as described.

    See Also
    --------
    FlightRecorder : Act on findings instead of showing them.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(1, [8], 1, activation="relu")
    >>> recorder = actstats.ActivationRecorder(net)
    >>> with recorder, actstats.LiveDisplay(recorder):  # doctest: +SKIP
    ...     for x in torch.randn(1000, 4, 1):
    ...         _ = net(x)
    ...         recorder.step()
    """

    def __init__(
        self,
        recorder: ActivationRecorder,
        figure: str = "rms",
        *,
        site: str | Sequence[str] | None = None,
        phase: str | None = None,
        interval: float = 1.0,
    ) -> None:
        if not isinstance(recorder, ActivationRecorder):
            raise ValueError(
                f"`recorder` must be an ActivationRecorder; got {type(recorder).__name__}. A "
                "trainer's callback makes one when training begins: give it one of your own."
            )
        if figure not in recorder.figure_names:
            hint = close_matches(str(figure), recorder.figure_names)
            raise ValueError(
                f"`figure` must be one of {recorder.figure_names}; got {figure!r}{hint}"
            )
        if not isinstance(interval, int | float) or not 0 < interval < math.inf:
            raise ValueError(f"`interval` must be seconds above 0; got {interval!r}.")
        self._recorder = weakref.ref(recorder)
        self._figure, self._phase, self._interval = figure, phase, interval
        self._site = arguments.patterns("site", site)
        self._surface = Notebook() if is_notebook() else Terminal()
        self._stop: Callable[[], None] | None = None
        self._complained = False
        self._forget()

    def _forget(self) -> None:
        self._recent: dict[str, deque[Window]] = {}
        self._closed: Counter[str] = Counter()  # windows of each phase
        self._due = -math.inf  # when the next update may be

    def __enter__(self) -> LiveDisplay:
        recorder = self._recorder()
        if self._stop is None and recorder is not None:
            self._try(self._surface.start)
            self._try(lambda: self._show("running"))
            self._due = -math.inf
            self._stop = recorder.on_window(self._look_at)
        return self

    def __exit__(self, *_: object) -> None:
        """Show the last state, the open window included, and leave it there."""
        if self._stop is None:
            return
        self._stop()
        self._stop = None
        try:
            self._try(self._finish)
        finally:
            self._try(self._surface.stop)
            self._forget()

    # ---- windows ---------------------------------------------------------------------------------

    def _look_at(self, window: Window) -> None:
        """Take in a window that has closed, and show it if it is time."""
        self._keep(window)
        if time.monotonic() >= self._due:
            self._try(lambda: self._show("running"))

    def _keep(self, window: Window) -> None:
        self._closed[window.phase] += 1
        self._recent.setdefault(window.phase, deque(maxlen=KEPT)).append(window)

    def _finish(self) -> None:
        recorder = self._recorder()
        for window in recorder.open_windows if recorder is not None else ():
            self._keep(window)
        self._show("ended")

    # ---- showing ---------------------------------------------------------------------------------

    def _show(self, state: str) -> None:
        started = time.monotonic()
        try:
            self._surface.show(self._view(), TITLE, state)
        finally:
            ended = time.monotonic()
            self._due = max(started + self._interval, ended + REST * (ended - started))

    def _view(self) -> View:
        recorder = self._recorder()
        if recorder is None:
            raise ReferenceError("the recorder is gone")
        phase = self._phase or default_phase(self._recent)
        recording = recorder.recording_of(self._recent.get(phase or "", ()))
        view = view_of(recording, self._figure, self._site, phase)
        return replace(view, windows=self._closed[view.phase])

    def _try(self, work: Callable[[], None]) -> None:
        """Do something whose errors are none of the run's."""
        try:
            work()
        except Exception as error:
            if not self._complained:
                self._complained = True
                text = "the live display fails, and the run goes on without: %s"
                logger.warning(text, error, exc_info=error)
