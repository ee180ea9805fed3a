"""Two recordings side by side: how far apart they are, and where and when they separate."""

from __future__ import annotations

from actstats.comparison.comparing import compare
from actstats.comparison.comparison import Comparison
from actstats.comparison.distances import psi, wasserstein
from actstats.comparison.judging import Separation
from actstats.comparison.rows import SiteComparison

__all__ = ["Comparison", "Separation", "SiteComparison", "compare", "psi", "wasserstein"]
