"""What is the CPU kernel's own: plans that are forgotten, threads, forks."""

import itertools
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest
import torch

from actstats import TensorStats
from actstats.kernels import Spec, State, cpu, reference
from actstats.kernels import _words as W
from claims import assert_identical, assert_same_integers, assert_stats_of
from kernel_claims import (
    DTYPES,
    assert_as_reference,
    assert_same_stats,
    fed,
    gate_of,
    observed,
    varied,
)

if cpu.why_not() is not None:
    pytest.skip(f"{cpu.why_not()}", allow_module_level=True)


# ---- plans ---------------------------------------------------------------------------------------


def test_a_plan_is_kept_while_tensors_are_alike():
    state = State(Spec(width=5))
    plans = []
    for x in (varied(9, 5), varied(9, 5), varied(8, 5), varied(5, 8).t(), varied(5, 8).t()):
        cpu.observe(x, state)
        plans.append(state.plan)
    same = [a is b for a, b in itertools.pairwise(plans)]
    assert same == [True, False, False, True]


def change_nothing(state):
    pass


def pool(state):
    state.pool()


def coarsen(state):
    state.coarsen(1)


def move(state):
    state.to(torch.device("cpu"))


@pytest.mark.parametrize("change", [change_nothing, pool, coarsen, move])
def test_a_plan_is_forgotten_with_its_memory(change):
    # a plan holds addresses: one that outlived its memory would write into what others own
    x = torch.nn.functional.gelu(torch.randn(70, 5))
    state = State(Spec(width=5, gate=gate_of("gelu")))
    cpu.observe(x, state)
    cpu.judge(x, state)
    before = state.memory.data_ptr()
    held = state.memory
    change(state)
    moved = state.memory.data_ptr() != before
    assert moved == (change in (pool, coarsen))
    if moved:
        assert (state.plan, state.judge_plan) == (None, None)
    kept = held.clone()
    cpu.observe(x, state)
    cpu.judge(x, state)
    assert moved == torch.equal(held, kept)
    stats = TensorStats.from_state(state)
    assert_stats_of(stats, torch.cat((x, x)), merges=8)
    assert int(stats.judged.seen.sum()) == 2 * x.numel()


def test_a_scale_is_of_one_call():
    x = torch.randn(30, 5)
    state = State(Spec(width=5))
    for scale in (None, 2.0, None, 4.0):
        cpu.observe(x * (scale or 1), state, scale=scale)
    assert_same_integers(TensorStats.from_state(state, units=5), observed(cpu, x, x, x, x))


def test_a_tensor_of_another_device_is_refused():
    with pytest.raises(ValueError, match="meta"):
        cpu.observe(torch.ones(3, device="meta"), State(Spec()))


@pytest.mark.parametrize("shape", [(), (4, 3)])
def test_memory_that_holds_no_values_or_their_negatives(shape):
    x = torch.randn(shape)
    axis = -1 if shape else None
    for odd in (torch._neg_view(x), torch._efficientzerotensor(shape)):
        for xs in ([odd], [x, odd, x], [odd, x, odd]):
            assert_as_reference(cpu, *xs, unit_axis=axis)
    odd, state = torch._efficientzerotensor((4, 3)), State(Spec(width=3, gate=gate_of("gelu")))
    far = torch.full((4, 3), 6.0)
    for z in (odd, far, odd, torch._neg_view(far)):
        cpu.judge(z, state)
    assert state.judged[1].tolist() == [12, 12, 12]  # gelu is steep at 0 and 6, and flat at -6


# ---- threads -------------------------------------------------------------------------------------


