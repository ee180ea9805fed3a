"""The table of ``summary()``: golden text, HTML, rich, and what it must say."""

import math

import pytest
import torch
from torch import nn

from actstats import ActivationRecorder, Recording, TensorStats, Window
from actstats.sites import Site
from actstats.summary import Summary


@pytest.fixture
def recording():
    a = torch.tensor([[0.0, 2.0], [0.0, 4.0]]).repeat(20, 1)
    windows = [
        Window(0, 3, "train", {"act1": TensorStats.from_tensor(a, activation="relu")}),
        Window(4, 4, "eval", {"act1": TensorStats.from_tensor(a, activation="relu")}),
    ]
    return Recording(windows, {"act1": Site("act1", module_type="ReLU")}, ("never called: <idle>",))


def test_golden_text(recording):
    assert str(Summary(recording)).splitlines() == [
        "Recording(1 sites x 2 windows, steps 0-4, train+eval)",
        "site  module  phase  calls  mean    std  min  max  zero %  signal %  saturated %  dead %",
        "----  ------  -----  -----  ----  -----  ---  ---  ------  --------  -----------  ------",
        "act1  ReLU    train      1   1.5  1.658    0    4    50.0      10.0         50.0    50.0",
        "act1  ReLU    eval       1   1.5  1.658    0    4    50.0      10.0         50.0    50.0",
        "kernel: reference",
        "never called: <idle>",
    ]


def test_html_is_escaped(recording):
    html = Summary(recording)._repr_html_()
    assert html.count("<tr>") == 3
    assert "&lt;idle&gt;" in html
    assert "<idle>" not in html


def test_recording_shows_its_sites_in_a_notebook(recording):
    page = recording._repr_html_()
    assert page.count("<tr>") == 3
    assert "&lt;idle&gt;" in page
    assert "kernel" not in page  # which one ran is not known of a recording


def test_window_shows_its_sites_in_a_notebook(recording):
    page = recording.windows[0]._repr_html_()
    assert "steps 0-3, train" in page
    assert page.count("<tr>") == 2
    assert "<ul>" not in page


def test_statistics_show_the_figures_that_apply_in_a_notebook():
    page = TensorStats.from_tensor(torch.tensor([[0.0, 3.0]]))._repr_html_()
    assert "2 values</caption>" in page
    assert '>mean</td><td style="text-align:right">1.5</td>' in page
    assert "saturated_fraction" not in page


def test_recorder_shows_its_summary_in_a_notebook():
    recorder = ActivationRecorder(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    assert recorder._repr_html_() == recorder.summary()._repr_html_()


def test_rich(recording):
    pytest.importorskip("rich")
    table = Summary(recording).__rich__()
    assert table.row_count == 2
    assert [column.header for column in table.columns][:3] == ["site", "module", "phase"]


@pytest.mark.parametrize(
    ("stats", "remark"),
    [
        (
            TensorStats.from_tensor(torch.rand(40, 2), activation="gelu"),
            "gelu is judged from z, which was not seen",
        ),
        (
            TensorStats.from_tensor(torch.rand(40, 2), activation="tanh"),
            "tanh is never exactly flat",
        ),
        (TensorStats.from_tensor(torch.rand(9, 2), activation="relu"), "9 samples are too few"),
        (
            TensorStats.from_tensor(torch.tensor([[math.nan, 1.0, math.inf]])),
            "1 NaN and 1 Inf, not in the other figures",
        ),
        (TensorStats.from_tensor(100 + torch.rand(40, 2)), "under-resolved"),
    ],
)
def test_what_is_missing_is_said(stats, remark):
    summary = Summary(Recording([Window(0, 0, "train", {"x": stats})]))
    assert [r for r in summary.reasons if r.startswith("x: ") and remark in r], summary.reasons


def test_a_figure_that_does_not_apply_is_a_dash():
    stats = TensorStats.from_tensor(torch.rand(40, 2))
    row = Summary(Recording([Window(0, 0, "train", {"x": stats})])).rows[0]
    assert row[-2:] == ("-", "-")


@pytest.mark.parametrize("fill", [math.nan, math.inf, 0.0])
def test_a_sick_layer_makes_a_table_without_warnings(fill):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    nn.init.constant_(net[0].weight, fill)
    with ActivationRecorder(net, capture=("output", "grad")) as recorder:
        net(torch.ones(40, 3)).sum().backward()
        recorder.step()
    assert "kernel: cpu" in str(recorder.summary())
    recorder.recording.to_pandas()


def test_equal_reasons_are_told_once():
    stats = TensorStats.from_tensor(torch.rand(40, 2), activation="tanh")
    sites = {f"act{i}": stats for i in range(6)}
    reasons = Summary(Recording([Window(0, 0, "train", sites)])).reasons
    assert len(reasons) == 1
    assert reasons[0].startswith("act0, act1, act2, act3 and 2 more: ")
