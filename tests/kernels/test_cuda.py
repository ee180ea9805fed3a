"""The CUDA kernel against the reference: on a GPU, or on the CPU where Triton interprets it.

``test_triton.py`` runs this file in the interpreter; without that and without a GPU it is skipped.
"""

import math
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from actstats import ActivationRecorder, TensorStats, activations
from actstats.gate import make_gate
from actstats.kernels import Spec, State, cuda, reference
from claims import (
    as_float64,
    assert_identical,
    assert_same_integers,
    assert_stats_of,
    assert_within,
    exact,
    mean_bound,
    variance_bound,
)

if cuda.why_not() is not None:
    pytest.skip(f"{cuda.why_not()}", allow_module_level=True)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
AXES = (-1, 1, None)
TINY = {torch.float32: 2.0**-149, torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}
needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="there is no CUDA device")


@pytest.fixture(autouse=True)
def _quiet_interpreter():
    """Where a GPU rounds to Inf in silence, numpy warns."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def many():
    """Let several programs read a small tensor, into histograms of their own."""
    with mock.patch.multiple(cuda, TILE=256, PROGRAMS=4, PRIVATE=0, BINS=4096):
        yield


@pytest.fixture(params=["one program", "many"])
def programs(request):
    """Let one program read a small tensor, or several."""
    if request.param == "many":
        request.getfixturevalue("many")


def observed(kernel, *xs, unit_axis=-1, scale=None, **spec):
    """Observe tensors one after the other; return the statistics and the state."""
    width = 1 if unit_axis is None else xs[0].shape[unit_axis]
    state = State(Spec(width=width, **spec), DEVICE if kernel is cuda else "cpu")
    for step, x in enumerate(xs):
        kernel.observe(x, state, unit_axis=unit_axis, step=step, scale=scale)
    units = 0 if unit_axis is None else width
    copy = State(state.spec, "cpu", state.memory.cpu())
    return TensorStats.from_state(copy, units=units)


def assert_as_reference(*xs, merges=20, unit_axis=-1, scale=None, **spec):
    """Claim the reference's integers, and moments within their bounds, also of each unit."""
    site = f"{len(xs)} x {xs[0].dtype} {tuple(xs[0].shape)} by {unit_axis}"
    stats = observed(cuda, *xs, unit_axis=unit_axis, scale=scale, **spec)
    plain = [x.cpu() for x in xs]
    factor = scale.cpu() if isinstance(scale, torch.Tensor) else scale
    truth = observed(reference, *plain, unit_axis=unit_axis, scale=factor, **spec)
    assert stats.calls == truth.calls, site
    assert_same_integers(stats, truth, site=site)
    values = [x.double() if factor is None else x.double() / factor for x in plain]
    assert_stats_of(
        stats, np.concatenate([as_float64(v) for v in values]), merges=merges, site=site
    )
    if unit_axis is not None and plain[0].dim():
        for u in range(stats.moments.width):
            column = np.concatenate([as_float64(v.select(unit_axis, u)) for v in values])
            assert_unit(stats.moments, u, column, merges, site)
    if stats.judged is not None:
        assert stats.judged.openness == pytest.approx(truth.judged.openness, rel=1e-12), site
    return stats


def assert_unit(moments, u, column, merges, site):
    """Claim the moments of one unit."""
    truth = exact(column)
    assert moments.n[u] == truth.n, f"unit {u} of {site}"
    if truth.n == 0:
        return
    mean, spread = mean_bound(truth, merges), variance_bound(truth, merges)
    assert_within(f"mean of unit {u} of {site}", float(moments.mean[u]), truth.mean, mean)
    assert_within(f"var of unit {u} of {site}", float(moments.var[u]), truth.var, spread)
    size = float(moments.abs_sum[u]) / truth.n
    assert_within(f"mean |x| of unit {u} of {site}", size, truth.abs_sum / truth.n, mean)


