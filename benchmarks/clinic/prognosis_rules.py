"""What is known of a network before training: the features, and the published rules' figures."""

from __future__ import annotations

import math

import numpy as np

from actstats import ActivationRecorder, Recording
from actstats.diagnosis.features import Features
from benchmarks.clinic import prognosis_nets as nets

CUTS = {
    "std of activations outside [0.5, 2]": 1.0,
    "variance ratio of layers > 10": 1.0,
    "depth decay < -0.29": 0.29,
    "signal fraction < 1 %": 2.0,
    "rms of a gradient < 1e-7": 7.0,
    "half of a ReLU layer dead": 0.5,
}
"""An alarm is a figure above its cut; formulas of our own for what is published."""


def measure(case: nets.Case) -> dict[str, dict[str, float]]:
    """Record one forward and backward before training, and read it."""
    net = nets.build(case)
    x, y = next(nets.batches(case, 1))
    recorder = ActivationRecorder(net, capture=("output", "input", "grad"), functional=True)
    with recorder:
        loss = nets.task(case.task).loss(net(x), y)
        loss.backward()
        recorder.step(loss=loss.item())
    features = Features.of(
        recorder.recording,
        optimizer=nets.make_optimizer(case, net),
        parameters=net.named_parameters(),
    )
    return {"features": rounded(features.numbers()), "rules": rounded(figures(recorder.recording))}


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in numbers.items()}


def figures(recording: Recording) -> dict[str, float]:
    """Return the figures that the published rules compare with a cut, in the order of `CUTS`."""
    sites = _activations(recording)
    std = np.array([_log(recording[site].std) for site in sites])
    gradients = [_log(recording[site, "grad"].rms) for site in sites]
    signal = [recording[site].signal_fraction for site in sites]
    dead = [recording[site].dead_fraction for site in sites]
    values = (
        float(np.abs(std).max()) / math.log10(2),
        2 * float(np.abs(np.diff(std)).max()),
        (gradients[-1] - gradients[0]) / (len(sites) - 1),
        -min(_log(0.0 if math.isnan(s) else s) for s in signal),
        -min(gradients),
        max(0.0 if math.isnan(d) else d for d in dead),
    )
    return dict(zip(CUTS, values, strict=True))


def _activations(recording: Recording) -> list[str]:
    return [key for key, site in recording.sites.items() if site.activation is not None]


def _log(value: float) -> float:
    return math.log10(min(max(value, 1e-30), 1e30))
