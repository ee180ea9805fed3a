"""Several threads run the model at once: every number is that of one thread that saw the same."""

import gc
import itertools
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actstats
from actstats import ActivationRecorder
from actstats.hooks import Slot, adding
from actstats.log.live import Log
from actstats.statistics import Statistic
from claims import assert_same_integers, assert_tensors_equal, integers

THREADS, FORWARDS = 4, 8
ALL = ("output", "input", "grad")
LONG = 240  # seconds until what hangs is called a deadlock

pytestmark = pytest.mark.usefixtures("restless")


@pytest.fixture
def restless():
    """Let threads change as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*works):
    """Run each in a thread of its own, all begun together; raise what they raise."""
    begin, errors = threading.Barrier(len(works)), []

    def run(work):
        try:
            begin.wait(LONG)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    for error in errors:
        raise error


def data(thread, number=FORWARDS):
    """Return what one thread feeds to the model."""
    make = torch.Generator().manual_seed(thread)
    return [torch.randn(8, 16, generator=make) for _ in range(number)]


def gradients(net, x):
    """Run forward and backward; leave nothing on the parameters, which threads share."""
    out = net(x)
    return out, *torch.autograd.grad(out.square().sum(), list(net.parameters()))


def both(net, work, **options):
    """Record ``work(recorder, net, thread)`` of all threads one after the other, and at once."""
    recorders = []
    for at_once in (False, True):
        with ActivationRecorder(net, strict=True, **options) as recorder:
            works = [lambda t=t, r=recorder: work(r, net, t) for t in range(THREADS)]
            if at_once:
                in_threads(*works)
            else:
                for one in works:
                    one()
        recorders.append(recorder)
    return recorders


def assert_equal(recorders):
    """Claim that the same sites were seen, the same integers, and the same was skipped."""
    one, other = (recorder.recording for recorder in recorders)
    assert set(one) == set(other)
    for site in one:
        assert one[site].calls == other[site].calls, site
        assert_same_integers(one[site], other[site], site=site)
    assert recorders[0].skipped == recorders[1].skipped


def layers():
    return nn.Sequential(
        nn.Linear(16, 32), nn.Tanh(), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 8), nn.ReLU()
    )


# ---- counting ------------------------------------------------------------------------------------


@pytest.mark.hostile(95)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_threads_count_what_one_thread_counts(kernel):
    def work(recorder, net, thread):
        for x in data(thread):
            gradients(net, x)

    recorders = both(layers(), work, capture=ALL, kernel=kernel)
    assert_equal(recorders)
    assert recorders[1]["0"].calls == recorders[1]["3:grad"].calls == THREADS * FORWARDS
    assert recorders[1].state_dict()["calls"] == recorders[0].state_dict()["calls"]
    assert not recorders[1].skipped


@pytest.mark.hostile(95)
def test_the_short_way_counts_what_one_thread_counts():
    net = nn.Sequential(nn.Identity(), nn.Identity())
    work = [torch.randn(8, 4096) for _ in range(THREADS)]  # most of the time states are written

    def run(recorder, net, thread):
        for _ in range(200):
            net(work[thread])

    recorders = both(net, run, kernel="cpu")
    assert_equal(recorders)
    assert recorders[1]["1"].count == THREADS * 200 * 8 * 4096


@pytest.mark.hostile(95)
def test_threads_that_train_together_keep_the_short_way(monkeypatch):
    net, slow = layers()[:3], []
    with ActivationRecorder(net, kernel="cpu") as recorder, torch.no_grad():
        for x in data(0, 3):
            net(x)
        monkeypatch.setattr(Slot, "run", lambda self, *_: slow.append(self.name))
        in_threads(*(lambda t=t: [net(x) for x in data(t)] for t in range(THREADS)))
    assert slow == []
    assert recorder["1"].calls == 3 + THREADS * FORWARDS


@pytest.mark.hostile(95)
def test_a_site_first_seen_by_all_threads_at_once_is_one_site():
    for _ in range(20):
        with ActivationRecorder(net := layers(), kernel="cpu") as recorder:
            in_threads(*(partial(net, data(t, 1)[0]) for t in range(THREADS)))
        assert {recorder[site].calls for site in recorder} == {THREADS}
        assert sorted(site.place for site in recorder.recording.sites.values()) == list(range(6))


@pytest.mark.hostile(95)
def test_results_of_threads_are_bit_identical_with_and_without():
    net, results = layers(), {}
    for recorded in (False, True):
        recorder = ActivationRecorder(net, capture=ALL)
        if recorded:
            recorder.attach()

        def work(thread, recorded=recorded):
            for i, x in enumerate(data(thread)):
                for j, tensor in enumerate(gradients(net, x)):
                    results.setdefault(recorded, {})[f"{thread} {i} {j}"] = tensor

        in_threads(*(lambda t=t: work(t) for t in range(THREADS)))
        recorder.detach()
    assert len(results[True]) == THREADS * FORWARDS * 7
    assert_tensors_equal(results[False], results[True], "results")


# ---- what belongs to one forward -----------------------------------------------------------------


class Repeats(nn.Module):
    """Calls one module three times, with values that tell the calls apart."""

    def __init__(self):
        super().__init__()
        self.act = nn.Tanh()

    def forward(self, x):
        for i in range(3):
            x = self.act(x + 10 * i)
        return x


@pytest.mark.hostile(96)
@pytest.mark.parametrize("model", ["model", "mapping"])
def test_calls_are_numbered_by_thread(model):
    net = Repeats()
    observed = net if model == "model" else {"act": net.act}

    def work(recorder, _, thread):
        for x in data(thread, 1 if model == "mapping" else FORWARDS):
            net(x)

    recorders = both(observed, work, per_call="act", capture=("output", "input"))
    assert_equal(recorders[1:] * 2)
    if model == "model":  # of a mapping the forwards end with `step()`, and one thread took none
        assert_equal(recorders)
    assert set(recorders[1]) == {f"act#{i}{kind}" for i in (1, 2, 3) for kind in ("", ":input")}
    assert {recorders[1][site].count for site in recorders[1]} == {
        THREADS * (1 if model == "mapping" else FORWARDS) * 8 * 16
    }


class Block(nn.Module):
    def __init__(self, deep):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.inner = Block(deep - 1) if deep else nn.Identity()

    def forward(self, x):
        return F.relu(self.inner(F.relu(self.fc(x)))) + torch.tanh(x)


@pytest.mark.hostile(96)
def test_functions_belong_to_the_module_of_their_own_thread():
    def work(recorder, net, thread):
        for x in data(thread):
            net(x)

    recorders = both(Block(3), work, functional=True)
    assert_equal(recorders)
    assert recorders[1]["inner.inner.relu()#2"].calls == THREADS * FORWARDS
    assert len([site for site in recorders[1] if "()" in site]) == 4 * 3


@pytest.mark.hostile(95, 96)
def test_a_mask_is_for_the_forward_of_the_thread_that_gave_it():
    """Each thread leaves out another number of rows; the last one gives no mask."""

    def work(recorder, net, thread):
        for x in data(thread):
            if thread < THREADS - 1:
                recorder.mask(torch.arange(8) <= thread)
            gradients(net, x)

    recorders = both(layers(), work, capture=ALL, kernel="cpu")
    assert_equal(recorders)
    assert recorders[1]["5"].count == FORWARDS * 8 * (7 + 6 + 5 + 8)
    assert recorders[1]["1:grad"].count == FORWARDS * 32 * (7 + 6 + 5 + 8)


@pytest.mark.hostile(96)
def test_a_mask_that_another_thread_was_to_use_is_told():
    net = layers()
    with ActivationRecorder(net) as recorder:
        recorder.mask(torch.arange(8) < 4)
        in_threads(lambda: net(data(0, 1)[0]))
        recorder.step()
        net(data(0, 1)[0])
    ((site, reason), count), *others = recorder.skipped.items()
    assert (site, count, others) == ("(root)", 1, [])
    assert "in the same thread" in reason
    assert recorder["0"].count == 2 * 8 * 32


@pytest.mark.hostile(95, 96)
def test_a_thread_that_died_in_a_forward_leaves_nothing_behind(monkeypatch):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.fails = nn.Tanh(), False

        def forward(self, x):
            x = self.act(x)
            if self.fails:
                raise ValueError("on purpose")
            return self.act(x)

    net = Fails()
    with ActivationRecorder(net, kernel="cpu", per_call="act") as recorder:
        net.fails = True

        def work():
            recorder.mask(torch.arange(8) < 4)
            with pytest.raises(ValueError, match="on purpose"):
                net(torch.randn(8, 16))

        in_threads(work, work)
        gc.collect()
        net.fails = False
        net(torch.randn(8, 16))
        recorder.step()
        assert len(recorder._shared._forwards) <= 1  # this thread's
        assert recorder._shared.steady
    assert (recorder["act#1"].count, recorder["act#2"].count) == (2 * 64 + 128, 128)
    assert not recorder.skipped


# ---- reading, and ending steps, meanwhile --------------------------------------------------------


def total(stats):
    """Return how many values lie in the histogram or are of a kind of their own."""
    counts, _ = stats.histogram(64, (-1e4, 1e4))
    return int(counts.sum()) + stats.nan_count + stats.inf_count


@pytest.mark.hostile(95)
@pytest.mark.parametrize("window", [None, 1, 3])
def test_steps_that_end_under_fire_lose_nothing_and_count_nothing_twice(window, tmp_path):
    net, path = layers(), tmp_path / "run.actstats"

    def work(recorder, net, thread):
        for x in data(thread):
            gradients(net, x)
            recorder.step(loss=float(thread))

    options = {"capture": ("output", "grad"), "window": window, "kernel": "cpu"}
    with ActivationRecorder(net, **options) as alone:
        for thread in range(THREADS + 1):
            work(alone, net, thread)
    with ActivationRecorder(net, log=path, **options) as recorder:
        in_threads(*(partial(work, recorder, net, thread) for thread in range(THREADS)))
        work(recorder, net, THREADS)  # ends in a step that saw something
    for recording in (recorder.recording, actstats.load(path)):
        for site in recording:
            one, other = integers(alone.recording[site]), integers(recording[site])
            dates = (one.pop("last_active", None), other.pop("last_active", None))
            assert one == other, site
            assert (dates[0] is None) == (dates[1] is None)  # they are of another order of steps
        spans = [(w.first_step, w.last_step) for w in recording.windows]
        assert all(a[1] < b[0] for a, b in pairwise(spans)), spans
        losses = [w.scalars["loss"].count for w in recording.windows if w.scalars]
        assert sum(losses) == (THREADS + 1) * FORWARDS == spans[-1][1] + 1


@pytest.mark.hostile(95)
def test_what_is_read_under_fire_is_of_one_moment():
    net, stop, seen, fed = layers(), threading.Event(), [], []
    with ActivationRecorder(net, capture=("output", "grad"), kernel="cpu") as recorder:
        gradients(net, data(0, 1)[0])

        def work(thread):
            try:
                for x in itertools.cycle(data(thread, 40)):
                    gradients(net, x)
                    recorder.step()
                    fed.append(thread)
                    if len(fed) >= 80 and len(seen) > 4:  # however the threads are scheduled
                        return
            finally:
                stop.set()

        def read():
            while not stop.is_set():
                one, whole = recorder["0"], recorder.recording
                for stats in (one, *(whole[site] for site in ("0", "1", "4", "2:grad"))):
                    assert total(stats) == stats.count == stats.calls * 8 * stats.units
                    assert stats.moments.n.sum() == stats.count
                assert whole["1"].judged.seen.sum() == whole["1"].count
                assert one.calls <= whole["0"].calls
                assert str(recorder.summary())
                seen.append(whole["0"].calls)

        in_threads(*(lambda t=t: work(t) for t in (1, 2)), read, read)
    assert len(seen) > 4
    assert recorder["0"].calls == 1 + len(fed)


@pytest.mark.hostile(95)
def test_what_is_forgotten_under_fire_is_forgotten_whole():
    net, stop = layers(), threading.Event()
    with ActivationRecorder(net, kernel="cpu") as recorder:

        def work():
            for x in data(0, 60):
                net(x)
            stop.set()

        def forget():
            while not stop.is_set():
                recorder.reset()
                whole = recorder.recording
                for site in whole:
                    assert total(whole[site]) == whole[site].calls * 8 * whole[site].units

        in_threads(work, forget)
        recorder.reset()
        assert len(recorder) == 0
        net(data(0, 1)[0])
    assert {recorder[site].calls for site in recorder} == {1}


@pytest.mark.hostile(95)
def test_a_file_that_is_slow_holds_up_no_forward(tmp_path, monkeypatch):
    net, writing, written = layers(), threading.Event(), threading.Event()
    append = Log.append

    def slow(self, *args):
        writing.set()
        assert written.wait(LONG), "the forward waited for the file"
        return append(self, *args)

    with ActivationRecorder(net, log=tmp_path / "run.actstats", capture=ALL) as recorder:
        gradients(net, data(0, 1)[0])
        monkeypatch.setattr(Log, "append", slow)

        def observe():
            assert writing.wait(LONG)
            gradients(net, data(1, 1)[0])
            written.set()

        in_threads(recorder.step, observe)
    calls = [w.stats["0"].calls for w in actstats.load(tmp_path / "run.actstats").windows]
    assert calls == [1, 1]


@pytest.mark.hostile(95)
def test_a_listener_may_wait_for_another_thread_that_runs_the_model():
    net = layers()
    with ActivationRecorder(net) as recorder:
        net(data(0, 1)[0])
        recorder.on_window(lambda _: in_threads(lambda: net(data(1, 1)[0])))
        recorder.step()
    assert recorder["0"].calls == 2


@pytest.mark.hostile(95)
def test_a_call_that_is_under_way_makes_no_site_yet():
    """Of GELU the input is judged before the output comes; a reader may ask in between."""
    seen = []

    class Asks(nn.GELU):
        def forward(self, z):
            seen.append((list(recorder), recorder.sites, [dict(w.stats) for w in windows()]))
            return super().forward(z)

    def windows():
        return recorder.recording.windows

    net = nn.Sequential(nn.Linear(16, 8), Asks())
    with ActivationRecorder(net, window=1) as recorder:
        net(data(0, 1)[0])
        in_threads(recorder.step)
        net(data(0, 1)[0])
    sites, named, stats = seen[0]
    assert (sites, named) == (["0"], ("0", "1"))
    assert [list(of) for of in stats] == [["0"]]
    assert list(recorder) == ["0", "1"]
    assert [len(w.stats) for w in recorder.recording.windows] == [2, 2]


# ---- what the lock must not do -------------------------------------------------------------------


@pytest.mark.hostile(95)
def test_a_function_of_the_users_never_runs_under_the_lock():
    """An activation that waits for another thread's forward, whenever it is asked."""

    class Curious(nn.Module):
        waits = False

        def forward(self, z):
            if self.waits:
                self.waits = False
                in_threads(lambda: other(torch.randn(8, 16)))
            return torch.where(z > 0, z * z.sigmoid(), 0.0 * z)

    act, other = Curious(), nn.Tanh()
    with ActivationRecorder({"act": act, "other": other}, strict=True) as recorder:
        act.waits = True
        act(torch.randn(8, 16))
        act(torch.randn(8, 16))
    assert (recorder["act"].calls, recorder["other"].calls) == (2, 1)


