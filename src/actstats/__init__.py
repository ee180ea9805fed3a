"""See what happens inside a PyTorch network while it trains.

Attach one :class:`ActivationRecorder` to any model; read exact statistics of every layer's
activations and gradients, and draw them with :mod:`actstats.plot`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actstats import activations, comparison, diagnosis, histogram, plot, report, statistics
    from actstats.comparison import Comparison, compare
    from actstats.diagnosis import (
        Checkup,
        Diagnosis,
        Finding,
        FlightRecorder,
        UnhealthyError,
        assert_healthy,
        check,
        diagnose,
    )
    from actstats.exports import export
    from actstats.live import LiveDisplay
    from actstats.log import RecordingFileError, load
    from actstats.merging import merge
    from actstats.models import make_mlp
    from actstats.recorder import ActivationRecorder
    from actstats.recording import Recording, Scalar, Window
    from actstats.stats import TensorStats

__version__ = "0.1.0.dev0"

__all__ = [
    "ActivationRecorder",
    "Checkup",
    "Comparison",
    "Diagnosis",
    "Finding",
    "FlightRecorder",
    "LiveDisplay",
    "Recording",
    "RecordingFileError",
    "Scalar",
    "TensorStats",
    "UnhealthyError",
    "Window",
    "__version__",
    "activations",
    "assert_healthy",
    "check",
    "compare",
    "comparison",
    "diagnose",
    "diagnosis",
    "export",
    "histogram",
    "load",
    "make_mlp",
    "merge",
    "plot",
    "report",
    "statistics",
]

_HOME = {
    "ActivationRecorder": "recorder",
    "Checkup": "diagnosis",
    "Comparison": "comparison",
    "Diagnosis": "diagnosis",
    "Finding": "diagnosis",
    "FlightRecorder": "diagnosis",
    "LiveDisplay": "live",
    "Recording": "recording",
    "RecordingFileError": "log",
    "Scalar": "recording",
    "TensorStats": "stats",
    "UnhealthyError": "diagnosis",
    "Window": "recording",
    "assert_healthy": "diagnosis",
    "check": "diagnosis",
    "compare": "comparison",
    "diagnose": "diagnosis",
    "export": "exports",
    "load": "log",
    "make_mlp": "models",
    "merge": "merging",
}
_MODULES = (
    *("activations", "comparison", "diagnosis", "histogram", "plot", "report", "statistics"),
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"actstats.{name}")
    if name in _HOME:
        value = getattr(import_module(f"actstats.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'actstats' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
