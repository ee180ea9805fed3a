"""Little bars."""

import math

import pytest

from actstats.cli.trend import ASCII, BLOCKS, sparkline


def test_least_and_largest_are_the_lowest_and_the_highest_bar():
    assert sparkline([3, 1, 5]) == "▅▁█"


def test_every_bar_is_used():
    assert sparkline(range(8)) == BLOCKS


def test_nan_and_infinities_are_gaps():
    assert sparkline([0, math.nan, math.inf, 1]) == "▁  █"


@pytest.mark.parametrize("values", [[2, 2, 2], [100, 100.5, 99.9], [0, 0, 0], [-5, -5, -5]])
def test_noise_is_flat(values):
    assert sparkline(values) == "▅▅▅"


def test_nothing():
    assert sparkline([]) == ""
    assert sparkline([math.nan] * 2) == "  "


def test_ascii():
    assert sparkline([0, 1], ASCII) == "_@"
    assert ASCII.isascii()
