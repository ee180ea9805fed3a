"""The file of a run that goes on: whatever happens to the file, the run does not notice."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actstats.log.errors import RecordingFileError
from actstats.log.reader import DAMAGE, load
from actstats.log.writer import Writer
from actstats.recording import Recording, Window

__all__ = ["Log"]

logger = logging.getLogger("actstats")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a write is tried again
_ERRORS = (sqlite3.Error, OSError, RecordingFileError)

Facts = Callable[[], Mapping[str, Any]]


class Log:
    """Writes the windows of a run to a file, and keeps those that cannot be written.

    Parameters
    ----------
    path : str or path
        Made if absent. An existing recording is gone on with.
    budget : int
        Bytes of windows to keep while the file cannot be written; beyond it neighbours merge.

    Raises
    ------
    ValueError
        If there can never be such a file: no such folder, a folder of that name.
    RecordingFileError
        If the file exists and is no recording, or is damaged.

    Attributes
    ----------
    pending : list of Window
        What has closed and is not in the file yet.
    trouble : str
        Why it is not; empty while all is well.
    """

    def __init__(self, path: str | os.PathLike[str], budget: int = 64 * 2**20) -> None:
        self.path = _checked(path)
        self.budget = budget
        self.pending: list[Window] = []
        self.trouble = ""
        self.next_step = 0  # after the last one in the file
        self._writer: Writer | None = None
        self._wait, self._again = FIRST_WAIT, 0.0
        self._told = 0  # windows in the file when facts were last written
        self._forked = False
        _ALIVE.add(self)
        self._open_now()

    def _open_now(self) -> None:
        """Open the file at once, so that what is wrong with the path is said where it is given."""
        try:
            self._open()
        except (sqlite3.OperationalError, OSError) as error:
            self._failed(error)
        except DAMAGE as error:
            raise RecordingFileError(f"{self.path} is no recording: {error}.") from error

    def _open(self) -> Writer:
        if self._writer is None:
            self._writer = Writer(self.path)
            rows = self._writer.contents.rows
            self.next_step = max((row.last_step + 1 for row in rows), default=self.next_step)
            self._writer.contents.rows = []  # they are in the file
        return self._writer

    @property
    def windows(self) -> int:
        """How many are in the file or wait for it."""
        return (0 if self._writer is None else self._writer.windows) + len(self.pending)

    # ---- writing ---------------------------------------------------------------------------------

    def append(self, windows: Sequence[Window], facts: Facts) -> None:
        """Write windows that have closed, after those that wait; never raises for the file's sake.

        Parameters
        ----------
        windows : sequence of Window
            In the order they closed.
        facts : callable
            Returns what is known beside them. It is asked for with the first window, and each
            time their number has doubled.
        """
        if self._forked:
            return
        self.pending += windows
        self.next_step = max(self.next_step, *(window.last_step + 1 for window in windows))
        if time.monotonic() >= self._again:
            due = self.windows >= 2 * self._told
            self._write(facts() if due else {})
        if self.trouble:
            self._thin()

    def _write(self, facts: Mapping[str, Any], *, closed: bool = False) -> None:
        try:
            writer = self._open()
            before = writer.windows
            try:
                writer.append(self.pending, facts, closed=closed)
            finally:  # an interrupt may come when they are in the file already
                del self.pending[: writer.windows - before]
        except _ERRORS as error:
            self._failed(error)
            return
        self._told = writer.windows if facts else self._told
        if self.trouble:
            logger.warning("%s is written again; nothing was lost.", self.path)
        self.trouble, self._wait, self._again = "", FIRST_WAIT, 0.0

    def _failed(self, error: Exception) -> None:
        """Keep what there is, say so once, and try again later."""
        if not self.trouble:
            logger.warning(
                "%s cannot be written (%s); the run goes on, its windows stay in memory, and the "
                "write is tried again.",
                self.path,
                error,
            )
        self.trouble = str(error)
        self._again = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _thin(self) -> None:
        """Merge neighbours of each phase while what waits is more than the budget."""
        while sum(w.nbytes for w in self.pending) > self.budget:
            merged = merged_neighbours(self.pending)
            if len(merged) == len(self.pending):
                return
            self.pending = merged

    def rewind(self, step: int) -> None:
        """Remove windows that begin at a step or later: the run goes on from before them."""
        try:
            removed = self._open().rewind(step)
        except _ERRORS as error:
            self._failed(error)
            return
        if removed:
            logger.warning(
                "%s: %d windows from step %d on are of a run that ended, and were removed.",
                self.path,
                removed,
                step,
            )

    def close(self, facts: Facts) -> None:
        """Write what waits and leave one file that needs no other; :meth:`append` opens it again.

        What cannot be written stays in :attr:`pending`, and is said.
        """
        if self._forked or (self._writer is None and not self.pending):
            return
        new = self._told or self.pending  # else what an earlier run told stays
        self._write(facts() if new else {}, closed=True)
        if self._writer is not None and not self.trouble:
            self._writer.close()
            self._writer = None

    # ---- reading ---------------------------------------------------------------------------------

    def recording(self) -> Recording:
        """Return what is in the file and what waits."""
        found = load(self.path) if self.path.exists() else Recording()
        return Recording((*found.windows, *self.pending), found.sites)

    def abandon(self) -> None:
        """Leave the file to the process that this one was forked from."""
        if self._writer is not None:
            _INHERITED.append(self._writer)  # closing it here would touch the parent's file
        self._forked, self._writer = True, None

    def __repr__(self) -> str:
        state = f"; {len(self.pending)} waiting: {self.trouble}" if self.trouble else ""
        return f"Log({str(self.path)!r}, {self.windows} windows{state})"


def merged_neighbours(windows: Sequence[Window]) -> list[Window]:
    """Return the windows with each two neighbours of a phase merged, in the order they begin."""
    phases = dict.fromkeys(window.phase for window in windows)
    merged = []
    for phase in phases:
        held = [window for window in windows if window.phase == phase]
        pairs = zip(held[::2], [*held[1::2], None], strict=False)
        merged += [a if b is None else a.merge(b) for a, b in pairs]
    return sorted(merged, key=lambda window: (window.first_step, window.last_step))


def _checked(path: str | os.PathLike[str]) -> Path:
    """Return the path as it will be, wherever the process goes."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"`log` must be the path of a file; got {path!r}.")
    whole = Path(path).absolute()
    if whole.is_dir():
        raise ValueError(f"`log` must be the path of a file; {str(path)!r} is a folder.")
    if not whole.parent.is_dir():
        raise ValueError(f"`log` must lie in a folder that exists; {str(whole.parent)!r} does not.")
    return whole


_ALIVE: weakref.WeakSet[Log] = weakref.WeakSet()
_INHERITED: list[Writer] = []


def _after_fork() -> None:
    for log in _ALIVE:
        log.abandon()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
