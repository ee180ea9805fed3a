"""What is known of one activation function."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from actstats.activations.zones import Elementwise, Limits, Zone, images, input_zones, output_zones

Axis: TypeAlias = Literal["output", "input"]
Parameter: TypeAlias = float | str


@dataclass(frozen=True)
class Activation:
    """Describe one elementwise activation function a = φ(z).

    Two of them are equal when their names and parameters are, that is when `key` is. They pickle
    by `key` and copy as themselves.

    Parameters
    ----------
    name : str
        The spelling of `torch.nn.functional`, or the caller's for an unknown function.
    function : callable
        z to a, any shape, out of place.
    slope : callable
        z to φ'(z), same shape and dtype, no autograd graph. At a kink it is what torch's own
        backward gives. All nan where `reason` is set.
    output_slope : callable or None
        a to φ'(z), where a tells it; None where it does not.
    max_slope : float
        The largest ``|φ'|`` (its supremum where it is only approached).
    limits : tuple of float
        The range of a, infinite where unbounded.
    relu_like : bool
        True for the ReLU family, whose active samples are those with a > 0. For the others a
        sample is active where ``|slope| >= 0.05 * max_slope``.
    can_die : bool
        True where φ' is exactly 0 wherever a sample is not active.
    reason : str or None, default=None
        Why slope, saturation and gate openness do not apply, None where they do.
    params : tuple of (str, value) pairs, default=()
        The parameters that complete the name.

    Examples
    --------
    >>> from actstats.activations import get
    >>> tanh = get("tanh")
    >>> tanh.judged_from, tanh.zones()[1]
    ('output', Zone(low=0.974679434480896..., high=inf, side='high'))
    >>> get("leaky_relu").key
    'leaky_relu(negative_slope=0.01)'
    """

    name: str
    function: Elementwise = field(compare=False, repr=False)
    slope: Elementwise = field(compare=False, repr=False)
    output_slope: Elementwise | None = field(compare=False, repr=False)
    max_slope: float = field(compare=False)
    limits: Limits = field(compare=False)
    relu_like: bool = field(compare=False)
    can_die: bool = field(compare=False)
    reason: str | None = field(default=None, compare=False)
    params: tuple[tuple[str, Parameter], ...] = ()

    @property
    def key(self) -> str:
        """The identity as text, e.g. ``"leaky_relu(negative_slope=0.01)"``."""
        if not self.params:
            return self.name
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.params)})"

    @property
    def judged_from(self) -> Axis:
        """Where a value is judged: ``"output"`` where a alone tells, else ``"input"``."""
        return "output" if self.output_slope is not None or self.relu_like else "input"

    @property
    def slope_known(self) -> bool:
        """Whether slope, saturation and gate openness apply; else see `reason`."""
        return self.reason is None

    @property
    def ends_at_one(self) -> bool:
        """Whether one of the limits is +1 or -1 (tanh, sigmoid, hardtanh, ELU, ...)."""
        return any(math.isclose(abs(limit), 1.0, rel_tol=1e-6) for limit in self.limits)

    def zones(self, threshold: float = 0.05, of: Axis | None = None) -> tuple[Zone, ...]:
        """Return where ``|slope| < threshold * max_slope``, from left to right.

        Parameters
        ----------
        threshold : float, default=0.05
            Share of the maximal slope, in (0, 1).
        of : {"output", "input"} or None, default=None
            The axis of the zones; None is the one that values are judged from. For a function
            judged from its input, the output axis shows only the zones none of whose values an
            unsaturated z gives too: ELU's, but not GELU's.

        Returns
        -------
        tuple of Zone
            Empty where nothing is saturated or where `reason` is set. Found once, then cached.

        Raises
        ------
        ValueError
            If an argument is outside its range.

        Examples
        --------
        >>> from actstats.activations import get
        >>> get("relu").zones()
        (Zone(low=-inf, high=0.0, side='low'),)
        >>> [round(zone.low, 2) for zone in get("sigmoid").zones(of="input")]
        [-inf, 4.36]
        """
        is_real = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool)
        if not (is_real and 0 < threshold < 1):
            raise ValueError(f"`threshold` must be in (0, 1); got {threshold!r}.")
        if of not in (None, "output", "input"):
            raise ValueError(f'`of` must be "output", "input" or None; got {of!r}.')
        return _zones(self, float(threshold), of or self.judged_from)

    # How it pickles, by `key`, is said where keys are read: in `registry`.

    def __copy__(self) -> Activation:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Activation:
        return self


@lru_cache(maxsize=512)
def _zones(activation: Activation, threshold: float, of: Axis) -> tuple[Zone, ...]:
    if activation.reason is not None:
        return ()
    slope, limits = activation.slope, activation.limits
    limit = threshold * activation.max_slope
    if of == "output" and activation.output_slope is not None:
        return output_zones(activation.output_slope, limits, limit)
    zones = input_zones(slope, limit)
    return zones if of == "input" else images(zones, activation.function, slope, limits, limit)
