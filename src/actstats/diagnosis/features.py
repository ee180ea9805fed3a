"""What one forward and backward tells of a network's chances to learn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actstats.diagnosis.fitted import Family
from actstats.recording import Recording
from actstats.stats import TensorStats

__all__ = ["NAMES", "Features"]

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
