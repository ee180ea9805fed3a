"""A matplotlib figure as a part of a page: text as text, nothing from outside, names its own."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text

from actstats.report.text import visible

__all__ = ["inline", "page_style"]

PIXELS = 105  # an inch of a picture on the page, at most
HALO = "halo"  # class of letters with a pale edge
NAMES = "site"  # what the grid calls its labels that are names of layers

_RC: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "actstats",  # the same recording gives the same bytes
    "text.parse_math": False,  # names may hold dollar signs
}


@contextmanager
def page_style() -> Iterator[None]:
    """Draw for a page; every setting is as before afterwards."""
    with mpl.rc_context(cast(Any, _RC)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has more fonts than we look in
        yield


def inline(figure: Figure, prefix: str) -> Markup:
    """Return a figure as an ``<svg>`` that lives in a page beside others.

    Parameters
    ----------
    figure : Figure
        Drawn in :func:`page_style`; its texts change.
    prefix : str
        Of its identifiers, which are kept where something refers to them.
    """
    _leave_to_the_page(figure)
    held = io.StringIO()
    with page_style():
        figure.savefig(held, format="svg", metadata={"Date": None})
    text = _bare(held.getvalue(), width=round(PIXELS * figure.get_size_inches()[0]))
    text = _own_ids(_rounded(text), prefix)
    lines = (visible(line.strip()) for line in text.split("\n"))
    return Markup("\n".join(line for line in lines if line))


def _leave_to_the_page(figure: Figure) -> None:
    """Leave the pale edge of letters to a class, or they are drawn as outlines; and show names."""
    for artist in figure.findobj(Text):
        if isinstance(artist, Text) and artist.get_path_effects():
            artist.set_path_effects([])
            artist.set_gid(HALO)
        elif isinstance(artist, Text) and artist.get_gid() == NAMES:
            artist.set_text(visible(artist.get_text()))


def _bare(text: str, width: int) -> str:
    """Return the ``<svg>`` without what only a file of its own needs, as wide as there is room."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s+(xmlns(:\w+)?|version|width|height)="[^"]*"', "", head)
    head += f' aria-hidden="true" style="max-width:{width}px"'
    return f"{head}>{rest}".replace("xlink:href", "href")


def _own_ids(text: str, prefix: str) -> str:
    text = text.replace(f' id="{HALO}"', f' class="{HALO}"')
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))

    def kept(found: re.Match[str]) -> str:
        return f' id="{prefix}{found[1]}"' if found[1] in used else ""

    return re.sub(r'(url\(|href=")#', rf"\1#{prefix}", re.sub(r' id="([^"]*)"', kept, text))


def _rounded(text: str) -> str:
    """Cut numbers in attributes to a hundredth of a point, which no eye sees."""

    def cut(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    def shorter(attribute: re.Match[str]) -> str:
        return re.sub(r"\d+\.\d{3,}", cut, attribute[0])

    return re.sub(r' (d|[xy][12]?|width|height|transform|style)="[^"]*"', shorter, text)
