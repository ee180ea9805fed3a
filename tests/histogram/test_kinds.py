"""What both histograms count, and what they refuse."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from actstats.histogram import AsymptoteHistogram, BitHistogram
from histogram_samples import KINDS, any32, index_by_frexp, laws, near_one, resolutions, samples


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
