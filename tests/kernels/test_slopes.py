"""What compiled kernels know of slopes: which form each has, how close it is, what is refused."""

import math

import numpy as np
import pytest
import torch

from actstats import activations
from actstats.gate import make_gate
from actstats.kernels import Gate, slopes
from actstats.kernels._words import COEFFICIENTS, PER_ONE, PIECES
from actstats.kernels.slopes import Box, Quadratic, Table

FORMS = {
    "relu": Box(0.0, math.inf, 1.0, 0.0),
    "relu6": Box(0.0, 6.0, 1.0, 0.0),
    "leaky_relu": Box(0.0, math.inf, 1.0, 0.01),
    "leaky_relu(negative_slope=2.0)": Box(0.0, math.inf, 0.5, 1.0),
    "leaky_relu(negative_slope=1.0)": Box(0.0, math.inf, 1.0, 1.0),
    "hardtanh": Box(-1.0, 1.0, 1.0, 0.0),
    "hardtanh(min_val=-0.7,max_val=50.0)": Box(-0.7, 50.0, 1.0, 0.0),
    "hardsigmoid": Box(0.0, 1.0, 1.0, 0.0),
    "tanh": Quadratic(-1.0, 1.0, 1.0),
    "sigmoid": Quadratic(0.0, 1.0, 4.0),
    **dict.fromkeys(
        ["gelu", "gelu(approximate=tanh)", "quick_gelu", "silu", "mish", "elu", "celu"], Table
    ),
    **dict.fromkeys(
        ["logsigmoid", "tanhshrink", "softsign", "softplus(beta=1,threshold=40)"], Table
    ),
    # with a jump, and one whose slope has none
    **dict.fromkeys(["selu", "elu(alpha=0.5)", "hardswish", "softplus"], type(None)),
    **dict.fromkeys(["hardshrink", "softshrink", "threshold(threshold=0.1,value=0.0)"], type(None)),
    "prelu": type(None),
}


def gate_of(key):
    return make_gate(activations.activation_from_key(key))


def gate_with(slope, *, max_slope=1.0, limits=(-math.inf, math.inf), from_output=False):
    """Return a gate of which only the slope matters."""
    return Gate((), (), (), slope, max_slope, from_output, limits)


def value_of(form, x):
    """Evaluate a form in numpy as compiled code does."""
    if isinstance(form, Box):
        return np.where((x > form.low) & (x < form.high), form.inside, form.outside)
    if isinstance(form, Quadratic):
        return form.gain * np.abs((x - form.first) * (x - form.second))
    place = (x * PER_ONE + PIECES // 2).clip(0, PIECES * (1 - 2.0**-40))
    piece = place.astype(int)
    powers = (place - piece)[:, None] ** np.arange(COEFFICIENTS)
    return np.abs((form.coefficients[piece] * powers).sum(1))


def places(gate):
    """Return values on no grid, fine where slopes bend, and all the way out."""
    rng = np.random.default_rng(0)
    far = 10.0 ** rng.uniform(-40, 38, 20_000)
    x = np.concatenate((rng.uniform(-35, 35, 400_000), rng.normal(size=100_000), far, -far))
    return x.clip(*gate.limits) if gate.from_output else x


@pytest.mark.parametrize("key", FORMS)
def test_the_form_of_a_known_activation(key):
    form = slopes.form_of(gate_of(key))
    if isinstance(FORMS[key], type):
        assert isinstance(form, FORMS[key])
    else:
        assert form == FORMS[key]


@pytest.mark.parametrize("key", [key for key in FORMS if FORMS[key] is not type(None)])
def test_a_form_is_the_slope(key):
    gate = gate_of(key)
    form = slopes.form_of(gate)
    x = places(gate)
    want = np.abs(gate.slope(torch.from_numpy(x)).numpy()) / gate.max_slope
    error = np.abs(value_of(form, x) - want)
    worst = int(error.argmax())
    bound = 2 * slopes.TOLERANCE if isinstance(form, Table) else 4e-16
    assert error[worst] <= bound, f"{key} at {x[worst]!r}: off by {error[worst]:.3g}"


def test_every_activation_has_a_form_or_is_left_to_torch():
    known = {key.split("(")[0] for key in FORMS}
    assert known | {"rrelu"} == set(activations.names())
    assert slopes.form_of(gate_of("rrelu")) == Box(0.0, math.inf, 1.0, pytest.approx(11 / 48))


def test_no_slope_no_form():
    assert slopes.form_of(gate_with(None)) is None


@pytest.mark.parametrize("place", [0.0, 0.5, 0.3017, -7.25, 31.99, 20.0])
@pytest.mark.parametrize("height", [1.0, 1e-6, 1e-9])
@pytest.mark.parametrize("closed", [False, True])
def test_a_step_is_refused(place, height, closed):
    def slope(z):
        beyond = z >= place if closed else z > place
        return torch.sigmoid(z) + height * beyond.to(z.dtype)

    form = slopes.form_of(gate_with(slope, max_slope=1.0 + height))
    if form is not None:  # on the edge of a piece, where the table has the step too
        assert closed
        assert (place * PER_ONE).is_integer()
        x = np.array([place, np.nextafter(place, -9e9), np.nextafter(place, 9e9)])
        want = slope(torch.from_numpy(x)).numpy() / (1.0 + height)
        assert np.abs(value_of(form, x) - want).max() < 1e-11


MISFITS = {
    "never settles": torch.cos,
    "has no bound": torch.abs,
    "settles too late": lambda z: torch.sigmoid(z / 8),
    "a step at no known place": lambda z: (z > 0.25).double(),
    "two steps": lambda z: ((z > -2) & (z < 3)).double(),
    "two steps near zero": lambda z: (z > 0).double() + (z > 1e-20).double(),
    "a step through zero": lambda z: torch.exp(-z * z) * torch.sign(z),
    "no number": lambda z: torch.full_like(z, math.nan),
    "no number in places": lambda z: torch.where(z > 5, math.nan, 1.0),
    "bends within a piece": lambda z: torch.tanh(z * 50),
}


@pytest.mark.parametrize("which", MISFITS)
def test_what_fits_no_form_is_refused(which):
    assert slopes.form_of(gate_with(MISFITS[which])) is None


def test_a_parabola_that_is_none_is_not_taken_for_one():
    cubed = gate_with(lambda a: (1 - a * a) ** 3, limits=(-1.0, 1.0), from_output=True)
    assert not isinstance(slopes.form_of(cubed), Quadratic)
    scaled = gate_with(
        lambda a: 3 * (a - 2) * (5 - a), max_slope=6.75, limits=(2.0, 5.0), from_output=True
    )
    assert slopes.form_of(scaled) == Quadratic(2.0, 5.0, pytest.approx(3 / 6.75))


def test_a_slope_that_changes_its_sign_counts_by_its_size():
    gate = gate_of("gelu")
    form = slopes.form_of(gate)
    x = np.linspace(-3, -0.8, 1001)  # gelu falls here
    assert (gate.slope(torch.from_numpy(x)) < 0).all()
    assert (value_of(form, x) > 0).all()


def test_a_form_is_found_once():
    gate = gate_of("silu")
    assert slopes.form_of(gate) is slopes.form_of(gate_of("silu"))
