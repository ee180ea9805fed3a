"""MLflow: figures as metrics, histograms and findings as artifacts."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

from actstats.integrations._bins import all_bins
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed
from actstats.integrations._packet import Packet
from actstats.stats import TensorStats

__all__ = ["MLflowFeed"]

MOST_METRICS = 1000  # that MLflow takes at once
MOST_CHARACTERS = 240  # of a name: MLflow takes 250, and some may be needed to tell two apart


class MLflowFeed(Feed):
    """Send closed windows to a run of MLflow.

    Figures are metrics; characters that MLflow refuses in names become ``_``, and names that are
    too long for it lose their middle. The histograms of each sending are one JSON artifact,
    ``actstats/histograms/<step>-<phase>.json``: by site ``counts`` and ``edges``, exact, with an
    empty bin in each gap. Findings are a text artifact, ``actstats/findings/<step>.txt``.

    Parameters
    ----------
    run_id : str, optional
        Where to; None: the run that is active, or one that MLflow starts.
    **options
        ``sites``, ``figures``, ``histograms``, ``findings``, ``every``, ``prefix``, ``strict``: as
        :class:`~actstats.integrations.Feed` has them.

    Raises
    ------
    ImportError
        If mlflow is not installed.
    """

    def __init__(self, run_id: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._mlflow = _mlflow()
        self._run_id = run_id
        self._names: dict[str, str] = {}  # of tags

    def send(self, packet: Packet) -> None:
        """Log a packet."""
        to: dict[str, Any] = {"run_id": self._run_id}
        metrics = [(self._name(tag), value) for tag, value in packet.figures.items()]
        for i in range(0, len(metrics), MOST_METRICS):
            part = dict(metrics[i : i + MOST_METRICS])
            self._mlflow.log_metrics(part, step=packet.step, **to)
        if packet.histograms:
            binned = {site: _binned(stats) for site, stats in packet.histograms.items()}
            path = f"{self.prefix}/histograms/{packet.step:08}-{_plain(packet.phase)}.json"
            self._mlflow.log_dict(binned, path, **to)
        if packet.findings:
            path = f"{self.prefix}/findings/{packet.step:08}.txt"
            self._mlflow.log_text(packet.findings, path, **to)

    def _name(self, tag: str) -> str:
        """Return a tag as MLflow takes it, unlike that of any other tag."""
        if tag not in self._names:
            taken = set(self._names.values())
            plain = _short(_plain(tag))
            names = (plain if i == 1 else f"{plain}_{i}" for i in count(1))
            self._names[tag] = next(name for name in names if name not in taken)
        return self._names[tag]


def _binned(stats: TensorStats) -> dict[str, list[float]]:
    counts, edges = all_bins(stats)
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def _plain(tag: str) -> str:
    return re.sub(r"[^\w./ -]", "_", tag)


def _short(name: str) -> str:
    """Return a name that is too long without its middle."""
    half = MOST_CHARACTERS // 2
    return name if len(name) <= MOST_CHARACTERS else f"{name[: half - 3]}...{name[-half:]}"


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise needs("mlflow") from error
    return mlflow
