"""Moments: two-sum, Chan's merge and pooling, against rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actstats.moments import Moments, combine, two_sum
from claims import (
    Exact,
    assert_within,
    depth,
    exact,
    mean_bound,
    merge_tree,
    variance_bound,
)

laws = settings(derandomize=True, max_examples=60, deadline=None)
moderate = st.floats(-1e150, 1e150)
clustered = st.floats(-1e-3, 1e-3).map(lambda x: 1e6 + x)
numbers = moderate | clustered | st.sampled_from([0.0, -0.0, 5e-324, -2.3e-308, 1.0, 1e6])
columns = st.lists(numbers, max_size=12)


def moments_of(values: list[float]) -> Moments:
    """The correctly rounded moments of one column."""
    truth = exact(values)
    high = float(truth.mean)
    low = float(truth.mean - Fraction(high))
    row = (truth.n, high, low, float(truth.var * truth.n), float(truth.abs_sum))
    return Moments(*(np.array([float(x)]) for x in row))


def assert_moments(got: Moments, truth: Exact, merges: int, column: int = 0) -> None:
    assert got.n[column] == truth.n
    if truth.n == 0:
        assert got.m2[column] == 0
        assert math.isnan(got.mean[column])
        return
    assert_within("mean", float(got.mean[column]), truth.mean, mean_bound(truth, merges))
    assert_within("var", float(got.var[column]), truth.var, variance_bound(truth, merges))
    bound = mean_bound(truth, merges) * truth.n
    assert_within("abs_sum", float(got.abs_sum[column]), truth.abs_sum, bound)


@laws
@given(moderate, moderate)
def test_two_sum_loses_nothing(a, b):
    total, error = two_sum(a, b)
    assert Fraction(total) + Fraction(error) == Fraction(a) + Fraction(b)
    assert total == a + b


@laws
@given(st.lists(columns, min_size=1, max_size=8), st.integers(0, 2**32))
def test_merge_in_any_tree_is_the_moments_of_all(parts, seed):
    truth = exact([x for part in parts for x in part])
    got = merge_tree([moments_of(part) for part in parts], seed)
    assert_moments(got, truth, merges=len(parts))


@laws
@given(columns)
def test_empty_is_the_identity_on_both_sides(values):
    one = moments_of(values)
    for merged in (one.merge(Moments.empty()), Moments.empty().merge(one)):
        for name in ("n", "high", "low", "m2", "abs_sum"):
            assert getattr(merged, name).tobytes() == getattr(one, name).tobytes(), name


def test_merge_into_empty_keeps_the_low_part():
    one = Moments(*(np.array([x]) for x in (10.0, 1e6, 3e-11, 1e-5, 1e7)))
    assert Moments.empty().merge(one).low[0] == 3e-11
    assert one.merge(Moments.empty()).low[0] == 3e-11


@laws
@given(columns, columns)
def test_merge_leaves_both_sides_alone(a, b):
    one, other = moments_of(a), moments_of(b)
    names = ("n", "high", "low", "m2", "abs_sum")
    before = [getattr(m, name).copy() for m in (one, other) for name in names]
    one.merge(other)
    after = [getattr(m, name) for m in (one, other) for name in names]
    assert all(x.tobytes() == y.tobytes() for x, y in zip(before, after, strict=True))


def test_merge_of_two_groups_adds_the_spread_between_them():
    # N(0, 1) and N(10, 1) of different sizes: a flipped sign or a lost delta**2 shows here
    a = Moments(*(np.array([x]) for x in (100.0, 0.0, 0.0, 100.0, 80.0)))
    b = Moments(*(np.array([x]) for x in (300.0, 10.0, 0.0, 300.0, 3000.0)))
    merged = a.merge(b)
    assert merged.mean[0] == 7.5
    assert merged.var[0] == 1 + 0.25 * 0.75 * 10**2


def test_merge_of_far_and_narrow_groups_keeps_twelve_digits():
    rng = np.random.default_rng(0)
    batches = [np.zeros(50), *(1e6 + 1e-3 * rng.standard_normal(50) for _ in range(20))]
    for parts in (batches, batches[1:]):
        merged = moments_of(list(parts[0]))
        for part in parts[1:]:
            merged = merged.merge(moments_of(list(part)))
        truth = exact(np.concatenate(parts))
        assert_within("var", float(merged.var[0]), truth.var, 1e-12 * float(truth.var))


@laws
@given(st.lists(columns, min_size=2, max_size=6))
def test_pooled_is_the_moments_of_all_columns(parts):
    stacked = [moments_of(part) for part in parts]
    names = ("n", "high", "low", "m2", "abs_sum")
    wide = Moments(*(np.concatenate([getattr(m, name) for m in stacked]) for name in names))
    truth = exact([x for part in parts for x in part])
    assert_moments(wide.pooled(), truth, merges=len(parts))


def test_pooled_keeps_the_low_parts():
    high = np.full(4, 1e6)
    low = np.array([1e-11, 2e-11, 3e-11, 4e-11])
    wide = Moments(np.full(4, 5.0), high, low, np.zeros(4), np.full(4, 5e6))
    pooled = wide.pooled()
    assert_within("low", float(pooled.high[0] - 1e6 + pooled.low[0]), 2.5e-11, 1e-24)


def test_columns_merge_each_for_itself():
    a = Moments(*(np.array(x) for x in ([2.0, 0.0], [1.0, 0.0], [0, 0], [2.0, 0], [2.0, 0.0])))
    b = Moments(*(np.array(x) for x in ([2.0, 3.0], [3.0, 7.0], [0, 0], [0.0, 6], [6.0, 21.0])))
    merged = a.merge(b)
    assert merged.mean.tolist() == [2.0, 7.0]
    assert merged.var.tolist() == [1.5, 2.0]


def test_unequal_widths_are_refused():
    with pytest.raises(ValueError, match="2 and 3 units do not merge"):
        Moments.empty(2).merge(Moments.empty(3))


def test_combine_is_elementwise_and_shared_with_torch():
    import torch

    rng = np.random.default_rng(1)
    a, b = (
        (rng.integers(0, 3, 6).astype(float), *rng.standard_normal((2, 6)), rng.random(6))
        for _ in range(2)
    )
    with_numpy = combine(a, b, np.where)
    with_torch = combine(
        tuple(torch.from_numpy(x) for x in a), tuple(torch.from_numpy(x) for x in b), torch.where
    )
    for x, y in zip(with_numpy, with_torch, strict=True):
        np.testing.assert_array_equal(x, y.numpy())


def test_depth_grows_with_merges():
    assert depth(1024, 3) == 13
