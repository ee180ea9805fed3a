"""Rules on the numbers themselves: NaN and Inf, and what narrow formats cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest

import numpy as np

from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.recording import Window
from actstats.sites import Site, base_name, split_key
from actstats.stats import TensorStats

__all__ = ["FORMATS", "Format", "low_precision_range", "non_finite", "offenders", "share_below"]


# ---- NaN and Inf ---------------------------------------------------------------------------------


def non_finite(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find where the first NaN or Inf was made, in any phase, forward or backward."""
    found = next((window for window in reading.every_window if offenders(window)), None)
    if found is None:
        return
    broken = offenders(found)
    site = _first_offender(reading, broken)
    stats, step = found.stats[site], broken[site]
    backward = split_key(site)[1] == "grad"
    trend = _trend(reading, found)
    recovered = _recovered(reading, found)
    where = "the backward pass" if backward else "the forward pass"
    phase = f" of {found.phase}" if found.phase != reading.phase else ""
    message = (
        f"{stats.nan_count:,} NaN and {stats.inf_count:,} Inf among {stats.count:,} values"
        f"{_steps(found)}{phase}; the first in {where} of step {step}"
    )
    message += f", then at {len(broken) - 1} other sites" if len(broken) > 1 else ""
    if trend is not None:
        message += f"; before, the rms of {trend[0]} had grown {trend[1]:.3g}-fold"
    if recovered is not None:
        message += f"; all is finite again from step {recovered} on"
    yield Finding(
        "non-finite",
        site,
        _severity(backward, recovered is not None),
        message + ".",
        {
            "nan": stats.nan_count,
            "inf": stats.inf_count,
            "values": stats.count,
            "step": step,
            "sites": len(broken),
            "backward": int(backward),
            "growth_before": 1.0 if trend is None else trend[1],
            "recovered": int(recovered is not None),
        },
        _cure(site, backward, trend, recovered is not None),
        step,
    )


def _severity(backward: bool, recovered: bool) -> Severity:
    """Judge by what came of it: a loss scaler skips steps whose gradients overflow."""
    if not recovered:
        return "critical"
    return "info" if backward else "warning"


def _recovered(reading: Reading, found: Window) -> int | None:
    """Return the step from which on all is finite again; None if the last windows are not."""
    whole = list(takewhile(lambda w: not offenders(w), reversed(_of_its_phase(reading, found))))
    return whole[-1].first_step if whole else None


def _of_its_phase(reading: Reading, found: Window) -> list[Window]:
    return [window for window in reading.every_window if window.phase == found.phase]


def offenders(window: Window) -> dict[str, int]:
    """Return the sites that are broken, each with the first step in which it was.

    An input is broken only where it breaks what comes out. So is -Inf, which masks attention
    scores: alone it is a fault only where the next site in the forward is broken, or none comes.
    """
    first = window.first_non_finite
    if not first:
        return {}
    broken = {key for key in first if _is_broken(window.stats[key])}
    outputs = [key for key in window.stats if split_key(key)[1] == "output"]
    for key, after in reversed(list(zip_longest(outputs, outputs[1:]))):
        if key in first and (after is None or after in broken):
            broken.add(key)
    names = {base_name(split_key(key)[0]) for key in broken if split_key(key)[1] == "output"}
    return {
        key: step
        for key, step in first.items()
        if key in broken and (split_key(key)[1] != "input" or base_name(split_key(key)[0]) in names)
    }


def _is_broken(stats: TensorStats) -> bool:
    return bool(stats.nan_count or stats.posinf_count)


def _steps(window: Window) -> str:
    """Say which steps a window is of; nothing of one, which is named anyway."""
    first, last = window.first_step, window.last_step
    return "" if first == last else f" of steps {first} to {last}"


def _first_offender(reading: Reading, broken: Mapping[str, int]) -> str:
    """Return the first in the first step: in the forward, else the gradient nearest to the loss.

    What goes into a layer comes before what it gives.
    """
    step = min(broken.values())
    first = [key for key, at in broken.items() if at == step]
    forward = [key for key in first if split_key(key)[1] != "grad"]
    if forward:
        return min(forward, key=lambda key: (reading.place(key), split_key(key)[1] != "input"))
    return max(first, key=reading.place)


def _trend(reading: Reading, found: Window) -> tuple[str, float] | None:
    """Return the site that grew most over the four windows before, where one doubled."""
    same = _of_its_phase(reading, found)
    earlier = [w for w in same if w.last_step < found.first_step][-4:]
    if len(earlier) < 2:
        return None
    growth = {
        key: last / first
        for key, last in earlier[-1].scales.items()
        if (first := earlier[0].scales.get(key, 0.0)) > 0
    }
    key = max(growth, key=lambda k: growth[k], default=None)
    return None if key is None or not growth[key] > 2 else (key, growth[key])


def _cure(site: str, backward: bool, trend: tuple[str, float] | None, recovered: bool) -> str:
    name = split_key(site)[0]
    if recovered and backward:
        return "Nothing, if a loss scaler or a check of yours skipped these steps."
    if trend is not None:
        return (
            f"It ran away before it broke: lower the learning rate, warm it up or clip gradients;"
            f" watch {trend[0]}."
        )
    if backward:
        return (
            f"Look at what is computed from {name}: sqrt, norm, log or division at 0 have no finite"
            " slope; add a small constant inside."
        )
    return (
        f"Look into {name}: a log, division, sqrt or exp out of its range, or NaN in the data;"
        " check what goes in with `torch.isfinite`."
    )


