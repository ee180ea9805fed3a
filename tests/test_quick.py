"""The short way through the hooks records what the long way does."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from actstats import ActivationRecorder
from actstats.hooks import Slot
from claims import assert_same_integers


def both(make, run, **options):
    """Run the same with both kernels; only the compiled one has a short way."""
    recorders = []
    for kernel in ("reference", "cpu"):
        torch.manual_seed(0)
        model = make()
        recorder = ActivationRecorder(model, kernel=kernel, **options)
        with recorder:
            run(model, recorder)
        recorders.append(recorder)
    return recorders


def assert_equal(recorders):
    """Claim that both kernels saw the same sites, phases and integers."""
    want, got = (recorder.recording for recorder in recorders)
    assert list(got) == list(want)
    assert got.phases == want.phases
    for phase in want.phases:
        a, b = want.select(phase=phase), got.select(phase=phase)
        assert list(a) == list(b)
        for site in a:
            assert b[site].calls == a[site].calls, (phase, site)
            assert_same_integers(a[site], b[site], site=f"{site} in {phase}")
            assert b.sites[site].source == a.sites[site].source


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    def forward(self, x):
        self.eval()
        target = self.net(x)
        self.train()
        return self.net(x) - target


@pytest.mark.hostile(36)
def test_a_mode_switched_inside_a_forward():
    def run(model, recorder):
        for _ in range(6):
            model(torch.randn(8, 3))
            recorder.step()

    recorders = both(Teacher, run)
    assert_equal(recorders)
    assert {p: recorders[1].select(phase=p)["net.1"].calls for p in ("eval", "train")} == {
        "eval": 6,
        "train": 6,
    }


class Masking(nn.Module):
    recorder = None

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.ReLU()

    def forward(self, x):
        x = self.a(x)
        if self.recorder is not None:
            self.recorder.mask(torch.arange(len(x)) >= 2)
        return self.b(x)


def test_a_mask_set_inside_a_forward():
    def run(model, recorder):
        for i in range(6):
            model.recorder = recorder if i > 3 else None
            model(torch.randn(8, 3))
            recorder.step()

    recorders = both(Masking, run)
    assert_equal(recorders)
    assert recorders[1]["b"].count == 4 * (4 * 8 + 2 * 2)


def test_a_mask_set_before_a_forward():
    def run(model, recorder):
        for i in range(6):
            if i > 3:
                recorder.mask(torch.arange(8) >= 2)
            model(torch.randn(8, 3))
            recorder.step()

    recorders = both(Masking, run)
    assert_equal(recorders)
    assert recorders[1]["b"].count == 4 * (4 * 8 + 2 * 2)


class Failing(nn.Module):
    fails = False

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 4)

    def forward(self, x):
        x = self.a(x)
        if self.fails:
            raise ValueError("on purpose")
        return x


def test_a_forward_that_failed():
    def run(model, recorder):
        for _ in range(5):
            model(torch.randn(8, 3))
            recorder.step()
        model.fails = True
        with pytest.raises(ValueError, match="on purpose"):
            model(torch.randn(8, 3))
        model.eval()
        model.a(torch.randn(8, 3))

    assert_equal(both(Failing, run))


class Rare(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.r, self.calls = nn.Conv1d(3, 8, 1), nn.ReLU(), 0

    def forward(self, x):
        x = self.c(x)
        self.calls += 1
        return self.r(x) if self.calls % 5 == 0 else x


def test_a_module_first_called_late_finds_its_source_and_axis():
    def run(model, recorder):
        for i in range(11):
            model(torch.randn(64 if i == 0 else 32, 3, 16))
            recorder.step()

    recorders = both(Rare, run)
    assert_equal(recorders)
    assert (recorders[1]["r"].units, recorders[1].recording.sites["r"].source) == (8, "c")


class Imaginary(nn.Module):
    def __init__(self):
        super().__init__()
        self.t = nn.Identity()

    def forward(self, x):
        return self.t(torch.complex(x, x).conj().imag)


def test_a_lazily_negated_tensor():
    def run(model, recorder):
        for _ in range(5):
            model(torch.ones(1, 4))
            recorder.step()

    recorders = both(Imaginary, run)
    assert_equal(recorders)
    assert recorders[1]["t"].mean == -1.0


class Zeros(nn.Module):
    def __init__(self):
        super().__init__()
        self.t = nn.Identity()

    def forward(self, x):
        return self.t(x)


def test_a_tensor_of_zeros_without_memory():
    def run(model, recorder):
        for i in range(6):
            model(torch.zeros(8, 4) if i < 4 else torch._efficientzerotensor((8, 4)))
            recorder.step()

    recorders = both(Zeros, run)
    assert_equal(recorders)
    assert recorders[1]["t"].zeros == 6 * 32


def test_batched_gradients_are_skipped():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    with ActivationRecorder(net, capture=("output", "grad"), kernel="cpu") as recorder:
        for _ in range(4):
            net(torch.randn(8, 3)).sum().backward()
            recorder.step()
        y = net(torch.randn(8, 3))
        grads = torch.stack([torch.ones_like(y), torch.zeros_like(y)])
        torch.autograd.grad(y, net[0].weight, grads, is_grads_batched=True)
        net(torch.randn(8, 3)).sum().backward()
    assert recorder["1:grad"].calls == 5
    assert any("no memory of its own" in reason for _, reason in recorder.skipped)


def test_calls_are_counted_on_the_short_way():
    net = nn.Sequential(nn.Linear(3, 4))
    with ActivationRecorder(net, kernel="cpu") as recorder:
        for _ in range(12):
            net(torch.randn(8, 3))
            recorder.step()
    assert recorder.state_dict()["calls"]["0"] == recorder["0"].calls == 12


def test_modules_without_a_root_take_the_short_way(monkeypatch):
    modules, slow = {"a": nn.Linear(3, 4), "b": nn.GELU()}, []

    def run():
        modules["b"](modules["a"](torch.randn(8, 3)))

    with ActivationRecorder(modules, kernel="cpu", every=2) as recorder:
        run()
        recorder.step()
        run()
        recorder.step()
        run()
        monkeypatch.setattr(Slot, "run", lambda self, *_: slow.append(self.name))
        run()
        recorder.step()
    assert slow == []
    assert (recorder["a"].calls, recorder["b"].calls) == (3, 3)
    assert recorder.skipped == {}


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_modules_without_a_root_leave_the_short_way_for_a_mask(kernel):
    modules, x = {"a": nn.Linear(3, 4), "b": nn.ReLU()}, torch.randn(8, 3)
    with ActivationRecorder(modules, kernel=kernel, strict=True) as recorder:
        for step in range(6):
            if step % 2:
                recorder.mask(torch.arange(8) < step)
            modules["b"](modules["a"](x))
            recorder.step()
    counts = [8, 7, 8, 5, 8, 3]
    assert recorder["a"].count == recorder["b"].count == 4 * sum(counts)


@pytest.mark.hostile(16)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("is_mapping", [False, True], ids=["a model", "modules"])
def test_a_module_that_is_traced_and_checked_by_itself_is_not_counted(is_mapping):
    net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(8, 3)
    model = dict(net.named_children()) if is_mapping else net
    with ActivationRecorder(model, kernel="cpu", strict=True) as recorder:
        for _ in range(4):
            net(x)
            recorder.step()
        torch.jit.trace(net[0], x)  # which runs it once more, eagerly
        assert recorder["0"].calls == 4
        net(x)
    assert recorder["0"].calls == recorder["1"].calls == 5


class Fails:
    """A plan that breaks when it is asked."""

    def read_alike(self, *_):
        raise OverflowError("on purpose")


def broken(strict):
    """Break the plan of a recorder on its short way."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    recorder = ActivationRecorder(net, kernel="cpu", strict=strict).attach()
    for _ in range(4):
        net(torch.randn(8, 3))
        recorder.step()
    slot = next(slot for slot in recorder._shared.slots if slot.name == "1")
    slot.quick["train"].state.plan = Fails()
    return net, recorder


