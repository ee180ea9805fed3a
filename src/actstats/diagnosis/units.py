"""Rules that count units: dead, silent, dormant, identical."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["dead_units", "dormant_units", "identical_units", "silent_units"]

BoolArray = NDArray[np.bool_]
SAME = 1e-6  # relative difference of statistics below which two units are taken for one
NO_ACTIVATION = "no activation function was seen; `functional=True` sees those like F.relu"


def severity_of(sick: int, units: int, thresholds: Thresholds) -> Severity:
    """Judge a layer by how many of its units are sick.

    Examples
    --------
    >>> [severity_of(n, 10, Thresholds()) for n in (3, 4, 5, 6, 10)]
    ['info', 'warning', 'warning', 'critical', 'critical']
    """
    share = sick / units
    many = share >= thresholds.critical_units and sick >= thresholds.least_critical
    if many or sick == units:
        return "critical"
    some = share >= thresholds.sick_units and sick >= thresholds.least_units
    return "warning" if some else "info"


def dead_units(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find units that no gradient reaches: never active, where the slope is then exactly 0."""
    mortal = [site for site in reading.sites if not reading.now(site.key).why("dead_fraction")]
    if not mortal:
        raise DoesNotApply(_why_none(reading, "dead_fraction"))
    for site in mortal:
        dead = reading.now(site.key).dead_units
        if dead is not None and dead.any():
            yield _silence(reading, site, dead, "dead-units", thresholds)