def varied(*shape, dtype=torch.float32):
    """Return values of every kind: of many sizes, zeros of both signs, ones, NaN and Inf."""
    x = torch.randn(shape, dtype=torch.float64) * torch.logspace(-3, 1, math.prod(shape)).view(
        shape
    )
    tiny = TINY.get(dtype, 5e-324)
    largest = torch.finfo(dtype).max if dtype != torch.float64 else 1e150
    kinds = (0.0, -0.0, 1.0, -1.0, tiny, -tiny, largest, -largest, math.nan, math.inf, -math.inf)
    flat = x.view(-1)
    for i, value in enumerate(kinds[: len(flat)]):
        flat[(7 * i) % len(flat)] = value
    return x.to(dtype).to(DEVICE)


# ---- values, sizes, layouts ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.usefixtures("programs")
def test_every_dtype(dtype, axis):
    x = varied(13, 5, 7, dtype=dtype)
    assert_as_reference(x, unit_axis=axis, asymptote=True, edges=(-1.0, 0.0, 0.5, 1.0))


SHAPES = [(32, 32), (64, 1), (1, 33), (37, 5), (19, 16), (5, 70), (2, 3, 4), (3, 1, 5), (7, 17, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("programs")
def test_even_and_odd_sizes(shape):
    x = varied(*shape)
    for axis in AXES:
        assert_as_reference(x, unit_axis=axis)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0,), (0, 3), (3, 0), (2, 0, 4), (1, 1, 1)])
def test_small_and_empty_shapes(shape):
    x = torch.full(shape, 2.5, device=DEVICE)
    assert assert_as_reference(x, unit_axis=None).calls == 1
    if len(shape) == 1 and shape[0]:
        assert_as_reference(x)


LAYOUTS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3),
    "permuted": lambda x: x.permute(2, 3, 1, 0),
    "sliced": lambda x: x[::2, 1:, 1:, ::3],
    "expanded": lambda x: x[:1, :, :1].expand(4, -1, 5, -1),
    "flipped": lambda x: x.flip(2)[:, :, 1:],
    "shifted": lambda x: x.view(-1)[1:].view(-1, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.usefixtures("many")
def test_layouts(layout, axis):
    with mock.patch.object(cuda, "PIECE", 20):
        stats = assert_as_reference(LAYOUTS[layout](varied(4, 6, 3, 5)), unit_axis=axis)
    assert stats.calls == 1


def test_how_layouts_are_walked():
    x = torch.empty(4, 6, 3, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert cuda._walk(x, None, 1) == (360, 360, 0, 1, 1, 1)
    assert cuda._walk(x, -1, 5) == (72, 72, 0, 5, 5, 1)
    assert cuda._walk(x, 1, 6) == (60, 15, 90, 1, 6, 15)
    assert cuda._walk(last, 1, 6) == (60, 60, 0, 6, 6, 1)
    assert cuda._walk(x[::2, 1:, :, ::3], -1, 2) == (30, 15, 180, 5, 2, 3)
    assert cuda._walk(x[::2, 1:, 1:, ::3], -1, 2) is None  # three groups


@pytest.mark.usefixtures("many")
def test_places_of_64_bits():
    with mock.patch.object(cuda, "LARGE", 0):
        for axis in AXES:
            assert_as_reference(varied(5, 6, 7), unit_axis=axis, gate=make_gate(RELU))


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.usefixtures("many")
def test_what_is_not_finite_does_not_spread(where, value):
    x = torch.randn(300, 3)
    x[{"first": 0, "middle": 150, "last": 299}[where], 1] = value
    stats = assert_as_reference(x.to(DEVICE))
    assert stats.moments.n.tolist() == [300, 299, 300]
    assert stats.nan_count + stats.inf_count == 1


def test_nothing_finite():
    assert_as_reference(torch.tensor([[math.inf, -math.inf, math.nan]] * 5, device=DEVICE))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e7, 1e-310, 1e100])
@pytest.mark.usefixtures("many")
def test_constant(value):
    x = torch.full((301, 2), value, dtype=torch.float64, device=DEVICE)
    assert_as_reference(x)


@pytest.mark.usefixtures("many")
def test_far_and_narrow_keeps_twelve_digits():
    x = 1e6 + 1e-3 * torch.randn(700, 2, dtype=torch.float64, device=DEVICE)
    zeros = torch.zeros(200, 2, dtype=torch.float64, device=DEVICE)
    for batches in ((x,), x.tensor_split(3), (zeros, x)):
        truth = exact(torch.cat(batches))
        got = observed(cuda, *batches).var
        assert_within("var", got, truth.var, 1e-12 * float(truth.var))


