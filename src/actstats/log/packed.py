"""Windows that stay compressed until someone reads them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actstats.log.codec import decode, layout_from_json
from actstats.log.errors import RecordingFileError
from actstats.log.schema import Row, from_json, scalars_from_json
from actstats.recording import Window
from actstats.table import Columns, Rows, SiteTable

__all__ = ["Decoder", "PackedTable"]

logger = logging.getLogger("actstats")

RECENT = 4  # tables that stay decoded: merging reads two, in several passes


class PackedTable(SiteTable):
    """A table that is decoded each time it is read, and holds its compressed bytes only.

    Parameters
    ----------
    columns : Columns
        What is where.
    nbytes : int
        Of the compressed numbers.
    unpack : callable
        Returns the table.
    """

    def __init__(self, columns: Columns, nbytes: int, unpack: Callable[[], SiteTable]) -> None:
        object.__setattr__(self, "columns", columns)  # the base is frozen
        object.__setattr__(self, "_nbytes", nbytes)
        object.__setattr__(self, "_unpack", unpack)

    packed = True
    _nbytes: int
    _unpack: Callable[[], SiteTable]

    @property
    def dense(self) -> NDArray[np.int64]:
        """Words that ``columns.dense`` points at."""
        return self._unpack().dense

    @property
    def bins(self) -> NDArray[np.integer[Any]]:
        """Where the occupied bins lie."""
        return self._unpack().bins

    @property
    def counts(self) -> NDArray[np.int64]:
        """What is in them."""
        return self._unpack().counts

    @property
    def rows(self) -> Rows:
        """The dense numbers by kind."""
        return self._unpack().rows

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._nbytes


class Decoder:
    """Makes windows of a file's rows, and keeps the latest few tables.

    Parameters
    ----------
    facts : mapping of str to str
        The file's, layouts among them.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = facts
        self._layouts: dict[int, Columns] = {}
        self._recent: dict[int, SiteTable] = {}
        self._unknown: set[str] = set()

    def window(self, row: Row) -> Window:
        """Return the window of a row; its numbers are decoded when they are read."""
        columns = self._columns(row.layout)
        stats = PackedTable(columns, len(row.numbers), lambda: self._table(row, columns))
        phase = from_json(f'"{row.phase}"')
        return Window(row.first_step, row.last_step, phase, stats, scalars_from_json(row.scalars))

    def _columns(self, layout: int) -> Columns:
        if layout not in self._layouts:
            text = self._facts.get(f"layout {layout}")
            if text is None:
                raise RecordingFileError(f"the file has no layout {layout}.")
            self._layouts[layout] = layout_from_json(from_json(text))
            self._warn_of_unknown(self._layouts[layout])
        return self._layouts[layout]

    def _warn_of_unknown(self, columns: Columns) -> None:
        """Say once of each statistic that its class is not here."""
        for own in columns.custom_specs:
            if own.is_unknown and own.name not in self._unknown:
                self._unknown.add(own.name)
                logger.warning(
                    "the file has a statistic %r, which cannot be read here: import the module "
                    "that defines it before loading",
                    own.name,
                )

    def _table(self, row: Row, columns: Columns) -> SiteTable:
        table = self._recent.get(row.number)
        if table is None:
            table = self._recent[row.number] = decode(columns, row.numbers)
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
        return table
