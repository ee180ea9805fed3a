"""ActivationRecorder: hooks in, statistics out."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.hooks import RemovableHandle

from actstats import activations, arguments, kernels
from actstats._torch import compiled_as_they_are, has_forward_hooks, run_by_others_code
from actstats.custom import Statistic
from actstats.functional import FunctionalMode
from actstats.hooks import Slot, register
from actstats.liveness import PATIENCE, Liveness
from actstats.metadata import about
from actstats.packing import unpack_window
from actstats.recording import (
    Recording,
    Scalar,
    Window,
    default_phase,
)
from actstats.run import Run
from actstats.shared import Options, Shared, logger
from actstats.sites import (
    Site,
    close_matches,
    join_key,
    matches,
    named_sites,
    reading_key,
    selected,
    site_order,
    split_key,
)
from actstats.stats import FIGURES, TensorStats
from actstats.summary import Summary
from actstats.text import listed

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from actstats.log.live import Log

__all__ = ["ActivationRecorder"]

_READ_BY_OTHERS = (NonDynamicallyQuantizableLinear,)  # nn.MultiheadAttention's `out_proj`

Kind = Literal["output", "input", "grad"]


class ActivationRecorder(Mapping[str, TensorStats]):
    r"""Record exact statistics of a model's activations and gradients.

    The recorder changes no result: it reads each tensor at once, keeps none, and leaves nothing
    on the model but hooks, which :meth:`detach` removes. It is a mapping from site to
    :class:`TensorStats`; ``recorder["act3"]`` is that module's output, ``recorder["fc3:grad"]``
    (or ``recorder["fc3", "grad"]``) the gradient with respect to it, ``recorder["fc1:input"]``
    what goes in. Reading includes the open window.

    Tensors inside tuples, lists, dicts, dataclasses and packed sequences are sites by their path
    (``name[1][0]``), complex ones by ``name['real']`` and ``name['imag']``. Nested, sparse and
    quantised tensors are read as the numbers that they stand for. Integers, and what else cannot
    be read, are counted in :attr:`skipped` with the reason.

    Hooks run in the order in which they were registered: where one of yours changes an output,
    attach the recorder after it, to see what the next module receives. Modules that run inside a
    backward are taken for the recompute of a checkpoint and not counted, a forward called by your
    own gradient hook too.

    Parameters
    ----------
    model : Module or mapping of str to Module
        What to observe; held weakly. Of a mapping, the first module's mode tells train from
        eval, and where none contains another, forwards (calls, masks) end with :meth:`step`.
    include, exclude : str, type, callable or list of them, optional
        A glob on the module name, a module class, or a predicate ``(name, module) -> bool``.
        Default: modules that compute something themselves (no children, or own parameters).
    capture : str or sequence of {"output", "input", "grad"}, default ("output",)
        Which tensors; ``"grad"`` is the gradient of the loss with respect to outputs.
    functional : bool, default False
        Also observe ``F.relu``, ``torch.tanh`` and the like called inside a forward, as sites
        such as ``block.relu()``; not those inside ``torch.compile``.
    every : int, default 1
        Observe each n-th step.
    window : int, optional
        Steps per window, all kept. None bounds memory: windows begin at one observed step, and
        neighbours merge pairwise each time there are more than 64 of a phase.
    log : str or path, optional
        A file that every closed window goes to, safe from the end of the process, to be read by
        :func:`actstats.load` also while the run goes on. With ``window`` a number, windows lie in
        the file only. An existing file is gone on with, after its last step. What happens to the
        file (no space, removed) never stops the run: windows wait in memory, it is said once, and
        tried again.
    resolution : int or mapping of str to int, default 3
        k of the histogram, 0 to 7, or by site pattern: relative bin width 2**-k.
    edges : mapping of str to (bins, low, high) or edges, optional
        By site pattern: edges of a linear histogram that is kept exactly.
    saturation_slope : float, default 0.05
        In (0, 1). A value is saturated where the activation's slope is below this share of its
        maximum; 0.05 is \|tanh\| > 0.975.
    per_call : str or sequence of str, optional
        Patterns of modules whose calls within a forward are kept apart, as ``name#1`` ...
        ``name#8`` and ``name#9+``.
    outside : bool, default True
        Also observe calls that the model's own forward does not make: ``net.encoder(x)``, or
        another model that shares a module. False counts them as skipped.
    grad_scaler : GradScaler, optional
        Gradients are divided by its scale before they are recorded. A number may be set as
        ``recorder.grad_scale`` before backward instead.
    statistics : Statistic, list of these or mapping of str to these, optional
        Statistics of your own (:mod:`actstats.statistics`), of all outputs or by site pattern;
        the first pattern that matches wins.
    budget : int, default 256 MiB
        Bytes for all state and windows together. What does not fit is dropped in a fixed order
        (units of old windows, then histogram resolution, never counts or moments) and
        :meth:`summary` says so.
    kernel : {"reference", "cpu", "cuda"}, optional
        Force one implementation: plain torch, numba, Triton. None: the fastest that runs here for
        the tensor's device; :meth:`summary` says which ran.
    strict : bool, default False
        Raise errors of the recorder's own instead of logging them and turning the site off.

    Raises
    ------
    ValueError
        If an argument is not as described, or nothing is left to observe.
    RuntimeError
        If the kernel asked for cannot run here.
    RecordingFileError
        If ``log`` is a file that is no recording, or damaged.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1, activation="relu")
    >>> recorder = ActivationRecorder(net)
    >>> with recorder:
    ...     for _ in range(3):
    ...         loss = net(torch.ones(64, 2)).square().mean()
    ...         recorder.step(loss=loss.item())
    >>> recorder["act1"].count
    1536
    >>> [window.last_step for window in recorder.recording.windows]
    [0, 1, 2]
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        *,
        include: Any = None,
        exclude: Any = None,
        capture: Kind | Sequence[Kind] = ("output",),
        functional: bool = False,
        every: int = 1,
        window: int | None = None,
        log: str | os.PathLike[str] | None = None,
        resolution: int | Mapping[str, int] = 3,
        edges: Mapping[str, Any] | None = None,
        saturation_slope: float = 0.05,
        per_call: str | Sequence[str] | None = None,
        outside: bool = True,
        grad_scaler: Any = None,
        statistics: Statistic | Sequence[Statistic] | Mapping[str, Any] | None = None,
        budget: int = 256 * 2**20,
        kernel: str | None = None,
        strict: bool = False,
    ) -> None:
        every = arguments.positive("every", every)
        window = None if window is None else arguments.positive("window", window)
        budget = arguments.positive("budget", budget)
        self._functional = bool(functional)
        options = Options(
            capture=arguments.capture(capture),
            resolution=arguments.resolutions(resolution),
            edges=arguments.edges(edges),
            per_call=arguments.patterns("per_call", per_call),
            saturation_slope=arguments.share("saturation_slope", saturation_slope),
            strict=strict,
            statistics=arguments.statistics(statistics),
            outside=bool(outside),
        )
        self._shared = Shared(options, None if kernel is None else kernels.choose(kernel))
        self._shared.grad_scale = arguments.grad_scale(grad_scaler)
        self._entered = 0
        self._choose_modules(model, include, exclude)
        if not (outside or self._shared.delimited):
            raise ValueError(
                "`outside=False` needs a module that tells where forwards begin: give a model, or "
                "a mapping in which one module contains the others."
            )
        self._handles: list[RemovableHandle] = []
        self._unseen: dict[Slot, int] = {}  # compiled before the hooks came; calls until then
        self._shadowed: dict[str, None] = {}  # run by code that was compiled for an equal model
        self._run = Run(
            self._shared, every=every, fixed=window, budget=budget, log=_opened(log, budget)
        )
        self._run.metadata = about(model, summary=log is not None)
        self._run.describe = partial(_described, weakref.ref(self))
        self._finalizer = weakref.finalize(self, _end, self._handles, self._shared, self._run)

    def _choose_modules(self, model: Any, include: Any, exclude: Any) -> None:
        if not isinstance(model, nn.Module | Mapping):
            raise ValueError(
                "`model` must be a torch.nn.Module or a mapping of names to modules; "
                f"got {type(model).__name__}."
            )
        modules, self._aliases = named_sites(model)
        trees = model if isinstance(model, Mapping) else {"": model}
        self._trees = [(name, weakref.ref(tree)) for name, tree in trees.items()]
        if isinstance(model, Mapping):
            observed = selected(modules, "*" if include is None else include, exclude)
        else:
            observed = selected(modules, include, exclude)
        root = next(iter(modules.values()))  # what torch.compile, DDP and the like wrap
        scripted = [n for n, m in observed.items() if isinstance(m, torch.jit.ScriptModule)]
        for name in scripted:
            self._shared.off[name] = "scripted modules take no hooks"
            del observed[name]
        self._shared.root = weakref.ref(root)
        self._whole = isinstance(model, nn.Module)
        self._liveness = Liveness(modules, include, exclude)
        self._modules: list[tuple[weakref.ref[nn.Module], Slot, bool, bool]] = []
        for order, (name, module) in enumerate(modules.items()):
            is_observed = name in observed
            delimits = self._delimits(module, root, modules, isinstance(model, Mapping))
            if is_observed or delimits:
                slot = self._make_slot(name, order, module)
                self._shared.delimited |= delimits
                self._modules.append((weakref.ref(module), slot, is_observed, delimits))
                if is_observed:
                    self._shared.slots.append(slot)

    def _delimits(
        self, module: nn.Module, root: nn.Module, modules: Mapping[str, nn.Module], mapped: bool
    ) -> bool:
        """Tell whether forwards begin and end with this module."""
        if isinstance(module, torch.jit.ScriptModule):
            return False
        if self._functional or not mapped:
            return self._functional or module is root
        inside = {id(m) for m in module.modules()} - {id(module)}
        return any(id(m) in inside for m in modules.values())

    def _make_slot(self, name: str, order: int, module: nn.Module) -> Slot:
        activation = activations.activation_of(module)
        reason = "" if activation is not None else activations.why_not(module)
        kind = getattr(module, "cls_to_become", None) or type(module)  # of lazy modules
        return Slot(self._shared, name, order, kind.__name__, activation, reason)

    # ---- life cycle ----------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self._handles)

    def attach(self) -> ActivationRecorder:
        """Put the hooks in place; nothing happens if they are. Return the recorder."""
        if self.attached:
            return self
        shared = self._shared
        shared.make_mode = FunctionalMode if self._functional else None
        shared.hooked = True
        root = shared.root()
        self._unseen = {slot: slot.calls for slot in self._compiled_before()}
        if self._unseen:
            logger.warning("%s", self._unseen_note())
        for reference, slot, observed, delimits in self._modules:
            module = reference()
            if module is None and root is not None:
                continue  # it was taken out of the model
            if module is None:
                self.detach()
                raise RuntimeError("the model is gone: keep a reference to it while recording.")
            deep = "input" in shared.options.capture
            self._handles += register(
                module,
                slot,
                observed=observed,
                delimits=delimits,
                is_root=module is root,
                deep=deep,
            )
        for watch in self._run.updates.watches:
            self._handles += watch.register()
        return self

    def _compiled_before(self) -> Iterator[Slot]:
        """Yield modules that were compiled without the hooks they are about to get."""
        hookless = {id(module): slot for module, slot in self._hookless()}
        trees = [reference() for reference, *_ in self._modules]
        modules = {id(m): m for tree in trees if tree is not None for m in tree.modules()}
        for module, whole in compiled_as_they_are(modules.values()):
            for inner in module.modules():
                if id(inner) in hookless and (whole or inner is not module):
                    yield hookless[id(inner)]

    def _hookless(self) -> Iterator[tuple[nn.Module, Slot]]:
        return (
            (module, slot) for module, slot in self._observed() if not has_forward_hooks(module)
        )

    def _observed(self) -> Iterator[tuple[nn.Module, Slot]]:
        for reference, slot, observed, _ in self._modules:
            module = reference()
            if module is not None and observed:
                yield module, slot

    def _unseen_note(self) -> str:
        """Say which modules run without their hooks, and what to do; empty if none does."""
        names = [slot.name for slot, calls in self._unseen.items() if slot.calls == calls]
        if not names:
            return ""
        return (
            f"not seen, since compiled before the recorder was attached: {listed(names)}; "
            "attach before the first call, or call torch.compiler.reset() after attaching"
        )

    def _shadowed_note(self) -> str:
        """Say which modules ran without their hooks for an equal one's sake; empty if none did."""
        if not self._shadowed:
            return ""
        return (
            "seen only in part, since torch runs what it compiled for an equal model without a "
            f"recorder: {listed(list(self._shadowed))}; set torch._dynamo.config."
            "skip_nnmodule_hook_guards = False before the first call, or record both models"
        )

    def _new_note(self) -> str:
        """Say which modules came after the recorder, and what to do; empty if none did."""
        names = self._liveness.newcomers(self._shared.root() if self._whole else None)
        if not names:
            return ""
        return (
            "not seen, since put into the model after the recorder was made: "
            f"{listed(names)}; make a new recorder to see them"
        )

    def _silent_note(self) -> str:
        """Say which modules with parameters were never called so far; empty if that is known."""
        if self._liveness.is_patient(self._run.every):
            return ""
        known = {slot.name for slot in self._unseen} | set(self._read_by_others())
        silent = self._uncalled().items()
        names = [name for name, use in silent if use != "none" and name not in known]
        return f"never called in {PATIENCE} steps or more: {listed(names)}" if names else ""

    def _look(self) -> None:
        """Say once, in the log, what is not seen."""
        self._find_shadowed()
        for note in (self._shadowed_note(), self._new_note(), self._silent_note()):
            if note and self._liveness.is_unsaid(note):
                logger.warning("%s", note)

    def _find_shadowed(self) -> None:
        """Look for modules that code runs which was compiled for an equal module without hooks."""
        is_eager = not self._shared.replayed and any(slot.calls for slot in self._shared.slots)
        if is_eager or not self.attached:
            return
        names = {id(m): slot.name for m, slot in self._observed() if slot not in self._unseen}
        roots = [reference() for reference, *_ in self._modules]
        trees = {id(m): m for root in roots if root is not None for m in root.modules()}
        for module in run_by_others_code(trees.values()):
            self._shadowed |= {names[id(m)]: None for m in module.modules() if id(m) in names}

    def detach(self) -> None:
        """Remove every hook; what was recorded stays. May be called twice.

        With ``log`` the open window closes, and the file is left whole; attached again, the
        recorder goes on in it.
        """
        _remove_all(self._handles, self._shared)
        self._run.finish()

    def __enter__(self) -> ActivationRecorder:
        self._entered += 1
        return self.attach()

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        if not self._entered:
            self.detach()

    def watch(self, optimizer: Optimizer, *, every: int = 10) -> ActivationRecorder:
        """Record how far the steps of an optimizer move the weights; return the recorder.

        Each window then has a scalar ``update_ratio/<parameter>`` for every matrix and kernel: the
        rms of the update over the weight's, by which :func:`actstats.diagnose` judges the
        learning rate. The hooks on the optimizer come and go with those on the model. They change
        no step, and wait for no device.

        Parameters
        ----------
        optimizer : Optimizer
            Of torch, or one that wraps such a one as its ``optimizer``; held weakly.
        every : int, default 10
            Steps of the optimizer between two that are measured, beginning with the first. One
            that is measured costs a copy of the watched weights, in memory too, and three passes
            over them.

        Raises
        ------
        TypeError
            If it is no torch optimizer.
        ValueError
            If it is watched already, or holds no parameter of the model.

        Notes
        -----
        Not measured: steps that a gradient scaler leaves out, parameters without a gradient,
        a step that is itself compiled, and weights of which other ranks have other parts. Of
        those the notes of :meth:`summary` tell the last two.

        Examples
        --------
        >>> import torch
        >>> from actstats import ActivationRecorder, make_mlp
        >>> net = make_mlp(2, [8], 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with ActivationRecorder(net).watch(optimizer) as recorder:
        ...     net(torch.ones(64, 2)).square().mean().backward()
        ...     optimizer.step()
        ...     recorder.step()
        >>> list(recorder.latest.scalars)
        ['update_ratio/fc1.weight', 'update_ratio/out.weight']
        """
        every = arguments.positive("every", every)
        watch = self._run.updates.add(optimizer, self._trees, self._shared, every)
        if self.attached:
            self._handles += watch.register()
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the hooks for a while, really: export, whole-model saves, fused fast paths.

        For all threads; best while none of them runs the model.
        """
        was_attached = self.attached
        _remove_all(self._handles, self._shared)
        try:
            yield
        finally:
            if was_attached:
                self.attach()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Record forwards, of all threads, under a phase of this name instead of train or eval."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"`name` must be a non-empty string; got {name!r}.")
        before, self._shared.phase = self._shared.phase, name
        try:
            yield
        finally:
            self._shared.phase = before

    def mask(self, samples: Tensor) -> None:
        """Leave samples out of the calling thread's next forward: padding tokens, say.

        Parameters
        ----------
        samples : Tensor of bool, shape (batch,) or (batch, length)
            True leaves the sample out, as in ``key_padding_mask``; a mask of tokens to attend
            to is ``attention_mask == 0``. Its axes are the first axes of the observed tensors
            beside the units'; a tensor that they do not fit is taken whole, and counted in
            :attr:`skipped`.

        Raises
        ------
        ValueError
            If it is not a bool tensor.
        """
        if not isinstance(samples, Tensor) or samples.dtype != torch.bool or samples.dim() == 0:
            got = f"{samples.dtype}" if isinstance(samples, Tensor) else type(samples).__name__
            raise ValueError(
                "`samples` must be a bool tensor, True where a sample is left out "
                f"(for an attention mask: `attention_mask == 0`); got {got}."
            )
        keep = (~samples.detach()).flatten().nonzero().flatten()
        self._shared.set_mask((tuple(samples.shape), keep))

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the run, to add to: versions, the model, torch's seed.

        Numbers, strings, lists and mappings of these; they go to :attr:`recording` and the file:
        ``recorder.metadata["learning_rate"] = 0.03``.
        """
        return self._run.metadata

    @property
    def grad_scale(self) -> Any:
        """Scale (a number or a GradScaler) that gradients are divided by before recording."""
        return self._shared.grad_scale

    @grad_scale.setter
    def grad_scale(self, scale: Any) -> None:
        self._shared.grad_scale = arguments.grad_scale(scale)

    # ---- steps and windows -----------------------------------------------------------------------

    def step(self, step: int | None = None, **scalars: float) -> None:
        """Close a step, and the window if it is full.

        Parameters
        ----------
        step : int, optional
            Number of the step that ends here; None counts on from the last.
        **scalars : float
            Numbers to keep beside it: ``loss=loss.item()``.

        Raises
        ------
        ValueError
            If ``step`` goes backwards or a scalar is no number.
        """
        given = {name: Scalar.of(arguments.number(name, value)) for name, value in scalars.items()}
        self._run.end_step(given, step)
        if self._liveness.is_due():
            self._look()

    def on_window(self, listener: Callable[[Window], None]) -> Callable[[], None]:
        """Call a function with each window that closes from now on, inside :meth:`step`.

        Parameters
        ----------
        listener : callable
            ``listener(window)``. What it raises comes out of :meth:`step`, whose work is done
            by then.

        Returns
        -------
        callable
            Call it to stop.
        """
        listeners = self._run.listeners
        with self._shared.ending:
            listeners.append(listener)
            self._run.watch()

        def stop() -> None:
            with self._shared.ending:
                if listener in listeners:
                    listeners.remove(listener)
                self._run.watch()

        return stop

    @property
    def nbytes(self) -> int:
        """Memory of hot state and closed windows together, in bytes."""
        return self._shared.nbytes + self._run.windows.nbytes

    # ---- reading ---------------------------------------------------------------------------------

    @property
    def recording(self) -> Recording:
        """All that was recorded, the open window included, without the model."""
        return self.recording_of(self._run.all_windows())

    def recording_of(self, windows: Iterable[Window]) -> Recording:
        """Return some windows with what is known of the model's sites; nothing is copied."""
        return Recording(windows, self._run.sites(), self._notes(), self._uncalled(), self.metadata)

    @property
    def figure_names(self) -> tuple[str, ...]:
        """Names of all figures: ``actstats.stats.FIGURES``, then those of the user's own."""
        own = chain.from_iterable(self._shared.options.statistics.values())
        names = (name for statistic in own for name in statistic.figure_names)
        return tuple(dict.fromkeys((*FIGURES, *names)))

    @property
    def latest(self) -> Window | None:
        """The last closed window (train's, if several phases closed together), or None."""
        return self._run.windows.latest

    @property
    def open_step(self) -> int:
        """Number of the step that the next :meth:`step` closes, unless it is given another."""
        return self._run.step

    @property
    def open_windows(self) -> tuple[Window, ...]:
        """What the open window holds so far, by phase."""
        return tuple(window for window in self._run.open_windows() if len(window))

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site: those seen, and observed modules not called yet."""
        known = self._run.sites()
        silent = [
            Site(slot.name, order=slot.order)
            for slot in self._shared.slots
            if not slot.is_seen and "output" in self._shared.options.capture
        ]
        every = sorted((*known.values(), *silent), key=site_order)
        return tuple(dict.fromkeys(site.key for site in every))

    def __getitem__(self, key: str | tuple[str, str]) -> TensorStats:
        name, kind = split_key(reading_key(key, self))
        site = join_key((self._resolve(name), kind))
        parts = self._run.parts(site)
        if parts:
            phase = default_phase(seen for seen, _ in parts)
            return sum((s for seen, s in parts if seen == phase), start=TensorStats.empty())
        if any(self._resolve(name) == slot.name for slot in self._shared.slots):
            raise KeyError(self._why_absent(site, kind))
        raise KeyError(f"no site {site!r} is recorded{close_matches(site, self.sites)}")

    def _resolve(self, name: str) -> str:
        """Return the canonical name of an alias, its leaf kept."""
        end = next((i for i, c in enumerate(name) if c in "[#"), len(name))
        whole = self._aliases.get(name)
        return whole or self._aliases.get(name[:end], name[:end]) + name[end:]

    def _why_absent(self, site: str, kind: str) -> str:
        if kind not in self._shared.options.capture:
            return f"{site!r} is not recorded: add {kind!r} to `capture`."
        name = split_key(site)[0]
        apart = [key for key in self if matches(site, key) and key != site]
        if apart:
            return f"{site!r} was seen as several sites: ask for one of {apart}."
        if name in self._shared.off:
            return f"{site!r} was turned off: {self._shared.off[name]}"
        return f"nothing was seen at {site!r} yet."

    def __iter__(self) -> Iterator[str]:
        known = self._run.sites()
        return iter(sorted(known, key=lambda key: site_order(known[key])))

    def __len__(self) -> int:
        return len(self._run.sites())

    def __bool__(self) -> bool:
        return True

    def select(self, **choice: Any) -> Recording:
        """Return part of the recording; see :meth:`Recording.select`."""
        return self.recording.select(**choice)

    def never_called(self) -> tuple[str, ...]:
        """Return observed modules whose forward has not run: used functionally, or dead code.

        After 8 observed steps the recorder logs those that have parameters, once.
        """
        return tuple(slot.name for slot in self._shared.slots if not slot.calls)

    def _read_by_others(self) -> Iterator[str]:
        """Return modules whose parameters others use, as torch made them: they are never called."""
        return (slot.name for m, slot in self._observed() if isinstance(m, _READ_BY_OTHERS))

    def _uncalled(self) -> dict[str, str]:
        """Return modules that were not called, with what is known of their parameters."""
        silent = [(m, slot.name) for m, slot in self._observed() if not slot.calls]
        root = self._shared.root()
        if not silent or root is None:
            return {}
        trained = any(p.grad is not None for p in root.parameters())
        return {name: _use_of_parameters(module, trained) for module, name in silent}

    @property
    def skipped(self) -> dict[tuple[str, str], int]:
        """How often something could not be observed, by ``(site, reason)``."""
        return dict(self._shared.skipped)

    def summary(self) -> Summary:
        """Return a table of every site with what was dropped, skipped or never called."""
        self._find_shadowed()
        ran = {leaf.kernel.NAME for _, leaf in self._shared.leaves()}
        return Summary(self.recording, kernel=", ".join(sorted(ran)) or "none has run")

    def _notes(self) -> tuple[str, ...]:
        off = dict(self._shared.off)
        notes = [f"turned off: {name} ({reason})" for name, reason in off.items()]
        notes += filter(None, [self._unseen_note(), self._shadowed_note(), self._new_note()])
        if self._shared.forked:
            notes.append("nothing is recorded in a process forked from the one that records")
        silent = self.never_called()
        if silent:
            notes.append(f"never called: {', '.join(silent)}")
        notes += [
            f"skipped {count} x {site}: {reason}" for (site, reason), count in self.skipped.items()
        ]
        if self._shared.steps:
            notes += [f"no step of the watched {o} was seen" for o in self._run.updates.unseen()]
        notes += [f"no site matches the pattern {pattern!r}" for pattern in self._idle_patterns()]
        dropped = self._run.windows.dropped
        if dropped:
            notes.append(f"dropped to fit {self._run.budget} bytes: {', '.join(dropped)}")
        log = self._run.log
        if log is not None and log.trouble:
            notes.append(f"{len(log.pending)} windows are not in {log.path.name}: {log.trouble}")
        return tuple(notes)

    def _idle_patterns(self) -> Iterator[str]:
        """Yield patterns of the user's that match no site seen so far."""
        options, sites = self._shared.options, list(self._run.sites())
        given = (options.edges, options.resolution, options.per_call, options.statistics)
        for pattern in dict.fromkeys(chain.from_iterable(given)):
            wild = split_key(pattern)[0] == "*"
            if sites and not wild and not any(matches(pattern, site) for site in sites):
                yield pattern

    def merge_ranks(self, group: Any = None, timeout: float | timedelta = 60.0) -> Recording:
        """Return what all ranks of a process group recorded, as one; every rank has to call it.

        What one process would have recorded that had seen every rank's batches: counts and bins
        are identical, moments agree within rounding. All ranks get the same, bit for bit, and
        nothing changes here. Windows are merged as :func:`actstats.merge` does, in the order of
        ranks; a scalar's ``last`` is the last rank's.

        Parameters
        ----------
        group : ProcessGroup, optional
            None: all ranks. What travels goes by the group's device.
        timeout : float or timedelta, default 60
            Seconds from this call until which all ranks have to come, and the merge to end.

        Raises
        ------
        TimeoutError
            If a rank does not come; it is named.
        ConnectionError
            If a rank dies, hangs or fails in the middle; it is named.
        RuntimeError
            If there is no process group.
        ValueError
            If ``group`` is not this rank's, ``timeout`` is no positive number, or ranks recorded
            a site with unequal activations, saturation slopes or edges.
        """
        from actstats.distributed import merge_ranks  # here: few runs have ranks

        return merge_ranks(self, group, timeout)

    # ---- resuming --------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget everything recorded; the hooks stay as they are."""
        shared = self._shared
        with shared.ending, shared.lock:
            for slot in shared.slots:
                slot.forget()
                shared.off.pop(slot.name, None)
            shared.skipped.clear()
            shared.coarsest = 7
            self._liveness.steps = 0
            self._run.forget()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as numbers, strings and tensors.

        ``torch.load(..., weights_only=True)`` reads it back.
        """
        return {
            "version": 1,
            "modules": self._module_names(),
            "edges": {k: list(v) for k, v in self._shared.options.edges.items()},
            "saturation_slope": self._shared.options.saturation_slope,
            "calls": {slot.name: slot.calls for slot in self._shared.slots},
            "skipped": [[*key, count] for key, count in self.skipped.items()],
            **self._run.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; what was recorded here before is forgotten.

        Raises
        ------
        ValueError
            If the state is not one, or is of a recorder of other modules, edges or threshold;
            then nothing changes.
        """
        self._check_state(state)
        closed = [unpack_window(packed) for packed in state["closed"]]
        carried = [unpack_window(packed) for packed in state["open"]]
        shared = self._shared
        with shared.ending, shared.lock:
            self.reset()
            self._run.resume(state, closed, carried)
            for slot in shared.slots:
                slot.calls = state["calls"].get(slot.name, 0)
            shared.seek()
            shared.skipped.update({(site, why): n for site, why, n in state["skipped"]})

    def _module_names(self) -> list[str]:
        return [slot.name for _, slot, observed, _ in self._modules if observed]

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse what is not a state of a recorder like this one."""
        if not isinstance(state, Mapping) or state.get("version") != 1:
            got = state.get("version") if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"`state` must be what `state_dict` gave, version 1; got {got!r}.")
        own = self.state_dict()
        absent = own.keys() - state.keys()
        if absent:
            raise ValueError(f"`state` is incomplete: {sorted(absent)} are missing.")
        for name in ("modules", "edges", "saturation_slope"):
            if state[name] != own[name]:
                raise ValueError(
                    f"`state` is of a recorder with other {name}: {state[name]!r}; "
                    f"this one has {own[name]!r}."
                )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __repr__(self) -> str:
        state = "attached" if self.attached else "detached"
        return (
            f"ActivationRecorder({len(self._shared.slots)} modules, "
            f"capture={'+'.join(sorted(self._shared.options.capture))}, "
            f"{state}, step {self._run.step}, {len(self._run.windows)} windows)"
        )


def _use_of_parameters(module: nn.Module, trained: bool) -> str:
    own = list(module.parameters(recurse=False))
    if not own:
        return "none"
    if any(p.grad is not None for p in own) or isinstance(module, _READ_BY_OTHERS):
        return "used"
    return "unused" if trained and any(p.requires_grad for p in own) else "unknown"


def _opened(log: str | os.PathLike[str] | None, budget: int) -> Log | None:
    if log is None:
        return None
    from actstats.log.live import Log  # here, so that SQLite stays out where nothing is written

    return Log(log, budget)


def _described(recorder: Callable[[], ActivationRecorder | None]) -> dict[str, Any]:
    """Return what a recorder knows beside its windows; nothing once it is gone."""
    alive = recorder()
    if alive is None:
        return {}
    return {"notes": list(alive._notes()), "never_called": alive._uncalled()}


def _remove_all(handles: list[RemovableHandle], shared: Shared) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()
    shared.hooked = False
    shared.forward.end()


def _end(handles: list[RemovableHandle], shared: Shared, run: Run) -> None:
    """Leave nothing behind, neither hooks nor a file half written."""
    _remove_all(handles, shared)
    run.finish()
