"""Leading where updates are too big for a message: the rooms that leaders make for them, and what becomes of those."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from broker import topology
from broker.base import Binding, Declarable, Message, Queue, QueueCount, Session, Stream, Subscription
from broker.errors import ConnectionLost, Late
from fl.core.vector import NumpyVector
from fl.run.events import Kind, LeaderStarted, RoundCommitted, Status
from fl.run.spec import RunSpec
from fl.server.quarantine import MOST_TRIES
from fl.wire.messages_pb2 import DataInfo
from tests.integration.parties import Parties, stored, until_looked_at
from tests.integration.world import Puppet, make_spec, of_kind, regression, run_here, sites_of, until, upload

N_FEATURES = 50_000
"""400 kB in float64."""

INFO = DataInfo(n_samples=10, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.001), "intercept": np.zeros(1)})
TWO = {name: regression(seed, n=12, n_features=N_FEATURES) for seed, name in enumerate(("ant", "bee"))}


@pytest.fixture
def memory_url(request: pytest.FixtureRequest) -> str:
    """An embedded broker that no other test uses."""
    return f"memory://bulk-{abs(hash(request.node.nodeid))}"


def scaffold(spec: RunSpec) -> RunSpec:
    """The same run, in which optimizers have bulk to tell as well."""
    ours, theirs = (
        {"lrate": rate, "modules": [f"scaffold-{side}"]} for side, rate in (("client", 1e-5), ("server", 1.0))
    )
    optim = {"client_opt": ours, "server_opt": theirs}
    return RunSpec.parse({**spec.model_dump(by_alias=True), "optim": optim}, "the test")


@dataclass(slots=True)
class Crashing:
    """A broker's crash while a stream is declared, as RabbitMQ 3.10 survives it: that name ends every session."""

    client: str
    cargo: str
    broken: set[str] = field(default_factory=set)

    def declares(self, items: tuple[Declarable, ...]) -> None:
        """Raises `ConnectionLost` in the first declaration of the stream, and in all later ones of the same name."""
        for item in items:
            if isinstance(item, Stream) and f".{self.cargo}.1.{self.client}" in item.name and not self.broken:
                self.broken.add(item.name)
            if not self.broken.isdisjoint({getattr(item, "name", "")}):
                raise ConnectionLost(f"internal error: {item}")


