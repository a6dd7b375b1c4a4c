"""The names that people write: frozen, so that a change of them is a decision."""

import subprocess
import sys

import pytest

import fl


def names_of(module: object) -> list[str]:
    return sorted(getattr(module, "__all__", []))


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "aggregator",
            [
                "Aggregator",
                "AveragingAggregator",
                "GradientMaskedAveraging",
                "KrumAggregator",
                "MedianAggregator",
                "MultiKrumAggregator",
                "SumAggregator",
                "TrimmedMeanAggregator",
            ],
        ),
        ("data_info", ["DataInfo", "combine"]),
        ("dataset", ["Batch", "Dataset", "InMemoryDataset", "TensorflowDataset", "TorchDataset", "split"]),
        ("main", ["FederatedClient", "FederatedServer", "Outcome", "config"]),
        (
            "metrics",
            [
                "BinaryAccuracyPrecisionRecall",
                "BinaryRocAUC",
                "ConfusionMatrix",
                "LogLoss",
                "Loss",
                "MeanAbsoluteError",
                "MeanSquaredError",
                "Metric",
                "MetricSet",
                "MulticlassAccuracyPrecisionRecall",
                "RSquared",
                "TopKAccuracy",
            ],
        ),
        ("model", ["Model"]),
        ("optimizer", ["OptiModule", "Optimizer", "Regularizer", "Scheduler"]),
        ("utils", ["DevicePolicy", "get_device_policy", "set_device_policy"]),
    ],
)
def test_a_public_module_has_these_names_and_no_others(module: str, names: list[str]) -> None:
    assert names_of(getattr(fl, module)) == names


def test_the_public_modules_are_these() -> None:
    modules = ["aggregator", "communication", "data_info", "dataset", "main", "metrics", "model", "optimizer", "utils"]

    assert dir(fl) == ["__version__", *modules]


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'modell'"):
        fl.modell  # noqa: B018  # the access is the test


def test_what_is_registered_has_the_names_that_users_of_the_field_know() -> None:
    # in a process of its own: other tests define parts of theirs
    script = (
        "import fl\n"
        "kinds = [fl.model.Model, fl.aggregator.Aggregator, fl.metrics.Metric, fl.optimizer.OptiModule,"
        " fl.optimizer.Regularizer, fl.optimizer.Scheduler]\n"
        "for kind in kinds: print(*kind.registry.names())"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed.splitlines() == [
        "sklearn-sgd tensorflow torch",
        "averaging gradient-masked-averaging krum median multi-krum sum trimmed-mean",
        "binary-classif binary-roc confusion log-loss loss mae mse multi-classif r2 top-k-accuracy",
        "adagrad adam ewma gaussian-noise l2-clipping l2-global-clipping momentum rmsprop scaffold-client"
        " scaffold-server tensorflow-optim torch-optim yogi yogi-momentum",
        "fedprox lasso ridge",
        "cosine-annealing cosine-annealing-warm-restarts cyclic-exp-range cyclic-triangular exponential"
        " inverse-scaling linear piecewise polynomial warmup warmup-rounds",
    ]


def test_importing_fl_imports_nothing_heavy() -> None:
    script = (
        "import fl, sys; print({'numpy', 'pydantic', 'aio_pika', 'pandas', 'sklearn'} & set(sys.modules) or 'light')"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "light"
