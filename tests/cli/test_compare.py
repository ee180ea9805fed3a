"""`compare`: the verdict as an exit code, words and JSON."""

import json
from dataclasses import replace

import pytest
from recordings import normal, recording

from actstats import Recording, load
from actstats.cli import main


@pytest.fixture
def other_file(tmp_path):
    windows = [{"fc1": normal(std=3.0, seed=i), "act1": normal(seed=i)} for i in range(3)]
    return recording(*windows, steps=10).save(tmp_path / "other.actstats")


def test_the_same_is_0(run, healthy_file):
    code, out, err = run("compare", healthy_file, healthy_file)
    assert (code, err) == (0, "")
    assert f"a: {healthy_file}, b: {healthy_file}" in out
    assert "identical" in out


def test_apart_is_1_and_says_where(run, healthy_file, other_file):
    code, out, err = run("compare", healthy_file, other_file)
    assert (code, err) == (1, "")
    assert "separate first at fc1" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if "  " in line}
    assert rows["fc1"][1] == "0"
    assert rows["out"][1] == "-"
    std = load(other_file)["fc1"].std - load(healthy_file)["fc1"].std
    assert rows["fc1"][5] == f"{std:+.3g}"


def test_a_part_is_compared(run, healthy_file, other_file):
    code, out, _ = run("compare", healthy_file, other_file, "--site", "out")
    assert code == 0
    assert "fc1" not in out


@pytest.fixture
def two_phases(tmp_path):
    train = recording({"fc1": normal(seed=1)}, steps=10)
    (window,) = recording({"fc1": normal(std=3.0, seed=1)}, steps=10).windows
    both = Recording([*train.windows, replace(window, phase="eval")], train.sites)
    return both.save(tmp_path / "both.actstats")


def test_phases_of_the_two_sides(run, two_phases):
    sides = ("--phase-a", "train", "--phase-b", "eval")
    code, out, err = run("compare", two_phases, two_phases, *sides)
    assert (code, err) == (1, "")
    assert "The two differ at fc1" in out
    assert run("compare", two_phases, two_phases)[0] == 0
    assert run("compare", two_phases, two_phases, "--phase", "train", "--phase-b", "eval")[0] == 1
    assert run("compare", two_phases, two_phases, "--phase-b", "evil")[0] == 64


def test_json(run, healthy_file, other_file):
    code, out, err = run("compare", healthy_file, other_file, "--json")
    told = json.loads(out)
    assert (code, err) == (1, "")
    assert (told["exit_code"], told["separated"]) == (1, True)
    assert (told["a"], told["b"]) == (str(healthy_file), str(other_file))
    assert told["first"]["site"] == "fc1"


def test_80_columns_are_kept_to(terminal, healthy_file, other_file):
    assert main(["compare", str(healthy_file), str(other_file)]) == 1
    plain = terminal.getvalue().replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines()[1:])) <= 80  # the first names the files


def test_what_cannot_be_compared_is_told(run, healthy_file, tmp_path):
    other = recording({"x": normal()}).save(tmp_path / "x.actstats")
    code, out, err = run("compare", healthy_file, other, "--site", "x")
    assert (code, out) == (64, "")
    assert "no site 'x'" in err
