"""W&B offline and Trackio's local database, read back."""

import json
import sqlite3
import struct
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from logged_runs import expected, recorded

from actstats import ActivationRecorder, make_mlp
from actstats.integrations._bins import bins_at_most
from actstats.integrations.wandb import MOST_BINS, TrackioFeed, WandbFeed

# ---- W&B -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    """An offline run, and a function that ends it and reads its rows."""
    wandb = pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    with wandb.init(project="actstats", settings=wandb.Settings(x_disable_stats=True)) as run:
        yield run


def rows(run):
    """What the file of an offline run holds, as dictionaries."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    run.finish()
    wandb.teardown()  # ends the process that writes the file
    records = map(Record.FromString, payloads(Path(run.settings.sync_file).read_bytes()))
    return [row(r.history.item) for r in records if r.WhichOneof("record_type") == "history"]


def row(items):
    found = {}
    for item in items:
        name, *part = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if part:  # of a histogram: "bins" or "values"
            found.setdefault(name, {})[part[0]] = value
        else:
            found[name] = value
    return found


def payloads(data):
    """Yield the records of a log in LevelDB's format: blocks of 32 KiB, after 7 bytes of W&B's."""
    whole, at = b"", 7
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)  # after the checksum
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # full, or the last part
            yield whole
            whole = b""


def test_wandb_holds_figures_and_histograms_by_our_step(run):
    recorder = recorded(WandbFeed(strict=True, own_rows=True))
    found = rows(run)
    assert [row["actstats/step"] for row in found] == [1, 3, 5]
    for tag, values in expected(recorder, "std").items():
        assert [(row["actstats/step"], row[tag]) for row in found if tag in row] == values
    for window in recorder.recording.windows:
        (row,) = [
            row
            for row in found
            if row["actstats/step"] == window.last_step
            and f"actstats/histogram/{window.phase}/out" in row
        ]
        for site, stats in window.items():
            kept = row[f"actstats/histogram/{window.phase}/{site}"]
            counts, edges = bins_at_most(stats, MOST_BINS)
            assert kept["values"] == counts.tolist()
            assert kept["bins"] == edges.tolist()
            assert sum(kept["values"]) == stats.finite_count
    assert [row["actstats/step"] for row in found if "actstats/findings" in row] == [5]
    assert "dead" in found[-1]["actstats/findings"]


def test_wandb_takes_fine_histograms_coarser(run):
    recorded(WandbFeed(strict=True, figures=()), steps=2, resolution=7)
    (row, *_) = rows(run)
    sizes = [len(v["values"]) for k, v in row.items() if "/histogram/" in k]
    assert len(sizes) == 10
    assert max(sizes) <= MOST_BINS


LOOPS = {  # how a loop of 9 steps logs: when, by which `step=`, and our step in the rows it makes
    "nothing": (lambda step: True, None, list(range(10))),
    "steps": (lambda step: True, lambda step: step, list(range(1, 10))),
    "steps from 1": (lambda step: True, lambda step: step + 1, list(range(10))),
    "every third step": (lambda step: step % 3 == 0, lambda step: step, [3, 6, 9]),
    "epochs of three": (lambda step: step % 3 == 2, lambda step: step // 3, [5, 8, 9]),
}


def logging_loop(run, due, by, **options):
    """Train and evaluate for nine steps beside a loop that logs; return its losses."""
    net = make_mlp(2, [8], 1)
    recorder, losses = ActivationRecorder(net, window=1), []
    with recorder, WandbFeed(run, strict=True, findings=False, **options).attach(recorder):
        for step in range(9):
            net(torch.ones(4, 2))
            recorder.step()
            if due(step):
                losses.append(float(step))
                run.log({"loss": float(step)}, **({} if by is None else {"step": by(step)}))
            net.eval()(torch.ones(4, 2))
            net.train()
    return losses


@pytest.mark.parametrize("loop", LOOPS)
def test_wandb_refuses_nothing_that_the_loop_logs(run, loop):
    due, by, steps = LOOPS[loop]
    losses = logging_loop(run, due, by)
    found = rows(run)
    assert [row["loss"] for row in found if "loss" in row] == losses
    assert [row["actstats/step"] for row in found if "actstats/step" in row] == steps
    for phase in "train", "eval":  # nothing is left out, and nothing is there twice
        tag = f"actstats/histogram/{phase}/fc1"
        assert sum(sum(row[tag]["values"]) for row in found if tag in row) == 9 * 4 * 8


def test_wandb_gets_rows_of_our_own_where_it_is_asked(run):
    logging_loop(run, lambda step: step % 3 == 0, None, own_rows=True)
    found = rows(run)
    assert [row["loss"] for row in found if "loss" in row] == [0.0, 3.0, 6.0]
    for phase, steps in ("train", range(9)), ("eval", range(1, 10)):
        tag = f"actstats/rms/{phase}/fc1"
        assert [row["actstats/step"] for row in found if tag in row] == list(steps)


def test_wandb_says_where_much_is_in_one_row(run, caplog):
    recorded(WandbFeed(run, findings=False, strict=True), steps=40)
    (told,) = [r.getMessage() for r in caplog.records if "one row for what was sent" in r.message]
    assert "WandbFeed(own_rows=True)" in told
    assert [row["actstats/step"] for row in rows(run)] == [39]


def test_wandb_of_several_processes_gets_a_row_for_each_sending():
    pytest.importorskip("wandb", reason="pip install wandb")
    run = SharedRun()
    recorded(WandbFeed(run, findings=False, strict=True))
    assert all(commit for _, commit in run.rows)
    assert [row["actstats/step"] for row, _ in run.rows] == [1, 3, 3, 5]  # 3: both phases


class SharedRun:
    """A run of `mode="shared"`, which needs W&B's server: no step, and rows by `commit` alone."""

    id = "shared"
    settings = SimpleNamespace(mode="shared")

    def __init__(self):
        self.rows = []

    @property
    def step(self):
        raise RuntimeError("a shared run has no step")

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("actstats/*", "actstats/step")

    def log(self, values, commit):
        self.rows.append((values, commit))


