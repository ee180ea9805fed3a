"""What feeds send: each window once, when it is due, and no run fails by a logger."""

import logging
import math

import pytest
import torch

from actstats import ActivationRecorder, make_mlp
from actstats.integrations import Feed
from actstats.integrations._packet import USUAL
from actstats.statistics import EffectiveRank
from actstats.stats import FIGURES


class Kept(Feed):
    """Keeps what it is to send."""

    def __init__(self, **options):
        super().__init__(**options)
        self.packets, self.texts, self.flushed = [], [], 0

    def send(self, packet):
        (self.texts if packet.findings else self.packets).append(packet)

    def flush(self):
        self.flushed += 1

    @property
    def sent(self):
        return [(p.step, p.phase) for p in self.packets]


class Broken(Kept):
    def send(self, packet):
        raise OSError("no route to the logger")


def net_of_two():
    torch.manual_seed(0)
    return make_mlp(2, [8, 8], 1, activation="relu")


def train(recorder, net, steps, evaluate_after=()):
    for _ in range(steps):
        net(torch.randn(16, 2)).square().mean().backward()
        done = recorder.open_step
        recorder.step()
        if done in evaluate_after:
            net.eval()
            net(torch.randn(16, 2))
            net.train()


def test_each_window_is_sent_as_it_closes():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=2), Kept(findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 6)
    assert feed.sent == [(1, "train"), (3, "train"), (5, "train")]
    assert feed.flushed == 1


def test_figures_are_those_of_the_window_and_nan_is_not_sent():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=3), Kept(figures=FIGURES, findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 6)
    window = recorder.recording.windows[1]
    packet = feed.packets[1]
    wanted = {
        f"actstats/{figure}/train/{site}": value
        for figure in FIGURES
        for site, value in window.figure(figure).items()
        if not math.isnan(value)
    }
    assert packet.figures == wanted
    assert "actstats/dead_fraction/train/act1" in wanted
    assert "actstats/dead_fraction/train/fc1" not in wanted
    assert {s: h.count for s, h in packet.histograms.items()} == {s: 48 * w for s, w in WIDTHS}


WIDTHS = (("fc1", 8), ("act1", 8), ("fc2", 8), ("act2", 8), ("out", 1))


def test_every_merges_the_windows_between_exactly():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept(every=4, findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 10)
    assert feed.sent == [(3, "train"), (7, "train"), (9, "train")]
    whole = [recorder.select(steps=steps) for steps in ((0, 3), (4, 7), (8, 9))]
    for packet, recording in zip(feed.packets, whole, strict=True):
        ours, wanted = packet.histograms["act2"].bits, recording["act2"].bits
        assert ours.counts.tolist() == wanted.counts.tolist()
        assert ours.index.tolist() == wanted.index.tolist()


def test_phases_that_close_together_are_sent_together():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=2), Kept(every=4, findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 8, evaluate_after=(2, 6, 7))
    assert feed.sent == [(3, "train"), (3, "eval"), (7, "train"), (7, "eval"), (8, "eval")]
    counts = [p.histograms["out"].count for p in feed.packets]
    assert counts == [64, 16, 64, 16, 16]


def test_steps_never_go_back():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept(every=5, findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 20, evaluate_after=(0, 3, 7, 8, 15))
    steps = [p.step for p in feed.packets]
    assert steps == sorted(steps)
    assert sum(p.histograms["out"].count for p in feed.packets if p.phase == "eval") == 5 * 16


def test_what_is_open_at_the_end_is_sent():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=4), Kept(findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 6)
    assert feed.sent == [(3, "train"), (5, "train")]
    assert feed.packets[1].histograms["out"].count == 2 * 16


def test_with_a_file_the_last_window_is_sent_once(tmp_path):
    net = net_of_two()
    recorder = ActivationRecorder(net, window=4, log=tmp_path / "run.actstats")
    feed = Kept(findings=False).attach(recorder)
    with recorder:
        train(recorder, net, 6)
    feed.detach()
    feed.detach()
    assert feed.sent == [(3, "train"), (5, "train")]


