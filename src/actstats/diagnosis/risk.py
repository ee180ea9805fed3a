"""The risk that a network will not learn, read from one forward and backward before training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actstats.recording import Recording
from actstats.stats import TensorStats

__all__ = ["Features", "Risk", "risk"]

Family = Literal["plain", "adaptive"]
Parameters = Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]

TINY = 1e-30
REACH_STEPS = 50  # steps in one direction that `reach` looks ahead
MEAN_OVER_RMS = 0.8  # of a normal distribution
CEILING = 10**1.5  # stands for the largest value of an activation without bounds
ASSUMED = (1e-3, 1e-8)  # Adam's defaults, where no optimizer is given


@dataclass(frozen=True)
class Features:
    """What one recorded forward and backward tells of a network's chances to learn.

    All but ``family`` and ``assumed`` are logarithms to base 10. The signal is what differs between
    samples: standard deviations of single units. The way to go is the change of an output that
    would take the loss to zero if it went on falling as it does now (half of the error's rms for a
    mean squared error); a step is the optimizer's first, at its learning rate.

    Parameters
    ----------
    last_motion : float
        How far the last layer's first step moves the output's signal.
    last_progress : float
        Share of the loss that this step takes away, to first order, by what depends on the input.
    motion : float
        How far a step of all layers moves the output's signal, as a share of the way to go.
    change : float
        The largest change of a layer's output by its first step, relative to that output.
    reach : float
        Signal at the last layer's input (root of its signal fraction), and how many times all
        weights together can raise it in 50 steps.
    distance : float
        The way to go, in the output's units.
    scale : float
        rms of what goes into the last activation.
    openness : float
        Gate openness of the last activation.
    width : float
        Inputs of the last layer.
    steps : float
        Steps that an output's bias needs for the way to go.
    capacity : float
        Share of the way to go that one step of the last layer can take where all its inputs are
        as large as they can be (30 if nothing bounds them).
    family : {"plain", "adaptive"}
        Whether a step is proportional to the gradient (SGD), or normalised (Adam and its kin).
    assumed : bool
        No optimizer was given: Adam's defaults are assumed.
    """

    last_motion: float
    last_progress: float
    motion: float
    change: float
    reach: float
    distance: float
    scale: float
    openness: float
    width: float
    steps: float
    capacity: float
    family: Family = "adaptive"
    assumed: bool = False

    @classmethod
    def of(
        cls,
        recording: Recording,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        parameters: Parameters,
    ) -> Features:
        """Read the features from a recording of one step that has not changed the weights.

        Parameters
        ----------
        recording : Recording
            With outputs, inputs and gradients, and the step's loss:
            ``recorder.step(loss=loss.item())``.
        optimizer : Optimizer, optional
            The one that will train these parameters. None: Adam's defaults are assumed.
        parameters : mapping or iterable of (str, Tensor)
            ``model.named_parameters()`` after the backward; only weights and gradients are read.

        Raises
        ------
        ValueError
            If the recording lacks the loss, or no layer with a weight was seen with its input and
            gradient.
        """
        loss = _loss(recording)
        steps = _Steps.of(optimizer)
        layers = list(_layers(recording, dict(parameters), steps))
        if not layers:
            raise ValueError(
                "`recording` must hold a layer's input and gradient, and `parameters` its weight "
                'with a gradient: record with capture=("output", "input", "grad") and call '
                "backward; got none."
            )
        last = layers[-1]
        size = last.gradient.count
        distance = loss / max(size * last.gradient.rms, TINY)
        per_sample = [layer.motion(last, steps) for layer in layers]
        reach = sum(_log(1 + REACH_STEPS * layer.growth) for layer in layers)
        scale, openness, ceiling = _last_activation(recording, last)
        adaptive = steps.family == "adaptive"
        return cls(
            last_motion=_log(last.step_of_signal * last.fan_in * last.signal),
            last_progress=_log(last.progress / max(loss, TINY)),
            motion=_log(sum(per_sample) / (max(distance, TINY) if adaptive else 1)),
            change=_log(max(layer.change for layer in layers)),
            reach=_log(last.input.signal_fraction) / 2 + reach,
            distance=_log(distance),
            scale=_log(scale),
            openness=_log(openness),
            width=_log(last.fan_in),
            steps=_log(distance / max(last.rate, TINY)),
            capacity=_log(last.fan_in * ceiling * last.rate / max(distance, TINY)),
            family=steps.family,
            assumed=optimizer is None,
        )

    def numbers(self) -> dict[str, float]:
        """Return the features that are numbers, by name."""
        return {name: getattr(self, name) for name in NAMES}


NAMES = tuple(f.name for f in fields(Features) if f.name not in ("family", "assumed"))


# ---- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """So many of so many."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        """Hits over all; nan of none."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        if not self.of:
            return 0.0, 1.0
        z2 = 1.96**2
        middle = (self.hits + z2 / 2) / (self.of + z2)
        spread = math.sqrt(self.of * self.share * (1 - self.share) + z2 / 4)
        half = 1.96 * spread / (self.of + z2)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.0f} % of {self.of} ({100 * low:.0f} to {100 * high:.0f} %)"


