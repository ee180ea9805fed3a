"""A score fitted on one half of the networks, its cut-off, and how it does on the other half."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.diagnosis.features import NAMES
from actstats.diagnosis.fitted import Model, Rate
from benchmarks.clinic import prognosis_nets as nets
from benchmarks.clinic.prognosis_rules import CUTS

FALSE_ALARMS = 0.05
QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)  # as many as cross-validation in the half fitted on wants
RIDGE = 1.0
FOLDS = 5
BINS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 1.0)
FAMILIES = ("plain", "adaptive")

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Networks:
    """All that is known of the networks, as arrays."""

    cases: list[nets.Case]
    final: Array
    failed: Mask
    features: Array
    rules: Array
    trial: Array
    again: list[tuple[bool, bool]]

    @classmethod
    def of(cls, rows: Sequence[dict]) -> Networks:
        cases = [nets.case_of(row) for row in rows]
        return cls(
            cases,
            np.array([row["final"] for row in rows]),
            np.array([not row["final"] <= nets.FAILED for row in rows]),
            np.array([[row["features"][name] for name in NAMES] for row in rows]),
            np.array([[row["rules"][name] for name in CUTS] for row in rows]),
            np.array([_trial(row["trial"]) for row in rows]),
            [
                (not row["final"] <= nets.FAILED, not row["again"] <= nets.FAILED)
                for row in rows
                if "again" in row
            ],
        )

    def where(self, **wanted: object) -> Mask:
        """Return which networks have these values on the grid."""
        return np.array([all(getattr(c, k) == v for k, v in wanted.items()) for c in self.cases])

    @property
    def adaptive(self) -> Mask:
        return np.array(["Adam" in c.optimizer for c in self.cases])

    def family(self, name: str) -> Mask:
        return self.adaptive if name == "adaptive" else ~self.adaptive

    @property
    def fold(self) -> NDArray[np.int64]:
        """A part of the fit half, by the network."""
        return np.array([nets._hash(f"fold {c.network}") % FOLDS for c in self.cases])


def _trial(losses: Sequence[float]) -> float:
    """Return log10 of the loss after the trial, relative to the first; 6 if it diverged."""
    if len(losses) <= nets.TRIAL_STEPS or not math.isfinite(losses[-1]):
        return 6.0
    return math.log10(max(losses[-1], 1e-9) / losses[0])


# ---- the score -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """A logistic regression on piecewise linear curves."""

    intercept: float
    knots: list[Array]
    points: list[Array]

    def __call__(self, features: Array) -> Array:
        columns = zip(features.T, self.knots, self.points, strict=True)
        return self.intercept + sum(np.interp(x, k, p) for x, k, p in columns)


def fit(features: Array, failed: Mask) -> Curves:
    """Fit a curve of four straight pieces for each feature; ridge on standardised pieces."""
    knots = [np.unique(np.round(np.quantile(x, QUANTILES), 2)) for x in features.T]
    ends = [pair for k in knots for pair in itertools.pairwise(k)]
    which = [x for x, k in zip(features.T, knots, strict=True) for _ in k[1:]]
    pieces = [np.clip(x, low, high) for x, (low, high) in zip(which, ends, strict=True)]
    inputs = np.stack(pieces, 1)
    mean, std = inputs.mean(0), inputs.std(0) + 1e-9
    weights = _logistic((inputs - mean) / std, failed.astype(float))
    slopes = weights[1:] / std
    left = iter(slopes)
    points = [np.cumsum([0.0, *(step * next(left) for step in np.diff(k))]) for k in knots]
    start = sum(low * slope for (low, _), slope in zip(ends, slopes, strict=True))
    return Curves(float(weights[0] - np.sum(slopes * mean) + start), knots, points)


def _logistic(inputs: Array, target: Array) -> Array:
    """Return intercept and weights, by Newton's method."""
    inputs = np.c_[np.ones(len(inputs)), inputs]
    penalty = RIDGE * np.eye(inputs.shape[1])
    penalty[0, 0] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(15):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        curvature = inputs.T @ (inputs * (chance * (1 - chance))[:, None]) + penalty
        slope = inputs.T @ (chance - target) + penalty @ weights
        weights = weights - np.linalg.solve(curvature, slope)
    return weights


def out_of_fold(features: Array, failed: Mask, fold: NDArray[np.int64]) -> Array:
    """Return each network's score by a fit that has not seen it."""
    scores = np.zeros(len(failed))
    for k in range(FOLDS):
        scores[fold == k] = fit(features[fold != k], failed[fold != k])(features[fold == k])
    return scores


def cut_at(healthy: Array, share: float = FALSE_ALARMS) -> float:
    """Return the least cut with at most this share of the scores above it."""
    if not len(healthy):
        return math.inf
    ordered = np.sort(healthy)
    return float(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * (1 - share)) - 1)])


