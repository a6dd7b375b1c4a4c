"""What clients and strangers may send: none of it enters a sum, ends a process, or deletes anything."""

import asyncio
from collections.abc import Iterable

import numpy as np
import pytest

from broker import topology
from broker.base import Message
from broker.dead import read_dead_letter
from fl.core.vector import NumpyVector
from fl.run.events import ClientsAdmitted, ClientsReady, Status
from fl.run.spec import RunSpec
from fl.wire.envelope import PROTOCOL, seal, unseal, wrap
from fl.wire.messages_pb2 import (
    Baton,
    CancelRequest,
    DataInfo,
    Error,
    InitRequest,
    JoinReply,
    JoinRequest,
    RunSubmitted,
    StopRequest,
    TrainReply,
    TrainRequest,
)
from fl.wire.tensors import inline
from tests.integration.parties import Parties
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
    letters = [read_dead_letter(message, routing_key="") for message in dead]
    assert {letter.reason for letter in letters} == {"15 bytes of type 'nonsense' are not an envelope"}
    assert {letter.queue for letter in letters} == {topology.run_queue(submission.run)}


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
    assert [sum(record.name == name for record in ignored) for name in ("fl.server", "fl.client")] == [6, 4]


async def test_a_site_that_does_not_understand_a_spec_tells_so_when_it_is_to_build_the_model(memory_url: str) -> None:
    # Given a run whose spec this release does not know all of
    (ant,) = await sites_of({"ant": regression(0)})
    async with Parties(memory_url) as parties:
        await parties.owner.declare(*topology.run("newer"), *topology.client("ant"))
        announcement = RunSubmitted(spec_json='{"colour": "blue"}')
        await parties.owner.publish(seal(wrap("newer", "somebody", announcement, now=0.0)), routing_key="fl.runs")

        # When it takes part
        parties.daemon(ant)
        async with await parties.owner.consume(topology.run_queue("newer"), prefetch=2) as answers:
            joined = unseal((await anext(answers)).message)
            request = seal(wrap("newer", "leader", InitRequest(spec_json=announcement.spec_json), now=0.0))
            await parties.owner.publish(request, exchange=topology.DOWN.name, routing_key="newer.ant.init_request")
            error = unseal((await anext(answers)).message).error

    # Then
    assert joined.WhichOneof("body") == "join_request"
    assert error.code == Error.Code.FAILED
    assert "colour" in error.text


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
