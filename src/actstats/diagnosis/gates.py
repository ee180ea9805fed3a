"""The rule that judges activations with flat ends: saturated."""

from __future__ import annotations

from collections.abc import Iterator

from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.reading import Reading, is_bounded
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.diagnosis.units import severity_of
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["saturated"]

ONE_SIDE = 0.9  # share of a layer's saturated values that makes it the side's


def saturated(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find layers whose values lie in the flat parts of a bounded activation."""
    bounded = [s for s in reading.sites if is_bounded(s) and _is_judged(reading.now(s.key))]
    if not bounded:
        raise DoesNotApply("no activation here is bounded on both sides")
    for site in bounded:
        stats = reading.now(site.key)
        severity = _severity(stats, thresholds)
        if severity is not None and reading.is_last(site):
            severity = "info"  # a classifier that is sure of itself
        if severity is not None:
            yield _finding(reading, site, stats, severity, thresholds)


def _is_judged(stats: TensorStats) -> bool:
    return not stats.why("saturated_fraction")


def _severity(stats: TensorStats, thresholds: Thresholds) -> Severity | None:
    values, stuck, units = _flat(stats)
    of_units = severity_of(stuck, units, thresholds) if stuck else None
    if values >= thresholds.critical_saturation or of_units == "critical":
        return "critical"
    return "warning" if values >= thresholds.saturated_values else of_units


def _flat(stats: TensorStats) -> tuple[float, int, int]:
    """Return the share of saturated values, the units stuck there, and the units in all.

    Of ReLU6 and its kin only the upper end counts: below, dead units are judged.
    """
    assert stats.activation is not None
    if stats.activation.relu_like:
        return stats.saturated_high, 0, 0
    units = stats.saturated_units
    if units is None:
        return stats.saturated_fraction, 0, 0
    return stats.saturated_fraction, int(units.sum()), len(units)


def _finding(
    reading: Reading, site: Site, stats: TensorStats, severity: Severity, thresholds: Thresholds
) -> Finding:
    values, stuck, units = _flat(stats)
    low, high, both = stats.saturated_low, stats.saturated_high, stats.two_sided_units
    side = _side(low, high)
    assert stats.activation is not None
    message = (
        f"{100 * values:.0f} % of the values lie where {stats.activation.name} is flat ({side});"
        f" the gate is {100 * stats.gate_openness:.1f} % open"
    )
    if units:
        message += f"; {stuck} of {units} units are stuck there"
    evidence = {
        "saturated_fraction": values,
        "saturated_low": low,
        "saturated_high": high,
        "bound": thresholds.saturated_values,
        "gate_openness": stats.gate_openness,
        "units": units,
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
