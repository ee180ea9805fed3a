"""A display of a run that updates in place, in notebooks and terminals."""

from actstats.live.display import LiveDisplay

__all__ = ["LiveDisplay"]
