"""Under torch.compile: one graph, no breaks, and the numbers of eager mode."""

import copy
import pickle
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from actstats import ActivationRecorder, compiled
from claims import assert_no_hooks, assert_tensors_equal
from compiling import (
    ALL,
    BACKENDS,
    assert_graphs,
    assert_recorded_alike,
    forget_all,
    recorded,
    said,
)

# The compiler looks at .grad of what a graph is given; users do not see this warning.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
# What runs in Python alone is the same for all; aot_eager cuts the graphs as inductor does.
compile_whole = partial(torch.compile, backend="aot_eager", fullgraph=True)


@pytest.fixture(autouse=True)
def _nothing_compiled():
    forget_all()
    yield
    torch.compiler.reset()


# ---- models --------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)
        self.act = nn.GELU()

    def forward(self, x):
        return x + self.act(self.fc(self.norm(x)))


class Deep(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.inner(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def chain(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.GELU())


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(27, 4),
        nn.Softplus(),
        nn.Linear(4, 2),
        nn.Tanh(),
    )


def regional(net):
    for block in net.blocks:
        block.compile(backend="aot_eager")
    return net


@dataclass
class Result:
    logits: torch.Tensor
    other: object


class Nests(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        a, b = x * self.weight, x * 2 * self.weight
        if self.kind == "ModelOutput":
            from transformers.modeling_outputs import CausalLMOutput

            return CausalLMOutput(logits=a, hidden_states=(b, x))
        return {
            "tuple": (a, [b, None, 3]),
            "dict": {"logits": a, "more": (b,)},
            "dataclass": Result(a, {"b": b}),
        }[self.kind]


class Outer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


# ---- the numbers of eager mode -------------------------------------------------------------------


@pytest.mark.hostile(3, 4, 8, 14)
@pytest.mark.parametrize(
    ("make", "backend"), [(Deep, "eager"), *((conv_net, backend) for backend in BACKENDS)]
)
def test_one_graph_with_eagers_numbers(make, backend):
    x = torch.randn(6, 1, 8, 8) if make is conv_net else torch.randn(6, 3)
    want, losses, _ = recorded(make, x)
    compiler = partial(torch.compile, backend=backend, fullgraph=True)
    got, compiled_losses, _ = recorded(make, x, compiler=compiler)
    assert_graphs(1)
    assert_recorded_alike(got, want, exact=backend != "inductor")
    assert compiled_losses == pytest.approx(losses, rel=1e-5)
    assert not got._shared.pending
    if make is conv_net:
        assert [got[site].units for site in ("0", "1", "2", "2:grad", "2:input")] == [3] * 5
        assert got["6"].saturated_fraction == pytest.approx(want["6"].saturated_fraction)


@pytest.mark.hostile(14)
@every_backend
def test_losses_and_gradients_are_those_of_a_run_without_a_recorder(backend):
    compiler = partial(torch.compile, backend=backend, fullgraph=True)
    x = torch.randn(6, 3)
    kept = []
    for capture in ((), ALL):
        torch.compiler.reset()
        torch.manual_seed(0)
        net = Deep()
        call = compiler(net)
        if capture:
            recorder = ActivationRecorder(net, capture=capture, strict=True).attach()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        seen = {}
        for step in range(3):
            loss = call(x).square().mean()
            loss.backward()
            seen |= {f"{step} {n}": p.grad.clone() for n, p in net.named_parameters()}
            seen[f"loss {step}"] = loss.detach()
            optimizer.step()
            optimizer.zero_grad()
        kept.append(seen)
    assert recorder["head:grad"].calls == 3
    if backend == "inductor":  # fuses in another way around what is read
        torch.testing.assert_close(kept[1], kept[0])
    else:
        assert_tensors_equal(kept[1], kept[0], backend)


@pytest.mark.hostile(6)
@every_backend
def test_blocks_compiled_one_by_one_share_their_graphs(backend):
    def regionally(net):
        for block in net.blocks:
            block.compile(backend=backend, fullgraph=True)
        return net

    make = partial(Deep, 24)
    x = torch.randn(6, 3)
    want, _, _ = recorded(make, x)
    got, _, _ = recorded(make, x, compiler=regionally)
    assert_graphs(1)
    assert_recorded_alike(got, want, exact=backend != "inductor")


@pytest.mark.hostile(5, 7)
def test_every_third_step_makes_two_graphs():
    x = torch.randn(6, 3)
    want, _, _ = recorded(Deep, x, steps=30, every=3)
    got, _, _ = recorded(Deep, x, steps=30, every=3, compiler=compile_whole)
    assert_graphs(2)
    assert_recorded_alike(got, want)
    assert len(got.recording.windows) == 10


@pytest.mark.parametrize("kind", ["tuple", "dict", "dataclass", "ModelOutput"])
def test_nested_outputs(kind):
    if kind == "ModelOutput":
        pytest.importorskip("transformers")

    def make():
        return Outer(Nests(kind))

    x = torch.randn(4, 3)
    want, _, _ = recorded(make, x)
    got, _, _ = recorded(make, x, compiler=compile_whole)
    assert_graphs(1)
    assert_recorded_alike(got, want)
    assert sum(site.endswith(":grad") for site in got) == 2


def test_nested_inputs_and_keywords():
    class Adds(nn.Module):
        def forward(self, x, *, more, unused=None):
            return x + more["a"]

    class Net(Outer):
        def __init__(self):
            super().__init__(Adds())
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(self.fc(x), more={"a": x})

    x = torch.randn(4, 3)
    want, _, _ = recorded(Net, x)
    got, _, _ = recorded(Net, x, compiler=compile_whole)
    assert_recorded_alike(got, want)
    assert "inner['more']['a']:input" in got


def test_calls_of_a_shared_module_are_told_apart():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(3, 3), nn.GELU()

        def forward(self, x):
            for _ in range(3):
                x = self.act(self.fc(x))
            return x

    x = torch.randn(4, 3)
    want, _, _ = recorded(Net, x, per_call="*")
    got, _, _ = recorded(Net, x, per_call="*", compiler=compile_whole)
    assert_graphs(1)
    assert_recorded_alike(got, want)
    assert "fc#3:grad" in got


def test_inplace_operations_after_a_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(3, 4), nn.SiLU(inplace=True)

        def forward(self, x):
            y = self.fc(x)
            y += 1000
            return self.act(y - 1000) * 3

    x = torch.randn(4, 3)
    want, _, _ = recorded(Net, x)
    got, _, _ = recorded(Net, x, compiler=compile_whole)
    assert_recorded_alike(got, want)
    assert got["fc"].max < 100


def test_a_mask_holds_for_one_forward_and_its_gradients():
    padding = torch.tensor([True, False, False, True, True])
    counts = []
    for compiler in (None, compile_whole):
        net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
        call = compiler(net) if compiler else net
        with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
            recorder.mask(padding)
            first, second = call(torch.ones(5, 3)), call(torch.ones(5, 3))
            (first.sum() + second.sum()).backward()
        counts.append({site: recorder[site].count for site in recorder})
    assert counts[1] == counts[0]
    assert counts[1]["2:grad"] == counts[1]["2"] == 2 * (2 + 5)


def test_phases_are_kept_apart():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.ReLU())
    x = torch.randn(5, 3)
    call = compile_whole(net)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        call(x).sum().backward()
        net.eval()
        with torch.no_grad():
            call(x)
        with torch.inference_mode():
            call(x)
        with recorder.phase("mine"):
            call(x)
        net.train()
        call(x).sum().backward()
    calls = {
        phase: {stats.calls for stats in recorder.select(phase=phase).values()}
        for phase in recorder.recording.phases
    }
    assert calls == {"train": {2}, "eval": {2}, "mine": {1}}


@pytest.mark.hostile(112)
def test_inference_mode_first_then_training():
    net = chain()
    call = compile_whole(net)
    with torch.inference_mode():
        recorder = ActivationRecorder(net, capture=ALL, strict=True).attach()
        call(torch.randn(5, 3))
    call(torch.randn(5, 3)).sum().backward()
    assert (recorder["1"].calls, recorder["1:grad"].calls) == (2, 1)


def test_two_widths_of_a_batch_make_two_graphs():
    net = chain()
    call = compile_whole(net)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        for n in (3, 5, 7, 9):
            call(torch.randn(n, 3)).sum().backward()
    assert_graphs(2)
    assert recorder["1:grad"].count == 24 * 4


@pytest.mark.hostile(10, 11)
@every_backend
def test_checkpointing_counts_once(backend):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.block, self.last = nn.Linear(3, 4), Block(), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(checkpoint(self.block, self.first(x), use_reentrant=False))

    x = torch.randn(5, 3)
    want, _, _ = recorded(Net, x)
    compiler = partial(torch.compile, backend=backend, fullgraph=True)
    got, _, _ = recorded(Net, x, compiler=compiler)
    assert_graphs(1)
    assert_recorded_alike(got, want, exact=backend != "inductor")
    assert got["block.fc:grad"].calls == 3


@pytest.mark.hostile(11)
@pytest.mark.parametrize("reentrant", [True, False])
def test_compiled_blocks_inside_checkpoints_count_once(reentrant):
    class Net(Deep):
        def forward(self, x):
            x = self.inner(x)
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant)
            return self.head(x)

    x = torch.randn(5, 3)
    want, _, _ = recorded(Net, x)
    got, _, _ = recorded(Net, x, compiler=regional)
    assert_recorded_alike(got, want)


