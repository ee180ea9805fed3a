"""Recordings on disk: one SQLite file that survives anything."""

from __future__ import annotations

from actstats.log.errors import RecordingFileError
from actstats.log.reader import load

__all__ = ["RecordingFileError", "load"]
