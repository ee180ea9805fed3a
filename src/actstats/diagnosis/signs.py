"""A few figures that tell how a net is at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress

from actstats.diagnosis.gradients import way_back
from actstats.diagnosis.reading import Reading, is_bounded
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.scales import signal
from actstats.diagnosis.thresholds import Thresholds
from actstats.recording import Recording

__all__ = ["vital_signs"]


def vital_signs(recording: Recording) -> dict[str, float]:
    """Return what was seen of: least signal, the gradient's decades, dead and saturated shares.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(1, [8, 8], 1, activation="relu", bias_init=-9.0)
    >>> with actstats.ActivationRecorder(net) as recorder:
    ...     _ = net(torch.randn(64, 1))
    >>> vital_signs(recorder.recording)
    {'least signal fraction': 0.0, 'dead units': 1.0}
    """
    return {name: value for name, value in _signs(recording) if not math.isnan(value)}


def _signs(recording: Recording) -> Iterator[tuple[str, float]]:
    reading = Reading(recording, Thresholds())
    layers = [reading.now(layer.a.key) for layer in reading.layers]
    yield "least signal fraction", _least(map(signal, layers))
    with suppress(DoesNotApply):
        yield "gradient's decades", way_back(reading).decades
    yield "dead units", -_least(-stats.dead_fraction for stats in layers)
    bounded = [reading.now(layer.a.key) for layer in reading.layers if is_bounded(layer.a)]
    yield "saturated values", -_least(-stats.saturated_fraction for stats in bounded)


def _least(values: Iterator[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)
