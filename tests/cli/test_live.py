"""The live table, as a terminal shows it."""

import io
from dataclasses import replace

import pytest

rich_console = pytest.importorskip("rich.console")

from actstats.cli.live import render, screen  # noqa: E402, after what may skip it
from actstats.cli.trend import ASCII  # noqa: E402
from actstats.cli.view import Line, View  # noqa: E402


def line(site, severity="", rule="", module="Tanh"):
    return Line(site, module, 0.5, [0.1, 0.5], 0.25, float("nan"), rule, severity)


VIEW = View(
    figure="rms",
    phase="train",
    step=1234,
    windows=20,
    scalars={"loss": (0.125, [0.5, 0.25, 0.125])},
    lines=[line("act1"), line("act2", "critical", "saturated"), line("act3", "warning", "x")],
    verdict="saturated at act2: 25 % of the values lie where tanh is flat.",
    severity="critical",
    closed=False,
)


def text(view, width=80, height=24, **options):
    on = rich_console.Console(file=io.StringIO(), width=width, height=height, color_system=None)
    on.print(render(view, "run.actstats", width, height, **options))
    return on.file.getvalue()


def test_golden_text():
    assert [row.rstrip() for row in text(VIEW).splitlines()] == [
        "run.actstats  step 1,234  20 windows  train  Ctrl-C ends",
        "loss 0.125 █▃▁",
        "site  rms  trend  sat %  dead %  finding",
        "act1  0.5  ▁█      25.0       -",
        "act2  0.5  ▁█      25.0       -  saturated",
        "act3  0.5  ▁█      25.0       -  x",
        "",
        "critical: saturated at act2: 25 % of the values lie where tanh is flat.",
    ]


def test_findings_have_the_colour_of_their_severity(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    on = rich_console.Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system="standard"
    )
    on.print(render(VIEW, "run.actstats", 80, 24))
    out = on.file.getvalue()
    assert "\x1b[1;31msaturated" in out
    assert "\x1b[33mx" in out
    assert "\x1b[1;31mcritical: " in out


def test_the_end_is_said():
    assert "the run has ended" in text(replace(VIEW, closed=True))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (40, 8), (200, 60)])
def test_it_fits_any_terminal(width, height):
    many = [
        line(f"encoder.layers.{i}.attention.self.query", rule="vanishing-gradient")
        for i in range(300)
    ]
    verdict = " ".join([VIEW.verdict] * 20)
    shown = text(replace(VIEW, lines=many, verdict=verdict), width, height).splitlines()
    assert len(shown) == height
    assert max(map(len, shown)) <= width
    assert shown[-1].endswith("…")


def test_the_gravest_sites_stay_where_there_are_too_many():
    many = [line(f"fc{i}") for i in range(100)] + [line("last", "critical", "saturated")]
    shown = text(replace(VIEW, lines=many))
    assert "last" in shown
    assert "fc1 " in shown
    kept = sum(row.startswith(("fc", "last")) for row in shown.splitlines())
    assert f"and {101 - kept} more sites; --site chooses" in shown


def test_names_do_nothing_to_the_terminal():
    shown = text(
        replace(VIEW, lines=[line("a\x1b[31m\n[bold]b")], scalars={"[red]x\x1b": (1, [1])})
    )
    assert r"a\x1b[31m\n[bold]b" in shown
    assert r"[red]x\x1b" in shown
    assert "\x1b" not in shown


def test_ascii_where_there_are_no_blocks():
    assert text(VIEW, bars=ASCII).isascii()


def test_the_screen_is_given_back_with_the_last_view_on_it(terminal):
    from actstats.cli.console import Console

    with screen(Console(), "run.actstats") as show:
        show(VIEW)
        show(replace(VIEW, step=1235))
    out = terminal.getvalue()
    assert out.count("\x1b[?1049h") == out.count("\x1b[?1049l") == 1
    after = out.rpartition("\x1b[?1049l")[2]
    assert "1,235" in after
    assert "1,234" not in after
    assert "no longer watched" in after
    assert "Ctrl-C ends" not in after
