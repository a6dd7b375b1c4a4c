"""What a researcher may write, in all its shapes, and that it travels as JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.aggregator import AveragingAggregator
from fl.core.optimizer import Optimizer, Regularizer
from fl.core.optimizer.presets import PRESETS, preset
from fl.errors import ConfigError
from fl.run.config import Config
from fl.run.optim import OptimConfig
from fl.run.parts import Plugin
from fl.run.sampling import WeightedSampler
from fl.run.spec import (
    EarlyStopConfig,
    EvaluateConfig,
    ModelConfig,
    RegisterConfig,
    RunConfig,
    RunSpec,
    SamplingConfig,
    TrainingConfig,
)
from tests.unit.run.written_specs import TABLES, refusal, written

TRAINING = {"batch_size": 8}
KINDS: list[type[Config]] = [
    EarlyStopConfig,
    EvaluateConfig,
    ModelConfig,
    OptimConfig,
    RegisterConfig,
    RunConfig,
    RunSpec,
    SamplingConfig,
    TrainingConfig,
]
BY_LOSS = {"criterion": "loss", "explore": 0.5}
UNWEIGHTED = {"steps_weighted": False}


# ---- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "plugin"),
    [
        pytest.param("averaging", Plugin(name="averaging"), id="a name"),
        pytest.param(["averaging", UNWEIGHTED], Plugin(name="averaging", config=UNWEIGHTED), id="a name and options"),
        pytest.param(("averaging", UNWEIGHTED), Plugin(name="averaging", config=UNWEIGHTED), id="the same as a tuple"),
        pytest.param({"name": "averaging"}, Plugin(name="averaging"), id="a table with the name"),
        pytest.param(
            {"name": "averaging", **UNWEIGHTED},
            Plugin(name="averaging", config=UNWEIGHTED),
            id="a table with name and options",
        ),
        pytest.param(
            {"name": "averaging", "config": UNWEIGHTED},
            Plugin(name="averaging", config=UNWEIGHTED),
            id="a table with name and a table of options",
        ),
        pytest.param(
            AveragingAggregator(steps_weighted=False),
            Plugin(name="averaging", config=AveragingAggregator(steps_weighted=False).get_config()),
            id="an object",
        ),
        pytest.param(Plugin(name="averaging"), Plugin(name="averaging"), id="what it becomes"),
    ],
)
def test_a_part_may_be_written_as(written: Any, plugin: Plugin) -> None:
    # When
    config = OptimConfig.from_params(client_opt=0.1, aggregator=written)
    # Then
    assert config.aggregator == plugin


@pytest.mark.parametrize(
    ("written", "options"),
    [
        pytest.param(0.1, {"lrate": 0.1}, id="a learning rate"),
        pytest.param(1, {"lrate": 1.0}, id="a learning rate without a point"),
        pytest.param({"lrate": 0.1, "modules": ["momentum"]}, {"lrate": 0.1, "modules": ["momentum"]}, id="a table"),
        pytest.param(Optimizer(lrate=0.1), Optimizer(lrate=0.1).get_config(), id="an optimizer"),
    ],
)
def test_an_optimizer_may_be_written_as(written: Any, options: dict[str, Any]) -> None:
    # When
    config = OptimConfig.from_params(client_opt=written, server_opt=written)
    # Then
    assert (config.client_opt, config.server_opt) == (options, options)


@pytest.mark.parametrize(
    ("written", "registration"),
    [
        pytest.param(3, RegisterConfig(min_clients=3, max_clients=3), id="a number: exactly so many"),
        pytest.param({"min_clients": 3}, RegisterConfig(min_clients=3), id="a table"),
        pytest.param(RegisterConfig(timeout=60), RegisterConfig(timeout=60), id="what it becomes"),
    ],
)
def test_registration_may_be_written_as(written: Any, registration: RegisterConfig) -> None:
    # When
    config = RunConfig.from_params(rounds=1, register=written, training=TRAINING)
    # Then
    assert config.registration == registration


@pytest.mark.parametrize(
    ("written", "sampling"),
    [
        pytest.param(3, SamplingConfig(clients=3), id="a number of clients"),
        pytest.param(0.1, SamplingConfig(clients=0.1), id="a part of them"),
        pytest.param({"clients": 12, "take": 10}, SamplingConfig(clients=12, take=10), id="a table"),
        pytest.param({"by": "weighted"}, SamplingConfig(by=Plugin(name="weighted")), id="the name of a sampler"),
        pytest.param(
            {"clients": 3, "by": "criterion", **BY_LOSS},
            SamplingConfig(clients=3, by=Plugin(name="criterion", config=BY_LOSS)),
            id="a name, and its options beside it",
        ),
        pytest.param(
            {"clients": 3, "by": {"name": "criterion", **BY_LOSS}},
            SamplingConfig(clients=3, by=Plugin(name="criterion", config=BY_LOSS)),
            id="a table with the name and its options",
        ),
        pytest.param(
            {"by": WeightedSampler({"a": 2})},
            SamplingConfig(by=Plugin(name="weighted", config={"weights": {"a": 2}})),
            id="an object",
        ),
        pytest.param(SamplingConfig(clients=3), SamplingConfig(clients=3), id="what it becomes"),
    ],
)
def test_sampling_may_be_written_as(written: Any, sampling: SamplingConfig) -> None:
    # When
    config = RunConfig.from_params(rounds=1, sampling=written, training=TRAINING)
    # Then
    assert config.sampling == sampling


@pytest.mark.parametrize(
    ("written", "frequency"),
    [(False, 0), (0, 0), (True, 1), ({"frequency": 0}, 0), ({"frequency": 3}, 3), ({}, 1)],
)
def test_evaluations_may_be_written_as(written: Any, frequency: int) -> None:
    # When
    config = RunConfig.from_params(rounds=1, evaluate=written, training=TRAINING)
    # Then
    assert config.evaluate.frequency == frequency


def test_objects_inside_an_optimizer_s_table_become_names_and_options() -> None:
    # Given
    ridge = Regularizer.registry.build(("ridge", {"alpha": 0.5}))
    # When
    config = OptimConfig.from_params(client_opt={"lrate": 0.1, "regularizers": [ridge], "modules": ["momentum"]})
    # Then
    assert config.client_opt == {"lrate": 0.1, "regularizers": [["ridge", {"alpha": 0.5}]], "modules": ["momentum"]}


# ---- presets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PRESETS, "FedYogi", "SCAFFOLD"])
def test_a_preset_stands_for_the_tables_of_its_algorithm(name: str) -> None:
    # When
    config = OptimConfig.from_params(preset=name, client_opt=0.1)
    # Then
    assert config == OptimConfig.from_params(**preset(name, client_lrate=0.1))


def test_learning_rates_take_the_place_of_a_preset_s() -> None:
    # When
    config = OptimConfig.from_params(preset="fedadam", client_opt=0.1, server_opt=0.5)
    # Then
    assert (config.client_opt["lrate"], config.server_opt["lrate"]) == (0.1, 0.5)
    assert config.server_opt["modules"] == preset("fedadam", client_lrate=0.1)["server_opt"]["modules"]


def test_options_take_the_place_of_a_preset_s_and_the_others_stay() -> None:
    # Given
    own = preset("fedprox", client_lrate=0.1)
    # When
    config = OptimConfig.from_params(
        preset="fedprox",
        client_opt={"lrate": 0.1, "w_decay": 0.01},
        server_opt={"modules": ["momentum"]},
        aggregator=("averaging", UNWEIGHTED),
    )
    # Then
    assert config.client_opt == own["client_opt"] | {"w_decay": 0.01}
    assert config.server_opt == own["server_opt"] | {"modules": ["momentum"]}
    assert config.aggregator.config == UNWEIGHTED


def test_a_preset_may_have_a_schedule() -> None:
    # Given
    schedule = {"name": "exponential", "base": 0.1, "rate": 0.9}
    # When
    spec = RunSpec.parse(written("optim", {"preset": "fedavgm", "client_opt": {"lrate": schedule}}), "run.toml")
    # Then
    assert spec.optim.client_opt["lrate"] == schedule
    assert RunSpec.from_json(spec.to_json()) == spec


def test_what_travels_are_the_tables_and_no_preset() -> None:
    # When
    spec = RunSpec.parse(written("optim", {"preset": "FedAdam", "client_opt": 0.1}), "run.toml")
    # Then
    assert "preset" not in spec.to_json()
    assert RunSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("optim", "line"),
    [
        ({"preset": "fedyogurt", "client_opt": 0.1}, "unknown algorithm 'fedyogurt'; did you mean 'fedyogi'"),
        ({"preset": "fedavg"}, "a preset does not say how fast clients learn"),
        ({"preset": "fedavg", "client_opt": {"w_decay": 0.1}}, "a preset does not say how fast clients learn"),
        ({"preset": "fedavg", "client_opt": "fast"}, "'fast' is no optimizer: give a learning rate"),
        ({"preset": "fedavg", "client_opt": 0.1, "server": 1}, "unknown key 'server'; did you mean 'server_opt'?"),
        ({"prest": "fedavg", "client_opt": 0.1}, "unknown key 'prest'; did you mean 'preset'?"),
        ({"preset": 3, "client_opt": 0.1}, "Input should be a valid string (got 3)"),
    ],
)
def test_a_preset_that_makes_no_sense_is_refused(optim: dict[str, Any], line: str) -> None:
    # When
    text = refusal(written("optim", optim))
    # Then
    assert text.startswith("run.toml: optim")
    assert line in text


def test_a_framework_s_own_optimizer_is_left_to_where_the_framework_is() -> None:
    # Given
    module = ["torch-optim", {"optim_cls": "NoSuchOptimizer"}]
    # When
    config = OptimConfig.from_params(client_opt={"lrate": 0.1, "modules": [module]})
    # Then
    assert config.client_opt["modules"] == [module]


def test_metrics_may_each_be_written_differently() -> None:
    # When
    spec = RunSpec.parse({**TABLES, "metrics": ["mae", ["r2", {}], {"name": "binary-roc", "scale": 0.1}]}, "run.toml")
    # Then
    assert spec.metrics == [Plugin(name="mae"), Plugin(name="r2"), Plugin(name="binary-roc", config={"scale": 0.1})]


def test_what_is_not_written_has_the_documented_defaults() -> None:
    # When
    spec = RunSpec.parse(TABLES, "run.toml")
    # Then
    assert (spec.name, spec.metrics) == ("run", [])
    assert (spec.optim.server_opt, spec.optim.aggregator) == ({"lrate": 1.0}, Plugin(name="averaging"))
    assert spec.run.registration == RegisterConfig(min_clients=1, max_clients=None, timeout=None)
    assert (spec.run.min_replies, spec.run.late_join, spec.run.deadline) == (1, True, None)
    assert (spec.run.evaluate.frequency, spec.run.evaluate.clients, spec.run.early_stop) == (1, 1.0, None)
    assert (spec.run.sampling, spec.run.gpu, spec.requires) == (SamplingConfig(clients=1.0, take=None), None, {})
    assert spec.run.sampling.by == Plugin(name="uniform")
    assert spec.run.training == TrainingConfig(batch_size=8, n_epoch=1, drop_remainder=True, shuffle=False)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.__name__)
def test_every_key_is_documented(config: type[Config]) -> None:
    assert [name for name, field in config.model_fields.items() if not field.description] == []


# ---- JSON -----------------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
options = st.dictionaries(
    names,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | names,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
plugins = st.builds(Plugin, name=names, config=options)
seconds = st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False)
counts = st.integers(1, 1000)


parts = st.floats(0, 1, exclude_min=True)


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    """Any valid spec."""
    low = draw(counts)
    high = draw(st.none() | st.integers(low, 2000))
    early_stops = st.builds(EarlyStopConfig, tolerance=st.floats(0, 10), patience=counts, decrease=st.booleans())
    training = {
        "n_epoch": counts,
        "n_steps": st.none() | st.integers(0, 10),
        "timeout": seconds,
        "shuffle": st.booleans(),
        "drop_remainder": st.booleans(),
        "poisson": st.booleans(),
    }
    evaluate = {"batch_size": counts, "n_steps": st.none() | counts, "timeout": seconds, "frequency": counts}
    run = {
        "register": st.just({"min_clients": low, "max_clients": high, "timeout": draw(seconds)}),
        "evaluate": st.fixed_dictionaries({}, optional=evaluate),
        "early_stop": st.none() | early_stops,
        "deadline": seconds,
        "min_replies": st.integers(1, low),
        "sampling": st.fixed_dictionaries({"clients": st.integers(low, 2000) | parts, "by": plugins}),
        "gpu": st.none() | st.booleans(),
        "late_join": st.booleans(),
        "seed": st.none() | st.integers(0, 2**64),
    }
    tables = {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", fullmatch=True)),
        "model": {"kind": draw(names), "config": draw(options)},
        "optim": {"client_opt": draw(options), "server_opt": draw(options), "aggregator": draw(plugins)},
        "metrics": draw(st.lists(plugins, max_size=3)),
        "requires": draw(
            st.dictionaries(st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), names, max_size=2)
        ),
        "run": {
            "rounds": draw(counts),
            "training": {"batch_size": draw(counts), **draw(st.fixed_dictionaries({}, optional=training))},
            **draw(st.fixed_dictionaries({"register": run.pop("register")}, optional=run)),
        },
    }
    return RunSpec.parse(tables, "spec", build_parts=False)  # their names are any


@given(specs())
def test_a_spec_comes_back_from_json_as_it_was(spec: RunSpec) -> None:
    # When
    text = spec.to_json()
    # Then
    assert RunSpec.from_json(text) == spec
    assert RunSpec.from_json(text).to_json() == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("{", "run spec: not valid JSON: Expecting property name", id="cut off"),
        pytest.param("[" * 100_000, "run spec: not valid JSON: nested too deeply", id="endless"),
        pytest.param("3", "run spec: top level: Input should be a valid dictionary", id="a number"),
        pytest.param('{"modle": {}}', "run spec: top level: unknown key 'modle'; did you mean 'model'?", id="a typo"),
    ],
)
def test_json_that_is_no_spec_is_refused(text: str, reason: str) -> None:
    # Then
    with pytest.raises(ConfigError) as caught:
        # When
        RunSpec.from_json(text)
    assert str(caught.value).startswith(reason)


def test_options_that_json_cannot_carry_are_refused() -> None:
    # Given
    spec = RunSpec.parse(written("metrics", [{"name": "mae", "scale": object()}]), "run.toml")
    # Then
    with pytest.raises(ConfigError, match=r"cannot travel as JSON: .*object.*: use numbers, text, lists and tables"):
        # When
        spec.to_json()
