"""The live table of ``actstats watch``, with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actstats.cli.trend import ASCII, BLOCKS, sparkline
from actstats.cli.view import View, figure_text
from actstats.names import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from actstats.cli.console import Console
    from actstats.cli.view import Line

__all__ = ["render", "screen"]

_STYLES = {"critical": "bold red", "warning": "yellow", "info": "dim", "": "green"}
_FIXED = 2  # lines: the table's heading, and one that is empty
_MOST_SCALARS = 4
_MOST_VERDICT = 3  # lines


@contextmanager
def screen(console: Console, title: str) -> Iterator[Callable[[View], None]]:
    """Take the terminal's screen, and give it back with the last view left on it."""
    on = RichConsole(file=console.out)
    bars = BLOCKS if console.can_show(BLOCKS) else ASCII
    last: list[View] = []

    def show(view: View) -> None:
        last[:] = [view]
        live.update(render(view, title, on.width, on.height, bars), refresh=True)

    with Live(console=on, screen=True, auto_refresh=False) as live:
        yield show
    for view in last:
        on.print(render(view, title, on.width, on.height - 1, bars, state="no longer watched"))


def render(
    view: View,
    title: str,
    width: int,
    height: int,
    bars: str = BLOCKS,
    *,
    state: str = "Ctrl-C ends",
    option: str = "--site",
) -> Group:
    """Return a view that fits.

    ``state`` is said of a run that has not ended; ``option`` is what chooses among many sites.
    """
    above = [_title(view, title, state), *_scalars(view, bars)]
    verdict = _verdict(view, width)
    room = max(height - len(above) - len(verdict) - _FIXED, 1)
    lines = view.most_telling(room)
    hidden = len(view.lines) - len(lines)
    more = [Text(f"and {hidden} more sites; {option} chooses", style="dim")] if hidden else []
    return Group(*above, _table(view, lines, width, bars), *more, Text(), *verdict)


def _title(view: View, title: str, state: str) -> Text:
    text = Text(printable(title), style="bold", no_wrap=True, overflow="ellipsis")
    return text.append("".join(f"  {fact}" for fact in view.facts(state)), style="not bold")


def _scalars(view: View, bars: str) -> list[Text]:
    shown = list(view.scalars.items())[:_MOST_SCALARS]
    if not shown:
        return []
    parts = [
        f"{printable(name)} {last:.4g} {sparkline(trend, bars)}" for name, (last, trend) in shown
    ]
    return [Text("   ".join(parts), no_wrap=True, overflow="ellipsis")]


def _verdict(view: View, width: int) -> list[Text]:
    """Return the verdict's lines; `actstats diagnose` has what does not fit."""
    text = Text(f"{view.severity or 'ok'}: ", style=_STYLES[view.severity])
    text.append(printable(view.verdict), style="default")
    lines = list(text.wrap(RichConsole(width=width), width))
    if len(lines) <= _MOST_VERDICT:
        return lines
    lines[_MOST_VERDICT - 1].truncate(width - 1)
    return [*lines[: _MOST_VERDICT - 1], lines[_MOST_VERDICT - 1].append("…")]


def _table(view: View, lines: Sequence[Line], width: int, bars: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    name_width = max(12, width - 62)
    sides = ("left", "right", "left", "right", "right", "left")
    for title, justify in zip(view.header, sides, strict=True):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for line in lines:
        table.add_row(
            Text(shortened(printable(line.site), name_width)),
            figure_text(view.figure, line.value),
            sparkline(line.trend, bars),
            figure_text("_fraction", line.saturated_fraction),
            figure_text("_fraction", line.dead_fraction),
            Text(line.rule, style=_STYLES[line.severity]),
        )
    return table
