"""`import actstats` is cheap: what only pictures, tables or kernels need is imported by them."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import actstats

HEAVY = ("matplotlib", "seaborn", "pandas", "numba")


def loaded_by(statement: str) -> set[str]:
    """Which of `HEAVY` a fresh interpreter holds after `statement`."""
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{report}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_torch_itself_loads_none_of_them():
    assert loaded_by("import torch") == set()


def test_import_loads_none_of_them():
    assert loaded_by("import actstats") == set()


@pytest.mark.parametrize("name", HEAVY)
def test_the_check_above_can_fail(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed here")
    assert name in loaded_by(f"import actstats, {name}")


def test_the_pictures_do_load_matplotlib():
    assert "matplotlib" in loaded_by("import actstats; actstats.plot.histogram_grid")


def test_import_warns_of_nothing():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import torch, actstats"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_version_is_the_same_everywhere():
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert (
        actstats.__version__
        == importlib.metadata.version("torch-actstats")
        == settings["project"]["version"]
        == settings["tool"]["towncrier"]["version"]
    )


def test_every_public_name_is_there():
    assert all(hasattr(actstats, name) for name in actstats.__all__)
    assert set(actstats.__all__) <= set(dir(actstats))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        actstats.no_such_name  # noqa: B018, the access is the test
