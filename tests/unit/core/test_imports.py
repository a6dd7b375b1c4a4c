"""The framework-free part imports no framework, and no part knows what it must not know."""

import subprocess
import sys

import pytest

SERVER = [
    "aggregator",
    "checkpoint",
    "compression",
    "data_info",
    "device",
    "early_stopping",
    "metrics",
    "model.sklearn",
    "optimizer",
    "optimizer.momentum",
    "privacy.keys",
    "privacy.ledger",
    "privacy.planning",
    "registry",
    "state",
    "training",
    "vector",
]
HEAVY = {"opacus", "sklearn", "pandas", "scipy", "torch", "tensorflow", "keras", "safetensors"}
FOREIGN = {"broker", "fl.wire", "fl.run"}


def modules_after(code: str) -> set[str]:
    code += "\nimport sys\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", SERVER)
def test_importing_what_a_server_needs_imports_no_framework(module: str) -> None:
    assert not modules_after(f"import fl.core.{module}") & (HEAVY | FOREIGN)


@pytest.mark.parametrize(
    ("name", "framework", "others"),
    [("TorchDataset", "torch", {"tensorflow", "keras"}), ("TensorflowDataset", "tensorflow", {"torch"})],
)
def test_a_dataset_of_a_framework_imports_it_only_when_it_is_asked_for(
    name: str, framework: str, others: set[str]
) -> None:
    assert not modules_after("import fl.dataset") & HEAVY
    imported = modules_after(f"from fl.dataset import {name}")
    assert framework in imported
    assert not imported & others


def test_completing_weights_and_naming_a_model_needs_no_framework() -> None:
    code = (
        "from fl.core.model import Model\n"
        "from fl.core.data_info import DataInfo\n"
        "model = Model.registry.get('sklearn-sgd')\n"
        "assert model.initial_weights({'kind': 'classifier'}, DataInfo(9, 3, classes=(0, 1, 2))).layout.size == 12\n"
    )
    assert not modules_after(code) & HEAVY


def test_training_from_arrays_needs_no_framework() -> None:
    code = (
        "import numpy as np\n"
        "from fl.core.dataset import InMemoryDataset\n"
        "from fl.core.model.sklearn import SklearnSGDModel\n"
        "from fl.core.optimizer import Optimizer\n"
        "from fl.core.training import Batching, Effort, train_round\n"
        "dataset = InMemoryDataset(np.eye(4), [0, 1, 0, 1], expose_classes=True)\n"
        "model = SklearnSGDModel.from_parameters('classifier')\n"
        "model.initialize(dataset.get_data_specs())\n"
        "train_round(model, Optimizer(0.1), dataset, effort=Effort(), batching=Batching(2),\n"
        "            rng=np.random.default_rng(0), clock=lambda: 0.0)\n"
    )
    assert not modules_after(code) & HEAVY
