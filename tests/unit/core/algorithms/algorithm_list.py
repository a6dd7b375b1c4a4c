"""Every algorithm that plugs into an optimizer, one line each; `test_algorithms.py` holds each to the same laws."""

from dataclasses import dataclass, field
from typing import Any

from fl.core.optimizer import Optimizer
from tests.unit.core.algorithms import algorithm_oracles as oracles
from tests.unit.core.algorithms.algorithm_oracles import Oracle
from tests.unit.core.algorithms.vector_backends import BACKENDS, TENSORFLOW, TORCH, Backend

ADAM = {"class_name": "adam", "config": {"beta_1": 0.5, "beta_2": 0.75, "epsilon": 1e-3}}
SGD = {"class_name": "SGD", "config": {"momentum": 0.5, "nesterov": True}}
"""Keras's, with numbers whose powers are exact in the float32 that it takes them in."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm, some options of it, and what it should do."""

    name: str
    options: dict[str, Any]
    oracle: Oracle
    kind: str = "modules"
    backends: tuple[Backend, ...] = BACKENDS
    lrate: float = 0.05
    """With which it finds the minimum of a small quadratic within 200 steps."""
    plugin: tuple[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plugin", (self.name, self.options))

    def optimizer(self, lrate: float = 1.0) -> Optimizer:
        return Optimizer.from_config({"lrate": lrate, self.kind: [self.plugin]})

    def __str__(self) -> str:
        return f"{self.name}{self.options or ''}".replace(" ", "")


ALGORITHMS = (
    Algorithm("adagrad", {}, oracles.adagrad(1e-7), lrate=0.5),
    Algorithm("adagrad", {"eps": 1e-3, "initial": 0.1}, oracles.adagrad(1e-3, 0.1), lrate=0.5),
    Algorithm("rmsprop", {}, oracles.rmsprop(0.9, 1e-7), lrate=0.01),
    Algorithm("rmsprop", {"beta": 0.5, "eps": 1e-3}, oracles.rmsprop(0.5, 1e-3), lrate=0.01),
    Algorithm("adam", {}, oracles.adam()),
    Algorithm("adam", {"amsgrad": True}, oracles.adam(amsgrad=True)),
    Algorithm("adam", {"beta_1": 0.5, "beta_2": 0.75, "eps": 1e-3}, oracles.adam(0.5, 0.75, 1e-3)),
    Algorithm(
        "adam",
        {"eps": 1e-3, "bias_correction": False, "initial": 0.5},
        oracles.adam(eps=1e-3, bias_correction=False, initial=0.5),
    ),
    Algorithm("yogi", {}, oracles.adam(yogi=True)),
    Algorithm("yogi", {"amsgrad": True}, oracles.adam(yogi=True, amsgrad=True)),
    Algorithm(
        "yogi",
        {"bias_correction": False, "initial": 0.5},
        oracles.adam(yogi=True, bias_correction=False, initial=0.5),
    ),
    Algorithm("ewma", {}, oracles.ewma(0.9)),
    Algorithm("ewma", {"beta": 0.0}, oracles.nothing),
    Algorithm("momentum", {}, oracles.momentum(0.9)),
    Algorithm("momentum", {"beta": 0.5, "nesterov": True}, oracles.momentum(0.5, nesterov=True)),
    Algorithm("yogi-momentum", {}, oracles.yogi_momentum(0.9)),
    Algorithm("l2-clipping", {"max_norm": 1.5}, oracles.clipping(1.5)),
    Algorithm("l2-global-clipping", {"max_norm": 3.0}, oracles.global_clipping(3.0)),
    Algorithm("gaussian-noise", {"std": 0.1, "safe_mode": False, "seed": 7}, oracles.noise(0.1, 7)),
    Algorithm("scaffold-client", {}, oracles.nothing),
    Algorithm("scaffold-server", {}, oracles.nothing),
    Algorithm("torch-optim", {"optim_cls": "SGD", "momentum": 0.5}, oracles.momentum(0.5), backends=(TORCH,)),
    Algorithm(
        "torch-optim",
        {"optim_cls": "SGD", "momentum": 0.5, "nesterov": True, "foreach": True},
        oracles.momentum(0.5, nesterov=True),
        backends=(TORCH,),
    ),
    Algorithm("torch-optim", {"optim_cls": "Adam", "betas": [0.9, 0.99]}, oracles.adam(eps=1e-8), backends=(TORCH,)),
    Algorithm("tensorflow-optim", {"optim": ADAM}, oracles.keras_adam(0.5, 0.75, 1e-3), backends=(TENSORFLOW,)),
    Algorithm("tensorflow-optim", {"optim": SGD}, oracles.momentum(0.5, nesterov=True), backends=(TENSORFLOW,)),
    Algorithm("fedprox", {"alpha": 0.3}, oracles.fedprox(0.3), kind="regularizers"),
    Algorithm("lasso", {"alpha": 0.05}, oracles.lasso(0.05), kind="regularizers"),
    Algorithm("ridge", {"alpha": 0.02}, oracles.ridge(0.02), kind="regularizers"),
)
