"""Every number that a rule compares with, in one place."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

__all__ = ["Thresholds"]


@dataclass(frozen=True)
class Thresholds:
    """Bounds of the rules. Change them with ``diagnose(..., thresholds={"name": value})``.

    Those without a source were set on one half of the clinic's networks (`benchmarks/clinic`),
    and what they do on the other half is told there.

    Parameters
    ----------
    recent : float
        Share of the recorded steps, the last ones, by which a state is judged.
    enough_samples : int
        Samples of a unit for "never": 0 of 30 bounds the probability below 0.1 (rule of three).
    sick_units, critical_units : float
        Share of a layer's units from which on a layer is reported as a warning, as critical.
        Healthy nets were seen with up to 3 of 10.
    least_units, least_critical : int
        Units below which a layer is not reported so, unless all of it is sick.
    dormant_layer : float
        Share of dormant units that is a warning; fewer are common in healthy nets.
    saturated_values, critical_saturation : float
        Share of a layer's values in its activation's flat parts.
    signal, lost_signal : float
        Signal fraction: warning, critical.
    unit_gain : float
        A layer that passes less than this share of what comes in is counted as shrinking it.
    depth : int
        Layers that a judgement over depth needs.
    vanishing, vanished : float
        Decades that the gradient loses from the last layer to the first: warning, critical.
    exploding, exploded : float
        Decades that it gains in a net without norms: warning, critical.
    exploding_normed : float
        Decades that are a warning where norms stand between the layers: they make the gradient
        grow towards the input by themselves, and the steps that it causes shrink. Half as many
        again are critical.
    exploding_deep, deep : float, int
        The same for nets of that many layers, where depth and not the weights is the cause (Yang
        et al. 2019).
    shut_gate : float
        Mean gate gain below which the gates, not the weights, hold the gradient back.
    growth, steep_growth : float
        Spread of the outputs over samples, over the first layer's and over the layer's before:
        warning. What grows up to 1 is not counted.
    large : float
        Spread that is critical wherever it is met.
    drift, spike : float
        Ratio of the scale in the last windows to that in the first: activations, gradients.
    input_scale, input_offset, input_small : float
        Root mean square of the input, and size of its mean over its standard deviation, from
        which on they are too large; root mean square below which it is too small.
    update_high, update_low : float
        Size of a step's update over the weight's, median over parameters (near 1e-3 in a run that
        goes well).
    underflow : float
        Share of non-zero values that a number format would flush to zero.
    """

    recent: float = 0.1
    enough_samples: int = 30
    sick_units: float = 0.4
    critical_units: float = 0.5
    least_units: int = 4
    least_critical: int = 6
    dormant_layer: float = 0.3
    saturated_values: float = 0.5
    critical_saturation: float = 0.8
    signal: float = 1e-2
    lost_signal: float = 1e-3
    unit_gain: float = 0.7
    depth: int = 5
    vanishing: float = 2.0
    vanished: float = 3.0
    exploding: float = 2.2
    exploded: float = 4.0
    exploding_normed: float = 4.4
    exploding_deep: float = 3.0
    deep: int = 20
    shut_gate: float = 0.3
    growth: float = 100.0
    steep_growth: float = 15.0
    large: float = 1e4
    drift: float = 50.0
    spike: float = 1000.0
    input_scale: float = 25.0
    input_offset: float = 4.0
    input_small: float = 1e-3
    update_high: float = 0.5
    update_low: float = 1e-6
    underflow: float = 0.05

    def with_changes(self, changes: Mapping[str, float]) -> Thresholds:
        """Return these thresholds with some of them changed.

        Raises
        ------
        ValueError
            If a name is unknown, or a value no finite positive number.

        Examples
        --------
        >>> Thresholds().with_changes({"vanishing": 3}).vanishing
        3
        """
        known = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in known:
                close = difflib.get_close_matches(name, known)
                hint = f"did you mean {close[0]!r}?" if close else f"use one of {known}."
                raise ValueError(f"`thresholds` has no {name!r}; {hint}")
            real = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not (real and 0 < value < math.inf):
                raise ValueError(
                    f"`thresholds[{name!r}]` must be a positive finite number; got {value!r}."
                )
        return replace(self, **changes)  # type: ignore[arg-type]
