"""`fluffle dead` on the real broker: whoever looks changes nothing, and what is mended can be sent again."""

import asyncio
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from broker import topology
from broker.base import Message, Session
from broker.blocking import BlockingBroker
from broker.dead import TURN, bury, dead_letters
from broker.errors import Rejected, Retryable
from fl.cli.main import app
from fl.core.metrics import Metric
from fl.core.vector import Array, NumpyVector
from fl.run.events import Kind, RoundCommitted, RoundOpened, Status
from fl.run.parts import Plugin
from fl.wire.messages_pb2 import EvaluateReply
from fl.wire.tensors import inline
from tests.integration.parties import Parties
from tests.integration.test_bad_input import START
from tests.integration.world import Puppet, garbage, make_spec, of_kind, regression, sites_of, until

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def broker(rabbit_url: str) -> Iterator[BlockingBroker]:
    with BlockingBroker(rabbit_url) as broker:
        broker.declare(*topology.base())
        yield broker


def call(url: str, *arguments: str) -> Result:
    """What a command says, in this process, where nobody answers its questions."""
    return CliRunner().invoke(app, ["dead", *arguments], env={"FLUFFLE_BROKER": url, "COLUMNS": "300"})


async def ask(url: str, *arguments: str) -> str:
    """What a command says that goes well, while everybody else goes on."""
    done = await asyncio.to_thread(call, url, *arguments)
    assert done.exit_code == 0, done.output
    return done.output


async def until_dead(session: Session, count: int) -> None:
    async with asyncio.timeout(30):
        while (await session.count(topology.DEAD_QUEUE.name)).messages != count:
            await asyncio.sleep(0.05)


def put_dead(broker: BlockingBroker, *bodies: bytes) -> None:
    for body in bodies:
        headers = {"x-first-death-queue": "fl.client.ant", "x-first-death-exchange": ""}
        message = Message(body, type="odd", message_id=f"id-{body.decode()}", headers=headers)
        broker.publish(message, exchange=topology.DEAD.name, routing_key="fl.client.ant")


def bodies(broker: BlockingBroker) -> list[bytes]:
    with dead_letters(broker) as letters:
        return [bytes(each.letter.message.body) for each in letters]


# ---- looking --------------------------------------------------------------------------------------------------------


def test_looking_changes_neither_the_letters_nor_their_order(broker: BlockingBroker) -> None:
    # Given
    put_dead(broker, b"1", b"2", b"3", b"4")

    # When: all are looked at, more often than RabbitMQ 4 gives back by default, and then only the first ones
    for _ in range(25):
        bodies(broker)
    with dead_letters(broker) as letters:
        next(letters), next(letters)

    # Then
    assert bodies(broker) == [b"1", b"2", b"3", b"4"]


def test_one_who_looks_waits_until_another_has_looked(broker: BlockingBroker, rabbit_url: str) -> None:
    # Given
    put_dead(broker, b"1")

    # When
    with BlockingBroker(rabbit_url) as other:
        with dead_letters(other), pytest.raises(Retryable, match="somebody else"), broker.turn(TURN, wait_s=0.3):
            pass
        after = bodies(broker)

    # Then
    assert after == [b"1"]


def test_a_looker_whose_connection_dies_leaves_the_letters_and_its_turn(
    broker: BlockingBroker, rabbit_url: str
) -> None:
    # Given
    put_dead(broker, b"1", b"2")

    # When
    other = BlockingBroker(rabbit_url)
    with dead_letters(other) as letters:
        next(letters)
        other.close()

    # Then
    assert bodies(broker) == [b"1", b"2"]


def test_of_many_letters_no_more_than_a_few_are_in_memory(broker: BlockingBroker, rabbit_url: str) -> None:
    # Given 20 MB of them
    for _ in range(200):
        broker.publish(Message(bytes(100_000)), exchange=topology.DEAD.name, routing_key="somewhere")
    call(rabbit_url, "list")  # imports all that it needs

    # When
    tracemalloc.start()
    done = call(rabbit_url, "list")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Then
    assert done.output.count("unreadable") == 200
    assert most < 5e6


