"""From a file to a recording; nothing in it is trusted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actstats.log import wal
from actstats.log.errors import RecordingFileError
from actstats.log.packed import Decoder
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
    from_json,
)
from actstats.recording import Recording
from actstats.sites import KINDS, Site

__all__ = ["Contents", "load", "read"]

MOST_BYTES = 1 << 28  # of one row; SQLite refuses a longer one before it is read
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError)
"""What Python's SQLite raises for a damaged file; the second where it quotes damaged bytes."""

PAUSE = 0.02  # seconds between tries
TRIES = 5  # while another process writes


@dataclass
class Contents:
    """What a file holds, every byte of it checked against its digest.

    Parameters
    ----------
    rows : list of Row
        The windows, in the order they closed.
    facts : dict of str to str
        JSON, by name.
    digests : dict of str to bytes
        Of the facts.
    last : bytes
        Digest of the last window.
    last_step : int
        The latest in any window; -1 where there is none.
    head : Head
        What the file claims; ``closed`` is 1 where the run ended by closing it.
    lost : str
        What could not be read, where that was asked for; else empty.
    """

    rows: list[Row] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    last: bytes = NOTHING
    last_step: int = -1
    head: Head = field(default_factory=lambda: Head(0, NOTHING, b"", 0))
    lost: str = ""


def load(path: str | os.PathLike[str], *, salvage: bool = False) -> Recording:
    """Return the recording in a file, also while a run writes it.

    The windows are checked and kept as they are in the file, compressed, and decoded one by one
    when they are read. Loading 1,000 windows of 200 sites takes well under a second.

    Parameters
    ----------
    path : str or path
        What ``log=`` or :meth:`Recording.save` wrote. Beside the file of a run that goes on or
        was killed lies another, ``-wal``, which belongs to it: copy both.
    salvage : bool, default False
        Read what is whole in a file that is damaged or incomplete: the windows before the first
        that is not. ``recording.notes`` tells what was lost.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    RecordingFileError
        If it is no recording, is damaged, lacks its side file, or was written by a later version.

    Examples
    --------
    >>> import os, tempfile, torch, actstats
    >>> net = actstats.make_mlp(2, [8, 8], 1, activation="relu")
    >>> path = os.path.join(tempfile.mkdtemp(), "run.actstats")
    >>> with actstats.ActivationRecorder(net, log=path) as recorder:
    ...     for _ in range(3):
    ...         loss = net(torch.ones(64, 2)).square().mean()
    ...         recorder.step(loss=loss.item())
    >>> actstats.load(path)
    Recording(5 sites x 3 windows, steps 0-2, train)
    """
    path = Path(path).resolve()  # side files lie beside the file that a link leads to
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    if not path.is_file():
        raise RecordingFileError(f"{path} is no file.")
    for attempt in range(TRIES):
        before = _stamp(path)
        try:
            return _load(path, salvage)
        except RecordingFileError:
            if attempt and _stamp(path) == before:  # nobody is writing to it
                raise
            time.sleep(PAUSE)
    return _load(path, salvage)


def _load(path: Path, salvage: bool) -> Recording:
    try:
        with _opened(path, salvage=salvage) as db:
            return recording_of(path, read(db, salvage=salvage))
    except RecordingFileError as error:
        raise RecordingFileError(f"{path}: {error}") from error
    except DAMAGE as error:
        raise RecordingFileError(f"{path} is no recording, or is damaged: {error}.") from error


def _stamp(path: Path) -> list[tuple[int, int]]:
    found = (file.stat() for file in (path, *_sides(path)) if file.exists())
    return [(stat.st_size, stat.st_mtime_ns) for stat in found]


# ---- opening -------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, *, salvage: bool) -> Iterator[sqlite3.Connection]:
    """Open the file to read; where SQLite would have to write beside it and cannot, a copy."""
    sides = [side for side in _sides(path) if side.exists()]
    if not sides and _was_left_open(path) and not salvage:
        raise RecordingFileError(
            f"its side file {path.name}-wal, which has the latest windows, is not beside it: copy "
            "both, or `load(..., salvage=True)` to do without them."
        )
    if not salvage:
        wal.check(_sides(path)[0])
    with ExitStack() as stack:
        try:
            db = stack.enter_context(closing(connect(path, "ro")))
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            for file in (path, *sides):
                shutil.copy(file, folder / file.name)
            db = stack.enter_context(closing(connect(folder / path.name, "rw")))
        yield db


