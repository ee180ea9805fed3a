"""``actstats watch``: a run while it writes its file."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from actstats.cli.arguments import add_choice, add_file, one_of, opened_early
from actstats.cli.console import Console
from actstats.cli.errors import OK
from actstats.cli.view import View, view_of
from actstats.names import printable

if TYPE_CHECKING:
    from actstats.recording import Recording

HELP = "show a run live while it writes its file"
EXAMPLES = """\
examples:
  actstats watch run.actstats
  actstats watch run.actstats --site 'act*' --figure gate_openness
  actstats watch run.actstats --interval 10 > progress.txt
  actstats watch run.actstats --json | jq -c '[.step, .severity]'
  actstats watch run.actstats --once      as it stands, and no longer

The table is shown with rich (python -m pip install rich); without it, or where
the output is no terminal, a line is printed at each change. It ends when the
run closes its file, or by Ctrl-C; the run itself is not touched.
"""

BUSY = 4  # it rests so many times as long as reading took: a run that shares the machine goes first

Show: TypeAlias = Callable[[View], None]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file(parser)
    add_choice(parser, steps=False)
    text = "the figure whose value and trend are shown (default: rms)"
    parser.add_argument("--figure", default="rms", metavar="NAME", help=text)
    text = "seconds between two looks at the file (default: 1)"
    parser.add_argument("--interval", type=_seconds, default=1.0, metavar="S", help=text)
    parser.add_argument("--once", action="store_true", help="show the run as it stands, and end")
    parser.add_argument("--wait", action="store_true", help="wait for the file if it is not there")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.01 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"wants seconds from 0.01 to 86400; got {text!r}")
    return value


def run(args: argparse.Namespace, console: Console) -> int:
    """Show the run until it ends or the user has seen enough."""
    looks = follow(args.file, args.interval, once=args.once, wait=args.wait)
    with _shown(args, console) as show:
        try:
            for recording, closed in looks:
                one_of("figure", args.figure, recording.figure_names)
                show(view_of(recording, args.figure, args.site, args.phase, closed=closed))
        except KeyboardInterrupt:  # the usual way to end it, and no error
            pass
    return OK


def follow(
    path: Path,
    interval: float = 1.0,
    *,
    once: bool = False,
    wait: bool = False,
    read: Callable[[Path], Recording] = opened_early,
    stamp: Callable[[Path], object] | None = None,
    is_closed: Callable[[Path, Recording], bool] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[Recording, bool]]:
    """Yield the recording at first, and again whenever its file has changed, until it is closed.

    Parameters
    ----------
    path : Path
        The file that a run writes.
    interval : float
        Least seconds between two looks.
    once : bool
        Yield one recording only.
    wait : bool
        Wait for a file that is not there yet.
    read, stamp, is_closed, sleep, clock
        How the file is read, what tells that it changed, whether the run has ended; how to wait,
        and the time.

    Yields
    ------
    recording : Recording
    closed : bool
        Whether the run has closed the file.
    """
    stamp, is_closed = stamp or stamp_of, is_closed or has_ended
    while wait and not path.exists():
        sleep(interval)
    seen: object = None
    while True:
        started, now = clock(), stamp(path)
        if now != seen:
            seen, recording = now, read(path)
            closed = is_closed(path, recording)
            yield recording, closed
            if once or closed:
                return
        sleep(max(interval, BUSY * (clock() - started)))


def stamp_of(path: Path) -> tuple[tuple[int, int], ...]:
    """Return what changes when a window is written: sizes and times of the file and its log."""
    found = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            state = file.stat()
        except FileNotFoundError:
            continue
        found.append((state.st_size, state.st_mtime_ns))
    return tuple(found)


def has_ended(path: Path, recording: Recording) -> bool:
    """Tell whether the run has closed the file: until then the recording says that it has not."""
    return not any("was not closed" in note for note in recording.notes)


# ---- showing -------------------------------------------------------------------------------------


def _shown(args: argparse.Namespace, console: Console) -> AbstractContextManager[Show]:
    """Return how to show a view: as JSON, as a live table, or as a line."""
    if args.json:
        return nullcontext(lambda view: _flushed(console, view))
    if console.is_terminal and not args.once:
        try:
            from actstats.cli.live import screen
        except ImportError:
            console.note("rich shows a live table: python -m pip install rich")
        else:
            return screen(console, args.file.name)
    return nullcontext(lambda view: _line(console, view))


def _flushed(console: Console, view: View) -> None:
    console.emit(view.to_dict(), lines=True)
    console.out.flush()


def _line(console: Console, view: View) -> None:
    """Print a view in one line, for files and pipes."""
    scalars = "".join(f"  {name} {last:.4g}" for name, (last, _) in view.scalars.items())
    told = f"{view.severity}: {view.verdict}" if view.severity else view.verdict
    end = "  (the run has ended)" if view.closed else ""
    step = f"step {view.step}" if view.windows else "no step yet"
    text = f"{step}  windows {view.windows}{scalars}  {told}{end}"
    console.print(printable(text))  # one line, whatever names hold
    console.out.flush()
