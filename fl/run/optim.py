"""How a run steps: the optimizers of both sides, and how updates become one."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from fl.core.aggregator import Aggregator
from fl.core.optimizer import Optimizer
from fl.core.optimizer.presets import preset as tables_of
from fl.run.config import Config, builds_parts
from fl.run.parts import Plugin, as_plugin, name_of, written

OF_FRAMEWORKS: Final = frozenset({"tensorflow-optim", "torch-optim"})
"""Modules that only work where their framework is, which is where the model is."""


def _as_optimizer(value: Any) -> Any:
    """Accept a learning rate, a table of the optimizer's options, or an optimizer."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"lrate": float(value)}
    if hasattr(value, "get_config"):
        return value.get_config()
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no optimizer: give a learning rate, or a table with lrate and other options")  # noqa: TRY004  # what pydantic takes for an answer
    return {
        key: list(map(written, option)) if isinstance(option, list | tuple) else written(option)
        for key, option in value.items()
    }


class OptimConfig(Config):
    """How clients step and how their updates become one."""

    preset: Annotated[str | None, Field(exclude=True)] = None
    """A published algorithm with its authors' defaults: FedAvg, FedAvgM, FedProx, FedAdagrad, FedAdam, FedYogi or
    SCAFFOLD. It stands for the tables below, and options that are given there take the place of its own."""
    client_opt: Annotated[dict[str, Any], BeforeValidator(_as_optimizer)]
    """The clients' optimizer: a learning rate, or a table with `lrate`, `w_decay`, `regularizers`, `modules`.
    `lrate` is a number, or a schedule such as { name = "cosine-annealing", base = 0.1, ... }."""
    server_opt: Annotated[dict[str, Any], BeforeValidator(_as_optimizer)] = Field(
        default_factory=lambda: {"lrate": 1.0}
    )
    """The server's optimizer over the aggregated update; a learning rate of 1 gives FedAvg."""
    aggregator: Annotated[Plugin, BeforeValidator(as_plugin)] = Plugin(name="averaging")
    """How updates are combined: a name, or a table with the name and options."""

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("preset") is None:
            return data
        given = {key: value for key, value in data.items() if key != "preset"}
        opts = {key: _as_optimizer(given.get(key, {})) for key in ("client_opt", "server_opt")}
        if not (isinstance(data["preset"], str) and all(isinstance(options, dict) for options in opts.values())):
            return data  # what is wrong with it is told by its own field
        if "lrate" not in opts["client_opt"]:
            raise ValueError("a preset does not say how fast clients learn: set client_opt to their learning rate")
        rates = {f"{key.removesuffix('_opt')}_lrate": options.get("lrate") for key, options in opts.items()}
        tables = tables_of(data["preset"], **rates)
        return tables | given | {key: tables[key] | options for key, options in opts.items()}

    @field_validator("client_opt", "server_opt")
    @classmethod
    def _build_optimizer(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if builds_parts(info):
            modules = options.get("modules") or []
            if not isinstance(modules, list):
                raise ValueError(f"modules is {modules!r}: give a list of names, or of [name, options]")
            theirs = [one for one in modules if name_of(one) in OF_FRAMEWORKS]
            if theirs and info.field_name == "server_opt":
                raise ValueError(
                    f"{name_of(theirs[0])!r} needs a framework, and servers have none: use it in client_opt"
                )
            Optimizer.from_config({**options, "modules": [one for one in modules if one not in theirs]})
        return options

    @field_validator("aggregator")
    @classmethod
    def _build_aggregator(cls, plugin: Plugin, info: ValidationInfo) -> Plugin:
        if builds_parts(info):
            Aggregator.registry.get(plugin.name).from_config(plugin.config)
        return plugin