@dataclass(frozen=True)
class Model:
    """A logistic regression on piecewise linear curves, and how it did on networks kept apart.

    Parameters
    ----------
    intercept : float
        Log odds of failing where every feature is a healthy network's median.
    cut : float
        Log odds above which it alarms.
    curves : mapping of str to (knots, log odds)
        What each feature adds; flat beyond its first and last knot, 0 at the healthy median.
    healthy : mapping of str to float
        Medians of networks that learned.
    caught, false : Rate
        Alarms among those that failed, and among those that learned.
    bins : tuple of (float, Rate)
        Upper ends of the probability, and how many networks below each (and above the one before)
        failed.
    """

    intercept: float
    cut: float
    curves: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    healthy: Mapping[str, float]
    caught: Rate
    false: Rate
    bins: tuple[tuple[float, Rate], ...]

    def parts(self, features: Features) -> dict[str, float]:
        """Return what each feature adds to the log odds of failing."""
        numbers = features.numbers()
        return {n: float(np.interp(numbers[n], *curve)) for n, curve in self.curves.items()}


@dataclass(frozen=True)
class Risk:
    """How likely a network is to fail, by networks like it; never a certainty.

    Parameters
    ----------
    probability : float
        That it fails: that after 150 steps the loss is above 0.9 of a constant predictor's.
    alarmed : bool
        Whether it is above the cut.
    alike : Rate
        How many networks of a probability like this one's failed.
    caught, false : Rate
        Share of failing, and of learning, networks on which this test alarms.
    reasons : tuple of str
        At most three features that weigh most, in words; fewer where fewer speak against it.
    assumed : bool
        No optimizer was given: Adam's defaults were assumed.
    """

    probability: float
    alarmed: bool
    alike: Rate
    caught: Rate
    false: Rate
    reasons: tuple[str, ...] = ()
    assumed: bool = False

    def __str__(self) -> str:
        return in_words(self)


def risk(features: Features) -> Risk:
    """Judge the state at step 0.

    Measured on small multilayer perceptrons of five tasks, trained for 150 steps
    (``python -m benchmarks.clinic.prognosis``); other networks are an extrapolation.

    Parameters
    ----------
    features : Features
        Of the recording of one forward and backward.

    Returns
    -------
    Risk

    Examples
    --------
    >>> from actstats.diagnosis.risk import MODELS, Features, risk
    >>> healthy = Features(**MODELS["adaptive"].healthy)
    >>> risk(healthy).alarmed
    False
    """
    model = MODELS[features.family]
    parts = model.parts(features)
    odds = model.intercept + sum(parts.values())
    probability = 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))
    alike = next(rate for end, rate in model.bins if probability <= end)
    worst = sorted((n for n in parts if parts[n] > LEAST_REASON), key=parts.__getitem__)[::-1]
    numbers = features.numbers()
    reasons = [_reason(name, numbers[name], model.healthy[name]) for name in worst]
    return Risk(
        probability=probability,
        alarmed=odds > model.cut,
        alike=alike,
        caught=model.caught,
        false=model.false,
        reasons=tuple(reason for reason in reasons if reason)[:3],
        assumed=features.assumed,
    )


def in_words(judged: Risk) -> str:
    """Word a risk with its measured error rates.

    Returns
    -------
    str
        What became of networks like this one, how often the test is wrong, and why.
    """
    head = "at risk of not learning" if judged.alarmed else "no sign that it will not learn"
    alike = (
        f"networks that look like this failed to learn in {100 * judged.alike.share:.0f} % of "
        f"{judged.alike.of} trials of 150 steps"
    )
    errors = (
        f"this test catches {judged.caught} that fail, and alarms falsely on {judged.false} that "
        "learn; it was measured on small multilayer perceptrons"
    )
    why = f" What weighs most: {'; '.join(judged.reasons)}." if judged.reasons else ""
    given = " No optimizer was given: Adam's defaults are assumed." if judged.assumed else ""
    return f"{head}: {alike} ({errors}).{why if judged.alarmed else ''}{given}"


