"""Thresholds of gates, as compiled kernels compare with them."""

import math

import torch

from actstats import activations
from actstats.gate import make_gate
from actstats.kernels.thresholds import inward, sides


def test_numbers_are_rounded_into_their_interval():
    for dtype in (torch.float16, torch.float32):
        for low, high in ((0.1, 0.3), (-0.3, -0.1), (-math.inf, 0.975), (5e-324, math.inf)):
            least, largest = inward((low, high), dtype)
            for end, inside, way in ((least, least >= low, -1), (largest, largest <= high, 1)):
                assert inside, (dtype, low, high)
                if math.isfinite(end):
                    number = torch.tensor(end, dtype=dtype)
                    beyond = float(number.nextafter(torch.tensor(way * math.inf, dtype=dtype)))
                    assert not low <= beyond <= high, (dtype, low, high)


def test_an_interval_without_numbers_has_its_ends_crossed():
    least, largest = inward((1.0001, 1.0002), torch.float16)
    assert least > largest


def test_which_samples_are_active():
    active = {
        (name, slope): sides(make_gate(activations.get(name), slope))[2:]
        for name, slope in (("relu", 0.05), ("relu6", 0.05), ("tanh", 0.05), ("tanh", 0.3))
    }
    assert active["relu", 0.05] == active["tanh", 0.05] == ((), "rest")
    assert active["relu6", 0.05] == (((5e-324, math.nextafter(math.inf, 0)),), "third")
    third, kind = active["tanh", 0.3]
    assert (len(third), kind) == (2, "not third")
