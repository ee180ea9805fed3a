"""A recorder changes nothing: every net in every mode under every way to record.

The three tables `NETS`, `MODES` and `RECORDERS` are multiplied; `why_not` leaves combinations out,
with the reason. The observers at the end, which do interfere, prove that each kind of interference
would be noticed.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neutral_nets import NETS, Net
from neutrality import (
    Mode,
    Session,
    Trace,
    assert_neutral,
    loss_of,
    run,
    unobserved,
)
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from actstats import ActivationRecorder

BACKENDS = ("eager", "aot_eager", "inductor")

# ---- what a step does ----------------------------------------------------------------------------


def train(session: Session) -> None:
    session.backward(session.forward())
    session.update()


def accumulate(session: Session) -> None:
    session.backward(session.forward() / 2)
    session.backward(session.forward() / 2)
    session.update()


def evaluate(session: Session) -> None:
    session.forward()


def validate_and_train(session: Session) -> None:
    session.model.eval()
    with torch.inference_mode():
        session.keep("validation", session.call(*session.batch()))
    session.model.train()
    train(session)


def call_with_parameters(session: Session) -> None:
    """Call the net with parameters that are given from outside."""
    given = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    session.keep("output", functional_call(session.model, given, session.batch()))


def func_grad(session: Session) -> None:
    given = {name: p.detach() for name, p in session.model.named_parameters()}
    batch = session.batch()
    loss = torch.func.grad(lambda p: loss_of(functional_call(session.model, p, batch)))
    session.keep("grad", loss(given))


def func_jvp(session: Session) -> None:
    x, *others = session.batch()
    net = session.model
    session.keep("jvp", torch.func.jvp(lambda x: loss_of(net(x, *others)), (x,), (x * 2,)))


def func_vmap(session: Session) -> None:
    x, *others = session.batch()
    call = torch.func.vmap(lambda x: loss_of(session.model(x, *others)), randomness="different")
    session.keep("vmap", call(torch.stack([x, x])))


# ---- what is called ------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """A module whose activations are computed again in backward."""

    def __init__(self, inner: nn.Module, **options: Any) -> None:
        super().__init__()
        self.inner = inner
        self.options = options

    def forward(self, *args: Any) -> Any:
        return checkpoint(self.inner, *args, **self.options)


def checkpointed(net: nn.Module, *, nested: bool = False, **options: Any) -> nn.Module:
    for place, block in enumerate(net.blocks):
        if nested:
            for name, child in list(block.named_children()):
                setattr(block, name, Checkpointed(child, **options))
        net.blocks[place] = Checkpointed(block, **options)
    return net


def keeps_products() -> Any:
    return create_selective_checkpoint_contexts([torch.ops.aten.addmm.default])


def compiled(net: nn.Module, backend: str) -> Callable[..., Any]:
    torch.compiler.reset()
    return torch.compile(net, backend=backend, fullgraph=True)


def regionally_compiled(net: nn.Module, backend: str) -> nn.Module:
    torch.compiler.reset()
    for block in net.blocks:
        block.compile(backend=backend, fullgraph=True)
    return net


# ---- the tables ----------------------------------------------------------------------------------


def autocast(dtype: torch.dtype) -> Callable[[], Any]:
    return lambda: torch.autocast("cpu", dtype)


def checkpointing(name: str, **options: Any) -> Mode:
    options.setdefault("use_reentrant", False)
    prepare = partial(checkpointed, **options)
    return Mode(f"checkpoint, {name}", train, prepare=prepare, needs_blocks=True)


def compiling(name: str, backend: str, prepare: Callable[..., Any]) -> Mode:
    needs_blocks = prepare is regionally_compiled
    prepare = partial(prepare, backend=backend)
    return Mode(
        f"{name}, {backend}",
        train,
        prepare=prepare,
        needs_blocks=needs_blocks,
        compiles=True,
        may_round=backend == "inductor",
    )


MODES = (
    Mode("float32", train),
    Mode("bfloat16", train, around=autocast(torch.bfloat16)),
    Mode("float16, scaled", train, around=autocast(torch.float16), is_scaled=True),
    Mode("accumulation", accumulate),
    Mode("validation first", validate_and_train),
    Mode("no_grad", evaluate, around=torch.no_grad, is_training=False),
    Mode("no_grad, training", evaluate, around=torch.no_grad),
    Mode("inference_mode", evaluate, around=torch.inference_mode, is_training=False),
    checkpointing("reentrant", use_reentrant=True),
    checkpointing("non-reentrant"),
    checkpointing("nested", nested=True),
    checkpointing("selective", context_fn=keeps_products),
    Mode("functional_call", call_with_parameters),
    Mode("func grad", func_grad),
    Mode("func jvp", func_jvp, is_training=False),
    Mode("func vmap", func_vmap, is_training=False),
    *(compiling("compiled", backend, compiled) for backend in BACKENDS),
    *(compiling("blocks compiled", backend, regionally_compiled) for backend in BACKENDS),
)


@dataclass(frozen=True, eq=False)
class Recorder:
    """A way to record.

    Parameters
    ----------
    name : str
        For messages.
    options : mapping of str to anything
        The recorder's.
    logs : bool
        Whether a file is written.
    knows_scaler : bool
        Whether it is given the session's.
    alike : str
        Another way whose hooks do the same, or more, in a forward and backward.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    logs: bool = False
    knows_scaler: bool = False
    alike: str = ""

    @contextmanager
    def watch(self, session: Session, folder: Path) -> Iterator[Callable[[], None]]:
        """Record a session, and claim that something came of it."""
        more = {"log": folder / "run.actstats"} if self.logs else {}
        more |= {"grad_scaler": session.scaler} if self.knows_scaler else {}
        with ActivationRecorder(session.model, strict=True, **self.options, **more) as recorder:
            yield partial(recorder.step, loss=1.0)
            assert str(recorder.summary())
        assert len(recorder) or recorder.skipped


