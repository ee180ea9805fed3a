"""Rules on how the net is used: what never runs, and how far a step goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.update_ratios import UPDATE_RATIO

__all__ = ["never_called", "update_ratio"]

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
    """Find steps that change the parameters beyond measure, or hardly.

    The whole net is judged by the median over its parameters; a single one is a remark.
    """
    ratios = _ratios(reading)
    if not ratios:
        raise DoesNotApply(
            "no update was seen: give the optimizer to `check`, or to the recorder's `watch`"
        )
    middle = median(ratios.values())
    if middle >= thresholds.update_high:
        far = middle >= 4 * thresholds.update_high
        yield _too_far(middle, ratios, "critical" if far else "warning", thresholds)
    elif 0 < middle <= thresholds.update_low:
        yield _too_little(middle, ratios, thresholds)
    else:
        yield from _odd_ones(ratios, reading, thresholds)


def _ratios(reading: Reading) -> dict[str, float]:
    """Return the mean ratio of each parameter over the last window that gave it."""
    found: dict[str, float] = {}
    for window in reading.windows:
        for name, scalar in window.scalars.items():
            if name.startswith(UPDATE_RATIO):
                found[name.removeprefix(UPDATE_RATIO)] = scalar.mean
    return found


def _too_far(
    middle: float, ratios: dict[str, float], severity: Severity, thresholds: Thresholds
) -> Finding:
    return Finding(
        "update-ratio",
        None,
        severity,
        f"a step changes the weights by {middle:.2g} of their size (median over {len(ratios)}"
        f" parameters; about {USUAL:g} is usual).",
        {"ratio": middle, "bound": thresholds.update_high, "parameters": len(ratios)},
        f"Lower the learning rate by a factor of about {middle / USUAL:.0e}, or warm it up.",
    )


def _too_little(middle: float, ratios: dict[str, float], thresholds: Thresholds) -> Finding:
    return Finding(
        "update-ratio",
        None,
        "warning",
        f"a step changes the weights by {middle:.2g} of their size (median over {len(ratios)}"
        f" parameters; about {USUAL:g} is usual): it will learn next to nothing.",
        {"ratio": middle, "bound": thresholds.update_low, "parameters": len(ratios)},
        f"Raise the learning rate by a factor of up to {USUAL / middle:.0e}; if the gradient"
        " vanishes, cure that first.",
    )


def _odd_ones(
    ratios: dict[str, float], reading: Reading, thresholds: Thresholds
) -> Iterator[Finding]:
    """Report the parameters that a step moves far more or far less than the others."""
    worst = max(ratios, key=lambda name: ratios[name])
    if ratios[worst] >= thresholds.update_high:
        far = ratios[worst] >= 4 * thresholds.update_high
        yield _odd(worst, ratios, reading, thresholds.update_high, "warning" if far else "info")
    moved = {name: ratio for name, ratio in ratios.items() if ratio > 0}
    least = min(moved, key=lambda name: moved[name], default=worst)
    if ratios[least] <= thresholds.update_low and len(moved) > 1:
        yield _odd(least, ratios, reading, thresholds.update_low, "warning")
    still = [name for name in ratios if name not in moved]
    if still and moved:
        yield _unmoved(still, moved, reading)


def _unmoved(still: Sequence[str], moved: dict[str, float], reading: Reading) -> Finding:
    """Remark on parameters that no step changes at all: not graver, as dead units cause it too."""
    module = still[0].rpartition(".")[0]
    names = ", ".join(still[:4]) + (" ..." if len(still) > 4 else "")
    return Finding(
        "update-ratio",
        module if module in reading else None,
        "info",
        f"steps leave {len(still)} of {len(still) + len(moved)} parameters exactly as they are:"
        f" {names}; the others move by {median(moved.values()):.2g} of their size (median).",
        {"unmoved": len(still), "parameters": len(still) + len(moved)},
        "Where its gradient is not 0, a step rounds to nothing in the dtype of the weight: keep"
        " float32 weights and run torch.autocast. A gradient of 0 comes of dead units behind it.",
    )


def _odd(
    name: str, ratios: dict[str, float], reading: Reading, bound: float, severity: Severity
) -> Finding:
    module, middle = name.rpartition(".")[0], median(ratios.values())
    high = ratios[name] >= bound > middle
    cure = (
        "Nothing, if the parameter starts near 0; else lower its learning rate."
        if high
        else "Raise its learning rate, unless it is small on purpose or its gradient vanishes."
    )
    return Finding(
        "update-ratio",
        module if module in reading else None,
        severity,
        f"a step changes {name} by {ratios[name]:.2g} of its size, the others by {middle:.2g}"
        " (median).",
        {"ratio": ratios[name], "median": middle, "bound": bound},
        cure,
    )
