"""Fused paths, modules that are never called, shared ones, and those that come later."""

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from actstats import ActivationRecorder
from actstats.liveness import PATIENCE
from claims import Watched, assert_no_hooks, assert_recorded, assert_stats_of

ALL = ("output", "input", "grad")


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "actstats"]


# ---- transformers' fast paths --------------------------------------------------------------------


@pytest.fixture
def fast(monkeypatch):
    """Count how often the fused layer runs."""
    calls = []
    fused = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(
        torch, "_transformer_encoder_layer_fwd", lambda *args: calls.append(1) or fused(*args)
    )
    return calls


def encoder(**options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, **options).eval()


@pytest.mark.hostile(25)
@torch.no_grad()
def test_the_fast_path_is_taken_again_without_the_recorder(fast):
    net, x = encoder(), torch.randn(3, 5, 8)
    want = net(x)
    assert len(fast) == 2
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        assert torch.equal(net(x), want)
        assert len(fast) == 2
        with recorder.paused():
            assert torch.equal(net(x), want)
        assert len(fast) == 4
    assert_no_hooks(net)
    net(x)
    assert len(fast) == 6
    assert recorder["layers.1.linear2"].calls == 1


@pytest.mark.hostile(26)
@torch.no_grad()
def test_modules_on_the_fast_path_are_called_where_gradients_alone_are_asked_for(fast):
    net, x = encoder(), torch.randn(3, 5, 8)
    with ActivationRecorder(net, capture="grad", strict=True) as recorder:
        net(x)
    assert fast == []
    assert recorder.never_called() == tuple(f"layers.{i}.self_attn.out_proj" for i in (0, 1))


@pytest.mark.hostile(26)
@torch.no_grad()
def test_a_layer_leaves_the_fast_path_for_one_observed_module_inside(fast):
    net, x = encoder(), torch.randn(3, 5, 8)
    with ActivationRecorder(net, include="layers.1.linear1", strict=True) as recorder:
        net(x)
    assert len(fast) == 1  # the other layer
    assert recorder.never_called() == ()
    assert recorder["layers.1.linear1"].count == 3 * 5 * 16


@pytest.mark.hostile(27)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@torch.no_grad()
def test_nested_tensors_of_a_padded_batch_are_read_without_padding_and_change_nothing():
    net, x = encoder(), torch.randn(3, 5, 8)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    want = net(x, src_key_padding_mask=padding)
    with ActivationRecorder(net, include="*", capture=ALL, strict=True) as recorder:
        for _ in range(2):
            assert torch.equal(net(x, src_key_padding_mask=padding), want)
    tokens = int((~padding).sum())
    assert recorder["layers.0.linear1"].count == 2 * tokens * 16
    assert recorder["layers.1.norm2:input"].count == 2 * tokens * 8
    assert {reason for _, reason in recorder.skipped} == {"dtype bool"}  # the mask that goes in
    assert recorder["(root)"].count == 2 * want.numel()
    plain = encoder(enable_nested_tensor=False)
    with ActivationRecorder(plain, strict=True) as recorder:
        plain(x, src_key_padding_mask=padding)
    assert recorder.skipped == {}
    assert recorder["layers.0.linear1"].count == 3 * 5 * 16


@pytest.mark.hostile(28)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_is_recorded_by_what_it_gives(mode, need_weights):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(8, 2)

        def forward(self, x):
            return self.mha(x, x, x, need_weights=need_weights)

    net, x = Attends().train(mode == "train"), torch.randn(5, 3, 8)
    with ActivationRecorder(net, capture=("output", "grad"), strict=True) as recorder:
        out, weights = net(x)
        out.square().sum().backward()
    assert_stats_of(recorder["mha[0]"], out)
    assert_stats_of(recorder["mha[0]:grad"], 2 * out)
    assert ("mha[1]" in recorder) == need_weights
    if need_weights:
        assert_stats_of(recorder["mha[1]"], weights)
    assert recorder.never_called() == ("mha.out_proj",)
    assert recorder.recording.never_called == {"mha.out_proj": "used"}


# ---- never called --------------------------------------------------------------------------------


class OwnCall(nn.Linear):
    def __call__(self, x):
        return self.forward(x)