def test_another_recorder_takes_the_open_row_over(run):
    feed = WandbFeed(run, findings=False, strict=True)
    for _ in range(2):
        recorded(feed, steps=2)
    (row,) = rows(run)
    assert sum(row["actstats/histogram/train/out"]["values"]) == 2 * 64


def test_wandb_without_a_run_says_what_to_do():
    pytest.importorskip("wandb", reason="pip install wandb")
    with pytest.raises(RuntimeError, match=r"wandb.init\(\)"):
        recorded(WandbFeed(strict=True))


# ---- Trackio -------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path, monkeypatch):
    """Trackio with a database of this test's own; ends the run and reads its rows."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # before it is imported
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    trackio = pytest.importorskip("trackio", reason="pip install trackio")
    trackio.init(project="actstats", name="run", auto_log_cpu=False, auto_log_gpu=False)

    def read():
        trackio.finish()
        with closing(sqlite3.connect(tmp_path / "actstats.db")) as base:
            kept = base.execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
        return [(step, json.loads(metrics)) for step, metrics in kept]

    return read


def test_trackio_holds_figures_and_histograms_by_our_step(database):
    recorder = recorded(TrackioFeed(strict=True))
    found = database()
    assert [step for step, _ in found] == [1, 3, 3, 5, 5]
    for tag, values in expected(recorder, "std").items():
        assert [(step, row[tag]) for step, row in found if tag in row] == values
    for window in recorder.recording.windows:
        for site, stats in window.items():
            tag = f"actstats/histogram/{window.phase}/{site}"
            (kept,) = [row[tag] for step, row in found if step == window.last_step and tag in row]
            counts, edges = bins_at_most(stats, MOST_BINS)
            assert kept["values"] == counts.tolist()
            assert kept["bins"] == edges.tolist()
    assert "dead" in found[-1][1]["actstats/findings"]


def test_trackio_takes_a_run_of_the_users(database):
    import trackio

    run = trackio.context_vars.current_run.get()
    recorded(TrackioFeed(run, strict=True, histograms=False, findings=False), steps=2)
    assert [step for step, _ in database()] == [1]