def test_where_there_is_no_queue_for_them_there_are_no_dead_letters(rabbit_url: str) -> None:
    done = call(rabbit_url, "list")
    assert (done.exit_code, done.output) == (0, "no dead letters\n")


def test_a_letter_by_a_way_that_is_no_more_says_so_and_stays(broker: BlockingBroker, rabbit_url: str) -> None:
    # Given: a letter to a queue that does not exist
    put_dead(broker, b"1")

    # When
    done = call(rabbit_url, "requeue", "--all")

    # Then
    assert done.exit_code == 1
    assert "1: odd of client ant stays: fl.client.ant is gone" in done.output
    assert "1 of 1 dead letters could not be sent again" in str(done.exception)
    assert bodies(broker) == [b"1"]


def test_a_letter_that_died_nowhere_is_not_sent_round_in_circles(broker: BlockingBroker) -> None:
    # Given
    broker.publish(Message(b"1"), routing_key=topology.DEAD_QUEUE.name)

    # When
    with dead_letters(broker) as letters, pytest.raises(Rejected, match="somebody put it among the dead letters"):
        next(letters).requeue()

    # Then
    assert bodies(broker) == [b"1"]


async def test_where_a_letter_is_said_to_have_died_is_only_believed_of_those_who_may(rabbit_url: str) -> None:
    # Given: a message that claims to be buried already, in somebody else's words
    async with Parties(rabbit_url) as parties:
        lies = {"fluffle-queue": "fl.client.bee", "fluffle-reason": "lies", "fluffle-buried-at": "7"}
        await parties.owner.declare(*topology.client("ant"))
        await parties.owner.publish(Message(b"1", headers=lies), routing_key="fl.client.ant")
        subscription = await parties.owner.consume("fl.client.ant", prefetch=1)

        # When
        delivery = await anext(subscription)
        await bury(parties.owner, delivery, queue="fl.client.ant", reason="why", clock=lambda: 1000.0)
        await until_dead(parties.owner, 1)

    # Then
    with BlockingBroker(rabbit_url) as broker, dead_letters(broker) as letters:
        letter = next(letters).letter
    assert (letter.queue, letter.reason, letter.died_at) == ("fl.client.ant", "why", 1000.0)


def test_letters_are_dropped_one_by_one_by_number_or_by_how_their_id_begins(
    broker: BlockingBroker, rabbit_url: str
) -> None:
    # Given
    put_dead(broker, b"1", b"2", b"3")

    # When
    for which in ("2", "id-3"):
        done = call(rabbit_url, "drop", which, "--yes")
        assert (done.exit_code, done.output) == (0, "dropped 1\n")

    # Then
    assert bodies(broker) == [b"1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "4"], "no dead letter '4': `fluffle dead list` shows those there are"),
        (["show", "id-"], "several dead letters have an id that begins with 'id-': give more of it"),
        (["requeue"], "which dead letters? Give the number or id of one, as `fluffle dead list` has it, or --all"),
        (["requeue", "1", "--all"], "which dead letters? Give the number or id of one"),
        (["drop", "1", "--run", "heart"], "--run goes with --all, and means all of that run"),
        (["drop", "--all"], "Throw these 3 away for good?"),
    ],
)
def test_what_is_not_clear_is_not_done(
    broker: BlockingBroker, rabbit_url: str, arguments: list[str], said: str
) -> None:
    # Given
    put_dead(broker, b"1", b"2", b"3")

    # When: nobody is there to answer
    done = call(rabbit_url, *arguments)

    # Then
    assert done.exit_code == 1
    assert said in f"{done.output}{done.exception}"
    assert bodies(broker) == [b"1", b"2", b"3"]


# ---- poison ---------------------------------------------------------------------------------------------------------