class Bypasses(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = nn.Linear(3, 3)
        self.functional, self.forwarded = nn.Linear(3, 3), nn.Linear(3, 3)
        self.own, self.dead = OwnCall(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = F.linear(self.seen(x), self.functional.weight)
        return self.own(self.forwarded.forward(x))


@pytest.mark.hostile(2, 29)
def test_modules_that_are_bypassed_are_named_once(caplog):
    net, x = Bypasses(), torch.randn(4, 3)
    silent = ("functional", "forwarded", "own", "dead")
    with ActivationRecorder(net, strict=True) as recorder:
        for _ in range(PATIENCE - 1):
            net(x).sum().backward()
            recorder.step()
        assert said(caplog) == []
        for _ in range(3 * PATIENCE):
            net(x).sum().backward()
            recorder.step()
    assert recorder.never_called() == silent
    assert said(caplog) == [f"never called in {PATIENCE} steps or more: {', '.join(silent)}"]
    assert recorder.sites == ("seen", *silent)
    used = dict.fromkeys(silent, "used") | {"dead": "unused"}
    assert recorder.recording.never_called == used


@pytest.mark.hostile(2)
def test_a_module_may_be_silent_while_few_steps_were_observed(caplog):
    parts = {"mha": nn.MultiheadAttention(4, 2), "late": nn.Linear(4, 4), "idle": nn.Dropout()}
    net = nn.ModuleDict(parts)
    x = torch.randn(5, 3, 4)
    with ActivationRecorder(net, every=4, strict=True) as recorder:
        for step in range(100):
            net["mha"](x, x, x)
            if step == 28:
                net["late"](x)
            recorder.step()
    assert recorder["late"].calls == 1
    assert recorder.never_called() == ("mha.out_proj", "idle")
    assert said(caplog) == []  # the one is known, and nothing is lost with the other


# ---- containers, replaced, lazy ------------------------------------------------------------------


@pytest.mark.hostile(30)
def test_containers_are_no_layers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.many = nn.ModuleList([nn.Linear(3, 3), nn.Tanh()])
            self.named = nn.ModuleDict({"a": nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))})
            self.loose = nn.ParameterList([nn.Parameter(torch.ones(3))])

        def forward(self, x):
            return self.named["a"](self.many[1](self.many[0](x))) * self.loose[0]

    net = Net()
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        net(torch.randn(4, 3)).sum().backward()
    assert [site for site in recorder if ":" not in site] == ["many.0", "many.1", "named.a"]
    assert recorder.never_called() == ()