@pytest.mark.hostile(95)
def test_a_statistic_of_the_users_loses_nothing_and_may_wait_for_another_thread():
    other, waits = nn.Tanh(), [True]

    @dataclass(frozen=True)
    class Rows(Statistic):
        name = "rows_in_threads"

        def state(self, units):
            return {"rows": (1,)}

        def update(self, state, x):
            before = state["rows"].clone()
            if waits and waits.pop():
                in_threads(lambda: other(torch.randn(8, 16)))
            time.sleep(1e-4)  # others are quicker
            state["rows"].copy_(before + len(x))

        def figures(self, state):
            return {"rows_in_threads": state["rows"][0]}

    act = nn.Identity()
    modules = {"act": act, "other": other}
    with ActivationRecorder(modules, statistics=Rows(), window=1, strict=True) as recorder:

        def work(thread):
            for x in data(thread):
                act(x)
                recorder.step()

        in_threads(*(partial(work, thread) for thread in range(THREADS)))
    calls = THREADS * FORWARDS
    assert recorder["act"].rows_in_threads == 8 * calls
    assert (recorder["act"].count, recorder["other"].calls) == (8 * 16 * calls, 1)
    seen = [window.stats["act"] for window in recorder.recording.windows if "act" in window.stats]
    assert all(stats.rows_in_threads == stats.count / 16 for stats in seen)
    assert sum(stats.calls for stats in seen) == calls


