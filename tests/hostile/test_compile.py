"""torch.compile, export and tracing: what users run, and what a naive hook spoils there."""

import re
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.parallel import DistributedDataParallel

from actstats import ActivationRecorder, make_mlp
from claims import assert_no_hooks, assert_tensors_equal
from compiling import ALL, assert_graphs, assert_recorded_alike, forget_all, recorded, said

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning"  # the compiler looks at it
)
compile_whole = partial(torch.compile, backend="aot_eager", fullgraph=True)


@pytest.fixture(autouse=True)
def _nothing_compiled():
    forget_all()
    yield
    torch.compiler.reset()


class Scaled(nn.Module):
    """Observed, and no leaf: it has a parameter of its own and a child."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((4,), 2.0))
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(x) * self.scale


def chain():
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), Scaled())


# ---- real models, whole graphs -------------------------------------------------------------------


def mlp():
    return make_mlp(6, [16] * 3, 4, activation="relu"), torch.randn(32, 6)


def resnet():
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic"
    )
    return transformers.ResNetModel(config), torch.randn(2, 3, 32, 32)


def gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2, use_cache=False
    )
    return transformers.GPT2LMHeadModel(config), torch.randint(0, 20, (2, 12))


@pytest.mark.hostile(3, 4, 8, 14)
@pytest.mark.parametrize(
    ("make", "backend"),
    [(mlp, "aot_eager"), (mlp, "inductor"), (resnet, "aot_eager"), (gpt2, "aot_eager")],
)
def test_real_models_are_one_graph_with_every_count_of_eager_mode(make, backend):
    _, x = make()
    compiler = partial(torch.compile, backend=backend, fullgraph=True)
    options = {"capture": ("output", "grad"), "rate": 0.01}
    want, losses, _ = recorded(lambda: make()[0], x, **options)
    got, compiled_losses, _ = recorded(lambda: make()[0], x, compiler=compiler, **options)
    assert_graphs(1)
    assert_recorded_alike(got, want)
    assert compiled_losses == pytest.approx(losses, rel=1e-5)
    outputs = [site for site in got if not site.endswith(":grad")]
    assert [site for site in got if site.endswith(":grad")] == [f"{one}:grad" for one in outputs]
    assert got.never_called() == want.never_called()


# ---- low precision -------------------------------------------------------------------------------


def in_bfloat16(*, record):
    """Run a compiled model forward and backward; return its output and gradients."""
    torch.compiler.reset()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32)).bfloat16()
    x = torch.randn(64, 16, dtype=torch.bfloat16)
    recorder = ActivationRecorder(net, strict=True)
    with recorder if record else nullcontext():
        out = torch.compile(net, fullgraph=True)(x)
        out.float().square().mean().backward()
    assert recorder.never_called() == (() if record else ("0", "1", "2"))
    return {"out": out.detach()} | {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.hostile(9)
def test_in_low_precision_runs_are_identical_where_roundings_are_emulated():
    with torch._inductor.config.patch(emulate_precision_casts=True):
        got, want = in_bfloat16(record=True), in_bfloat16(record=False)
    assert_tensors_equal(got, want, "emulated")
    got, want = in_bfloat16(record=True), in_bfloat16(record=False)
    assert any(not torch.equal(got[name], want[name]) for name in want)  # as the docs say


# ---- too late, under other names -----------------------------------------------------------------


@pytest.mark.hostile(13)
def test_gradients_asked_for_after_the_first_call_are_said(caplog):
    net = make_mlp(3, [4], 2)
    call = compile_whole(net)
    x = torch.randn(5, 3)
    call(x).sum().backward()
    with ActivationRecorder(net, capture="grad", strict=True) as recorder:
        assert "fc1, act1, out; attach before the first call" in said(caplog)
        call(x).sum().backward()
        assert list(recorder) == []
        assert "never called: fc1, act1, out" in str(recorder.summary())
        torch.compiler.reset()
        call(x).sum().backward()
    assert {recorder[site].calls for site in recorder} == {1}
    assert list(recorder) == ["fc1:grad", "act1:grad", "out:grad"]


def twins(x, recorders=1):
    """Call two equal models in turn, as a student and its average are, some of them recorded."""
    nets = chain(), chain()
    student, average = map(compile_whole, nets)
    made = [ActivationRecorder(net, strict=True).attach() for net in nets[:recorders]]
    for _ in range(4):
        student(x)
        average(x)
        for recorder in made:
            recorder.step()
    return made[0]


@pytest.mark.hostile(1, 15)
def test_an_equal_model_that_is_compiled_later_without_hooks_is_said(caplog):
    x = torch.randn(5, 3)
    recorder = twins(x)
    assert recorder["2.fc"].calls == 1  # if it were 4, torch's guards would tell the two apart
    assert said(caplog).count("equal model without a recorder: 0, 1, 2, 2.fc; set torch._dyn") == 1
    assert "seen only in part" in str(recorder.summary())
    caplog.clear()
    forget_all()
    assert twins(x, recorders=2)["2.fc"].calls == 4
    forget_all()
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        recorder = twins(x)
    assert recorder["2.fc"].calls == 4
    assert "seen only in part" not in str(recorder.summary())
    assert said(caplog) == ""


def test_a_reset_forgets_that_the_code_of_an_equal_model_ran():
    recorder = twins(torch.randn(5, 3))  # the models are gone: nothing runs it again
    assert "seen only in part" in str(recorder.summary())
    recorder.reset()
    assert "seen only in part" not in str(recorder.summary())


def test_nothing_is_said_of_a_model_beside_a_compiled_equal_one(caplog):
    net, x = chain(), torch.randn(5, 3)
    with ActivationRecorder(net, strict=True) as recorder:
        average = compile_whole(chain())
        for _ in range(4):
            net(x)
            average(x)
            recorder.step()
        assert "seen only in part" not in str(recorder.summary())
    assert recorder["2.fc"].calls == 4
    assert said(caplog) == ""


class Broken(nn.Module):
    """A graph breaks in it, once before and once within what it calls."""

    def __init__(self):
        super().__init__()
        self.fc, self.act = nn.Linear(3, 3), nn.Tanh()

    def forward(self, x):
        y = torch.sin(x)
        torch._dynamo.graph_break()
        return self.act(self.fc(torch.cos(y)))


class Thins(nn.Module):
    def forward(self, x):
        return x.to_sparse()


def test_nothing_is_said_of_modules_around_a_graph_break(caplog):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.m, self.z = nn.Linear(3, 3), Broken(), nn.Linear(3, 2)
            self.thin = Thins()

        def forward(self, x):
            return self.z(self.thin(self.m(self.a(x))).to_dense())

    net = Net()
    with ActivationRecorder(net, strict=True) as recorder:
        compiled = torch.compile(net, backend="eager")
        for _ in range(3):
            compiled(torch.randn(5, 3))
            recorder.step()
        assert "seen only in part" not in str(recorder.summary())
    assert [recorder[name].calls for name in ("a", "m.fc", "m.act", "z")] == [3] * 4
    assert "equal model" not in said(caplog)


@pytest.fixture
def one_rank():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def checkpointed(net):
    return nn.Sequential(checkpoint_wrapper(net[0]), *net[1:])


WRAPPERS = {
    "compiled": compile_whole,
    "data-parallel": nn.DataParallel,
    "distributed": DistributedDataParallel,
    "distributed, compiled": lambda net: DistributedDataParallel(compile_whole(net)),
    "compiled, distributed": lambda net: torch.compile(  # torch breaks the graph of its own code
        DistributedDataParallel(net), backend="aot_eager"
    ),
    "checkpointed": checkpointed,
}


@pytest.mark.hostile(12)
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_model_has_its_own_names_and_each_call_once(wrap, one_rank):
    x = torch.randn(5, 3)
    want, _, _ = recorded(chain, x)
    got, _, _ = recorded(lambda: WRAPPERS[wrap](chain()), x)
    assert_recorded_alike(got, want)
    assert list(got)[-3:] == ["2.fc", "2.fc:grad", "2.fc:input"]


# ---- export and tracing --------------------------------------------------------------------------


def in_words(graph):
    """Return a graph's nodes without what differs between runs."""
    return [(node.op, str(node.target), len(node.all_input_nodes)) for node in graph.nodes]


