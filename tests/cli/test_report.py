"""`report`: which part of the recording, into which file."""

import json

import pytest

from actstats.report import write


def test_a_page_is_written_beside_the_recording(run, healthy_file):
    code, out, err = run("report", healthy_file)
    path = healthy_file.with_suffix(".html")
    assert (code, err) == (0, "")
    assert out.startswith(f"wrote {path} (")
    page = path.read_text("utf-8")
    assert "healthy.actstats</title>" in page
    assert "act1" in page


def test_a_title_a_place_and_a_part(run, healthy_file, tmp_path):
    path = tmp_path / "r.html"
    words = ("-o", path, "--title", "<lr 0.1>", "--site", "fc1", "--steps", "0:9", "--json")
    code, out, _ = run("report", healthy_file, *words)
    assert code == 0
    assert json.loads(out) == {"path": str(path), "bytes": path.stat().st_size}
    page = path.read_text("utf-8")
    assert "&lt;lr 0.1&gt;" in page
    assert "act1" not in page


def test_progress_is_told(monkeypatch, healthy_file):
    from actstats.cli.console import Console

    seen = []
    monkeypatch.setattr(Console, "progress", lambda self, what: _Told(seen))
    from actstats.cli import main

    assert main(["report", str(healthy_file)]) == 0
    done, total, part = seen[-1]
    assert done == total > 1
    assert isinstance(part, str)


class _Told:
    def __init__(self, seen):
        self.seen = seen

    def __enter__(self):
        return lambda *told: self.seen.append(told)

    def __exit__(self, *error):
        return None


@pytest.mark.parametrize("name", ["healthy.actstats", "sub/r.html", "."])
def test_a_place_that_will_not_do_is_told_before_any_work(run, healthy_file, name, monkeypatch):
    def never(*args, **options):
        raise AssertionError

    monkeypatch.setattr(write, "render", never)
    before = healthy_file.read_bytes()
    code, out, err = run("report", healthy_file, "-o", healthy_file.parent / name)
    assert code in (64, 74)
    assert out == ""
    assert err.startswith("actstats: ")
    assert healthy_file.read_bytes() == before
