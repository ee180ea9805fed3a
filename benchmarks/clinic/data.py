"""Small data: the tutorial's regression, digits, blobs, a Friedman function, and tokens.

Every function returns a list of ``(x, y)`` batches, drawn from a seed, standardised unless it
says otherwise.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

Batches = list[tuple[Tensor, Tensor]]


def _batches(x: Tensor, y: Tensor, size: int) -> Batches:
    return list(zip(x.split(size), y.split(size), strict=True))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def standardised(x: Tensor) -> Tensor:
    """Return values with mean 0 and standard deviation 1 over all of them."""
    return (x - x.mean()) / x.std()


def tutorial(seed: int, size: int = 64, count: int = 8, *, raw: bool = False) -> Batches:
    """Return the tutorial's parabola: x in [-7, 10], y = x**2 - 5 and noise; raw as published."""
    g = _generator(seed)
    x = torch.rand(size * count, 1, generator=g) * 17 - 7
    y = x.square() - 5 + 2 * torch.randn(x.shape, generator=g)
    return _batches(x, y, size) if raw else _batches(standardised(x), standardised(y), size)


def friedman(seed: int, size: int = 64, count: int = 8) -> Batches:
    """Return Friedman's first function of 10 features, 5 of them idle."""
    g = _generator(seed)
    x = torch.rand(size * count, 10, generator=g)
    y = 10 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5).square()
    y = (y + 10 * x[:, 3] + 5 * x[:, 4])[:, None]
    return _batches((x - 0.5) * 12**0.5, standardised(y), size)


def blobs(seed: int, size: int = 64, count: int = 8, classes: int = 5) -> Batches:
    """Return Gaussian blobs in 8 dimensions and the blob's number."""
    g = _generator(seed)
    centres = 1.5 * torch.randn(classes, 8, generator=g)
    y = torch.randint(classes, (size * count,), generator=g)
    x = centres[y] + torch.randn(len(y), 8, generator=g)
    return _batches(standardised(x), y, size)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data, dtype=torch.float32), torch.tensor(found.target)


def digits(
    seed: int, size: int = 64, count: int = 8, *, zoom: int = 0, channels: int = 1
) -> Batches:
    """Return scikit-learn's digits, 64 pixels; as images, each pixel ``zoom`` wide, if asked."""
    x, y = _digits()
    chosen = torch.randperm(len(y), generator=_generator(seed))[: size * count]
    x, y = standardised(x)[chosen], y[chosen]
    if zoom:
        x = x.view(-1, 1, 8, 8).repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
        x = x.repeat(1, channels, 1, 1)
    return _batches(x, y, size)


def rows(seed: int, size: int = 64, count: int = 8) -> Batches:
    """Return digits as sequences of 8 rows of 8 pixels."""
    return [(x.view(-1, 8, 8), y) for x, y in digits(seed, size, count)]


def tokens(
    seed: int, size: int = 16, count: int = 8, length: int = 16, vocabulary: int = 16
) -> Batches:
    """Return sequences where 5 times the last token plus 3 follows, 9 times in 10."""
    g = _generator(seed)
    shape = (size * count, length + 1)
    x = torch.randint(vocabulary, shape, generator=g)
    regular = torch.rand(shape, generator=g) < 0.9
    for t in range(length):
        x[:, t + 1] = torch.where(regular[:, t + 1], (5 * x[:, t] + 3) % vocabulary, x[:, t + 1])
    return _batches(x[:, :-1].contiguous(), x[:, 1:].contiguous(), size)


def changed(batches: Batches, scale: float = 1.0, shift: float = 0.0) -> Batches:
    """Return batches with other inputs: ``scale * x + shift``."""
    return [(scale * x + shift, y) for x, y in batches]
