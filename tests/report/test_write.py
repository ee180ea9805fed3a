"""From a recording to a file: what is taken, what is refused, how far it is."""

import os
from pathlib import Path

import pytest
import torch

import actstats
from actstats import ActivationRecorder, Recording, make_mlp
from actstats.report import render, write_report
from report_samples import healthy, read, sick


def test_write_gives_the_path_of_a_whole_page(tmp_path):
    path = write_report(healthy(), tmp_path / "a report.html")
    assert path == tmp_path / "a report.html"
    assert path.read_bytes() == render(healthy()).encode()
    assert list(tmp_path.iterdir()) == [path]


def test_default_name_lies_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_report(healthy()) == Path("report.html")
    assert (tmp_path / "report.html").is_file()


def test_recorder_and_window_are_sources_too():
    net = make_mlp(2, [8, 8], 1)
    with ActivationRecorder(net) as recorder:
        net(torch.randn(64, 2))
        assert "act1" in render(recorder)
    assert "act1" in render(healthy().windows[0])


def test_file_is_a_source_too(tmp_path):
    given = sick()
    given.save(tmp_path / "run.actstats")
    assert render(tmp_path / "run.actstats") == render(given)
    assert "h1" in render(str(tmp_path / "run.actstats"))


def test_facade_leads_to_the_report():
    assert actstats.report.write_report is write_report


def test_file_that_is_there_is_kept_when_something_fails(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(healthy(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_plain_file_is_written_into():
    null = Path(os.devnull)
    write_report(healthy(), null)
    assert not null.is_file()  # still the device that it was
    assert null.exists()


def test_missing_folder_and_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder that is there; .*nowhere.* Make it first"):
        write_report(healthy(), tmp_path / "nowhere" / "report.html")
    with pytest.raises(IsADirectoryError, match="must name a file"):
        write_report(healthy(), tmp_path)


def test_empty_recording_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"nothing was recorded\. Run a forward"):
        render(Recording())


def test_unknown_source_and_phase_are_refused():
    with pytest.raises(TypeError, match="`source` must be a recorder"):
        render(3)
    with pytest.raises(KeyError, match="no phase 'evil'"):
        render(healthy(), phase="evil")


def test_progress_goes_from_nothing_to_all():
    told = []
    render(sick(), progress=lambda done, total, what: told.append((done, total, what)))
    done, totals, what = zip(*told, strict=True)
    assert list(done) == list(range(totals[0] + 1))
    assert set(totals) == {done[-1]}
    assert what[0] == "diagnosis"
    assert "histograms of act1 to act8" in what
    assert what[-1] == "done"


def test_recording_is_the_same_afterwards():
    before = [window.figures[1]["std"].tolist() for window in sick().windows]
    render(sick())
    assert [window.figures[1]["std"].tolist() for window in sick().windows] == before


def test_gradients_alone_make_a_report():
    page = read(render(sick().select(site="*:grad")))
    assert page.one("table", id="table").one("tbody").find("tr")
    assert "No outputs were recorded" in page.one("section", id="distributions").text
    assert [h.text for h in page.one("section", id="time").find("h3")] == ["loss", "Gradients"]
