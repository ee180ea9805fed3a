"""Who has come to a merge, and who was lost in it: told by the store that ranks meet in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

__all__ = ["RollCall", "Seconds", "named"]

Seconds = float
GRACE = 2.0  # seconds in which those who live say that they have failed
HERE, OUT = b"here", b"out"  # in the merge; out of it, done or failed
INTACT = (
    "What was recorded on this rank is whole, here and in its `log` file: merge again, or merge "
    "the ranks' files by actstats.merge([...])."
)


class RollCall:
    """One merge's roll call; a context that tells the others how it ended here.

    Keys are few: four numbers of each rank, however often ranks merge, and two of each merge.

    Parameters
    ----------
    store : torch.distributed.Store
        Shared by all ranks of the group, and by no other group.
    rank : int
        Of this process, within the group.
    ranks : sequence of int
        By what number messages call each rank of the group.
    deadline : float
        Of ``time.monotonic``.

    Raises
    ------
    TimeoutError
        If a rank does not come in time.
    ConnectionError
        If the store is gone.
    """

    def __init__(self, store: Any, rank: int, ranks: list[int], deadline: float) -> None:
        self.store = store
        self.rank = rank
        self.ranks = ranks
        self.deadline = deadline
        self.round = 0

    def __enter__(self) -> RollCall:
        self.round = self._ask(lambda: self.store.add(f"calls/{self.rank}", 1))
        self._ask(lambda: self.store.set(self._end(self.rank), HERE))
        came = self._ask(lambda: self.store.add(f"came/{self.round}", 1))
        if came == len(self.ranks):
            self._ask(lambda: self.store.set(self._verdict, HERE))
        self._wait_for_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # the store is gone: there is nobody to tell
            if error is not None and not self.store.check([self._broken]):
                told = f"rank {self.ranks[self.rank]}: {type(error).__name__}: {_first_line(error)}"
                self.store.set(self._broken, told.encode())
            self.store.set(self._end(self.rank), OUT)

    # ---- before ----------------------------------------------------------------------------------

    @property
    def _verdict(self) -> str:
        return f"verdict/{self.round}"

    @property
    def _broken(self) -> str:
        return f"broken/{self.round}"

    def _end(self, rank: int) -> str:
        return f"end/{rank}"

    def _wait_for_all(self) -> None:
        try:
            self.store.wait([self._verdict], timedelta(seconds=max(self.left, 0.001)))
        except RuntimeError as error:
            if self._gives_up():
                raise TimeoutError(self._absence()) from error
            self._ask(lambda: self.store.wait([self._verdict]))
        verdict = self._ask(lambda: self.store.get(self._verdict))
        if verdict != HERE:
            raise TimeoutError(verdict.decode())

    def _gives_up(self) -> bool:
        """End the merge for all, unless everybody has come at the last moment.

        One atomic number decides, which whoever comes later finds negative.
        """
        away = 2 * len(self.ranks)
        before = self._ask(lambda: self.store.add(f"came/{self.round}", -away)) + away
        return int(before) != len(self.ranks)

    def _absence(self) -> str:
        """Say who has not come, to those who wait and to those who come too late."""
        absent = [r for r in range(len(self.ranks)) if self._calls(r) < self.round]
        who = named(self.ranks[rank] for rank in absent)
        come = len(self.ranks) - len(absent)
        told = f"{who} did not come to merge_ranks in time ({come} of {len(self.ranks)} came)."
        given_up = f"rank {self.ranks[self.rank]} gave this merge up before all had come: {told}"
        self._ask(lambda: self.store.set(self._verdict, f"{given_up} {INTACT}".encode()))
        return f"{told} {INTACT}"

    def _calls(self, rank: int) -> int:
        return int(self._ask(lambda: self.store.add(f"calls/{rank}", 0)))

    # ---- during ----------------------------------------------------------------------------------

    @property
    def left(self) -> Seconds:
        """Time until the deadline; negative beyond."""
        return self.deadline - time.monotonic()

    def is_broken(self) -> bool:
        """Tell whether the merge has failed on some rank."""
        return bool(self._ask(lambda: self.store.check([self._broken])))

    def lost(self, error: RuntimeError) -> ConnectionError:
        """Return what to raise: who does not answer any more, or else where it failed first.

        Those who live find out that the merge has failed, and say that they are out of it.
        """
        self.__exit__(type(error), error, None)
        until = time.monotonic() + (GRACE if self.left > GRACE else GRACE / 4)
        silent = self._silent()
        while silent and time.monotonic() < until:
            time.sleep(0.05)
            silent = self._silent()
        if silent:
            who = named(self.ranks[rank] for rank in silent)
            told = f"{who} died or hung in the middle of merge_ranks ({_first_line(error)})."
        else:
            first = self._ask(lambda: self.store.get(self._broken)).decode()
            told = f"merge_ranks failed on {first}."
        return ConnectionError(f"{told} {INTACT}")

    def _silent(self) -> list[int]:
        """Return ranks that have neither finished nor failed."""
        return [rank for rank in range(len(self.ranks)) if self._ended(rank) == HERE]

    def _ended(self, rank: int) -> bytes:
        return bytes(self._ask(lambda: self.store.get(self._end(rank))))

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except RuntimeError as error:
            raise ConnectionError(
                "the store that ranks meet in does not answer; the process that holds it, mostly "
                f"rank 0's or the launcher, may have died ({_first_line(error)}). {INTACT}"
            ) from error


def named(ranks: Iterable[int]) -> str:
    """Return how a message calls ranks: ``rank 3``, ``ranks 1, 2 and 60 more``."""
    every = list(ranks)
    shown = ", ".join(map(str, every[:16]))
    more = f" and {len(every) - 16} more" if len(every) > 16 else ""
    return f"rank{'s' * (len(every) != 1)} {shown}{more}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
