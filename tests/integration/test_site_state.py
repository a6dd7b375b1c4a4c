"""What a site keeps to itself from round to round: it survives the daemon, and goes by the rounds that counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.client.learner import Data, Learner, Shared, Trained
from fl.client.round_states import RecalledStates
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.mergeable import Sum
from fl.core.optimizer.aux import pack_aux
from fl.core.vector import NumpyVector
from fl.errors import ModelError
from fl.run.events import Kind, LeaderStarted, Record, RoundCommitted, Status
from fl.run.spec import RunSpec
from fl.wire.messages_pb2 import TrainReply, TrainRequest
from fl.wire.tensors import inline, read_inline
from tests.integration.parties import Parties
from tests.integration.site_files import site_in
from tests.integration.world import (
    N_FEATURES,
    Puppet,
    make_spec,
    of_kind,
    regression,
    run_here,
    samples,
    sites_of,
    until,
)

SCAFFOLD = {
    "client_opt": {"lrate": 0.05, "modules": ["scaffold-client"]},
    "server_opt": {"lrate": 1.0, "modules": ["scaffold-server"]},
}
MOMENTUM = {"client_opt": {"lrate": 0.05, "modules": ["momentum"]}}
ADAM = {"client_opt": {"lrate": 0.05, "modules": ["adam"]}}
PLAIN = {"client_opt": 0.05}
TOPK = {"name": "topk", "share": 0.3}
"""What is left out of an update is owed: state like any other."""

STATES = [
    pytest.param(SCAFFOLD, {}, id="scaffold"),
    pytest.param(MOMENTUM, {}, id="momentum"),
    pytest.param(ADAM, {}, id="adam"),
    pytest.param(PLAIN, {"compression": TOPK}, id="compression"),
]


def spec_with(optim: dict[str, Any], *, rounds: int = 5, clients: int = 2, **changes: Any) -> RunSpec:
    tables = make_spec(rounds=rounds, clients=clients, **changes).model_dump(by_alias=True)
    return RunSpec.parse({**tables, "optim": optim}, "test")


def _kept(folder: Path, run: str) -> list[Path]:
    return list(folder.glob(f"*/state/runs/{run}/*"))


def trained(round_: int) -> Callable[[Record], bool]:
    return lambda record: isinstance(record, RoundCommitted) and record.kind is Kind.TRAIN and record.round == round_


@pytest.mark.parametrize(
    ("optim", "changes"),
    [(SCAFFOLD, {}), (PLAIN, {"compression": TOPK})],
    ids=["what its optimizer keeps", "what compression has left out"],
)
async def test_a_daemon_started_again_in_mid_run_goes_on_with_its_state(
    tmp_path: Path, optim: dict[str, Any], changes: dict[str, Any]
) -> None:
    spec = spec_with(optim, **changes)
    # Given what an undisturbed run comes to
    async with Parties(f"memory://{tmp_path.name}-1") as parties:
        submission = await parties.submit(spec)
        parties.worker()
        for name in ("ant", "bee"):
            parties.daemon(await site_in(tmp_path, name))
        undisturbed = await parties.outcome(submission)

    # When one of the daemons is ended after the second round, and another takes its place
    async with Parties(f"memory://{tmp_path.name}-2") as parties:
        submission = await parties.submit(spec)
        parties.worker()
        for name in ("ant", "bee"):
            parties.daemon(await site_in(tmp_path, name))
        await parties.until_record(submission, trained(2))
        await parties.stop("bee")
        parties.daemon(await site_in(tmp_path, "bee"))
        disturbed = await parties.outcome(submission)
        # a run that is over leaves nothing at the sites
        await until(lambda: not _kept(tmp_path, submission.run))

    # Then no bit is different
    assert undisturbed.status is disturbed.status is Status.FINISHED
    assert disturbed.weights == undisturbed.weights


def learner_of(optim: dict[str, Any], **changes: Any) -> tuple[Learner, NumpyVector]:
    data = regression(3)
    start = NumpyVector.from_arrays({"coef": np.zeros((1, N_FEATURES)), "intercept": np.zeros(1)})
    learner = Learner(
        spec_with(optim, **changes),
        Shared(data.train.get_data_specs(), start.layout),
        data,
        seed=b"seed",
        run="run",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
    )
    return learner, start


def sent(trained: Trained) -> bytes:
    """What travels of a round's work."""
    return bytes(trained.update.pack() if trained.payload is None else trained.payload)


