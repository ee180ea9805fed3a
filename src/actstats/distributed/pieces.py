"""Windows and parts of them as bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

from actstats.log.codec import decode, encode, layout_from_json, layout_to_json
from actstats.log.schema import from_json, scalars_from_json, scalars_to_json, to_json
from actstats.recording import Scalar
from actstats.table import Columns, SiteTable

__all__ = ["Piece", "read_piece", "write_piece"]

_SIZES = struct.Struct("<III")  # bytes of the layout, of the scalars, of the numbers


class Piece(NamedTuple):
    """Some sites of a window, and scalars."""

    table: SiteTable
    scalars: dict[str, Scalar]


def write_piece(piece: Piece, expected: Columns) -> bytes:
    """Return a piece as bytes; its layout is left out where the reader expects it."""
    columns = piece.table.columns
    known = columns is expected or columns.sites == expected.sites
    layout = b"" if known else to_json(layout_to_json(columns)).encode()
    scalars = scalars_to_json(piece.scalars).encode() if piece.scalars else b""
    numbers = encode(piece.table)
    return b"".join((_SIZES.pack(*map(len, (layout, scalars, numbers))), layout, scalars, numbers))


def read_piece(data: bytes, at: int, expected: Columns) -> tuple[Piece, int]:
    """Return the piece that begins there, and where the next one does."""
    sizes = _SIZES.unpack_from(data, at)
    parts, at = [], at + _SIZES.size
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    layout, scalars, numbers = parts
    columns = layout_from_json(from_json(layout.decode())) if layout else expected
    told = scalars_from_json(scalars.decode()) if scalars else {}
    return Piece(decode(columns, numbers), told), at
