"""Directives that show the hostile matrix as it is in `tests/hostile`, when the pages are made.

`hostile-count` is a sentence, `hostile-rows` a section with a table for each part of the matrix,
`hostile-unpromised` a list of what cannot be promised. So none of it can go stale.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TESTS = Path(__file__).parents[2] / "tests"
sys.path.append(str(TESTS / "hostile"))

from matrix import HERE, Row, marked, rows  # noqa: E402 - found by the line above

COLUMNS = {"#": 6, "In real code": 30, "Here": 38, "Tests": 26}  # widths in percent


class _Matrix(SphinxDirective):
    """What all three read."""

    @cached_property
    def rows(self) -> list[Row]:
        """The rows; the page is made anew when one of them, or a test, has changed."""
        folder = Path(self.config.hostile_rows)
        for path in (*folder.glob("*.toml"), *TESTS.rglob("test_*.py")):
            self.env.note_dependency(str(path))
        return rows(folder)


class Count(_Matrix):
    """How many rows there are, are tried, and cannot be promised."""

    def run(self) -> list[nodes.Node]:
        tests = marked()
        tried = [row for row in self.rows if row.is_promised]
        names = {name for row in tried for name in tests.get(row.number, ())}
        unpromised = len(self.rows) - len(tried)
        told = (
            f"{len(self.rows)} cases: {len(tried)} are promised, and tried by {len(names)} tests; "
            f"{unpromised} cannot be promised."
        )
        return [nodes.paragraph("", told)]


class Rows(_Matrix):
    """Every row: the case, what happens there, the tests that try it."""

    def run(self) -> list[nodes.Node]:
        tests = marked()
        sections = []
        for title, part in groupby(self.rows, key=lambda row: row.section):
            section = nodes.section(ids=[nodes.make_id(f"matrix {title}")], names=[title])
            lines = [
                [
                    [nodes.paragraph("", str(row.number))],
                    [told(row.case)],
                    [told(row.answer or f"Cannot be promised. {row.reason}")],
                    list(by_file(tests.get(row.number, ()))),
                ]
                for row in part
            ]
            sections.append(section)
            section += [nodes.title("", title), table(lines)]
        return sections


class Unpromised(_Matrix):
    """What cannot be promised, why not, and what to do."""

    def run(self) -> list[nodes.Node]:
        items = [
            nodes.definition_list_item(
                "",
                nodes.term("", "", *spans(row.case)),
                nodes.definition("", told(row.reason), told(row.remedy)),
            )
            for row in self.rows
            if not row.is_promised
        ]
        return [nodes.definition_list("", *items)]


def table(lines: Iterable[list[list[nodes.Node]]]) -> nodes.table:
    """Return a table of cells that are lists of nodes."""
    group = nodes.tgroup(cols=len(COLUMNS))
    group += [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
    head = [[nodes.paragraph("", name)] for name in COLUMNS]
    group += nodes.thead("", line_of(head))
    group += nodes.tbody("", *map(line_of, lines))
    return nodes.table("", group, classes=["hostile-matrix", "colwidths-given"])


def line_of(cells: Iterable[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *cell) for cell in cells))


def told(text: str) -> nodes.paragraph:
    return nodes.paragraph("", "", *spans(text))


def spans(text: str) -> Iterator[nodes.Node]:
    """Yield text with its `code`; nothing else in it has a meaning, `<script>` least of all."""
    for place, piece in enumerate(text.split("`")):
        yield code(piece) if place % 2 else nodes.Text(piece)


def code(text: str) -> nodes.literal:
    return nodes.literal("", text)


def by_file(tests: Iterable[str]) -> Iterator[nodes.Node]:
    """Yield a paragraph for each file with the names of its tests."""
    for path, names in groupby(sorted(tests), key=lambda name: name.partition("::")[0]):
        paragraph = nodes.paragraph("", "", nodes.emphasis("", path))
        for name in names:
            paragraph += [nodes.Text(" "), code(re.sub(".*::", "", name))]
        yield paragraph


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("hostile_rows", str(HERE / "matrix"), "env")
    app.add_directive("hostile-count", Count)
    app.add_directive("hostile-rows", Rows)
    app.add_directive("hostile-unpromised", Unpromised)
    return {"parallel_read_safe": True}
