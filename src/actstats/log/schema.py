"""What a recording's file holds: three tables, and a digest over every row.

``windows`` has one row for each window, numbered from 1; a row's digest is over the digest of the
row before it and all its own columns, so that none can change, move or go without being noticed.
``facts`` has what is known beside the numbers, as JSON: the run's metadata, the sites, layouts.
``head`` has one row, written with every window: how many there are, and the digests of both.
Names are data, in JSON; nothing in a file is code, a path or a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from actstats.log.errors import RecordingFileError
from actstats.recording import Scalar

__all__ = [
    "APPLICATION",
    "CREATE",
    "MOST_TEXT",
    "VERSION",
    "Head",
    "Row",
    "digest",
    "facts_digest",
    "from_json",
    "to_json",
]

VERSION = 1
"""Of the schema, in SQLite's ``user_version``."""

APPLICATION = 0x61637473
"""``acts``, in SQLite's ``application_id``."""

MOST_TEXT = 1 << 26
"""Bytes of one JSON text; more is refused before it is read."""

MOST_DEPTH = 64
"""Of nested lists and mappings that are written."""

CREATE = (
    """CREATE TABLE windows (number INTEGER PRIMARY KEY, first_step INTEGER NOT NULL,
last_step INTEGER NOT NULL, phase TEXT NOT NULL, layout INTEGER NOT NULL, scalars TEXT NOT NULL,
numbers BLOB NOT NULL, digest BLOB NOT NULL)""",
    """CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL)
WITHOUT ROWID""",
    """CREATE TABLE head (id INTEGER PRIMARY KEY, windows INTEGER NOT NULL,
last_window BLOB NOT NULL, facts BLOB NOT NULL, closed INTEGER NOT NULL, digest BLOB NOT NULL)""",
)

NOTHING = bytes(16)
"""The digest before the first window's."""


class Row(NamedTuple):
    """A window as it is written; ``phase`` and ``scalars`` are JSON."""

    number: int
    first_step: int
    last_step: int
    phase: str
    layout: int
    scalars: str
    numbers: bytes

    def digest(self, before: bytes) -> bytes:
        """Return the digest of this row after one with the digest ``before``."""
        return digest(before, *self)


class Head(NamedTuple):
    """What the file claims to hold."""

    windows: int
    last_window: bytes
    facts: bytes
    closed: int

    def digest(self) -> bytes:
        """Return the digest of this row."""
        return digest(*self)


def digest(*parts: bytes | str | int) -> bytes:
    """Return 16 bytes that tell these parts, in this order, from any others."""
    data = [part if isinstance(part, bytes) else str(part).encode("ascii") for part in parts]
    sizes = ",".join([str(len(part)) for part in data])
    return blake2b(b"".join((sizes.encode(), b":", *data)), digest_size=16).digest()


def facts_digest(digests: Mapping[str, bytes]) -> bytes:
    """Return the digest of all facts, of those of each by its name."""
    return digest(*(part for name in sorted(digests) for part in (name, digests[name])))


# ---- JSON ----------------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """Return JSON in ASCII.

    Numbers of NumPy and torch become Python's; what JSON has no word for becomes its text, and
    what is nested too deeply ``"..."``.
    """
    return json.dumps(_plain(value, MOST_DEPTH), separators=(",", ":"), allow_nan=False)


def _plain(value: Any, depth: int) -> Any:
    if not depth:
        return "..."
    if isinstance(value, Mapping):
        return {_text(key): _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth - 1) for one in value]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "nan", "inf", "-inf"
    return value if value is None or isinstance(value, str | int | float) else _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # it is the user's code
        return f"a {type(value).__name__} that has no text"


def from_json(text: str) -> Any:
    """Return what JSON says.

    Raises
    ------
    RecordingFileError
        If it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordingFileError(f"a text in the file is no JSON: {error}") from error


def scalars_to_json(scalars: Mapping[str, Scalar]) -> str:
    """Return the scalars of a window by name, each as count, total, min, max and last."""
    return to_json({name: [s.count, s.total, s.min, s.max, s.last] for name, s in scalars.items()})


def scalars_from_json(text: str) -> dict[str, Scalar]:
    """Rebuild what :func:`scalars_to_json` was given."""
    try:
        return {
            name: Scalar(int(count), *(float(value) for value in values))
            for name, (count, *values) in from_json(text).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise RecordingFileError(f"scalars of a window cannot be read: {error}") from error
