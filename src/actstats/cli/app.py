"""From the words on the command line to the command that they name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from actstats.cli import compare, demo, diagnose, export, plot, report, show, watch
from actstats.cli.arguments import Parser, add_json, one_of
from actstats.cli.console import Console
from actstats.cli.errors import BROKEN_PIPE, EXITS, INTERRUPTED, told

__all__ = ["COMMANDS", "main", "make_parser"]


class Command(Protocol):
    """A module that holds a command."""

    HELP: str
    EXAMPLES: str

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace, console: Console) -> int:
        """Do it and return the exit code."""


COMMANDS: dict[str, Command] = {
    "show": show,
    "diagnose": diagnose,
    "report": report,
    "compare": compare,
    "plot": plot,
    "export": export,
    "watch": watch,
    "demo": demo,
}
"""The commands by name, in the order of the help."""

_ABOUT = "What happened inside a network: read, judge, draw, compare its recordings."
_EXAMPLES = """\
a first look:
  actstats demo                     train two networks and show what is wrong
  actstats show run.actstats        every layer's figures
  actstats diagnose run.actstats    what is sick, why, and what to do

while a run writes its file:
  actstats watch run.actstats

`actstats COMMAND --help` has examples of each. Recordings are written by
ActivationRecorder(model, log="run.actstats") or recording.save("run.actstats").
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``actstats``; None: those of this process.

    Returns
    -------
    int
        The exit code, as :data:`actstats.cli.errors.EXITS` explains it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console(as_json="--json" in words)
    try:
        args = make_parser().parse_args(_known(words))
        code: int = args.run(args, console)
        console.out.flush()
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _hung_up(console)
    except Exception as error:
        return console.fail(*told(error))
    return code


def make_parser() -> Parser:
    """Return the parser of all commands."""
    from actstats import __version__

    codes = "\n".join(f"  {code:3}  {text}" for code, text in EXITS.items())
    parser = Parser(
        prog="actstats",
        description=_ABOUT,
        epilog=f"{_EXAMPLES}\nexit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"actstats {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        made = commands.add_parser(
            name,
            help=command.HELP,
            description=f"{command.HELP[0].upper()}{command.HELP[1:]}.",
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add(made)
        add_json(made)
        made.set_defaults(run=command.run)
    return parser


def _known(words: list[str]) -> list[str]:
    """Return the words, or raise where the first names no command."""
    if words and not words[0].startswith("-"):
        one_of("command", words[0], COMMANDS)
    return words


def _hung_up(console: Console) -> int:
    """Leave quietly: whoever read our output has read enough."""
    with suppress(OSError, ValueError):  # else the interpreter flushes once more, and complains
        os.dup2(os.open(os.devnull, os.O_WRONLY), console.out.fileno())
    return BROKEN_PIPE
