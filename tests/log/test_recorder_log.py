"""A recorder that writes a file, as its users see it."""

import gc
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import actstats
from actstats import ActivationRecorder, RecordingFileError, make_mlp
from actstats.log.live import Log
from claims import assert_identical
from interrupts import interrupted_at


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.actstats"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return make_mlp(2, [5, 5], 1, activation="relu")


def train(net, recorder, steps=4):
    for i in range(steps):
        net(torch.randn(8, 2))
        recorder.step(loss=i / 3)


def assert_same(got, want):
    assert [repr(w) for w in got.windows] == [repr(w) for w in want.windows]
    for a, b in zip(got.windows, want.windows, strict=True):
        assert a.scalars == b.scalars
        for site in b:
            assert_identical(a[site], b[site], site=site)
    assert got.sites == want.sites


def side_files(path):
    return sorted(p.name for p in path.parent.iterdir() if p.name != path.name)


def test_the_file_holds_what_the_recorder_does(net, path):
    with ActivationRecorder(net, log=path, capture=("output", "input")) as recorder:
        train(net, recorder)
        want = recorder.recording
        assert_same(actstats.load(path), want)
    assert_same(actstats.load(path), want)
    assert actstats.load(path).metadata == recorder.metadata
    assert side_files(path) == []


def test_every_closed_window_is_there_at_once_for_others_to_read(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        for step in range(5):
            net(torch.randn(8, 2))
            recorder.step()
            assert actstats.load(path).windows[-1].last_step == step
        [note] = actstats.load(path).notes
        assert "was not closed" in note
    assert actstats.load(path).notes == ()


def test_a_long_run_has_fine_windows_in_the_file_and_merged_ones_in_memory(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 150)
        kept = recorder.recording
    found = actstats.load(path)
    assert len(found.windows) > len(kept.windows)
    assert [w.first_step for w in found.windows[:64]] == list(range(64))
    covered = [s for w in found.windows for s in range(w.first_step, w.last_step + 1)]
    assert covered == list(range(150))
    for site in kept:
        assert (found[site].count, found[site].zeros) == (kept[site].count, kept[site].zeros)


def test_windows_of_fixed_width_lie_in_the_file_alone(net, path):
    recorder = ActivationRecorder(net, log=path, window=2)
    beside = ActivationRecorder(net, window=2)
    with recorder, beside:
        for _ in range(80):
            net(torch.randn(8, 2))
            recorder.step(loss=1.0)
            beside.step(loss=1.0)
        assert len(recorder._run.windows) <= 16
        assert_same(recorder.recording, beside.recording)
        for site in beside:
            assert recorder[site].count == beside[site].count
            np.testing.assert_allclose(recorder[site].var, beside[site].var, rtol=1e-12)
    assert_same(actstats.load(path), beside.recording)


def test_phases_share_a_file(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        net(torch.randn(8, 2))
        net.eval()
        net(torch.randn(3, 2))
        recorder.step()
    found = actstats.load(path)
    assert found.phases == ("train", "eval")
    assert found.select(phase="eval")["fc1"].count == 15


def test_detaching_closes_the_open_window_and_attaching_goes_on(net, path):
    recorder = ActivationRecorder(net, log=path, window=10)
    with recorder:
        train(net, recorder, 3)
    assert [(w.first_step, w.last_step) for w in actstats.load(path).windows] == [(0, 2)]
    with recorder:
        train(net, recorder, 2)
    assert [(w.first_step, w.last_step) for w in actstats.load(path).windows] == [(0, 2), (3, 4)]
    assert recorder["fc1"].count == actstats.load(path)["fc1"].count == 5 * 40


def test_a_pause_closes_no_window(net, path):
    with ActivationRecorder(net, log=path, window=10) as recorder:
        train(net, recorder, 3)
        with recorder.paused():
            pass
        assert actstats.load(path).windows == ()
        train(net, recorder, 7)
        assert len(actstats.load(path).windows) == 1


def test_a_forward_without_a_step_is_there_in_the_end(net, path):
    with ActivationRecorder(net, log=path):
        net(torch.randn(8, 2))
    assert actstats.load(path)["fc1"].count == 40


def test_a_recorder_that_is_dropped_leaves_all_it_saw(net, path):
    recorder = ActivationRecorder(net, log=path, window=10).attach()
    train(net, recorder, 3)
    del recorder
    gc.collect()
    assert actstats.load(path)["fc1"].count == 120
    assert side_files(path) == []


@pytest.mark.hostile(103)
def test_a_script_that_ends_leaves_all_it_saw(path):
    run = textwrap.dedent(
        """
        import sys, torch, actstats
        net = actstats.make_mlp(2, [5], 1)
        recorder = actstats.ActivationRecorder(net, log=sys.argv[1], window=10).attach()
        for _ in range(3):
            net(torch.zeros(8, 2))
            recorder.step()
        """
    )
    subprocess.run([sys.executable, "-c", run, path], check=True)
    assert actstats.load(path)["fc1"].count == 120
    assert actstats.load(path).notes == ()


# ---- going on ------------------------------------------------------------------------------------


def test_a_second_run_goes_on_in_the_file(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 3)
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 2)
    found = actstats.load(path)
    assert [w.first_step for w in found.windows] == [0, 1, 2, 3, 4]
    assert found["fc1"].count == 5 * 40


def test_a_run_from_a_checkpoint_drops_the_windows_behind_it(net, path, caplog):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 3)
        state = recorder.state_dict()
        train(net, recorder, 4)
    again = ActivationRecorder(net, log=path)
    again.load_state_dict(state)
    with again:
        train(net, again, 1)
    found = actstats.load(path)
    assert [w.first_step for w in found.windows] == [0, 1, 2, 3]
    assert "4 windows from step 3 on" in caplog.text
    assert found["fc1"].count == again["fc1"].count == 4 * 40


