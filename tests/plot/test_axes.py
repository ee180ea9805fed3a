"""Axes of time and depth, and scales."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import CenteredNorm, LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure

from actstats import TensorStats, Window
from actstats.plot._axes import depth_axis, draw_line, without_common_beginning
from actstats.plot._figures import scale_of
from actstats.plot._style import style
from actstats.plot._time import Cells, mark_broken


def cells(*windows):
    steps = np.array(windows, np.int64)
    return Cells.of(steps[:, 0], steps[:, 1])


def test_cells_are_as_wide_as_their_steps():
    found = cells((0, 3), (4, 7), (8, 15))
    np.testing.assert_array_equal(found.edges, [-0.5, 3.5, 7.5, 15.5])
    np.testing.assert_array_equal(found.index, [0, 1, 2])


def test_cells_meet_half_way_where_windows_lie_evenly_apart():
    found = cells((9, 9), (19, 19), (29, 29))
    np.testing.assert_array_equal(found.edges, [8.5, 14, 24, 29.5])
    np.testing.assert_array_equal(found.index, [0, 1, 2])


def test_cells_leave_a_long_gap_open():
    found = cells((0, 1), (2, 3), (40, 41))
    np.testing.assert_array_equal(found.index, [0, 1, -1, 2])
    np.testing.assert_array_equal(found.edges, [-0.5, 1.5, 3.5, 39.5, 41.5])
    spread = found.spread(np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_array_equal(spread, [[1, 2, np.nan, 3]])


def test_cells_of_overlapping_windows_ascend():
    found = cells((0, 9), (5, 14), (5, 9))
    assert (np.diff(found.edges) > 0).all()
    assert len(found.index) == len(found.edges) - 1


def test_a_cell_of_one_window():
    np.testing.assert_array_equal(cells((7, 7)).edges, [6.5, 7.5])


def test_lines_have_gaps_and_mark_points_alone():
    ax = Figure().subplots()
    y = np.ones(50)
    y[[10, 12]] = np.nan  # 11 is alone
    draw_line(ax, np.arange(50), y)
    (line,) = ax.lines
    assert np.isnan(line.get_ydata()[[10, 12]]).all()
    assert line.get_markevery() == [11]


def test_few_points_are_all_marked():
    ax = Figure().subplots()
    draw_line(ax, np.arange(4), np.array([1.0, 1.0, np.nan, 2.0]))
    assert ax.lines[0].get_markevery() == [0, 1, 3]


def test_windows_with_nan_are_marked():
    good, bad = (TensorStats.from_tensor([1.0, x]) for x in (2.0, np.nan))
    windows = [
        Window(4 * i, 4 * i + 2, "train", {"a": s, "b": good}) for i, s in enumerate((good, bad))
    ]
    ax = Figure().subplots()
    mark_broken(ax, windows, ["b"])
    assert not ax.lines
    mark_broken(ax, windows, ["a"])
    assert ax.lines[0].get_xdata().tolist() == [5]
    assert [text.get_text() for text in ax.texts] == ["▼ NaN or Inf"]


@pytest.mark.parametrize(("n", "shown"), [(8, 8), (40, 20), (200, 21)])
def test_site_names_are_thinned_by_round_steps(n, shown):
    ax = Figure().subplots()
    depth_axis(ax, [f"act{i}" for i in range(n)])
    ticks = ax.get_xticks()
    assert len(ticks) == shown
    assert ticks[0] == 0
    assert ticks[-1] == n - 1
    assert len(set(np.diff(ticks)[:-1])) == 1
    assert ax.get_xlim() == (-0.5, n - 0.5)


def test_long_names_leave_out_what_all_begin_with():
    names = [f"model.layers.{i}.mlp.act" for i in range(3)]
    assert without_common_beginning(names, 10) == ["…0.mlp.act", "…1.mlp.act", "…2.mlp.act"]
    assert without_common_beginning(names, 30) == names
    assert without_common_beginning(["model", "model.act_with_a_name"], 10) == [
        "model",
        "model.act_with_a_name",
    ]
    assert without_common_beginning(["a.long.name.of.one"], 4) == ["a.long.name.of.one"]


@pytest.mark.parametrize(
    ("figure", "values", "log", "kind", "norm"),
    [
        ("std", [1, 2], None, "linear", Normalize),
        ("std", [1, 200], None, "log", LogNorm),
        ("std", [0, 1, 200], None, "symlog", SymLogNorm),
        ("std", [0, 0], None, "linear", Normalize),
        ("std", [1, 200], False, "linear", Normalize),
        ("mean", [-1, 200], None, "linear", CenteredNorm),
        ("mean", [-1, 200], True, "symlog", SymLogNorm),
        ("count", [1, 200], True, "log", LogNorm),
        ("dead_fraction", [np.nan], None, "linear", Normalize),
    ],
)
def test_scales_suit_the_values(figure, values, log, kind, norm):
    scale = scale_of(figure, np.array(values, float), log)
    assert scale.kind == kind
    assert type(scale.norm) is norm
    ax = Figure().subplots()
    scale.on_axis(ax)
    assert ax.get_yscale() == kind


def written(ax):
    """Return the ticks of the y axis that are seen, and where their labels lie in pixels."""
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    labels = [
        t for t in ax.get_yticklabels() if t.get_text() and low <= t.get_position()[1] <= high
    ]
    return [t.get_position()[1] for t in labels], [t.get_window_extent() for t in labels]


@pytest.mark.parametrize("high", [200.0, 1e9, 1e35])
def test_an_axis_of_logarithms_that_begins_at_0_has_no_negative_ticks_and_room_for_each(high):
    values = np.array([0.0, 0.06, 0.5, high])
    with style():
        ax = Figure(figsize=(7, 3)).subplots()
    ax.plot(values)
    scale_of("rms", values, None).on_axis(ax)
    ticks, boxes = written(ax)
    assert ticks[0] == 0
    assert 3 <= len(ticks) <= 16
    assert all(below.y1 < above.y0 for below, above in pairwise(boxes))
    assert ax.get_ylim()[0] < 0 < high < ax.get_ylim()[1]


def test_an_axis_of_logarithms_keeps_its_negative_ticks_where_values_are_negative():
    values = np.array([-1e6, 1.0, 1e6])
    with style():
        ax = Figure(figsize=(7, 3)).subplots()
    ax.plot(values)
    scale_of("rms", values, True).on_axis(ax)
    ticks, boxes = written(ax)
    assert ticks[0] < -1 < 1 < ticks[-1]
    assert all(below.y1 < above.y0 for below, above in pairwise(boxes))


def test_axes_that_share_their_heights_show_all_logarithms():
    left, right = Figure().subplots(1, 2, sharey=True)
    for ax, high in ((left, 1e12), (right, 1e3)):
        values = np.array([0.0, 1.0, high])
        ax.plot(values)
        scale_of("rms", values, True).on_axis(ax)
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[1] > 1e12


def test_shares_are_told_in_percent_from_0():
    scale = scale_of("dead_fraction", np.array([0.1, 0.2]), None)
    ax = Figure().subplots()
    scale.on_axis(ax)
    assert ax.get_ylabel() == "dead units (%)"
    assert ax.get_ylim()[0] <= 0
    assert ax.yaxis.get_major_formatter()(0.25, 0) == "25"
    assert (scale.norm.vmin, scale.norm.vmax) == (0, 0.2)


def test_axes_that_share_their_heights_show_all_shares():
    left, right = Figure().subplots(1, 2, sharey=True)
    for ax, high in ((left, 0.9), (right, 0.1)):
        ax.plot([0, high])
        scale_of("dead_fraction", np.array([0, high]), None).on_axis(ax)
    assert left.get_ylim()[1] > 0.9


def test_gradients_are_told():
    assert scale_of("rms", np.ones(1), None, of=["a:grad"]).label.endswith("of the gradient")
    assert scale_of("rms", np.ones(1), None, of=["a:grad", "a"]).label == "root mean square"
