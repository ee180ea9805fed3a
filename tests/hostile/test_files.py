"""Files that are cut off, full, damaged or forged, and names that would like to be more."""

import ast
import html
import logging
import os
import pickle
import random
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

import actstats
from actstats import ActivationRecorder, Recording, RecordingFileError, Scalar, TensorStats, Window
from claims import assert_identical

SOURCE = Path(actstats.__file__).parent
TESTS = Path(__file__).parents[1]


def recording(seed, windows=40):
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(seed))
    stats = {"a": TensorStats.from_tensor(x)}
    return Recording(
        [Window(i, i, "train", stats, {"seed": Scalar.of(seed)}) for i in range(windows)]
    )


def seeds(path):
    """Return which recording a whole file holds."""
    found = actstats.load(path)
    return {window.scalars["seed"].last for window in found.windows}, len(found.windows)


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.hostile(115)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_save_that_is_killed_leaves_the_older_file_or_the_newer(tmp_path):
    path, chance = tmp_path / "run.actstats", random.Random(0)
    some = [recording(seed) for seed in range(3)]
    some[2].save(path)
    saves = set()
    for _ in range(20):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                for i in range(10_000):
                    some[i % 3].save(path)
                    os.write(write, b".")
            finally:
                os._exit(1)
        os.close(write)
        time.sleep(chance.uniform(0.01, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done = len(os.read(read, 65536))
        os.close(read)
        (found,), windows = seeds(path)
        assert windows == 40
        assert found in ((done - 1) % 3, done % 3), f"{done} saves were done"
        saves.add(done)
        some[2].save(path)
    assert len(saves) > 1, "the kills came at different moments"
    some[0].save(path)
    assert seeds(path) == ({0.0}, 40)


@contextmanager
def no_file_longer_than(size):
    """Let no file grow beyond a size, as on a disk that is full."""
    resource = pytest.importorskip("resource")  # POSIX
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def exported(what, path):
    actstats.export(what, path, tables="histograms")


def saved(what, path):
    what.save(path)


def reported(what, path):
    actstats.report.write_report(what, path)


@pytest.mark.hostile(115)
@pytest.mark.parametrize(
    ("write", "name"), [(saved, "x.actstats"), (exported, "x.csv"), (reported, "x.html")]
)
def test_where_there_is_no_space_the_older_file_stays_and_the_user_is_told(write, name, tmp_path):
    path = tmp_path / name
    write(recording(0, windows=3), path)
    before = path.read_bytes()
    with (
        no_file_longer_than(4096),
        pytest.raises((OSError, sqlite3.Error), match=r"File too large|disk"),
    ):
        write(recording(1, windows=400), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]
    place = path.stat().st_ino
    write(recording(1, windows=3), path)
    assert path.read_bytes() != before
    assert path.stat().st_ino != place, "what is new has taken the place, whole"


@pytest.mark.hostile(115)
def test_a_run_goes_on_where_there_is_no_space_and_loses_nothing(tmp_path, monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("actstats.log.live.time.monotonic", lambda: now[0])
    net, path = nn.Sequential(nn.Linear(3, 200), nn.Tanh()), tmp_path / "run"
    recorder = ActivationRecorder(net, log=path, window=1).attach()

    def steps(n):
        for _ in range(n):
            net(torch.randn(8, 3))
            recorder.step()

    with caplog.at_level(logging.WARNING, "actstats"):
        steps(2)
        with no_file_longer_than(path.with_name("run-wal").stat().st_size + 2000):
            steps(20)
            assert any("windows are not in run" in note for note in recorder.recording.notes)
        now[0] = 100.0
        steps(2)
    recorder.detach()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "run cannot be written (" in said[0]
    assert "nothing was lost" in said[1]
    windows = actstats.load(path).windows
    assert [window.first_step for window in windows] == list(range(24))
    assert {window["1"].count for window in windows} == {1600}


@pytest.mark.hostile(115)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("write", [exported, reported])
def test_a_pipe_stays_one_and_gets_what_is_written(write, tmp_path):
    pipe, name, got = tmp_path / "pipe.csv", tmp_path / "x.csv", []
    write(recording(0, windows=1), name)
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write(recording(0, windows=1), pipe)
    reader.join(30)
    assert got == [name.read_bytes()]
    assert pipe.is_fifo()
    with pytest.raises(ValueError, match="must be a file in a folder that exists"):
        recording(0, windows=1).save(pipe)
    assert pipe.is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["pipe.csv", "x.csv"]


@pytest.mark.hostile(115)
def test_an_export_that_cannot_take_its_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        exported(recording(0, windows=1), tmp_path / "x.csv")
    link, path = tmp_path / "link.csv", tmp_path / "y.csv"
    link.symlink_to(path)
    exported(recording(0, windows=1), link)
    assert link.is_symlink()
    assert path.read_text().startswith("window,")
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "x.csv", "y.csv"]


# ---- reading what others give --------------------------------------------------------------------


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def as_pickle(trap, path):
    path.write_bytes(pickle.dumps(trap))


def as_torch_save(trap, path):
    torch.save(trap, path)


def as_text_of_a_recording(trap, path):
    recording(0, windows=1).save(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE windows SET numbers = ?", (pickle.dumps(trap),))
    db.close()


@pytest.mark.hostile(117)
@pytest.mark.parametrize("made", [as_pickle, as_torch_save, as_text_of_a_recording])
@pytest.mark.parametrize("salvage", [False, True])
def test_a_pickle_in_place_of_a_recording_is_never_run(made, salvage, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr("actstats.log.reader.TRIES", 0)
    path, sprung = tmp_path / "run.actstats", tmp_path / "sprung"
    made(Trap(sprung), path)
    try:
        found = actstats.load(path, salvage=salvage)
        assert found.windows == ()
    except RecordingFileError:
        pass
    with pytest.raises(RecordingFileError):
        ActivationRecorder(nn.Linear(2, 2), log=path)
    assert not sprung.exists()


NEVER_USED = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "torch.load", "np.load", "os.system"}
MODULES_OF_THE_NET = {"socket", "http", "urllib", "requests", "ftplib", "smtplib", "subprocess"}


def used_in(path):
    """Yield what a source imports, and the names of what it calls."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            called = ast.unparse(node.func)
            yield f"{called} of weights" if given.get("weights_only") == "True" else called


@pytest.mark.hostile(117)
def test_nothing_in_the_package_unpickles_runs_text_or_opens_a_connection():
    sources = list(SOURCE.rglob("*.py"))
    assert len(sources) > 100
    forbidden = NEVER_USED | NEVER_CALLED | MODULES_OF_THE_NET
    found = {(p.relative_to(SOURCE), name) for p in sources for name in used_in(p)}
    assert [(str(p), name) for p, name in found if name in forbidden] == []
    assert any(name == "sqlite3" for _, name in found), "the search finds imports"
    assert any(name == "sqlite3.connect" for _, name in found), "and calls"


@pytest.mark.hostile(117)
def test_a_database_in_place_of_a_recording_runs_nothing_of_its_own(tmp_path):
    """A view or trigger of the file's would be SQL of somebody else's; extensions are code."""
    path = tmp_path / "run.actstats"
    recording(0, windows=1).save(path)
    db = actstats.log.reader.connect(path, "rw")
    try:
        assert db.execute("PRAGMA trusted_schema").fetchone() == (0,)
        with pytest.raises(sqlite3.Error):
            db.execute("SELECT load_extension('x')")
        db.execute("CREATE VIEW more AS SELECT 1")
    finally:
        db.close()
    with pytest.raises(RecordingFileError, match="tables are not those of a recording"):
        actstats.load(path)


@pytest.mark.hostile(117)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does")
def test_loading_makes_nothing_of_what_a_file_only_claims(tmp_path):
    """Reading takes memory in proportion to the file, whatever sizes are written in it."""
    run = textwrap.dedent(
        """
        import json, resource, sys, actstats
        from pathlib import Path
        from actstats.log import codec, schema, writer
        from actstats.log.writer import Writer
        path = Path(sys.argv[1])
        recording = actstats.load(path)
        forger = Writer(path)
        (text, number), = forger.known.layouts.items()
        layout = json.loads(text)
        layout[0]["width"] = layout[0]["units"] = codec.MOST_WORDS // 6
        change = writer._Change(forger.known, {})
        change._fact(f"layout {number}", schema.to_json(layout))
        with forger._transaction(change.known(closed=True)) as db:
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", change.facts)
        forger.close()
        with open("/proc/self/status") as status:
            (held,) = (int(line.split()[1]) for line in status if line.startswith("VmData"))
        most = 1024 * held + 64 * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        try:
            found = actstats.load(path)
            found["a"].mean
        except actstats.RecordingFileError as error:
            print(error)
        """
    )
    path = tmp_path / "run.actstats"
    recording(0, windows=1).save(path)
    command = [sys.executable, "-c", run, path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "numbers cannot be read" in done.stdout


@pytest.mark.hostile(117)
def test_a_text_or_a_row_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("actstats.log.reader.TRIES", 0)
    path = tmp_path / "run.actstats"
    recording(0, windows=2).save(path)
    with monkeypatch.context() as patch:
        patch.setattr("actstats.log.reader.MOST_BYTES", 1000)
        with pytest.raises(RecordingFileError, match="too big"):
            actstats.load(path)
    parsed = []
    with monkeypatch.context() as patch:
        patch.setattr("actstats.log.reader.MOST_TEXT", 100)
        patch.setattr("actstats.log.schema.json.loads", parsed.append)
        with pytest.raises(RecordingFileError, match="a text in the file is damaged"):
            actstats.load(path)
    assert parsed == []
    assert len(actstats.load(path).windows) == 2


@pytest.mark.hostile(117)
def test_reading_changes_no_byte(tmp_path):
    """Also of a file whose run goes on: readers and the run are apart."""
    closed, live = tmp_path / "closed.actstats", tmp_path / "live.actstats"
    recording(0, windows=3).save(closed)
    net = nn.Linear(2, 2)
    with ActivationRecorder(net, log=live) as recorder:
        net(torch.ones(3, 2))
        recorder.step()
        sides = [live, live.with_name(f"{live.name}-wal")]
        before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in (closed, *sides)]
        for path in (closed, live):
            found = actstats.load(path)
            assert [found[site].mean for site in found]
        after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in (closed, *sides)]
    assert after == before
    assert sorted(os.listdir(tmp_path)) == [closed.name, live.name]


PAGE = SOURCE.parents[1] / "SECURITY.md"


@pytest.mark.hostile(117)
@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no such page")
def test_every_test_that_the_security_page_names_is_there():
    named = re.findall(r"`tests/([\w/.]+)::(\w+)`", PAGE.read_text())
    assert len(named) > 20
    for file, test in named:
        assert f"\ndef {test}(" in (TESTS / file).read_text(), f"{file}::{test}"


# ---- names ---------------------------------------------------------------------------------------

HOSTILE = (
    *("/etc/passwd", "../../up", "a/b", "C:\\x", "nul\x00", "x" * 5000, "two\nlines", "half\udc80"),
    *("=cmd|' /C calc'!A0", "+1", "-1", "@x", "<script>alert(1)</script>", "turned\u202eround"),
    *("A", "a", "module", "_orig_mod", "\x1b[31m", "{{ 7 * 7 }}", "%s", "'; DROP TABLE windows --"),
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose layers have such names, and the folder that it wrote to."""
    folder = tmp_path_factory.mktemp("hostile")
    modules = {name: nn.Linear(2, 2) for name in HOSTILE}
    torch.manual_seed(0)
    with ActivationRecorder(modules, log=folder / "run.actstats", window=1) as recorder:
        for _ in range(3):
            for module in modules.values():
                module(torch.randn(3, 2))
            recorder.step(**{"=loss\udc80": 1.0})
    return recorder, folder


@pytest.mark.hostile(118)
def test_names_are_data_from_the_model_to_the_file_and_back(hostile):
    recorder, folder = hostile
    found = actstats.load(folder / "run.actstats")
    assert tuple(found) == tuple(recorder) == HOSTILE
    for name in HOSTILE:
        assert_identical(found[name], recorder[name], site=name)
    assert [window.scalars["=loss\udc80"].last for window in found.windows] == [1.0] * 3


@pytest.mark.hostile(118)
def test_names_choose_no_file(hostile, tmp_path, monkeypatch):
    recorder, folder = hostile
    assert os.listdir(folder) == ["run.actstats"]
    opened = []
    sys.addaudithook(lambda event, args: opened.append(args) if event == "open" else None)
    monkeypatch.chdir(tmp_path)
    for suffix in ("csv", "json", "npz"):
        actstats.export(recorder, f"run.{suffix}")
    recorder.recording.save("run.actstats")
    actstats.report.write_report(recorder)
    wrote = [
        os.fspath(path)
        for path, mode, flags in opened
        if isinstance(path, str | os.PathLike) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ]
    del opened[:]
    made = {"run.csv", "run.json", "run.npz", "run.actstats", "report.html"}
    assert set(os.listdir(tmp_path)) == made
    names = tuple(made) + tuple(f".{name}" for name in made)
    for path in wrote:
        assert Path(path).name.startswith(names) or ".actstats-" in path, path


@pytest.mark.hostile(118)
def test_names_are_escaped_where_they_are_shown(hostile):
    recorder, _ = hostile
    shown = str(recorder.summary())
    assert not set("\x00\x1b\u202e\udc80") & set(shown)
    assert all("two" in line for line in shown.splitlines() if "lines  " in line), "one line"
    page = recorder.summary()._repr_html_()
    assert "<script>" not in page
    assert html.escape("<script>alert(1)</script>") in page
    diagnosis = actstats.diagnose(recorder)
    compared = actstats.compare(recorder, recorder.recording)
    for told in (shown, page, diagnosis, diagnosis.table(), diagnosis._repr_html_(), compared):
        assert not set("\x00\x1b\u202e\udc80") & set(str(told))
    assert "\\u202e" in str(compared)
