"""Where a command's words go: text for people on a terminal, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from actstats.names import plain, printable

__all__ = ["Console", "Progress", "clean"]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
SEVERITY_STYLES = {"critical": "red", "warning": "yellow", "info": "dim", None: "green"}


class Progress(Protocol):
    """What long work calls to tell how far it is."""

    def __call__(self, done: int, total: int, part: str = "") -> None:
        """Tell how much is done of how much, and which part is next."""


class Console:
    """What a command prints with.

    Parameters
    ----------
    as_json : bool
        Whether standard output gets JSON and nothing else.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out: TextIO = sys.stdout
        self.err: TextIO = sys.stderr

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def is_terminal(self) -> bool:
        """Whether people look at standard output."""
        return self.out.isatty()

    @property
    def has_colour(self) -> bool:
        """Whether it shows colours, and may: https://no-color.org."""
        refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return self.is_terminal and not refused and (os.name != "nt" or "WT_SESSION" in os.environ)

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where lines may be of any length."""
        return shutil.get_terminal_size().columns if self.is_terminal else None

    def can_show(self, text: str) -> bool:
        """Tell whether the output's encoding has all of these characters."""
        try:
            text.encode(self.out.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    # ---- text ------------------------------------------------------------------------------------

    def print(self, *parts: str | tuple[str, str], names: Iterable[str] = ()) -> None:
        """Print parts of a text; whatever control characters it holds are written out, lines apart.

        Parameters
        ----------
        *parts : str or (str, style)
            Styles are seen where there are colours.
        names : iterable of str
            Names in the text that may hold line breaks, which are written out too.
        """
        if not self.as_json:
            shown = (self._styled(part, names) for part in parts)
            self._write(self.out, "".join(shown) + "\n")

    def _styled(self, part: str | tuple[str, str], names: Iterable[str]) -> str:
        text, style = (part, "") if isinstance(part, str) else part
        cleaned = clean(text, names)
        if not style or not self.has_colour:
            return cleaned
        return f"\x1b[{_STYLES[style]}m{cleaned}\x1b[0m"

    def wrapped(self, text: str, indent: str = "") -> str:
        """Return lines of the terminal's width, longer ones broken between words."""
        if self.width is None:
            return text
        lines = (self._wrapped_line(line, indent) for line in text.split("\n"))
        return "\n".join(lines)

    def _wrapped_line(self, line: str, indent: str) -> str:
        own = line[: len(line) - len(line.lstrip())]
        return textwrap.fill(
            line,
            self.width or 80,
            subsequent_indent=own + indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )

    def wrote(self, path: Path) -> None:
        """Tell that a file was written, and how large it is."""
        size = path.stat().st_size
        self.emit({"path": str(path), "bytes": size})
        self.print(f"wrote {path} ({_said(size)})")

    def raw(self, data: bytes) -> None:
        """Write bytes to standard output as they are."""
        self.out.flush()
        binary = getattr(self.out, "buffer", None)
        if binary is None:
            self.out.write(data.decode("utf-8"))
        else:
            binary.write(data)
            binary.flush()

    def note(self, text: str) -> None:
        """Tell people something beside the output."""
        self._write(self.err, clean(text) + "\n")

    def _write(self, stream: TextIO, text: str) -> None:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    # ---- JSON ------------------------------------------------------------------------------------

    def emit(self, value: Any, *, lines: bool = False) -> None:
        """Write a value as JSON, where that is asked for; ``lines`` puts it on one line."""
        if self.as_json:
            layout: dict[str, Any] = {} if lines else {"indent": 2}
            self.out.write(json.dumps(plain(value), allow_nan=False, **layout) + "\n")

    def fail(self, message: str, code: int) -> int:
        """Tell an error in whichever form is asked for, and return the exit code."""
        if self.as_json:
            self.emit({"error": message, "exit_code": code})
        else:
            self.note(f"actstats: {message}")
        return code

    # ---- long work -------------------------------------------------------------------------------

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """Show on standard error how far some work is; yields ``progress(done, total, part)``."""
        if not self.err.isatty():
            yield _silent
            return
        try:
            from rich import console, markup, progress
        except ImportError:
            self.note(f"{what} ...")
            yield _silent
            return
        columns = (*progress.Progress.get_default_columns(), progress.TimeElapsedColumn())
        on = console.Console(file=self.err)
        with progress.Progress(*columns, console=on, transient=True) as bar:
            task = bar.add_task(markup.escape(printable(what)), total=None)

            def tell(done: int, total: int, part: str = "") -> None:
                text = f"{what}: {part}" if part else what
                shown = markup.escape(printable(text))
                bar.update(task, completed=done, total=total, description=shown)

            yield tell


def _silent(done: int, total: int, part: str = "") -> None:
    """Tell nobody."""


def _said(size: float) -> str:
    """Return bytes in a unit that reads well."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def clean(text: str, names: Iterable[str] = ()) -> str:
    """Return text with control characters written out, lines kept but those in names."""
    for name in names:
        if (shown := printable(name)) != name and name.strip():
            text = text.replace(name, shown)
    return printable(text, keep="\n")
