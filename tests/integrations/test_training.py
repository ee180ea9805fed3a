"""What all trainers' callbacks share: it begins, counts, ends and takes no one's hooks away."""

import pytest
import torch
from recorded import hooks

from actstats import ActivationRecorder, make_mlp
from actstats.integrations import Feed
from actstats.integrations._training import Training


class Silent(Feed):
    def __init__(self):
        super().__init__()
        self.steps = []

    def send(self, packet):
        self.steps.append(packet.step)


def net_and_optimizer():
    torch.manual_seed(0)
    net = make_mlp(2, [8], 1, activation="relu")
    return net, torch.optim.SGD(net.parameters(), lr=0.1)


def run(training, net, optimizer, steps, done=0, **options):
    """What a trainer does between two calls of the callback's."""
    training.begin(net, done, optimizers=(optimizer,), **options)
    for step in range(done + 1, done + steps + 1):
        net(torch.ones(4, 2)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        training.step(step, {})
    training.end()


def made(recorder=None, feeds=(), watch=False, **options):
    return Training(recorder, feeds, watch, options)


def watched(recorder):
    windows = recorder.recording.windows
    return [w.last_step for w in windows if "update_ratio/fc1.weight" in w.scalars]


@pytest.mark.parametrize(("watch", "steps"), [(False, []), (True, [1]), (2, [1, 3, 5])])
def test_optimizers_are_watched_where_it_is_asked(watch, steps):
    net, optimizer = net_and_optimizer()
    training = made(watch=watch, window=1)
    run(training, net, optimizer, 6)
    assert watched(training.recorder) == steps


def test_a_given_recorder_watches_each_optimizer_once(caplog):
    net, optimizer = net_and_optimizer()
    recorder = ActivationRecorder(net, window=1)
    training = made(recorder, watch=1)
    run(training, net, optimizer, 2)
    run(training, net, optimizer, 2)
    run(training, net, torch.optim.SGD(net.parameters(), lr=0.1), 2)
    assert watched(recorder) == [1, 2, 3, 4, 5, 6]
    assert recorder.recording.windows[4].scalars["update_ratio/fc1.weight"].count == 1
    assert not caplog.records


def test_an_optimizer_that_the_user_watches_is_left_to_them(caplog):
    net, optimizer = net_and_optimizer()
    recorder = ActivationRecorder(net, window=1).watch(optimizer, every=3)
    run(made(recorder, watch=True), net, optimizer, 6)
    assert watched(recorder) == [1, 4]
    assert not caplog.records


def test_what_is_no_optimizer_is_told_and_the_run_goes_on(caplog):
    net, optimizer = net_and_optimizer()
    training = made(watch=True)
    training.begin(net, 0, optimizers=(object(), optimizer))
    assert (
        "no optimizer is watched here: `optimizer` must be a torch.optim.Optimizer" in caplog.text
    )
    training.end()
    assert not optimizer._optimizer_step_pre_hooks


def test_hooks_of_the_users_own_stay():
    net, optimizer = net_and_optimizer()
    recorder = ActivationRecorder(net)
    with recorder:
        before = hooks(net)
        run(made(recorder), net, optimizer, 2)
        assert hooks(net) == before
        net(torch.ones(4, 2))
    assert recorder["fc1"].count == 3 * 4 * 8
    assert hooks(net) == 0


def test_a_scale_goes_with_its_run():
    net, optimizer = net_and_optimizer()
    recorder = ActivationRecorder(net, capture="grad", window=1)
    training, scaler = made(recorder), torch.amp.GradScaler("cpu", init_scale=1024.0)
    training.begin(net, 0, scaler=scaler)
    assert recorder.grad_scale is scaler
    training.end()
    assert recorder.grad_scale is None
    recorder.grad_scale = 2.0
    run(training, net, optimizer, 1, scaler=scaler)
    assert recorder.grad_scale == 2.0  # the user's own


def test_a_state_that_cannot_be_written_stops_no_run(tmp_path, monkeypatch, caplog):
    net, optimizer = net_and_optimizer()
    training = made()
    run(training, net, optimizer, 1)
    save = torch.save

    def fails(state, path):
        save({}, path)
        raise RuntimeError("no space left on device")  # so does torch

    monkeypatch.setattr(torch, "save", fails)
    training.save(tmp_path / "actstats.pt")
    assert "actstats.pt cannot be written" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_state_of_another_version_stops_no_run(caplog):
    net, optimizer = net_and_optimizer()
    training = made()
    run(training, net, optimizer, 2)
    training.load_state_dict(training.state_dict() | {"closed": [{"unheard of": 1}]})
    run(training, net, optimizer, 2, done=2)
    assert "the recording begins anew" in caplog.text
    assert [w.last_step for w in training.recorder.recording.windows] == [3, 4]


def test_another_process_begins_anew_with_the_right_number(caplog):
    net, optimizer = net_and_optimizer()
    training = made()
    run(training, net, optimizer, 2)
    training.load_state_dict(training.state_dict())
    training.drop_state()
    run(training, net, optimizer, 2, done=2)
    assert "the checkpoint holds the main process's" in caplog.text
    assert [w.last_step for w in training.recorder.recording.windows] == [3, 4]


def test_feeds_of_one_callback_serve_all_runs():
    net, optimizer = net_and_optimizer()
    feeds = [Silent(), Silent()]
    training = made(feeds=feeds, window=1)
    run(training, net, optimizer, 2)
    run(training, net, optimizer, 2, sends=False)
    for feed in feeds:
        assert feed.steps[:2] == [1, 2]
        assert set(feed.steps) == {1, 2}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"captur": "grad"}, TypeError, "must be those of ActivationRecorder; got 'captur'; did "),
        ({"captur": "grad"}, TypeError, "did you mean 'capture'"),
        ({"wach": True}, TypeError, "did you mean 'watch'"),
        ({"model": None}, TypeError, "got 'model'"),
        ({"capture": "outputs"}, ValueError, "`capture` must be some of"),
        ({"every": 0}, ValueError, "`every` must be an integer of at least 1; got 0"),
        ({"window": 0}, ValueError, "`window` must be an integer of at least 1; got 0"),
        ({"budget": 0.5}, ValueError, "`budget` must be an integer"),
        ({"resolution": 9}, ValueError, "resolution"),
        ({"edges": 3}, ValueError, "`edges` must map site patterns"),
        ({"saturation_slope": 2}, ValueError, r"`saturation_slope` must be in \(0, 1\)"),
        ({"kernel": "fast"}, ValueError, "fast"),
        ({"statistics": "mean"}, ValueError, "`statistics` must be instances"),
        ({"include": []}, ValueError, "`include` must not be empty"),
        ({"exclude": 3}, ValueError, "`exclude` must be a glob"),
        ({"log": 3}, ValueError, "`log` must be the path of a file; got 3"),
        ({"feeds": "runs/1"}, ValueError, "`feeds` must be a Feed or a list of Feeds; got 'r'"),
        ({"feeds": Silent}, ValueError, "`feeds` must be a Feed or a list of Feeds; got <class"),
        ({"watch": 0}, ValueError, "`watch` must be an integer of at least 1"),
    ],
)
def test_arguments_are_checked_before_training(options, error, said):
    with pytest.raises(error, match=said):
        made(**options)


def test_options_that_a_model_is_needed_for_are_taken(tmp_path):
    net, optimizer = net_and_optimizer()
    path = tmp_path / "later" / "run.actstats"
    training = made(
        include="fc*", exclude=["fc2"], log=path, per_call="fc1", edges={"fc1": [0, 1]},
        outside=False, functional=True, resolution={"fc1": 5}, capture=("output", "grad"),
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
    path.parent.mkdir()
    run(training, net, optimizer, 2)
    assert list(training.recorder) == ["fc1#1", "fc1#1:grad"]
