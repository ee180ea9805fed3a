"""Closed windows: numbers that are on their way, budgets, merging of neighbours."""

import math

import pytest
import torch
from torch import nn

from actstats import ActivationRecorder, activations
from actstats.gate import make_gate
from actstats.kernels import Spec, State, reference
from actstats.kernels.state import HostCopy, Layout, reset
from actstats.recording import Scalar
from actstats.shared import Options, Shared
from actstats.table import Kept, SiteTable
from actstats.windows import CAP, Closing, Taken, Windows
from claims import Watched, assert_identical, assert_recorded, assert_stats_of

SITE = Kept("fc1", Spec(width=2), units=2)


class Slow:
    """A copy that is on its way until someone waits for it, or it is let through."""

    def __init__(self, states):
        self.copy = HostCopy(states)
        self.is_ready = False
        self.waited = False

    def words(self):
        self.waited |= not self.is_ready
        return self.copy.words()


def values(seed):
    return torch.randn(6, 2, generator=torch.Generator().manual_seed(seed))


def closing(step, phase="train", copy=Slow, **scalars):
    state = State(SITE.spec)
    reference.observe(values(step), state)
    kept = {name: Scalar.of(value) for name, value in scalars.items()}
    return Closing(step, step, [Taken(phase, (SITE,), copy([state]))], kept)


def close(held, closing):
    """Keep a window that has closed, at once or when its numbers have arrived."""
    held.hold(closing)
    held.catch_up()


def windows(fixed=None, budget=2**28):
    options = Options(frozenset(), {}, {}, (), 0.05, strict=True)
    return Windows(Shared(options, reference), fixed, 1, budget)


@pytest.fixture
def slow_copies(monkeypatch):
    """Let every copy of a recorder be on its way until it is read."""
    made = []

    def slow(states):
        made.append(Slow(states))
        return made[-1]

    monkeypatch.setattr("actstats.windows.HostCopy", slow)
    return made


# ---- numbers on their way ------------------------------------------------------------------------


def test_a_window_waits_for_its_numbers():
    held, one = windows(), closing(0, loss=1.0)
    close(held, one)
    held.settle(wait=False)
    assert not one.taken[0].copy.waited
    one.taken[0].copy.is_ready = True
    held.settle(wait=False)
    (window,) = held
    assert not one.taken[0].copy.waited
    assert_stats_of(window["fc1"], values(0))
    assert window.scalars["loss"].last == 1.0


def test_windows_stay_in_order():
    held, first, second = windows(), closing(0), closing(1)
    close(held, first)
    second.taken[0].copy.is_ready = True
    close(held, second)
    assert not first.taken[0].copy.waited
    assert [window.first_step for window in held] == [0, 1]
    assert first.taken[0].copy.waited


@pytest.mark.parametrize("read", ["__iter__", "__len__", "latest", "nbytes", "leading"])
def test_reading_waits(read):
    held, one = windows(), closing(0)
    close(held, one)
    found = getattr(held, read)
    assert found() if callable(found) else found
    assert one.taken[0].copy.waited


def test_closing_waits_only_where_neighbours_may_merge():
    held = windows()
    closings = [closing(i) for i in range(3 * CAP)]
    waits = []
    for i, one in enumerate(closings):
        width = held.width
        close(held, one)
        if one.taken[0].copy.waited:
            waits.append((i, width, held.width))
    assert waits == [(64, 1, 2), (96, 2, 4), (128, 4, 8), (160, 8, 16)]


def test_windows_of_a_fixed_width_never_wait():
    held, closings = windows(fixed=1), [closing(i) for i in range(3 * CAP)]
    for one in closings:
        close(held, one)
    assert not any(one.taken[0].copy.waited for one in closings)
    assert len(held) == 3 * CAP


