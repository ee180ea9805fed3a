"""Windows into a file, each batch in one transaction; errors go to the caller."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from actstats.log import wal
from actstats.log.codec import MOST_WORDS, encode, layout_to_json
from actstats.log.errors import RecordingFileError
from actstats.log.filesystem import is_remote
from actstats.log.reader import (
    MOST_BYTES,
    Contents,
    connect,
    digest_of,
    is_open,
    read,
    rows_after,
)
from actstats.log.schema import (
    APPLICATION,
    CREATE,
    MOST_TEXT,
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

__all__ = ["Known", "Writer", "facts_of", "save"]

EMPTY = Head(0, NOTHING, facts_digest({}), 0)

PATIENCE = 1.0  # seconds to wait for another process when a file is opened
CHECKPOINT = 4 * 2**20  # bytes of write-ahead log after which it is moved to the main file

Journal = Literal["wal", "truncate", "off"]


class Writer:
    """Appends windows to a recording's file, as the only one: SQLite's write lock is held.

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
    known : Known, optional
        What an earlier writer left there: if the file is still the same it is not read again.

    Attributes
    ----------
    known : Known
        What is in the file.
    facts, last_step
        Of the file, where it was read: JSON by name, and the latest step in a window.
    own : int
        Number of windows that were there before.

    Raises
    ------
    RecordingFileError
        If the file is no recording, is damaged, or another process writes to it.
    """

    def __init__(
        self, path: Path, *, journal: Journal | None = None, known: Known | None = None
    ) -> None:
        self.path = path
        self.known = Known()
        self.facts: dict[str, str] = {}
        self.last_step = -1
        self._unmoved = 0  # bytes that may be in the write-ahead log
        wal.check(path.with_name(path.name + "-wal"))
        self._db = connect(path, "rwc", timeout=PATIENCE)
        try:
            self._begin(journal or ("truncate" if is_remote(path) else "wal"), known)
        except BaseException:
            self._db.close()
            raise
        self.own = self.windows
        self._identity = self._seen()

    def _begin(self, journal: Journal, known: Known | None) -> None:
        """Read what is there, or make the tables; nothing is written into a file of others."""
        is_new = not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not is_new:
            self._learn(known)
        self._journal = self._set_journal(journal)
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise RecordingFileError("another process writes to it.") from error
        if is_new:
            self._create()
        with self._transaction(self.known.opened()):
            pass  # from here on its side file lies beside it
        self._db.execute("PRAGMA busy_timeout = 0")  # a run does not wait

    def _learn(self, known: Known | None) -> None:
        if known is not None and self._is_there(known.digest):
            self.known = known
            return
        contents = read(self._db, keep=False)
        self.known, self.facts = Known.of(contents), contents.facts
        self.last_step = contents.last_step

    def _create(self) -> None:
        for text in CREATE:
            self._db.execute(text)
        self._db.execute(f"PRAGMA application_id = {APPLICATION}")
        self._db.execute(f"PRAGMA user_version = {VERSION}")
        values = (*self.known.head, self.known.digest)
        self._db.execute("INSERT INTO head VALUES (1, ?, ?, ?, ?, ?)", values)

    def _set_journal(self, wanted: str) -> str:
        mode = self._db.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0].decode()
        if wanted == "wal" and mode != "wal":
            mode = self._db.execute("PRAGMA journal_mode = truncate").fetchone()[0].decode()
        safe = "FULL" if mode == "off" else "NORMAL"
        for pragma in (f"synchronous = {safe}", "wal_autocheckpoint = 0", "journal_size_limit = 0"):
            self._db.execute(f"PRAGMA {pragma}")
        return str(mode)

    # ---- writing ---------------------------------------------------------------------------------

    def append(
        self,
        windows: Sequence[Window],
        facts: Mapping[str, Any],
        *,
        closed: bool = False,
        instead: int | None = None,
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
        instead : int, optional
            Windows that begin at this step or later are removed before.

        Raises
        ------
        sqlite3.Error, OSError
            If they cannot be written; then nothing was.
        RecordingFileError
            If somebody else has written to the file.
        """
        self._stay()
        before = self.known if instead is None else self._without(instead)
        change = _Change(before, facts)
        for window in windows:
            change.add(window)
        with self._transaction(change.known(closed=closed)) as db:
            if before is not self.known:
                db.execute("DELETE FROM windows WHERE number > ?", (before.head.windows,))
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", change.facts)
            db.executemany("INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", change.rows)
        self._move(sum(len(row[6]) for row in change.rows))

    @property
    def windows(self) -> int:
        """How many are in the file."""
        return self.known.head.windows

    def knows(self, window: Window) -> bool:
        """Tell whether windows with the same sites are in the file."""
        return isinstance(window.stats, SiteTable) and window.stats.columns in self.known.columns

    @contextmanager
    def _transaction(self, known: Known) -> Iterator[sqlite3.Connection]:
        """Write all or nothing, and the head; ``known`` holds from then on.

        The next transaction begins at once, since it is what keeps other writers out.
        """
        try:
            if not self._db.in_transaction:  # another one failed
                self._db.execute("BEGIN IMMEDIATE")
            self._write_head(known)
            yield self._db
            self._db.execute("COMMIT")
            self.known = known
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._db.execute("ROLLBACK")
            if self._is_there(known.digest):  # interrupted right behind the end
                self.known = known
            raise
        finally:
            with suppress(sqlite3.Error):  # then the next write says what is wrong
                self._db.execute("BEGIN IMMEDIATE")

    def _write_head(self, known: Known) -> None:
        """Write the head over the one that this writer left there."""
        changed = self._db.execute(
            "UPDATE head SET windows = ?, last_window = ?, facts = ?, closed = ?, digest = ? "
            "WHERE id = 1 AND digest = ?",
            (*known.head, known.digest, self.known.digest),
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
            self._db.execute("ROLLBACK")  # of nothing
            try:
                busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._unmoved = CHECKPOINT // 2 if busy else 0
            finally:
                with suppress(sqlite3.Error):
                    self._db.execute("BEGIN IMMEDIATE")

    def _without(self, step: int) -> Known:
        """Return what is in the file but for windows that begin at a step or later."""
        query = "SELECT min(number) FROM windows WHERE first_step >= ?"
        (first,) = self._db.execute(query, (step,)).fetchone()
        if first is None:
            return self.known
        kept = first - 1
        last = digest_of(self._db, kept)
        return replace(self.known, head=self.known.head._replace(windows=kept, last_window=last))

    def steps(self) -> list[tuple[int, int]]:
        """Return the first and last step of every window."""
        return self._db.execute("SELECT first_step, last_step FROM windows").fetchall()

    def layouts(self) -> dict[str, str]:
        """Return what windows are decoded with, by the name of the fact."""
        return {f"layout {number}": text for text, number in self.known.layouts.items()}

    def rows(self, after: int) -> list[Row]:
        """Return the windows behind the first so many, every one checked."""
        return rows_after(self._db, after)

    # ---- where the file is -----------------------------------------------------------------------

    def _seen(self) -> tuple[object, ...]:
        """Tell the files from others under the same names."""
        side = self.path.with_name(self.path.name + "-wal")
        return _identity(self.path), self._journal != "wal" or side.exists()

    def _stay(self) -> None:
        """Make the file anew where somebody has removed it: all it held is still to be had."""
        if self._seen() == self._identity:
            return
        if _identity(self.path) not in (None, self._identity[0]):
            raise RecordingFileError("another file has taken the file's place.")
        part = self.path.with_name(f".{self.path.name[:100]}.part")
        part.unlink(missing_ok=True)
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        with closing(connect(part, "rwc")) as copy:
            self._db.backup(copy)
        for end in ("-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        os.replace(part, self.path)
        old, self._db = self._db, connect(self.path, "rw", timeout=0)
        old.close()
        self._journal = self._set_journal(self._journal)
        self._db.execute("BEGIN IMMEDIATE")
        with self._transaction(self.known):
            pass
        self._identity = self._seen()

    def close(self) -> None:
        """Leave one file that needs no other."""
        with suppress(sqlite3.Error):  # somebody reads: the side file stays
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if self._journal == "wal":
                self._db.execute("PRAGMA busy_timeout = 1000")
                self._db.execute("PRAGMA journal_mode = delete")
        self._db.close()


@dataclass(frozen=True)
class Known:
    """What a writer has to know of what is in the file; replaced once a change is in it."""

    head: Head = EMPTY
    facts: Mapping[str, bytes] = field(default_factory=dict)  # digests by name
    layouts: Mapping[str, int] = field(default_factory=dict)  # numbers by JSON
    columns: Mapping[Columns, int] = field(default_factory=dict)  # the same, without JSON

    @classmethod
    def of(cls, contents: Contents) -> Known:
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

    def opened(self) -> Known:
        """Return the same of a file whose run goes on."""
        return replace(self, head=self.head._replace(closed=0))


class _Change:
    """Rows to write, and what is known once they are in the file."""

    def __init__(self, known: Known, facts: Mapping[str, Any]) -> None:
        self.facts: list[tuple[str, str, bytes]] = []
        self.rows: list[tuple[Any, ...]] = []
        self._windows, self._last, self._facts_digest, _ = known.head
        self._digests, self._layouts = dict(known.facts), dict(known.layouts)
        self._columns = dict(known.columns)
        for name, value in facts.items():
            self._fact(name, to_json(value))

    def _fact(self, name: str, text: str) -> None:
        if len(text) > MOST_TEXT:
            raise RecordingFileError(f"{name} is longer than {MOST_TEXT} characters.")
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
        if len(row.numbers) > MOST_BYTES // 2 or len(table.dense) > MOST_WORDS:
            raise RecordingFileError(f"{window!r} is too large for a file.")
        self._last = row.digest(self._last)
        self.rows.append((*row, self._last))

    def _layout(self, columns: Columns) -> int:
        if columns not in self._columns:
            text = to_json(layout_to_json(columns))
            number = self._layouts.setdefault(text, len(self._layouts))
            self._columns[columns] = number
            self._fact(f"layout {number}", text)
        return self._columns[columns]

    def known(self, *, closed: bool) -> Known:
        """Return what is known once all this is in the file."""
        facts = facts_digest(self._digests) if self.facts else self._facts_digest
        head = Head(self._windows, self._last, facts, int(closed))
        return Known(head, self._digests, self._layouts, self._columns)


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
    path = Path(path).resolve()
    if (path.exists() and not path.is_file()) or not path.parent.is_dir():
        raise ValueError(f"`path` must be a file in a folder that exists; got {str(path)!r}.")
    if is_open(path):
        raise ValueError(f"a run writes to {path}, or was killed while it did; save elsewhere.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".actstats-") as folder:
        part = Path(folder) / "part"
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
