"""The file of a run that goes on: whatever happens to the file, the run does not notice."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actstats.log.errors import RecordingFileError
from actstats.log.packed import Decoder
from actstats.log.reader import DAMAGE
from actstats.log.schema import from_json
from actstats.log.writer import Known, Writer
from actstats.recording import Window, merged_pairs
from actstats.shared import logger, nowhere

__all__ = ["Log"]

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a write is tried again
TOGETHER = 64  # windows of one transaction
AT_ONCE = 4  # transactions of one step

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
        If the file exists and is no recording, is damaged, or another process writes to it.

    Attributes
    ----------
    pending : list of Window
        What has closed and is not in the file yet.
    trouble : str
        Why it is not; empty while all is well.
    next_step : int
        The first step that is in no window.
    owner : weak reference to a function
        It writes all that the run still has; called when another recorder takes the file over.
    """

    def __init__(self, path: str | os.PathLike[str], budget: int = 64 * 2**20) -> None:
        self.path = _checked(path)
        self.budget = budget
        self.pending: list[Window] = []
        self.trouble = ""
        self.next_step = 0
        self.owner: Callable[[], Callable[[], None] | None] = nowhere
        self._writer: Writer | None = None
        self._known: Known | None = None  # what is in the file, while it is closed
        self._earlier: dict[str, Any] = {}  # facts of the runs before
        self._instead: int | None = None  # step from which on windows are of a run that ended
        self._own = 0  # windows in the file that are not this run's
        self._wait, self._again = FIRST_WAIT, 0.0
        self._told = 0  # windows when facts were last written
        self._gone = False  # to another process, or another recorder of this one
        self._lock = threading.RLock()
        for other in tuple(_ALIVE):
            if other.path == self.path:
                other.hand_over()
        self._open_first()
        _ALIVE.add(self)

    def _open_first(self) -> None:
        """Open the file at once, so that what is wrong with the path is said where it is given."""
        existed = self.path.exists()
        try:
            self._open()
        except (RecordingFileError, *DAMAGE, OSError) as error:
            code = getattr(error, "sqlite_errorname", "")
            if existed or code == "SQLITE_CANTOPEN":
                what = "is no recording" if code == "SQLITE_NOTADB" else "cannot be written"
                raise RecordingFileError(f"{self.path} {what}: {error}") from error
            self._failed(error)
            return
        if existed and self.next_step:
            logger.warning(
                "%s: this run goes on in it, after step %d; remove the file to begin anew.",
                self.path,
                self.next_step - 1,
            )

    def _open(self) -> Writer:
        if self._writer is None:
            writer = Writer(self.path, known=self._known)
            if self._known is None:
                self._own = writer.own
                self._earlier = {name: from_json(text) for name, text in writer.facts.items()}
                self.next_step = max(self.next_step, writer.last_step + 1)
            self._writer, self._known = writer, writer.known
        return self._writer

    @property
    def windows(self) -> int:
        """How many are in the file or wait for it."""
        known = self._known if self._writer is None else self._writer.known
        return (0 if known is None else known.head.windows) + len(self.pending)

    # ---- writing ---------------------------------------------------------------------------------

    def append(self, windows: list[Window], facts: Facts) -> None:
        """Take windows that have closed, and write them after those that wait.

        Whatever happens to the file, nothing is raised.

        Parameters
        ----------
        windows : list of Window
            In the order they closed; emptied, once they are safe here.
        facts : callable
            Returns what is known beside them. It is asked for with windows of sites that are new
            to the file, and each time the number of windows has doubled.
        """
        with self._lock:
            held = set(map(id, self.pending))  # an interrupt may have come between these lines
            self.pending += [window for window in windows if id(window) not in held]
            windows.clear()
            last = max((window.last_step for window in self.pending), default=-1)
            self.next_step = max(self.next_step, last + 1)
            if not self._gone and time.monotonic() >= self._again:
                self._write(facts, most=AT_ONCE)
            if self.trouble or self._gone:
                self._thin()

    def _write(self, facts: Facts, *, most: int | None = None, closed: bool = False) -> None:
        """Write what waits, some windows at a time."""
        try:
            for _ in range(most or len(self.pending) + 1):
                self._write_some(facts, closed=closed)
                if not self.pending:
                    break
        except Exception as error:  # a file is never worth a run
            self._failed(error)
            return
        if self.trouble and not self.pending:
            logger.warning("%s is written again; nothing was lost.", self.path)
        self.trouble, self._wait, self._again = "", FIRST_WAIT, 0.0

    def _write_some(self, facts: Facts, *, closed: bool) -> None:
        writer = self._open()
        some = self.pending[:TOGETHER]
        closed = closed and len(some) == len(self.pending)
        due = closed or self.windows >= 2 * self._told or not all(map(writer.knows, some))
        known = self._merged(facts()) if due else {}
        before, instead = writer.windows, self._instead if some else None
        if instead is not None:
            self._say_what_goes(writer, instead)
        try:
            writer.append(some, known, closed=closed, instead=instead)
        finally:  # an interrupt may come when they are in the file already
            self._known = writer.known
            if writer.windows != before or not some:
                self._own = min(self._own, writer.windows - len(some))
                self._instead = None if some else self._instead
                del self.pending[: len(some)]
                self._told = max(self._told, writer.windows) if due else self._told

    def _merged(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return facts with what earlier runs in the same file told."""
        merged, earlier = dict(facts), self._earlier
        if "metadata" in merged and earlier.get("metadata"):
            before = dict(earlier["metadata"])
            runs = [*before.pop("earlier", []), before]
            merged["metadata"] = {**merged["metadata"], "earlier": runs}
        sites = {_key(site): site for site in earlier.get("sites", [])}
        sites |= {_key(site): site for site in merged.get("sites", [])}
        merged["sites"] = list(sites.values())
        called = {site["module"] for site in sites.values()}
        silent = merged.get("never_called", {})
        merged["never_called"] = {k: why for k, why in silent.items() if k not in called}
        return merged

    def _say_what_goes(self, writer: Writer, step: int) -> None:
        steps = writer.steps()
        removed = [first for first, _ in steps if first >= step]
        if removed:
            logger.warning(
                "%s: %d windows from step %d on are of a run that ended, and are removed.",
                self.path,
                len(removed),
                step,
            )
        for first, last in steps:
            if first < step <= last:
                text = "%s: the window of steps %d to %d stays: from step %d on it is of both runs."
                logger.warning(text, self.path, first, last, step)

    def _failed(self, error: Exception) -> None:
        """Keep what there is, say so once, and try again later."""
        if not self.trouble:
            logger.warning(
                "%s cannot be written (%s); the run goes on, its windows stay in memory, and the "
                "write is tried again.",
                self.path,
                error,
            )
        self.trouble = str(error) or type(error).__name__
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
        """Have the next window replace those that begin at a step or later.

        For a run that goes on from before them: nothing is removed until then.
        """
        with self._lock:
            self.pending = [window for window in self.pending if window.first_step < step]
            if step < self.next_step:
                self._instead = step if self._instead is None else min(step, self._instead)

    def close(self, facts: Facts) -> None:
        """Write what waits and leave one file that needs no other; :meth:`append` opens it again.

        What cannot be written stays in :attr:`pending`, and is said.
        """
        with self._lock:
            if not self._gone and (self._writer is not None or self.pending):
                own = self.pending or self._told or not self.windows  # else what was told stays
                self._write(facts if own else dict, closed=True)
                if self._writer is not None and not self.trouble:
                    self._writer.close()
                    self._writer = None
            if self.pending:
                why = "another recorder took it over" if self._gone else self.trouble
                text = "%s: %d windows are not in it: %s."
                logger.warning(text, self.path, len(self.pending), why)

    def hand_over(self) -> None:
        """Write all there is and leave the file to another recorder of this process."""
        if self._gone:
            return
        finish = self.owner()
        if finish is not None:
            finish()
        with self._lock:
            self._gone = True
            self.trouble = "another recorder of this process writes to it"
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    # ---- reading ---------------------------------------------------------------------------------

    def own_windows(self) -> list[Window]:
        """Return the windows of this run, from the file and those that wait."""
        with self._lock:
            if self._gone:
                raise RecordingFileError(self.trouble)
            writer = self._open()
            decoder = Decoder(writer.layouts())
            start = min(self._own, writer.windows)
            return [*(decoder.window(row) for row in writer.rows(start)), *self.pending]

    def abandon(self) -> None:
        """Leave the file to the process that this one was forked from."""
        if self._writer is not None:
            _INHERITED.append(self._writer)  # closing it here would touch the parent's file
        self._gone, self._writer, self.pending = True, None, []
        self._lock = threading.RLock()  # the parent's may be held

    def __repr__(self) -> str:
        state = f"; {len(self.pending)} waiting: {self.trouble}" if self.trouble else ""
        return f"Log({str(self.path)!r}, {self.windows} windows{state})"


def _key(site: Mapping[str, Any]) -> tuple[Any, ...]:
    return site["module"], site["kind"], site["leaf"]


def merged_neighbours(windows: Sequence[Window]) -> list[Window]:
    """Return the windows with each two neighbours of a phase merged, in the order they begin."""
    phases = dict.fromkeys(window.phase for window in windows)
    merged = []
    for phase in phases:
        merged += merged_pairs([window for window in windows if window.phase == phase])
    return sorted(merged, key=lambda window: (window.first_step, window.last_step))


def _checked(path: str | os.PathLike[str]) -> Path:
    """Return the path as it will be, wherever the process goes."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"`log` must be the path of a file; got {path!r}.")
    whole = Path(path).resolve()
    if whole.is_dir():
        raise ValueError(f"`log` must be the path of a file; {str(path)!r} is a folder.")
    if whole.exists() and not whole.is_file():
        raise ValueError(f"`log` must be the path of a file; {str(path)!r} is something else.")
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
