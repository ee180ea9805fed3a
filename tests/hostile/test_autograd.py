"""Autograd, checkpointing, in-place operations: what is seen once, and what nobody notices."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from actstats import ActivationRecorder
from claims import Watched, assert_no_hooks, assert_recorded, assert_same_integers, assert_stats_of

ALL = ("output", "input", "grad")


def block():
    return nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.Tanh())


class Checkpointed(nn.Module):
    """Four modules that ``how`` runs, inside a checkpoint or not."""

    def __init__(self, how):
        super().__init__()
        self.block = block()
        self.how = how

    def forward(self, x):
        return self.how(self.block, x)


def plain(net, x):
    return net(x)


def nested(net, x):
    def inner(x):
        return checkpoint(net[1:], net[0](x), use_reentrant=False)

    return checkpoint(inner, x, use_reentrant=False)


def selective(net, x):
    def policy(ctx, op, *args, **kwargs):
        keep = op == torch.ops.aten.addmm.default
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    def contexts():
        return create_selective_checkpoint_contexts(policy)

    return checkpoint(net, x, use_reentrant=False, context_fn=contexts)


HOW = {
    "reentrant": lambda net, x: checkpoint(net, x, use_reentrant=True),
    "not reentrant": lambda net, x: checkpoint(net, x, use_reentrant=False),
    "nested": nested,
    "selective": selective,
}


def run(how, capture=ALL, **options):
    """Train a step; return the recorder, and how often each module really ran."""
    torch.manual_seed(1)
    net, calls = Checkpointed(how), {}
    for name, module in net.block.named_children():
        module.register_forward_hook(
            lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1)
        )
    x = torch.randn(16, 4, requires_grad=True)
    with ActivationRecorder(net, capture=capture, strict=True, **options) as recorder:
        net(x).square().sum().backward()
    return recorder, calls


@pytest.mark.hostile(37, 38, 39)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("name", HOW)
def test_recompute_is_counted_once(name, kernel):
    want, _ = run(plain, kernel=kernel)
    got, calls = run(HOW[name], kernel=kernel)
    assert max(calls.values()) > 1, "the checkpoint recomputed nothing"
    assert list(got) == list(want)
    for site in want:
        assert got[site].calls == 1, site
        assert_same_integers(got[site], want[site], site=site)


@pytest.mark.hostile(41, 42)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_no_graph_is_kept_however_many_steps_there_are(kernel):
    net = block()
    with ActivationRecorder(net, capture=ALL, kernel=kernel, strict=True) as recorder:
        for _ in range(50):
            net(torch.randn(8, 4, requires_grad=True)).sum().backward()
        states = [leaf.state for _, leaf in recorder._shared.leaves()]
    assert len(states) == 12
    for state in states:
        tensors = [value for value in vars(state).values() if isinstance(value, torch.Tensor)]
        assert len(tensors) >= 6
        assert not any(t.requires_grad or t.grad_fn is not None for t in tensors)
    assert recorder["3"].calls == 50


@pytest.mark.hostile(41, 61)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_an_observation_saves_no_tensor_for_backward(kernel):
    net, x, packed = block(), torch.randn(8, 4), []

    def step():
        packed.append([])
        with torch.autograd.graph.saved_tensors_hooks(lambda t: packed[-1].append(t) or t, _same):
            net(x).sum().backward()

    step()
    with ActivationRecorder(net, capture=ALL, kernel=kernel, strict=True) as recorder:
        step()
    assert len(packed[0]) == len(packed[1]) > 0
    assert recorder["1:grad"].calls == 1


def _same(tensor):
    return tensor


@pytest.mark.hostile(61)
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled:UserWarning")
def test_anomaly_mode_finds_nothing_of_the_recorder():
    net, x = block(), torch.randn(8, 4)
    with (
        Watched(net) as watched,
        ActivationRecorder(net, capture=ALL, strict=True) as recorder,
        torch.autograd.detect_anomaly(),
    ):
        net(x).sum().backward()
    assert_recorded(recorder, watched)


@pytest.mark.hostile(43, 44)
def test_no_module_backward_hook_is_ever_used():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4))
    with ActivationRecorder(net, capture=ALL, functional=True, strict=True):
        for module in net.modules():
            assert not module._backward_hooks
            assert not module._backward_pre_hooks
        out = net(torch.randn(3, 4))
        assert not out._is_view()
        assert type(out.grad_fn).__name__ == "AddmmBackward0"
        out += 1
        out.sum().backward()
    assert_no_hooks(net)


@pytest.mark.hostile(44)
def test_gradients_of_dicts_and_of_keyword_arguments():
    class Inner(nn.Module):
        def forward(self, *, x):
            return {"twice": 2 * x}

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x=x)["twice"]

    net, x = Outer(), torch.randn(8, 3, requires_grad=True)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        (3 * net(x)).sum().backward()
    assert_stats_of(recorder["inner['x']:input"], x)
    assert_stats_of(recorder["inner['twice']:grad"], torch.full((8, 3), 3.0))


@pytest.mark.hostile(45, 51)
def test_gradients_are_those_of_each_micro_batch():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True))
    with (
        Watched(net) as watched,
        ActivationRecorder(net, capture="grad", window=1, strict=True) as recorder,
    ):
        for _ in range(2):
            for scale in (1.0, 2.0, 4.0):
                (scale * net(torch.randn(5, 3))).sum().backward()
            recorder.step()
    assert_recorded(recorder, watched, ["0:grad", "1:grad"])
    for window in recorder.recording.windows:
        got = window["1:grad"]
        assert (got.calls, got.count, got.min, got.max) == (3, 30, 1.0, 4.0)  # no growing sums
        assert got.mean == pytest.approx(7 / 3, rel=1e-14)


@pytest.mark.hostile(49)
def test_a_second_backward_is_told_apart_and_reported():
    net, x = nn.Sequential(nn.Linear(3, 1)), torch.randn(8, 3)
    with ActivationRecorder(net, capture="grad", strict=True) as recorder:
        loss = net(x).sum()
        for factor in (1.0, 5.0, 5.0):
            (factor * loss).backward(retain_graph=True)
    assert recorder["0:grad"].max == 1.0
    why = "backward ran again through the same forward"
    assert recorder.skipped == {("0:grad", why): 2}
    assert f"skipped 2 x 0:grad: {why}" in str(recorder.summary())


@pytest.mark.hostile(52)
def test_no_hook_is_put_on_a_parameter_that_may_be_replaced():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        for _ in range(2):
            net(torch.randn(4, 3)).sum().backward()
            for parameter in net.parameters():
                assert not parameter._backward_hooks
                assert not parameter._post_accumulate_grad_hooks
            net[0].weight = nn.Parameter(torch.ones(2, 3))
    assert recorder["0:grad"].calls == recorder["0"].calls == 2


@pytest.mark.hostile(54)
def test_gradients_are_not_replaced():
    net, x = block(), torch.randn(8, 4, requires_grad=True)
    net(x).square().sum().backward()
    want = [x.grad, *(p.grad for p in net.parameters())]
    x.grad = None
    net.zero_grad()
    with ActivationRecorder(net, capture=ALL, strict=True):
        net(x).square().sum().backward()
    got = [x.grad, *(p.grad for p in net.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.hostile(54)
def test_every_hook_returns_none():
    net, returned = nn.Sequential(nn.Linear(4, 4), nn.GELU()), []
    with ActivationRecorder(net, capture=ALL, functional=True, strict=True):
        for module in net.modules():
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                for number, hook in list(hooks.items()):
                    hooks[number] = _noting(hook, returned)
        out = net(torch.randn(3, 4, requires_grad=True))
        returned += [hook(torch.ones_like(out)) for hook in out._backward_hooks.values()]
    assert len(returned) >= 7
    assert set(returned) == {None}


def _noting(hook, returned):
    def wrapped(*args):
        returned.append(hook(*args))

    return wrapped


@pytest.mark.hostile(55)
def test_the_recorder_sees_what_hooks_before_it_made():
    def five(module, args, output):
        return torch.full_like(output, 5.0)

    net = nn.Sequential(nn.Linear(3, 2), nn.Identity())
    net[0].register_forward_hook(five)
    with ActivationRecorder(net, capture=("output", "input"), strict=True) as last:
        net(torch.randn(4, 3))
    assert (last["0"].min, last["0"].max) == (5.0, 5.0)
    assert_same_integers(last["0"], last["1:input"])  # what the next module receives

    late = nn.Sequential(nn.Linear(3, 2), nn.Identity())
    x = torch.randn(4, 3)
    made = late[0](x)
    with ActivationRecorder(late, strict=True) as first:
        late[0].register_forward_hook(five)
        late(x)
    assert_stats_of(first["0"], made)  # what the module itself gave
    assert first["1"].min == 5.0


@pytest.mark.hostile(60)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_autocast_does_not_reach_the_sums(kernel, dtype):
    net = nn.Sequential(nn.Identity(), nn.GELU())
    x = 300 + torch.randn(4096, 3)
    recorder = ActivationRecorder(net, kernel=kernel, strict=True)
    with recorder, torch.autocast("cpu", dtype):
        out = net(x)
        half = net(x.to(dtype))
    assert_stats_of(recorder["1"], torch.cat([out.double(), half.double()]), merges=2)
    assert_stats_of(recorder["0"], torch.cat([x.double(), x.to(dtype).double()]), merges=2)


class Tree(nn.Module):
    """Calls itself, two branches a level."""

    def __init__(self):
        super().__init__()
        self.leaf = nn.Linear(4, 4)

    def forward(self, x, deep=2):
        return self.leaf(x) if not deep else self(x, deep - 1) + self(x, deep - 1)


@pytest.mark.hostile(57)
def test_a_model_that_calls_itself_is_one_forward():
    net = Tree()
    keep = torch.tensor([True, False, True, False])
    with ActivationRecorder(net, per_call="leaf", strict=True) as recorder:
        recorder.mask(keep)
        net(torch.randn(4, 4))
    assert [recorder[f"leaf#{i}"].count for i in (1, 2, 3, 4)] == [8] * 4


def test_saving_an_output_that_is_watched_warns_of_nothing(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    with ActivationRecorder(net, capture="grad"), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.save(net(torch.ones(1, 2)), tmp_path / "out.pt")
    assert told == []


@pytest.mark.hostile(57)
def test_what_was_judged_of_a_call_that_failed_is_told():
    net = nn.Sequential(nn.GELU())
    fails = iter([True, False])

    def fail_once(*_):
        if next(fails):
            raise ValueError("once")

    net[0].register_forward_hook(fail_once)
    with ActivationRecorder(net) as recorder:
        with pytest.raises(ValueError, match="once"):
            net(torch.randn(4, 4))
        net(torch.randn(4, 4))
    assert recorder["0"].count == 16
    assert recorder.skipped["0", "judged by what went in, but the call did not end"] == 1
