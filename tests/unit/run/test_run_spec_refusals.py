"""What a run spec refuses, and in which words."""

import math
from typing import Any

import pytest

from fl.errors import ConfigError
from fl.run.spec import (
    RunSpec,
    TrainingConfig,
)
from tests.unit.run.histories import a_spec
from tests.unit.run.written_specs import refusal, written

TRAINING = {"batch_size": 8}


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


@pytest.mark.parametrize("shards", [0, 65, 1.5, True, "2"])
def test_shards_are_a_number_of_workers(shards: Any) -> None:
    assert "run.toml: run.shards: Input should be " in refusal(written("run.shards", shards))


@pytest.mark.parametrize("aggregator", ["median", {"name": "trimmed-mean", "beta": 0.1}, {"name": "krum", "f": 1}])
def test_shards_are_refused_where_an_aggregator_makes_no_sum(aggregator: Any) -> None:
    # Given
    name = aggregator if isinstance(aggregator, str) else aggregator["name"]
    tables = written("run.shards", 2)
    # When
    text = refusal({**tables, "optim": {**tables["optim"], "aggregator": aggregator}})
    # Then
    assert text.startswith(f"run.toml: top level: shards = 2 with the aggregator {name!r}, which makes no sum that")


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


@pytest.mark.parametrize("value", ["fast", True])
def test_what_is_no_optimizer_is_refused_with_what_one_is(value: Any) -> None:
    # When
    text = refusal(written("optim.client_opt", value))
    # Then
    said = f"{value!r} is no optimizer: give a learning rate, or a table with lrate and other options"
    assert text == f"run.toml: optim.client_opt: {said}"


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