def _sides(path: Path) -> tuple[Path, ...]:
    """Return where SQLite keeps what is not in the main file yet."""
    return tuple(path.with_name(path.name + end) for end in ("-wal", "-journal"))


def _was_left_open(path: Path) -> bool:
    """Tell whether SQLite expects a write-ahead log beside the file."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\x02\x02"


def connect(path: Path, mode: str, timeout: float = 1.0) -> sqlite3.Connection:
    """Open a database that may be hostile: it can run nothing, and texts stay bytes."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    db.text_factory = bytes
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        db.execute(f"PRAGMA {pragma}")
    return db


# ---- reading -------------------------------------------------------------------------------------


def read(db: sqlite3.Connection, *, salvage: bool = False, keep: bool = True) -> Contents:
    """Return all that a file holds, every row checked.

    Parameters
    ----------
    db : Connection
        Of the file.
    salvage : bool
        Leave out what is damaged, and say so in ``lost``.
    keep : bool
        Whether to keep the windows; else they are only checked.

    Raises
    ------
    RecordingFileError
        If a row is not what was written, or is gone.
    sqlite3.DatabaseError
        If SQLite finds the file damaged.
    """
    _require_ours(db)
    contents = Contents()
    db.execute("BEGIN")  # one state of the file, however it goes on
    try:
        for part in (_read_head, _read_facts, _read_windows):
            try:
                part(db, contents, keep or salvage)
            except (RecordingFileError, *DAMAGE) as error:
                if not salvage:
                    raise
                contents.lost = contents.lost or str(error)
    finally:
        db.execute("ROLLBACK")
    return contents


def is_open(path: Path) -> bool:
    """Tell whether a run writes to a file, or was killed while it did."""
    if any(side.exists() for side in _sides(path)):
        return True
    if not path.exists():
        return False
    try:
        with closing(connect(path, "ro")) as db:
            _require_ours(db)
            return not _head(db).closed
    except (RecordingFileError, *DAMAGE):
        return False  # it is something else


def _require_ours(db: sqlite3.Connection) -> None:
    """Refuse a database that is none of ours, or has more in it than tables to read."""
    application, version = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        raise RecordingFileError("the file is no recording of actstats.")
    if version != VERSION:
        raise RecordingFileError(
            f"the file has version {version} of the format; this actstats reads {VERSION}. "
            "Install a later one."
        )
    found = {text for (text,) in db.execute("SELECT sql FROM sqlite_schema")}
    if found != {text.encode() for text in CREATE}:
        raise RecordingFileError("the file's tables are not those of a recording.")


def _head(db: sqlite3.Connection) -> Head:
    columns = ", ".join((*Head._fields, "digest"))
    rows = db.execute(f"SELECT {columns} FROM head").fetchmany(2)
    if len(rows) != 1:
        raise RecordingFileError("the file's head is damaged.")
    *values, told = rows[0]
    head = Head(*values)
    if told != head.digest():
        raise RecordingFileError("the file's head is damaged.")
    return head


def _read_head(db: sqlite3.Connection, contents: Contents, _: bool) -> None:
    contents.head = _head(db)


def _read_facts(db: sqlite3.Connection, contents: Contents, _: bool) -> None:
    damaged = ""
    for name, value, told in db.execute("SELECT name, value, digest FROM facts"):
        fact, text = _text(name), _text(value)
        if told == digest(fact, text):
            contents.facts[fact], contents.digests[fact] = text, told
        else:
            damaged = fact
    if damaged:
        raise RecordingFileError(f"the fact {damaged!r} is damaged.")
    if facts_digest(contents.digests) != contents.head.facts:
        raise RecordingFileError("facts are missing or damaged.")


