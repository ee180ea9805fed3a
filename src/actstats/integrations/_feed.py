"""What loggers share: which windows are due, what of them is sent, and that no run fails by it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from actstats import arguments
from actstats.custom import known_figures
from actstats.diagnosis import diagnose
from actstats.names import printable
from actstats.recorder import ActivationRecorder
from actstats.recording import Window
from actstats.shared import logger
from actstats.sites import close_matches, matches
from actstats.stats import FIGURES, TensorStats

__all__ = ["Feed", "Packet"]

USUAL = ("rms", "std", "saturated_fraction", "dead_fraction", "signal_fraction")
JUDGED = 8  # windows of one diagnosis, and from one to the next
MOST_WAITING = 64  # windows before those of a phase become one, which they are sent as anyway


@dataclass(frozen=True)
class Packet:
    """What is sent at once.

    Parameters
    ----------
    step : int
        The last step that it tells of.
    phase : str
        Of the window; empty for findings.
    figures : mapping of str to float
        Numbers by tag: ``<prefix>/<figure>/<phase>/<site>``.
    histograms : mapping of str to TensorStats
        Of the sites that saw finite values, by site.
    findings : str
        What the diagnosis says, where it has changed; else empty.
    """

    step: int
    phase: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, TensorStats] = field(default_factory=dict)
    findings: str = ""


class Feed(ABC):
    """Send the closed windows of a recorder to a logger: each once, and when they are due.

    Each logger has a subclass, which says how a :class:`~actstats.integrations.Packet` is sent.
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
        self._figures = None if figures is None else _checked(figures)
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
        if recorder is not self._recorder:
            self._recorder = recorder
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
            self._keep(window)
        self._send_waiting()
        if self._judges and self._recent:
            self._judge()
        self.flush()

    def _send_waiting(self) -> None:
        """Send the windows that wait, those of one phase as one."""
        sums, self._waiting = self._sums(), []
        for window in sorted(sums, key=lambda window: window.last_step):
            self._sent, self._since = window.last_step, window.last_step + 1
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
        figures = dict(self._numbers(window, set(sites)))
        histograms = {}
        if self._histograms:
            seen = {site: window.stats[site] for site in sites}
            histograms = {site: stats for site, stats in seen.items() if stats.finite_count}
        return Packet(window.last_step, window.phase, figures, histograms)

    def _numbers(self, window: Window, wanted: set[str]) -> Iterator[tuple[str, float]]:
        sites, found = window.figures
        own = (name for name in found if name not in FIGURES)
        for figure in (*USUAL, *own) if self._figures is None else self._figures:
            values = found[figure].tolist() if figure in found else [math.nan] * len(sites)
            for site, value in zip(sites, values, strict=True):
                if site in wanted and not math.isnan(value):
                    yield self.tag(figure, window.phase, site), value

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


def _checked(figures: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of figures that there are."""
    names, every = (figures,) if isinstance(figures, str) else tuple(figures), known_figures()
    for name in names:
        if name not in (*FIGURES, *every):
            hint = close_matches(str(name), (*FIGURES, *every))
            more = f" or of your own statistics, {every}," if every else ""
            raise ValueError(f"`figures` must be some of {FIGURES}{more}; got {name!r}{hint}")
    return names
