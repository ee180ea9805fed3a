"""Arguments that several commands take, and the recording that they choose."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from actstats.cli.errors import DATA, IO, NO_INPUT, CommandError

if TYPE_CHECKING:
    from actstats.recording import Recording

__all__ = [
    "Parser",
    "add_choice",
    "add_file",
    "add_json",
    "add_output",
    "add_salvage",
    "chosen",
    "names_in",
    "one_of",
    "opened",
    "writable",
]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are told like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the arguments, and where to read on."""
        raise CommandError(f"{message} (see `{self.prog} --help`)")


def add_file(parser: argparse.ArgumentParser, name: str = "file") -> None:
    """Add the file of a recording."""
    parser.add_argument(name, metavar=name.upper(), type=Path, help="a recording (.actstats)")


def add_output(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--output``."""
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help=text)


def add_salvage(parser: argparse.ArgumentParser) -> None:
    """Add ``--salvage``."""
    text = "read what is whole in a damaged file"
    parser.add_argument("--salvage", action="store_true", help=text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    text = "write JSON to standard output and nothing else, errors too"
    parser.add_argument("--json", action="store_true", help=text)


def add_choice(
    parser: argparse.ArgumentParser, *, site: bool = True, phase: bool = True, steps: bool = True
) -> None:
    """Add what chooses a part of a recording."""
    if site:
        text = "sites by a pattern such as 'act*' or 'fc3:grad'; may be given again"
        parser.add_argument("--site", action="append", metavar="PATTERN", help=text)
    if phase:
        parser.add_argument("--phase", help="train, eval or a name of your own")
    if steps:
        text = "windows that overlap these steps, both included; also A:, :B or A"
        parser.add_argument("--steps", type=steps_of, metavar="A:B", help=text)


def steps_of(text: str) -> slice:
    """Read ``A:B`` (both included), ``A:``, ``:B`` or ``A``."""
    found = re.fullmatch(r"(\d*)(:?)(\d*)", text.strip())
    if not found or not (found[1] or found[3]):
        raise argparse.ArgumentTypeError(f"wants A:B, A:, :B or A, whole numbers; got {text!r}")
    first = int(found[1]) if found[1] else None
    last = (int(found[3]) if found[3] else None) if found[2] else first
    return slice(first, None if last is None else last + 1)


def one_of(name: str, value: str, known: Iterable[str]) -> str:
    """Return a value that is known, or raise with those that are close."""
    names = list(known)
    if value in names:
        return value
    close = get_close_matches(value, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names)}."
    raise CommandError(f"no {name} {value!r}; {hint}")


def opened(path: Path, *, salvage: bool = False) -> Recording:
    """Return the recording in a file, or raise where there is none, or nothing in it yet."""
    recording = opened_early(path, salvage=salvage)
    if not recording.windows:  # nothing must not look like health
        raise CommandError(f"{path} holds no window yet.", DATA)
    return recording


def opened_early(path: Path, *, salvage: bool = False) -> Recording:
    """Return the recording in a file, also one that holds nothing yet."""
    if not path.exists():
        raise CommandError(f"no file {str(path)!r}{_others(path)}", NO_INPUT)
    from actstats.log import load

    return load(path, salvage=salvage)


def writable(path: Path, *sources: Path) -> Path:
    """Return a path that can be written, or raise: before any work, and never over a recording."""
    if not path.absolute().parent.is_dir():
        raise CommandError(f"no folder {str(path.parent)!r} to write {path.name!r} to", IO)
    if path.is_dir():
        raise CommandError(f"{str(path)!r} is a folder; --output wants a file", IO)
    if any(path.exists() and path.samefile(source) for source in sources if source.exists()):
        raise CommandError(f"--output {str(path)!r} is the recording itself")
    return path


def _others(path: Path) -> str:
    """Name recordings in the same folder, the most alike first."""
    try:
        names = sorted(other.name for other in path.parent.glob("*.actstats"))
    except OSError:
        names = []
    close = get_close_matches(path.name, names, n=3, cutoff=0.3) or names[:3]
    if not close:
        return "."
    return f"; did you mean {' or '.join(repr(str(path.parent / name)) for name in close)}?"


def chosen(
    recording: Recording,
    site: Sequence[str] | None = None,
    phase: str | None = None,
    steps: slice | None = None,
) -> Recording:
    """Return the part that was asked for, or raise where it is empty."""
    for pattern in site or ():
        recording.select(pattern)  # raises for one that matches nothing, though others may
    part = recording.select(site, phase, steps) if site or phase or steps else recording
    if steps is not None and not part.windows:
        raise CommandError(f"no window holds a step of '{_said(steps)}'; this is {recording!r}.")
    return part


def names_in(*recordings: Recording) -> list[str]:
    """Return all names of sites and modules, the longest first: short ones may be part of them."""
    names = {name for recording in recordings for name in (*recording, *recording.never_called)}
    names |= {site.module for recording in recordings for site in recording.sites.values()}
    return sorted(names, key=len, reverse=True)


def _said(steps: slice) -> str:
    first = "" if steps.start is None else steps.start
    last = "" if steps.stop is None else steps.stop - 1
    return f"{first}:{last}"
