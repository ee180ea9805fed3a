"""One short run with evaluation, for the tests of all loggers."""

import torch

from actstats import ActivationRecorder, make_mlp


def recorded(feed, steps=6, **options):
    """Train a small net with zeros, gradients and dead units; return its recorder."""
    torch.manual_seed(0)
    net = make_mlp(2, [16, 16], 1, activation="relu")
    with torch.no_grad():
        net.fc2.bias.fill_(-100.0)
    recorder = ActivationRecorder(net, capture=("output", "grad"), window=2, **options)
    with recorder, feed.attach(recorder):
        for step in range(steps):
            net(torch.randn(64, 2)).square().mean().backward()
            recorder.step()
            if step == 2:
                net.eval()
                net(torch.randn(64, 2))
                net.train()
    return recorder


def expected(recorder, figure):
    """What a logger has to hold of a figure: by tag a list of (step, value)."""
    found = {}
    for window in recorder.recording.windows:
        for site, value in window.figure(figure).items():
            if value == value:
                tag = f"actstats/{figure}/{window.phase}/{site}"
                found.setdefault(tag, []).append((window.last_step, value))
    return found
