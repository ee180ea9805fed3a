"""When a live display is updated, what it keeps, and that nothing of it reaches the run."""

import gc
import logging
import weakref

import pytest
import torch

from actstats import ActivationRecorder, LiveDisplay, make_mlp
from actstats.live import display
from actstats.live.notebook import Notebook
from actstats.live.terminal import Terminal
from actstats.statistics import EffectiveRank
from actstats.stats import FIGURES

pytest.importorskip("rich")


class Surface:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []
        self.fails = set()

    def _tell(self, what):
        self.told.append(what)
        if what[0] in self.fails:
            raise RuntimeError(f"no {what[0]} here")

    def start(self):
        self._tell(("start",))

    def show(self, view, title, state):
        self._tell(("show", state, view))

    def stop(self):
        self._tell(("stop",))

    @property
    def views(self):
        return [(what[1], what[2].step, what[2].windows) for what in self.told if what[0] == "show"]


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(display, "time", Clock())
    return display.time


@pytest.fixture
def surface(monkeypatch):
    made = Surface()
    monkeypatch.setattr(display, "Terminal", lambda: made)
    return made


@pytest.fixture
def recorder():
    net = make_mlp(1, [4], 1, activation="relu")
    with ActivationRecorder(net, window=1) as found:
        found.net = net
        yield found


def train(recorder, steps=1, **scalars):
    for _ in range(steps):
        recorder.net(torch.ones(8, 1))
        recorder.step(**scalars)


def test_first_window_is_shown_at_once_and_the_last_at_the_end(recorder, surface, clock):
    with LiveDisplay(recorder):
        train(recorder, 5)
    assert surface.views == [("running", -1, 0), ("running", 0, 1), ("ended", 4, 5)]
    assert [what[0] for what in surface.told] == ["start", "show", "show", "show", "stop"]


def test_updates_keep_their_interval(recorder, surface, clock):
    with LiveDisplay(recorder, interval=2.0):
        for clock.now in (0.0, 1.0, 1.9, 2.0, 3.0, 4.5):
            train(recorder)
    assert [step for _, step, _ in surface.views] == [-1, 0, 3, 5, 5]


def test_slow_updates_rest_nineteen_times_as_long(recorder, surface, clock, monkeypatch):
    def slow(view, title, state):
        surface._tell(("show", state, view))
        clock.now += 1.0

    surface.show = slow
    with LiveDisplay(recorder, interval=0.5):
        clock.now = 100.0
        train(recorder)  # until 101, so not again before 120
        for clock.now in (110.0, 119.9, 120.0):
            train(recorder)
    assert [step for _, step, _ in surface.views] == [-1, 0, 3, 3]


def test_only_a_window_that_closed_is_shown(surface, clock):
    net = make_mlp(1, [4], 1, activation="relu")
    with ActivationRecorder(net, window=10) as recorder, LiveDisplay(recorder):
        for _ in range(9):
            clock.now += 100
            net(torch.ones(8, 1))
            recorder.step()
        assert surface.views == [("running", -1, 0)]
    assert surface.views[1:] == [("ended", 8, 1)]  # the open window


def test_what_is_shown_is_what_watch_shows(recorder, surface, clock):
    with LiveDisplay(recorder, "std", site="act*"):
        train(recorder, 2, loss=0.5)
    view = surface.told[-2][2]
    assert (view.figure, [line.site for line in view.lines]) == ("std", ["act1"])
    assert view.scalars == {"loss": (0.5, [0.5, 0.5])}
    assert view.verdict


def test_phase_is_train_unless_another_is_asked_for(recorder, surface, clock):
    with LiveDisplay(recorder), LiveDisplay(recorder, phase="eval"):
        recorder.net.eval()
        train(recorder, 1)
        recorder.net.train()
        train(recorder, display.KEPT + 3)
    inner, outer = (what[2] for what in surface.told if what[0] == "show" and what[1] == "ended")
    assert (inner.phase, inner.step, inner.windows) == ("eval", 0, 1)
    assert (outer.phase, outer.windows) == ("train", display.KEPT + 3)


