"""Remedies that change the scale of weights: by what factor, and where none would be honest.

A factor speaks of the weights that a net begins with. So it is told only where layers do now what
they did at step 0, and where their gates are open: what a trained net with shut gates passes on
says nothing of how its weights should begin, and larger ones would shut the gates further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actstats.activations import activation_from_key
from actstats.diagnosis.norms import fitting_norm
from actstats.diagnosis.reading import Reading, gates_range, is_bounded, spread, weights_range
from actstats.gains import geometric_mean
from actstats.layers import Layer
from actstats.stats import TensorStats

__all__ = ["Gain", "Gains", "open_gates", "scale_down", "scale_up", "weight_gain"]

AGREES = 1.5  # times: two factors that differ by less are taken for one


@dataclass(frozen=True)
class Gain:
    """What a layer does to the scale of what passes it.

    Parameters
    ----------
    whole : float
        Weights and gate together; 0 where nothing passes, nan where that was not seen.
    weights : float
        The weights alone; nan where that was not seen.
    """

    whole: float
    weights: float = math.nan

    @classmethod
    def mean(cls, gains: Sequence[Gain]) -> Gain:
        """Return the geometric mean; nothing passes all where nothing passes one."""
        whole = [gain.whole for gain in gains]
        passes = geometric_mean(whole) if all(whole) else 0.0
        return cls(passes, geometric_mean([gain.weights for gain in gains]))


Gains = Callable[[Reading], dict[str, Gain]]  # of a reading, by the site that a layer gives


# ---- remedies ------------------------------------------------------------------------------------


def scale_up(reading: Reading, layers: Sequence[Layer], gains: Gains) -> tuple[str, float | None]:
    """Say what helps layers that shrink what passes them, and the factor where one is honest.

    Parameters
    ----------
    reading : Reading
        What rules read.
    layers : sequence of Layer
        At least one.
    gains : callable
        Gives what each layer does, in this reading and in that of its first window.

    Returns
    -------
    remedy : str
    factor : float or None
        By which to multiply the initial weights; None where the remedy names none.
    """
    shut = [layer for layer in layers if _is_shut(reading, layer)]
    names, norm = weights_range(layers), _norm(reading, layers)
    them = "it" if len(layers) == 1 else "them"
    change = _change(reading, layers, gains)
    if shut:
        return f"{open_gates(reading, shut)} Larger weights would shut them further.", None
    if change.now == 0:
        return (
            f"Initialise the weights of {names} anew ({initialisation(layers[0])}): nothing that"
            " depends on the input passes them."
        ), None
    if change.factor is None:
        return f"{change.instead} put {norm} after {names}.", None
    return (
        f"Scale the initial weights of {names} by {change.factor:.2g}{change.given} or put {norm}"
        f" after {them}."
    ), change.factor


def scale_down(reading: Reading, layers: Sequence[Layer], gains: Gains) -> tuple[str, float | None]:
    """Say what helps layers that let the gradient grow; as `scale_up` does."""
    names, change = weights_range(layers), _change(reading, layers, gains)
    clip = "clip the gradient's norm"
    if change.factor is None:
        return f"{change.instead} {clip}.", None
    return (
        f"Divide the initial weights of {names} by {1 / change.factor:.2g}{change.given}, or"
        f" {clip}."
    ), change.factor


@dataclass(frozen=True)
class _Change:
    """A change of the initial weights: the gain that calls for it, its factor, what gives it."""

    now: float
    factor: float | None = None
    given: str = ""
    instead: str = ""


def _change(reading: Reading, layers: Sequence[Layer], gains: Gains) -> _Change:
    """Return the change that makes the layers' gain 1, without a factor where that is not known."""
    now, beginning = _gain(reading, layers, gains), reading.beginning
    names, each = weights_range(layers), " each" * (len(layers) > 1)
    if beginning is None:
        unknown = f"Record from step 0, or `check`, to see whether {names} begin so; until then"
        return _Change(now.whole, instead=unknown)
    first = _gain(beginning, layers, gains)
    if not _agree(now.whole, first.whole):
        passed = f"({now.whole:.2g}{each} now, {first.whole:.2g} at step 0)"
        came = f"It came in training {passed}: lower the learning rate or"
        return _Change(now.whole, instead=came)
    factor = 1 / now.whole
    return _Change(now.whole, factor, _given(reading, layers, factor, now.weights))


def _gain(reading: Reading, layers: Sequence[Layer], gains: Gains) -> Gain:
    known = gains(reading)
    return Gain.mean([known.get(layer.a.key, Gain(math.nan)) for layer in layers])


