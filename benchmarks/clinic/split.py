"""Two halves of the clinic: thresholds are fixed on one, figures are reported on the other.

A network's variants (at initialisation, after training) stay together. Within each stratum (a
fault, or a family of healthy networks) networks are sorted by a hash of their name and dealt out
in turn; which half begins is the hash of the stratum's. Beside them stands a part that is `fresh`:
written later and blindly, to see what holds of rules that were improved after the halves were
looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

from benchmarks.clinic.case import Case

HALVES = ("tune", "report")
PARTS = (*HALVES, "fresh")


def digest(text: str) -> int:
    """Return a number that is the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def network(name: str) -> str:
    """Return a case's name without when it is judged.

    Examples
    --------
    >>> network("cnn-relu-trained"), network("dead-mlp-relu-after-training")
    ('cnn-relu', 'dead-mlp-relu')
    """
    return re.sub(r"-(init|trained|after-training)$", "", name)


def halves(cases: Iterable[Case]) -> dict[str, str]:
    """Return the part of each case, by its name. Give it all cases, not some."""
    strata: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    half = {}
    for case in cases:
        if case.fresh:
            half[case.name] = "fresh"
        else:
            strata[case.stratum][network(case.name)].append(case.name)
    for stratum, networks in strata.items():
        first = digest(stratum) % 2
        for i, one in enumerate(sorted(networks, key=digest)):
            half |= dict.fromkeys(networks[one], HALVES[(first + i) % 2])
    return half
