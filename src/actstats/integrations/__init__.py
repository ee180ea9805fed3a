"""Trainers and loggers: each in a module of its own, which is imported by name.

A callback puts one recorder into a trainer's hands; a feed sends its closed windows to a logger.
:doc:`/integrations` shows them all.
"""

from __future__ import annotations

from actstats.integrations._feed import Feed
from actstats.integrations._packet import Packet

__all__ = ["Feed", "Packet"]
