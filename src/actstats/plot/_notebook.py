"""Figures in a notebook, which knows how to show one only after pyplot has made one."""

from __future__ import annotations

import sys
from typing import Any

from matplotlib.figure import Figure

__all__ = ["show_figures"]


def show_figures() -> None:
    """Let a figure that ends a cell be a picture, unless the notebook knows how; else nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or getattr(shell, "display_formatter", None) is None:
        return
    pictures = shell.display_formatter.formatters["image/png"]
    try:
        pictures.lookup_by_type(Figure)
    except KeyError:
        pictures.for_type(Figure, _png)


def _png(figure: Figure) -> Any:
    """Return a figure as PNG; nothing of one of pyplot's, which shows it itself."""
    if getattr(figure.canvas, "manager", None) is not None:
        return None
    from IPython.core.pylabtools import print_figure  # in a notebook it is loaded

    return print_figure(figure, "png")
