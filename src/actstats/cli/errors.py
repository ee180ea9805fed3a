"""Exit codes, and how an error is told to someone who wants no traceback."""

from __future__ import annotations

import os
import traceback

__all__ = ["EXITS", "CommandError", "Told", "told"]

OK, WARNING, CRITICAL = 0, 1, 2
SEPARATED = 1
USE, DATA, NO_INPUT, UNAVAILABLE, INTERNAL, IO = 64, 65, 66, 69, 70, 74  # as in BSD's sysexits.h
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 and the signal's number, as shells have it

EXITS = {
    OK: "done; `diagnose`: nothing, or remarks only; `compare`: no difference",
    WARNING: "`diagnose`: a warning; `compare`: the runs separate",
    CRITICAL: "`diagnose`: something critical",
    USE: "wrong arguments: an unknown option, site, phase, figure ...",
    DATA: "the file is damaged, no recording, or holds nothing yet",
    NO_INPUT: "there is no such file",
    UNAVAILABLE: "a package that the command needs is not installed",
    INTERNAL: "a fault of actstats itself (ACTSTATS_DEBUG=1 shows where)",
    IO: "a file cannot be read or written",
    INTERRUPTED: "stopped by Ctrl-C",
    BROKEN_PIPE: "the reader of the output went away",
}
"""What each exit code means."""


class CommandError(Exception):
    """What ends a command, in words for its user."""

    def __init__(self, message: str, code: int = USE) -> None:
        super().__init__(message)
        self.code = code


Told = tuple[str, int]


def told(error: Exception) -> Told:
    """Return an error in words, and the exit code for it."""
    if os.environ.get("ACTSTATS_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, CommandError):
        return str(error), error.code
    if isinstance(error, OSError):
        return _told_of_file(error)
    if isinstance(error, ImportError):
        return str(error), UNAVAILABLE
    if isinstance(error, MemoryError):
        return "not enough memory; --site, --phase and --steps choose a part", INTERNAL
    from actstats.log import RecordingFileError

    if isinstance(error, RecordingFileError):
        return str(error), DATA
    if isinstance(error, KeyError | ValueError) and _is_told(error):
        return str(error.args[0]), USE
    kind = type(error).__name__
    return f"{kind}: {error} (a fault of actstats; ACTSTATS_DEBUG=1 shows where)", INTERNAL


def _is_told(error: KeyError | ValueError) -> bool:
    """Tell a sentence for the user from a key that a fault of our own was looking for."""
    return bool(error.args) and isinstance(error.args[0], str) and " " in error.args[0]


def _told_of_file(error: OSError) -> Told:
    what = error.strerror or str(error) or type(error).__name__
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
    return f"{where}{what}", NO_INPUT if isinstance(error, FileNotFoundError) else IO
