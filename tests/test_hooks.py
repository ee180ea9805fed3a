"""What hooks see, and that they change nothing: the hostile cases, one test each."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from actstats import ActivationRecorder, TensorStats
from actstats._torch import watch_gradient
from claims import (
    Watched,
    assert_recorded,
    assert_same_integers,
    assert_stats_of,
    assert_tensors_equal,
    hook_counts,
)

ALL = ("output", "input", "grad")


def recorded(model, *args, backward=True, **options):
    """Run one step under a recorder and under plain hooks."""
    options.setdefault("capture", ALL)
    with Watched(model) as watched, ActivationRecorder(model, strict=True, **options) as recorder:
        out = model(*args)
        if backward:
            out.square().sum().backward()
    return recorder, watched


# ---- observation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_outputs_inputs_and_gradients(dtype):
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 2))
    recorder, watched = recorded(net.to(dtype), torch.randn(16, 3, dtype=dtype))
    assert_recorded(recorder, watched)
    assert set(recorder) == set(watched.seen)


@pytest.mark.hostile(77)
def test_convolutions_have_their_units_on_axis_one():
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
    x = torch.randn(4, 2, 10, 10).contiguous(memory_format=torch.channels_last)
    recorder, watched = recorded(net, x)
    assert_recorded(recorder, watched)
    for site in ("0", "1", "2", "3", "0:grad", "2:input"):
        assert recorder[site].units == 6, site
    want = watched.seen["2"][0].double().mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(recorder["2"].moments.mean, want, rtol=1e-13)


@pytest.mark.hostile(43, 45, 53)
def test_inplace_relu_after_a_linear():
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    recorder, watched = recorded(net, torch.randn(16, 3))
    assert_recorded(recorder, watched)
    assert recorder["0"].min < 0  # read before it was overwritten
    assert recorder["1:input"].min < 0
    zero = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    zero.load_state_dict(net.state_dict())
    torch.manual_seed(3)
    x = torch.randn(16, 3)
    one, _ = recorded(net, x)
    other, _ = recorded(zero, x)
    for site in other:
        assert_same_integers(one[site], other[site], site=site)


@pytest.mark.hostile(53)
@pytest.mark.parametrize("capture", [ALL, ("output",)], ids=["all", "output"])
@pytest.mark.parametrize("name", ["SiLU", "ELU", "CELU", "SELU", "Mish", "Hardswish"])
def test_z_is_read_before_an_inplace_activation_overwrites_it(name, capture):
    act = getattr(nn, name)(inplace=True)
    net = nn.Sequential(nn.Linear(3, 5), act)
    net[0].weight.data *= 8
    x = torch.randn(64, 3)
    z = net[0](x).detach()
    recorder, _ = recorded(net, x, capture=capture)
    plain = getattr(nn, name)()
    want = TensorStats.from_tensor(plain(z), z=z, activation=plain)
    assert_same_integers(recorder["1"], want)
    assert recorder["1"].saturated_fraction == want.saturated_fraction
    assert recorder["1"].gate_openness == pytest.approx(want.gate_openness, rel=1e-13)


@pytest.mark.hostile(43, 53)
def test_an_inplace_operation_right_after_a_module():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x):
            y = self.fc(x)
            y += 1000
            return y * 3

    net = Adds()
    recorder, watched = recorded(net, torch.randn(8, 3))
    assert_recorded(recorder, watched)
    assert recorder["fc"].max < 100
    out = net(torch.zeros(1, 3))
    assert recorder["fc:grad"].mean > 3 * 3 * 900, out


@dataclass
class Result:
    logits: torch.Tensor
    other: object


class Nested(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner = Nests(kind)

    def forward(self, x):
        return self.inner(x)


class Nests(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        a, b = x * self.weight, x * 2 * self.weight
        return {
            "tuple": (a, [b, None, 3]),
            "dict": {"logits": a, "more": (b,)},
            "dataclass": Result(a, {"b": b}),
        }[self.kind]


@pytest.mark.hostile(62)
@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("tuple", ("[0]", "[1][0]")),
        ("dict", ("['logits']", "['more'][0]")),
        ("dataclass", ("['logits']", "['other']['b']")),
    ],
)
def test_nested_outputs(kind, paths):
    x = torch.randn(4, 3)
    net = Nested(kind)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        out = net(x)
        leaves = torch.utils._pytree.tree_leaves(vars(out) if kind == "dataclass" else out)
        sum(i * t.sum() for i, t in enumerate(leaves, 2) if torch.is_tensor(t)).backward()
    first, second = (f"inner{path}" for path in paths)
    assert_stats_of(recorder[first], x)
    assert_stats_of(recorder[second], 2 * x)
    assert recorder[f"{first}:grad"].mean == 2
    assert recorder[f"{second}:grad"].mean == 3


@pytest.mark.hostile(62)
def test_model_output_of_transformers():
    outputs = pytest.importorskip("transformers.modeling_outputs")

    class Net(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return outputs.CausalLMOutput(logits=y, hidden_states=(x, y))

    x = torch.randn(4, 3)
    net = nn.Sequential(Net(3, 2))
    recorder, _ = recorded(net, x, backward=False)
    assert set(recorder) >= {"0['logits']", "0['hidden_states'][0]", "0['hidden_states'][1]"}
    assert_stats_of(recorder["0['hidden_states'][0]"], x)


@pytest.mark.hostile(65)
def test_packed_sequences():
    net = nn.LSTM(3, 4)
    x = pack_padded_sequence(torch.randn(5, 2, 3), [5, 2])
    with ActivationRecorder({"lstm": net}, capture=ALL) as recorder:
        out, (h, c) = net(x)
        (out.data.sum() + h.sum() + c.sum()).backward()
    assert_stats_of(recorder["lstm[0]"], out.data)
    assert_stats_of(recorder["lstm[1][0]"], h)
    assert_stats_of(recorder["lstm[1][1]"], c)
    assert_stats_of(recorder["lstm:input"], x.data)
    assert recorder["lstm[0]:grad"].count == 28
    assert recorder.skipped == {}


@pytest.mark.hostile(30)
def test_containers_and_parametrizations_are_left_out():
    net = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        nn.Sequential(nn.ReLU()),
    )
    recorder, _ = recorded(net, torch.randn(5, 3))
    assert [site for site in recorder if ":" not in site] == ["0", "1.0"]


class Gives(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.hostile(63)
def test_a_generator_reaches_the_user_whole():
    net = nn.Sequential(Gives(lambda x: (row for row in x)))
    with ActivationRecorder(net, capture=ALL, strict=True):
        assert len(list(net(torch.randn(5, 3)))) == 5


@pytest.mark.hostile(114)
def test_torch_func_is_skipped_with_a_reason_and_not_disturbed():
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    x = torch.randn(5, 3)
    want = torch.func.vmap(net)(x)
    with ActivationRecorder(net, capture=("output", "input"), strict=True) as recorder:
        assert torch.equal(torch.func.vmap(net)(x), want)
        torch.func.grad(lambda x: net(x).sum())(x)
        assert ("0", "inside torch.func") in recorder.skipped
        net(x)
    assert recorder["0"].calls == 1
    assert recorder["1"].judged.seen.sum() == 20


@pytest.mark.hostile(16, 20)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_tracing_and_export_leave_no_trace():
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    x = torch.randn(5, 3)
    nodes = len(torch.export.export(net, (x,)).graph.nodes)
    with ActivationRecorder(net, capture=("output", "input"), strict=True) as recorder:
        traced = torch.jit.trace(net, x, check_trace=False)  # checking runs the model, eagerly
        assert {why for _, why in recorder.skipped} == {"inside torch.jit.trace"}
        assert len(torch.export.export(net, (x,)).graph.nodes) == nodes
        assert list(recorder) == []
    assert torch.equal(traced(x), net(x))


@pytest.mark.hostile(75)
def test_subclasses_of_tensor_are_read_without_their_code_running():
    class Mine(torch.Tensor):
        ops = 0

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.ops += 1
            return super().__torch_function__(func, types, args, kwargs or {})

    x = torch.randn(5, 3).as_subclass(Mine)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    Mine.ops = 0
    net(x)
    alone = Mine.ops
    with ActivationRecorder(net, capture=("output", "input"), strict=True) as recorder:
        Mine.ops = 0
        out = net(x)
    assert Mine.ops == alone
    with torch._C.DisableTorchFunctionSubclass():
        assert_stats_of(recorder["1"], out.as_subclass(torch.Tensor))


# ---- functional activations ----------------------------------------------------------------------


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.act = nn.ReLU()
        self.inner = Inner()

    def forward(self, x):
        a = F.relu(self.fc(x))
        b = torch.tanh(a)
        c = b.relu()
        d = self.act(c)
        return self.inner(F.silu(d, inplace=False))


class Inner(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x - 1)


def test_functional_activations():
    net = Functional()
    x = torch.randn(20, 3)
    a = F.relu(net.fc(x))
    b = torch.tanh(a)
    out = torch.sigmoid(F.silu(b) - 1)
    with ActivationRecorder(net, functional=True, capture=ALL, strict=True) as recorder:
        for _ in range(2):
            net(x).sum().backward()
    outputs = [s for s in recorder if ":" not in s]
    names = {"(root).relu()", "(root).tanh()", "(root).relu()#2", "(root).silu()"}
    assert set(outputs) - names in (
        {"fc", "act", "inner"},
        {"fc", "act", "inner", "inner.sigmoid()"},
    ), outputs
    assert names <= set(outputs)
    for site, value in (
        ("(root).relu()", a),
        ("(root).tanh()", b),
        ("(root).relu()#2", b),
        ("(root).silu()", F.silu(b)),
        ("act", b),
        ("inner", out),
    ):
        assert recorder[site].calls == 2, site
        assert_stats_of(recorder[site], torch.cat([value, value]), merges=2, site=site)
    want = TensorStats.from_tensor(F.silu(b), z=b, activation="silu")
    assert recorder["(root).silu()"].saturated_fraction == want.saturated_fraction
    assert recorder["(root).tanh():grad"].calls == 2
    assert torch._C._len_torch_function_stack() == 0


def test_functional_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x):
            z = self.fc(x)
            F.silu(z, inplace=True)
            return torch.relu_(z * 1.0)

    net = Net()
    x = 5 * torch.randn(20, 3)
    z = net.fc(x).detach()
    with ActivationRecorder(net, functional=True, capture=ALL, strict=True) as recorder:
        net(x).sum().backward()
    want = TensorStats.from_tensor(F.silu(z), z=z, activation="silu")
    assert_same_integers(recorder["(root).silu()"], want)
    assert_stats_of(recorder["(root).silu():input"], z)
    assert_stats_of(recorder["(root).relu()"], F.relu(F.silu(z)))


def test_functional_is_off_by_default_and_outside_forwards():
    net = Functional()
    with ActivationRecorder(net) as recorder:
        net(torch.randn(4, 3))
    assert "(root).relu()" not in recorder
    with ActivationRecorder(net, functional=True) as recorder:
        F.relu(torch.randn(3))
        net(torch.randn(4, 3))
        torch.tanh(torch.randn(3))
    assert recorder["(root).relu()"].count == 16
    assert recorder["(root).tanh()"].count == 16


def test_every_module_of_torch_is_counted_once_with_functional():
    acts = [nn.ReLU(), nn.GELU(), nn.ELU(), nn.Hardtanh(), nn.Softplus(), nn.Sigmoid(), nn.Mish()]
    net = nn.Sequential(nn.Linear(3, 4), *acts)
    with ActivationRecorder(net, functional=True, strict=True) as recorder:
        net(torch.randn(4, 3))
    assert list(recorder) == [str(i) for i in range(8)]


# ---- autograd ------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, reentrant, nested=False):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Dropout(0.5), nn.Linear(4, 4))
        self.last = nn.Linear(4, 2)
        self.reentrant = reentrant

    def forward(self, x):
        x = self.first(x)
        if self.reentrant is None:
            return self.last(self.block(x))
        return self.last(checkpoint(self.block, x, use_reentrant=self.reentrant))


@pytest.mark.hostile(37, 38)
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("functional", [True, False])
def test_checkpointing_counts_once_with_gradients(reentrant, functional):
    x = torch.randn(16, 3)
    plain = Checkpointed(None)
    net = Checkpointed(reentrant)
    net.load_state_dict(plain.state_dict())
    torch.manual_seed(5)
    want, _ = recorded(plain, x, functional=functional)
    torch.manual_seed(5)
    with ActivationRecorder(net, capture=ALL, functional=functional, strict=True) as got:
        net(x).square().sum().backward()
    assert list(got) == list(want)
    for site in want:
        assert got[site].calls == 1, site
        assert_same_integers(got[site], want[site], site=site)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_a_shared_module_per_call(reentrant):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            y = checkpoint(lambda x: self.fc(self.fc(x)), x, use_reentrant=reentrant)
            return self.fc(y)

    net = Net()
    x = torch.randn(16, 3, requires_grad=True)
    with ActivationRecorder(net, capture=("output", "grad"), per_call="fc") as recorder:
        net(x).square().sum().backward()
    for i in (1, 2, 3):
        assert recorder[f"fc#{i}"].calls == 1, i
    assert recorder["fc#3:grad"].calls == 1
    assert ("fc:grad", "recomputed: its call number is unknown") in recorder.skipped
    # a reentrant checkpoint's graph is made in the recompute, where calls cannot be numbered
    assert ("fc#1:grad" in recorder) == ("fc#2:grad" in recorder) == (not reentrant)


@pytest.mark.hostile(46)
def test_frozen_layers_have_outputs_and_no_gradients():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    recorder, watched = recorded(net, torch.randn(8, 3))
    assert_recorded(recorder, watched)
    assert "0:grad" not in recorder
    assert recorder["2:grad"].calls == 1


@pytest.mark.hostile(46)
def test_no_grad_then_training():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        with torch.no_grad():
            net(torch.randn(8, 3))
        net(torch.randn(8, 3)).sum().backward()
    assert recorder["0"].calls == 2
    assert recorder["0:grad"].calls == 1


@pytest.mark.hostile(112)
def test_inference_mode_first_then_training():
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        with torch.inference_mode():
            net(torch.randn(8, 3))
            recorder.step()
        net(torch.randn(8, 3)).sum().backward()
        recorder.step()
        with torch.inference_mode():
            net(torch.randn(8, 3))
    assert recorder["1"].calls == 3
    assert recorder["1:grad"].calls == 1


@pytest.mark.hostile(49, 51)
def test_gradient_accumulation_and_a_second_backward():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    x = torch.randn(8, 3)
    with Watched(net) as watched, ActivationRecorder(net, capture="grad") as recorder:
        for _ in range(3):
            net(x).sum().backward()
    assert_recorded(recorder, watched, ["0:grad", "1:grad"])
    recorder.reset()
    with recorder:
        loss = net(x).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert recorder["0:grad"].calls == 1
    assert any("backward ran again" in why for _, why in recorder.skipped)


@pytest.mark.hostile(49)
def test_gradient_penalty():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(8, 3, requires_grad=True)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        (grad,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        grad.square().sum().backward()
    assert recorder["1"].calls == 1
    assert recorder["1:grad"].calls == 1


@pytest.mark.hostile(55)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_gradient_hooks_stand_beside_the_users_own(first):
    net, x, handles, seen = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), torch.randn(8, 3), [], []

    def own(module, args, output):
        handles.append(output.register_hook(lambda grad: seen.append(grad) or 2 * grad))

    recorder = ActivationRecorder(net, capture="grad", strict=True)
    if first:
        net[1].register_forward_hook(own)
    with recorder:
        if not first:
            net[1].register_forward_hook(own)
        for _ in range(4):
            net(x).sum().backward()
        left = net(x)
        handles[-1].remove()
        left.sum().backward()
    assert len(seen) == 4
    assert recorder["1:grad"].calls == recorder["0:grad"].calls == 5
    assert recorder["1:grad"].max == (2.0 if first else 1.0)  # hooks run as they were registered


def test_a_torch_without_the_private_way_to_watch_a_gradient():
    class Output:
        def register_hook(self, hook):
            self.hook = hook

    output = Output()
    watch_gradient(output, len)
    assert output.hook is len


@pytest.mark.hostile(48)
def test_a_parameter_as_output_gets_no_pile_of_hooks():
    class Gives(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 3))
            self.same = nn.Identity()

        def forward(self, x):
            return x * self.same(self.weight)

    net = Gives()
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        for _ in range(5):
            net(torch.randn(2, 3)).sum().backward()
    assert not net.weight._backward_hooks
    assert recorder["same"].calls == 5


@pytest.mark.hostile(60)
def test_autocast():
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2))
    x = torch.randn(16, 3)
    with Watched(net) as watched, ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x)
            loss = out.float().square().sum()
        loss.backward()
    assert watched.seen["0"][0].dtype == torch.bfloat16
    assert_recorded(recorder, watched)


# ---- what a site knows of its neighbours ---------------------------------------------------------


def test_source_is_the_site_that_fed_the_module():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    with ActivationRecorder(net) as recorder:
        net(torch.randn(8, 3))
    sites = recorder.recording.sites
    assert [sites[str(i)].source for i in range(4)] == [None, "0", "1", "2"]
    assert sites["2"].activation == "tanh"
    assert sites["2"].module_type == "Tanh"


def test_a_freed_tensors_identity_is_no_source():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            y = self.a(x)
            y = y + 1
            y = y * 2
            y = y - 1
            return self.b(y)

    net = Net()
    with ActivationRecorder(net) as recorder, torch.no_grad():
        net(torch.randn(8, 3))
    assert recorder.recording.sites["b"].source is None


# ---- neutrality ----------------------------------------------------------------------------------


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.3),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.SiLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5, inplace=True),
        nn.Linear(36, 3),
        nn.GELU(),
    ), lambda net: net(torch.randn(6, 1, 10, 10))


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, dropout=0.3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        out, (h, _) = self.lstm(pack_padded_sequence(x, [6, 4, 1]))
        return self.head(F.relu(out.data)).mean() + h.sum()


def lstm_net():
    return Packed(), lambda net: net(torch.randn(6, 3, 3))


def attention_net():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True, activation="gelu")
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    padding = torch.zeros(4, 5, dtype=torch.bool)
    padding[1, 3:] = True
    return net, lambda net: net(torch.randn(4, 5, 8), src_key_padding_mask=padding)


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, dropout=0.2)

    def forward(self, x):
        return self.mha(x, x, x)[0]


def mha_net():
    return Attends(), lambda net: net(torch.randn(5, 3, 8))


def gpt2_net(**options):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, **options
    )
    net = transformers.GPT2LMHeadModel(config)

    def forward(net):
        ids = torch.randint(0, 50, (3, 12))
        return net(input_ids=ids, labels=ids).loss

    return net, forward


def checkpointed_gpt2_net():
    net, forward = gpt2_net()
    enable = getattr(net, "activation_checkpointing_enable", net.gradient_checkpointing_enable)
    enable()
    return net, forward


def checkpointed_net():
    return Checkpointed(True), lambda net: net(torch.randn(6, 3))


NETS = {
    "conv": conv_net,
    "lstm": lstm_net,
    "attention": attention_net,
    "mha": mha_net,
    "gpt2": gpt2_net,
    "gpt2 checkpointed": checkpointed_gpt2_net,
    "checkpointed": checkpointed_net,
}


def random_states():
    return {"torch": torch.get_rng_state().tolist(), "python": random.getstate()} | {
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()]  # noqa: NPY002
    }


def modes():
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "modes": torch._C._len_torch_function_stack(),
    }


def trained(make, autocast, record):
    """Train three steps and evaluate; return all that could have changed."""
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002 - users use the global generator
    torch.manual_seed(7)
    net, forward = make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    recorder = ActivationRecorder(net, capture=ALL, functional=True, strict=True)
    if record:
        recorder.attach()
    kept = {}
    before = modes()
    for step in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = forward(net).float().square().mean()
        loss.backward()
        kept |= {f"grad {step} {n}": p.grad.clone() for n, p in net.named_parameters()}
        kept[f"loss {step}"] = loss.detach().clone()
        optimizer.step()
        recorder.step(loss=loss.item())
    assert modes() == before
    if record:
        assert len(recorder) > 0
        recorder.detach()
    kept |= {f"state {n}": t.clone() for n, t in net.state_dict().items()}
    return net, recorder, kept, random_states()


@pytest.mark.hostile(54, 58, 59)
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETS)
def test_a_run_is_bit_identical_with_and_without_the_recorder(name, autocast):
    plain, _, want, want_random = trained(NETS[name], autocast, record=False)
    net, _, got, got_random = trained(NETS[name], autocast, record=True)
    assert_tensors_equal(got, want, name)
    for kind in want_random:
        assert got_random[kind] == want_random[kind], f"{name}: {kind}'s random state moved"
    for (path, one), (_, other) in zip(net.named_modules(), plain.named_modules(), strict=True):
        assert one.training == other.training, path
        assert type(one) is type(other), path
        assert vars(one).keys() == vars(other).keys(), path
    assert list(net.state_dict()) == list(plain.state_dict())
    assert hook_counts(net) == hook_counts(plain)  # transformers has one of its own


@pytest.mark.parametrize("name", ["conv", "mha", "gpt2"])
def test_outputs_in_eval_are_bit_identical(name):
    net, forward = NETS[name]()
    net.eval()
    torch.manual_seed(1)
    want = forward(net)
    with ActivationRecorder(net, capture=ALL, functional=True, strict=True) as recorder:
        torch.manual_seed(1)
        assert torch.equal(forward(net), want)
    assert recorder.recording.phases == ("eval",)


@pytest.mark.hostile(44, 54)
def test_the_output_object_is_the_same():
    net = nn.Sequential(nn.Identity(), nn.Linear(3, 3))
    x = torch.randn(2, 3)
    with ActivationRecorder(net, capture=ALL):
        assert net[0](x) is x


@pytest.mark.hostile(38)
@pytest.mark.parametrize("name", ["gpt2", "gpt2 checkpointed"])
def test_gpt2_sites_are_counted_once(name):
    net, forward = NETS[name]()
    with ActivationRecorder(net, capture=("output", "grad"), strict=True) as recorder:
        forward(net).backward()
    calls = {site: recorder[site].calls for site in recorder}
    assert set(calls.values()) == {1}, {s: n for s, n in calls.items() if n != 1}
    assert recorder["transformer.h.1.mlp.act"].saturated_fraction >= 0
    assert recorder["transformer.h.0.mlp.c_fc"].units == 64
