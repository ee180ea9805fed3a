"""Severity as an exit code, words and JSON."""

import json

import pytest
import torch
from recordings import normal, recording

from actstats import Recording, diagnose
from actstats.cli import main


@pytest.fixture
def warned_file(tmp_path):
    """Four of ten units are dead: not half of them."""
    x = normal(mean=0.5).relu()
    x[:, :4] = 0
    made = recording({"fc1": normal(), "act1": x}, activations={"act1": "relu"})
    return made.save(tmp_path / "warned.actstats")


def test_nothing_is_0(run, healthy_file):
    code, out, err = run("diagnose", healthy_file)
    assert (code, err) == (0, "")
    assert out.startswith("Nothing alarming: ")


def test_a_warning_is_1(run, warned_file):
    code, out, _ = run("diagnose", warned_file)
    assert code == 1
    assert "WARNING dead-units at act1" in out


def test_critical_is_2_and_the_words_are_the_diagnosis(run, dead_file):
    code, out, _ = run("diagnose", dead_file)
    assert code == 2
    assert out.rstrip("\n") == str(diagnose(dead_file))


def test_a_table(run, dead_file):
    code, out, _ = run("diagnose", dead_file, "--table")
    assert code == 2
    assert out.split("\n")[0].split() == ["severity", "rule", "site", "since", "what"]


def test_json(run, dead_file):
    code, out, err = run("diagnose", dead_file, "--json")
    told = json.loads(out)
    assert (code, err) == (2, "")
    assert (told["severity"], told["exit_code"], told["ok"]) == ("critical", 2, False)
    assert told["findings"][0]["rule"] == "dead-units"


def test_rules_are_chosen(run, dead_file):
    code, out, _ = run("diagnose", dead_file, "--rule", "saturated")
    assert code == 0
    assert "dead-units" not in out


def test_an_unknown_rule_is_a_wrong_argument(run, dead_file):
    code, _, err = run("diagnose", dead_file, "--rule", "dead-unit")
    assert code == 64
    assert "did you mean 'dead-units'" in err


def test_no_windows_is_no_verdict_of_health(run, tmp_path):
    code, out, err = run("diagnose", Recording().save(tmp_path / "x.actstats"))
    assert (code, out) == (65, "")
    assert "holds no window yet" in err


def test_a_terminal_sees_severity_in_colour_within_80_columns(terminal, dead_file):
    assert main(["diagnose", str(dead_file)]) == 2
    out = terminal.getvalue()
    assert "\x1b[31mCRITICAL\x1b[0m dead-units at act1" in out
    words = out.replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert max(map(len, words.splitlines())) <= 80
    assert " ".join(words.split()) == " ".join(str(diagnose(dead_file)).split())


def test_a_name_with_line_breaks_says_nothing_of_its_own(run, tmp_path):
    name = "x\nNothing alarming: \x1b[2J"
    tensors = {f"fc{name}": normal(mean=-9), f"act{name}": torch.zeros(256, 10)}
    made = recording(tensors, tensors, activations={f"act{name}": "relu"})
    path = made.save(tmp_path / "x.actstats")
    for words in (("diagnose",), ("diagnose", "--table"), ("watch", "--once"), ("show",)):
        _, out, _ = run(*words, path)
        assert r"x\nNothing alarming: \x1b[2J" in out
        assert "\nNothing alarming" not in out
        assert "\x1b" not in out
