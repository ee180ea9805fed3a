import copy
import math
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from actstats import activations
from actstats.activations import (
    FUNCTIONAL,
    Zone,
    activation_from_key,
    activation_of,
    from_function,
    functional_activation,
    get,
    infer,
    make_module,
    names,
    why_not,
)

MODULES = [
    nn.CELU(),
    nn.CELU(0.5),
    nn.ELU(),
    nn.ELU(2.0),
    nn.ELU(0.0),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.Hardshrink(),
    nn.Hardshrink(0.7),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Hardtanh(),
    nn.Hardtanh(-0.7, 2.0),
    nn.LeakyReLU(),
    nn.LeakyReLU(0.2),
    nn.LeakyReLU(-0.2),
    nn.LeakyReLU(30.0),
    nn.LeakyReLU(0.0),
    nn.LogSigmoid(),
    nn.Mish(),
    nn.RReLU(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.SELU(),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Softplus(),
    nn.Softplus(0.1, 5.0),
    nn.Softplus(3.0),
    nn.Softshrink(),
    nn.Softshrink(0.3),
    nn.Softsign(),
    nn.Tanh(),
    nn.Tanhshrink(),
    nn.Threshold(0.1, -2.0),
    nn.Threshold(0.1, 0.1),
    nn.Threshold(0.1, 3.0),
]
THRESHOLDS = (0.001, 0.05, 1 - 0.97**2, 0.3, 0.9)
every_module = pytest.mark.parametrize("module", MODULES, ids=lambda m: activation_of(m).key)


def grid(reach=20.0, n=40_011):
    """A dense float64 grid that hits none of the kinks."""
    return torch.linspace(-reach, reach + 0.00137, n, dtype=torch.float64)


def autograd_slope(function, z):
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(z.clone()).sum(), z)
    return slope


def assert_close(got, expected, label, atol=1e-12):
    worst = (got - expected).abs().max()
    assert torch.allclose(got, expected, rtol=1e-9, atol=atol), f"{label}: off by {worst:.3g}"


# ------------------------------------------------------------------------------------ the formulas


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


# ----------------------------------------------------------------------------------------- zones


def inside(zones, x):
    return torch.stack([zone.contains(x) for zone in zones]).any(0) if zones else x.isnan()


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


# ----------------------------------------------------------------------------------------- flags


def test_relu_like_is_the_relu_family():
    family = {name for name in names() if name != "threshold" and get(name).relu_like}
    assert family == {"relu", "relu6", "leaky_relu", "prelu", "rrelu"}


@every_module
def test_can_die_is_an_exactly_zero_slope_wherever_not_active(module):
    activation, z = activation_of(module), grid()
    slope = activation.slope(z)
    active = activation.function(z) > 0
    if not activation.relu_like:
        active = slope.abs() >= 0.05 * activation.max_slope
    expected = bool((~active).any()) and bool((slope[~active & (z < 6)] == 0).all())
    assert activation.can_die is expected, activation.key


def test_ends_at_one():
    with_one = {name for name in names() if name != "threshold" and get(name).ends_at_one}
    assert with_one == {"celu", "elu", "hardsigmoid", "hardtanh", "sigmoid", "softsign", "tanh"}


def test_prelu_has_a_reason_and_is_active_by_its_output():
    prelu = activation_of(nn.PReLU(3))
    assert not prelu.slope_known
    assert "learned" in prelu.reason
    assert (prelu.relu_like, prelu.judged_from, prelu.can_die) == (True, "output", False)
    assert prelu.slope(torch.ones(2)).isnan().all()
    assert why_not(nn.PReLU()) == prelu.reason
    assert not activation_of(nn.CELU(-1.0)).slope_known


# ------------------------------------------------------------------------------------------ keys


@every_module
def test_key_round_trip(module):
    activation = activation_of(module)
    again = activation_from_key(activation.key)
    assert again == activation
    assert hash(again) == hash(activation)
    assert again.key == activation.key
    assert pickle.loads(pickle.dumps(activation)) == activation
    assert copy.deepcopy(activation) is activation
    assert copy.copy(activation) is activation


