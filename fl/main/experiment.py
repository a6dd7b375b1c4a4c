"""A whole experiment in one TOML file: the run, and for `quickrun` also whose data it is about."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from fl.client.config import ClientConfig, resolve
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.main.initial import load_initial, weights_of
from fl.main.trust import trust_own
from fl.run.config import read_toml
from fl.run.requirements import with_requirements
from fl.run.spec import RunSpec


class Experiment(RunSpec):
    """A run's spec, and clients to run it with on this machine."""

    clients: list[ClientConfig] = Field(default_factory=list)
    """Only for quickrun: at real sites each daemon has a file of its own."""
    initial_weights: Path | None = None
    """A safetensors file, or a folder of checkpoints of which the best ones are taken, to start the run from."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [client.name for client in self.clients]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two clients are named {name!r}: give each a name of its own")
        return self

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a TOML file; its paths are relative to its folder. Raises `ConfigError`."""
        table: dict[str, Any] = read_toml(path)
        clients = table.get("clients")
        if isinstance(clients, list):
            table["clients"] = [resolve(one, Path(path).parent) if isinstance(one, dict) else one for one in clients]
        if isinstance(start := table.get("initial_weights"), str):
            table["initial_weights"] = Path(path).parent / start
        return cls.parse(table, str(path))

    @property
    def spec(self) -> RunSpec:
        """The run alone, as it is submitted."""
        ours = {"clients", "initial_weights"}
        return with_requirements(RunSpec.parse(self.model_dump(exclude=ours, by_alias=True), self.name))

    def start(self, weights: Path | None = None) -> NumpyVector | None:
        """What the run starts from: `weights`, else the file's own `initial_weights`, else what the model has.

        None for a model that has no weights before there are data. Raises `ModelError`, and `ConfigError` for a model
        that cannot be built here.
        """
        trust_own(self.model)
        source = weights or self.initial_weights
        if source is not None:
            return load_initial(source, self.model)
        return weights_of(Model.registry.get(self.model.kind).from_config(self.model.config))