LEAST_REASON = 0.5  # log odds
WORDS = {
    "last_motion": "the last layer's first step moves what the output tells samples apart by {}",
    "last_progress": "what depends on the input takes {} of the loss in the last layer's step",
    "motion": "a step moves what the output tells samples apart by {} of the way to go",
    "change": "the first step changes some layer's output by {} of itself",
    "reach": "the signal that 50 steps can bring to the last layer's input is {} of it",
    "distance": "outputs have to move by about {}",
    "scale": "what goes into the last activation has an rms of {}",
    "openness": "the last activation's gate is open by {}",
    "width": "the last layer has {} inputs",
    "steps": "the output's bias alone needs {} steps for the way to go",
    "capacity": "a step of the last layer can take at most {} of the way to go",
}


def _reason(name: str, value: float, healthy: float) -> str:
    """Return a feature in words, or nothing where these are a healthy network's too."""
    most = 0.0 if name == "reach" else math.inf
    found, usual = _plain(value, most), _plain(healthy, most)
    return "" if found == usual else f"{WORDS[name].format(found)} (healthy ones: {usual})"


def _plain(logarithm: float, most: float = math.inf) -> str:
    if logarithm >= most:
        return f"{10**most:g} or more"
    return "nothing" if logarithm <= -29 else f"{10**logarithm:.2g}"


# ---- reading -------------------------------------------------------------------------------------


def _log(value: float) -> float:
    """Return log10 within 1e-30 and 1e30; nothing (nan) counts as 0."""
    return -30.0 if math.isnan(value) else math.log10(min(max(value, TINY), 1e30))


def _loss(recording: Recording) -> float:
    scalars = recording.windows[-1].scalars if recording.windows else {}
    if "loss" not in scalars:
        raise ValueError(
            "`recording` must hold the loss of its step: recorder.step(loss=loss.item()); "
            f"got {sorted(scalars) or 'no scalars'}."
        )
    return scalars["loss"].last


@dataclass(frozen=True)
class _Steps:
    """Sizes of an optimizer's steps."""

    family: Family
    default: tuple[float, float]
    by_parameter: Mapping[int, tuple[float, float]]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer | None) -> _Steps:
        if optimizer is None:
            return cls("adaptive", ASSUMED, {})
        groups = [(group, _rate(group)) for group in optimizer.param_groups]
        adaptive = bool({"betas", "eps"} & groups[0][0].keys())
        by_parameter = {id(p): rate for group, rate in groups for p in group["params"]}
        return cls("adaptive" if adaptive else "plain", groups[0][1], by_parameter)

    def rate(self, weight: Tensor) -> tuple[float, float]:
        return self.by_parameter.get(id(weight), self.default)


def _rate(group: Mapping[str, object]) -> tuple[float, float]:
    """Return the learning rate, momentum included, and epsilon."""
    momentum, eps = group.get("momentum", 0.0), group.get("eps", 0.0)
    assert isinstance(momentum, float | int) and isinstance(eps, float | int)
    return float(group["lr"]) / (1 - momentum), float(eps)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Layer:
    """A layer with a weight, its input, and what the optimizer's first step does to it."""

    input: TensorStats
    output: TensorStats
    gradient: TensorStats
    fan_in: int
    fan_out: int
    rate: float
    weight_rms: float
    step: float  # rms (plain) or mean size (adaptive) of a weight's first step
    step_of_signal: float  # the same by the gradient's part that depends on the input
    progress: float  # first-order decrease of the loss by that part

    @property
    def signal(self) -> float:
        """Root mean square over units of the input's standard deviation over samples."""
        return math.sqrt(float(np.nanmean(self.input.moments.var)))

    @property
    def growth(self) -> float:
        """How much a step in a fixed direction adds to the layer's gain, as a share of it."""
        return self.step_of_signal * math.sqrt(self.fan_in) / max(self.weight_rms, TINY)

    @property
    def change(self) -> float:
        return self.step * self.fan_in * self.input.rms / max(self.output.rms, TINY)

    def motion(self, last: _Layer, steps: _Steps) -> float:
        """Return how far this layer's step moves the output's signal, through its gradient."""
        size = self.gradient.rms * math.sqrt(self.fan_out)
        through = size / max(last.gradient.rms * math.sqrt(last.fan_out), TINY)
        if steps.family == "plain":
            return self.rate * self.fan_in * self.signal**2 * through**2
        aligned = MEAN_OVER_RMS * math.sqrt(self.fan_out) * through
        return self.rate * self.fan_in * self.signal * aligned


