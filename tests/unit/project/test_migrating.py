"""The table for people who come from declearn: every name it promises is there."""

import importlib
import re
from pathlib import Path

import pytest

TABLE = [
    line.split("|")[1:-1]
    for line in Path("MIGRATING.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| ---")
][1:]
HERE = sorted({name for _, here, _ in TABLE for name in re.findall(r"`((?:fl|broker)[.\w]*)`", here)})


def test_the_table_has_a_row_for_every_name_of_the_readme_of_declearn() -> None:
    theirs = " ".join(row[0] for row in TABLE)

    for name in THEIRS:
        assert re.search(rf"\b{name}\b", theirs), name


@pytest.mark.parametrize("name", HERE)
def test_a_name_of_the_table_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        assert hasattr(importlib.import_module(module), attribute), name


THEIRS = [
    "SklearnSGDModel",
    "TorchModel",
    "TensorflowModel",
    "Model",
    "Vector",
    "NumpyVector",
    "TorchVector",
    "TensorflowVector",
    "register_vector_type",
    "Optimizer",
    "OptiModule",
    "AdagradModule",
    "MomentumModule",
    "ScaffoldClientModule",
    "ScaffoldServerModule",
    "Regularizer",
    "FedProxRegularizer",
    "LassoRegularizer",
    "RidgeRegularizer",
    "Aggregator",
    "Metric",
    "MetricSet",
    "BinaryRocAUC",
    "MeanSquaredError",
    "MulticlassAccuracyPrecisionRecall",
    "Dataset",
    "InMemoryDataset",
    "data_info",
    "NetworkServerConfig",
    "NetworkClientConfig",
    "build_server",
    "build_client",
    "NetworkServer",
    "NetworkClient",
    "grpc",
    "websockets",
    "FederatedServer",
    "FederatedClient",
    "FLOptimConfig",
    "FLRunConfig",
    "PrivacyConfig",
    "typing",
    "set_device_policy",
    "register_type",
    "get_logger",
]
"""What its README of 2.1 names, in the spelling of its code."""
