"""``actstats export``: tables for other tools."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from actstats.cli.arguments import (
    add_choice,
    add_file,
    add_output,
    add_salvage,
    chosen,
    one_of,
    opened,
    writable,
)
from actstats.cli.console import Console
from actstats.cli.errors import CommandError

HELP = "write tables for other tools: csv, parquet, json or npz"
EXAMPLES = """\
examples:
  actstats export run.actstats --format csv                writes run.csv
  actstats export run.actstats -o figures.parquet
  actstats export run.actstats -o loss.csv --table scalars
  actstats export run.actstats -o run.npz --table sites --table histograms
  actstats export run.actstats --format csv -o - | head    to standard output

tables: sites, figures (the default), scalars, histograms, edges. csv and
parquet hold one of them, json and npz any; the page "Exports" of the
documentation has their columns.
"""

FORMATS = ("csv", "parquet", "json", "npz")
STDOUT = Path("-")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file(parser)
    text = "csv, parquet, json or npz (default: as the output's name ends)"
    parser.add_argument("--format", metavar="NAME", help=text)
    text = "where to (default: the recording's name with the format's ending; -: standard output)"
    add_output(parser, text)
    text = "sites, figures, scalars, histograms or edges; may be given again (json and npz)"
    parser.add_argument("--table", action="append", metavar="NAME", help=text)
    add_choice(parser)
    add_salvage(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the tables."""
    wanted = None if args.format is None else one_of("format", args.format, FORMATS)
    if wanted is None and args.output in (None, STDOUT):
        raise CommandError(
            f"--format or the ending of --output must be one of {', '.join(FORMATS)}"
        )
    if args.output == STDOUT:
        return _print(args, console)
    path = writable(args.output or args.file.with_suffix(f".{wanted}"), args.file)
    from actstats.exports import export

    recording = chosen(opened(args.file, salvage=args.salvage), args.site, args.phase, args.steps)
    with console.progress(f"writing {path}") as progress:
        made = export(recording, path, wanted, tables=args.table, progress=progress)
    console.wrote(made)
    return 0


def _print(args: argparse.Namespace, console: Console) -> int:
    """Write to standard output what is text."""
    from actstats.exports.files import checked_tables, write

    if args.json or args.format not in ("csv", "json"):
        raise CommandError("-o - writes csv and json only, and not together with --json")
    made = io.BytesIO()
    recording = chosen(opened(args.file, salvage=args.salvage), args.site, args.phase, args.steps)
    write(recording, made, args.format, checked_tables(args.format, args.table))
    console.raw(made.getvalue())
    return 0
