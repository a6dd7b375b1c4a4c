"""A run as its submitter puts it on the broker: what to declare, what to publish, in which order."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker import topology
from broker.base import Declarable, Message, Session, Stream
from broker.blob import cut, ref_of
from broker.quota import quota_of, read_quota
from broker.threads import in_thread
from fl.core.aggregator import Aggregator
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.optimizer import Optimizer
from fl.core.vector import SHARED, NumpyVector, Role
from fl.errors import ConfigError
from fl.run.asking import fewest
from fl.run.footprint import footprint
from fl.run.releases import planned
from fl.run.spec import RunSpec
from fl.wire.envelope import Body, seal, wrap
from fl.wire.messages_pb2 import Baton, CancelRequest, ResumeRequest, RunSubmitted
from fl.wire.runs import Submitted
from fl.wire.tensors import inline, parcel, referring
from fl.wire.tensors_pb2 import Tensors

if TYPE_CHECKING:
    from broker.blocking import BlockingBroker

ANNOUNCED_BYTES = 16 * 1024
"""Weights up to here come with the announcement, which everybody who starts reads again; larger ones are a blob."""


@dataclass(frozen=True, slots=True)
class Declare:
    """Make sure that these exist."""

    items: tuple[Declarable, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish to a queue or stream, and wait for the broker's confirmation."""

    message: Message
    queue: str


Step = Declare | Publish


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that is ready to be put on a broker. `now` is in seconds since the epoch."""

    run: str
    spec: RunSpec
    weights: NumpyVector | None
    """All tensors of the model; None where they are completed from the clients' data info."""
    sender: str
    now: float

    def steps(self, *, user: str) -> Iterator[Step]:
        """Everything in order: the run is announced last, when all that it needs is there."""
        shards = self.spec.run.shards
        yield Declare((*topology.base(), *topology.run(self.run, shards)))
        body = RunSubmitted(spec_json=self.spec.to_json())
        for part, vector in self.parts().items():
            yield from self._put(part, vector)
            getattr(body, part).CopyFrom(self._tensors(part, vector))
        baton = seal(wrap(self.run, self.sender, Baton(), now=self.now), user=user)
        yield from (Publish(baton, queue) for queue in topology.queues_of(self.run, shards))
        yield Publish(seal(wrap(self.run, self.sender, body, now=self.now), user=user), topology.RUNS.name)

    def parts(self) -> dict[str, NumpyVector]:
        """What travels in every round as "weights", and what travels only at the start as "fixed"."""
        if self.weights is None:
            return {}
        fixed = self.weights.select(Role.FIXED)
        return {"weights": self.weights.select(*SHARED), **({"fixed": fixed} if fixed.layout.specs else {})}

    def check_quota(self, quota_mib: int) -> None:
        """Raises `ConfigError` where it takes more of the broker than a run may, with no more clients than it needs."""
        parts = {part: vector.layout for part, vector in self.parts().items()}
        if not parts:
            return  # its leader will know
        fixed = parts["fixed"].nbytes if "fixed" in parts else 0
        takes = footprint(self.spec, parts["weights"], fixed=fixed, n_clients=fewest(self.spec, 0))
        excess = takes.excess(quota_mib)
        if excess is not None:
            raise ConfigError(f"run {self.spec.name} is too large for the broker: {excess}")

    def announced(self) -> Submitted:
        """The run as whoever reads the announcement sees it."""
        parcels = {part: parcel(self._tensors(part, vector)) for part, vector in self.parts().items()}
        return Submitted(self.run, self.spec, parcels.get("weights"), parcels.get("fixed"), by=self.sender, at=self.now)

    def _put(self, part: str, vector: NumpyVector) -> Iterator[Step]:
        if vector.layout.nbytes > ANNOUNCED_BYTES:
            stream = self._stream(part)
            yield Declare((Stream(stream),))
            yield from (Publish(chunk, stream) for chunk in cut(vector.pack()))

    def _tensors(self, part: str, vector: NumpyVector) -> Tensors:
        if vector.layout.nbytes <= ANNOUNCED_BYTES:
            return inline(vector)
        return referring(vector.layout, ref_of(self._stream(part), vector.pack()))

    def _stream(self, part: str) -> str:
        return topology.weights_stream(self.run, 0, f"submitted-{part}")


def prepare(spec: RunSpec, weights: NumpyVector | None, *, sender: str, now: float) -> Submission:
    """A submission under a new name. Raises `ConfigError` for a spec that could not be run."""
    check(spec)
    spec = planned(spec)
    return Submission(f"{spec.name}-{secrets.token_hex(3)}", spec, weights, sender, now)


def check(spec: RunSpec) -> None:
    """Build every part that the spec names, so that a mistake shows before anybody joins. Raises `ConfigError`."""
    Model.registry.get(spec.model.kind).from_config(spec.model.config)
    Optimizer.from_config(spec.optim.client_opt)
    Optimizer.from_config(spec.optim.server_opt)
    Aggregator.registry.get(spec.optim.aggregator.name).from_config(spec.optim.aggregator.config)
    MetricSet.from_specs([(plugin.name, plugin.config) for plugin in spec.metrics])


async def submit(session: Session, submission: Submission) -> None:
    """Put a run on the broker. Raises `ConfigError`, before it writes anything, for one that it may not hold."""
    submission.check_quota(await read_quota(session))
    steps = submission.steps(user=session.user)
    while (step := await in_thread(next, steps, None)) is not None:  # one of them makes a digest of all weights
        match step:
            case Declare(items=items):
                await session.declare(*items)
            case Publish(message=message, queue=queue):
                await session.publish(message, routing_key=queue)


def submit_blocking(broker: "BlockingBroker", submission: Submission) -> None:
    """Put a run on the broker, from where there is no event loop. Raises as `submit` does."""
    submission.check_quota(quota_of(broker))
    for step in submission.steps(user=broker.user):
        match step:
            case Declare(items=items):
                broker.declare(*items)
            case Publish(message=message, queue=queue):
                broker.publish(message, routing_key=queue)


def cancellation(run: str, reason: str, *, sender: str, now: float, user: str) -> Publish:
    """What ends a run."""
    return _to_leader(run, CancelRequest(reason=reason), sender=sender, now=now, user=user)


def resumption(run: str, *, sender: str, now: float, user: str) -> Publish:
    """What makes a paused run ask those again that it waits for."""
    return _to_leader(run, ResumeRequest(), sender=sender, now=now, user=user)


def _to_leader(run: str, body: Body, *, sender: str, now: float, user: str) -> Publish:
    """It goes to the run's queue directly, where clients may not write."""
    return Publish(seal(wrap(run, sender, body, now=now), user=user), topology.run_queue(run))
