"""A run that grows: what is shown, when, and how it ends; no test waits."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from actstats import ActivationRecorder, Recording, load, make_mlp
from actstats.cli import console, main, watch
from actstats.cli.errors import CommandError
from actstats.cli.watch import follow, has_ended, stamp_of


class Run:
    """A run that writes when somebody sleeps."""

    def __init__(self, sizes):
        self.sizes = list(sizes)
        self.now = self.sizes.pop(0)
        self.slept = []
        self.time = 0.0
        self.cost = 0.0  # of a read, in seconds

    def read(self, path):
        self.time += self.cost
        return self.now

    def stamp(self, path):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        if not self.sizes:
            raise KeyboardInterrupt
        self.now = self.sizes.pop(0)

    def follow(self, **options):
        given = {"is_closed": lambda path, found: not self.sizes, **options}
        return follow(
            Path("x"),
            read=self.read,
            stamp=self.stamp,
            sleep=self.sleep,
            clock=lambda: self.time,
            **given,
        )


def test_every_change_is_seen_once():
    run = Run([1, 1, 2, 2, 2, 3])
    assert list(run.follow()) == [(1, False), (2, False), (3, True)]


def test_it_ends_when_the_run_does():
    assert list(Run([1]).follow()) == [(1, True)]


def test_once_is_once():
    assert list(Run([1, 2, 3]).follow(once=True)) == [(1, False)]


def test_it_sleeps_between_looks():
    run = Run([1, 2, 3])
    list(run.follow(interval=2.5))
    assert run.slept == [2.5, 2.5]


def test_slow_reading_makes_rarer_looks():
    run = Run([1, 2, 3])
    run.cost = 1.0
    list(run.follow(interval=0.5))
    assert run.slept == [watch.BUSY, watch.BUSY]


def test_it_waits_for_a_file_if_asked(tmp_path):
    path = tmp_path / "x.actstats"

    def sleep(seconds):
        Recording().save(path)

    found, closed = next(follow(path, wait=True, sleep=sleep))
    assert (len(found.windows), closed) == (0, True)


def test_it_does_not_wait_unasked(tmp_path):
    with pytest.raises(CommandError, match="no file"):
        next(follow(tmp_path / "x.actstats"))


@pytest.fixture
def live(tmp_path):
    """A real run, open: yields the file and what takes a step."""
    path = tmp_path / "live.actstats"
    net = make_mlp(2, [8, 8], 1)
    with ActivationRecorder(net, window=1, log=path) as recorder:

        def step(loss=1.0):
            net(torch.randn(64, 2))
            recorder.step(loss=loss)

        step()
        yield path, step, recorder


def test_an_open_run_has_not_ended_and_a_closed_one_has(live):
    path, _, recorder = live
    assert not has_ended(path, load(path))
    recorder.detach()
    assert has_ended(path, load(path))


def test_a_step_changes_the_stamp(live):
    path, step, _ = live
    before = stamp_of(path)
    assert stamp_of(path) == before
    step()
    assert stamp_of(path) != before


def test_a_real_run_is_followed_to_its_end(live):
    path, step, recorder = live
    actions = [step, step, recorder.detach]
    seen = follow(path, sleep=lambda seconds: actions.pop(0)())
    assert [(len(found.windows), closed) for found, closed in seen] == [
        (1, False),
        (2, False),
        (3, False),
        (3, True),
    ]


def test_lines_where_there_is_no_terminal(run, live):
    path, _, recorder = live
    recorder.detach()
    code, out, err = run("watch", path)
    assert (code, err) == (0, "")
    assert out.startswith("step 0  windows 1  loss 1  ")
    assert out.endswith("  (the run has ended)\n")
    assert out.count("\n") == 1


def test_json_is_a_line_at_each_change(run, live, monkeypatch):
    path, step, recorder = live
    actions = [step, recorder.detach]
    monkeypatch.setattr(
        watch, "follow", lambda *a, **k: follow(path, sleep=lambda s: actions.pop(0)())
    )
    _, out, _ = run("watch", path, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [(t["step"], t["windows"], t["closed"]) for t in told] == [
        (0, 1, False),
        (1, 2, False),
        (1, 2, True),
    ]
    assert told[0]["scalars"] == {"loss": 1.0}
    assert [s["site"] for s in told[0]["sites"]] == ["fc1", "act1", "fc2", "act2", "out"]


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_each_look_is_there_at_once_for_who_reads_along(monkeypatch, healthy_file, extra):
    class Pipe(io.StringIO):
        encoding = "utf-8"
        seen = ""

        def flush(self):
            self.seen = self.getvalue()

    pipe = Pipe()
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=pipe, stderr=sys.stderr))

    def looks(*args, **options):
        yield load(healthy_file), False
        assert pipe.seen.count("\n") == 1
        yield load(healthy_file), True

    monkeypatch.setattr(watch, "follow", looks)
    assert main(["watch", str(healthy_file), *extra]) == 0
    assert pipe.seen.count("\n") == 2


def test_a_live_table_without_rich_is_lines_and_a_word(terminal, healthy_file, monkeypatch):
    monkeypatch.delitem(sys.modules, "actstats.cli.live", raising=False)
    monkeypatch.setitem(sys.modules, "rich.live", None)
    assert main(["watch", str(healthy_file)]) == 0
    assert "rich shows a live table: python -m pip install rich" in terminal.notes.getvalue()
    assert terminal.getvalue().startswith("step 29  windows 3")


def test_a_terminal_gets_the_live_table(terminal, healthy_file):
    pytest.importorskip("rich")
    assert main(["watch", str(healthy_file)]) == 0
    assert "healthy.actstats  step 29  3 windows" in terminal.getvalue().replace("\x1b[0m", "")


def test_ctrl_c_ends_it_without_an_error(run, healthy_file, monkeypatch):
    def interrupted(*args, **options):
        yield load(healthy_file), False
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "follow", interrupted)
    code, out, err = run("watch", healthy_file)
    assert (code, err) == (0, "")
    assert out.startswith("step 29  windows 3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--figure", "rmss"), "did you mean rms?"),
        (("--interval", "0"), "wants seconds from 0.01 to 86400; got '0'"),
        (("--interval", "soon"), "got 'soon'"),
        (("--site", "act9"), "did you mean 'act1'"),
        (("--phase", "eval"), "no phase 'eval'"),
    ],
)
def test_wrong_arguments_are_told(run, healthy_file, words, message):
    code, out, err = run("watch", healthy_file, *words)
    assert (code, out) == (64, "")
    assert message in err
