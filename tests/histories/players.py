"""Where the scenes of histories play, and who plays in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from unittest.mock import patch

import numpy as np

from fl.core.vector import NumpyVector
from fl.run.events import (
    Record,
)
from fl.run.optim import OptimConfig
from fl.run.spec import RunSpec
from fl.server.run_log import RunLog
from fl.submit.submission import Publish, Submission, submit
from fl.wire.envelope import Body
from fl.wire.messages_pb2 import DataInfo, Error, EvaluateReply, TrainReply, TrainRequest
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, regression, sites_of, until

START: Final = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
NAMES: Final = ("ant", "bee", "cat", "dog", "elk")


@dataclass(slots=True)
class Stage:
    """Where a scene plays: a broker of its own, a worker, and one run, which has the name of the scene."""

    parties: Parties
    run: str
    submission: Submission = field(init=False)

    async def begin(self, spec: RunSpec, weights: NumpyVector | None = START) -> None:
        self.submission = Submission(self.run, spec, weights, sender="tester", now=0.0)
        await submit(self.parties.owner, self.submission)
        self.parties.worker()

    async def sites(self, *names: str) -> None:
        """Let daemons take part, with data of their own."""
        for site in await sites_of({name: regression(NAMES.index(name)) for name in names}):
            self.parties.daemon(site)

    def puppets(self, *puppets: Puppet) -> None:
        for puppet in puppets:
            self.parties.puppet(puppet, self.run)

    async def until(self, *kinds: type[Record]) -> None:
        """Wait for records of these kinds, in this order."""
        awaited = list(kinds)

        def are_there(record: Record) -> bool:
            if isinstance(record, awaited[0]):
                awaited.pop(0)
            return not awaited

        await self.parties.until_record(self.submission, are_there)

    async def ask(self, request: Publish) -> None:
        await self.parties.owner.publish(request.message, routing_key=request.queue)

    @contextmanager
    def cut_between(self, first: type[Record], then: type[Record]) -> Iterator[None]:
        """Cut the leader's connection when the one record is in the log and the other is about to be."""
        write, cuts = RunLog._publish, [then]

        async def write_or_lose(log: RunLog, record: Record) -> None:
            if cuts and isinstance(record, then):
                cuts.clear()
                await self.until(first)
                self.parties.cut("worker")
            await write(log, record)

        with patch.object(RunLog, "_publish", write_or_lose):
            yield

    async def over(self) -> None:
        await self.parties.outcome(self.submission)
        await self.parties.until_closed(self.submission)


async def asked(puppet: Puppet, round_: int) -> None:
    await until(lambda: puppet.was_asked(round_))


def withholding(name: str, round_: int) -> Puppet:
    puppet = Puppet(name)
    puppet.withhold(round_)
    return puppet


class Failing(Puppet):
    """Cannot train."""

    async def _reply(self, body: Body) -> Body | None:
        if isinstance(body, TrainRequest):
            return Error(code=Error.Code.FAILED, text="no luck", round=body.round, weights_digest=body.weights.digest)
        return await super()._reply(body)


def judging(name: str, loss: float, *, n_samples: int = 10, seconds: float = 0.0) -> Puppet:
    """A client with a loss, data and a pace of its own."""

    def tell_loss(reply: EvaluateReply) -> None:
        reply.loss_sum = loss

    def tell_seconds(reply: TrainReply) -> None:
        reply.seconds = seconds

    info = DataInfo(n_samples=n_samples, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
    return Puppet(name, info=info, lie=tell_seconds, lie_about_loss=tell_loss)


def stepping(spec: RunSpec, preset: str) -> RunSpec:
    """The same run by another algorithm."""
    optim = OptimConfig.from_params(preset=preset, client_opt=0.05)
    return spec.model_copy(update={"optim": optim})