def test_compiled_autograd():
    x = torch.randn(5, 3)
    want, _, _ = recorded(Deep, x)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="aot_eager")):
        got, _, _ = recorded(Deep, x, compiler=compile_whole)
    assert_recorded_alike(got, want)


def test_a_module_that_hands_out_what_the_graph_was_given():
    class Inner(nn.Module):
        def __init__(self, first):
            super().__init__()
            self.first, self.fc = first, nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(self.first(x))

    def compile_inner(net):
        net[1].compile(backend="aot_eager", fullgraph=True)
        return net

    x = torch.randn(5, 3)
    for first in (nn.Identity, partial(nn.ReLU, inplace=True)):

        def make(first=first):
            return nn.Sequential(nn.Linear(3, 3), Inner(first()))

        want, _, _ = recorded(make, x)
        got, _, _ = recorded(make, x, compiler=compile_inner)
        assert_recorded_alike(got, want)


def test_a_graph_that_breaks_leaves_hooks_to_python():
    class Net(Deep):
        def forward(self, x):
            x = self.inner(x)
            torch._dynamo.graph_break()
            return self.head(self.blocks[0](x))

    make = partial(Net, 1)
    x = torch.randn(5, 3)
    compiler = partial(torch.compile, backend="aot_eager")
    compiler(make())(x)
    alone = counters["stats"]["unique_graphs"]
    forget_all()
    want, _, _ = recorded(make, x)
    got, _, _ = recorded(make, x, compiler=compiler)
    assert counters["stats"]["unique_graphs"] == alone
    assert_recorded_alike(got, want)


