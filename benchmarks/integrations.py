"""What a callback or a feed adds to a training step, beside the bare recorder.

    python benchmarks/integrations.py [--rounds 9] [--steps 100] [--out FOLDER]

The callbacks are called as their trainers call them, with the trainers' own loops taken away, which
would hide microseconds behind milliseconds; so are the recipes of the page, by the events of their
frameworks, whose own cost is in what they add. Accelerate's recipe is the bare recorder's two calls
and has no row. A step is forward, backward and SGD of the tutorial's
network, the smallest here: any other has a larger step to compare with. What is timed is what comes
after it: the bare recorder's `step()`, or the callback, or `step()` with a feed attached. All
variants are timed in each round, in shuffled order, after 128 steps that warm up; times are process
CPU time (all threads; W&B writes from another process), and what is added is the median over rounds
of the difference to the bare recorder in the same round, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from actstats import ActivationRecorder
from benchmarks import machine, report, timing
from benchmarks.nets import Net, make

WARM_STEPS = 128
BARE = "recorder.step()"
PACKAGES = ("accelerate", "lightning", "tensorboard", "wandb", "trackio", "mlflow-skinny")
PACKAGES += ("pytorch-ignite", "keras")
Step = Callable[[], None]
End = Callable[[], None]


def bare(net: Net) -> tuple[Step, End]:
    recorder = ActivationRecorder(net.model).attach()
    return recorder.step, recorder.detach


def transformers(net: Net) -> tuple[Step, End]:
    from transformers import TrainerControl, TrainerState

    from actstats.integrations.transformers import ActivationCallback

    callback, state, control = ActivationCallback(), TrainerState(), TrainerControl()
    callback.on_train_begin(None, state, control, model=net.model)

    def step() -> None:
        state.global_step += 1
        callback.on_step_end(None, state, control, model=net.model)
        callback.on_log(
            None, state, control, logs={"loss": 1.0, "learning_rate": 0.1, "epoch": 0.5}
        )
        callback.on_step_begin(None, state, control, model=net.model)  # the next, which closes it

    return step, callback.detach


def lightning(net: Net) -> tuple[Step, End]:
    from actstats.integrations.lightning import ActivationCallback

    callback = ActivationCallback()
    trainer = SimpleNamespace(
        global_step=0, is_global_zero=True, log_every_n_steps=50, precision_plugin=None,
        logged_metrics={"loss": torch.tensor(1.0)}, optimizers=[],
    )  # fmt: skip
    callback.on_train_start(trainer, net.model)

    def step() -> None:
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, net.model, None, None, 0)

    return step, callback.detach


def ignite(net: Net) -> tuple[Step, End]:
    from ignite.engine import Engine, Events

    recorder, engine = ActivationRecorder(net.model).attach(), Engine(lambda engine, batch: None)
    engine.state.output = 1.0

    @engine.on(Events.ITERATION_COMPLETED)
    def close_step(engine: Engine) -> None:
        recorder.step(engine.state.iteration, loss=engine.state.output)

    def step() -> None:
        engine.state.iteration += 1
        engine.fire_event(Events.ITERATION_COMPLETED)

    return step, recorder.detach


def keras(net: Net) -> tuple[Step, End]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras.callbacks import Callback, CallbackList

    recorder = ActivationRecorder(net.model).attach()

    class CloseStep(Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            recorder.step(loss=logs["loss"])

    callbacks = CallbackList([CloseStep()])
    return lambda: callbacks.on_train_batch_end(0, {"loss": 1.0}), recorder.detach


def fed(make_feed: Callable[..., object], **options: object) -> Callable[[Net], tuple[Step, End]]:
    def variant(net: Net) -> tuple[Step, End]:
        recorder = ActivationRecorder(net.model).attach()
        feed = make_feed(strict=True, **options).attach(recorder)

        def end() -> None:
            feed.detach()
            recorder.detach()

        return recorder.step, end

    return variant


def tensorboard(**options: object) -> object:
    from actstats.integrations.tensorboard import TensorBoardFeed

    return TensorBoardFeed(tempfile.mkdtemp(), **options)


def wandb(**options: object) -> object:
    import wandb

    from actstats.integrations.wandb import WandbFeed

    run = wandb.init(
        project="benchmark", mode="offline", dir=tempfile.mkdtemp(), reinit="create_new"
    )
    return WandbFeed(run, own_rows=True, **options)  # as where the loop logs each time


def trackio(**options: object) -> object:
    import trackio

    from actstats.integrations.wandb import TrackioFeed

    run = trackio.init(project="benchmark", auto_log_cpu=False, auto_log_gpu=False)
    return TrackioFeed(run, **options)


def mlflow(**options: object) -> object:
    import mlflow

    from actstats.integrations.mlflow import MLflowFeed

    folder = Path(tempfile.mkdtemp())
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    where = mlflow.create_experiment("benchmark", artifact_location=folder.as_uri())
    with mlflow.start_run(experiment_id=where) as run:
        return MLflowFeed(run.info.run_id, **options)


CALLBACKS = {
    "transformers": transformers,
    "lightning": lightning,
    "ignite": ignite,
    "keras": keras,
}
FEEDS = {"tensorboard": tensorboard, "wandb": wandb, "trackio": trackio, "mlflow": mlflow}


def variants() -> dict[str, Callable[[Net], tuple[Step, End]]]:
    """Return everything that is timed and whose package is installed."""
    made = {BARE: bare, **{name: make for name, make in CALLBACKS.items() if installed(name)}}
    for name, feed in FEEDS.items():
        if installed(name):
            made[f"{name}, every=100"] = fed(feed, every=100, findings=False)
    made["tensorboard, every window"] = fed(tensorboard, findings=False)
    made["tensorboard, every=100, findings"] = fed(tensorboard, every=100)
    return made


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def measured(
    make_variant: Callable[[Net], tuple[Step, End]], steps: int
) -> tuple[Callable[[], tuple[float, float]], End]:
    """Return what times a block of steps, on a net of the variant's own, and what ends it."""
    net = make("tutorial")
    step, end = make_variant(net)

    def measure(steps: int = steps) -> tuple[float, float]:
        """Return what the end of a step takes, and a whole step."""
        gc.collect()
        spent, began = 0.0, time.process_time()
        for _ in range(steps):
            net.train(net.batch)
            ended = time.process_time()
            step()
            spent += time.process_time() - ended
        return spent / steps, (time.process_time() - began) / steps

    measure(WARM_STEPS)
    return measure, end


