"""The compiled half of the CPU kernel: one pass over raw memory, in numba.

What it counts is what ``reference`` counts. A tensor is read in tiles of at most 4,096 values
that stay in the first-level cache: a vectorised integer pass finds extrema, zeros and whether
anything is not finite; a second adds shifted sums in float64; a third scatters into the
histogram. Tiles with NaN or Inf take a slow path. Everything that depends on the site or the
shape stands in the plan, an array of words that ``cpu`` fills in once.

Numba keeps compiled code by this file's time stamp: whatever it calls must stand here, and the
constants of ``_words`` are held to a checksum.
"""

# What numba compiles follows its habits: int32 arithmetic is cast back at each step (else it
# widens and does not vectorise), slices are indexed from 0 (else wrap-around is checked), and
# `fastmath` is only given to sums, and never the flags that assume away NaN.

from __future__ import annotations

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from actstats.kernels import _words as W

__all__ = [
    "bfloat16",
    "float16",
    "float32",
    "float64",
    "scaled_bfloat16",
    "scaled_float16",
    "scaled_float32",
]

TILE = 4096  # values in a tile: 16 KiB of float32
STRIP = 128  # columns that sums are kept for at a time
CHUNK = 2048  # samples of a unit between merges: bounds the cancellation of shifted sums
WIDE_CHUNK = 512  # of many units, whose sums are longer chains of additions
FEW = 16  # samples whose first value is shift enough; of more it is a median
DIRECT = 512  # values of a run that are worth reading where they lie
HISTOGRAMS = 4  # private ones: increments of one bin need not wait for each other
PADDING = 80  # between them, so that no two share their low address bits
INT32_SAFE = 1 << 31  # values that may share one bin of an int32 count
FLOAT64_MAX = float(np.finfo(np.float64).max)
FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT32_TINY = np.float32(2.0**-149)
SCRATCH = TILE + 7 * STRIP + TILE // 2  # words: a tile, the sums of a strip, places
LAST_PLACE = W.PIECES * (1 - 2.0**-40)
WORDS = 0x6AF53EB7  # checksum of `_words.py`: a change there has to be a change here
SUMS = {"reassoc", "contract", "nsz"}


# ---- bits ----------------------------------------------------------------------------------------


@intrinsic
def _pointer(typing, address):
    """Take an integer for an address."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def _bits(typing, value):
    """Return the bits of a float as an integer of its size."""
    to = {types.float32: types.int32, types.float64: types.int64}[value]

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(to))

    return to(value), generate


@intrinsic
def _float(typing, bits):
    """Return the float of these bits."""
    to = {types.uint32: types.float32, types.int32: types.float32, types.int64: types.float64}[bits]

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(to))

    return to(bits), generate


@njit(nogil=True)
def _half(half):
    """Return the float32 that equals a float16, given as uint16."""
    rest = np.uint32((np.uint32(half) & np.uint32(0x7FFF)) << np.uint32(13))
    least = np.uint32(0x38800000)  # 2**-14
    subnormal = _float(np.uint32(rest | least)) - _float(least)
    bits = np.uint32(rest + np.uint32(112 << 23))
    bits = np.uint32(rest | np.uint32(0x7F800000)) if rest >= np.uint32(0x0F800000) else bits
    bits = np.uint32(_bits(subnormal)) if rest < np.uint32(0x00800000) else bits
    sign = np.uint32((np.uint32(half) & np.uint32(0x8000)) << np.uint32(16))
    return _float(np.uint32(bits | sign))


# ---- what depends on the dtype -------------------------------------------------------------------


def _value(source, i):
    """Return ``source[i]`` as a float that equals it."""


@overload(_value)
def _value_of(source, i):
    if source.dtype == types.uint16:  # bfloat16: the upper half of a float32
        return lambda source, i: _float(np.uint32(np.uint32(source[i]) << np.uint32(16)))
    if source.dtype == types.int16:  # float16
        return lambda source, i: _half(np.uint16(source[i]))
    return lambda source, i: source[i]


def _widen(source, i, tile, scale):
    """Return ``source[i]`` in the tile's dtype, divided by the scale where that is float64."""