def test_key_tells_parameters_apart():
    assert activation_of(nn.LeakyReLU()).key == "leaky_relu(negative_slope=0.01)"
    assert activation_of(nn.LeakyReLU(0.2)) != get("leaky_relu")
    assert activation_of(nn.ELU(1)) == get("elu")
    assert get("gelu(approximate=tanh)") == activation_of(nn.GELU("tanh"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tahn", "did you mean 'tanh'"),
        ("threshold", "must give threshold the parameters threshold, value; got 'threshold'"),
        ("relu(a=1)", "must give relu no parameters"),
        ("elu(alpha=two)", "must hold numbers; got 'two'"),
        ("elu(alpha=__import__('os'))", "must look like"),
        ("elu)(", "must look like"),
        ("", "must look like"),
        ("gelu(approximate=erf)", "`approximate` must be"),
        ("f(digest=#1)", "must give f digest, relu_like"),
    ],
)
def test_key_refuses(key, message):
    with pytest.raises(ValueError, match=message):
        activation_from_key(key)


@pytest.mark.parametrize("name", ["LeakyReLU", "leaky-relu", "LEAKY_RELU", "leakyrelu"])
def test_get_spellings(name):
    assert get(name).name == "leaky_relu"


def test_get_takes_modules_and_activations():
    assert get(nn.ReLU(inplace=True)) == get("relu") == get(get("relu"))
    with pytest.raises(ValueError, match="got Softmax: it is not elementwise"):
        get(nn.Softmax(-1))
    with pytest.raises(ValueError, match="must be a name, a module or an Activation; got 3"):
        get(3)


# --------------------------------------------------------------------------------------- modules


def test_every_torch_activation_is_known_or_has_a_reason():
    arguments = {"Threshold": (0.1, 0.0), "MultiheadAttention": (4, 2)}
    for name in nn.modules.activation.__all__:
        module = getattr(nn, name)(*arguments.get(name, ()))
        known = activations._known_class(module)
        assert known is type(module), f"torch.nn.{name} is new: give it a slope or a reason"
        assert (activation_of(module) is None) == (known in activations._NOT_ELEMENTWISE)
        assert activation_of(module) is not None or "not elementwise" in why_not(module)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.GLU(), "gates"),
        (nn.MultiheadAttention(4, 2), "mixes positions"),
        (nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2]), "not elementwise"),
        (nn.Identity(), "Identity is not an activation"),
        (nn.Dropout(), "Dropout is not an activation"),
        (nn.Linear(1, 1), "Linear is not an activation"),
        (nn.ELU(torch.tensor(1.0)), "not plain numbers"),
    ],
    ids=repr,
)
def test_why_not(module, reason):
    assert activation_of(module) is None
    assert reason in why_not(module)
    assert why_not(nn.Tanh()) == ""


@pytest.mark.parametrize("name", sorted(set(names()) - {"threshold", "quick_gelu"}))
def test_make_module_round_trip(name):
    assert activation_of(make_module(name)).key == get(name).key
    module = make_module(name)
    if hasattr(module, "inplace"):
        module.inplace = True
        assert activation_of(module) == get(name)


class KeepsForward(nn.ReLU6):
    pass


class ChangesForward(nn.ReLU):
    def forward(self, x):
        return torch.tanh(x)


def test_activation_of_subclasses_goes_by_their_forward():
    assert activation_of(KeepsForward()) == get("relu6")
    assert activation_of(ChangesForward()) == get("tanh")


# ----------------------------------------------------------------------------------------- infer


class Fn(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


def noisy(x):
    return torch.tanh(x + torch.rand(()) + random.random() + np.random.rand())  # noqa: NPY002


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.seen = []

    def forward(self, x):
        self.calls += 1
        self.seen.append(x)
        return x.relu_()


class WithDropout(nn.Module):
    def forward(self, x):
        return F.dropout(x.sin().abs() + x, training=self.training)


@pytest.mark.parametrize(
    ("fn", "key"),
    [
        (lambda x: x * torch.sigmoid(x), "silu"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), "relu"),
        (lambda x: x.float().tanh(), "tanh"),
        (lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), "gelu(approximate=none)"),
        (lambda x: F.leaky_relu_(x), "leaky_relu(negative_slope=0.01)"),
        (lambda x: F.elu(x), "elu(alpha=1.0)"),
    ],
    ids=["swish", "clamp", "maximum", "float32", "erf", "in-place", "elu"],
)
def test_infer_names_what_it_knows(fn, key):
    assert infer(Fn(fn)).key == key


