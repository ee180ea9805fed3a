"""The risk that a network will not learn, worded with how often that judgement is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actstats.diagnosis.features import Features
from actstats.diagnosis.fitted import MODELS, Rate

__all__ = ["Risk", "in_words", "risk"]

RATES = {"plain": (0.1, 1.0), "adaptive": (1e-3, 1e-2)}
"""Least and largest learning rate that was measured, momentum included."""


@dataclass(frozen=True)
class Risk:
    """How likely a network is to fail, by networks like it; never a certainty.

    Parameters
    ----------
    probability : float
        That it fails: that after 150 steps the loss is above 0.9 of a constant predictor's.
    alarmed : bool
        Whether it is above the cut.
    alike : Rate
        How many networks of a probability like this one's failed.
    caught, false : Rate
        Share of failing, and of learning, networks on which this test alarms.
    reasons : tuple of str
        At most three features that weigh most, in words; fewer where fewer speak against it.
    assumed : bool
        No optimizer was given: Adam's defaults were assumed.
    outside : str, optional
        Why nothing can be said: the net lies outside of what was measured. Then the probability is
        nan.
    """

    probability: float
    alarmed: bool
    alike: Rate
    caught: Rate
    false: Rate
    reasons: tuple[str, ...] = ()
    assumed: bool = False
    outside: str | None = None

    def __str__(self) -> str:
        return in_words(self)


def risk(features: Features) -> Risk:
    """Judge the state at step 0.

    Measured on small multilayer perceptrons of five tasks, trained for 150 steps
    (``python -m benchmarks.clinic.prognosis``); other networks are an extrapolation.

    Parameters
    ----------
    features : Features
        Of the recording of one forward and backward.

    Returns
    -------
    Risk

    Examples
    --------
    >>> from actstats.diagnosis.features import Features
    >>> from actstats.diagnosis.fitted import MODELS
    >>> from actstats.diagnosis.risk import risk
    >>> healthy = Features(**MODELS["adaptive"].healthy)
    >>> risk(healthy).alarmed
    False
    """
    model = MODELS[features.family]
    outside = _outside(features)
    if outside is not None:
        return Risk(math.nan, False, Rate(0, 0), model.caught, model.false, outside=outside)
    numbers = features.numbers()
    parts = model.parts(numbers)
    odds = model.intercept + sum(parts.values())
    probability = 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))
    alike = next(rate for end, rate in model.bins if probability <= end)
    worst = sorted((n for n in parts if parts[n] > LEAST_REASON), key=parts.__getitem__)[::-1]
    reasons = [_reason(name, numbers[name], model.healthy[name]) for name in worst]
    return Risk(
        probability=probability,
        alarmed=odds > model.cut,
        alike=alike,
        caught=model.caught,
        false=model.false,
        reasons=tuple(reason for reason in reasons if reason)[:3],
        assumed=features.assumed,
    )


def _outside(features: Features) -> str | None:
    """Return why a network is none of those that were measured, or None."""
    low, high = RATES[features.family]
    rate = 10 ** (features.distance - features.steps)
    if not low / 10 <= rate <= 3 * high:  # towards 0, less is only slower
        return (
            f"a learning rate of {rate:.2g} lies outside of what was measured ({low:g} to {high:g})"
        )
    return None


def in_words(judged: Risk) -> str:
    """Word a risk with its measured error rates.

    Returns
    -------
    str
        What became of networks like this one, how often the test is wrong, and why.
    """
    if judged.outside is not None:
        return f"nothing can be said: {judged.outside}."
    usual = Rate(judged.caught.of, judged.caught.of + judged.false.of)
    head = "no sign that it will not learn"
    if judged.alarmed:
        head = "at risk of not learning"
    elif judged.alike.share > usual.share:
        head = "it may not learn, though no alarm is given"
    alike = (
        f"networks that look like this failed to learn in {100 * judged.alike.share:.0f} % of "
        f"{judged.alike.of} trials of 150 steps, all that were measured in "
        f"{100 * usual.share:.0f} %"
    )
    errors = (
        f"this test catches {judged.caught} that fail, and alarms falsely on {judged.false} that "
        "learn; it was measured on small multilayer perceptrons"
    )
    why = f" What weighs most: {'; '.join(judged.reasons)}." if judged.reasons else ""
    given = " No optimizer was given: Adam's defaults are assumed." if judged.assumed else ""
    return f"{head}: {alike} ({errors}).{why if judged.alarmed else ''}{given}"


LEAST_REASON = 0.5  # log odds
WORDS = {
    "last_motion": "the last layer's first step moves what the output tells samples apart by {}",
    "last_progress": "what depends on the input takes {} of the loss in the last layer's step",
    "motion": "a step moves what the output tells samples apart by {} of the way to go",
    "change": "the first step changes some layer's output by {} of itself",
    "reach": "the signal that 50 steps can bring to the last layer's input is {} of it",
    "distance": "outputs have to move by about {}",
    "scale": "what goes into the last activation has an rms of {}",
    "openness": "the last activation's gate is open by {}",
    "width": "the last layer has {} inputs",
    "steps": "the output's bias alone needs {} steps for the way to go",
    "capacity": "a step of the last layer can take at most {} of the way to go",
}


def _reason(name: str, value: float, healthy: float) -> str:
    """Return a feature in words, or nothing where these are a healthy network's too."""
    most = 0.0 if name == "reach" else math.inf
    found, usual = _plain(value, most), _plain(healthy, most)
    return "" if found == usual else f"{WORDS[name].format(found)} (healthy ones: {usual})"


def _plain(logarithm: float, most: float = math.inf) -> str:
    if logarithm >= most:
        return f"{10**most:g} or more"
    return "nothing" if logarithm <= -29 else f"{10**logarithm:.2g}"