def test_a_file_that_was_opened_and_never_written_to_is_whole(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 3)
    recorder = ActivationRecorder(net, log=path)
    assert len(actstats.load(path).windows) == 3
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    with pytest.raises(RecordingFileError, match=r"side file copy-wal, .* is not beside it"):
        actstats.load(copy)
    recorder.detach()
    assert actstats.load(path).notes == ()


def test_a_run_may_say_itself_where_it_goes_on(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 5)
    with ActivationRecorder(net, log=path) as recorder:
        net(torch.randn(8, 2))
        recorder.step(step=2)
        with pytest.raises(ValueError, match="`step` must be an integer of at least 3; got 2"):
            recorder.step(step=2)
    assert [w.first_step for w in actstats.load(path).windows] == [0, 1, 2]


def test_a_step_that_is_refused_or_sees_nothing_removes_nothing(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 5)
    with ActivationRecorder(net, log=path) as recorder:
        with pytest.raises(ValueError, match="scalar `loss` must be a number"):
            recorder.step(step=0, loss="oops")
        recorder.step(step=0)
    assert len(actstats.load(path).windows) == 5


def test_forgetting_in_every_epoch_removes_nothing(net, path):
    recorder = ActivationRecorder(net, log=path)
    with recorder:
        train(net, recorder, 4)
        recorder.reset()
        with pytest.raises(ValueError, match="`step` must be an integer of at least 4"):
            recorder.step(step=0)
        train(net, recorder, 4)
    assert [w.first_step for w in actstats.load(path).windows] == list(range(8))


def test_a_window_that_spans_the_step_stays_and_is_named(net, path, caplog):
    with ActivationRecorder(net, log=path, window=10) as recorder:
        train(net, recorder, 30)
    with ActivationRecorder(net, log=path, window=10) as recorder:
        net(torch.randn(8, 2))
        recorder.step(step=15)
    spans = [(w.first_step, w.last_step) for w in actstats.load(path).windows]
    assert spans == [(0, 9), (10, 19), (15, 15)]
    assert "1 windows from step 15 on are of a run that ended" in caplog.text
    assert "the window of steps 10 to 19 stays" in caplog.text


def test_windows_that_wait_are_rewound_too(net, path, monkeypatch):
    recorder = ActivationRecorder(net, log=path)
    with recorder:
        train(net, recorder, 2)
        state = recorder.state_dict()
        failing = Failing(monkeypatch, OSError("no space"))
        train(net, recorder, 3)
        recorder.load_state_dict(state)
        failing.broken = False
        train(net, recorder, 1)
    assert [w.first_step for w in actstats.load(path).windows] == [0, 1, 2]


def test_a_state_loaded_beside_a_new_file_is_in_it(net, path):
    recorder = ActivationRecorder(net)
    with recorder:
        train(net, recorder, 3)
    again = ActivationRecorder(net, log=path)
    again.load_state_dict(recorder.state_dict())
    with again:
        train(net, again, 1)
    assert [w.first_step for w in actstats.load(path).windows] == [0, 1, 2, 3]