class Through(Session):
    """A session that passes everything on to another one."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner

    @property
    def user(self) -> str:
        return self._inner.user

    async def declare(self, *items: Declarable) -> None:
        await self._inner.declare(*items)

    async def delete(self, name: str) -> None:
        await self._inner.delete(name)

    async def publish(self, message: Message, *, exchange: str = "", routing_key: str) -> None:
        await self._inner.publish(message, exchange=exchange, routing_key=routing_key)

    async def publish_all(self, messages: Iterable[Message], *, exchange: str = "", routing_key: str) -> None:
        await self._inner.publish_all(messages, exchange=exchange, routing_key=routing_key)

    async def consume(self, queue: str, *, prefetch: int) -> Subscription:
        return await self._inner.consume(queue, prefetch=prefetch)

    async def read(self, stream: str, *, prefetch: int = 64) -> Subscription:
        return await self._inner.read(stream, prefetch=prefetch)

    async def pour(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0) -> None:
        await self._inner.pour(stream, take, timeout_s=timeout_s)

    async def count(self, name: str) -> QueueCount:
        return await self._inner.count(name)

    async def wait_lost(self) -> None:
        await self._inner.wait_lost()

    async def close(self) -> None:
        await self._inner.close()


class AtCrashingBroker(Through):
    """A session on which `crashing` breaks a stream."""

    def __init__(self, inner: Session, crashing: Crashing) -> None:
        super().__init__(inner)
        self._crashing = crashing

    async def declare(self, *items: Declarable) -> None:
        self._crashing.declares(items)
        await super().declare(*items)


class AtSlowBroker(Through):
    """A session to which the first reads of weights come too late."""

    def __init__(self, inner: Session, times: list[str]) -> None:
        super().__init__(inner)
        self._times = times

    async def pour(self, stream: str, take: Callable[[Message], bool], *, timeout_s: float = 60.0) -> None:
        if ".w." in stream and self._times:
            raise Late(f"the {self._times.pop()} time, nothing came")
        await super().pour(stream, take, timeout_s=timeout_s)


class AtRisk(Parties):
    """Parties whose worker has a session of another kind."""

    def __init__(self, url: str, session: Callable[[Session], Session]) -> None:
        super().__init__(url)
        self._session = session
        self.n_sessions = 0
        """Of the worker."""

    async def open(self, name: str) -> Session:
        session = await super().open(name)
        if name != "worker":
            return session
        self.n_sessions += 1
        return self._session(session)


@pytest.mark.parametrize("client", ["ant", "bee"], ids=["before anybody is asked", "when somebody was asked already"])
@pytest.mark.parametrize("cargo", ["u", "x"], ids=["update", "what its optimizer tells"])
async def test_a_stream_that_a_crash_left_broken_stops_no_run_and_changes_no_bit(
    memory_url: str, client: str, cargo: str
) -> None:
    # Given
    spec = scaffold(make_spec(rounds=2, clients=2))
    calm, _ = await run_here(memory_url + "-calm", spec, TWO, weights=START)

    # When
    crashing = Crashing(client, cargo)
    async with AtRisk(memory_url, partial(AtCrashingBroker, crashing=crashing)) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for site in await sites_of(TWO):
            parties.daemon(site)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)
        await parties.until_closed(submission)
        left = stored(memory_url)

    # Then
    assert len(crashing.broken) == 1
    assert len(of_kind(records, LeaderStarted)) == 2
    assert outcome.weights == calm.weights
    assert [one for one in of_kind(records, RoundCommitted) if one.dropped] == []
    assert {name for name in left if ".u." in name or ".x." in name} == set()


@pytest.mark.parametrize("deadline", [None, 0.5], ids=["after the last reply", "after the deadline"])
async def test_weights_that_come_late_to_the_leader_itself_are_held_against_nobody(
    memory_url: str, deadline: float | None
) -> None:
    # Given a round that is added up when all replies are there, or at its deadline, and a broker that is slow then
    names = ("ant", "bee")
    spec = make_spec(rounds=1, clients=2, evaluate=False, deadline=deadline)
    times = [f"{number}." for number in range(MOST_TRIES + 1)]
    puppets = {name: Puppet(name, info=INFO, weights=START, upload=upload) for name in names}
    if deadline is not None:
        puppets["bee"].withhold(1)
    async with AtRisk(memory_url, partial(AtSlowBroker, times=times)) as parties:
        # When
        submission = await parties.submit(spec, START)
        parties.worker()
        for puppet in puppets.values():
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then it was tried again until they came, with no reply lost, and no other run of this worker disturbed
    committed = of_kind(records, RoundCommitted)
    assert outcome.status is Status.FINISHED
    assert times == []
    assert parties.n_sessions == 1
    assert [one.client for one in committed[0].participants] == list(names if deadline is None else names[:1])
    assert {note.reason for note in committed[0].dropped} <= {"no answer in time"}


async def test_what_a_client_sent_to_a_leader_that_was_replaced_counts_and_is_not_sent_again(memory_url: str) -> None:
    bee = Puppet("bee", info=INFO, weights=START)
    bee.withhold(1)
    (ant,) = await sites_of({"ant": TWO["ant"]})
    async with Parties(memory_url) as parties:
        # Given an update that lies in the room of a leader
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        replies = Binding("replies", topology.UP.name, f"{submission.run}.ant.train_reply")
        chunks = Binding("chunks", topology.UP.name, f"{submission.run}.ant.u.#")
        await parties.owner.declare(Queue(replies.queue), replies, Queue(chunks.queue), chunks)
        parties.worker()
        parties.daemon(ant)
        parties.puppet(bee, submission.run)
        await until(lambda: bee.was_asked(1))
        await until_looked_at(parties, replies)
        n_chunks = (await parties.owner.count(chunks.queue)).messages

        # When that leader is replaced
        first = await parties.leader(submission)
        parties.cut("worker")
        await parties.until_record(submission, lambda one: isinstance(one, LeaderStarted) and one.leader != first)
        bee.let_go(1)
        await parties.outcome(submission)

        # Then
        records = await parties.records(submission)
        (committed,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
        assert [one.client for one in committed.participants] == ["ant", "bee"]
        assert (await parties.owner.count(chunks.queue)).messages == n_chunks > 0
        await parties.until_closed(submission)
        assert {name for name in stored(memory_url) if ".u." in name} == set()


async def test_a_run_with_bulk_weights_leaves_its_log_and_its_final_weights(memory_url: str) -> None:
    slow = Puppet("slow", info=INFO, weights=START)
    slow.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=2, deadline=0.5), START)
        parties.worker()
        for puppet in (Puppet("ant", info=INFO, weights=START), slow):
            parties.puppet(puppet, submission.run)
        await parties.outcome(submission)
        await parties.until_closed(submission)
        left = stored(memory_url)

    run = submission.run
    weights = {name for name in left if name.startswith(f"fl.run.{run}.w.")}
    shared = {"fl.runs", "fl.dead", "fl.client.ant", "fl.client.slow"}
    assert left - weights == shared | {topology.run_log(run)}
    assert len(weights) == 1
