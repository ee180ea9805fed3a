"""What is in a file, read back by those who know its format."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from recordings import normal, recording

import actstats
from actstats import Recording, Scalar, TensorStats, Window, export
from actstats.exports import FORMATS, TABLES

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@x",
    "a\nb",
    'quo"te,',
    "half\udc80",
    "\x1b[31m",
    "fc1",
]


@pytest.fixture
def made():
    windows = [{"fc1": normal(seed=i), "act1": normal(seed=i).tanh()} for i in range(2)]
    losses = [{"loss": 1.0}, {"loss": float("nan")}]
    return recording(*windows, activations={"act1": "tanh"}, scalars=losses, steps=10)


@pytest.fixture
def hostile():
    stats = TensorStats.from_tensor(normal())
    scalars = {"=loss": Scalar.of(1.0)}
    return Recording([Window(0, 0, "-phase", dict.fromkeys(HOSTILE, stats), scalars)])


def test_csv_is_the_data_frame(made, tmp_path):
    path = export(made, tmp_path / "x.csv")
    read = pd.read_csv(path, dtype=object)  # as text: pandas 2 reads numbers faster than exactly
    wanted = made.to_pandas()
    assert list(read) == list(wanted)
    assert list(read["site"]) == list(wanted["site"])
    numbers = wanted.columns.drop(["site", "phase"])
    np.testing.assert_array_equal(read[numbers].astype(float), wanted[numbers].to_numpy())


def test_csv_has_an_empty_cell_for_nan_and_unix_lines(made, tmp_path):
    data = export(made, tmp_path / "x.csv").read_bytes()
    assert b"\r" not in data
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert rows[0]["site"] == "fc1"
    assert rows[0]["saturated_fraction"] == ""


@pytest.mark.hostile(118)
def test_csv_holds_no_formula(hostile, tmp_path):
    for table in ("figures", "sites", "scalars"):
        path = export(hostile, tmp_path / "x.csv", tables=table)
        for row in csv.reader(io.StringIO(path.read_text("utf-8"))):
            for cell in row:
                is_number = (
                    cell.lstrip("-").replace(".", "").replace("e", "").replace("-", "").isdigit()
                )
                assert is_number or not cell.startswith(("=", "+", "-", "@"))
    rows = list(csv.DictReader(io.StringIO(export(hostile, tmp_path / "y.csv").read_text("utf-8"))))
    assert [row["site"] for row in rows] == [
        *("'=cmd|' /C calc'!A0", "'+1", "'-1", "'@x", "a\nb", 'quo"te,', r"half\udc80", "\x1b[31m"),
        "fc1",
    ]
    assert rows[0]["phase"] == "'-phase"


def test_parquet_keeps_types_and_names(made, hostile, tmp_path):
    pytest.importorskip("pyarrow")
    wanted = made.to_pandas()
    read = pd.read_parquet(export(made, tmp_path / "x.parquet"))
    assert list(read) == list(wanted)
    assert list(read["site"]) == list(wanted["site"])
    for name in wanted.columns.drop(["site", "phase"]):
        assert read[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(read[name], wanted[name])
    assert json.loads(read.attrs["actstats"])["schema"] == 1
    names = pd.read_parquet(export(hostile, tmp_path / "y.parquet"))["site"]
    assert list(names) == [n.replace("\udc80", r"\udc80") for n in HOSTILE]


def test_parquet_without_pyarrow_says_how_to_install_it(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="python -m pip install pyarrow"):
        export(made, tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.hostile(118)
def test_json_is_strict_ascii_and_exact(made, hostile, tmp_path):
    document = json.loads(
        export(made, tmp_path / "x.json").read_text("ascii"),
        parse_constant=lambda word: pytest.fail(word),
    )
    assert (document["format"], document["schema"]) == ("actstats", 1)
    assert document["actstats"] == actstats.__version__
    assert list(document["tables"]) == ["sites", "figures", "scalars"]
    frame = pd.DataFrame(document["tables"]["figures"])
    wanted = made.to_pandas()
    assert list(frame) == list(wanted)
    np.testing.assert_array_equal(frame["std"], wanted["std"])
    assert frame["saturated_fraction"][0] is None or np.isnan(frame["saturated_fraction"][0])
    assert document["tables"]["scalars"]["last"] == [1.0, None]
    names = json.loads(export(hostile, tmp_path / "y.json").read_text("ascii"))
    assert names["tables"]["sites"]["site"] == HOSTILE


@pytest.mark.hostile(117, 118)
def test_npz_needs_no_pickle_and_names_are_codes(made, hostile, tmp_path):
    path = export(made, tmp_path / "x.npz", tables=["figures", "histograms"])
    with np.load(path, allow_pickle=False) as arrays:
        wanted = made.to_pandas()
        names = arrays["names/site"]
        assert list(names[arrays["figures/site"]]) == list(wanted["site"])
        np.testing.assert_array_equal(arrays["figures/std"], wanted["std"])
        assert arrays["figures/count"].dtype == np.int64
        assert arrays["histograms/count"].sum() == wanted["count"].sum()
        assert json.loads(str(arrays["about"]))["format"] == "actstats"
    with np.load(export(hostile, tmp_path / "y.npz"), allow_pickle=False) as arrays:
        assert list(arrays["names/site"]) == HOSTILE
        assert list(arrays["sites/activation"]) == [-1] * len(HOSTILE)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("table", TABLES)
def test_every_format_holds_every_table_of_anything(format, table, made, hostile, tmp_path):
    for one in (made, hostile, Recording()):
        path = export(one, tmp_path / f"x.{format}", tables=table)
        assert path.stat().st_size > 0


def test_a_format_may_be_said(made, tmp_path):
    path = export(made, tmp_path / "x.txt", "csv")
    assert path.read_text().startswith("window,first_step")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("x.txt", {}, r"`path` must end in one of .csv, .parquet, .json, .npz"),
        ("x", {}, r"got 'x'"),
        ("x.csv", {"format": "CSV"}, r"`format` must be one of .*; got 'CSV'"),
        ("x.csv", {"tables": "figure"}, r"did you mean 'figures'\?"),
        ("x.csv", {"tables": ["sites", "scalars"]}, r"csv holds one table; got sites, scalars"),
        ("x.json", {"tables": []}, r"json holds at least one table; got none"),
    ],
)
def test_wrong_arguments(made, tmp_path, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        export(made, tmp_path / name, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(TypeError, match="`source` must be a recorder"):
        export(3, tmp_path / "x.csv")


@pytest.mark.hostile(115)
def test_a_failure_leaves_the_older_file(made, tmp_path, monkeypatch):
    path = export(made, tmp_path / "x.csv")
    before = path.read_bytes()

    def broken(file, *rest):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setitem(actstats.exports.files._ONE_TABLE, "csv", broken)
    with pytest.raises(OSError, match="disk full"):
        export(made, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_file_has_the_permissions_of_any_other(made, tmp_path):
    path = export(made, tmp_path / "x.csv")
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_missing_folder_is_named(made, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export(made, tmp_path / "nowhere" / "x.csv")


def test_a_recording_on_disk_can_be_exported(made, tmp_path):
    made.save(tmp_path / "x.actstats")
    a = export(tmp_path / "x.actstats", tmp_path / "a.csv").read_bytes()
    assert a == export(made, tmp_path / "b.csv").read_bytes()


def test_the_facade_exports_whatever_was_imported_first():
    code = "import actstats.exports, actstats; print(callable(actstats.export))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"