def test_what_an_earlier_run_told_is_kept(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        recorder.metadata["lr"] = 0.1
        train(net, recorder, 2)
    other = nn.Sequential(nn.Linear(2, 3))
    with ActivationRecorder(other, log=path) as recorder:
        recorder.metadata["lr"] = 0.2
        train(other, recorder, 1)
    found = actstats.load(path)
    assert found.sites["act1"].activation == "relu"
    assert found.sites["0"].module_type == "Linear"
    assert found.metadata["lr"] == 0.2
    assert [run["lr"] for run in found.metadata["earlier"]] == [0.1]


def test_a_site_that_comes_late_is_known_at_once(path):
    modules = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.ReLU()})
    with ActivationRecorder(dict(modules), log=path) as recorder:
        for step in range(12):
            y = modules["a"](torch.randn(8, 2))
            if step >= 9:
                modules["b"](y)
            recorder.step()
        found = actstats.load(path)
        assert found.sites["b"].activation == "relu"
        assert found.never_called == {}


def test_what_is_read_is_this_run_in_memory_or_not(net, path):
    with ActivationRecorder(net, log=path, window=1) as recorder:
        train(net, recorder, 20)
    again = ActivationRecorder(net, log=path, window=1)
    with again:
        for n in range(1, 30):
            train(net, again, 1)
            assert len(again.recording.windows) == n
            assert again.recording["act1"].count == again["act1"].count == 40 * n


def test_the_file_is_not_read_again_when_the_recorder_comes_back(net, path, monkeypatch):
    recorder = ActivationRecorder(net, log=path)
    with recorder:
        train(net, recorder, 3)

    def fail(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr("actstats.log.writer.read", fail)
    with recorder:
        train(net, recorder, 3)
    monkeypatch.undo()
    assert len(actstats.load(path).windows) == 6


def test_forgetting_leaves_the_file_as_it_is(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 3)
        recorder.reset()
        train(net, recorder, 1)
    assert [w.first_step for w in actstats.load(path).windows] == [0, 1, 2, 3]


# ---- what happens to files -----------------------------------------------------------------------


def test_a_path_that_can_never_be_a_file_is_refused(net, tmp_path):
    with pytest.raises(ValueError, match="`log` must lie in a folder that exists"):
        ActivationRecorder(net, log=tmp_path / "no" / "run")
    with pytest.raises(ValueError, match="is a folder"):
        ActivationRecorder(net, log=tmp_path)
    with pytest.raises(ValueError, match="`log` must be the path of a file; got 3"):
        ActivationRecorder(net, log=3)


def test_a_file_of_something_else_is_refused_and_stays(net, path):
    path.write_text("precious " * 1000)
    with pytest.raises(RecordingFileError, match="is no recording"):
        ActivationRecorder(net, log=path)
    assert path.read_text() == "precious " * 1000


def test_a_database_of_something_else_is_refused_and_stays(net, path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(RecordingFileError, match="no recording of actstats"):
        ActivationRecorder(net, log=path)
    assert path.read_bytes() == before


class Failing:
    """A writer's `append` that fails while it is told to."""

    def __init__(self, monkeypatch, error):
        self.broken, self.calls = True, 0
        write = actstats.log.writer.Writer.append

        def append(writer, *args, **kwargs):
            self.calls += 1
            if self.broken:
                raise error
            return write(writer, *args, **kwargs)

        monkeypatch.setattr(actstats.log.writer.Writer, "append", append)


@pytest.mark.hostile(115)
@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("database or disk is full"), OSError(30, "Read-only file system")],
)
def test_a_full_disk_does_not_stop_the_run_and_nothing_is_lost(
    net, path, monkeypatch, caplog, error
):
    now = [0.0]
    monkeypatch.setattr("actstats.log.live.time.monotonic", lambda: now[0])
    failing = Failing(monkeypatch, error)
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 20)
        assert failing.calls == 1, "tried again only after a while"
        assert sum("cannot be written" in r.message for r in caplog.records) == 1
        assert any(str(error) in note for note in recorder.recording.notes)
        failing.broken, now[0] = False, 2.0
        train(net, recorder, 1)
        assert "is written again" in caplog.text
        want = recorder.recording
    assert_same(actstats.load(path), want)


@pytest.mark.hostile(111)
def test_windows_that_wait_merge_before_they_fill_the_memory(net, path, monkeypatch):
    Failing(monkeypatch, OSError("no space"))
    recorder = ActivationRecorder(net, log=path, window=1)
    with recorder:
        train(net, recorder, 4)
        log = recorder._run.log
        log.budget = sum(w.nbytes for w in log.pending)
        train(net, recorder, 40)
        assert sum(w.nbytes for w in log.pending) <= log.budget
        assert sum(w["fc1"].count for w in log.pending) == 44 * 40
        assert len(recorder.recording.windows) == 44, "in memory they stay apart"


