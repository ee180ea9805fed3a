"""What a run looks like at one moment."""

import math
from dataclasses import replace

import pytest
import torch
from recordings import normal, recording

from actstats import Finding, Recording
from actstats.cli.view import TREND, gravest, view_of


@pytest.fixture
def grown():
    """A layer whose spread doubles each window, and one that is dead."""
    zero = torch.zeros(256, 10)
    windows = [{"fc1": normal(std=2.0**i), "act1": zero, "act1:grad": normal()} for i in range(20)]
    losses = [{"loss": float(i)} for i in range(20)]
    return recording(*windows, activations={"act1": "relu"}, scalars=losses, steps=5)


def lines(view):
    return {line.site: line for line in view.lines}


def test_where_the_run_stands(grown):
    view = view_of(grown, closed=True)
    assert (view.step, view.windows, view.phase, view.closed) == (99, 20, "train", True)
    assert list(lines(view)) == list(grown)


def test_a_trend_is_of_the_last_windows(grown):
    line = lines(view_of(grown, "std"))["fc1"]
    assert len(line.trend) == TREND
    assert line.value == line.trend[-1] == pytest.approx(grown.windows[-1]["fc1"].std)
    assert line.trend[-1] == pytest.approx(2 * line.trend[-2])


def test_shares_are_those_of_the_last_window_or_nan(grown):
    found = lines(view_of(grown))
    assert found["act1"].dead_fraction == 1.0
    assert math.isnan(found["fc1"].saturated_fraction)


def test_scalars(grown):
    last, trend = view_of(grown).scalars["loss"]
    assert last == 19.0
    assert trend == [float(i) for i in range(4, 20)]


def test_findings_stand_at_their_sites(grown):
    view = view_of(grown)
    assert view.severity == "critical"
    assert (lines(view)["act1"].rule, lines(view)["act1"].severity) == ("dead-units", "critical")
    assert view.gravest_first()[0].severity == "critical"
    assert "dead-units at act1 since step 0" in view.verdict


def test_a_sites_gravest_finding_stands_there():
    found = [
        Finding("a", "x", "info", ""),
        Finding("b", "x", "critical", ""),
        Finding("c", "x", "warning", ""),
        Finding("d", "x", "critical", ""),
        Finding("e", None, "critical", ""),
        Finding("f", "y", "info", ""),
    ]
    assert {site: one.rule for site, one in gravest(found).items()} == {"x": "b", "y": "f"}


def test_sites_are_chosen_but_the_verdict_is_of_all(grown):
    view = view_of(grown, site=["fc*"])
    assert list(lines(view)) == ["fc1"]
    assert view.severity == "critical"


def test_another_phase(grown):
    windows = [replace(w, phase="eval") if i % 2 else w for i, w in enumerate(grown.windows)]
    both = Recording(windows, grown.sites)
    assert (view_of(both).windows, view_of(both).phase) == (10, "train")
    assert (view_of(both, phase="eval").step, view_of(both, phase="eval").phase) == (99, "eval")


def test_a_site_that_the_last_window_lacks_keeps_its_value(grown):
    without = {s: grown.windows[-1][s] for s in grown.windows[-1] if s != "fc1"}
    shorter = Recording([*grown.windows[:-1], replace(grown.windows[-1], stats=without)])
    line = lines(view_of(shorter, "std"))["fc1"]
    assert line.value == pytest.approx(grown.windows[-2]["fc1"].std)
    assert math.isnan(line.trend[-1])


def test_nothing_yet():
    view = view_of(Recording())
    assert (view.step, view.windows, view.lines) == (-1, 0, ())
    assert view.verdict == "No window has closed yet."


def test_plain_values(grown):
    told = view_of(grown, "std").to_dict()
    assert told["severity"] == "critical"
    assert told["sites"][0]["site"] == "fc1"
    assert told["sites"][0]["std"] > 0
