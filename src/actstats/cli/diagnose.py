"""``actstats diagnose``: what is sick, why, and what to do; the exit code tells how grave it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from actstats.cli.arguments import add_choice, add_file, add_salvage, chosen, names_in, opened
from actstats.cli.console import SEVERITY_STYLES, Console, clean
from actstats.cli.errors import CRITICAL, OK, WARNING

if TYPE_CHECKING:
    from actstats.diagnosis import Diagnosis

HELP = "name what is sick, its cause and its cure; the exit code tells how grave it is"
EXAMPLES = """\
examples:
  actstats diagnose run.actstats
  actstats diagnose run.actstats --phase eval --table
  actstats diagnose run.actstats --rule dead-units --rule saturated
  actstats diagnose run.actstats --json | jq '.findings[] | [.rule, .site]'
  actstats diagnose run.actstats || mail -s 'the run is sick' me@example.org

exit codes: 0 nothing or remarks only, 1 a warning, 2 something critical; 64 and
above say that there is no verdict: wrong arguments (64), a damaged or empty
file (65), no such file (66) ...
"""

_EXIT = {None: OK, "info": OK, "warning": WARNING, "critical": CRITICAL}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file(parser)
    add_choice(parser, site=False)
    text = "ask this rule only; may be given again"
    parser.add_argument("--rule", action="append", metavar="NAME", help=text)
    add_salvage(parser)
    parser.add_argument("--table", action="store_true", help="a line for every finding")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the diagnosis and return its severity."""
    from actstats.diagnosis import diagnose

    with console.progress(f"judging {args.file}"):
        recording = chosen(opened(args.file, salvage=args.salvage), None, args.phase, args.steps)
        diagnosis = diagnose(recording, rules=args.rule)
    code = _EXIT[diagnosis.severity]
    console.emit({**diagnosis.to_dict(), "severity": diagnosis.severity, "exit_code": code})
    names = names_in(recording)
    if args.table:
        console.print(diagnosis.table(), names=names)
    else:
        tell(diagnosis, console, names)
    return code


def tell(diagnosis: Diagnosis, console: Console, names: Iterable[str]) -> None:
    """Print a diagnosis in words, the severity of each root in its colour."""
    for line in clean(str(diagnosis), names).split("\n"):
        first, _, rest = console.wrapped(line, "  ").partition(" ")
        style = SEVERITY_STYLES.get(first.lower()) if first.isupper() else None
        console.print((first, style) if style else first, f" {rest}" if rest else "")