def run(options: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(1)
    prepared = {name: measured(make, options.steps) for name, make in variants().items()}
    ends, steps = timing.interleave(
        {n: m for n, (m, _) in prepared.items()}, options.rounds, "rounds"
    )
    for _, end in prepared.values():
        end()
    result = report.envelope("integrations", options)
    result["machine"]["versions"] |= {name: machine.version(name) for name in PACKAGES}
    result["bare_ms"] = 1e3 * timing.median(steps[BARE]).value
    result["bare_end_us"] = timing.median(1e6 * ends[BARE]).as_json()
    result["added_us"] = {
        name: timing.median(1e6 * (times - ends[BARE])).as_json()
        for name, times in ends.items()
        if name != BARE
    }
    return result


def table(result: dict) -> str:
    bare_ms = result["bare_ms"]
    rows = [
        [name, *(f"{x:.0f}" for x in added), f"{added[0] / (10 * bare_ms):.1f} %"]
        for name, added in result["added_us"].items()
    ]
    head = [f"beside {bare_ms:.2f} ms a step", "adds, µs a step", "from", "to", "share"]
    return report.markdown(head, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100, help="a multiple of 100")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of JSON and table")
    options = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp())
    result = run(options)
    text = f"{machine.in_words(result['machine'])}\n\n{table(result)}\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "integrations.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "integrations.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
