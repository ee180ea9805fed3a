"""Where words go: encodings, control characters, progress."""

import io
import json
import math
import sys

import pytest

from actstats.cli.console import Console
from actstats.cli.trend import BLOCKS


class Stream(io.StringIO):
    def __init__(self, encoding="utf-8", terminal=False):
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self):
        return self._encoding

    def isatty(self):
        return self._terminal


@pytest.fixture
def console(monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def make(as_json=False, **options):
        made = Console(as_json)
        made.out, made.err = Stream(**options), Stream(**options)
        return made

    return make


def test_control_characters_are_written_out_and_lines_kept(console):
    to = console()
    to.print("a\x1b[2J\nb\u202e")
    assert to.out.getvalue() == "a\\x1b[2J\nb\\u202e\n"


def test_line_breaks_in_names_are_written_out(console):
    to = console()
    to.print("at x\ny:\nnext", names=["x\ny"])
    assert to.out.getvalue() == "at x\\ny:\nnext\n"


def test_an_encoding_without_a_character_gets_its_escape(console):
    to = console(encoding="cp1252")
    to.print("größe … 日")
    assert to.out.getvalue() == "größe … \\u65e5\n"
    assert not to.can_show(BLOCKS)
    assert console().can_show(BLOCKS)


def test_styles_are_for_terminals(console):
    for terminal, wanted in ((True, "\x1b[31mX\x1b[0m y\n"), (False, "X y\n")):
        to = console(terminal=terminal)
        to.print(("X", "red"), " y")
        assert to.out.getvalue() == wanted


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_styles_can_be_refused(console, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not console(terminal=True).has_colour


def test_styled_text_is_cleaned_too(console):
    to = console(terminal=True)
    to.print(("\x1b[5m", "bold"))
    assert to.out.getvalue() == "\x1b[1m\\x1b[5m\x1b[0m\n"


def test_json_is_all_there_is(console):
    to = console(as_json=True)
    to.print("words")
    to.emit({"a": math.nan, "b": "日\udc80"})
    assert to.out.getvalue().isascii()
    assert json.loads(to.out.getvalue()) == {"a": None, "b": "日\udc80"}


def test_no_json_unasked(console):
    to = console()
    to.emit({"a": 1})
    assert to.out.getvalue() == ""


def test_errors(console):
    to = console()
    assert to.fail("no\x1b", 64) == 64
    assert (to.out.getvalue(), to.err.getvalue()) == ("", "actstats: no\\x1b\n")
    to = console(as_json=True)
    assert to.fail("no", 65) == 65
    assert json.loads(to.out.getvalue()) == {"error": "no", "exit_code": 65}
    assert to.err.getvalue() == ""


def test_a_file_is_told_with_its_size(console, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 3 * 1024 * 1024)
    to = console()
    to.wrote(path)
    assert to.out.getvalue() == f"wrote {path} (3 MiB)\n"


def test_bytes_go_to_text_streams_too(console):
    to = console()
    to.raw("é\n".encode())
    assert to.out.getvalue() == "é\n"


def test_progress_is_for_terminals(console):
    to = console()
    with to.progress("drawing") as progress:
        progress(1, 2)
    assert to.err.getvalue() == ""


def test_progress_tells_what_and_how_far(console):
    pytest.importorskip("rich")
    to = console(terminal=True)
    with to.progress("drawing [x]\x1b") as progress:
        progress(1, 2, "grid")
    shown = to.err.getvalue()
    assert r"drawing [x]\x1b: grid" in shown
    assert "50%" in shown
    assert to.out.getvalue() == ""


def test_what_is_done_is_no_markup(console):
    pytest.importorskip("rich")
    to = console(terminal=True)
    with to.progress("reading [bold]x"):
        pass
    assert "reading [bold]x" in to.err.getvalue()


def test_progress_without_rich_is_a_line(console, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    to = console(terminal=True)
    with to.progress("drawing") as progress:
        progress(1, 2)
    assert to.err.getvalue() == "drawing ...\n"


def test_progress_of_a_failure_lets_it_through(console):
    to = console(terminal=True)
    with pytest.raises(ValueError, match="oh"), to.progress("drawing"):
        raise ValueError("oh")


def test_wrapping_keeps_words_and_indents(console, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    text = "one two three four five six\n  an indented line that is long"
    assert console(terminal=True).wrapped(text, "    ").split("\n") == [
        "one two three four",
        "    five six",
        "  an indented line",
        "      that is long",
    ]
    assert console().wrapped(text) == text
