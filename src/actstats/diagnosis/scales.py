"""Rules on the scale of what flows forward: signal, growth, drift, and the input itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from actstats.activations import Activation
from actstats.diagnosis.finding import Finding, Severity
from actstats.diagnosis.norms import adds_to_a_stream, fitting_norm
from actstats.diagnosis.reading import (
    Reading,
    gates_range,
    is_bounded,
    span,
    spread,
)
from actstats.diagnosis.rescaling import Gain, scale_up, weight_gain
from actstats.diagnosis.rule import DoesNotApply
from actstats.diagnosis.thresholds import Thresholds
from actstats.gains import geometric_mean
from actstats.layers import Layer, is_state
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["exploding_activation", "input_independent", "scale_drift", "unnormalised_input"]

ORDINARY = 1.0  # growth is counted from here: what grows up to it harms nobody
TINY = 1e-30
GROWS = 1.5  # a layer that multiplies what varies by as much has a part in the growth
BRANCH = (  # Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3
    "; where it ends a residual branch, scale down what is added to the stream (GPT-2 begins with"
    " 1/√N for N branches)"
)
ALONE = 0.1  # a layer that passes on so much less than the next worst is the one to blame


def input_independent(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find layers that give nearly the same whatever goes in."""
    sites = [layer.a for layer in reading.layers]
    sites += [s for s in reading.features if s not in sites and "Embedding" not in s.module_type]
    sites += [site for site in reading.sites if is_state(site)]
    sites.sort(key=lambda s: reading.place(s.key))
    judged = [s for s in sites if not math.isnan(signal(reading.now(s.key)))]
    if not judged:
        raise DoesNotApply("no layer here tells its units apart over several samples")
    gains = signal_gains(reading)
    lost = _lost(reading, judged, thresholds)
    if all(reading.is_last(site) for site in lost):
        return  # a head may begin with a bias that outweighs all else
    for i, site in enumerate(lost):
        yield _lost_signal(reading, site, lost[i:], gains, thresholds)


def _lost(reading: Reading, judged: Sequence[Site], thresholds: Thresholds) -> list[Site]:
    """Return the layers without signal; of those with a little, only where it stays lost.

    Where the next layer has it again, a branch beside the way has less, and that is no fault.
    """
    signals = [signal(reading.now(site.key)) for site in judged]
    after = [*signals[1:], 0.0]
    return [
        site
        for site, own, following in zip(judged, signals, after, strict=True)
        if own < _bound(site, following, thresholds)
    ]


def _bound(site: Site, following: float, thresholds: Thresholds) -> float:
    """Return the signal below which a layer has lost it: of final states nothing may be left."""
    if is_state(site):
        return thresholds.lost_signal**2
    return thresholds.signal if following < 2 * thresholds.signal else thresholds.lost_signal


def signal(stats: TensorStats) -> float:
    """Return the share of a layer's mean square that varies over samples.

    An activation is measured from 0 or from its value at 0, whichever it lies nearer to: a sigmoid
    rests at one half. One that gives nothing but that value has no signal, where others say nan.
    """
    if stats.activation is None or math.isnan(rest := _at_rest(stats.activation)):
        return stats.signal_fraction
    if stats.finite_count and stats.min == stats.max == rest:
        return 0.0
    if stats.why("signal_fraction"):
        return math.nan
    square = stats.var + min(abs(stats.mean), abs(stats.mean - rest)) ** 2
    return spread(stats) ** 2 / square if square else math.nan


@lru_cache(maxsize=256)
def _at_rest(activation: Activation) -> float:
    return float(activation.function(torch.zeros((), dtype=torch.float64)))


def signal_gains(reading: Reading) -> dict[str, Gain]:
    """Return what share of the spread over samples each layer passes on, by its site."""
    spreads = [spread(reading.now(layer.a.key)) for layer in reading.layers]
    pairs = zip(reading.layers[1:], spreads[:-1], spreads[1:], strict=True)
    return {
        layer.a.key: Gain(after / before, weight_gain(reading, layer))
        for layer, before, after in pairs
        if before > 0
    }


