"""Small worlds to run in: data that is made up, specs, and clients that lie."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from broker import blob, topology
from broker.base import Message, Session
from broker.connect import open_session
from broker.errors import Unroutable
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.client.site import Site
from fl.core.data_info import DataInfo as CoreInfo
from fl.core.dataset import Batch, Dataset, InMemoryDataset
from fl.core.vector import Array, NumpyVector
from fl.main.embedded import run_embedded
from fl.main.outcome import Outcome
from fl.run.events import Record
from fl.run.spec import RunSpec
from fl.submit.history import Happened
from fl.submit.submission import Submission, prepare
from fl.wire.envelope import Body, body_of, seal, unseal, what, wrap
from fl.wire.messages_pb2 import (
    DataInfo,
    Error,
    EvaluateReply,
    EvaluateRequest,
    InitReply,
    InitRequest,
    JoinReply,
    JoinRequest,
    StopRequest,
    TrainReply,
    TrainRequest,
)
from fl.wire.tensors import inline, read_inline, read_layout, referring

N_FEATURES = 6
B = TypeVar("B")


def samples(seed: int, n: int, n_features: int = N_FEATURES) -> tuple[np.ndarray, np.ndarray]:
    """Features and a linear target without noise, the same rule for every seed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_features))
    return x, x @ np.linspace(-1.0, 1.0, n_features)


def regression(seed: int, n: int = 40, n_features: int = N_FEATURES) -> Data:
    x, y = samples(seed, n, n_features)
    held_x, held_y = samples(seed + 1000, n, n_features)
    return Data(InMemoryDataset(x, y), InMemoryDataset(held_x, held_y))


class Gated(Dataset, register=False):
    """Samples behind a gate: whoever trains on them waits in the middle of its round until it is opened."""

    name = "gated"

    def __init__(self, behind: Dataset) -> None:
        self._behind = behind
        self.gate = threading.Event()

    @property
    def n_samples(self) -> int:
        return self._behind.n_samples

    def get_data_specs(self) -> CoreInfo:
        return self._behind.get_data_specs()

    def take(self, index: "slice | Array") -> Batch:
        assert self.gate.wait(60.0), "nobody opened the gate"
        return self._behind.take(index)

    def describe(self) -> None:
        return None


def make_spec(*, rounds: int = 3, clients: int = 3, **changes: Any) -> RunSpec:
    """A linear regression; `changes` go to the run's table."""
    run = {
        "rounds": rounds,
        "register": clients,
        "seed": 7,
        "training": {"batch_size": 8, "shuffle": True, "drop_remainder": False},
        **changes,
    }
    model = {"kind": "sklearn-sgd", "config": {"kind": "regressor", "loss": "squared_error", "penalty": None}}
    return RunSpec.parse(
        {"name": "test", "model": model, "optim": {"client_opt": 0.05}, "run": run, "metrics": ["mse", "mae"]}, "test"
    )


def submission_of(spec: RunSpec, weights: NumpyVector | None = None) -> Submission:
    return prepare(spec, weights, sender="tester", now=time.time())


async def sites_of(datasets: Mapping[str, Data]) -> list[Site]:
    return [await site_from_data(name, data) for name, data in datasets.items()]


async def run_here(
    url: str, spec: RunSpec, datasets: Mapping[str, Data], *, weights: NumpyVector | None = None
) -> tuple[Outcome, list[Record]]:
    """A whole run over the broker at `url`, and the records of its log."""
    records: list[Record] = []

    def note(happened: Happened) -> None:
        records.append(happened.record)

    submission = submission_of(spec, weights)
    sites = await sites_of(datasets)
    outcome = await run_embedded(submission, sites, lambda name: open_session(url, name=name), on_event=note)
    return outcome, records


async def until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait for something that must come; a `TimeoutError` says that it did not."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def _tenth(weights: NumpyVector) -> NumpyVector:
    return weights * 0.1


def _as_it_is(_: object) -> None: ...


Upload = Callable[[Session, topology.Room, TrainReply, int], Awaitable[None]]


async def upload(session: Session, room: topology.Room, reply: TrainReply, edition: int) -> None:
    """As clients do with what is too big for a message."""
    data, up = reply.update.inline, topology.UP.name
    ref = await blob.write(session, room.stream, data, exchange=up, routing_key=room.key, edition=edition)
    reply.update.CopyFrom(referring(read_layout(reply.update.layout), ref))


