"""What clients and strangers may send: none of it enters a sum, ends a process, or deletes anything."""

import asyncio
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from broker import topology
from broker.base import Message
from fl.core.vector import NumpyVector
from fl.run.events import ClientsAdmitted, ClientsReady, Kind, RoundCommitted, Status
from fl.run.spec import RunSpec
from fl.wire.envelope import PROTOCOL, seal, unseal, wrap
from fl.wire.messages_pb2 import (
    Baton,
    CancelRequest,
    DataInfo,
    Error,
    EvaluateReply,
    JoinReply,
    JoinRequest,
    RunSubmitted,
    StopRequest,
    TrainReply,
    TrainRequest,
)
from fl.wire.tensors import digest, inline
from fl.wire.tensors_pb2 import BlobRef, Tensors
from tests.integration.parties import Parties, stored
from tests.integration.world import (
    N_FEATURES,
    Puppet,
    garbage,
    make_spec,
    of_kind,
    regression,
    sites_of,
)

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})

Lie = Callable[[TrainReply], None]


def of_shape(shape: tuple[int, ...], dtype: str = "float64") -> Lie:
    def lie(reply: TrainReply) -> None:
        arrays = {"coef": np.ones(shape, dtype), "intercept": np.ones(1, dtype)}
        reply.update.CopyFrom(inline(NumpyVector.from_arrays(arrays)))

    return lie


def with_value(value: float) -> Lie:
    def lie(reply: TrainReply) -> None:
        poisoned = START.copy()
        poisoned.flat[2] = value
        reply.update.CopyFrom(inline(poisoned))

    return lie


def wrong_digest(reply: TrainReply) -> None:
    reply.update.digest = digest(b"something else")


def wrong_length(reply: TrainReply) -> None:
    reply.update.inline = reply.update.inline[:-3]
    reply.update.digest = digest(reply.update.inline)


def nothing_at_all(reply: TrainReply) -> None:
    reply.update.Clear()


def somebody_elses_stream(reply: TrainReply) -> None:
    """The bytes of all runs' announcements, whose deletion would be the end of everything."""
    ref = BlobRef(stream=topology.RUNS.name, bytes=START.layout.nbytes, chunks=1, sha256=reply.update.digest)
    reply.update.CopyFrom(Tensors(layout=reply.update.layout, digest=reply.update.digest, ref=ref))


LIES: dict[str, tuple[Lie, str]] = {
    "another shape": (of_shape((1, N_FEATURES + 1)), "coef"),
    "another dtype": (of_shape((1, N_FEATURES), "float32"), "coef"),
    "not a number": (with_value(np.nan), "'coef'"),
    "infinite": (with_value(np.inf), "'coef'"),
    "minus infinite": (with_value(-np.inf), "'coef'"),
    "another digest": (wrong_digest, "digest"),
    "another length": (wrong_length, "bytes"),
    "nothing": (nothing_at_all, "tensor"),
    "a stream of somebody else": (somebody_elses_stream, "fl.runs"),
}


@pytest.mark.parametrize("name", LIES)
async def test_an_update_that_lies_is_named_and_the_sum_is_that_of_the_others(memory_url: str, name: str) -> None:
    lie, word = LIES[name]
    spec = make_spec(rounds=2, clients=2)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for puppet in (Puppet("ant"), Puppet("liar", lie=lie)):
            parties.puppet(puppet, submission.run)

        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        commits = [one for one in of_kind(await parties.records(submission), RoundCommitted) if one.kind is Kind.TRAIN]

    assert outcome.status is Status.FINISHED
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9**2)
    assert [[part.client for part in commit.participants] for commit in commits] == [["ant"], ["ant"]]
    for commit in commits:
        ((client, reason),) = [(note.client, note.reason) for note in commit.dropped]
        assert client == "liar"
        assert "not usable" in reason
        assert word in reason
    assert topology.RUNS.name in stored(memory_url)


def lie_of_metrics(**arrays: np.ndarray) -> Callable[[EvaluateReply], None]:
    def lie(reply: EvaluateReply) -> None:
        reply.metrics.CopyFrom(inline(NumpyVector.from_arrays(arrays)))

    return lie


def endless_weight(reply: EvaluateReply) -> None:
    reply.weight_sum = float("inf")


def negative_weight(reply: EvaluateReply) -> None:
    reply.weight_sum = -1.0


