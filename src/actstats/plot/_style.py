"""How the pictures look: colours, fonts and number formats, in one place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb

from actstats.names import printable

__all__ = ["Color", "darker", "despine", "palette", "percent", "style"]

Color: TypeAlias = str | tuple[float, float, float] | tuple[float, float, float, float]

SMALL = 7.0  # points; nothing is smaller
MEDIUM = 8.0
LARGE = 9.5

INK = "0.15"
FAINT = "0.45"
ZONE = "0.875"
ALARM = "#b3261e"
SILENT = "#D55E00"  # vermilion, for units that are never active
MEDIAN = "#DE8F05"  # orange, seen on white, green and black alike

_RC: dict[str, Any] = {
    "axes.edgecolor": "0.4",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.linewidth": 0.7,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": MEDIUM,
    "legend.frameon": False,
    "patch.force_edgecolor": False,
    "savefig.facecolor": "auto",
    "text.color": INK,
    "text.usetex": False,
    "xtick.bottom": True,
    "xtick.color": "0.3",
    "xtick.labelbottom": True,
    "xtick.labelsize": SMALL,
    "ytick.color": "0.3",
    "ytick.labelsize": SMALL,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style; every setting is as before afterwards."""
    with mpl.rc_context(cast(Any, _RC)):
        yield


def palette(n: int) -> list[Color]:
    """Return n colours that colour-blind readers tell apart.

    The first two are orange and blue, as in the published tutorial; one alone is blue.
    """
    import seaborn as sns

    if n > 10:
        return list(sns.color_palette("husl", n))
    base = list(sns.color_palette("colorblind", 10))
    base[0], base[1] = base[1], base[0]
    return base[:n] if n > 1 else [base[1]]


def shades(n: int, name: str = "viridis", low: float = 0.0, high: float = 0.88) -> list[Color]:
    """Return n colours in the order of a colour map that colour-blind readers follow.

    The ends leave out what is too pale on white.
    """
    import seaborn as sns

    colors = sns.color_palette(name, as_cmap=True)
    return [tuple(colors(low + (high - low) * i / max(n - 1, 1))) for i in range(n)]


def moments(n: int) -> list[Color]:
    """Return n colours for as many moments, the last the darkest."""
    return shades(n, "mako_r", 0.3, 0.95) if n > 1 else shades(1, "mako_r", 0.6)


def density_map() -> Colormap:
    """Return the colour map for shares of a distribution: little is pale, much is dark."""
    return _color_map("mako_r")


def activity_map() -> Colormap:
    """Return the colour map for active units, none of whose colours is near `SILENT`."""
    return _color_map("crest")


def color_map(*, signed: bool = False) -> Colormap:
    """Return the colour map for values, one that parts at 0 where they have signs."""
    return _color_map("vlag" if signed else "viridis")


def _color_map(name: str) -> Colormap:
    import seaborn as sns

    found: Colormap = sns.color_palette(name, as_cmap=True)
    return found


def darker(color: Color, share: float = 0.45) -> Color:
    """Return the colour with ``share`` of its light taken away."""
    red, green, blue = (channel * (1 - share) for channel in to_rgb(color))
    return red, green, blue


def despine(axes: Axes, *, left: bool = True) -> None:
    """Leave only the lower edge of the axes, and the left one unless it is to go."""
    import seaborn as sns

    sns.despine(ax=axes, left=left)


def percent(share: float) -> str:
    """Write a share; only what is everything is written as 100 %.

    Examples
    --------
    >>> percent(1.0), percent(0.999), percent(0.974), percent(0.004)
    ('100 %', '99.9 %', '97 %', '0.4 %')
    """
    if share < 0.0095 or 0.985 < share < 1:
        return f"{min(100 * share, 99.9):.1f} %"
    return f"{100 * share:.0f} %"


def number(value: float) -> str:
    r"""Write the end of an axis in few characters, with a real minus sign.

    Examples
    --------
    >>> ascii(number(-4.0)), number(0.25), number(12000.0)
    ("'\\u22124'", '0.25', '1.2e4')
    """
    text = f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return text.replace("-", "\N{MINUS SIGN}")


def shorten(name: str, room: int) -> str:
    r"""Return the name, or its end after an ellipsis, in at most ``room`` characters.

    Names may hold what matplotlib cannot draw, or takes for a formula: it is written out.

    Examples
    --------
    >>> shorten("act3", 10), shorten("transformer.h.0.mlp.act", 10)
    ('act3', '…0.mlp.act')
    >>> shorten("a\udc80", 10), shorten("$x$", 10)
    ('a\\udc80', '\\$x\\$')
    """
    shown = printable(name)
    if len(shown) > room:
        shown = "…" + shown[-(max(room, 2) - 1) :]
    return verbatim(shown)


def verbatim(text: str) -> str:
    r"""Return the text as matplotlib draws it letter by letter, lines apart and no formula in it.

    Examples
    --------
    >>> verbatim("$x$ at a\udc80")
    '\\$x\\$ at a\\udc80'
    """
    return printable(text, keep="\n").replace("$", r"\$")


def legend_label(name: str, room: int = 40) -> str:
    """Return the name as a legend shows it: matplotlib hides those that begin with ``_``.

    Examples
    --------
    >>> legend_label("act3"), legend_label("_orig")
    ('act3', ' _orig')
    """
    shown = shorten(name, room)
    return f" {shown}" if shown.startswith("_") else shown


def nice_range(low: float, high: float) -> tuple[float, float]:
    """Move both ends outwards to round numbers.

    Examples
    --------
    >>> nice_range(-3.71, 4.12), nice_range(-7, 10), nice_range(2.0, 2.0)
    ((-3.8, 4.2), (-7.0, 10.0), (1.8, 2.2))
    """
    if not high > low:
        reach = 0.1 * abs(low) or 1.0
        return low - reach, low + reach
    wanted = (high - low) / 20
    decade = 10.0 ** math.floor(math.log10(wanted))
    step = decade * max(m for m in (1, 2, 5) if m * decade <= wanted * 1.0001)
    digits = max(0, 1 - math.floor(math.log10(step)))
    ends = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return round(ends[0], digits), round(ends[1], digits)


def named_colors(names: Sequence[str], colors: Any) -> list[Color]:
    """Return one colour per variant from a colour, a list, a mapping or None.

    Raises
    ------
    ValueError
        If their number does not fit.
    """
    if colors is None:
        return palette(len(names))
    if isinstance(colors, str):
        colors = [colors]
    if isinstance(colors, Mapping):
        missing = [name for name in names if name not in colors]
        if missing:
            raise ValueError(
                f"`colors` must name a colour for {missing[0]!r}; got {dict(colors)!r}."
            )
        return [colors[name] for name in names]
    many: list[Color] = list(colors)
    if len(many) < len(names):
        raise ValueError(f"`colors` must hold {len(names)} colours; got {len(many)}: {many!r}.")
    return many[: len(names)]
