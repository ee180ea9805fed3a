"""What `check` takes for a loss: a function of the model and the batch, or a criterion of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

__all__ = ["LossFunction", "as_loss"]

LossFunction = Callable[[nn.Module, Any], Tensor]


def as_loss(loss_fn: Any) -> LossFunction:
    """Return the loss as a function of the model and the batch.

    Parameters
    ----------
    loss_fn : callable
        Such a function, or a criterion of ``torch.nn`` or ``torch.nn.functional``, which is given
        ``model(inputs)`` and ``targets`` of a batch ``(inputs, targets)``.

    Raises
    ------
    TypeError
        If it cannot be called.
    """
    if isinstance(loss_fn, type) or not callable(loss_fn):
        kind = f"the class {loss_fn.__name__}" if isinstance(loss_fn, type) else repr(loss_fn)
        raise TypeError(f"`loss_fn` must be `loss_fn(model, batch)` or a criterion; got {kind}.")
    if isinstance(loss_fn, _Loss) or getattr(loss_fn, "__module__", None) == F.__name__:
        return _of_criterion(loss_fn)
    return _with_note(loss_fn)


def _of_criterion(criterion: Callable[..., Tensor]) -> LossFunction:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                "`batch` must be (inputs, targets) where `loss_fn` is a criterion; got"
                f" {_kind(batch)}. Or give `loss_fn=lambda model, batch: ...`, which returns the"
                " loss."
            )
        inputs, targets = batch
        return criterion(model(inputs), targets)

    return loss


def _with_note(loss_fn: LossFunction) -> LossFunction:
    """Return the function; an error in it that looks like another signature says what is called."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        try:
            return loss_fn(model, batch)
        except (TypeError, AttributeError) as error:
            error.add_note(
                "actstats calls `loss_fn(model, batch)`: a criterion of your own that takes"
                " predictions and targets is `lambda model, batch: criterion(model(batch[0]),"
                " batch[1])`."
            )
            raise

    return loss


def _kind(batch: Any) -> str:
    kind = type(batch).__name__
    return f"a {kind} of {len(batch)}" if isinstance(batch, tuple | list) else f"a {kind}"
