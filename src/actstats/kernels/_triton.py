"""The compiled half of the CUDA kernel: two passes, in Triton.

``read`` walks over a tensor. Each of its programs takes some samples of some units, a tile at a
time, and leaves its moments, extrema and sum of slopes in a scratch of its own; what is counted
goes to the state, or to one of several private histograms, by atomic additions of integers.
``merge`` then adds up the private parts in a fixed order. So a result depends on the shape of
what was read, and on nothing that differs from run to run.

Values are told apart by their bits, which no arithmetic mode can change. Of a value of 16 or 32
bits, seven operations are in float64 (a conversion, two sums and a deviation's sum and square),
and those of a curved slope.
"""

import math

import triton
import triton.language as tl

from actstats.kernels import _words as W

__all__ = ["merge", "read"]

CALLS, ALL, ZEROS = tl.constexpr(W.CALLS), tl.constexpr(W.ALL), tl.constexpr(W.ZEROS)
NAN, POSINF, NEGINF = tl.constexpr(W.NAN), tl.constexpr(W.POSINF), tl.constexpr(W.NEGINF)
PLUS_ONE, MINUS_ONE = tl.constexpr(W.PLUS_ONE), tl.constexpr(W.MINUS_ONE)
BROKEN, NEVER = tl.constexpr(W.BROKEN), tl.constexpr(W.NEVER)
LEAST, LARGEST, OPENNESS = tl.constexpr(W.LEAST), tl.constexpr(W.LARGEST), tl.constexpr(W.OPENNESS)
SIZE32, INF32 = tl.constexpr(0x7FFFFFFF), tl.constexpr(0x7F800000)
SIZE64, INF64 = tl.constexpr(0x7FFFFFFFFFFFFFFF), tl.constexpr(0x7FF0000000000000)
FLOAT32_MAX = tl.constexpr(3.4028234663852886e38)
FLOAT64_MAX = tl.constexpr(1.7976931348623157e308)
SQRT_HALF, ROOT = tl.constexpr(math.sqrt(0.5)), tl.constexpr(math.sqrt(2 / math.pi))
CUBIC = tl.constexpr(0.044715)


# ---- one value -----------------------------------------------------------------------------------


@triton.jit
def _widen(raw, scale, SCALE: tl.constexpr):
    """Return values as float32, or as float64 where they are that or are divided."""
    values = raw
    if raw.dtype == tl.bfloat16:
        values = (raw.to(tl.int16, bitcast=True).to(tl.int32) << 16).to(tl.float32, bitcast=True)
    elif raw.dtype == tl.float16:
        values = raw.to(tl.float32)
    if SCALE == "number":
        values = values.to(tl.float64) / scale.to(tl.int64).to(tl.float64, bitcast=True)
    elif SCALE == "tensor":
        values = values.to(tl.float64) / tl.load(scale).to(tl.float64)
    return values


@triton.jit
def _sizes(values):
    """Return the bits of |values|, and those of infinity: zero is 0, and NaN is above."""
    if values.dtype == tl.float64:
        return values.to(tl.int64, bitcast=True) & SIZE64, INF64
    else:
        return values.to(tl.int32, bitcast=True) & SIZE32, INF32


@triton.jit
def _narrow(values, sizes):
    """Return the bits of float32 so that no finite value becomes Inf.

    What is too small becomes a zero of its sign, whose bin is that of the smallest numbers.
    """
    if values.dtype == tl.float64:
        inside = tl.minimum(tl.maximum(values, -FLOAT32_MAX), FLOAT32_MAX)
        return tl.where(sizes < INF64, inside, values).to(tl.float32).to(tl.int32, bitcast=True)
    else:
        return values.to(tl.int32, bitcast=True)


