"""Runs that protect whole clients: the same bits whoever leads and sums, noise that is as told, and its secret."""

import logging
import secrets
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from opacus.accountants import RDPAccountant

from broker import topology
from broker.base import Message
from broker.connect import open_session
from fl.client.learner import Data
from fl.core.vector import NumpyVector, Role
from fl.main.embedded import run_embedded
from fl.main.outcome import Outcome
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.apply import apply
from fl.run.events import Kind, LeaderStarted, Record, RoundClosed, RoundCommitted, RoundOpened, RunEnded, Status
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.submit.history import Happened
from fl.submit.submission import Submission, submit
from tests.histories.players import Stage
from tests.integration.parties import Parties, stored
from tests.integration.private import offer_secret
from tests.integration.world import make_spec, of_kind, regression, sites_of, submission_of
from tests.small_blocks import small_blocks
from tests.unit.server.shared_rounds import FIVE, START, uneven

SECRET = bytes(range(32))
CENTRAL = {"clip_norm": 0.5, "noise_multiplier": 1.0, "delta": 1e-3}
DATA = {name: regression(seed, n=20 + 7 * seed) for seed, name in enumerate(FIVE)}


@pytest.fixture(autouse=True)
def blocks_of_two() -> Iterator[None]:
    with small_blocks():
        yield


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this test."""
    return f"memory://{secrets.token_hex(4)}"


def central_spec(*, rounds: int = 3, central: dict[str, Any] = CENTRAL, **changes: Any) -> RunSpec:
    changes = {"sampling": 0.6, "evaluate": False, **changes}
    return make_spec(rounds=rounds, clients=5, central_privacy=central, **changes)


async def submitted(parties: Parties, spec: RunSpec, *, secret: bytes = SECRET) -> Submission:
    """A run of always the same name, since its noise is its own."""
    submission = replace(submission_of(spec, START), run="test-central")
    await offer_secret(parties.owner, submission.run, secret)
    await submit(parties.owner, submission)
    return submission


async def played(
    url: str, spec: RunSpec, *, workers: int = 1, secret: bytes = SECRET, names: tuple[str, ...] = FIVE
) -> tuple[Outcome, list[Record]]:
    async with Parties(url) as parties:
        submission = await submitted(parties, spec, secret=secret)
        for number in range(workers):
            parties.worker(f"worker-{number}")
        for name in names:
            parties.puppet(uneven(name), submission.run)
        outcome = await parties.outcome(submission)
        await parties.until_closed(submission)
        return outcome, await parties.records(submission)


async def with_daemons(url: str, spec: RunSpec, data: dict[str, Data]) -> tuple[Outcome, list[Record]]:
    records: list[Record] = []

    def note(happened: Happened) -> None:
        records.append(happened.record)

    submission = replace(submission_of(spec, None), run="test-central")
    owner = await open_session(url, name="before")
    await owner.declare(*topology.base())
    await offer_secret(owner, submission.run, SECRET)
    sites = await sites_of(data)
    outcome = await run_embedded(submission, sites, lambda name: open_session(url, name=name), on_event=note)
    await owner.close()
    return outcome, records


def simulated(spec: RunSpec, data: dict[str, Data]) -> tuple[Outcome, list[Record]]:
    records: list[Record] = []
    clients = [VirtualClient(name, one) for name, one in data.items()]
    outcome = simulate(
        spec, clients, run="test-central", secret=SECRET, on_event=lambda happened: records.append(happened.record)
    )
    return outcome, records


def commits(records: list[Record]) -> list[RoundCommitted]:
    return [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]


def asked(records: list[Record]) -> list[tuple[str, ...]]:
    return [one.participants for one in of_kind(records, RoundOpened) if one.kind is Kind.TRAIN]


def digests(records: list[Record]) -> list[bytes]:
    return [one.weights.digest for one in commits(records) if one.weights is not None]


# ---- bits ------------------------------------------------------------------------------------------------------------

CASES: dict[str, RunSpec] = {
    "one clip norm": central_spec(),
    "a clip norm that follows": central_spec(central={**CENTRAL, "adaptive": True}),
    "all are asked": central_spec(sampling=1.0),
    "almost nobody is asked": central_spec(rounds=6, sampling=0.05),
    "compressed updates and weights": central_spec(compression="bf16"),
    "a budget": central_spec(central={"clip_norm": 0.5, "budget": (50.0, 1e-3)}),
    "evaluations that may be told": central_spec(central={**CENTRAL, "evaluations": True}, evaluate=True),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_simulation_comes_to_the_bits_of_a_run_with_messages(memory_url: str, case: str) -> None:
    alone, in_one = simulated(CASES[case], DATA)

    outcome, records = await with_daemons(memory_url, CASES[case], DATA)

    assert outcome.status is alone.status is Status.FINISHED, (outcome.reason, alone.reason)
    assert digests(records) == digests(in_one)
    assert asked(records) == asked(in_one)
    assert [one.clip_norm for one in commits(records)] == [one.clip_norm for one in commits(in_one)]


@pytest.mark.rabbitmq
async def test_a_run_over_rabbitmq_comes_to_the_bits_of_its_simulation(rabbit_url: str) -> None:
    spec = CASES["a clip norm that follows"]
    _, in_one = simulated(spec, DATA)

    outcome, records = await with_daemons(rabbit_url, spec, DATA)

    assert outcome.status is Status.FINISHED, outcome.reason
    assert digests(records) == digests(in_one)


@pytest.mark.parametrize("shards", [2, 3])
async def test_any_number_of_shards_comes_to_the_same_bits(memory_url: str, shards: int) -> None:
    # Given
    spec = central_spec(central={**CENTRAL, "adaptive": True})
    _, expected = await played(f"{memory_url}-alone", spec)
    # When
    shared = spec.model_copy(update={"run": spec.run.model_copy(update={"shards": shards})})
    outcome, records = await played(memory_url, shared, workers=2)
    # Then
    assert outcome.status is Status.FINISHED, outcome.reason
    assert digests(records) == digests(expected)
    assert [one.clip_norm for one in commits(records)] == [one.clip_norm for one in commits(expected)]


async def test_another_leader_asks_the_same_clients_and_comes_to_the_same_bits(memory_url: str) -> None:
    # Given
    spec = central_spec(rounds=3, sampling=1.0)
    _, expected = await played(f"{memory_url}-alone", spec)
    # When: whoever leads loses its connection in every round, when all but one have answered
    async with Parties(memory_url) as parties:
        submission = await submitted(parties, spec)
        puppets = [uneven(name) for name in FIVE]
        for number in range(2):
            parties.worker(f"worker-{number}")
        for puppet in puppets:
            parties.puppet(puppet, submission.run)
        for round_ in range(1, 4):
            puppets[-1].withhold(round_)
        for round_ in range(1, 4):
            leader = await nth_leader(parties, submission, round_)
            await parties.until_record(submission, partial(_opens, round_=round_))
            parties.cut(leader)
            await nth_leader(parties, submission, round_ + 1)
            puppets[-1].let_go(round_)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)
    # Then
    assert outcome.status is Status.FINISHED, outcome.reason
    assert digests(records) == digests(expected)
    assert asked(records) == asked(expected)


def _opens(record: Record, *, round_: int) -> bool:
    return isinstance(record, RoundOpened) and record.round == round_


async def nth_leader(parties: Parties, submission: Submission, number: int) -> str:
    """The worker that leads as the first, second, and so on."""
    seen: list[str] = []

    def is_it(record: Record) -> bool:
        if isinstance(record, LeaderStarted):
            seen.append(record.worker)
        return len(seen) == number

    await parties.until_record(submission, is_it)
    return seen[-1]


# ---- what is published -----------------------------------------------------------------------------------------------


async def test_weights_move_by_the_mean_of_clipped_updates_but_for_the_noise(memory_url: str) -> None:
    # Given: hardly any noise
    spec = central_spec(rounds=1, sampling=1.0, central={**CENTRAL, "noise_multiplier": 0.01})
    rows = [uneven(name)._update(START).flat for name in FIVE]
    clipped = [row * min(1.0, 0.5 / float(np.linalg.norm(row))) for row in rows]
    # When
    outcome, _ = await played(memory_url, spec)
    # Then
    assert outcome.weights is not None
    moved = START.flat - outcome.weights.flat
    noise = moved - np.sum(clipped, axis=0) / 5
    assert 0 < np.linalg.norm(noise) < 6 * 0.01 * 0.5 / 5 * np.sqrt(noise.size)


async def test_a_run_that_asks_nobody_still_tells_noise(memory_url: str) -> None:
    # Given: nobody is asked in most of these rounds
    spec = central_spec(rounds=5, sampling=0.01)
    # When
    outcome, records = await played(memory_url, spec)
    # Then
    assert outcome.status is Status.FINISHED, outcome.reason
    assert () in asked(records)
    assert len(set(digests(records))) == 5


async def test_the_log_does_not_tell_who_is_asked_next_but_the_secret_does(memory_url: str) -> None:
    spec = central_spec(rounds=8)

    _, records = await played(f"{memory_url}-1", spec)
    _, again = await played(f"{memory_url}-2", spec)
    _, other = await played(f"{memory_url}-3", spec, secret=SECRET[::-1])

    assert asked(records) == asked(again)
    assert asked(records) != asked(other)


async def test_the_secret_is_gone_when_the_run_is(memory_url: str) -> None:
    await played(memory_url, central_spec(rounds=1))

    assert topology.secret_stream("test-central") not in stored(memory_url)


async def test_a_model_with_buffers_is_refused_with_the_remedy(memory_url: str) -> None:
    # Given
    start = NumpyVector.from_arrays({"w": np.zeros(3), "running_mean": np.zeros(3)}, {"running_mean": Role.BUFFER})
    # When
    async with Parties(memory_url) as parties:
        submission = await parties.submit(central_spec(), start)
        parties.worker()
        for name in FIVE:
            parties.puppet(uneven(name), submission.run)
        outcome = await parties.outcome(submission)
    # Then
    assert outcome.status is Status.FAILED
    assert "tensor 'running_mean' is a buffer" in outcome.reason
    assert 'buffers = "local"' in outcome.reason


# ---- what is accounted for -------------------------------------------------------------------------------------------


def counted(spec: RunSpec, records: list[Record]) -> int:
    """Sums that the log tells of."""
    state = RunState("test-central", spec)
    for record in records:
        state = apply(state, record)
    return state.released


def spent(spec: RunSpec, records: list[Record]) -> float:
    """Epsilon as Opacus has it, of the sums that the log tells of."""
    assert spec.run.central_privacy is not None
    accountant = RDPAccountant()
    accountant.history = [(spec.run.central_privacy.z, float(spec.run.sampling.clients), counted(spec, records))]
    return float(accountant.get_epsilon(1e-3))


async def test_a_run_within_its_budget_counts_one_sum_a_round(memory_url: str) -> None:
    spec = submission_of(central_spec(central={"clip_norm": 0.5, "budget": (5.0, 1e-3), "spare_sums": 0}), START).spec

    _, records = await played(memory_url, spec)

    assert len(of_kind(records, RoundClosed)) == 3
    assert 4.9 < spent(spec, records) <= 5.0


async def over_a_sum(url: str, spec: RunSpec) -> list[Record]:
    """A run whose leader is cut off when the weights of the first round are made, and their commit is not written."""
    async with Parties(url) as parties:
        stage = Stage(parties, "test-central")
        await offer_secret(parties.owner, stage.run, SECRET)
        await stage.begin(spec, START)
        with stage.cut_between(RoundClosed, RoundCommitted):
            stage.puppets(*map(uneven, FIVE))
            await stage.until(LeaderStarted, LeaderStarted)
        await stage.over()
        return await parties.records(stage.submission)


async def test_a_sum_that_is_made_again_has_the_same_noise_and_counts_twice(memory_url: str) -> None:
    # Given
    spec = submission_of(central_spec(sampling=1.0), START).spec
    _, undisturbed = await played(f"{memory_url}-alone", spec)
    # When
    records = await over_a_sum(memory_url, spec)
    # Then
    assert digests(records) == digests(undisturbed)
    assert counted(spec, records) == counted(spec, undisturbed) + 1


async def test_a_run_that_made_a_sum_twice_ends_within_its_budget(memory_url: str) -> None:
    # Given a budget for one sum a round
    central = {"clip_norm": 0.5, "budget": (5.0, 1e-3), "spare_sums": 0}
    spec = submission_of(central_spec(central=central, sampling=1.0), START).spec
    # When
    records = await over_a_sum(memory_url, spec)
    # Then
    (end,) = of_kind(records, RunEnded)
    assert end.reason == "the budget of central privacy is spent after round 2"
    assert spent(spec, records) <= 5.0


# ---- the secret ------------------------------------------------------------------------------------------------------


async def test_no_line_of_a_log_and_nothing_that_a_run_leaves_has_its_secret(
    memory_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    caplog.set_level(logging.DEBUG)
    spec = submission_of(central_spec(sampling=1.0), START).spec
    # When: two leaders read it, of which one is lost over a sum
    await over_a_sum(memory_url, spec)
    # Then
    forms = [SECRET.hex(), repr(SECRET), repr(list(SECRET)), b64encode(SECRET).decode()]
    assert caplog.text.count("leading") == 2
    assert not [form for form in forms if form in caplog.text]
    left = await messages_in(memory_url, topology.RUNS.name, topology.run_log("test-central"))
    assert len(left) > 10
    assert not [message for message in left if SECRET in bytes(message.body) or SECRET.hex() in str(message.headers)]


async def messages_in(url: str, *streams: str) -> list[Message]:
    session = await open_session(url, name="afterwards")
    found: list[Message] = []
    for stream in streams:
        await session.publish(Message(b"", type=topology.MARKER, message_id="here"), routing_key=stream)
        async with await session.read(stream) as entries:
            async for entry in entries:
                await entry.ack()
                if entry.message.message_id == "here":
                    break
                found.append(entry.message)
    await session.close()
    return found


def test_a_state_that_is_shown_shows_no_secret() -> None:
    state = RunState("test-central", central_spec(), secret=SECRET)

    assert repr(SECRET) not in repr(state)