# ---- narrow formats ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A floating-point format by the exponents of its limits.

    Parameters
    ----------
    name : str
        As torch spells it.
    normal, subnormal : int
        log2 of the least normal and of the least positive number.
    largest : float
        The largest finite number.
    """

    name: str
    normal: int
    subnormal: int
    largest: float


FORMATS = (
    Format("float16", -14, -24, 65504.0),
    Format("bfloat16", -126, -133, float.fromhex("0x1.fep127")),
    Format("float8_e5m2", -14, -16, 57344.0),
    Format("float8_e4m3fn", -6, -9, 448.0),
)


def share_below(stats: TensorStats, exponent: int) -> float:
    """Return the share of non-zero finite values with a size below 2**exponent, exactly.

    Examples
    --------
    >>> import torch
    >>> from actstats import TensorStats
    >>> share_below(TensorStats.from_tensor(torch.tensor([2.0**-15, 1.0, 0.0, -3.0])), -14)
    0.3333333333333333
    """
    bits = stats.bits
    total = int(bits.counts.sum())
    if not total:
        return 0.0
    k = bits.resolution
    size = np.asarray(bits.index) & ((1 << (8 + k)) - 1)  # without the sign
    limit = max(exponent + 127, 0) << k
    return int(bits.counts[size < limit].sum()) / total


def low_precision_range(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find what float16 cannot hold: where it is used, a fault; elsewhere, a warning ahead."""
    half = FORMATS[0]
    sites = [key for key in reading.recording.sites if reading.now(key).finite_count]
    if not sites:
        raise DoesNotApply("no finite value was seen")
    low = {key: share_below(reading.now(key), half.subnormal) for key in sites}
    subnormal = {key: share_below(reading.now(key), half.normal) for key in sites}
    used = [key for key in sites if _is_at_risk(reading.site(key), half)]
    yield from _overflows(reading, sites, half)
    yield from _losses(reading, used, subnormal, low, thresholds, "warning")
    rest = [key for key in sites if key not in set(used)]
    yield from _losses(reading, rest, low, low, thresholds, "info")


def _is_at_risk(site: Site, half: Format) -> bool:
    """Tell whether a site is in float16 as it is recorded: scaled gradients lie higher."""
    return site.dtype == half.name and not site.scaled


def _overflows(reading: Reading, sites: Sequence[str], half: Format) -> Iterator[Finding]:
    """Report the site with the largest value, where it is near or beyond float16's largest."""
    every = {key: reading.whole(key) for key in sites}
    sizes = {key: max(abs(stats.min), abs(stats.max)) for key, stats in every.items()}
    key = max(sizes, key=lambda k: sizes[k])
    site, size = reading.site(key), sizes[key]
    limit = half.largest / 2 if site.dtype == half.name else half.largest
    if size <= limit:
        return
    beyond = [k for k in sizes if sizes[k] > limit]
    clear = site.kind == "grad" or reading.is_last(site)  # a scale of the loss, of the target
    ahead = site.dtype != half.name and clear
    yield Finding(
        "low-precision-range",
        key,
        "info" if ahead else "warning",
        f"its values reach {size:.3g}; float16 ends at {half.largest:,.0f}"
        f" ({len(beyond)} sites come near or beyond).",
        {"largest": size, "bound": limit, "sites": len(beyond), **_table(reading.now(key))},
        "Keep clear of float16 here: bfloat16 for autocast, or float32 for this layer; or normalise"
        " before it.",
    )


def _losses(
    reading: Reading,
    sites: Sequence[str],
    share: dict[str, float],
    flushed: dict[str, float],
    thresholds: Thresholds,
    severity: Severity,
) -> Iterator[Finding]:
    """Report the site that loses most of its values, where one loses too many."""
    lossy = [key for key in sites if share[key] >= thresholds.underflow]
    if not lossy:
        return
    key = max(lossy, key=lambda k: share[k])
    site: Site = reading.site(key)
    verb = "are" if severity == "warning" else "would be"
    below = share_below(reading.now(key), FORMATS[0].normal)
    yield Finding(
        "low-precision-range",
        key,
        severity,
        f"{100 * below:.0f} % of its non-zero values {verb} below"
        f" float16's normal range, {100 * flushed[key]:.0f} % below its least number"
        f" ({len(lossy)} sites lose as much; recorded in {site.dtype}).",
        {
            "share": share[key],
            "bound": thresholds.underflow,
            "sites": len(lossy),
            **_table(reading.now(key)),
        },
        "Scale the loss (GradScaler), or use bfloat16, which has float32's range.",
    )


def _table(stats: TensorStats) -> dict[str, float]:
    """Return the shares below each format's normal and least numbers."""
    shares = {}
    for form in FORMATS:
        shares[f"below_normal_{form.name}"] = share_below(stats, form.normal)
        shares[f"below_least_{form.name}"] = share_below(stats, form.subnormal)
    return shares
