"""Numbers and names as the page says them."""

import math

import pytest

from actstats.report.text import number, percent, share, steps, visible


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3, "3"),
        (12345, "12,345"),
        (123456.0, "123,456"),
        (1234.5, "1.23e3"),
        (0.00123, "0.00123"),
        (0.00012345, "1.23e-4"),
        (1e-12, "1e-12"),
        (2.5e9, "2.5e9"),
        (-0.5, "-0.5"),
        (math.inf, "\N{INFINITY}"),
        (-math.inf, "-\N{INFINITY}"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_number_is_short(value, text):
    assert number(value) == text.replace("-", "\N{MINUS SIGN}")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e-9, "<0.1"), (0.5, "50.0"), (0.9996, ">99.9"), (1.0, "100")],
)
def test_only_none_is_0_and_only_all_is_100_percent(value, text):
    assert share(value) == text
    assert percent(value) == f"{text} %"


def test_share_that_does_not_apply_has_no_unit():
    assert percent(math.nan) == "\N{EN DASH}"


def test_steps_of_one_and_of_many():
    assert steps(5, 5) == "step 5"
    assert steps(0, 4999) == "steps 0\N{EN DASH}4,999"


def test_visible_leaves_readable_text_alone_and_escapes_what_hides():
    assert visible("größe层 é") == "größe层 é"
    assert visible("a\u00a0b") == "a\u00a0b"
    assert visible("a\u200bb\u2028c\x7f\ud800") == r"a\u200bb\u2028c\x7f\ud800"
