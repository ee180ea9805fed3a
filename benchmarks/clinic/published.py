"""Rules that others publish, and simple ones, as formulas over the same recording.

Each says where it comes from. The thresholds of SageMaker Debugger are those of its documentation
of built-in rules, DeepDiagnosis' those of its code (`callback/callbacks.py` in its repository,
DeepDiagnosis/ICSE2022). Where a figure is known and no bound for it was found, the cut-off is this
project's, was chosen on other networks than the clinic's, and the source says "own cut-off".

Each tells where it fires; an empty list means that it is silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from actstats import Recording, TensorStats

OWN = "own cut-off"
GLOROT = "Glorot and Bengio 2010"
DEEP_DIAGNOSIS = "DeepDiagnosis, Wardat et al. 2022"
SAGEMAKER = "SageMaker Debugger, built-in rules"


@dataclass(frozen=True)
class Published:
    """A rule of others.

    Parameters
    ----------
    name : str
        What tables call it.
    source : str
        Where it comes from.
    targets : tuple of str
        The rules of ours whose faults it is for.
    fires : callable
        ``fires(recording)`` yields the sites that it alarms on.
    """

    name: str
    source: str
    targets: tuple[str, ...]
    fires: Callable[[Recording], Iterator[str]]

    def sites(self, recording: Recording) -> list[str]:
        """Return where it alarms."""
        return list(self.fires(recording))


def outputs(recording: Recording) -> dict[str, TensorStats]:
    """Return the statistics of activation functions' outputs, in order."""
    return {
        site: stats
        for site, stats in kind(recording, "output").items()
        if stats.activation is not None
    }


def kind(recording: Recording, wanted: str) -> dict[str, TensorStats]:
    """Return the statistics of one kind of site, in order."""
    return {site: recording[site] for site, s in recording.sites.items() if s.kind == wanted}


def gradients(recording: Recording) -> dict[str, TensorStats]:
    """Return the gradients of activation functions' outputs, in order."""
    grads = kind(recording, "grad")
    wanted = (f"{site}:grad" for site in outputs(recording))
    return {site: grads[site] for site in wanted if site in grads and grads[site].finite_count}


def each(
    parts: Callable[[Recording], Mapping[str, TensorStats]], alarming: Callable[[TensorStats], bool]
) -> Callable[[Recording], Iterator[str]]:
    """Return what fires at every site of those that is alarming."""

    def fires(recording: Recording) -> Iterator[str]:
        return (site for site, stats in parts(recording).items() if alarming(stats))

    return fires


def everything(recording: Recording) -> dict[str, TensorStats]:
    """Return outputs and gradients; inputs too would count minus infinities of masks as faults."""
    return {s: recording[s] for s, site in recording.sites.items() if site.kind != "input"}


def all_gradients(recording: Recording) -> dict[str, TensorStats]:
    return kind(recording, "grad")


def by_depth(limit: float) -> Callable[[Recording], Iterator[str]]:
    """Return what fires where gradients decay by more decades per layer."""

    def fires(recording: Recording) -> Iterator[str]:
        found = list(gradients(recording).items())
        if len(found) > 1:
            first, last = found[0][1].rms, found[-1][1].rms
            decay = math.log10(first / last) / (len(found) - 1) if first and last else -math.inf
            if decay < limit:
                yield found[0][0]

    return fires


def first_over_last(recording: Recording) -> Iterator[str]:
    """Fire where the first activation's gradient is below 1 % of the last one's."""
    found = list(gradients(recording).items())
    if len(found) > 1 and found[0][1].rms < 1e-2 * found[-1][1].rms:
        yield found[0][0]


def variance_jumps(recording: Recording) -> Iterator[str]:
    """Fire where two neighbouring activations' variances differ more than tenfold."""
    found = list(outputs(recording).items())
    for (_, before), (site, after) in pairwise(found):
        if max(before.var, after.var) > 10 * min(before.var, after.var):
            yield site


def inactive(stats: TensorStats) -> bool:
    """Tell whether more than half of a ReLU's units are active on less than 1 % of samples."""
    active = stats.active_fraction
    is_relu = stats.activation is not None and stats.activation.name.lower() == "relu"
    return is_relu and active is not None and bool(np.mean(active < 0.01) > 0.5)