class Touchy(Metric, register=False):
    """Breaks whoever merges it, until it is mended."""

    name = "touchy"
    mended = False

    def zero(self) -> dict[str, Array]:
        return {"n": np.zeros(())}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> dict[str, Array]:
        raise NotImplementedError

    def compute(self, state: dict[str, Array]) -> dict[str, float | Array]:
        return {self.name: float(state["n"])}

    def merge(self, state: object) -> None:
        if not self.mended:
            raise TypeError("no such luck")


class PoisonOnce:
    """Spoils the first evaluation, and when it is asked again no more."""

    def __init__(self) -> None:
        self._poison = [inline(NumpyVector.from_arrays({"touchy/n": np.ones(())}))]

    def __call__(self, reply: EvaluateReply) -> None:
        if self._poison:
            reply.metrics.CopyFrom(self._poison.pop())


async def test_a_poisonous_reply_is_tried_three_times_buried_shown_and_when_mended_sent_again(
    rabbit_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given: a reply that breaks the leader, in a run that goes on
    monkeypatch.setitem(Metric.registry._classes, "touchy", Touchy)
    spec = make_spec(rounds=2, clients=2).model_copy(update={"metrics": [Plugin(name="touchy")]})
    ant = Puppet("ant")
    ant.withhold(2)
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        parties.puppet(ant, submission.run)
        parties.puppet(Puppet("bad", lie_about_loss=PoisonOnce()), submission.run)
        await until(lambda: ant.was_asked(2))
        await until_dead(parties.owner, 1)

        # When
        tries = caplog.text.count("handling_failed")
        listed = await ask(rabbit_url, "list")
        shown = await ask(rabbit_url, "show", "1")
        monkeypatch.setattr(Touchy, "mended", True)
        await parties.stop("worker")
        parties.worker("worker of the next release")
        sent = await ask(rabbit_url, "requeue", "--all", "--run", submission.run)
        ant.let_go(2)
        outcome = await parties.outcome(submission)
        left = (await parties.owner.count(topology.DEAD_QUEUE.name)).messages

    # Then
    reason = "the leader failed over it 3 times: TypeError: no such luck"
    queue = topology.run_queue(submission.run)
    assert tries == 3
    assert all(word in listed for word in ("evaluate_reply", submission.run, "bad", queue, reason))
    assert all(word in shown for word in (reason, "touchy/n float64 ()", '"weights_digest": "32 bytes: '))
    assert sent == f"1: evaluate_reply of run {submission.run} of client bad was sent to {queue} again\n"
    assert outcome.status is Status.FINISHED
    assert left == 0


async def test_garbage_on_the_queues_of_a_run_and_of_a_client_is_listed_shown_and_sent_again(rabbit_url: str) -> None:
    # Given
    (site,) = await sites_of({"ant": regression(1)})
    bee = Puppet("bee")
    bee.withhold(1)
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        parties.daemon(site)
        parties.puppet(bee, submission.run)
        await parties.until_record(submission, lambda record: isinstance(record, RoundOpened))
        queues = (topology.run_queue(submission.run), topology.client_queue("ant"))
        for number, queue in enumerate(queues, start=1):
            await parties.owner.publish(garbage(), routing_key=queue)
            await until_dead(parties.owner, number)

        # When
        listed = await ask(rabbit_url, "list")
        shown = await ask(rabbit_url, "show", "2")
        sent = await ask(rabbit_url, "requeue", "--all")
        await until_dead(parties.owner, 2)  # it is as bad as before
        bee.let_go(1)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then
    of_run, of_ant = listed.splitlines()[1:]
    assert all(word in of_run for word in ("nonsense", submission.run, queues[0], "are not an envelope"))
    assert all(word in of_ant for word in ("nonsense", "ant", queues[1], "its receiver could not make sense of it"))
    assert "its body cannot be read: 15 bytes of type 'nonsense' are not an envelope" in shown
    assert "ff fe 20 6e 6f 74" in shown
    assert sent.count("again\n") == 2
    assert outcome.status is Status.FINISHED
    (training,) = (one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN)
    assert [one.client for one in training.participants] == ["ant", "bee"]
