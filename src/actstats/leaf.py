"""What is known of one observed leaf; hooks change it with the lock of their recorder held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType

import torch
from torch import Tensor

from actstats.activations import Activation
from actstats.custom import CustomSpec
from actstats.kernels import Spec, State
from actstats.sharding import Units
from actstats.sites import Site

__all__ = ["Leaf"]


@dataclass
class Leaf:
    """One observed leaf: its state, how it is laid out, what is known of it."""

    site: Site
    state: State
    kernel: ModuleType
    axis: int | None
    activation: Activation | None
    units: int
    notes: dict[str, str] = field(default_factory=dict)
    shard: Units | None = None  # which units these are, where other ranks have others
    observed: bool = False  # ever; what was only judged is no site yet
    ahead: bool = False  # judged, by a call whose output may not have come yet
    handed: bool = False  # an output, in the open window; on the CPU the short way tells nobody
    version: int = 0  # of what the user's own statistics know

    @property
    def is_begun(self) -> bool:
        """Whether it was judged in a first call that is still under way in some thread."""
        if not self.ahead or self.handed:
            return False
        calls = self.state.calls
        return not (calls.is_cpu and int(calls))  # elsewhere it would wait, and `handed` is all

    @property
    def all_units(self) -> int:
        """Units told apart, those of other ranks too."""
        return self.units if self.shard is None else self.shard.whole

    @property
    def spec(self) -> Spec:
        """What is kept, with room for the units of other ranks."""
        spec = self.state.spec
        return spec if self.shard is None else replace(spec, width=self.shard.whole)

    def drafts(self, *, empty: bool) -> tuple[int, dict[CustomSpec, Tensor]]:
        """Copy what the user's own statistics know, or know at first; with the version."""
        copied = torch.zeros_like if empty else torch.clone
        return self.version, {own: copied(words) for own, words in self.state.custom.items()}

    def keep(self, drafts: Mapping[CustomSpec, Tensor]) -> None:
        """Take what copies know in place of what they were made of."""
        self.version += 1
        for own, words in drafts.items():
            if own in self.state.custom:  # not dropped meanwhile
                self.state.custom[own].copy_(words)

    def join(self, drafts: Mapping[CustomSpec, Tensor]) -> None:
        """Merge what copies know that began as nothing; waits for the device."""
        known = {own: words.cpu().numpy() for own, words in self.state.custom.items()}
        merged = {
            own: own.merged(known[own], words.cpu().numpy(), self.site.key)
            for own, words in drafts.items()
            if own in known
        }
        self.keep({own: torch.from_numpy(words) for own, words in merged.items()})

    def drop(self, own: CustomSpec, reason: str) -> None:
        """Give up a statistic of the user's own."""
        if own in self.state.custom:
            self.state.drop(own)
            self.notes[own.name] = reason