class Adapter(nn.Module):
    """A layer that is put around another one, as low-rank adapters are."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.down, self.up = nn.Linear(3, 2), nn.Linear(2, 3)

    def forward(self, x):
        return self.inner(x) + self.up(self.down(x))


@pytest.mark.hostile(31)
def test_modules_that_come_after_the_recorder_are_named_once(caplog):
    net, x = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.randn(4, 3)
    with ActivationRecorder(net, strict=True) as recorder:
        net(x)
        recorder.step()
        assert said(caplog) == []
        assert "not seen" not in str(recorder.summary())
        net[0] = Adapter(net[0])
        net.append(nn.Tanh())
        net.append(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
        assert "recorder was made: 0.down, 0.up, 2, 3; make a new" in str(recorder.summary())
        for _ in range(20):
            net(x)
            recorder.step()
    (line,) = said(caplog)
    assert line.startswith("not seen, since put into the model after the recorder was made: 0.down")
    assert recorder["0"].calls == 21  # the layer inside, under the name that it had
    assert list(ActivationRecorder(net).sites) == ["0.inner", "0.down", "0.up", "1", "2", "3"]


@pytest.mark.hostile(31)
def test_wrapping_and_parametrizing_bring_no_new_modules(caplog):
    net, x = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.randn(4, 3)
    known = {"(root)": False, "0": True, "1": True}
    with ActivationRecorder(net, include=lambda name, _: known[name]) as recorder:
        nn.utils.parametrizations.weight_norm(net[0])
        net[1] = nn.DataParallel(net[1])
        net.append(nn.Tanh())  # which the predicate does not know
        for _ in range(4):
            net(x)
            recorder.step()
        assert "not seen" not in str(recorder.summary())
    assert said(caplog) == []


@pytest.mark.hostile(31)
def test_attaching_again_passes_over_modules_that_are_gone():
    net, x = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), torch.randn(4, 3)
    with ActivationRecorder(net, strict=True) as recorder:
        net(x)
        net[0] = nn.Identity()
        gc.collect()
        with recorder.paused():
            net(x)
        net(x)
        assert (recorder["0"].calls, recorder["1"].calls) == (1, 2)
        assert "recorder was made: 0; make a new recorder" in str(recorder.summary())


LAZY = {
    "linear": (nn.LazyLinear(4), (5, 3), "Linear", 4),
    "convolution": (nn.LazyConv1d(4, 3), (5, 2, 7), "Conv1d", 4),
    "batch norm": (nn.LazyBatchNorm1d(), (5, 3, 7), "BatchNorm1d", 3),
}


@pytest.mark.hostile(32)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("case", LAZY)
def test_lazy_modules_are_recorded_as_what_they_become(case, tmp_path):
    lazy, shape, kind, units = LAZY[case]
    net = nn.Sequential(lazy)
    recorder = ActivationRecorder(net, capture=ALL, strict=True, log=tmp_path / "x.actstats")
    watched = Watched(net)
    with watched, recorder:
        for _ in range(2):
            net(torch.randn(shape)).square().sum().backward()
        assert_recorded(recorder, watched)
        site = recorder.recording.sites["0"]
    assert site.module_type == type(net[0]).__name__ == kind
    assert recorder["0"].units == units


# ---- shared --------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.act = nn.ReLU()
        self.encoder = self.layers[0]

    def forward(self, x):
        for layer in (*self.layers, *self.layers):
            x = self.act(layer(x))
        return self.act(x)


@pytest.mark.hostile(33)
def test_a_shared_module_is_counted_once_under_every_name():
    net, x = Tied(), torch.randn(4, 3)
    watched = Watched(net)
    with watched, ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        net(x).sum().backward()
    assert_recorded(recorder, watched)
    assert {site: recorder[site].calls for site in recorder if ":" not in site} == {
        "layers.0": 2,
        "layers.1": 2,
        "act": 5,
    }
    assert recorder["encoder:grad"].calls == 2
    with ActivationRecorder(net, per_call="act", strict=True) as recorder:
        net(x)
    assert [site for site in recorder if site[0] == "a"] == [f"act#{i}" for i in range(1, 6)]


class Head(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.act, self.head = nn.GELU(), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.act(self.encoder(x)))


class Other(Head):
    """Compiled apart from its equal: of another class."""


@pytest.mark.hostile(34)
@pytest.mark.parametrize("compiler", [None, "aot_eager"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_calls_of_another_model_are_left_out_on_request(compiler):
    shared, x = nn.Linear(3, 3), torch.randn(4, 3)
    one, other = Head(shared), Other(shared)
    other.act = one.act
    if compiler:
        torch.compiler.reset()
    run = [torch.compile(net, backend=compiler) if compiler else net for net in (one, other)]
    skipped = ("encoder", "called outside the model's forward")
    counted, scoped = [], []
    for outside, found in ((True, counted), (False, scoped)):
        recorder = ActivationRecorder(one, capture=ALL, outside=outside, strict=True)
        with recorder:
            for _ in range(3):
                (run[0](x).sum() + run[1](x).sum()).backward()
                recorder.step()
            shared(x)
        found += [recorder[site].calls for site in ("encoder", "encoder:grad", "act", "act:input")]
        assert recorder["head:grad"].calls == 3
        assert recorder.skipped.get(skipped, 0) == (0 if outside else 4)
    assert counted == [7, 6, 6, 6]
    assert scoped == [3, 3, 3, 3]
    assert recorder["act"].judged.seen.tolist() == [12, 12, 12]


@pytest.mark.hostile(34, 57)
def test_what_comes_after_a_forward_that_raised_is_outside():
    net, x = Head(nn.Linear(3, 3)), torch.randn(4, 3)
    with ActivationRecorder(net, outside=False, strict=True) as recorder:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            net(torch.randn(4, 5))
        net.encoder(x)
        assert list(recorder) == []
        net(x)
    assert recorder["encoder"].calls == 1
    assert recorder.skipped == {("encoder", "called outside the model's forward"): 1}


@pytest.mark.hostile(34)
def test_only_a_model_has_an_outside():
    with pytest.raises(ValueError, match="`outside=False` needs a module"):
        ActivationRecorder({"a": nn.Linear(3, 3)}, outside=False)


# ---- weights and phases --------------------------------------------------------------------------


@pytest.mark.hostile(35)
def test_tokens_that_are_generated_weigh_what_they_are():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=32, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    net = transformers.GPT2LMHeadModel(config)
    prompt = torch.randint(1, 32, (2, 5))
    site = "transformer.h.0.mlp.c_proj"
    with ActivationRecorder(net, strict=True) as recorder:
        net(input_ids=prompt, labels=prompt).loss.backward()
        net.eval()
        watched = Watched(net, [site])
        with recorder.phase("generate"), watched:
            net.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                min_new_tokens=4,
                max_new_tokens=4,
                do_sample=False,
                pad_token_id=0,
            )
    phases = recorder.recording.phases
    assert phases == ("train", "generate")
    stats = recorder.select(phase="generate")[site]
    assert (stats.calls, stats.count) == (4, 2 * (5 + 3) * 8)  # the prompt, then token by token
    assert_stats_of(stats, watched.values(site), merges=4)
    assert recorder[site].count == 2 * 5 * 8


@pytest.mark.hostile(36)
def test_dropout_in_training_and_evaluation_are_kept_apart():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8))
    net[1].eval()  # a frozen child tells nothing
    x = torch.ones(64, 8)
    with ActivationRecorder(net, strict=True) as recorder:
        for training in (True, False, True, False):
            net.train(training)
            net(x)
            recorder.step()
    phases = {phase: recorder.select(phase=phase)["0"] for phase in ("train", "eval")}
    assert {phase: stats.calls for phase, stats in phases.items()} == {"train": 2, "eval": 2}
    assert 0.3 < phases["train"].zero_fraction < 0.7
    assert phases["eval"].zeros == 0
    assert recorder["0"].zeros == phases["train"].zeros
