r"""
Hunting a NaN in bfloat16
=========================

After some steps the loss of a network in bfloat16 is NaN. One step more and all weights are NaN,
each layer gives nothing else, and whoever looks then comes too late. Therefore
:class:`actstats.FlightRecorder` keeps the layer and the step where it began. Here it is a layer
that maps points of a ball back to the plane by the inverse of tanh, as hyperbolic networks do.
Between 0.996 and 1 bfloat16 has no number: a norm that comes near is rounded to 1, and there the
inverse is infinite. (float32 puts it off until the norm in the plane is about 9.) The cure is to
cut the norm off below 1.

::

    python examples/nan_in_bf16.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from actstats import ActivationRecorder, FlightRecorder, TensorStats

STEPS, AFTER = 60, 3
NORMS = {"uncut": 1.0, "cut off at 0.99": 0.99}
COLORS = {"uncut": "#D55E00", "cut off at 0.99": "#0173B2"}
LAYERS = ("fc1", "act1", "fc2", "to_ball", "from_ball", "head")


class ToBall(nn.Module):
    def forward(self, v: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        return nn.functional.normalize(v) * norm.tanh()


class FromBall(nn.Module):
    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, y: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(y, dim=1, keepdim=True)
        return nn.functional.normalize(y) * norm.clamp(max=self.most).atanh()


def make_net(most: float) -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 16), ToBall(), FromBall(most))
    net = nn.Sequential()
    for name, layer in zip(LAYERS, (*layers, nn.Linear(16, 10)), strict=True):
        net.add_module(name, layer)
    return net


def train(most: float) -> tuple[ActivationRecorder, FlightRecorder]:
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.bfloat16), torch.tensor(digits.target)
    net = make_net(most).to(torch.bfloat16)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    recorder = ActivationRecorder(net, capture=("output", "grad"), window=1)
    with recorder, FlightRecorder(recorder) as flight:
        for step, batch in enumerate(torch.randint(len(x), (STEPS, 64))):
            loss = nn.functional.cross_entropy(net(x[batch]).float(), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
            if flight.offender and step == flight.windows[-1].last_step + AFTER:
                break
    return recorder, flight


# %%
# Where it began
# --------------
# Left the loss. Right where NaN and Inf were around that step, in the order of the computation:
# down the forward pass, then on with the backward pass. The topmost coloured field of the first
# step that has one is where it began, at a few values; what follows is broken by it.


def draw_losses(axes: Axes, runs: dict[str, ActivationRecorder], began: int) -> None:
    for (name, recorder), width in zip(runs.items(), (4, 1.5), strict=True):
        losses = [window.scalars["loss"].mean for window in recorder.recording.windows]
        axes.plot(losses, color=COLORS[name], linewidth=width, label=name)
    axes.axvline(began, color="0.5", linestyle="--", label="first NaN or Inf")
    axes.set(title="loss", xlabel="step", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def broken(stats: TensorStats) -> int:
    """Return how many of the values are NaN or Inf: 0 none, 1 some, 2 all."""
    return (stats.finite_count < stats.count) + (stats.finite_count == 0)


def draw_broken(axes: Axes, recorder: ActivationRecorder, began: int) -> None:
    steps = range(began - 3, began + AFTER)
    sites = [*LAYERS, *(f"{layer}:grad" for layer in reversed(LAYERS))]
    windows = [recorder.recording.windows[step] for step in steps]
    fields = [[broken(window[site]) for window in windows] for site in sites]
    colors = ListedColormap(["0.95", "#F4A582", "#B2182B"])
    rows = range(len(sites))
    mesh = axes.pcolormesh(steps, rows, fields, cmap=colors, vmin=-0.5, vmax=2.5, ec="white")
    scale = axes.figure.colorbar(mesh, ax=axes, ticks=range(3))
    scale.ax.set_yticklabels(["none", "some", "all"])
    axes.set(title="values that are NaN or Inf", xlabel="step", xticks=steps)
    axes.set_yticks(rows, sites)
    axes.invert_yaxis()


def draw(runs: dict[str, ActivationRecorder], began: int) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_losses(left, runs, began)
    draw_broken(right, runs["uncut"], began)
    return figure


def main(argv: list[str] | None = None) -> dict[str, FlightRecorder]:
    parser = argparse.ArgumentParser(description="Find where a NaN of bfloat16 began.")
    parser.add_argument("--out", type=Path, default=Path("nan_in_bf16_output"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    recorders, flights = {}, {}
    for name, most in NORMS.items():
        recorders[name], flights[name] = train(most)
        print(f"{name}: {flights[name].offender or 'nothing broken'}")
    began = flights["uncut"].windows[-1].last_step
    draw(recorders, began).savefig(args.out / "first_nan.png", dpi=120)
    return flights


if __name__ == "__main__":
    main()
