"""No package is imported before it is used, and the extra of one that is absent is named."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SETTINGS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
EXTRAS = SETTINGS["project"]["optional-dependencies"]
WAYS = {
    "transformers": "from actstats.integrations.transformers import ActivationCallback",
    "lightning": "from actstats.integrations.lightning import ActivationCallback",
    "tensorboard": "from actstats.integrations.tensorboard import TensorBoardFeed as F; F('x')",
    "wandb": "from actstats.integrations.wandb import WandbFeed; WandbFeed()",
    "trackio": "from actstats.integrations.wandb import TrackioFeed; TrackioFeed()",
    "mlflow": "from actstats.integrations.mlflow import MLflowFeed; MLflowFeed()",
}


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("package", WAYS)
def test_an_absent_package_is_named_with_its_extra(package):
    absent = ["lightning", "pytorch_lightning"] if package == "lightning" else [package]
    hide = f"import sys; sys.modules.update(dict.fromkeys({absent}))"  # None: import refuses
    code, _, error = python(f"{hide}\n{WAYS[package]}")
    assert code == 1
    wanted = f"needs {package}, which the extra torch-actstats[{package}] brings: "
    assert f"ImportError: this integration {wanted}python -m pip install {package}" in error
    assert package in EXTRAS


def test_loggers_are_imported_when_a_feed_is_made():
    modules = ("tensorboard", "wandb", "mlflow")
    imports = "; ".join(f"import actstats.integrations.{name}" for name in modules)
    heavy = (*modules, "trackio", "transformers", "lightning", "pytorch_lightning")
    told = f"import sys; print([m for m in {heavy} if m in sys.modules])"
    code, out, error = python(f"{imports}; {told}")
    assert (code, out.strip()) == (0, "[]"), error
