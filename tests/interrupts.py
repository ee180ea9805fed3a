"""Ctrl-C at a chosen line of some files, where Python may really raise it."""

import gc
import linecache
import os
import re
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["interrupted_at"]

_WITH = re.compile(r"\s*(async )?with\b")


def interrupted_at(line: int, work: Callable[[], Any], files: tuple[str, ...]) -> bool:
    """Stop some work at the n-th line of these files that it runs; tell whether it was.

    Of a ``with`` only the beginning counts. A tracer is called once more where its block ends, just
    before ``__exit__``, and what it raises there takes the place of ``__exit__``. Python never
    interrupts there: it looks for signals after a call, and the last call of a block is inside it.
    """
    seen = 0
    entered: set[tuple[Any, int]] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.replace(os.sep, "/").endswith(files):
            return None
        if event == "line" and not _leaves_with(frame, entered):
            seen += 1
            if seen == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    gc.disable()  # what it runs is of ours too, and Python drops what is raised there
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False


def _leaves_with(frame: Any, entered: set[tuple[Any, int]]) -> bool:
    """Tell whether a line is that of a ``with`` which this frame has entered before."""
    if not _WITH.match(linecache.getline(frame.f_code.co_filename, frame.f_lineno)):
        return False
    here = (frame, frame.f_lineno)
    entered ^= {here}
    return here not in entered