@triton.jit
def _within(values, bounds, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """Tell which values lie in one of the closed intervals."""
    hit = tl.zeros(values.shape, tl.int1)
    for i in tl.static_range(FIRST, FIRST + COUNT):
        hit = hit | ((values >= tl.load(bounds + 2 * i)) & (values <= tl.load(bounds + 2 * i + 1)))
    return hit


@triton.jit
def _curve(x, form, SLOPE: tl.constexpr):
    """Return the slope at x, in float64; but for its sign and the first number of its form."""
    if SLOPE == "quadratic":
        return (x - tl.load(form + 1)) * (x - tl.load(form + 2))
    z = tl.minimum(tl.maximum(x, -100.0), 100.0)
    if SLOPE == "swish":
        rate = tl.load(form + 1)
        gate = 1.0 / (1.0 + tl.exp(-rate * z))
        return gate * (1.0 + rate * z * (1.0 - gate))
    elif SLOPE == "gelu":
        share = 0.5 * (1.0 + tl.erf(z * SQRT_HALF))
        return share + z * tl.exp(-0.5 * z * z) * (0.5 * ROOT)
    else:
        tanh = 1.0 - 2.0 / (1.0 + tl.exp((z + z * z * z * CUBIC) * (2.0 * ROOT)))
        inner = (1.0 + z * z * (3.0 * CUBIC)) * ROOT
        return 0.5 * (1.0 + tanh) + 0.5 * z * (1.0 - tanh) * (1.0 + tanh) * inner


# ---- moments -------------------------------------------------------------------------------------


@triton.jit
def _two_sum(a, b):
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


@triton.jit
def _combine(n_a, high_a, low_a, m2_a, n_b, high_b, low_b, m2_b):
    """Merge two sets of moments: ``actstats.moments.combine``."""
    n = n_a + n_b
    share = n_b / tl.maximum(n, 1.0)
    delta = (high_b - high_a) + (low_b - low_a)
    high, error = _two_sum(high_a, delta * share)
    low = tl.where(n_a == 0, low_b, low_a + error)
    mean = high + low
    return n, mean, low - (mean - high), m2_a + m2_b + delta * (delta * (n_a * share))


@triton.jit
def _tile_moments(known, finite, n):
    """Return each unit's moments in a tile: two passes over what is in registers."""
    count = tl.maximum(n, 1.0)
    centre = tl.sum(known, 0) / count
    deviation = tl.where(finite, known - centre[None, :], 0.0)
    rest = tl.sum(deviation, 0)
    correction = tl.minimum(rest * rest / count, FLOAT64_MAX)  # Inf - Inf would be NaN
    m2 = tl.maximum(tl.sum(deviation * deviation, 0) - correction, 0.0)
    high, low = _two_sum(centre, rest / count)
    return high, low, m2


@triton.jit
def _pool(n, high, low, m2):
    """Merge the moments of the first axis: ``actstats.moments.Moments.pooled``."""
    total = tl.sum(n, 0)
    count = tl.maximum(total, 1.0)
    centre = tl.sum(high * (n / count[None, :]), 0)
    delta = tl.where(n > 0, (high - centre[None, :]) + low, 0.0)
    shift = tl.sum(n * delta, 0) / count
    delta = tl.where(n > 0, delta - shift[None, :], 0.0)
    spread = tl.sum(m2, 0) + tl.sum(n * delta * delta, 0)
    mean, rest = _two_sum(centre, shift)
    return total, mean, rest, spread


# ---- what is counted -----------------------------------------------------------------------------


@triton.jit
def _scatter_asymptote(bits, inside, bins, SHIFT: tl.constexpr, WIDTH: tl.constexpr):
    """Count the distance to plus or minus one in bins; return which values are at either."""
    values = bits.to(tl.float32, bitcast=True)
    size = tl.abs(values)
    near = inside & (size >= 0.5) & (size < 1.0)
    distance = (1.0 - size).to(tl.int32, bitcast=True) >> SHIFT
    column = tl.minimum(distance - (102 << (23 - SHIFT)), WIDTH - 1)  # from 2**-25 up; 0.5 is last
    place = tl.where(values > 0, column + WIDTH, column)
    tl.atomic_add(bins + place, 1, mask=near, sem="relaxed")
    return inside & (values == 1.0), inside & (values == -1.0)


@triton.jit
def _scatter_edges(values, known, bins, edges, EDGES: tl.constexpr, STEPS: tl.constexpr):
    """Count between named edges, found by bisection; the last is closed."""
    values = values.to(tl.float64)
    place = tl.zeros(values.shape, tl.int32)
    for i in tl.static_range(STEPS):
        further = place + (1 << (STEPS - 1 - i))
        edge = tl.load(edges + tl.minimum(further, EDGES) - 1)
        place = tl.where((further <= EDGES) & (values >= edge), further, place)
    place = tl.where(values == tl.load(edges + EDGES - 1), EDGES - 1, place)
    tl.atomic_add(bins + place, 1, mask=known, sem="relaxed")


@triton.jit
def _tally(mask):
    """Count per unit."""
    return tl.sum(mask.to(tl.int32), 0)


@triton.jit
def _add(place, counts):
    """Add the counts of all units to one word."""
    tl.atomic_add(place, tl.sum(counts, 0).to(tl.int64), sem="relaxed")


@triton.jit
def _add_each(places, counts, is_unit):
    """Add the count of each unit to its word."""
    tl.atomic_add(places, counts.to(tl.int64), mask=is_unit, sem="relaxed")


# ---- the first pass ------------------------------------------------------------------------------


@triton.jit(
    do_not_specialize=[
        *("scale", "step", "samples", "width", "inner", "chunk", "copies", "span"),
        # A thread that knew of neighbours would take several units, and keep sums of all of them.
        *("outer_stride", "inner_stride", "unit_stride"),
        *("at_judged", "at_asymptote", "at_linear"),
    ]
)
def read(
    x,
    memory,  # of the state
    bins,  # what is counted into: `copies` histograms of `span` words each
    scratch,
    edges,
    bounds,  # of the gate's intervals, in the dtype of what is compared with them
    form,  # parameters of the slope
    scale,
    step,
    samples,  # of each unit
    width,
    inner,  # samples that lie `inner_stride` apart; groups of them lie `outer_stride` apart
    outer_stride,
    inner_stride,
    unit_stride,
    chunk,  # samples of a program
    copies,
    span,
    at_judged,
    at_asymptote,
    at_linear,
    SAMPLES: tl.constexpr,
    UNITS: tl.constexpr,
    SPLIT: tl.constexpr,  # whether there are several groups of samples
    LARGE: tl.constexpr,  # whether places need 64 bits
    SCALE: tl.constexpr,  # "none", "number" (the bits of a float64), "tensor"
    HEAD: tl.constexpr,  # words of a program's extrema and sum of slopes
    OBSERVED: tl.constexpr,
    JUDGED: tl.constexpr,
    SHIFT: tl.constexpr,  # bits of a float32 below its bin
    ASYMPTOTE: tl.constexpr,  # bins of one side; 0: none
    EDGES: tl.constexpr,
    STEPS: tl.constexpr,  # of a bisection of the edges
    LOW: tl.constexpr,  # how many intervals there are of each kind
    HIGH: tl.constexpr,
    THIRD: tl.constexpr,
    ACTIVE: tl.constexpr,  # "rest": neither low nor high; "third"; "not third"
    SLOPE: tl.constexpr,  # "none", "box", "quadratic", "swish", "gelu", "gelu_tanh"
):
    """Read a tensor once."""
    tile, block = tl.program_id(0), tl.program_id(1)
    program = block * tl.num_programs(0) + tile
    programs = tl.num_programs(0) * tl.num_programs(1)
    unit = tile * UNITS + tl.arange(0, UNITS)
    is_unit = unit < width
    column, first = unit, block * chunk
    if LARGE:
        column, first = unit.to(tl.int64), block.to(tl.int64) * chunk
    last = tl.minimum(first + chunk, samples)
    bins += (program % copies) * span

    n = tl.zeros((UNITS,), tl.float64)
    high = tl.zeros((UNITS,), tl.float64)
    low = tl.zeros((UNITS,), tl.float64)
    m2 = tl.zeros((UNITS,), tl.float64)
    absolute = tl.zeros((UNITS,), tl.float64)
    least = tl.full((UNITS,), float("inf"), tl.float64)
    largest = tl.full((UNITS,), float("-inf"), tl.float64)
    zeros = tl.zeros((UNITS,), tl.int32)
    nans = tl.zeros((UNITS,), tl.int32)
    posinfs = tl.zeros((UNITS,), tl.int32)
    neginfs = tl.zeros((UNITS,), tl.int32)
    plus = tl.zeros((UNITS,), tl.int32)
    minus = tl.zeros((UNITS,), tl.int32)
    seen = tl.zeros((UNITS,), tl.int32)
    active = tl.zeros((UNITS,), tl.int32)
    below = tl.zeros((UNITS,), tl.int32)
    above = tl.zeros((UNITS,), tl.int32)
    slopes = tl.zeros((UNITS,), tl.float64)

    for start in range(first, last, SAMPLES):
        sample = start + tl.arange(0, SAMPLES)
        inside = (sample < last)[:, None] & is_unit[None, :]
        row = sample * inner_stride
        if SPLIT:
            row = (sample // inner) * outer_stride + (sample % inner) * inner_stride
        place = row[:, None] + (column * unit_stride)[None, :]
        values = _widen(tl.load(x + place, mask=inside, other=0.0), scale, SCALE)
        sizes, infinite = _sizes(values)
        finite = inside & (sizes < infinite)
        here = _tally(finite)

        if OBSERVED:
            known, count = tl.where(finite, values, 0.0).to(tl.float64), here.to(tl.float64)
            high_b, low_b, m2_b = _tile_moments(known, finite, count)
            n, high, low, m2 = _combine(n, high, low, m2, count, high_b, low_b, m2_b)
            absolute += tl.sum(tl.abs(known), 0)
            ends = tl.min(tl.where(finite, values, float("inf")), 0)
            least = tl.minimum(least, ends.to(tl.float64))
            ends = tl.max(tl.where(finite, values, float("-inf")), 0)
            largest = tl.maximum(largest, ends.to(tl.float64))
            zeros += _tally(inside & (sizes == 0))
            if tl.sum(_tally(inside & (sizes >= infinite)), 0) > 0:
                nans += _tally(inside & (sizes > infinite))
                posinfs += _tally(inside & (values == float("inf")))
                neginfs += _tally(inside & (values == float("-inf")))
            bits = _narrow(values, sizes)
            index = (bits >> SHIFT) & ((1 << (32 - SHIFT)) - 1)
            # without zeros: after a ReLU they are many, and would wait for each other
            tl.atomic_add(bins + index, 1, mask=inside & (sizes != 0), sem="relaxed")
            if ASYMPTOTE > 0:
                at_plus, at_minus = _scatter_asymptote(
                    bits, inside, bins + at_asymptote, SHIFT, ASYMPTOTE
                )
                plus += _tally(at_plus)
                minus += _tally(at_minus)
            if EDGES > 0:
                no_nan = inside & (sizes <= infinite)
                _scatter_edges(values, no_nan, bins + at_linear, edges, EDGES, STEPS)

        if JUDGED:
            hit_low = _tally(finite & _within(values, bounds, 0, LOW))
            hit_high = _tally(finite & _within(values, bounds, LOW, HIGH))
            seen += here
            below += hit_low
            above += hit_high
            if ACTIVE == "rest":
                active += here - hit_low - hit_high
            else:
                third = _tally(finite & _within(values, bounds, LOW + HIGH, THIRD))
                active += third if ACTIVE == "third" else here - third
            if SLOPE == "box":
                hits = _tally(finite & _within(values, bounds, LOW + HIGH + THIRD, 1))
                slopes += hits * tl.load(form) + (here - hits) * tl.load(form + 1)
            elif SLOPE != "none":
                share = _curve(values.to(tl.float64), form, SLOPE)
                slopes += tl.sum(tl.where(finite, tl.abs(share), 0.0), 0) * tl.load(form)

    head = scratch + program * HEAD
    if OBSERVED:
        own = scratch + programs * HEAD + block.to(tl.int64) * 5 * width + unit
        tl.store(own, n, mask=is_unit)
        tl.store(own + width, high, mask=is_unit)
        tl.store(own + 2 * width, low, mask=is_unit)
        tl.store(own + 3 * width, m2, mask=is_unit)
        tl.store(own + 4 * width, absolute, mask=is_unit)
        tl.store(head, tl.min(least, 0))
        tl.store(head + 1, tl.max(largest, 0))
        _add(memory + ZEROS, zeros)
        _add(bins, zeros)
        _add(memory + NAN, nans)
        _add(memory + POSINF, posinfs)
        _add(memory + NEGINF, neginfs)
        first = tl.zeros((UNITS,), tl.int64) + NEVER - step
        broken = memory + BROKEN + tl.zeros((UNITS,), tl.int32)
        tl.atomic_max(broken, first, mask=nans + posinfs + neginfs > 0, sem="relaxed")
        if ASYMPTOTE > 0:
            _add(memory + PLUS_ONE, plus)
            _add(memory + MINUS_ONE, minus)
    if JUDGED:
        tl.store(head + 2, tl.sum(slopes, 0))
        judged = memory + at_judged + unit
        _add_each(judged, seen, is_unit)
        _add_each(judged + width, active, is_unit)
        _add_each(judged + 2 * width, below, is_unit)
        _add_each(judged + 3 * width, above, is_unit)
        date = tl.zeros((UNITS,), tl.int64) + step
        tl.atomic_max(judged + 4 * width, date, mask=is_unit & (active > 0), sem="relaxed")


# ---- the second pass -----------------------------------------------------------------------------


@triton.jit
def _merge_moments(
    moments, parts, program, blocks, width, BLOCKS: tl.constexpr, UNITS: tl.constexpr
):
    """Merge the scratch of all blocks of samples, in their order, for some units."""
    unit = program * UNITS + tl.arange(0, UNITS)
    is_unit = unit < width
    own = moments + unit
    n = tl.load(own, mask=is_unit, other=0.0)
    high = tl.load(own + width, mask=is_unit, other=0.0)
    low = tl.load(own + 2 * width, mask=is_unit, other=0.0)
    m2 = tl.load(own + 3 * width, mask=is_unit, other=0.0)
    absolute = tl.load(own + 4 * width, mask=is_unit, other=0.0)
    for start in range(0, blocks, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        there = (block < blocks)[:, None] & is_unit[None, :]
        part = parts + (block.to(tl.int64) * 5 * width)[:, None] + unit[None, :]
        n_b, high_b, low_b, m2_b = _pool(
            tl.load(part, mask=there, other=0.0),
            tl.load(part + width, mask=there, other=0.0),
            tl.load(part + 2 * width, mask=there, other=0.0),
            tl.load(part + 3 * width, mask=there, other=0.0),
        )
        n, high, low, m2 = _combine(n, high, low, m2, n_b, high_b, low_b, m2_b)
        absolute += tl.sum(tl.load(part + 4 * width, mask=there, other=0.0), 0)
    tl.store(own, n, mask=is_unit)
    tl.store(own + width, high, mask=is_unit)
    tl.store(own + 2 * width, low, mask=is_unit)
    tl.store(own + 3 * width, m2, mask=is_unit)
    tl.store(own + 4 * width, absolute, mask=is_unit)


@triton.jit
def _merge_bins(histogram, bins, program, copies, span, COPIES: tl.constexpr, BINS: tl.constexpr):
    """Add up some bins of the private histograms, and leave them zero."""
    index = program * BINS + tl.arange(0, BINS)
    counts = tl.zeros((BINS,), tl.int64)
    for start in range(0, copies, COPIES):
        copy = start + tl.arange(0, COPIES)
        place = bins + (copy * span)[:, None] + index[None, :]
        part = tl.load(place, mask=(copy < copies)[:, None] & (index < span)[None, :], other=0)
        tl.store(place, tl.zeros((COPIES, BINS), tl.int64), mask=part != 0)
        counts += tl.sum(part, 0)
    place = histogram + index
    tl.store(place, tl.load(place, mask=counts != 0, other=0) + counts, mask=counts != 0)


@triton.jit(
    do_not_specialize=[
        *("blocks", "programs", "width", "copies", "span", "calls", "total"),
        *("at_moments", "at_histogram"),
    ]
)
def merge(
    memory,  # of the state
    bins,  # `copies` histograms of `span` words each; zero afterwards
    scratch,
    blocks,  # of samples
    programs,
    width,
    copies,
    span,
    calls,
    total,  # number of values
    at_moments,
    at_histogram,
    BLOCKS: tl.constexpr,  # how many are merged at a time
    UNITS: tl.constexpr,
    COPIES: tl.constexpr,
    BINS: tl.constexpr,
    HEADS: tl.constexpr,
    HEAD: tl.constexpr,  # words of a program's extrema and sum of slopes
    OBSERVED: tl.constexpr,
    JUDGED: tl.constexpr,
):
    """Add what the programs of ``read`` have left to the state."""
    program = tl.program_id(0)
    floats = memory.to(tl.pointer_type(tl.float64), bitcast=True)
    if OBSERVED:
        if program * UNITS < width:
            parts = scratch + programs * HEAD
            _merge_moments(floats + at_moments, parts, program, blocks, width, BLOCKS, UNITS)
        if copies > 0:
            _merge_bins(memory + at_histogram, bins, program, copies, span, COPIES, BINS)
    if program == 0:
        least, largest = tl.load(floats + LEAST), tl.load(floats + LARGEST)
        slopes = tl.load(floats + OPENNESS)
        for start in range(0, programs, HEADS):
            one = start + tl.arange(0, HEADS)
            head, there = scratch + one * HEAD, one < programs
            if OBSERVED:
                ends = tl.load(head, mask=there, other=float("inf"))
                least = tl.minimum(least, tl.min(ends, 0))
                ends = tl.load(head + 1, mask=there, other=float("-inf"))
                largest = tl.maximum(largest, tl.max(ends, 0))
            if JUDGED:
                slopes += tl.sum(tl.load(head + 2, mask=there, other=0.0), 0)
        if OBSERVED:
            tl.store(floats + LEAST, least)
            tl.store(floats + LARGEST, largest)
            tl.store(memory + CALLS, tl.load(memory + CALLS) + calls)
            tl.store(memory + ALL, tl.load(memory + ALL) + total)
        if JUDGED:
            tl.store(floats + OPENNESS, slopes)
