"""All rules, in causal order: what explains comes before what it explains."""

from __future__ import annotations

from actstats.diagnosis import gates, gradients, numbers, scales, training, units
from actstats.diagnosis.rule import Cause, Rule

__all__ = ["RULES"]

BROKEN = Cause("non-finite")
RAW_INPUT = Cause("unnormalised-input")
LONG_STEPS = Cause("update-ratio", critical=True, over_time=True)
TOO_LARGE = Cause("exploding-activation", "before")
DEAD_BEFORE = Cause("dead-units", "before", critical=True)
SHUT_BEFORE = Cause("saturated", "before", critical=True)
DRIFT = Cause("scale-drift", "before")
LOST = Cause("input-independent", "before")  # what is constant may well be dead

RULES: tuple[Rule, ...] = (
    Rule(
        "non-finite",
        "NaN or Inf",
        (),
        numbers.non_finite,
        "Find the operation that made the first one; lower the learning rate if it ran away.",
        "Own: exact counters of NaN and Inf by site and window.",
        stage="use",
    ),
    Rule(
        "never-called",
        "A module that never runs",
        (),
        training.never_called,
        "Call it, or remove it.",
        "Own.",
        stage="use",
    ),
    Rule(
        "unnormalised-input",
        "Input far from 0 ± 1",
        ("input",),
        scales.unnormalised_input,
        "Standardise the data.",
        "LeCun et al. 1998, Efficient BackProp, section 4.3.",
        stage="use",
    ),
    Rule(
        "identical-units",
        "Units that do the same",
        ("output",),
        units.identical_units,
        "Initialise at random.",
        "Own; symmetry breaking as in Goodfellow et al. 2016, Deep Learning, section 8.4.",
        (BROKEN, Cause("identical-units", "before")),
    ),
    Rule(
        "update-ratio",
        "Steps too long or too short",
        (),
        training.update_ratio,
        "Change the learning rate.",
        "Rule of thumb near 1e-3: Karpathy, CS231n notes, Learning, ratio of weights to updates.",
        (BROKEN,),
        stage="use",
    ),
    Rule(
        "scale-drift",
        "Activations that grow or shrink in time",
        ("output",),
        scales.scale_drift,
        "Lower the learning rate, add weight decay or a norm.",
        "Own.",
        (BROKEN, LONG_STEPS, DRIFT),
    ),
    Rule(
        "exploding-activation",
        "Activations that grow over depth",
        ("output",),
        scales.exploding_activation,
        "Scale the weights down, or normalise.",
        "He et al. 2015, Delving Deep into Rectifiers, section 2.2: keep the variance over depth.",
        (BROKEN, RAW_INPUT, LONG_STEPS, DRIFT, TOO_LARGE),
    ),
    Rule(
        "dead-units",
        "Units without gradient",
        ("output",),
        units.dead_units,
        "Bias to 0, He initialisation, a norm, a lower learning rate.",
        "By algebra: no active sample and a slope of exactly 0. Rule of three: Hanley &"
        " Lippman-Hand 1983.",
        (BROKEN, RAW_INPUT, LONG_STEPS, TOO_LARGE, DEAD_BEFORE, LOST),
    ),
    Rule(
        "saturated",
        "Activations in their flat parts",
        ("output",),
        gates.saturated,
        "Scale the weights down, bias to 0, a norm.",
        "Glorot & Bengio 2010; Rakitianskaia & Engelbrecht 2015.",
        (
            *(BROKEN, RAW_INPUT, LONG_STEPS, TOO_LARGE, DRIFT),
            Cause("saturated", "before"),
        ),
    ),
    Rule(
        "silent-units",
        "Units that are never active",
        ("output",),
        units.silent_units,
        "Bias to 0, a norm, a lower learning rate.",
        "As dead-units, where a small slope is left.",
        (
            *(BROKEN, RAW_INPUT, LONG_STEPS, TOO_LARGE, DEAD_BEFORE, LOST),
            *(Cause("saturated", "before"), Cause("silent-units", "before")),
        ),
    ),
    Rule(
        "input-independent",
        "Layers that ignore their input",
        ("output",),
        scales.input_independent,
        "Scale the weights up, bias to 0, a norm.",
        "Own: signal fraction; cf. Schoenholz et al. 2017, Deep Information Propagation.",
        (BROKEN, RAW_INPUT, DEAD_BEFORE, SHUT_BEFORE, LOST),
    ),
    Rule(
        "dormant-units",
        "Units that give next to nothing",
        ("output",),
        units.dormant_units,
        "Initialise them anew.",
        "Sokar et al. 2023, The Dormant Neuron Phenomenon, definition 3.1, tau = 0.025.",
        (BROKEN, DEAD_BEFORE, LOST, Cause("silent-units", "same")),
    ),
    Rule(
        "no-gradient",
        "Layers that no gradient reaches",
        ("grad",),
        gradients.no_gradient,
        "Unfreeze, or find where the graph is cut.",
        "Own.",
        (
            *(BROKEN, Cause("dead-units", "after", critical=True), Cause("never-called", "after")),
            *(Cause("saturated", "after", critical=True), Cause("no-gradient", "after")),
        ),
        stage="backward",
    ),
    Rule(
        "vanishing-gradient",
        "Gradients that shrink over depth",
        ("grad",),
        gradients.vanishing_gradient,
        "Scale the weights up or open the gates; a norm, residual connections.",
        "Depth decay; Glorot & Bengio 2010, section 4.2; Hochreiter 1991.",
        (
            BROKEN,
            Cause("dead-units", "anywhere", critical=True),
            Cause("saturated", "same", critical=True),  # where the gates are the cause
            *(Cause("silent-units", "same"), Cause("input-independent")),
        ),
        stage="backward",
    ),
    Rule(
        "exploding-gradient",
        "Gradients that grow over depth or in time",
        ("grad",),
        gradients.exploding_gradient,
        "Scale the weights down, clip, lower the learning rate.",
        "Pascanu et al. 2013, On the difficulty of training recurrent neural networks.",
        (
            *(BROKEN, RAW_INPUT, LONG_STEPS),
            *(Cause("exploding-activation"), Cause("scale-drift"), Cause("exploding-gradient")),
        ),
        stage="backward",
    ),
    Rule(
        "low-precision-range",
        "Values that float16 cannot hold",
        (),
        numbers.low_precision_range,
        "bfloat16, loss scaling, float32 for the layer.",
        "Micikevicius et al. 2018, Mixed Precision Training; formats: IEEE 754, OCP OFP8.",
        (
            *(BROKEN, RAW_INPUT, Cause("exploding-activation"), Cause("scale-drift")),
            *(Cause("vanishing-gradient"), Cause("exploding-gradient")),
        ),
        stage="backward",
    ),
)
"""The rules that `diagnose` asks unless others are given."""
