"""Weights that travel compressed: clients train from what the codec makes of them, and the run's own stay exact."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pytest

from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates
from fl.core.aggregator.blocks import fold_in_blocks
from fl.core.compression import Compression, Uncompressed
from fl.core.data_info import combine
from fl.core.device import DevicePolicy
from fl.core.vector import NumpyVector
from fl.main.outcome import Outcome
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.events import Kind, LeaderStarted, Parcel, Record, RoundClosed, RoundCommitted, RunInitialised
from fl.run.spec import RunSpec, compression_of
from fl.server.fold import aggregator_of
from fl.server.shelf import Shelf
from fl.wire.bulk import Announce, tell_nobody
from fl.wire.messages_pb2 import DataInfo, EvaluateRequest, StopRequest, TrainReply, TrainRequest
from fl.wire.tensors import enclosed, read_inline
from tests.integration.parties import Parties, stored
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind, regression, run_here, sites_of, until
from tests.small_blocks import small_blocks

METHODS: Final[dict[str, Any]] = {
    "bf16": "bf16",
    "fp16": "fp16",
    "int8": "int8",
    "int8 in small blocks": {"name": "int8", "block": 8},
    "topk": {"name": "topk", "share": 0.3},
    "none": "none",
}
SIZES: Final = {"inside messages": N_FEATURES, "in streams": 300_000}
"""Features of float64, of which an eighth of the bytes are still more than a message may have."""


def start_of(n_features: int, value: float = 0.01) -> NumpyVector:
    """Of values that no half precision has."""
    return NumpyVector.from_arrays({"coef": np.full((1, n_features), value), "intercept": np.zeros(1)})


def data_of(n_features: int) -> Mapping[str, Data]:
    return {name: regression(seed, n=4, n_features=n_features) for seed, name in enumerate(("ant", "bee"))}


def spec_of(compression: Any, *, rounds: int = 3, rate: float = 0.05, **changes: Any) -> RunSpec:
    changes = {"clients": 2, "evaluate": False, "training": {"batch_size": 2}, **changes}
    table = make_spec(rounds=rounds, compression=compression, **changes).model_dump(by_alias=True)
    return RunSpec.parse({**table, "optim": {"client_opt": rate}}, "test")


def rounded(weights: NumpyVector, compression: Compression) -> NumpyVector:
    """What a client gets."""
    return compression.decode(weights.layout, compression.encode(weights))


def by_hand(
    spec: RunSpec,
    data: Mapping[str, Data],
    start: NumpyVector,
    *,
    down: Callable[[NumpyVector], NumpyVector],
) -> NumpyVector:
    """FedAvg written out: clients train from `down` of the weights, and what they send is taken off the weights."""
    up, weights = compression_of(spec), start
    shared = Shared(combine({name: one.train.get_data_specs() for name, one in data.items()}), start.layout)
    learners = {name: learner_of(name, spec, shared, one) for name, one in data.items()}
    for round_ in range(1, spec.run.rounds + 1):
        fold, received = fold_in_blocks(aggregator_of(spec), weights.layout, data), down(weights)
        for name, learner in sorted(learners.items()):
            trained = learner.train(round_, received, counted=round_ - 1)
            payload = trained.payload
            update = trained.update if payload is None else up.decode(weights.layout, payload)
            fold.add(update, client=name, n_steps=trained.result.n_steps, n_samples=trained.result.n_samples)
        mean = fold.finish()
        assert mean is not None
        weights = weights - mean
    return weights


def learner_of(name: str, spec: RunSpec, shared: Shared, data: Data) -> Learner:
    device, seed = DevicePolicy(gpu=False), shared_seed(spec.run.seed or 0, name)
    return Learner(spec, shared, data, seed=seed, run="", device=device, states=RecalledStates())


def down_of(method: str) -> Compression:
    """How weights are to travel, by what the documents say of each method."""
    return Uncompressed() if method in {"topk", "none"} else compression_of(spec_of(METHODS[method]))


# ---- what a run comes to ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
async def test_clients_train_from_rounded_weights_and_the_run_goes_on_from_exact_ones(
    memory_url: str, method: str, size: str
) -> None:
    # Given
    n_features = SIZES[size]
    data, start = data_of(n_features), start_of(n_features)
    spec = spec_of(METHODS[method], rate=0.05 if n_features == N_FEATURES else 1e-6)

    # When
    outcome, _ = await run_here(memory_url, spec, data, weights=start)

    # Then, bit for bit
    assert outcome.weights == by_hand(spec, data, start, down=lambda weights: rounded(weights, down_of(method)))


@pytest.mark.parametrize("method", ["bf16", "int8"])
async def test_what_is_evaluated_is_what_was_sent(memory_url: str, method: str) -> None:
    # Given a client alone
    data, start = {"ant": regression(0)}, start_of(N_FEATURES)
    spec = spec_of(METHODS[method], rounds=1, clients=1, evaluate=True)

    # When
    outcome, records = await run_here(memory_url, spec, data, weights=start)

    # Then
    assert outcome.weights is not None
    shared = Shared(data["ant"].train.get_data_specs(), start.layout)
    judged = learner_of("ant", spec, shared, data["ant"]).evaluate(rounded(outcome.weights, down_of(method)))
    (committed,) = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.EVALUATE]
    assert committed.loss == judged.loss_sum / judged.weight_sum


@pytest.mark.parametrize("method", ["bf16", "topk"])
async def test_weights_have_the_same_bits_over_both_brokers(memory_url: str, rabbit_url: str, method: str) -> None:
    n_features = SIZES["in streams"]
    data, start, spec = data_of(n_features), start_of(n_features), spec_of(METHODS[method], rounds=2, rate=1e-6)

    here, _ = await run_here(memory_url, spec, data, weights=start)
    there, _ = await run_here(rabbit_url, spec, data, weights=start)

    assert here.weights == there.weights


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
async def test_a_simulation_comes_to_the_same_bits(memory_url: str, method: str, size: str) -> None:
    # Given
    n_features = SIZES[size]
    data, start = data_of(n_features), start_of(n_features)
    spec = spec_of(METHODS[method], rate=0.05 if n_features == N_FEATURES else 1e-6, evaluate=True)

    # When
    embedded, logged = await run_here(memory_url, spec, data, weights=start)
    simulated, records = simulate_here(spec, data, start)

    # Then
    assert simulated.weights == embedded.weights
    assert simulated.history.table() == embedded.history.table()
    assert digests(records) == digests(logged)


def simulate_here(spec: RunSpec, data: Mapping[str, Data], weights: NumpyVector) -> tuple[Outcome, list[Record]]:
    records: list[Record] = []
    clients = [VirtualClient(name, one) for name, one in data.items()]
    outcome = simulate(spec, clients, weights=weights, on_event=lambda happened: records.append(happened.record))
    return outcome, records


def digests(records: list[Record]) -> list[tuple[bytes | None, bytes | None]]:
    """Of the weights of each round, and of those that clients get."""
    kept = [one for one in records if isinstance(one, RunInitialised | RoundCommitted)]
    return [(digest_of(one.weights), digest_of(one.sent_weights)) for one in kept]


def digest_of(parcel: Parcel | None) -> bytes | None:
    return None if parcel is None else parcel.digest


async def test_workers_that_share_the_sum_come_to_the_same_bits(memory_url: str) -> None:
    data = {name: regression(seed) for seed, name in enumerate(("ant", "bee", "cat", "dog", "elk"))}
    spec, start = spec_of("bf16", clients=5, shards=2, training={"batch_size": 8}), start_of(N_FEATURES)

    with small_blocks():
        shared, records = await run_here(memory_url, spec, data, weights=start)
        expected = by_hand(spec, data, start, down=lambda weights: rounded(weights, down_of("bf16")))

    assert len(of_kind(records, RoundClosed)) == 3
    assert shared.weights == expected


# ---- what travels ----------------------------------------------------------------------------------------------------


def as_agreed(reply: TrainReply) -> None:
    """A puppet's update, in bf16."""
    codec, update = compression_of(spec_of("bf16")), read_inline(reply.update)
    reply.update.CopyFrom(enclosed(update.layout, codec.encode(update), "bf16"))


