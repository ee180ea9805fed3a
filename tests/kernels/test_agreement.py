"""The faster kernels and the reference on the same tensors: the same integers, equal moments."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from actstats import TensorStats, activations
from actstats.gate import make_gate
from actstats.kernels import Gate, Spec, State, reference, slopes
from claims import assert_same_integers
from kernel_claims import (
    DTYPES,
    FASTER,
    LAYOUTS,
    SPECIAL,
    around,
    assert_as_reference,
    assert_same_moments,
    assert_same_openness,
    assert_same_stats,
    fed,
    gate_of,
    observed,
    varied,
)

pytestmark = pytest.mark.parametrize("kernel", FASTER)

AXES = (-1, 1, None)
EVERYTHING = {"gate": gate_of("tanh"), "asymptote": True, "edges": (-1.0, -0.1, 0.5, 1.0, 3.0)}
SIZES = (1, 2, 3, 64, 127, 128, 129, 300, 515)


def ripple(z):
    """Return what is saturated in many places: its slope dips again and again."""
    return torch.sin(3 * z) * torch.exp(-z * z / 50)


# ---- sizes and layouts ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [1, 2, 3, 5, 8, 64, 127, 128, 129, 300])
def test_rows_of_any_size(kernel, units, dtype):
    for samples in SIZES:
        x = varied(samples, units, dtype=dtype)
        assert_as_reference(kernel, x, **EVERYTHING)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [4095, 4096, 4097])
def test_more_units_than_a_tile_has_values(kernel, units, dtype):
    for samples in (1, 3, 70):
        assert_as_reference(kernel, varied(samples, units, dtype=dtype), **EVERYTHING)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [1, 3, 130])
@pytest.mark.parametrize("run", [1, 2, 3, 127, 128, 129, 511, 512, 513])
def test_runs_of_any_size(kernel, run, units, dtype):
    for images in (1, 2, 9, 33) if units == 3 else (1, 3):
        x = varied(images, units, run, dtype=dtype)
        assert_as_reference(kernel, x, unit_axis=1, **EVERYTHING)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [2047, 4095, 4096, 4097, 8192, 10_001])
def test_runs_longer_than_a_tile(kernel, run, dtype):
    for images in (1, 2, 5):
        x = varied(images, 2, run, dtype=dtype)
        assert_as_reference(kernel, x, unit_axis=1, **EVERYTHING)
        assert_as_reference(kernel, x, unit_axis=None, **EVERYTHING)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(kernel, layout, dtype):
    for shape in [(4, 6, 3, 5), (3, 130, 2, 7), (5, 9, 17, 31), (2, 3, 40, 60)]:
        x = LAYOUTS[layout](varied(*shape, dtype=dtype))
        for axis in AXES:
            assert_as_reference(kernel, x, unit_axis=axis, **EVERYTHING)


def test_strides_that_do_not_fold_are_copied_in_pieces(kernel, monkeypatch):
    if hasattr(kernel, "BLOCK"):
        monkeypatch.setattr(kernel, "BLOCK", 100)
    x = varied(8, 12, 6, 10)[::2, 1:, :, ::3]
    for axis in AXES:
        assert_as_reference(kernel, x, x, unit_axis=axis, **EVERYTHING)
        z = fed(kernel, x, unit_axis=axis, gate=gate_of("gelu"), judged=True)
        want = fed(reference, x, unit_axis=axis, gate=gate_of("gelu"), judged=True)
        assert z.judged.tolist() == want.judged.tolist()


@pytest.mark.parametrize("resolution", range(8))
def test_any_resolution(kernel, resolution):
    for samples in (5, 9000):  # few values go straight to the histogram, many by private ones
        x = varied(samples, 8)
        assert_as_reference(kernel, x, resolution=resolution, **EVERYTHING)


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_inf_in_any_block(kernel, value, dtype):
    for shape, axis in [((40_000,), None), ((700, 128), -1), ((9, 3, 2000), 1), ((40, 5, 60), 1)]:
        clean = 5 + torch.randn(shape).to(dtype)
        n = clean.numel()
        for places in ([0], [n // 2], [n - 1], [0, n // 2, n - 1], [4095], [4096]):
            x = clean.clone()
            x.view(-1)[torch.tensor(places)] = value
            assert_as_reference(kernel, x, unit_axis=axis, **EVERYTHING)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_units_and_tensors_without_a_finite_value(kernel, value):
    for shape, axis in [((700, 130), -1), ((9, 3, 2000), 1), ((40, 5, 60), 1), ((300, 3), -1)]:
        x = torch.randn(shape)
        x.select(axis, 1).fill_(value)
        assert_as_reference(kernel, x, unit_axis=axis, **EVERYTHING)
        nothing = torch.full(shape, value)
        assert_as_reference(kernel, nothing, unit_axis=axis, **EVERYTHING)
        assert_as_reference(kernel, nothing, x, nothing, unit_axis=axis, **EVERYTHING)


def test_all_zeros_of_both_signs(kernel):
    x = torch.zeros(5000, 3)
    x[::3] = -0.0
    x[:, 1] = -0.0
    for part in (x, x[:2], -x):
        assert_as_reference(kernel, part, **EVERYTHING)


def test_float64_that_float32_cannot_hold(kernel):
    sizes = torch.logspace(-323, 153, 3000, dtype=torch.float64)
    x = torch.cat((sizes, -sizes, sizes.new_tensor([1e-310, 5e-324, -5e-324, -0.0])))
    largest = torch.finfo(torch.float32).max
    ends = torch.tensor([largest, 2.0**-149, 2.0**-150, 2.0**-151, 0.5, 1.0], dtype=torch.float64)
    for to in (-math.inf, math.inf):
        x = torch.cat((x, torch.nextafter(ends, torch.full_like(ends, to))))
    assert_as_reference(kernel, x.view(-1, 1), **EVERYTHING)
    some = torch.stack((x, torch.full_like(x, 1e300)), 1)
    got, want = (observed(k, some, **EVERYTHING) for k in (kernel, reference))
    assert_same_integers(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [2.0**16, 2.0**-20, 3.0, torch.tensor(65536.0), torch.tensor(7)])
def test_any_scale(kernel, scale, dtype):
    for shape, axis in [((300, 5), -1), ((70, 130), -1), ((3, 4, 700), 1), ((4, 3, 7, 9), 1)]:
        x = varied(*shape, dtype=dtype)
        assert_as_reference(kernel, x, x * 2, unit_axis=axis, scale=scale, edges=(-1.0, 0.0, 1e-6))


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.data())
def test_the_same_random_tensors(kernel, data):
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=40))
    dtype, axis = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(AXES))
    few = st.floats(width=32) | st.floats(-3, 3) | st.sampled_from(SPECIAL)
    x = torch.tensor(data.draw(st.lists(few, min_size=1, max_size=8)), dtype=torch.float64)
    x = torch.cat((x, torch.randn(data.draw(st.sampled_from([0, 8, 100])), dtype=torch.float64)))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    while math.prod(shape) > 20_000:
        shape = shape[1:]
    x = x[torch.randint(len(x), shape)].to(dtype)
    x = x.permute(data.draw(st.permutations(range(x.dim()))))
    for at in range(x.dim()):
        start, step = data.draw(st.sampled_from([(0, 1), (0, 1), (1, 1), (0, 2)]))
        x = x[(slice(None),) * at + (slice(min(start, x.shape[at]), None, step),)]
    gate = gate_of(data.draw(st.sampled_from(["relu", "tanh", "hardtanh", "hardshrink"])))
    edges = data.draw(st.sampled_from([None, (-1.0, 0.0, 1.0)]))
    k, near = data.draw(st.integers(0, 7)), data.draw(st.booleans())
    batches = x.tensor_split(data.draw(st.integers(1, 3))) if axis is None else [x, x]
    assert_as_reference(
        kernel, *batches, unit_axis=axis, gate=gate, resolution=k, asymptote=near, edges=edges
    )


# ---- gates ---------------------------------------------------------------------------------------


def gates():
    """Return every activation, by name and saturation slope, and some with parameters."""
    known = [name for name in activations.names() if name != "threshold"]
    known += ["threshold(threshold=0.1,value=20.0)", "threshold(threshold=0.1,value=0.0)"]
    known += ["hardtanh(min_val=-0.7,max_val=0.7)", "leaky_relu(negative_slope=0.3)"]
    known += ["elu(alpha=0.5)", "celu(alpha=2.0)", "softplus(beta=0.5,threshold=20.0)"]
    return [activations.activation_from_key(key) for key in (*known, "gelu(approximate=tanh)")] + [
        activations.from_function(ripple, "ripple")
    ]


def assert_judged_as_reference(kernel, gate, x, axis):
    """Claim what is judged of outputs, or of inputs, whichever the gate is for."""
    state, want = (
        fed(k, x, x, unit_axis=axis, gate=gate, judged=not gate.from_output)
        for k in (kernel, reference)
    )
    site = f"{x.dtype} {tuple(x.shape)} by {axis}"
    assert state.judged.tolist() == want.judged.tolist(), site
    exactly = isinstance(slopes.form_of(gate), slopes.Box | slopes.Quadratic)
    one, other = (TensorStats.from_state(s) for s in (state, want))
    assert_same_openness(one, other, exactly=exactly, site=site)


@pytest.mark.parametrize("known", gates(), ids=lambda known: known.key.split("(digest")[0])
def test_any_activation(kernel, known):
    for slope in (0.05, 0.0591, 0.3):
        gate = make_gate(known, slope)
        for dtype in DTYPES:
            z = torch.cat((torch.linspace(-12, 12, 4000, dtype=torch.float64), varied(900)))
            values = (known.function(z) if gate.from_output else z).to(dtype)
            x = torch.cat((values, around(gate, dtype)))
            assert_judged_as_reference(kernel, gate, x, None)
            for shape, axis in [((-1, 3), -1), ((-1, 2, 70), 1)]:
                rest = math.prod(-side for side in shape)
                folded = x[: len(x) // abs(rest) * abs(rest)].view(shape)
                assert_judged_as_reference(kernel, gate, folded, axis)


@pytest.mark.parametrize("name", ["gelu", "selu", "tanh", "relu"])
def test_gates_of_many_units(kernel, name):
    known = activations.get(name)
    for shape, axis in [((300, 130), -1), ((40, 4097), -1), ((3, 130, 40), 1), ((3, 5, 600), 1)]:
        z = varied(*shape)
        gate = make_gate(known)
        assert_judged_as_reference(kernel, gate, known.function(z) if gate.from_output else z, axis)


@pytest.mark.parametrize("layout", ["rows", "copied in pieces"])
def test_a_slope_that_torch_has_takes_scaled_values(kernel, layout):
    gate = rippling()
    x = 3 * torch.randn(12, 5, 6)
    x = x if layout == "rows" else x[::2, ::2, ::2].transpose(0, 1)
    for scale in (3.0, torch.tensor(0.7, dtype=torch.float64)):
        assert_as_reference(kernel, x, x, gate=gate, scale=scale)
        assert_as_reference(kernel, x.double(), gate=gate, scale=scale)


def test_a_slope_that_torch_has_leaves_the_graph_alone(kernel):
    x = torch.randn(40, 5, requires_grad=True)
    y = x * 2
    state = fed(kernel, y, y, y, gate=rippling())  # a plan is made, then used again
    assert not state.memory.requires_grad
    assert state.memory.grad_fn is None
    y.sum().backward()
    assert x.grad.eq(2).all()
    want = fed(reference, *3 * [y.detach()], gate=rippling())
    assert float(state.openness) == pytest.approx(float(want.openness), rel=1e-12)


def rippling():
    """Return a gate of outputs whose slope no compiled code knows."""
    gate = Gate(
        low=((-math.inf, -1.0),),
        high=((1.0, math.inf),),
        quiet=((-math.inf, -1.0), (1.0, math.inf)),
        slope=lambda z: torch.sin(40 * z),
        max_slope=1.0,
        from_output=True,
    )
    assert slopes.form_of(gate) is None
    return gate


# ---- what was seen before ------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [30, 9000])  # added at once, and counted apart first
def test_counts_go_on_beyond_31_bits(kernel, samples):
    x = torch.tensor([[0.0, 1.0, -1.0, 0.75, math.nan]]).repeat(samples, 1)
    before, spec = 2**31 - 5, Spec(width=5, **EVERYTHING)
    fresh, old = State(spec), State(spec)
    for part in (old.counts, old.histogram, old.asymptote, old.linear, old.judged[:4]):
        part += before
    for state in (fresh, old):
        kernel.observe(x, state)
    assert int(old.counts[0]) == before + 5 * samples > 2**31
    for name in ("counts", "histogram", "asymptote", "linear"):
        assert torch.equal(getattr(old, name), getattr(fresh, name) + before), name
    assert torch.equal(old.judged[:4], fresh.judged[:4] + before)
    stats = TensorStats.from_state(old, units=5)
    assert (stats + stats).count == 2 * int(old.counts[0])


def test_a_gate_with_many_intervals(kernel):
    gate = make_gate(activations.from_function(ripple, "ripple"))
    assert len(gate.quiet) > 8
    assert_judged_as_reference(kernel, gate, varied(3000, 3), -1)


def test_intervals_may_touch_overlap_or_be_empty(kernel):
    low, high = ((-2.0, -1.0), (-1.5, -0.5)), ((1.0, 2.0), (1.2, 1.5), (2.0, 3.0))
    for quiet in (low + high, ((-0.1, 0.1), (0.05, 0.2), (7.0, 6.0)), (), None):
        for sides in ((low, high), (low, ()), ((), ()), (None, high), (None, None)):
            gate = Gate(*sides, quiet, None, 1.0, from_output=True)
            for dtype in DTYPES:
                x = torch.cat((varied(3000, dtype=dtype), around(gate, dtype)))
                assert_judged_as_reference(kernel, gate, x, None)


# ---- one state, many tensors ---------------------------------------------------------------------


def test_shapes_dtypes_and_layouts_alternate(kernel):
    tensors = [
        varied(40, 6),
        varied(3, 40, 6),
        varied(40, 6, dtype=torch.float16),
        varied(41, 6, dtype=torch.float64),
        varied(6, 40).t(),
        varied(40, 12)[:, ::2],
        varied(2, 9, 6)[:, ::2],
        varied(0, 6),
        varied(6),
        varied(40, 7)[:, 1:],
        varied(1, 6).expand(9, 6),
    ]
    assert_as_reference(kernel, *(tensors * 2), **EVERYTHING)


def test_the_axis_of_units_alternates(kernel):
    x = varied(4, 5, 5)
    states = [State(Spec(width=5)) for _ in range(2)]
    for state, each in zip(states, (kernel, reference), strict=True):
        for axis in (1, -1, 1, -1, -1):
            each.observe(x, state, unit_axis=axis)
    assert_same_stats(*(TensorStats.from_state(s, units=5) for s in states))


def test_observing_and_judging_alternate(kernel):
    states = [State(Spec(width=5, gate=gate_of("silu"))) for _ in range(2)]
    z = [varied(30, 5), varied(31, 5), varied(31, 5, dtype=torch.bfloat16)]
    for state, each in zip(states, (kernel, reference), strict=True):
        for step, x in enumerate(z * 2):
            each.judge(x, state, step=step)
            each.observe(torch.nn.functional.silu(x), state, step=step)
    assert_same_stats(*(TensorStats.from_state(s, units=5) for s in states))


def test_halves_of_the_data_merge(kernel):
    x = torch.tanh(torch.randn(500, 9))
    state, other = fed(kernel, x[:100], **EVERYTHING), fed(kernel, x[:0], x[100:], **EVERYTHING)
    state.merge(other)
    got = TensorStats.from_state(state, units=9)
    want = observed(reference, x, **EVERYTHING)
    assert_same_integers(got, observed(reference, x[:100], x[100:], **EVERYTHING))
    assert_same_moments(got, want)
    nothing = State(state.spec)
    nothing.merge(state)
    nothing.merge(State(state.spec))
    assert_same_stats(TensorStats.from_state(nothing, units=9), got, exactly=True)