def _lost_signal(
    reading: Reading,
    site: Site,
    onward: Sequence[Site],
    gains: Mapping[str, Gain],
    thresholds: Thresholds,
) -> Finding:
    """Report a layer; as gravely as what becomes of the signal in the ones that follow it."""
    stats = reading.now(site.key)
    least = min(onward, key=lambda s: signal(reading.now(s.key)))
    fraction, end = signal(stats), signal(reading.now(least.key))
    weak = _weak_layers(reading, gains, thresholds)
    gain = Gain.mean([gains[layer.a.key] for layer in weak]).whole if weak else 0.0
    message = (
        f"its output hardly depends on the input: {100 * fraction:.2g} % of its mean square varies"
        " over samples, the rest is the same for all"
    )
    if least is not site:
        message += f", down to {100 * end:.2g} % at {least.module}"
    if gain:
        message += f"; {gates_range(weak)} pass on {gain:.2g} of the spread each"
    evidence = {
        "signal_fraction": fraction,
        "least_signal_fraction": end,
        "bound": thresholds.signal,
        "spread": spread(stats),
        "gain_per_layer": gain,
        "shrinking_layers": len(weak),
        "samples": int(stats.moments.n.min()),
    }
    remedy, factor = scale_up(reading, weak, signal_gains) if weak else (_fed(site), None)
    if factor is not None:
        evidence["factor"] = factor
    since = reading.since(site.key, lambda s: signal(s) < thresholds.signal)
    return Finding(
        "input-independent",
        site.key,
        "critical" if end < thresholds.lost_signal else "warning",
        message + ".",
        evidence,
        remedy,
        since,
        modules=tuple(layer.name for layer in weak),
    )


def _fed(site: Site) -> str:
    return (
        f"Look at what feeds {site.module}: with nothing that varies coming in, its own weights are"
        " not at fault."
    )


def _weak_layers(
    reading: Reading, gains: Mapping[str, Gain], thresholds: Thresholds
) -> list[Layer]:
    """Return the layers to blame: one that is far worse than all others, else all that shrink."""
    passed = {layer: gains[layer.a.key].whole for layer in reading.layers if layer.a.key in gains}
    weak = sorted((g, i) for i, g in enumerate(passed.values()) if g < thresholds.unit_gain)
    alone = len(weak) > 1 and weak[0][0] < ALONE * weak[1][0]
    layers = list(passed)
    return [layers[i] for i in sorted(i for _, i in weak[: 1 if alone else None])]


@dataclass(frozen=True)
class Growth:
    """How a layer's outputs vary over samples, and how many times the layer before's do."""

    site: Site
    scale: float
    factor: float


