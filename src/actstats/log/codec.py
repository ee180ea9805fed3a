"""The numbers of a window as bytes, and back; nothing is trusted on the way back.

A window's table is written as whole numbers (counters, counts of bins, gaps between occupied
bins), as narrow as they are, by planes of bytes, deflated; then the floats that are not zero, as
they are: their bits do not compress, and trying is what would cost. What is where, the layout,
is the same for many windows and is kept apart, as JSON.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actstats import activations
from actstats.custom import spec_from_json, spec_to_json
from actstats.gate import make_gate
from actstats.kernels import Spec
from actstats.kernels.state import NEVER, Layout
from actstats.log.errors import RecordingFileError
from actstats.stats import named_edges, require_resolution
from actstats.table import Columns, Kept, SiteTable

__all__ = ["MOST_WORDS", "decode", "encode", "layout_from_json", "layout_to_json"]

IntArray = NDArray[np.int64]

MOST_WORDS = 1 << 26
"""Dense words of a window's sites together (512 MiB): more is refused before it is allocated."""

MOST_BINS = 1 << 25
"""Occupied bins of a window's sites together (512 MiB)."""

_HEAD = struct.Struct("<IIIBBB")  # bins, floats, bytes deflated, then item sizes of three parts
_FLOAT_ROWS = slice(Layout.EXTREMA, Layout.BROKEN + 1)  # of the header; BROKEN is mostly 0
_INT_ROWS = slice(0, Layout.EXTREMA)


# ---- numbers -------------------------------------------------------------------------------------


def encode(table: SiteTable) -> bytes:
    """Return the numbers of a table: about 0.4 KiB a site of ten units, in 3 us."""
    rows = table.rows
    whole = np.concatenate(
        (
            rows.header.view(np.int64)[_INT_ROWS].reshape(-1),
            rows.moments[0].astype(np.int64),
            rows.judged[:4].reshape(-1),
            rows.judged[4] + 1,  # -1 where no sample was active
        )
    )
    words = np.concatenate(
        (rows.header[_FLOAT_ROWS].reshape(-1), rows.moments[1:].reshape(-1), rows.custom)
    ).view(np.int64)
    occupied = words != 0
    gaps = table.bins + 1  # the first one's from the beginning
    gaps[1:] = table.bins[1:] - table.bins[:-1]
    parts = [_narrow(part) for part in (whole, gaps, table.counts)]
    planes = [part.view(np.uint8).reshape(-1, part.itemsize).T.tobytes() for part in parts]
    deflated = zlib.compress(b"".join((*planes, np.packbits(occupied).tobytes())), 1)
    floats = words[occupied]
    sizes = (part.itemsize for part in parts)
    return b"".join(
        (
            _HEAD.pack(len(table.bins), len(floats), len(deflated), *sizes),
            deflated,
            floats.astype("<i8", copy=False).tobytes(),
        )
    )