@overload(_widen)
def _widen_of(source, i, tile, scale):
    if tile.dtype == types.float64:
        return lambda source, i, tile, scale: np.float64(_value(source, i)) / scale
    return lambda source, i, tile, scale: _value(source, i)


def _read(source, start, count, tile, scale):
    """Return ``count`` neighbours as an array of the tile's dtype: where they lie, or copied."""


@overload(_read)
def _read_of(source, start, count, tile, scale):
    if source.dtype == tile.dtype == types.float32:
        return lambda source, start, count, tile, scale: source[start : start + count]

    def copied(source, start, count, tile, scale):
        part, out = source[start : start + count], tile[:count]
        for i in range(count):
            out[i] = _widen(part, i, tile, scale)
        return out

    return copied


def _ordered(value):
    """Return an integer of the float's size that sorts as the float does, NaN outermost."""


@overload(_ordered, inline="always")
def _ordered_of(value):
    if value == types.float32:

        def ordered32(value):
            bits = _bits(value)
            return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))

        return ordered32

    def ordered64(value):
        bits = _bits(value)
        return bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))

    return ordered64


def _narrow(value):
    """Return a float32 so that no finite value becomes Inf and none but zero becomes zero."""


@overload(_narrow)
def _narrow_of(value):
    if value == types.float32:
        return lambda value: value

    def narrow(value):
        if np.isinf(value):
            return np.float32(value)
        small = np.float32(min(max(value, -FLOAT32_MAX), FLOAT32_MAX))
        if value != value:
            small = np.float32(value)
        if small == np.float32(0) and value != 0.0:
            small = FLOAT32_TINY if value > 0 else -FLOAT32_TINY
        return small

    return narrow


def _like(tile, value):
    """Return a number in the tile's dtype."""


@overload(_like, inline="always")
def _like_of(tile, value):
    if tile.dtype == types.float32:
        return lambda tile, value: np.float32(value)
    return lambda tile, value: np.float64(value)


# ---- passes over a tile --------------------------------------------------------------------------


@njit(nogil=True)
def _survey(v):
    """Return the extrema as ordered integers, and the number of zeros."""
    least = largest = _ordered(v[0])
    zeros = np.int32(0)
    for i in range(len(v)):
        place = _ordered(v[i])
        least = place if place < least else least
        largest = place if place > largest else largest
        zeros = np.int32(zeros + np.int32(v[i] == 0))
    return least, largest, np.int64(zeros)


@njit(nogil=True)
def _minus_zeros(v):
    found = np.int32(0)
    for i in range(len(v)):
        found = np.int32(found + np.int32(_ordered(v[i]) == -1))
    return np.int64(found)


@njit(nogil=True)
def _scatter(v, histogram, shift):
    """Count each value in its bin."""
    for i in range(len(v)):
        histogram[np.uint32(_bits(_narrow(v[i]))) >> shift] += 1


@njit(nogil=True)
def _scatter_private(v, private, stride, shift):
    """Count a quarter of the values in each of four histograms."""
    n = len(v) // 4
    a, b, c, d = v[:n], v[n : 2 * n], v[2 * n : 3 * n], v[3 * n :]
    h, i, j, k = private[:stride], private[stride:], private[2 * stride :], private[3 * stride :]
    for at in range(n):
        h[np.uint32(_bits(_narrow(a[at]))) >> shift] += np.int32(1)
        i[np.uint32(_bits(_narrow(b[at]))) >> shift] += np.int32(1)
        j[np.uint32(_bits(_narrow(c[at]))) >> shift] += np.int32(1)
        k[np.uint32(_bits(_narrow(d[at]))) >> shift] += np.int32(1)
    for at in range(n, len(d)):
        k[np.uint32(_bits(_narrow(d[at]))) >> shift] += np.int32(1)


