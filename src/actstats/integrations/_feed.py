"""What loggers share: which windows are due, what of them is sent, and that no run fails by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from actstats import arguments
from actstats.diagnosis import diagnose
from actstats.integrations._packet import Packet, checked_figures, numbers
from actstats.names import printable
from actstats.recorder import ActivationRecorder
from actstats.recording import Window
from actstats.shared import logger
from actstats.sites import matches

__all__ = ["Feed"]

JUDGED = 8  # windows of one diagnosis, and from one to the next
MOST_WAITING = 64  # windows before those of a phase become one, which they are sent as anyway


class Feed(ABC):
    """Send the closed windows of a recorder to a logger: each once, and when they are due.

    Each logger has a subclass, which says how a :class:`~actstats.integrations.Packet` is sent.
    What a step saw is sent once, also by a feed that is detached and attached again: what is open
    then was sent at the end, so a new window begins, by
    :meth:`~actstats.ActivationRecorder.close_window`.
    Nothing is computed here that the recording does not know. An error of the logger's is logged
    once and never stops the run; what could not be sent is left out.

    Parameters
    ----------
    sites : str or sequence of str, optional
        Patterns of sites to send; None: all.
    figures : str or sequence of str, optional
        Figures to send of each site: some of ``actstats.stats.FIGURES``, or of statistics of your
        own (:doc:`/statistics`). None: rms, std, saturated_fraction, dead_fraction,
        signal_fraction and all of your own. Where one does not apply, nothing is sent.
    histograms : bool, default True
        Whether to send the histogram of each site.
    findings : bool, default True
        Whether to diagnose the last 8 windows, each time 8 have closed and at the end, and to send
        what is found as text when rules, sites or severities change.
    every : int, default 1
        Steps from one sending to the next. The windows in between are merged, which is exact, so
        nothing is left out. 1: each window as it closes.
    prefix : str, default "actstats"
        What all tags begin with.
    strict : bool, default False
        Raise errors of the logger's out of ``recorder.step()``.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    def __init__(
        self,
        *,
        sites: str | Sequence[str] | None = None,
        figures: str | Sequence[str] | None = None,
        histograms: bool = True,
        findings: bool = True,
        every: int = 1,
        prefix: str = "actstats",
        strict: bool = False,
    ) -> None:
        self._sites = arguments.patterns("sites", sites)
        self._figures = None if figures is None else checked_figures(figures)
        self._histograms = histograms
        self._judges = findings
        self._every = arguments.positive("every", every)
        self.prefix = prefix
        self._strict = strict
        self._recorder: ActivationRecorder | None = None
        self._stop: Callable[[], None] | None = None
        self._complained = False

    @abstractmethod
    def send(self, packet: Packet) -> None:
        """Hand a packet to the logger."""

    def open(self, step: int) -> None:  # noqa: B027, most loggers need none
        """Prepare for a recorder's packets, before the first; they tell of this step and later.

        What a logger holds of these steps already is of a run that broke, which this goes on from.
        """

    def flush(self) -> None:  # noqa: B027, most loggers need none
        """Let the logger write what it holds back; at the end."""

    # ---- life cycle ------------------------------------------------------------------------------

    def attach(self, recorder: ActivationRecorder) -> Self:
        """Send the windows that close in this recorder from now on. Return the feed.

        Raises
        ------
        ValueError
            If it is no recorder.
        """
        if not isinstance(recorder, ActivationRecorder):
            raise ValueError(
                f"`recorder` must be an ActivationRecorder; got {type(recorder).__name__}."
            )
        if self._stop is not None:
            self.detach()
        if recorder is self._recorder:
            self._part_with_what_was_sent(recorder)
        else:
            self._recorder = recorder
            self._opened = False  # the logger, for it
            self._parted: int | None = None  # first step of an open window that was sent
            self._sent = -1  # the last step that was sent
            self._since: int | None = None  # the first one that was not
            self._waiting: list[Window] = []
            self._recent: deque[Window] = deque(maxlen=JUDGED)
            self._closed = 0
            self._known: frozenset[tuple[str, str | None, str]] = frozenset()
        self._stop = recorder.on_window(self._guarded)
        return self

    def detach(self) -> None:
        """Send what waits and what the open window holds, and stop. May be called twice."""
        if self._stop is None:
            return
        self._stop()
        self._stop = None
        self._try(self._finish)

    def _part_with_what_was_sent(self, recorder: ActivationRecorder) -> None:
        """Let a new window begin, if the open one was sent when it was detached."""
        first, self._parted = self._parted, None
        if first is not None and any(w.first_step == first for w in recorder.open_windows):
            recorder.close_window()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    # ---- windows ---------------------------------------------------------------------------------

    def _guarded(self, window: Window) -> None:
        self._try(lambda: self._receive(window))

    def _try(self, work: Callable[[], None]) -> None:
        """Do something that may fail in the logger."""
        try:
            work()
        except Exception as error:
            if self._strict:
                raise
            if not self._complained:
                self._complained = True
                text = "%s cannot send, and the run goes on without: %s"
                logger.warning(text, type(self).__name__, error, exc_info=error)

    def _receive(self, window: Window) -> None:
        """Take in a window that has closed, and send what is due."""
        self._keep(window)
        self._closed += 1
        together = window.last_step == self._sent  # with one that was sent, of another phase
        went_back = self._since is not None and window.last_step < self._since and not together
        since = window.first_step if self._since is None or went_back else self._since
        self._since = since
        if together or window.last_step - since + 1 >= self._every:
            self._send_waiting()
        if self._judges and self._closed >= JUDGED and not together:
            self._judge()

    def _keep(self, window: Window) -> None:
        self._waiting.append(window)
        self._recent.append(window)
        if len(self._waiting) > MOST_WAITING:
            self._waiting = self._sums()

    def _finish(self) -> None:
        assert self._recorder is not None
        for window in self._recorder.open_windows:
            self._parted = window.first_step
            self._keep(window)
        self._send_waiting()
        if self._judges and self._recent:
            self._judge()
        self.flush()

    def _send_waiting(self) -> None:
        """Send the windows that wait, those of one phase as one."""
        sums, self._waiting = self._sums(), []
        if sums and not self._opened:
            self.open(min(window.first_step for window in sums))
            self._opened = True
        for window in sorted(sums, key=lambda window: window.last_step):
            self._sent, self._since = window.last_step, window.last_step + 1
            self._send_window(window)

    def _send_window(self, window: Window) -> None:
        self.send(self.packet(window))

    def _sums(self) -> list[Window]:
        """Return what waits, the windows of each phase as one."""
        phases: dict[str, list[Window]] = {}
        for window in self._waiting:
            phases.setdefault(window.phase, []).append(window)
        return [Window.sum(windows) for windows in phases.values()]

    def packet(self, window: Window) -> Packet:
        """Return what is sent of a window."""
        sites = [site for site in window if self._wants(site)]
        figures = dict(numbers(window, set(sites), self._figures, self.tag))
        histograms = {}
        if self._histograms:
            seen = {site: window.stats[site] for site in sites}
            histograms = {site: stats for site, stats in seen.items() if stats.finite_count}
        return Packet(window.last_step, window.phase, figures, histograms)

    def _wants(self, site: str) -> bool:
        return not self._sites or any(matches(pattern, site) for pattern in self._sites)

    def tag(self, what: str, phase: str, site: str) -> str:
        """Return the name of a figure, or of the ``"histogram"``, of a site."""
        return f"{self.prefix}/{what}/{phase}/{site}"

    # ---- findings --------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Diagnose the last windows, and send what is said if it has changed."""
        assert self._recorder is not None
        self._closed = 0
        diagnosis = diagnose(self._recorder.recording_of(self._recent))
        found = frozenset((f.rule, f.site, f.severity) for f in diagnosis)
        if found != self._known:
            self._known = found
            step = max(window.last_step for window in self._recent)
            self.send(Packet(step, findings=printable(str(diagnosis), keep="\n")))
