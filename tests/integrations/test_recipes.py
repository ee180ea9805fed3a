"""The recipes of the page of integrations run, and its table tells what was run and measured."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text("utf-8")
CHECKS = {
    "Accelerate": """
assert [w.last_step for w in recorder.recording.windows] == [0, 1, 2, 3]
assert recorder["1"].count == 64 * 8
assert recorder.recording.windows[0].scalars["loss"].count == 1
assert not recorder.attached
import tempfile
accelerator.register_for_checkpointing(recorder)
folder = tempfile.mkdtemp()
accelerator.save_state(folder)
recorder.reset()
accelerator.load_state(folder)
assert recorder["1"].count == 64 * 8
""",
    "Ignite": """
train, evaluation = (recorder.select(phase=name) for name in ("train", "eval"))
assert [w.last_step for w in train.windows] == list(range(1, 17))
assert train["1"].count == 2 * 64 * 8
assert evaluation["1"].count == 2 * 16 * 8
assert not recorder.attached
from ignite.handlers import Checkpoint
from types import SimpleNamespace
held = SimpleNamespace(state_dict=recorder.state_dict, load_state_dict=recorder.load_state_dict)
state = held.state_dict()
recorder.reset()
Checkpoint.load_objects({"recorder": held}, {"recorder": state})
assert recorder["1"].count == 2 * 64 * 8
""",
    "Keras 3 on torch": """
dense, relu, last = layers
assert [w.last_step for w in recorder.recording.windows] == list(range(16))
assert recorder[relu].count == recorder[dense].count == 2 * 64 * 8
assert recorder[last].count == 2 * 64
with recorder, recorder.phase("eval"):
    model.evaluate(x, y, verbose=0)
assert recorder.select(phase="eval")[relu].count == 64 * 8
assert recorder[relu].count == 2 * 64 * 8
""",
}
PACKAGES = {"Accelerate": "accelerate", "Ignite": "ignite", "Keras 3 on torch": "keras"}


def recipe(title):
    """The code under a heading."""
    (code,) = re.findall(rf"^### {title}\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return code


@pytest.mark.parametrize("title", CHECKS)
def test_recipe(title, tmp_path):
    if importlib.util.find_spec(PACKAGES[title]) is None:
        pytest.skip(f"pip install {PACKAGES[title]}")
    code = f"{recipe(title)}\n{CHECKS[title]}\nprint('all is said')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.stdout.endswith("all is said\n"), done.stderr


def test_every_recipe_is_checked():
    _, recipes = PAGE.split("## Recipes")
    assert re.findall(r"^### (.*)$", recipes, re.MULTILINE) == list(CHECKS)


# ---- the table -----------------------------------------------------------------------------------

MEASURED = {  # by the first word of a row: its package, and what the benchmark calls it
    "transformers": ("transformers", "transformers"),
    "Lightning": ("lightning", "lightning"),
    "TensorBoard": ("tensorboard", "tensorboard, every=100"),
    "W&B": ("wandb", "wandb, every=100"),
    "Trackio": ("trackio", "trackio, every=100"),
    "MLflow": ("mlflow-skinny", "mlflow, every=100"),
    "Accelerate": ("accelerate", None),
    "Ignite": ("pytorch-ignite", "ignite"),
    "Keras": ("keras", "keras"),
}


def rows():
    """The table's rows, by the first word."""
    lines = re.findall(r"^\| (\[.*)\|$", PAGE.partition("## What they add")[0], re.MULTILINE)
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return {re.match(r"\[([\w&]+)", row[0])[1]: row for row in cells}


def test_the_table_tells_what_was_measured_in_these_versions():
    result = json.loads((ROOT / "benchmarks" / "results" / "integrations.json").read_text())
    wanted = {}
    for name, (package, variant) in MEASURED.items():
        version, cost = result["machine"]["versions"][package], "nothing: the same two calls"
        if variant is not None:
            added = result["added_us"][variant][0]
            cost = f"{added:.0f} µs, {added / (10 * result['bare_ms']):.1f} %"
        wanted[name] = (version, cost)
    assert {name: (row[1], row[3]) for name, row in rows().items()} == wanted
    pinned = (ROOT / "constraints.txt").read_text()
    for package, _ in MEASURED.values():
        assert f"{package}=={result['machine']['versions'][package]}" in pinned, package


def test_the_table_names_tests_that_there_are():
    for name, row in rows().items():
        files = re.findall(r"`(test_\w+\.py)`", row[4])
        assert files, name
        assert all(Path(__file__).with_name(file).exists() for file in files), name