class Puppet:
    """A client that speaks the protocol and does as it is told: sends any update, lies, or keeps a reply back."""

    def __init__(
        self,
        name: str,
        *,
        update: Callable[[NumpyVector], NumpyVector] = _tenth,
        info: DataInfo | None = None,
        lie: Callable[[TrainReply], None] = _as_it_is,
        lie_about_loss: Callable[[EvaluateReply], None] = _as_it_is,
        weights: NumpyVector | None = None,
        unable: str = "",
        upload: "Upload | None" = None,
    ) -> None:
        """`weights` are those to start from where requests bring them in a stream; `unable` is why it has no model.

        `upload` moves an update out of its reply; without it all updates come inside.
        """
        self.name = name
        self.heard: list[Body] = []
        self.leader = ""
        """Who asked last."""
        self._update = update
        self._info = info or DataInfo(n_samples=10, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
        self._lie = lie
        self._lie_about_loss = lie_about_loss
        self._weights = weights
        self._unable = unable
        self._upload = upload
        self._withheld: dict[int, asyncio.Event] = {}

    def withhold(self, round_: int) -> None:
        """Keep the reply of that training round back until `let_go`."""
        self._withheld[round_] = asyncio.Event()

    def let_go(self, round_: int) -> None:
        self._withheld[round_].set()

    def was_asked(self, round_: int) -> bool:
        return any(isinstance(body, TrainRequest) and body.round == round_ for body in self.heard)

    def heard_of(self, kind: type[B]) -> list[B]:
        return [body for body in self.heard if isinstance(body, kind)]

    async def take_part(self, session: Session, run: str) -> None:
        """Join, and answer until the run is over or refuses."""
        await session.declare(*topology.client(self.name))
        async with await session.consume(topology.client_queue(self.name), prefetch=8) as requests:
            if not await self._try_to_say(session, run, JoinRequest(data_info=self._info)):
                return
            async for delivery in requests:
                envelope = unseal(delivery.message)
                self.leader, body = envelope.sender, body_of(envelope)
                self.heard.append(body)
                reply = await self._reply(body)
                if self._upload is not None and isinstance(reply, TrainReply) and isinstance(body, TrainRequest):
                    room = topology.Room(run, reply.round, self.name, self.leader)
                    await self._upload(session, room, reply, body.edition)
                if reply is not None:
                    route = body.route if isinstance(body, TrainRequest) and isinstance(reply, TrainReply) else ""
                    await self._try_to_say(session, run, reply, route=route)
                await delivery.ack()
                if isinstance(body, StopRequest) or (isinstance(body, JoinReply) and not body.accepted):
                    return

    async def say(self, session: Session, run: str, body: Body, *, route: str = "", **changes: Any) -> None:
        """Send to the run's leader, or by the route that it asks for; `changes` are made to the envelope."""
        envelope = wrap(run, self.name, body, now=0.0)
        for field, value in changes.items():
            setattr(envelope, field, value)
        key = topology.Key(run, self.name, what(body), route)
        await session.publish(seal(envelope), exchange=topology.UP.name, routing_key=str(key))

    async def _try_to_say(self, session: Session, run: str, body: Body, *, route: str = "") -> bool:
        try:
            await self.say(session, run, body, route=route)
        except Unroutable:
            return False
        return True

    async def _reply(self, body: Body) -> Body | None:
        match body:
            case InitRequest():
                return Error(code=Error.Code.FAILED, text=self._unable) if self._unable else InitReply()
            case TrainRequest():
                if body.round in self._withheld:
                    await self._withheld[body.round].wait()
                weights = read_inline(body.weights) if self._weights is None else self._weights
                digest, update = body.weights.digest, inline(self._update(weights))
                reply = TrainReply(round=body.round, weights_digest=digest, update=update, n_steps=1, n_samples=1)
                self._lie(reply)
                return reply
            case EvaluateRequest():
                digest = body.weights.digest
                answer = EvaluateReply(
                    round=body.round, weights_digest=digest, loss_sum=1.0, weight_sum=1.0, n_samples=1
                )
                self._lie_about_loss(answer)
                return answer
        return None


def garbage() -> Message:
    """Bytes that are no message of ours."""
    return Message(b"\xff\xfe not protobuf", type="nonsense")


def of_kind(records: Sequence[Record], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]