def beyond(bound: float, share: float) -> Callable[[TensorStats], bool]:
    """Return what tells that values of a tanh (or sigmoid, rescaled) lie near its ends."""

    def alarming(stats: TensorStats) -> bool:
        name = stats.activation.name.lower() if stats.activation is not None else ""
        if name not in ("tanh", "sigmoid") or not stats.finite_count:
            return False
        low, high = (-bound, bound) if name == "tanh" else ((1 - bound) / 2, (1 + bound) / 2)
        ends = stats.histogram([-math.inf, low, high, math.inf]).counts
        return (ends[0] + ends[2]) / stats.finite_count > share

    return alarming


def mostly_negative(stats: TensorStats) -> bool:
    """Tell whether at least 70 % of values are at most 0."""
    if not stats.finite_count:
        return False
    if stats.min >= 0:
        return stats.zero_fraction >= 0.7
    negative = stats.histogram([-math.inf, 0.0, math.inf]).counts[0]
    return (negative + stats.zeros) / stats.finite_count >= 0.7


RULES = (
    Published(
        "activation std outside [0.5, 2]",
        f"{OWN}; std of 1: LSUV, Mishkin and Matas 2016",
        ("vanishing-gradient", "exploding-activation", "exploding-gradient", "input-independent"),
        each(outputs, lambda s: s.finite_count > 0 and not 0.5 <= s.std <= 2),
    ),
    Published(
        "variance ratio of neighbours > 10",
        f"{OWN}; equal variances: {GLOROT}",
        ("vanishing-gradient", "exploding-activation", "exploding-gradient", "scale-drift"),
        variance_jumps,
    ),
    Published(
        "depth decay < -0.29",
        f"{OWN}; the figure: {GLOROT}",
        ("vanishing-gradient", "input-independent"),
        by_depth(-0.29),
    ),
    Published(
        "gradient first / last < 1 %",
        f"{OWN}; AutoTrainer, Zhang et al. 2021, has 0.1 % for weights",
        ("vanishing-gradient", "input-independent"),
        first_over_last,
    ),
    Published(
        "signal fraction < 1 %",
        f"{OWN}; cf. Schoenholz et al. 2017",
        ("input-independent", "dead-units"),
        each(outputs, lambda s: s.signal_fraction < 0.01),
    ),
    Published(
        "mean absolute gradient < 1e-7",
        f"{SAGEMAKER}: VanishingGradient; {DEEP_DIAGNOSIS}",
        ("vanishing-gradient", "no-gradient"),
        each(all_gradients, lambda s: s.abs_mean < 1e-7),
    ),
    Published(
        "mean absolute gradient < 1e-9",
        f"{OWN}, a hundredth of SageMaker Debugger's",
        ("vanishing-gradient", "no-gradient"),
        each(all_gradients, lambda s: s.abs_mean < 1e-9),
    ),
    Published(
        "more than half of a ReLU layer inactive",
        f"{SAGEMAKER}: DeadRelu, 1 % and 50 %",
        ("dead-units", "silent-units"),
        each(outputs, inactive),
    ),
    Published(
        "70 % of values <= 0",
        f"{DEEP_DIAGNOSIS}: dead nodes",
        ("dead-units", "silent-units"),
        each(outputs, mostly_negative),
    ),
    Published(
        "any dormant unit, tau 0.025",
        "Sokar et al. 2023, definition 3.1",
        ("dormant-units", "dead-units", "silent-units"),
        each(outputs, lambda s: bool(np.any(s.dormant_units))),
    ),
    Published(
        "half of a tanh or sigmoid beyond 97 %",
        "the Batch Normalization tutorial's bound, Morvan Zhou; half of the values: own",
        ("saturated",),
        each(outputs, beyond(0.97, 0.5)),
    ),
    Published(
        "NaN or Inf anywhere",
        f"{SAGEMAKER}: ExplodingTensor",
        ("non-finite", "low-precision-range"),
        each(everything, lambda s: s.nan_count + s.inf_count > 0),
    ),
    Published(
        "all values zero",
        f"{SAGEMAKER}: AllZero",
        ("dead-units", "no-gradient", "low-precision-range"),
        each(everything, lambda s: s.count > 0 and s.zeros == s.count),
    ),
)
