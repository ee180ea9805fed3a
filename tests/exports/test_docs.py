"""The page of exports names every column, in order."""

import re
from pathlib import Path

import pytest
from recordings import normal, recording

from actstats.exports import FORMATS, TABLES
from actstats.exports.files import SCHEMA
from actstats.exports.tables import make_tables

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")


def columns(table):
    """The names in the first cells of a table's section."""
    (section,) = re.findall(rf"^### `{table}`:.*?\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize("table", TABLES)
def test_columns(table):
    made = recording({"fc1": normal()}, scalars=[{"loss": 1.0}])
    wanted = list(make_tables(made, [table])[table])
    if table == "edges":
        assert "Columns as in `histograms`" in PAGE
        assert columns("histograms") == wanted
    elif table == "figures":  # grouped by what they mean
        assert sorted(columns(table)) == sorted(wanted)
    else:
        assert columns(table) == wanted


def test_formats_and_schema():
    for name in FORMATS:
        assert re.search(rf"\| .*{name}", PAGE, re.IGNORECASE)
    assert f'`"actstats"` and {SCHEMA};' in PAGE
