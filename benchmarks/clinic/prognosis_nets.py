"""Small networks on a grid, and whether they learn: the labels of the prognosis experiment."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 64
STEPS = 150
TRIAL_STEPS = 20
LAST = 10  # losses that are averaged for the label
FAILED = 0.9  # of the loss of the best constant predictor
POINTS = 2000
SEED = 20_261_125

TASKS = ("sine", "tutorial", "blobs", "digits", "spirals")
ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}
NORMS = {"none": nn.Identity, "bn": nn.BatchNorm1d, "ln": nn.LayerNorm}
INITS = ("default", "he", "xavier", "quarter", "quadruple", "bias -2", "tutorial")
DEPTHS = (3, 6, 12)
WIDTHS = (10, 32, 64)
OPTIMIZERS = {
    "SGD 0.1": (torch.optim.SGD, {"lr": 0.1}),
    "SGD 0.1 momentum 0.9": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "Adam 0.01": (torch.optim.Adam, {"lr": 0.01}),
    "Adam 0.001": (torch.optim.Adam, {"lr": 0.001}),
    "AdamW 0.003": (torch.optim.AdamW, {"lr": 0.003}),
}


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    task: str
    activation: str
    norm: str
    init: str
    depth: int
    width: int
    residual: bool
    optimizer: str

    @property
    def network(self) -> str:
        """All but the optimizer."""
        return "/".join(str(v) for k, v in asdict(self).items() if k != "optimizer")

    @property
    def seed(self) -> int:
        """A seed that only the case decides."""
        return _hash(f"{self.network}/{self.optimizer}") % 2**31

    @property
    def half(self) -> str:
        """Which half it is in; the same network is in one half with every optimizer."""
        return ("fit", "report")[_hash(self.network) % 2]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def draw(networks: int, seed: int = SEED) -> list[Case]:
    """Draw cases at random from the whole product; fewer are the beginning of more.

    Networks without a norm and without residual connections fail more often, so more are drawn:
    half of all are without a norm, a quarter has residual connections.
    """
    norms, residual = ("none", "none", "bn", "ln"), (False, False, False, True)
    axes = (TASKS, ACTIVATIONS, norms, INITS, DEPTHS, WIDTHS, residual, OPTIMIZERS)
    product = list(itertools.product(*axes))
    order = np.random.default_rng(seed).permutation(len(product))
    drawn = dict.fromkeys(product[i] for i in order)
    return [Case(*point) for point in itertools.islice(drawn, networks)]


# ---- tasks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Inputs, targets, and the loss of the best constant predictor."""

    x: Tensor
    y: Tensor
    outputs: int
    constant: float

    def loss(self, predicted: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared error, or the cross entropy of classes."""
        if y.dtype == torch.long:
            return F.cross_entropy(predicted, y)
        return F.mse_loss(predicted, y)


@cache
def task(name: str) -> Task:
    """Make a task; its data are the same for all networks."""
    draws = np.random.default_rng(_hash(name))
    x, y = _DATA[name](draws)
    inputs = torch.as_tensor(x, dtype=torch.float32)
    if y.dtype.kind == "i":
        shares = np.bincount(y) / len(y)
        entropy = -float((shares * np.log(shares)).sum())
        return Task(inputs, torch.as_tensor(y, dtype=torch.long), len(shares), entropy)
    return Task(inputs, torch.as_tensor(y, dtype=torch.float32), 1, float(y.var()))


def _sine(draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = draws.uniform(-2, 2, (POINTS, 1))
    return x, np.sin(2 * x) + 0.05 * draws.standard_normal(x.shape)


def _tutorial(draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-7, 10, POINTS)[:, None]
    return x, x**2 - 5 + 2 * draws.standard_normal(x.shape)


def _blobs(draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = draws.integers(5, size=POINTS)
    centres = 2 * draws.standard_normal((5, 8))
    return centres[y] + draws.standard_normal((POINTS, 8)), y


def _digits(_: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data / 16, digits.target.astype(int)


def _spirals(draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = draws.integers(2, size=POINTS)
    radius = np.sqrt(draws.uniform(0.02, 1, POINTS))
    angle = 2 * math.pi * 0.6 * radius + math.pi * y
    arms = 2 * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return arms + 0.05 * draws.standard_normal(arms.shape), y


_DATA = {
    "sine": _sine,
    "tutorial": _tutorial,
    "blobs": _blobs,
    "digits": _digits,
    "spirals": _spirals,
}


# ---- networks ------------------------------------------------------------------------------------


class Block(nn.Module):
    """Linear, norm, activation; and the input added, if asked for."""

    def __init__(self, case: Case, width: int, residual: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(width, case.width)
        if case.norm != "none":
            self.norm = NORMS[case.norm](case.width)
        self.act = ACTIVATIONS[case.activation]()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        z = self.fc(x)
        if hasattr(self, "norm"):
            z = self.norm(z)
        return x + self.act(z) if self.residual else self.act(z)


def build(case: Case) -> nn.Sequential:
    """Make and initialise a case's network; the case decides the seed."""
    torch.manual_seed(case.seed)
    made = task(case.task)
    blocks = [Block(case, made.x.shape[1], residual=False)]
    blocks += [Block(case, case.width, case.residual) for _ in range(case.depth - 1)]
    net = nn.Sequential(*blocks, nn.Linear(case.width, made.outputs))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                initialise(module, case.init)
    return net


def initialise(linear: nn.Linear, init: str) -> None:
    """Initialise a layer that has torch's own initialisation."""
    if init == "he":
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        linear.bias.zero_()
    elif init == "xavier":
        nn.init.xavier_normal_(linear.weight)
        linear.bias.zero_()
    elif init == "quarter":
        linear.weight.mul_(0.25)
    elif init == "quadruple":
        linear.weight.mul_(4)
    elif init == "bias -2":
        linear.bias.fill_(-2)
    elif init == "tutorial":
        nn.init.normal_(linear.weight, 0, 0.1)
        linear.bias.fill_(-0.2)


def make_optimizer(case: Case, net: nn.Module) -> torch.optim.Optimizer:
    """Make the case's optimizer."""
    kind, options = OPTIMIZERS[case.optimizer]
    return kind(net.parameters(), fused=True, **options)


def batches(case: Case, steps: int, order: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches drawn at random; the first is what is recorded before training."""
    made = task(case.task)
    generator = torch.Generator().manual_seed(case.seed + 1 + order)
    for indices in torch.randint(len(made.x), (steps, BATCH), generator=generator):
        yield made.x[indices], made.y[indices]


# ---- labels --------------------------------------------------------------------------------------


def train(case: Case, order: int = 0) -> list[float]:
    """Train a fresh network; return the loss of each step, up to the first that is not finite."""
    return _losses(case, build(case), batches(case, STEPS, order))


def trial(case: Case) -> list[float]:
    """Train for a few steps on the first batch alone, as a check on one batch can."""
    net = build(case)
    return _losses(case, net, itertools.repeat(next(batches(case, 1)), TRIAL_STEPS + 1))


def _losses(case: Case, net: nn.Module, data: object) -> list[float]:
    optimizer = make_optimizer(case, net)
    loss_of = task(case.task).loss
    losses = []
    for x, y in data:
        loss = loss_of(net(x), y)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def final(case: Case, losses: list[float]) -> float:
    """Return the last losses' mean over the constant predictor's loss; inf if it diverged."""
    if len(losses) < STEPS or not math.isfinite(losses[-1]):
        return math.inf
    return float(np.mean(losses[-LAST:])) / task(case.task).constant


def label(case: Case, again: bool = False) -> dict[str, object]:
    """Train a case; ``again`` trains the same start a second time on other batches."""
    row: dict[str, object] = {**asdict(case), "final": final(case, train(case))}
    row["trial"] = [float(f"{x:.5g}") for x in trial(case)]
    if again:
        row["again"] = final(case, train(case, order=1))
    return row


def case_of(row: dict[str, object]) -> Case:
    """Return the case of a row."""
    return Case(**{name: row[name] for name in Case.__dataclass_fields__})
