"""How the gradient comes through the layers: its size, and what gates and weights do to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from actstats.gains import gate_gain, steps_back
from actstats.layers import Layer, Layers, gradient_key
from actstats.plot import _style
from actstats.plot._axes import (
    add_legend,
    add_title,
    depth_axis,
    draw_line,
    drawn_label,
    figure_of,
    note,
)
from actstats.plot._figures import scale_of
from actstats.plot._sites import opened, picked
from actstats.plot._time import told_steps, without_finite
from actstats.recording import Recording, Source, Window
from actstats.sites import Site, close_matches, matches
from actstats.stats import TensorStats

__all__ = ["gradient_flow"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The gradient at each layer in one window.

    Parameters
    ----------
    window : Window
        Its window.
    rms : ndarray of float64, shape (L,)
        Of the gradient at each layer's output; nan where none was seen.
    gate, weight : ndarray of float64, shape (L,)
        Gains of each layer: from its output to its z, and from there to the layer before.
    """

    window: Window
    rms: NDArray[np.float64]
    gate: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, window: Window, layers: Sequence[Layer]) -> Flow:
        """Read one window."""

        def gradient(site: Site | None) -> TensorStats | None:
            return None if site is None else window.stats.get(gradient_key(site))

        found = [gradient(layer.a) for layer in layers]
        rms = np.array([np.nan if one is None else one.rms for one in found])
        gate, weight = np.full((2, len(layers)), np.nan)
        for i, (layer, one) in enumerate(zip(layers, found, strict=True)):
            gate[i] = gate_gain(one, gradient(layer.z))
        places = {layer: i for i, layer in enumerate(layers)}
        pairs = zip(layers, found, strict=True)
        seen = [(layer, one) for layer, one in pairs if one is not None and one.rms > 0]
        for step in steps_back(seen, gradient):
            weight[places[step.layer]] = step.weight
        return cls(window, rms, gate, weight)


