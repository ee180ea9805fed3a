"""The clinic: networks whose sickness is known, healthy ones, and how often a diagnosis is right.

`python -m benchmarks.clinic` runs it. `case.py` says what a case is, `sick.py` and `healthy.py`
list them, `proof.py` measures with plain torch that a fault is really there, `split.py` halves
them, `published.py` has the rules of others, `score.py` counts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.clinic.case import Case


def cases(pattern: str = "*") -> list[Case]:
    """Return all cases whose name matches, sick ones first."""
    from benchmarks.clinic import healthy, sick

    return [c for c in (*sick.CASES, *healthy.CASES) if fnmatchcase(c.name, pattern)]
