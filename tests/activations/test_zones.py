"""Zones lie where the slope is small, on both axes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from activation_modules import THRESHOLDS, every_module, grid, inside
from actstats.activations import Zone, activation_of, get


def assert_zones_agree(activation, slope, x, zones, threshold):
    saturated = slope(x).abs() < threshold * activation.max_slope
    wrong = x[inside(zones, x) != saturated]
    assert not len(wrong), f"{activation.key} at {threshold}: {zones} against {wrong[:5].tolist()}"


@every_module
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_zones_of_the_input_are_where_the_slope_is_small(module, threshold):
    activation = activation_of(module)
    zones = activation.zones(threshold, of="input")
    for z in (grid(), grid(300.0), torch.tensor([0.0, -1.0, 1.0, 3.0, -3.0, 0.5]).double()):
        assert_zones_agree(activation, activation.slope, z, zones, threshold)


@every_module
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_zones_of_the_output_are_where_the_slope_is_small(module, threshold):
    activation = activation_of(module)
    if activation.output_slope is None:
        return
    low, high = (min(max(end, -20.0), 20.0) for end in activation.limits)
    a = torch.linspace(low, high, 40_011, dtype=torch.float64)
    zones = activation.zones(threshold)
    assert_zones_agree(activation, activation.output_slope, a, zones, threshold)
    outputs = activation.function(grid())
    assert_zones_agree(activation, activation.output_slope, outputs, zones, threshold)


@every_module
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_zones_are_sorted_apart_and_cached(module, threshold):
    activation = activation_of(module)
    for axis in ("input", "output"):
        zones = activation.zones(threshold, of=axis)
        ends = [end for zone in zones for end in (zone.low, zone.high)]
        assert ends == sorted(ends), activation.key
        assert activation.zones(threshold, of=axis) is zones


@given(threshold=st.floats(1e-6, 0.999))
@settings(max_examples=25, deadline=None)
def test_zones_of_tanh_and_sigmoid_follow_the_closed_form(threshold):
    root = math.sqrt(1 - threshold)
    low, high = get("tanh").zones(threshold)
    assert (low.side, high.side) == ("low", "high")
    assert high.low == pytest.approx(root, abs=1e-12)
    assert low.high == -high.low
    low, high = get("sigmoid").zones(threshold)
    assert low.high == pytest.approx((1 - root) / 2, abs=1e-12)
    assert high.low == pytest.approx((1 + root) / 2, abs=1e-12)


def test_zones_of_the_tutorials_tanh_are_exactly_beyond_097():
    zones = get("tanh").zones(1 - 0.97**2)
    a = torch.tensor(
        [0.97, math.nextafter(0.97, 1), -0.97, math.nextafter(-0.97, -1)], dtype=torch.float64
    )
    assert inside(zones, a).tolist() == [False, True, False, True]


def test_zones_known_figures():
    assert get("tanh").zones()[1].low == pytest.approx(0.9747, abs=1e-4)
    assert get("sigmoid").zones(of="input")[1].low == pytest.approx(4.36, abs=5e-3)
    assert get("relu").zones() == (Zone(-math.inf, 0.0, "low"),)
    assert get("relu6").zones() == (Zone(-math.inf, 0.0, "low"), Zone(6.0, math.inf, "high"))
    assert get("hardtanh(min_val=-0.7, max_val=0.1)").zones() == (
        Zone(-math.inf, -0.7, "low"),
        Zone(0.1, math.inf, "high"),
    )
    assert get("logsigmoid").zones()[0].side == "high"
    assert get("softshrink").zones() == (Zone(0.0, 0.0, "low"),)
    assert get("softshrink").zones(of="input") == (Zone(-0.5, 0.5, "low"),)
    assert get("rrelu").zones() == ()
    assert get("prelu").zones() == ()


def test_zones_of_gelu_keep_the_dip_apart():
    tail, dip = get("gelu").zones()
    assert (tail.side, dip.side) == ("low", "low")
    assert tail.high < dip.low < -0.7518 < dip.high  # the minimum of z * Phi(z)
    narrow = get("gelu").zones(1e-6)[1]
    assert narrow.high - narrow.low < 1e-5  # far below the grid's step, found by its sign change
    assert get("gelu").zones(0.9)[-1].side == "high"  # slope 1 is below 0.9 of its maximum 1.129


def test_zones_of_the_output_for_pictures_leave_out_shared_values():
    assert get("gelu").zones(of="output") == ()
    (zone,) = get("elu").zones(of="output")
    assert (zone.low, zone.high) == (-math.inf, pytest.approx(-0.95, abs=1e-9))


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 1.3, math.nan, True, "0.05", None])
def test_zones_refuse_a_threshold(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must be in \(0, 1\); got"):
        get("tanh").zones(threshold)


def test_zones_refuse_an_axis():
    with pytest.raises(ValueError, match=r"`of` must be .* got 'z'"):
        get("tanh").zones(of="z")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("edge", [0.1, 0.7])
def test_zone_contains_what_a_low_precision_clamp_writes(edge, dtype):
    module = nn.Hardtanh(-edge, edge)
    a = module(torch.tensor([-5.0, 0.0, 5.0], dtype=dtype))
    assert inside(activation_of(module).zones(), a).tolist() == [True, False, True]
    assert activation_of(module).output_slope(a).tolist() == [0.0, 1.0, 0.0]
