"""A table that fits where it is shown: names shortened, columns left out, and what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actstats.names import cells, printable, shortened

__all__ = ["Column", "Table"]

GAP = 2  # columns of the terminal between two of the table
LEAST_NAME = 12  # a name is not shortened below this


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    title : str
        Its heading.
    values : sequence of str
        One a row.
    is_name : bool
        Left-aligned, and shortened where room is short.
    rank : int
        Which to leave out first where room is short: the highest, all of one rank together; 0
        always stays.
    """

    title: str
    values: Sequence[str]
    is_name: bool = False
    rank: int = 0

    @property
    def width(self) -> int:
        """Columns of the terminal that it takes."""
        return max(cells(text) for text in (self.title, *self.values))

    def within(self, width: int) -> Column:
        """Return it with its values shortened."""
        return replace(self, values=[shortened(value, width) for value in self.values])

    def lines(self) -> list[str]:
        """Return the heading, a rule and the values, padded to the same width."""
        width = self.width
        padded = [self._padded(text, width) for text in (self.title, *self.values)]
        return [padded[0], "-" * width, *padded[1:]]

    def _padded(self, text: str, width: int) -> str:
        space = " " * (width - cells(text))
        return text + space if self.is_name else space + text


class Table:
    """Columns side by side.

    Parameters
    ----------
    columns : sequence of Column
        Their values are cleaned of control characters.
    width : int, optional
        Columns of the terminal; None leaves everything as it is.
    """

    def __init__(self, columns: Sequence[Column], width: int | None = None) -> None:
        clean = [replace(c, values=[printable(v) for v in c.values]) for c in columns]
        self.columns = clean if width is None else fitted(clean, width)
        self.left_out = [c.title for c in clean if c.title not in {d.title for d in self.columns}]

    def notes(self) -> list[str]:
        """Return a line on what was left out, where something was."""
        names = ", ".join(self.left_out)
        return [f"left out, as the terminal is narrow: {names}"] if names else []

    def lines(self) -> list[str]:
        """Return the heading, a rule, and a line for each row."""
        rows = zip(*(column.lines() for column in self.columns), strict=True)
        return [(" " * GAP).join(row).rstrip() for row in rows]


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """Return as many columns as fit, names shortened before numbers are left out."""
    kept = list(columns)
    while _total(_shrunk(kept, width)) > width:
        highest = max(column.rank for column in kept)
        if not highest:
            break
        kept = [column for column in kept if column.rank != highest]
    return _shrunk(kept, width)


def _shrunk(columns: list[Column], width: int) -> list[Column]:
    """Shorten the widest names, a column at a time, until all fits or none may be shorter."""
    widths = [column.width for column in columns]
    names = [i for i, column in enumerate(columns) if column.is_name]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        widest = max(names, key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= LEAST_NAME:
            break
        widths[widest] -= 1
    return [c.within(w) if c.is_name else c for c, w in zip(columns, widths, strict=True)]


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)
