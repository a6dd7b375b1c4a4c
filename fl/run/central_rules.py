"""What would break the promise of central privacy, in words, before a run begins."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from fl.core.layout import Layout, Role
from fl.core.optimizer.module import OptiModule
from fl.run.optim import OF_FRAMEWORKS, OptimConfig
from fl.run.parts import Plugin, name_of

if TYPE_CHECKING:
    from fl.run.spec import RunConfig, SamplingConfig

UNEQUAL: Final = ("steps_weighted", "samples_weighted", "client_weights")
"""Options of averaging that make clients count unlike each other."""


def objections(run: "RunConfig", optim: OptimConfig) -> Iterator[str]:
    """Why such a run, were it centrally private, would tell more of a client than is accounted for."""
    yield from _on_sampling(run.sampling)
    if run.min_replies != 1 or isinstance(run.min_replies, float):
        yield (
            f"min_replies = {run.min_replies}: a round that waits for replies tells how many there were; leave it out, "
            "as every round is committed, also one without any"
        )
    evaluations = run.central_privacy is not None and run.central_privacy.evaluations
    if run.evaluate.frequency and not evaluations:
        yield (
            "evaluations tell losses and metrics of the clients' data without noise, and choose by them the weights "
            "that the run leaves: set evaluate = false, or central_privacy.evaluations = true if that data may be told"
        )
    yield from _on_aggregator(optim.aggregator)


def _on_sampling(sampling: "SamplingConfig") -> Iterator[str]:
    if isinstance(sampling.clients, int):
        yield (
            f"sampling.clients = {sampling.clients}: each client is asked with one probability, whatever the others "
            "do, so that their number is no fixed one; give that probability, such as 0.1, or 1.0 for all"
        )
    if sampling.by.name != "uniform":
        yield (
            f"sampling.by = {sampling.by.name!r}: all clients are asked with the same probability, since who is asked "
            "for its data, or for what it did before, is told by that; leave it out"
        )
    if sampling.take is not None:
        yield "sampling.take: who is among the first depends on the others, which is not accounted for; leave it out"


def _on_aggregator(aggregator: Plugin) -> Iterator[str]:
    if aggregator.name != "averaging":
        yield (
            f"the aggregator {aggregator.name!r}: noise is for the sum of all updates, and bounds nothing of what "
            "another aggregator makes of them; leave it out"
        )
        return
    unequal = [option for option in UNEQUAL if aggregator.config.get(option)]
    if unequal:
        yield (
            f"the aggregator's {unequal[0]}: all clients count the same, as noise is for the bound on one; use "
            'aggregator = { name = "averaging", steps_weighted = false }'
        )


def exchanges(optim: OptimConfig) -> Iterator[str]:
    """Likewise, of modules that tell each other something: builds the classes that are named."""
    for options in (optim.client_opt, optim.server_opt):
        names = [name_of(one) for one in options.get("modules") or ()]
        for name in names:
            if name not in OF_FRAMEWORKS and OptiModule.registry.get(name).aux_name:
                yield f"{name!r} adds up what clients tell beside their updates, without noise; leave it out"


def unprotected(layout: Layout) -> str | None:
    """Why weights of this layout cannot be trained with central privacy; None if they can."""
    buffers = [spec.name for spec in layout.specs if spec.role is Role.BUFFER]
    if not buffers:
        return None
    return (
        f"tensor {buffers[0]!r} is a buffer, as BatchNorm's statistics are: central privacy has no noise for it; keep "
        'buffers at the sites (buffers = "local" or "frozen"), or use layers without any, such as GroupNorm'
    )