@pytest.mark.parametrize(("optim", "changes"), STATES)
def test_a_round_that_did_not_count_leaves_no_trace(optim: dict[str, Any], changes: dict[str, Any]) -> None:
    # Given a client whose second round came too late to count
    learner, start = learner_of(optim, **changes)
    learner.train(1, start, counted=0)
    learner.train(2, start, counted=1)
    # When it trains in the third
    late = learner.train(3, start, counted=1)
    # Then it does what it had done without the second
    other, _ = learner_of(optim, **changes)
    other.train(1, start, counted=0)
    assert sent(other.train(3, start, counted=1)) == sent(late)


@pytest.mark.parametrize(("optim", "changes"), STATES)
def test_a_round_that_failed_midway_leaves_no_trace(optim: dict[str, Any], changes: dict[str, Any]) -> None:
    # Given a client that fails in its second round, after it has taken steps
    learner, start = learner_of(optim, **changes)
    learner.train(1, start, counted=0)
    with pytest.raises(ModelError, match="round 2 diverged"):
        learner.train(2, start + 1e308, counted=1)
    # When it trains in the third
    after = learner.train(3, start, counted=1)
    # Then it does what it had done without the second
    other, _ = learner_of(optim, **changes)
    other.train(1, start, counted=0)
    assert sent(other.train(3, start, counted=1)) == sent(after)


def test_a_round_done_again_gives_the_same_bits_though_state_has_moved_on() -> None:
    learner, start = learner_of(SCAFFOLD)
    learner.train(1, start, counted=0)
    first = learner.train(2, start, counted=1)

    again = learner.train(2, start, counted=1)

    assert (again.update, again.aux) == (first.update, first.aux)


def test_a_schedule_by_rounds_goes_by_the_runs_rounds_for_a_client_that_is_asked_for_the_first_time_in_the_third() -> (
    None
):
    # Given a rate that halves from round to round, and a client that was not asked before
    schedule = {"name": "exponential", "base": 0.4, "rate": float(np.log(2)), "step_level": False}
    one_step = {"training": {"batch_size": 40, "n_epoch": 1}}
    scheduled, start = learner_of({"client_opt": {"lrate": schedule}}, **one_step)
    plain, _ = learner_of({"client_opt": 0.1}, **one_step)

    # When it is asked in the third
    update = scheduled.train(3, start, counted=0).update

    # Then its rate is a quarter of the first
    np.testing.assert_allclose(update.flat, plain.train(3, start, counted=0).update.flat, rtol=1e-12)


async def test_clients_hear_which_of_their_rounds_counted(memory_url: str) -> None:
    # Given two clients, of which one is kept from answering in the second round
    prompt, late = Puppet("prompt"), Puppet("late")
    late.withhold(2)
    spec = make_spec(rounds=3, clients=2, deadline=0.3, evaluate=False)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(
            spec, NumpyVector.from_arrays({"coef": np.ones((1, 6)), "intercept": np.ones(1)})
        )
        parties.worker()
        for puppet in (prompt, late):
            parties.puppet(puppet, submission.run)
        await parties.until_record(submission, trained(2))
        late.let_go(2)
        await parties.outcome(submission)

    # Then each request says after which round its own state goes on
    assert [request.counted for request in prompt.heard_of(TrainRequest)] == [0, 1, 2]
    assert [request.counted for request in late.heard_of(TrainRequest)] == [0, 1, 1]


@pytest.mark.parametrize("module", ["adam", "yogi", "momentum", "adagrad"])
async def test_another_worker_goes_on_with_the_state_of_the_servers_optimizer(memory_url: str, module: str) -> None:
    # Given a server that keeps moments and control variates
    optim = {**SCAFFOLD, "server_opt": {"lrate": 0.1, "modules": ["scaffold-server", module]}}
    spec = spec_with(optim, rounds=40)
    datasets = {"ant": regression(1), "bee": regression(2)}
    undisturbed, _ = await run_here(f"{memory_url}-undisturbed", spec, datasets)

    # When the worker that leads is ended after the second round
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec)
        parties.worker("first")
        for site in await sites_of(datasets):
            parties.daemon(site)
        await parties.until_record(submission, trained(1))
        parties.worker("second")
        await parties.until_record(submission, trained(2))
        await parties.stop("first")
        disturbed = await parties.outcome(submission)
        leaders = {one.worker for one in of_kind(await parties.records(submission), LeaderStarted)}

    # Then another one led, and no bit is different
    assert leaders == {"first", "second"}
    assert disturbed.weights == undisturbed.weights


# ---- what optimizers tell each other --------------------------------------------------------------------------------


