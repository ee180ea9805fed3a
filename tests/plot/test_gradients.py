"""The gradient by depth: gains from algebra, read back from the lines."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from recordings import chain, normal, recording

from actstats import ActivationRecorder, Recording, Window, make_mlp
from actstats.plot import _style, gradient_flow

GATES, WEIGHTS = [1.0, 0.5, 0.25, 0.8], [2.0, 0.1, 3.0]


def known():
    return chain(WEIGHTS, gates=GATES)


def line(ax, gid):
    return [one for one in ax.lines if one.get_gid() == gid]


def rms(made):
    return [made[f"act{i}:grad"].rms for i in range(1, 5)]


def test_the_gradient_is_shown_by_depth():
    made = known()
    upper, _ = gradient_flow(made).axes
    (drawn,) = line(upper, "rms")
    np.testing.assert_allclose(drawn.get_ydata(), rms(made))
    assert upper.get_yscale() == "log"
    assert upper.get_ylabel() == "rms of the gradient"


def test_gains_are_those_of_gates_and_weights():
    _, lower = gradient_flow(known()).axes
    (gate,), (weight,) = line(lower, "gate"), line(lower, "weight")
    np.testing.assert_allclose(gate.get_ydata(), GATES, rtol=0.1)  # of samples
    np.testing.assert_allclose(weight.get_ydata()[1:], WEIGHTS, rtol=0.1)
    assert np.isnan(weight.get_ydata()[0])  # nothing comes before the first layer
    names = [tick.get_text() for tick in lower.get_xticklabels()]
    assert names == ["act1", "act2", "act3", "act4"]


def test_gains_multiply_to_the_ratio_of_gradients():
    made = known()
    _, lower = gradient_flow(made).axes
    (gate,), (weight,) = line(lower, "gate"), line(lower, "weight")
    sizes = np.array(rms(made))
    gains = (gate.get_ydata() * weight.get_ydata())[1:]
    np.testing.assert_allclose(gains, sizes[:-1] / sizes[1:])


def test_axes_given_get_the_gains_alone():
    ax = mpl.figure.Figure().subplots()
    assert gradient_flow(known(), ax=ax) is ax
    assert line(ax, "gate")
    assert not line(ax, "rms")


def test_gains_of_the_first_and_the_last_window_are_told_apart():
    first, last = chain(WEIGHTS, gates=GATES), chain([1.0] * 3, gates=[1.0] * 4)
    windows = [Window(i, i, "train", one.windows[0].stats) for i, one in enumerate((first, last))]
    upper, lower = gradient_flow(Recording(windows, first.sites)).axes
    assert len(line(upper, "rms")) == 2
    before, now = line(lower, "gate")
    np.testing.assert_allclose(now.get_ydata(), 1, rtol=0.1)
    assert before.get_alpha() < now.get_alpha() == 1
    told = [text.get_text() for text in lower.get_legend().get_texts()]
    assert told == [
        "gate gain, step 0",
        "weight gain, step 0",
        "gate gain, step 1",
        "weight gain, step 1",
    ]


def test_a_gradient_that_is_lost_is_0_not_a_gap():
    net = make_mlp(1, [8] * 4, 1, activation="relu")
    with torch.no_grad():
        net.fc3.bias.fill_(-100)
    with ActivationRecorder(net, capture=("output", "grad")) as recorder:
        net(torch.linspace(-1, 1, 50)[:, None]).sum().backward()
        recorder.step()
    upper, lower = gradient_flow(recorder).axes
    (drawn,) = line(upper, "rms")
    assert drawn.get_ydata()[:2].tolist() == [0, 0]
    assert drawn.get_ydata()[3] > 0
    assert upper.get_yscale() == "symlog"
    assert np.isnan(line(lower, "weight")[0].get_ydata()[:3]).all()


def test_nothing_to_tell_of_gains_is_said():
    zeros = {f"act{i}:grad": torch.zeros(9, 4) for i in (1, 2, 3)}
    outputs = {f"act{i}": normal() for i in (1, 2, 3)}
    made = recording({**outputs, **zeros}, activations=dict.fromkeys(outputs, "relu"))
    _, lower = gradient_flow(made).axes
    (text,) = (t for t in lower.texts if t.get_gid() == "nothing")
    assert "fewer than two layers" in text.get_text()


def test_layers_can_be_chosen():
    _, lower = gradient_flow(known(), sites=["act2", "act4"]).axes
    assert [tick.get_text() for tick in lower.get_xticklabels()] == ["act2", "act4"]
    with pytest.raises(KeyError, match="no layer 'atc'"):
        gradient_flow(known(), sites="atc")


def test_a_recording_without_gradients_says_what_to_do():
    made = recording({"act1": normal(), "act2": normal()}, activations={"act1": "relu"})
    with pytest.raises(ValueError, match=r"got a gradient.*capture=\(\"output\", \"grad\"\)"):
        gradient_flow(made)


def test_a_window_alone_says_what_to_do():
    with pytest.raises(ValueError, match=r"give the recording instead"):
        gradient_flow(known().windows[0])


def broken_from(first, steps=4):
    """A net that NaN in a batch makes NaN for good."""
    net = make_mlp(1, [8] * 3, 1, activation="tanh")
    with ActivationRecorder(net, capture=("output", "grad")) as recorder:
        for step in range(steps):
            scale = np.nan if step >= first else 1.0
            net(scale * torch.linspace(-1, 1, 50)[:, None]).square().sum().backward()
            recorder.step()
    return recorder


def red_notes(ax):
    notes = [text for text in ax.texts if text.get_gid() == "note"]
    return [text.get_text() for text in notes if text.get_color() == _style.ALARM]


def test_gradients_that_are_not_finite_are_told_and_not_in_the_legend():
    upper, lower = gradient_flow(broken_from(2)).axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["step 0", "step 1"]
    assert red_notes(upper) == ["step 3: no finite value at 3 of 3 layers (some in 1 other window)"]
    assert not red_notes(lower)
    assert not red_notes(gradient_flow(broken_from(4)).axes[0])


def test_on_axes_given_gradients_that_are_not_finite_are_told_too():
    ax = gradient_flow(broken_from(2), ax=mpl.figure.Figure().subplots())
    assert red_notes(ax) == ["step 3: no finite value at 3 of 3 layers"]
    assert len(ax.texts) == 1  # two would not fit
