"""TensorBoard's files, read back bin for bin."""

import struct
from contextlib import ExitStack

import pytest
import torch
from logged_runs import expected, recorded

from actstats import ActivationRecorder, make_mlp
from actstats.integrations.tensorboard import TensorBoardFeed

pytest.importorskip("tensorboard", reason="pip install tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter


@pytest.fixture(autouse=True)
def files_in_order(monkeypatch):
    """Number a test's files from 0: they are read by name, where 10 comes before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def read(folder):
    """All that was written; nothing is sampled."""
    sizes = dict.fromkeys(("scalars", "histograms", "tensors"), 0)
    return EventAccumulator(str(folder), size_guidance=sizes).Reload()


def narrow(value):
    """A number as TensorBoard's scalars hold it."""
    return struct.unpack("f", struct.pack("f", value))[0]


def test_histograms_come_back_bin_for_bin(tmp_path):
    recorder = recorded(TensorBoardFeed(tmp_path, strict=True))
    events, compared = read(tmp_path), 0
    for window in recorder.recording.windows:
        for site, stats in window.items():
            kept = events.Histograms(f"actstats/histogram/{window.phase}/{site}")
            (found,) = [event.histogram_value for event in kept if event.step == window.last_step]
            rights = found.bucket_limit
            lefts = [min(found.min, rights[0]), *rights[:-1]]
            counted = [
                (right, count) for right, count in zip(rights, found.bucket, strict=True) if count
            ]
            low, high, counts = stats.distribution.bins()
            assert counted == list(zip(high, counts, strict=True))
            full = [i for i, count in enumerate(found.bucket) if count]
            assert [lefts[i] for i in full[1:]] == low[1:].tolist()
            assert found.num == stats.finite_count == sum(found.bucket)
            assert (found.min, found.max) == (stats.min, stats.max)
            assert found.sum == pytest.approx(stats.mean * stats.count)
            compared += 1
    assert compared == 3 * 10 + 5


def test_zeros_are_a_bucket_without_width(tmp_path):
    recorder = recorded(TensorBoardFeed(tmp_path, strict=True))
    event = read(tmp_path).Histograms("actstats/histogram/train/fc1:grad")[0]
    limits, counts = event.histogram_value.bucket_limit, event.histogram_value.bucket
    at = [i for i, limit in enumerate(limits) if limit == 0.0]
    zeros = recorder.recording.windows[0]["fc1:grad"].zeros
    assert zeros > 0
    assert counts[at[-1]] == zeros
    assert at[-1] == 0 or limits[at[-1] - 1] == 0.0


def test_figures_come_back_with_their_steps(tmp_path):
    recorder = recorded(TensorBoardFeed(tmp_path, strict=True))
    events = read(tmp_path)
    for tag, values in expected(recorder, "std").items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert found == [(step, narrow(value)) for step, value in values]


def test_findings_come_back_as_text(tmp_path):
    recorded(TensorBoardFeed(tmp_path, strict=True))
    events = read(tmp_path).Tensors("actstats/findings/text_summary")
    assert [event.step for event in events] == [5]
    text = events[0].tensor_proto.string_val[0].decode()
    assert "dead" in text
    assert all(line.startswith("    ") for line in text.splitlines())


def test_a_given_writer_stays_open(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        recorded(TensorBoardFeed(writer, strict=True))
        writer.add_scalar("mine", 1.0, 7)
    assert [event.step for event in read(tmp_path).Scalars("mine")] == [7]


def broken_and_resumed(folder, *, window=2, kept=3, feeds=({},)):
    """Seven steps, a break, and five more from the state after some."""
    torch.manual_seed(0)
    net = make_mlp(2, [4], 1)

    def train(recorder, steps):
        for _ in range(steps):
            net(torch.randn(8, 2))
            recorder.step()

    def attached(recorder):
        for options in feeds:
            yield TensorBoardFeed(folder, strict=True, **options).attach(recorder)

    first = ActivationRecorder(net, window=window)
    with first, ExitStack() as stack:
        for feed in attached(first):
            stack.enter_context(feed)
        train(first, kept)
        state = first.state_dict()
        train(first, 7 - kept)
    second = ActivationRecorder(net, window=window)
    second.load_state_dict(state)
    with second, ExitStack() as stack:
        for feed in attached(second):
            stack.enter_context(feed)
        train(second, 5)


def test_a_run_that_resumes_hides_what_the_broken_one_wrote(tmp_path):
    broken_and_resumed(tmp_path)
    steps = [event.step for event in read(tmp_path).Scalars("actstats/std/train/out")]
    assert steps == [1, 3, 5, 7]  # not 1, 3, 5, 6, 3, 5, 7


def test_a_run_that_resumes_after_its_first_step_hides_the_others(tmp_path):
    broken_and_resumed(tmp_path, window=1, kept=1)
    steps = [event.step for event in read(tmp_path).Scalars("actstats/std/train/out")]
    assert steps == list(range(6))


def test_feeds_of_one_run_hide_nothing_of_each_other(tmp_path):
    feeds = ({"figures": "rms", "histograms": False}, {"figures": "std", "every": 100})
    broken_and_resumed(tmp_path, window=1, feeds=feeds)
    events = read(tmp_path)
    steps = [event.step for event in events.Scalars("actstats/rms/train/out")]
    assert steps == list(range(8))
    assert [event.step for event in events.Scalars("actstats/std/train/out")] == [7]


def test_a_run_that_resumes_hides_nothing_of_the_users(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(8):
            writer.add_scalar("loss", 1.0, step)
    broken_and_resumed(tmp_path)
    events = read(tmp_path)
    assert [event.step for event in events.Scalars("loss")] == list(range(8))
    steps = [event.step for event in events.Scalars("actstats/std/train/out")]
    assert steps == [1, 3, 5, 6, 3, 5, 7]


def test_a_folder_can_be_written_to_by_run_after_run(tmp_path):
    feed = TensorBoardFeed(tmp_path, strict=True)
    for _ in range(2):
        recorded(feed)
    steps = [event.step for event in read(tmp_path).Scalars("actstats/std/train/out")]
    assert steps == [1, 3, 5] * 2
