"""Names are data: what terminals, spreadsheets, files and JSON get of them.

A module may be called anything: an escape sequence, a formula, half a character.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import numpy as np

__all__ = ["cells", "plain", "printable", "shortened", "spreadsheet_safe", "valid_unicode"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is run by spreadsheets


def printable(text: str, *, keep: str = "") -> str:
    r"""Return the text with control characters, and what turns its direction, written out.

    Parameters
    ----------
    text : str
        Anything.
    keep : str
        Control characters that stay, such as ``"\n"``.

    Examples
    --------
    >>> printable("fc\x1b[31m\u202e")
    'fc\\x1b[31m\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def valid_unicode(text: str) -> str:
    r"""Return the text with lone surrogates written out, as every file can hold it.

    Examples
    --------
    >>> valid_unicode("fc\udc80")
    'fc\\udc80'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def spreadsheet_safe(text: str) -> str:
    """Return the text with a ``'`` in front where a spreadsheet would take it for a formula.

    Examples
    --------
    >>> spreadsheet_safe("=1+1"), spreadsheet_safe("fc1")
    ("'=1+1", 'fc1')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def cells(text: str) -> int:
    """Return how many columns of a terminal printable text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, width: int, mark: str = "…") -> str:
    """Return the text in at most so many columns, its middle left out.

    Names of layers tell most at both ends.

    Examples
    --------
    >>> shortened("encoder.layer.11.attention.self", 16)
    'encoder.…on.self'
    """
    if cells(text) <= width:
        return text
    for kept in range(min(len(text), width), -1, -1):
        made = f"{text[: kept - kept // 2]}{mark}{text[len(text) - kept // 2 :]}"
        if cells(made) <= width:
            return made
    return ""


def plain(value: Any) -> Any:
    """Return a value as JSON holds it, however deep: nan and infinities become None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