def test_squares_beyond_float64_say_inf_not_nan():
    x = torch.tensor([[1e200, -1e200, 1.0, 5e199]], dtype=torch.float64, device=DEVICE)
    assert observed(cuda, x, unit_axis=None).var == math.inf
    assert observed(cuda, x, 2 * x, unit_axis=None).var == math.inf


def test_float64_beyond_float32_stays_in_the_histogram():
    values = [1e200, -1e200, 1e39, 1e-200, -1e-200, 5e-324, 1.0, 3.4028235e38, 2.0**128]
    x = torch.tensor([values], dtype=torch.float64)
    stats = observed(cuda, x.to(DEVICE), unit_axis=None)
    assert_same_integers(stats, observed(reference, x, unit_axis=None))
    assert stats.inf_count == 0
    assert stats.bits.total == 9


@pytest.mark.parametrize("resolution", range(8))
def test_resolutions(resolution):
    x = torch.tanh(3 * torch.randn(60, 2)).to(DEVICE)
    x[0] = 1.0
    assert_as_reference(x, varied(9, 2), resolution=resolution, asymptote=True)


EDGES = [
    (0.0, 1.0),
    (-1.0, 0.0, 1.0),
    (-2.0, -1.0, 0.5, 1.0),
    tuple(np.linspace(-1, 1, 18).tolist()),
]


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.usefixtures("programs")
def test_named_edges(edges):
    x = torch.cat((torch.randn(90), torch.tensor([*edges, math.nan, math.inf, -math.inf])))
    stats = assert_as_reference(x.double().view(-1, 1).to(DEVICE), edges=edges)
    assert stats.linear.sum() == len(x) - 1


