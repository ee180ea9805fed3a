r"""
A transformer with one bad residual scale
=========================================

Each block of this small transformer adds to its residual stream what attention and a feed-forward
layer give, times a scale that begins at 1. One scale was mistyped: 100. The norms before each
branch hide that from everything else, and the network learns all the same; but what later blocks
add is lost beside what that branch added before. :func:`actstats.diagnose` names the very sum. It
can, because sums are modules here: a plain ``x + branch`` has no name of its own.

::

    python examples/residual_scale.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from actstats import ActivationRecorder, diagnose

BLOCKS, WIDTH = 6, 32
SUMS = [f"blocks.{i}.add{j}" for i in range(BLOCKS) for j in (1, 2)]
COLORS = {"scale 1": "#0173B2", "scale 100": "#D55E00"}


class Add(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + self.scale * branch


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.add1, self.add2 = Add(), Add()

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm1(x)
        x = self.add1(x, self.attention(z, z, z, need_weights=False)[0])
        mixed: Tensor = self.add2(x, self.mlp(self.norm2(x)))
        return mixed


class Reader(nn.Module):
    """Reads a digit as eight rows of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, WIDTH), nn.Parameter(torch.randn(8, WIDTH) / 10)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x) + self.place)
        scores: Tensor = self.head(self.norm(x).mean(1))
        return scores


def train(scale: float) -> ActivationRecorder:
    torch.manual_seed(0)
    digits = load_digits()
    x, y = torch.tensor(digits.images / 8 - 1, dtype=torch.float32), torch.tensor(digits.target)
    net = Reader()
    nn.init.constant_(net.get_parameter("blocks.2.add2.scale"), scale)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.002)
    with ActivationRecorder(net, capture=("output", "input", "grad")) as recorder:
        for batch in torch.randint(len(x), (80, 64)):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    return recorder


# %%
# The residual stream
# -------------------
# Left its size after each sum; at the grey line the scale was mistyped. A healthy stream grows a
# little with each; here it leaps once, and nothing that is added later can turn it. Right the
# gradient by it: as each norm divides by the size of the stream, the gradient falls by as much at
# the same place.


def draw(recorders: dict[str, ActivationRecorder]) -> Figure:
    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for name, recorder in recorders.items():
        window = recorder.recording.windows[-1]
        for axes, kind in zip(panels, ("", ":grad"), strict=True):
            sizes = [window[f"{site}{kind}"].rms for site in SUMS]
            axes.plot(range(1, len(SUMS) + 1), sizes, "o-", color=COLORS[name], label=name)
    panels[0].set(title="residual stream", ylabel="root mean square")
    panels[1].set(title="gradient by it", ylabel="root mean square")
    for axes in panels:
        axes.set(xlabel="residual sum", yscale="log", xticks=range(1, len(SUMS) + 1))
        axes.axvline(SUMS.index("blocks.2.add2") + 1, color="0.8", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    return figure


# %%
# The diagnosis
# -------------


def main(argv: list[str] | None = None) -> dict[str, ActivationRecorder]:
    parser = argparse.ArgumentParser(description="Diagnose a transformer's residual stream.")
    parser.add_argument("--out", type=Path, default=Path("residual_scale_output"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    recorders = {"scale 1": train(1.0), "scale 100": train(100.0)}
    for name, recorder in recorders.items():
        loss = recorder.recording.windows[-1].scalars["loss"].mean
        print(f"{name}: loss {loss:.2f}. {diagnose(recorder).verdict}\n")
    draw(recorders).savefig(args.out / "residual_stream.png", dpi=120)
    return recorders


if __name__ == "__main__":
    main()
