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
