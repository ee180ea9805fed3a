"""A recording as one HTML file: the verdict, the findings, the pictures, every layer.

The file needs nothing else: no network, no fonts, no scripts but its own. It reads without
JavaScript too, which only searches, sorts and switches the theme.
"""

from __future__ import annotations

from actstats.report.write import render, write_report

__all__ = ["render", "write_report"]
