"""A view of a run as HTML, in an output of a notebook that is replaced in place."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from actstats.cli.trend import sparkline
from actstats.cli.view import Line, View, figure_text
from actstats.names import printable
from actstats.text import html_row, html_text, wide

__all__ = ["Notebook", "is_notebook", "page"]

MOST_SITES = 24
MOST_SCALARS = 6
TEXT_COLUMNS = (0, 2, 5)  # site, trend, finding

# Filled, so that they read on white as on black; everything else has the page's own colours.
BADGES = {
    "critical": "background:#b3261e;color:#fff",
    "warning": "background:#f2b705;color:#000",
    "info": "border:1px solid",
    "": "background:#1b6e3c;color:#fff",
}


class Notebook:
    """One output, shown when the display begins and replaced at each update."""

    def start(self) -> None:
        """Make room; the first view fills it."""
        self._handle: Any = None

    def show(self, view: View, title: str, state: str) -> None:
        """Show a view in place of the one before."""
        bundle = _bundle(view, title, state)
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def stop(self) -> None:
        """Leave the last view where it is."""
        self._handle = None


def is_notebook() -> bool:
    """Tell whether this runs in a kernel, whose outputs can be replaced; nothing is imported."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _bundle(view: View, title: str, state: str) -> Mapping[str, str]:
    """Return the view as HTML, and in a line for what shows none."""
    text = f"{title}: {', '.join(view.facts(state))}. {printable(view.verdict)}"
    return {"text/html": page(view, title, state), "text/plain": text}


def page(view: View, title: str, state: str) -> str:
    """Return a view as HTML, without styles or scripts of its own but for the badges."""
    facts = "".join(f" · {html_text(fact)}" for fact in view.facts(state))
    lines = view.most_telling(MOST_SITES)
    hidden = len(view.lines) - len(lines)
    more = f"<div>and {hidden} more sites; <code>site=</code> chooses</div>" if hidden else ""
    verdict = f"<div>{badge(view.severity, view.severity or 'ok')} {html_text(view.verdict)}</div>"
    heading = f"<div><b>{html_text(title)}</b>{facts}</div>"
    return wide(f"{heading}{_scalars(view)}{_table(view, lines)}{more}{verdict}")


def _scalars(view: View) -> str:
    shown = list(view.scalars.items())[:MOST_SCALARS]
    texts = (f"{html_text(name)} <b>{last:.4g}</b> {_bars(trend)}" for name, (last, trend) in shown)
    return f"<div>{' &emsp; '.join(texts)}</div>" if shown else ""


def _table(view: View, lines: list[Line]) -> str:
    head = html_row([html_text(title) for title in view.header], TEXT_COLUMNS, tag="th")
    rows = "".join(html_row(_cells(view, line), TEXT_COLUMNS) for line in lines)
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if lines else ""


def _cells(view: View, line: Line) -> list[str]:
    return [
        html_text(line.site),
        figure_text(view.figure, line.value),
        _bars(line.trend),
        figure_text("_fraction", line.saturated_fraction),
        figure_text("_fraction", line.dead_fraction),
        badge(line.severity, line.rule) if line.rule else "",
    ]


def badge(severity: str, text: str) -> str:
    """Return a word on its severity's colour."""
    style = f"{BADGES[severity]};padding:0 .4em;border-radius:.3em;white-space:nowrap"
    return f'<span style="{style}">{html_text(text)}</span>'


def _bars(trend: Any) -> str:
    return f'<span style="font-family:monospace;white-space:pre">{sparkline(trend)}</span>'
