"""Optimizers of torch and Keras as modules: what they take, what they refuse, and what they go on from."""

from typing import Any

import keras
import numpy as np
import pytest
import torch

from fl.core.optimizer import Optimizer
from fl.core.optimizer.tensorflow_optim import TensorflowOptiModule
from fl.core.optimizer.torch_optim import TorchOptiModule
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from fl.core.vector.tensorflow_vector import TensorflowVector
from fl.core.vector.torch_vector import TorchVector
from fl.errors import ConfigError

GRADIENTS = [
    NumpyVector.from_arrays({"w": rows[:6].reshape(2, 3), "u": rows[6:].reshape(2, 2)})
    for rows in np.random.default_rng(0).normal(size=(6, 10)).astype("float32")
]
OF_TORCH = ["ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam", "RMSprop",
            "Rprop", "SGD"]  # fmt: skip
OF_KERAS = ["adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "lamb", "lion", "muon", "nadam", "rmsprop",
            "sgd"]  # fmt: skip


def run_torch(module: TorchOptiModule, gradients: list[NumpyVector]) -> list[Any]:
    return [module.run(TorchVector.from_numpy(gradient.copy())).to_numpy().flat for gradient in gradients]


def run_keras(module: TensorflowOptiModule, gradients: list[NumpyVector]) -> list[Any]:
    return [module.run(TensorflowVector.from_numpy(gradient)).to_numpy().flat for gradient in gradients]


@pytest.mark.parametrize("name", OF_TORCH)
def test_an_optimizer_of_torch_takes_off_what_it_takes_off_parameters_at_zero(name: str) -> None:
    outputs = run_torch(TorchOptiModule(name), GRADIENTS)
    parameters = [torch.zeros(2, 3), torch.zeros(2, 2)]
    optimizer = getattr(torch.optim, name)(parameters, lr=1.0)
    for gradient, output in zip(GRADIENTS, outputs, strict=True):
        for parameter, part in zip(parameters, gradient.arrays().values(), strict=True):
            parameter.zero_()
            parameter.grad = torch.tensor(part)
        optimizer.step()
        expected = -torch.cat([parameter.flatten() for parameter in parameters])
        np.testing.assert_allclose(output, expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", OF_TORCH)
def test_an_optimizer_of_torch_goes_on_from_its_state_bit_for_bit(name: str) -> None:
    module, again = TorchOptiModule(name), TorchOptiModule(name)
    run_torch(module, GRADIENTS[:3])
    again.set_state(unpack_state(pack_state(module.get_state())))
    np.testing.assert_array_equal(run_torch(again, GRADIENTS[3:]), run_torch(module, GRADIENTS[3:]))


@pytest.mark.parametrize("name", OF_KERAS)
def test_an_optimizer_of_keras_goes_on_from_its_state_bit_for_bit(name: str) -> None:
    module, again = TensorflowOptiModule(name), TensorflowOptiModule(name)
    run_keras(module, GRADIENTS[:3])
    again.set_state(unpack_state(pack_state(module.get_state())))
    np.testing.assert_array_equal(run_keras(again, GRADIENTS[3:]), run_keras(module, GRADIENTS[3:]))


@pytest.mark.parametrize("module", [TorchOptiModule("Adam"), TensorflowOptiModule("adam")], ids=["torch", "keras"])
def test_a_state_set_before_the_first_step_is_the_state(module: Any) -> None:
    state = module.get_state()
    module.set_state(state)
    assert module.get_state() == state


@pytest.mark.parametrize("optim_cls", ["AdamW", torch.optim.AdamW])
def test_torchs_optimizers_are_named_or_given(optim_cls: Any) -> None:
    assert TorchOptiModule(optim_cls, eps=1e-3).get_config() == {"optim_cls": "AdamW", "eps": 1e-3}


@pytest.mark.parametrize(
    "optim",
    [
        "Adam",
        "adam",
        {"class_name": "Adam", "config": {"learning_rate": 7.0}},
        keras.optimizers.Adam(learning_rate=7.0),
    ],
    ids=["name", "lower case", "config", "instance"],
)
def test_keras_optimizers_are_named_described_or_given_and_their_learning_rate_is_1(optim: Any) -> None:
    # the first step of Adam is the learning rate, in each coordinate
    output = run_keras(TensorflowOptiModule(optim), GRADIENTS[:1])[0]
    np.testing.assert_allclose(output, np.sign(GRADIENTS[0].flat), rtol=1e-4)


def test_a_learning_rate_given_to_torchs_optimizer_is_1_all_the_same() -> None:
    output = run_torch(TorchOptiModule("SGD", lr=7.0), GRADIENTS[:1])[0]
    np.testing.assert_array_equal(output, GRADIENTS[0].flat)


class Mine(torch.optim.SGD):
    pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim_cls": "Adan"}, "'Adan' is no optimizer of torch.optim; did you mean 'Adam'"),
        ({"optim_cls": "Optimizer"}, "'Optimizer' is no optimizer of torch.optim"),
        ({"optim_cls": "os.system"}, "'os.system' is no optimizer of torch.optim"),
        ({"optim_cls": Mine}, "'Mine' is no optimizer of torch.optim"),
        ({"optim_cls": "LBFGS"}, "LBFGS evaluates the model within a step"),
        ({"optim_cls": "SparseAdam"}, "wants sparse gradients"),
        ({"optim_cls": "AdamW", "weight_decay": 0.1}, "weight_decay has no effect here"),
        ({"optim_cls": "Adam", "beta": 0.1}, "torch.optim.Adam refuses: .*'beta'"),
        ({"optim_cls": "Adam", "eps": -1}, "torch.optim.Adam refuses: Invalid epsilon value"),
        ({}, "option 'optim_cls' is missing"),
    ],
)
def test_what_cannot_be_a_module_of_torch_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TorchOptiModule.from_config(options)


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        ("adan", "'adan' is none of keras.optimizers; did you mean"),
        ("Optimizer", "'Optimizer' is none of keras.optimizers"),
        ({"class_name": "Adam", "module": "os", "config": {"beta": 1}}, "keras.optimizers.Adam refuses"),
        ("Ftrl", "Ftrl cannot be a module: it computes weights"),
        ("LossScaleOptimizer", "cannot be a module: it wraps another one"),
        (keras.optimizers.AdamW(), "weight_decay has no effect here"),
        ({"class_name": "SGD", "config": {"use_ema": True}}, "use_ema has no effect here"),
        (3, "give an optimizer of Keras, its name, or"),
    ],
    ids=lambda value: str(getattr(value, "name", value)),  # an object's own text has its address
)
def test_what_cannot_be_a_module_of_keras_is_refused(optim: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TensorflowOptiModule(optim)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (TorchOptiModule("Adam"), "torch-optim needs gradients of torch, but got a NumpyVector"),
        (TensorflowOptiModule("Adam"), "tensorflow-optim needs gradients of TensorFlow, but got a NumpyVector"),
    ],
    ids=["torch", "keras"],
)
def test_gradients_of_another_framework_are_refused(module: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Optimizer(0.1, modules=[module]).compute_updates(GRADIENTS[0], GRADIENTS[0])


def test_the_public_modules_give_those_of_frameworks_too() -> None:
    from fl.optimizer import modules  # noqa: PLC0415  # the import is the test

    assert (modules.TorchOptiModule, modules.TensorflowOptiModule) == (TorchOptiModule, TensorflowOptiModule)
