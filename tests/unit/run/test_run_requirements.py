"""A spec says which packages of others its parts come from."""

from collections.abc import Mapping
from typing import Any

import pytest

from fl.core.aggregator import AveragingAggregator
from fl.core.metrics import MeanAbsoluteError
from fl.core.optimizer import Optimizer, Regularizer
from fl.core.optimizer.regularizer import RidgeRegularizer
from fl.core.requires import package_of
from fl.errors import ConfigError
from fl.run.requirements import with_requirements
from fl.run.sampling import UniformSampler
from fl.run.spec import RunSpec

BUILTIN: dict[str, Any] = {
    "model": {"kind": "sklearn-sgd"},
    "optim": {"client_opt": {"lrate": 0.1, "modules": ["momentum"], "regularizers": [["ridge", {}]]}},
    "run": {"rounds": 1, "training": {"batch_size": 8}},
}


def spec_of(**changes: Any) -> RunSpec:
    return RunSpec.parse(BUILTIN | changes, "spec")


# parts that come from an installed package, which is pytest here: only their module's name counts
Mean = type("Mean", (AveragingAggregator,), {"name": "mean-of-others", "__module__": "pytest"})
Error = type("Error", (MeanAbsoluteError,), {"name": "error-of-others", "__module__": "pytest"})
Pull = type("Pull", (RidgeRegularizer,), {"name": "pull-of-others", "__module__": "pytest"})
Draw = type("Draw", (UniformSampler,), {"name": "draw-of-others", "__module__": "pytest"})


def test_a_spec_of_our_own_parts_requires_nothing() -> None:
    assert with_requirements(spec_of()).requires == {}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"optim": {"client_opt": 0.1, "aggregator": "mean-of-others"}}, id="an aggregator"),
        pytest.param({"metrics": ["error-of-others"]}, id="a metric"),
        pytest.param({"optim": {"client_opt": {"lrate": 0.1, "regularizers": ["pull-of-others"]}}}, id="a regularizer"),
        pytest.param(
            {"optim": {"client_opt": Optimizer(0.1, regularizers=[Regularizer.registry.build("pull-of-others")])}},
            id="a regularizer of an optimizer",
        ),
        pytest.param({"run": BUILTIN["run"] | {"sampling": {"by": "draw-of-others"}}}, id="a sampler"),
    ],
)
def test_a_part_of_others_requires_their_package(changes: Mapping[str, Any]) -> None:
    # When
    spec = with_requirements(spec_of(**changes))
    # Then
    assert spec.requires == {"pytest": pytest.__version__}
    assert package_of(Mean) == ("pytest", pytest.__version__)


def test_requirements_travel_with_the_spec() -> None:
    # Given
    spec = with_requirements(spec_of(metrics=["error-of-others"]))
    # Then
    assert RunSpec.from_json(spec.to_json()) == spec


def test_a_spec_is_read_where_its_parts_are_not_installed() -> None:
    # Given
    text = spec_of(metrics=["error-of-others"]).to_json().replace("of-others", "of-strangers")
    parts = '"aggregator":{"config":{},"name":"averaging"}'
    # When
    spec = RunSpec.from_json(text.replace(parts, parts.replace("averaging", "of-strangers")))
    # Then
    assert spec.optim.aggregator.name == "of-strangers"


@pytest.mark.parametrize("name", ["evil; rm -rf /", "-r", ""])
def test_a_requirement_that_is_no_name_of_a_package_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="requires"):
        spec_of(requires={name: "1"})
