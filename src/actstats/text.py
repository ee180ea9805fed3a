"""Tables of text: aligned for a terminal, or as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence

from actstats.names import printable

__all__ = ["aligned", "html_list", "html_row", "html_table", "html_text", "listed", "wide"]

Row = Sequence[str]

_LONG_WORD = re.compile(r"\S{40}(?=\S)")  # longer than the names of most modules


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


def html_table(
    header: Row, rows: Sequence[Row], *, left: Collection[int], caption: str = ""
) -> str:
    """Return an HTML table in the page's own colours, which scrolls where it is wider than that.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str
        As many cells each; their text is escaped, and what hides is written out.
    left : collection of int
        Columns of text, aligned to the left; the others are numbers, aligned to the right.
    caption : str
        Text above the table, if any.
    """
    title = f'<caption style="text-align:left">{html_text(caption)}</caption>' if caption else ""
    head = html_row([html_text(cell) for cell in header], left, tag="th")
    cells = ([html_text(cell) for cell in row] for row in rows)
    body = "".join(html_row(row, left) for row in cells)
    return wide(f"<table>{title}<thead>{head}</thead><tbody>{body}</tbody></table>")


def html_row(cells: Row, left: Collection[int], tag: str = "td") -> str:
    """Return a row of an HTML table, whose cells are HTML; notebooks align them by nothing else."""
    sides = ("left" if i in left else "right" for i in range(len(cells)))
    made = (
        f'<{tag} style="text-align:{side}">{cell}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(made)}</tr>"


def html_list(lines: Sequence[str]) -> str:
    """Return lines of text as an HTML list; nothing where there are none."""
    items = "".join(f"<li>{html_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def html_text(text: str) -> str:
    """Return text as HTML: escaped, what hides written out, long words with places to break."""
    broken = _LONG_WORD.sub("\\g<0>\0", printable(text))
    return html.escape(broken).replace("\0", "<wbr>")


def wide(content: str) -> str:
    """Return HTML that scrolls by itself where it is wider than the page."""
    return f'<div style="overflow-x:auto">{content}</div>'
