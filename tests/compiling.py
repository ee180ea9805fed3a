"""What tests of compiled models share: runs to compare, and what is claimed of them."""

from dataclasses import is_dataclass

import pytest
import torch
from torch._dynamo.utils import counters

from actstats import ActivationRecorder
from claims import assert_same_integers

ALL = ("output", "input", "grad")
BACKENDS = ("eager", "aot_eager", "inductor")


def assert_graphs(number):
    """Claim how many graphs were made, and that none ended early."""
    breaks = dict(counters["graph_break"])
    assert not breaks, breaks
    assert counters["stats"]["unique_graphs"] == number


def forget_all():
    """Forget what was compiled, and what was counted while compiling."""
    torch.compiler.reset()
    counters.clear()


def recorded(make, x, *, compiler=None, steps=3, rate=0.0, **options):
    """Train a fresh model for some steps under a recorder; return it, the losses and the model."""
    torch.manual_seed(0)
    net = make()
    options = {"capture": ALL, "strict": True, "window": 1} | options
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    losses = []
    with ActivationRecorder(net, **options) as recorder:
        call = compiler(net) if compiler else net
        for step in range(steps):
            optimizer.zero_grad()
            loss = sum(y.square().mean() for y in tensors(call(x * (1 + step))))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            recorder.step(loss=losses[-1])
    return recorder, losses, net


def said(caplog):
    """Return what the recorder logged; the compiler logs much more."""
    return " ".join(record.getMessage() for record in caplog.records if record.name == "actstats")


def tensors(value):
    """Yield the tensors of a nested output that gradients flow from."""
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, dict | list | tuple) or is_dataclass(value):
        items = value if isinstance(value, dict | list | tuple) else vars(value)
        for item in items.values() if isinstance(items, dict) else items:
            yield from tensors(item)


def assert_recorded_alike(got, want, *, exact=True):
    """Claim that two recordings hold the same sites, windows and numbers."""
    assert list(got) == list(want)
    assert got.skipped == want.skipped
    for one, other in zip(got.recording.windows, want.recording.windows, strict=True):
        assert (one.first_step, one.last_step, one.phase) == (
            other.first_step,
            other.last_step,
            other.phase,
        )
        assert one.stats.keys() == other.stats.keys()
        for site in one.stats:
            assert_alike(one.stats[site], other.stats[site], site, exact)


def assert_alike(got, want, site, exact):
    for name in ("calls", "count", "units"):
        assert getattr(got, name) == getattr(want, name), (site, name)
    if exact:
        assert_same_integers(got, want, site=site)
    for name in ("mean", "rms", "saturated_fraction"):
        close = pytest.approx(getattr(want, name), rel=1e-4, abs=1e-4 * want.rms, nan_ok=True)
        assert getattr(got, name) == close, (site, name)