def test_functions_in_compiled_code_are_not_seen():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(3, 4), nn.ReLU()

        def forward(self, x):
            return self.act(torch.tanh(self.fc(x)))

    got, _, _ = recorded(Net, torch.randn(5, 3), compiler=compile_whole, functional=True)
    assert list(got) == ["fc", "fc:grad", "fc:input", "act", "act:grad", "act:input"]
    assert torch._C._len_torch_function_stack() == 0


# ---- what cannot be observed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [lambda x: x.long(), lambda x: x.detach().to("meta")],
    ids=["int", "meta"],
)
def test_what_cannot_be_observed_is_counted_as_in_eager_mode(make):
    class Gives(nn.Module):
        def forward(self, x):
            return make(x)

    class Net(Outer):
        def __init__(self):
            super().__init__(Gives())
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            y = self.fc(x)
            self.inner(y)
            return y

    x = torch.randn(4, 3)
    want, _, _ = recorded(Net, x)
    got, _, _ = recorded(Net, x, compiler=compile_whole)
    assert_recorded_alike(got, want)
    assert got.skipped


def test_vmap_is_skipped_with_a_reason():
    net = chain()
    x = torch.randn(5, 3)
    want = torch.func.vmap(net)(x)
    with ActivationRecorder(net, strict=True) as recorder:
        torch.testing.assert_close(compile_whole(torch.func.vmap(net))(x), want)
    assert ("0", "inside torch.func") in recorder.skipped
    assert list(recorder) == []


