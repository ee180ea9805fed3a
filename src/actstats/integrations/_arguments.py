"""Checks of what a trainer's callback is given, when it is made and not when training begins."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from actstats.integrations._feed import Feed
from actstats.recorder import ActivationRecorder
from actstats.sites import close_matches, selectors

__all__ = ["checked_feeds", "checked_name", "checked_options"]

OF_CALLBACKS = ("recorder", "feeds", "watch", "name")
OF_THE_MODEL = ("include", "exclude", "log")  # the rest can be tried on any


def checked_options(options: Mapping[str, Any]) -> None:
    """Refuse what a recorder would refuse, as far as it can be known without the model.

    Raises
    ------
    TypeError
        If a recorder has no such option.
    ValueError
        If a value is none that it takes.
    """
    _, *known = inspect.signature(ActivationRecorder).parameters  # without the model
    for name in options:
        if name not in known:
            hint = close_matches(name, (*known, *OF_CALLBACKS))
            raise TypeError(f"options must be those of ActivationRecorder; got {name!r}{hint}")
    for name in ("include", "exclude"):
        selectors(name, options.get(name))
    if not isinstance(options.get("log", ""), str | os.PathLike | None):
        raise ValueError(f"`log` must be the path of a file; got {options['log']!r}.")
    ActivationRecorder(
        nn.Identity(), **{n: value for n, value in options.items() if n not in OF_THE_MODEL}
    )


def checked_name(name: str) -> str:
    """Return what tells a callback from others, if it can stand in the name of a file."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{0,50}", name):
        raise ValueError(
            "`name` must be at most 50 letters, digits, '_', '-' and '.', since files are called "
            f"by it; got {name!r}."
        )
    return name


def checked_feeds(feeds: Any) -> tuple[Feed, ...]:
    """Return feeds as a tuple."""
    many = tuple(feeds) if isinstance(feeds, Sequence) else (feeds,)
    for feed in many:
        if not isinstance(feed, Feed):
            raise ValueError(f"`feeds` must be a Feed or a list of Feeds; got {feed!r}.")
    return many