def silent_units(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find units that are never active, where a small slope is left to them."""
    judged = [
        site
        for site in reading.sites
        if not reading.now(site.key).why("silent_fraction")
        and reading.now(site.key).why("dead_fraction")
    ]
    if not judged:
        seen = any(site.activation is not None for site in reading.sites)
        otherwise = "every unit here can die" if seen else NO_ACTIVATION
        raise DoesNotApply(_why_none(reading, "silent_fraction", otherwise))
    for site in judged:
        stats = reading.now(site.key)
        silent = stats.silent_units
        if silent is None or not silent.any():
            continue
        if _samples(stats, silent) >= thresholds.enough_samples:
            yield _silence(reading, site, silent, "silent-units", thresholds)


def dormant_units(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find units that give next to nothing beside the others of their layer."""
    judged = [s for s in reading.features if not reading.now(s.key).why("dormant_fraction")]
    if not judged:
        otherwise = "no activation, embedding or recurrent layer was seen"
        raise DoesNotApply(_why_none(reading, "dormant_fraction", otherwise))
    for site in judged:
        stats = reading.now(site.key)
        dormant = stats.dormant_units
        if dormant is None or not dormant.any():
            continue
        quiet = dormant & ~_or_none(stats.silent_units, dormant)  # those have rules of their own
        if quiet.any():
            yield _dormancy(site, stats, quiet, thresholds)


def identical_units(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find units that do the same: what starts equal and gets equal gradients stays equal.

    Where gradients were recorded, theirs have to be equal too: units that agree but feed the next
    layer by different weights will part. Without gradients all units have to agree.
    """
    judged = [s for s in reading.sites if s.activation is not None or s.trainable is not None]
    judged = [s for s in judged if reading.now(s.key).units > 1]
    if not judged:
        raise DoesNotApply("no layer here tells its units apart")
    for site in judged:
        stats, gradient = reading.now(site.key), reading.gradient(site)
        alive = int((stats.moments.var > 0).sum())
        known = gradient is not None and gradient.units == stats.units and gradient.rms > 0
        twins = _twins(stats, gradient if known else None)
        least = thresholds.critical_units * alive if known else alive
        if alive > 1 and twins >= max(2, least):
            yield _identity(site, stats, twins, alive, known)


# ---- what they say -------------------------------------------------------------------------------


def _silence(
    reading: Reading, site: Site, silent: BoolArray, rule: str, thresholds: Thresholds
) -> Finding:
    sick, units, n = int(silent.sum()), len(silent), _samples(reading.now(site.key), silent)
    at_birth = int((silent & _or_none(reading.whole(site.key).silent_units, silent)).sum())
    severity = severity_of(sick, units, thresholds)
    if rule == "silent-units" and severity == "critical":
        severity = "warning"  # a slope is left: they can come back
    adjective, verb = rule.partition("-")[0], "is" if sick == 1 else "are"
    born_so = f", {at_birth} of them since the beginning" if at_birth and sick > 1 else ""
    message = (
        f"{sick} of {units} units {verb} {adjective}: no active sample among {n:,}"
        f" (so P(active) < {3 / n:.2g} at 95 %){born_so}."
    )
    evidence: dict[str, float] = {
        "units": units,
        adjective: sick,
        "share": sick / units,
        "bound": thresholds.sick_units,
        "samples": n,
        "largest_probability": 3 / n,
        "since_the_beginning": at_birth,
    }
    if severity != "info":  # it takes a look at each window
        evidence["births"], evidence["revivals"] = _turns(reading, site.key)
    since = reading.since(site.key, lambda s: _count(s.silent_units) >= sick)
    fell = sick - at_birth if since > reading.first_step else 0
    why = f"{sick} of {units} units never fired on {n:,} samples"
    remedy = _wake(reading, site, why, fell, sick)
    return Finding(rule, site.key, severity, message, evidence, remedy, since)


def _samples(stats: TensorStats, units: BoolArray) -> int:
    """Return on how many samples each of some units was judged, at least."""
    assert stats.judged is not None
    return int(stats.judged.seen[units].min())


def _wake(reading: Reading, site: Site, why: str, fell: int, sick: int) -> str:
    """Say how such units come to life again: by what feeds them, or by what killed most of them."""
    layer = reading.layer_of(site)
    if 2 * fell > sick:
        alive = "they were" if fell == sick else f"{fell} of these were"
        return (
            f"Lower the learning rate or clip gradients: {why}, but {alive} alive before. To go"
            f" on from here, initialise the rows of {layer.name} that feed them anew, bias 0."
        )
    z = None if layer.z is None else reading.now(layer.z.key)
    if z is not None and z.unit_mean is not None and z.unit_std is not None:
        middle = float(np.median(z.unit_mean))
        if float(np.median(z.unit_mean + 2 * z.unit_std)) < 0:
            return (
                f"Set the bias of {layer.name} to 0 or raise it by {-middle:.2g}: {why}; or"
                f" normalise before {site.module}."
            )
    return (
        f"Look at {layer.name}: {why}. Set its bias to 0, initialise its weights anew (He), or"
        f" normalise before {site.module}."
    )


def _dormancy(site: Site, stats: TensorStats, quiet: BoolArray, thresholds: Thresholds) -> Finding:
    sick, units = int(quiet.sum()), len(quiet)
    many = sick / units >= thresholds.dormant_layer and sick >= thresholds.least_units
    return Finding(
        "dormant-units",
        site.key,
        "warning" if many else "info",
        f"{sick} of {units} units give{'s' * (sick == 1)} at most 2.5 % of the layer's mean |a|.",
        {
            "units": units,
            "dormant": sick,
            "share": sick / units,
            "bound": thresholds.dormant_layer,
            "samples": int(stats.moments.n.min()),
        },
        f"Initialise the incoming weights of these units of {site.module} anew and set their"
        " outgoing ones to 0 (as ReDo does), or make the layer narrower.",
    )


def _identity(site: Site, stats: TensorStats, twins: int, alive: int, known: bool) -> Finding:
    name = site.source if site.activation is not None and site.source else site.module
    why = (
        "and so have their gradients: they compute the same function, and equal gradients keep"
        " them equal"
        if known
        else "they compute the same function, and stay equal unless what they feed differs"
    )
    return Finding(
        "identical-units",
        site.key,
        "critical" if known else "warning",
        f"{twins} of {alive} units have the same mean and spread as another to {SAME:g}, {why}.",
        {
            "units": stats.units,
            "identical": twins,
            "samples": int(stats.moments.n.min()),
            "bound": SAME,
        },
        f"Initialise the weights of {name} at random (Xavier, He): equal rows never part.",
    )


# ---- counting ------------------------------------------------------------------------------------


def _twins(stats: TensorStats, gradient: TensorStats | None) -> int:
    """Count units that vary, and whose statistics are another's too."""
    alive = (stats.moments.var > 0) & (stats.moments.n > 1)
    if alive.sum() < 2:
        return 0
    parts = [_unit_figures(stats)] + ([] if gradient is None else [_unit_figures(gradient)])
    figures = np.concatenate(parts)[:, alive]
    order = np.lexsort(figures[::-1])
    size = np.abs(figures).max(axis=1, keepdims=True)
    same = (np.abs(np.diff(figures[:, order])) <= SAME * size).all(axis=0)
    return int((np.append(same, False) | np.insert(same, 0, False)).sum())


def _unit_figures(stats: TensorStats) -> NDArray[np.float64]:
    """Return each unit's mean, spread and mean size, shape (3, C)."""
    m = stats.moments
    return np.stack((m.mean, np.sqrt(m.var), m.abs_sum / np.maximum(m.n, 1)))


def _turns(reading: Reading, key: str) -> tuple[int, int]:
    """Count units that fell silent, and that came back, between windows."""
    births = revivals = 0
    before: BoolArray | None = None
    for _, stats in reading.history(key):
        now = stats.silent_units
        if now is not None and before is not None and len(now) == len(before):
            births += int((now & ~before).sum())
            revivals += int((before & ~now).sum())
        before = now if now is not None else before
    return births, revivals


def _count(units: BoolArray | None) -> int:
    return 0 if units is None else int(units.sum())


def _or_none(units: BoolArray | None, like: BoolArray) -> BoolArray:
    """Return the units, none of them where they are not told apart as these are."""
    return np.zeros_like(like) if units is None or len(units) != len(like) else units


def _why_none(reading: Reading, figure: str, otherwise: str = NO_ACTIVATION) -> str:
    """Return why a figure applies nowhere: the reason of the sites that come closest."""
    reasons = [reading.now(s.key).why(figure) for s in reading.sites if s.activation is not None]
    return next((reason for reason in reasons if reason), otherwise)
