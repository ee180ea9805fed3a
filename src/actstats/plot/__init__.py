"""Pictures of recordings and of activation functions.

Everything here takes what was recorded (a recorder, a :class:`~actstats.Recording` or a
:class:`~actstats.Window`), never a live model, and draws on a :class:`matplotlib.figure.Figure`
of its own: no window opens, no global setting changes. ``figure.savefig("grid.png")`` writes it;
a notebook shows it as the last value of a cell.
"""

from __future__ import annotations

from actstats.plot.animation import animate_grid
from actstats.plot.functions import activation_functions
from actstats.plot.grid import histogram, histogram_grid

__all__ = ["activation_functions", "animate_grid", "histogram", "histogram_grid"]
