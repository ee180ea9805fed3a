"""``actstats report``: one HTML file with everything."""

from __future__ import annotations

import argparse

from actstats.cli.arguments import (
    add_choice,
    add_file,
    add_output,
    add_salvage,
    chosen,
    opened,
    writable,
)
from actstats.cli.console import Console

HELP = "write one HTML file: verdict, findings, pictures, a table of layers"
EXAMPLES = """\
examples:
  actstats report run.actstats                     writes run.html
  actstats report run.actstats -o report.html --title 'ResNet, lr 0.1'
  actstats report run.actstats --steps 0:500 --json

The file is complete in itself: it can be mailed, archived, and opened without a
network.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file(parser)
    text = "where to (default: the recording's name with .html)"
    add_output(parser, text)
    parser.add_argument("--title", help="heading of the report (default: the file's name)")
    add_choice(parser)
    add_salvage(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the report."""
    from actstats.report import write_report

    path = writable(args.output or args.file.with_suffix(".html"), args.file)
    recording = chosen(opened(args.file, salvage=args.salvage), args.site, args.phase, args.steps)
    with console.progress(f"writing {path}") as progress:
        made = write_report(recording, path, title=args.title or args.file.name, progress=progress)
    console.wrote(made)
    return 0
