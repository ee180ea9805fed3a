"""The prognosis benchmark: its draw, its halves, and the arithmetic of its score."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.clinic import prognosis, prognosis_fit, prognosis_nets, prognosis_rules

from actstats.diagnosis.features import NAMES, Features
from actstats.diagnosis.fitted import MODELS, Model, Rate


def test_fewer_networks_are_the_beginning_of_more():
    many = prognosis_nets.draw(300)
    assert prognosis_nets.draw(100) == many[:100]
    assert len(set(many)) == 300


def test_a_network_is_in_one_half_with_every_optimizer():
    halves = {}
    for case in prognosis_nets.draw(3000):
        halves.setdefault(case.network, set()).add(case.half)
    assert all(len(half) == 1 for half in halves.values())
    shares = [half == {"fit"} for half in halves.values()]
    assert 0.45 < np.mean(shares) < 0.55


def test_same_case_gives_the_same_label_and_figures():
    case = prognosis_nets.draw(1)[0]
    assert prognosis_nets.trial(case) == prognosis_nets.trial(case)
    measured = prognosis_rules.measure(case)
    assert measured == prognosis_rules.measure(case)
    assert tuple(measured["features"]) == NAMES
    assert tuple(measured["rules"]) == tuple(prognosis_rules.CUTS)


def test_diverged_training_is_a_failure():
    case = prognosis_nets.draw(1)[0]
    assert prognosis_nets.final(case, [1.0, float("nan")]) == float("inf")


def test_score_finds_a_threshold():
    x = np.random.default_rng(0).normal(size=(2000, 2))
    failed = x[:, 0] > 1
    scores = prognosis_fit.fit(x, failed)(x)
    assert prognosis_fit.area(scores, failed) > 0.98
    cut = prognosis_fit.cut_at(scores[~failed])
    assert (scores[~failed] > cut).mean() <= 0.05


def test_area_counts_ties_as_half():
    assert prognosis_fit.area(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert prognosis_fit.area(np.array([1.0]), np.array([True])) is None


def test_roc_begins_at_none_and_ends_at_all():
    false, caught = prognosis_fit.roc(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))
    assert (false.tolist(), caught.tolist()) == ([0, 0, 1, 1], [0, 0.5, 0.5, 1])


def test_centring_shifts_nothing_but_the_intercept():
    x = np.random.default_rng(1).normal(size=(500, 3))
    curves = prognosis_fit.fit(x, x[:, 1] + x[:, 2] > 1)
    moved = prognosis_fit.centred(curves, np.median(x, 0))
    assert moved(x) == pytest.approx(curves(x))
    assert moved.intercept == pytest.approx(float(curves(np.median(x, 0)[None])[0]))


def test_what_is_written_into_the_library_is_read_back():
    text = prognosis.literal(dict(MODELS), 2400, "2026-01-01").partition("= ")[2]
    assert eval(text, {"Model": Model, "Rate": Rate}) == MODELS
    assert Features(**MODELS["plain"].healthy).width > 0
