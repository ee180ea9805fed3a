"""A map of layers by time, as a small picture inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actstats.report import svg
from actstats.report.axis import Axis, Tick
from actstats.report.text import count, steps

__all__ = ["Heat", "heat_map"]

Floats = NDArray[np.float64]

MOST_COLUMNS = 160
MOST_LABELS = 12
# Nine colours from dark to light, even to the eye and for the colour-blind (after viridis).
COLORS = (
    *("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c"),
    *("#28ae80", "#5ec962", "#addc30", "#fde725"),
)
NOTHING = 255  # index of the colour that is transparent


@dataclass(frozen=True)
class Heat:
    """A picture as a data URI, with the labels around it.

    Parameters
    ----------
    uri : str
        The PNG itself.
    rows : int
        Layers.
    labels : tuple of Tick
        Names of some layers, from above.
    scale : tuple of Tick
        Values of the colours, from the left.
    colors : str
        The colours, as a CSS gradient.
    alt : str
        The picture in words.
    """

    uri: str
    rows: int
    labels: tuple[Tick, ...]
    scale: tuple[Tick, ...]
    colors: str
    alt: str
    room: int = 20  # characters of a label

    @property
    def margin(self) -> float:
        """Width of the labels in rem; never less than that of a chart's, so that both align."""
        longest = max(min(len(tick.label), self.room) for tick in self.labels)
        return round(max(3.6, 0.46 * longest + 0.7), 1)


def heat_map(sites: Sequence[str], values: Floats, span: tuple[int, int], axis: Axis) -> Heat:
    """Return the map: a row for each site in order, a column for each bucket of windows.

    Parameters
    ----------
    sites : sequence of str
        The S sites.
    values : ndarray, shape (W, S)
        Figures; what is nan stays empty.
    span : (int, int)
        First and last step.
    axis : Axis
        From values to colours.
    """
    buckets = svg.Buckets(len(values), MOST_COLUMNS)
    shown = buckets.mean(axis.place(values)).T
    return Heat(
        uri="data:image/png;base64," + base64.b64encode(_png(shown)).decode(),
        rows=len(sites),
        labels=tuple(_labels(sites)),
        scale=axis.ticks,
        colors=f"linear-gradient(to right, {', '.join(COLORS)})",
        alt=f"Map of {count(len(sites), 'layer')} from the first (top) to the last (bottom) over "
        f"{steps(*span)}.",
    )


def _png(places: Floats) -> bytes:
    """Return a picture of places between 0 and 1, nan transparent."""
    index = np.where(np.isfinite(places), np.rint(np.nan_to_num(places) * 254), NOTHING)
    height, width = index.shape
    image = Image.frombytes("P", (width, height), index.astype(np.uint8).tobytes())
    image.putpalette(_palette())
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True, transparency=NOTHING)
    return held.getvalue()


def _palette() -> bytes:
    stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS])
    at = np.linspace(0, len(COLORS) - 1, 255)
    channels = [np.interp(at, np.arange(len(COLORS)), stops[:, c]) for c in range(3)]
    colors = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return bytes(colors.tobytes()) + b"\xff\xff\xff"


def _labels(sites: Sequence[str]) -> list[Tick]:
    places = np.linspace(0, len(sites) - 1, min(len(sites), MOST_LABELS)).round().astype(int)
    return [Tick(round(100 * (i + 0.5) / len(sites), 2), sites[i]) for i in places.tolist()]