@pytest.mark.hostile(56)
def test_an_error_on_the_short_way_turns_its_site_off(caplog):
    net, recorder = broken(strict=False)
    for _ in range(2):
        assert net(torch.randn(8, 3)).shape == (8, 4)
    recorder.detach()
    assert "on purpose" in recorder.summary().notes[0]
    assert (recorder["0"].calls, recorder["1"].calls) == (6, 4)
    assert len(caplog.records) == 1


def test_an_error_on_the_short_way_is_raised_if_strict():
    net, recorder = broken(strict=True)
    with pytest.raises(OverflowError, match="on purpose"):
        net(torch.randn(8, 3))
    recorder.detach()


def test_a_checkpoint_that_is_computed_again_inside_the_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def both(self, x):
            return self.second(torch.tanh(self.first(x)))

        def forward(self, x):
            y = checkpoint(self.both, x, use_reentrant=False)
            (slope,) = torch.autograd.grad(y.sum(), x)
            return slope

    net, x = Net(), torch.randn(4, 3, requires_grad=True)
    with ActivationRecorder(net, strict=True) as recorder:
        for _ in range(3):
            net(x)
    assert (recorder["first"].calls, recorder["second"].calls) == (3, 3)


@pytest.mark.hostile(50)
def test_a_gradient_scale_that_comes_and_goes_during_a_run():
    def run(model, recorder):
        for scale in (None, None, None, 8.0, 8.0, None, None):
            recorder.grad_scale = scale
            (model(torch.randn(8, 3)).square().mean() * (scale or 1.0)).backward()

    recorders = both(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh()), run, capture="grad")
    assert_equal(recorders)
    assert recorders[1]["1:grad"].calls == 7