def halved(n_features: int) -> Puppet:
    info = DataInfo(n_samples=10, n_features=n_features, input_shape=[0, n_features])
    return Puppet("ant", info=info, weights=start_of(n_features), lie=as_agreed)


async def heard_in_a_run(memory_url: str, n_features: int) -> tuple[Puppet, Outcome]:
    """One client, in a run whose weights go to it in bf16."""
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec_of("bf16", rounds=2, clients=1, evaluate=True), start_of(n_features))
        puppet = halved(n_features)
        parties.worker()
        parties.puppet(puppet, submission.run)
        outcome = await parties.outcome(submission)
        await until(lambda: bool(puppet.heard_of(StopRequest)))
        return puppet, outcome


async def test_each_request_has_a_quarter_of_the_bytes_of_float64(memory_url: str) -> None:
    n_features = SIZES["in streams"]

    puppet, _ = await heard_in_a_run(memory_url, n_features)

    requests: list[TrainRequest | EvaluateRequest] = [
        *puppet.heard_of(TrainRequest),
        *puppet.heard_of(EvaluateRequest),
    ]
    sizes = {one.weights.ref.bytes for one in requests}
    assert len(requests) == 4
    assert sizes == {start_of(n_features).layout.nbytes // 4}


async def test_what_clients_are_sent_at_the_end_is_exact(memory_url: str) -> None:
    puppet, outcome = await heard_in_a_run(memory_url, N_FEATURES)

    (stop,) = puppet.heard_of(StopRequest)
    assert read_inline(stop.weights) == outcome.weights


async def test_with_topk_weights_travel_as_they_are(memory_url: str) -> None:
    _, records = await run_here(memory_url, spec_of("topk"), data_of(N_FEATURES), weights=start_of(N_FEATURES))

    assert [sent for _, sent in digests(records)] == [None] * 4


async def test_nothing_is_left_of_what_was_sent(memory_url: str) -> None:
    n_features = SIZES["in streams"]
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec_of("bf16", rate=1e-6), start_of(n_features))
        parties.worker()
        for site in await sites_of(data_of(n_features)):
            parties.daemon(site)
        await parties.outcome(submission)
        await parties.until_closed(submission)
        left = stored(memory_url)

    assert {name for name in left if name.startswith(f"fl.run.{submission.run}.c.")} == set()
    assert len([name for name in left if name.startswith(f"fl.run.{submission.run}.w.")]) == 1


