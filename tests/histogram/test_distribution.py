"""What is read from a distribution, case by case."""

import math
from typing import Any

import numpy as np
import pytest

from actstats.histogram import AsymptoteHistogram, BitHistogram, Distribution
from histogram_samples import describe


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


def test_bins_are_those_that_were_counted_with_atoms_between_them() -> None:
    histogram = BitHistogram.from_values([-2.0, 0.75, 1.0, 1.0, 1.1], resolution=3)
    near = AsymptoteHistogram.from_values([0.75], resolution=3)
    read = Distribution(histogram, near, {0.0: 4, 1.0: 2, -1.0: 0}, min=-2.0, max=1.1)
    low, high, counts = read.bins()
    assert low.tolist() == [-2.25, 0.0, 0.71875, 1.0, 1.0]
    assert high.tolist() == [-2.0, 0.0, 0.75, 1.0, 1.125]
    assert counts.tolist() == [1, 4, 1, 2, 1]
    assert counts.sum() == read.total
