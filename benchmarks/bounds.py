"""The bounds that are promised, in one table, and what a run says to each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.nets import LABELS
from benchmarks.timing import Estimate

MET, MISSED, WITHIN = "met", "missed", "within the interval"


@dataclass(frozen=True)
class Bound:
    """A limit to a measured figure.

    Parameters
    ----------
    what : str
        What is bounded.
    limit : float
        The limit, in ``unit``.
    at_least : bool
        The figure must not be smaller, rather than not larger.
    unit : str
        How to write the figure: "%" (a share), "x" or "µs".
    """

    what: str
    limit: float
    at_least: bool = False
    unit: str = "x"

    def verdict(self, measured: Estimate) -> str:
        """Say whether the whole 95 % interval keeps the bound (met) or breaks it (missed)."""
        low, high = measured.low, measured.high
        if self.at_least:
            return MET if low >= self.limit else MISSED if high < self.limit else WITHIN
        return MET if high <= self.limit else MISSED if low > self.limit else WITHIN

    def write(self, value: float) -> str:
        """Write a value in the bound's unit."""
        return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.2f} {self.unit}"

    def row(self, measured: Estimate) -> dict[str, object]:
        """Return what a table shows of bound and measurement."""
        return {
            "what": self.what,
            "bound": f"at {'least' if self.at_least else 'most'} {self.write(self.limit)}",
            "measured": self.write(measured.value),
            "interval": f"{self.write(measured.low)} to {self.write(measured.high)}",
            "verdict": self.verdict(measured),
        }


ADDED = {
    name: Bound(f"added time, {LABELS[name]}", limit, unit="%")
    for name, limit in (("tutorial", 0.18), ("mlp", 0.025), ("resnet", 0.05), ("transformer", 0.06))
}
PEERS = {
    name: Bound(f"added time of {{peer}} over ours, {LABELS[name]}", limit, at_least=True)
    for name, limit in (("tutorial", 5), ("mlp", 10), ("resnet", 6), ("transformer", 6))
}
GRADIENTS = {
    name: Bound(f"added time with gradients over without, {label}", 2)
    for name, label in LABELS.items()
}
KERNEL = {
    size: Bound(f"{{group}}, {words} float32 elements, over torch.sum", limit)
    for size, words, limit in ((1 << 20, "1M", 14), (1 << 25, "32M", 6))
}
HOOK = Bound("a whole hook on 64 x 10 ({module}) above an empty one", 5, unit="µs")
THREADS = Bound("{group}, 32M float32 elements, one thread over two (wall time)", 1.6, True)
