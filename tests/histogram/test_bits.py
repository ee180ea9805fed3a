"""Which values share a bin, and what its bounds are."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from actstats.histogram import AsymptoteHistogram, BitHistogram, bin_bounds, bin_index
from histogram_samples import FLOAT32_MAX, index_by_frexp, laws, nonzero32, resolutions, samples


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


@pytest.mark.parametrize("k", [0, 3, 7])
def test_bins_of_subnormals_are_evenly_spaced_up_to_the_normal_numbers(k: int) -> None:
    edges = np.arange((1 << k) + 1) * 2.0 ** -(126 + k)
    low, high = bin_bounds(np.arange(1 << k), k)
    np.testing.assert_array_equal(low, edges[:-1])
    np.testing.assert_array_equal(high, edges[1:])


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
