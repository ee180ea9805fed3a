"""The same run twice, observed and not: all that an observer could have changed is compared.

A run is a net, a mode (how its steps are done) and an observer, and is kept as a `Trace`. Values
must be equal to the last bit; so must the shape of autograd's graph, what random generators would
give next, every mode of torch, what hangs on the modules, and the warnings.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from neutral_nets import Net
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from claims import assert_tensors_equal, hook_counts
from surroundings import surroundings

__all__ = ["Mode", "Observer", "Session", "Trace", "assert_neutral", "run", "unobserved"]

STEPS = 3
SEED = 7


@dataclass(frozen=True, eq=False)
class Mode:
    """How the steps of a run are done.

    Parameters
    ----------
    name : str
        For messages.
    step : callable
        Does one step of a session.
    around : callable
        Gives the context that forwards run in.
    prepare : callable
        Takes the new net, and returns what is called in its place.
    is_training : bool
        The net's mode.
    needs_blocks : bool
        Whether ``prepare`` works on ``net.blocks``.
    is_scaled : bool
        Whether the loss is scaled.
    compiles : bool
        Whether a compiler runs.
    may_round : bool
        Whether it may round in another way where a tensor is read.
    """

    name: str
    step: Callable[[Session], None]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    prepare: Callable[[nn.Module], Callable[..., Any]] = lambda net: net
    is_training: bool = True
    needs_blocks: bool = False
    is_scaled: bool = False
    compiles: bool = False
    may_round: bool = False


@dataclass
class Trace:
    """What a run leaves: values to the last bit, and facts."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: set[tuple[str, str]] = field(default_factory=set)