def test_a_file_that_vanishes_is_written_anew_with_all_it_held(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 5)
        for file in path.parent.iterdir():
            file.unlink()
        train(net, recorder, 5)
        want = recorder.recording
        assert_same(actstats.load(path), want)
    assert_same(actstats.load(path), want)


def test_another_file_in_its_place_is_left_alone(net, path, caplog):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 5)
        for file in path.parent.iterdir():
            file.unlink()
        path.write_text("precious")
        train(net, recorder, 5)
        assert "another file has taken the file's place" in caplog.text
        assert len(recorder.recording.windows) == 10
    assert path.read_text() == "precious"


def test_a_cell_that_is_run_again_goes_on_in_the_file(net, path, caplog):
    recorder = ActivationRecorder(net, log=path, window=10).attach()
    train(net, recorder, 3)
    recorder = ActivationRecorder(net, log=path, window=10).attach()  # the first one is dropped
    train(net, recorder, 3)
    recorder.detach()
    assert [(w.first_step, w.last_step) for w in actstats.load(path).windows] == [(0, 2), (3, 5)]
    assert actstats.load(path)["fc1"].count == 6 * 40
    assert "this run goes on in it, after step 2" in caplog.text
    assert "cannot be written" not in caplog.text


def test_of_two_recorders_on_one_file_the_later_one_has_it(net, path, caplog):
    first, second = ActivationRecorder(net, log=path), ActivationRecorder(net, log=path)
    with first, second:
        for _ in range(3):
            net(torch.randn(8, 2))
            first.step()
            second.step()
        assert any("another recorder" in note for note in first.recording.notes)
    assert len(first.recording.windows) == 3
    assert "3 windows are not in it: another recorder took it over" in caplog.text
    assert len(actstats.load(path).windows) == 3


def test_a_file_that_another_process_writes_to_is_refused(net, path):
    run = textwrap.dedent(
        """
        import sys, torch, actstats
        net = actstats.make_mlp(2, [5], 1)
        recorder = actstats.ActivationRecorder(net, log=sys.argv[1]).attach()
        net(torch.zeros(8, 2))
        recorder.step()
        print("written", flush=True)
        sys.stdin.read()
        """
    )
    command = [sys.executable, "-c", run, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"written\n"
        with pytest.raises(RecordingFileError, match="another process writes to it"):
            ActivationRecorder(net, log=path)
        assert len(actstats.load(path).windows) == 1
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 1)
    assert [w.first_step for w in actstats.load(path).windows] == [0, 1]


def test_a_reader_does_not_hold_the_run_up(net, path, caplog):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 3)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM windows").fetchone()
        train(net, recorder, 3)
        reader.execute("ROLLBACK")
        reader.close()
        want = recorder.recording
    assert_same(actstats.load(path), want)
    assert caplog.records == []


def test_it_works_where_there_is_no_shared_memory(net, path, monkeypatch):
    monkeypatch.setattr("actstats.log.writer.is_remote", lambda path: True)
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 5)
        assert side_files(path) in ([], ["run.actstats-journal"])
        want = recorder.recording
        assert_same(actstats.load(path), want)
    assert_same(actstats.load(path), want)


def test_a_link_leads_to_the_file(net, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    with ActivationRecorder(net, log=link) as recorder:
        train(net, recorder, 2)
        assert len(actstats.load(link).windows) == 2
        with pytest.raises(ValueError, match="a run writes to"):
            recorder.recording.save(link)
    recorder.recording.save(link)
    assert link.is_symlink()
    assert len(actstats.load(path).windows) == 2


def test_windows_from_several_threads_are_all_there(net, path):
    with ActivationRecorder(net, window=1) as recorder:
        train(net, recorder, 1)
    [window] = recorder.recording.windows
    log = Log(path)

    def write(thread):
        for i in range(40):
            step = 1000 * thread + i
            log.append([replace(window, first_step=step, last_step=step)], dict)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close(dict)
    assert log.trouble == ""
    steps = [w.first_step for w in actstats.load(path).windows]
    assert sorted(steps) == [1000 * n + i for n in range(3) for i in range(40)]


def test_metadata_of_any_kind_does_not_stop_the_run(net, path):
    class Silent:
        def __str__(self):
            raise RuntimeError("no")

    with ActivationRecorder(net, log=path) as recorder:
        recorder.metadata["self"] = recorder.metadata
        recorder.metadata.update(silent=Silent(), number=np.float32(0.5), tensor=torch.tensor(3))
        train(net, recorder, 2)
    metadata = actstats.load(path).metadata
    assert (metadata["number"], metadata["tensor"]) == (0.5, 3)
    assert metadata["silent"] == "a Silent that has no text"


def test_what_is_too_large_to_be_read_is_not_written(net, path, caplog, monkeypatch):
    monkeypatch.setattr("actstats.log.writer.MOST_TEXT", 20_000)
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 1)
        recorder.metadata["x"] = "a" * 30_000
        train(net, recorder, 1)
    assert "metadata is longer than" in caplog.text


