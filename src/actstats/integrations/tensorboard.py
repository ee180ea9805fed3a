"""TensorBoard: figures, histograms bin for bin, findings."""

from __future__ import annotations

import os
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from actstats.integrations._bins import all_bins
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed
from actstats.integrations._packet import Packet
from actstats.stats import TensorStats

__all__ = ["TensorBoardFeed"]

SUFFIX = ".actstats"  # of the files of our own writers


class TensorBoardFeed(Feed):
    """Send closed windows to TensorBoard.

    Histograms arrive as they were counted: the same whole numbers between the same edges, zeros in
    a bucket without width.

    Parameters
    ----------
    writer : SummaryWriter, str or path
        A writer, torch's or one of the same methods, which stays open; or the folder of a new one,
        which closes with the feed. In a folder that holds feeds' files alone, a run that resumes
        hides what a broken one wrote of the same steps (``purge_step``). A writer of your own has
        to be made so, ``SummaryWriter(folder, purge_step=recorder.open_step)``, or both runs'
        points are drawn.
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
        self._folder = os.path.abspath(writer) if isinstance(writer, str | os.PathLike) else None
        self._make = None
        if self._folder is not None:
            self._make = partial(_summary_writer(), self._folder, filename_suffix=SUFFIX)
        self._writer: Any = None if self._folder is not None else writer

    def open(self, step: int) -> None:
        """Make the writer of a folder; of a run that resumes one that hides what is written anew.

        It hides all that the folder's other files hold of these steps, so they have to be ours.
        """
        if self._make is not None and self._writer is None:
            hides = self._goes_on(step) and _only_ours(Path(str(self._folder)))
            self._writer = self._make(purge_step=step if hides else None)
            _OPENED.add(self)

    def _goes_on(self, step: int) -> bool:
        """Tell whether what the folder holds from this step on is of a run that broke."""
        assert self._recorder is not None
        if any(feed._shares(self) for feed in _OPENED):
            return False
        return step > 1 or any(w.first_step < step for w in self._recorder.recording.windows)

    def _shares(self, other: TensorBoardFeed) -> bool:
        """Tell whether what this one wrote is of the same run as what another will write."""
        of_one_run = self._writer is not None or self._recorder is other._recorder
        return self is not other and self._folder == other._folder and of_one_run

    def send(self, packet: Packet) -> None:
        """Write a packet as events."""
        if self._writer is None and self._make is not None:  # closed since
            self._writer = self._make()
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


_OPENED: weakref.WeakSet[TensorBoardFeed] = weakref.WeakSet()
"""Feeds that made a writer of their own."""


def _only_ours(folder: Path) -> bool:
    """Tell whether there are event files, and feeds wrote them all."""
    files = [path.name for path in folder.glob("*tfevents*")]
    return bool(files) and all(name.endswith(SUFFIX) for name in files)


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
