"""What histograms are tried on: drawn values, and what a recorder would know of them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actstats.histogram import AsymptoteHistogram, BinCounts, BitHistogram, Distribution

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


def index_by_frexp(x: float, k: int) -> int:
    """The bin from arithmetic instead of bits."""
    fraction, exponent = math.frexp(abs(x))
    if exponent < -125:  # subnormal
        magnitude = math.floor(math.ldexp(abs(x), 126 + k))
    else:
        magnitude = ((exponent + 126) << k) + math.floor((2 * fraction - 1) * 2**k)
    return magnitude + (1 << (8 + k) if x < 0 else 0)
