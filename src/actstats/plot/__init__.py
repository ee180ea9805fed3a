"""Pictures of recordings and of activation functions.

Everything here takes what was recorded (a recorder, a :class:`~actstats.Recording`, a
:class:`~actstats.Window`, or the path of a recording's file), never a live model, and draws on a
:class:`matplotlib.figure.Figure` of its own: no window opens, no global setting changes.
``figure.savefig("grid.png")`` writes it; a notebook shows it as the last value of a cell.
"""

from __future__ import annotations

from actstats.plot._notebook import show_figures
from actstats.plot.animation import animate_grid
from actstats.plot.comparisons import compare
from actstats.plot.depth import layers
from actstats.plot.functions import activation_functions
from actstats.plot.gradients import gradient_flow
from actstats.plot.grid import histogram, histogram_grid
from actstats.plot.heatmaps import heatmap
from actstats.plot.lives import units
from actstats.plot.ridgelines import ridgeline
from actstats.plot.timelines import timeline

__all__ = [
    "activation_functions",
    "animate_grid",
    "compare",
    "gradient_flow",
    "heatmap",
    "histogram",
    "histogram_grid",
    "layers",
    "ridgeline",
    "timeline",
    "units",
]

show_figures()
