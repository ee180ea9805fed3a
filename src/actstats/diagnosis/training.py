"""Rules on how the net is used: what never runs, and how far a step goes."""

from __future__ import annotations

from collections.abc import Iterator

from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds

__all__ = ["UPDATE_RATIO", "never_called", "update_ratio"]

UPDATE_RATIO = "update_ratio/"
"""Scalars of this name and a parameter's hold std(update) / std(weight) of a step."""

USUAL = 1e-3  # the ratio in a run that goes well


def never_called(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find modules that were built, and whose forward never ran."""
    modules = reading.recording.never_called
    for name, parameters in modules.items():
        if parameters in ("used", "none"):
            continue  # something else reads its parameters, or nothing is lost
        unused = parameters == "unused"
        yield Finding(
            "never-called",
            name,
            "warning" if unused else "info",
            "its forward never ran" + (", and no gradient reached its parameters." * unused or "."),
            {"unused_parameters": int(unused)},
            f"Call {name} in the model's forward, or remove it.",
        )
    idle = [name for name, parameters in modules.items() if parameters == "none"]
    if idle:
        yield Finding(
            "never-called",
            idle[0],
            "info",
            f"{len(idle)} modules without parameters never ran: {', '.join(idle[:4])}.",
            {"modules": len(idle)},
            "Nothing is lost unless they were meant to run; functions such as F.relu replace them.",
        )


def update_ratio(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find parameters that a step changes beyond measure, or not at all."""
    ratios = _ratios(reading)
    if not ratios:
        raise DoesNotApply(
            "no update was seen: give `check` the optimizer, or `step` scalars"
            f" named {UPDATE_RATIO}<parameter>"
        )
    high = {name: r for name, r in ratios.items() if r >= thresholds.update_high}
    low = {name: r for name, r in ratios.items() if r <= thresholds.update_low}
    if high:
        worst = max(high, key=lambda name: high[name])
        yield _beyond(reading, worst, high, thresholds.update_high, "too far")
    if low:
        worst = min(low, key=lambda name: low[name])
        yield _beyond(reading, worst, low, thresholds.update_low, "hardly at all")


def _ratios(reading: Reading) -> dict[str, float]:
    """Return the mean ratio of each parameter over the last window that gave it."""
    found: dict[str, float] = {}
    for window in reading.windows:
        for name, scalar in window.scalars.items():
            if name.startswith(UPDATE_RATIO):
                found[name.removeprefix(UPDATE_RATIO)] = scalar.mean
    return found


def _beyond(
    reading: Reading, worst: str, ratios: dict[str, float], bound: float, how: str
) -> Finding:
    ratio = ratios[worst]
    far = ratio > bound
    factor = f" by a factor of about {max(ratio / USUAL, USUAL / ratio):.0e}" if ratio else ""
    severity: Severity = "critical" if far and ratio >= 4 * bound else "warning"
    module = worst.rpartition(".")[0]
    direction = "Lower" if far else "Raise"
    return Finding(
        "update-ratio",
        module if module in reading else None,
        severity,
        f"a step changes {worst} {how}: std(update) / std(weight) is {ratio:.2g}, and usually"
        f" about {USUAL:g} ({len(ratios)} parameters lie beyond the bound).",
        {"ratio": ratio, "bound": bound, "parameters": len(ratios)},
        f"{direction} the learning rate{factor}"
        + (" or warm it up." if far else "; if the gradient vanishes there, cure that first."),
    )
