"""What a run was measured on: processor, load, versions and date; never the machine's name."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import torch

PACKAGES = ("torch-actstats", "torch", "numpy", "numba", "transformers")


def processor() -> str:
    """Return the processor's model as the system calls it."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, object]:
    """Return date, processor and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def in_words(machine: dict) -> str:
    """Return the same as one sentence."""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    load = machine.get("load")
    busy = f" Load average at the start: {load[0]:.2f}." if load else ""
    return (
        f"{machine['date']}; {machine['processor']} ({machine['vectors']}), {machine['cores']} "
        f"cores, {machine['system']}; Python {machine['python']}, {versions}.{busy}"
    )
