"""Triton where there is no GPU: its interpreter runs the CUDA kernel, its compiler compiles it."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from actstats import activations
from actstats.gate import make_gate
from actstats.kernels import Spec, State, cuda

ROOT = Path(__file__).parents[2]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
if INTERPRETED:
    pytest.skip("this process interprets Triton already", allow_module_level=True)


def test_the_kernel_in_the_interpreter():
    # in a process of its own: Triton asks once, when it is imported, whether it is to interpret
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [str(ROOT / "tests/kernels/test_cuda.py")]
    run = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 100, run.stdout[-1000:]


def test_it_is_not_imported_before_it_is_used():
    code = "import sys, actstats.kernels.cuda as c; c.why_not(); sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_why_it_cannot_run():
    reason = None if torch.cuda.is_available() else "there is no CUDA device"
    assert cuda.why_not() == reason


# ---- compiling for a GPU that is not here --------------------------------------------------------

POINTERS = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
}
TARGETS = (80, 90)


def compiled(kernel, arguments, target):
    """Compile a kernel for these arguments; return the assembly."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants = {}, {}
    for i, parameter in enumerate(kernel.params):
        value = arguments.get(parameter.name)
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[i,] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = POINTERS[value.dtype]
        else:
            signature[parameter.name] = "i32" if abs(value) < 1 << 31 else "i64"
    source = ASTSource(kernel, signature, constants)
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options=cuda.OPTIONS).asm


CASES = {
    "float32": (torch.float32, -1, None, {}),
    "bfloat16, tanh": (torch.bfloat16, -1, "tanh", {"asymptote": True}),
    "float16, relu of channels": (torch.float16, 1, "relu", {}),
    "float64, edges": (torch.float64, None, None, {"edges": (-1.0, 0.0, 1.0)}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_observing_compiles(case, target):
    from actstats.kernels import _triton

    dtype, axis, name, kept = CASES[case]
    x = torch.empty(64, 48, 30, dtype=dtype)
    gate = None if name is None else make_gate(activations.get(name))
    width = 1 if axis is None else x.shape[axis]
    state = State(Spec(width=width, gate=gate, **kept))
    kind = "number" if dtype is torch.float64 else "none"
    plan = cuda._plan(x, state, axis, kind, observed=True)
    scratch = torch.empty(1, dtype=torch.float64)
    given = {"memory": state.memory, "bins": state.memory, "scratch": scratch}
    scale = 1 << 62 if kind == "number" else None
    asm = compiled(_triton.read, plan.to_read | given | {"x": x, "step": 3, "scale": scale}, target)
    assert "ftz" not in asm["ptx"]  # subnormal numbers are not zeros
    assert "fma.rn" not in asm["ptx"]  # and sums are rounded where they say so
    assert "relaxed" in asm["ptx"]  # what is counted waits for nothing
    assert asm["cubin"]
    assert compiled(_triton.merge, plan.to_merge | given | {"calls": 1}, target)["cubin"]


@pytest.mark.parametrize("name", ["gelu", "gelu(approximate=tanh)", "silu"])
def test_judging_compiles(name):
    from actstats.kernels import _triton

    z = torch.empty(64, 48, dtype=torch.bfloat16)
    state = State(Spec(width=48, gate=make_gate(activations.get(name))))
    plan = cuda._plan(z, state, -1, "none", observed=False)
    scratch = torch.empty(1, dtype=torch.float64)
    given = {"memory": state.memory, "bins": state.memory, "scratch": scratch}
    asm = compiled(_triton.read, plan.to_read | given | {"x": z, "step": 3}, 90)
    assert asm["cubin"]
    assert compiled(_triton.merge, plan.to_merge | given | {"calls": 0}, 90)["cubin"]