@njit(nogil=True)
def _scatter_asymptote(v, places, state, w, shift):
    """Count the distance to plus or minus one: at one, in its bins, farther away."""
    places = places[: len(v)]
    at, width = np.int32(w[W.AT_ASYMPTOTE]), np.int32(w[W.ASYMPTOTE_BINS])
    first = np.int32(w[W.ASYMPTOTE_FIRST])
    for i in range(len(v)):  # apart from the counting, so that this loop vectorises
        x = _narrow(v[i])
        size = abs(x)
        distance = np.uint32(_bits(np.float32(1) - size))
        # 0.5 belongs to the last bin; what is just below it is also half, rounded, from one
        distance = np.uint32(distance - np.uint32(size == np.float32(0.5)))
        near = np.int32(np.int32(np.uint32(distance >> shift)) - first)
        side = np.int32(x > np.float32(0))
        place = np.int32(np.int32(at + near) + np.int32(side * width))
        place = place if near >= np.int32(0) else np.int32(np.int32(W.MINUS_ONE) - side)
        # of what is farther away nothing is kept; neighbours need not wait for each other
        spare = np.int32(np.int32(W.SPARE) + np.int32(np.int32(i) & np.int32(W.SPARES - 1)))
        places[i] = np.uint32(place if near < width else spare)
    for i in range(len(v)):
        state[places[i]] += 1
    state[W.SPARE : W.SPARE + W.SPARES] = 0


@njit(nogil=True)
def _scatter_edges(v, linear, edges):
    """Count between named edges; the last is closed, NaN is left out."""
    last = len(edges) - 1
    for i in range(len(v)):
        x = np.float64(v[i])
        if x != x:
            continue
        if x == edges[last]:
            linear[last] += 1
        else:
            linear[np.searchsorted(edges, x, side="right")] += 1


@njit(nogil=True, fastmath=SUMS)
def _add(v, width, shift, sums, squares, absolutes):
    """Add rows of ``width`` columns: four at a time, so that sums are stored less often."""
    rows = len(v) // width
    shift, sums = shift[:width], sums[:width]
    squares, absolutes = squares[:width], absolutes[:width]
    for r in range(0, rows - 3, 4):
        a, b = v[r * width : (r + 1) * width], v[(r + 1) * width : (r + 2) * width]
        c, d = v[(r + 2) * width : (r + 3) * width], v[(r + 3) * width : (r + 4) * width]
        for j in range(width):
            p, q, s, t = np.float64(a[j]), np.float64(b[j]), np.float64(c[j]), np.float64(d[j])
            absolutes[j] += (abs(p) + abs(q)) + (abs(s) + abs(t))
            p, q, s, t = p - shift[j], q - shift[j], s - shift[j], t - shift[j]
            sums[j] += (p + q) + (s + t)
            squares[j] += (p * p + q * q) + (s * s + t * t)
    for r in range(rows - rows % 4, rows):
        a = v[r * width : (r + 1) * width]
        for j in range(width):
            p = np.float64(a[j])
            absolutes[j] += abs(p)
            p -= shift[j]
            sums[j] += p
            squares[j] += p * p