def test_a_resumed_run_sends_no_window_again():
    net = net_of_two()
    first, feed = ActivationRecorder(net, window=4), Kept(findings=False)
    feed.attach(first)
    with first:
        train(first, net, 6)
        state = first.state_dict()
    assert feed.sent == [(3, "train")]
    second = ActivationRecorder(net, window=4)
    again = Kept(findings=False)
    with second, again.attach(second):
        second.load_state_dict(state)
        train(second, net, 4)
    assert again.sent == [(7, "train"), (9, "train")]
    assert again.packets[0].histograms["out"].count == 4 * 16


def test_sites_are_chosen_by_pattern():
    net = net_of_two()
    recorder = ActivationRecorder(net, capture=("output", "grad"), window=1)
    feed = Kept(sites=["act*", "out:grad"], figures="rms", findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 1)
    sites = {"act1", "act2", "out:grad"}
    assert set(feed.packets[0].figures) == {f"actstats/rms/train/{site}" for site in sites}
    assert set(feed.packets[0].histograms) == sites


def test_histograms_can_be_left_out_and_the_prefix_chosen():
    net = net_of_two()
    recorder = ActivationRecorder(net, window=1)
    feed = Kept(histograms=False, prefix="inside", findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 1)
    assert not feed.packets[0].histograms
    assert all(tag.startswith("inside/") for tag in feed.packets[0].figures)


def test_figures_of_the_users_own_are_sent_along_or_by_name():
    net = net_of_two()
    recorder = ActivationRecorder(net, window=2, statistics={"fc*": EffectiveRank()})
    usual, named, without = (
        Kept(figures=figures, findings=False) for figures in (None, "effective_rank", "rms")
    )
    with recorder, usual.attach(recorder), named.attach(recorder), without.attach(recorder):
        train(recorder, net, 4)
    for i, window in enumerate(recorder.recording.windows):
        wanted = {
            f"actstats/effective_rank/train/{site}": window[site].effective_rank
            for site in ("fc1", "fc2")
        }
        assert named.packets[i].figures == wanted
        assert wanted.items() <= usual.packets[i].figures.items()
        assert {tag.split("/")[1] for tag in without.packets[i].figures} == {"rms"}


def test_a_figure_of_the_users_own_that_was_not_recorded_is_not_sent():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=2), Kept(figures="effective_rank")
    with recorder, feed.attach(recorder):
        train(recorder, net, 2)
    assert feed.packets[0].figures == {}


def test_steps_that_begin_anew_are_sent_on():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept(every=2, findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 6)
        recorder.reset()
        train(recorder, net, 4)
    assert feed.sent == [(step, "train") for step in (1, 3, 5, 1, 3)]


def test_what_waits_long_is_kept_as_one_window_of_each_phase():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept(every=200, findings=False)
    with recorder, feed.attach(recorder):
        train(recorder, net, 150, evaluate_after=(3, 100))
        assert len(feed._waiting) < 70
        train(recorder, net, 50)
    assert feed.sent == [(101, "eval"), (199, "train")]
    assert [p.histograms["out"].count for p in feed.packets] == [2 * 16, 200 * 16]


def test_a_site_without_finite_values_has_no_histogram():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept(findings=False)
    with recorder, feed.attach(recorder):
        net(torch.full((4, 2), torch.nan))
        recorder.step()
    assert not feed.packets[0].histograms


def test_findings_are_sent_when_they_change():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept()
    with recorder, feed.attach(recorder):
        train(recorder, net, 16)
        healthy = len(feed.texts)
        with torch.no_grad():
            net.fc2.bias.fill_(-100.0)
        train(recorder, net, 24)
    dead = feed.texts[healthy:]
    assert "act2" in dead[0].findings
    assert "dead" in dead[0].findings.lower()
    assert [t.step for t in dead] == sorted({t.step for t in dead})
    assert len(dead) < 4  # not with each of the diagnoses, which go on finding it