def centred(curves: Curves, healthy: Array) -> Curves:
    """Return the same score with each curve 0 at the healthy median."""
    at = [np.interp(m, k, p) for m, k, p in zip(healthy, curves.knots, curves.points, strict=True)]
    points = [p - shift for p, shift in zip(curves.points, at, strict=True)]
    return Curves(curves.intercept + float(sum(at)), curves.knots, points)


def rounded(curves: Curves) -> Curves:
    """Return the score as it is written down."""
    points = [np.round(p, 3) for p in curves.points]
    return Curves(round(curves.intercept, 3), curves.knots, points)


def make_model(data: Networks, family: str, half: Mask) -> tuple[Model, Array]:
    """Fit a family's model on one half; measure it on the other.

    Returns
    -------
    model
        What the library holds.
    scores
        Of all networks of the family (0 for others); those of the half fitted on are out of fold.
    """
    mine = data.family(family)
    learn, rest = mine & half, mine & ~half
    x, failed = data.features, data.failed
    median = np.round(np.median(x[learn & ~failed], 0), 3)
    curves = rounded(centred(fit(x[learn], failed[learn]), median))
    scores = np.zeros(len(failed))
    scores[learn] = out_of_fold(x[learn], failed[learn], data.fold[learn])
    scores[rest] = curves(x[rest])
    cut = round(cut_at(scores[learn & ~failed]), 3)
    chance = 1 / (1 + np.exp(-scores))
    bins = [
        (high, rate(failed, rest & (chance > low) & (chance <= high)))
        for low, high in itertools.pairwise((-1.0, *BINS))
    ]
    model = Model(
        intercept=curves.intercept,
        cut=cut,
        curves={
            name: (tuple(k.tolist()), tuple(p.tolist()))
            for name, k, p in zip(NAMES, curves.knots, curves.points, strict=True)
        },
        healthy=dict(zip(NAMES, median.tolist(), strict=True)),
        caught=rate(scores > cut, rest & failed),
        false=rate(scores > cut, rest & ~failed),
        bins=tuple(bins),
    )
    return model, scores


def rate(hits: Mask, among: Mask) -> Rate:
    return Rate(int((hits & among).sum()), int(among.sum()))


# ---- how it does ---------------------------------------------------------------------------------


def area(scores: Array, failed: Mask) -> float | None:
    """Return the area under the ROC: how often a failing network scores above a learning one."""
    bad, good = scores[failed], np.sort(scores[~failed])
    if not len(bad) or not len(good):
        return None
    below = np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")
    return float(below.mean() / 2 / len(good))


def roc(scores: Array, failed: Mask) -> tuple[Array, Array]:
    """Return false alarms and caught, at each cut from the highest down."""
    cuts = np.unique(scores)[::-1]
    above = [(scores >= cut) for cut in cuts]
    false = [0.0, *(float(a[~failed].mean()) for a in above)]
    caught = [0.0, *(float(a[failed].mean()) for a in above)]
    return np.array(false), np.array(caught)


def left_out(data: Networks, half: Mask, axis: str, value: object) -> tuple[Rate, Rate]:
    """Return caught and false on the report half's networks of a value that no fit has seen."""
    inside = data.where(**{axis: value})
    caught, false = Rate(0, 0), Rate(0, 0)
    for family in FAMILIES:
        learn = data.family(family) & half & ~inside
        rest = data.family(family) & ~half & inside
        if not rest.any() or not learn.any():
            continue
        x, failed = data.features, data.failed
        apart = out_of_fold(x[learn], failed[learn], data.fold[learn])
        cut = cut_at(apart[~failed[learn]])
        alarms = np.zeros(len(failed), bool)
        alarms[rest] = fit(x[learn], failed[learn])(x[rest]) > cut
        caught = _sum(caught, rate(alarms, rest & failed))
        false = _sum(false, rate(alarms, rest & ~failed))
    return caught, false


def _sum(a: Rate, b: Rate) -> Rate:
    return Rate(a.hits + b.hits, a.of + b.of)


def scores_of_trial(data: Networks, half: Mask, odds: Array) -> dict[str, Array]:
    """Return scores that need the trial: its loss alone, and with the score of step 0."""
    both = np.zeros(len(odds))
    for family in FAMILIES:
        mine = data.family(family)
        x = np.stack([odds, data.trial], 1)
        learn = mine & half
        both[learn] = out_of_fold(x[learn], data.failed[learn], data.fold[learn])
        rest = mine & ~half
        both[rest] = fit(x[learn], data.failed[learn])(x[rest])
    return {"loss after 20 steps": data.trial, "step 0 and 20 steps": both}


def cuts_by(data: Networks, half: Mask, scores: Array, key: Callable[[nets.Case], str]) -> Array:
    """Return each network's cut: at 5 % false alarms of its own kind in the half fitted on."""
    kinds = np.array([key(case) for case in data.cases])
    cuts: Mapping[str, float] = {
        kind: cut_at(scores[half & ~data.failed & (kinds == kind)]) for kind in np.unique(kinds)
    }
    return np.array([cuts[kind] for kind in kinds])


def family_of(case: nets.Case) -> str:
    return "adaptive" if "Adam" in case.optimizer else "plain"
