"""How far an optimizer's steps move the weights."""

import copy
import gc
import io
import math
import weakref

import pytest
import torch
from torch import nn

import actstats
from actstats import ActivationRecorder, make_mlp


def rms(x):
    return x.detach().double().square().mean().sqrt().item()


def ratios(window):
    return {
        name.removeprefix("update_ratio/"): scalar
        for name, scalar in window.scalars.items()
        if name.startswith("update_ratio/")
    }


def train(net, optimizer, recorder, steps=4, expected=None):
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        if expected is not None:
            before = {name: p.detach().clone() for name, p in net.named_parameters()}
        loss = (net(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if expected is not None:
            for name, p in net.named_parameters():
                if p.dim() > 1:
                    expected.setdefault(name, []).append(rms(p - before[name]) / rms(before[name]))
        recorder.step(loss=loss.item())


def network():
    torch.manual_seed(0)
    return make_mlp(2, [8, 6], 1)


OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.01),
    "adam, foreach": lambda ps: torch.optim.Adam(ps, lr=0.01, foreach=True),
    "adamw, fused": lambda ps: torch.optim.AdamW(ps, lr=0.01, fused=True),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ratios_are_those_of_every_measured_step(name):
    net = network()
    optimizer, expected = OPTIMIZERS[name](net.parameters()), {}
    with ActivationRecorder(net, window=4).watch(optimizer, every=1) as recorder:
        train(net, optimizer, recorder, 4, expected)
    found = ratios(recorder.latest)
    assert list(found) == ["fc1.weight", "fc2.weight", "out.weight"]
    for weight, want in expected.items():
        got = found[weight]
        assert got.count == 4
        assert (got.min, got.max) == pytest.approx((min(want), max(want)), rel=1e-5)
        assert (got.mean, got.last) == pytest.approx((sum(want) / 4, want[-1]), rel=1e-5)


def test_every_counts_steps_of_the_optimizer_from_the_first():
    net = network()
    optimizer, expected = torch.optim.SGD(net.parameters(), lr=0.1), {}
    with ActivationRecorder(net, window=1).watch(optimizer, every=3) as recorder:
        train(net, optimizer, recorder, 7, expected)
    held = [ratios(w).get("fc1.weight") for w in recorder.recording.windows]
    assert [one is not None for one in held] == [True, False, False, True, False, False, True]
    assert held[3].last == pytest.approx(expected["fc1.weight"][3], rel=1e-5)


def test_the_default_measures_each_tenth():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=21).watch(optimizer) as recorder:
        train(net, optimizer, recorder, 21)
    assert ratios(recorder.latest)["fc1.weight"].count == 3


def test_watching_changes_no_bit_of_a_run():
    results = []
    for watched in (False, True):
        net = network()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        recorder = ActivationRecorder(net)
        state = torch.get_rng_state()
        if watched:
            recorder.watch(optimizer, every=1)
        with recorder:
            train(net, optimizer, recorder, 6)
        assert torch.equal(torch.get_rng_state(), state)
        results.append((net.state_dict(), optimizer.state_dict()))
    for a, b in zip(*(result[0].values() for result in results), strict=True):
        assert torch.equal(a, b)
    plain, seen = (result[1] for result in results)
    assert plain["param_groups"] == seen["param_groups"]
    for key, entry in plain["state"].items():
        for name, value in entry.items():
            assert torch.equal(value, seen["state"][key][name]), name


def test_hooks_leave_with_those_on_the_model():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = ActivationRecorder(net).watch(optimizer, every=1)
    hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
    assert [len(some) for some in hooks] == [0, 0]
    with recorder:
        assert [len(some) for some in hooks] == [1, 1]
        with recorder.paused():
            assert [len(some) for some in hooks] == [0, 0]
        assert [len(some) for some in hooks] == [1, 1]
    assert [len(some) for some in hooks] == [0, 0]
    other = torch.optim.SGD(net.parameters(), lr=0.1)
    with recorder:
        recorder.watch(other)
        assert len(other._optimizer_step_pre_hooks) == 1
    assert not other._optimizer_step_pre_hooks


def test_neither_keeps_the_other():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = ActivationRecorder(net).attach().watch(optimizer, every=1)
    train(net, optimizer, recorder, 2)
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    other = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder.watch(other)
    gone = weakref.ref(recorder)
    del recorder
    assert gone() is None
    assert not other._optimizer_step_pre_hooks


