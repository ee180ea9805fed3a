"""From a file to a recording."""

from __future__ import annotations

import os

from actstats.recording import Recording

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> Recording:
    """Return the recording in a file."""
    raise NotImplementedError
