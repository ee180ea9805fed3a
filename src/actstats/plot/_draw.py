"""Draw: one described panel onto one Axes."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from actstats.activations import Zone
from actstats.plot import _style
from actstats.plot._panels import Panel, Range, visible
from actstats.plot._style import Color

__all__ = ["draw_panel", "prepare_axes", "set_top"]

PAD = 0.045  # of the range, on both sides: atoms and zones at its ends stay visible
HEADROOM = (1.06, 1.3, 1.56, 1.8, 2.1)  # by lines of text above the bars
_HALO = [withStroke(linewidth=1.6, foreground="white")]
_TONES: dict[str, tuple[str, dict[str, object]]] = {
    "plain": (_style.INK, {"facecolor": "white", "edgecolor": "0.55", "linewidth": 0.5}),
    "dead": ("white", {"facecolor": "0.2", "edgecolor": "0.2", "linewidth": 0.5}),
    "alarm": ("white", {"facecolor": _style.ALARM, "edgecolor": _style.ALARM, "linewidth": 0.5}),
}


def prepare_axes(axes: Axes, view: Range, zones: Iterable[Zone], *, ticks: bool = True) -> None:
    """Set what does not change from frame to frame: limits, ticks, shaded zones."""
    low, high = view
    reach = PAD * (high - low)
    axes.set_xlim(low - reach, high + reach)
    axes.set_yticks([])
    axes.set_xticks([low, high], [_style.number(low), _style.number(high)] if ticks else ["", ""])
    axes.tick_params(axis="x", length=2.5, width=0.7, pad=1.5)
    left, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
    for start, end in visible(zones, axes.get_xlim()):
        axes.axvspan(start, end, color=_style.ZONE, linewidth=0, zorder=0, gid="zone")
    _style.despine(axes)


def set_top(axes: Axes, panel: Panel, top: float, lines: int) -> None:
    """Scale the axes so that a bar of the share ``top`` leaves room for lines of text above."""
    axes.set_ylim(0, (top * panel.total or 1.0) * HEADROOM[min(lines, len(HEADROOM) - 1)])


def draw_panel(axes: Axes, panel: Panel, color: Color) -> list[Artist]:
    """Draw bars, spikes and texts; return what a next frame has to remove."""
    if not panel.total:
        return [_text(axes, 0.5, 0.5, panel.note, color=_style.FAINT, ha="center", style="italic")]
    artists = _draw_bars(axes, panel, color)
    artists += _draw_atoms(axes, panel, color)
    artists += _draw_outside(axes, panel)
    artists += _draw_badges(axes, panel)
    return artists


def _draw_bars(axes: Axes, panel: Panel, color: Color) -> list[Artist]:
    """Draw all counts; where atoms stand out, pale, with what is spread out in full colour."""
    bars = axes.stairs(panel.counts, panel.edges, fill=True, color=color, zorder=2, gid="bars")
    if not panel.atoms:
        return [bars]
    bars.set_alpha(0.3)
    spread = axes.stairs(
        panel.spread, panel.edges, fill=True, color=color, zorder=2.1, gid="spread"
    )
    return [bars, spread]


def _draw_atoms(axes: Axes, panel: Panel, color: Color) -> list[Artist]:
    """Draw a spike at each value that holds mass by itself; its height is its count."""
    artists: list[Artist] = []
    (low, high), top = axes.get_xlim(), axes.get_ylim()[1]
    dark = _style.darker(color)
    for atom in panel.atoms:
        spike = axes.vlines(atom.value, 0, atom.count, color=dark, lw=2.2, zorder=3, gid="atom")
        place = (atom.value - low) / (high - low)
        to_left = place > 0.6
        x = place - 0.03 if to_left else place + 0.03
        y = _label_height(atom.count, top)
        text = atom.label
        if _width(axes, text) > (x if to_left else 1 - x):  # would reach into the next panel
            text = text.replace(" at ", "\nat ")
        label = _text(axes, x, y, text, ha="right" if to_left else "left")
        artists += [spike, label]
    return artists


def _label_height(count: float, top: float) -> float:
    """Return where a spike's label stands, as a share of the panel's height."""
    return min(max(count / top - 0.07, 0.08), 0.9)


def _width(axes: Axes, text: str) -> float:
    """Estimate how much of the panel's width a small text takes."""
    pixels = axes.get_window_extent().width
    points = pixels * 72 / axes.figure.get_dpi() if axes.figure is not None else pixels
    return 0.55 * len(text) * _style.SMALL / points


def _draw_outside(axes: Axes, panel: Panel) -> list[Artist]:
    """Tell what lies outside, at its side, above the bars that are there."""
    top = axes.get_ylim()[1]
    artists = []
    for x, text, bars in ((0.0, panel.below, panel.counts), (1.0, panel.above, panel.counts[::-1])):
        if text:
            covered = bars[: max(1, round(0.3 * len(bars)))] if len(text) > 1 else bars[:1]
            y = min(float(covered.max()) / top + 0.09, 0.93)
            for label in (_label_height(atom.count, top) for atom in panel.atoms):
                if abs(y - label) < 0.13:  # beside the spike's own label: stand above it
                    y = min(label + 0.15, 0.93)
            artists.append(_text(axes, x, y, text, ha="right" if x else "left"))
    return artists


def _draw_badges(axes: Axes, panel: Panel) -> list[Artist]:
    return [
        axes.annotate(
            text,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-2, -5 - 11 * line),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=_style.SMALL,
            color=_TONES[tone][0],
            bbox={"boxstyle": "round,pad=0.15", **_TONES[tone][1]},
            zorder=5,
            gid="badge",
        )
        for line, (text, tone) in enumerate(panel.badges)
    ]


def _text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    color: str = _style.INK,
    ha: str = "left",
    va: str = "center",
    style: str = "normal",
) -> Artist:
    return axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        ha=ha,
        va=va,
        style=style,
        color=color,
        fontsize=_style.SMALL,
        path_effects=_HALO,
        zorder=4,
    )