def metrics_elsewhere(reply: EvaluateReply) -> None:
    reply.metrics.ref.stream = topology.RUNS.name
    reply.metrics.digest = digest(b"")


LIES_ABOUT_LOSS: dict[str, Callable[[EvaluateReply], None]] = {
    "unknown metrics": lie_of_metrics(unknown=np.zeros(3)),
    "metrics of another shape": lie_of_metrics(
        **{key: np.zeros(2) for key in ("mse/n", "mse/sum", "mse/weight", "mae/n", "mae/sum", "mae/weight")}
    ),
    "metrics that are not finite": lie_of_metrics(**{"mse/n": np.array([np.nan])}),
    "metrics in a stream": metrics_elsewhere,
    "endless weight": endless_weight,
    "negative weight": negative_weight,
}


@pytest.mark.parametrize("name", LIES_ABOUT_LOSS)
async def test_an_evaluation_that_lies_is_named_and_the_loss_is_that_of_the_others(memory_url: str, name: str) -> None:
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        for puppet in (Puppet("ant"), Puppet("liar", lie_about_loss=LIES_ABOUT_LOSS[name])):
            parties.puppet(puppet, submission.run)

        outcome = await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.status is Status.FINISHED
    assert [(note.client, "not usable" in note.reason) for note in commits[-1].dropped] == [("liar", True)]
    assert commits[-1].loss == 1.0


async def test_a_reply_to_other_weights_than_the_committed_ones_has_no_effect(memory_url: str) -> None:
    def stale(reply: TrainReply) -> None:
        reply.weights_digest = digest(b"older weights")

    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2, deadline=0.3), START)
        parties.worker()
        for puppet in (Puppet("ant"), Puppet("late", lie=stale)):
            parties.puppet(puppet, submission.run)

        await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert [(note.client, note.reason) for note in commits[0].dropped] == [("late", "no answer in time")]


async def test_undecodable_bytes_become_dead_letters_and_the_run_goes_on(broker_url: str) -> None:
    ant, bee = Puppet("ant"), Puppet("bee")
    bee.withhold(1)
    async with Parties(broker_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        await until_asked(bee, 1)
        key = topology.Key(submission.run, "ant", "train_reply")

        await parties.owner.publish(garbage(), exchange=topology.UP.name, routing_key=str(key))
        await parties.owner.publish(garbage(), routing_key=topology.run_queue(submission.run))
        dead = await parties.dead_letters(2)
        bee.let_go(1)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FINISHED
    assert [bytes(message.body) for message in dead] == [bytes(garbage().body)] * 2
    assert {message.headers["x-first-death-reason"] for message in dead} == {"rejected"}
    assert {message.headers["x-first-death-queue"] for message in dead} == {topology.run_queue(submission.run)}


async def until_asked(puppet: Puppet, round_: int) -> None:
    async with asyncio.timeout(30.0):
        while not puppet.was_asked(round_):
            await asyncio.sleep(0.01)


async def test_undecodable_bytes_at_a_client_become_dead_letters_and_take_no_place_of_a_run(broker_url: str) -> None:
    async with Parties(broker_url) as parties:
        (site,) = await sites_of({"ant": regression(0)})
        await parties.owner.declare(*topology.client("ant"))
        keys = [f"{run}.ant.train_request" for run in ("one", "two", "three", "four", "five")]
        for key in keys:
            await parties.owner.publish(garbage(), exchange=topology.DOWN.name, routing_key=key)
        parties.daemon(site)  # serves four runs at most

        dead = await parties.dead_letters(len(keys))
        submission = await parties.submit(make_spec(rounds=1, clients=1))
        parties.worker()
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FINISHED
    assert {message.headers["x-first-death-reason"] for message in dead} == {"rejected"}


@pytest.mark.parametrize("body", [CancelRequest(reason="because"), Baton(), RunSubmitted(), StopRequest()])
async def test_what_clients_may_not_say_is_a_dead_letter_without_effect(
    memory_url: str, body: CancelRequest | Baton | RunSubmitted | StopRequest
) -> None:
    ant = Puppet("ant")
    ant.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await until_asked(ant, 1)

        await ant.say(parties.owner, submission.run, body)
        (dead,) = await parties.dead_letters(1)
        ant.let_go(1)
        outcome = await parties.outcome(submission)

    assert unseal(dead).sender == "ant"
    assert outcome.status is Status.FINISHED


async def test_a_reply_past_the_exchange_of_clients_is_a_dead_letter(memory_url: str) -> None:
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        forged = seal(wrap(submission.run, "ant", JoinRequest(), now=0.0))

        await parties.owner.publish(forged, routing_key=topology.run_queue(submission.run))

        (dead,) = await parties.dead_letters(1)
        assert dead.type == "join_request"


async def test_the_routing_key_says_who_sent_a_message_whatever_its_envelope_claims(memory_url: str) -> None:
    ant, bee = Puppet("ant"), Puppet("bee")
    ant.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        await until_asked(ant, 1)

        forged = TrainReply(round=1, weights_digest=inline(START).digest, update=inline(START), n_steps=1)
        await bee.say(parties.owner, submission.run, forged, sender="ant")
        ant.let_go(1)
        outcome = await parties.outcome(submission)

    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, START.flat * 0.9)


