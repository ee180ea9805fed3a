"""Whether the side file that SQLite's WAL mode keeps is whole.

SQLite drops a write-ahead log silently from the first frame that does not fit its checksum: so
does a write that a kill cut short, and so do windows behind a flipped bit. Here the second is
told from the first. Source: "WAL-Mode File Format", sqlite.org/walformat.html.
"""

from __future__ import annotations

import struct
from pathlib import Path

from actstats.log.errors import RecordingFileError

__all__ = ["check"]

_HEADER, _FRAME = 32, 24
_BIG_ENDIAN, _LITTLE_ENDIAN = 0x377F0683, 0x377F0682  # of the words that are summed


def check(path: Path) -> None:
    """Refuse a write-ahead log with a frame that was written whole and is not what was written.

    Parameters
    ----------
    path : Path
        Of the log: ``run.actstats-wal``. One that is absent or empty is whole.

    Raises
    ------
    RecordingFileError
        If a byte is not as SQLite wrote it.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return
        magic, _, page, _, *salts, first, second = struct.unpack(">8I", header)
        order = {_BIG_ENDIAN: ">", _LITTLE_ENDIAN: "<"}.get(magic)
        sums = (0, 0) if order is None else _summed(header[:24], (0, 0), order)
        if order is None or sums != (first, second) or not 512 <= page <= 65536:
            raise _damaged(path, 0)
        while len(frame := file.read(_FRAME + page)) == _FRAME + page:
            _, _, *own, first, second = struct.unpack(">6I", frame[:_FRAME])
            if own[0] != salts[0] and own[1] != salts[1]:
                return  # left over from before the log began anew: nothing behind it counts
            sums = _summed(frame[_FRAME:], _summed(frame[:8], sums, order), order)
            if own != salts or sums != (first, second):
                raise _damaged(path, file.tell() - len(frame))


def _damaged(path: Path, at: int) -> RecordingFileError:
    return RecordingFileError(
        f"{path.name} is damaged from byte {at} on, and windows behind it are lost: "
        "`load(..., salvage=True)` reads those before it."
    )


def _summed(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """Go on with SQLite's checksum over more words."""
    a, b = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        a = (a + even + b) & 0xFFFFFFFF
        b = (b + odd + a) & 0xFFFFFFFF
    return a, b
