"""What a researcher asks for: the whole of a run, as one value that travels as JSON."""

import json
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from fl.core.aggregator import Aggregator
from fl.core.aggregator.blocks import sums_blocks
from fl.core.compression import Compression, Uncompressed
from fl.core.registry import options_of
from fl.core.training import Batching, Effort
from fl.errors import ConfigError
from fl.run.central import CentralPrivacyConfig
from fl.run.central_rules import exchanges, objections
from fl.run.config import Config, builds_parts, unknown_key
from fl.run.optim import OptimConfig
from fl.run.parts import Plugin, as_plugin
from fl.run.privacy import PrivacyConfig
from fl.run.sampling import ClientSampler
from fl.run.share import Share, count

PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0)]
A_DAY_S: Final = 86_400.0
MOST_SHARDS: Final = 64
"""Each is a queue, whether there is a worker for it or not."""


def _as_count(value: Any) -> Any:
    """Accept a bare number of clients: exactly that many."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"min_clients": value, "max_clients": value}
    return value


def _as_sampling(value: Any) -> Any:
    """Accept a bare share: how many clients are asked."""
    return {"clients": value} if isinstance(value, int | float) else value


def _as_evaluation(value: Any) -> Any:
    """Accept a bare yes or no."""
    if isinstance(value, bool) or value == 0:
        return {} if value else {"frequency": 0}
    return value


class ModelConfig(Config):
    """The model by kind and options; nothing that could run travels in it."""

    kind: str
    """Registered name of the model class, such as "sklearn-sgd"."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Options of that class."""


class RegisterConfig(Config):
    """Whom the run waits for before it starts.

    Registration closes when `max_clients` have joined; without a maximum as soon as `min_clients` have; with a
    `timeout`, at its end if at least `min_clients` are there. The run fails if they are not.
    """

    min_clients: PositiveInt = 1
    """Fewer are too few to begin with; later, `min_replies` says how many it takes."""
    max_clients: PositiveInt | None = None
    """Further ones are refused; without it there is room for all."""
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
    """Samples of one training step; with `poisson`, as many are expected."""
    n_epoch: Annotated[int, Field(ge=0, strict=True)] | None = 1
    """Epochs a round; 0 or None: no limit."""
    n_steps: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Training steps a round; 0 or None: no limit."""
    timeout: Annotated[float, Field(ge=0)] | None = None
    """Seconds of training a round; 0 or None: no limit."""
    shuffle: bool = False
    """Take the samples of each epoch in a new order."""
    drop_remainder: bool = True
    """Leave out the last samples of an epoch that do not fill a batch."""
    poisson: bool = False
    """Take each sample into a batch by chance, with probability batch_size / n."""
    replacement: bool = False
    """Draw the samples of a batch one by one, where the same may come twice."""

    @property
    def batching(self) -> Batching:
        return Batching(
            self.batch_size,
            shuffle=self.shuffle,
            drop_remainder=self.drop_remainder,
            poisson=self.poisson,
            replacement=self.replacement,
        )

    @property
    def effort(self) -> Effort:
        return Effort(self.n_epoch, self.n_steps, self.timeout)

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
    """Samples looked at together."""
    n_steps: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Batches at most; 0 or None: all."""
    timeout: Annotated[float, Field(ge=0)] | None = None
    """Seconds at most; 0 or None: no limit."""
    drop_remainder: bool = False
    """Leave out the last samples that do not fill a batch."""
    frequency: Annotated[int, Field(ge=0, strict=True)] = 1
    """Evaluate after every so many training rounds, and after the last; 0: never, and the last weights are the best."""
    clients: Share = 1.0
    """How many evaluate: a number, or a part of those that are ready, drawn uniformly."""


class EarlyStopConfig(Config):
    """Stop once the global loss has not improved by more than `tolerance` for `patience` evaluations."""

    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """An improvement up to here is none."""
    patience: PositiveInt = 1
    """Evaluations in a row without improvement."""
    decrease: bool = True
    """Whether lower is better."""
    relative: bool = False
    """Whether `tolerance` is a part of the best value so far."""


