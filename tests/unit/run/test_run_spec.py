"""What a researcher may write, in all its shapes, and that it travels as JSON."""

import math
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
from tests.unit.run.histories import a_spec

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
        ({"preset": "fedavg", "client_opt": "fast"}, "Input should be a valid dictionary (got 'fast')"),
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


# ---- refusals -------------------------------------------------------------------------------------------------------

TABLES: dict[str, Any] = {
    "model": {"kind": "none"},
    "optim": {"client_opt": 0.1},
    "run": {"rounds": 1, "training": {"batch_size": 8}},
}


def written(place: str, value: Any) -> dict[str, Any]:
    """The tables with `value` at a dotted place."""
    head, _, rest = place.partition(".")

    def put(table: Any, head: str, rest: str) -> dict[str, Any]:
        head_of_rest, _, tail = rest.partition(".")
        inner = put(table.get(head, {}), head_of_rest, tail) if rest else value
        return {**table, head: inner}

    return put(TABLES, head, rest)


def refusal(tables: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        RunSpec.parse(tables, "run.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "nearest"),
    [
        ("modle", "model"),
        ("model.knd", "kind"),
        ("optim.cleint_opt", "client_opt"),
        ("optim.aggregator.nam", "name"),
        ("run.round", "rounds"),
        ("run.registr", "register"),
        ("run.register.min_client", "min_clients"),
        ("run.training.batchsize", "batch_size"),
        ("run.evaluate.freqency", "frequency"),
        ("run.early_stop.patient", "patience"),
        ("run.sampling.client", "clients"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_is_named(place: str, nearest: str) -> None:
    # Given
    table, _, key = place.rpartition(".")
    # When
    text = refusal(written(place, 1))
    # Then
    assert f"run.toml: {table or 'top level'}: unknown key {key!r}; did you mean {nearest!r}" in text


def test_an_unknown_key_with_nothing_near_lists_what_is_known() -> None:
    # When
    text = refusal(written("model.xyzzy", 1))
    # Then
    assert text == "run.toml: model: unknown key 'xyzzy'; known here: config, kind"


TABLE_WANTED = "Input should be a valid dictionary"


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("run.rounds", "10", "Input should be a valid integer"),
        ("run.rounds", 1.5, "Input should be a valid integer"),
        ("run.rounds", True, "Input should be a valid integer"),
        ("run.rounds", 0, "Input should be greater than or equal to 1"),
        ("run.register", "two", f"{TABLE_WANTED} or instance of RegisterConfig"),
        ("run.register", True, f"{TABLE_WANTED} or instance of RegisterConfig"),
        ("run.register.timeout", 0, "Input should be greater than 0"),
        ("run.deadline", 0, "Input should be greater than 0"),
        ("run.deadline", math.inf, "Input should be a finite number"),
        ("run.gpu", "yes please", "Input should be a valid boolean, unable to interpret input"),
        ("run.seed", -1, "Input should be greater than or equal to 0"),
        ("run.training.batch_size", 0, "Input should be greater than or equal to 1"),
        ("run.early_stop", 3, f"{TABLE_WANTED} or instance of EarlyStopConfig"),
        ("run.early_stop.patience", 0, "Input should be greater than or equal to 1"),
        ("run.early_stop.tolerance", math.nan, "Input should be a finite number"),
        ("optim.client_opt", "fast", TABLE_WANTED),
        ("optim.client_opt", True, TABLE_WANTED),
        ("optim.aggregator", 3, f"{TABLE_WANTED} or instance of Plugin"),
        ("optim.aggregator", ["averaging", {}, {}], f"{TABLE_WANTED} or instance of Plugin"),
        ("metrics", "mae", "Input should be a valid list"),
        ("model", None, f"{TABLE_WANTED} or instance of ModelConfig"),
        ("name", "no spaces", "String should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place_and_itself(place: str, value: Any, problem: str) -> None:
    # When
    text = refusal(written(place, value))
    # Then
    assert text == f"run.toml: {place}: {problem} (got {value!r})"


def test_a_wrong_value_in_a_list_is_refused_with_its_number() -> None:
    # When
    text = refusal(written("metrics", ["mae", ["r2", 3]]))
    # Then
    assert text == "run.toml: metrics.1.config: Input should be a valid dictionary (got 3)"


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (
            "run.register",
            {"min_clients": 3, "max_clients": 2},
            "run.register: max_clients = 2 is less than min_clients = 3",
        ),
        (
            "run.training",
            {"batch_size": 8, "n_epoch": 0, "n_steps": 0},
            "run.training: a round would never end: set one of n_epoch, n_steps or timeout",
        ),
        (
            "run.training",
            {"batch_size": 8, "poisson": True, "replacement": True},
            "run.training: poisson and replacement exclude each other",
        ),
        (
            "run",
            {"rounds": 1, "training": TRAINING, "register": 2, "min_replies": 3},
            "run: min_replies = 3 can never come from max_clients = 2",
        ),
    ],
)
def test_what_cannot_go_together_is_refused(place: str, value: Any, line: str) -> None:
    # When
    text = refusal(written(place, value))
    # Then
    assert text == f"run.toml: {line}"


NO_EVALUATIONS = "sampling by 'criterion' goes by losses, and there are no evaluations to tell them"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"sampling": {"clients": 2, "take": 3}}, ".sampling: take = 3 replies can never come from clients = 2"),
        ({"sampling": 2, "min_replies": 3, "register": 4}, None),
        ({"sampling": {"take": 2}, "min_replies": 3}, ": min_replies = 3 can never come from sampling.take = 2"),
        (
            {"sampling": {"take": 0.5}, "min_replies": 0.6},
            ": min_replies = 0.6 can never come from sampling.take = 0.5",
        ),
        (
            {"sampling": {"clients": 10, "take": 4}, "min_replies": 0.5},
            ": min_replies = 0.5 can never come from sampling.take = 4",
        ),
        ({"sampling": {"clients": 10, "take": 5}, "min_replies": 0.5}, None),
        ({"sampling": {"take": 4}, "min_replies": 0.5}, None),
        (
            {"evaluate": False, "early_stop": {}},
            ": early_stop goes by evaluations, and there are none: set evaluate.frequency, or leave it out",
        ),
        ({"evaluate": False, "sampling": {"by": "criterion", "criterion": "loss"}}, f": {NO_EVALUATIONS}"),
        ({"evaluate": False, "sampling": {"by": "criterion", "criterion": "n-samples"}}, None),
    ],
)
def test_shares_and_evaluations_that_contradict_each_other_are_refused(
    changes: dict[str, Any], line: str | None
) -> None:
    # When
    try:
        RunSpec.parse(written("run", {"rounds": 1, "training": TRAINING, **changes}), "run.toml")
        told = None
    except ConfigError as error:
        told = str(error)
    # Then
    assert told == (None if line is None else f"run.toml: run{line}")


