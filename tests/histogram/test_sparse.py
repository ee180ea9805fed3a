"""The laws of merging and coarsening."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actstats.histogram import AsymptoteHistogram, BitHistogram
from histogram_samples import KINDS, any32, laws, resolutions, samples

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
