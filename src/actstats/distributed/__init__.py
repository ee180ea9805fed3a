"""Recordings of several ranks as one, while the process group lives."""

from __future__ import annotations

from actstats.distributed.merging import merge_ranks

__all__ = ["merge_ranks"]
