"""Processes, copies, interrupts, and what is left behind: the life of a model that is recorded."""

import copy
import functools
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from embedded import Embedded
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

import actstats
from actstats import ActivationRecorder
from actstats.kernels import cpu
from claims import (
    Watched,
    assert_identical,
    assert_no_hooks,
    assert_recorded,
    assert_stats_of,
    assert_tensors_equal,
)
from interrupts import interrupted_at

ALL = ("output", "input", "grad")
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
may_fork = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.GELU())


def batch(n=8):
    return torch.randn(n, 3)


def in_child(work, seconds=30.0, threads=1):
    """Run in a forked child; return its exit status, or None where it had to be killed.

    With more than one thread torch itself hangs there, if the parent has used its threads.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(threads)
            work()
            status = 0
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(ended[1])


# ---- forks ---------------------------------------------------------------------------------------


@pytest.mark.hostile(98)
@may_fork
@forking
def test_a_forked_child_is_given_no_work_that_could_hang():
    """After torch has used its threads, a reduction in a forked child waits for ever."""
    net, x = nn.Sequential(nn.Identity()), torch.randn(3_000_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ActivationRecorder(net, kernel="reference") as recorder:
            net(x)
            assert in_child(lambda: net(x), threads=2) == 0
    finally:
        torch.set_num_threads(threads)
    assert recorder["0"].calls == 1


@pytest.mark.hostile(99)
@may_fork
@forking
def test_what_a_forked_child_sees_is_left_out_and_said():
    net = network()

    def work():
        net(batch())
        recorder.step(loss=1.0)
        recorder.reset()
        net(batch())
        recorder.step()
        net(batch())
        assert list(recorder) == []
        assert "nothing is recorded in a process forked" in str(recorder.summary())

    with ActivationRecorder(net, capture=ALL) as recorder:
        net(batch())
        assert in_child(work) == 0
        net(batch())
    assert recorder["0"].calls == 2
    assert "forked" not in str(recorder.summary())


@pytest.mark.hostile(99)
@forking
def test_a_child_that_ends_as_scripts_do_leaves_its_parents_file_alone(tmp_path):
    run = textwrap.dedent(
        """
        import os, sys, torch, actstats
        net = actstats.make_mlp(2, [5], 1)
        recorder = actstats.ActivationRecorder(net, log=sys.argv[1], window=1).attach()
        def steps(n):
            for _ in range(n):
                net(torch.zeros(8, 2))
                recorder.step()
        steps(3)
        child = os.fork()
        steps(2)
        if not child:
            sys.exit()  # exit handlers run, and everything is let go
        os.waitpid(child, 0)
        steps(2)
        """
    )
    path = tmp_path / "run.actstats"
    done = subprocess.run([sys.executable, "-c", run, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    windows = actstats.load(path).windows
    assert [window.first_step for window in windows] == list(range(7))
    assert [window["fc1"].count for window in windows] == [40] * 7


@pytest.mark.hostile(97, 106)
@may_fork
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_may_run_the_model(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    net = network().eval()
    want = torch.stack([net(torch.full((4, 3), float(i))) for i in range(6)])
    with ActivationRecorder(net, capture=ALL) as recorder:
        net(batch())
        loader = DataLoader(
            Embedded(net), batch_size=6, num_workers=1, multiprocessing_context=method, timeout=60
        )
        (got,) = loader
        net(batch())
    assert torch.equal(got, want)
    assert recorder["0"].calls == recorder["3"].calls == 2


# ---- interrupts ----------------------------------------------------------------------------------

OURS = ("actstats/hooks.py", "actstats/shared.py", *(f"kernels/{n}.py" for n in ("cpu", "state")))
OURS += ("kernels/reference.py", "actstats/moments.py")


def assert_whole(stats, one, site):
    """Claim that a site saw the same tensor some number of times, and knows all of it each time."""
    times = stats.calls
    assert stats.count == one.count * times, site
    assert stats.nan_count == one.nan_count * times, site
    assert stats.zeros == one.zeros * times, site
    np.testing.assert_array_equal(stats.bits.dense(), one.bits.dense() * times, site)
    np.testing.assert_array_equal(stats.linear, one.linear * times, site)
    np.testing.assert_array_equal(stats.moments.n, one.moments.n * times, site)
    np.testing.assert_allclose(stats.unit_mean, one.unit_mean, rtol=1e-12, err_msg=site)
    assert (stats.min, stats.max) == (one.min, one.max), site
    assert stats.var == pytest.approx(one.var, rel=1e-12), site
    if one.judged is not None:
        np.testing.assert_array_equal(stats.judged.seen, one.judged.seen * times, site)
        assert stats.gate_openness == pytest.approx(one.gate_openness, rel=1e-12), site


@pytest.mark.hostile(100)
@pytest.mark.parametrize("kernel", ["reference", "cpu", "threads"])
def test_an_interrupt_anywhere_in_an_observation_leaves_all_of_it_or_nothing(kernel, monkeypatch):
    if kernel != "reference" and cpu.why_not() is not None:
        pytest.skip(cpu.why_not())
    if kernel == "threads":
        monkeypatch.setattr(cpu, "WORTH_THREADS", 16)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), batch(40)
    x[0, 0] = torch.nan
    name = "reference" if kernel == "reference" else "cpu"
    edges = dict.fromkeys(("*", "*:grad", "*:input"), (4, -9, 9))
    options = {"kernel": name, "capture": ALL, "edges": edges}
    with ActivationRecorder(net, **options) as whole:
        net(x).nansum().backward()
    recorder, stops = ActivationRecorder(net, **options).attach(), 0
    for line in range(1, 4000, 13):
        if not interrupted_at(line, lambda: net(x).nansum().backward(), OURS):
            break
        stops += 1
        for site, stats in recorder.recording.items():
            assert_whole(stats, whole[site], site)
        if line % 2:
            recorder.step()
    recorder.detach()
    assert stops > 20
    assert list(recorder) == list(whole)
    assert recorder["0"].calls > recorder["1:grad"].calls > 0


@pytest.mark.hostile(101)
def test_of_an_interrupted_forward_each_site_says_how_much_it_saw():
    class Stops(nn.Module):
        stop = False

        def forward(self, x):
            if self.stop:
                raise KeyboardInterrupt
            return x

    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Stops(), nn.Linear(4, 2))
    with Watched(net) as watched, ActivationRecorder(net, window=1) as recorder:
        for i in range(6):
            net[2].stop = i == 3
            try:
                net(batch())
            except KeyboardInterrupt:
                continue
            recorder.step()
    assert [recorder[site].calls for site in ("0", "1", "3")] == [6, 6, 5]
    assert_recorded(recorder, watched, ["0", "1", "3"])


# ---- ends of processes ---------------------------------------------------------------------------


def kill(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


@pytest.mark.hostile(102)
@may_fork
@forking
@pytest.mark.parametrize(
    ("end", "status"),
    [
        (functools.partial(kill, signal.SIGKILL), -signal.SIGKILL),
        (functools.partial(kill, signal.SIGTERM), -signal.SIGTERM),
        (functools.partial(os._exit, 7), 7),
    ],
    ids=["SIGKILL", "SIGTERM", "_exit"],
)
def test_what_had_closed_is_there_however_the_process_ends(end, status, tmp_path):
    net, path = network(), tmp_path / "run.actstats"

    def run():
        with ActivationRecorder(net, log=path, window=1, kernel="reference") as recorder:
            for i in range(5):
                net(batch())
                recorder.step(loss=float(i))
            net(batch())
            end()

    assert in_child(run) == status
    windows = actstats.load(path).windows
    assert [window.scalars["loss"].last for window in windows] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert {window["0"].count for window in windows} == {32}


@pytest.mark.hostile(102)
def test_handlers_of_signals_stay_as_they_were(tmp_path):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    net = network()
    with ActivationRecorder(net, log=tmp_path / "run", capture=ALL) as recorder:
        net(batch()).sum().backward()
        recorder.step()
        assert [signal.getsignal(number) for number in numbers] == before
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.hostile(103)
def test_a_script_that_ends_while_it_records_says_nothing(tmp_path):
    run = textwrap.dedent(
        """
        import sys, torch, actstats
        net = actstats.make_mlp(2, [5], 1)
        kept = [
            actstats.ActivationRecorder(net, capture=("output", "grad"), functional=True).attach(),
            actstats.ActivationRecorder(net, log=sys.argv[1]).attach(),
        ]
        kept.append(kept)  # in a circle: nothing but the end of the interpreter lets go of it
        loss = net(torch.zeros(8, 2)).sum()
        loss.backward()
        """
    )
    command = [sys.executable, "-W", "error", "-c", run, tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert actstats.load(tmp_path / "run")["fc1"].count == 40


# ---- copies --------------------------------------------------------------------------------------


def by_pickle(net):
    return pickle.loads(pickle.dumps(net))


def as_workers_get_it(net):
    return pickle.loads(ForkingPickler.dumps(net))


def by_torch(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def averaged(net):
    return AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))


@pytest.mark.hostile(104, 105, 106)
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, averaged, by_pickle, as_workers_get_it, by_torch]
)
def test_copies_of_a_model_in_the_middle_of_training_see_nothing(copied, tmp_path):
    """The recorder holds a file, a lock, a listener and hooks on a graph: none is copied."""
    net = network()
    options = {"capture": ALL, "functional": True, "log": tmp_path / "run", "strict": True}
    with ActivationRecorder(net, **options) as recorder:
        recorder.on_window(lambda window: None)
        net(batch()).sum().backward()
        recorder.step()
        pending = net(batch())
        other = copied(net)
        before = {site: recorder[site] for site in recorder}
        other(batch()).sum().backward()
        if copied is averaged:
            other.update_parameters(net)
            other(batch()).sum().backward()
        for site, stats in before.items():
            assert_identical(recorder[site], stats, site=site)
        pending.sum().backward()
    assert recorder["0"].calls == recorder["0:grad"].calls == 2
    assert_no_hooks(net)
    other(batch())  # the hooks of the copy are still there, and do nothing
    assert recorder["0"].calls == 2


@pytest.mark.hostile(104)
def test_a_shallow_copy_has_the_same_layers_and_loses_their_hooks_with_them():
    net = network()
    with ActivationRecorder(net) as recorder:
        other = copy.copy(net)
        other(batch())
    assert recorder["0"].calls == 1
    assert_no_hooks(other)


@pytest.mark.hostile(106)
def test_a_whole_model_saved_in_a_pause_does_not_name_actstats():
    net = network()
    with ActivationRecorder(net, capture=ALL) as recorder:
        net(batch()).sum().backward()
        assert b"actstats" in pickle.dumps(net)
        with recorder.paused():
            assert b"actstats" not in pickle.dumps(net)
        net(batch())
    assert recorder["0"].calls == 2


def things_of(net):
    """Return all that a checkpoint, an optimizer or a wrapper may look at."""
    return (
        {name: list(module.__dict__) for name, module in net.named_modules()},
        {name: type(module) for name, module in net.named_modules()},
        [name for name, _ in net.named_parameters()],
        [name for name, _ in net.named_buffers()],
        list(net.state_dict()),
        [module.training for module in net.modules()],
    )


@pytest.mark.hostile(86, 107)
def test_nothing_but_hooks_is_put_on_a_model(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    things, state = things_of(net), copy.deepcopy(net.state_dict())
    with ActivationRecorder(net, capture=ALL, functional=True, log=tmp_path / "run") as recorder:
        assert things_of(net) == things
        assert_tensors_equal(net.state_dict(), state, "state")
        net(batch()).sum().backward()
        recorder.step()
        assert things_of(net) == things
    assert things_of(net) == things
    assert not isinstance(recorder, nn.Module)
    assert_no_hooks(net)


# ---- hooks that come and go ----------------------------------------------------------------------


@pytest.mark.hostile(109)
def test_a_recorder_detached_in_the_middle_of_a_forward():
    net, x = network(), batch()
    want = net(x)
    recorder = ActivationRecorder(net, capture=ALL, functional=True, strict=True)
    handle = net[1].register_forward_hook(lambda *_: recorder.detach())
    recorder.attach()
    out = net(x)
    out.sum().backward()
    assert torch.equal(out, want)
    assert recorder["0"].calls == 1
    assert "2" not in recorder
    handle.remove()
    assert_no_hooks(net)
    assert torch._C._len_torch_function_stack() == 0
    with recorder:
        net(x)
    assert [recorder[site].calls for site in ("0", "2", "3")] == [2, 1, 1]


@pytest.mark.hostile(109)
def test_a_recorder_attached_in_the_middle_of_a_forward():
    net, x = network(), batch()
    want = net(x)
    recorder = ActivationRecorder(net, capture=("output", "grad"), strict=True)
    handle = net[1].register_forward_hook(lambda *_: (recorder.attach(), None)[1])
    out = net(x)
    out.sum().backward()
    handle.remove()
    assert torch.equal(out, want)
    assert list(recorder) == ["2", "2:grad", "3", "3:grad"]
    recorder.step()
    net(x)
    recorder.detach()
    assert [recorder[site].calls for site in ("0", "2", "3")] == [1, 2, 2]


@pytest.mark.hostile(109)
def test_hooks_that_come_and_go_under_a_running_forward():
    """Another thread trains; nothing that it does may fail or be counted in part."""
    net, x = network(), batch()
    want, errors, rounds, over = net(x), [], 0, threading.Event()

    def forward():
        nonlocal rounds
        while not over.is_set():
            try:
                assert torch.equal(net(x), want)
            except BaseException as error:  # whatever reaches the user's code
                errors.append(error)
                return
            rounds += 1

    recorder, interval = ActivationRecorder(net, strict=True), sys.getswitchinterval()
    thread = threading.Thread(target=forward)
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        for _ in range(300):
            recorder.attach()
            recorder.detach()
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert errors == []
    assert rounds > 0
    assert_no_hooks(net)
    for site, stats in recorder.recording.items():
        assert stats.count == stats.calls * 8 * stats.units, site
        assert stats.bits.total + stats.zeros == stats.count, site


# ---- torch's own settings ------------------------------------------------------------------------


class Softsign2(nn.Module):
    """An activation that nobody knows, which is tried on numbers."""

    def forward(self, x):
        return x / (1 + x.abs())


class Setting:
    """One of torch's defaults, for a while."""

    def __init__(self, value):
        self.value = value

    def __enter__(self):
        if isinstance(self.value, torch.dtype):
            torch.set_default_dtype(self.value)
        else:
            torch.set_default_device(self.value)

    def __exit__(self, *_):
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


