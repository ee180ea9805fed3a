"""The hot state of one site: tensors that a kernel adds to, in place.

Everything is made outside inference mode with explicit dtypes and device, so that a recorder
attached during validation, or under another default dtype, keeps counting in int64 and float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from actstats.moments import Moments

__all__ = ["ASYMPTOTE_OCTAVES", "Gate", "Spec", "State"]

Intervals = tuple[tuple[float, float], ...]

ASYMPTOTE_OCTAVES = 24
"""Octaves of the distance 1 - |x| that have bins of their own: 2**-25 to 2**-1."""


@dataclass(frozen=True)
class Gate:
    """How values of an activation site are judged.

    Parameters
    ----------
    low, high : tuple of (float, float)
        Closed intervals of values that are saturated on that side; None where saturation does
        not apply.
    quiet : tuple of (float, float) or None
        Closed intervals of samples that are not active; None: active is ``value > 0``.
    slope : callable or None
        Maps values to the activation's slope there; None where it does not apply.
    max_slope : float
        Largest absolute slope of the activation.
    limits : (float, float)
        Range of the activation's outputs.
    from_output : bool
        True: the values are the activation's outputs; False: its inputs z.
    """

    low: Intervals | None
    high: Intervals | None
    quiet: Intervals | None
    slope: Callable[[Tensor], Tensor] | None
    max_slope: float
    from_output: bool
    limits: tuple[float, float] = (-math.inf, math.inf)

    @lru_cache(maxsize=256)  # noqa: B019 - gates are few, frozen and shared by all sites
    def at(self, dtype: torch.dtype) -> Gate:
        """Return the gate with the activation's limits as a clamp in that dtype writes them.

        ``Hardtanh(-0.7, 0.7)`` in float32 writes 0.69999999, which is below 0.7.
        """

        def rounded(intervals: Intervals | None) -> Intervals | None:
            if intervals is None:
                return None
            return tuple((end(low), end(high)) for low, high in intervals)

        def end(value: float) -> float:
            if value not in self.limits:
                return value
            return float(torch.tensor(value, dtype=torch.float64).to(dtype))

        return replace(
            self, low=rounded(self.low), high=rounded(self.high), quiet=rounded(self.quiet)
        )


@dataclass(frozen=True)
class Spec:
    """What one site keeps.

    Parameters
    ----------
    resolution : int
        k of the histogram, 0 to 7: 2**(9 + k) bins.
    width : int
        Columns of the per-unit arrays; 1 where units are not told apart.
    gate : Gate, optional
        For activation sites.
    asymptote : bool
        Keep the bins of 1 - |x| for a layer that ends at plus or minus one.
    edges : tuple of float, optional
        Ascending edges of the exact linear histogram.
    """

    resolution: int = 3
    width: int = 1
    gate: Gate | None = None
    asymptote: bool = False
    edges: tuple[float, ...] | None = None


class State:
    """All that a kernel knows of one site since the last :meth:`reset`.

    Parameters
    ----------
    spec : Spec
        What to keep.
    device : torch.device
        Where the observed tensors live.

    Attributes
    ----------
    calls : int
        Tensors observed.
    counts : Tensor of int64, shape (7,)
        All values, zeros, NaN, +Inf, -Inf, values at +1, values at -1.
    histogram : Tensor of int64, shape (2**(9 + k),)
        Float-bit bins, zeros in bin 0 and non-finite values in the bins of exponent 255
        included; :meth:`TensorStats.from_state <actstats.TensorStats.from_state>` takes both out.
    asymptote : Tensor of int64, shape (2, 24 * 2**k), or None
        Bins of 1 - |x| for 0.5 <= |x| < 1; row 0 for x < 0, row 1 for x > 0.
    linear : Tensor of int64, shape (bins + 2,), or None
        Below, the named bins, above.
    extrema : Tensor of float64, shape (2,)
        Least and largest finite value.
    moments : Tensor of float64, shape (5, width)
        Finite count, mean high, mean low, M2, sum of absolute values.
    judged : Tensor of int64, shape (5, width), or None
        Judged samples, active, saturated low, saturated high, step of the last active sample.
    openness : Tensor of float64, shape (), or None
        Sum over judged values of |slope| / max |slope|.
    """

    def __init__(self, spec: Spec, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.calls = 0
        k, width = spec.resolution, spec.width
        with torch.inference_mode(False):
            self.counts = self._zeros(7)
            self.histogram = self._zeros(1 << (9 + k))
            self.asymptote = self._zeros(2, ASYMPTOTE_OCTAVES << k) if spec.asymptote else None
            self.linear = None if spec.edges is None else self._zeros(len(spec.edges) + 1)
            self.edges = (
                None
                if spec.edges is None
                else torch.tensor(spec.edges, dtype=torch.float64, device=self.device)
            )
            self.extrema = self._zeros(2, dtype=torch.float64)
            self.moments = self._zeros(5, width, dtype=torch.float64)
            self.judged = None if spec.gate is None else self._zeros(5, width)
            self.openness = None if spec.gate is None else self._zeros(dtype=torch.float64)
            self.reset()

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device, requires_grad=False)

    def _tensors(self) -> Iterator[Tensor]:
        held = (self.counts, self.histogram, self.asymptote, self.linear, self.moments)
        yield from (t for t in (*held, self.judged, self.openness) if t is not None)

    def reset(self) -> None:
        """Forget everything seen; keep the memory."""
        self.calls = 0
        for tensor in self._tensors():
            tensor.zero_()
        self.extrema[0] = torch.inf
        self.extrema[1] = -torch.inf
        if self.judged is not None:
            self.judged[4] = -1

    def to(self, device: torch.device) -> None:
        """Move everything to another device."""
        with torch.inference_mode(False):
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(self, name, value.to(device))
        self.device = device

    def pool(self) -> None:
        """Give up the units; what was seen so far is kept as one column."""
        with torch.inference_mode(False):
            pooled = Moments(*self.moments.cpu().numpy()).pooled()
            columns = [getattr(pooled, f.name) for f in fields(Moments)]
            self.moments = torch.tensor(np.stack(columns), device=self.device)
            if self.judged is not None:
                sums, last = self.judged[:4].sum(1), self.judged[4].max()
                self.judged = torch.cat((sums, last[None]))[:, None]
        self.spec = replace(self.spec, width=1)

    def coarsen(self, resolution: int) -> None:
        """Add up neighbouring bins until the histogram's resolution is ``resolution``."""
        finer = self.spec.resolution - resolution
        if finer <= 0:
            return
        with torch.inference_mode(False):
            self.histogram = self.histogram.view(-1, 1 << finer).sum(1)
            if self.asymptote is not None:
                self.asymptote = self.asymptote.view(2, -1, 1 << finer).sum(2)
        self.spec = replace(self.spec, resolution=resolution)

    @property
    def nbytes(self) -> int:
        """Memory held on the device, in bytes."""
        return self.extrema.nbytes + sum(tensor.nbytes for tensor in self._tensors())
