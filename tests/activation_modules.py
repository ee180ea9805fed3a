"""The modules that every claim about activations is tried on, and how results are compared."""

import pytest
import torch
from torch import nn

from actstats.activations import activation_of

MODULES = [
    nn.CELU(),
    nn.CELU(0.5),
    nn.ELU(),
    nn.ELU(2.0),
    nn.ELU(0.0),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.Hardshrink(),
    nn.Hardshrink(0.7),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Hardtanh(),
    nn.Hardtanh(-0.7, 2.0),
    nn.LeakyReLU(),
    nn.LeakyReLU(0.2),
    nn.LeakyReLU(-0.2),
    nn.LeakyReLU(30.0),
    nn.LeakyReLU(0.0),
    nn.LogSigmoid(),
    nn.Mish(),
    nn.RReLU(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.SELU(),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Softplus(),
    nn.Softplus(0.1, 5.0),
    nn.Softplus(3.0),
    nn.Softshrink(),
    nn.Softshrink(0.3),
    nn.Softsign(),
    nn.Tanh(),
    nn.Tanhshrink(),
    nn.Threshold(0.1, -2.0),
    nn.Threshold(0.1, 0.1),
    nn.Threshold(0.1, 3.0),
]
THRESHOLDS = (0.001, 0.05, 1 - 0.97**2, 0.3, 0.9)
every_module = pytest.mark.parametrize("module", MODULES, ids=lambda m: activation_of(m).key)


def grid(reach=20.0, n=40_011):
    """A dense float64 grid that hits none of the kinks."""
    return torch.linspace(-reach, reach + 0.00137, n, dtype=torch.float64)


def autograd_slope(function, z):
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(z.clone()).sum(), z)
    return slope


def assert_close(got, expected, label, atol=1e-12):
    worst = (got - expected).abs().max()
    assert torch.allclose(got, expected, rtol=1e-9, atol=atol), f"{label}: off by {worst:.3g}"


def inside(zones, x):
    return torch.stack([zone.contains(x) for zone in zones]).any(0) if zones else x.isnan()
