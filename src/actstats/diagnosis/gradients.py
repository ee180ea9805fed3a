"""Rules on what flows backward: vanishing and exploding gradients, and none at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from actstats.diagnosis.finding import Finding
from actstats.diagnosis.reading import Reading, gates_range, spread
from actstats.diagnosis.rescaling import Gain, open_gates, scale_down, scale_up
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.gains import Step, geometric_mean, norm, steps_back
from actstats.layers import Layer
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["exploding_gradient", "no_gradient", "vanishing_gradient"]

FIRST_STEPS = 10  # in which a layer that begins with weights of 0 may still be closed


@dataclass(frozen=True)
class Way:
    """The way of the gradient from the last layer to the first.

    Parameters
    ----------
    layers : tuple of Layer
        Those whose gradient was seen and is not zero, from the input on.
    steps : tuple of Step
        What each but the first does.
    first, last : TensorStats
        The gradients at both ends.
    """

    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]
    first: TensorStats
    last: TensorStats

    @property
    def decades(self) -> float:
        """log10 of the first norm over the last: negative where the gradient vanishes."""
        return math.log10(norm(self.first) / norm(self.last))

    @property
    def decay(self) -> float:
        """Decades per layer."""
        return self.decades / (len(self.layers) - 1)

    @property
    def gate_gain(self) -> float:
        """Geometric mean over layers of what the gates let through; nan where none was seen."""
        return geometric_mean([step.gate for step in self.steps])

    @property
    def weight_gain(self) -> float:
        """Geometric mean over layers of what weights and norms do."""
        return geometric_mean([step.weight for step in self.steps])


def way_back(reading: Reading) -> Way:
    """Return the way of the gradient through the layers.

    Raises
    ------
    DoesNotApply
        If fewer than two layers got a gradient.
    """
    found = [(layer, reading.gradient(layer.a)) for layer in reading.layers]
    seen = [(layer, g) for layer, g in found if g is not None and g.rms > 0]
    if len(seen) < 2:
        raise DoesNotApply("fewer than two layers got a gradient")
    layers = tuple(layer for layer, _ in seen)
    return Way(layers, tuple(steps_back(seen, reading.gradient)), seen[0][1], seen[-1][1])


def gradient_gains(reading: Reading) -> dict[str, Gain]:
    """Return how many times the gradient's norm each layer hands back, by its site."""
    try:
        steps = way_back(reading).steps
    except DoesNotApply:
        return {}
    return {step.layer.a.key: Gain(step.gain, step.weight) for step in steps}