class SamplingConfig(Config):
    """Whom a training round asks, and how many replies it takes."""

    clients: Share = 1.0
    """How many are asked: a number, or a part of those that are ready. Never fewer than a number in `min_replies`."""
    take: Share | None = None
    """Close the round with the first so many replies: a number, or a part of those asked. Whoever comes later, fails
    or goes is done without, so `clients = 12, take = 10` asks two more than needed. Without it all are waited for."""
    by: Annotated[Plugin, BeforeValidator(as_plugin)] = Plugin(name="uniform")
    """How they are chosen: "uniform"; "weighted" by their numbers of samples, or by a table `weights` of numbers by
    client; "criterion" for the first by `criterion` = "train-time", "loss", "update-norm" or "n-samples", with the
    options `explore` and `pool`. Options stand beside these keys, or in a table `by` with the name."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict) or not isinstance(name := data.get("by", "uniform"), str):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields}
        options = {key: value for key, value in data.items() if key not in own}
        if builds_parts(info):
            known = {*cls.model_fields, *options_of(ClientSampler.registry.get(name))}
            for key in sorted(options.keys() - known):
                raise ValueError(unknown_key(key, sorted(known)))
        return {**own, "by": {"name": name, "config": options}}

    @field_validator("by")
    @classmethod
    def _build_sampler(cls, plugin: Plugin, info: ValidationInfo) -> Plugin:
        if builds_parts(info):
            ClientSampler.registry.get(plugin.name).from_config(plugin.config)
        return plugin

    @model_validator(mode="after")
    def _check_take(self) -> Self:
        if isinstance(self.take, int) and isinstance(self.clients, int) and self.take > self.clients:
            raise ValueError(f"take = {self.take} replies can never come from clients = {self.clients}")
        return self


class RunConfig(Config):
    """How long a run goes on, with whom, and what each round does."""

    rounds: PositiveInt
    """Training rounds, unless `early_stop` ends the run before."""
    registration: Annotated[RegisterConfig, BeforeValidator(_as_count), Field(alias="register")] = RegisterConfig()
    """Whom the run waits for: written as `register`; a bare number is exactly so many."""
    training: TrainingConfig
    """What a client does in a round."""
    sampling: Annotated[SamplingConfig, BeforeValidator(_as_sampling)] = SamplingConfig()
    """Whom a training round asks; a bare number, or part, is `clients`."""
    evaluate: Annotated[EvaluateConfig, BeforeValidator(_as_evaluation)] = EvaluateConfig()
    """How evaluations go; false: there are none."""
    early_stop: EarlyStopConfig | None = None
    """When the run ends before its last round; without it never."""
    deadline: Seconds | None = None
    """Seconds after which a round closes with those who have answered; without it all are waited for. As long is
    waited for the models to be built."""
    min_replies: Share = 1
    """A round with fewer replies cannot be committed, and the run pauses: a number, or a part of those asked."""
    patience: Annotated[float, Field(ge=0)] | None = None
    """Seconds that the run waits, paused, when too few clients are left or answer; then it fails. 0: it fails at once.

    Without it a day, but where all clients are in one process, and none can come back, 0."""
    set_aside_after: Annotated[int, Field(ge=0, strict=True)] = 3
    """Rounds in a row in which a client fails before it is set aside: told why, and asked no more until it joins
    again, as a daemon does when it is restarted. 0: it is always asked again."""
    gone_after: Seconds = 60.0
    """Seconds without a daemon of its name after which nobody waits for a client any more, until it comes back."""
    late_join: bool = True
    """Whether clients may join after registration has closed; they take part from the next round on."""
    seed: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Makes batches, and who is asked, the same in every run of this spec.

    Without it each site draws batches from its own secret seed, and clients are drawn by the name of the run."""
    compression: Annotated[Plugin, BeforeValidator(as_plugin)] = Plugin(name="none")
    """How updates and weights travel: "none", "bf16", "fp16", "int8" or "topk"; options stand in a table beside `name`.
    What it leaves out of one update goes with the client's next one. The weights are rounded for clients only: the run
    itself goes on from exact ones, and leaves such. With "topk" they travel as they are."""
    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS, strict=True)] = 1
    """Workers that share the sum of a training round, in blocks of 64 clients; the weights have the same bits for any
    number. It takes that many workers, and rounds of more than 64 clients, to gain by it."""
    privacy: PrivacyConfig | None = None
    """Differential privacy of each sample at the sites; without it there is none. Batches are drawn by Poisson sampling
    then, whatever `training` says of shuffling, and by each site's own secret seed."""
    central_privacy: CentralPrivacyConfig | None = None
    """Differential privacy of each client as a whole, at the server; without it there is none. All clients count the
    same then, and are asked by chance."""
    gpu: bool | None = None
    """false: compute on CPUs, also where there is a GPU; without it, or true, each site's own policy holds."""

    @field_validator("compression")
    @classmethod
    def _build_compression(cls, plugin: Plugin, info: ValidationInfo) -> Plugin:
        if builds_parts(info):
            Compression.registry.get(plugin.name).from_config(plugin.config)
        return plugin

    @property
    def patience_s(self) -> float:
        return A_DAY_S if self.patience is None else self.patience

    def evaluates_after(self, round_: int) -> bool:
        """Whether an evaluation follows this training round."""
        frequency = self.evaluate.frequency
        return frequency > 0 and (round_ % frequency == 0 or round_ == self.rounds)

    @model_validator(mode="after")
    def _check_replies(self) -> Self:
        sampling, most = self.sampling, self.registration.max_clients
        known = [one for one in (sampling.clients, most) if isinstance(one, int)]
        of = min(known, default=None)
        limits = {"max_clients": most, "sampling.take": sampling.take}
        for name, limit in limits.items():
            if limit is not None and _exceeds(self.min_replies, limit, of):
                raise ValueError(f"min_replies = {self.min_replies} can never come from {name} = {limit}")
        return self

    @model_validator(mode="after")
    def _check_privacy(self) -> Self:
        if self.privacy is None:
            return self
        if not (self.training.n_epoch or self.training.n_steps):
            raise ValueError(
                "the noise of a private run depends on how many steps are planned: set training.n_epoch or n_steps"
            )
        if self.training.replacement:
            raise ValueError("a private run draws batches by Poisson sampling: leave training.replacement out")
        return self

    @model_validator(mode="after")
    def _check_evaluations(self, info: ValidationInfo) -> Self:
        if self.evaluate.frequency:
            return self
        if self.early_stop is not None:
            raise ValueError(
                "early_stop goes by evaluations, and there are none: set evaluate.frequency, or leave it out"
            )
        by = self.sampling.by
        if builds_parts(info) and ClientSampler.registry.build((by.name, by.config)).needs_losses:
            raise ValueError(f"sampling by {by.name!r} goes by losses, and there are no evaluations to tell them")
        return self