# ---- other protocol versions -------------------------------------------------------------------------------------


async def test_a_client_of_another_protocol_is_refused_in_words_and_the_run_goes_on(memory_url: str) -> None:
    ant, old = Puppet("ant"), Puppet("old")
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        await parties.owner.declare(*topology.client("old"))
        parties.worker()
        await old.say(parties.owner, submission.run, JoinRequest(), protocol=PROTOCOL + 1)
        async with await parties.owner.consume(topology.client_queue("old"), prefetch=1) as answers:
            answer = unseal((await anext(answers)).message).join_reply
        parties.puppet(ant, submission.run)
        outcome = await parties.outcome(submission)

    assert not answer.accepted
    assert f"protocol {PROTOCOL + 1}" in answer.reason
    assert "install the same major release" in answer.reason
    assert outcome.status is Status.FINISHED


async def test_a_daemon_answers_a_request_of_another_protocol_in_words(memory_url: str) -> None:
    async with Parties(memory_url) as parties:
        (site,) = await sites_of({"ant": regression(0)})
        await parties.owner.declare(*topology.run("other"))
        parties.daemon(site)
        envelope = wrap("other", "leader", TrainRequest(round=1), now=0.0)
        envelope.protocol = PROTOCOL + 1
        await parties.owner.declare(*topology.client("ant"))

        await parties.owner.publish(seal(envelope), exchange=topology.DOWN.name, routing_key="other.ant.train_request")

        async with await parties.owner.consume(topology.run_queue("other"), prefetch=1) as answers:
            error = unseal((await anext(answers)).message).error
    assert error.code == Error.Code.VERSION
    assert f"protocol {PROTOCOL + 1}" in error.text


def strange_announcements() -> Iterable[Message]:
    other = wrap("newer", "somebody", RunSubmitted(spec_json="{}"), now=0.0)
    other.protocol = PROTOCOL + 1
    yield seal(other)
    yield seal(wrap("unreadable", "somebody", RunSubmitted(spec_json="{"), now=0.0))
    yield seal(wrap("unknown", "somebody", RunSubmitted(spec_json='{"colour": "blue"}'), now=0.0))
    yield seal(wrap("../../etc", "somebody", RunSubmitted(spec_json=make_spec().to_json()), now=0.0))
    closed = wrap("strange", "somebody", RunSubmitted(), now=0.0)
    closed.run_closed.status = "evaporated"
    yield seal(closed)
    yield garbage()


async def test_announcements_that_make_no_sense_are_logged_and_skipped(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Parties(memory_url) as parties:
        for announcement in strange_announcements():
            await parties.owner.publish(announcement, routing_key=topology.RUNS.name)
        (site,) = await sites_of({"ant": regression(0)})
        parties.daemon(site)
        parties.worker()

        outcome = await parties.outcome(await parties.submit(make_spec(rounds=1, clients=1)))

    assert outcome.status is Status.FINISHED
    ignored = [record for record in caplog.records if record.getMessage().startswith("announcement_ignored")]
    assert [sum(record.name == name for record in ignored) for name in ("fl.server", "fl.client")] == [6, 6]


# ---- data that clash, and too few -----------------------------------------------------------------------------------


async def test_data_that_clash_fail_the_run_with_names_and_values_and_tell_every_client(memory_url: str) -> None:
    puppets = [Puppet(name, info=DataInfo(n_samples=9, n_features=n)) for name, n in (("ant", 4), ("bee", 5))]
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(clients=2))
        parties.worker()
        for puppet in puppets:
            parties.puppet(puppet, submission.run)

        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        async with asyncio.timeout(30.0):
            while not all(puppet.heard_of(JoinReply) for puppet in puppets):
                await asyncio.sleep(0.01)

    assert outcome.status is Status.FAILED
    assert "ant has 4, bee has 5" in outcome.reason
    for puppet in puppets:
        assert [(reply.accepted, reply.reason) for reply in puppet.heard_of(JoinReply)] == [(False, outcome.reason)]


