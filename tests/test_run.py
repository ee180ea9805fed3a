"""The steps of a run: numbers beside an open window, and windows that close early."""

import pytest
import torch

from actstats import ActivationRecorder, load, make_mlp


def recorder_of(**options):
    torch.manual_seed(0)
    net = make_mlp(2, [4], 1)
    return net, ActivationRecorder(net, **options)


def train(net, recorder, steps, **scalars):
    for _ in range(steps):
        net(torch.ones(8, 2))
        recorder.step(**scalars)


def test_added_scalars_go_into_the_open_window_and_close_no_step():
    net, recorder = recorder_of(window=2)
    with recorder:
        train(net, recorder, 2, loss=1.0)
        recorder.add_scalars(loss=3.0, val_loss=torch.tensor(5.0))
        assert recorder.open_step == 2
        train(net, recorder, 2, loss=4.0)
    first, second = recorder.recording.windows
    assert list(first.scalars) == ["loss"]
    loss = second.scalars["loss"]
    assert (loss.count, loss.min, loss.last) == (3, 3.0, 4.0)
    assert second.scalars["val_loss"].last == 5.0


def test_added_scalars_are_in_a_state():
    net, recorder = recorder_of(window=2)
    with recorder:
        train(net, recorder, 1)
        recorder.add_scalars(val_loss=5.0)
    _, again = recorder_of(window=2)
    again.load_state_dict(recorder.state_dict())
    (window,) = again.recording.windows
    assert window.scalars["val_loss"].last == 5.0


def test_an_added_scalar_is_a_number():
    _, recorder = recorder_of()
    with pytest.raises(ValueError, match="scalar `loss` must be a number; got 'low'"):
        recorder.add_scalars(loss="low")


def test_a_window_closes_early_where_it_is_asked(tmp_path):
    net, recorder = recorder_of(window=4, log=tmp_path / "run.actstats")
    heard = []
    recorder.on_window(heard.append)
    with recorder:
        recorder.close_window()  # nothing was observed: nothing happens
        train(net, recorder, 6, loss=2.0)
        recorder.close_window()
        recorder.close_window()
        train(net, recorder, 5)
    steps = [(0, 3), (4, 5), (6, 9), (10, 10)]
    for windows in heard, recorder.recording.windows, load(tmp_path / "run.actstats").windows:
        assert [(w.first_step, w.last_step) for w in windows] == steps
    assert heard[1].scalars["loss"].count == 2
    assert recorder["out"].count == 11 * 8


def test_a_window_that_closes_amid_a_step_keeps_what_was_seen():
    net, recorder = recorder_of(window=4)
    with recorder:
        train(net, recorder, 2)
        net(torch.ones(8, 2))
        recorder.close_window()
        train(net, recorder, 4)
    first, second = recorder.recording.windows
    assert (first.first_step, first.last_step, first["out"].count) == (0, 2, 3 * 8)
    assert (second.first_step, second.last_step, second["out"].count) == (2, 5, 4 * 8)
