"""Leading through trouble: clients that leave and come back, messages that break the leader, others that lead."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from broker import topology
from broker.dead import read_dead_letter
from fl.core.metrics import Metric
from fl.core.vector import Array, NumpyVector
from fl.log import get_log
from fl.main.outcome import Outcome
from fl.run.events import (
    LeaderStarted,
    Note,
    Record,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunPaused,
    Status,
    StillWaiting,
)
from fl.run.parts import Plugin
from fl.run.spec import RunSpec
from fl.run.step import LOGIC_VERSION
from fl.server.leader import Seat
from fl.server.worker import serve
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import EvaluateReply, JoinReply, ResumeRequest, TrainReply
from fl.wire.records import write_record
from fl.wire.tensors import inline
from tests.integration.parties import Parties, stored
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind, regression, run_here, sites_of

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
TWO = {name: regression(seed) for seed, name in enumerate(("ant", "bee"))}


@pytest.fixture
def memory_url(request: pytest.FixtureRequest) -> str:
    """An embedded broker that no other test uses."""
    return f"memory://trouble-{request.node.name}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():
            await asyncio.sleep(0.005)


async def of_puppets(url: str, spec: RunSpec, *names: str) -> Outcome:
    """The same run of puppets, to which nothing happens."""
    async with Parties(url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for name in names:
            parties.puppet(Puppet(name), submission.run)
        return await parties.outcome(submission)


def paused(record: Record) -> bool:
    return isinstance(record, RunPaused)


# ---- clients that leave ------------------------------------------------------------------------------------------


async def test_a_run_pauses_while_too_few_are_there_and_goes_on_to_the_same_bits(memory_url: str) -> None:
    # Given: two clients that are both needed, one of which goes in the middle of a round
    spec = make_spec(rounds=2, clients=2, min_replies=2, gone_after=0.2, patience=60)
    bee = Puppet("bee")
    bee.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        parties.puppet(Puppet("ant"), submission.run)
        parties.puppet(bee, submission.run)
        await until(lambda: bee.was_asked(1))
        await parties.stop("bee")

        # When: it comes back after a while
        pause = await parties.until_record(submission, paused)
        parties.puppet(Puppet("bee"), submission.run)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then
    gone = "gone: nobody has consumed its queue for a while"
    assert pause == RunPaused(f"train round 1: 1 of at least 2 replies; bee: {gone}")
    assert outcome.status is Status.FINISHED
    assert [len(one.participants) for one in of_kind(records, RoundCommitted)] == [2] * 4
    assert outcome.weights == (await of_puppets(memory_url + "-calm", spec, "ant", "bee")).weights


async def test_a_run_that_waited_long_enough_fails_with_what_it_has(memory_url: str) -> None:
    spec = make_spec(rounds=2, clients=2, min_replies=2, deadline=0.2, patience=0.2)
    bee = Puppet("bee")
    bee.withhold(2)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for puppet in (Puppet("ant"), bee):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FAILED
    assert outcome.reason == (
        "train round 2: 1 of at least 2 replies; bee: no answer in time; nobody came back within 0.2 s"
    )
    assert outcome.weights is not None


async def test_a_paused_run_that_is_resumed_asks_again(memory_url: str) -> None:
    # Given: a client whose first answer is of no use
    spoiled = [True]

    def lie(reply: TrainReply) -> None:
        if spoiled:
            spoiled.clear()
            reply.update.CopyFrom(inline(START * math.nan))

    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1, patience=60), START)
        parties.worker()
        parties.puppet(Puppet("ant", lie=lie), submission.run)
        await parties.until_record(submission, paused)

        # When
        request = seal(wrap(submission.run, "owner", ResumeRequest(), now=0.0))
        await parties.owner.publish(request, routing_key=topology.run_queue(submission.run))
        outcome = await parties.outcome(submission)

    # Then
    assert outcome.status is Status.FINISHED


async def test_a_client_that_always_fails_is_set_aside_and_told_why(memory_url: str) -> None:
    # Given
    def spoil(reply: TrainReply) -> None:
        reply.update.CopyFrom(inline(START * math.nan))

    bad = Puppet("bad", lie=spoil)
    spec = make_spec(rounds=4, register={"min_clients": 1, "max_clients": 2}, set_aside_after=2, evaluate=False)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        for puppet in (Puppet("ant"), bad):
            parties.puppet(puppet, submission.run)

        # When
        await parties.until_record(submission, lambda record: isinstance(record, RunEnded))
        await parties.until_closed(submission)
        records = await parties.records(submission)

    # Then
    asked = [one.participants for one in of_kind(records, RoundOpened)]
    assert asked == [("ant", "bad"), ("ant", "bad"), ("ant",), ("ant",)]
    refusals = [reply.reason for reply in bad.heard_of(JoinReply) if not reply.accepted]
    assert len(refusals) == 1
    assert refusals[0].startswith("set aside after 2 failed rounds: its update is not usable: tensor 'coef'")


async def test_what_is_awaited_is_logged_while_it_takes_long(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: a clock that is fast
    monkeypatch.setattr("fl.server.post.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("fl.run.decide.FIRST_WORD_S", 0.1)
    bee = Puppet("bee")
    bee.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), START)
        parties.worker()
        for puppet in (Puppet("ant"), bee):
            parties.puppet(puppet, submission.run)
        # When
        told = await parties.until_record(
            submission,
            lambda record: isinstance(record, StillWaiting) and bool(record.awaited) and bool(record.answered),
        )
        bee.let_go(1)
        await parties.outcome(submission)
    # Then
    assert isinstance(told, StillWaiting)
    assert (told.answered, told.awaited) == (("ant",), ("bee",))


# ---- messages that break the leader ------------------------------------------------------------------------------


class Brittle(Metric, register=False):
    """Breaks over a state that says so."""

    name = "brittle"

    def zero(self) -> dict[str, Array]:
        return {"n": np.zeros(()), "total": np.zeros(())}

    def measure(self, y_true: Array, y_pred: Array, weights: Array) -> dict[str, Array]:
        return {"total": weights.sum()}

    def compute(self, state: dict[str, Array]) -> dict[str, float | Array]:
        return {self.name: float(state["total"])}

    def merge(self, state: object) -> None:
        raise TypeError("no such luck")


async def test_a_message_that_breaks_the_leader_is_buried_with_the_reason_and_the_run_goes_on(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setitem(Metric.registry._classes, "brittle", Brittle)

    def poison(reply: EvaluateReply) -> None:
        state = NumpyVector.from_arrays({"brittle/n": np.ones(()), "brittle/total": np.ones(())})
        reply.metrics.CopyFrom(inline(state))

    spec = make_spec(rounds=1, clients=2).model_copy(update={"metrics": [Plugin(name="brittle")]})
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, START)
        parties.worker()
        parties.puppet(Puppet("ant"), submission.run)
        parties.puppet(Puppet("bad", lie_about_loss=poison), submission.run)

        # When
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)
        (dead,) = await parties.dead_letters(1)

    # Then
    reason = "the leader failed over it 3 times: TypeError: no such luck"
    letter = read_dead_letter(dead, routing_key="")
    assert outcome.status is Status.FINISHED
    assert (letter.reason, letter.queue) == (reason, topology.run_queue(submission.run))
    assert of_kind(records, RoundCommitted)[-1].dropped == (Note("bad", reason),)


# ---- others that lead --------------------------------------------------------------------------------------------


def newer_or_older(parties: Parties, name: str, version: int) -> None:
    log = get_log("fl.server", worker=name)
    parties._keep(name, lambda session: serve(Seat(session, name, time.time, log, logic_version=version)))


async def test_an_older_release_stands_back_from_a_run_and_says_why(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given: a run that a newer release has led into its first round
    bee = Puppet("bee")
    bee.withhold(1)
    caplog.set_level("INFO")
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=1), START)
        newer_or_older(parties, "newer", LOGIC_VERSION + 1)
        parties.puppet(bee, submission.run)
        await until(lambda: bee.was_asked(1))

        # When: the older one would be next
        newer_or_older(parties, "older", LOGIC_VERSION)
        await until(lambda: "run_found worker=older" in caplog.text or "run_found" in caplog.text.split("older")[-1])
        await parties.stop("newer")
        await until(lambda: "stands_back" in caplog.text)
        bee.let_go(1)
        newer_or_older(parties, "newest", LOGIC_VERSION + 1)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    # Then
    assert outcome.status is Status.FINISHED
    assert {one.worker for one in of_kind(records, LeaderStarted)} == {"newer", "newest"}
    assert f"has led it by the rules of version {LOGIC_VERSION + 1}" in caplog.text


async def test_a_leader_that_was_replaced_without_noticing_takes_back_what_it_wrote(memory_url: str) -> None:
    # Given: a round whose weights are bulk
    size = 50_000
    start = NumpyVector.from_arrays({"coef": np.full((1, size), 0.5), "intercept": np.ones(1)})
    info = Puppet("any")._info
    info.n_features, info.input_shape[:] = size, [0, size]
    bee = Puppet("bee", info=info, weights=start)
    bee.withhold(1)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=1), start)
        parties.worker()
        parties.puppet(bee, submission.run)
        await until(lambda: bee.was_asked(1))

        # When: another one starts to lead, and the reply comes to the first
        other = write_record("other", LeaderStarted("other", "w2", LOGIC_VERSION), number=0, now=0.0)
        await parties.owner.publish(other, routing_key=topology.run_log(submission.run))
        bee.let_go(1)
        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        left = stored(memory_url)

    # Then
    assert outcome.status is Status.FINISHED
    assert len([name for name in left if name.startswith(f"fl.run.{submission.run}.w.")]) == 1


# ---- clocks ------------------------------------------------------------------------------------------------------


async def test_clocks_that_are_a_day_wrong_change_nothing(memory_url: str) -> None:
    # Given
    spec = make_spec(rounds=2, clients=2, deadline=30)
    calm, _ = await run_here(memory_url + "-calm", spec, TWO)
    log = get_log("fl.server")
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec)
        # When: one worker is a day ahead, its successor a day behind, and a site is, too
        ahead = lambda session: serve(Seat(session, "ahead", lambda: time.time() + 86_400, log))  # noqa: E731
        parties._keep("ahead", ahead)
        for site in await sites_of(TWO):
            parties.daemon(replace(site, clock=lambda: time.time() - 86_400))
        await parties.until_record(submission, lambda record: isinstance(record, RoundOpened))
        behind = lambda session: serve(Seat(session, "behind", lambda: time.time() - 86_400, log))  # noqa: E731
        parties._keep("behind", behind)
        await parties.stop("ahead")
        outcome = await parties.outcome(submission)

    # Then
    assert outcome.weights == calm.weights
