"""Recordings made of tensors, without a model: what rules are tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from actstats import Recording, Scalar, TensorStats, Window
from actstats.diagnosis import RULES, Answer, Thresholds
from actstats.diagnosis.reading import Reading
from actstats.sites import Site, split_key

N = 256  # samples


def normal(width: int = 10, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> Tensor:
    """Draw samples of some units, each with the same mean and spread."""
    generator = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(N, width, generator=generator)


def known_sites(
    keys: Sequence[str], activations: Mapping[str, str], **fields: object
) -> dict[str, Site]:
    """Describe sites by their names: ``act2`` feeds ``fc3``, and that the activation ``act3``."""
    sites = {}
    for place, key in enumerate(keys):
        name, kind = split_key(key)
        activation = activations.get(name)
        sites[key] = Site(
            name,
            kind,
            module_type="Tanh" if activation else "Linear",
            activation=activation if kind == "output" else None,
            source=name.replace("act", "fc") if activation else _before(name),
            order=place,
            place=place,
            dtype="float32",
            trainable=None if activation else True,
            **fields,
        )
    return sites


def _before(name: str) -> str | None:
    number = name.removeprefix("fc")
    return f"act{int(number) - 1}" if number.isdigit() else None


def recording(
    *windows: Mapping[str, Tensor],
    activations: Mapping[str, str] | None = None,
    scalars: Sequence[Mapping[str, float]] = (),
    steps: int = 1,
    dtypes: Mapping[str, str] | None = None,
    never_called: Mapping[str, str] | None = None,
) -> Recording:
    """Make a recording of one tensor a site and window; of activations the outputs are given.

    A healthy head, ``out``, comes last: of heads some rules think otherwise.
    """
    activations = activations or {}
    made = []
    windows = tuple({**tensors, **_head(tensors)} for tensors in windows)
    for i, tensors in enumerate(windows):
        stats = {
            key: TensorStats.from_tensor(
                x, activation=activations.get(key), unit_axis=-1 if x.dim() > 1 else None
            )
            for key, x in tensors.items()
        }
        given = {k: Scalar.of(v) for k, v in (scalars[i] if scalars else {}).items()}
        made.append(Window(i * steps, (i + 1) * steps - 1, "train", stats, given))
    sites = known_sites(list(windows[0]) if windows else [], activations)
    for key, dtype in (dtypes or {}).items():
        sites[key] = replace(sites[key], dtype=dtype)
    return Recording(made, sites, never_called=never_called)


def _head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kinds = {split_key(key)[1] for key in tensors}
    return {"out": normal(seed=77)} | ({"out:grad": normal(seed=78)} if "grad" in kinds else {})


def answer(rule: str, made: Recording, **changes: float) -> Answer:
    """Ask one rule."""
    thresholds = Thresholds().with_changes(changes)
    (asked,) = (known for known in RULES if known.name == rule)
    return asked.answer(Reading(made, thresholds), thresholds)


def chain(
    gains: Sequence[float], activation: str = "tanh", gates: Sequence[float] = ()
) -> Recording:
    """Make a net of layers whose gradients shrink by some gains on their way back.

    ``gains[i]`` is what the weights of layer i + 2 hand back, ``gates[i]`` what its gate does.
    """
    depth = len(gains) + 1
    gates = gates or [1.0] * depth
    tensors = {}
    size = 1.0
    for i in reversed(range(depth)):
        a, z = f"act{i + 1}", f"fc{i + 1}"
        tensors[f"{a}:grad"] = normal(std=size, seed=i)
        size *= gates[i]
        tensors[f"{z}:grad"] = normal(std=size, seed=i)
        size *= gains[i - 1] if i else 1.0
    outputs = {}
    for i in range(depth):
        outputs[f"fc{i + 1}"] = normal(std=0.5, seed=100 + i)
        outputs[f"act{i + 1}"] = normal(std=0.5, seed=100 + i).tanh()
    return recording(
        {**outputs, **tensors}, activations={f"act{i + 1}": activation for i in range(depth)}
    )
