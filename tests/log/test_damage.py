"""A file that is damaged, cut short or forged raises our own error, or says what it always did."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actstats
from actstats import Recording, RecordingFileError, Scalar, TensorStats, Window
from actstats.log import schema, writer
from actstats.log.reader import connect
from actstats.log.writer import Writer, facts_of
from actstats.sites import Site


def stats(seed):
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(seed))
    return {"a": TensorStats.from_tensor(x.relu(), activation="relu")}


RECORDING = Recording(
    [Window(i, i, "train", stats(i), {"loss": Scalar.of(i / 3)}) for i in range(3)],
    {"a": Site("a", module_type="ReLU", activation="relu")},
    ("a note",),
    {"b": "unused"},
    {"seed": 7},
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a closed file, and the two files of a run that was killed; of small pages."""
    folder = tmp_path_factory.mktemp("files")
    closed, live = folder / "closed", folder / "live"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "connect", small_pages)
        RECORDING.save(closed)
        one = Writer(live)
        for window in RECORDING.windows[:2]:
            one.append([window], facts_of(RECORDING))
        one._move(2 * writer.CHECKPOINT)
        one.append(RECORDING.windows[2:], {})
        killed = folder / "killed"
        for end in ("", "-wal"):
            shutil.copy(f"{live}{end}", f"{killed}{end}")
        one.close()
    return closed, killed


def small_pages(path: Path, mode: str, timeout: float = 1.0):
    db = connect(path, mode, timeout)
    db.execute("PRAGMA page_size = 512")
    return db


def everything(recording):
    """Return all that a recording says, as plain numbers and texts."""
    numbers = [
        (w.first_step, w.last_step, w.phase, dict(w.scalars), list(w.stats), w.figures[1])
        for w in recording.windows
    ]
    return [
        repr(numbers),
        [repr(recording[site].histogram(4, (0, 2))) for site in recording],
        [recording[site].quantile([0.1, 0.5, 0.9]).tolist() for site in recording],
        recording.sites,
        recording.never_called,
        recording.metadata,
    ]


def test_the_files_are_whole(files):
    for file in files:
        assert everything(actstats.load(file)) == everything(RECORDING)
        assert actstats.load(file).notes[0] == "a note"


def put(folder: Path, data: dict[str, bytes]) -> Path:
    for end, content in data.items():
        (folder / f"run{end}").write_bytes(content)
    return folder / "run"


def contents(file: Path) -> dict[str, bytes]:
    ends = [end for end in ("", "-wal") if Path(f"{file}{end}").exists()]
    return {end: Path(f"{file}{end}").read_bytes() for end in ends}


@pytest.fixture
def no_wait(monkeypatch):
    monkeypatch.setattr("actstats.log.reader.TRIES", 0)


@pytest.mark.hostile(116)
@pytest.mark.parametrize(("which", "stride"), [(0, 1), (1, 5)], ids=["closed", "killed"])
@pytest.mark.usefixtures("no_wait")
def test_a_flipped_bit_at_any_byte_is_noticed_or_harmless(files, which, stride, tmp_path):
    want, noticed, harmless = everything(RECORDING), 0, 0
    whole = contents(files[which])
    for end, data in whole.items():
        for place in range(0, len(data), stride):
            changed = bytearray(data)
            changed[place] ^= 1 << (place * 5 % 8)
            run = put(tmp_path, {**whole, end: bytes(changed)})
            try:
                found = everything(actstats.load(run))
            except RecordingFileError:
                noticed += 1
                continue
            assert found == want, f"byte {place} of {end or 'the file'}"
            harmless += 1
            for side in tmp_path.glob("run-shm"):
                side.unlink()
    assert noticed > 1000 // stride, "what is there; harmless are gaps between rows"
    assert harmless


@pytest.mark.hostile(116)
@pytest.mark.usefixtures("no_wait")
def test_a_file_cut_short_anywhere_is_refused(files, tmp_path):
    data = files[0].read_bytes()
    for n in range(0, len(data), 7):
        with pytest.raises(RecordingFileError):
            actstats.load(put(tmp_path, {"": data[:n]}))


@pytest.mark.usefixtures("no_wait")
def test_a_side_file_cut_short_is_one_of_a_run_killed_earlier(files, tmp_path):
    whole, seen = contents(files[1]), set()
    for n in (*range(0, len(whole["-wal"]), 7), len(whole["-wal"])):
        run = put(tmp_path, {**whole, "-wal": whole["-wal"][:n]})
        windows = actstats.load(run).windows
        seen.add(len(windows))
        for got, want in zip(windows, RECORDING.windows, strict=False):
            np.testing.assert_array_equal(got.stats.dense, stats_table(want).dense)
    assert seen == {2, 3}


def stats_table(window):
    return actstats.table.SiteTable.from_stats(window.stats)


# ---- what can be had of it all the same ----------------------------------------------------------


@pytest.mark.hostile(116)
def test_what_is_whole_can_be_salvaged(files, tmp_path):
    data = bytearray(files[0].read_bytes())
    numbers = actstats.log.codec.encode(stats_table(RECORDING.windows[2]))
    place = data.find(numbers[40:60])
    assert place > 0
    data[place] ^= 1
    run = put(tmp_path, {"": bytes(data)})
    with pytest.raises(RecordingFileError, match="window 3 is damaged or missing"):
        actstats.load(run)
    found = actstats.load(run, salvage=True)
    assert [w.first_step for w in found.windows] == [0, 1]
    assert found["a"].count == 160
    assert "read in part from run: window 3 is damaged" in found.notes[-1]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE head SET closed = 7", "UPDATE facts SET value = '{}' WHERE name = 'metadata'"],
)
def test_a_damaged_fact_or_head_costs_no_window(files, tmp_path, statement):
    found = actstats.load(changed(files, tmp_path, statement), salvage=True)
    assert len(found.windows) == 3
    assert found["a"].count == 240
    assert "read in part" in found.notes[-1]