def canonical(traced):
    """Return a jit graph's text without the names and numbers that differ between runs."""
    graph = torch._C._jit_pass_canonicalize(traced.inlined_graph, False)
    return re.sub(r"___torch_mangle_\d+\.", "", str(graph))


def recording(net, x, **options):
    """Attach a recorder, and let it settle into its short way."""
    recorder = ActivationRecorder(net, capture=ALL, strict=True, **options).attach()
    for _ in range(3):
        net(x).sum().backward()
        recorder.step()
    return recorder


def counts(recorder):
    return {site: stats.calls for site, stats in recorder.items()}


@pytest.mark.hostile(16, 17)
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # torch's own call
@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_holds_nothing_of_the_recorder(strict, functional):
    net, x = chain(), torch.randn(5, 3)
    want = torch.export.export(net, (x,), strict=strict)
    recorder = recording(net, x, functional=functional)
    before = counts(recorder)
    program = torch.export.export(net, (x,), strict=strict)
    assert counts(recorder) == before
    recorder.detach()
    assert in_words(program.graph) == in_words(want.graph)
    assert program.constants.keys() == want.constants.keys()
    assert program.state_dict.keys() == want.state_dict.keys()
    assert not program.graph_signature.buffers_to_mutate
    assert torch.equal(program.run_decompositions().module()(x), net(x))
    assert counts(recorder) == before


