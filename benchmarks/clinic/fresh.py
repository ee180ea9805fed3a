"""The fresh part of the clinic: cases that were written without a look at the diagnosis.

The halves have been looked at; what holds only of them would not be seen there. `fresh_sick.py` and
`fresh_healthy.py` list the cases, `fresh_nets.py` has their networks.
"""

from __future__ import annotations

from benchmarks.clinic import fresh_healthy, fresh_sick

SICK = fresh_sick.CASES
HEALTHY = fresh_healthy.CASES
CASES = [*SICK, *HEALTHY]
