"""The clinic: networks whose sickness is known, healthy ones, and how often a diagnosis is right.

`python -m benchmarks.clinic` runs it. `case.py` says what a case is, `sick.py` and `healthy.py`
list them, `fresh.py` those written later, `proof.py` measures with plain torch that a fault is
really there, `split.py` halves them, `published.py` has the rules of others, `score.py` counts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.clinic.case import Case


def cases(pattern: str = "*") -> list[Case]:
    """Return all cases whose name matches, sick ones first; the fresh ones last."""
    from benchmarks.clinic import fresh, healthy, sick

    every = (*sick.CASES, *healthy.CASES, *fresh.CASES)
    return [c for c in every if fnmatchcase(c.name, pattern)]
