"""Which kernel runs, what is said where it is not the fastest, and when one is compiled."""

import importlib.util
import logging
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from actstats import ActivationRecorder, kernels, make_mlp
from actstats.kernels import cpu, cuda, reference
from kernel_claims import DTYPES

HAS_NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="numba is not installed")


@pytest.fixture(autouse=True)
def _ask_anew():
    """Forget before and after what earlier questions were answered."""
    asked = (cpu.why_not, cpu._compiled, kernels.best)
    for each in asked:
        each.cache_clear()
    yield
    for each in asked:
        each.cache_clear()


@pytest.fixture
def without_numba(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "numba" else find(name, *rest),
    )


@pytest.fixture
def without_cache_folder(monkeypatch):
    """Let no folder be one that compiled code can be kept in."""
    caching = pytest.importorskip("numba.core.caching")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])


def test_kernels_by_name():
    assert kernels.choose("reference") is reference
    for name in ("fast", "", "CPU"):
        with pytest.raises(ValueError, match="must be one of"):
            kernels.choose(name)


@needs_numba
def test_the_cpu_kernel_by_name():
    assert kernels.choose("cpu") is cpu


@pytest.mark.skipif(cuda.why_not() is None, reason="the CUDA kernel runs here")
def test_a_named_kernel_runs_or_raises_with_its_reason():
    with pytest.raises(RuntimeError, match=r"`kernel='cuda'` cannot run here: .+"):
        kernels.choose("cuda")
    with pytest.raises(RuntimeError, match=r"`kernel='cuda'` cannot run here: .+"):
        ActivationRecorder(make_mlp(), kernel="cuda")


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_best_on_a_cpu_is_compiled(dtype, caplog):
    assert kernels.best("cpu", dtype) is cpu
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_the_best_elsewhere_is_the_reference(caplog):
    assert kernels.best("meta", torch.float32) is reference
    assert caplog.text == ""


@pytest.mark.usefixtures("without_numba")
def test_without_numba_the_reference_runs_and_says_why(caplog):
    for _ in range(2):
        assert kernels.best("cpu", torch.float32) is reference
    said = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "numba is not installed" in said[0].getMessage()
    with pytest.raises(RuntimeError, match="numba is not installed"):
        kernels.choose("cpu")


@pytest.mark.usefixtures("without_cache_folder")
def test_without_a_folder_to_keep_it_in_the_reference_runs_and_says_why(caplog):
    assert kernels.best("cpu", torch.float32) is reference
    assert "cannot compile" in caplog.text
    assert "no locator available" in caplog.text
    with pytest.raises(RuntimeError, match="no locator available"):
        kernels.choose("cpu")


@pytest.mark.usefixtures("without_numba")
def test_a_recorder_records_without_numba():
    net = make_mlp(2, [4], 1)
    with ActivationRecorder(net) as recorder:
        net(torch.randn(8, 2))
    assert recorder["act1"].count == 32
    assert "reference" in str(recorder.summary())


COMPILE = """
    import logging, sys, torch
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    from actstats.kernels import Spec, State, best
    kernel = best("cpu", torch.float16)
    kernel.observe(torch.ones(3, 2, dtype=torch.float16), State(Spec(width=2)))
    print(kernel.NAME)
"""


@needs_numba
def test_the_first_compilation_is_announced_and_kept(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def said():
        command = [sys.executable, "-c", textwrap.dedent(COMPILE)]
        run = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=300
        )
        assert run.returncode == 0, run.stderr[-2000:]
        return run.stdout.splitlines()

    first = said()
    assert first[0].startswith("compiling the CPU kernel for float16, once; kept in ")
    assert str(tmp_path) in first[0]
    assert first[1].startswith("compiled the CPU kernel for float16 in ")
    assert first[2:] == ["cpu"]
    assert said() == ["cpu"]


@needs_numba
@pytest.mark.parametrize("scaled", [False, True])
def test_one_entry_of_each_dtype(scaled):
    entries = [cpu._compiled(dtype, scaled) for dtype in DTYPES]
    assert len({id(entry) for entry in entries}) == len(DTYPES)
    assert all(cpu._compiled(d, scaled) is e for d, e in zip(DTYPES, entries, strict=True))
