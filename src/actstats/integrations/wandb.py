"""Weights & Biases, and Trackio, which has the same interface on a local database."""

from __future__ import annotations

from typing import Any

from actstats.integrations._bins import bins_at_most
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed
from actstats.integrations._packet import Packet
from actstats.recording import Window
from actstats.shared import logger

__all__ = ["TrackioFeed", "WandbFeed"]

MOST_BINS = 512  # of a histogram that W&B and Trackio take
MANY_IN_ONE = 16  # sendings in one row, when it is said


class WandbFeed(Feed):
    """Send closed windows to a run of Weights & Biases.

    They have a step axis of their own, ``actstats/step``, and go into the row of the run that is
    open, beside what you log yourself. W&B's rows only go forward, so no row is begun here: none of
    yours is ever refused, whatever its ``step=`` counts. Where you log less often than is sent, a
    row holds all windows since it began, merged, which is exact. A run of ``mode="shared"`` has no
    steps, and each sending is a row. Histograms have at most 512 bins, the finest that fit; their
    counts are exact.

    Parameters
    ----------
    run : wandb.Run, optional
        Where to; None: the run that is active when something is sent first.
    own_rows : bool, default False
        Whether to begin a row for each sending that finds none of yours: for a run that you log
        nothing else to, or log to without ``step=``. W&B then refuses rows by a ``step=`` that
        counts slower than the recorder's steps, such as epochs.
    **options
        ``sites``, ``figures``, ``histograms``, ``findings``, ``every``, ``prefix``, ``strict``: as
        :class:`~actstats.integrations.Feed` has them.

    Raises
    ------
    ImportError
        If wandb is not installed.
    """

    def __init__(self, run: Any = None, *, own_rows: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._wandb = _wandb()
        self._given = run
        self._own_rows = own_rows
        self._defined: Any = None  # the run that knows our axis
        self._row: tuple[Any, int] | None = None  # of the run, that was sent to
        self._held: dict[str, Window] = {}  # what it holds, by phase
        self._sendings = 0  # in that row
        self._told = False

    def open(self, step: int) -> None:
        """Begin with another recorder, whose windows are not merged with those of the last."""
        self._held = {}

    def _send_window(self, window: Window) -> None:
        """Send a window, and with it what the row holds of its phase, in whose place it goes."""
        run = self._active()
        if _is_shared(run):
            super()._send_window(window)
            return
        row = run.id, run.step  # which W&B's process is asked for
        if self._own_rows and self._row == row and self._is_later(window):
            run.log({}, commit=True)
            row = run.id, run.step
        if self._row != row:
            self._row, self._held, self._sendings = row, {}, 0
        held = self._held.get(window.phase)
        if held is not None and held.last_step <= window.first_step:
            window = Window.sum([held, window])
        self._held[window.phase] = window
        super()._send_window(window)
        self._sendings += 1
        if self._sendings == MANY_IN_ONE and not self._told:
            self._told = True
            logger.warning(
                "W&B has one row for what was sent %d times, as the last of yours is so long ago: "
                "it keeps their sum. Log to the run more often, or begin rows by "
                "WandbFeed(own_rows=True).",
                self._sendings,
            )

    def _is_later(self, window: Window) -> bool:
        return all(held.last_step != window.last_step for held in self._held.values())

    def send(self, packet: Packet) -> None:
        """Log a packet into the open row, or as a row where rows are of several processes."""
        run = self._active()
        step = f"{self.prefix}/step"
        if run is not self._defined:
            run.define_metric(f"{self.prefix}/*", step_metric=step)
            self._defined = run
        values = {step: packet.step, **_values(self, packet, self._wandb.Histogram)}
        run.log(values, commit=_is_shared(run))

    def _active(self) -> Any:
        run = self._given if self._given is not None else self._wandb.run
        if run is None:
            raise RuntimeError("no run is active: call wandb.init() before the first step.")
        return run


class TrackioFeed(Feed):
    """Send closed windows to a run of Trackio.

    Steps are the recorder's. Histograms have at most 512 bins, the finest that fit; their counts
    are exact.

    Parameters
    ----------
    run : trackio.Run, optional
        Where to; None: the run that is active when something is sent.
    **options
        ``sites``, ``figures``, ``histograms``, ``findings``, ``every``, ``prefix``, ``strict``: as
        :class:`~actstats.integrations.Feed` has them.

    Raises
    ------
    ImportError
        If trackio is not installed.
    """

    def __init__(self, run: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self._trackio = _trackio()
        self._run = run

    def send(self, packet: Packet) -> None:
        """Log a packet."""
        target = self._trackio if self._run is None else self._run
        values = _values(self, packet, self._trackio.Histogram)
        target.log(values, step=packet.step)


def _values(feed: Feed, packet: Packet, histogram: Any) -> dict[str, Any]:
    values: dict[str, Any] = dict(packet.figures)
    for site, stats in packet.histograms.items():
        tag = feed.tag("histogram", packet.phase, site)
        values[tag] = histogram(np_histogram=bins_at_most(stats, MOST_BINS))
    if packet.findings:
        values[f"{feed.prefix}/findings"] = packet.findings
    return values


def _is_shared(run: Any) -> bool:
    """Tell whether several processes write the run: it has no step, and refuses no row."""
    return bool(run.settings.mode == "shared")


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise needs("wandb") from error
    return wandb


def _trackio() -> Any:
    try:
        import trackio
    except ImportError as error:
        raise needs("trackio") from error
    return trackio
