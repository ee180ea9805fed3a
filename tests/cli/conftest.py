"""Recordings on disk for commands, and a terminal that is none."""

import io
from types import SimpleNamespace

import pytest
import torch
from recordings import normal, recording

from actstats import ActivationRecorder, make_mlp
from actstats.cli import console, main


class Terminal(io.StringIO):
    """Standard output as a terminal of 80 columns sees it; ``notes`` is standard error."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown, notes = Terminal(), io.StringIO()
    shown.notes = notes
    # pytest puts its own sys.stdout in place after fixtures have run.
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=shown, stderr=notes))
    return shown


@pytest.fixture
def run(capsys):
    """Run a command and return its exit code, output and errors."""

    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def healthy(windows: int = 3):
    tensors = [
        {
            "fc1": normal(seed=i),
            "act1": normal(seed=i).tanh(),
            "fc1:grad": normal(std=0.5, seed=i),
            "act1:grad": normal(std=0.9, seed=i),
        }
        for i in range(windows)
    ]
    losses = [{"loss": 1.0 / (i + 1)} for i in range(windows)]
    return recording(*tensors, activations={"act1": "tanh"}, scalars=losses, steps=10)


def dead():
    zero = torch.zeros(256, 10)
    tensors = {"fc1": normal(mean=-9), "act1": zero, "fc2": zero - 1, "act2": zero}
    return recording(tensors, tensors, activations={"act1": "relu", "act2": "relu"})


@pytest.fixture
def healthy_file(tmp_path):
    return healthy().save(tmp_path / "healthy.actstats")


@pytest.fixture
def deep_file(tmp_path):
    """A real network of three layers, its gradients too."""
    path, x = tmp_path / "deep.actstats", torch.linspace(-1, 1, 64).unsqueeze(1)
    net = make_mlp(1, [8] * 3, 1)
    with ActivationRecorder(net, capture=("output", "grad"), window=1, log=path) as recorder:
        for _ in range(4):
            net(x).square().mean().backward()
            recorder.step(loss=1.0)
    return path


@pytest.fixture
def dead_file(tmp_path):
    return dead().save(tmp_path / "dead.actstats")
