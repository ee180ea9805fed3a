"""A fixture for other people's tests; pytest finds it where actstats is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn

    from actstats import ActivationRecorder

__all__ = ["healthy_recorder"]


@pytest.fixture
def healthy_recorder() -> Iterator[Callable[..., ActivationRecorder]]:
    """Attach recorders in a test, and fail it at its end where a network is sick.

    ``healthy_recorder(model, severity="warning", ignore=(), thresholds=None, **options)`` returns
    an attached `ActivationRecorder`; options go to it, and outputs, inputs and gradients are
    captured unless they say otherwise::

        def test_training(healthy_recorder):
            recorder = healthy_recorder(model)
            for batch in batches:
                train_step(model, batch)
                recorder.step()
    """
    import actstats

    watched: list[tuple[ActivationRecorder, dict[str, Any]]] = []

    def attach(
        model: nn.Module,
        *,
        severity: str = "warning",
        ignore: Any = (),
        thresholds: Any = None,
        **options: Any,
    ) -> ActivationRecorder:
        options = {"capture": ("output", "input", "grad"), "functional": True, **options}
        recorder = actstats.ActivationRecorder(model, **options).attach()
        asked = {"severity": severity, "ignore": ignore, "thresholds": thresholds}
        watched.append((recorder, asked))
        return recorder

    try:
        yield attach
    finally:
        for recorder, _ in watched:
            recorder.detach()
    for recorder, asked in watched:
        actstats.assert_healthy(recorder, **asked)