STRANGE_INFO = {
    "numbers and text": DataInfo(n_samples=5, n_features=3),
    "more samples than can be": DataInfo(n_samples=2**64 - 1, n_features=N_FEATURES),
    "more features than memory": DataInfo(n_samples=5, n_features=2**62, input_shape=[0, 2**62]),
}
STRANGE_INFO["numbers and text"].classes.ints.append(1)
STRANGE_INFO["numbers and text"].classes.strings.append("one")


@pytest.mark.parametrize("name", STRANGE_INFO)
async def test_a_client_with_data_info_that_nobody_can_have_is_refused_in_words(memory_url: str, name: str) -> None:
    liar, ant = Puppet("liar", info=STRANGE_INFO[name]), Puppet("ant")
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        parties.puppet(liar, submission.run)
        async with asyncio.timeout(20.0):
            while not liar.heard:
                await asyncio.sleep(0.01)
        parties.puppet(ant, submission.run)

        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FINISHED
    (refusal,) = liar.heard_of(JoinReply)
    assert not refusal.accepted
    assert refusal.reason


async def test_a_registration_with_too_few_fails_when_its_time_is_up(memory_url: str) -> None:
    ant = Puppet("ant")
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(register={"min_clients": 2, "timeout": 0.3}), START)
        parties.worker()
        parties.puppet(ant, submission.run)

        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)

    assert outcome.status is Status.FAILED
    assert outcome.reason == "1 of at least 2 clients joined within 0.3 s"
    assert outcome.weights == START


async def test_a_client_that_cannot_build_the_model_is_named_and_the_minimum_goes_on(memory_url: str) -> None:
    told = DataInfo(n_samples=5, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
    told.classes.ints.extend([0, 1])
    table = make_spec(rounds=1, register={"min_clients": 1, "max_clients": 2}).model_dump(by_alias=True)
    table["model"]["config"] = {"kind": "classifier", "loss": "log_loss"}
    table["metrics"] = []
    spec = RunSpec.parse(table, "test")
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec)
        parties.worker()
        parties.puppet(Puppet("ant", info=told), submission.run)
        parties.puppet(Puppet("bee", info=told, unable="the model needs classes"), submission.run)

        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    ready = of_kind(records, ClientsReady)[0]
    assert outcome.status is Status.FINISHED
    assert ready.clients == ("ant",)
    assert [(note.client, note.reason) for note in ready.failed] == [("bee", "the model needs classes")]
    assert [name for name, _ in of_kind(records, ClientsAdmitted)[0].clients] == ["ant", "bee"]


async def test_an_update_said_to_be_in_another_clients_stream_is_named(memory_url: str) -> None:
    size = 50_000
    start = NumpyVector.from_arrays({"coef": np.full((1, size), 0.5), "intercept": np.ones(1)})
    info = DataInfo(n_samples=10, n_features=size, input_shape=[0, size])
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), start)
        parties.worker()

        def swapped(reply: TrainReply) -> None:
            """Says that the other client's stream is its own."""
            other = topology.update_stream(submission.run, reply.round, "ant")
            tensors = reply.update
            ref = BlobRef(stream=other, bytes=len(tensors.inline), chunks=1, sha256=tensors.digest)
            tensors.CopyFrom(Tensors(layout=tensors.layout, digest=tensors.digest, ref=ref))

        parties.puppet(Puppet("ant", weights=start, info=info), submission.run)
        parties.puppet(Puppet("liar", weights=start, info=info, lie=swapped), submission.run)
        outcome = await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, start.flat * 0.9)
    assert [note.client for note in commits[0].dropped] == ["liar"]
    assert "not the stream for it" in commits[0].dropped[0].reason
