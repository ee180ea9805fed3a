"""What is the reference kernel's own: blocks, whose size must not matter."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actstats.kernels import reference
from claims import (
    assert_identical,
    assert_moments_close,
    assert_same_integers,
    assert_stats_of,
    assert_within,
    exact,
)
from kernel_claims import (
    LAYOUTS,
    SPECIAL,
    assert_same_stats,
    assert_units_of,
    gate_of,
    observed,
    varied,
)

numbers = st.floats(-1e150, 1e150) | st.sampled_from(SPECIAL)
tensors = arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 5)), elements=numbers)


def in_blocks(size):
    return mock.patch.object(reference, "BLOCK", size)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(tensors, st.sampled_from([-1, 1, None]), st.sampled_from([1, 3, 4, 7, 16]))
def test_any_size_of_blocks_gives_the_same(array, axis, block):
    x = torch.from_numpy(array)
    whole = observed(reference, x, unit_axis=axis, edges=(-1.0, 0.0, 1.0, 1e6))
    with in_blocks(block):
        pieces = observed(reference, x, unit_axis=axis, edges=(-1.0, 0.0, 1.0, 1e6))
    assert_same_integers(whole, pieces, site=f"{tuple(x.shape)} in blocks of {block}")
    assert_moments_close(pieces, x, merges=x.numel())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_row_wider_than_a_block(dtype):
    x = torch.randn(2, 3, 50, dtype=dtype)
    with in_blocks(16):
        stats = observed(reference, x, unit_axis=1)
    assert_stats_of(stats, x, merges=60)
    assert_units_of(stats, x, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [-1, 1, None])
def test_layouts_do_not_matter_in_small_blocks(layout, axis):
    x = LAYOUTS[layout](2 + torch.randn(4, 6, 3, 5))
    with in_blocks(32):
        stats = observed(reference, x, unit_axis=axis)
        plain = observed(reference, x.contiguous(), unit_axis=axis)
    assert_same_integers(stats, plain, site=layout)
    assert_stats_of(stats, x, merges=64, site=layout)
    if axis is not None:
        assert_units_of(stats, x, axis)


def test_far_and_narrow_in_blocks_of_every_size():
    x = 1e6 + 1e-3 * torch.randn(500, 2, dtype=torch.float64)
    truth = exact(x)
    for block in (2, 10, 64):
        with in_blocks(block):
            got = observed(reference, x).var
        assert_within(f"var, blocks of {block}", got, truth.var, 1e-12 * float(truth.var))


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "hardtanh", "relu6", "hardshrink"])
def test_judging_in_blocks_gives_the_same(name):
    a = torch.tanh(varied(50, 4))
    whole = observed(reference, a, gate=gate_of(name))
    with in_blocks(32):
        pieces = observed(reference, a, gate=gate_of(name))
    assert_same_stats(pieces, whole, merges=32, exactly=True, site=name)


def test_it_repeats_itself_to_the_last_bit():
    x = varied(300, 7)
    one, other = (observed(reference, x, gate=gate_of("tanh")) for _ in range(2))
    assert_identical(one, other)