def test_an_optimizer_can_be_copied_and_pickled_while_watched():
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    with ActivationRecorder(net).watch(optimizer, every=1) as recorder:
        train(net, optimizer, recorder, 2)
        twin = copy.deepcopy(optimizer)
        torch.save(optimizer, io.BytesIO())
        before = ratios(recorder.latest)["fc1.weight"]
        for p in twin.param_groups[0]["params"]:
            p.grad = torch.ones_like(p)
        twin.step()
        recorder.step()
    assert ratios(recorder.latest).get("fc1.weight", before) == before


def test_parameters_without_a_gradient_are_left_out():
    net = network()
    net.fc1.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=3).watch(optimizer, every=1) as recorder:
        net.fc2.weight.grad = torch.ones_like(net.fc2.weight)
        optimizer.step()
        recorder.step()
        optimizer.zero_grad()
        optimizer.step()  # moves nothing, so that there is nothing to measure
        net(torch.ones(2, 2))
        recorder.step()
        recorder.step()
    assert {name: one.count for name, one in ratios(recorder.latest).items()} == {"fc2.weight": 1}


def test_weights_that_are_zero_have_no_ratio():
    net = network()
    nn.init.zeros_(net.out.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=2).watch(optimizer, every=1) as recorder:
        train(net, optimizer, recorder, 2)
    found = ratios(recorder.latest)["out.weight"]
    assert found.count == 1
    assert math.isfinite(found.mean)


def test_steps_that_a_scaler_leaves_out_are_not_measured():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with ActivationRecorder(net, window=3).watch(optimizer, every=1) as recorder:
        for bad in (False, True, False):
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(4, 2)).sum()).backward()
            if bad:
                net.fc1.weight.grad[0, 0] = math.inf
            scaler.step(optimizer)
            scaler.update()
            recorder.step()
    assert ratios(recorder.latest)["fc1.weight"].count == 2


def test_a_step_that_the_optimizer_itself_leaves_out_is_not_measured():
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    with ActivationRecorder(net, window=2).watch(optimizer, every=1) as recorder:
        for found in (0.0, 1.0):
            net(torch.ones(4, 2)).sum().backward()
            optimizer.found_inf = torch.tensor(found)
            optimizer.grad_scale = torch.tensor(1.0)
            optimizer.step()
            recorder.step()
    assert ratios(recorder.latest)["fc1.weight"].count == 1


def test_gradient_accumulation_counts_the_steps_that_are_taken():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=6).watch(optimizer, every=1) as recorder:
        for i in range(6):
            net(torch.ones(4, 2)).sum().backward()
            if i % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
            recorder.step()
    assert ratios(recorder.latest)["fc1.weight"].count == 2


def test_a_closure_is_measured_as_one_step():
    net = network()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)
    x = torch.randn(8, 2)

    def closure():
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        return loss

    before = net.fc1.weight.detach().clone()
    with ActivationRecorder(net, window=1).watch(optimizer, every=1) as recorder:
        optimizer.step(closure)
        recorder.step()
    found = ratios(recorder.latest)["fc1.weight"]
    want = rms(net.fc1.weight - before) / rms(before)
    assert (found.count, found.last) == (1, pytest.approx(want, rel=1e-5))


def test_two_optimizers_and_a_tied_weight():
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6, bias=False))
    net[2].weight = net[0].weight
    one = torch.optim.SGD(net[0].parameters(), lr=0.1)
    other = torch.optim.SGD(net[1].parameters(), lr=0.1)
    with ActivationRecorder(net, window=1).watch(one, every=1).watch(other, every=1) as recorder:
        net(torch.arange(6)).square().sum().backward()
        one.step()
        other.step()
        recorder.step()
    assert list(ratios(recorder.latest)) == ["0.weight", "1.weight"]


def test_names_are_canonical_and_a_mapping_gives_its_own():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    wrapped = torch.compile(net, backend="eager")
    recorder = ActivationRecorder(wrapped, window=1).watch(optimizer, every=1)
    with recorder:
        train(net, optimizer, recorder, 1)
    assert "fc1.weight" in ratios(recorder.latest)
    named = ActivationRecorder({"first": net.fc1, "rest": net.fc2}, window=1)
    named.watch(optimizer, every=1)
    with named:
        train(net, optimizer, named, 1)
    assert list(ratios(named.latest)) == ["first.weight", "rest.weight"]