@pytest.mark.hostile(17)
def test_fake_tensors_are_skipped():
    net, x = chain(), torch.randn(5, 3)
    recorder = recording(net, x)
    before = counts(recorder)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        net(mode.from_tensor(x))
    assert counts(recorder) == before
    assert ("0", "FakeTensor tensors are not supported yet") in recorder.skipped


@pytest.mark.hostile(18)
def test_a_symbolic_trace_holds_the_models_own_calls():
    net, x = chain(), torch.randn(5, 3)
    want = torch.fx.symbolic_trace(net)
    recorder = recording(net, x)
    before = counts(recorder)
    traced = torch.fx.symbolic_trace(net)
    assert counts(recorder) == before
    assert traced.code == want.code
    assert in_words(traced.graph) == in_words(want.graph)
    fresh = ActivationRecorder(net, strict=True)
    with fresh:
        torch.fx.symbolic_trace(net)
        assert fresh.never_called() == ("0", "1", "2", "2.fc")
        traced(x)
    assert fresh.never_called() == ("2",)  # its forward is in the graph now
    assert counts(fresh) == {"0": 1, "1": 1, "2.fc": 1}


@pytest.mark.hostile(19)
@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"tracing_mode": "fake"}, {"tracing_mode": "symbolic"}, {"pre_dispatch": True}],
    ids=["real", "fake", "symbolic", "before dispatch"],
)
def test_make_fx_sees_the_model_alone(options, functional):
    net, x = chain(), torch.randn(5, 3)

    def forward(weights, x):
        return torch.func.functional_call(net, weights, (x,))

    def gradient(weights, x):
        return torch.autograd.grad(forward(weights, x).square().sum(), weights["0.weight"])

    weights = dict(net.named_parameters())
    functions = (forward,) if "pre_dispatch" in options else (forward, gradient)
    want = [make_fx(function, **options)(weights, x) for function in functions]
    recorder = recording(net, x, functional=functional)
    before = counts(recorder)
    got = [make_fx(function, **options)(weights, x) for function in functions]
    assert counts(recorder) == before
    assert [in_words(one.graph) for one in got] == [in_words(one.graph) for one in want]
    assert ("0", "inside torch.fx") in recorder.skipped
    assert torch.equal(got[0](weights, x), net(x))


@pytest.mark.hostile(20)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("functional", [False, True])
def test_neither_a_jit_trace_nor_its_check_is_counted(functional):
    net, x = chain(), torch.randn(5, 3)
    want = torch.jit.trace(net, x)
    recorder = recording(net, x, functional=functional)
    before = counts(recorder)
    traced = torch.jit.trace(net, x)
    part = torch.jit.trace(net[2], torch.randn(5, 4))
    assert canonical(traced) == canonical(want)
    assert torch.equal(traced(x), want(x))
    part(torch.randn(5, 4))
    assert counts(recorder) == before
    net(x)
    assert recorder["2.fc"].calls == before["2.fc"] + 1


@pytest.mark.hostile(21)
def test_scripting_tells_what_to_do_and_works_while_paused():
    net, x = nn.Sequential(nn.Linear(3, 4), nn.GELU()), torch.randn(5, 3)
    recorder = recording(net, x)
    with pytest.raises(AttributeError, match=r"with recorder.paused\(\)"):
        torch.jit.script(net)
    with recorder.paused():
        scripted = torch.jit.script(net)
    assert torch.equal(scripted(x), net(x))
    assert recorder["1"].calls == 4


@pytest.mark.hostile(22)
@pytest.mark.parametrize(
    "make",
    [torch.jit.script, partial(torch.jit.trace, example_inputs=(torch.ones(5, 4),))],
    ids=["script", "trace"],
)
def test_what_is_scripted_is_turned_off_alone(make):
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net = nn.Sequential(nn.Linear(3, 4), make(inner))
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        net(torch.randn(5, 3)).sum().backward()
    assert list(recorder) == ["0", "0:grad", "0:input"]
    assert "turned off: 1.0 (scripted modules take no hooks)" in str(recorder.summary())
    with ActivationRecorder(make(inner), strict=True) as recorder:
        assert list(recorder) == []
    assert "turned off: 1 (scripted modules take no hooks)" in str(recorder.summary())


# ---- hooks for all -------------------------------------------------------------------------------


def global_hooks():
    return {
        name: len(hooks)
        for name, hooks in vars(torch.nn.modules.module).items()
        if name.startswith("_global_") and isinstance(hooks, dict)
    }


@pytest.mark.hostile(14, 23)
def test_hooks_are_forward_hooks_of_the_chosen_modules_alone():
    net, other = chain(), chain()
    before = global_hooks()
    assert len(before) > 5
    with ActivationRecorder(net, include=nn.GELU, capture=ALL, functional=False) as recorder:
        other(torch.randn(5, 3)).sum().backward()
        assert global_hooks() == before
        assert_no_hooks(other)
        assert_no_hooks(net[0])
        for module in net.modules():
            assert [*module._backward_hooks, *module._backward_pre_hooks] == []
    assert list(recorder) == []
