"""Runs that ask for differential privacy: what sites answer, pay and keep to themselves."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opacus.accountants import RDPAccountant

from broker.connect import open_session
from fl.client.config import SitePrivacyConfig
from fl.client.setup import site_from_data
from fl.client.site import Site
from fl.client.state import StateDirectory
from fl.core.privacy.ledger import Ledger, epsilons
from fl.core.vector import NumpyVector
from fl.main.embedded import run_embedded
from fl.main.outcome import Outcome
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import Cause, ClientsReady, Kind, Record, RoundCommitted, RoundOpened, Status
from fl.run.spec import RunSpec
from fl.submit.history import Happened
from fl.wire.envelope import Body
from fl.wire.messages_pb2 import InitReply, InitRequest, PrivacyReply, PrivacyRequest, TrainRequest
from tests.integration.parties import Parties
from tests.integration.private import Private
from tests.integration.world import N_FEATURES, make_spec, of_kind, regression, submission_of

START = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
BUDGET = (8.0, 1e-3)
PRIVACY = {"budget": BUDGET, "sclip_norm": 1.0}
NAMES = ("ant", "bee", "cat")
N, B, STEPS = 40, 8, 5
EITHER = {"min_clients": 1, "max_clients": 2}
"""Registration closes with two, and one of them is enough."""


def private_spec(*, rounds: int = 3, clients: int = 3, privacy: dict[str, Any] = PRIVACY, **changes: Any) -> RunSpec:
    return make_spec(rounds=rounds, clients=clients, privacy=privacy, **changes)


async def site(name: str, folder: Path | None = None, **privacy: Any) -> Site:
    state = None if folder is None else StateDirectory(folder / name)
    data = regression(NAMES.index(name), N)
    metrics = "n_samples" not in privacy
    return await site_from_data(
        name, data, share_metrics=metrics, privacy=SitePrivacyConfig.from_params(**privacy), state=state
    )


async def play(url: str, spec: RunSpec, sites: list[Site]) -> tuple[Outcome, list[Record]]:
    records: list[Record] = []

    def note(happened: Happened) -> None:
        records.append(happened.record)

    outcome = await run_embedded(submission_of(spec), sites, lambda name: open_session(url, name=name), on_event=note)
    return outcome, records


def opacus_epsilon(sigma: float, *, steps: int, delta: float = BUDGET[1]) -> float:
    accountant = RDPAccountant()
    accountant.history = [(sigma, B / N, steps)]
    return float(accountant.get_epsilon(delta))


# ---- what is settled before ------------------------------------------------------------------------------------------


async def test_every_site_says_on_which_terms_it_trains(memory_url: str) -> None:
    outcome, records = await play(memory_url, private_spec(), [await site(name) for name in NAMES])

    assert outcome.status is Status.FINISHED, outcome.reason
    (ready,) = of_kind(records, ClientsReady)
    terms = dict(ready.terms)
    assert terms.keys() == set(NAMES)
    for one in terms.values():
        assert one.planned_steps == 3 * STEPS
        assert 0.99 * BUDGET[0] < opacus_epsilon(one.noise_multiplier, steps=3 * STEPS) <= BUDGET[0]
        assert one.spent_epsilon == 0
        assert one.unprotected == (
            "how many training steps it takes, and how long",
            "how many samples it has",
            "losses on its validation data",
            "metrics on its validation data",
        )


async def test_a_budget_that_protects_nobody_and_batches_of_everybody_are_warned_of(memory_url: str) -> None:
    training = {"batch_size": 100, "drop_remainder": False}
    spec = private_spec(privacy={**PRIVACY, "budget": (8.0, 0.1)}, training=training, rounds=1, clients=1)

    _, records = await play(memory_url, spec, [await site("ant")])

    ((_, terms),) = of_kind(records, ClientsReady)[0].terms
    small_delta, large_batch = terms.warnings
    assert "delta=0.1 is not below 1/40" in small_delta
    assert "batches of 100 are more than the 40 samples here" in large_batch


async def test_a_site_whose_cap_is_lower_than_a_runs_budget_refuses_with_both_figures(memory_url: str) -> None:
    sites = [await site("ant"), await site("bee", max_epsilon=2.0, delta=1e-3)]

    outcome, records = await play(memory_url, private_spec(register=EITHER), sites)

    assert outcome.status is Status.FINISHED, outcome.reason
    (ready,) = of_kind(records, ClientsReady)
    (note,) = ready.failed
    assert (ready.clients, note.client, note.cause) == (("ant",), "bee", Cause.REFUSED)
    figures = r"from epsilon=0 to ([0-9.]+) at delta=0.001, and the site's cap is 2: ask for a smaller budget"
    found = re.search(figures, note.reason)
    assert found is not None, note.reason
    assert 0.99 * BUDGET[0] < float(found[1]) <= BUDGET[0]


async def test_what_one_run_has_spent_counts_for_the_next_and_leaves_no_room_for_a_third(
    memory_url: str, tmp_path: Path
) -> None:
    spec = private_spec(rounds=1, clients=1)
    told = []
    for _ in range(3):
        outcome, records = await play(memory_url, spec, [await site("ant", tmp_path, max_epsilon=11.5, delta=1e-3)])
        told.append((outcome, of_kind(records, ClientsReady)[0]))

    (first, first_ready), (second, second_ready), (third, third_ready) = told
    assert first.status is second.status is Status.FINISHED
    spent = [dict(ready.terms)["ant"].spent_epsilon for ready in (first_ready, second_ready)]
    sigma = dict(first_ready.terms)["ant"].noise_multiplier
    assert spent == pytest.approx([0.0, opacus_epsilon(sigma, steps=STEPS)])
    assert third.status is Status.FAILED
    assert "the site's cap is 11.5" in third_ready.failed[0].reason
    lines = Ledger(tmp_path / "ant" / "ledger.jsonl").lines()
    assert len(lines) == 2
    both = epsilons(lines)[-1]
    assert both == pytest.approx(opacus_epsilon(sigma, steps=2 * STEPS))
    assert both < 2 * spent[1], "it is composed, not added up"


async def test_a_site_for_private_runs_only_takes_part_in_no_other(memory_url: str) -> None:
    sites = [await site("ant"), await site("bee", required=True)]

    outcome, records = await play(memory_url, make_spec(register=EITHER), sites)

    assert outcome.status is Status.FINISHED
    (note,) = of_kind(records, ClientsReady)[0].failed
    assert (note.client, note.reason) == (
        "bee",
        "this site takes part in private runs only, and this one has no `privacy`",
    )


async def test_a_site_whose_ledger_cannot_be_trusted_says_so_and_trains_nothing(
    memory_url: str, tmp_path: Path
) -> None:
    # Given a line that nobody wrote
    there = await site("bee", tmp_path)
    (tmp_path / "bee" / "ledger.jsonl").write_bytes(b'{"epsilon":0.0}\n')

    # When
    outcome, records = await play(memory_url, private_spec(register=EITHER), [await site("ant"), there])

    # Then
    assert outcome.status is Status.FINISHED
    (note,) = of_kind(records, ClientsReady)[0].failed
    assert note.client == "bee"
    assert "ledger.jsonl: line 1 is not what was written" in note.reason
    assert (tmp_path / "bee" / "ledger.jsonl").read_bytes() == b'{"epsilon":0.0}\n'


# ---- what is spent ---------------------------------------------------------------------------------------------------


async def test_every_round_is_in_the_ledger_and_all_of_them_keep_to_the_budget(memory_url: str, tmp_path: Path) -> None:
    outcome, records = await play(memory_url, private_spec(clients=2), [await site(n, tmp_path) for n in NAMES[:2]])

    assert outcome.status is Status.FINISHED, outcome.reason
    terms = dict(of_kind(records, ClientsReady)[0].terms)
    for name in NAMES[:2]:
        lines = Ledger(tmp_path / name / "ledger.jsonl").lines()
        assert [line.entry.round_ for line in lines] == [1, 2, 3]
        assert {line.entry.paid.steps for line in lines} == {STEPS}
        sigma = terms[name].noise_multiplier
        assert epsilons(lines) == pytest.approx([opacus_epsilon(sigma, steps=n * STEPS) for n in (1, 2, 3)])
        assert epsilons(lines)[-1] <= BUDGET[0]


async def test_how_many_samples_batches_had_by_chance_stays_at_the_site(memory_url: str) -> None:
    _, records = await play(memory_url, private_spec(rounds=2), [await site(name) for name in NAMES])

    commits = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
    assert {part.n_samples for one in commits for part in one.participants} == {STEPS * B}


async def test_no_seed_of_a_run_says_which_noise_a_site_adds(memory_url: str) -> None:
    outcomes = [(await play(memory_url, private_spec(clients=1), [await site("ant")]))[0] for _ in range(2)]

    first, second = (outcome.weights for outcome in outcomes)
    assert first is not None
    assert second is not None
    assert not np.any(first.flat == second.flat)


# ---- what a site keeps to itself -------------------------------------------------------------------------------------


async def test_losses_that_a_site_keeps_are_missing_and_those_of_others_count(memory_url: str) -> None:
    sites = [await site("ant"), await site("bee", share_loss=False)]

    _, records = await play(memory_url, private_spec(rounds=1, clients=2), sites)

    (evaluation,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.EVALUATE]
    losses = {part.client: part.loss for part in evaluation.participants}
    assert evaluation.loss == losses["ant"]
    assert losses["bee"] is not None
    assert np.isnan(losses["bee"])
    assert "losses on its validation data" not in dict(of_kind(records, ClientsReady)[0].terms)["bee"].unprotected


async def test_a_number_of_samples_may_be_told_in_the_place_of_the_true_one(memory_url: str) -> None:
    sites = [await site("ant"), await site("bee", n_samples=1000)]

    outcome, records = await play(memory_url, private_spec(rounds=1, clients=2), sites)

    assert outcome.status is Status.FINISHED, outcome.reason
    (evaluation,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.EVALUATE]
    ant, bee = evaluation.participants
    assert (ant.n_samples, bee.n_samples) == (N, 1000)
    assert evaluation.loss == pytest.approx((N * ant.loss + 1000 * bee.loss) / (N + 1000))
    assert "how many samples it has" not in dict(of_kind(records, ClientsReady)[0].terms)["bee"].unprotected


async def test_no_remainder_of_an_epoch_tells_a_number_of_samples_that_is_kept(memory_url: str) -> None:
    training = {"batch_size": 30, "drop_remainder": False}
    sites = [await site("ant"), await site("bee", n_samples=1000)]

    _, records = await play(memory_url, make_spec(rounds=1, clients=2, training=training), sites)

    (trained,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
    assert [part.n_samples for part in trained.participants] == [N, 60]


# ---- those who do not keep to it -------------------------------------------------------------------------------------


async def test_who_has_spent_its_budget_is_left_out_and_not_asked_again(memory_url: str) -> None:
    ant, bee = Private("ant", set()), Private("bee", {2})
    async with Parties(memory_url) as parties:
        submission = await parties.submit(private_spec(rounds=4, clients=2, evaluate=False), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)

    assert outcome.status is Status.FINISHED
    assert [one.participants for one in of_kind(records, RoundOpened)] == [
        ("ant", "bee"),
        ("ant", "bee"),
        ("ant",),
        ("ant",),
    ]
    dropped = of_kind(records, RoundCommitted)[1].dropped
    assert [(note.client, note.reason, note.cause) for note in dropped] == [
        ("bee", "the budget is spent", Cause.REFUSED)
    ]


async def test_nobody_trains_in_a_private_run_who_has_only_built_the_model(memory_url: str) -> None:
    """An older release does not know the question, and would train without noise."""

    class Older(Private):
        async def _reply(self, body: Body) -> Body | None:
            if isinstance(body, InitRequest):
                return InitReply()
            return None if isinstance(body, PrivacyRequest) else await super()._reply(body)

    ant, bee = Private("ant", set()), Older("bee", set())
    async with Parties(memory_url) as parties:
        submission = await parties.submit(private_spec(rounds=1, register=EITHER, evaluate=False, deadline=2), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        (ready,) = of_kind(await parties.records(submission), ClientsReady)

    assert outcome.status is Status.FINISHED
    assert (ready.clients, [note.client for note in ready.failed]) == (("ant",), ["bee"])
    assert not bee.heard_of(TrainRequest)


def without_noise(reply: PrivacyReply) -> None:
    reply.noise_multiplier = 0.0


def of_no_number(reply: PrivacyReply) -> None:
    reply.noise_multiplier = math.nan


def of_metrics_without_noise(reply: PrivacyReply) -> None:
    reply.metric_noise = 0.0


def with_negative_spending(reply: PrivacyReply) -> None:
    reply.spent_epsilon = -1.0


def without_end(reply: PrivacyReply) -> None:
    reply.unprotected.extend(["loss"] * 1000)


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        (without_noise, "noise_multiplier is 0.0"),
        (of_no_number, "noise_multiplier is nan"),
        (of_metrics_without_noise, "metric_noise is 0.0"),
        (with_negative_spending, "spent_epsilon is -1.0"),
        (without_end, "1000 unprotected"),
    ],
)
async def test_terms_that_no_site_has_leave_their_client_out_in_words(
    memory_url: str, lie: Callable[[PrivacyReply], None], named: str
) -> None:
    ant, bee = Private("ant", set()), Private("bee", set(), lie)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(private_spec(rounds=1, register=EITHER, evaluate=False), START)
        parties.worker()
        for puppet in (ant, bee):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        (ready,) = of_kind(await parties.records(submission), ClientsReady)

    assert outcome.status is Status.FINISHED
    ((name, reason),) = [(note.client, note.reason) for note in ready.failed]
    assert name == "bee"
    assert named in reason
    assert not bee.heard_of(TrainRequest)


async def test_words_of_a_client_have_an_end_and_nothing_that_a_terminal_obeys(memory_url: str) -> None:
    def warn(reply: PrivacyReply) -> None:
        reply.warnings.extend(["\x1b[2Jgone", "a" * 10_000])

    ant = Private("ant", set(), warn)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(private_spec(rounds=1, clients=1, evaluate=False), START)
        parties.worker()
        parties.puppet(ant, submission.run)
        await parties.outcome(submission)
        (ready,) = of_kind(await parties.records(submission), ClientsReady)

    ((_, terms),) = ready.terms
    assert terms.warnings == ("\N{REPLACEMENT CHARACTER}[2Jgone", "a" * 2000 + " ... (10000 characters in all)")


# ---- simulations -----------------------------------------------------------------------------------------------------


def test_a_simulation_is_private_likewise_and_with_a_seed_it_can_be_repeated() -> None:
    clients = [VirtualClient(name, regression(number, N)) for number, name in enumerate(NAMES)]
    plain = simulate(make_spec(), clients)
    first, second = (simulate(private_spec(), clients) for _ in range(2))

    assert first.status is Status.FINISHED, first.reason
    assert first.weights is not None
    assert second.weights is not None
    assert plain.weights is not None
    assert np.array_equal(first.weights.flat, second.weights.flat)
    assert not np.any(first.weights.flat == plain.weights.flat)
