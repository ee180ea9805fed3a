"""What `check` takes for a loss: a function of the model and the batch, or a criterion of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from actstats.sites import wrapped_in

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
    return _of_criterion(loss_fn) if _is_criterion(loss_fn) else _with_note(loss_fn)


def _is_criterion(loss_fn: Any) -> bool:
    """Tell whether it is torch's, with options bound or compiled too."""
    if isinstance(loss_fn, partial):
        return _is_criterion(loss_fn.func)
    if isinstance(loss_fn, nn.Module):
        loss_fn = wrapped_in(loss_fn) or loss_fn
    kinds = type(loss_fn).__mro__ if isinstance(loss_fn, nn.Module) else (loss_fn,)
    homes = (nn.MSELoss.__module__, F.__name__)
    return any(getattr(kind, "__module__", None) in homes for kind in kinds)


def _of_criterion(criterion: Callable[..., Tensor]) -> LossFunction:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                "`batch` must be (inputs, targets) where `loss_fn` is a criterion; got"
                f" {_kind(batch)}. Or give `loss_fn=lambda model, batch: ...`, which returns the"
                " loss."
            )
        inputs, targets = batch
        output = model(inputs)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the model must give a tensor where `loss_fn` is a criterion; got"
                f" {_kind(output)}. Or give `loss_fn=lambda model, batch: ...`, which takes from it"
                " what the criterion needs."
            )
        return criterion(output, targets)

    return loss


def _with_note(loss_fn: LossFunction) -> LossFunction:
    """Return the function; an error in it that looks like another signature says what is called."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        try:
            return loss_fn(model, batch)
        except (TypeError, AttributeError) as error:
            if _takes_others(error, model):
                error.add_note(
                    "actstats calls `loss_fn(model, batch)`: a criterion of your own that takes"
                    " predictions and targets is `lambda model, batch: criterion(model(batch[0]),"
                    " batch[1])`."
                )
            raise

    return loss


def _takes_others(error: Exception, model: nn.Module) -> bool:
    """Tell whether the call did not fit, or took the model for a tensor."""
    ours = error.__traceback__
    return ours is None or ours.tb_next is None or type(model).__name__ in str(error)


def _kind(batch: Any) -> str:
    kind = type(batch).__name__
    return f"a {kind} of {len(batch)}" if isinstance(batch, tuple | list) else f"a {kind}"
