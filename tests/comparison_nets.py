"""Nets that train for a moment, and what was recorded of them."""

import torch

from actstats import ActivationRecorder, make_mlp

TUTORIAL = {"weight_std": 0.1, "bias_init": -0.2}


def trained(
    seed=0, *, steps=24, window=4, activation="tanh", bn=False, lr=0.01, act=None, dtype=None, **net
):
    """Train a net of the tutorial's kind; ``act(net, step)`` may change it before a step."""
    torch.manual_seed(seed)
    model = make_mlp(1, activation=activation, bn=bn, **{"hidden": [10] * 4, **net})
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    recorder = ActivationRecorder(model, capture=("output", "grad"), window=window)
    with recorder:
        for step in range(steps):
            x = torch.rand(64, 1) * 4 - 2
            if act is not None:
                act(model, step)
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                y = model(x)
            optimizer.zero_grad()
            (y.float() - x**2).square().mean().backward()
            optimizer.step()
            recorder.step()
    return recorder.recording