ALL = {"capture": ("output", "input", "grad")}
RECORDERS = (
    Recorder("defaults"),
    Recorder("all captures", ALL),
    Recorder("plain torch", ALL | {"kernel": "reference"}),
    Recorder("everything", ALL | {"functional": True, "per_call": "*"}, logs=True),
    Recorder("functions", {"functional": True}, alike="everything"),
    Recorder("calls apart", {"per_call": "*"}, alike="everything"),
    Recorder("every second step", ALL | {"every": 2}, alike="all captures"),
    Recorder("windows of one step", {"window": 1}, alike="defaults"),
    Recorder("file", {"window": 1}, logs=True, alike="defaults"),
    Recorder("scaler", ALL, knows_scaler=True),
)


def why_not(net: Net, mode: Mode, recorder: Recorder) -> str | None:
    """Return why a combination makes no sense; None where it does."""
    if mode.needs_blocks and not net.has_blocks:
        return "it has no blocks that could be compiled, or checkpointed, one by one"
    if mode.compiles and not net.is_compiled:
        return "a compiler takes seconds, and sees in these the ops that it sees in the others"
    if "inductor" in mode.name and net.name != "residual":
        return "its code takes a minute to build, and one net tells enough"
    if mode.compiles and recorder.name != "all captures":
        return "the graph is the same for all that see as much"
    if recorder.alike and mode.name != "float32":
        return f"it has the hooks of {recorder.alike!r}"
    if recorder.knows_scaler and not mode.is_scaled:
        return "there is no scale"
    return net.unfit.get(mode.name)


CASES = [
    pytest.param(*case, id=" - ".join(part.name for part in case))
    for case in product(NETS, MODES, RECORDERS)
    if why_not(*case) is None
]


def by_name(table: tuple[Any, ...], name: str) -> Any:
    return next(one for one in table if one.name == name)


@cache
def alone(net: Net, mode: Mode) -> Trace:
    """Return the run that nobody watches; with a fast path, that of hooks that do nothing."""
    return run(net, mode, hooked(lambda *_: None) if net.has_fast_path else unobserved)


def hooked(act: Callable[..., Any]) -> Callable[[Session], Any]:
    """Return an observer that has a plain hook on every module."""

    @contextmanager
    def observe(session: Session) -> Iterator[Callable[[], None]]:
        handles = [module.register_forward_hook(act) for module in session.model.modules()]
        yield lambda: None
        for handle in handles:
            handle.remove()

    return observe


# ---- recorders -----------------------------------------------------------------------------------


@pytest.mark.hostile(54, 58, 59, 107)
@pytest.mark.parametrize(("net", "mode", "recorder"), CASES)
def test_a_recorder_changes_nothing(net, mode, recorder, tmp_path):
    want = alone(net, mode)
    got = run(net, mode, partial(recorder.watch, folder=tmp_path))
    what = f"{net.name}, {mode.name}, {recorder.name}"
    assert_neutral(got, want, what, may_round=mode.may_round)


def test_every_entry_of_the_tables_is_in_some_case():
    used = {part.name for case in CASES for part in case.values}
    assert used == {part.name for table in (NETS, MODES, RECORDERS) for part in table}


def test_what_a_net_is_unfit_for_is_a_mode():
    modes = {mode.name for mode in MODES}
    assert {name for net in NETS for name in net.unfit} <= modes


@pytest.mark.hostile(25)
@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_the_fast_path_of_an_encoder_is_back_after_detach(mode):
    net, mode = by_name(NETS, "encoder"), by_name(MODES, mode)
    want = run(net, mode, unobserved)

    @contextmanager
    def attached_and_detached(session: Session) -> Iterator[Callable[[], None]]:
        ActivationRecorder(session.model).attach().detach()
        yield lambda: None

    assert_neutral(run(net, mode, attached_and_detached), want, "encoder")
    for name, tensor in alone(net, mode).tensors.items():  # where hooks are
        torch.testing.assert_close(tensor, want.tensors[name])


