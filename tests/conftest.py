"""What holds for every test: no network, no windows, the same random numbers, no stolen cores.

Each test leaves torch as it found it, or fails: what it left switched would fail others.
"""

import os
import random
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest
import torch

from surroundings import surroundings

pytest_plugins = ["browsing", "pytester"]

# Machines differ in speed, and a first call compiles: no deadlines. CI repeats itself exactly.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores between the workers of pytest-xdist."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start each test from the same random state, whatever ran before it."""
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _torch_left_as_found() -> Iterator[None]:
    """Fail the test that leaves a mode or a switch of torch behind."""
    before = surroundings()
    yield
    assert surroundings() == before
