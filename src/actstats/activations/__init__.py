"""Know every activation function's slope, saturation and active side.

One `Activation` says what the recorder and the diagnosis need of one function φ: how steep it is
at z, whether its output alone tells that, where it is saturated, and whether it can die.
`get` finds it by name, `activation_of` by module, `functional_activation` by a call of
`torch.nn.functional`, and `from_function` works one out for a function that nobody has named.
"""

from __future__ import annotations

from actstats.activations import functional
from actstats.activations.functional import FunctionalForm, functional_activation
from actstats.activations.infer import infer
from actstats.activations.lookup import activation_of, get, make_module, why_not
from actstats.activations.registry import activation_from_key, names
from actstats.activations.spec import Activation
from actstats.activations.table import from_function
from actstats.activations.zones import Zone

__all__ = [
    "FUNCTIONAL",
    "Activation",
    "FunctionalForm",
    "Zone",
    "activation_from_key",
    "activation_of",
    "from_function",
    "functional_activation",
    "get",
    "infer",
    "make_module",
    "names",
    "why_not",
]

FUNCTIONAL = functional.FUNCTIONAL
"""The functional forms: `F.relu`, `torch.relu_`, `Tensor.relu`, ... to their `FunctionalForm`."""
