"""The recorder: life cycle, steps and windows, phases, masks, resuming, budget, errors."""

import copy
import gc
import io
import itertools
import logging
import math
import pickle
import threading
import tracemalloc
import weakref
from contextlib import ExitStack, nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode

from actstats import ActivationRecorder, TensorStats, make_mlp
from actstats.windows import Windows
from claims import (
    Watched,
    assert_identical,
    assert_no_hooks,
    assert_recorded,
    assert_same_integers,
    assert_stats_of,
    exact,
    hook_counts,
    variance_bound,
)


def small(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2), nn.Tanh())


def batch(n=8):
    return torch.randn(n, 3)


def train_step(net, x=None):
    net.zero_grad()
    loss = net(batch() if x is None else x).square().mean()
    loss.backward()
    return loss


# ---- life cycle ----------------------------------------------------------------------------------


def test_nothing_is_recorded_before_attach_and_after_detach():
    net = small()
    recorder = ActivationRecorder(net)
    net(batch())
    assert not recorder.attached
    recorder.attach()
    net(batch())
    recorder.detach()
    net(batch())
    assert recorder["1"].calls == 1
    assert_no_hooks(net)


@pytest.mark.hostile(108, 109)
def test_attach_and_detach_are_idempotent():
    net = small()
    recorder = ActivationRecorder(net).attach()
    before = hook_counts(net)
    assert recorder.attach() is recorder
    with recorder:
        assert hook_counts(net) == before
        net(batch())
        assert recorder["0"].calls == 1
    recorder.detach()
    recorder.detach()
    assert_no_hooks(net)
    with recorder:
        net(batch())
    assert recorder["0"].calls == 2


def test_detach_keeps_the_open_window():
    net = small()
    with ActivationRecorder(net, window=10) as recorder:
        net(batch())
        recorder.step()
    assert recorder["0"].count == 32
    assert recorder.latest is None


def test_detach_on_an_exception():
    net = small()
    with pytest.raises(RuntimeError, match="mine"), ActivationRecorder(net):
        raise RuntimeError("mine")
    assert_no_hooks(net)


@pytest.mark.hostile(108)
def test_two_recorders_are_independent():
    net = small()
    one, other = ActivationRecorder(net).attach(), ActivationRecorder(net).attach()
    net(batch())
    other.detach()
    net(batch())
    assert (one["0"].calls, other["0"].calls) == (2, 1)
    one.detach()
    assert_no_hooks(net)


@pytest.mark.hostile(25, 106)
def test_paused_really_removes_the_hooks():
    net = small()
    with ActivationRecorder(net, capture=("output", "input", "grad")) as recorder:
        before = hook_counts(net)
        with recorder.paused():
            assert_no_hooks(net)
            net(batch())
        assert hook_counts(net) == before
        net(batch())
        assert recorder["0"].calls == 1
    with recorder.paused():
        pass
    assert not recorder.attached


def test_other_peoples_hooks_stay():
    net = small()
    handle = net[0].register_forward_hook(lambda *_: None)
    with ActivationRecorder(net):
        pass
    assert list(net[0]._forward_hooks) == [handle.id]


def test_recorder_is_always_true():
    recorder = ActivationRecorder(small())
    assert len(recorder) == 0
    assert bool(recorder)


@pytest.mark.hostile(110)
def test_dropping_the_recorder_removes_its_hooks_at_once():
    net = small()
    recorder = ActivationRecorder(net, capture=("output", "input", "grad"), functional=True)
    recorder.attach()
    train_step(net)
    recorder.step()
    gc.disable()
    try:
        alive = weakref.ref(recorder)
        del recorder
        assert alive() is None
        assert_no_hooks(net)
    finally:
        gc.enable()


@pytest.mark.hostile(110)
def test_the_recorder_does_not_keep_the_model():
    net = small()
    recorder = ActivationRecorder(net, capture=("output", "grad")).attach()
    train_step(net)
    alive = weakref.ref(net)
    gc.disable()
    try:
        del net
        assert alive() is None
    finally:
        gc.enable()
    assert recorder["0"].count == 32
    recorder.detach()
    with pytest.raises(RuntimeError, match="model is gone"):
        recorder.attach()


@pytest.mark.parametrize("name", [b"_make_inert\n(tR.", b"inert\n."])
def test_hooks_in_a_model_that_was_pickled_before_are_inert(name):
    assert pickle.loads(b"cactstats.hooks\n" + name)("anything") is None


@pytest.mark.hostile(104, 106)
def test_copies_of_an_attached_model_are_inert():
    net = small()
    recorder = ActivationRecorder(net, capture=("output", "input", "grad"), functional=True)
    with recorder:
        copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
        buffer = io.BytesIO()
        torch.save(net, buffer)
        buffer.seek(0)
        copies.append(torch.load(buffer, weights_only=False))
        for other in copies:
            assert torch.equal(other[0].weight, net[0].weight)
            train_step(other)
        assert list(recorder) == []
        train_step(net)
        assert recorder["0"].calls == 1


