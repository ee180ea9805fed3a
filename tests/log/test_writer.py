"""A recording that is saved over an older file: the old one or the new one, never neither."""

import pytest
import torch

import actstats
from actstats import ActivationRecorder, RecordingFileError, make_mlp
from actstats.log import writer


@pytest.fixture
def recording():
    net = make_mlp(2, [4], 1)
    with ActivationRecorder(net) as recorder:
        net(torch.randn(8, 2))
        recorder.step()
    return recorder.recording


@pytest.mark.hostile(115)
def test_the_older_file_is_as_it_was_if_the_new_one_cannot_be_written(
    recording, tmp_path, monkeypatch
):
    path = recording.save(tmp_path / "run.actstats")
    before = path.read_bytes()
    monkeypatch.setattr(writer, "MOST_TEXT", 10)
    with pytest.raises(RecordingFileError, match="longer than 10 characters"):
        recording.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.actstats"]
    assert actstats.load(path)["fc1"].count == recording["fc1"].count


@pytest.mark.hostile(115)
def test_whoever_reads_the_older_file_goes_on_reading_it(recording, tmp_path):
    path = recording.save(tmp_path / "run.actstats")
    before = path.read_bytes()
    recording.metadata["note"] = "a longer file" * 1000
    with path.open("rb") as older:
        recording.save(path)
        assert older.read() == before
    assert path.read_bytes() != before
