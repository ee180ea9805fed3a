"""The grid of histograms as inline SVG, a few layers at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from actstats.plot import histogram_grid
from actstats.recording import Recording, Window
from actstats.report.inline import inline, page_style
from actstats.report.run import Run
from actstats.report.text import count, steps

__all__ = ["Grid", "Page", "grid_pages", "histograms"]

COLUMNS = 8  # of a page; more would be too small to read
MOST_PAGES = 3
INPUT = "*:input"  # keeps L0, the net's input


@dataclass(frozen=True)
class Page:
    """Some layers side by side."""

    title: str
    alt: str
    svg: Markup


@dataclass(frozen=True)
class Grid:
    """All pages, which windows they show, and what is left out."""

    pages: tuple[Page, ...]
    what: str
    note: str


def grid_pages(run: Run) -> list[list[str]]:
    """Return the sites of each page: all of them, or those evenly spread over depth."""
    sites = run.activations
    most = COLUMNS * MOST_PAGES
    if len(sites) > most:
        places = np.linspace(0, len(sites) - 1, most).round().astype(int).tolist()
        sites = [sites[i] for i in places]
    return [sites[i : i + COLUMNS] for i in range(0, len(sites), COLUMNS)]


def histograms(run: Run, tell: Callable[[str], None]) -> Grid:
    """Draw the first and the last window of the layers, told of each page.

    Parameters
    ----------
    run : Run
        What to show.
    tell : callable
        Called with what is drawn next.
    """
    shown, pages = _ends(run), grid_pages(run)
    drawn = []
    for i, sites in enumerate(pages):
        title = sites[0] if len(sites) == 1 else f"{sites[0]} to {sites[-1]}"
        tell(f"histograms of {title}")
        figure = _draw(shown, [*sites, INPUT] if i == 0 else sites)
        alt = f"Histograms of {count(len(sites), 'layer')}, {title}, before and after activation."
        drawn.append(Page(title, alt, inline(figure, f"g{i}-")))
    total, left = len(run.activations), len(run.activations) - sum(map(len, pages))
    note = f"{total - left} of {total} layers, evenly spread; the table has all." if left else ""
    return Grid(tuple(drawn), " and ".join(shown), note)


def _ends(run: Run) -> dict[str, Recording]:
    """Return the first and the last window by name, or one where they do not compare."""
    first, last = run.part.windows[0], run.part.windows[-1]
    if first is last:
        return {_name(last): _alone(run, last)}
    wanted = set(run.activations)
    if any(wanted.difference(window) for window in (first, last)):
        return {_name(*run.part.windows): run.part}
    return {_name(window): _alone(run, window) for window in (first, last)}


def _name(first: Window, *others: Window) -> str:
    return steps(first.first_step, others[-1].last_step if others else first.last_step)


def _alone(run: Run, window: Window) -> Recording:
    return Recording((window,), run.part.sites)


def _draw(shown: dict[str, Recording], sites: Sequence[str]) -> Figure:
    with page_style():
        return histogram_grid(shown if len(shown) > 1 else next(iter(shown.values())), sites=sites)
