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

from actstats import arguments, kernels
from actstats.attachment import Attachment
from actstats.custom import Statistic
from actstats.functional import FunctionalMode
from actstats.liveness import Liveness
from actstats.metadata import about
from actstats.notes import notes
from actstats.recording import Recording, Scalar, Window, default_phase
from actstats.resuming import resume, state_of
from actstats.run import Run
from actstats.shared import Options, Shared
from actstats.sites import (
    Site,
    close_matches,
    join_key,
    matches,
    reading_key,
    site_order,
    split_key,
)
from actstats.stats import FIGURES, TensorStats
from actstats.summary import Summary
from actstats.targets import Targets

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from actstats.log.live import Log

__all__ = ["ActivationRecorder"]

Captured = Literal["output", "input", "grad"]


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
        capture: Captured | Sequence[Captured] = ("output",),
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
        self._shared.make_mode = FunctionalMode if functional else None
        self._targets = Targets(
            model, include, exclude, functional=bool(functional), shared=self._shared
        )
        if not (outside or self._shared.delimited):
            raise ValueError(
                "`outside=False` needs a module that tells where forwards begin: give a model, or "
                "a mapping in which one module contains the others."
            )
        self._liveness = Liveness(self._targets, self._shared, every)
        self._run = Run(
            self._shared, every=every, fixed=window, budget=budget, log=_opened(log, budget)
        )
        self._run.metadata = about(model, summary=log is not None)
        self._run.describe = partial(_described, weakref.ref(self))
        self._hooks = Attachment(self._targets, self._shared, self._run.updates, self._liveness)
        self._finalizer = weakref.finalize(self, _end, self._hooks, self._run)

    # ---- life cycle ----------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self._hooks)

    def attach(self) -> ActivationRecorder:
        """Put the hooks in place; nothing happens if they are. Return the recorder."""
        if not self.attached:
            try:
                self._hooks.put()
            except BaseException:
                self.detach()
                raise
        return self

    def detach(self) -> None:
        """Remove every hook; what was recorded stays. May be called twice.

        With ``log`` the open window closes, and the file is left whole; attached again, the
        recorder goes on in it.
        """
        self._hooks.remove()
        self._run.finish()

    def __enter__(self) -> ActivationRecorder:
        self.attach()
        self._entered += 1
        return self

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
        watch = self._run.updates.add(optimizer, self._targets.trees, self._shared, every)
        if self.attached:
            self._hooks.handles += watch.register()
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the hooks for a while, really: export, whole-model saves, fused fast paths.

        For all threads; best while none of them runs the model.
        """
        was_attached = self.attached
        self._hooks.remove()
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
        self._run.end_step(_scalars(scalars), step)
        self._liveness.after_step()

    def add_scalars(self, **scalars: float) -> None:
        """Keep numbers beside the open window, as :meth:`step` does, without closing a step.

        For what is known between two steps: ``recorder.add_scalars(val_loss=...)`` after an
        evaluation, which belongs to the open window as well. A window in which nothing is observed
        any more is none, and its numbers are lost with it.

        Parameters
        ----------
        **scalars : float
            By name.

        Raises
        ------
        ValueError
            If one is no number.
        """
        self._run.add_scalars(_scalars(scalars))

    def close_window(self) -> None:
        """Close the open window though it is not full; the next begins with the open step.

        For a boundary in time that windows are not to reach over: an epoch, another learning rate.
        In the middle of a step both hold that step, each what it saw of it.
        Nothing happens where nothing was observed since the last window.
        """
        self._run.close_early()

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
        sites, uncalled = self._run.sites(), self._liveness.uncalled()
        return Recording(windows, sites, self._notes(), uncalled, self.metadata)

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
        site = join_key((self._targets.resolve(name), kind))
        parts = self._run.parts(site)
        if parts:
            phase = default_phase(seen for seen, _ in parts)
            return sum((s for seen, s in parts if seen == phase), start=TensorStats.empty())
        if any(self._targets.resolve(name) == slot.name for slot in self._shared.slots):
            raise KeyError(self._why_absent(site, kind))
        raise KeyError(f"no site {site!r} is recorded{close_matches(site, self.sites)}")

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
        return self._liveness.never_called()

    @property
    def skipped(self) -> dict[tuple[str, str], int]:
        """How often something could not be observed, by ``(site, reason)``."""
        return dict(self._shared.skipped)

    def summary(self) -> Summary:
        """Return a table of every site with what was dropped, skipped or never called."""
        self._liveness.find_shadowed()
        ran = {leaf.kernel.NAME for _, leaf in self._shared.leaves()}
        return Summary(self.recording, kernel=", ".join(sorted(ran)) or "none has run")

    def _notes(self) -> tuple[str, ...]:
        return tuple(notes(self._shared, self._run, self._liveness))

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
            self._liveness.forget()
            for slot in shared.slots:
                slot.forget()
                shared.off.pop(slot.name, None)
            shared.skipped.clear()
            shared.coarsest = 7
            self._run.forget()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as numbers, strings and tensors.

        ``torch.load(..., weights_only=True)`` reads it back.
        """
        return state_of(self._shared, self._run, self._targets)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; what was recorded here before is forgotten.

        Raises
        ------
        ValueError
            If the state is not one, or is of a recorder of other modules, edges or threshold;
            then nothing changes.
        """
        resume(state, self._shared, self._run, self._targets, self.reset)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __repr__(self) -> str:
        state = "attached" if self.attached else "detached"
        return (
            f"ActivationRecorder({len(self._shared.slots)} modules, "
            f"capture={'+'.join(sorted(self._shared.options.capture))}, "
            f"{state}, step {self._run.step}, {len(self._run.windows)} windows)"
        )


def _scalars(given: Mapping[str, float]) -> dict[str, Scalar]:
    return {name: Scalar.of(arguments.number(name, value)) for name, value in given.items()}


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
    return {"notes": list(alive._notes()), "never_called": alive._liveness.uncalled()}


def _end(hooks: Attachment, run: Run) -> None:
    """Leave nothing behind, neither hooks nor a file half written."""
    hooks.remove()
    run.finish()
