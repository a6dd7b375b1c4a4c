"""What a researcher asks for: the whole of a run, as one value that travels as JSON."""

import json
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from fl.errors import ConfigError
from fl.run.config import Config

PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0)]


def _as_plugin(value: Any) -> Any:
    """Accept a name, a `(name, config)` pair, a table with its name inside, or an object that knows its config."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, list | tuple) and len(value) == 2:
        return {"name": value[0], "config": value[1]}
    if isinstance(value, dict) and "name" in value and "config" not in value:
        return {"name": value["name"], "config": {key: item for key, item in value.items() if key != "name"}}
    if hasattr(value, "get_config"):
        return {"name": value.name, "config": value.get_config()}
    return value


def _as_optimizer(value: Any) -> Any:
    """Accept a learning rate, a table of the optimizer's options, or an optimizer."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"lrate": float(value)}
    return value.get_config() if hasattr(value, "get_config") else value


def _as_count(value: Any) -> Any:
    """Accept a bare number of clients: exactly that many."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"min_clients": value, "max_clients": value}
    return value


class Plugin(Config):
    """A named part and its options."""

    name: str
    config: dict[str, Any] = Field(default_factory=dict)


class ModelConfig(Config):
    """The model by kind and options; nothing that could run travels in it."""

    kind: str
    """Registered name of the model class, such as "sklearn-sgd"."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Options of that class."""


class OptimConfig(Config):
    """How clients step and how their updates become one."""

    client_opt: Annotated[dict[str, Any], BeforeValidator(_as_optimizer)]
    """The clients' optimizer: a learning rate, or a table with `lrate`, `w_decay`, `regularizers`, `modules`."""
    server_opt: Annotated[dict[str, Any], BeforeValidator(_as_optimizer)] = Field(
        default_factory=lambda: {"lrate": 1.0}
    )
    """The server's optimizer over the aggregated update; a learning rate of 1 gives FedAvg."""
    aggregator: Annotated[Plugin, BeforeValidator(_as_plugin)] = Plugin(name="averaging")
    """How updates are combined."""


class RegisterConfig(Config):
    """Whom the run waits for before it starts.

    Registration closes when `max_clients` have joined; without a maximum as soon as `min_clients` have; with a
    `timeout`, at its end if at least `min_clients` are there. The run fails if they are not.
    """

    min_clients: PositiveInt = 1
    max_clients: PositiveInt | None = None
    timeout: Seconds | None = None
    """Seconds to wait at most; without it the run waits for as long as it takes."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_clients is not None and self.max_clients < self.min_clients:
            raise ValueError(f"max_clients = {self.max_clients} is less than min_clients = {self.min_clients}")
        return self


class TrainingConfig(Config):
    """What a client does in a round: how it draws batches and when it stops."""

    batch_size: PositiveInt
    n_epoch: Annotated[int, Field(ge=0, strict=True)] | None = 1
    """Epochs a round; 0 or None: no limit."""
    n_steps: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Training steps a round; 0 or None: no limit."""
    timeout: Annotated[float, Field(ge=0)] | None = None
    """Seconds of training a round; 0 or None: no limit."""
    shuffle: bool = False
    drop_remainder: bool = True
    poisson: bool = False
    replacement: bool = False

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if not (self.n_epoch or self.n_steps or self.timeout):
            raise ValueError("a round would never end: set one of n_epoch, n_steps or timeout")
        if self.poisson and self.replacement:
            raise ValueError("poisson and replacement exclude each other")
        return self


class EvaluateConfig(Config):
    """What a client does in an evaluation, and how often there is one."""

    batch_size: PositiveInt = 128
    n_steps: Annotated[int, Field(ge=0, strict=True)] | None = None
    timeout: Annotated[float, Field(ge=0)] | None = None
    drop_remainder: bool = False
    frequency: PositiveInt = 1
    """Evaluate after every so many training rounds, and after the last."""


class EarlyStopConfig(Config):
    """Stop once the global loss has not improved by more than `tolerance` for `patience` evaluations."""

    tolerance: Annotated[float, Field(ge=0)] = 0.0
    patience: PositiveInt = 1
    decrease: bool = True
    relative: bool = False


class RunConfig(Config):
    """How long a run goes on, with whom, and what each round does."""

    rounds: PositiveInt
    registration: Annotated[RegisterConfig, BeforeValidator(_as_count), Field(alias="register")] = RegisterConfig()
    training: TrainingConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    early_stop: EarlyStopConfig | None = None
    deadline: Seconds | None = None
    """Seconds after which a round closes with those who have answered; without it all are waited for."""
    min_replies: PositiveInt = 1
    """A round with fewer answers cannot be committed, and the run fails."""
    late_join: bool = True
    """Whether clients may join after registration has closed; they take part from the next round on."""
    seed: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Makes batches the same in every run of this spec; without it each site draws from its own secret seed."""

    @model_validator(mode="after")
    def _check_replies(self) -> Self:
        most = self.registration.max_clients
        if most is not None and self.min_replies > most:
            raise ValueError(f"min_replies = {self.min_replies} can never come from max_clients = {most}")
        return self


class RunSpec(Config):
    """All of a run but its data."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")] = "run"
    model: ModelConfig
    optim: OptimConfig
    run: RunConfig
    metrics: list[Annotated[Plugin, BeforeValidator(_as_plugin)]] = Field(default_factory=list)

    def to_json(self) -> str:
        """Raises `ConfigError` for options that JSON cannot carry."""
        try:
            tables = self.model_dump(mode="json", by_alias=True)
        except ValueError as error:
            raise ConfigError(
                f"the run spec cannot travel as JSON: {error}: use numbers, text, lists and tables"
            ) from None
        return json.dumps(tables, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises `ConfigError`."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"run spec: not valid JSON: {error}") from None
        except RecursionError:
            raise ConfigError("run spec: not valid JSON: nested too deeply") from None
        return cls.parse(data, "run spec")
