"""Where tensors are observed: which modules, which leaves, which axis, under which name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.rnn import PackedSequence

from actstats._torch import CONVOLUTIONS, NORMALISATIONS, children

__all__ = [
    "Leaves",
    "Site",
    "close_matches",
    "leaves",
    "matches",
    "named_sites",
    "selected",
    "selectors",
    "unit_axis",
    "wrapped_in",
]

KINDS = ("output", "input", "grad")
KIND_ORDER = ("output", "grad", "input")
ROOT = "(root)"
MAX_DEPTH = 8  # of nested outputs

Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_WRAPPERS = {  # classes whose single child keeps the wrapped module's names
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}
_UNITS_SECOND = (
    *CONVOLUTIONS,
    *NORMALISATIONS,  # BatchNorm and InstanceNorm
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Upsample,
    nn.PixelShuffle,
)
_UNITS_LAST = (
    nn.Linear,
    nn.Bilinear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)


@dataclass(frozen=True)
class Site:
    """A place where tensors are observed.

    Parameters
    ----------
    module : str
        Canonical module name; ``(root)`` for the model itself.
    kind : {"output", "input", "grad"}
        Which tensor of it.
    leaf : str
        ``""`` for a plain tensor, else the path in a nested value: ``[1][0]``, ``['logits']``;
        after ``#n`` where calls are kept apart.
    module_type : str
        Class name of the module.
    activation : str, optional
        Key of the activation function, where the site is the output of one.
    source : str, optional
        The site whose tensor went into the module, where it was an observed one.
    order : int
        Place in the model's order of modules.
    place : int
        Place in the order in which sites were first seen.
    dtype : str
        Of the first tensor seen: ``"float32"``.
    trainable : bool, optional
        Whether some parameter of the module's own takes a gradient; None where it has none.
    scaled : bool
        Whether a loss scale is taken out of its gradients before they are recorded.
    """

    module: str
    kind: str = "output"
    leaf: str = ""
    module_type: str = ""
    activation: str | None = None
    source: str | None = None
    order: int = 0
    place: int = 0
    dtype: str = ""
    trainable: bool | None = None
    scaled: bool = False

    @property
    def key(self) -> str:
        """The name that ``recorder[...]`` takes."""
        suffix = "" if self.kind == "output" else f":{self.kind}"
        return f"{self.module}{self.leaf}{suffix}"


def split_key(key: str | tuple[str, str]) -> tuple[str, str]:
    """Split ``"fc3:grad"`` or ``("fc3", "grad")`` into name and kind."""
    if isinstance(key, tuple):
        name, kind = key
    else:
        name, _, kind = key.rpartition(":")
        if kind not in KINDS:
            name, kind = key, "output"
    if kind not in KINDS:
        raise ValueError(f"a site's kind must be one of {KINDS}; got {kind!r}.")
    return name, kind


def reading_key(key: object, known: Iterable[str]) -> str:
    """Return the canonical string of a key that someone looks up; KeyError for what is none."""
    try:
        return join_key(key)  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError):
        raise KeyError(f"no site {key!r}{close_matches(str(key), list(known))}") from None


def site_order(site: Site) -> tuple[object, ...]:
    """Sort sites by their module's place, then output, grad, input, then leaves by number.

    Functions that a module calls have its place, and follow it.
    """
    called = "()" in site.module
    return (
        site.order,
        called,
        _natural(site.module),
        KIND_ORDER.index(site.kind),
        _natural(site.leaf),
    )


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that takes digits for numbers: ``#9`` before ``#10``."""
    pieces = re.split(r"(\d+)", name)
    return tuple((int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces)


def join_key(key: str | tuple[str, str]) -> str:
    """Return the canonical string of a key: ``"fc3"``, ``"fc3:grad"``."""
    name, kind = split_key(key)
    return name if kind == "output" else f"{name}:{kind}"


# ---- patterns --------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.compile("".join(parts), re.DOTALL)


def matches(pattern: str, site: str) -> bool:
    """Tell whether a site's name matches a pattern.

    ``*`` and ``?`` are the only wildcards, ``*`` crosses dots; a pattern without a kind means
    outputs; a module's name stands for all its leaves and calls.

    Examples
    --------
    >>> matches("fc*", "fc1"), matches("fc*", "fc1:grad"), matches("fc*:grad", "fc1:grad")
    (True, False, True)
    """
    wanted, kind = split_key(pattern)
    name, site_kind = split_key(site)
    if kind != site_kind:
        return False
    names = (name, base_name(name))
    return wanted in names or any(_regex(wanted).fullmatch(one) for one in names)


def base_name(name: str) -> str:
    """Return a name without the leaf or call: ``lstm`` of ``lstm[1][0]``, ``act`` of ``act#2``."""
    return re.split(r"[\[#]", name, maxsplit=1)[0]


def lookup(patterns: Mapping[str, Any] | None, site: str, default: Any = None) -> Any:
    """Return the value of the exact name, else of the first pattern that matches."""
    if not patterns:
        return default
    if site in patterns:
        return patterns[site]
    return next((value for pattern, value in patterns.items() if matches(pattern, site)), default)


def close_matches(key: str, known: Sequence[str]) -> str:
    """Return a hint such as ``; did you mean 'act3'?`` for an unknown name."""
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    close += [name for name in known if name.startswith(f"{key}[")][:3]
    if close:
        return f"; did you mean {' or '.join(repr(name) for name in close)}?"
    shown = ", ".join(repr(name) for name in list(known)[:8])
    return f"; known are {shown}{' ...' if len(known) > 8 else ''}." if known else "; nothing is."


# ---- modules ---------------------------------------------------------------------------------


def named_sites(
    model: nn.Module | Mapping[str, nn.Module],
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return modules by canonical name, each object once, and aliases to those names.

    Wrappers (``torch.compile``, DDP, checkpoint wrappers) leave no trace in the names.
    """
    if isinstance(model, nn.Module):
        pairs: Iterator[tuple[str, nn.Module]] = _walk(model, "")
    else:
        pairs = iter(model.items())
    names: dict[int, str] = {}
    modules: dict[str, nn.Module] = {}
    aliases: dict[str, str] = {}
    for name, module in pairs:
        if not isinstance(name, str) or split_key(name)[1] != "output":
            raise ValueError(f"`model`'s keys must be names without a kind; got {name!r}.")
        if not isinstance(module, nn.Module):
            raise ValueError(f"`model` must hold modules; got {type(module).__name__} at {name!r}.")
        name = name or ROOT
        if id(module) in names:
            aliases[name] = names[id(module)]
        else:
            names[id(module)] = name
            modules[name] = module
    return modules, aliases


def _walk(
    module: nn.Module, name: str, ancestors: frozenset[int] = frozenset()
) -> Iterator[tuple[str, nn.Module]]:
    inner = wrapped_in(module)
    if inner is not None:
        yield from _walk(inner, name, ancestors | {id(module)})
        return
    yield name, module
    for child_name, child in children(module).items():
        if child is not None and id(child) not in ancestors:
            path = f"{name}.{child_name}" if name else child_name
            yield from _walk(child, path, ancestors | {id(module)})


def wrapped_in(module: nn.Module) -> nn.Module | None:
    """Return the module that compilation, parallelism or checkpointing wrapped; else None."""
    inner = getattr(module, _WRAPPERS.get(type(module).__name__, ""), None)
    return inner if isinstance(inner, nn.Module) else None


def selected(
    modules: Mapping[str, nn.Module], include: Any = None, exclude: Any = None
) -> dict[str, nn.Module]:
    """Choose the modules to observe.

    Parameters
    ----------
    modules : mapping of str to Module
        All modules by name.
    include, exclude : str, type, callable or list of them, optional
        A glob on the name, a module class, or a predicate ``(name, module) -> bool``.
        ``include=None`` takes what computes something itself: modules without children and
        those with parameters of their own.

    Raises
    ------
    ValueError
        If ``include`` matches nothing.
    """
    includes, excludes = selectors("include", include), selectors("exclude", exclude)
    parametrizations = {
        id(inner)
        for module in modules.values()
        if isinstance(module, ParametrizationList)
        for inner in module.modules()
    }
    chosen = {
        name: module
        for name, module in modules.items()
        if id(module) not in parametrizations
        and not isinstance(module, _CONTAINERS)
        and (_computes(module) if include is None else _hit(includes, name, module))
        and not _hit(excludes, name, module)
    }
    if not chosen:
        what = "`include` and `exclude` leave" if include or exclude else "the model has"
        raise ValueError(f"{what} no module to observe{close_matches(str(include), list(modules))}")
    return chosen


def selectors(name: str, given: Any) -> tuple[Selector, ...]:
    """Return what chooses modules, as a tuple."""
    if given is None:
        return ()
    many = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)
    if not many:
        raise ValueError(f"`{name}` must not be empty; leave it out to take the default.")
    for one in many:
        if not (isinstance(one, str) or callable(one)):
            raise ValueError(
                f"`{name}` must be a glob, a module class, a predicate (name, module) -> bool, "
                f"or a list of them; got {one!r}."
            )
    return many


def _hit(selectors: tuple[Selector, ...], name: str, module: nn.Module) -> bool:
    def one(selector: Selector) -> bool:
        if isinstance(selector, str):
            return _regex(selector).fullmatch(name) is not None
        if isinstance(selector, type):
            return isinstance(module, selector)
        return bool(selector(name, module))

    return any(one(selector) for selector in selectors)


def trainable(module: nn.Module) -> bool | None:
    """Tell whether a parameter of the module's own takes a gradient; None if it has none."""
    own = list(module.parameters(recurse=False))
    return any(p.requires_grad for p in own) if own else None


def _computes(module: nn.Module) -> bool:
    return not children(module) or next(module.parameters(recurse=False), None) is not None


# ---- tensors ---------------------------------------------------------------------------------


class Leaves:
    """Leaves of a nested value whose structure is gone: what an op in a compiled graph gets.

    Parameters
    ----------
    paths : sequence of str
        Where each leaf was.
    tensors : sequence of Tensor
        The leaves.
    """

    __slots__ = ("paths", "tensors")

    def __init__(self, paths: Sequence[str], tensors: Sequence[Tensor]) -> None:
        self.paths = paths
        self.tensors = tensors

    def whole(self) -> Any:
        """Return the tensor itself where there is only one and it was not nested."""
        return self.tensors[0] if list(self.paths) == [""] else self


def leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a nested value with their paths.

    Opens tuples, lists, dicts (``ModelOutput`` too), dataclasses and ``PackedSequence`` (its
    data); never iterates anything else, generators above all.

    Examples
    --------
    >>> import torch
    >>> [path for path, _ in leaves((torch.ones(1), {"logits": torch.ones(1)}))]
    ['[0]', "[1]['logits']"]
    """
    if isinstance(value, Tensor):
        yield path, value
        return
    if isinstance(value, Leaves):
        yield from zip(value.paths, value.tensors, strict=True)
        return
    if depth == MAX_DEPTH:
        return
    if isinstance(value, PackedSequence):
        items: Iterator[tuple[Any, Any]] = iter(())
        yield path, value.data
    elif isinstance(value, dict):
        items = iter(value.items())
    elif isinstance(value, tuple | list):
        items = iter(enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name, None)) for f in fields(value))
    else:
        return
    for key, item in items:
        yield from leaves(item, f"{path}[{key!r}]", depth + 1)


def input_leaves(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that go into a module: the first argument without a path of its own.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1)
    >>> [path for path, _ in input_leaves((one, one), {"mask": one})]
    ['', '[1]', "['mask']"]
    """
    for i, value in enumerate(args):
        yield from leaves(value, f"[{i}]" if i else "")
    yield from leaves(dict(kwargs))


def unit_axis(module: nn.Module, tensor: Tensor, inherited: int | None = None) -> int | None:
    """Return the axis of a tensor's units: 1, -1, or None where there are none.

    Parameters
    ----------
    module : Module
        Whose tensor it is.
    tensor : Tensor
        Any shape.
    inherited : {1, -1}, optional
        Axis of the tensor that went in, for modules that keep their input's layout.
    """
    dim = tensor.dim()
    if dim == 0:
        return None
    if isinstance(module, _UNITS_LAST):
        return -1
    if dim == 1:
        return None
    if dim == 2:
        return -1
    if isinstance(module, CONVOLUTIONS) and dim != len(getattr(module, "kernel_size", ())) + 2:
        return None  # without a batch axis
    if isinstance(module, _UNITS_SECOND):
        return 1
    if inherited is not None:
        return inherited
    return 1 if dim >= 4 else -1


def knows_units(module: nn.Module, tensor: Tensor) -> bool:
    """Tell whether :func:`unit_axis` is certain without knowing what went in."""
    return tensor.dim() < 3 or isinstance(module, (*_UNITS_LAST, *_UNITS_SECOND))
