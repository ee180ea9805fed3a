"""What the curve reads, against numpy on many values and against the values themselves."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actstats.histogram import bin_bounds, bin_index
from actstats.histogram.curve import monotone_tangents
from histogram_samples import (
    assert_mass_conserved,
    describe,
    finite32,
    finite64,
    laws,
    resolutions,
    samples,
)

N = 200_000


def test_tangents_are_those_of_a_parabola_on_uneven_knots() -> None:
    knots = np.array([1.0, 1.5, 1.75, 2.5, 4.0])
    width = np.diff(knots)
    tangents = monotone_tangents(width, np.diff(knots**2) / width)
    np.testing.assert_allclose(tangents, 2 * knots)


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