def _layers(
    recording: Recording, parameters: Mapping[str, Tensor], steps: _Steps
) -> Iterator[_Layer]:
    for key, site in recording.sites.items():
        weight = parameters.get(f"{site.module}.weight")
        kinds = (key, f"{key}:input", f"{key}:grad")
        if site.kind == "output" and weight is not None and all(k in recording for k in kinds):
            output, entering, gradient = (recording[k] for k in kinds)
            if weight.grad is not None and weight.dim() > 1 and gradient.units == len(weight):
                yield _layer(weight, steps, entering, output, gradient)


def _layer(
    weight: Tensor,
    steps: _Steps,
    entering: TensorStats,
    output: TensorStats,
    gradient: TensorStats,
) -> _Layer:
    rate, eps = steps.rate(weight)
    slope = _array(weight.grad)
    signal = slope - _constant_part(slope, entering, gradient)
    fan_out, fan_in = len(slope), slope[0].size
    if steps.family == "plain":
        step, of_signal = (rate * float(np.sqrt(np.mean(g**2))) for g in (slope, signal))
        progress = rate * float(np.sum(signal**2))
    else:
        step, of_signal = (rate * _normalised(g, eps) for g in (slope, signal))
        progress = of_signal * float(np.abs(signal).sum())
    return _Layer(
        input=entering,
        output=output,
        gradient=gradient,
        fan_in=fan_in,
        fan_out=fan_out,
        rate=rate,
        weight_rms=float(np.sqrt(np.mean(_array(weight) ** 2))),
        step=step,
        step_of_signal=of_signal,
        progress=progress,
    )


def _array(tensor: Tensor | None) -> NDArray[np.float64]:
    assert tensor is not None
    return tensor.detach().double().cpu().numpy()


def _constant_part(
    slope: NDArray[np.float64], entering: TensorStats, gradient: TensorStats
) -> NDArray[np.float64] | float:
    """Return the part of a weight's gradient that the input's mean alone would give."""
    mean, slopes = entering.unit_mean, gradient.unit_mean
    if mean is None or slopes is None or len(mean) != slope.shape[1]:
        return 0.0
    total = slopes * (gradient.count / gradient.units)
    part = np.outer(total, mean)
    return part.reshape(part.shape + (1,) * (slope.ndim - 2))


def _normalised(slope: NDArray[np.float64], eps: float) -> float:
    """Return the size of a normalised step, near 1; less where epsilon outweighs the gradient."""
    size = np.abs(slope)
    total = float(size.sum())
    return float(np.sum(size * (size / (size + max(eps, TINY))))) / max(total, TINY)


def _last_activation(recording: Recording, last: _Layer) -> tuple[float, float, float]:
    """Return rms of z, gate openness, and largest value of the last activation, if there is one."""
    sites = [key for key, site in recording.sites.items() if site.activation is not None]
    if not sites:
        return last.input.rms, 1.0, CEILING
    z, a = f"{sites[-1]}:input", recording[sites[-1]]
    limits = a.activation.limits if a.activation is not None else (math.inf,)
    ceiling = min(CEILING, max(map(abs, limits)))
    return recording[z].rms if z in recording else math.nan, a.gate_openness, ceiling


# ---- measured: written by `python -m benchmarks.clinic.prognosis --write` ------------------------

