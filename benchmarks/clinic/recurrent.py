"""Recurrent networks: over rows of digits, and over tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Reader(nn.Module):
    """Read a sequence and class it from the last state: `rnn`, `out`.

    Parameters
    ----------
    kind : {"lstm", "gru", "rnn"}
        The cell.
    hidden, layers : int
        Width and depth.
    detached : bool, default False
        Whether the last state is cut off from what made it.
    **options
        To the cell.
    """

    def __init__(
        self,
        kind: str = "lstm",
        hidden: int = 32,
        layers: int = 1,
        *,
        detached: bool = False,
        **options: object,
    ) -> None:
        super().__init__()
        self.detached = detached
        self.rnn = CELLS[kind](8, hidden, layers, batch_first=True, **options)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        last = self.rnn(x)[0][:, -1]
        return self.out(last.detach() if self.detached else last)


class Tagger(nn.Module):
    """Foretell the next token: `embed`, `spare` (for what may be done between), `rnn`, `out`."""

    def __init__(self, kind: str = "lstm", hidden: int = 32, vocabulary: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, hidden)
        self.spare = nn.Identity()
        self.rnn = CELLS[kind](hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.spare(self.embed(x)))[0])


class Tower(nn.Module):
    """Recurrent layers one above the other, each a module: `rnn1` ... `out`."""

    def __init__(self, depth: int = 4, hidden: int = 32) -> None:
        super().__init__()
        for i in range(1, depth + 1):
            self.add_module(f"rnn{i}", nn.LSTM(8 if i == 1 else hidden, hidden, batch_first=True))
        self.depth = depth
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = self.get_submodule(f"rnn{i}")(x)[0]
        return self.out(x[:, -1])


class Gates(nn.Module):
    """An LSTM written out, so that its gates are modules.

    `from_input`, `from_state` (both give input, forget, cell, output), `gate_in`, `gate_forget`,
    `cell`, `gate_out`, `squash`, `out`.
    """

    def __init__(self, features: int = 8, hidden: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Linear(features, 4 * hidden)
        self.from_state = nn.Linear(hidden, 4 * hidden)
        self.gate_in, self.gate_forget, self.gate_out = (nn.Sigmoid() for _ in range(3))
        self.cell, self.squash = nn.Tanh(), nn.Tanh()
        self.out = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        state = cell = x.new_zeros(len(x), self.hidden)
        for row in x.unbind(1):
            i, f, g, o = (self.from_input(row) + self.from_state(state)).chunk(4, -1)
            cell = self.gate_forget(f) * cell + self.gate_in(i) * self.cell(g)
            state = self.gate_out(o) * self.squash(cell)
        return self.out(state)


def scale(rnn: nn.RNNBase, factor: float, only: str = "weight") -> None:
    """Multiply the parameters whose name begins so."""
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if name.startswith(only):
                parameter.mul_(factor)


def fill(rnn: nn.RNNBase, value: float, only: str = "") -> None:
    """Set the parameters whose name begins so to a constant."""
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if name.startswith(only):
                parameter.fill_(value)