# ---- scale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2.0**16, 2.0**-3, 3.0, 0.1, 1e-100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_as_scale(scale, dtype):
    assert_as_reference(torch.randn(40, 3).to(dtype).to(DEVICE), scale=scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_as_scale_is_read_where_it_lies(dtype):
    scale = torch.tensor(1000.1, dtype=dtype)
    x = torch.randn(40, 3, device=DEVICE)
    assert_as_reference(x, scale=scale.to(DEVICE))
    assert_as_reference(x, scale=scale)


def test_scales_of_every_kind_take_turns():
    x, state = torch.randn(40, 3, device=DEVICE), State(Spec(width=3), DEVICE)
    for scale in (None, 4.0, torch.tensor(4.0, device=DEVICE), None):
        cuda.observe(x if scale is None else 4 * x, state, scale=scale)
    copy = TensorStats.from_state(State(state.spec, "cpu", state.memory.cpu()))
    assert_stats_of(copy, torch.cat([x] * 4).cpu(), merges=4)


# ---- judging -------------------------------------------------------------------------------------

RELU = activations.get("relu")
BY_OUTPUT = (
    "relu",
    "relu6",
    "leaky_relu",
    "hardtanh",
    "tanh",
    "sigmoid",
    "hardsigmoid",
    "softsign",
)
BY_INPUT = ("gelu", "gelu(approximate=tanh)", "silu", "quick_gelu", "elu", "mish", "hardswish")


@pytest.mark.parametrize(
    ("name", "axis"), [*((n, -1) for n in BY_OUTPUT), ("relu", 1), ("tanh", None)]
)
@pytest.mark.usefixtures("many")
def test_judging_outputs(name, axis):
    known = activations.get(name)
    a = known.function(4 * torch.randn(30, 6, 3))
    a.view(-1)[:4] = torch.tensor([0.0, -0.0, math.nan, math.inf])
    assert_as_reference(a.to(DEVICE), a.to(DEVICE), unit_axis=axis, gate=make_gate(known))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_judging_every_dtype(dtype, name):
    a = activations.get(name).function(4 * torch.randn(50, 4, dtype=torch.float64)).to(dtype)
    assert_as_reference(a.to(DEVICE), gate=make_gate(activations.get(name)))


def test_judging_what_is_divided():
    for name in ("tanh", "softsign"):
        a = activations.get(name).function(4 * torch.randn(50, 4, device=DEVICE))
        assert_as_reference(2 * a, scale=2.0, gate=make_gate(activations.get(name)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_are_met_exactly(dtype):
    known = activations.get("hardtanh(min_val=-0.7,max_val=0.7)")
    a = torch.linspace(-1, 1, 200, dtype=torch.float64).to(dtype).clamp(-0.7, 0.7).view(-1, 2)
    gate = make_gate(known)
    stats = observed(cuda, a.to(DEVICE), gate=gate)
    assert_same_integers(stats, observed(reference, a, gate=gate))
    assert stats.judged.low.sum() == (a == a.min()).sum() > 20


@pytest.mark.parametrize("name", BY_INPUT)
@pytest.mark.usefixtures("many")
def test_judging_inputs(name):
    known = activations.get(name)
    spec = Spec(width=3, gate=make_gate(known))
    z = 3 * torch.randn(110, 3, dtype=torch.float64)
    z[3, 1], z[5, 2], z[6], z[7] = math.nan, math.inf, 1e200, -1e200
    states = State(spec, DEVICE), State(spec)
    for kernel, state in zip((cuda, reference), states, strict=True):
        kernel.observe(known.function(z).to(state.device), state, step=3)
        kernel.judge(z.to(state.device), state, step=3)
        kernel.judge(z[:0].to(state.device), state, step=4)
    got, want = (TensorStats.from_state(State(spec, "cpu", s.memory.cpu())) for s in states)
    assert_same_integers(got, want, site=name)
    assert got.judged.openness == pytest.approx(want.judged.openness, rel=1e-12), name
    assert got.calls == 1


def test_which_slopes_have_a_formula():
    kinds = {
        name: cuda._slope(make_gate(activations.get(name)))[0] for name in BY_OUTPUT + BY_INPUT
    }
    boxes = ("relu", "relu6", "leaky_relu", "hardtanh", "hardsigmoid")
    assert [name for name in kinds if kinds[name] == "box"] == list(boxes)
    assert [name for name in kinds if kinds[name] == "quadratic"] == ["tanh", "sigmoid"]
    assert [kinds[name] for name in BY_INPUT[:4]] == ["gelu", "gelu_tanh", "swish", "swish"]
    assert kinds["softsign"] == kinds["elu"] == kinds["mish"] == "none"


@pytest.mark.usefixtures("many")
def test_step_of_the_last_active_sample():
    xs = torch.tensor([[[0.0, 0, 0]], [[1, 0, 0]], [[0, 2, 0]], [[0, 0, 0]]], device=DEVICE)
    stats = assert_as_reference(*xs, gate=make_gate(RELU))
    assert stats.judged.last_active.tolist() == [1, 2, -1]


# ---- what is kept between calls ------------------------------------------------------------------


@pytest.mark.usefixtures("many")
def test_tensors_of_changing_shape_and_dtype_add_up():
    gate = make_gate(activations.get("tanh"))
    xs = [torch.tanh(torch.randn(n, 4)).to(DEVICE) for n in (60, 60, 7, 60)]
    xs[1], xs[2] = xs[1].bfloat16(), xs[2].double()
    assert_as_reference(*xs, merges=24, gate=gate, asymptote=True)


@pytest.mark.usefixtures("many")
def test_the_same_tensors_give_the_same_bits():
    gate = make_gate(activations.get("tanh"))
    xs = [torch.tanh(torch.randn(n, 40)).to(DEVICE) for n in (60, 33)]
    assert_identical(observed(cuda, *xs, gate=gate), observed(cuda, *xs, gate=gate))


@pytest.mark.usefixtures("many")
def test_private_histograms_are_used_and_left_empty():
    x, state = torch.randn(200, 4, device=DEVICE), State(Spec(width=4), DEVICE)
    bins = cuda._workspace(x.device).bins
    cuda.observe(x, state)
    assert not bins.any()
    plan = replace(state.plan, merge_grid=None)
    cuda._launch(plan, x, state, 0, None, 1)
    copies = bins[: plan.copies * len(state.histogram)].view(plan.copies, -1).sum(1)
    bins.zero_()
    assert plan.copies == 4
    assert copies.tolist() == [256, 256, 256, 32]


def test_plans_are_kept():
    x = torch.randn(8, 4, device=DEVICE)
    state = State(Spec(width=4), DEVICE)
    cuda.observe(x, state)
    plan = state.plan
    cuda.observe(x, state)
    assert state.plan is plan
    cuda.observe(x[:3], state)
    assert state.plan is not plan
    assert int(state.counts[0]) == 76


def test_scratch_grows_and_is_kept():
    work = cuda.Workspace(torch.device(DEVICE))
    first = work.scratch(10)
    assert work.scratch(len(first)) is first
    more = work.scratch(len(first) + 1)
    assert len(more) > len(first)
    assert work.scratch(10) is more


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tensor_is_only_read(dtype):
    x = varied(20, 3, dtype=dtype)
    before, version = x.clone(), x._version
    observed(cuda, x, edges=(0.0, 1.0), asymptote=True)
    assert x._version == version
    assert torch.equal(x.view(torch.uint8), before.view(torch.uint8))


# ---- only on a device ----------------------------------------------------------------------------


@needs_gpu
def test_nothing_waits_and_nothing_is_allocated():
    gate = make_gate(activations.get("gelu"))
    state = State(Spec(width=512, gate=gate, asymptote=True, edges=(-1.0, 1.0)), DEVICE)
    x, scale = torch.randn(4096, 512, device=DEVICE), torch.tensor(2.0, device=DEVICE)

    def step():
        cuda.observe(x, state, scale=scale)
        cuda.observe(x, state, scale=2.0)
        cuda.judge(x, state)

    step()
    state.plan = None
    step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", AXES)
def test_large_tensors(dtype, axis):
    x = torch.relu(torch.randn(64, 96, 28, 28, device=DEVICE)).to(dtype)
    gate = make_gate(RELU)
    stats = observed(cuda, x, unit_axis=axis, gate=gate)
    truth = observed(reference, x.cpu(), unit_axis=axis, gate=gate)
    assert_same_integers(stats, truth)
    np.testing.assert_allclose(stats.moments.mean, truth.moments.mean, rtol=1e-12)
    np.testing.assert_allclose(stats.moments.var, truth.moments.var, rtol=1e-12)
    assert_identical(stats, observed(cuda, x, unit_axis=axis, gate=gate))


@needs_gpu
def test_more_values_than_32_bits_count():
    x = torch.zeros(1, device=DEVICE, dtype=torch.bfloat16).expand(3, 1 << 30)
    stats = observed(cuda, x, unit_axis=None)
    assert stats.zeros == stats.count == 3 << 30
    y = torch.zeros((1 << 31) + 3, device=DEVICE, dtype=torch.float16)
    y[-1] = 2.0
    stats = observed(cuda, y, unit_axis=None)
    assert (stats.max, stats.zeros) == (2.0, (1 << 31) + 2)


@needs_gpu
def test_streams_have_their_own_memory():
    x = torch.randn(4096, 64, device=DEVICE)
    states = [State(Spec(width=64), DEVICE) for _ in range(4)]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in states]
    for _ in range(10):
        for stream, state in zip(streams, states, strict=True):
            with torch.cuda.stream(stream):
                cuda.observe(x, state)
    torch.cuda.synchronize()
    first, *others = (TensorStats.from_state(State(s.spec, "cpu", s.memory.cpu())) for s in states)
    for other in others:
        assert_identical(first, other)


def test_a_recorder_goes_on_after_its_first_steps():
    recorders = []
    for kernel in ("reference", "cuda"):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()).to(DEVICE)
        recorder = ActivationRecorder(net, capture=("output", "grad"), kernel=kernel, strict=True)
        with recorder:
            for _ in range(5):
                net(torch.randn(8, 3, device=DEVICE)).sum().backward()
                recorder.step()
        recorders.append(recorder)
    want, got = recorders
    assert list(got) == list(want) == ["0", "0:grad", "1", "1:grad"]
    for site in want:
        assert got[site].calls == 5
        assert_same_integers(got[site], want[site], site=site)