# ---- what a compression cannot carry ---------------------------------------------------------------------------------


async def test_weights_beyond_the_range_travel_as_they_are_and_the_history_says_so(memory_url: str) -> None:
    # Given
    data, start, spec = data_of(N_FEATURES), start_of(N_FEATURES, value=1e6), spec_of("fp16", rounds=1, rate=1e-4)

    # When
    outcome, records = await run_here(memory_url, spec, data, weights=start)

    # Then
    (committed,) = of_kind(records, RoundCommitted)
    assert outcome.weights == by_hand(spec, data, start, down=lambda weights: weights)
    assert committed.note == (
        "weights travel uncompressed: tensor 'coef' has values beyond 65504, the largest that fp16 carries"
    )


async def test_a_simulation_sends_weights_beyond_the_range_as_they_are(memory_url: str) -> None:
    data, start, spec = data_of(N_FEATURES), start_of(N_FEATURES, value=1e6), spec_of("fp16", rate=1e-4)

    embedded, logged = await run_here(memory_url, spec, data, weights=start)
    simulated, records = simulate_here(spec, data, start)

    assert simulated.weights == embedded.weights
    assert [one.note for one in of_kind(records, RoundCommitted)] == [
        one.note for one in of_kind(logged, RoundCommitted)
    ]


# ---- leaders that go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", [0, 1])
@pytest.mark.parametrize("when", ["between the two", "before the record"])
async def test_a_leader_that_goes_while_both_copies_are_written_changes_no_bit_and_leaves_nothing(
    memory_url: str, when: str, round_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given what the run comes to where nothing happens
    n_features = SIZES["in streams"]
    data, start, spec = data_of(n_features), start_of(n_features), spec_of("bf16", rounds=2, rate=1e-6)
    calm, _ = await run_here(memory_url + "-calm", spec, data, weights=start)

    # When
    put_sent, gone = Shelf.put_sent, list[int]()

    async def go_once(
        shelf: Shelf, weights: NumpyVector, at: int, compression: Compression, *, announce: Announce = tell_nobody
    ) -> Parcel:
        is_due = at == round_ and not gone
        if is_due and when == "between the two":
            gone.append(at)
            parties.cut("worker")
        sent = await put_sent(shelf, weights, at, compression, announce=announce)
        if is_due and when == "before the record":
            gone.append(at)
            parties.cut("worker")
        return sent

    monkeypatch.setattr(Shelf, "put_sent", go_once)
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, start)
        parties.worker()
        for site in await sites_of(data):
            parties.daemon(site)
        outcome = await parties.outcome(submission)
        records = await parties.records(submission)
        await parties.until_closed(submission)
        left = stored(memory_url)

    # Then
    assert len(of_kind(records, LeaderStarted)) == 2
    assert outcome.weights == calm.weights
    assert len([name for name in left if name.startswith(f"fl.run.{submission.run}.")]) == 2  # log and final weights