def test_phases_devices_and_sites_without_calls():
    other = Kept("fc2", Spec(width=2), units=2)
    states = [State(SITE.spec), State(other.spec), State(SITE.spec), State(SITE.spec)]
    for state in (states[0], states[1], states[2]):
        reference.observe(values(1), state)
    taken = [
        Taken("eval", (SITE,), HostCopy(states[:1])),
        Taken("train", (SITE,), HostCopy(states[2:3])),
        Taken("eval", (other,), HostCopy(states[1:2])),  # on another device, say
        Taken("test", (SITE,), HostCopy(states[3:])),
    ]
    found = Closing(3, 4, taken, {"loss": Scalar.of(2.0)}).windows()
    assert [(w.phase, list(w), list(w.scalars)) for w in found] == [
        ("eval", ["fc1", "fc2"], []),
        ("train", ["fc1"], ["loss"]),
    ]
    assert all((w.first_step, w.last_step) == (3, 4) for w in found)


# ---- in a recorder -------------------------------------------------------------------------------


def train(recorder, net, steps):
    for _ in range(steps):
        net(torch.randn(5, 2))
        recorder.step(loss=1.0)


def test_step_waits_for_nothing(slow_copies):
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    with Watched(net) as watched, ActivationRecorder(net) as recorder:
        train(recorder, net, 20)
        assert len(slow_copies) == 20
        assert not any(copy.waited for copy in slow_copies)
        net(torch.randn(5, 2))
        assert_recorded(recorder, watched, ["0", "1"])
        assert all(copy.waited for copy in slow_copies)
    assert [w.first_step for w in recorder.recording.windows] == list(range(21))


def test_numbers_are_kept_at_the_step_after_they_arrive(slow_copies):
    net = nn.Sequential(nn.Linear(2, 3))
    with ActivationRecorder(net, window=5) as recorder:
        train(recorder, net, 6)
        assert len(recorder._run.windows._pending) == 1
        slow_copies[0].is_ready = True
        train(recorder, net, 1)
        assert not recorder._run.windows._pending


def test_reading_between_steps_is_up_to_date():
    net = nn.Sequential(nn.Linear(2, 3))
    with ActivationRecorder(net) as recorder:
        for step in range(1, 100):
            train(recorder, net, 1)
            assert recorder["0"].calls == recorder.recording["0"].calls == step


def test_numbers_that_arrive_late_change_nothing(slow_copies, monkeypatch):
    def run(seed):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
        with ActivationRecorder(net) as recorder:
            train(recorder, net, 150)
        return recorder

    late = run(0)
    monkeypatch.setattr("actstats.windows.HostCopy", HostCopy)
    at_once = run(0)
    for one, other in zip(late.recording.windows, at_once.recording.windows, strict=True):
        assert (one.first_step, one.last_step) == (other.first_step, other.last_step)
        assert_identical(one["1"], other["1"])


def test_closed_windows_are_tables_until_the_budget_takes_something():
    net = nn.Sequential(nn.Linear(3, 300), nn.Tanh())
    kinds = []
    for budget in (2**28, 120_000):
        with ActivationRecorder(net, budget=budget) as recorder:
            for _ in range(100):
                net(torch.randn(4, 3))
                recorder.step()
        kinds.append({type(window.stats) for window in recorder._run.windows})
    assert kinds[0] == {SiteTable}
    assert dict in kinds[1]


def test_a_step_that_saw_nothing_closes_nothing():
    net = nn.Sequential(nn.Linear(2, 3))
    with ActivationRecorder(net) as recorder:
        train(recorder, net, 1)
        recorder.step()
        recorder.step()
        train(recorder, net, 1)
    assert [(w.first_step, w.last_step) for w in recorder.recording.windows] == [(0, 0), (1, 3)]


# ---- copying and resetting -----------------------------------------------------------------------


def test_a_copy_outlives_the_reset():
    specs = (Spec(width=2), Spec(width=3, gate=make_gate(activations.get("tanh"))))
    states = [State(spec) for spec in specs]
    for state in states:
        reference.observe(torch.randn(4, state.spec.width), state)
    copy = HostCopy(states)
    want = torch.cat([state.memory for state in states]).tolist()
    reset(states)
    assert copy.is_ready
    assert copy.words().tolist() == want
    for state in states:
        assert state.extrema.tolist() == [math.inf, -math.inf]
        at = Layout.of(state.spec)
        rest = torch.cat((state.memory[: at.EXTREMA], state.memory[at.OPENNESS : at.judged]))
        assert not rest.any()
        assert not state.histogram.any()
    assert states[1].judged.tolist() == 4 * [3 * [0]] + [3 * [-1]]
