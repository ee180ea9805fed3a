"""Histograms over float bit patterns, and how one distribution is read from them.

A bin is a float's sign, exponent and first `resolution` mantissa bits, so all of float32 is covered
with no range to choose, any two histograms add exactly, and a histogram goes coarser exactly.

Prior art: DDSketch's bitwise mapping (Masson, Rim & Lee 2019), HdrHistogram, H2Histogram.
"""

from __future__ import annotations

from actstats.histogram.bits import bin_bounds, bin_index
from actstats.histogram.counts import BinCounts
from actstats.histogram.distribution import Distribution
from actstats.histogram.kinds import AsymptoteHistogram, BitHistogram

__all__ = [
    "AsymptoteHistogram",
    "BinCounts",
    "BitHistogram",
    "Distribution",
    "bin_bounds",
    "bin_index",
]