@pytest.mark.hostile(112, 113)
@pytest.mark.parametrize("when", ["always", "at first", "later"])
@pytest.mark.parametrize("kernel", [None, "reference"])
@pytest.mark.parametrize("value", [torch.float16, torch.bfloat16, torch.float64, "meta"], ids=str)
def test_torchs_defaults_do_not_reach_the_statistics(value, kernel, when):
    layers = (nn.Tanh(), nn.GELU(), nn.LeakyReLU(), Softsign2(), nn.SiLU(), nn.Hardswish())
    net = nn.Sequential(nn.Linear(3, 4), *layers)
    data = [1e3 * batch(64) for _ in range(4)]
    options = {"capture": ALL, "kernel": kernel, "edges": {"1": (5, -1, 1)}, "strict": True}

    def run(setting):
        recorder = ActivationRecorder(net, **options) if when == "later" else None
        with Setting(setting) if setting else Setting(torch.float32):
            recorder = recorder or ActivationRecorder(net, **options)
            with recorder:
                for i, x in enumerate(data):
                    if i == 2 and when == "at first":
                        Setting(None).__exit__()
                    net(x).backward(torch.ones((64, 4), device="cpu", dtype=torch.float32))
                    recorder.step()
        return recorder

    plain, under = run(None), run(value)
    assert list(under) == list(plain)
    for site in plain:
        assert_identical(under[site], plain[site], site=site)


