"""Where a live display is shown: HTML in place of the one before, or lines of a terminal."""

import importlib
import io
import sys
from types import SimpleNamespace

import pytest

from actstats.cli.view import Line, View
from actstats.live import notebook
from actstats.live.notebook import MOST_SITES, Notebook, is_notebook, page
from actstats.live.terminal import Terminal

NAN = float("nan")
LINES = [
    Line("a<b>", "Tanh", 0.5, [0.1, 0.5], 0.25, NAN, "saturated", "critical"),
    Line("out\x1b", "Linear", NAN, [NAN], NAN, NAN),
]


def view(lines=LINES, **changes):
    given = {
        "figure": "dead_fraction",
        "phase": "<train>",
        "step": 1234,
        "windows": 20,
        "scalars": {"<loss>": (0.125, [0.5, 0.125])},
        "lines": lines,
        "verdict": "saturated at a<b>",
        "severity": "critical",
        "closed": False,
    }
    return View(**given | changes)


# ---- notebooks -----------------------------------------------------------------------------------


def test_html_has_facts_scalars_sites_and_the_verdict():
    text = page(view(), "actstats", "running")
    assert "<b>actstats</b> · step 1,234 · 20 windows · &lt;train&gt; · running" in text
    assert "&lt;loss&gt; <b>0.125</b>" in text
    assert ">50.0</td>" in text
    assert ">25.0</td>" in text
    assert text.count("<tr>") == 3
    assert text.count("#b3261e") == 2  # the finding, and the verdict


def test_html_escapes_names_and_writes_out_what_hides():
    text = page(view(), "<title>", "running")
    assert "a&lt;b&gt;" in text
    assert "out\\x1b" in text
    for name in ("<b>:", "a<b>", "<loss>", "<train>", "<title>", "\x1b"):
        assert name not in text


def test_html_shows_the_gravest_sites_and_how_many_more_there_are():
    healthy = [Line(f"fc{i}", "Linear", 1.0, [1.0], NAN, NAN) for i in range(100)]
    text = page(view([*healthy, *LINES]), "actstats", "running")
    assert text.count("<tr>") == MOST_SITES  # the heading, and one less for what is hidden
    assert f"and {102 - MOST_SITES + 1} more sites" in text
    assert "a&lt;b&gt;" in text


def test_html_lets_long_names_break():
    text = page(view([Line("m" * 90, "Tanh", 0.5, [0.5], NAN, NAN)]), "actstats", "running")
    assert f"{'m' * 40}<wbr>{'m' * 40}<wbr>{'m' * 10}<" in text


def test_html_before_the_first_window_has_no_table():
    nothing = view([], step=-1, windows=0, phase="", scalars={}, severity="", verdict="None yet.")
    text = page(nothing, "actstats", "running")
    assert "no step yet · 0 windows · running" in text
    assert "<table>" not in text


def test_line_of_text_is_there_for_what_shows_no_html():
    text = notebook._bundle(view(), "actstats", "running")["text/plain"]
    assert text == ("actstats: step 1,234, 20 windows, <train>, running. saturated at a<b>")


@pytest.mark.parametrize(
    ("shell", "found"),
    [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)],
)
def test_notebook_is_where_a_kernel_runs(monkeypatch, shell, found):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_notebook() is found


def test_without_ipython_there_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not is_notebook()
    assert "IPython" not in sys.modules


def test_output_is_made_once_and_then_replaced(monkeypatch):
    sent = []
    handle = SimpleNamespace(update=lambda bundle, raw: sent.append(("update", bundle, raw)))

    def show(bundle, *, raw, display_id):
        sent.append(("display", bundle, raw and display_id))
        return handle

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=show))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    surface = Notebook()
    surface.start()
    for state in ("running", "running", "ended"):
        surface.show(view(), "actstats", state)
    surface.stop()
    assert [what for what, _, raw in sent if raw] == ["display", "update", "update"]
    assert "ended" in sent[-1][1]["text/html"]


# ---- terminals -----------------------------------------------------------------------------------


def test_without_rich_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r"needs rich, which the extra torch-actstats\[rich\]"):
        Terminal()


def shown(monkeypatch, *, is_terminal, lines=LINES):
    rich_console = pytest.importorskip("rich.console")
    importlib.import_module("actstats.cli.live")  # it takes the class as it is before
    made = rich_console.Console
    out = io.StringIO()

    def console():
        return made(file=out, force_terminal=is_terminal, width=80, height=24, color_system=None)

    monkeypatch.setattr(rich_console, "Console", console)
    surface = Terminal()
    surface.start()
    for state in ("running", "ended"):
        surface.show(view(lines, figure="rms"), "actstats", state)
    surface.stop()
    return out.getvalue()


def test_file_gets_the_last_view_alone(monkeypatch):
    text = shown(monkeypatch, is_terminal=False)
    assert text.count("step 1,234") == 1
    assert "ended" in text
    assert text.endswith("\n")
    assert "\x1b" not in text


def test_of_many_sites_the_argument_that_chooses_is_named(monkeypatch):
    text = shown(monkeypatch, is_terminal=False, lines=list(LINES) * 40)
    assert "more sites; site= chooses" in text


def test_terminal_is_written_over_and_keeps_the_last_view(monkeypatch):
    text = shown(monkeypatch, is_terminal=True)
    assert text.count("step 1,234") >= 2
    assert "\x1b[1A" in text  # up, to write over
    assert "\x1b[?1049h" not in text  # what the run prints is not hidden by another screen
    assert text.rindex("ended") > text.rindex("running")
    assert "\x1b[?25h" in text  # the cursor is back
