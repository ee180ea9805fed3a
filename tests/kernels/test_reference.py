"""The reference kernel: one pass over a tensor, against rational arithmetic and numpy."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actstats import TensorStats, activations, kernels
from actstats.gate import make_gate
from actstats.histogram import AsymptoteHistogram, BitHistogram
from actstats.kernels import Spec, State, reference
from claims import (
    U,
    as_float64,
    assert_identical,
    assert_moments_close,
    assert_same_integers,
    assert_stats_of,
    assert_within,
    exact,
    integers,
    variance_bound,
)

laws = settings(derandomize=True, max_examples=40, deadline=None)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, math.nan, math.inf, -math.inf, 1e-45, -1e-45, 5e-324, 3.4e38)
numbers = (
    st.floats(-1e150, 1e150)
    | st.floats(-1e-3, 1e-3).map(lambda x: 1e6 + x)
    | st.sampled_from(SPECIAL)
)
tensors = arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 5)), elements=numbers)
axes = st.sampled_from([-1, 1, None])


def observed(*xs, unit_axis=-1, scale=None, **spec):
    """Observe tensors one after the other."""
    width = 1 if unit_axis is None else xs[0].shape[unit_axis]
    state = State(Spec(width=width, **spec))
    for step, x in enumerate(xs):
        reference.observe(x, state, unit_axis=unit_axis, step=step, scale=scale)
    return TensorStats.from_state(state, units=0 if unit_axis is None else width)


def assert_units_of(stats, x, axis):
    """Claim the moments of each unit."""
    columns = np.moveaxis(x.detach().double().numpy(), axis, 0).reshape(x.shape[axis], -1)
    for u, column in enumerate(columns):
        truth = exact(column)
        assert stats.moments.n[u] == truth.n, f"unit {u} of shape {tuple(x.shape)}"
        if truth.n:
            bound = variance_bound(truth, merges=4)
            assert_within(f"var of unit {u}", float(stats.moments.var[u]), truth.var, bound)


@laws
@given(tensors, st.sampled_from(DTYPES), axes)
def test_one_tensor_of_any_values(array, dtype, axis):
    x = torch.from_numpy(array).to(dtype)
    stats = observed(x, unit_axis=axis)
    assert_stats_of(stats, x, merges=x.shape[-1], site=f"{dtype} {tuple(x.shape)}")
    if axis is not None:
        assert_units_of(stats, x, axis)


@laws
@given(tensors, axes, st.sampled_from([1, 3, 4, 7, 16]))
def test_any_size_of_blocks_gives_the_same(array, axis, block):
    x = torch.from_numpy(array)
    whole = observed(x, unit_axis=axis, edges=(-1.0, 0.0, 1.0, 1e6))
    with mock.patch.object(reference, "BLOCK", block):
        pieces = observed(x, unit_axis=axis, edges=(-1.0, 0.0, 1.0, 1e6))
    assert_same_integers(whole, pieces, site=f"{tuple(x.shape)} in blocks of {block}")
    assert_moments_close(pieces, x, merges=x.numel())


@pytest.mark.parametrize("axis", [-1, 1, None])
def test_a_tensor_of_several_blocks(axis):
    x = 3 + torch.randn(3, 70, 90, 41, dtype=torch.float64)
    assert x.numel() > 2 * reference.BLOCK
    stats = observed(x, unit_axis=axis)
    flat = as_float64(x)
    assert stats.count == flat.size
    assert (stats.min, stats.max) == (flat.min(), flat.max())
    var = float(np.var(flat.astype(np.longdouble)))  # 64 bits: an oracle here, kappa is 3
    assert_within("var", stats.var, var, 16 * U * 20 * 10)
    assert stats.bits == BitHistogram.from_values(flat, 3)
    if axis is not None:
        rest = tuple(a for a in range(4) if a != axis % 4)
        np.testing.assert_allclose(stats.moments.var, x.numpy().var(rest), rtol=1e-13)
        np.testing.assert_allclose(stats.moments.mean, x.numpy().mean(rest), rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_row_wider_than_a_block(dtype):
    x = torch.randn(2, 3, 50, dtype=dtype)
    with mock.patch.object(reference, "BLOCK", 16):
        stats = observed(x, unit_axis=1)
    assert_stats_of(stats, x, merges=60)
    assert_units_of(stats, x, 1)


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3),
    "permuted": lambda x: x.permute(2, 3, 1, 0),
    "sliced": lambda x: x[::2, 1:, :, ::3],
    "expanded": lambda x: x[:1, :, :1].expand(4, -1, 5, -1),
    "flipped": lambda x: x.flip(2)[:, :, 1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [-1, 1, None])
@pytest.mark.parametrize("block", [reference.BLOCK, 32])
def test_layouts_do_not_matter(layout, axis, block):
    x = LAYOUTS[layout](2 + torch.randn(4, 6, 3, 5))
    with mock.patch.object(reference, "BLOCK", block):
        stats = observed(x, unit_axis=axis)
        plain = observed(x.clone(memory_format=torch.contiguous_format), unit_axis=axis)
    assert_same_integers(stats, plain, site=layout)
    assert_stats_of(stats, x, merges=64, site=layout)
    if axis is not None:
        assert_units_of(stats, x, axis)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0,), (0, 3), (3, 0), (2, 0, 4), (1, 1, 1)])
def test_small_and_empty_shapes(shape):
    x = torch.full(shape, 2.5)
    stats = observed(x, unit_axis=None)
    assert_stats_of(stats, x)
    assert stats.calls == 1


def test_one_element_has_variance_zero():
    assert observed(torch.tensor([[7.25]])).var == 0.0


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e7, 1e-310, 1e100])
@pytest.mark.parametrize("n", [2, 3, 1000])
def test_constant(value, n):
    x = torch.full((n, 2), value, dtype=torch.float64)
    assert_stats_of(observed(x), x, site=f"{n} x {value}")


@pytest.mark.parametrize("first", ["zeros", "none"])
@pytest.mark.parametrize("split", [1, 50])
def test_far_and_narrow_keeps_twelve_digits(first, split):
    # mean 1e6, std 1e-3 in float64: the sum of squares is wrong by a factor of 120 here
    x = 1e6 + 1e-3 * torch.randn(1000, 2, dtype=torch.float64)
    batches = list(x.tensor_split(split))
    if first == "zeros":
        batches.insert(0, torch.zeros(200, 2, dtype=torch.float64))
    stats = observed(*batches)
    truth = exact(torch.cat(batches))
    assert_within("var", stats.var, truth.var, 1e-12 * float(truth.var))


def test_far_and_narrow_in_blocks_of_every_size():
    x = 1e6 + 1e-3 * torch.randn(500, 2, dtype=torch.float64)
    truth = exact(x)
    for block in (2, 10, 64):
        with mock.patch.object(reference, "BLOCK", block):
            got = observed(x).var
        assert_within(f"var, blocks of {block}", got, truth.var, 1e-12 * float(truth.var))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_are_counted_and_do_not_spread(dtype):
    x = torch.randn(40, 3).to(dtype)
    x[0, 0], x[1, 1], x[2, 1], x[3, 2] = math.nan, math.inf, -math.inf, math.nan
    stats = observed(x)
    assert_stats_of(stats, x)
    assert (stats.nan_count, stats.posinf_count, stats.neginf_count) == (2, 1, 1)
    assert stats.moments.n.tolist() == [39, 38, 39]
    assert np.isfinite(stats.moments.var).all()


def test_inf_and_minus_inf_alone():
    x = torch.tensor([[math.inf, -math.inf, math.nan]])
    stats = observed(x)
    assert_stats_of(stats, x)
    assert stats.bits.total == 0


def test_minus_zero_is_a_zero():
    stats = observed(torch.tensor([[-0.0, 0.0, 1.0]]))
    assert stats.zeros == 2
    assert stats.bits.total == 1


@pytest.mark.parametrize(
    ("dtype", "tiny"),
    [
        (torch.float16, 2.0**-24),
        (torch.bfloat16, 2.0**-133),
        (torch.float32, 2.0**-149),
        (torch.float64, 5e-324),
    ],
)
def test_subnormals_are_not_zeros(dtype, tiny):
    x = torch.tensor([[tiny, -tiny, 0.0, 3 * tiny]], dtype=dtype)
    stats = observed(x, unit_axis=None)
    assert stats.zeros == 1
    assert stats.bits.total == 3
    assert (stats.min, stats.max) == (-tiny, 3 * tiny)


def test_float64_beyond_float32_stays_in_the_histogram():
    x = torch.tensor([[1e200, -1e200, 1e39, 1e-200, -1e-200, 1.0]], dtype=torch.float64)
    stats = observed(x, unit_axis=None)
    assert stats.inf_count == 0
    assert stats.bits.total == 6
    assert (stats.min, stats.max) == (-1e200, 1e200)
    assert stats.bits == BitHistogram.from_values(x.numpy(), 3)


def test_squares_beyond_float64_say_inf_not_nan():
    x = torch.tensor([[1e200, -1e200, 1.0, 5e199]], dtype=torch.float64)
    stats = observed(x, unit_axis=None)
    assert stats.var == math.inf
    assert_within("mean", stats.mean, exact(x).mean, 1e187)
    twice = observed(x, 2 * x, unit_axis=None)
    assert twice.var == math.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", range(8))
def test_bins_are_those_of_the_definition(dtype, resolution):
    x = torch.randn(300, 2).to(dtype)
    x[:3] = torch.tensor([0.0, -0.0])
    x[3] = math.nan
    x[4] = math.inf
    x[5] = -math.inf
    stats = observed(x, resolution=resolution)
    assert stats.bits == BitHistogram.from_values(
        as_float64(x)[np.isfinite(as_float64(x))], resolution
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", [0, 3, 7])
def test_bins_near_one_are_those_of_the_definition(dtype, resolution):
    x = torch.tanh(3 * torch.randn(500, 2)).to(dtype)
    x[0], x[1], x[2] = 1.0, -1.0, 0.5
    stats = observed(x, resolution=resolution, asymptote=True)
    values = as_float64(x.float())
    assert stats.asymptote == AsymptoteHistogram.from_values(values, resolution)
    assert (stats.at_plus_one, stats.at_minus_one) == ((values == 1).sum(), (values == -1).sum())


@laws
@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(-3, 3) | st.sampled_from(SPECIAL)),
    st.sampled_from([(-1.0, 0.0, 1.0), (-2.0, -1.0, 0.5, 1.0), tuple(np.linspace(-1, 1, 11))]),
)
def test_named_edges_count_as_numpy_histogram_does(values, edges):
    stats = observed(torch.from_numpy(values).reshape(-1, 1), edges=edges)
    known = values[~np.isnan(values)]
    want = np.histogram(known[np.isfinite(known)], np.array(edges))[0]
    below, above = (known < edges[0]).sum(), (known > edges[-1]).sum()
    assert stats.linear.tolist() == [below, *want, above]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tensor_is_only_read(dtype):
    x = torch.randn(20, 3).to(dtype)
    x[0, 0], x[1, 1] = math.nan, -0.0
    before, version = x.clone(), x._version
    observed(x, edges=(0.0, 1.0), asymptote=True)
    assert x._version == version
    assert torch.equal(x.view(torch.uint8), before.view(torch.uint8))


@pytest.mark.parametrize("scale", [2.0**16, 2.0**-3, torch.tensor(1024.0, dtype=torch.float64)])
def test_a_power_of_two_as_scale_is_exact(scale):
    x = torch.randn(50, 3)
    assert_identical(observed(x * scale, scale=scale), observed(x))


def test_any_scale_divides():
    x = torch.randn(50, 3, dtype=torch.float64)
    assert_stats_of(observed(x, scale=3.0), x / 3.0)


@laws
@given(st.lists(tensors, min_size=1, max_size=4), st.data())
def test_batches_are_as_one_tensor(arrays_, data):
    width = arrays_[0].shape[1]
    batches = [torch.from_numpy(a) for a in arrays_ if a.shape[1] == width]
    state = observed(*batches)
    together = torch.cat(batches)
    assert_same_integers(state, observed(together))
    assert_stats_of(state, together, merges=len(batches) + width)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "hardtanh", "relu6"])
@pytest.mark.parametrize("block", [reference.BLOCK, 32])
def test_judging_in_blocks_gives_the_same_integers(name, block):
    known = activations.get(name)
    a = known.function(4 * torch.randn(50, 4))
    a[3, 2] = math.nan
    state = State(Spec(width=4, gate=make_gate(known)))
    with mock.patch.object(reference, "BLOCK", block):
        reference.observe(a, state, step=5)
    judged = state.judged.numpy()
    slope = known.output_slope(a.double()).abs().numpy()
    ok = ~np.isnan(a.numpy())
    open_ = slope >= 0.05 * known.max_slope
    active = (a.numpy() > 0) if known.relu_like else open_
    assert judged[0].tolist() == ok.sum(0).tolist()
    assert judged[1].tolist() == (active & ok).sum(0).tolist()
    assert (judged[2] + judged[3]).tolist() == (~open_ & ok).sum(0).tolist()
    assert judged[4].tolist() == [5] * 4
    want = slope[ok].sum() / known.max_slope
    assert float(state.openness) == pytest.approx(want, rel=1e-13)


def test_step_of_the_last_active_sample():
    state = State(Spec(width=3, gate=make_gate(activations.get("relu"))))
    reference.observe(torch.tensor([[1.0, 0.0, 0.0]]), state, step=4)
    reference.observe(torch.tensor([[0.0, 2.0, 0.0]]), state, step=9)
    assert state.judged[4].tolist() == [4, 9, -1]


def test_reset_forgets_everything():
    x = torch.tanh(torch.randn(30, 3))
    gate = make_gate(activations.get("tanh"))
    state = State(Spec(width=3, gate=gate, asymptote=True, edges=(-1.0, 1.0)))
    reference.observe(x, state)
    one = TensorStats.from_state(state)
    state.reset()
    assert int(state.calls) == 0
    assert TensorStats.from_state(state).count == 0
    reference.observe(x, state)
    assert_identical(TensorStats.from_state(state), one)


def test_reading_copies_the_state():
    state = State(Spec(width=3, edges=(-1.0, 1.0)))
    reference.observe(torch.randn(30, 3), state)
    one = TensorStats.from_state(state)
    before = integers(one)
    reference.observe(torch.randn(30, 3), state)
    assert integers(one) == before


def test_state_made_in_inference_mode_counts_in_training():
    with torch.inference_mode():
        state = State(Spec(width=3))
        reference.observe(torch.randn(4, 3), state)
    reference.observe(torch.randn(4, 3, requires_grad=True).detach(), state)
    assert int(state.counts[0]) == 24


def test_state_is_wide_under_another_default_dtype():
    torch.set_default_dtype(torch.float16)
    try:
        stats = observed(torch.full((3000, 2), 300.0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert stats.mean == 300.0
    assert stats.count == 6000


def test_kernels_by_name():
    assert kernels.choose() is reference
    assert kernels.choose("reference") is reference
    with pytest.raises(NotImplementedError, match="cuda"):
        kernels.choose("cuda")
    with pytest.raises(ValueError, match="must be one of"):
        kernels.choose("fast")
