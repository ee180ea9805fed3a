"""The hostile matrix: what a recorder meets in real code, and what actstats does there.

`matrix/<section>.toml` holds the rows of one section:

    title = "torch.compile, export, tracing"

    [[rows]]
    number = 3
    case = "A hook that reads a value to the host inside a compiled model"
    answer = "Hooks leave one opaque op in the graph and read nothing: no graph break."

A row that nobody can promise has, in place of `answer`, a `reason` and a `remedy`. A test says
which rows it answers for with `@pytest.mark.hostile(3, 5)`, wherever it stands.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Row", "marked", "rows"]

HERE = Path(__file__).parent
NUMBERS = range(1, 119)  # the rows of the list that this one answers


@dataclass(frozen=True)
class Row:
    """A case, and either what actstats does there or why nothing can be promised."""

    number: int
    section: str
    case: str
    answer: str = ""
    reason: str = ""
    remedy: str = ""

    @property
    def is_promised(self) -> bool:
        """Tell whether actstats answers for the case."""
        return bool(self.answer)


def rows(folder: Path = HERE / "matrix") -> list[Row]:
    """Return the rows of all sections, by number."""
    tables = [tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))]
    found = [Row(section=table["title"], **row) for table in tables for row in table["rows"]]
    return sorted(found, key=lambda row: row.number)


def marked(folder: Path = HERE.parent) -> dict[int, list[str]]:
    """Return the tests that answer for each row, as ``file::test``, read from the sources."""
    found: dict[int, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for name, number in _marks(ast.parse(path.read_text())):
            found.setdefault(number, []).append(f"{path.relative_to(folder)}::{name}")
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        for mark in getattr(node, "decorator_list", ()):
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.hostile":
                for number in mark.args:
                    yield node.name, ast.literal_eval(number)