class Session:
    """One run: a new net, how it is called, and what was kept so far."""

    def __init__(self, net: Net, mode: Mode) -> None:
        self.mode = mode
        self.model = net.make().train(mode.is_training)
        self.call = mode.prepare(self.model)
        self.batch = net.batch
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, enabled=mode.is_scaled)
        self.trace = Trace()
        self.number = 0

    def forward(self) -> Tensor:
        """Call the net on a new batch; return the loss."""
        batch = self.batch()
        with self.mode.around():
            output = self.call(*batch)
            loss = loss_of(output)
        self.keep("batch", batch)
        self.keep("output", output)
        self.keep("loss", loss)
        if not self.mode.compiles:
            self.note("autograd's graph", graph_of(loss))
        return loss

    def backward(self, loss: Tensor) -> None:
        """Run backward; keep the gradients, which may add to earlier ones."""
        self.scaler.scale(loss).backward()
        self.keep("grad", {n: p.grad for n, p in self.model.named_parameters()})

    def update(self) -> None:
        """Let the optimizer change the parameters."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def keep(self, name: str, value: Any) -> None:
        """Keep every tensor of a nested value."""
        for path, leaf in tree_flatten_with_path(value)[0]:
            if isinstance(leaf, Tensor):
                place = f"step {self.number}, {name}{keystr(path)}"
                self.trace.tensors[fresh(place, self.trace.tensors)] = leaf.detach().clone()
                kind = kind_of(leaf)
                if self.mode.compiles:
                    del kind["version"], kind["node"]  # how it computes is the compiler's business
                self.note(f"{name}{keystr(path)}", kind)

    def note(self, name: str, fact: Any) -> None:
        """Keep a fact."""
        facts = self.trace.facts
        facts[fresh(f"step {self.number}, {name}", facts)] = fact


def fresh(name: str, known: Container[str]) -> str:
    """Return another name for what comes more than once in a step."""
    return next(one for one in (name + " again" * i for i in range(9)) if one not in known)


Observer = Callable[[Session], AbstractContextManager[Callable[[], None]]]
"""Watches a session; what it gives is called as each step ends."""


@contextmanager
def unobserved(session: Session) -> Iterator[Callable[[], None]]:
    """Watch nothing."""
    yield lambda: None


def run(net: Net, mode: Mode, observe: Observer) -> Trace:
    """Do some steps from the same seed, and keep what an observer could have changed."""
    seed()
    with all_warnings() as warned, one_thread():
        session = Session(net, mode)
        before = surroundings()
        with observe(session) as step_ended:
            for session.number in range(STEPS):
                mode.step(session)
                step_ended()
                session.note("random numbers", random_states())
                session.note("torch's modes", surroundings())
                session.note("modules", anatomy(session.model))
    session.note("modes before", before)
    session.keep("model", dict(session.model.state_dict()))
    session.keep("optimizer", session.optimizer.state_dict()["state"])
    session.note("modules at the end", anatomy(session.model))
    session.note("hooks", hook_counts(session.model))
    session.trace.warnings = {(w.category.__name__, str(w.message)) for w in warned}
    return session.trace


def assert_neutral(got: Trace, want: Trace, what: str, *, may_round: bool = False) -> None:
    """Claim that the first run differs from the other, which was done before it, in nothing.

    Where the mode ``may_round``, values have to be equal within float32's rounding.
    Warnings may be fewer: torch gives some of them as it loads a part of itself.
    """
    for name in {**want.facts, **got.facts}:
        one, other = got.facts.get(name), want.facts.get(name)
        if one != other:
            raise AssertionError(f"{what}: {name} differ: {difference(one, other)}")
    if may_round:
        torch.testing.assert_close(got.tensors, want.tensors)
    else:
        assert_tensors_equal(got.tensors, want.tensors, what)
    assert got.warnings <= want.warnings, f"{what}: new warnings {got.warnings - want.warnings}"


def difference(got: Any, want: Any) -> str:
    """Say where two facts differ."""
    if isinstance(got, dict) and isinstance(want, dict):
        names = [n for n in {**got, **want} if got.get(n) != want.get(n)]
        return ", ".join(f"{n}: {difference(got.get(n), want.get(n))}" for n in names)
    if isinstance(got, list) and isinstance(want, list):
        got, want = [x for x in got if x not in want], [x for x in want if x not in got]
    return f"{short(got)}, not {short(want)}"


def short(value: Any) -> str:
    return repr(value)[:200]


# ---- what is kept --------------------------------------------------------------------------------


def loss_of(output: Any) -> Tensor:
    """Return a number that every floating-point tensor of an output has a part in."""
    found = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    floats = [leaf.float() for leaf in found if leaf.is_floating_point()]
    return torch.stack([x.square().mean() * (i + 1) for i, x in enumerate(floats)]).sum()


def kind_of(tensor: Tensor) -> dict[str, Any]:
    """Return what a tensor is beside its values."""
    return {
        "type": type(tensor).__name__,
        "dtype": tensor.dtype,
        "strides": tensor.stride(),
        "gradient": tensor.requires_grad,
        "leaf": tensor.is_leaf,
        "inference": tensor.is_inference(),
        "version": None if tensor.is_inference() else tensor._version,
        "node": None if tensor.grad_fn is None else tensor.grad_fn.name(),
    }


def graph_of(loss: Tensor) -> dict[str, int]:
    """Count the nodes of autograd's graph by kind."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return dict(Counter(node.name() for node in seen))


def random_states() -> dict[str, Any]:
    """Return where torch's, Python's and NumPy's generators stand."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002 - users use the global generator
    }


def anatomy(model: nn.Module) -> dict[str, Any]:
    """Return what hangs on each module, and what each parameter is."""
    parts: dict[str, Any] = {"state_dict": list(model.state_dict())}
    for name, module in model.named_modules():
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        parts[f"module {name}"] = kind, module.training
        parts[f"attributes of {name}"] = list(vars(module))
    for name, parameter in model.named_parameters():
        hooks = parameter._backward_hooks, parameter._post_accumulate_grad_hooks
        parts[f"parameter {name}"] = type(parameter), parameter.requires_grad, hooks
    return parts


def seed() -> None:
    """Begin with the same random numbers, for all who draw any."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    torch.manual_seed(SEED)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone: these nets are too small to be worth a start."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def all_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect warnings, those that torch gives once in a process too."""
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield warned
    finally:
        torch.set_warn_always(always)
