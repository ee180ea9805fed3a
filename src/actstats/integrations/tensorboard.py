"""TensorBoard: figures, histograms bin for bin, findings."""

from __future__ import annotations

import os
from typing import Any

from actstats.integrations._bins import all_bins
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed, Packet
from actstats.stats import TensorStats

__all__ = ["TensorBoardFeed"]


class TensorBoardFeed(Feed):
    """Send closed windows to TensorBoard.

    Histograms arrive as they were counted: the same whole numbers between the same edges, zeros in
    a bucket without width.

    Parameters
    ----------
    writer : SummaryWriter, str or path
        A writer, torch's or one of the same methods, which stays open; or the folder of a new one,
        which closes with the feed.
    **options
        ``sites``, ``figures``, ``histograms``, ``findings``, ``every``, ``prefix``, ``strict``: as
        :class:`~actstats.integrations.Feed` has them.

    Raises
    ------
    ImportError
        If a folder is given and tensorboard is not installed.

    Examples
    --------
    >>> import tempfile, torch, actstats
    >>> from actstats.integrations.tensorboard import TensorBoardFeed
    >>> net = actstats.make_mlp(2, [8], 1, activation="relu")
    >>> recorder = actstats.ActivationRecorder(net)
    >>> with recorder, TensorBoardFeed(tempfile.mkdtemp()).attach(recorder):
    ...     for _ in range(3):
    ...         _ = net(torch.ones(4, 2))
    ...         recorder.step()
    """

    def __init__(self, writer: Any, **options: Any) -> None:
        super().__init__(**options)
        self._folder = os.fspath(writer) if isinstance(writer, str | os.PathLike) else None
        self._make = _summary_writer() if self._folder is not None else None
        self._writer: Any = None if self._folder is not None else writer

    def send(self, packet: Packet) -> None:
        """Write a packet as events."""
        if self._writer is None and self._make is not None:
            self._writer = self._make(self._folder)
        for tag, value in packet.figures.items():
            self._writer.add_scalar(tag, value, packet.step)
        for site, stats in packet.histograms.items():
            tag = self.tag("histogram", packet.phase, site)
            self._writer.add_histogram_raw(tag, **_raw(stats), global_step=packet.step)
        if packet.findings:
            code = "\n".join(f"    {line}" for line in packet.findings.splitlines())  # Markdown
            self._writer.add_text(f"{self.prefix}/findings", code, packet.step)

    def flush(self) -> None:
        """Write what is held back; close a writer of the feed's own."""
        if self._writer is not None:
            self._writer.flush()
        if self._make is not None and self._writer is not None:
            self._writer.close()
            self._writer = None


def _raw(stats: TensorStats) -> dict[str, Any]:
    """Return what ``SummaryWriter.add_histogram_raw`` wants to know of a site."""
    counts, edges = all_bins(stats)
    n = stats.finite_count
    return {
        "min": stats.min,
        "max": stats.max,
        "num": n,
        "sum": stats.mean * n,
        "sum_squares": stats.rms**2 * n,
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise needs("tensorboard") from error
    return SummaryWriter