def test_a_second_backward_is_skipped():
    net = chain()
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        loss = torch.compile(net, backend="eager", fullgraph=True)(torch.randn(5, 3)).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert recorder["1:grad"].calls == 1
    assert ("1:grad", "backward ran again or too late") in recorder.skipped


def test_gradients_that_never_come_are_forgotten(monkeypatch):
    monkeypatch.setattr(compiled, "MAX_PENDING", 4)
    net = chain()
    call = compile_whole(net)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        early = call(torch.randn(5, 3)).sum()
        for _ in range(3):
            call(torch.randn(5, 3))
        early.backward()
        assert len(recorder._shared.pending) == 4
    assert recorder["1"].calls == 4
    assert "1:grad" not in recorder


@pytest.mark.parametrize("strict", [False, True])
def test_an_error_turns_its_site_off_and_the_models_forward_goes_on(strict, caplog, monkeypatch):
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    recorder = ActivationRecorder(net, capture=ALL, strict=strict, kernel="reference")
    observe = recorder._shared.kernel.observe

    def breaks(x, *args, **options):
        if x.shape[-1] == 2:
            raise ValueError("broken")
        observe(x, *args, **options)

    monkeypatch.setattr(recorder._shared.kernel, "observe", breaks)
    x = torch.randn(5, 3)
    want = net(x)
    with recorder:
        call = compile_whole(net)
        if strict:
            with pytest.raises(ValueError, match="broken"):
                call(x)
            return
        for _ in range(2):
            out = call(x)
            out.sum().backward()
    torch.testing.assert_close(out, want)
    assert "turned off: 2 (ValueError: broken)" in str(recorder.summary())
    assert recorder["1"].calls == recorder["1:grad"].calls == 2
    assert said(caplog).count("2 is not recorded any more: broken") == 1


# ---- life cycle ----------------------------------------------------------------------------------


@pytest.mark.hostile(12)
def test_names_do_not_change_where_the_compiled_model_is_given():
    call = compile_whole(chain())
    with ActivationRecorder(call, capture=ALL, strict=True) as recorder:
        for _ in range(2):
            call(torch.randn(4, 3)).sum().backward()
            recorder.mask(torch.tensor([True, False, False, False]))
    assert list(recorder) == ["0", "0:grad", "0:input", "1", "1:grad", "1:input"]
    assert recorder["1"].count == recorder["1:grad"].count == 4 * (4 + 3)


@pytest.mark.hostile(5, 15)
def test_attaching_again_makes_no_new_graph():
    net = chain()
    call = compile_whole(net)
    recorder = ActivationRecorder(net, capture=ALL, strict=True)
    for _ in range(12):  # more often than torch makes new graphs of one function
        with recorder:
            call(torch.randn(5, 3))
    assert_graphs(1)
    assert recorder["1"].calls == 12
    call(torch.randn(5, 3))
    assert recorder["1"].calls == 12
    assert_no_hooks(net)


@pytest.mark.hostile(15)
def test_two_recorders():
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    call = compile_whole(net)
    one = ActivationRecorder(net, capture=ALL, strict=True).attach()
    call(torch.randn(5, 3)).sum().backward()
    other = ActivationRecorder(net, include=nn.Linear, capture="grad", strict=True).attach()
    call(torch.randn(5, 3)).sum().backward()
    one.detach()
    call(torch.randn(5, 3)).sum().backward()
    assert {one[site].calls for site in one} == {2}
    assert {other[site].calls for site in other} == {2}
    assert list(other) == ["0:grad", "2:grad"]


@pytest.mark.hostile(104)
def test_copies_are_inert():
    net = chain()
    x = torch.randn(5, 3)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        compile_whole(net)(x).sum().backward()
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            compile_whole(other)(x).sum().backward()
    assert {recorder[site].calls for site in recorder} == {1}


def test_a_recorder_that_is_gone_leaves_a_graph_that_runs():
    net = chain()
    call = compile_whole(net)
    recorder = ActivationRecorder(net, capture=ALL, strict=True).attach()
    early = call(torch.randn(5, 3)).sum()
    del recorder
    early.backward()
    first = net[0].weight.grad.clone()
    call(torch.randn(5, 3)).sum().backward()
    assert first.abs().sum() > 0
    assert not torch.equal(net[0].weight.grad, first)


