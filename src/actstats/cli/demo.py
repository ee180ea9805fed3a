"""``actstats demo``: the Batch Normalization tutorial in one command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actstats.cli.arguments import names_in
from actstats.cli.console import Console, Progress
from actstats.cli.diagnose import tell

if TYPE_CHECKING:
    import torch
    from torch import nn

    from actstats.recording import Recording

HELP = "train a sick network and a healthy one, record both, and show what is wrong"
EXAMPLES = """\
examples:
  actstats demo                                 writes demo_output/
  actstats demo --activation relu --epochs 30
  actstats demo -o sick --json

Eight hidden layers of ten units, small weights and every bias at -0.2 learn a
noisy parabola: once as they are, once with a BatchNorm1d in front of every
activation. After M. Zhou's PyTorch-Tutorial, 504_batch_normalization.py.
An older demo in the folder is replaced.
"""

NAMES = {"plain": False, "batch_norm": True}
POINTS, BATCH, LEARNING_RATE = 2000, 64, 0.03
WINDOW = 8  # steps


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--activation", choices=("tanh", "relu"), default="tanh", help="(default: tanh)")
    add("--epochs", type=_count, default=12, metavar="N", help="of 2,000 points (default: 12)")
    add("--seed", type=int, default=1, metavar="N", help="of networks and batches (default: 1)")
    text = "folder for the recordings and the picture (default: demo_output)"
    add("-o", "--output", type=Path, default=Path("demo_output"), metavar="DIR", help=text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"wants a whole number of at least 1; got {text!r}")
    return int(text)


def run(args: argparse.Namespace, console: Console) -> int:
    """Train, write, and tell."""
    from actstats import diagnose, load

    args.output.mkdir(parents=True, exist_ok=True)
    files = {name: args.output / f"{name}.actstats" for name in NAMES}
    for name, path in files.items():
        with console.progress(f"training {name}") as progress:
            train(path, args.activation, NAMES[name], args.epochs, args.seed, progress)
    recordings = {name: load(path) for name, path in files.items()}
    picture = args.output / "grid.png"
    with console.progress(f"drawing {picture}"):
        draw(recordings, picture, f"{args.activation}, the last of {args.epochs} epochs")
    diagnoses = {name: diagnose(recording) for name, recording in recordings.items()}
    console.emit(
        {
            "files": {name: str(path) for name, path in files.items()},
            "picture": str(picture),
            "loss": {name: loss_of(recording) for name, recording in recordings.items()},
            "diagnosis": {name: diagnosis.to_dict() for name, diagnosis in diagnoses.items()},
        }
    )
    for name, recording in recordings.items():
        console.print((f"{name}: loss {loss_of(recording):.1f}", "bold"))
        tell(diagnoses[name], console, names_in(recording))
        console.print()
    _tell_more(console, files, picture)
    return 0


def train(
    path: Path,
    activation: str,
    bn: bool,
    epochs: int,
    seed: int,
    progress: Progress = lambda done, total, part="": None,
) -> None:
    """Train a network and record it into a file.

    Parameters
    ----------
    path : Path
        The file; an older one is replaced.
    activation : {"tanh", "relu"}
        Of the hidden layers.
    bn : bool
        With a BatchNorm1d before each activation, or without.
    epochs : int
        Passes over the points.
    seed : int
        Of the network, the noise and the batches.
    progress : callable, optional
        Called as ``progress(done, total)`` with batches.
    """
    import torch

    from actstats import ActivationRecorder, make_mlp

    for end in ("", "-wal", "-shm"):  # else the run would be taken up where it ended
        path.with_name(path.name + end).unlink(missing_ok=True)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.linspace(-7, 10, POINTS).unsqueeze(1)
        y = x.square() - 5 + 2 * torch.randn(x.shape)
        net = make_mlp(
            activation=activation, bn=bn, bn_momentum=0.5, weight_std=0.1, bias_init=-0.2
        )
        optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
        with ActivationRecorder(
            net, capture=("output", "input", "grad"), window=WINDOW, log=path
        ) as recorder:
            batches = [b for _ in range(epochs) for b in torch.randperm(POINTS).split(BATCH)]
            for done, batch in enumerate(batches, 1):
                recorder.step(loss=learn(net, optimizer, x[batch], y[batch]))
                progress(done, len(batches))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch on one thread: for ten units a layer, waking others costs more than the work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def learn(
    net: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> float:
    """Take one step and return the loss before it."""
    loss = (net(x) - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())


def loss_of(recording: Recording) -> float:
    """Return the mean loss of the last window."""
    return recording.windows[-1].scalars["loss"].mean


def draw(recordings: Mapping[str, Recording], path: Path, title: str) -> None:
    """Draw every layer of both networks, as they ended."""
    from actstats import plot

    named = {name.replace("_", " "): recording for name, recording in recordings.items()}
    plot.histogram_grid(named, window=-1, title=title).savefig(path, dpi=150)


def _tell_more(console: Console, files: Mapping[str, Path], picture: Path) -> None:
    a, b = files.values()
    console.print(f"Every layer of both is drawn in {picture}. Look further:")
    for command in (f"show {a}", f"report {a}", f"compare {a} {b}", f"plot timeline {a}"):
        console.print(f"  actstats {command}")