def test_infer_accepts_unknown_functions():
    found = infer(Fn(lambda x: 2 * torch.tanh(x / 3)))
    assert found.max_slope == pytest.approx(2 / 3)
    assert found.limits == pytest.approx((-2, 2), abs=1e-6)
    assert [zone.side for zone in found.zones()] == ["low", "high"]
    assert infer(Fn(StraightThrough.apply)).zones()[1].low == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize(
    "module",
    [
        Fn(lambda x: x),
        Fn(lambda x: 3 * x + 1),
        Fn(lambda x: x.round()),
        Fn(torch.sign),
        Fn(torch.ones_like),
        Fn(lambda x: x - x.mean()),
        Fn(lambda x: x.cumsum(-1)),
        Fn(lambda x: torch.softmax(x, -1)),
        Fn(lambda x: F.layer_norm(x, x.shape[-1:])),
        Fn(lambda x: x.flip(-1)),
        Fn(lambda x: x * torch.arange(x.shape[-1])),
        Fn(lambda x: x.flatten()),
        Fn(lambda x: x[..., :-1]),
        Fn(lambda x: x > 0),
        Fn(lambda x: (x.relu(), None)),
        Fn(lambda x: None),
        Fn(lambda x: x.log()),
        Fn(lambda x: x.detach().relu() + 0.1 * x.detach()),
        Fn(noisy),
        Fn(lambda x: torch.tanh(x) + 1e-9 * torch.rand(())),
        Fn(lambda x: torch.where(torch.arange(x.numel()).view_as(x) == 40, 0.0, x.relu())),
        Fn(lambda x: 1 / 0),
        Fn(torch.add),
        WithDropout().train(),
        nn.Sequential(nn.ReLU()),
        nn.Module(),
    ],
)
def test_infer_declines(module):
    if isinstance(module, WithDropout):
        assert not infer(module).slope_known  # dropout is off in eval mode; the sine never settles
        assert module.training
    else:
        assert infer(module) is None
        assert why_not(module)


def test_infer_declines_parameters_and_buffers():
    with_parameter, with_buffer = Fn(torch.relu), Fn(torch.relu)
    with_parameter.p = nn.Parameter(torch.ones(1))
    with_buffer.register_buffer("b", torch.ones(1))
    assert infer(with_parameter) is None
    assert infer(with_buffer) is None
    assert why_not(with_buffer) == "it has parameters or buffers"


def random_states():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002


def test_infer_leaves_random_states_alone():
    before = random_states()
    infer(Fn(noisy))
    assert random_states() == before
    noisy(torch.zeros(1))
    assert random_states() != before


def test_infer_leaves_the_module_alone():
    module = Counting()
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    found = infer(module)
    assert found == get("relu")
    assert (module.calls, module.seen, module.training, calls) == (0, [], True, [])


def test_infer_works_in_inference_mode_and_without_gradients():
    with torch.inference_mode():
        first = infer(Fn(lambda x: torch.tanh(x) ** 3))
    with torch.no_grad():
        second = infer(Fn(lambda x: torch.tanh(x) ** 3))
    assert first == second
    assert first.slope_known


def test_infer_recognises_transformers():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    hf = pytest.importorskip("transformers.activations")
    expected = {
        hf.NewGELUActivation(): "gelu(approximate=tanh)",
        hf.FastGELUActivation(): "gelu(approximate=tanh)",
        hf.GELUActivation(): "gelu(approximate=none)",
        hf.QuickGELUActivation(): "quick_gelu",
        hf.MishActivation(): "mish",
    }
    for module, key in expected.items():
        assert activation_of(module).key == key
    assert activation_of(hf.LinearActivation()) is None
    squared = activation_of(hf.ReLUSquaredActivation())
    assert (squared.relu_like, squared.can_die, squared.slope_known) == (True, True, False)


# --------------------------------------------------------------------------------- from_function


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


# -------------------------------------------------------------------------------- function calls


