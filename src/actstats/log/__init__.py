"""Recordings on disk: one SQLite file that survives anything.

A run writes each window when it closes; readers may look meanwhile. Every row has a digest, so
that a file says the truth or raises :class:`RecordingFileError`.
"""

from __future__ import annotations

from actstats.log.errors import RecordingFileError
from actstats.log.reader import load
from actstats.log.writer import save

__all__ = ["RecordingFileError", "load", "save"]