@pytest.fixture(params=[2, 3])
def threads(request, monkeypatch):
    """Let tensors of 1,000 values be worth threads."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cpu, "WORTH_THREADS", 1000)
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


LARGE = [
    ((40_000,), None),
    ((40, 30, 50), None),
    ((5000, 3), -1),
    ((700, 130), -1),
    ((2, 3000), -1),
    ((1, 3000), -1),
    ((3, 7, 600), 1),
    ((1, 2, 6000), 1),
    ((16, 60, 127), 1),
    ((1, 60, 127), 1),
    ((1, 2, 1000, 2), 1),
    ((300, 7, 3), 1),
    ((2, 900, 16), 1),
    ((2, 64, 9, 9), 1),
]


@pytest.mark.parametrize(("shape", "axis"), LARGE)
def test_threads_change_no_integer(threads, shape, axis):
    everything = {"gate": gate_of("tanh"), "asymptote": True, "edges": (-1.0, 0.0, 1.0)}
    for dtype in DTYPES:
        x = varied(*shape, dtype=dtype)
        assert_as_reference(cpu, x, unit_axis=axis, **everything)
        one, other = (observed(cpu, x, x, unit_axis=axis, **everything) for _ in range(2))
        assert_identical(one, other, site=f"{threads} threads, twice")
    if len(shape) == 4:
        last = varied(*shape).contiguous(memory_format=torch.channels_last)
        assert_as_reference(cpu, last, unit_axis=axis, **everything)
    assert torch.get_num_threads() == threads


def test_threads_are_used_for_large_tensors_only(threads, monkeypatch):
    parts = []
    spread = cpu._spread
    monkeypatch.setattr(cpu, "_spread", lambda *args: parts.append(args[-1]) or spread(*args))
    state = State(Spec())
    for n in (999, 1000, 5000):
        cpu.observe(torch.randn(n), state, unit_axis=None)
    assert parts == [threads, threads]
    torch.set_num_threads(1)
    cpu.observe(torch.randn(5000), state, unit_axis=None)
    assert len(parts) == 2
    assert int(state.calls) == 4


@pytest.mark.parametrize("name", ["gelu", "selu", "silu"])
def test_threads_judge_inputs(threads, name):
    for shape, axis in [((700, 7), -1), ((2, 9, 700), 1), ((5, 90, 20), 1)]:
        z = varied(*shape)
        state, want = (
            fed(k, z, z, unit_axis=axis, gate=gate_of(name), judged=True) for k in (cpu, reference)
        )
        assert state.judged.tolist() == want.judged.tolist()
        assert float(state.openness) == pytest.approx(float(want.openness), rel=1e-10)
    assert torch.get_num_threads() == threads


def test_threads_divide_by_the_scale_and_merge_with_what_was_seen(threads):
    x = 1e6 + 1e-3 * torch.randn(3000, 5, dtype=torch.float64)
    stats = observed(cpu, x[:10] * 3, x * 3, x[:700] * 3, scale=3.0)
    assert_stats_of(stats, torch.cat((x[:10], x, x[:700])) * 3 / 3, merges=20)


def test_an_interrupted_read_leaves_no_thread_at_work(threads, monkeypatch):
    # what a thread reads and writes would be freed, or changed by the next step, under it
    finished, read = [], cpu._read

    def interrupted(plan, words, *rest):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        time.sleep(0.2)
        read(plan, words, *rest)
        finished.append(True)

    monkeypatch.setattr(cpu, "_read", interrupted)
    state = State(Spec())
    with pytest.raises(KeyboardInterrupt):
        cpu.observe(torch.randn(5000), state, unit_axis=None)
    assert len(finished) == threads - 1
    monkeypatch.undo()
    assert int(state.counts[0]) == 0  # nothing of a part is merged
    cpu.observe(torch.randn(500), state, unit_axis=None)
    assert int(state.counts[0]) == 500


def test_threads_in_inference_mode(threads):
    with torch.inference_mode():
        x = torch.randn(3000, 5)
        state = fed(cpu, x)
    cpu.observe(x.clone(), state)
    assert_same_stats(
        TensorStats.from_state(state, units=5), observed(reference, x, x), exactly=True
    )


FORK = """
    import os, sys, torch
    from actstats.kernels import Spec, State, cpu, reference

    def seen():
        states = State(Spec(width=5)), State(Spec(width=5))
        cpu.observe(x, states[0])
        reference.observe(x, states[1])
        return torch.equal(states[0].counts, states[1].counts) and torch.equal(
            states[0].histogram, states[1].histogram)

    cpu.WORTH_THREADS = 1000
    torch.set_num_threads(2)
    x = torch.randn(3000, 5)
    assert {before}
    child = os.fork()
    if child == 0:
        os._exit(0 if seen() else 7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert seen()
    sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(cpu.os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("before", ["seen()", "cpu.why_not() is None"])
def test_threads_after_a_fork(before):
    # in a process of its own: threads that the child waits for in vain would hang it
    code = textwrap.dedent(FORK.format(before=before))
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_threads_leave_no_warning(threads):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        observed(cpu, varied(4000, 3)[::2], edges=(0.0, 1.0))
    assert [str(w.message) for w in caught] == []


# ---- what is counted on the way -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "with_activity"), [("relu", True), ("relu6", False)])
def test_the_openness_of_relu_follows_from_what_is_active(name, with_activity):
    x = torch.randn(70, 6, generator=torch.Generator().manual_seed(0)).relu()
    x[3, 2] = float("nan")
    state, want = (fed(k, x, gate=gate_of(name)) for k in (cpu, reference))
    assert (state.plan.words[W.SLOPE] == W.SLOPE_ACTIVE) == with_activity
    assert float(state.openness) == float(want.openness)
    if with_activity:
        assert float(state.openness) == int(state.judged[1].sum()) > 0


def test_nothing_stays_in_the_words_that_bins_near_one_pass_by():
    state = State(Spec(width=10, gate=gate_of("tanh"), asymptote=True))
    cpu.observe(torch.randn(64, 10).tanh(), state)
    assert int(state.asymptote.sum()) > 0
    assert not state.memory[W.SPARE : W.SPARE + W.SPARES].any()


@pytest.mark.parametrize("units", [1, 129, 10])
@pytest.mark.parametrize("samples", [15, 16, 40, 300])
def test_few_samples_leave_nothing_of_other_strips_behind(samples, units):
    x = torch.randn(samples, units, generator=torch.Generator().manual_seed(samples)).relu()
    assert_as_reference(cpu, x, gate=gate_of("relu"))