# ---- what does interfere is noticed --------------------------------------------------------------


def times_one(_: nn.Module, __: Any, output: Any) -> Any:
    return output * 1


def in_place(_: nn.Module, __: Any, output: Any) -> None:
    output.mul_(1)


def grad_off(*_: Any) -> None:
    torch.set_grad_enabled(False)


def double_by_default(*_: Any) -> None:
    torch.set_default_dtype(torch.float64)


def deterministic(*_: Any) -> None:
    torch.use_deterministic_algorithms(True)


def autocast_on(*_: Any) -> None:
    torch.set_autocast_enabled("cpu", True)


def samples(*_: Any) -> None:
    torch.randperm(8)


def samples_in_python(*_: Any) -> None:
    random.random()


def samples_in_numpy(*_: Any) -> None:
    np.random.rand()  # noqa: NPY002 - what the harness has to notice


def marks_modules(module: nn.Module, *_: Any) -> None:
    module.seen = True


def counts_in_a_buffer(module: nn.Module, *_: Any) -> None:
    if "calls" not in module._buffers:
        module.register_buffer("calls", torch.zeros(()))


def sets_eval(module: nn.Module, *_: Any) -> None:
    module.eval()


def warns(*_: Any) -> None:
    warnings.warn("an activation is large", UserWarning, stacklevel=1)


def halves_gradients(_: nn.Module, __: Any, output: Any) -> None:
    output.register_hook(lambda grad: grad / 2)


def swaps_class(module: nn.Module, *_: Any) -> None:
    if type(module) is nn.Linear:
        module.__class__ = type("Watched", (nn.Linear,), {})


def hooks_parameters(module: nn.Module, *_: Any) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.register_hook(lambda grad: None)


@contextmanager
def leaves_a_hook(session: Session) -> Iterator[Callable[[], None]]:
    session.model.register_forward_hook(lambda *_: None)
    yield lambda: None


@contextmanager
def hooks_backward(session: Session) -> Iterator[Callable[[], None]]:
    handles = [m.register_full_backward_hook(lambda *_: None) for m in session.model.blocks]
    yield lambda: None
    for handle in handles:
        handle.remove()


@contextmanager
def enters_a_mode(session: Session) -> Iterator[Callable[[], None]]:
    from torch.overrides import BaseTorchFunctionMode

    with BaseTorchFunctionMode():
        yield lambda: None


@contextmanager
def freezes(session: Session) -> Iterator[Callable[[], None]]:
    next(session.model.parameters()).requires_grad_(False)
    yield lambda: None


INTERFERENCE = [
    (times_one, "autograd's graph differ: MulBackward0|node: 'MulBackward0'"),
    (in_place, "autograd's graph|version"),
    (grad_off, "does not require grad"),
    (double_by_default, "dtype: torch.float64, not torch.float32|must have the same dtype"),
    (deterministic, "deterministic: True, not False"),
    (autocast_on, "autocast|bfloat16"),
    (samples, "random numbers differ: torch"),
    (samples_in_python, "random numbers differ: python"),
    (samples_in_numpy, "random numbers differ: numpy"),
    (marks_modules, "modules differ: attributes of .*'seen'"),
    (counts_in_a_buffer, "modules differ: state_dict: .*calls"),
    (sets_eval, "modules differ: module .*False|autograd's graph"),
    (warns, "new warnings .*an activation is large"),
    (halves_gradients, "grad.* not bit-identical"),
    (swaps_class, "modules differ: .*Watched"),
    (hooks_parameters, "modules differ: parameter"),
    (leaves_a_hook, "hooks differ: _forward_hooks: 1, not 0"),
    (hooks_backward, "autograd's graph|node: 'BackwardHookFunction"),
    (enters_a_mode, "function modes: 1, not 0"),
    (freezes, "AccumulateGrad: 15, not 16"),
]


@pytest.fixture
def _as_it_was():
    """Put back what the observers below set for all of the process."""
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    torch.set_autocast_enabled("cpu", False)


@pytest.mark.usefixtures("_as_it_was")
@pytest.mark.parametrize(
    ("act", "noticed"), INTERFERENCE, ids=lambda one: getattr(one, "__name__", "")
)
def test_what_interferes_is_noticed(act, noticed):
    net, mode = by_name(NETS, "residual"), by_name(MODES, "float32")
    want = alone(net, mode)
    observe = act if hasattr(act, "__wrapped__") else hooked(act)  # by contextmanager
    with pytest.raises((AssertionError, RuntimeError), match=noticed):
        assert_neutral(run(net, mode, observe), want, "residual")
