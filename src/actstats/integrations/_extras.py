"""What to say where a package is missing."""

from __future__ import annotations

__all__ = ["needs"]


def needs(package: str) -> ImportError:
    """Return the error that names the extra which brings a package; both have one name."""
    return ImportError(
        f"this integration needs {package}, which the extra torch-actstats[{package}] brings: "
        f"python -m pip install {package}"
    )
