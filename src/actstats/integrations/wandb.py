"""Weights & Biases, and Trackio, which has the same interface on a local database."""

from __future__ import annotations

from typing import Any

from actstats.integrations._bins import bins_at_most
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed, Packet

__all__ = ["TrackioFeed", "WandbFeed"]

MOST_BINS = 512  # of a histogram that W&B and Trackio take


class WandbFeed(Feed):
    """Send closed windows to a run of Weights & Biases.

    They have a step axis of their own, ``actstats/step``. What is sent goes into the row of the run
    that is open, beside what you log yourself; only the next step's begins a row, if you began none
    since. So no row that a loop of the same steps logs by ``step=`` is refused. Histograms have at
    most 512 bins, the finest that fit; their counts are exact.

    Parameters
    ----------
    run : wandb.Run, optional
        Where to; None: the run that is active when something is sent first.
    **options
        ``sites``, ``figures``, ``histograms``, ``findings``, ``every``, ``prefix``, ``strict``: as
        :class:`~actstats.integrations.Feed` has them.

    Raises
    ------
    ImportError
        If wandb is not installed.
    """

    def __init__(self, run: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self._wandb = _wandb()
        self._given = run
        self._defined: Any = None  # the run that knows our axis
        self._row = (-1, -1)  # of the run, and the recorder's step in it

    def send(self, packet: Packet) -> None:
        """Log a packet."""
        run = self._active()
        step = f"{self.prefix}/step"
        if run is not self._defined:
            run.define_metric(f"{self.prefix}/*", step_metric=step)
            self._defined, self._row = run, (-1, -1)
        row, sent = self._row
        if run.step == row and packet.step != sent:
            run.log({}, commit=True)
        values = {step: packet.step, **_values(self, packet, self._wandb.Histogram)}
        run.log(values, commit=False)  # W&B drops what is logged by a step that is committed
        self._row = (run.step, packet.step)

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
