"""Ranks: tensors that are still arriving, and where processes meet."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor

from actstats._torch.tensors import dispatches

__all__ = ["arrived", "default_store", "is_arriving", "prefixed"]


def is_arriving(tensor: Tensor) -> bool:
    """Tell whether this is what a collective gives that may still be under way."""
    module = sys.modules.get("torch.distributed._functional_collectives")
    return module is not None and isinstance(tensor, getattr(module, "AsyncCollectiveTensor", ()))


def arrived(tensor: Tensor) -> Tensor:
    """Return what an asynchronous collective gives, waiting for it; other tensors as they are."""
    wait = getattr(tensor, "wait", None) if dispatches(tensor) else None
    return tensor if wait is None else wait()


def default_store() -> Any:
    """Return the store that the ranks of the default process group meet in; None if untold."""
    from torch.distributed import distributed_c10d

    return getattr(distributed_c10d, "_get_default_store", lambda: None)()


def prefixed(name: str, store: Any) -> Any:
    """Return a store of the same ranks whose keys begin with a name."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    return PrefixStore(name, store)