def test_parameters_that_come_later_are_named_when_they_come():
    net = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=1).watch(optimizer, every=1) as recorder:
        train(net, optimizer, recorder, 1)
        net.append(nn.Linear(1, 1))
        optimizer.add_param_group({"params": net[2].parameters()})
        train(net, optimizer, recorder, 1)
    assert list(ratios(recorder.latest)) == ["0.weight", "1.weight", "2.weight"]


def test_what_is_refused():
    net = network()
    recorder = ActivationRecorder(net)
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer; got Sequential"):
        recorder.watch(net)
    with pytest.raises(ValueError, match="holds no parameter of the model"):
        recorder.watch(torch.optim.SGD(network().parameters(), lr=0.1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="`every` must be an integer of at least 1"):
        recorder.watch(optimizer, every=0)
    recorder.watch(optimizer)
    with pytest.raises(ValueError, match="is watched already"):
        recorder.watch(optimizer)


def test_a_step_that_is_compiled_is_told():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=1).watch(optimizer, every=1) as recorder:
        train(net, optimizer, recorder, 0)
        net(torch.ones(2, 2)).sum().backward()
        before = net.fc1.weight.detach().clone()
        torch.compile(optimizer.step, backend="eager")()
        recorder.step()
    assert not torch.equal(before, net.fc1.weight)
    assert "no step of the watched SGD was seen" in recorder.summary().notes
    assert not ratios(recorder.latest)
    torch.compiler.reset()


def test_an_error_of_ours_ends_watching_and_nothing_else(monkeypatch, caplog):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def broken(tensors):
        raise RuntimeError("no norms")

    monkeypatch.setattr("actstats.update_ratios.norms", broken)
    with ActivationRecorder(net).watch(optimizer, every=1) as recorder:
        train(net, optimizer, recorder, 3)
    assert recorder["fc1"].count == 3 * 16 * 8
    assert "turned off: (optimizer) (RuntimeError: no norms)" in recorder.summary().notes
    assert len(caplog.records) == 1


def test_a_resumed_run_has_what_the_open_window_had():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = ActivationRecorder(net, window=4).watch(optimizer, every=1)
    with recorder:
        train(net, optimizer, recorder, 2)
    again = ActivationRecorder(net, window=4).watch(optimizer, every=1)
    again.load_state_dict(recorder.state_dict())
    with again:
        train(net, optimizer, again, 2)
    assert ratios(again.latest)["fc1.weight"].count == 4
    again.reset()
    with again:
        train(net, optimizer, again, 4)
    assert ratios(again.latest)["fc1.weight"].count == 4


def test_files_hold_them(tmp_path):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=2, log=tmp_path / "run.actstats") as recorder:
        recorder.watch(optimizer, every=1)
        train(net, optimizer, recorder, 4)
    read = actstats.load(tmp_path / "run.actstats").windows[-1]
    assert ratios(read) == ratios(recorder.latest)


@pytest.mark.parametrize(("lr", "word"), [(30.0, "Lower"), (1e-9, "Raise")])
def test_diagnosis_judges_the_learning_rate_of_a_training_loop(lr, word):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    x = torch.randn(64, 2)
    with ActivationRecorder(net, capture=("output", "grad")).watch(optimizer) as recorder:
        for _ in range(3):
            net(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            recorder.step()
    found = [f for f in actstats.diagnose(recorder) if f.rule == "update-ratio"]
    assert found
    assert found[0].remedy.startswith(f"{word} the learning rate")


def test_scalars_given_to_step_are_not_crowded_out():
    from actstats.cli.view import view_of
    from actstats.report import render

    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ActivationRecorder(net, window=1).watch(optimizer, every=1) as recorder:
        net(torch.ones(4, 2)).sum().backward()
        optimizer.step()
        recorder.step()  # the first window has ratios, and no loss
        train(net, optimizer, recorder, 2)
    assert list(view_of(recorder.recording).scalars) == ["loss"]
    panels = actstats.plot.timeline(recorder).axes
    assert [panel.get_ylabel() for panel in panels][1:] == ["loss"]
    page = render(recorder)
    assert page.index("loss over steps") < page.index("update_ratio/fc1.weight over steps")