def test_recording_a_model_that_is_not_compiled_does_not_load_the_compiler():
    statements = (
        "import sys, torch, actstats",
        "net = torch.nn.Sequential(torch.nn.Linear(3, 3))",
        "actstats.ActivationRecorder(net, capture='grad').attach()",
        "net(torch.ones(2, 3)).sum().backward()",
        "sys.exit('torch._dynamo' in sys.modules)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(statements)], timeout=120)
    assert done.returncode == 0


# ---- attaching too late --------------------------------------------------------------------------


LATE = {
    "a chain": (chain, compile_whole, ["0", "1"]),
    "a model": (Deep, compile_whole, ["inner", "blocks.0.fc", "blocks.1.act", "head"]),
    "blocks": (Deep, regional, ["blocks.0.fc", "blocks.1.act"]),
    "a function": (Deep, lambda net: compile_whole(lambda x: net(x)), ["inner", "head"]),
    "an argument": (Deep, lambda net: partial(compile_whole(lambda f, x: f(x)), net), ["head"]),
}


@pytest.mark.hostile(1)
@pytest.mark.parametrize("case", LATE)
def test_attaching_after_the_first_call_is_said(case, caplog):
    make, compiler, names = LATE[case]
    net = make()
    call = compiler(net)
    x = torch.randn(5, 3)
    call(x)
    with ActivationRecorder(net, strict=True) as recorder:
        assert "torch.compiler.reset()" in said(caplog)
        call(x)
        seen = list(recorder)
        summary = str(recorder.summary())
        assert not set(names) & set(seen)
        assert all(name in summary for name in names)
        assert "not seen, since compiled before the recorder was attached" in summary
        torch.compiler.reset()
        call(x)
    assert set(names) <= set(recorder)
    assert "not seen" not in str(recorder.summary())


def test_a_reset_forgets_what_ran_without_hooks_once():
    net, x = chain(), torch.randn(5, 3)
    recorder = ActivationRecorder(net, strict=True)
    with recorder:
        net(x)
    call = compile_whole(net)
    call(x)
    with recorder:
        recorder.reset()
        call(x)
        assert "not seen" in str(recorder.summary())  # as before: it still runs without hooks
        torch.compiler.reset()
        call(x)
        assert "not seen" not in str(recorder.summary())
        for calls in (0, 1, 2):
            recorder.reset()
            for _ in range(calls):
                call(x)
            assert "not seen" not in str(recorder.summary())


@pytest.mark.hostile(1)
def test_attaching_again_after_a_call_without_hooks_is_said(caplog):
    net = chain()
    call = compile_whole(net)
    recorder = ActivationRecorder(net, strict=True)
    with recorder:
        call(torch.randn(5, 3))
    call(torch.randn(5, 3))
    assert not said(caplog)
    with recorder:
        assert "not seen" in said(caplog)
        call(torch.randn(5, 3))
        assert recorder["1"].calls == 1
        torch.compiler.reset()
        call(torch.randn(5, 3))
    assert recorder["1"].calls == 2
    assert "not seen" not in str(recorder.summary())


@pytest.mark.hostile(1)
def test_an_equal_model_that_was_compiled_without_hooks_is_said(caplog):
    compile_whole(chain())(torch.randn(5, 3))
    net = chain()
    with ActivationRecorder(net):
        assert "not seen" in said(caplog)  # torch runs the first one's graph, and no hook


def test_nothing_is_said_in_time(caplog):
    x = torch.randn(5, 3)
    compile_whole(chain(width=7))(x)  # another model
    alone = nn.Linear(3, 4)
    alone.compile(backend="aot_eager")  # its own hooks run before and after what is compiled
    alone(x)
    for make, compiler in ((chain, compile_whole), (chain, compile_whole), (Deep, regional)):
        net = make()
        call = compiler(net)
        with ActivationRecorder(net, strict=True) as recorder:
            call(x)
        with recorder, ActivationRecorder(net, strict=True) as other:
            call(x)
        assert {recorder[site].calls for site in recorder} == {2}
        assert {other[site].calls for site in other} == {1}
    with ActivationRecorder({"alone": alone}, strict=True) as recorder:
        alone(x)
    assert recorder["alone"].calls == 1
    assert not said(caplog)