def test_a_short_run_is_diagnosed_at_its_end():
    net = net_of_two()
    with torch.no_grad():
        net.fc2.bias.fill_(-100.0)
    recorder, feed = ActivationRecorder(net, window=1), Kept()
    with recorder, feed.attach(recorder):
        train(recorder, net, 3)
    assert [t.step for t in feed.texts] == [2]


def test_an_error_is_logged_once_and_the_run_goes_on(caplog):
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Broken()
    with caplog.at_level(logging.WARNING, "actstats"), recorder, feed.attach(recorder):
        train(recorder, net, 5)
    assert [r.getMessage() for r in caplog.records] == [
        "Broken cannot send, and the run goes on without: no route to the logger"
    ]
    assert recorder["out"].count == 5 * 16


def test_strict_raises_out_of_the_step():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Broken(strict=True)
    feed.attach(recorder)
    with recorder, pytest.raises(OSError, match="no route"):
        train(recorder, net, 1)


def test_nothing_is_sent_after_detach():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=1), Kept(findings=False)
    with recorder:
        with feed.attach(recorder):
            train(recorder, net, 2)
        train(recorder, net, 2)
    assert feed.sent == [(0, "train"), (1, "train")]


@pytest.mark.parametrize("between", [0, 1])
def test_a_feed_that_is_attached_again_sends_nothing_twice(between):
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=4), Kept(findings=False)
    with recorder:
        with feed.attach(recorder):
            train(recorder, net, 6, evaluate_after=(5,))
        train(recorder, net, between)  # not sent: nothing is attached
        with feed.attach(recorder):
            train(recorder, net, 6)
    again = 6 + between
    assert feed.sent == [
        *((3, "train"), (6, "train"), (6, "eval")),
        *((again + 3, "train"), (again + 5, "train")),
    ]
    assert sum(p.histograms["out"].count for p in feed.packets if p.phase == "train") == 12 * 16
    assert recorder["out"].count == (12 + between) * 16


def test_a_feed_that_is_attached_again_at_once_sends_nothing_again():
    net = net_of_two()
    recorder, feed = ActivationRecorder(net, window=4), Kept(findings=False)
    with recorder:
        for steps in (6, 0, 0):
            with feed.attach(recorder):
                train(recorder, net, steps)
    assert feed.sent == [(3, "train"), (5, "train")]


def test_a_feed_is_opened_once_for_each_recorder_with_its_first_step():
    class Opened(Kept):
        def open(self, step):
            self.opened = [*getattr(self, "opened", []), (step, len(self.packets))]

    net = net_of_two()
    feed = Opened(findings=False)
    for first in (0, 7):
        recorder = ActivationRecorder(net, window=2)
        for _ in range(2):
            with recorder, feed.attach(recorder):
                net(torch.randn(16, 2))
                recorder.step(first or None)
                train(recorder, net, 2)
            first = 0
    assert feed.opened == [(0, 0), (7, 4)]


def test_another_recorder_begins_anew():
    net = net_of_two()
    feed = Kept(findings=False)
    for _ in range(2):
        recorder = ActivationRecorder(net, window=1)
        with recorder, feed.attach(recorder):
            train(recorder, net, 2)
    assert feed.sent == [(0, "train"), (1, "train")] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"figures": "rmss"}, "did you mean 'rms'"),
        ({"every": 0}, "`every` must be an integer of at least 1"),
        ({"sites": 3}, "`sites` must be a pattern"),
        ({"figures": "effective_ranks"}, "did you mean 'effective_rank'"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Kept(**options)


def test_only_a_recorder_is_attached_to():
    with pytest.raises(ValueError, match="must be an ActivationRecorder; got"):
        Kept().attach(net_of_two())


def test_what_is_usually_sent_are_figures():
    assert set(USUAL) <= set(FIGURES)
