"""Tables that fit."""

import pytest

from actstats.cli.layout import Column, Table
from actstats.names import cells

NAME = "encoder.layers.11.attention.query"


def columns(name=NAME):
    return [
        Column("site", [name, "out"], is_name=True),
        Column("module", ["Linear", "Linear"], is_name=True, rank=1),
        Column("mean", ["0.1", "-12.5"], rank=2),
        Column("std", ["1", "2"]),
    ]


def test_golden_text():
    assert Table(columns("fc")).lines() == [
        "site  module   mean  std",
        "----  ------  -----  ---",
        "fc    Linear    0.1    1",
        "out   Linear  -12.5    2",
    ]


@pytest.mark.parametrize("width", range(24, 60))
def test_lines_fit_the_width(width):
    assert max(map(cells, Table(columns(), width).lines())) <= width


def test_names_are_shortened_before_numbers_go():
    table = Table(columns(), 40)
    assert table.left_out == []
    assert table.lines()[2].startswith("encoder.l")
    assert "…" in table.lines()[2]


def test_the_highest_rank_goes_first():
    assert Table(columns(), 31).left_out == ["mean"]
    assert Table(columns(), 22).left_out == ["module", "mean"]


def test_rank_0_stays_though_it_does_not_fit():
    assert Table(columns(), 5).left_out == ["module", "mean"]


def test_no_rows():
    assert Table([Column("site", [], is_name=True), Column("n", [])], 80).lines() == [
        "site  n",
        "----  -",
    ]


def test_names_are_cleaned_and_as_wide_as_they_are_seen():
    table = Table([Column("site", ["a\nb", "日本"], is_name=True), Column("n", ["1", "2"])])
    assert table.lines()[2:] == [r"a\nb  1", "日本  2"]