def _read_windows(db: sqlite3.Connection, contents: Contents, keep: bool) -> None:
    number, head = 0, contents.head
    for row, told in _chain(db, 0, NOTHING):
        number = row.number
        contents.last = told
        contents.last_step = max(contents.last_step, row.last_step)
        if keep:
            contents.rows.append(row)
    if number != head.windows or contents.last != head.last_window:
        raise RecordingFileError(f"{head.windows} windows were written and {number} are there.")


def rows_after(db: sqlite3.Connection, number: int) -> list[Row]:
    """Return the windows behind the first so many, every one checked."""
    return [row for row, _ in _chain(db, number, digest_of(db, number))]


def digest_of(db: sqlite3.Connection, number: int) -> bytes:
    """Return the digest that is told of a window; that of nothing where there is none."""
    query = "SELECT digest FROM windows WHERE number = ?"
    found = db.execute(query, (number,)).fetchone()
    return NOTHING if found is None else found[0]


def _chain(db: sqlite3.Connection, number: int, before: bytes) -> Iterator[tuple[Row, bytes]]:
    """Yield the windows behind one with a number and a digest, and their digests, all checked."""
    columns = ", ".join((*Row._fields, "digest"))
    query = f"SELECT {columns} FROM windows WHERE number >= ? ORDER BY number"
    lowest = number + 1 if number else -(1 << 63)  # a row before the first is damage too
    for *values, told in db.execute(query, (lowest,)):
        row, number = _row(*values), number + 1
        if row.number != number or told != row.digest(before):
            raise RecordingFileError(f"window {number} is damaged or missing.")
        yield row, told
        before = told


def _row(
    number: Any, first: Any, last: Any, phase: Any, layout: Any, scalars: Any, numbers: Any
) -> Row:
    if not all(isinstance(value, int) for value in (number, first, last, layout)):
        raise RecordingFileError("a window's steps are damaged.")
    if not isinstance(numbers, bytes):
        raise RecordingFileError("a window's numbers are damaged.")
    return Row(number, first, last, _text(phase), layout, _text(scalars), numbers)


def _text(value: Any) -> str:
    if not isinstance(value, bytes) or len(value) > MOST_TEXT or not value.isascii():
        raise RecordingFileError("a text in the file is damaged.")
    return value.decode("ascii")


# ---- making a recording --------------------------------------------------------------------------


def recording_of(path: Path, contents: Contents) -> Recording:
    """Return the recording; its windows are decoded when they are read."""
    decoder = Decoder(contents.facts)
    notes = [str(note) for note in _fact(contents, "notes", list)]
    if contents.lost:
        notes.append(f"read in part from {path.name}: {contents.lost}")
    elif not contents.head.closed:
        notes.append(f"{path.name} was not closed: its run goes on, or ended in the middle")
    return Recording(
        (decoder.window(row) for row in contents.rows),
        {site.key: site for site in map(_site, _fact(contents, "sites", list))},
        notes,
        _fact(contents, "never_called", dict),
        _fact(contents, "metadata", dict),
    )


def _fact(contents: Contents, name: str, kind: type[Any]) -> Any:
    value = from_json(contents.facts[name]) if name in contents.facts else kind()
    if not isinstance(value, kind):
        raise RecordingFileError(f"the fact {name!r} is not what it should be.")
    return value


def _site(values: Any) -> Site:
    if not isinstance(values, dict):
        raise RecordingFileError(f"a site cannot be read: {values!r}.")
    given = {f.name: values[f.name] for f in fields(Site) if f.name in values}
    wrong = [name for name, value in given.items() if not isinstance(value, _SITE[name])]
    if wrong or "module" not in given or given.get("kind", "output") not in KINDS:
        raise RecordingFileError(f"a site cannot be read: {values!r}.")
    return Site(**given)


_SITE: dict[str, Any] = {
    **dict.fromkeys(("module", "kind", "leaf", "module_type", "dtype"), str),
    **dict.fromkeys(("activation", "source"), str | None),
    **dict.fromkeys(("order", "place"), int),
    "trainable": bool | None,
    "scaled": bool,
}
