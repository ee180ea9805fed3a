"""Numbers, names and counts as a page says them."""

from __future__ import annotations

import math

from actstats.names import printable

__all__ = ["count", "number", "percent", "share", "signed", "steps", "visible"]

MINUS = "\N{MINUS SIGN}"
_SPACES = "\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
NOTHING = "\N{EN DASH}"  # a figure that does not apply


def visible(text: str) -> str:
    r"""Return the text with every character that hides, breaks lines or turns them round escaped.

    Names of layers are data: they may hold anything, a right-to-left override included.

    Examples
    --------
    >>> print(visible("fc\n1"), visible("act\u202e3"), visible("größe"))
    fc\n1 act\u202e3 größe
    """
    return printable(text, keep=_SPACES)


def number(value: float) -> str:
    r"""Write a figure in few characters, with a real minus sign.

    Examples
    --------
    >>> ascii(number(-0.01234)), number(12345), number(1.5e9), ascii(number(float("nan")))
    ("'\\u22120.0123'", '12,345', '1.5e9', "'\\u2013'")
    """
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return (MINUS if value < 0 else "") + "\N{INFINITY}"
    if isinstance(value, int) or (value == round(value) and 1000 <= abs(value) < 1e7):
        return signed(f"{value:,.0f}")
    text = f"{value:.3g}" if not 0 < abs(value) < 0.001 else _powered(value)
    return signed(text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e"))


def _powered(value: float) -> str:
    mantissa, _, power = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{power}"


def percent(value: float) -> str:
    """Return a share with its unit, or that it does not apply.

    Examples
    --------
    >>> percent(0.25)
    '25.0 %'
    """
    return NOTHING if math.isnan(value) else f"{share(value)} %"


def share(value: float) -> str:
    """Write a share as a number of percent; only none is 0 and only all is 100.

    Examples
    --------
    >>> share(0.0), share(0.0002), share(0.1234), share(0.9999), share(1.0)
    ('0', '<0.1', '12.3', '>99.9', '100')
    """
    if math.isnan(value):
        return NOTHING
    if value in (0, 1):
        return f"{100 * value:.0f}"
    if value < 0.0005:
        return "<0.1"
    return f"{100 * value:.1f}" if value < 0.9995 else ">99.9"


def signed(text: str) -> str:
    """Return the text of a number with a real minus sign."""
    return text.replace("-", MINUS)


def count(n: int, word: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> count(1, "layer"), count(1200, "layer")
    ('1 layer', '1,200 layers')
    """
    return f"{n:,} {word}{'s' * (n != 1)}"


def steps(first: int, last: int) -> str:
    """Return a span of steps.

    Examples
    --------
    >>> steps(3, 3)
    'step 3'
    """
    return f"step {first:,}" if first == last else f"steps {first:,}\N{EN DASH}{last:,}"
