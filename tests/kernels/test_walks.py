"""How compiled kernels walk through a tensor."""

import torch

from actstats.kernels.walks import folded, pieces, unit_dimension


def test_dimensions_that_lie_one_inside_the_other_are_one_group():
    x = torch.empty(4, 6, 3, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert folded(x, None) == folded(last, None) == [(360, 1)]
    assert folded(x, 1) == [(4, 90), (15, 1)]
    assert folded(last, 1) == [(60, 6)]
    assert folded(x[::2, 1:, :, ::3], 3) == [(2, 180), (15, 5)]
    assert folded(x[::2, 1:, 1:, ::3], 3) == [(2, 180), (5, 15), (2, 5)]
    assert folded(x[:1, :, :1, :1], 1) == []
    assert folded(torch.empty(1).expand(2, 3), None) == [(6, 0)]


def test_the_dimension_of_the_units():
    x = torch.empty(4, 6, 3)
    assert [unit_dimension(x, axis, 6) for axis in (-1, 1, None)] == [2, 1, None]
    assert [unit_dimension(x[0], axis, 6) for axis in (-1, 1)] == [1, 1]
    assert unit_dimension(x, 1, 1) is unit_dimension(x[0, 0, 0], -1, 6) is None


def test_pieces_are_bounded_and_no_smaller_than_need_be():
    x = torch.randn(4, 6, 3, 5)[:, :, 1:, ::2]
    for axis, width in ((-1, 3), (1, 6), (None, 1)):
        parts = list(pieces(x, unit_dimension(x, axis, width), 20))
        assert sum(len(part.view(-1)) for part in parts) == x.numel()
        assert all(5 < part.numel() <= 20 for part in parts)
