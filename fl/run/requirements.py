"""What a run asks of the places where it runs: the packages that parts in its spec come from."""

from collections.abc import Iterator
from typing import Any

from fl.core.aggregator import Aggregator
from fl.core.metrics import Metric
from fl.core.model import Model
from fl.core.optimizer import OptiModule, Regularizer
from fl.core.optimizer.scheduler import Scheduler
from fl.core.registry import Registry
from fl.core.requires import package_of
from fl.run.parts import Plugin, as_plugin, name_of
from fl.run.sampling import ClientSampler
from fl.run.spec import RunSpec


def with_requirements(spec: RunSpec) -> RunSpec:
    """The spec, and in it the packages of others whose parts it names, as they are installed here.

    Raises `ConfigError` for a name that nobody has registered.
    """
    theirs = (registry.get(name) for registry, name in _parts(spec) if not registry.is_builtin(name))
    return spec.model_copy(update={"requires": dict(sorted(filter(None, map(package_of, theirs))))})


def _parts(spec: RunSpec) -> Iterator[tuple[Registry[Any], str]]:
    yield Model.registry, spec.model.kind
    yield Aggregator.registry, spec.optim.aggregator.name
    yield ClientSampler.registry, spec.run.sampling.by.name
    yield from ((Metric.registry, plugin.name) for plugin in spec.metrics)
    for options in (spec.optim.client_opt, spec.optim.server_opt):
        yield from ((OptiModule.registry, name_of(one)) for one in options.get("modules") or ())
        yield from ((Regularizer.registry, name_of(one)) for one in options.get("regularizers") or ())
        yield from ((Scheduler.registry, name) for name in _schedules(options["lrate"]))


def _schedules(rate: Any) -> Iterator[str]:
    """Names of the schedules in a learning rate: a warm-up has another one as its base."""
    if isinstance(rate, int | float):
        return
    plugin = Plugin.model_validate(as_plugin(rate))
    yield plugin.name
    if "base" in plugin.config:
        yield from _schedules(plugin.config["base"])
