"""Tables of text: aligned for a terminal, or as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from actstats.names import printable

__all__ = ["aligned", "html_rows", "listed"]

Row = Sequence[str]


def aligned(header: Row, rows: Sequence[Row], *, left: int, rule: bool = True) -> list[str]:
    r"""Return lines with the cells of each column under each other; what hides is written out.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str
        As many cells each.
    left : int
        Columns that are aligned to the left; the others are numbers, aligned to the right.
    rule : bool, default True
        Whether a dashed line stands below the titles.

    Examples
    --------
    >>> print("\n".join(aligned(("site", "n"), [("fc1", "7"), ("act10", "12")], left=1)))
    site    n
    -----  --
    fc1     7
    act10  12
    """
    table = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    if rule:
        table.insert(1, ["-" * width for width in widths])
    return [_line(row, widths, left) for row in table]


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names in a row, the first ones where there are many.

    Examples
    --------
    >>> listed(["fc1", "fc2", "fc3"], most=2)
    'fc1, fc2 and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _line(row: Row, widths: Sequence[int], left: int) -> str:
    cells = [
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def html_rows(tag: str, rows: Sequence[Row]) -> str:
    """Return rows of an HTML table, every cell a ``<td>`` or ``<th>``, its text escaped."""
    return "".join(
        "<tr>" + "".join(f"<{tag}>{html.escape(printable(cell))}</{tag}>" for cell in row) + "</tr>"
        for row in rows
    )