def exploding_activation(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find where activations grow over the depth of the net, or are huge."""
    growths = _growths(reading)
    if len(growths) < 2:
        raise DoesNotApply("fewer than two layers can grow: others are cut off or the last")
    first = max(ORDINARY, growths[0].scale)
    for i, own in enumerate(growths):
        steep = own.factor >= thresholds.steep_growth
        grown = own.scale / first >= thresholds.growth and own.factor > 1
        if steep or grown or own.scale >= thresholds.large:
            blamed = [own] if steep else [g for g in growths[: i + 1] if g.factor > GROWS] or [own]
            yield _explosion(reading, own, blamed, first, thresholds)


def _growths(reading: Reading) -> list[Growth]:
    """Return the growth of each layer; what grows from below the ordinary up to it is none."""
    growths: list[Growth] = []
    for site in _growing_sites(reading):
        before = growths[-1].scale if growths else _input_scale(reading, site)
        scale = spread(reading.now(site.key))  # a bias alone is no growth
        growths.append(Growth(site, scale, scale / max(ORDINARY, before)))
    return growths


def _growing_sites(reading: Reading) -> list[Site]:
    """Return the sites whose scale their own parameters set.

    Without those that feed a bounded activation (what is too large there, it cuts off, and is
    saturated), and without the head, whose scale is the target's.
    """
    cut = {site.source for site in reading.sites if is_bounded(site)}
    weighty = [s for s in reading.sites if s.trainable is not None and s.key not in cut]
    return [site for site in weighty if not reading.is_last(site)]


def _input_scale(reading: Reading, site: Site) -> float:
    key = f"{site.module}:input"
    return max(ORDINARY, spread(reading.now(key))) if key in reading else ORDINARY


def _explosion(
    reading: Reading, own: Growth, blamed: Sequence[Growth], first: float, thresholds: Thresholds
) -> Finding:
    total = own.scale / first
    factor = geometric_mean([growth.factor for growth in blamed])
    modules = tuple(growth.site.module for growth in blamed)
    names = span(modules)
    each, them = ("", "it") if len(modules) == 1 else (" each", "them")
    branch = BRANCH if adds_to_a_stream(own.site, reading) else ""
    critical = own.scale >= thresholds.large or total >= thresholds.growth**2
    return Finding(
        "exploding-activation",
        own.site.key,
        "critical" if critical else "warning",
        f"its outputs vary by {own.scale:.3g} over samples, {own.factor:.3g} times the layer before"
        f" and {total:.3g} times the first layer; {names} grow{'s' * (len(modules) == 1)}"
        f" {factor:.2g}-fold{each}.",
        {
            "spread": own.scale,
            "over_layer_before": own.factor,
            "over_first_layer": total,
            "factor": 1 / factor,
            "bound": thresholds.growth,
            "steep_bound": thresholds.steep_growth,
            "samples": int(reading.now(own.site.key).moments.n.min()),
        },
        f"Divide the weights of {names} by {factor:.2g}{each}, or normalise after {them}"
        f" ({fitting_norm(own.site, reading)}){branch}.",
        reading.since(own.site.key, lambda s: spread(s) >= 0.5 * own.scale),
        modules=modules,
    )


def scale_drift(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find layers whose outputs grow or shrink over the steps."""
    if len(reading.windows) < 3:
        raise DoesNotApply(f"at least 3 windows are needed; this has {len(reading.windows)}")
    for site in reading.sites:
        history = reading.scales(site.key)
        if site.trainable is None or reading.is_last(site) or len(history) < 3:
            continue  # heads grow as they learn
        now = reading.now(site.key).rms
        grown, shrunk = now / max(ORDINARY, history[0]), min(ORDINARY, history[0]) / max(now, TINY)
        if max(grown, shrunk) >= thresholds.drift:
            yield _drift(reading, site, history, now, thresholds)


def _drift(
    reading: Reading,
    site: Site,
    history: Sequence[float],
    now: float,
    thresholds: Thresholds,
) -> Finding:
    ratio = now / max(history[0], TINY)
    grows = ratio > 1
    going_on = len(history) > 3 and (history[-1] > history[-2] > history[-3]) == grows
    return Finding(
        "scale-drift",
        site.key,
        "critical" if grows and ratio >= thresholds.drift**2 else "warning",
        f"its outputs {'grew' if grows else 'shrank'} from an rms of {history[0]:.3g} to {now:.3g}"
        f" over {reading.steps:,} steps{', and go on' if going_on else ''}.",
        {
            "first_rms": history[0],
            "rms": now,
            "ratio": ratio,
            "bound": thresholds.drift,
            "windows": len(history),
        },
        "Lower the learning rate, add weight decay, or normalise the layer; clip gradients if the"
        " growth comes in jumps.",
    )


def unnormalised_input(reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Find inputs whose offset or scale the first layer has to unlearn."""
    first = next((s for s in reading.sites if s.trainable is not None), None)
    key = "" if first is None else f"{first.module}:input"
    if first is None or key not in reading:
        raise DoesNotApply("the input of the first layer with weights was not seen")
    if "Norm" in first.module_type:
        return  # it is normalised there
    stats = reading.now(key)
    scale, offset = stats.rms, abs(stats.mean) / stats.std if stats.std else math.inf
    usual = thresholds.input_small <= scale < thresholds.input_scale
    if (usual and offset < thresholds.input_offset) or not scale:
        return
    yield Finding(
        "unnormalised-input",
        key,
        _input_severity(scale, offset, thresholds),
        f"the input lies at {stats.mean:.3g} ± {stats.std:.3g} (rms {scale:.3g}); weights are"
        " initialised for inputs near 0 ± 1.",
        {
            "mean": stats.mean,
            "std": stats.std,
            "rms": scale,
            "offset": offset,
            "scale_bound": thresholds.input_scale,
            "offset_bound": thresholds.input_offset,
            "samples": int(stats.moments.n.min()),
        },
        f"{_standardise(stats)}, or put a norm before {first.module}.",
    )


def _standardise(stats: TensorStats) -> str:
    """Say how to bring the input to 0 ± 1: by features where these differ."""
    means, deviations = stats.unit_mean, stats.unit_std
    if means is None or deviations is None or len(means) < 2:
        return f"Subtract {stats.mean:.3g} and divide by {stats.std:.3g}"
    sizes = np.hypot(means, deviations)
    if sizes.max() < 10 * max(float(np.median(sizes)), TINY):
        return f"Subtract {stats.mean:.3g} and divide by {stats.std:.3g}"
    worst = int(sizes.argmax())
    return (
        "Standardise each feature by itself: they differ in scale (feature"
        f" {worst} lies at {means[worst]:.3g} ± {deviations[worst]:.3g})"
    )


def _input_severity(scale: float, offset: float, thresholds: Thresholds) -> Severity:
    far = scale >= 10 * thresholds.input_scale or offset >= 10 * thresholds.input_offset
    return "critical" if far and scale > 1 else "warning"
