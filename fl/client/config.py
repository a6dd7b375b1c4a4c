"""A site's daemon, as its TOML file describes it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from broker.topology import check_name
from fl.client.data import AnyData, resolve_data
from fl.core.doors import Doors
from fl.run.config import Config, read_toml


class DeviceConfig(Config):
    """Which device models compute on here, whatever the run."""

    gpu: bool = True
    """Use a GPU where there is one."""
    idx: Annotated[int, Field(ge=0)] | None = None
    """Which one, counting from 0; without it the first. The trainers of this site see no other."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads that each run's trainer computes with; without it, as many as the framework likes."""


class AllowConfig(Config):
    """What models that come with a run may execute here, besides what this package brings."""

    factories: list[str] = Field(default_factory=list)
    """Functions that may be called to build a model, as "package.module:function" or "package.module:*"."""
    pickle: bool = False
    """Load models that come as pickles: they execute whatever their author wrote into them."""

    @model_validator(mode="after")
    def _check_factories(self) -> Self:
        Doors(tuple(self.factories))
        return self


class LimitsConfig(Config):
    """What one run may take at this site. A request that goes beyond it fails, and the daemon serves the next one."""

    memory_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB that a trainer's process and its children may hold in memory, on Linux; without it there is no limit."""
    round_s: Annotated[float, Field(gt=0)] = 86_400.0
    """Seconds that one request, such as a round of training, may take."""
    drain_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds that a daemon told to end by SIGTERM may spend to finish the requests in work; the others, and what is
    not finished then, go back to the broker."""


class SitePrivacyConfig(Config):
    """What this site's data may be used for, whatever a run asks: see `fluffle ledger` for what has been spent."""

    required: bool = False
    """Take part in runs with differential privacy only."""
    max_epsilon: Annotated[float, Field(gt=0)] | None = None
    """What all runs together may spend on the training data, and evaluations on those that they look at; without it
    each run spends its own budget."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """At which that is counted: well below 1 over the number of samples."""
    accountant: Literal["rdp", "prv", "gdp"] = "rdp"
    """How it is counted, whatever a run counts with."""
    share_loss: bool = True
    """Send losses of evaluations, which have no noise unless there is `metric_noise`."""
    metric_noise: Annotated[float, Field(ge=0.01, le=1e6)] | None = None
    """Noise multiplier of what an evaluation tells, losses and metrics together, in every run; needs `max_epsilon`.

    Each evaluation is paid for from the ledger of the data that it looks at; when no more can be, nothing is told.
    Metrics without a bound on what one sample adds (mse, mae, r2) are not told at all. Validation data have an account
    of their own: whoever has samples in both datasets spends from both, so keep them apart by person."""
    loss_bound: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """What a sample's loss counts as at most, where evaluations have noise: they have as much more of it."""
    n_samples: Annotated[int, Field(ge=1)] | None = None
    """What is told in the place of the numbers of samples, by which averages weight sites; without it the truth."""

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        if self.metric_noise is not None and self.max_epsilon is None:
            raise ValueError(
                "metric_noise: evaluations with noise are paid for, one by one: set max_epsilon, which is as far as "
                "they may go"
            )
        return self


class ClientConfig(Config):
    """One daemon: who it is, what data it has, and where it keeps what must survive it."""

    name: str
    """The enrolled name of this site."""
    broker: str | None = None
    """URL of the broker, amqps://user:password@host/vhost; better kept in FLUFFLE_BROKER than in a file."""
    train: AnyData
    valid: AnyData | None = None
    """Data to evaluate on; without it evaluations use the training data."""
    share_metrics: bool = True
    """Send metrics of evaluations; without it only the loss is sent."""
    state: Path | None = None
    """Directory for what must survive a restart; default: ~/.local/state/fluffle/<name>."""
    checkpoint: Path | None = None
    """Directory for the weights that each run leaves; without it they are not kept here."""
    device: DeviceConfig = DeviceConfig()
    allow: AllowConfig = AllowConfig()
    limits: LimitsConfig = LimitsConfig()
    privacy: SitePrivacyConfig = SitePrivacyConfig()
    max_runs: Annotated[int, Field(ge=1)] = 4
    """Runs served side by side; further ones are joined as these end."""
    standby: bool = True
    """When a daemon of this name is connected already: wait to take its place (true), or refuse to start."""

    @model_validator(mode="after")
    def _check_sharing(self) -> Self:
        if self.privacy.n_samples is not None and self.share_metrics and self.privacy.metric_noise is None:
            raise ValueError(
                "privacy.n_samples: metrics of evaluations are sums over samples, which tell their true number: "
                "set share_metrics = false with it, or metric_noise"
            )
        return self

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name, "client name")

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a TOML file, with the paths of its data resolved against its folder. Raises `ConfigError`."""
        return cls.parse(resolve(read_toml(path), Path(path).parent), str(path))


def resolve(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table of one client, with its paths taken relative to `folder`."""
    resolved = dict(table)
    for part in ("train", "valid"):
        if isinstance(table.get(part), dict):
            resolved[part] = resolve_data(table[part], folder)
    for part in ("state", "checkpoint"):
        if isinstance(table.get(part), str):
            resolved[part] = folder / table[part]
    return resolved
