r"""
Where does a resumed run part from the first?
=============================================

A run was stopped at step 60 and resumed from its checkpoint, and the loss jumps. Which part did
not come back? Here ``load_state_dict(strict=False)`` left out one layer in silence, since its
name had changed in between. :func:`actstats.compare` finds it without a look at the code: up to
that layer the two runs are the same to the last bit, and from it on they are not.

::

    python examples/compare_runs.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from actstats import ActivationRecorder, Comparison, Recording, compare, make_mlp, plot

STEPS, RESUMED = 120, 60


def batches() -> list[tuple[Tensor, Tensor]]:
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    chosen = torch.randint(len(x), (STEPS, 128), generator=torch.Generator().manual_seed(0))
    return [(x[batch], torch.tensor(digits.target)[batch]) for batch in chosen]


def resume(net: nn.Module, checkpoint: dict[str, Tensor]) -> None:
    torch.manual_seed(1)
    for module in net.children():
        if isinstance(module, nn.Linear):
            module.reset_parameters()  # a new process begins with new weights
    net.load_state_dict(checkpoint, strict=False)


def train(interrupted: bool) -> Recording:
    torch.manual_seed(0)
    net = make_mlp(64, [64] * 4, 10, activation="relu", bias_init=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.002)
    with ActivationRecorder(net, window=1) as recorder:
        for step, (x, y) in enumerate(batches()):
            if interrupted and step == RESUMED:
                saved = {name: value.clone() for name, value in net.state_dict().items()}
                resume(net, {name.replace("fc3", "linear3"): saved[name] for name in saved})
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    return recorder.recording


# %%
# The map of the two runs
# -----------------------
# A row for each site, the first layer on top; palest where both runs gave the same values. Down
# from `fc3` it is dark at once. What stands above it, and got its weights back, moves away only
# later and little: through the gradient of a layer that has to learn anew.


def main(argv: list[str] | None = None) -> Comparison:
    parser = argparse.ArgumentParser(description="Compare a resumed run with an unbroken one.")
    parser.add_argument("--out", type=Path, default=Path("compare_runs_output"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    unbroken, resumed = train(interrupted=False), train(interrupted=True)
    losses = [resumed.windows[step].scalars["loss"].mean for step in (RESUMED - 1, RESUMED)]
    print("loss of the resumed run: {:.2f} before the break, {:.2f} after\n".format(*losses))
    comparison = compare(unbroken, resumed)
    print(comparison)
    figure = plot.compare(comparison, names=("unbroken", "resumed"))
    figure.savefig(args.out / "resumed.png", dpi=120)
    return comparison


if __name__ == "__main__":
    main()
