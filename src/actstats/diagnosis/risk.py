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
        return cls(
            last_motion=_log(last.step_of_signal * last.fan_in * last.signal),
            last_progress=_log(last.progress / max(loss, TINY)),
            motion=_log(sum(per_sample) / (distance if steps.family == "adaptive" else 1)),
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
    worst = sorted((n for n in parts if parts[n] > LEAST_REASON), key=parts.__getitem__)[:-4:-1]
    numbers = features.numbers()
    reasons = tuple(_reason(name, numbers[name], model.healthy[name]) for name in worst)
    return Risk(
        probability=probability,
        alarmed=odds > model.cut,
        alike=alike,
        caught=model.caught,
        false=model.false,
        reasons=reasons,
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
    "reach": "the signal that 50 steps can bring to the last layer is {} of its input",
    "distance": "outputs have to move by about {}",
    "scale": "what goes into the last activation has an rms of {}",
    "openness": "the last activation's gate is open by {}",
    "width": "the last layer has {} inputs",
    "steps": "the output's bias alone needs {} steps for the way to go",
    "capacity": "a step of the last layer can take at most {} of the way to go",
}


def _reason(name: str, value: float, healthy: float) -> str:
    return f"{WORDS[name].format(_plain(value))} (healthy ones: {_plain(healthy)})"


def _plain(logarithm: float) -> str:
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

# 2026-11-25, python -m benchmarks.clinic.prognosis --networks 5042
# fmt: off
MODELS: Mapping[Family, Model] = {
    "plain": Model(
        intercept=-4.293, cut=0.389,
        curves={
            "last_motion": (
                (-30.0, -2.21, -0.0, 4.97),
                (7.459, 1.217, -0.531, 3.643),
            ),
            "last_progress": (
                (-18.65, -2.73, -0.57, 2.65),
                (10.816, 0.797, -0.255, 0.0),
            ),
            "motion": (
                (-30.0, -0.87, 1.7, 7.25),
                (6.342, 0.877, -0.178, -3.959),
            ),
            "change": (
                (-4.51, -0.26, 1.08, 4.22),
                (1.91, -0.766, 2.237, 7.345),
            ),
            "reach": (
                (-15.0, 2.18, 10.28, 48.19),
                (6.305, -1.507, 1.416, 2.203),
            ),
            "distance": (
                (-0.5, -0.11, 0.02, 1.71),
                (2.174, 0.101, -0.996, 2.369),
            ),
            "scale": (
                (-1.32, -0.0, 2.0),
                (-1.95, 0.0, 3.2),
            ),
            "openness": (
                (-2.0, -0.33, -0.26, -0.01),
                (-1.445, -0.507, 0.808, -0.457),
            ),
            "width": (
                (1.0, 1.81),
                (-0.006, 0.004),
            ),
            "steps": (
                (-0.48, -0.0, 0.93, 2.33),
                (-1.179, -0.567, 0.431, 1.441),
            ),
            "capacity": (
                (-0.77, 1.16, 2.21, 3.5),
                (-1.695, 0.442, -0.058, 0.885),
            ),
        },
        healthy={
            "last_motion": -0.671,
            "last_progress": -1.093,
            "motion": 1.267,
            "change": 0.082,
            "reach": 6.357,
            "distance": -0.098,
            "scale": 0.0,
            "openness": -0.303,
            "width": 1.505,
            "steps": 0.528,
            "capacity": 2.089,
        },
        caught=Rate(466, 544),
        false=Rate(30, 505),
        bins=(
            (0.02, Rate(6, 184)),
            (0.05, Rate(8, 113)),
            (0.1, Rate(8, 75)),
            (0.2, Rate(16, 82)),
            (0.4, Rate(16, 54)),
            (0.6, Rate(24, 45)),
            (0.8, Rate(25, 39)),
            (0.9, Rate(30, 38)),
            (0.97, Rate(64, 70)),
            (1.0, Rate(347, 349)),
        ),
    ),
    "adaptive": Model(
        intercept=-6.676, cut=-0.664,
        curves={
            "last_motion": (
                (-30.0, -2.33, -1.24, 0.78),
                (0.116, 1.809, -0.593, 1.806),
            ),
            "last_progress": (
                (-13.37, -3.27, -1.99, -0.76),
                (10.1, 3.132, -0.837, -0.491),
            ),
            "motion": (
                (-29.85, -1.34, 0.15, 2.22),
                (-4.908, -0.778, 0.241, 0.207),
            ),
            "change": (
                (-3.94, -1.24, -0.58, 0.5),
                (1.853, -0.599, 0.354, -0.356),
            ),
            "reach": (
                (-14.99, 2.31, 6.01, 20.09),
                (7.219, 0.296, -0.196, 3.003),
            ),
            "distance": (
                (-0.49, -0.11, 0.04, 1.79),
                (1.609, 0.021, -0.156, 1.095),
            ),
            "scale": (
                (-1.2, -0.0, 2.04),
                (-4.785, 0.0, -0.836),
            ),
            "openness": (
                (-30.0, -0.33, -0.27, -0.01),
                (0.166, 0.079, -0.119, 1.826),
            ),
            "width": (
                (1.0, 1.51, 1.81),
                (0.441, -0.004, -0.328),
            ),
            "steps": (
                (1.54, 2.36, 2.91, 4.51),
                (-0.825, -0.094, 0.446, 4.441),
            ),
            "capacity": (
                (-2.76, -0.76, 0.36, 1.44),
                (-0.355, -1.081, 0.544, -0.985),
            ),
        },
        healthy={
            "last_motion": -1.509,
            "last_progress": -2.26,
            "motion": -0.203,
            "change": -0.825,
            "reach": 4.534,
            "distance": -0.092,
            "scale": 0.0,
            "openness": -0.306,
            "width": 1.505,
            "steps": 2.456,
            "capacity": -0.015,
        },
        caught=Rate(241, 293),
        false=Rate(71, 1223),
        bins=(
            (0.02, Rate(4, 800)),
            (0.05, Rate(4, 148)),
            (0.1, Rate(9, 83)),
            (0.2, Rate(19, 92)),
            (0.4, Rate(31, 110)),
            (0.6, Rate(39, 69)),
            (0.8, Rate(31, 46)),
            (0.9, Rate(18, 25)),
            (0.97, Rate(44, 48)),
            (1.0, Rate(94, 95)),
        ),
    ),
}
# fmt: on
