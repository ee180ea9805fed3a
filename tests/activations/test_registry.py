"""Names and keys, and what pickles by them."""

import copy
import pickle

import pytest
from torch import nn

from activation_modules import every_module
from actstats.activations import activation_from_key, activation_of, get


@every_module
def test_key_round_trip(module):
    activation = activation_of(module)
    again = activation_from_key(activation.key)
    assert again == activation
    assert hash(again) == hash(activation)
    assert again.key == activation.key
    assert pickle.loads(pickle.dumps(activation)) == activation
    assert copy.deepcopy(activation) is activation
    assert copy.copy(activation) is activation


def test_key_tells_parameters_apart():
    assert activation_of(nn.LeakyReLU()).key == "leaky_relu(negative_slope=0.01)"
    assert activation_of(nn.LeakyReLU(0.2)) != get("leaky_relu")
    assert activation_of(nn.ELU(1)) == get("elu")
    assert get("gelu(approximate=tanh)") == activation_of(nn.GELU("tanh"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tahn", "did you mean 'tanh'"),
        ("threshold", "must give threshold the parameters threshold, value; got 'threshold'"),
        ("relu(a=1)", "must give relu no parameters"),
        ("elu(alpha=two)", "must hold numbers; got 'two'"),
        ("elu(alpha=__import__('os'))", "must look like"),
        ("elu)(", "must look like"),
        ("", "must look like"),
        ("gelu(approximate=erf)", "`approximate` must be"),
        ("f(digest=#1)", "must give f digest, relu_like"),
    ],
)
def test_key_refuses(key, message):
    with pytest.raises(ValueError, match=message):
        activation_from_key(key)


@pytest.mark.parametrize("name", ["LeakyReLU", "leaky-relu", "LEAKY_RELU", "leakyrelu"])
def test_get_spellings(name):
    assert get(name).name == "leaky_relu"


def test_get_takes_modules_and_activations():
    assert get(nn.ReLU(inplace=True)) == get("relu") == get(get("relu"))
    with pytest.raises(ValueError, match="got Softmax: it is not elementwise"):
        get(nn.Softmax(-1))
    with pytest.raises(ValueError, match="must be a name, a module or an Activation; got 3"):
        get(3)