def test_a_lost_side_file_is_told_and_can_be_done_without(files, tmp_path):
    run = put(tmp_path, {"": files[1].read_bytes()})
    with pytest.raises(RecordingFileError, match=r"side file run-wal, .* is not beside it"):
        actstats.load(run)
    assert len(actstats.load(run, salvage=True).windows) == 2


def test_a_damaged_side_file_is_told_and_can_be_done_without(files, tmp_path):
    whole = contents(files[1])
    side = bytearray(whole["-wal"])
    side[-100] ^= 4
    run = put(tmp_path, {**whole, "-wal": bytes(side)})
    with pytest.raises(RecordingFileError, match=r"run-wal is damaged from byte \d+ on"):
        actstats.load(run)
    assert len(actstats.load(run, salvage=True).windows) == 2


# ---- what is no recording ------------------------------------------------------------------------


def test_no_file_and_no_recording(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        actstats.load(tmp_path / "none")
    with pytest.raises(RecordingFileError, match="is no file"):
        actstats.load(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(RecordingFileError, match="no recording of actstats"):
        actstats.load(tmp_path / "empty")


def changed(files, tmp_path, *statements):
    """Return a copy of the closed file that somebody has edited with SQL."""
    run = tmp_path / "run"
    shutil.copy(files[0], run)
    with closing(sqlite3.connect(run, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    return run


@pytest.mark.hostile(116)
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 99", "has version 99 of the format"),
        ("CREATE TABLE more (x)", "tables are not those of a recording"),
        ("CREATE TRIGGER t INSERT ON windows BEGIN SELECT 1; END", "tables are not those"),
        ("DELETE FROM windows WHERE number = 3", "3 windows were written and 2 are there"),
        ("DELETE FROM windows WHERE number = 1", "window 1 is damaged or missing"),
        ("UPDATE windows SET last_step = 5 WHERE number = 2", "window 2 is damaged"),
        ("UPDATE windows SET first_step = 'x' WHERE number = 1", "steps are damaged"),
        ("UPDATE windows SET phase = x'ff' WHERE number = 1", "text in the file is damaged"),
        ("UPDATE windows SET numbers = 5 WHERE number = 1", "numbers are damaged"),
        ("DELETE FROM facts WHERE name = 'sites'", "facts are missing or damaged"),
        ("UPDATE facts SET value = '{}' WHERE name = 'sites'", "the fact 'sites' is damaged"),
        ("DELETE FROM head", "head is damaged"),
        ("UPDATE head SET windows = 2", "head is damaged"),
        ("INSERT INTO head VALUES (2, 0, x'', x'', 0, x'')", "head is damaged"),
    ],
)
@pytest.mark.usefixtures("no_wait")
def test_an_edited_file_is_refused(files, tmp_path, statement, message):
    with pytest.raises(RecordingFileError, match=message):
        actstats.load(changed(files, tmp_path, statement))


# ---- forged: every digest is right, what they guard is not ---------------------------------------


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
texts = json_values.map(schema.to_json) | st.text(st.characters(max_codepoint=127), max_size=20)


class Forger(Writer):
    """Writes facts and rows as they are given, with digests that are right."""

    def forge(self, facts, rows=()):
        change = writer._Change(self.known, {})
        for name, text in facts.items():
            change._fact(name, text)
        for row in rows:
            change._windows, change._last = row.number, row.digest(change._last)
            change.rows.append((*row, change._last))
        with self._transaction(change.known(closed=True)) as db:
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", change.facts)
            db.executemany("INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?)", change.rows)


def read_all(path):
    """Read everything there is to read; only our own error may come of it: then None."""
    try:
        found = actstats.load(path)
        everything(found)
    except RecordingFileError:
        return None
    return found


@pytest.mark.hostile(117)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(name=st.sampled_from(["sites", "notes", "never_called", "metadata", "layout 0"]), text=texts)
def test_forged_facts_raise_our_own_error_or_nothing(tmp_path_factory, name, text):
    folder = tmp_path_factory.mktemp("forged")
    forger = Forger(folder / "run")
    forger.append(RECORDING.windows, facts_of(RECORDING))
    forger.forge({name: text})
    forger.close()
    found = read_all(folder / "run")
    if found is not None:  # what is beside the numbers does not change them
        counts = [window.figure("count") for window in found.windows]
        assert counts == [window.figure("count") for window in RECORDING.windows]


@pytest.mark.hostile(117)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    scalars=texts,
    phase=st.text(st.characters(max_codepoint=127), max_size=5),
    layout=st.sampled_from([0, 1, -1, 2**62]),
    step=st.integers(-(2**63), 2**63 - 1),
    numbers=st.binary(max_size=60),
)
def test_forged_rows_raise_our_own_error_or_nothing(
    tmp_path_factory, scalars, phase, layout, step, numbers
):
    folder = tmp_path_factory.mktemp("forged")
    forger = Forger(folder / "run")
    forger.append(RECORDING.windows, facts_of(RECORDING))
    forger.forge({}, [schema.Row(4, step, step, phase, layout, scalars, numbers)])
    forger.close()
    assert read_all(folder / "run") is None


@pytest.mark.hostile(117)
def test_json_that_is_nested_too_deeply_is_refused():
    with pytest.raises(RecordingFileError, match="no JSON"):
        schema.from_json("[" * 100_000)
