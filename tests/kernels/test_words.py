"""Numba recompiles when `_numba.py` changes; its constants lie in `_words.py`."""

import zlib
from pathlib import Path

import pytest

from actstats.kernels import _words
from actstats.kernels.state import Layout

_numba = pytest.importorskip("actstats.kernels._numba")


def test_a_change_of_the_words_changes_the_compiled_file_too():
    checksum = zlib.crc32(Path(_words.__file__).read_bytes())
    assert checksum == _numba.WORDS, f"write 0x{checksum:08X} to `_numba.WORDS`"


def test_the_head_of_the_memory_is_that_of_every_state():
    assert (_words.CALLS, _words.ALL, _words.LEAST, _words.OPENNESS) == (
        Layout.CALLS,
        Layout.COUNTS,
        Layout.EXTREMA,
        Layout.OPENNESS,
    )