def test_windows_kept_are_bounded_and_released_at_the_end(recorder, surface, clock):
    with LiveDisplay(recorder) as live:
        train(recorder, display.KEPT + 5)
        assert {phase: len(kept) for phase, kept in live._recent.items()} == {"train": display.KEPT}
    assert not live._recent


def test_recorder_and_model_are_not_kept_alive(surface):
    net = make_mlp(1, [4], 1, activation="relu")
    recorder = ActivationRecorder(net, window=1)
    with recorder, LiveDisplay(recorder) as live:
        net(torch.ones(8, 1))
        recorder.step()
    gone = weakref.ref(net), weakref.ref(recorder)
    del net, recorder
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert live is not None


def test_nothing_is_shown_after_the_end(recorder, surface, clock):
    with LiveDisplay(recorder):
        train(recorder)
    before = len(surface.told)
    clock.now += 100
    train(recorder)
    assert len(surface.told) == before


@pytest.mark.parametrize("what", ["start", "show", "stop"])
def test_its_errors_are_logged_once_and_do_not_reach_the_run(
    recorder, surface, clock, caplog, what
):
    surface.fails = {what}
    with caplog.at_level(logging.WARNING), LiveDisplay(recorder):
        for clock.now in (0.0, 100.0, 200.0):
            train(recorder)
    (record,) = caplog.records
    assert f"no {what} here" in record.getMessage()
    assert surface.told[-1] == ("stop",)


def test_unknown_site_is_logged_and_the_run_goes_on(recorder, surface, clock, caplog):
    with caplog.at_level(logging.WARNING), LiveDisplay(recorder, site="nowhere"):
        train(recorder)
    (record,) = caplog.records
    assert "nowhere" in record.getMessage()


def test_an_error_of_the_run_comes_out_and_the_last_state_stays(recorder, surface, clock):
    def run():
        with LiveDisplay(recorder):
            train(recorder)
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run()
    assert surface.views[-1] == ("ended", 0, 1)
    assert surface.told[-1] == ("stop",)


def test_ctrl_c_while_showing_ends_the_run_and_cleans_up(recorder, surface, clock):
    def interrupted(view, title, state):
        raise KeyboardInterrupt

    def run():
        with LiveDisplay(recorder):
            surface.show = interrupted
            train(recorder)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert surface.told[-1] == ("stop",)
    assert not recorder._run.listeners


def test_unknown_figure_is_refused_with_a_hint(recorder):
    with pytest.raises(ValueError, match="did you mean 'dead_fraction'"):
        LiveDisplay(recorder, "dead_fractoin")


def test_what_is_no_recorder_is_refused():
    with pytest.raises(ValueError, match=r"got NoneType\. A trainer's callback makes one when"):
        LiveDisplay(None)


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf"), "1"])
def test_interval_that_is_none_is_refused(recorder, interval):
    with pytest.raises(ValueError, match="`interval` must be seconds above 0; got"):
        LiveDisplay(recorder, interval=interval)


def test_kernel_decides_where_it_is_shown(recorder, monkeypatch):
    assert isinstance(LiveDisplay(recorder)._surface, Terminal)
    monkeypatch.setattr(display, "is_notebook", lambda: True)
    assert isinstance(LiveDisplay(recorder)._surface, Notebook)


def test_figure_of_the_users_own_is_known(surface, clock):
    net = make_mlp(1, [4], 1, activation="relu")
    with ActivationRecorder(net, window=1, statistics=EffectiveRank()) as recorder:
        (own,) = set(recorder.figure_names) - set(FIGURES)
        with LiveDisplay(recorder, own):
            net(torch.randn(8, 1))
            recorder.step()
    assert own in recorder.recording.figure_names
    assert surface.told[-2][2].figure == own
