"""The command line: ``actstats``, or ``python -m actstats``.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

from actstats.cli.app import main

__all__ = ["main"]