@pytest.mark.parametrize("step", [-1, 1 << 62, 10**400])
def test_a_step_that_no_file_can_hold_is_refused(net, path, step):
    with (
        ActivationRecorder(net, log=path) as recorder,
        pytest.raises(ValueError, match="`step` must be an integer"),
    ):
        recorder.step(step=step)


def test_something_else_than_a_file_is_refused(net):
    with pytest.raises(ValueError, match="is something else"):
        ActivationRecorder(net, log="/dev/null")


@pytest.mark.hostile(100)
def test_an_interrupt_anywhere_in_a_step_leaves_every_window_once(net, path):
    """Stops a step at each line of our own once, as Ctrl-C may."""
    files = ("run.py", "windows.py", "state.py", "live.py", "writer.py")
    forwards = 2
    kinds = ("output", "input")
    with ActivationRecorder(net, capture=kinds, log=path, window=1, kernel="reference") as recorder:
        train(net, recorder, 2)
        for line in range(1, 700, 7):
            net(torch.randn(8, 2) + 9.0)
            forwards += 1
            interrupted_at(line, recorder.step, files)
        train(net, recorder, 2)
        assert recorder._run.log.trouble == ""
    windows = actstats.load(path).windows
    steps = [w.first_step for w in windows]
    assert steps == sorted(set(steps)), "no window twice"
    assert len(steps) > 40
    assert sum(w["fc1:input"].calls for w in windows) == forwards + 2
    assert min(w["fc1:input"].min for w in windows[2:-2]) > 3.0


@pytest.mark.hostile(99)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_leaves_the_file_alone(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        train(net, recorder, 3)
        child = os.fork()
        if not child:
            try:
                train(net, recorder, 3)
                recorder.detach()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        train(net, recorder, 2)
    assert [w.first_step for w in actstats.load(path).windows] == [0, 1, 2, 3, 4]


@pytest.mark.hostile(97)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_a_step_ends_does_not_wait_for_it(net):
    recorder = ActivationRecorder(net).attach()
    holds, done = threading.Event(), threading.Event()

    def hold():
        with recorder._shared.lock:
            holds.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(30)
    child = os.fork()
    if not child:
        recorder.step()
        str(recorder.summary())
        os._exit(7)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    done.set()
    thread.join()
    recorder.detach()
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 7


@pytest.mark.hostile(118)
def test_names_are_data(path):
    names = ["../../etc/passwd", "a\x00b", "\ud800", "<script>", "=cmd", "A", "a", 'q"uote']
    modules = {name: nn.Linear(2, 2) for name in names}
    with ActivationRecorder(modules, log=path) as recorder:
        for module in modules.values():
            module(torch.randn(3, 2))
        with recorder.phase("\ud800 \n phase"):
            modules["a"](torch.randn(3, 2))
        recorder.step(**{"lo\ud800ss": 1.0})
        want = recorder.recording
    assert_same(actstats.load(path), want)
    assert os.listdir(path.parent) == [path.name]


def test_what_the_user_adds_is_in_the_file(net, path):
    with ActivationRecorder(net, log=path) as recorder:
        recorder.metadata["learning_rate"] = 0.03
        train(net, recorder, 1)
    metadata = actstats.load(path).metadata
    assert metadata["learning_rate"] == 0.03
    assert metadata["seed"] == 0
    assert metadata["versions"]["torch"] == torch.__version__
    assert metadata["model"]["parameters"] == 5 * 3 + 5 * 6 + 6
    assert "fc1" in metadata["model"]["summary"]


def test_a_recorder_with_a_file_says_nothing(net, path, caplog):
    caplog.set_level(logging.DEBUG, "actstats")
    with ActivationRecorder(net, log=path, kernel="reference") as recorder:
        train(net, recorder, 2)
    assert caplog.records == []