class Seen(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = functional_activation(func, args, kwargs)
        if found is not None:
            in_place = FUNCTIONAL[func].is_in_place(args, kwargs or {})
            self.calls.append((found.key, in_place))
        return func(*args, **(kwargs or {}))


CALLS = [
    (lambda x: F.relu(x), "relu", False),
    (lambda x: F.relu(x, inplace=True), "relu", True),
    (lambda x: F.relu(x, True), "relu", True),
    (lambda x: F.relu(input=x), "relu", False),
    (lambda x: F.relu_(x), "relu", True),
    (lambda x: torch.relu(x), "relu", False),
    (lambda x: torch.relu_(x), "relu", True),
    (lambda x: x.relu(), "relu", False),
    (lambda x: x.relu_(), "relu", True),
    (lambda x: x.tanh(), "tanh", False),
    (lambda x: x.tanh_(), "tanh", True),
    (lambda x: torch.tanh(x), "tanh", False),
    (lambda x: F.tanh(x), "tanh", False),
    (lambda x: x.sigmoid_(), "sigmoid", True),
    (lambda x: torch.special.expit(x), "sigmoid", False),
    (lambda x: F.relu6(x), "relu6", False),
    (lambda x: F.gelu(x), "gelu(approximate=none)", False),
    (lambda x: F.gelu(x, approximate="tanh"), "gelu(approximate=tanh)", False),
    (lambda x: F.silu(x, inplace=True), "silu", True),
    (lambda x: F.mish(x), "mish", False),
    (lambda x: F.elu(x, 0.5), "elu(alpha=0.5)", False),
    (lambda x: F.elu(x, 0.5, True), "elu(alpha=0.5)", True),
    (lambda x: F.elu_(x, alpha=2), "elu(alpha=2.0)", True),
    (lambda x: F.selu(x), "selu", False),
    (lambda x: F.celu(x, alpha=0.5), "celu(alpha=0.5)", False),
    (lambda x: F.leaky_relu(x), "leaky_relu(negative_slope=0.01)", False),
    (lambda x: F.leaky_relu(x, 0.2, inplace=True), "leaky_relu(negative_slope=0.2)", True),
    (lambda x: F.softplus(x, 2), "softplus(beta=2.0, threshold=20.0)", False),
    (lambda x: F.logsigmoid(x), "logsigmoid", False),
    (lambda x: F.hardswish(x), "hardswish", False),
    (lambda x: F.hardsigmoid(x), "hardsigmoid", False),
    (lambda x: F.hardtanh(x, -2.0, 3), "hardtanh(min_val=-2.0, max_val=3.0)", False),
    (lambda x: F.hardtanh(x, -2.0, 3, True), "hardtanh(min_val=-2.0, max_val=3.0)", True),
    (lambda x: F.threshold(x, 0.1, 0), "threshold(threshold=0.1, value=0.0)", False),
    (lambda x: F.threshold(x, 0.1, 0, True), "threshold(threshold=0.1, value=0.0)", True),
    (lambda x: F.hardshrink(x, 0.3), "hardshrink(lambd=0.3)", False),
    (lambda x: F.softshrink(x), "softshrink(lambd=0.5)", False),
    (lambda x: F.tanhshrink(x), "tanhshrink", False),
    (lambda x: F.softsign(x), "softsign", False),
    (lambda x: F.rrelu(x, 0.1, 0.3, False, True), "rrelu(lower=0.1, upper=0.3)", True),
    (lambda x: F.rrelu(x, 0.1, 0.3, True), "rrelu(lower=0.1, upper=0.3)", False),
    (lambda x: F.prelu(x, torch.ones(1)), "prelu", False),
]


@pytest.mark.parametrize(("call", "key", "in_place"), CALLS, ids=map(str, range(len(CALLS))))
def test_functional_activation_sees_the_call(call, key, in_place):
    x = torch.linspace(-2, 2, 5)
    before, pointer = x.clone(), x.data_ptr()
    with Seen() as seen:
        result = call(x)
    assert seen.calls == [(key, in_place)]
    assert (result.data_ptr() == pointer) is in_place
    assert in_place or torch.equal(x, before)


def test_functional_activation_of_other_calls_is_none():
    x = torch.zeros(2)
    for func in (torch.add, torch.softmax, F.linear, torch.Tensor.__getitem__, len):
        assert functional_activation(func, (x, 1)) is None
    assert functional_activation(F.elu, (x, torch.tensor(1.0)), {}) is None


def test_functional_form_reads_positional_arguments():
    x = torch.zeros(2)
    assert FUNCTIONAL[F.rrelu].is_in_place((x, 0.1, 0.3, False, True), {})
    assert not FUNCTIONAL[F.rrelu].is_in_place((x, 0.1, 0.3, True), {})
    assert FUNCTIONAL[F.elu_].is_in_place((x,), {})


def test_functional_activation_is_cached():
    x = torch.zeros(2)
    first = functional_activation(F.gelu, (x,), {"approximate": "tanh"})
    assert functional_activation(F.gelu, (x,), {"approximate": "tanh"}) is first


# --------------------------------------------------------------------------------------- imports


def test_import_stays_light():
    heavy = ("numba", "matplotlib", "scipy", "pandas", "transformers")
    code = (
        "import torch, sys; old = set(sys.modules); import actstats.activations; "
        f"print([m for m in {heavy} if m in set(sys.modules) - old])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
