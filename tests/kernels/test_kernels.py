"""What holds for every kernel: against rational arithmetic, numpy and the definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actstats import TensorStats, activations
from actstats.gate import make_gate
from actstats.histogram import AsymptoteHistogram, BitHistogram
from actstats.kernels import Spec, State
from claims import (
    U,
    as_float64,
    assert_identical,
    assert_same_integers,
    assert_stats_of,
    assert_within,
    exact,
    integers,
)
from kernel_claims import (
    DTYPES,
    KERNELS,
    LAYOUTS,
    SPECIAL,
    assert_as_reference,
    assert_units_of,
    fed,
    gate_of,
    observed,
    varied,
)

pytestmark = pytest.mark.parametrize("kernel", KERNELS)

laws = settings(derandomize=True, max_examples=40, deadline=None)
numbers = (
    st.floats(-1e150, 1e150)
    | st.floats(-1e-3, 1e-3).map(lambda x: 1e6 + x)
    | st.sampled_from(SPECIAL)
)
tensors = arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 5)), elements=numbers)
axes = st.sampled_from([-1, 1, None])


# ---- any values, any shape, any layout -----------------------------------------------------------


@laws
@given(tensors, st.sampled_from(DTYPES), axes)
def test_one_tensor_of_any_values(kernel, array, dtype, axis):
    x = torch.from_numpy(array).to(dtype)
    stats = observed(kernel, x, unit_axis=axis)
    assert_stats_of(stats, x, merges=x.shape[-1], site=f"{dtype} {tuple(x.shape)}")
    if axis is not None:
        assert_units_of(stats, x, axis)


@laws
@given(st.lists(tensors, min_size=1, max_size=4))
def test_batches_are_as_one_tensor(kernel, several):
    width = several[0].shape[1]
    batches = [torch.from_numpy(a) for a in several if a.shape[1] == width]
    stats = observed(kernel, *batches)
    together = torch.cat(batches)
    whole = observed(kernel, together)
    steps = {"first_non_finite_step": None}  # the batches are one step each, the whole is one
    assert_same_integers(replace(stats, **steps), replace(whole, **steps))
    assert_stats_of(stats, together, merges=len(batches) + width)


@pytest.mark.parametrize("axis", [-1, 1, None])
def test_a_large_tensor(kernel, axis):
    x = 3 + torch.randn(3, 70, 90, 41, dtype=torch.float64)
    stats = observed(kernel, x, unit_axis=axis)
    values = as_float64(x)
    assert stats.count == values.size
    assert (stats.min, stats.max) == (values.min(), values.max())
    var = float(np.var(values.astype(np.longdouble)))  # 64 bits: an oracle here, kappa is 3
    assert_within("var", stats.var, var, 16 * U * 20 * 10)
    assert stats.bits == BitHistogram.from_values(values, 3)
    if axis is not None:
        rest = tuple(a for a in range(4) if a != axis % 4)
        np.testing.assert_allclose(stats.moments.var, x.numpy().var(rest), rtol=1e-13)
        np.testing.assert_allclose(stats.moments.mean, x.numpy().mean(rest), rtol=1e-13)


@pytest.mark.hostile(77)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [-1, 1, None])
def test_layouts_do_not_matter(kernel, layout, axis):
    x = LAYOUTS[layout](2 + torch.randn(4, 6, 3, 5))
    stats = observed(kernel, x, unit_axis=axis)
    plain = observed(kernel, x.clone(memory_format=torch.contiguous_format), unit_axis=axis)
    assert_same_integers(stats, plain, site=layout)
    assert_stats_of(stats, x, merges=64, site=layout)
    if axis is not None:
        assert_units_of(stats, x, axis)


EMPTY = [(0,), (1, 0), (0, 3), (3, 0), (2, 0, 4), (0, 4, 5), (2, 4, 0), (2, 3, 0, 0), (0, 0, 3, 1)]


@pytest.mark.hostile(73)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (1, 1, 1), *EMPTY])
@pytest.mark.parametrize("axis", [-1, 1, None])
def test_small_and_empty_shapes(kernel, shape, axis):
    if axis == 1 and len(shape) < 2:
        axis = -1
    x = torch.full(shape, 2.5)
    stats = observed(kernel, x, unit_axis=axis if shape else None, asymptote=True, edges=(0.0, 1.0))
    assert_stats_of(stats, x)
    assert stats.calls == 1


def test_one_axis_is_one_sample_of_its_units(kernel):
    x = torch.randn(5)
    assert_units_of(observed(kernel, x), x, -1)
    assert_units_of(observed(kernel, x, x), torch.stack((x, x)), -1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tensor_is_only_read(kernel, dtype):
    x = varied(20, 3, dtype=dtype)
    before, version = x.clone(), x._version
    observed(kernel, x, edges=(0.0, 1.0), asymptote=True)
    assert x._version == version
    assert torch.equal(x.view(torch.uint8), before.view(torch.uint8))


def test_neither_memory_around_the_tensor(kernel):
    whole = torch.full((60, 90), math.nan)
    x = whole[10:50, 20:63]
    x.copy_(torch.randn(40, 43))
    for axis in (-1, None):
        assert_stats_of(observed(kernel, x, unit_axis=axis), x, merges=8)


# ---- moments -------------------------------------------------------------------------------------


@pytest.mark.hostile(73)
def test_one_element_has_variance_zero(kernel):
    assert observed(kernel, torch.tensor([[7.25]])).var == 0.0


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e7, 1e-310, 1e100])
@pytest.mark.parametrize("n", [2, 3, 1000])
def test_constant(kernel, value, n):
    x = torch.full((n, 2), value, dtype=torch.float64)
    assert_stats_of(observed(kernel, x), x, site=f"{n} x {value}")


@pytest.mark.parametrize("first", ["zeros", "none"])
@pytest.mark.parametrize("split", [1, 50])
def test_far_and_narrow_keeps_twelve_digits(kernel, first, split):
    # mean 1e6, std 1e-3 in float64: the sum of squares is wrong by a factor of 120 here
    x = 1e6 + 1e-3 * torch.randn(1000, 2, dtype=torch.float64)
    batches = list(x.tensor_split(split))
    if first == "zeros":
        batches.insert(0, torch.zeros(200, 2, dtype=torch.float64))
    stats = observed(kernel, *batches)
    truth = exact(torch.cat(batches))
    assert_within("var", stats.var, truth.var, 1e-12 * float(truth.var))


def assert_twelve_digits(kernel, x, axis):
    moments = observed(kernel, x, unit_axis=axis).moments
    columns = x.movedim(axis, 0).flatten(1) if axis is not None else x.flatten()[None]
    for u in {0, len(columns) // 2, len(columns) - 1}:
        truth = exact(columns[u])
        site = f"var of unit {u} of {tuple(x.shape)}, kappa {truth.kappa:.2g}"
        assert_within(site, float(moments.var[u]), truth.var, 1e-12 * float(truth.var))


SIZES = [((3000, 1), -1), ((2500, 5), -1), ((600, 64), -1), ((2100, 128), -1), ((600, 130), -1)]
SIZES += [((70, 2, 9), 1), ((9, 2, 300), 1), ((2, 2, 2000), 1), ((1, 2, 4097), 1), ((5000,), None)]


@pytest.mark.parametrize(("shape", "axis"), SIZES)
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3, 1e6])
def test_twelve_digits_up_to_a_million(kernel, shape, axis, mean):
    x = mean + torch.randn(shape, dtype=torch.float64)
    assert_twelve_digits(kernel, x, axis)
    if mean < 1e6:  # in float32 values at 1e6 are 1/16 apart: they still have an exact variance
        assert_twelve_digits(kernel, x.float(), axis)


@pytest.mark.parametrize(("shape", "axis"), SIZES)
@pytest.mark.parametrize("first", [0.0, -1e6, 1e6 + 1.0, math.nan])
def test_the_first_value_may_be_far_off_or_missing(kernel, shape, axis, first):
    x = 1e6 + 1e-3 * torch.randn(shape, dtype=torch.float64)
    units = x[None] if axis is None else x.movedim(axis, 0)
    units[(slice(None), *[0] * (units.dim() - 1))] = first
    assert_twelve_digits(kernel, x, axis)


@pytest.mark.parametrize(("shape", "axis"), SIZES)
def test_the_first_half_of_a_unit_may_be_missing(kernel, shape, axis):
    x = 1e6 + 1e-3 * torch.randn(shape, dtype=torch.float64)
    unit = x if axis is None else x.select(axis, 0)
    if len(unit) > 1:
        unit[: len(unit) // 2] = math.nan
    else:
        unit[:, : unit.shape[1] // 2] = math.nan
    assert_twelve_digits(kernel, x, axis)


def test_squares_beyond_float64_say_inf_not_nan(kernel):
    x = torch.tensor([[1e200, -1e200, 1.0, 5e199]], dtype=torch.float64)
    stats = observed(kernel, x, unit_axis=None)
    assert stats.var == math.inf
    assert_within("mean", stats.mean, exact(x).mean, 1e187)
    assert observed(kernel, x, 2 * x, unit_axis=None).var == math.inf
    long = torch.cat((x, torch.randn(400, 4, dtype=torch.float64)))
    assert observed(kernel, long, unit_axis=None).var == math.inf


# ---- counters, bins ------------------------------------------------------------------------------


@pytest.mark.hostile(74)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_are_counted_and_do_not_spread(kernel, dtype):
    x = torch.randn(40, 3).to(dtype)
    x[0, 0], x[1, 1], x[2, 1], x[3, 2] = math.nan, math.inf, -math.inf, math.nan
    stats = observed(kernel, x)
    assert_stats_of(stats, x)
    assert (stats.nan_count, stats.posinf_count, stats.neginf_count) == (2, 1, 1)
    assert stats.moments.n.tolist() == [39, 38, 39]
    assert np.isfinite(stats.moments.var).all()


def test_inf_and_minus_inf_alone(kernel):
    x = torch.tensor([[math.inf, -math.inf, math.nan]])
    stats = observed(kernel, x)
    assert_stats_of(stats, x)
    assert stats.bits.total == 0


def test_minus_zero_is_a_zero(kernel):
    stats = observed(kernel, torch.tensor([[-0.0, 0.0, 1.0]]))
    assert stats.zeros == 2
    assert stats.bits.total == 1
    many = torch.tensor([-0.0, 0.0, -1.0, -0.0]).repeat(5000, 1)  # enough for private histograms
    stats = observed(kernel, many)
    assert (stats.zeros, stats.bits.total) == (15000, 5000)


@pytest.mark.hostile(74)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_step_with_nan_or_inf_is_kept(kernel, bad):
    broken = torch.randn(5000, 3)
    broken[4999, 2] = bad
    xs = [torch.randn(5000, 3), torch.randn(5000, 3), broken, torch.randn(5000, 3), broken]
    assert observed(kernel, *xs).first_non_finite_step == 2
    assert observed(kernel, *xs[:2]).first_non_finite_step is None


def test_the_first_step_with_nan_merges_by_its_minimum(kernel):
    def broken_at(step):
        xs = [torch.ones(4, 3)] * step + [torch.full((4, 3), math.nan)]
        return fed(kernel, *xs)

    late, early, never = broken_at(5), broken_at(2), fed(kernel, torch.ones(4, 3))
    merged = TensorStats.from_state(late).merge(TensorStats.from_state(early))
    assert merged.merge(TensorStats.from_state(never)).first_non_finite_step == 2
    for other in (early, never):
        late.merge(other)
    assert TensorStats.from_state(late).first_non_finite_step == 2


@pytest.mark.parametrize(
    ("dtype", "tiny"),
    [
        (torch.float16, 2.0**-24),
        (torch.bfloat16, 2.0**-133),
        (torch.float32, 2.0**-149),
        (torch.float64, 5e-324),
    ],
)
def test_subnormals_are_not_zeros(kernel, dtype, tiny):
    x = torch.tensor([[tiny, -tiny, 0.0, 3 * tiny]], dtype=dtype)
    stats = observed(kernel, x, unit_axis=None)
    assert stats.zeros == 1
    assert stats.bits.total == 3
    assert (stats.min, stats.max) == (-tiny, 3 * tiny)


def test_float64_beyond_float32_stays_in_the_histogram(kernel):
    x = torch.tensor([[1e200, -1e200, 1e39, 1e-200, -1e-310, 1.0]], dtype=torch.float64)
    stats = observed(kernel, x, unit_axis=None)
    assert stats.inf_count == 0
    assert stats.bits.total == 6
    assert (stats.min, stats.max) == (-1e200, 1e200)
    assert stats.bits == BitHistogram.from_values(x.numpy(), 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_value_of_sixteen_bits(kernel, dtype):
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    stats = observed(kernel, x, unit_axis=None, resolution=7, asymptote=True)
    values = as_float64(x)
    finite = values[np.isfinite(values)]
    assert (stats.nan_count, stats.posinf_count, stats.zeros) == (np.isnan(values).sum(), 1, 2)
    assert (stats.min, stats.max) == (finite.min(), finite.max())
    assert stats.bits == BitHistogram.from_values(finite, 7)
    assert stats.asymptote == AsymptoteHistogram.from_values(values, 7)
    assert_within("mean", stats.mean, 0.0, 4 * U * 24 * np.abs(finite).mean())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", range(8))
def test_bins_are_those_of_the_definition(kernel, dtype, resolution):
    x = torch.randn(300, 2).to(dtype)
    x[:3] = torch.tensor([0.0, -0.0])
    x[3] = math.nan
    x[4] = math.inf
    x[5] = -math.inf
    stats = observed(kernel, x, resolution=resolution)
    finite = as_float64(x)[np.isfinite(as_float64(x))]
    assert stats.bits == BitHistogram.from_values(finite, resolution)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", [0, 3, 7])
def test_bins_near_one_are_those_of_the_definition(kernel, dtype, resolution):
    x = torch.tanh(3 * torch.randn(500, 2, dtype=torch.float64)).to(dtype)
    ones = torch.tensor([1.0, 0.5, 2.0, math.inf, math.nan, 0.0], dtype=dtype)
    near = torch.cat((ones, *(torch.nextafter(ones, to * ones[2]) for to in (-1, 0, 1))))
    x[: len(near)] = torch.stack((near, -near), 1)
    stats = observed(kernel, x, resolution=resolution, asymptote=True)
    values = as_float64(x.float())
    assert stats.asymptote == AsymptoteHistogram.from_values(values, resolution)
    assert (stats.at_plus_one, stats.at_minus_one) == ((values == 1).sum(), (values == -1).sum())


@laws
@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(-3, 3) | st.sampled_from(SPECIAL)),
    st.sampled_from([(-1.0, 0.0, 1.0), (-2.0, -1.0, 0.5, 1.0), tuple(np.linspace(-1, 1, 11))]),
)
def test_named_edges_count_as_numpy_histogram_does(kernel, values, edges):
    stats = observed(kernel, torch.from_numpy(values).reshape(-1, 1), edges=edges)
    known = values[~np.isnan(values)]
    want = np.histogram(known[np.isfinite(known)], np.array(edges))[0]
    below, above = (known < edges[0]).sum(), (known > edges[-1]).sum()
    assert stats.linear.tolist() == [below, *want, above]


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_named_edges(kernel, dtype):
    edges = (-1.0, -0.1, 0.0, 0.1, 0.5, 3.0)  # 0.1 is a value of no dtype but float64
    x = torch.tensor(edges, dtype=torch.float64).to(dtype)
    infinity = torch.tensor(math.inf, dtype=dtype)
    x = torch.cat((x, torch.nextafter(x, infinity), torch.nextafter(x, -infinity), x * math.inf))
    known = as_float64(x)[~np.isnan(as_float64(x))]
    want = np.histogram(known[np.isfinite(known)], np.array(edges))[0]
    stats = observed(kernel, x, unit_axis=None, edges=edges)
    assert stats.linear.tolist() == [(known < -1).sum(), *want, (known > 3).sum()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [2.0**12, 2.0**-3, torch.tensor(1024.0)])
def test_a_power_of_two_as_scale_is_exact(kernel, dtype, scale):
    x = torch.randn(50, 3).clamp(-6, 6).to(dtype)
    x[0, 0] = math.nan
    scaled = (x.double() * scale).to(dtype)
    assert_same_integers(observed(kernel, scaled, scale=scale), observed(kernel, x))
    assert_stats_of(observed(kernel, scaled, scale=scale), x)


def test_a_power_of_two_as_scale_is_exact_to_the_last_bit(kernel):
    x = torch.randn(50, 3)
    assert_identical(observed(kernel, x * 2.0**16, scale=2.0**16), observed(kernel, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_scale_divides(kernel, dtype):
    x = torch.randn(50, 3).to(dtype)
    assert_stats_of(observed(kernel, x, scale=3.0), x.double() / 3.0)


# ---- judging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "hardtanh", "relu6"])
def test_judging_is_what_the_slope_says(kernel, name):
    known = activations.get(name)
    a = known.function(4 * torch.randn(50, 4))
    a[3, 2] = math.nan
    state = fed(kernel, a, gate=make_gate(known))
    judged = state.judged.numpy()
    slope = known.output_slope(a.double()).abs().numpy()
    ok = ~np.isnan(a.numpy())
    open_ = slope >= 0.05 * known.max_slope
    active = (a.numpy() > 0) if known.relu_like else open_
    assert judged[0].tolist() == ok.sum(0).tolist()
    assert judged[1].tolist() == (active & ok).sum(0).tolist()
    assert (judged[2] + judged[3]).tolist() == (~open_ & ok).sum(0).tolist()
    assert judged[4].tolist() == [0] * 4
    want = slope[ok].sum() / known.max_slope
    assert float(state.openness) == pytest.approx(want, rel=1e-13)


def test_step_of_the_last_active_sample(kernel):
    state = State(Spec(width=3, gate=gate_of("relu")))
    kernel.observe(torch.tensor([[1.0, 0.0, 0.0]]), state, step=4)
    kernel.observe(torch.tensor([[0.0, 2.0, 0.0]]), state, step=9)
    kernel.observe(torch.tensor([[0.0, 2.0, 0.0]]), state, step=7)
    assert state.judged[4].tolist() == [4, 9, -1]


@pytest.mark.parametrize("name", ["gelu", "silu", "selu"])
def test_judging_inputs_observes_nothing(kernel, name):
    z = varied(70, 4)
    state = fed(kernel, z, gate=gate_of(name), judged=True)
    assert int(state.calls) == 0
    assert TensorStats.from_state(state).count == 0
    assert state.judged[0].tolist() == z.isfinite().sum(0).tolist()


# ---- the state -----------------------------------------------------------------------------------


def test_reset_forgets_everything(kernel):
    x = torch.tanh(torch.randn(30, 3))
    state = State(Spec(width=3, gate=gate_of("tanh"), asymptote=True, edges=(-1.0, 1.0)))
    kernel.observe(x, state)
    one = TensorStats.from_state(state)
    state.reset()
    assert int(state.calls) == 0
    assert TensorStats.from_state(state).count == 0
    kernel.observe(x, state)
    assert_identical(TensorStats.from_state(state), one)


def test_reading_copies_the_state(kernel):
    state = State(Spec(width=3, edges=(-1.0, 1.0)))
    kernel.observe(torch.randn(30, 3), state)
    one = TensorStats.from_state(state)
    before = integers(one)
    kernel.observe(torch.randn(30, 3), state)
    assert integers(one) == before


def test_a_state_may_change_between_tensors(kernel):
    x = torch.tanh(torch.randn(40, 6))
    spec = Spec(width=6, resolution=5, gate=gate_of("tanh"), asymptote=True, edges=(-1.0, 0.0, 1.0))
    state = State(spec)
    kernel.observe(x, state, step=1)
    state.coarsen(2)
    kernel.observe(x, state, step=2)
    state.to(torch.device("cpu"))
    kernel.observe(x, state, step=3)
    other = State(state.spec)
    kernel.observe(x, other, step=9)
    state.merge(other)
    state.pool()
    kernel.observe(x, state, step=4)
    stats = TensorStats.from_state(state)
    assert_stats_of(stats, torch.cat([x] * 5), merges=20)
    assert stats.calls == 5
    assert stats.judged.last_active.tolist() == [9]
    finer = observed(kernel, *[x] * 5, resolution=2, gate=spec.gate, asymptote=True)
    assert stats.bits == finer.bits
    assert stats.asymptote == finer.asymptote


def test_state_made_in_inference_mode_counts_in_training(kernel):
    with torch.inference_mode():
        state = State(Spec(width=3))
        kernel.observe(torch.randn(4, 3), state)
    kernel.observe(torch.randn(4, 3, requires_grad=True).detach(), state)
    assert int(state.counts[0]) == 24


@pytest.mark.hostile(58)
def test_state_is_wide_under_another_default_dtype(kernel):
    torch.set_default_dtype(torch.float16)
    try:
        stats = observed(kernel, torch.full((3000, 2), 300.0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert stats.mean == 300.0
    assert stats.count == 6000


def test_a_meta_claim_the_comparison_can_fail(kernel):
    x = torch.randn(50, 3)
    gate = gate_of("tanh")
    for claim, part, u in [("differs", "histogram", 1023), ("differs", "judged", 1)]:
        with pytest.raises(AssertionError, match=claim):
            assert_as_reference(_Off(kernel, part, u), x, gate=gate)
    for row in (1, 3, 4):
        with pytest.raises(AssertionError, match="apart, more than"):
            assert_as_reference(_Off(kernel, "moments", row), x, gate=gate)
    with pytest.raises(AssertionError, match="openness"):
        assert_as_reference(_Off(kernel, "openness", ()), x, gate=gate, exactly=True)


class _Off:
    """A kernel that is off by one count, or by one part in 10**11."""

    def __init__(self, kernel, part, place):
        self.kernel, self.part, self.place = kernel, part, place

    def observe(self, x, state, **more):
        self.kernel.observe(x, state, **more)
        part = getattr(state, self.part)
        if part.is_floating_point():
            part[self.place] *= 1 + 1e-11
        else:
            part[self.place] += 1