def _narrow(whole: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers that are not negative in the narrowest type that holds them."""
    most = int(whole.max(initial=0))
    for bits in (8, 16, 32):
        if most < 1 << bits:
            return whole.astype(f"<u{bits // 8}")
    return whole.astype("<u8")


def decode(columns: Columns, data: bytes) -> SiteTable:
    """Return the table that :func:`encode` was given, bit for bit.

    Raises
    ------
    RecordingFileError
        If the bytes cannot be a table of these columns, or contradict themselves.
    """
    try:
        table = _decoded(columns, data)
    except (struct.error, zlib.error, ValueError, OverflowError) as error:
        raise RecordingFileError(f"a window's numbers cannot be read: {error}") from error
    _check(table)
    return table


def _decoded(columns: Columns, data: bytes) -> SiteTable:
    bins, floats, length, *sizes = _HEAD.unpack_from(data)
    if any(size not in (1, 2, 4, 8) for size in sizes):
        raise ValueError(f"numbers of {sizes} bytes")
    sites, units, judged = len(columns.sites), int(columns.units[-1]), int(columns.judged[-1])
    numbers = (Layout.EXTREMA * sites + units + 5 * judged, bins, bins)
    words = (_FLOAT_ROWS.stop - _FLOAT_ROWS.start) * sites + 4 * units + int(columns.custom[-1])
    if bins > min(MOST_BINS, int(columns.starts[-1])) or floats > words:
        raise ValueError(f"{bins} bins and {floats} floats, more than there can be")
    total = sum(n * size for n, size in zip(numbers, sizes, strict=True)) + (words + 7) // 8
    body = _inflated(data[_HEAD.size : _HEAD.size + length], total)
    parts, at = [], 0
    for n, size in zip(numbers, sizes, strict=True):
        planes = body[at : at + n * size].reshape(size, n)
        parts.append(np.ascontiguousarray(planes.T).view(f"<u{size}").reshape(-1))
        at += n * size
    whole, gaps, counts = parts
    occupied = np.unpackbits(body[at:], count=words).astype(bool)
    held = np.frombuffer(data, "<i8", offset=_HEAD.size + length)
    if len(held) != floats or int(occupied.sum()) != floats:
        raise ValueError(f"{len(held)} floats where {floats} were promised")
    floating = np.zeros(words, np.int64)
    floating[occupied] = held
    if bins and not 1 <= gaps.min() <= gaps.max() <= columns.starts[-1]:
        raise ValueError("bins out of order")
    if max(int(part.max(initial=0)) for part in (whole, counts)) > NEVER:
        raise ValueError("a count beyond all")
    places = np.cumsum(gaps, dtype=np.int64) - 1
    narrow = np.int32 if columns.starts[-1] < 2**31 else np.int64
    dense = _dense(columns, whole.astype(np.int64), floating)
    return SiteTable(columns, dense, places.astype(narrow), counts.astype(np.int64))


def _inflated(deflated: bytes, total: int) -> NDArray[np.uint8]:
    """Return so many bytes, or raise; never makes more than one byte beyond."""
    inflate = zlib.decompressobj()
    body = inflate.decompress(deflated, total + 1)
    if len(body) != total or not inflate.eof or inflate.unused_data:
        raise ValueError(f"{len(body)} bytes where {total} were promised")
    return np.frombuffer(body, np.uint8)


def _dense(columns: Columns, whole: IntArray, floating: IntArray) -> IntArray:
    """Put whole numbers and floats back in their rows."""
    dense = np.empty(columns.dense_words, np.int64)
    rows, sites = columns.rows(dense), len(columns.sites)
    units, judged = rows.moments.shape[1], rows.judged.shape[1]
    ends = np.cumsum((Layout.EXTREMA * sites, units, 4 * judged))
    header, n, samples, last_active = np.split(whole, ends)
    words = rows.header.view(np.int64)
    words[_INT_ROWS] = header.reshape(words[_INT_ROWS].shape)
    rows.moments[0] = n
    rows.judged[:4] = samples.reshape(4, judged)
    rows.judged[4] = last_active - 1
    above = (_FLOAT_ROWS.stop - _FLOAT_ROWS.start) * sites
    parts = np.split(floating, [above, above + 4 * units])
    words[_FLOAT_ROWS] = parts[0].reshape(words[_FLOAT_ROWS].shape)
    rows.moments.view(np.int64)[1:] = parts[1].reshape(4, units)
    rows.custom.view(np.int64)[:] = parts[2]
    return dense


# ---- what must hold of any table ----------------------------------------------------------------


def _check(table: SiteTable) -> None:
    """Refuse numbers that no run can have counted: readers rely on them."""
    header = table.rows.header.view(np.int64)
    calls, count, zeros, nan, posinf, neginf, *_ = header[_INT_ROWS]
    finite, broken = count - nan - posinf - neginf, header[Layout.BROKEN]
    before, at_zero, binned = _bins_by_part(table)
    claims = {
        "sites that were never called": calls < 1,
        "more exceptions than values": (finite < 0) | (zeros > np.minimum(finite, at_zero)),
        "a step beyond all": (broken < 0) | (broken > NEVER),
        "bins where there are none": before > 0,
        "more values in bins than were seen": binned > count,
        "more values in units than were seen": table.columns.total(table.rows.moments[0]) > finite,
    }
    wrong = [what for what, found in claims.items() if found.any()]
    if table.bins.size and int(table.bins[-1]) >= table.columns.starts[-1]:
        wrong.append("bins beyond the last")
    if wrong:
        raise RecordingFileError(f"a window's numbers contradict themselves: {', '.join(wrong)}.")


def _bins_by_part(table: SiteTable) -> tuple[IntArray, IntArray, IntArray]:
    """Return for each site the counts before its histogram, of zero's bin, and in its histogram."""
    columns = table.columns
    first, end = columns.histograms.T
    until = np.concatenate(([0], np.cumsum(table.counts)))
    places = (columns.starts[:-1], first, first + 1, end)
    a, b, c, d = (until[np.searchsorted(table.bins, place)] for place in places)
    return b - a, c - b, d - b


# ---- layouts -------------------------------------------------------------------------------------


def layout_to_json(columns: Columns) -> list[dict[str, Any]]:
    """Return what is known of a table's sites beside their numbers."""
    return [
        {
            "site": kept.site,
            "resolution": kept.spec.resolution,
            "width": kept.spec.width,
            "judged": kept.spec.gate is not None,
            "asymptote": kept.spec.asymptote,
            "edges": None if kept.spec.edges is None else list(kept.spec.edges),
            "activation": None if kept.activation is None else kept.activation.key,
            "saturation_slope": kept.saturation_slope,
            "units": kept.units,
            "notes": [list(note) for note in kept.notes],
        }
        | ({"custom": [*map(spec_to_json, kept.spec.custom)]} if kept.spec.custom else {})
        for kept in columns.sites
    ]


def layout_from_json(layout: Any) -> Columns:
    """Rebuild what :func:`layout_to_json` was given.

    Raises
    ------
    RecordingFileError
        If it is none, or its tables would be larger than :data:`MOST_WORDS`.
    """
    try:
        sites = tuple(_kept(**one) for one in layout)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise RecordingFileError(f"a layout of sites cannot be read: {error}") from error
    layouts = [Layout.of(kept.spec) for kept in sites]
    words = sum(at.histogram + at.words - at.custom for at in layouts)
    if words > MOST_WORDS:
        raise RecordingFileError(f"a window of {words} words is refused; {MOST_WORDS} are allowed.")
    if len({kept.site for kept in sites}) != len(sites):
        raise RecordingFileError("a layout of sites names one twice.")
    return Columns(sites)


def _kept(
    *,
    site: str,
    resolution: int,
    width: int,
    judged: bool,
    asymptote: bool,
    edges: list[float] | None,
    activation: str | None,
    saturation_slope: float,
    units: int,
    notes: list[tuple[str, str]],
    custom: list[list[Any]] | None = None,
) -> Kept:
    """Return what is kept of a site; every value is checked before anything is made of it."""
    known = None if activation is None else activations.activation_from_key(activation)
    numbers = isinstance(width, int) and isinstance(units, int) and isinstance(site, str)
    if not numbers or not 1 <= width <= MOST_WORDS or units not in (0, width):
        raise ValueError(f"{site!r} has {units!r} units and {width!r} columns")
    if not isinstance(saturation_slope, float) or not 0 < saturation_slope < 1:
        raise ValueError(f"a saturation slope of {saturation_slope!r}")
    if judged and known is None:
        raise ValueError(f"{site!r} is judged without an activation")
    spec = Spec(
        resolution=require_resolution(resolution),
        width=width,
        gate=make_gate(known, saturation_slope) if judged else None,
        asymptote=bool(asymptote),
        edges=None if edges is None else named_edges([float(edge) for edge in edges]),
        custom=tuple(spec_from_json(told) for told in custom or ()),
    )
    told = tuple((str(name), str(reason)) for name, reason in notes)
    return Kept(site, spec, known, saturation_slope, units, told)