@pytest.mark.hostile(95)
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_an_interrupt_never_leaves_the_lock_held():
    net = nn.Sequential(nn.Identity())
    x, interrupted = torch.randn(300, 64), 0

    def interrupt(*_):
        raise KeyboardInterrupt

    with ActivationRecorder(net, kernel="cpu") as recorder:
        for _ in range(4):
            net(x)
        (slot,) = recorder._shared.slots
        before = signal.signal(signal.SIGALRM, interrupt)
        gc.disable()  # Python drops what is raised in somebody's callback of its collector
        try:
            for i in range(150):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * i, 0.1)
                    while True:
                        slot(net[0], (x,), x)
                except KeyboardInterrupt:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            gc.enable()
        free = []
        in_threads(lambda: free.append(recorder._shared.lock.acquire(timeout=5)))
    assert interrupted == 150
    assert free == [True]


# ---- nn.DataParallel, torch.compile --------------------------------------------------------------


def replica_of(module):
    """Copy a module as nn.DataParallel does for a device: hooks shared, parameters as views."""
    replica = module._replicate_for_data_parallel()
    for name, child in module.named_children():
        replica._modules[name] = replica_of(child)
    for name, parameter in module.named_parameters(recurse=False):
        setattr(replica, name, parameter.view_as(parameter))
    return replica


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.act = nn.Linear(16, 16), nn.GELU()

    def forward(self, x):
        return self.act(F.relu(self.act(self.fc(x))) - 1)