@pytest.mark.hostile(113)
def test_a_model_that_changes_its_dtype_is_counted_on():
    net = network()
    with Watched(net) as watched, ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
            net.to(dtype)(batch().to(dtype)).sum().backward()
            net.zero_grad()
            recorder.step()
    assert_recorded(recorder, watched)
    assert recorder["0:grad"].calls == 4


# ---- torch.func ----------------------------------------------------------------------------------


def called(net, x):
    return functional_call(net, {k: 2 * v.detach() for k, v in net.named_parameters()}, (x,))


def gradient(net, x):
    parameters = {k: v.detach() for k, v in net.named_parameters()}
    return grad(lambda p: functional_call(net, p, (x,)).square().sum())(parameters)["0.weight"]


def forward_mode(net, x):
    return jvp(net, (x,), (torch.ones_like(x),))[1].detach()


def backward_mode(net, x):
    out, back = vjp(net, x)
    return back(torch.ones_like(out))[0].detach()


def mapped(net, x):
    return vmap(net)(x).detach()


def gradients_of_samples(net, x):
    parameters = {k: v.detach() for k, v in net.named_parameters()}

    def loss(p, sample):
        return functional_call(net, p, (sample[None],)).square().sum()

    return vmap(grad(loss), (None, 0))(parameters, x)["2.weight"]


def jacobian(net, x):
    return jacrev(net)(x[:2]).detach()


TRANSFORMS = (gradient, forward_mode, backward_mode, mapped, gradients_of_samples, jacobian)


@pytest.mark.hostile(114)
@pytest.mark.parametrize("kernel", [None, "reference"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_of_functions_are_left_alone_and_leave_nothing(transform, kernel):
    net, x = network(), batch()
    want = transform(net, x)
    with ActivationRecorder(net, capture=ALL, kernel=kernel, strict=True) as recorder:
        net(x).sum().backward()
        recorder.step()
        assert torch.equal(transform(net, x), want)
        assert {why for _, why in recorder.skipped} == {"inside torch.func"}
        recorder.step()
        net(x).sum().backward()
    assert recorder["0"].calls == recorder["3"].calls == recorder["3:grad"].calls == 2
    assert_stats_of(recorder["0:input"], torch.cat((x, x)), merges=2)
    assert np.isfinite(recorder["3"].mean)


@pytest.mark.hostile(114)
def test_a_functional_call_is_a_call():
    net, x = network(), batch()
    want = called(net, x)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        assert torch.equal(called(net, x), want)
    assert_stats_of(recorder["3"], want)
    assert recorder.skipped == {}
