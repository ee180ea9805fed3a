"""The live table of ``actstats watch``, with rich."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actstats.cli.trend import ASCII, BLOCKS, sparkline
from actstats.cli.view import View
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
        on.print(render(view, title, on.width, on.height - 1, bars, live=False))


def render(
    view: View, title: str, width: int, height: int, bars: str = BLOCKS, *, live: bool = True
) -> Group:
    """Return a view that fits; ``live`` tells whether it will be followed by others."""
    above = [_title(view, title, live), *_scalars(view, bars)]
    verdict = _verdict(view, width)
    room = max(height - len(above) - len(verdict) - _FIXED, 1)
    lines = _most_telling(view, room)
    hidden = len(view.lines) - len(lines)
    more = [Text(f"and {hidden} more sites; --site chooses", style="dim")] if hidden else []
    return Group(*above, _table(view, lines, width, bars), *more, Text(), *verdict)


def _most_telling(view: View, room: int) -> list[Line]:
    """Return as many lines as there is room for, the gravest, in the model's order."""
    if len(view.lines) <= room:
        return list(view.lines)
    kept = {id(line) for line in view.gravest_first()[: room - 1]}
    return [line for line in view.lines if id(line) in kept]


def _title(view: View, title: str, live: bool) -> Text:
    step = f"step {view.step:,}" if view.step >= 0 else "no step yet"
    windows = f"{view.windows:,} window{'s' * (view.windows != 1)}"
    state = "Ctrl-C ends" if live else "no longer watched"
    state = "the run has ended" if view.closed else state
    text = Text(printable(title), style="bold", no_wrap=True, overflow="ellipsis")
    return text.append(f"  {step}  {windows}  {printable(view.phase)}  {state}", style="not bold")


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
    for title, justify in (
        ("site", "left"),
        (view.figure.replace("_fraction", " %").replace("_", " "), "right"),
        ("trend", "left"),
        ("sat %", "right"),
        ("dead %", "right"),
        ("finding", "left"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for line in lines:
        table.add_row(
            Text(shortened(printable(line.site), name_width)),
            _number(view.figure, line.value),
            sparkline(line.trend, bars),
            _number("_fraction", line.saturated_fraction),
            _number("_fraction", line.dead_fraction),
            Text(line.rule, style=_STYLES[line.severity]),
        )
    return table


def _number(figure: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if figure.endswith("_fraction") else f"{value:.3g}"
