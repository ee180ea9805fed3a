"""Functions without a name, by their table."""

import math
import pickle

import pytest
import torch

from activation_modules import assert_close, grid
from actstats.activations import activation_from_key, from_function, get


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "softplus", "elu", "hardtanh"])
def test_from_function_agrees_with_the_known(name):
    known = get(name)
    found = from_function(known.function, "mine")
    z = grid(29.0)
    near_kink = (z.abs() < 0.01) | ((z.abs() - 1).abs() < 0.01)
    assert_close(found.slope(z)[~near_kink], known.slope(z)[~near_kink], name, atol=1e-6)
    assert found.max_slope == pytest.approx(known.max_slope, rel=1e-6)
    assert found.limits == pytest.approx(known.limits, abs=1e-4)
    assert (found.can_die, found.relu_like) == (known.can_die, known.relu_like)
    assert len(found.zones()) == len(known.zones(of="input"))
    for ours, theirs in zip(found.zones(), known.zones(of="input"), strict=True):
        assert ours.side == theirs.side
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=3e-3)


def test_from_function_slope_keeps_dtype_shape_and_nan():
    found = from_function(torch.tanh, "mine")
    z = torch.tensor([[math.nan, -math.inf], [math.inf, 0.0]])
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        slope = found.slope(z.to(dtype))
        assert (slope.dtype, slope.shape) == (dtype, z.shape)
        assert slope.isnan().tolist() == [[True, False], [False, False]]


def test_from_function_identity_is_its_digest():
    one, same = (from_function(lambda z: torch.tanh(2 * z), "mine") for _ in range(2))
    other = from_function(lambda z: torch.tanh(3 * z), "mine")
    shifted = from_function(lambda z: torch.tanh(2 * z - 2), "mine")
    assert one == same != other
    assert (one.max_slope, one.limits) == (shifted.max_slope, shifted.limits)
    assert one != shifted
    back = activation_from_key(one.key)
    assert back == one
    assert back.key == one.key
    assert "does not hold" in back.reason
    assert (back.limits, back.max_slope, back.zones()) == (one.limits, one.max_slope, ())
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize("fn", [torch.square, torch.sin, torch.exp, lambda z: z**3])
def test_from_function_unsettled_slope_has_a_reason(fn):
    found = from_function(fn, "mine")
    assert found.reason == "mine's slope does not settle within |z| <= 30"
    assert found.zones() == ()


@pytest.mark.parametrize(
    ("fn", "name", "message"),
    [
        (torch.tanh, "a(b)", "`name` must be text"),
        (torch.tanh, "", "`name` must be text"),
        (lambda z: z.sum(), "f", "`function` must be elementwise"),
        (lambda z: z.detach(), "f", "must be differentiable"),
        (torch.log, "f", "must be finite"),
        (torch.round, "f", "must have a slope somewhere"),
    ],
)
def test_from_function_refuses(fn, name, message):
    with pytest.raises(ValueError, match=message):
        from_function(fn, name)
