"""The bit-binned histogram: its bins, the laws of merging, and what is read from it."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actstats.histogram import (
    AsymptoteHistogram,
    BinCounts,
    BitHistogram,
    Distribution,
    _monotone_tangents,
    bin_bounds,
    bin_index,
)

N = 200_000
FLOAT32_MAX = float(np.finfo(np.float32).max)
KINDS = [BitHistogram, AsymptoteHistogram]

laws = settings(derandomize=True, max_examples=60, deadline=None)
resolutions = st.integers(0, 7)
special = st.sampled_from(
    [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1e-45, -1e-45, 1.2e-38, 3.0, -3.0, FLOAT32_MAX, -FLOAT32_MAX]
)
near_one = st.floats(0.5, 1.0, width=32) | st.floats(-1.0, -0.5, width=32)
finite32 = special | near_one | st.floats(allow_nan=False, allow_infinity=False, width=32)
finite64 = finite32 | st.floats(allow_nan=False, allow_infinity=False)
any32 = finite32 | st.sampled_from([math.nan, math.inf, -math.inf])
nonzero32 = finite32.filter(bool)


def samples(elements: st.SearchStrategy[float], dtype: type = np.float32, least: int = 0) -> Any:
    return arrays(dtype, st.integers(least, 50), elements=elements)


def describe(values: Any, resolution: int = 3, *, ends_at_one: bool = False) -> Distribution:
    """What a recorder would know of these finite values."""
    values = np.asarray(values)
    narrow = np.clip(values, -2, 2).astype(np.float32) if ends_at_one else np.zeros(0)
    return Distribution(
        histogram=BitHistogram.from_values(values, resolution),
        asymptote=AsymptoteHistogram.from_values(values, resolution) if ends_at_one else None,
        atoms={0.0: int((values == 0).sum())}
        | {x: int((narrow == x).sum()) for x in (-1.0, 1.0) if ends_at_one},
        min=float(values.min()) if values.size else math.inf,
        max=float(values.max()) if values.size else -math.inf,
    )


def assert_mass_conserved(found: BinCounts, total: int) -> None:
    mass = found.below + found.counts.sum() + found.above
    assert mass == pytest.approx(total, abs=1e-9 * max(total, 1)), (found, total)
    assert found.counts.min() >= 0, found
    assert min(found.below, found.above) >= 0, found


# ---- bins ----------------------------------------------------------------------------------------


def index_by_frexp(x: float, k: int) -> int:
    """The bin from arithmetic instead of bits."""
    fraction, exponent = math.frexp(abs(x))
    if exponent < -125:  # subnormal
        magnitude = math.floor(math.ldexp(abs(x), 126 + k))
    else:
        magnitude = ((exponent + 126) << k) + math.floor((2 * fraction - 1) * 2**k)
    return magnitude + (1 << (8 + k) if x < 0 else 0)


@laws
@given(samples(nonzero32), resolutions)
def test_bin_index_agrees_with_frexp(values: Any, k: int) -> None:
    expected = [index_by_frexp(x, k) for x in values.tolist()]
    assert bin_index(values, k).tolist() == expected


@laws
@given(samples(nonzero32), resolutions)
def test_bin_bounds_contain_their_values(values: Any, k: int) -> None:
    low, high = bin_bounds(bin_index(values, k), k)
    x = values.astype(np.float64)
    assert np.where(x > 0, (low <= x) & (x < high), (low < x) & (x <= high)).all(), (low, x, high)


@pytest.mark.parametrize("k", range(8))
def test_bin_bounds_tile_the_finite_numbers(k: int) -> None:
    size = 255 << k
    low, high = bin_bounds(np.arange(size), k)
    assert low[0] == 0
    assert high[-1] == 2.0**128
    np.testing.assert_array_equal(low[1:], high[:-1])
    mirrored_low, mirrored_high = bin_bounds(np.arange(size) + (1 << (8 + k)), k)
    np.testing.assert_array_equal(mirrored_low, -high)
    np.testing.assert_array_equal(mirrored_high, -low)
    assert not np.signbit(mirrored_high[0])


def test_bins_are_as_narrow_as_promised() -> None:
    low, high = bin_bounds(bin_index([1.0, 1.9, 1e-30, 1e30], 3), 3)
    assert np.all(high / low <= 1 + 2.0**-3)


@pytest.mark.parametrize("k", [0, 3, 7])
def test_bin_index_rounds_float64_to_the_outermost_and_innermost_finite_bins(k: int) -> None:
    found = bin_index([1e300, -1e300, 1e-300, -1e-300], k)
    assert found.tolist() == bin_index([FLOAT32_MAX, -FLOAT32_MAX, 1e-45, -1e-45], k).tolist()


def test_bin_index_keeps_the_shape_and_takes_float16() -> None:
    assert bin_index(1.0, 3).shape == ()
    found = bin_index(np.array([[1.0, 6e-8]], np.float16), 3)
    assert found.tolist() == bin_index([[1.0, 2.0**-24]], 3).tolist()


@pytest.mark.parametrize("value", [0.0, -0.0, math.nan, math.inf, -math.inf])
def test_bin_index_refuses_what_is_counted_apart(value: float) -> None:
    with pytest.raises(ValueError, match="finite and non-zero"):
        bin_index([1.0, value], 3)


@pytest.mark.parametrize("k", [-1, 8])
def test_resolution_out_of_range_is_refused(k: int) -> None:
    for refuse in (BitHistogram.empty, AsymptoteHistogram.empty, lambda k: bin_index([1.0], k)):
        with pytest.raises(ValueError, match="`resolution` must be in 0 to 7"):
            refuse(k)


@pytest.mark.parametrize(("index", "message"), [(-1, "in"), (1 << 12, "in"), (255 << 3, "Inf")])
def test_bin_bounds_refuses_bins_without_values(index: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bin_bounds([index], 3)


# ---- histograms: making and storing ------------------------------------------------------------


@laws
@given(samples(any32), resolutions)
def test_bit_histogram_counts_finite_nonzero_values(values: Any, k: int) -> None:
    kept = values[np.isfinite(values) & (values != 0)]
    found = BitHistogram.from_values(values, k)
    dense = np.zeros(1 << (9 + k), np.int64)
    for x in kept.tolist():
        dense[index_by_frexp(x, k)] += 1
    np.testing.assert_array_equal(found.dense(), dense)
    assert found.total == kept.size
    assert found == BitHistogram.from_dense(dense, k)


@laws
@given(samples(any32), resolutions)
def test_asymptote_histogram_counts_the_distance_to_one(values: Any, k: int) -> None:
    dense = np.zeros((2, 24 << k), np.int64)
    for x in values.tolist():
        if 0.5 <= abs(x) < 1:
            column = index_by_frexp(1 - abs(x), k) - ((127 - 25) << k)
            dense[int(x > 0), min(column, (24 << k) - 1)] += 1
    found = AsymptoteHistogram.from_values(values, k)
    np.testing.assert_array_equal(found.dense(), dense)
    assert found == AsymptoteHistogram.from_dense(dense, k)


@laws
@given(near_one.filter(lambda x: abs(x) < 1), resolutions)
def test_asymptote_bounds_contain_their_value(x: float, k: int) -> None:
    (low,), (high,) = AsymptoteHistogram.from_values([x], k).bounds()
    assert low <= x <= high
    assert high - low <= 2.0**-k * (1 - abs(x)), "finer towards the asymptote"


def test_float64_is_counted_as_the_float32_it_rounds_to() -> None:
    assert AsymptoteHistogram.from_values([1 - 1e-12, 0.5 - 1e-12], 3).total == 1
    assert BitHistogram.from_values([1e300, 1e-300, 0.0], 3).total == 2


@pytest.mark.parametrize("kind", KINDS)
def test_histogram_stores_occupied_bins_only(kind: Any) -> None:
    found = kind.from_values(np.array([0.6, 0.6, -0.7]), 3)
    assert found.counts.tolist() in ([1, 2], [2, 1])
    assert (found.index.dtype, found.counts.dtype) == (np.int32, np.int64)
    assert found.nbytes == 2 * 12
    assert kind.empty(3).nbytes == 0
    assert kind.empty(3).total == 0


@pytest.mark.parametrize("kind", KINDS)
def test_histogram_equality_sees_kind_resolution_and_counts(kind: Any) -> None:
    one = kind.from_values([0.6, 0.6], 3)
    assert one == kind.from_values([0.6, 0.6], 3)
    assert one != kind.from_values([0.6], 3)
    assert one != kind.from_values([0.9, 0.9], 3)
    assert kind.empty(3) != kind.empty(4)
    assert BitHistogram.empty(3) != AsymptoteHistogram.empty(3)


def test_repr_names_resolution_total_and_range() -> None:
    found = repr(BitHistogram.from_values([1.0, -2.0], 3))
    assert found == "BitHistogram(resolution=3: 2 values in 2 bins, from -2.25 to 1.125)"
    assert repr(BitHistogram.empty(3)) == "BitHistogram(resolution=3: 0 values in 0 bins)"


@pytest.mark.parametrize("kind", KINDS)
def test_from_dense_copies_and_checks(kind: Any) -> None:
    dense = kind.from_values([0.6], 3).dense()
    found = kind.from_dense(dense, 3)
    dense += 1
    assert found.total == 1
    with pytest.raises(ValueError, match="must have shape"):
        kind.from_dense(dense, 4)
    with pytest.raises(ValueError, match="must not be negative"):
        kind.from_dense(-dense, 3)


def test_from_dense_refuses_counts_of_nan_and_inf() -> None:
    dense = np.zeros(1 << 12, np.int64)
    dense[255 << 3] = 1
    with pytest.raises(ValueError, match="Inf and NaN"):
        BitHistogram.from_dense(dense, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("index", "counts", "message"),
    [
        ([2, 1], [1, 1], "ascending"),
        ([1, 1], [1, 1], "ascending"),
        ([1, 2], [1, 0], "negative"),
        ([1, 2], [1], "equally long"),
        ([-1], [1], "must be in"),
        ([1 << 12], [1], "must be in"),
    ],
)
def test_malformed_histogram_is_refused(kind: Any, index: Any, counts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(3, np.array(index), np.array(counts))


# ---- histograms: the laws of merging -----------------------------------------------------------

both_kinds = st.sampled_from(KINDS)
datasets = samples(any32)


@laws
@given(both_kinds, datasets, datasets, resolutions)
def test_merge_equals_counting_everything_at_once(kind: Any, a: Any, b: Any, k: int) -> None:
    merged = kind.from_values(a, k).merge(kind.from_values(b, k))
    assert merged == kind.from_values(np.concatenate([a, b]), k)


@laws
@given(both_kinds, datasets, datasets, datasets, st.tuples(*[resolutions] * 3))
def test_merge_is_associative_commutative_and_has_an_identity(
    kind: Any, a: Any, b: Any, c: Any, k: tuple[int, int, int]
) -> None:
    x, y, z = (kind.from_values(values, j) for values, j in zip((a, b, c), k, strict=True))
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert x + kind.empty(x.resolution) == x
    assert kind.empty(7) + x == x
    assert (x + y).resolution == min(k[:2])


@laws
@given(both_kinds, datasets, datasets, resolutions, resolutions)
def test_merge_never_changes_its_arguments(kind: Any, a: Any, b: Any, k: int, j: int) -> None:
    x, y = kind.from_values(a, k), kind.from_values(b, j)
    merged = x.merge(y)
    merged.index[...] = 0
    merged.counts[...] = 0
    assert x == kind.from_values(a, k)
    assert y == kind.from_values(b, j)


@laws
@given(both_kinds, datasets, datasets, resolutions, st.integers(0, 7))
def test_coarsening_is_exact_and_commutes_with_merging(
    kind: Any, a: Any, b: Any, k: int, drop: int
) -> None:
    coarse = max(k - drop, 0)
    x, y = kind.from_values(a, k), kind.from_values(b, k)
    assert x.coarsen(coarse) == kind.from_values(a, coarse)
    assert (x + y).coarsen(coarse) == x.coarsen(coarse) + y.coarsen(coarse)


@pytest.mark.parametrize("kind", KINDS)
def test_coarsen_refuses_to_invent_detail(kind: Any) -> None:
    with pytest.raises(ValueError, match="cannot be made finer"):
        kind.from_values([0.6], 3).coarsen(4)


def test_merge_refuses_other_kinds() -> None:
    bits, asymptote = BitHistogram.empty(3), AsymptoteHistogram.empty(3)
    with pytest.raises(TypeError, match="its own kind"):
        bits.merge(asymptote)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unsupported operand"):
        bits + asymptote  # type: ignore[operator]


def test_merge_adds_counts_beyond_two_to_the_53_exactly() -> None:
    one = BitHistogram(3, np.array([1016], np.int32), np.array([2**53], np.int64))
    other = BitHistogram.from_values([1.0], 3)
    assert (one + other).total == 2**53 + 1


# ---- reading: against numpy on many values -----------------------------------------------------


def rounded_to_bfloat16(x: Any) -> Any:
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def gelu(x: Any) -> Any:
    return (x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))).astype(np.float32)


Draw = Callable[[np.random.Generator], Any]
SHAPES: dict[str, tuple[Draw, int, bool]] = {
    "normal": (lambda rng: rng.normal(size=N), 3, False),
    "relu": (lambda rng: np.maximum(rng.normal(size=N), 0), 3, False),
    "student t": (lambda rng: rng.standard_t(2, N), 3, False),
    "bfloat16": (lambda rng: rounded_to_bfloat16(rng.normal(size=N)), 3, False),
    "tanh, std 4": (lambda rng: np.tanh(rng.normal(0, 4, N).astype(np.float32)), 3, True),
    "tanh, std 2": (lambda rng: np.tanh(rng.normal(0, 2, N).astype(np.float32)), 3, True),
    "tanh, no atoms": (lambda rng: np.tanh(rng.normal(0, 1, N).astype(np.float32)), 3, True),
    "gelu": (lambda rng: gelu(rng.normal(size=N)), 7, False),
    "normal(5, 1)": (lambda rng: rng.normal(5, 1, N), 3, False),
    "normal(-5, 1)": (lambda rng: rng.normal(-5, 1, N), 3, False),
    "uniform": (lambda rng: rng.uniform(-1, 3, N), 3, False),
    "tiny": (lambda rng: rng.normal(size=N) * 1e-36, 3, False),
    "huge": (lambda rng: rng.normal(size=N) * 1e37, 3, False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_counts_agree_with_numpy_within_half_a_percent(name: str) -> None:
    draw, k, ends_at_one = SHAPES[name]
    values = draw(np.random.default_rng(0))
    edges = np.linspace(*np.quantile(values.astype(np.float64), [0.001, 0.999]), 41)
    found = describe(values, k, ends_at_one=ends_at_one).counts(edges)
    expected, _ = np.histogram(values.astype(np.float64), edges)
    worst = np.abs(found.counts - expected).max() / N
    assert worst < 0.005, f"{name}: {worst:.2%}"
    assert_mass_conserved(found, N)
    if name == "tanh, std 4":
        assert (edges[0], edges[-1]) == (-1, 1), "the atoms are inside the range"


@pytest.mark.parametrize("name", SHAPES)
def test_quantiles_are_in_the_bin_of_the_true_ones(name: str) -> None:
    draw, k, ends_at_one = SHAPES[name]
    values = draw(np.random.default_rng(1))
    shares = np.arange(1, 64) / 64
    found = describe(values, k, ends_at_one=ends_at_one).quantile(shares)
    true = np.quantile(values.astype(np.float64), shares, method="inverted_cdf")
    assert np.all(np.abs(found - true) <= 2.0**-k * np.abs(true) + 2.0 ** -(126 + k)), name
    if ends_at_one:
        near = np.abs(true) >= 0.5
        assert np.all(np.abs(found - true)[near] <= 2.0**-k * (1 - np.abs(true[near]))), name


def test_asymptote_bins_resolve_what_bits_cannot() -> None:
    values = np.tanh(np.random.default_rng(0).normal(0, 4, N).astype(np.float32))
    edges = 1 - np.geomspace(2.0**-22, 0.4, 20)[::-1]
    expected, _ = np.histogram(values.astype(np.float64), edges)
    fine, coarse = (
        np.abs(describe(values, ends_at_one=ends).counts(edges).counts - expected).max() / N
        for ends in (True, False)
    )
    assert fine < 0.002
    assert coarse > 0.01


# ---- reading: properties -----------------------------------------------------------------------

data_sets = samples(finite64, np.float64, least=1)
data_sets32 = samples(finite32, least=1)


@laws
@given(data_sets, resolutions, st.booleans(), samples(finite64, np.float64, least=2))
def test_mass_is_conserved(values: Any, k: int, ends: bool, edges: Any) -> None:
    distribution = describe(values, k, ends_at_one=ends)
    assert distribution.total == values.size
    assert_mass_conserved(distribution.counts(np.sort(edges)), values.size)
    whole = distribution.counts([values.min(), values.max()])
    assert whole.counts[0] == values.size
    assert whole.exact


@laws
@given(data_sets32, resolutions, st.booleans())
def test_cdf_is_exact_at_bin_edges(values: Any, k: int, ends: bool) -> None:
    distribution = describe(values, k, ends_at_one=ends)
    low, high = distribution.histogram.bounds()
    wide = values.astype(np.float64)
    for x in low[low > 0]:
        assert distribution.cdf(x, side="left") == (wide < x).sum(), x
    for x in high[high < 0]:
        assert distribution.cdf(x) == (wide <= x).sum(), x
    assert distribution.cdf(0.0) - distribution.cdf(0.0, side="left") == (values == 0).sum()


@laws
@given(data_sets, resolutions, st.booleans())
def test_cdf_ascends(values: Any, k: int, ends: bool) -> None:
    distribution = describe(values, k, ends_at_one=ends)
    nodes = np.unique(np.concatenate([values, *distribution.histogram.bounds()]))
    with np.errstate(over="ignore"):
        between = nodes[:-1, None] + np.linspace(0, 1, 9)[:-1] * np.diff(nodes)[:, None]
    points = np.concatenate([[-np.inf], np.sort(between[np.isfinite(between)]), [np.inf]])
    left, right = distribution.cdf(points, "left"), distribution.cdf(points)
    slack = 1e-9 * values.size
    assert (left <= right + slack).all()
    assert (right[:-1] <= left[1:] + slack).all(), "an open interval holds no negative mass"
    assert (right[0], right[-1]) == (0, values.size)


@laws
@given(data_sets32, resolutions, st.booleans(), st.lists(st.integers(1, 64), min_size=1))
def test_quantile_is_in_the_bin_of_the_true_value(
    values: Any, k: int, ends: bool, shares: list[int]
) -> None:
    distribution = describe(values, k, ends_at_one=ends)
    ranked = np.sort(values).tolist()
    for share in shares:
        true = ranked[math.ceil(Fraction(share, 64) * len(ranked)) - 1]
        found = distribution.quantile(share / 64)
        if true == 0:
            assert found == 0
            continue
        low, high = bin_bounds(bin_index(true, k), k)
        assert low <= found <= high, (true, found)
        assert abs(found - true) <= 2.0**-k * max(abs(true), 2.0**-126)


@laws
@given(data_sets, resolutions, st.booleans(), st.lists(st.floats(0, 1), min_size=1))
def test_quantile_ascends_from_min_to_max_and_inverts_the_cdf(
    values: Any, k: int, ends: bool, shares: list[float]
) -> None:
    distribution = describe(values, k, ends_at_one=ends)
    ordered = np.array([0.0, *sorted(shares), 1.0])
    found = distribution.quantile(ordered)
    assert (found[1:] >= found[:-1]).all()
    assert (found[0], found[-1]) == (values.min(), values.max())
    inner = found[1:-1]
    slack = 1e-6 * values.size
    assert (distribution.cdf(inner, "left") <= ordered[1:-1] * values.size + slack).all()
    assert (distribution.cdf(inner) >= ordered[1:-1] * values.size - slack).all()


# ---- reading: cases ----------------------------------------------------------------------------


def test_empty_distribution() -> None:
    for ends in (False, True):
        nothing = describe([], ends_at_one=ends)
        assert nothing.total == 0
        assert math.isnan(nothing.quantile(0.5))
        assert np.isnan(nothing.quantile([0, 1])).all()
        found = nothing.counts([0, 0.3, 2])
        assert (found.counts.tolist(), found.below, found.above) == ([0, 0], 0, 0)
        assert found.exact
        assert nothing.cdf([-1, 0.5, 2]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.7, 3.3, -1e-45, 1e300, -1e-300])
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("ends", [False, True])
def test_constant_values_are_one_step(value: float, n: int, ends: bool) -> None:
    constant = describe(np.full(n, value), ends_at_one=ends)
    assert constant.quantile([0, 0.3, 0.5, 1]).tolist() == [value] * 4
    assert (constant.cdf(value, "left"), constant.cdf(value)) == (0, n)
    edges = [value - 1, value, value + 1] if abs(value) < 1e9 else [0, value, 2 * value]
    found = constant.counts(edges)
    assert found.counts.tolist() == [0, n]
    assert found.exact
    assert constant.counts([value, value]).counts.tolist() == [n]


def test_atoms_are_steps_and_quantiles_inside_them_are_exact() -> None:
    values = np.repeat([-1.0, -0.75, 0.0, 0.6, 1.0], [30, 5, 30, 5, 30])
    found = describe(values, ends_at_one=True)
    assert found.quantile([0.01, 0.3, 0.36, 0.65, 0.71, 1]).tolist() == [-1, -1, 0, 0, 1, 1]
    assert [found.cdf(x) - found.cdf(x, "left") for x in (-1.0, 0.0, 1.0)] == [30, 30, 30]
    assert found.counts([-1, 0, 1]).counts.tolist() == [35, 65]


def test_atoms_are_taken_out_of_their_bins_wherever_they_are() -> None:
    values = np.concatenate([np.full(90, 6.0), np.linspace(6.01, 6.4, 10)])
    clipped = BitHistogram.from_values(values, 3)
    found = Distribution(clipped, None, {6.0: 90}, min=6.0, max=6.4)
    assert found.quantile(0.9) == 6
    assert found.cdf(6.0) == 90
    assert 6 < found.quantile(0.91) < 6.1
    inside = AsymptoteHistogram.from_values([0.75, 0.75], 3)
    held = Distribution(BitHistogram.from_values([0.75] * 2, 3), inside, {0.75: 2}, 0.75, 0.75)
    assert held.cdf(0.75, "left") == 0
    assert held.total == held.cdf(0.75) == 2


def test_two_values_in_one_bin_span_min_to_max() -> None:
    found = describe([1.01, 1.02])
    assert found.quantile([0, 0.5, 1]).tolist() == pytest.approx([1.01, 1.015, 1.02])
    assert found.cdf(1.015) == pytest.approx(1)


def test_float64_values_beyond_their_float32_bin_are_kept_inside_min_and_max() -> None:
    for values in ([1 - 1e-12, 3.0], [-3.0, -1 + 1e-12], [1e-310, 2e-310], [-1e300, 1e305]):
        found = describe(values)
        assert found.quantile([0, 1]).tolist() == values
        assert found.cdf(np.nextafter(values, -np.inf)).tolist()[0] == 0
        assert found.cdf(values[1]) == 2


def test_outer_bins_reach_exactly_to_min_and_max() -> None:
    assert describe([1 - 1e-9, 1.01]).cdf(1 - 0.5e-9) > 0, "outwards to min"
    assert describe([-1.01, -1 + 1e-9]).cdf(-1 + 0.5e-9) < 2, "outwards to max"
    values = np.array([6.1, 6.1, 6.15, 6.2])
    for sign in (1, -1):
        bits = BitHistogram.from_values(sign * values, 3)
        ends = sorted([sign * 6.1, sign * 6.2])
        found = Distribution(bits, None, {sign * 6.1: 2}, *ends)
        assert found.counts(sorted([sign * 6.0, sign * 6.099])).counts[0] == 0, "inwards to an atom"


def test_atom_that_float64_only_rounds_to_stays_inside_max() -> None:
    nearly = 1 - 1e-12
    found = Distribution(BitHistogram.from_values([nearly], 3), None, {1.0: 1}, nearly, nearly)
    assert (found.cdf(nearly, "left"), found.cdf(nearly)) == (0, 1)


def test_tangents_are_those_of_a_parabola_on_uneven_knots() -> None:
    knots = np.array([1.0, 1.5, 1.75, 2.5, 4.0])
    width = np.diff(knots)
    tangents = _monotone_tangents(width, np.diff(knots**2) / width)
    np.testing.assert_allclose(tangents, 2 * knots)


def test_counts_says_whether_it_is_exact() -> None:
    found = describe([1.0, 1.05, 2.0, 2.1, -1.0])
    assert found.counts([-1.0, 1.0, 1.5, 2.25]).exact
    assert not found.counts([-1.0, 1.03, 2.25]).exact
    assert found.counts([-np.inf, 1.5, np.inf]).counts.tolist() == [3, 2]


def test_counts_unpacks_like_numpy_histogram() -> None:
    found = describe([1.0, 2.0]).counts([0, 2, 4])
    counts, edges = found
    assert counts is found.counts is found[0]
    assert edges is found.edges is found[1]
    assert len(found) == 2
    expected = "BinCounts(2 values in 2 bins from 0 to 4, 0 below, 0 above, exact)"
    assert repr(found) == expected


def test_counts_takes_the_last_edge_as_closed() -> None:
    values = np.array([0.0, 0.0, 3.0])
    found = describe(values)
    for edges in ([-1.0, 0.0], [0.0, 3.0], [-1.0, 0.0, 3.0], [0.0, 0.0]):
        np.testing.assert_array_equal(found.counts(edges).counts, np.histogram(values, edges)[0])


@pytest.mark.parametrize("edges", [[1.0], 3.0, [[0.0, 1.0]], [1.0, 0.0], [0.0, math.nan]])
def test_counts_refuses_bad_edges(edges: Any) -> None:
    with pytest.raises(ValueError, match="`edges` must"):
        describe([1.0]).counts(edges)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, [0.5, 2.0]])
@pytest.mark.parametrize("values", [[1.0], []])
def test_quantile_refuses_shares_outside_zero_to_one(q: Any, values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`q` must be in \[0, 1\]"):
        describe(values).quantile(q)


def test_reading_keeps_shapes_and_scalars() -> None:
    found = describe([1.0, 2.0])
    assert isinstance(found.quantile(0.5), float)
    assert isinstance(found.cdf(1.5), float)
    assert found.quantile(np.full((2, 3), 0.5)).shape == (2, 3)
    assert found.cdf(np.full((2, 3), 1.5)).shape == (2, 3)
    assert math.isnan(found.cdf(math.nan))
    with pytest.raises(ValueError, match="`side` must be"):
        found.cdf(1.0, side="middle")  # type: ignore[call-overload]


def test_reading_changes_nothing() -> None:
    values = np.tanh(np.linspace(-12, 12, 999, dtype=np.float32))
    found, same = describe(values, ends_at_one=True), describe(values, ends_at_one=True)
    edges = np.linspace(-1, 1, 9)
    found.counts(edges)
    found.quantile(0.5)
    assert found == same
    np.testing.assert_array_equal(edges, np.linspace(-1, 1, 9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atoms": {1.0: 9}}, "more than its bin"),
        ({"atoms": {0.3: 1}}, "more than its bin"),
        ({"atoms": {0.0: -1}}, "atoms must be finite"),
        ({"atoms": {math.inf: 1}}, "atoms must be finite"),
        ({"min": 2.0, "max": 1.0}, "in order"),
        ({"min": math.nan}, "in order"),
        ({"max": math.inf}, "in order"),
        ({"asymptote": AsymptoteHistogram.from_values([0.6], 3)}, "which are 0; it has 1"),
    ],
)
def test_contradicting_parts_are_refused(change: dict[str, Any], message: str) -> None:
    parts = {
        "histogram": BitHistogram.from_values([1.0, 2.0], 3),
        "asymptote": None,
        "atoms": {},
        "min": 1.0,
        "max": 2.0,
    }
    with pytest.raises(ValueError, match=message):
        Distribution(**parts | change).quantile(0.5)  # type: ignore[arg-type]