def _agree(a: float, b: float) -> bool:
    return 0 < a <= AGREES * b and 0 < b <= AGREES * a


def _norm(reading: Reading, layers: Sequence[Layer]) -> str:
    return fitting_norm(layers[0].z or layers[0].a, reading)


# ---- what gives a factor -------------------------------------------------------------------------


def initialisation(layer: Layer) -> str:
    """Name the initialisation that keeps the scale through a layer's activation."""
    key = layer.a.activation
    rectifier = key is not None and activation_from_key(key).relu_like
    return "He" if rectifier or (key or "").startswith(("gelu", "silu")) else "Xavier"


def _given(reading: Reading, layers: Sequence[Layer], factor: float, weights: float) -> str:
    """Name the initialisation whose weights are that many times these; nothing where none is."""
    wanted = [_scheme_gain(reading, layer) for layer in layers]
    known = not any(map(math.isnan, wanted))
    if known and _agree(factor, geometric_mean(wanted) / weights):
        return f" ({initialisation(layers[0])} initialisation gives this)"
    return ""


def _scheme_gain(reading: Reading, layer: Layer) -> float:
    """Return the gain of a linear layer's weights as its initialisation draws them; nan unknown.

    Their standard deviation times the root of the fan-in scales what varies on its way forward, and
    the norm of a gradient on its way back.
    """
    site, source = _linear(reading, layer), _input(reading, layer)
    if site is None or source is None or not source.units:
        return math.nan
    if initialisation(layer) == "He":
        return math.sqrt(2)
    return math.sqrt(2 * source.units / (source.units + site.units))


def weight_gain(reading: Reading, layer: Layer) -> float:
    """Return how many times its input's spread a linear layer's output varies; nan unknown."""
    site, source = _linear(reading, layer), _input(reading, layer)
    before = 0.0 if source is None else spread(source)
    return spread(site) / before if site is not None and before > 0 else math.nan


def _linear(reading: Reading, layer: Layer) -> TensorStats | None:
    """Return what the linear layer gives that feeds an activation without a norm between."""
    site = layer.z or layer.a
    if site.module != layer.weights or site.module_type != "Linear":
        return None
    stats = reading.now(site.key)
    return stats if stats.units else None


def _input(reading: Reading, layer: Layer) -> TensorStats | None:
    site = layer.z or layer.a
    keys = (f"{site.module}:input", site.source or "")
    return next((reading.now(key) for key in keys if key in reading), None)


# ---- gates ---------------------------------------------------------------------------------------


def open_gates(reading: Reading, layers: Sequence[Layer]) -> str:
    """Say how to open gates: by what feeds them, and by what shut them."""
    fed = [reading.now(layer.z.key) for layer in layers if layer.z is not None]
    large = max((stats.rms for stats in fed), default=math.nan)
    norm = f"ut {_norm(reading, layers)} after {weights_range(layers)}"
    if large > 1:
        names = gates_range(layers)
        norm = f"Bring what feeds {names} back to an rms of 1 (it is up to {large:.2g}): p{norm}"
    else:
        norm = f"P{norm}"
    return f"{norm}, or {_otherwise(reading, layers)}."


def _otherwise(reading: Reading, layers: Sequence[Layer]) -> str:
    """Say how gates stay open from the beginning: by steps, biases or weights."""
    names, beginning = weights_range(layers), reading.beginning
    if beginning is None:
        return "lower the learning rate if training drove it there"
    if not all(_was_so(reading, beginning, layer) for layer in layers):
        return "lower the learning rate that drove it there"
    if all(_is_offset(reading, layer) for layer in layers):
        return f"begin with biases of 0 in {names}"
    return f"begin with smaller weights in {names}"


def _is_shut(reading: Reading, layer: Layer) -> bool:
    """Tell whether a layer's values lie in the flat parts of a bounded activation."""
    openness = reading.now(layer.a.key).gate_openness
    return is_bounded(layer.a) and openness < reading.thresholds.shut_gate


def _was_so(reading: Reading, beginning: Reading, layer: Layer) -> bool:
    return _agree(*(r.now(layer.a.key).gate_openness for r in (reading, beginning)))


def _is_offset(reading: Reading, layer: Layer) -> bool:
    """Tell whether a gate is shut by an offset; a rectifier's is, whatever its scale."""
    if layer.z is None or not is_bounded(layer.a):
        return True
    stats = reading.now(layer.z.key)
    return abs(stats.mean) > 2 * stats.std