def _exceeds(share: float, limit: float, of: int | None) -> bool:
    """Whether `share` is more than `limit` for sure; `of` is how many clients both are of, where that is known."""
    if isinstance(share, int) and isinstance(limit, int):
        return share > limit
    if of is not None:
        return count(share, of) > count(limit, of)
    return isinstance(share, float) and isinstance(limit, float) and share > limit


class RunSpec(Config):
    """All of a run but its data."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")] = "run"
    """What runs of this spec are called, with some letters of their own after it."""
    model: ModelConfig
    """What is trained."""
    optim: OptimConfig
    """How it is trained."""
    run: RunConfig
    """How long, with whom, and what each round does."""
    metrics: list[Annotated[Plugin, BeforeValidator(as_plugin)]] = Field(default_factory=list)
    """What evaluations measure beside the loss."""
    requires: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")], str] = Field(
        default_factory=dict
    )
    """Packages of others whose parts this run names, and their versions; filled in when it is submitted."""

    @model_validator(mode="after")
    def _check_shards(self, info: ValidationInfo) -> Self:
        if self.run.shards > 1 and builds_parts(info):
            by = self.optim.aggregator
            aggregator = Aggregator.registry.get(by.name).from_config(by.config)
            if not sums_blocks(aggregator):
                raise ValueError(
                    f"shards = {self.run.shards} with the aggregator {by.name!r}, which makes no sum that several "
                    "workers could share: leave shards out, or use averaging, sum or gradient-masked-averaging"
                )
        return self

    @model_validator(mode="after")
    def _check_central_privacy(self, info: ValidationInfo) -> Self:
        if self.run.central_privacy is not None:
            told = [*objections(self.run, self.optim), *(exchanges(self.optim) if builds_parts(info) else ())]
            if told:
                raise ValueError(f"central_privacy: {'; '.join(told)}")
        return self

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
        return cls.parse(data, "run spec", build_parts=False)


def compression_of(spec: RunSpec) -> Compression:
    """How updates travel in a run."""
    plugin = spec.run.compression
    return Compression.registry.get(plugin.name).from_config(plugin.config)


def weights_compression_of(spec: RunSpec) -> Compression:
    """How weights travel to the clients of a run, where they are within its range."""
    compression = compression_of(spec)
    return compression if compression.for_weights else Uncompressed()
