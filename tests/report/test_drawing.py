"""Paths, axes and maps: what is drawn is what was recorded."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from actstats.report.axis import Axis, step_ticks
from actstats.report.heat import heat_map
from actstats.report.svg import Buckets, band, bars, line

NAN = np.nan


def points(path: str) -> list[tuple[int, int]]:
    """Return the points of a path of relative ways."""
    found = []
    for piece in re.findall(r"M([^M]*)", path):
        start, _, ways = piece.rstrip("z").partition("l")
        x, y = (int(n) for n in re.findall(r"-?\d+", start)[:2])
        found.append((x, y))
        steps = [int(n) for n in re.findall(r"-?\d+", ways)]
        for dx, dy in zip(steps[::2], steps[1::2], strict=True):
            x, y = x + dx, y + dy
            found.append((x, y))
    return found


# ---- buckets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("windows", [1, 2, 59, 60, 61, 119, 500, 1000])
def test_buckets_keep_every_extreme_and_cover_every_window(windows):
    values = np.random.default_rng(windows).normal(size=windows)
    buckets = Buckets(windows, 60)
    low, high = buckets.ends(values)
    assert len(low) == min(windows, 60)
    assert low.min() == values.min()
    assert high.max() == values.max()
    sizes = np.diff(np.append(buckets.starts, windows))
    assert sizes.min() >= 1
    assert sizes.sum() == windows
    assert buckets.merged == (windows > 60)
    assert np.average(buckets.mean(values), weights=sizes) == pytest.approx(values.mean())


def test_buckets_pass_over_what_is_nan():
    low, high = Buckets(6, 3).ends(np.array([1.0, NAN, NAN, NAN, 2.0, 5.0]))
    np.testing.assert_array_equal(low, [1, NAN, 2])
    np.testing.assert_array_equal(high, [1, NAN, 5])
    np.testing.assert_array_equal(
        Buckets(6, 3).mean(np.array([1.0, NAN, NAN, NAN, 2.0, 5.0])), [1, NAN, 3.5]
    )


def test_buckets_take_many_columns_at_once():
    values = np.arange(12.0).reshape(6, 2)
    low, high = Buckets(6, 2).ends(values)
    np.testing.assert_array_equal(low, [[0, 1], [6, 7]])
    np.testing.assert_array_equal(high, [[4, 5], [10, 11]])


# ---- paths ---------------------------------------------------------------------------------------


def test_line_goes_through_its_points():
    x, y = np.array([0.0, 10, 25, 40]), np.array([5.0, 0, 12, 12])
    assert points(line(x, y)) == [(0, 5), (10, 0), (25, 12), (40, 12)]


def test_rounding_does_not_add_up():
    x = np.linspace(0, 1000, 997)
    y = 500 + 400 * np.sin(x / 50)
    drawn = np.array(points(line(x, y)))
    assert np.abs(drawn - np.stack((x, y), axis=1)).max() <= 0.5


def test_line_has_gaps_and_dots():
    x = np.arange(5.0)
    assert line(x, np.array([NAN, 1, NAN, 2, 3])) == "M1 1h0M3 2l1 1"
    assert line(x, np.full(5, NAN)) == ""


def test_band_goes_there_along_one_edge_and_back_along_the_other():
    x, low, high = np.array([0.0, 10, 20]), np.array([9.0, 8, 9]), np.array([1.0, 2, 3])
    assert points(band(x, low, high)) == [(0, 9), (10, 8), (20, 9), (20, 3), (10, 2), (0, 1)]


def test_bars_are_as_high_as_their_counts():
    path = bars(np.array([4.0, 0, 8, 0.001]), 40, 48)
    heights = [int(h) for h in re.findall(r"v-(\d+)", path)]
    assert heights == [24, 48, 1]  # what is there is seen
    assert bars(np.zeros(3), 40, 48) == ""


# ---- axes ----------------------------------------------------------------------------------------


def test_share_axis_is_the_whole_whatever_was_seen():
    axis = Axis.of("share", np.array([0.01, 0.02]))
    assert (axis.low, axis.high) == (0, 1)
    assert [tick.label for tick in axis.ticks] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert [tick.at for tick in axis.ticks] == [0, 25, 50, 75, 100]


def test_log_axis_has_whole_decades_and_at_least_one():
    axis = Axis.of("log", np.array([0.3, 0.9]))
    assert (axis.low, axis.high) == (-1, 0)
    wide = Axis.of("log", np.array([2e-9, 5.0]))
    assert (wide.low, wide.high) == (-9, 1)
    labels = [tick.label for tick in wide.ticks]
    assert labels == [
        t.replace("-", "\N{MINUS SIGN}") for t in ("1e-8", "1e-6", "1e-4", "0.01", "1")
    ]


def test_log_axis_of_one_round_value_has_room():
    axis = Axis.of("log", np.array([1.0, 1.0]))
    assert axis.low < axis.high
    assert 0 <= axis.place(np.array([1.0]))[0] <= 1


def test_zeros_lie_below_the_least_on_a_log_axis_and_are_labelled():
    axis = Axis.of("log", np.array([0.0, 0.1, 1.0]))
    assert axis.ticks[0].label == "0"
    assert axis.ticks[0].at == 0
    zero, least, most = axis.place(np.array([0.0, 0.1, 1.0]))
    assert zero == 0
    assert 0 < least < most <= 1


def test_what_is_nan_or_infinite_has_no_place_on_an_axis():
    axis = Axis.of("linear", np.array([1.0, NAN, np.inf, 3.0]))
    assert axis.low <= 1
    assert 3 <= axis.high < np.inf
    assert np.isnan(axis.place(np.array([NAN]))[0])


@pytest.mark.parametrize(
    "values",
    [[0.0], [5.0, 5.0], [-3.0, 8.0], [NAN], [1e-9, 2e-9], [-1.8e308, 1.8e308], [0, 5e-324]],
)
def test_linear_axis_holds_its_values_between_round_ends(values):
    axis = Axis.of("linear", np.array(values))
    places = axis.place(np.array(values))
    assert ((places >= 0) & (places <= 1) | np.isnan(places)).all()
    assert 2 <= len(axis.ticks) <= 8
    assert all(0 <= tick.at <= 100 for tick in axis.ticks)


@pytest.mark.parametrize(
    "values", [[0.15211, 0.15222], [0.1, 0.9], [1.0, 3.5], [1000.0, 1003.0], [0, 2e6], [-0.3, 0.2]]
)
def test_labels_of_a_linear_axis_differ(values):
    labels = [tick.label for tick in Axis.of("linear", np.array(values)).ticks]
    assert len(set(labels)) == len(labels)
    decimals = {len(label.partition(".")[2]) for label in labels}
    assert len(decimals) == 1


@pytest.mark.parametrize("span", [(0, 1), (0, 9), (3, 299), (0, 4999), (100_000, 100_007)])
def test_step_ticks_are_round_steps_inside_the_span(span):
    ticks = step_ticks(*span)
    assert 1 < len(ticks) <= 8
    for tick in ticks:
        step = int(tick.label.replace(",", ""))
        assert span[0] <= step <= span[1]
        assert tick.at == pytest.approx(100 * (step - span[0]) / (span[1] - span[0]), abs=0.01)


def test_step_ticks_of_a_single_step():
    assert [tick.label for tick in step_ticks(7, 7)] == ["7"]


# ---- maps ----------------------------------------------------------------------------------------


def pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA")).copy()


def test_map_has_a_row_for_each_layer_from_above_and_holes_where_nothing_is_known():
    values = np.array([[0.0, 1.0], [0.5, NAN]])
    found = heat_map(["first", "last"], values, (0, 1), Axis("share", 0.0, 1.0))
    seen = pixels(found.uri)
    assert seen.shape == (2, 2, 4)
    assert tuple(seen[0, 0]) == (0x44, 0x01, 0x54, 255)  # the darkest
    assert tuple(seen[1, 0]) == (0xFD, 0xE7, 0x25, 255)  # the lightest
    assert seen[1, 1, 3] == 0
    assert [tick.label for tick in found.labels] == ["first", "last"]


def test_map_of_many_layers_names_some_and_takes_windows_together():
    values = np.random.default_rng(0).random((1000, 200))
    found = heat_map([f"layer{i}" for i in range(200)], values, (0, 999), Axis("share", 0.0, 1.0))
    assert pixels(found.uri).shape == (200, 160, 4)
    assert len(found.labels) == 12
    assert found.labels[0].label == "layer0"
    assert found.labels[-1].label == "layer199"
    assert "200 layers" in found.alt