@overload
def gradient_flow(
    recording: Source,
    *,
    sites: str | Sequence[str] | None = ...,
    windows: int | Sequence[int] = ...,
    phase: str | None = ...,
    ax: None = ...,
    figsize: tuple[float, float] | None = ...,
    title: str | None = ...,
) -> Figure: ...
@overload
def gradient_flow(
    recording: Source,
    *,
    sites: str | Sequence[str] | None = ...,
    windows: int | Sequence[int] = ...,
    phase: str | None = ...,
    ax: Axes,
    figsize: tuple[float, float] | None = ...,
    title: str | None = ...,
) -> Axes: ...
def gradient_flow(
    recording: Source,
    *,
    sites: str | Sequence[str] | None = None,
    windows: int | Sequence[int] = 4,
    phase: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure | Axes:
    """Draw how the gradient comes back through the layers, and what changes it.

    Above: the root mean square of the gradient at each layer's output, a line for each of a few
    windows, the last the darkest. Below, for the first and the last of these windows: the gate
    gain, what the activation function lets through, and the weight gain, what the weights and
    norms make of it on the way to the layer before. The gradient comes from the right; a gain
    below 1 shrinks it. A red note tells of layers whose gradient has no finite value.

    Parameters
    ----------
    recording : recorder, Recording, Window or path of a recording's file
        With gradients: ``capture=("output", "grad")``.
    sites : str or sequence of str, optional
        Patterns of the layers' outputs, such as ``"*.mlp.act"``. None: the layers.
    windows : int or sequence of int, default 4
        How many, evenly spread from the first to the last; or which, by index.
    phase : str, optional
        None: train's, or else the first seen.
    ax : Axes, optional
        Draw the gains alone on these.
    figsize : (float, float), optional
        Inches, of the figure that is made.
    title : str, optional
        Above it.

    Returns
    -------
    Figure or Axes
        ``ax`` where that was given.

    Raises
    ------
    KeyError
        If ``sites``, ``phase`` or one of ``windows`` were not recorded.
    ValueError
        If nothing was recorded, or fewer than two layers got a gradient.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1)
    >>> with ActivationRecorder(net, capture=("output", "grad")) as recorder:
    ...     for i in range(5):
    ...         net(torch.randn(64, 2)).sum().backward()
    ...         recorder.step()
    >>> picture = gradient_flow(recorder)
    >>> [ax.get_ylabel() for ax in picture.axes]
    ['rms of the gradient', 'gain']
    """
    found, seen = opened(recording, phase)
    layers = _layers_with_gradient(found, seen, sites)
    names = [layer.a.key for layer in layers]
    flows = [Flow.of(seen[i], layers) for i in picked(seen, windows)]
    ends = [flows[0], flows[-1]] if len(flows) > 1 else flows
    with _style.style():
        panels = _panels(figsize) if ax is None else [ax]
        if ax is None:
            _draw_sizes(panels[0], flows)
            panels[0].tick_params(labelbottom=False)
        _draw_gains(panels[-1], ends)
        depth_axis(panels[-1], names)
        _tell(panels, [flow.window for flow in (flows if ax is None else ends)], layers)
        for panel in panels:
            add_legend(panel, beside=ax is None)
            _style.despine(panel, left=False)
        add_title(panels[0], title)
    return figure_of(panels[0]) if ax is None else ax


def _layers_with_gradient(
    recording: Recording, windows: Sequence[Window], sites: str | Sequence[str] | None
) -> list[Layer]:
    """Return the layers whose gradient was seen, from the input on."""
    layers = Layers(recording.sites.values()).layers
    patterns = (sites,) if isinstance(sites, str) else sites
    if patterns is not None:
        known = [layer.a.key for layer in layers]
        layers = tuple(n for n in layers if any(matches(p, n.a.key) for p in patterns))
        if not layers:
            raise KeyError(f"no layer {sites!r}{close_matches(str(sites), known)}")
    held = {key for window in windows for key in window.stats}
    kept = [layer for layer in layers if gradient_key(layer.a) in held]
    if not layers:
        raise ValueError(
            "no layer is known here: a Window alone does not tell what its sites are; give the"
            " recording instead (of some steps only: `recording.select(steps=...)`)."
        )
    if len(kept) < 2:
        advice = 'record with `capture=("output", "grad")`, and call `step()` after `backward()`'
        raise ValueError(
            f"{len(kept)} of {len(layers)} layers got a gradient, two are needed; {advice}."
        )
    return kept


def _panels(figsize: tuple[float, float] | None) -> list[Axes]:
    page = Figure(figsize=figsize or (7.2, 4.8), layout="constrained")
    return list(page.subplots(2, sharex=True))


def _draw_sizes(axes: Axes, flows: Sequence[Flow]) -> None:
    """Draw the rms of the gradient by depth, one line per window."""
    values = np.array([flow.rms for flow in flows])
    for flow, color in zip(flows, _style.moments(len(flows)), strict=True):
        told = drawn_label(told_steps(flow.window), flow.rms)
        draw_line(axes, np.arange(len(flow.rms)), flow.rms, color=color, label=told, gid="rms")
    scale_of("rms", values, None if _flat(values) else True).on_axis(axes)
    axes.set_ylabel("rms of the gradient")


def _flat(values: NDArray[np.float64]) -> bool:
    return not (np.isfinite(values) & (values > 0)).any()


def _tell(panels: Sequence[Axes], windows: Sequence[Window], layers: Sequence[Layer]) -> None:
    """Say how the gains are read, and which windows have layers without a finite gradient."""
    broken = without_finite(windows, [gradient_key(layer.a) for layer in layers], "layers")
    if broken:
        note(panels[0], broken, color=_style.ALARM)
        if len(panels) == 1:  # there is room for one of the two above the axes
            return
    panels[-1].annotate(
        "← the gradient comes from the right; above 1 it grows",
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=_style.SMALL,
        color=_style.FAINT,
    )


def _draw_gains(axes: Axes, flows: Sequence[Flow]) -> None:
    """Draw gate gain and weight gain of one or two windows, the earlier one dashed and pale."""
    weight_color, gate_color = _style.palette(2)
    gains = []
    for flow in flows:
        is_last = flow is flows[-1]
        look = {"alpha": 1.0} if is_last else {"alpha": 0.55, "dashes": (3, 1.5)}
        for name, values, color, marker in (
            ("gate", flow.gate, gate_color, "o"),
            ("weight", flow.weight, weight_color, "s"),
        ):
            if np.isfinite(values).any():
                label = f"{name} gain, {told_steps(flow.window)}"
                places = np.arange(len(values))
                draw_line(
                    axes, places, values, color=color, marker=marker, label=label, gid=name, **look
                )
                gains.append(values)
    if gains:
        scale_of("rms", np.array(gains), True).on_axis(axes)
    else:
        told = "fewer than two layers got a finite gradient that is not 0"
        axes.text(
            *(0.5, 0.5, told), ha="center", transform=axes.transAxes, color=_style.FAINT,
            bbox={"facecolor": "white", "linewidth": 0}, gid="nothing",
        )  # fmt: skip
        axes.set_ylim(0, 2)
    axes.axhline(1, color="0.5", linewidth=0.7, zorder=0.5, gid="unchanged")
    axes.set_ylabel("gain")