@pytest.mark.hostile(94)
def test_replicas_in_threads_are_recorded_as_the_model_they_copy():
    def work(recorder, net, thread):
        for x in data(thread):
            out = replica_of(net)(x)
            torch.autograd.grad(out.square().sum(), list(net.parameters()))

    options = {"capture": ALL, "per_call": "act", "functional": True}
    recorders = both(Shared(), work, **options)
    assert_equal(recorders)
    calls = {site: recorders[1][site].calls for site in recorders[1]}
    assert calls["act#1"] == calls["act#2:grad"] == calls["(root).relu()"] == THREADS * FORWARDS
    assert not any("#3" in site for site in calls)


@pytest.mark.hostile(94)
def test_data_parallel_without_devices_is_passed_through():
    net = Shared()
    with ActivationRecorder(nn.DataParallel(net)) as recorder:
        nn.DataParallel(net)(data(0, 1)[0])
    assert recorder["fc"].calls == 1


@pytest.mark.hostile(95)
def test_a_compiled_model_in_threads_counts_what_one_thread_counts():
    net = nn.Sequential(nn.Linear(16, 8), nn.GELU())
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)

    def work(recorder, net, thread):
        for x in data(thread):
            out = compiled(x)
            torch.autograd.grad(out.square().sum(), list(net.parameters()))

    with ActivationRecorder(net, capture=("output", "grad"), strict=True) as warm:
        work(warm, net, 0)
    recorders = both(net, work, capture=("output", "grad"))
    assert_equal(recorders)
    assert recorders[1]["1:grad"].calls == THREADS * FORWARDS
    assert not recorders[1]._shared.pending


def test_a_listener_may_wait_for_another_thread_that_reads():
    net, seen = layers(), []
    with ActivationRecorder(net, window=1) as recorder:

        def listen(window):
            in_threads(lambda: seen.append(recorder["0"].calls))

        recorder.on_window(listen)
        net(data(0, 1)[0])
        recorder.step()
    assert seen == [1]


def test_what_is_observed_while_it_is_forgotten_is_not_lost_afterwards(monkeypatch):
    net = layers()
    with ActivationRecorder(net) as recorder:
        whole = adding._hand_over

        def and_reset(*args):
            whole(*args)
            monkeypatch.undo()
            recorder.reset()

        monkeypatch.setattr(adding, "_hand_over", and_reset)
        for x in data(0, 4):
            net(x)
    assert recorder["0"].calls == 3
    assert recorder["4"].calls == 4
