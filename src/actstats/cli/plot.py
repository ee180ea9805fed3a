"""``actstats plot``: one picture."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from actstats.cli.arguments import add_choice, add_output, one_of, opened, writable
from actstats.cli.console import Console
from actstats.cli.errors import CommandError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actstats.recording import Recording

HELP = "draw one picture of a recording"
EXAMPLES = """\
examples:
  actstats plot grid run.actstats -o grid.png
  actstats plot grid plain.actstats batch_norm.actstats --step 500 -o grid.svg
  actstats plot timeline run.actstats --figure saturated_fraction --site 'act*'
  actstats plot ridgeline run.actstats --site act3
  actstats plot compare before.actstats after.actstats -o difference.pdf

kinds:
  grid           every layer's histogram, before and after its activation
  timeline       a figure of each site over the steps (--figure), and the loss
  ridgeline      one site's histogram, window above window (--site)
  heatmap        one site's histogram over time as colour (--site)
  layers         a figure by depth, a line per window (--figure)
  units          one site's units over time: births, deaths, revivals (--site)
  gradient-flow  what gates and weights let through of the gradient
  compare        two recordings, their distances by site
"""


class Picture(NamedTuple):
    """A picture.

    Parameters
    ----------
    function : str
        Its name in :mod:`actstats.plot`.
    options : tuple of str
        Parameters that the function takes from the command line; it needs ``site`` where it
        takes one.
    least, most : int
        How many recordings it shows.
    """

    function: str
    options: tuple[str, ...]
    least: int = 1
    most: int = 1

    @property
    def flags(self) -> list[str]:
        """The options as they are written on the command line."""
        return [f"--{_FLAGS[name]}" for name in self.options]


_FLAGS = {"sites": "site", "site": "site", "figure": "figure", "phase": "phase"}
_FLAGS |= {"step": "step", "title": "title"}

KINDS = {
    "grid": Picture("histogram_grid", ("sites", "phase", "step", "title"), most=8),
    "timeline": Picture("timeline", ("figure", "sites", "phase", "title")),
    "ridgeline": Picture("ridgeline", ("site", "phase", "title")),
    "heatmap": Picture("heatmap", ("site", "phase", "title")),
    "layers": Picture("layers", ("figure", "sites", "phase", "title")),
    "units": Picture("units", ("site", "phase", "title")),
    "gradient-flow": Picture("gradient_flow", ("sites", "phase", "title")),
    "compare": Picture("compare", ("sites", "phase", "title"), least=2, most=2),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    text = "recordings (.actstats): several for a grid, two for compare, else one"
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help=text)
    text = "where to; the ending says what: .png, .svg, .pdf ... (default: FILE-KIND.png)"
    add_output(parser, text)
    add_choice(parser, steps=False)
    parser.add_argument("--figure", metavar="NAME", help="such as rms or saturated_fraction")
    parser.add_argument("--step", type=int, metavar="N", help="the window that holds this step")
    parser.add_argument("--title", help="above the picture")
    parser.add_argument("--dpi", type=_dpi, default=150, help="dots per inch (default: 150)")


def _dpi(text: str) -> int:
    if not text.isdecimal() or not 10 <= int(text) <= 1200:
        raise argparse.ArgumentTypeError(f"wants a whole number from 10 to 1200; got {text!r}")
    return int(text)


def run(args: argparse.Namespace, console: Console) -> int:
    """Draw the picture into a file."""
    kind = KINDS[one_of("kind of picture", args.kind, KINDS)]
    _check_number(args.kind, kind, len(args.files))
    options, first = _options(args, kind), args.files[0]
    path = writable(args.output or first.with_name(f"{first.stem}-{args.kind}.png"), *args.files)
    with console.progress(f"drawing {path}"):
        figure = _draw(kind, _named(args.files), options)
        _check_ending(figure, path)
        with warnings.catch_warnings():  # a name's letters that the font lacks are drawn as boxes
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(path, dpi=args.dpi)
    console.wrote(path)
    return 0


def _check_number(name: str, kind: Picture, got: int) -> None:
    if not kind.least <= got <= kind.most:
        wanted = f"{kind.least}" if kind.least == kind.most else f"{kind.least} to {kind.most}"
        plural = "s" if kind.most > 1 else ""
        raise CommandError(f"{name} takes {wanted} recording{plural}; got {got}")


def _options(args: argparse.Namespace, kind: Picture) -> dict[str, Any]:
    """Return what was given, by the names that the function has for it."""
    for flag in dict.fromkeys(_FLAGS.values()):
        if getattr(args, flag) is not None and f"--{flag}" not in kind.flags:
            raise CommandError(f"{args.kind} takes no --{flag}; it takes {', '.join(kind.flags)}")
    given = {name: getattr(args, _FLAGS[name]) for name in kind.options}
    if "site" in given:
        given["site"] = _single(args.kind, given["site"] or ())
    return {name: value for name, value in given.items() if value is not None}


def _single(kind: str, sites: Sequence[str]) -> str:
    if len(sites) != 1:
        got = f"got {len(sites)} times --site" if sites else "--site says which"
        raise CommandError(f"{kind} shows one site; {got}")
    return sites[0]


def _named(paths: list[Path]) -> dict[str, Recording]:
    """Return recordings by their files' names, by their paths where two have the same."""
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    found: dict[str, Recording] = {}
    for name, path in zip(names, paths, strict=True):
        found[f"{name} ({len(found) + 1})" if name in found else name] = opened(path)
    return found


def _draw(kind: Picture, recordings: dict[str, Recording], options: dict[str, Any]) -> Figure:
    from actstats import plot

    function: Callable[..., Any] = getattr(plot, kind.function)
    if kind.most == 1:
        drawn = function(*recordings.values(), **options)
    elif kind.most == 2:
        drawn = function(*recordings.values(), names=tuple(recordings), **options)
    else:
        drawn = function(recordings, **options)
    figure: Figure = getattr(drawn, "figure", drawn)  # axes-level functions return their axes
    return figure


def _check_ending(figure: Any, path: Path) -> None:
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        endings = ", ".join(f".{kind}" for kind in sorted(known))
        raise CommandError(f"--output must end in one of {endings}; got {path.name!r}")