async def test_scaffold_finds_the_optimum_of_all_where_averaging_stops_beside_it(memory_url: str) -> None:
    # Given clients whose data ask for different weights, several steps a round, and the least squares of all
    drawn = {name: samples(seed, 20 * seed) for seed, name in enumerate(("ant", "bee", "cat"), start=1)}
    shifted = {name: (x, y + 3.0 * place) for place, (name, (x, y)) in enumerate(drawn.items())}
    datasets = {name: Data(InMemoryDataset(x, y)) for name, (x, y) in shifted.items()}
    optimum = _least_squares(list(shifted.values()))
    training = {"batch_size": 100, "n_steps": 5, "n_epoch": None, "drop_remainder": False}

    async def error(optim: dict[str, Any]) -> float:
        spec = spec_with(optim, rounds=120, clients=3, evaluate=False, training=training)
        outcome, _ = await run_here(memory_url, spec, datasets)
        assert outcome.weights is not None
        return float(np.abs(outcome.weights.flat - optimum).max())

    rates = {"client_opt": {"lrate": 0.1, "modules": ["scaffold-client"]}, "server_opt": SCAFFOLD["server_opt"]}
    assert await error({"client_opt": 0.1}) > 1e-2
    assert await error(rates) < 1e-4


def _least_squares(data: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The minimum of the mean over clients of their mean squared errors."""
    rows = [np.column_stack([x, np.ones(len(x))]) / np.sqrt(len(x)) for x, _ in data]
    targets = [y / np.sqrt(len(y)) for _, y in data]
    return np.asarray(np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0])


def telling(aux: dict[str, Sum]) -> Callable[[TrainReply], None]:
    def lie(reply: TrainReply) -> None:
        packed = pack_aux(aux)
        assert packed is not None
        reply.aux.CopyFrom(inline(packed))

    return lie


def not_packed(reply: TrainReply) -> None:
    reply.aux.CopyFrom(reply.update)


def nested_nonsense(reply: TrainReply) -> None:
    text = np.frombuffer(b'{"scaffold": {"delta": {"$vector": [["w"]]}, "clients": 1.0}}', np.uint8)
    reply.aux.CopyFrom(inline(NumpyVector.from_arrays({"state.json": text})))


def of_delta(value: float, n_features: int = N_FEATURES, **fields: Any) -> Sum:
    arrays = {"coef": np.full((1, n_features), value), "intercept": np.zeros(1)}
    return Sum({"delta": NumpyVector.from_arrays(arrays), "clients": 1.0, **fields})


LIES: dict[str, Callable[[TrainReply], None]] = {
    "no packed state": not_packed,
    "nested nonsense": nested_nonsense,
    "a module that nobody has": telling({"rumour": of_delta(0.0)}),
    "another layout": telling({"scaffold": of_delta(0.0, N_FEATURES + 1)}),
    "not a number": telling({"scaffold": of_delta(np.nan)}),
    "a field too many": telling({"scaffold": of_delta(0.0, more=1.0)}),
    "endless clients": telling({"scaffold": of_delta(0.0, clients=np.inf)}),
    "fewer clients than none": telling({"scaffold": of_delta(0.0, clients=-1.0)}),
}


@pytest.mark.parametrize("name", LIES)
async def test_what_an_optimizer_tells_falsely_is_named_and_left_out(memory_url: str, name: str) -> None:
    start = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.5), "intercept": np.ones(1)})
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec_with(SCAFFOLD, rounds=2), start)
        parties.worker()
        honest = Puppet("ant", lie=telling({"scaffold": of_delta(0.25)}))
        for puppet in (honest, Puppet("liar", lie=LIES[name])):
            parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        commits = [one for one in of_kind(await parties.records(submission), RoundCommitted) if one.kind is Kind.TRAIN]

    assert outcome.status is Status.FINISHED
    assert [[part.client for part in commit.participants] for commit in commits] == [["ant"], ["ant"]]
    ((client, reason),) = [(note.client, note.reason) for note in commits[0].dropped]
    assert client == "liar"
    assert "what its optimizer sent is not usable" in reason
    second = honest.heard_of(TrainRequest)[1]
    assert 0.25 in read_inline(second.aux).flat


async def test_what_optimizers_tell_in_bulk_goes_through_streams_and_leaves_none_behind(broker_url: str) -> None:
    # Given a model too big for messages
    datasets = {name: regression(seed, n_features=40_000, n=6) for seed, name in enumerate(("ant", "bee"))}
    spec = spec_with(SCAFFOLD, rounds=3, evaluate=False)

    outcome, records = await run_here(broker_url, spec, datasets)

    # Then each round's corrections came and went, and the run is what one of the same seed is again
    assert outcome.status is Status.FINISHED
    assert all(commit.aux is not None for commit in of_kind(records, RoundCommitted))
    again, _ = await run_here(broker_url, spec, datasets)
    assert again.weights == outcome.weights
