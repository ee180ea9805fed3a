"""The matrix is whole: each row is there once, and is answered for by a test or by its reason."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from matrix import HERE, NUMBERS, marked, rows

TESTS = HERE.parent


def test_every_row_is_there_once():
    counts = Counter(row.number for row in rows())
    assert {n: counts[n] for n in {*NUMBERS, *counts} if counts[n] != (n in NUMBERS)} == {}


def test_every_promise_has_a_test():
    answered = marked()
    assert [row.number for row in rows() if row.is_promised and row.number not in answered] == []


def test_what_is_not_promised_has_a_reason_and_a_remedy():
    halves = [row.number for row in rows() if bool(row.reason) != bool(row.remedy)]
    neither = [row.number for row in rows() if row.is_promised == bool(row.reason)]
    assert (halves, neither) == ([], [])


def test_every_mark_names_a_row():
    known = {row.number for row in rows()}
    assert {number: tests for number, tests in marked().items() if number not in known} == {}


def test_no_two_rows_say_the_same():
    cases = Counter(row.case for row in rows())
    assert [case for case, count in cases.items() if count > 1] == []


def marks_elsewhere(path: Path) -> list[int]:
    """Return the lines of marks that are not on a test function, where `marked` would miss them."""
    tree = ast.parse(path.read_text())
    read = {
        id(mark.func)
        for test in ast.walk(tree)
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
        for mark in test.decorator_list
        if isinstance(mark, ast.Call)
    }
    marks = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return [
        mark.lineno
        for mark in marks
        if ast.unparse(mark) == "pytest.mark.hostile" and id(mark) not in read
    ]


def test_every_mark_is_read():
    found = {path.name: marks_elsewhere(path) for path in TESTS.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "pytestmark = pytest.mark.hostile(1)",
        "CASES = [pytest.param(3, marks=pytest.mark.hostile(1))]",
        "@pytest.mark.hostile(1)\ndef helper(): pass",
    ],
)
def test_a_mark_that_is_not_read_is_found(text, tmp_path):
    path = tmp_path / "test_some.py"
    path.write_text(f"import pytest\n{text}\n@pytest.mark.hostile(2)\ndef test_one(): pass\n")
    assert marks_elsewhere(path) == [2]
    assert marked(tmp_path).get(2) == ["test_some.py::test_one"]


def test_rows_and_marks_are_read_from_any_folder(tmp_path):
    (tmp_path / "one.toml").write_text(
        'title = "One"\n[[rows]]\nnumber = 2\ncase = "b"\nreason = "r"\nremedy = "m"\n'
        '[[rows]]\nnumber = 1\ncase = "a"\nanswer = "an answer"\n'
    )
    first, second = rows(tmp_path)
    assert (first.number, first.section, first.is_promised) == (1, "One", True)
    assert (second.number, second.is_promised, second.remedy) == (2, False, "m")
