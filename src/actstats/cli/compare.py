"""``actstats compare``: where two runs separate."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from actstats.cli.arguments import add_choice, add_file, chosen, names_in, opened
from actstats.cli.console import Console, clean
from actstats.cli.errors import OK, SEPARATED
from actstats.cli.layout import Column, Table

if TYPE_CHECKING:
    from actstats.comparison import Comparison

HELP = "tell where and when two runs separate, and by how much"
EXAMPLES = """\
examples:
  actstats compare plain.actstats batch_norm.actstats
  actstats compare float32.actstats bfloat16.actstats --site 'act*'
  actstats compare before.actstats after.actstats && echo 'nothing changed'
  actstats compare before.actstats after.actstats --json
  actstats compare run.actstats run.actstats --phase-a train --phase-b eval
  actstats plot compare before.actstats after.actstats -o difference.png

exit codes: 0 the runs do not separate, 1 they do; 64 and above say that they
could not be compared.
"""


_DIFFERENCES = (  # heading, figure, what it is multiplied by, rank: the highest goes first
    ("mean b-a", "mean", 1, 3),
    ("std b-a", "std", 1, 2),
    ("saturated % b-a", "saturated_fraction", 100, 4),
    ("dead % b-a", "dead_fraction", 100, 5),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file(parser, "a")
    add_file(parser, "b")
    add_choice(parser)
    for side in "ab":
        text = f"the phase of {side.upper()}, instead of --phase"
        parser.add_argument(f"--phase-{side}", metavar="PHASE", help=text)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the comparison and tell by the exit code whether there is a difference."""
    import actstats

    sides = (args.a, args.phase_a), (args.b, args.phase_b)
    with console.progress(f"comparing {args.a} and {args.b}"):
        a, b = (
            chosen(opened(path), args.site, phase or args.phase, args.steps)
            for path, phase in sides
        )
        comparison = actstats.compare(a, b)
    code = SEPARATED if comparison.first is not None else OK
    console.emit({"a": str(args.a), "b": str(args.b), **comparison.to_dict(), "exit_code": code})
    names = names_in(a, b)
    console.print((f"a: {args.a}, b: {args.b}", "dim"))
    console.print((console.wrapped(clean(comparison.verdict, names)), "bold"), "\n")
    table = Table(_columns(comparison), console.width)
    for line in (*table.lines(), *table.notes(), *comparison.footer):
        console.print(console.wrapped(clean(line, names), "  "))
    return code


def _columns(comparison: Comparison) -> list[Column]:
    """Return what tells most of each site; differences are b less a."""
    from actstats.comparison.rows import shown

    sites = [
        row.site if row.site == row.site_b else f"{row.site} -> {row.site_b}" for row in comparison
    ]
    steps = ["-" if row.since is None else f"{row.since:,}" for row in comparison]
    differences = [
        Column(title, [_signed(times * row.difference[name]) for row in comparison], rank=rank)
        for title, name, times, rank in _DIFFERENCES
    ]
    return [
        Column("site", sites, is_name=True),
        Column("apart since", steps),
        Column("W1/std", [shown(row.w1_normalised) for row in comparison]),
        Column("PSI", [shown(row.psi) for row in comparison], rank=1),
        *differences,
    ]


def _signed(value: float) -> str:
    return "0" if value == 0 else f"{value:+.3g}" if math.isfinite(value) else "-"