def vanishing_gradient(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find a net whose first layers get next to nothing of the gradient of the last."""
    way = way_back(reading)
    if len(way.layers) < thresholds.depth and -way.decades < thresholds.vanished:
        raise DoesNotApply(
            f"{len(way.layers)} layers are too few to judge over depth (at least"
            f" {thresholds.depth})"
        )
    if -way.decades < thresholds.vanishing:
        return
    yield _vanishing(reading, way, thresholds)


def _vanishing(reading: Reading, way: Way, thresholds: Thresholds) -> Finding:
    shut = way.gate_gain < thresholds.shut_gate or _gates_explain(way)
    losers = [s for s in way.steps if (s.gate if shut else s.gain) < thresholds.unit_gain]
    losers = losers or list(way.steps)
    worst = min(losers, key=lambda s: s.gate if shut else s.gain)
    layers = [step.layer for step in losers]
    evidence = _evidence(way, "gates" if shut else "weights", thresholds.vanishing)
    if shut:
        site, remedy = worst.layer.a.key, open_gates(reading, layers)
        through = geometric_mean([step.gate for step in losers])
        why = f"{gates_range(layers)} are shut: they let {through:.2g} through on average"
    else:
        gain = geometric_mean([step.gain for step in losers])
        site = _weight_site(worst, losers, reading)
        remedy, factor = scale_up(reading, layers, gradient_gains)
        if factor is not None:
            evidence["factor"] = factor
        why = f"{gates_range(layers)} pass back {gain:.2g} each: their weights are too small"
    critical = -way.decades >= thresholds.vanished
    return Finding(
        "vanishing-gradient",
        site,
        "critical" if critical else "warning",
        f"the gradient shrinks {10**-way.decades:,.0f}-fold from {way.layers[-1].a.module} to"
        f" {way.layers[0].a.module} ({way.decay:.2f} decades per layer); {why}.",
        evidence,
        remedy,
        _since(reading, way, lambda d: -d >= thresholds.vanishing),
        modules=tuple(layer.name for layer in layers),
    )


def exploding_gradient(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find a net whose gradient grows towards the input, or in time."""
    spike = _spike(reading, thresholds)
    if spike is not None:
        yield spike
        return
    way = way_back(reading)
    bound, critical = _bounds(reading, way, thresholds)
    shallow = len(way.layers) < thresholds.depth
    if way.decades < (critical if shallow else bound):
        return
    worst = max(way.steps, key=lambda step: step.gain)
    growing = [step for step in way.steps if step.gain > 1 / thresholds.unit_gain]
    layers = [step.layer for step in growing] or [worst.layer]
    remedy, factor = scale_down(reading, layers, gradient_gains)
    evidence = _evidence(way, "weights", bound)
    if factor is not None:
        evidence["factor"] = factor
    yield Finding(
        "exploding-gradient",
        worst.layer.name if worst.layer.name in reading else worst.layer.a.key,
        "critical" if way.decades >= critical else "warning",
        f"the gradient grows {10**way.decades:,.0f}-fold from {way.layers[-1].a.module} to"
        f" {way.layers[0].a.module} ({way.decay:+.2f} decades per layer).",
        evidence,
        remedy,
        _since(reading, way, lambda d: d >= bound),
        modules=tuple(layer.name for layer in layers),
    )


def _bounds(reading: Reading, way: Way, thresholds: Thresholds) -> tuple[float, float]:
    """Return the decades of growth that are a warning and critical."""
    if not any("Norm" in site.module_type for site in reading.sites):
        return thresholds.exploding, thresholds.exploded
    deep = len(way.layers) >= thresholds.deep
    bound = thresholds.exploding_deep if deep else thresholds.exploding_normed
    return bound, 1.5 * bound


def _spike(reading: Reading, thresholds: Thresholds) -> Finding | None:
    """Return the gradient that grew most in time, where it grew beyond the bound."""
    if len(reading.windows) < 3:
        return None
    found = []
    for key in (f"{site.key}:grad" for site in reading.sites):
        history = sorted(reading.scales(key)) if key in reading else []
        usual = history[len(history) // 2] if len(history) > 2 else 0.0
        if usual > 0 and reading.now(key).rms / usual >= thresholds.spike:
            found.append((reading.now(key).rms / usual, usual, key))
    if not found:
        return None
    ratio, usual, key = max(found)
    return Finding(
        "exploding-gradient",
        key,
        "critical",
        f"its gradient's rms is {usual * ratio:.3g}, {ratio:,.0f} times its median over the"
        f" windows; so it is at {len(found)} sites.",
        {"rms": usual * ratio, "ratio": ratio, "bound": thresholds.spike, "sites": len(found)},
        "Lower the learning rate or warm it up, and clip the gradient's norm at a few times its"
        " usual size.",
        reading.since(key, lambda s: s.rms >= thresholds.spike * usual),
    )


def no_gradient(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find layers with weights that no gradient reaches: detached, frozen or cut off."""
    modules: dict[str, list[Site]] = {}
    for site in reading.sites:
        if site.trainable is not None:
            modules.setdefault(site.module, []).append(site)
    if not modules:
        raise DoesNotApply("no layer with parameters was seen")
    every = [site for sites in modules.values() for site in sites]
    reached = [s for s in every if (g := reading.gradient(s)) is not None and g.rms > 0]
    for sites in modules.values():
        if not any(site in reached for site in sites):
            yield from _unreached(reading, sites, reached)


def _unreached(
    reading: Reading, sites: Sequence[Site], reached: Sequence[Site]
) -> Iterator[Finding]:
    """Report a module none of whose outputs got a gradient that is finite and not zero."""
    site, gradients = sites[0], [reading.gradient(site) for site in sites]
    seen = [gradient for gradient in gradients if gradient is not None]
    if any(not gradient.finite_count for gradient in seen):
        return  # NaN is another fault
    if not site.trainable:
        yield _frozen(site)
    elif not seen:
        yield _cut_off(reading, site, reached)
    elif reading.steps < FIRST_STEPS and _opens_soon(reading, site, reached):
        yield _closed_yet(site)
    else:
        yield _zero(reading, site, seen[0])


def _frozen(site: Site) -> Finding:
    return Finding(
        "no-gradient",
        site.key,
        "info",
        "its parameters do not require a gradient: it is frozen.",
        {"trainable": 0},
        f"If that is not on purpose: `{site.module}.requires_grad_(True)`.",
    )


def _cut_off(reading: Reading, site: Site, reached: Sequence[Site]) -> Finding:
    later = [s for s in reached if reading.place(s.key) > reading.place(site.key)]
    upto = f" though {later[0].module}, after it, gets one" if later else ""
    return Finding(
        "no-gradient",
        site.key,
        "critical",
        f"its parameters want a gradient, and none came back to its output{upto}: the graph is"
        " cut after it.",
        {"trainable": 1, "sites_reached": len(reached)},
        f"Look for `.detach()`, `.item()`, `.data`, `no_grad` or numpy between {site.module} and"
        f" {later[0].module if later else 'the loss'}.",
    )


def _zero(reading: Reading, site: Site, gradient: TensorStats) -> Finding:
    return Finding(
        "no-gradient",
        site.key,
        "critical",
        f"the gradient at its output is exactly 0 in all {gradient.count:,} values.",
        {"values": gradient.count, "zeros": gradient.zeros, "trainable": 1},
        "Something after it lets nothing through: weights that are all 0, a dead or saturated"
        " layer, or a loss that does not depend on it.",
        reading.since(f"{site.key}:grad", lambda s: not s.rms > 0),
    )


def _opens_soon(reading: Reading, site: Site, reached: Sequence[Site]) -> bool:
    """Tell whether a first step lets the gradient through: weights of 0 that get a gradient.

    So begin heads, adapters and the branches of residual nets. The layer whose weights are 0 gives
    the same for every sample, though what goes in varies.
    """
    place = reading.place(site.key)
    later = [s for s in reached if reading.place(s.key) > place and s.activation is None]
    closed = [s for s in later if not spread(reading.now(s.key)) > 0]
    return bool(closed) and spread(reading.now(site.key)) > 0


def _closed_yet(site: Site) -> Finding:
    return Finding(
        "no-gradient",
        site.key,
        "info",
        "no gradient yet: a layer after it begins with weights of 0, which get one.",
        {"trainable": 1},
        "Nothing, if these begin at 0 on purpose: their first step opens the way.",
    )


# ---- figures -------------------------------------------------------------------------------------


def _gates_explain(way: Way) -> bool:
    """Tell whether the gates lose more decades than the weights do."""
    gates = sum(math.log10(s.gate) for s in way.steps if s.gate > 0)
    return gates < -1 and gates < 0.6 * way.decades


def _weight_site(worst: Step, losers: Sequence[Step], reading: Reading) -> str:
    """Return where the weights are to blame: the one far worse than all, else the first."""
    others = sorted(step.gain for step in losers)
    alone = len(others) == 1 or others[0] < 0.3 * others[1]
    layer = worst.layer if alone else losers[0].layer
    return layer.name if layer.name in reading else layer.a.key


def _evidence(way: Way, cause: str, bound: float) -> dict[str, object]:
    return {
        "decades": way.decades,
        "decay_per_layer": way.decay,
        "bound": bound,
        "layers": len(way.layers),
        "first_rms": way.first.rms,
        "last_rms": way.last.rms,
        "gate_gain": way.gate_gain,
        "weight_gain": way.weight_gain,
        "cause": cause,
    }


def _since(reading: Reading, way: Way, holds: Callable[[float], bool]) -> int:
    """Return since when the ratio of the two ends breaks the bound."""
    first, last = (f"{layer.a.key}:grad" for layer in (way.layers[0], way.layers[-1]))
    sizes = math.log10(norm(way.first) / way.first.rms) - math.log10(norm(way.last) / way.last.rms)
    since = reading.windows[-1].first_step
    for window in reversed(reading.windows):
        ends = window.scales.get(first, 0.0), window.scales.get(last, 0.0)
        if not (min(ends) > 0 and holds(math.log10(ends[0] / ends[1]) + sizes)):
            break
        since = window.first_step
    return since