@pytest.mark.hostile(22)
def test_scripted_modules_are_turned_off_with_a_reason():
    net = nn.Sequential(nn.Linear(3, 4), torch.jit.script(nn.ReLU()))
    with ActivationRecorder(net) as recorder:
        net(batch())
    assert "scripted" in str(recorder.summary())
    assert recorder["0"].calls == 1


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` must be an integer of at least 1; got 0"),
        ({"window": 2.5}, "`window` must be an integer"),
        ({"budget": -1}, "`budget` must be"),
        ({"capture": "outputs"}, "`capture` must be some of"),
        ({"capture": ()}, "`capture` must be some of"),
        ({"resolution": 9}, "`resolution` must be"),
        ({"resolution": {"fc": 9}}, "`resolution` must be"),
        ({"edges": {"fc": (3, 1, 0)}}, "`edges`"),
        ({"edges": [1, 2]}, "`edges` must map"),
        ({"saturation_slope": 1.0}, "`saturation_slope` must be in"),
        ({"per_call": [3]}, "`per_call` must be"),
        ({"include": "zzz"}, "no module to observe"),
        ({"exclude": "*"}, "no module to observe"),
        ({"kernel": "fastest"}, "`kernel` must be one of"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ActivationRecorder(small(), **options)


def test_a_model_must_be_one():
    with pytest.raises(ValueError, match="`model` must be"):
        ActivationRecorder([nn.Linear(2, 2)])


def test_summary_names_the_kernel_that_ran():
    net = small()
    for name in ("reference", "cpu"):
        recorder = ActivationRecorder(net, kernel=name)
        assert "kernel: none has run" in str(recorder.summary())
        with recorder:
            net(torch.randn(4, 3))
        assert f"kernel: {name}" in str(recorder.summary())
    with pytest.raises(RuntimeError, match="`kernel='cuda'` cannot run here: "):
        ActivationRecorder(net, kernel="cuda")


@pytest.mark.parametrize(
    ("include", "exclude", "sites"),
    [
        (None, None, ["0", "1", "2", "3"]),
        (nn.Linear, None, ["0", "2"]),
        (["1", "3"], None, ["1", "3"]),
        (lambda name, module: name == "2", None, ["2"]),
        (None, nn.Linear, ["1", "3"]),
        ("(root)", None, ["(root)"]),
    ],
)
def test_include_and_exclude(include, exclude, sites):
    net = small()
    with ActivationRecorder(net, include=include, exclude=exclude) as recorder:
        net(batch())
    assert list(recorder) == sites
    assert list(recorder.sites) == sites


@pytest.mark.parametrize("capture", ["output", "input", "grad", ("output", "grad"), ("input",)])
def test_capture(capture):
    net = small()
    x = batch()
    with Watched(net) as watched, ActivationRecorder(net, capture=capture) as recorder:
        train_step(net, x)
    kinds = {capture} if isinstance(capture, str) else set(capture)
    want = {s for s in watched.seen if (s.rpartition(":")[2] if ":" in s else "output") in kinds}
    assert set(recorder) == want
    assert_recorded(recorder, watched, want)
    missing = {"output", "input", "grad"} - kinds
    for kind in missing:
        with pytest.raises(KeyError, match=f"add '{kind}' to `capture`"):
            recorder["0", kind]


def test_a_mapping_of_modules():
    net = small()
    recorder = ActivationRecorder({"first": net[0], "last": net[3]})
    with Watched(net, ["0", "3"]) as watched, recorder:
        net(batch())
        net(batch())
        recorder.step()
    assert list(recorder) == ["first", "last"]
    assert_stats_of(recorder["first"], watched.values("0"), merges=2)
    assert_stats_of(recorder["last"], watched.values("3"), merges=2)
    assert_no_hooks(net)


def test_a_mapping_with_every_feature():
    net = small()
    modules = {"all": net, "first": net[0]}
    recorder = ActivationRecorder(modules, capture=("output", "input", "grad"), functional=True)
    with recorder:
        train_step(net)
    assert set(recorder) >= {f"{m}{k}" for m in modules for k in ("", ":input", ":grad")}
    assert recorder["all.relu()"].calls == 1  # nn.ReLU itself is not observed here


def test_resolution_and_edges_by_pattern():
    net = small()
    resolution = {"0": 7, "*:grad": 1, "*": 2}
    with ActivationRecorder(
        net, capture=("output", "grad"), resolution=resolution, edges={"1": (4, 0.0, 1.0)}
    ) as recorder:
        train_step(net)
    assert [recorder[s].bits.resolution for s in ("0", "1", "0:grad")] == [7, 2, 1]
    assert recorder["1"].histogram().exact
    assert recorder["0"].edges is None


def test_saturation_slope():
    net = nn.Sequential(nn.Tanh())
    x = 3 * torch.randn(500, 2)
    with ActivationRecorder(net, saturation_slope=1 - 0.97**2) as recorder:
        net(x)
    want = (torch.tanh(x).abs() > 0.97).double().mean().item()
    assert recorder["0"].saturated_fraction == pytest.approx(want, abs=1e-12)


# ---- steps and windows ---------------------------------------------------------------------------


def test_every():
    net = small()
    with Watched(net) as watched, ActivationRecorder(net, every=3) as recorder:
        for _ in range(10):
            net(batch())
            recorder.step()
    seen = watched.seen["0"][::3]
    assert_stats_of(recorder["0"], torch.cat(seen), merges=4)
    assert recorder["0"].calls == 4


def test_windows_of_a_given_number_of_steps():
    net = small()
    with Watched(net) as watched, ActivationRecorder(net, window=4) as recorder:
        for _ in range(10):
            net(batch())
            recorder.step()
        windows = recorder.recording.windows
        assert [(w.first_step, w.last_step) for w in windows][:2] == [(0, 3), (4, 7)]
        assert recorder.latest is not None
        assert recorder.latest.last_step == 7
    for i, window in enumerate(windows):
        part = torch.cat(watched.seen["0"][4 * i : 4 * i + 4])
        assert_stats_of(window["0"], part, merges=4, site=f"window {i}")


def test_a_fixed_window_is_never_merged():
    net = small()
    with ActivationRecorder(net, include="1", window=1) as recorder:
        for _ in range(150):
            net(batch(2))
            recorder.step()
    assert len(recorder.recording.windows) == 150


@pytest.mark.hostile(111)
def test_a_long_run_keeps_few_windows_and_every_count():
    net = small()
    x = batch(4)
    with ActivationRecorder(net) as recorder:
        for i in range(1000):
            if i % 100 == 50:
                net.eval()
                net(x)
                net.train()
            net(x)
            recorder.step(loss=float(i))
            assert sum(w.phase == "train" for w in recorder._run.windows) <= 64
    recording = recorder.recording
    one = TensorStats.from_tensor(net[0](x))
    for phase, calls in (("train", 1000), ("eval", 10)):
        part = recording.select(phase=phase)
        assert len(part.windows) <= 65, (phase, len(part.windows))
        assert part["0"].calls == calls
        assert part["0"].count == calls * one.count
        assert part["0"].bits.total == calls * one.bits.total
    truth = exact(net[0](x))
    got = recording.select(phase="train")["0"].var
    assert abs(got - float(truth.var)) <= variance_bound(truth, merges=1000)
    windows = recording.select(phase="train").windows
    assert windows[0].first_step == 0
    assert windows[-1].last_step == 999
    for a, b in itertools.pairwise(windows):
        assert b.first_step == a.last_step + 1, (a, b)
    assert sum(w.scalars["loss"].count for w in windows) == 1000
    assert sum(w.scalars["loss"].total for w in windows) == 999 * 500


def test_step_labels():
    net = small()
    with ActivationRecorder(net, window=1) as recorder:
        for label in (100, 200, None):
            net(batch())
            recorder.step(label)
    assert [w.first_step for w in recorder.recording.windows] == [100, 200, 201]
    with pytest.raises(ValueError, match="at least 202; got 5"):
        recorder.step(5)
    with pytest.raises(ValueError, match="must be an integer"):
        recorder.step(2.5)


def test_scalars():
    net = small()
    with ActivationRecorder(net, window=2) as recorder:
        for loss in (3.0, torch.tensor(1.0)):
            net(batch())
            recorder.step(loss=loss, lr=0.1)
    loss = recorder.latest.scalars["loss"]
    assert (loss.mean, loss.min, loss.max, loss.last, loss.count) == (2.0, 1.0, 3.0, 1.0, 2)
    with pytest.raises(ValueError, match="scalar `loss` must be a number"):
        recorder.step(loss="low")


def test_reading_includes_the_open_window_and_changes_nothing():
    net = small()
    with ActivationRecorder(net, window=3) as recorder:
        net(batch())
        recorder.step()
        net(batch())
        assert recorder["0"].calls == 2
        assert_identical(recorder["0"], recorder["0"])
        assert recorder.recording.windows[0].last_step == 1
        net(batch())
        assert recorder["0"].calls == 3


def test_reset():
    net = small()
    with ActivationRecorder(net) as recorder:
        net(batch())
        recorder.step(loss=1.0)
        recorder.reset()
        assert list(recorder) == []
        assert recorder.latest is None
        assert recorder.never_called() == ("0", "1", "2", "3")
        net(batch())
        recorder.step()
    assert recorder["0"].calls == 1
    assert recorder.recording.windows[0].first_step == 0


# ---- phases --------------------------------------------------------------------------------------


@pytest.mark.hostile(36)
def test_train_eval_and_named_phases_are_kept_apart():
    net = small()
    with ActivationRecorder(net) as recorder:
        net(batch(3))
        net.eval()
        net(batch(4))
        with recorder.phase("test"):
            net(batch(5))
        net(batch(4))
        recorder.step()
    assert recorder["0"].count == 12
    sizes = {phase: recorder.select(phase=phase)["0"].count for phase in recorder.recording.phases}
    assert sizes == {"train": 12, "eval": 32, "test": 20}
    assert recorder.latest.phase == "train"
    with pytest.raises(ValueError, match="non-empty string"), recorder.phase(""):
        pass


@pytest.mark.hostile(36)
def test_gradients_belong_to_the_phase_of_their_forward():
    net = small()
    with ActivationRecorder(net, capture="grad") as recorder:
        loss = net(batch()).sum()
        net.eval()
        loss.backward()
    assert recorder.recording.phases == ("train",)


@pytest.mark.hostile(36)
def test_a_frozen_child_does_not_make_it_eval():
    net = small()
    net[0].eval()
    with ActivationRecorder(net) as recorder:
        net(batch())
    assert recorder.recording.phases == ("train",)


# ---- masks ---------------------------------------------------------------------------------------


def test_mask_of_tokens():
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    x = torch.randn(5, 7, 3)
    drop = torch.rand(5, 7) < 0.4
    with ActivationRecorder(net, capture=("output", "input", "grad")) as recorder:
        recorder.mask(drop)
        y = net(x)
        y.square().sum().backward()
        net(x)  # served: this one is whole
    z = net[0](x).detach()
    keep = ~drop
    want = torch.cat([z[keep], z.flatten(0, 1)])
    assert_stats_of(recorder["0"], want, merges=2)
    assert_stats_of(recorder["0:input"], torch.cat([x[keep], x.flatten(0, 1)]), merges=2)
    assert_stats_of(recorder["1:grad"], 2 * y.detach()[keep], merges=2)
    whole = TensorStats.from_tensor(net[1](want).detach(), z=want, activation="gelu")
    assert recorder["1"].saturated_fraction == whole.saturated_fraction


def test_mask_of_samples_on_two_and_three_axes_and_convolutions():
    conv = nn.Sequential(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))
    x = torch.randn(6, 2, 5)
    drop = torch.tensor([True, False, False, True, False, False])
    with ActivationRecorder(conv) as recorder:
        recorder.mask(drop)
        conv(x)
    y = conv[1](conv[0](x))
    got = recorder["1"]
    assert_stats_of(got, y[~drop], merges=2)
    assert got.moments.mean == pytest.approx(y[~drop].double().mean((0, 2)).detach().numpy())
    assert_stats_of(recorder["3"], conv(x)[~drop], merges=2)


def test_mask_of_positions_on_a_convolution():
    conv = nn.Sequential(nn.Conv1d(2, 4, 1))
    x = torch.randn(6, 2, 5)
    drop = torch.rand(6, 5) < 0.5
    with ActivationRecorder(conv) as recorder:
        recorder.mask(drop)
        conv(x)
    want = conv(x).movedim(1, -1)[~drop]
    assert_stats_of(recorder["0"], want, merges=2)
    assert recorder["0"].moments.mean == pytest.approx(want.double().mean(0).detach().numpy())


def test_a_mask_that_does_not_fit_is_counted():
    net = small()
    with ActivationRecorder(net) as recorder:
        recorder.mask(torch.zeros(9, dtype=torch.bool))
        net(batch(8))
    assert recorder["0"].count == 32
    assert any("did not fit" in reason for _, reason in recorder.skipped)


def test_everything_masked():
    net = small()
    with ActivationRecorder(net) as recorder:
        recorder.mask(torch.ones(8, dtype=torch.bool))
        net(batch(8))
    assert recorder["0"].count == 0


def test_a_mask_for_the_next_forward_leaves_this_backward_alone():
    net = small()
    x = batch(8)
    with ActivationRecorder(net, capture="grad") as recorder:
        loss = net(x).sum()
        recorder.mask(torch.arange(8) < 4)
        loss.backward()
    assert recorder["3:grad"].count == 16


@pytest.mark.parametrize("mask", [torch.ones(3), torch.tensor(True), [True]])
def test_a_mask_is_a_bool_tensor(mask):
    with pytest.raises(ValueError, match="must be a bool tensor"):
        ActivationRecorder(small()).mask(mask)


# ---- gradient scale ------------------------------------------------------------------------------


def gradients(scale=None, scaler=None):
    torch.manual_seed(1)
    net = small()
    x = batch()
    with ActivationRecorder(net, capture="grad", grad_scaler=scaler) as recorder:
        if scale is not None:
            recorder.grad_scale = scale
        loss = net(x).square().mean()
        factor = scaler.scale(loss) / loss if scaler is not None else (scale or 1.0)
        (loss * factor).backward()
    return recorder


@pytest.mark.hostile(50)
@pytest.mark.parametrize("scale", [2.0**16, 0.125, 1.0])
def test_powers_of_two_unscale_exactly(scale):
    plain, scaled = gradients(), gradients(scale)
    for site in plain:
        assert_identical(plain[site], scaled[site], site=site)


@pytest.mark.hostile(50)
def test_grad_scaler():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    plain, scaled = gradients(), gradients(scaler=scaler)
    for site in plain:
        assert_identical(plain[site], scaled[site], site=site)


def test_a_disabled_grad_scaler_changes_nothing():
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    plain, scaled = gradients(), gradients(scaler=scaler)
    for site in plain:
        assert_identical(plain[site], scaled[site], site=site)


@pytest.mark.hostile(50)
def test_a_grad_scaler_that_changes_its_scale():
    net = small()
    x = batch()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    with ActivationRecorder(net, capture="grad", grad_scaler=scaler) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(net(x).square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
            recorder.step()
    windows = recorder.recording.windows
    assert scaler.get_scale() == 32.0
    for window in windows[1:]:
        assert_same_integers(window["0:grad"], windows[0]["0:grad"])


# ---- calls and names -----------------------------------------------------------------------------


class Shared(nn.Module):
    def __init__(self, times=3):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.act = nn.ReLU()
        self.tied = self.fc
        self.times = times

    def forward(self, x):
        for _ in range(self.times):
            x = self.act(self.fc(x))
        return x


@pytest.mark.hostile(33)
def test_shared_modules_pool_their_calls_under_one_name():
    net = Shared()
    with Watched(net) as watched, ActivationRecorder(net) as recorder:
        net(batch())
        net(batch())
    assert list(recorder) == ["fc", "act"]
    assert_recorded(recorder, watched, ["fc", "act"])
    assert recorder["tied"].calls == 6
    assert recorder["tied", "output"].calls == 6


@pytest.mark.hostile(33)
def test_per_call():
    net = Shared(times=11)
    with Watched(net) as watched, ActivationRecorder(net, per_call="fc") as recorder:
        for _ in range(2):
            net(batch())
    calls = watched.seen["fc"]
    names = [f"fc#{i}" for i in range(1, 9)] + ["fc#9+"]
    assert [s for s in recorder if s.startswith("fc")] == names
    for i, name in enumerate(names[:-1]):
        assert_stats_of(recorder[name], torch.cat(calls[i::11]), merges=2, site=name)
    assert recorder["fc#9+"].calls == 6
    assert recorder["act"].calls == 22


def test_per_call_keeps_gradients_and_z_apart():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.GELU()

        def forward(self, x):
            return self.act(3 * self.act(x))

    net = Twice()
    x = torch.randn(40, 3, requires_grad=True)
    capture = ("output", "input", "grad")
    recorder = ActivationRecorder(net, capture=capture, per_call="act")
    with Watched(net, ["act"]) as watched, recorder:
        net(x).sum().backward()
    for i in (0, 1):
        assert_stats_of(recorder[f"act#{i + 1}:input"], watched.seen["act:input"][i])
        assert_stats_of(recorder[f"act#{i + 1}"], watched.seen["act"][i])
        assert_stats_of(recorder[f"act#{i + 1}:grad"], watched.seen["act:grad"][1 - i])
        assert recorder[f"act#{i + 1}"].judged.seen.tolist() == [40] * 3


def test_per_call_of_a_module_called_outside_the_models_forward():
    net = nn.Sequential(nn.GELU())
    with ActivationRecorder(net, per_call="0") as recorder:
        for _ in range(3):
            net[0](batch())
    assert list(recorder) == ["0#1"]
    assert recorder["0#1"].judged.seen.tolist() == [24] * 3


@pytest.mark.hostile(2, 28)
def test_never_called():
    net = nn.ModuleDict({"mha": nn.MultiheadAttention(4, 2), "idle": nn.Linear(2, 2)})
    x = torch.randn(5, 3, 4)
    with ActivationRecorder(net) as recorder:
        net["mha"](x, x, x)
    assert recorder.never_called() == ("mha.out_proj", "idle")
    assert "never called: mha.out_proj, idle" in str(recorder.summary())
    with pytest.raises(KeyError, match="nothing was seen at 'idle'"):
        recorder["idle"]
    assert "idle" in recorder.sites


def test_mapping_protocol():
    net = make_mlp(3, [4, 4], 1, activation="tanh")
    with ActivationRecorder(net, capture=("output", "grad")) as recorder:
        train_step(net)
    assert recorder["act1"].count == 32
    assert_identical(recorder["act1", "output"], recorder["act1"])
    assert_identical(recorder["fc2", "grad"], recorder["fc2:grad"])
    assert "act1" in recorder
    assert "act9" not in recorder
    assert recorder.get("nothing") is None
    assert len(recorder) == len(list(recorder)) == 10
    assert dict(recorder).keys() == set(recorder)
    with pytest.raises(KeyError, match="no site 'atc1' is recorded; did you mean 'act1'"):
        recorder["atc1"]
    with pytest.raises(KeyError, match="did you mean 'act1:grad'"):
        recorder["act1", "gradient"]


def test_keys_of_nested_outputs():
    net = nn.LSTM(3, 4)
    with ActivationRecorder(net) as recorder:
        net(torch.randn(5, 2, 3))
    assert list(recorder) == ["(root)[0]", "(root)[1][0]", "(root)[1][1]"]
    with pytest.raises(KeyError, match="seen as several sites"):
        recorder["(root)"]


def test_an_alias_works_for_leaves_too():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 3)
            self.again = self.lstm

        def forward(self, x):
            return self.again(x)[0]

    net = Two()
    with ActivationRecorder(net) as recorder:
        net(torch.randn(5, 2, 3))
    assert recorder["again[0]"].count == recorder["lstm[0]"].count


# ---- errors --------------------------------------------------------------------------------------


class Broken:
    NAME = "broken"

    @staticmethod
    def observe(*_, **__):
        raise RuntimeError("kaput")

    judge = observe


@pytest.mark.hostile(56)
@pytest.mark.parametrize("capture", ["output", "input", "grad"])
def test_an_error_is_logged_once_and_turns_the_site_off(capture, caplog):
    net = nn.Sequential(nn.Linear(3, 4))
    recorder = ActivationRecorder(net, capture=capture)
    recorder._shared.kernel = Broken
    with recorder, caplog.at_level(logging.WARNING, "actstats"):
        for _ in range(3):
            loss = train_step(net)
            recorder.step()
    assert math.isfinite(loss.item())
    assert [r.getMessage() for r in caplog.records] == ["0 is not recorded any more: kaput"]
    assert "turned off: 0 (RuntimeError: kaput)" in str(recorder.summary())
    with pytest.raises(KeyError, match="turned off: RuntimeError: kaput"):
        recorder["0", capture]


@pytest.mark.hostile(56)
@pytest.mark.parametrize("capture", ["output", "input", "grad"])
def test_strict_raises(capture):
    net = nn.Sequential(nn.Linear(3, 4))
    recorder = ActivationRecorder(net, capture=capture, strict=True)
    recorder._shared.kernel = Broken
    with recorder, pytest.raises(RuntimeError, match="kaput"):
        train_step(net)


@pytest.mark.hostile(57)
def test_an_error_in_the_users_forward_leaves_the_recorder_right():
    class Fails(nn.Module):
        fail = True

        def forward(self, x):
            if self.fail:
                raise ValueError("mine")
            return x

    net = nn.Sequential(nn.Linear(3, 4), Fails(), nn.ReLU())
    recorder = ActivationRecorder(net, functional=True, per_call="0")
    with recorder:
        with pytest.raises(ValueError, match="mine"):
            net(batch())
        assert torch._C._len_torch_function_stack() == 0
        net[1].fail = False
        net(batch())
        recorder.step()
    assert recorder["0#1"].calls == 2
    assert recorder["2"].calls == 1


@pytest.mark.hostile(57, 101)
@pytest.mark.parametrize("after", ["step", "detach", "forward"])
def test_an_interrupt_in_the_users_forward(after):
    class Fails(nn.Module):
        fail = True

        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))  # so that nobody tries it on numbers

        def forward(self, x):
            if self.fail:
                raise KeyboardInterrupt
            return x

    net = nn.Sequential(nn.Linear(3, 4), Fails())
    recorder = ActivationRecorder(net, functional=True, per_call="0").attach()
    with pytest.raises(KeyboardInterrupt):
        net(batch())
    net[1].fail = False
    if after == "step":
        recorder.step()
    elif after == "detach":
        recorder.detach()
        recorder.attach()
    net(batch())
    assert torch._C._len_torch_function_stack() == 0
    assert [s for s in recorder if s.startswith("0")] == ["0#1"]
    assert recorder["0#1"].calls == 2


# ---- resuming ------------------------------------------------------------------------------------


def run(net, recorder, data, first):
    for i, x in enumerate(data, start=first):
        train_step(net, x)
        if i % 4 == 3:
            net.eval()
            net(x)
            net.train()
        recorder.step(loss=float(i))


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("cut", [4, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(window, every, cut):
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2), nn.Tanh())
    data = [batch() for _ in range(11)]
    options = {"window": window, "every": every, "capture": ("output", "grad")}
    options |= {"edges": {"0": (5, -1.0, 1.0)}}
    with ActivationRecorder(net, **options) as whole:
        run(net, whole, data, 0)
    with ActivationRecorder(net, **options) as first:
        run(net, first, data[:cut], 0)
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = ActivationRecorder(net, **options)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    with second:
        run(net, second, data[cut:], cut)
    one, other = whole.recording.windows, second.recording.windows
    shape = [(w.first_step, w.last_step, w.phase, w.scalars) for w in one]
    assert [(w.first_step, w.last_step, w.phase, w.scalars) for w in other] == shape
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for site in a:
            assert_same_integers(a[site], b[site], site=f"{a} {site}")
            assert a[site].mean == pytest.approx(b[site].mean, rel=1e-13, abs=1e-17)
            assert a[site].var == pytest.approx(b[site].var, rel=1e-13)


def test_state_survives_the_recorder_it_came_from():
    net = small()
    with ActivationRecorder(net, window=5) as recorder:
        net(batch())
        state = recorder.state_dict()
        before = ActivationRecorder(net)
        before.load_state_dict(state)
        count = before["0"].count
        net(batch())
        recorder.step()
    after = ActivationRecorder(net)
    after.load_state_dict(state)
    assert after["0"].count == count == 32


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match="version 1; got 99"):
        ActivationRecorder(small()).load_state_dict({"version": 99})


# ---- budget --------------------------------------------------------------------------------------


def budgeted(budget, steps=40, **options):
    net = nn.Sequential(nn.Linear(3, 300), nn.Tanh())
    x = batch(16)
    with ActivationRecorder(net, budget=budget, **options) as recorder:
        for _ in range(steps):
            net(x)
            recorder.step()
    return net, x, recorder


def test_nothing_is_dropped_within_the_budget():
    _, _, recorder = budgeted(2**28)
    assert recorder["0"].units == 300
    assert recorder["0"].bits.resolution == 3
    assert "dropped" not in str(recorder.summary())


def test_units_of_old_windows_go_first():
    _, _, recorder = budgeted(700_000, window=1)
    windows = recorder.recording.windows
    assert recorder.nbytes <= 700_000
    assert windows[0]["0"].units == 0
    assert windows[-1]["0"].units == 300
    assert recorder["0"].bits.resolution == 3
    assert "per-unit detail of old windows" in str(recorder.summary())
    assert "dropped to fit" in windows[0]["0"].why("signal_fraction")


@pytest.mark.parametrize("window", [None, 1])
def test_resolution_goes_next_and_counts_never(window):
    net, x, recorder = budgeted(120_000, window=window)
    assert recorder["0"].bits.resolution < 3
    values = net[0](x).expand(40, -1, -1)
    assert recorder["0"].count == values.numel()
    assert recorder["0"].bits.total == values.numel()
    assert recorder["0"].min == values.min().item()
    got, truth = recorder["0"].var, exact(values[0])
    assert abs(got - float(truth.var)) <= variance_bound(truth, merges=400)
    assert "histogram resolution" in str(recorder.summary())
    assert recorder["1"].saturated_fraction == pytest.approx(
        (net(x).abs() > 0.9746794).double().mean().item(), abs=1e-9
    )


def test_an_impossible_budget_says_so_and_goes_on():
    _, _, recorder = budgeted(1)
    assert recorder["0"].count == 40 * 16 * 300
    assert "exceeds the budget" in str(recorder.summary())


def test_wide_layers_keep_no_units():
    net = nn.Sequential(nn.Linear(3, 5000))
    with ActivationRecorder(net) as recorder:
        net(batch(2))
    assert recorder["0"].units == 0
    assert recorder["0"].why("signal_fraction") == "5000 units are more than 4096"


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.hostile(111)
def test_memory_is_flat_over_ten_thousand_steps():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = torch.randn(2, 2)
    with ActivationRecorder(net) as recorder:
        sizes, held = [], []
        for i in range(10_000):
            net(x)
            recorder.step(loss=1.0)
            if i == 1000:
                gc.collect()
                tracemalloc.start()
            if i > 1000 and i % 1000 == 999:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
                held.append(recorder.nbytes)
        tracemalloc.stop()
    assert recorder["0"].calls == 10_000
    assert max(held) < 2**20, held
    # windows saw-tooth between 32 and 64; what grew with the steps would show at the end
    assert max(sizes[-3:]) - min(sizes[:3]) < 300_000, sizes


@pytest.mark.hostile(47, 111)
def test_no_tensor_is_kept_alive():
    net = small()
    alive = []

    def note(module, args, output):
        alive.extend(weakref.ref(t) for t in (output, *args))

    for module in net:
        module.register_forward_hook(note)
    capture = ("output", "input", "grad")
    with ActivationRecorder(net, capture=capture, functional=True) as recorder:
        gc.disable()
        try:
            loss = net(batch()).square().mean()
            loss.backward()
            del loss
            assert [r() for r in alive if r() is not None] == []
            recorder.step()
        finally:
            gc.enable()
    assert len(alive) == 8


def test_summary_of_nothing():
    assert "kernel: none has run" in str(ActivationRecorder(small()).summary())


def test_repr():
    net = small()
    with ActivationRecorder(net) as recorder:
        assert "attached" in repr(recorder)
        assert "4 modules" in repr(recorder)


def test_numbers_do_not_share_memory_with_the_state():
    net = small()
    with ActivationRecorder(net) as recorder:
        net(batch())
        one = recorder["1"]
        before = one.moments.n.copy()
        net(batch())
        np.testing.assert_array_equal(one.moments.n, before)


# ---- masks outside the model's forward -----------------------------------------------------------


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(3, 3)
        self.act = nn.GELU()

    def encode(self, x):
        return self.act(self.enc(x))


def test_a_mask_serves_one_call_outside_the_models_forward():
    net = Encoder()
    with ActivationRecorder(net, include="enc") as recorder:
        recorder.mask(torch.tensor([True, False, False]))
        net.encode(torch.randn(3, 3))
        net.encode(torch.randn(3, 3))
    assert recorder["enc"].count == 6 + 9


def test_a_mask_serves_z_and_output_of_a_call_outside_the_models_forward():
    net = Encoder()
    with ActivationRecorder(net, include="act") as recorder:
        recorder.mask(torch.tensor([True, False, False]))
        net.encode(torch.randn(3, 3))
    assert recorder["act"].count == 6
    assert recorder["act"].judged.seen.tolist() == [2, 2, 2]


class Raises(Encoder):
    def forward(self, x):
        x = self.encode(x)
        if self.training:
            raise ArithmeticError
        return x


@pytest.mark.hostile(57)
@pytest.mark.parametrize("way", ["encode", "__call__"])
def test_a_mask_goes_with_the_forward_that_raised(way):
    net = Raises()
    with ActivationRecorder(net, include="enc") as recorder:
        recorder.mask(torch.tensor([True, False, False]))
        with pytest.raises(ArithmeticError):
            net(torch.randn(3, 3))
        getattr(net.eval(), way)(torch.randn(3, 3))
    counts = [recorder.select(phase=phase)["enc"].count for phase in ("train", "eval")]
    assert counts == [6, 9]


@pytest.mark.hostile(57)
@pytest.mark.parametrize("way", ["encode", "__call__"])
def test_a_mask_given_after_a_forward_that_raised_serves_the_next_one(way):
    net = Raises()
    with ActivationRecorder(net, include="enc") as recorder:
        with pytest.raises(ArithmeticError):
            net(torch.randn(3, 3))
        recorder.mask(torch.tensor([True, False, False]))
        for _ in range(2):
            getattr(net.eval(), way)(torch.randn(3, 3))
    counts = [recorder.select(phase=phase)["enc"].count for phase in ("train", "eval")]
    assert counts == [9, 6 + 9]


def test_a_mask_never_covers_the_units():
    net = nn.Sequential(nn.Linear(6, 7))
    with ActivationRecorder(net) as recorder:
        recorder.mask(torch.zeros(4, 7, dtype=torch.bool))
        net(torch.randn(4, 6))
    assert (recorder["0"].count, recorder["0"].units) == (28, 7)
    ((site, reason),) = recorder.skipped
    assert site == "0"
    assert "did not fit" in reason


# ---- looking up and resuming, where things differ ------------------------------------------------


@pytest.mark.parametrize("key", [3, None, ("act1", "zz"), ("a", "b", "c"), "nothing"])
def test_what_is_no_site_is_not_in_the_recorder(key):
    net = make_mlp(3, [4], 1)
    with ActivationRecorder(net) as recorder:
        net(batch())
        recorder.step()
    for mapping in (recorder, recorder.recording, recorder.latest):
        assert key not in mapping
        assert mapping.get(key) is None


def test_calls_kept_apart_are_named_when_asked_for_together():
    act = nn.Tanh()
    net = nn.Sequential(nn.Linear(3, 3), act, nn.Linear(3, 3), act)
    with ActivationRecorder(net, per_call="1", capture=("output", "grad")) as recorder:
        train_step(net)
    assert [site for site in recorder if site[0] == "1"] == ["1#1", "1#2", "1#1:grad", "1#2:grad"]
    with pytest.raises(KeyError, match=r"ask for one of .*'1#1', '1#2'"):
        recorder["1"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"edges": {"0": (4, -1, 1)}}, "other edges"),
        ({"saturation_slope": 0.1}, "other saturation_slope"),
        ({"include": "0"}, "other modules"),
    ],
)
def test_the_state_of_another_recorder_is_refused_and_changes_nothing(options, match):
    net = small()
    with ActivationRecorder(net) as recorder:
        net(batch())
        state = recorder.state_dict()
    other = ActivationRecorder(net, **options)
    with other:
        net(batch())
    with pytest.raises(ValueError, match=match):
        other.load_state_dict(state)
    assert other["0"].calls == 1


@pytest.mark.parametrize("state", [{}, {"version": 1}, None])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match="`state`"):
        ActivationRecorder(small()).load_state_dict(state)


def test_a_resumed_recorder_knows_its_sites_and_calls():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with ActivationRecorder(net) as recorder:
        net(batch())
        recorder.step()
    resumed = ActivationRecorder(net)
    resumed.load_state_dict(recorder.state_dict())
    assert resumed.summary().rows == recorder.summary().rows
    assert resumed.summary().notes == recorder.summary().notes
    assert list(resumed) == list(recorder)
    assert resumed.latest.keys() == recorder.latest.keys()
    assert resumed.never_called() == ()


def test_reset_gives_the_resolution_back():
    net = small()
    with ActivationRecorder(net, budget=1) as recorder:
        for _ in range(3):
            net(batch())
            recorder.step()
        assert recorder["0"].bits.resolution == 0
        recorder.reset()
        net(batch())
        assert recorder["0"].bits.resolution == 3


def test_the_budget_is_told_as_the_reason_for_missing_units():
    net = nn.Sequential(nn.Linear(2, 500), nn.ReLU())
    with ActivationRecorder(net, budget=700_000, window=1) as recorder:
        for _ in range(60):
            net(torch.randn(40, 2))
            recorder.step()
    assert recorder.latest["1"].units == 500
    assert recorder["1"].why("dead_fraction") == "dropped to fit the budget"


def test_a_recorder_entered_twice_leaves_at_the_outer_end():
    net = small()
    recorder = ActivationRecorder(net)
    with recorder:
        with recorder:
            net(batch())
        net(batch())
    assert recorder["0"].calls == 2
    assert not recorder.attached


def test_patterns_that_match_no_site_are_told():
    net = small()
    options = {"edges": {"zz": (4, -1, 1)}, "resolution": {"0": 5, "yy": 2}, "per_call": "xx"}
    with ActivationRecorder(net, **options) as recorder:
        net(batch())
    assert recorder["0"].bits.resolution == 5
    told = [line for line in recorder.summary().notes if "no site matches" in line]
    assert told == [f"no site matches the pattern {p!r}" for p in ("zz", "yy", "xx")]


def test_a_modules_name_stands_for_its_leaves():
    net = nn.LSTM(3, 3)
    with ActivationRecorder(net, resolution={"(root)": 6}) as recorder:
        net(torch.randn(5, 2, 3))
    assert recorder["(root)[0]"].bits.resolution == 6


def test_a_scalar_with_a_graph_is_taken_without_a_warning():
    net = small()
    with ActivationRecorder(net) as recorder:
        loss = train_step(net)
        recorder.step(loss=loss)
    assert recorder.latest.scalars["loss"].last == loss.item()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"grad_scaler": "x"}, "`grad_scaler` must be"),
        ({"per_call": 3}, "`per_call` must be"),
        ({"include": []}, "`include` must not be empty"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, match):
    with pytest.raises(ValueError, match=match):
        ActivationRecorder(small(), **options)


@pytest.mark.parametrize("key", [3, "a:grad"])
def test_a_mapping_has_plain_names(key):
    with pytest.raises(ValueError, match="names without a kind"):
        ActivationRecorder({key: nn.Linear(2, 2)})


def test_an_interrupt_while_hooks_are_put_leaves_none(monkeypatch):
    net, hooks = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), []

    def interrupted(module, *args, **kwargs):
        if len(hooks) == 2:
            raise KeyboardInterrupt
        hooks.append(put(module, *args, **kwargs))
        return hooks[-1]

    put = nn.Module.register_forward_hook
    monkeypatch.setattr(nn.Module, "register_forward_hook", interrupted)
    recorder = ActivationRecorder(net)
    with pytest.raises(KeyboardInterrupt), recorder:
        net(torch.randn(3, 2))
    monkeypatch.undo()
    for calls in (0, 1):
        assert not recorder.attached
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
        assert [recorder[site].calls for site in recorder] == [1, 1, 1] * calls
        with recorder:
            net(torch.randn(3, 2))


def test_functions_called_after_an_interrupted_forward_are_not_the_models():
    class Interrupted(nn.Module):
        def forward(self, x):
            x = torch.relu(x)
            if self.training:
                raise KeyboardInterrupt
            return x

    net = nn.Sequential(Interrupted())
    net[0].register_buffer("no_guess", torch.ones(1))
    with ActivationRecorder(net, functional=True) as recorder:
        with pytest.raises(KeyboardInterrupt):
            net(torch.randn(3, 2))
        torch.relu(torch.randn(100))
        torch.sigmoid(torch.randn(100))
        net.eval()(torch.randn(3, 2))
        seen = {site: recorder.select(phase="eval")[site].count for site in recorder}
    assert [site for site in seen if "()" in site] == ["0.relu()"]
    assert seen["0.relu()"] == 6


def test_an_interrupted_forward_leaves_the_users_function_mode_alone():
    class Interrupted(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    net = nn.Sequential(nn.Linear(2, 2), Interrupted())
    net[1].register_buffer("no_guess", torch.ones(1))
    recorder = ActivationRecorder(net, functional=True).attach()
    with pytest.raises(KeyboardInterrupt):
        net(torch.randn(2, 2))
    with torch.device("meta"):
        recorder.step()
        assert torch.empty(1).is_meta
    recorder.detach()
    assert torch.overrides._get_current_function_mode_stack() == []


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x, stop=False):
        if stop:
            raise KeyboardInterrupt
        return torch.relu(self.fc(x))


@pytest.mark.parametrize("way", ["__enter__", "__exit__"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_an_interrupt_while_functions_come_into_view_or_go_loses_none_later(
    monkeypatch, way, is_done
):
    done = getattr(TorchFunctionMode, way)

    def interrupted(*args):
        monkeypatch.setattr(TorchFunctionMode, way, done)
        if is_done:
            done(*args)
        raise KeyboardInterrupt

    net, x = Functional(), torch.randn(2, 2)
    with ActivationRecorder(net, functional=True, strict=True) as recorder:
        monkeypatch.setattr(TorchFunctionMode, way, interrupted)
        with pytest.raises(KeyboardInterrupt):
            net(x)
        recorder.step()
        assert torch.overrides._get_current_function_mode_stack() == []
        recorder.reset()
        net(x)
        net(x)
    assert list(recorder) == ["(root).relu()", "fc"]
    assert recorder["(root).relu()"].calls == 2


@pytest.mark.hostile(57)
@pytest.mark.parametrize("then", ["step", "forward", "forward under a mode", "detach"])
@pytest.mark.parametrize("modes", [1, 2, 3])
def test_functions_are_seen_again_after_modes_of_the_users_were_left_by_an_interrupt(modes, then):
    net, x = Functional(), torch.randn(2, 2)
    users = [BaseTorchFunctionMode() for _ in range(modes)]
    with ActivationRecorder(net, functional=True, strict=True) as recorder:
        blocks = ExitStack()
        for mode in users:
            blocks.enter_context(mode)
        with pytest.raises(KeyboardInterrupt), blocks:
            net(x, stop=True)  # what the innermost block's end pops is the recorder's
        assert torch.overrides._get_current_function_mode_stack() == users[:1]
        if then == "step":
            recorder.step()
            assert torch.overrides._get_current_function_mode_stack() == []
        elif then == "detach":
            recorder.detach()
            assert torch.overrides._get_current_function_mode_stack() == []
            recorder.attach()
        with users[0] if then == "forward under a mode" else nullcontext():
            net(x)
        assert torch.overrides._get_current_function_mode_stack() == []
    assert recorder["(root).relu()"].calls == 1


@pytest.mark.parametrize("mode", [nullcontext, BaseTorchFunctionMode])
def test_a_device_that_was_left_by_an_interrupt_is_in_force_no_longer(mode):
    net, x = Functional(), torch.randn(2, 2)
    with ActivationRecorder(net, functional=True, strict=True) as recorder:
        with pytest.raises(KeyboardInterrupt), torch.device("meta"), mode():
            net(x, stop=True)
        recorder.step()
        assert torch.empty(1).device.type == "cpu"
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_default_device_outlives_an_interrupt(when):
    net, x = Functional(), torch.randn(2, 2)
    try:
        torch.set_default_device("meta" if when == "before" else None)
        with ActivationRecorder(net, functional=True, strict=True) as recorder:
            with pytest.raises(KeyboardInterrupt), BaseTorchFunctionMode():
                net(x, stop=True)
            torch.set_default_device("meta")
            recorder.step()
            assert torch.empty(1).is_meta
    finally:
        torch.set_default_device(None)
    assert torch.overrides._get_current_function_mode_stack() == []


def test_units_of_convolutions():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3, padding=1)
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.conv(x) + x)

    net = Residual()
    with ActivationRecorder(net) as recorder:
        net(torch.randn(40, 4, 9))
    assert recorder["act"].units == 4  # the channels, as of the convolution of the same shape
    single = nn.Conv2d(3, 8, 3)
    with ActivationRecorder(single) as recorder:
        single(torch.randn(3, 10, 10))
    assert recorder["(root)"].units == 0


def test_an_empty_include_is_refused_for_a_mapping_too():
    with pytest.raises(ValueError, match="`include` must not be empty"):
        ActivationRecorder({"a": nn.Linear(2, 2)}, include=[])


# ---- what diagnoses read -------------------------------------------------------------------------


@pytest.mark.hostile(2, 29)
def test_modules_never_called_tell_of_their_parameters():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)
            self.tied, self.drop = nn.Linear(2, 2), nn.Dropout()

        def forward(self, x):
            return nn.functional.linear(self.body(x), self.tied.weight)

    net = Holder()
    recorder = ActivationRecorder(net)
    with recorder:
        loss = net(torch.ones(3, 2)).sum()
        before = recorder.recording.never_called
        loss.backward()
    assert before == {"spare": "unknown", "tied": "unknown", "drop": "none"}
    assert recorder.recording.never_called == {"spare": "unused", "tied": "used", "drop": "none"}
    assert recorder.select(phase="train").never_called == recorder.recording.never_called


def test_sites_know_their_place_dtype_and_whether_they_train():
    net = make_mlp(2, [3], 1, activation="relu")
    net.fc1.requires_grad_(False)
    recorder = ActivationRecorder(net, capture=("output", "grad"))
    with recorder:
        net(torch.ones(4, 2)).sum().backward()
        net.eval()
        net(torch.ones(4, 2))
    sites = recorder.recording.sites
    assert [sites[name].place for name in ("fc1", "act1", "out")] == [0, 1, 2]
    assert [sites[name].trainable for name in ("fc1", "act1", "out")] == [False, None, True]
    assert sites["out:grad"].dtype == "float32"
    assert not sites["out:grad"].scaled


def test_listeners_get_each_window_as_it_closed():
    net = make_mlp(2, [3], 1, activation="relu")
    recorder, heard = ActivationRecorder(net), []
    stop = recorder.on_window(heard.append)
    with recorder:
        for _ in range(70):
            net(torch.ones(4, 2))
            recorder.step()
        stop()
        net(torch.ones(4, 2))
        recorder.step()
    widths = [window.last_step - window.first_step + 1 for window in heard]
    assert widths == [1] * 65 + [2] * 2  # before neighbours merge
    assert heard[3]["act1"].count == 12


def test_what_a_listener_raises_comes_out_of_a_step_that_is_done():
    net = make_mlp(2, [3], 1, activation="relu")
    recorder = ActivationRecorder(net, window=1)

    def refuse(window):
        raise RuntimeError("no more")

    recorder.on_window(refuse)
    with recorder:
        net(torch.ones(4, 2))
        with pytest.raises(RuntimeError, match="no more"):
            recorder.step()
    assert recorder.latest.last_step == 0
    assert "step 1" in repr(recorder)


def test_what_is_open_is_told():
    net = make_mlp(2, [3], 1, activation="relu")
    recorder = ActivationRecorder(net, window=2)
    assert (recorder.open_step, recorder.open_windows) == (0, ())
    with recorder:
        for _ in range(3):
            net(torch.ones(4, 2))
            recorder.step()
        net.eval()
        net(torch.ones(8, 2))
    assert recorder.open_step == 3
    train, evaluation = recorder.open_windows
    assert (train.phase, train.first_step, train["act1"].count) == ("train", 2, 12)
    assert (evaluation.phase, evaluation["act1"].count) == ("eval", 24)
    assert recorder["act1"].count == 36  # they are copies


def test_a_step_waits_until_another_threads_has_ended(monkeypatch):
    net = small()
    with ActivationRecorder(net, window=1) as recorder:
        other, ended = threading.Thread(target=recorder.step), []
        catch_up = Windows.catch_up

        def and_another_step(windows):
            monkeypatch.undo()
            other.start()
            other.join(0.2)
            ended.append(not other.is_alive())
            catch_up(windows)

        monkeypatch.setattr(Windows, "catch_up", and_another_step)
        net(batch())
        recorder.step()
        other.join(60)
    assert ended == [False]
    assert not other.is_alive()
