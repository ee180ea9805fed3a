"""What names become where they are shown or written."""

import math

import numpy as np
import pytest

from actstats.names import cells, plain, printable, shortened, spreadsheet_safe, valid_unicode


@pytest.mark.hostile(118)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fc1", "fc1"),
        ("größe 日本 🎉", "größe 日本 🎉"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egpj", r"\u202egpj"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("half\udc80", r"half\udc80"),
        ("nul\0", r"nul\x00"),
        ("\x9b31m", r"\x9b31m"),
        ("\u2028", r"\u2028"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_printable_keeps_what_it_is_told():
    assert printable("a\n\tb", keep="\n") == "a\n\\tb"


@pytest.mark.hostile(118)
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas_become_text(start):
    assert spreadsheet_safe(f"{start}cmd|x") == f"'{start}cmd|x"
    assert spreadsheet_safe(f"fc{start}1") == f"fc{start}1"


def test_an_empty_name_is_no_formula():
    assert spreadsheet_safe("") == ""


@pytest.mark.hostile(118)
def test_valid_unicode_can_be_encoded():
    assert valid_unicode("a\udc80é").encode() == "a\\udc80é".encode()


@pytest.mark.parametrize(
    ("text", "width"), [("fc1", 3), ("日本", 4), ("e\u0301", 1), ("a日", 3), ("", 0)]
)
def test_cells(text, width):
    assert cells(text) == width


@pytest.mark.parametrize("text", ["encoder.layers.11.attention", "日本語" * 5, "x"])
@pytest.mark.parametrize("width", range(30))
def test_shortened_fits_and_keeps_both_ends(text, width):
    short = shortened(text, width)
    assert cells(short) <= width
    if cells(text) <= width:
        assert short == text
    elif width >= 5:
        assert (short[0], short[-1]) == (text[0], text[-1])
        assert cells(short) >= width - 1  # a wide character may not fit into the last cell


def test_plain_is_json_however_deep():
    value = {1: [math.nan, np.float32(0.5), (np.int64(3), -math.inf)], "x": np.array([1.0, np.nan])}
    assert plain(value) == {"1": [None, 0.5, [3, None]], "x": [1.0, None]}
    assert plain([True, None, "s"]) == [True, None, "s"]


def test_plain_of_what_json_has_no_word_for_is_its_text():
    assert plain({"when": complex(1, 2)}) == {"when": "(1+2j)"}
