"""TensorStats: the laws of merging, and every figure against its definition in numpy."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actstats import TensorStats, activations
from actstats.packing import pack, unpack
from actstats.stats import FIGURES, named_edges
from claims import (
    assert_identical,
    assert_moments_close,
    assert_same_integers,
    assert_stats_of,
    assert_within,
    exact,
    frozen,
    mean_bound,
    merge_tree,
)

laws = settings(derandomize=True, max_examples=40, deadline=None)
SPECIAL = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e-45, 5e-324)
numbers = (
    st.floats(-1e100, 1e100)
    | st.floats(-3, 3)
    | st.floats(-1e-3, 1e-3).map(lambda x: 1e6 + x)
    | st.sampled_from(SPECIAL)
)
rows = arrays(np.float64, st.tuples(st.integers(0, 6), st.just(3)), elements=numbers)
many_rows = st.lists(rows, min_size=1, max_size=6)
gates = st.sampled_from([None, "relu", "tanh", "sigmoid"])
EDGES = (-1.0, 0.0, 1.0, 2.0)


def stats_of(array, activation=None, **options):
    return TensorStats.from_tensor(
        torch.as_tensor(array), activation=activation, edges=EDGES, **options
    )


# ---- merging -------------------------------------------------------------------------------------


@laws
@given(many_rows, gates, st.integers(0, 2**32))
def test_any_split_and_any_merge_tree_is_the_whole(parts, activation, seed):
    whole = np.concatenate(parts)
    merged = merge_tree([stats_of(part, activation) for part in parts], seed)
    assert_same_integers(merged, stats_of(whole, activation), site=f"{len(parts)} parts")
    assert_stats_of(merged, whole, merges=len(parts) + 3)
    for u in range(3):
        truth = exact(whole[:, u])
        if truth.n:
            bound = mean_bound(truth, merges=len(parts))
            assert_within(f"mean of unit {u}", float(merged.moments.mean[u]), truth.mean, bound)


@laws
@given(rows, rows, gates)
def test_merge_changes_neither_side(a, b, activation):
    one, other = stats_of(a, activation), stats_of(b, activation)
    before = frozen(one), frozen(other)
    merged = one.merge(other)
    after = frozen(merged)
    merged.merge(one).merge(other)
    assert (frozen(one), frozen(other)) == before
    assert frozen(merged) == after


@laws
@given(rows, gates)
def test_empty_is_the_identity(a, activation):
    one = stats_of(a, activation)
    assert_identical(one.merge(TensorStats.empty()), one)
    assert_identical(TensorStats.empty().merge(one), one)
    assert_identical(TensorStats.empty() + one + TensorStats.empty(), one)


@laws
@given(rows, gates)
def test_an_empty_batch_adds_a_call_and_nothing_else(a, activation):
    one = stats_of(a, activation)
    merged = one.merge(stats_of(np.zeros((0, 3)), activation))
    assert merged.calls == one.calls + 1
    assert_same_integers(merged, one)
    assert merged.moments.m2.tobytes() == one.moments.m2.tobytes()


@laws
@given(rows, rows, gates)
def test_merge_commutes(a, b, activation):
    one, other = stats_of(a, activation), stats_of(b, activation)
    assert_same_integers(one.merge(other), other.merge(one))
    for merged in (one.merge(other), other.merge(one)):
        assert_moments_close(merged, np.concatenate([a, b]), merges=4)


def test_different_means_variances_and_counts():
    groups = [(0.0, 1.0, 100), (10.0, 3.0, 7), (-4.0, 0.01, 1), (1e3, 0.5, 400)]
    parts = [m + s * torch.randn(n, 2, dtype=torch.float64) for m, s, n in groups]
    merged = sum(map(stats_of, parts))
    assert_stats_of(merged, torch.cat(parts), merges=4)
    assert merged.var > max(part.var().item() for part in parts)


def test_zeros_first_then_far_and_narrow():
    x = [torch.zeros(50, 2, dtype=torch.float64)]
    x += [1e6 + 1e-3 * torch.randn(50, 2, dtype=torch.float64) for _ in range(10)]
    for parts in (x, x[1:]):
        truth = exact(torch.cat(parts))
        got = sum(map(stats_of, parts)).var
        assert_within("var", got, truth.var, 1e-12 * float(truth.var))


def test_scaling_by_a_power_of_two_is_exact():
    x = torch.randn(50, 3, dtype=torch.float64)
    one, scaled = stats_of(x), stats_of(x * 2.0**20)
    assert scaled.mean == one.mean * 2.0**20
    assert scaled.var == one.var * 2.0**40
    assert scaled.signal_fraction == one.signal_fraction


@pytest.mark.parametrize("layout", ["transposed", "channels_last", "expanded", "sliced"])
def test_layouts_agree(layout):
    x = {
        "transposed": torch.randn(5, 4, 3, 2).transpose(0, 2),
        "channels_last": torch.randn(3, 4, 5, 2).contiguous(memory_format=torch.channels_last),
        "expanded": torch.randn(3, 4, 1, 2).expand(3, 4, 5, 2),
        "sliced": torch.randn(6, 8, 5, 2)[::2, ::2],
    }[layout]
    for axis in (-1, 1, None):
        got = TensorStats.from_tensor(x, unit_axis=axis, activation="tanh")
        want = TensorStats.from_tensor(x.contiguous(), unit_axis=axis, activation="tanh")
        assert_same_integers(got, want, site=f"{layout}, axis {axis}")
        assert_stats_of(got, x)


@pytest.mark.parametrize("threads", [1, 2])
def test_thread_counts_stay_within_the_bound(threads):
    x = 100 + torch.randn(4000, 3, dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        stats = stats_of(x)
    finally:
        torch.set_num_threads(before)
    assert_stats_of(stats, x)


def test_unequal_statistics_do_not_merge():
    x = torch.randn(40, 3)
    tanh = TensorStats.from_tensor(x, activation="tanh")
    with pytest.raises(ValueError, match="unequal `activation`"):
        tanh.merge(TensorStats.from_tensor(x, activation="relu"))
    with pytest.raises(ValueError, match="unequal `activation`"):
        tanh.merge(TensorStats.from_tensor(x))
    with pytest.raises(ValueError, match="unequal `saturation_slope`"):
        tanh.merge(TensorStats.from_tensor(x, activation="tanh", saturation_slope=0.1))
    with pytest.raises(ValueError, match="unequal `edges`"):
        tanh.merge(TensorStats.from_tensor(x, activation="tanh", edges=(0.0, 1.0)))


def test_unequal_resolutions_merge_at_the_coarser():
    x = torch.randn(40, 3)
    merged = stats_of(x, resolution=7) + stats_of(x, resolution=2)
    assert_same_integers(merged, stats_of(x, resolution=2) + stats_of(x, resolution=2))


def test_unequal_widths_are_pooled_and_say_so():
    a, b = torch.randn(40, 3), torch.randn(40, 5)
    merged = TensorStats.from_tensor(a, activation="relu").merge(
        TensorStats.from_tensor(b, activation="relu")
    )
    assert_stats_of(merged, torch.cat([a.flatten(), b.flatten()]), merges=10)
    assert merged.units == 0
    assert merged.silent_units is None
    assert "width changed: 3 and 5" in merged.why("silent_fraction")
    assert merged.saturated_fraction == np.mean(np.r_[a.flatten() <= 0, b.flatten() <= 0])


def test_merge_with_something_else_is_a_type_error():
    with pytest.raises(TypeError):
        TensorStats.empty() + 1


def test_packing_keeps_every_bit():
    x = torch.tanh(3 * torch.randn(40, 3))
    x[0, 0] = math.nan
    for one in (stats_of(x, "tanh"), stats_of(x), TensorStats.empty()):
        buffer = io.BytesIO()
        torch.save(pack(one), buffer)
        buffer.seek(0)
        assert_identical(unpack(torch.load(buffer, weights_only=True)), one)


# ---- figures -------------------------------------------------------------------------------------


def test_plain_figures():
    x = torch.tensor([[0.0, 3.0], [-4.0, 0.0], [0.0, 1.0]])
    s = TensorStats.from_tensor(x)
    assert (s.count, s.zeros, s.min, s.max) == (6, 3, -4.0, 3.0)
    assert s.zero_fraction == 0.5
    assert abs(s.mean) < 1e-15
    assert s.var == pytest.approx(26 / 6, rel=1e-15)
    assert s.std == pytest.approx(math.sqrt(26 / 6), rel=1e-15)
    assert s.rms == pytest.approx(math.sqrt(26 / 6), rel=1e-15)
    assert s.abs_mean == pytest.approx(8 / 6, rel=1e-15)


def test_condition_tells_how_far_the_variance_can_be_trusted():
    x = 1e6 + 1e-3 * torch.randn(500, 2, dtype=torch.float64)
    assert stats_of(x).condition == pytest.approx(exact(x).kappa, rel=1e-6)


def slopes_of(name, z):
    """|phi'(z)| / max |phi'| by their formulas, in numpy."""
    sigmoid = 1 / (1 + np.exp(-z))
    cdf = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))
    gelu = cdf(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    r2 = math.sqrt(2)
    top = cdf(np.array(r2)) + r2 * math.exp(-1) / math.sqrt(2 * math.pi)
    silu = sigmoid * (1 + z * (1 - sigmoid))
    return np.abs(
        {
            "tanh": 1 - np.tanh(z) ** 2,
            "sigmoid": 4 * sigmoid * (1 - sigmoid),
            "relu": (z > 0) * 1.0,
            "relu6": ((z > 0) & (z < 6)) * 1.0,
            "hardtanh": (np.abs(z) < 1) * 1.0,
            "leaky_relu": np.where(z > 0, 1.0, 0.01),
            "elu": np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
            "gelu": gelu / top,
            "silu": silu / 1.0998393194,
        }[name]
    )


NAMES = ("tanh", "sigmoid", "relu", "relu6", "hardtanh", "leaky_relu", "elu", "gelu", "silu")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threshold", [0.05, 0.0591, 0.3])
def test_gate_figures(name, threshold):
    z = 4 * torch.randn(200, 4, dtype=torch.float64) + torch.tensor([0.0, -9.0, 9.0, 1.0])
    known = activations.get(name)
    s = TensorStats.from_tensor(known.function(z), z=z, activation=name, saturation_slope=threshold)
    slope = slopes_of(name, z.numpy())
    closed = slope < threshold
    assert s.saturated_fraction == pytest.approx(closed.mean(), abs=1e-12)
    assert s.saturated_low + s.saturated_high == pytest.approx(s.saturated_fraction, abs=1e-15)
    if name in ("tanh", "sigmoid", "hardtanh", "relu6"):
        assert s.saturated_low == pytest.approx((closed & (z.numpy() < 0.5)).mean(), abs=1e-12)
    assert s.gate_openness == pytest.approx(slope.mean(), rel=1e-6)
    assert s.saturated_units.tolist() == (closed.mean(0) >= 0.95).tolist()
    active = known.function(z).numpy() > 0 if known.relu_like else slope >= 0.05
    np.testing.assert_allclose(s.active_fraction, active.mean(0), atol=1e-12)
    assert s.silent_units.tolist() == (~active.any(0)).tolist()


def test_tutorial_threshold_is_tanh_above_097():
    a = torch.linspace(-1, 1, 2001, dtype=torch.float64)[:, None]
    s = TensorStats.from_tensor(a, activation="tanh", saturation_slope=1 - 0.97**2)
    assert s.saturated_fraction == pytest.approx((a.abs() > 0.97).double().mean().item(), abs=1e-3)


@pytest.mark.parametrize("name", ["gelu", "silu", "elu"])
def test_without_z_the_figure_is_nan_with_its_reason(name):
    z = torch.randn(40, 3)
    known = activations.get(name)
    s = TensorStats.from_tensor(known.function(z), activation=name)
    for figure in ("saturated_fraction", "saturated_low", "gate_openness", "silent_fraction"):
        assert math.isnan(getattr(s, figure)), figure
        assert s.why(figure) == f"{name} is judged from z, which was not seen"
    assert s.saturated_units is None
    assert s.active_fraction is None


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh", "hardsigmoid"])
def test_dead_units(name):
    z = torch.randn(40, 4)
    z[:, 1] = -50.0
    z[:, 2] = -50.0
    z[3, 2] = 0.5
    s = TensorStats.from_tensor(activations.get(name).function(z), activation=name)
    assert s.dead_units.tolist() == [False, True, False, False]
    assert s.dead_fraction == 0.25
    assert s.why("dead_fraction") is None


@pytest.mark.parametrize(("n", "applies"), [(29, False), (30, True)])
def test_death_needs_thirty_samples(n, applies):
    s = TensorStats.from_tensor(torch.zeros(n, 2), activation="relu")
    assert s.silent_fraction == 1.0
    if applies:
        assert s.dead_fraction == 1.0
    else:
        assert math.isnan(s.dead_fraction)
        assert s.dead_units is None
        assert s.why("dead_fraction") == "29 samples are too few (at least 30)"


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "leaky_relu"])
def test_death_does_not_apply(name):
    s = TensorStats.from_tensor(torch.full((40, 2), -0.999), activation=name)
    assert math.isnan(s.dead_fraction)
    assert "do not die" in s.why("dead_fraction")


def test_leaky_relu_can_be_silent():
    s = TensorStats.from_tensor(torch.tensor([[-0.1, 0.1]] * 30), activation="leaky_relu")
    assert s.silent_units.tolist() == [True, False]


def test_dormant_units():
    a = torch.rand(100, 5, dtype=torch.float64)
    a[:, 2] *= 1e-3
    a[:, 4] = 0
    s = TensorStats.from_tensor(a)
    size = a.abs().mean(0).numpy()
    assert s.dormant_units.tolist() == (size <= 0.025 * size.mean()).tolist()
    assert s.dormant_fraction == 0.4


def test_signal_fraction():
    a = torch.randn(100, 5, dtype=torch.float64) * torch.arange(5.0) + 3
    want = a.var(0, unbiased=False).mean() / a.square().mean()
    assert TensorStats.from_tensor(a).signal_fraction == pytest.approx(want.item(), rel=1e-12)
    constants = torch.arange(5.0).expand(100, 5)
    s = TensorStats.from_tensor(constants)
    assert s.signal_fraction == 0
    assert s.std > 1  # a layer of constants has a healthy-looking std


def test_a_unit_that_only_saw_nan_is_not_judged():
    a = torch.rand(40, 3)
    a[:, 1] = math.nan
    s = TensorStats.from_tensor(a, activation="relu")
    assert s.silent_units.tolist() == [False, False, False]
    assert s.saturated_units.tolist() == [False, False, False]
    assert s.dormant_units.tolist() == [False, False, False]
    assert math.isnan(s.active_fraction[1])


@pytest.mark.parametrize(
    "case",
    {
        "nothing": TensorStats.empty(),
        "no values": TensorStats.from_tensor(torch.zeros(0, 3), activation="relu"),
        "only NaN": TensorStats.from_tensor(torch.full((40, 3), math.nan), activation="relu"),
        "only Inf": TensorStats.from_tensor(torch.full((40, 3), math.inf), activation="tanh"),
        "only zeros": TensorStats.from_tensor(torch.zeros(40, 3), activation="relu"),
        "no activation": TensorStats.from_tensor(torch.randn(40, 3)),
        "no units": TensorStats.from_tensor(torch.randn(40), unit_axis=None, activation="relu"),
        "few": TensorStats.from_tensor(torch.randn(4, 3), activation="relu"),
        "tanh": TensorStats.from_tensor(torch.rand(40, 3), activation="tanh"),
        "gelu": TensorStats.from_tensor(torch.rand(40, 3), activation="gelu"),
    }.items(),
    ids=lambda case: case[0],
)
def test_a_figure_is_nan_exactly_where_it_says_why(case):
    name, s = case
    for figure in FIGURES:
        value, reason = getattr(s, figure), s.why(figure)
        if figure in ("count", "zeros", "nan_count", "inf_count"):
            assert value >= 0  # a count of nothing is 0, and a fact
        else:
            assert math.isnan(value) == (reason is not None), f"{name}: {figure}={value}, {reason}"


def test_to_dict_has_every_figure():
    s = TensorStats.from_tensor(torch.rand(40, 3), activation="relu")
    assert s.to_dict() == {name: getattr(s, name) for name in FIGURES}
    with pytest.raises(ValueError, match="must be one of"):
        s.why("kurtosis")


def test_under_resolved_is_said():
    x = 100 + 3 * torch.randn(100, 2)
    assert TensorStats.from_tensor(x, resolution=3).under_resolved
    assert not TensorStats.from_tensor(x, resolution=7).under_resolved
    assert not TensorStats.from_tensor(x - 100).under_resolved


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_only_floating_point(dtype):
    with pytest.raises(ValueError, match="must be floating point"):
        TensorStats.from_tensor(torch.ones(3, 2, dtype=dtype))


@pytest.mark.parametrize("resolution", [-1, 8, 2.5, True])
def test_resolution_is_checked(resolution):
    with pytest.raises(ValueError, match="`resolution` must be an integer"):
        TensorStats.from_tensor(torch.ones(3, 2), resolution=resolution)


def test_from_tensor_makes_no_graph_and_changes_nothing():
    x = torch.randn(40, 3, requires_grad=True)
    before = x.detach().clone()
    TensorStats.from_tensor(x, activation="tanh")
    assert torch.equal(x, before)
    assert x.grad is None


def test_a_layer_wider_than_a_block():
    x = torch.randn(2, 300_000)
    s = TensorStats.from_tensor(x)
    assert s.units == 300_000
    assert (s.min, s.max) == (x.min().item(), x.max().item())


# ---- distribution --------------------------------------------------------------------------------


@laws
@given(
    arrays(np.float64, st.integers(0, 60), elements=numbers),
    st.sampled_from([(10, -1.0, 1.0), (1, 0.0, 1.0), (-1.0, -0.5, 0.25, 3.0), (4, -4.0, 4.0)]),
)
def test_histogram_on_named_edges_is_numpys(values, edges):
    s = TensorStats.from_tensor(values[:, None], edges=edges)
    ends = np.asarray(named_edges(edges))
    finite = values[np.isfinite(values)]
    found = s.histogram()
    assert found.exact
    np.testing.assert_array_equal(found.counts, np.histogram(finite, ends)[0])
    np.testing.assert_array_equal(found.edges, ends)
    assert found.below == (values < ends[0]).sum()
    assert found.above == (values > ends[-1]).sum()


def test_histogram_by_bins_and_range_finds_the_named_edges():
    x = torch.randn(500, 2)
    s = TensorStats.from_tensor(x, edges=(10, -4, 4))
    counts, edges = s.histogram(10, (-4, 4))
    want, want_edges = np.histogram(x.double().numpy(), 10, (-4, 4))
    np.testing.assert_array_equal(counts, want)
    np.testing.assert_array_equal(edges, want_edges)
    assert s.histogram(10, (-4, 4)).exact
    assert not s.histogram(7, (-4, 4)).exact


def test_histogram_returns_a_copy():
    s = TensorStats.from_tensor(torch.randn(50, 2), edges=(4, -1, 1))
    s.histogram().counts[:] = 0
    assert s.histogram().counts.sum() > 0


@laws
@given(
    arrays(np.float32, st.integers(1, 60), elements=st.floats(-4, 4, width=32)),
    st.integers(1, 30),
    st.floats(-5, 1),
    st.floats(0.125, 6),
    st.sampled_from([None, "tanh"]),
)
def test_mass_is_conserved(values, bins, low, span, activation):
    if activation:
        values = np.tanh(values)
    s = TensorStats.from_tensor(torch.from_numpy(values)[:, None], activation=activation)
    found = s.histogram(bins, (low, low + span))
    assert (found.counts >= 0).all()
    total = found.counts.sum() + found.below + found.above
    assert total == pytest.approx(values.size, rel=1e-9)


@laws
@given(
    arrays(np.float32, st.integers(1, 80), elements=st.floats(-1e10, 1e10, width=32)),
    st.integers(0, 7),
)
def test_quantiles_are_monotone_and_within_a_bin(values, resolution):
    s = TensorStats.from_tensor(torch.from_numpy(values)[:, None], resolution=resolution)
    q = np.linspace(0, 1, 21)
    got = s.quantile(q)
    assert (np.diff(got) >= 0).all(), got
    want = np.quantile(values.astype(np.float64), q, method="inverted_cdf")
    assert (np.abs(got - want) <= 2.0**-resolution * np.abs(want) + 2.0**-126).all(), (got, want)
    assert (got[0], got[-1]) == (values.min(), values.max())


def test_quantile_of_nothing_is_nan():
    assert math.isnan(TensorStats.empty().quantile(0.5))
    s = TensorStats.from_tensor(torch.full((3, 1), math.nan))
    assert math.isnan(s.quantile(0.5))
    assert s.histogram(4, (0, 1)).counts.sum() == 0


@pytest.mark.parametrize(
    "edges", [(3, 1.0, 1.0), (0, 0.0, 1.0), (1.0,), (1.0, 1.0), (0.0, math.nan)]
)
def test_bad_edges_are_refused(edges):
    with pytest.raises(ValueError, match="`edges`"):
        TensorStats.from_tensor(torch.ones(3, 1), edges=edges)


# ---- running states ------------------------------------------------------------------------------


def test_pooling_and_coarsening_a_running_state():
    from actstats.gate import make_gate
    from actstats.kernels import Spec, State, reference

    known = activations.get("tanh")
    x, y = torch.tanh(2 * torch.randn(2, 50, 3))
    spec = Spec(resolution=5, width=3, gate=make_gate(known), asymptote=True)
    state = State(spec)
    reference.observe(x, state)
    state.pool()
    state.coarsen(2)
    reference.observe(y, state, unit_axis=None)
    got = TensorStats.from_state(state, activation=known)
    whole = TensorStats.from_tensor(
        torch.cat([x, y]), unit_axis=None, activation="tanh", resolution=2
    )
    assert_same_integers(got, whole)
    assert_stats_of(got, torch.cat([x, y]), merges=5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_units_lie_on_any_axis(axis):
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    x[2] += 10
    s = TensorStats.from_tensor(x, unit_axis=axis)
    others = tuple(i for i in range(3) if i != axis % 3)
    np.testing.assert_allclose(s.unit_mean, x.numpy().mean(axis=others), rtol=1e-13)
    np.testing.assert_allclose(s.unit_std, x.numpy().std(axis=others), rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"unit_axis": 2}, "`unit_axis` must be"),
        ({"activation": "gelu", "z": torch.ones(3, 3)}, "`z` must be"),
        ({"activation": "gelu", "z": [1.0]}, "`z` must be"),
    ],
)
def test_from_tensor_refuses_what_does_not_fit(options, match):
    with pytest.raises(ValueError, match=match):
        TensorStats.from_tensor(torch.ones(4, 3), **options)


def test_from_tensor_takes_reversed_arrays():
    assert TensorStats.from_tensor(np.arange(4.0)[::-1]).mean == 1.5


@pytest.mark.parametrize("shape", [(1, 5), (100,)])
def test_one_sample_tells_no_signal(shape):
    s = TensorStats.from_tensor(torch.randn(shape))
    assert math.isnan(s.signal_fraction)
    assert s.why("signal_fraction") is not None


def test_squares_beyond_float64_stop_no_table():
    x = torch.tensor([[1e200, 2e200], [1e200, 3e200]], dtype=torch.float64)
    figures = TensorStats.from_tensor(x).to_dict()
    assert figures["mean"] == pytest.approx(1.75e200)
    assert figures["var"] == math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_saturation_in_any_dtype_is_the_definition(dtype):
    y = (3 * torch.randn(20_000, 7)).tanh().to(dtype)
    exact = y.double()
    want = (1 - exact * exact < 0.05).double().mean().item()
    assert TensorStats.from_tensor(y, activation="tanh").saturated_fraction == want


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_clamp_is_saturated_at_its_ends_in_any_dtype(dtype):
    clamp = torch.nn.Hardtanh(-0.7, 0.7)
    y = clamp(3 * torch.randn(1000, 2).to(dtype))
    want = ((y == y.max()) | (y == y.min())).double().mean().item()
    assert TensorStats.from_tensor(y, activation=clamp).saturated_fraction == want