@njit(nogil=True)
def _count(v, width, low, high, counts):
    """Add the values of each column that lie in a closed interval."""
    counts = counts[:width]
    for r in range(len(v) // width):
        row = v[r * width : (r + 1) * width]
        for j in range(width):
            counts[j] = np.int32(counts[j] + np.int32((row[j] >= low) & (row[j] <= high)))


@njit(nogil=True, fastmath=SUMS)
def _count_all(v, low, high):
    found = np.int32(0)
    for i in range(len(v)):
        found = np.int32(found + np.int32((v[i] >= low) & (v[i] <= high)))
    return np.int64(found)


@njit(nogil=True, fastmath=SUMS)
def _add_quadratic(v, first, second):
    total = 0.0
    for i in range(len(v)):
        x = np.float64(v[i])
        total += abs((x - first) * (x - second))
    return total


@njit(nogil=True, inline="always")
def _piece(table, x):
    """Return the size of the slope at x by the polynomial of its piece."""
    place = x * W.PER_ONE + W.PIECES // 2
    place = place if place > 0.0 else 0.0
    place = place if place < LAST_PLACE else LAST_PLACE
    i = np.uint32(place)
    u, c = place - np.float64(i), np.uint32(i * np.uint32(W.COEFFICIENTS))
    a, b = table[c], table[np.uint32(c + np.uint32(1))]
    d, e = table[np.uint32(c + np.uint32(2))], table[np.uint32(c + np.uint32(3))]
    g, h = table[np.uint32(c + np.uint32(4))], table[np.uint32(c + np.uint32(5))]
    return abs(a + u * (b + u * (d + u * (e + u * (g + u * h)))))


@njit(nogil=True, fastmath=SUMS)
def _add_table(v, table):
    total = 0.0
    for i in range(len(v)):
        total += _piece(table, np.float64(v[i]))
    return total


@njit(nogil=True)
def _slope(x, w, f, table):
    """Return the share of the maximal slope at one value."""
    p = f[W.SLOPE_AT :]
    if w[W.SLOPE] == W.SLOPE_BOX:
        return p[2] if p[0] <= x <= p[1] else p[3]
    if w[W.SLOPE] == W.SLOPE_QUADRATIC:
        return p[2] * abs((x - p[0]) * (x - p[1]))
    return _piece(table, x)


@njit(nogil=True)
def _open(v, w, f, table):
    """Return the sum over a tile of finite values of the share of the maximal slope."""
    p = f[W.SLOPE_AT :]
    if w[W.SLOPE] == W.SLOPE_BOX:
        inside = _count_all(v, _like(v, p[0]), _like(v, p[1]))
        return inside * p[2] + (len(v) - inside) * p[3]
    if w[W.SLOPE] == W.SLOPE_QUADRATIC:
        return p[2] * _add_quadratic(v, p[0], p[1])
    return _add_table(v, table)


# ---- moments -------------------------------------------------------------------------------------


@njit(nogil=True)
def _two_sum(a, b):
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


@njit(nogil=True)
def _combine(m, at, width, n, high, low, m2):
    """Merge one unit's moments into the state's: ``actstats.moments.combine`` for a scalar."""
    i_n, i_high, i_low, i_m2 = at, at + width, at + 2 * width, at + 3 * width
    if m[i_n] == 0:
        m[i_n], m[i_high], m[i_low], m[i_m2] = n, high, low, m2
        return
    total = m[i_n] + n
    share = n / total
    delta = (high - m[i_high]) + (low - m[i_low])
    top, error = _two_sum(m[i_high], delta * share)
    rest = m[i_low] + error
    mean = top + rest
    m[i_m2] += m2 + delta * (delta * (m[i_n] * share))
    m[i_n], m[i_high], m[i_low] = total, mean, rest - (mean - top)


@njit(nogil=True)
def _first_finite(v, j, width):
    for i in range(j, len(v), width):
        if np.isfinite(v[i]):
            return np.float64(v[i])
    return np.nan


# ---- a tile, a strip, a tensor -------------------------------------------------------------------


@njit(nogil=True)
def _odd_tile(v, width, keep, w, f, gate, head):
    """Take in a tile with NaN or Inf, value by value; return the extrema of the finite ones."""
    shift, sums, squares, absolutes, missing, hits = keep
    bounds, table = gate
    least, largest, openness, zeros = np.inf, -np.inf, 0.0, 0
    for i in range(len(v)):
        x, j = np.float64(v[i]), i % width
        if not np.isfinite(x):
            missing[j] += 1
            head[W.NAN if x != x else W.POSINF if x > 0 else W.NEGINF] += w[W.OBSERVED]
            continue
        least, largest = min(least, x), max(largest, x)
        zeros += x == 0
        d = x - shift[j]
        sums[j] += d
        squares[j] += d * d
        absolutes[j] += abs(x)
        at = 0
        for side in range(3):
            for _ in range(w[W.INTERVALS + side]):
                hits[side, j] += np.int32(bounds[at] <= x <= bounds[at + 1])
                at += 2
        if w[W.SLOPE] and w[W.SLOPE] != W.SLOPE_ACTIVE:
            openness += _slope(x, w, f, table)
    return least, largest, openness, zeros


@njit(nogil=True)
def _even_tile(v, width, keep, w, f, gate):
    """Take in a tile of finite values: sums and hits by column; return its gate openness."""
    shift, sums, squares, absolutes, _, hits = keep
    bounds, table = gate
    whole = len(v) - len(v) % width
    if w[W.OBSERVED]:
        _add(v[:whole], width, shift, sums, squares, absolutes)
        if whole < len(v):
            _add(v[whole:], len(v) - whole, shift, sums, squares, absolutes)
    at = 0
    for side in range(3):
        for _ in range(w[W.INTERVALS + side]):
            low, high = _like(v, bounds[at]), _like(v, bounds[at + 1])
            _count(v[:whole], width, low, high, hits[side])
            if whole < len(v):
                _count(v[whole:], len(v) - whole, low, high, hits[side])
            at += 2
    return _open(v, w, f, table) if w[W.SLOPE] and w[W.SLOPE] != W.SLOPE_ACTIVE else 0.0


@njit(nogil=True)
def _take(v, width, keep, w, f, state, floats, bins, gate, step):
    """Take in one tile."""
    edges = bins[2]
    least, largest, zeros = _survey(v)
    odd = largest >= _ordered(_like(v, np.inf)) or least <= _ordered(_like(v, -np.inf))
    if odd:
        low, high, openness, zeros = _odd_tile(v, width, keep, w, f, gate, state)
    else:
        low, high = np.float64(_placed(v, least)), np.float64(_placed(v, largest))
        openness = _even_tile(v, width, keep, w, f, gate)
    if w[W.SLOPE]:
        floats[W.OPENNESS] += openness
    if not w[W.OBSERVED]:
        return
    floats[W.LEAST] = min(floats[W.LEAST], low)
    floats[W.LARGEST] = max(floats[W.LARGEST], high)
    state[W.ZEROS] += zeros
    state[W.ALL] += len(v)
    if odd:
        state[W.BROKEN] = max(state[W.BROKEN], W.NEVER - step)
    _fill(v, w, state, bins, zeros > 0 and least < 0)
    if w[W.EDGE_COUNT]:
        _scatter_edges(v, state[w[W.AT_LINEAR] :], edges)


def _placed(v, place):
    """Return the float of an ordered integer."""


@overload(_placed, inline="always")
def _placed_of(v, place):
    if v.dtype == types.float32:
        return lambda v, place: _float(
            np.int32(place ^ np.int32(np.int32(place >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        )
    return lambda v, place: _float(place ^ ((place >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF)))


@njit(nogil=True)
def _fill(v, w, state, bins, signed_zeros):
    """Add a tile to the histograms."""
    private, places, _ = bins
    shift, size = np.uint32(w[W.SHIFT]), w[W.BINS]
    histogram = state[w[W.AT_HISTOGRAM] : w[W.AT_HISTOGRAM] + size]
    if len(private):
        _scatter_private(v, private, size + PADDING, shift)
    else:
        _scatter(v, histogram, shift)
    if signed_zeros:  # all zeros share bin 0
        minus = _minus_zeros(v)
        histogram[size // 2] -= minus
        histogram[0] += minus
    if w[W.ASYMPTOTE_BINS]:
        _scatter_asymptote(v, places, state, w, shift)


@njit(nogil=True)
def _flush(private, w, state):
    """Add the private counts to the state's."""
    size, stride = w[W.BINS], w[W.BINS] + PADDING
    histogram = state[w[W.AT_HISTOGRAM] : w[W.AT_HISTOGRAM] + size]
    for i in range(size if len(private) else 0):
        histogram[i] += np.int64(private[i]) + private[i + stride]
        histogram[i] += np.int64(private[i + 2 * stride]) + private[i + 3 * stride]


@njit(nogil=True)
def _begin(v, samples, units, width, keep):
    """Empty the sums of a strip, and choose its shifts; return whether some unit has none yet."""
    shift, sums, squares, absolutes, missing, hits = keep
    sums[:width] = 0
    squares[:width] = 0
    absolutes[:width] = 0
    missing[:width] = 0
    hits[:, :width] = 0
    shift[:units] = np.nan
    return _settle(v, samples, units, width, shift)


@njit(nogil=True)
def _settle(v, samples, units, width, shift):
    """Shift each unit by its first finite value; until there is one, its shift is NaN."""
    waiting = False
    for j in range(units):
        if np.isnan(shift[j]):
            first = np.float64(v[j])
            shift[j] = first if np.isfinite(first) else _first_finite(v, j, units)
            waiting |= np.isnan(shift[j])
    if samples > FEW:
        _improve(v, units, shift)
    if units == 1:
        shift[:width] = shift[0]
        return waiting
    for k in range(units, width, units):
        for j in range(units):
            shift[k + j] = shift[j]
    return waiting


@njit(nogil=True)
def _improve(v, units, shift):
    """Shift by a median of nine values: the first may be far from all others."""
    gap = len(v) // units // 9 * units
    a, b, c = v[:units], v[gap : gap + units], v[2 * gap : 2 * gap + units]
    d, e, f = v[3 * gap :][:units], v[4 * gap :][:units], v[5 * gap :][:units]
    g, h, i = v[6 * gap :][:units], v[7 * gap :][:units], v[8 * gap :][:units]
    for j in range(units):
        first, second = _middle(a[j], b[j], c[j]), _middle(d[j], e[j], f[j])
        median = np.float64(_middle(first, second, _middle(g[j], h[j], i[j])))
        shift[j] = median if np.isfinite(median) else shift[j]


@njit(nogil=True, inline="always")
def _middle(a, b, c):
    low, high = (a, b) if a < b else (b, a)
    high = high if high < c else c
    return high if high > low else low


@njit(nogil=True, fastmath=SUMS)
def _total(values):
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total


@njit(nogil=True)
def _end(samples, units, width, c, keep, w, f, state, floats, step):
    """Add the sums of a strip to the state's units, from the c-th on."""
    shift, sums, squares, absolutes, missing, hits = keep
    copies = width // units
    if units == 1:
        sums[0], squares[0] = _total(sums[:width]), _total(squares[:width])
        absolutes[0], missing[0] = _total(absolutes[:width]), missing[:width].sum()
        for side in range(3 if w[W.ACTIVITY] else 0):
            hits[side, 0] = np.int32(hits[side, :width].sum())
        copies = 1
    while copies > 1:  # columns of one unit: fold the later half onto the earlier
        half = copies // 2
        first, copies = (copies - half) * units, copies - half
        for j in range(half * units):
            sums[j] += sums[first + j]
            squares[j] += squares[first + j]
            absolutes[j] += absolutes[first + j]
            missing[j] += missing[first + j]
        if w[W.ACTIVITY]:
            for side in range(3):
                for j in range(half * units):
                    hits[side, j] = np.int32(hits[side, j] + hits[side, first + j])
    columns = w[W.WIDTH]
    if w[W.OBSERVED]:
        m = floats[w[W.AT_MOMENTS] : w[W.AT_MOMENTS] + 5 * columns]
        for i in range(units):
            n = np.float64(samples - missing[i])
            if n > 0:
                high, low = _two_sum(shift[i], sums[i] / n)
                correction = min(sums[i] * sums[i] / n, FLOAT64_MAX)  # Inf - Inf would be NaN
                m2 = max(squares[i] - correction, 0.0)
                _combine(m, c + i, columns, n, high, low, m2)
                m[W.ABSOLUTE * columns + c + i] += absolutes[i]
    if w[W.ACTIVITY]:
        judged = state[w[W.AT_JUDGED] : w[W.AT_JUDGED] + 5 * columns]
        for i in range(units):
            seen, at = samples - missing[i], c + i
            rest = seen - hits[0, i] - hits[1, i]
            active = rest if w[W.ACTIVITY] == W.ACTIVE_REST else np.int64(hits[2, i])
            active = seen - active if w[W.ACTIVITY] == W.ACTIVE_NOT_THIRD else active
            judged[W.SEEN * columns + at] += seen
            judged[W.ACTIVE * columns + at] += active
            judged[W.SATURATED_LOW * columns + at] += hits[0, i]
            judged[W.SATURATED_HIGH * columns + at] += hits[1, i]
            if active > 0:
                judged[W.LAST * columns + at] = max(judged[W.LAST * columns + at], step)
            if w[W.SLOPE] == W.SLOPE_ACTIVE:
                inside, outside = f[W.SLOPE_AT + 2], f[W.SLOPE_AT + 3]
                floats[W.OPENNESS] += active * inside + (seen - active) * outside


@njit(nogil=True)
def _rows(source, tile, keep, w, f, state, floats, bins, gate, step):
    """Read samples of all units, a strip of units at a time."""
    last, inner = w[W.UNIT_TO], w[W.INNER_TO]
    dense = w[W.UNIT_STRIDE] == 1 and w[W.OUTER_STRIDE] == last and w[W.UNIT_FROM] == 0
    for c in range(w[W.UNIT_FROM], last, STRIP):
        units = min(STRIP, last - c)
        # several samples of few units side by side, but not most of them: they are added up again
        width = min(STRIP // units, max(1, w[W.OUTER_TO] * inner // 16)) * units
        per_tile = TILE // units
        chunk = min(CHUNK, max(WIDE_CHUNK, 4 * per_tile))
        waiting = False
        for begin in range(w[W.OUTER_FROM] * inner, w[W.OUTER_TO] * inner, chunk):
            end = min(begin + chunk, w[W.OUTER_TO] * inner)
            for sample in range(begin, end, per_tile):
                samples = min(per_tile, end - sample)
                if dense and last <= STRIP:
                    v = _read(source, sample * last, samples * units, tile, f[W.SCALE])
                else:
                    v = tile[: samples * units]
                    _gather(source, sample, samples, c, units, w, f[W.SCALE], v)
                if sample == begin:
                    waiting = _begin(v, end - begin, units, width, keep)
                elif waiting:
                    waiting = _settle(v, 0, units, width, keep[0])
                _take(v, width, keep, w, f, state, floats, bins, gate, step)
            _end(end - begin, units, width, c, keep, w, f, state, floats, step)


@njit(nogil=True)
def _gather(source, sample, samples, c, units, w, scale, out):
    """Copy samples of some units into a tile."""
    inner, stride, outer_stride = w[W.INNER_TO], w[W.UNIT_STRIDE], w[W.OUTER_STRIDE]
    for k in range(samples):
        row = out[k * units : (k + 1) * units]
        if stride == 1:
            at = (sample + k) * outer_stride + c
            part = source[at : at + units]
            for j in range(units):
                row[j] = _widen(part, j, out, scale)
        else:
            n = (sample + k) // inner
            part = source[n * outer_stride + (sample + k - n * inner) + c * stride :]
            for j in range(units):
                row[j] = _widen(part, j * stride, out, scale)


@njit(nogil=True)
def _runs(source, tile, keep, w, f, state, floats, bins, gate, step):
    """Read runs of one unit after another; those that are not long are gathered into a tile."""
    one, width = np.int64(1), np.int64(STRIP)  # not literals: numba would compile for each
    first, last, end = w[W.INNER_FROM], w[W.INNER_TO], w[W.OUTER_TO]
    for c in range(w[W.UNIT_FROM], w[W.UNIT_TO]):
        outer, inner, samples, waiting = w[W.OUTER_FROM], first, 0, False
        while outer < end:
            count = min(TILE, last - inner)
            start = outer * w[W.OUTER_STRIDE] + c * w[W.UNIT_STRIDE] + inner
            if count >= DIRECT or end - outer == 1:
                v = _read(source, start, count, tile, f[W.SCALE])
                outer, inner = (
                    (outer + 1, first) if inner + count == last else (outer, inner + count)
                )
            else:  # short runs, or the rest of one
                count = 0
                while outer < end and count + last - inner <= TILE and last - inner < DIRECT:
                    start = outer * w[W.OUTER_STRIDE] + c * w[W.UNIT_STRIDE] + inner
                    out, part = tile[count : count + last - inner], source[start:]
                    for i in range(last - inner):
                        out[i] = _widen(part, i, tile, f[W.SCALE])
                    count, outer, inner = count + last - inner, outer + 1, first
                v = tile[:count]
            if samples == 0:
                waiting = _begin(v, len(v), one, width, keep)
            elif waiting:
                waiting = _settle(v, 0, one, width, keep[0])
            _take(v, width, keep, w, f, state, floats, bins, gate, step)
            samples += count
            if samples >= CHUNK or outer == end:
                _end(samples, one, width, c, keep, w, f, state, floats, step)
                samples = 0


@njit(nogil=True)
def _run(plan, source, tile, scratch, step):
    """Observe or judge one tensor as its plan says."""
    w = carray(_pointer(plan), (W.WORDS,), np.int64)
    f = carray(_pointer(plan), (W.WORDS,), np.float64)
    words = w[W.AT_LINEAR] + w[W.EDGE_COUNT] + 1
    state = carray(_pointer(w[W.MEMORY]), (words,), np.int64)
    floats = carray(_pointer(w[W.MEMORY]), (words,), np.float64)
    intervals = w[W.INTERVALS] + w[W.INTERVALS + 1] + w[W.INTERVALS + 2]
    bounds = carray(_pointer(w[W.BOUNDS]), (2 * intervals,), np.float64)
    table = carray(_pointer(w[W.TABLE]), (W.PIECES * W.COEFFICIENTS,), np.float64)
    gate = (bounds, table)
    edges = carray(_pointer(w[W.EDGES]), (w[W.EDGE_COUNT],), np.float64)
    sums = carray(_pointer(scratch + 8 * TILE), (4, STRIP), np.float64)
    missing = carray(_pointer(scratch + 8 * (TILE + 4 * STRIP)), STRIP, np.int64)
    hits = carray(_pointer(scratch + 8 * (TILE + 5 * STRIP)), (3, STRIP), np.int32)
    places = carray(_pointer(scratch + 8 * (TILE + 7 * STRIP)), TILE, np.uint32)
    keep = (sums[0], sums[1], sums[2], sums[3], missing, hits)
    state[W.CALLS] += w[W.CALL]
    values = (
        (w[W.OUTER_TO] - w[W.OUTER_FROM])
        * (w[W.UNIT_TO] - w[W.UNIT_FROM])
        * (w[W.INNER_TO] - w[W.INNER_FROM])
    )
    worth_it = w[W.OBSERVED] and 4 * w[W.BINS] <= values < INT32_SAFE
    counts = HISTOGRAMS * (w[W.BINS] + PADDING) if worth_it else 0
    memory = np.zeros(counts, np.int32)
    private = carray(_pointer(np.int64(memory.ctypes.data)), counts, np.int32)
    bins = (private, places, edges)
    if w[W.ROWS]:
        _rows(source, tile, keep, w, f, state, floats, bins, gate, step)
    else:
        _runs(source, tile, keep, w, f, state, floats, bins, gate, step)
    _flush(private, w, state)
    memory[:1] = 0  # it lives until here


# What is called from Python: a plan's address, the tensor's, and the number of the step. Of the
# scaled ones values are divided, so their tiles are float64. Scratch memory is one allocation, seen
# through pointers: arrays that count references would cost more than small tensors do.


@njit(inline="always")
def _enter(plan, data, step, kind, wide):
    """Read a tensor of one kind of number in tiles of another."""
    w = carray(_pointer(plan), (W.WORDS,), np.int64)
    scratch = np.empty(SCRATCH + 8, np.int64)
    at = (np.int64(scratch.ctypes.data) + 63) & -64
    source = carray(_pointer(data), w[W.EXTENT], kind)
    _run(plan, source, carray(_pointer(at), TILE, wide), at, step)
    scratch[0] = 0  # it lives until here


def float32(plan, data, step):
    _enter(plan, data, step, np.float32, np.float32)


def bfloat16(plan, data, step):
    _enter(plan, data, step, np.uint16, np.float32)


def float16(plan, data, step):
    _enter(plan, data, step, np.int16, np.float32)


def float64(plan, data, step):
    _enter(plan, data, step, np.float64, np.float64)


def scaled_float32(plan, data, step):
    _enter(plan, data, step, np.float32, np.float64)


def scaled_bfloat16(plan, data, step):
    _enter(plan, data, step, np.uint16, np.float64)


def scaled_float16(plan, data, step):
    _enter(plan, data, step, np.int16, np.float64)
