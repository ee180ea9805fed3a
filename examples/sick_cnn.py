r"""
A sick CNN whose loss falls
===========================

A falling loss does not say that every layer takes part. This small CNN learns the handwritten
digits of scikit-learn, and its loss falls much like that of its healthy twin. But in its third
convolution the biases of 12 of 16 channels began at -10: these never answer to any digit, so no
gradient reaches their weights, and nothing will wake them. :func:`actstats.diagnose` names the
layer, the share and what to do.

::

    python examples/sick_cnn.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from actstats import ActivationRecorder, diagnose, plot

COLORS = {"healthy": "#0173B2", "sick": "#D55E00"}


def make_cnn(sick: bool) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential()
    for i, channels in enumerate((1, 16, 16, 16), 1):
        net.add_module(f"conv{i}", nn.Conv2d(channels, 16, 3, padding=1))
        nn.init.kaiming_normal_(net.get_parameter(f"conv{i}.weight"), nonlinearity="relu")
        nn.init.zeros_(net.get_parameter(f"conv{i}.bias"))
        net.add_module(f"relu{i}", nn.ReLU())
    net.add_module("head", nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)))
    if sick:
        nn.init.constant_(net.get_parameter("conv3.bias")[:12], -10.0)
    return net


def train(sick: bool) -> ActivationRecorder:
    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    net = make_cnn(sick)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    with ActivationRecorder(net, capture=("output", "input", "grad")) as recorder:
        for batch in torch.randint(len(x), (100, 32)):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    return recorder


# %%
# The loss, and what it does not show
# -----------------------------------
# Left the loss of both. Right the 16 channels of the sick layer, a row each: the share of their
# values that is active, and in vermilion where a channel gave nothing for any digit.


def draw(recorders: dict[str, ActivationRecorder]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, recorder in recorders.items():
        windows = recorder.recording.windows
        losses = [window.scalars["loss"].mean for window in windows]
        steps = [window.first_step for window in windows]
        left.plot(steps, losses, color=COLORS[name], label=name)
    left.set(title="loss", xlabel="step", ylim=(0, None))
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    plot.units(recorders["sick"], "relu3", ax=right)
    return figure


# %%
# The diagnosis
# -------------


def main(argv: list[str] | None = None) -> dict[str, ActivationRecorder]:
    parser = argparse.ArgumentParser(description="Diagnose a CNN whose loss falls.")
    parser.add_argument("--out", type=Path, default=Path("sick_cnn_output"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    recorders = {"healthy": train(sick=False), "sick": train(sick=True)}
    for name, recorder in recorders.items():
        loss = recorder.recording.windows[-1].scalars["loss"].mean
        print(f"{name}: loss {loss:.2f}. {diagnose(recorder).verdict}\n")
    draw(recorders).savefig(args.out / "channels.png", dpi=120)
    return recorders


if __name__ == "__main__":
    main()
