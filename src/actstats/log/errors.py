"""What is raised for a file that cannot be trusted."""

from __future__ import annotations

__all__ = ["RecordingFileError"]


class RecordingFileError(ValueError):
    """A file that is no recording, is damaged, or comes from a later version."""
