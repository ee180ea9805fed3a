"""Windows into a file, each batch in one transaction; errors go to the caller."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from actstats.log import wal
from actstats.log.codec import encode, layout_to_json
from actstats.log.errors import RecordingFileError
from actstats.log.filesystem import is_remote
from actstats.log.reader import Contents, connect, read
from actstats.log.schema import (
    APPLICATION,
    CREATE,
    NOTHING,
    VERSION,
    Head,
    Row,
    digest,
    facts_digest,
    scalars_to_json,
    to_json,
)
from actstats.recording import Recording, Window
from actstats.table import Columns, SiteTable

__all__ = ["Writer", "save"]

EMPTY = Head(0, NOTHING, facts_digest({}), 0)

CHECKPOINT = 4 * 2**20  # bytes of write-ahead log after which it is moved to the main file

Journal = Literal["wal", "truncate", "off"]


class Writer:
    """Appends windows to a recording's file.

    When :meth:`append` returns, its windows are in the operating system's hands: they survive the
    end of this process, however it comes. A crash of the machine may take the latest windows,
    never the file.

    Parameters
    ----------
    path : Path
        Made if absent; else a recording that is gone on with.
    journal : {"wal", "truncate", "off"}, optional
        SQLite's. None: ``"wal"``, which lets others read meanwhile, or ``"truncate"`` on a
        network file system, which has no shared memory. ``"off"`` for a file that nobody else
        sees yet.

    Attributes
    ----------
    contents : Contents
        What an existing file held.
    """

    def __init__(self, path: Path, *, journal: Journal | None = None) -> None:
        self.path = path
        self._known = _Known()
        self._unmoved = 0  # bytes that may be in the write-ahead log
        wal.check(path.with_name(path.name + "-wal"))
        self._db = connect(path, "rwc", timeout=0)
        try:
            self.contents = self._begin(journal or ("truncate" if is_remote(path) else "wal"))
        except BaseException:
            self._db.close()
            raise
        self._identity = _identity(path)

    def _begin(self, journal: Journal) -> Contents:
        """Read what is there, or make the tables; nothing is written into a file of others."""
        contents = Contents()
        is_new = not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not is_new:
            contents = read(self._db)
            self._known = _Known.of(contents)
        self._journal = self._set_journal(journal)
        if is_new:
            self._create()
        with self._transaction(self._known.opened()):
            pass  # from here on its side file lies beside it
        return contents

    def _create(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for text in CREATE:
            self._db.execute(text)
        self._db.execute(f"PRAGMA application_id = {APPLICATION}")
        self._db.execute(f"PRAGMA user_version = {VERSION}")
        head = self._known.head
        self._db.execute("INSERT INTO head VALUES (1, ?, ?, ?, ?, ?)", (*head, head.digest()))
        self._db.execute("COMMIT")

    def _set_journal(self, wanted: Journal) -> str:
        mode = self._db.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0].decode()
        if wanted == "wal" and mode != "wal":
            mode = self._db.execute("PRAGMA journal_mode = truncate").fetchone()[0].decode()
        safe = "FULL" if mode == "off" else "NORMAL"
        for pragma in (f"synchronous = {safe}", "wal_autocheckpoint = 0", "journal_size_limit = 0"):
            self._db.execute(f"PRAGMA {pragma}")
        return str(mode)

    # ---- writing ---------------------------------------------------------------------------------

    def append(
        self, windows: Sequence[Window], facts: Mapping[str, Any], *, closed: bool = False
    ) -> None:
        """Write windows and facts, all or none.

        Parameters
        ----------
        windows : sequence of Window
            In the order they closed.
        facts : mapping of str to Any
            What is to be known beside them, as JSON can hold it; those not given stay.
        closed : bool
            Whether these are the run's last.

        Raises
        ------
        sqlite3.Error, OSError
            If they cannot be written; then nothing was.
        RecordingFileError
            If somebody else has written to the file.
        """
        self._stay()
        change = _Change(self._known, facts)
        for window in windows:
            change.add(window)
        with self._transaction(change.known(closed=closed)) as db:
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", change.facts)
            db.executemany("INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", change.rows)
        self._move(sum(len(row[6]) for row in change.rows))

    @property
    def windows(self) -> int:
        """How many are in the file."""
        return self._known.head.windows

    @contextmanager
    def _transaction(self, known: _Known) -> Iterator[sqlite3.Connection]:
        """Write all or nothing, and the head; ``known`` holds from then on."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._write_head(known)
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._db.execute("ROLLBACK")
            if self._is_there(known.digest):  # interrupted right behind the end
                self._known = known
            raise
        self._known = known

    def _write_head(self, known: _Known) -> None:
        """Write the head over the one that this writer left there."""
        head = known.head
        changed = self._db.execute(
            "UPDATE head SET windows = ?, last_window = ?, facts = ?, closed = ?, digest = ? "
            "WHERE id = 1 AND digest = ?",
            (*head, known.digest, self._known.digest),
        )
        if changed.rowcount != 1:
            raise RecordingFileError("another recorder writes to the file.")

    def _is_there(self, digest: bytes) -> bool:
        with suppress(sqlite3.Error):
            found = self._db.execute("SELECT digest FROM head WHERE id = 1").fetchone()
            return found is not None and found[0] == digest
        return False

    def _move(self, written: int) -> None:
        """Move the write-ahead log to the main file now and then; a reader may put it off."""
        self._unmoved += written + 8192
        if self._journal == "wal" and self._unmoved > CHECKPOINT:
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._unmoved = CHECKPOINT // 2 if busy else 0

    def rewind(self, step: int) -> int:
        """Remove the windows that begin at a step or later; return how many there were.

        For a run that goes on from a checkpoint older than its last window.
        """
        found = self._db.execute(
            "SELECT min(number) FROM windows WHERE first_step >= ?", (step,)
        ).fetchone()
        if found[0] is None:
            return 0
        kept = int(found[0]) - 1
        rows = self._db.execute("SELECT digest FROM windows WHERE number = ?", (kept,)).fetchall()
        last = rows[0][0] if rows else NOTHING
        removed = self.windows - kept
        head = self._known.head._replace(windows=kept, last_window=last, closed=0)
        with self._transaction(replace(self._known, head=head)) as db:
            db.execute("DELETE FROM windows WHERE number > ?", (kept,))
        return removed

    def _stay(self) -> None:
        """Write the file anew where somebody has removed or replaced it: what it held is here."""
        if _identity(self.path) == self._identity:
            return
        if self.path.exists():
            raise RecordingFileError(f"{self.path}: another file has taken the file's place.")
        for end in ("-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        anew = connect(self.path, "rwc", timeout=0)
        try:
            self._db.backup(anew)
        except BaseException:
            anew.close()
            self.path.unlink(missing_ok=True)
            raise
        self._db.close()
        self._db = anew
        self._journal = self._set_journal("wal" if self._journal == "wal" else "truncate")
        self._identity = _identity(self.path)

    def close(self) -> None:
        """Leave one file that needs no other."""
        if self._journal == "wal":
            with suppress(sqlite3.OperationalError):  # somebody reads: the side file stays
                self._db.execute("PRAGMA busy_timeout = 1000")
                self._db.execute("PRAGMA journal_mode = delete")
        self._db.close()


@dataclass(frozen=True)
class _Known:
    """What a writer has to know of what is in the file; replaced once a change is in it."""

    head: Head = EMPTY
    facts: Mapping[str, bytes] = field(default_factory=dict)  # digests by name
    layouts: Mapping[str, int] = field(default_factory=dict)  # numbers by JSON
    columns: Mapping[Columns, int] = field(default_factory=dict)  # the same, without JSON

    @classmethod
    def of(cls, contents: Contents) -> _Known:
        """Return what is known of a file that was read."""
        prefix = "layout "
        layouts = {
            text: int(name.removeprefix(prefix))
            for name, text in contents.facts.items()
            if name.startswith(prefix)
        }
        return cls(contents.head, contents.digests, layouts)

    @cached_property
    def digest(self) -> bytes:
        """The digest of the head."""
        return self.head.digest()

    def opened(self) -> _Known:
        """Return the same of a file whose run goes on."""
        return replace(self, head=self.head._replace(closed=0))


class _Change:
    """Rows to write, and what is known once they are in the file."""

    def __init__(self, known: _Known, facts: Mapping[str, Any]) -> None:
        self.facts: list[tuple[str, str, bytes]] = []
        self.rows: list[tuple[Any, ...]] = []
        self._windows, self._last, self._facts_digest, _ = known.head
        self._digests, self._layouts = dict(known.facts), dict(known.layouts)
        self._columns = dict(known.columns)
        for name, value in facts.items():
            self._fact(name, to_json(value))

    def _fact(self, name: str, text: str) -> None:
        told = digest(name, text)
        if self._digests.get(name) != told:
            self._digests[name] = told
            self.facts.append((name, text, told))

    def add(self, window: Window) -> None:
        """Make a row of a window."""
        table = SiteTable.from_stats(window.stats)
        self._windows += 1
        row = Row(
            self._windows,
            window.first_step,
            window.last_step,
            to_json(window.phase)[1:-1],
            self._layout(table.columns),
            scalars_to_json(window.scalars),
            encode(table),
        )
        self._last = row.digest(self._last)
        self.rows.append((*row, self._last))

    def _layout(self, columns: Columns) -> int:
        if columns not in self._columns:
            text = to_json(layout_to_json(columns))
            number = self._layouts.setdefault(text, len(self._layouts))
            self._columns[columns] = number
            self._fact(f"layout {number}", text)
        return self._columns[columns]

    def known(self, *, closed: bool) -> _Known:
        """Return what is known once all this is in the file."""
        facts = facts_digest(self._digests) if self.facts else self._facts_digest
        head = Head(self._windows, self._last, facts, int(closed))
        return _Known(head, self._digests, self._layouts, self._columns)


# ---- a recording at once -------------------------------------------------------------------------


def save(recording: Recording, path: str | os.PathLike[str]) -> Path:
    """Write a recording to a file; an older one is replaced once the new one is whole.

    Raises
    ------
    OSError, sqlite3.Error
        If it cannot be written; then the older one is as it was.
    ValueError
        If a run writes to the file, or was killed while it did.
    """
    path = Path(path)
    if path.with_name(path.name + "-wal").exists():
        raise ValueError(f"a run writes to {path}, or was killed while it did; save elsewhere.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        writer = Writer(part, journal="off")
        try:
            writer.append(recording.windows, facts_of(recording), closed=True)
        finally:
            writer.close()
        os.replace(part, path)
    _sync(path.parent)
    return path


def facts_of(recording: Recording) -> dict[str, Any]:
    """Return what is known of a recording beside its windows."""
    return {
        "metadata": recording.metadata,
        "sites": [asdict(site) for site in recording.sites.values()],
        "notes": list(recording.notes),
        "never_called": recording.never_called,
    }


def _sync(folder: Path) -> None:
    """Have the folder's entries on the disk, where the system knows how."""
    with suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell a file from another one under the same name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
