"""Leaders that tell of weights as they write them: whom, of what, and what becomes of it at daemons."""

import asyncio
import logging
from typing import Final

import numpy as np
import pytest

from broker import topology
from broker.base import Binding, Queue
from broker.local import LocalRabbit
from fl.client.learner import Data
from fl.core.vector import NumpyVector
from fl.run.events import RoundOpened, Status
from fl.run.spec import RunSpec
from fl.wire.envelope import Body, body_of, seal, unseal, wrap
from fl.wire.messages_pb2 import DataInfo, EvaluateRequest, TrainReply, TrainRequest, WeightsAhead
from tests.faults.inventory import inventory
from tests.integration.parties import PATIENCE_S, Parties
from tests.integration.world import Gated, Puppet, make_spec, regression, sites_of, upload

N_FEATURES: Final = 150_000
"""1.2 MB in float64, and too big for a message also in bf16."""
START: Final = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.001), "intercept": np.zeros(1)})
ANT: Final = regression(0, n=12, n_features=N_FEATURES)


@pytest.fixture(autouse=True)
def from_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell also of weights for which that is not worth it."""
    monkeypatch.setattr("fl.server.mail.AHEAD_BYTES", 0)


def says_so(reply: TrainReply) -> None:
    reply.reads_ahead = True


INFO: Final = DataInfo(n_samples=12, n_features=N_FEATURES, input_shape=[0, N_FEATURES])


def puppet(name: str) -> Puppet:
    return Puppet(name, info=INFO, weights=START, upload=upload, lie=says_so)


async def heard_by_ant(url: str, spec: RunSpec, *others: Puppet) -> list[Body]:
    """All that a daemon is sent in a whole run."""
    async with Parties(url) as parties:
        submission = await parties.submit(spec, START)
        copies = Queue("copies")
        await parties.owner.declare(copies, Binding(copies.name, topology.DOWN.name, f"{submission.run}.ant.*"))
        parties.worker()
        for other in others:
            parties.puppet(other, submission.run)
        for site in await sites_of({"ant": ANT}):
            parties.daemon(site)
        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        n_messages, found = (await parties.owner.count(copies.name)).messages, []
        async with await parties.owner.consume(copies.name, prefetch=1) as sent:
            for _ in range(n_messages):
                delivery = await anext(sent)
                found.append(body_of(unseal(delivery.message)))
                await delivery.ack()
    assert outcome.status is Status.FINISHED
    return found


def about_weights(bodies: list[Body]) -> list[tuple[str, str]]:
    """What is said of weights: by which kind of message, and the stream."""
    found = []
    for body in bodies:
        match body:
            case WeightsAhead():
                found.append(("ahead", body.weights.stream))
            case TrainRequest():
                found.append(("train", body.weights.ref.stream))
            case EvaluateRequest():
                found.append(("evaluate", body.weights.ref.stream))
    return found


def hints(bodies: list[Body]) -> list[WeightsAhead]:
    return [body for body in bodies if isinstance(body, WeightsAhead)]


# ---- who is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("compression", "kind"), [("none", "w"), ("bf16", "c")])
async def test_a_daemon_is_told_of_the_weights_that_its_next_request_names(
    memory_url: str, compression: str, kind: str
) -> None:
    # When
    heard = await heard_by_ant(memory_url, make_spec(rounds=2, clients=1, compression=compression))
    # Then it was also after the last round, which is evaluated
    kinds, streams = zip(*about_weights(heard), strict=True)
    assert kinds == ("train", "ahead", "evaluate", "train", "ahead", "evaluate")
    assert streams[1] == streams[2] == streams[3]
    assert streams[4] == streams[5]
    assert streams[1].split(".")[3] == kind


async def test_what_is_told_is_the_reference_without_its_digest(memory_url: str) -> None:
    # When
    heard = await heard_by_ant(memory_url, make_spec(rounds=2, clients=1, evaluate=False))
    # Then
    (told,) = hints(heard)
    asked = [body.weights.ref for body in heard if isinstance(body, TrainRequest)][1]
    asked.sha256 = b""
    assert (told.round, told.weights) == (1, asked)


async def test_who_does_not_say_that_it_reads_ahead_is_not_told(memory_url: str) -> None:
    """As daemons of an older release: to them it is a message that makes no sense, and goes to the dead letters."""
    bee, cat = puppet("bee"), Puppet("cat", info=INFO, weights=START, upload=upload)

    await heard_by_ant(memory_url, make_spec(rounds=2, clients=3), bee, cat)

    assert (len(hints(bee.heard)), hints(cat.heard)) == (2, [])


QUIET: Final[dict[str, RunSpec]] = {
    "nothing follows": make_spec(rounds=1, clients=1, evaluate=False),
    "rounds ask a sample": make_spec(rounds=2, clients=2, evaluate=False, sampling={"clients": 1}),
}


@pytest.mark.parametrize("why", QUIET)
async def test_nobody_is_told_where(memory_url: str, why: str) -> None:
    others = [puppet("bee")][: QUIET[why].run.registration.min_clients - 1]

    heard = await heard_by_ant(memory_url, QUIET[why], *others)

    assert hints([*heard, *(body for other in others for body in other.heard)]) == []


@pytest.mark.parametrize(("bytes_each", "n_told"), [(0, 1), (1, 0)], ids=["enough for each", "too little for each"])
async def test_it_is_told_where_there_are_enough_bytes_for_each(
    memory_url: str, monkeypatch: pytest.MonkeyPatch, bytes_each: int, n_told: int
) -> None:
    # Given
    n_bytes = START.layout.nbytes // 2
    monkeypatch.setattr("fl.server.mail.AHEAD_BYTES", n_bytes + bytes_each)
    # When
    heard = await heard_by_ant(memory_url, make_spec(rounds=2, clients=2, evaluate=False), puppet("bee"))
    # Then
    assert len(hints(heard)) == n_told


# ---- what becomes of it ----------------------------------------------------------------------------------------------


async def test_every_hint_is_of_use(memory_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    heard = await heard_by_ant(memory_url, make_spec(rounds=3, clients=2, evaluate=False), puppet("bee"))

    assert len(hints(heard)) == caplog.text.count("weights_read_ahead") == 2


async def test_a_hint_about_a_run_that_a_daemon_does_not_serve_is_passed_over(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Parties(memory_url) as parties:
        # Given
        await parties.owner.declare(*topology.client("ant"))
        message = seal(wrap("elsewhere", "leader", WeightsAhead(round=1), now=0.0))
        key = topology.Key("elsewhere", "ant", "weights_ahead")
        await parties.owner.publish(message, exchange=topology.DOWN.name, routing_key=str(key))
        # When
        parties.worker()
        for site in await sites_of({"ant": ANT}):
            parties.daemon(site)
        outcome = await parties.outcome(await parties.submit(make_spec(rounds=1, clients=1), START))
        dead = await parties.owner.count(topology.DEAD_QUEUE.name)
    # Then
    assert outcome.status is Status.FINISHED
    assert dead.messages == 0
    assert "elsewhere" not in caplog.text


@pytest.mark.rabbitmq
async def test_a_hint_in_the_middle_of_a_training_is_settled_at_once(rabbit: LocalRabbit, rabbit_url: str) -> None:
    gated = Gated(ANT.train)
    async with Parties(rabbit_url) as parties:
        # Given a daemon that trains
        submission = await parties.submit(make_spec(rounds=1, clients=1, evaluate=False), START)
        parties.worker()
        for site in await sites_of({"ant": Data(gated, ANT.valid)}):
            parties.daemon(site)
        await parties.until_record(submission, lambda one: isinstance(one, RoundOpened))
        await until_held(rabbit, rabbit_url, 1)

        # When one comes
        message = seal(wrap(submission.run, "leader", WeightsAhead(round=1), now=0.0))
        key = topology.Key(submission.run, "ant", "weights_ahead")
        await parties.owner.publish(message, exchange=topology.DOWN.name, routing_key=str(key))

        # Then the broker has nothing but the request again, and the round goes on
        await until_held(rabbit, rabbit_url, 1)
        gated.gate.set()
        outcome = await parties.outcome(submission)
    assert outcome.status is Status.FINISHED


async def until_held(rabbit: LocalRabbit, url: str, n_messages: int) -> None:
    """Wait until the daemon's queue has so many messages, those included that are not acknowledged."""
    async with asyncio.timeout(PATIENCE_S):
        while (await asyncio.to_thread(inventory, rabbit, url))[topology.client_queue("ant")] != n_messages:
            await asyncio.sleep(0.02)
