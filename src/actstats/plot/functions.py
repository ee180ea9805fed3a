"""Activation functions: the curve, its slope, and where it is saturated."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import nn

from actstats import activations
from actstats.activations import Activation
from actstats.plot import _style
from actstats.plot._panels import visible

__all__ = ["activation_functions"]

Nameable = str | nn.Module | Activation

MOST_IN_A_ROW = 4
POINTS = 1001


def activation_functions(
    names: Nameable | Sequence[Nameable] = ("tanh", "relu", "sigmoid", "gelu"),
    *,
    saturation_slope: float = 0.05,
    span: tuple[float, float] = (-5, 5),
    axes: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw activation functions with their slopes and their saturated zones.

    Parameters
    ----------
    names : str, Module or Activation, or a sequence of them
        As :func:`actstats.activations.get` takes them.
    saturation_slope : float, default 0.05
        In (0, 1): grey where the slope is below this share of its maximum.
    span : (float, float), default (-5, 5)
        Ends of the z axis.
    axes : Axes or sequence of Axes, optional
        One per function to draw on; None makes a figure.
    figsize : (float, float), optional
        Inches, of the figure that is made.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a name is unknown, or another argument is not as described.

    Examples
    --------
    >>> figure = activation_functions(["tanh", "relu"])
    >>> [ax.get_title() for ax in figure.axes]
    ['tanh', 'relu']
    """
    functions = [activations.get(name) for name in _listed(names)]
    low, high = _checked_span(span)
    with _style.style():
        places = _places(len(functions), axes, figsize)
        for ax, function in zip(places, functions, strict=True):
            _draw(ax, function, saturation_slope, low, high)
            alone = [one.name for one in functions].count(function.name) == 1
            name = function.name if alone else function.key
            ax.set_title(name, fontsize=_style.LARGE, fontweight="bold")
        figure = places[0].figure.figure if axes is not None else places[0].get_figure(root=True)
        assert isinstance(figure, Figure)
        if axes is None:
            _add_legend(figure, saturation_slope)
    return figure


def _listed(names: Nameable | Sequence[Nameable]) -> list[Nameable]:
    many = [names] if isinstance(names, str | nn.Module | Activation) else list(names)
    if not many:
        raise ValueError("`names` must hold at least one activation function; got none.")
    return many


def _checked_span(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    if not low < high:
        raise ValueError(f"`span` must be (low, high), low < high; got {span!r}.")
    return float(low), float(high)


def _places(
    n: int, axes: Axes | Sequence[Axes] | None, figsize: tuple[float, float] | None
) -> list[Axes]:
    if axes is not None:
        given = [axes] if isinstance(axes, Axes) else list(axes)
        if len(given) != n:
            raise ValueError(f"`axes` must hold one Axes per function: {n}; got {len(given)}.")
        return given
    columns = min(n, MOST_IN_A_ROW)
    rows = ceil(n / columns)
    size = figsize or (0.6 + 2.5 * max(columns, 2), 0.45 + 2.2 * rows)
    figure = Figure(figsize=size, layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in cells[n:]:
        spare.remove()
    return cells[:n]


def _draw(ax: Axes, function: Activation, saturation_slope: float, low: float, high: float) -> None:
    z = torch.linspace(low, high, POINTS, dtype=torch.float64)
    curve, slope = _style.palette(2)[::-1]
    for start, end in visible(function.zones(saturation_slope, of="input"), (low, high)):
        ax.axvspan(start, end, color=_style.ZONE, linewidth=0, zorder=0, gid="zone")
    ax.axhline(0, color="0.75", linewidth=0.6, zorder=1)
    ax.axvline(0, color="0.75", linewidth=0.6, zorder=1)
    ax.plot(z.numpy(), function.function(z).numpy(), color=curve, linewidth=1.8, gid="curve")
    if function.slope_known:
        steep = function.slope(z).numpy()
        ax.plot(z.numpy(), steep, color=slope, linewidth=1.4, dashes=(4, 1.5), gid="slope")
    ax.set_xlim(low, high)
    ax.set_ylim(*_height(function, z))
    ax.set_xlabel("z", labelpad=1)
    ax.locator_params(nbins=5)
    _style.despine(ax, left=False)


def _height(function: Activation, z: torch.Tensor) -> tuple[float, float]:
    """Return ends of the vertical axis that keep the bend of an unbounded function in sight."""
    values = function.function(z)
    low, high = max(float(values.min()), -2.5), min(float(values.max()), 2.5)
    if function.slope_known:
        slopes = function.slope(z)
        low, high = min(low, float(slopes.min())), max(high, float(slopes.max()))
    reach = 0.08 * (high - low)
    return low - reach, high + reach


def _add_legend(figure: Figure, saturation_slope: float) -> None:
    curve, slope = _style.palette(2)[::-1]
    share = _style.percent(saturation_slope)
    figure.legend(
        handles=[
            Line2D([], [], color=curve, linewidth=1.8, label="a = φ(z)"),
            Line2D([], [], color=slope, linewidth=1.4, dashes=(4, 1.5), label="slope dφ/dz"),
            Patch(color=_style.ZONE, label=f"saturated: slope below {share} of its maximum"),
        ],
        loc="outside upper center",
        ncols=3,
        fontsize=_style.MEDIUM,
    )
