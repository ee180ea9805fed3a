"""What importing the activations loads."""

import subprocess
import sys


def test_import_stays_light():
    heavy = ("numba", "matplotlib", "scipy", "pandas", "transformers")
    code = (
        "import torch, sys; old = set(sys.modules); import actstats.activations; "
        f"print([m for m in {heavy} if m in set(sys.modules) - old])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
