"""Slopes, ranges and maxima, of every module, against torch's own."""

import math

import pytest
import torch
from torch import nn

from activation_modules import assert_close, autograd_slope, every_module, grid
from actstats.activations import activation_of


@every_module
def test_slope_is_autograds(module):
    activation, z = activation_of(module), grid()
    atol = 1e-8 if activation.name == "hardsigmoid" else 1e-12  # torch's 1/6 there is a float32
    assert_close(activation.slope(z), autograd_slope(module.eval(), z), activation.key, atol)


@every_module
def test_function_is_the_modules_and_out_of_place(module):
    activation, z = activation_of(module), grid()
    before = z.clone()
    assert_close(activation.function(z), module.eval()(z), activation.key)
    assert torch.equal(z, before)


@every_module
def test_output_slope_of_the_output_is_the_slope(module):
    activation, z = activation_of(module), grid()
    if activation.output_slope is None:
        assert activation.judged_from == "input"
        return
    assert activation.judged_from == "output"
    told = activation.output_slope(activation.function(z))
    assert_close(told, activation.slope(z), activation.key)


@every_module
def test_max_slope_bounds_a_fine_grid_and_is_reached(module):
    activation = activation_of(module)
    largest = float(activation.slope(grid(60.0, 200_003)).abs().max())
    assert largest <= activation.max_slope * (1 + 1e-12), activation.key
    assert largest == pytest.approx(activation.max_slope, rel=1e-3), activation.key


@every_module
def test_limits_hold_the_output_and_are_approached(module):
    activation = activation_of(module)
    a = activation.function(grid(200.0, 400_009))
    low, high = activation.limits
    assert float(a.min()) >= low - 1e-12, activation.key
    assert float(a.max()) <= high + 1e-12, activation.key
    if math.isfinite(low):
        assert float(a.min()) == pytest.approx(low, abs=6e-3), activation.key
    if math.isfinite(high):
        assert float(a.max()) == pytest.approx(high, abs=6e-3), activation.key


@pytest.mark.parametrize(
    ("module", "kinks"),
    [
        (nn.ReLU(), [0.0]),
        (nn.ReLU6(), [0.0, 6.0]),
        (nn.Hardtanh(), [-1.0, 1.0]),
        (nn.Hardtanh(-0.7, 0.1), [-0.7, 0.1]),
        (nn.Hardsigmoid(), [-3.0, 3.0]),
        (nn.LeakyReLU(0.2), [0.0]),
        (nn.Threshold(0.1, 0.0), [0.1]),
        (nn.Hardshrink(), [-0.5, 0.5]),
        (nn.Softshrink(), [-0.5, 0.5]),
        (nn.ELU(2.0), [0.0]),
        (nn.SELU(), [0.0]),
        (nn.CELU(0.5), [0.0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_slope_at_kinks_is_torchs_backward(module, kinks, dtype):
    activation = activation_of(module)
    z = torch.tensor(kinks, dtype=dtype)
    if dtype is torch.bfloat16 and z.tolist() != kinks:
        return  # torch's backward compares in float32 there; what the clamp wrote is saturated
    expected = autograd_slope(module, z)
    assert torch.equal(activation.slope(z), expected)
    if activation.output_slope is not None:
        assert torch.equal(activation.output_slope(activation.function(z)), expected)


@every_module
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_slope_keeps_dtype_and_shape_and_makes_no_graph(module, dtype):
    activation = activation_of(module)
    z = torch.linspace(-4.01, 4, 24, dtype=dtype).reshape(2, 3, 4).requires_grad_()
    for slope, x in ((activation.slope, z), (activation.output_slope, activation.function(z))):
        if slope is None:
            continue
        got = slope(x)
        assert (got.dtype, got.shape, got.requires_grad) == (dtype, z.shape, False)
    exact = activation.slope(z.detach().double())
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    assert (activation.slope(z).double() - exact).abs().max() <= tolerance * activation.max_slope


@every_module
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_slope_is_finite_far_out(module, dtype):
    activation = activation_of(module)
    far = torch.tensor([-math.inf, -1e4, -300.0, 300.0, 1e4, math.inf], dtype=dtype)
    assert activation.slope(far).isfinite().all(), activation.key