# 2026-11-25, python -m benchmarks.clinic.prognosis --networks 6000
# fmt: off
MODELS: Mapping[Family, Model] = {
    "plain": Model(
        intercept=-4.797, cut=0.337,
        curves={
            "last_motion": (
                (-30.0, -4.08, -0.79, 0.61, 4.96),
                (7.099, 1.28, -0.004, 0.047, 4.237),
            ),
            "last_progress": (
                (-18.38, -4.51, -1.29, -0.1, 2.68),
                (12.855, 3.829, 0.064, -0.379, 1.24),
            ),
            "motion": (
                (-30.0, -2.77, 0.86, 2.23, 6.8),
                (5.562, 0.424, 0.281, -0.695, -4.471),
            ),
            "change": (
                (-4.51, -0.53, 0.34, 1.56, 4.27),
                (1.989, -0.863, 0.36, 2.269, 7.084),
            ),
            "reach": (
                (-15.0, 0.0, 6.23, 13.9, 50.08),
                (5.849, -1.379, -0.071, 2.087, 1.44),
            ),
            "distance": (
                (-0.5, -0.15, -0.09, 0.4, 1.71),
                (3.186, 0.709, -0.109, -0.358, 3.552),
            ),
            "scale": (
                (-1.34, -0.21, 0.0, 1.97),
                (-2.804, 0.425, 0.0, 2.564),
            ),
            "openness": (
                (-2.0, -0.34, -0.3, -0.22, -0.01),
                (-0.878, -0.461, 0.024, 0.4, -0.696),
            ),
            "width": (
                (1.0, 1.51, 1.81),
                (0.217, -0.002, 0.339),
            ),
            "steps": (
                (-0.48, -0.09, 0.84, 1.12, 2.32),
                (-1.533, 0.163, -0.09, 1.835, 0.929),
            ),
            "capacity": (
                (-0.75, 0.92, 1.76, 2.5, 3.5),
                (-0.866, 0.783, -0.387, 0.455, 0.731),
            ),
        },
        healthy={
            "last_motion": -0.668,
            "last_progress": -1.118,
            "motion": 1.254,
            "change": 0.084,
            "reach": 6.484,
            "distance": -0.098,
            "scale": 0.0,
            "openness": -0.302,
            "width": 1.505,
            "steps": 0.509,
            "capacity": 2.1,
        },
        caught=Rate(565, 645),
        false=Rate(33, 607),
        bins=(
            (0.02, Rate(4, 171)),
            (0.05, Rate(10, 160)),
            (0.1, Rate(5, 106)),
            (0.2, Rate(24, 101)),
            (0.4, Rate(25, 81)),
            (0.6, Rate(12, 36)),
            (0.8, Rate(48, 65)),
            (0.9, Rate(28, 33)),
            (0.97, Rate(70, 74)),
            (1.0, Rate(419, 425)),
        ),
    ),
    "adaptive": Model(
        intercept=-5.987, cut=-0.578,
        curves={
            "last_motion": (
                (-30.0, -3.1, -1.71, -1.02, 0.79),
                (-1.507, 0.848, 0.665, -1.653, -0.09),
            ),
            "last_progress": (
                (-30.0, -4.0, -2.52, -1.81, -0.76),
                (14.843, 5.551, -0.011, 0.019, -2.043),
            ),
            "motion": (
                (-30.0, -2.07, -0.54, 0.4, 2.21),
                (-0.506, -2.149, -0.124, 0.236, 0.417),
            ),
            "change": (
                (-30.0, -1.37, -0.92, -0.42, 0.49),
                (3.995, -0.583, -0.13, 0.601, -0.008),
            ),
            "reach": (
                (-15.0, 1.61, 3.87, 7.52, 19.84),
                (8.515, 0.976, -0.012, 0.063, 3.145),
            ),
            "distance": (
                (-0.49, -0.15, -0.09, 0.47, 1.79),
                (1.912, 0.687, -0.012, -0.29, 0.878),
            ),
            "scale": (
                (-1.2, -0.24, -0.0, 2.14),
                (-5.385, -0.296, 0.0, 0.241),
            ),
            "openness": (
                (-30.0, -0.35, -0.31, -0.23, -0.01),
                (-4.319, -0.694, 0.057, -0.86, 0.971),
            ),
            "width": (
                (1.0, 1.51, 1.81),
                (0.461, -0.005, 0.199),
            ),
            "steps": (
                (1.54, 2.06, 2.55, 3.12, 4.54),
                (-1.5, 0.389, -0.065, 1.314, 4.418),
            ),
            "capacity": (
                (-2.76, -1.05, -0.17, 0.58, 1.45),
                (0.619, -1.247, -0.044, 0.185, -1.448),
            ),
        },
        healthy={
            "last_motion": -1.512,
            "last_progress": -2.269,
            "motion": -0.216,
            "change": -0.831,
            "reach": 4.468,
            "distance": -0.091,
            "scale": 0.0,
            "openness": -0.305,
            "width": 1.505,
            "steps": 2.48,
            "capacity": -0.025,
        },
        caught=Rate(269, 330),
        false=Rate(86, 1477),
        bins=(
            (0.02, Rate(10, 1040)),
            (0.05, Rate(4, 155)),
            (0.1, Rate(11, 97)),
            (0.2, Rate(10, 81)),
            (0.4, Rate(34, 93)),
            (0.6, Rate(35, 72)),
            (0.8, Rate(35, 64)),
            (0.9, Rate(30, 40)),
            (0.97, Rate(43, 46)),
            (1.0, Rate(118, 119)),
        ),
    ),
}
# fmt: on
