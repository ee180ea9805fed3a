"""The table of `show`: golden text, filters, order, width, JSON."""

import json

import pytest
from recordings import normal, recording

from actstats.cli import main


def test_golden_text(run, healthy_file):
    code, out, err = run("show", healthy_file)
    assert (code, err) == (0, "")
    assert out == GOLDEN


GOLDEN = """\
Recording(6 sites x 3 windows, steps 0-29, train)
site       module  calls      mean     std      min     max  zero %  signal %  saturated %  dead %
---------  ------  -----  --------  ------  -------  ------  ------  --------  -----------  ------
fc1        Linear      3   0.01985   1.013   -3.946   4.101     0.0      99.8            -       -
act1       Tanh        3   0.01285   0.631  -0.9993  0.9995     0.0      99.8          3.3       -
fc1:grad   Linear      3  0.009925  0.5066   -1.973   2.051     0.0      99.8            -       -
act1:grad  Tanh        3   0.01787  0.9118   -3.551   3.691     0.0      99.8            -       -
out        Linear      3  -0.02227   1.005   -3.139   3.538     0.0      99.7            -       -
out:grad   Linear      3   0.03857  0.9981   -3.715   3.387     0.0      99.5            -       -
fc1, fc1:grad, act1:grad, out and 1 more: -: not the output of an activation function
act1: -: tanh is never exactly flat, so its units do not die
"""


def names(out):
    """The first word of each row."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("---"))
    rows = []
    for line in lines[start + 1 :]:
        if "  " not in line:
            break
        rows.append(line.split()[0])
    return rows


def test_sites_are_chosen(run, healthy_file):
    _, out, _ = run("show", healthy_file, "--site", "act*", "--site", "*:grad")
    assert names(out) == ["act1", "fc1:grad", "act1:grad", "out:grad"]


def test_an_unknown_site_names_close_ones(run, healthy_file):
    code, out, err = run("show", healthy_file, "--site", "fc1", "--site", "act2")
    assert (code, out) == (64, "")
    assert "no site 'act2'" in err
    assert "did you mean 'act1'" in err


def test_an_unknown_phase_is_told(run, healthy_file):
    code, _, err = run("show", healthy_file, "--phase", "eval")
    assert code == 64
    assert "no phase 'eval'" in err


def test_steps_are_inclusive(run, healthy_file):
    _, out, _ = run("show", healthy_file, "--steps", "9:10")
    assert "x 2 windows, steps 0-19" in out
    _, out, _ = run("show", healthy_file, "--steps", "20:")
    assert "x 1 windows, steps 20-29" in out
    _, out, _ = run("show", healthy_file, "--steps", ":9")
    assert "x 1 windows, steps 0-9" in out
    _, out, _ = run("show", healthy_file, "--steps", "15")
    assert "x 1 windows, steps 10-19" in out


def test_steps_without_a_window_are_an_error(run, healthy_file):
    code, _, err = run("show", healthy_file, "--steps", "30:40")
    assert code == 64
    assert "no window holds a step of '30:40'" in err
    assert "steps 0-29" in err


def test_sorted_by_a_figure_the_largest_first(run, healthy_file):
    _, out, _ = run("show", healthy_file, "--sort", "std")
    assert names(out)[-1] == "fc1:grad"
    _, out, _ = run("show", healthy_file, "--sort", "std", "--reverse")
    assert names(out)[0] == "fc1:grad"


@pytest.mark.parametrize("extra", [(), ("--reverse",)])
def test_a_figure_that_does_not_apply_is_sorted_last(run, healthy_file, extra):
    _, out, _ = run("show", healthy_file, "--sort", "saturated_fraction", *extra)
    assert names(out)[0] == "act1"


def test_columns_are_chosen(run, healthy_file):
    _, out, _ = run("show", healthy_file, "--figures", "rms,gate_openness")
    assert out.splitlines()[1].split() == ["site", "module", "rms", "gate", "openness"]


@pytest.mark.parametrize("option", ["--sort", "--figures"])
def test_an_unknown_figure_names_close_ones(run, healthy_file, option):
    code, _, err = run("show", healthy_file, option, "rmss")
    assert code == 64
    assert "no figure 'rmss'; did you mean rms?" in err


def test_phases_are_a_column_where_there_are_several(run, tmp_path):
    from dataclasses import replace

    made = recording({"fc1": normal()}, {"fc1": normal()})
    first, second = made.windows
    both = type(made)((first, replace(second, phase="eval")), made.sites)
    _, out, _ = run("show", both.save(tmp_path / "x.actstats"))
    assert out.splitlines()[1].split()[:3] == ["site", "module", "phase"]
    assert "train" in out
    assert "eval" in out


def test_80_columns_are_kept_to(terminal, healthy_file):
    assert main(["show", str(healthy_file)]) == 0
    lines = [without_colours(line) for line in terminal.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    shown = "site module mean std signal % saturated % dead %"
    assert lines[1].split() == shown.split()
    assert any("left out" in line and "calls, min, max, zero %" in line for line in lines)


def test_wide_keeps_all_columns(terminal, healthy_file):
    main(["show", str(healthy_file), "--wide"])
    assert "zero %" in terminal.getvalue().splitlines()[1]


def without_colours(line):
    return line.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")


def test_a_terminal_sees_colours_unless_it_refuses(terminal, healthy_file, monkeypatch):
    main(["show", str(healthy_file)])
    assert "\x1b[1m" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    main(["show", str(healthy_file)])
    assert "\x1b" not in terminal.getvalue()


def test_json_has_every_figure_and_null_where_one_does_not_apply(run, healthy_file):
    _, out, err = run("show", healthy_file, "--json")
    told = json.loads(out, parse_constant=lambda word: pytest.fail(word))
    assert err == ""
    assert (told["windows"], told["first_step"], told["last_step"]) == (3, 0, 29)
    sites = {row["site"]: row for row in told["sites"]}
    assert sites["act1"]["count"] == 3 * 2560
    assert sites["act1"]["module_type"] == "Tanh"
    assert sites["fc1"]["saturated_fraction"] is None


HOSTILE = ["fc\x1b[31m", "a\nb", "\u202egpj.exe", "half\udc80", "<script>", "日本"]


@pytest.mark.hostile(118)
def test_hostile_names_are_shown_and_do_nothing(terminal, tmp_path):
    made = recording({name: normal() for name in HOSTILE})
    assert main(["show", str(made.save(tmp_path / "x.actstats")), "--wide"]) == 0
    out = terminal.getvalue()
    for name in (r"fc\x1b[31m", r"a\nb", r"\u202egpj.exe", r"half\udc80", "<script>", "日本"):
        assert name in out
    assert "\x1b[31m" not in out
    assert "\u202e" not in out
    out.encode("utf-8")


def test_hostile_names_are_exact_in_json(run, tmp_path):
    made = recording({name: normal() for name in HOSTILE})
    _, out, _ = run("show", made.save(tmp_path / "x.actstats"), "--json")
    assert out.isascii()
    assert [row["site"] for row in json.loads(out)["sites"]] == [*HOSTILE, "out"]
