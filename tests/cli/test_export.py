"""`export`: formats, tables, where to."""

import json

import numpy as np
import pytest

from actstats import load


def test_the_format_says_the_name(run, healthy_file):
    code, out, err = run("export", healthy_file, "--format", "csv")
    path = healthy_file.with_suffix(".csv")
    assert (code, err) == (0, "")
    assert out.startswith(f"wrote {path} (")
    assert len(path.read_text().splitlines()) == 1 + 3 * 6


def test_the_name_says_the_format(run, healthy_file, tmp_path):
    assert run("export", healthy_file, "-o", tmp_path / "x.npz", "--table", "histograms")[0] == 0
    with np.load(tmp_path / "x.npz") as arrays:
        counts = arrays["histograms/count"]
    assert counts.sum() == sum(stats.count for stats in load(healthy_file).values())


def test_a_part(run, healthy_file):
    _, out, _ = run(
        *("export", healthy_file, "--format", "csv", "-o", "-"),
        *("--site", "act1", "--steps", "0:9"),
    )
    assert [line.split(",")[4] for line in out.splitlines()] == ["site", "act1"]


def test_standard_output_holds_csv_and_json(run, healthy_file):
    code, out, _ = run("export", healthy_file, "--format", "json", "-o", "-")
    assert code == 0
    assert list(json.loads(out)["tables"]) == ["sites", "figures", "scalars"]
    code, out, err = run("export", healthy_file, "--format", "npz", "-o", "-")
    assert (code, out) == (64, "")
    assert "csv and json only" in err
    code, out, _ = run("export", healthy_file, "--format", "csv", "-o", "-", "--json")
    assert (code, json.loads(out)["exit_code"]) == (64, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--format or the ending of --output must be one of csv, parquet, json, npz"),
        (("--format", "cvs"), "no format 'cvs'; did you mean csv?"),
        (("-o", "x.txt"), "must end in one of .csv, .parquet, .json, .npz"),
        (("--format", "csv", "--table", "figure"), "did you mean 'figures'?"),
        (("-o", "x.csv", "--table", "sites", "--table", "scalars"), "csv holds one table"),
        (("--format", "csv", "--site", "nope"), "no site 'nope'"),
    ],
)
def test_wrong_arguments_are_told(run, healthy_file, words, message, monkeypatch):
    monkeypatch.chdir(healthy_file.parent)
    code, out, err = run("export", healthy_file, *words)
    assert (code, out) == (64, "")
    assert message in err
    assert [path.name for path in healthy_file.parent.iterdir()] == [healthy_file.name]


def test_json_tells_the_file(run, healthy_file):
    _, out, _ = run("export", healthy_file, "--format", "json", "--json")
    assert json.loads(out)["path"] == str(healthy_file.with_suffix(".json"))
