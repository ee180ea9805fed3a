"""One picture over time: lines or bands in the page's own colours, and the words around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.report.axis import Tick
from actstats.report.heat import Heat

__all__ = ["MOST_POINTS", "SIZE", "Chart", "Curve", "Timelines", "across"]

Floats = NDArray[np.float64]

SIZE = 1000  # of a picture, in units that the page stretches
MOST_POINTS = 160


@dataclass(frozen=True)
class Curve:
    """One line, or a band from least to largest, with its name and its last value."""

    name: str
    link: str
    place: int
    last: str
    line: str = ""
    band: str = ""


@dataclass(frozen=True)
class Chart:
    """One picture over time.

    Parameters
    ----------
    title, what : str
        Its heading, and how to read it.
    curves : tuple of Curve
        In order of depth.
    y, x : tuple of Tick
        Labels of the axes.
    notes : tuple of str
        What is left out or taken together.
    alt : str
        The picture in words.
    heat : Heat, optional
        All layers, where there are more than there is room for lines.
    """

    title: str
    what: str
    curves: tuple[Curve, ...]
    y: tuple[Tick, ...]
    x: tuple[Tick, ...]
    notes: tuple[str, ...]
    alt: str
    heat: Heat | None = None


@dataclass(frozen=True)
class Timelines:
    """Charts, and what needs none."""

    charts: tuple[Chart, ...]
    remarks: tuple[str, ...]


def across(steps: Floats, span: tuple[int, int], width: int = SIZE) -> Floats:
    """Return where steps lie on a picture that goes from the first to the last of a span."""
    first, last = span
    return (
        width * (steps - first) / (last - first) if last > first else np.full(len(steps), width / 2)
    )
