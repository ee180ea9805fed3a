"""One recording of what all ranks recorded, the same on every one of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import torch.distributed as dist

from actstats._torch import default_store, prefixed
from actstats.distributed.exchange import Exchange
from actstats.distributed.pieces import Piece, read_piece, write_piece
from actstats.distributed.plan import Held, Outline, Plan, table_of, tabled
from actstats.distributed.rollcall import RollCall
from actstats.log.schema import from_json, to_json
from actstats.merging import overlaps, together
from actstats.recording import Recording, Source, Window, as_recording
from actstats.tables import joined, part

__all__ = ["Merger", "merge_ranks", "texts_of"]

MOST_SECONDS = 30 * 86_400.0


def merge_ranks(source: Source, group: Any = None, timeout: float | timedelta = 60.0) -> Recording:
    """Return what all ranks of a group recorded, as one; every rank has to call it.

    See :meth:`ActivationRecorder.merge_ranks`, which calls this.

    Parameters
    ----------
    source : ActivationRecorder, Recording, Window or path
        This rank's.
    group : ProcessGroup, optional
        None: all ranks.
    timeout : float or timedelta, default 60
        Seconds until which all ranks have to come, and the merge to end.
    """
    seconds = _seconds(timeout)
    ranks = _members(group)
    recording = as_recording(source, "source")
    roll = RollCall(_store(ranks), dist.get_rank(group), ranks, time.monotonic() + seconds)
    with roll:
        return merged_over(Exchange(group, roll), recording, [f"rank {rank}" for rank in ranks])


def merged_over(exchange: Exchange, recording: Recording, names: Sequence[str]) -> Recording:
    """Return the merge of what each rank has, in whose order it is merged."""
    windows = tabled(recording)
    texts = exchange.texts(texts_of(recording, windows))
    merger = Merger(exchange.rank, windows, texts, names)
    given = exchange.scatter([merger.give(rank) for rank in range(len(names))])
    return merger.recording(exchange.gather(merger.merge(given)))


def texts_of(recording: Recording, windows: Sequence[Window]) -> list[bytes]:
    """Return all that is known beside the numbers, what mostly differs between ranks apart."""
    return [
        Outline.of(windows, recording.sites).to_bytes(),
        to_json([recording.notes, recording.never_called]).encode(),
        to_json(recording.metadata).encode(),
    ]


class Merger:
    """One rank's part in a merge, between what is exchanged.

    Parameters
    ----------
    rank : int
        Which one.
    windows : sequence of Window
        This rank's, their statistics as tables.
    texts : sequence of sequence of bytes
        What each rank said of its recording.
    names : sequence of str
        What a message calls each rank.
    """

    def __init__(
        self,
        rank: int,
        windows: Sequence[Window],
        texts: Sequence[Sequence[bytes]],
        names: Sequence[str],
    ) -> None:
        self.rank = rank
        self.windows = windows
        different = dict.fromkeys(outline for outline, *_ in texts)  # mostly one
        outlines = {outline: Outline.from_bytes(outline) for outline in different}
        self.facts = [_facts(outlines[outline], *others) for outline, *others in texts]
        self.plan = Plan([outlines[outline] for outline, *_ in texts], names)
        self.own = self.plan.held_by(rank)

    def give(self, rank: int) -> bytes:
        """Return this rank's numbers of the shares that ``rank`` merges."""
        return b"".join(
            self._given(held, share.block)
            for share in self.plan.shares_of(rank)
            for held in self.own[share.group]
            if self.plan.has_piece(held, share.block)
        )

    def _given(self, held: Held, block: int) -> bytes:
        window = self.windows[held.number]
        table = part(table_of(window), self.plan.places(held.columns, block))
        scalars = {} if block else dict(window.scalars)
        return write_piece(Piece(table, scalars), table.columns)

    def merge(self, given: Sequence[bytes]) -> bytes:
        """Return the shares of this rank, merged of what each rank gave."""
        ends = [0] * len(given)
        pieces = []
        for share in self.plan.shares_of(self.rank):
            windows = []
            for held in self.plan.groups[share.group].windows:
                if self.plan.has_piece(held, share.block):
                    expected = self.plan.columns(held.columns, share.block)
                    piece, ends[held.rank] = read_piece(given[held.rank], ends[held.rank], expected)
                    windows.append(_window(held, piece))
            if windows:
                whole = Window.sum(windows)
                piece = Piece(table_of(whole), dict(whole.scalars))
                pieces.append(write_piece(piece, self.plan.expected(share)))
        return b"".join(pieces)

    def recording(self, merged: Sequence[bytes]) -> Recording:
        """Return the whole, of what each rank has merged."""
        pieces: dict[int, list[Piece]] = {number: [] for number in range(len(self.plan.groups))}
        ends = [0] * len(merged)
        for share in self.plan.shares:
            if self.plan.is_filled(share):
                rank = self.plan.owner(share)
                expected = self.plan.expected(share)
                piece, ends[rank] = read_piece(merged[rank], ends[rank], expected)
                pieces[share.group].append(piece)
        windows = [
            Window(
                *group.span,
                group.windows[0].phase,
                joined([piece.table for piece in pieces[number]]),
                pieces[number][0].scalars,
            )
            for number, group in enumerate(self.plan.groups)
        ]
        return together(self.facts, windows, overlaps(self.plan.groups))


def _window(held: Held, piece: Piece) -> Window:
    return Window(held.first_step, held.last_step, held.phase, piece.table, piece.scalars)


def _facts(outline: Outline, facts: bytes, metadata: bytes) -> Recording:
    """Return what a rank said beside its windows, as a recording without any."""
    notes, never_called = from_json(facts.decode())
    known = Recording((), None, notes, never_called, from_json(metadata.decode()))
    known.sites = outline.sites
    return known


# ---- the process group ---------------------------------------------------------------------------


def _members(group: Any) -> list[int]:
    """Return the global ranks of a group that this process belongs to."""
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "merge_ranks needs a process group: call torch.distributed.init_process_group first, "
            "or merge the ranks' files by actstats.merge([...])."
        )
    if dist.get_rank(group) < 0:
        raise ValueError("`group` must be a group that this rank belongs to.")
    return list(dist.get_process_group_ranks(dist.group.WORLD if group is None else group))


def _store(ranks: Sequence[int]) -> Any:
    store = default_store()
    if store is None:
        raise RuntimeError(
            "this torch does not tell where ranks meet; merge the ranks' files by "
            "actstats.merge([...])."
        )
    name = blake2b(repr(ranks).encode(), digest_size=8).hexdigest()
    return prefixed(f"actstats/{name}", store)


def _seconds(timeout: float | timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ValueError(f"`timeout` must be a positive number of seconds; got {timeout!r}.")
    return min(float(seconds), MOST_SECONDS)
