"""Lightning, by both import names: each step once, validation apart, errors and resumed fits."""

import subprocess
import sys

import pytest
import torch
from recorded import assert_same_windows, hooks
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from actstats import ActivationRecorder, load, make_mlp

pytest.importorskip("lightning", reason="pip install lightning")
from lightning.pytorch import Callback, LightningModule, Trainer

from actstats.integrations import Feed
from actstats.integrations.lightning import ActivationCallback

pytestmark = [
    pytest.mark.filterwarnings(reason)
    for reason in (
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",  # Lightning's own
        "ignore:The '.*dataloader' does not have many workers",  # on purpose
        "ignore:The number of training batches",  # so few that it logs each
        "ignore:Starting from v1.9.0",  # tensorboard is not its default logger any more
        "ignore:Be aware that when using `ckpt_path`",  # callbacks of the broken fit, left out here
        "ignore:Checkpoint directory .* exists and is not empty",
    )
]
BATCH, STEPS = 64, 8


class Digits(LightningModule):
    """A classifier of digits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = make_mlp(64, [32, 32], 10, activation="relu")

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def loaders():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = TensorDataset(torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y))
    train = torch.utils.data.Subset(rows, range(16 * BATCH))
    validate = torch.utils.data.Subset(rows, range(16 * BATCH, 18 * BATCH))
    return DataLoader(train, BATCH), DataLoader(validate, BATCH)


def trainer(folder, *callbacks, kind=Trainer, **options):
    given = {
        "max_steps": STEPS, "accumulate_grad_batches": 2, "log_every_n_steps": 1,
        "enable_checkpointing": False, **options,
    }  # fmt: skip
    return kind(
        default_root_dir=folder, accelerator="cpu", devices=1, logger=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks), **given,
    )  # fmt: skip


@pytest.mark.hostile(35)
def test_a_fit_on_digits_is_seen_whole_and_validation_apart(tmp_path, loaders):
    module, callback = Digits(), ActivationCallback(capture=("output", "grad"), window=4)
    trainer(tmp_path, callback, val_check_interval=8).fit(module, *loaders)
    recorder = callback.recorder
    train, validation = recorder.select(phase="train"), recorder.select(phase="eval")
    assert train["net.act1"].count == STEPS * 2 * BATCH * 32
    assert train["net.act1:grad"].count == STEPS * 2 * BATCH * 32
    assert validation["net.act1"].count == 2 * 2 * BATCH * 32  # not those of the sanity check
    assert "net.act1:grad" not in validation
    assert [(w.first_step, w.last_step) for w in train.windows] == [(1, 4), (5, 8)]
    assert hooks(module) == 0


def test_a_fit_is_the_same_to_the_last_bit_with_it(tmp_path, loaders):
    found = []
    for callbacks in ([], [ActivationCallback(capture=("output", "input", "grad"))]):
        module = Digits()
        trainer(tmp_path, *callbacks).fit(module, *loaders)
        found.append([p.detach().clone() for p in module.parameters()])
    plain, recorded = found
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def test_logged_metrics_are_kept_as_often_as_they_are_logged(tmp_path, loaders):
    callback = ActivationCallback(window=1)
    run = trainer(tmp_path, callback, log_every_n_steps=3)
    run.fit(Digits(), *loaders)
    windows = callback.recorder.select(phase="train").windows
    assert [w.last_step for w in windows if "loss" in w.scalars] == [3, 6]
    assert 0 < windows[2].scalars["loss"].last < 3


def test_feeds_send_by_the_trainers_steps_from_the_main_process(tmp_path, loaders, monkeypatch):
    sent = []

    class Kept(Feed):
        def send(self, packet):
            sent.append((packet.step, packet.phase))

    callback = ActivationCallback(feeds=Kept(findings=False, strict=True), window=4)
    run = trainer(tmp_path, callback, val_check_interval=8)
    run.fit(Digits(), *loaders)
    assert sent == [(4, "train"), (8, "train"), (8, "eval"), (9, "eval")]
    sent.clear()
    monkeypatch.setattr(Trainer, "is_global_zero", property(lambda trainer: False))
    trainer(tmp_path, callback).fit(Digits(), *loaders)
    assert callback.recorder["net.act1"].count
    assert not sent


class Breaks(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise RuntimeError("broken on purpose")


def test_a_fit_that_breaks_leaves_its_recording_and_no_hooks(tmp_path, loaders):
    module, path = Digits(), tmp_path / "run.actstats"
    callback = ActivationCallback(log=path, window=1)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer(tmp_path, callback, Breaks(3)).fit(module, *loaders)
    assert hooks(module) == 0
    assert load(path)["net.act1"].count == 3 * 2 * BATCH * 32


def test_a_fit_that_resumes_records_what_one_without_a_break_records(tmp_path, loaders):
    from lightning.pytorch.callbacks import ModelCheckpoint

    options = {"enable_checkpointing": True, "limit_train_batches": 6}  # 3 steps an epoch
    whole, first, second = (ActivationCallback(capture=("output", "grad"), window=2) for _ in "123")
    trainer(tmp_path / "whole", whole, **options).fit(Digits(), *loaders)
    keep = ModelCheckpoint(tmp_path / "kept", save_on_train_epoch_end=True)
    broken = trainer(tmp_path / "broken", first, keep, Breaks(4), **options)
    with pytest.raises(RuntimeError, match="on purpose"):
        broken.fit(Digits(), *loaders)
    (checkpoint,) = (tmp_path / "kept").glob("*.ckpt")
    keep = ModelCheckpoint(tmp_path / "kept", save_on_train_epoch_end=True)
    resumed = trainer(tmp_path / "again", second, keep, **options)
    resumed.fit(Digits(), *loaders, ckpt_path=str(checkpoint))
    assert resumed.global_step == STEPS
    assert_same_windows(second.recorder, whole.recorder)


def test_two_callbacks_keep_states_of_their_own_and_updates_are_watched(tmp_path, loaders):
    def pair():
        return ActivationCallback(window=1, watch=2), ActivationCallback(window=4, name="wide")

    run = trainer(tmp_path, *pair(), enable_checkpointing=True)
    run.fit(Digits(), *loaders)
    ratio = "update_ratio/net.fc1.weight"
    windows = run.callbacks[0].recorder.select(phase="train").windows
    assert [w.last_step for w in windows if ratio in w.scalars] == [1, 3, 5, 7]
    run.save_checkpoint(tmp_path / "end.ckpt")
    resumed = trainer(tmp_path, *pair(), max_steps=STEPS + 1)
    resumed.fit(Digits(), *loaders, ckpt_path=str(tmp_path / "end.ckpt"))
    narrow, wide = (c.recorder.select(phase="train") for c in resumed.callbacks[:2])
    assert [w.last_step for w in narrow.windows] == list(range(1, STEPS + 2))
    assert [w.last_step for w in wide.windows] == [4, 8, 9]


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ValueError, match=r"`name` must be .* got 'a/b'"):
        ActivationCallback(name="a/b")


def test_other_processes_do_not_take_the_main_ones_state(tmp_path, loaders, monkeypatch):
    first = trainer(tmp_path, ActivationCallback(window=1))
    first.fit(Digits(), *loaders)
    first.save_checkpoint(tmp_path / "end.ckpt")
    monkeypatch.setattr(Trainer, "is_global_zero", property(lambda trainer: False))
    callback = ActivationCallback(window=1)
    resumed = trainer(tmp_path, callback, max_steps=STEPS + 2)
    resumed.fit(Digits(), *loaders, ckpt_path=str(tmp_path / "end.ckpt"))
    windows = callback.recorder.select(phase="train").windows
    assert [w.last_step for w in windows] == [STEPS + 1, STEPS + 2]


def test_a_second_fit_of_a_given_recorder_counts_on(tmp_path, loaders):
    module = Digits()
    recorder = ActivationRecorder(module, window=1, include="net.act*")
    callback = ActivationCallback(recorder)
    for _ in range(2):
        trainer(tmp_path, callback, limit_val_batches=0).fit(module, *loaders)
    steps = [w.last_step for w in recorder.recording.windows]
    assert steps == list(range(1, 2 * STEPS + 1))


FIT_BY_NAME = """
import sys, warnings, torch
warnings.simplefilter("ignore")
import {first}
import {second}
from {package} import LightningModule, Trainer
from actstats.integrations.lightning import ActivationCallback
from torch import nn

class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 3)
    def training_step(self, batch, batch_idx):
        return self.fc(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

callback = ActivationCallback()
Trainer(max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, callbacks=[callback]).fit(
    Module(), torch.utils.data.DataLoader(torch.ones(8, 2), 4))
assert callback.recorder["fc"].count == 24
names = [c.__module__.partition(".")[0] for c in type(callback).__mro__ if c.__name__ == "Callback"]
print("names", *names)
"""


@pytest.mark.parametrize(
    ("package", "first", "second", "names"),
    [
        ("lightning.pytorch", "sys", "sys", ["lightning"]),
        ("pytorch_lightning", "pytorch_lightning", "sys", ["pytorch_lightning"]),
        (
            "pytorch_lightning",
            "lightning.pytorch",
            "pytorch_lightning",
            ["lightning", "pytorch_lightning"],
        ),
    ],
)
def test_either_import_name(tmp_path, package, first, second, names):
    if "pytorch_lightning" in (package, first):
        pytest.importorskip("pytorch_lightning", reason="pip install pytorch-lightning")
    script = FIT_BY_NAME.format(package=package, first=first, second=second)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("names ")[1].split() == names
