"""Recordings for other tools: tables in CSV, Parquet, JSON or NumPy files, and xarray.

:func:`export` writes files, :meth:`Recording.to_pandas <actstats.Recording.to_pandas>` and
:meth:`Recording.to_xarray <actstats.Recording.to_xarray>` make objects. Every column is described
on the page :doc:`/exports`.
"""

from __future__ import annotations

from actstats.exports.files import FORMATS, export
from actstats.exports.tables import TABLES

__all__ = ["FORMATS", "TABLES", "export"]
