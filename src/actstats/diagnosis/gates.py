"""The rule that judges activations with flat ends: saturated."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actstats.activations import Activation
from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["saturated"]

ONE_SIDE = 0.9  # share of a layer's saturated values that makes it the side's


def saturated(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find layers whose values lie in the flat parts of a bounded activation."""
    bounded = [s for s in reading.sites if _is_bounded(reading.now(s.key))]
    if not bounded:
        raise DoesNotApply("no activation here is bounded on both sides")
    for site in bounded:
        stats = reading.now(site.key)
        severity = _severity(stats, thresholds)
        if severity is not None:
            yield _finding(reading, site, stats, severity, thresholds)


def _is_bounded(stats: TensorStats) -> bool:
    """Tell whether there are two flat ends: of ReLU and its kin, half of all values lie in one."""
    activation: Activation | None = stats.activation
    if activation is None or stats.why("saturated_fraction"):
        return False
    return all(math.isfinite(limit) for limit in activation.limits)


def _severity(stats: TensorStats, thresholds: Thresholds) -> Severity | None:
    values = stats.saturated_fraction
    units = stats.saturated_units
    stuck = 0 if units is None else int(units.sum())
    share = 0.0 if units is None else stuck / len(units)
    many = stuck >= 2 * thresholds.least_units or share == 1
    if values >= thresholds.critical_saturation or (share >= thresholds.critical_units and many):
        return "critical"
    enough = stuck >= thresholds.least_units or share == 1
    if values >= thresholds.saturated_values or (share >= thresholds.sick_units and enough):
        return "warning"
    return "info" if stuck else None


def _finding(
    reading: Reading, site: Site, stats: TensorStats, severity: Severity, thresholds: Thresholds
) -> Finding:
    values, low, high = stats.saturated_fraction, stats.saturated_low, stats.saturated_high
    units, both = stats.saturated_units, stats.two_sided_units
    stuck = 0 if units is None else int(units.sum())
    side = _side(low, high)
    assert stats.activation is not None
    message = (
        f"{100 * values:.0f} % of the values lie where {stats.activation.name} is flat ({side});"
        f" the gate is {100 * stats.gate_openness:.1f} % open"
    )
    if units is not None:
        message += f"; {stuck} of {len(units)} units are stuck there"
    evidence = {
        "saturated_fraction": values,
        "saturated_low": low,
        "saturated_high": high,
        "bound": thresholds.saturated_values,
        "gate_openness": stats.gate_openness,
        "units": 0 if units is None else len(units),
        "saturated_units": stuck,
        "two_sided_units": 0 if both is None else int(both.sum()),
        "samples": int(stats.moments.n.min()),
    }
    since = reading.since(site.key, lambda s: _severity(s, thresholds) is not None)
    return Finding(
        "saturated", site.key, severity, message + ".", evidence, _remedy(reading, site), since
    )


def _side(low: float, high: float) -> str:
    total = low + high
    if total and low / total >= ONE_SIDE:
        return "low side"
    return "high side" if total and high / total >= ONE_SIDE else "both sides"


def _remedy(reading: Reading, site: Site) -> str:
    layer = reading.layer_of(site)
    name = layer.name
    z = None if layer.z is None else reading.now(layer.z.key)
    if z is None or not z.rms > 1:
        return f"Normalise before {site.module} or scale down what feeds it ({name})."
    if abs(z.mean) > 2 * z.std:
        return (
            f"Set the bias of {name} to 0: its outputs lie at {z.mean:.2g} ± {z.std:.2g}; or"
            f" normalise before {site.module}."
        )
    return (
        f"Divide the weights of {name} by {z.rms:.2g}, so that its outputs have an rms of 1"
        f" (it is {z.rms:.2g}), or normalise before {site.module}; if it comes in training,"
        " lower the learning rate."
    )