@pytest.mark.parametrize(
    "place", ["run.sampling.clients", "run.sampling.take", "run.min_replies", "run.evaluate.clients"]
)
@pytest.mark.parametrize("value", [0, -1, 0.0, 1.5, True, "all", math.nan])
def test_what_is_no_share_of_the_clients_is_refused(place: str, value: Any) -> None:
    # When
    text = refusal(written(place, value))
    # Then
    told = f"use a number of clients, or a part of them above 0.0 and up to 1.0, not {value!r}"
    assert text == f"run.toml: {place}: {told}"


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (
            "optim.client_opt",
            {"lrate": 0.1, "modules": ["momentun"]},
            "unknown optimizer module 'momentun'; did you mean",
        ),
        ("optim.client_opt", {"lrate": 0.1, "modules": "momentum"}, "modules is 'momentum': give a list"),
        ("optim.client_opt", {"lrate": -0.1}, "lrate"),
        ("optim.client_opt", {"modules": []}, "option 'lrate' is missing"),
        ("optim.server_opt", {"lrate": 1, "w_deccay": 0.1}, "unknown option 'w_deccay'; did you mean 'w_decay'?"),
        (
            "optim.server_opt",
            {"lrate": 1.0, "modules": [["torch-optim", {}]]},
            "'torch-optim' needs a framework, and servers have none: use it in client_opt",
        ),
        ("optim.aggregator", "averagin", "unknown aggregator 'averagin'; did you mean 'averaging'?"),
        ("optim.aggregator", {"name": "averaging", "weigted": True}, "averaging: unknown option 'weigted'"),
        ("run.sampling.by", "unifrom", "unknown client sampler 'unifrom'; did you mean 'uniform'?"),
        ("run.sampling", {"by": "criterion", "criterion": "los"}, "unknown criterion 'los'; did you mean 'loss'?"),
        (
            "run.sampling",
            {"by": "weighted", "wieghts": {}},
            "unknown key 'wieghts'; did you mean 'weights' or 'clients'?",
        ),
        ("run.sampling.by", {"name": "weighted", "wieghts": {}}, "weighted: unknown option 'wieghts'"),
    ],
)
def test_a_mistake_in_a_part_s_options_shows_where_it_was_made(place: str, value: Any, problem: str) -> None:
    # When
    text = refusal(written(place, value))
    # Then
    assert text.startswith(f"run.toml: {place.removesuffix('.by')}")
    assert problem in text


def test_what_is_missing_is_named() -> None:
    # When
    text = refusal({"model": {}, "optim": {"client_opt": 0.1}})
    # Then
    assert text.splitlines() == ["run.toml: model.kind: Field required", "run.toml: run: Field required"]


def test_every_problem_is_named_at_once() -> None:
    # When
    text = refusal({**written("run.rounds", 0), "model": {"kind": 3}})
    # Then
    assert text.splitlines() == [
        "run.toml: model.kind: Input should be a valid string (got 3)",
        "run.toml: run.rounds: Input should be greater than or equal to 1 (got 0)",
    ]


@pytest.mark.parametrize("limits", [{"n_epoch": None, "n_steps": 5}, {"n_epoch": 0, "timeout": 1.5}, {"n_epoch": 2}])
def test_one_limit_of_a_round_is_enough(limits: dict[str, Any]) -> None:
    # When
    config = TrainingConfig.from_params(batch_size=8, **limits)
    # Then
    assert limits.items() <= config.model_dump().items()


def test_a_spec_cannot_be_changed() -> None:
    # Given
    spec = a_spec()
    # Then
    with pytest.raises(ValueError, match="frozen"):
        # When
        spec.run.rounds = 3  # type: ignore[misc]  # that is what is refused


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
