"""Places in the arrays that Python and compiled code share; part of the compiled code's meaning.

A change here must come with one in ``_numba``, whose time stamp tells numba what is out of date.
"""

# A plan: what is to be done with a tensor. Words are int64 unless it says float64.

MEMORY = 0  # address of the state's memory
ROWS = 1  # 1: rows of units; 0: runs, each of one unit
OUTER_FROM, OUTER_TO, OUTER_STRIDE = 2, 3, 4  # rows, or runs of a unit; strides are in values
UNIT_FROM, UNIT_TO, UNIT_STRIDE = 5, 6, 7
INNER_FROM, INNER_TO = 8, 9  # values of a run
EXTENT = 10  # values from the first to the last in memory
WIDTH = 11  # columns of the per-unit arrays
CALL = 12  # what to add to the count of calls
OBSERVED = 13  # 0: only judge
SHIFT = 14  # bits of a float32 below its bin
BINS = 15
AT_MOMENTS, AT_JUDGED, AT_HISTOGRAM, AT_ASYMPTOTE, AT_LINEAR = 16, 17, 18, 19, 20
ASYMPTOTE_BINS, ASYMPTOTE_FIRST = 21, 22  # bins of one side (0: none); number of the first
EDGES, EDGE_COUNT = 23, 24  # address; 0 where none are named
ACTIVITY = 25  # an ACTIVE_ constant; 0: nothing is judged
SLOPE, TABLE = 26, 27  # a SLOPE_ constant; address of the pieces
INTERVALS = 28  # how many: low, high, third
BOUNDS = 31  # address of the intervals, in this order: (from, to) each, float64
SLOPE_AT = 32  # parameters of the slope; float64
SCALE = 40  # float64
WORDS = 48

ACTIVE_REST, ACTIVE_THIRD, ACTIVE_NOT_THIRD = 1, 2, 3  # neither low nor high; third; all but it
SLOPE_BOX, SLOPE_QUADRATIC, SLOPE_TABLE = 1, 2, 3
SLOPE_ACTIVE = 4  # a box whose inside is what is active: counted with that
PIECES, PER_ONE, COEFFICIENTS = 2048, 32, 6  # of a table: polynomials on pieces around zero

# The head of a state's memory, in the order of `Layout`.
CALLS, ALL, ZEROS, NAN, POSINF, NEGINF, PLUS_ONE, MINUS_ONE = range(8)
LEAST, LARGEST, OPENNESS, BROKEN = 8, 9, 10, 11
SPARE, SPARES = 12, 4  # words that nothing is kept in
NEVER = 1 << 62  # minus the step stands at BROKEN
N, HIGH, LOW, M2, ABSOLUTE = range(5)  # rows of the moments
SEEN, ACTIVE, SATURATED_LOW, SATURATED_HIGH, LAST = range(5)  # rows of what is judged
