"""``actstats show``: a table of every site's figures."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actstats.cli.arguments import (
    add_choice,
    add_file,
    add_salvage,
    chosen,
    names_in,
    one_of,
    opened,
)
from actstats.cli.console import Console, clean
from actstats.cli.layout import Column, Table
from actstats.names import printable

if TYPE_CHECKING:
    from actstats.recording import Recording
    from actstats.summary import Row

HELP = "show every site's figures in a table"
EXAMPLES = """\
examples:
  actstats show run.actstats
  actstats show run.actstats --site 'act*' --phase eval
  actstats show run.actstats --steps 900: --sort saturated_fraction
  actstats show run.actstats --figures rms,gate_openness
  actstats show run.actstats --json | jq '.sites[].std'

Columns that do not fit the terminal are left out, and named below the table;
--wide keeps them.
"""

# The columns that a narrow terminal loses first have the highest rank.
_RANKS = {"calls": 5, "zero_fraction": 4, "min": 3, "max": 3, "mean": 2, "signal_fraction": 1}
_MODULE_RANK = 2


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file(parser)
    add_choice(parser)
    text = "columns, such as rms,gate_openness (default: the usual nine)"
    parser.add_argument("--figures", type=lambda text: text.split(","), metavar="A,B", help=text)
    text = "sort by a figure, the largest first; without, in the model's order"
    parser.add_argument("--sort", metavar="FIGURE", help=text)
    parser.add_argument("--reverse", action="store_true", help="turn the order round")
    add_salvage(parser)
    parser.add_argument("--wide", action="store_true", help="keep all columns and whole names")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table."""
    from actstats.summary import Summary

    with console.progress(f"reading {args.file}"):
        recording = chosen(
            opened(args.file, salvage=args.salvage), args.site, args.phase, args.steps
        )
        summary = Summary(recording)
    figures = _figures(args, recording)
    rows = _sorted(summary.found, args.sort, args.reverse)
    console.emit(_document(recording, rows))
    table = Table(_columns(recording, rows, figures), None if args.wide else console.width)
    console.print((summary.title, "bold"))
    for line in _run(recording):
        console.print((console.wrapped(line, "  "), "dim"))
    for i, line in enumerate(table.lines()):
        console.print((line, "bold") if i == 0 else line)
    names = names_in(recording)
    notes = [f"{note} (--wide shows all)" for note in table.notes()]
    for line in (*notes, *summary.notes, *summary.reasons):
        console.print((console.wrapped(clean(line, names), "  "), "dim"))
    return 0


def _figures(args: argparse.Namespace, recording: Recording) -> list[str]:
    from actstats.summary import EXTRA, columns_of

    known = (*EXTRA, *recording.figure_names)
    if args.sort is not None:
        one_of("figure", args.sort, known)
    return [one_of("figure", name, known) for name in args.figures or columns_of(recording)]


def _sorted(rows: Sequence[Row], figure: str | None, reverse: bool) -> list[Row]:
    """Return the rows in order; those whose figure does not apply come last."""
    if figure is None:
        return list(reversed(rows)) if reverse else list(rows)

    def place(row: Row) -> tuple[bool, float]:
        value = float(getattr(row.stats, figure, math.nan))
        return math.isnan(value), value if reverse else -value

    return sorted(rows, key=place)


def _columns(recording: Recording, rows: Sequence[Row], figures: Sequence[str]) -> list[Column]:
    from actstats.summary import cell, heading

    modules = [recording.sites[row.site].module_type for row in rows]
    columns = [
        Column("site", [row.site for row in rows], is_name=True),
        Column("module", modules, is_name=True, rank=_MODULE_RANK),
    ]
    if len(recording.phases) > 1:
        columns.append(Column("phase", [row.phase for row in rows], is_name=True))
    for name in figures:
        values = [cell(name, row.stats) for row in rows]
        columns.append(Column(heading(name), values, rank=_RANKS.get(name, 0)))
    return columns


def _run(recording: Recording) -> list[str]:
    """Return a line on the run, as far as it is known; what is known comes from the file."""
    known = recording.metadata
    model, versions = known.get("model"), known.get("versions")
    parts = []
    if isinstance(model, dict) and isinstance(model.get("parameters"), int):
        parts.append(f"{model.get('class')} with {model['parameters']:,} parameters")
    if "seed" in known:
        parts.append(f"seed {known['seed']}")
    if isinstance(versions, dict):
        parts += [f"{name} {versions[name]}" for name in ("torch", "actstats") if name in versions]
    if "created" in known:
        parts.append(f"begun {known['created']}")
    return [printable(", ".join(parts))] if parts else []


def _document(recording: Recording, rows: Sequence[Row]) -> dict[str, Any]:
    first = min((w.first_step for w in recording.windows), default=None)
    last = max((w.last_step for w in recording.windows), default=None)
    return {
        "windows": len(recording.windows),
        "first_step": first,
        "last_step": last,
        "phases": recording.phases,
        "metadata": recording.metadata,
        "notes": recording.notes,
        "never_called": recording.never_called,
        "sites": [_site(recording, row) for row in rows],
    }


def _site(recording: Recording, row: Row) -> dict[str, Any]:
    site = recording.sites[row.site]
    known: dict[str, Any] = {"site": row.site, "phase": row.phase, "module_type": site.module_type}
    known |= {"kind": site.kind, "activation": site.activation}
    return {**known, "calls": row.stats.calls, **row.stats.to_dict()}
