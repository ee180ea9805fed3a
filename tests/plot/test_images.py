"""What the pictures look like; `python -m nox -s images` makes the baselines anew."""

import numpy as np
import pytest
import torch

from actstats import ActivationRecorder, make_mlp, plot


def recorded(*, bn):
    """Three layers with weights from a fixed formula, so that no generator is involved."""
    net = make_mlp(1, [4] * 3, 1, activation="relu", bn=bn)
    with torch.no_grad():
        for parameter in net.parameters():
            values = np.sin(1.7 * np.arange(parameter.numel()) + parameter.numel())
            parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))
    recorder = ActivationRecorder(net.eval(), capture=("output", "input"))
    with recorder:
        net(torch.linspace(-2, 2, 400).unsqueeze(1))
        recorder.step(loss=0.5)
    return recorder


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_a_grid():
    return plot.histogram_grid({"plain": recorded(bn=False), "batch norm": recorded(bn=True)})


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_activation_functions():
    return plot.activation_functions(("tanh", "relu", "gelu"))


def trained(steps=24):
    """Deaths and revivals on a schedule: biases move by a formula, one step a window."""
    net = make_mlp(1, [8] * 3, 1, activation="relu")
    with torch.no_grad():
        for parameter in net.parameters():
            values = np.sin(1.7 * np.arange(parameter.numel()) + parameter.numel())
            parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))
    recorder = ActivationRecorder(net, capture=("output", "grad"))
    x = torch.linspace(-2, 2, 400).unsqueeze(1)
    with recorder:
        for i in range(steps):
            loss = (net(x) - x.sin()).square().mean()
            net.zero_grad()
            loss.backward()
            recorder.step(loss=loss.item())
            with torch.no_grad():
                shift, odd = torch.arange(8) - 3.0, torch.arange(8) % 2
                net.fc1.bias += 0.12 * shift.clamp(max=0) * (1 if i < steps // 2 else -1)
                net.fc2.bias -= 0.1 * shift.clamp(min=0) * (1 if i < steps // 2 else -3 * odd)
    return recorder


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_a_timeline():
    return plot.timeline(trained())


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_a_ridgeline():
    return plot.ridgeline(trained(), "act2").figure


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_a_heatmap():
    return plot.heatmap(trained(), "fc2").figure


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_layers():
    return plot.layers(trained()).figure


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_units():
    return plot.units(trained(), "act2").figure


@pytest.mark.mpl_image_compare(tolerance=3)
def test_image_of_the_gradients_flow():
    return plot.gradient_flow(trained())
