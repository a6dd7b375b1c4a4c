"""Updates that travel compressed: fewer bytes, what the codec makes of them in the sum, and nothing else differs."""

from typing import Any

import numpy as np
import pytest

from broker import topology
from broker.base import Binding, Queue
from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from fl.run.events import RoundCommitted, Status
from fl.run.spec import RunSpec, compression_of, weights_compression_of
from tests.integration.parties import Parties
from tests.integration.world import N_FEATURES, Puppet, make_spec, of_kind, regression, run_here, sites_of

METHODS = {
    "bf16": "bf16",
    "fp16": "fp16",
    "int8": "int8",
    "int8 in small blocks": {"name": "int8", "block": 8},
    "topk": {"name": "topk", "share": 0.3},
}
SIZES = {"inside messages": N_FEATURES, "in streams": 300_000}
"""Features of float64, of which an eighth of the bytes are still more than a message may have."""


def start_of(n_features: int) -> NumpyVector:
    return NumpyVector.from_arrays({"coef": np.full((1, n_features), 0.01), "intercept": np.zeros(1)})


def spec_with(compression: Any, **changes: Any) -> RunSpec:
    return make_spec(compression=compression, evaluate=False, **changes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
async def test_what_is_taken_off_the_weights_is_what_the_codec_makes_of_the_update(
    memory_url: str, method: str, size: str
) -> None:
    # Given a client alone, and what it comes to in one round where nothing is compressed, from the weights that it gets
    n_features = SIZES[size]
    data, start = {"ant": regression(0, n=2, n_features=n_features)}, start_of(n_features)
    options = {"rounds": 1, "clients": 1, "training": {"batch_size": 2}}
    spec = spec_with(METHODS[method], **options)
    codec, down = compression_of(spec), weights_compression_of(spec)
    received = down.decode(start.layout, down.encode(start))
    plain, _ = await run_here(memory_url + "-plain", spec_with("none", **options), data, weights=received)
    assert plain.weights is not None

    # When
    outcome, _ = await run_here(memory_url, spec, data, weights=start)

    # Then
    expected = start - codec.decode(start.layout, codec.encode(received - plain.weights))
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, expected.flat, rtol=1e-12)
    assert not np.array_equal(outcome.weights.flat, plain.weights.flat)


async def test_what_was_left_out_of_one_update_goes_with_the_next(memory_url: str) -> None:
    # Given a client alone that may send one number of seven a round
    data, start = {"ant": regression(0)}, start_of(N_FEATURES)

    def spec(compression: Any) -> RunSpec:
        return spec_with(compression, rounds=60, clients=1)

    plain, _ = await run_here(memory_url + "-plain", spec("none"), data, weights=start)
    outcome, _ = await run_here(memory_url, spec({"name": "topk", "share": 1 / 7}), data, weights=start)

    # Then it comes as far as one that may send all of them
    assert plain.weights is not None
    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, plain.weights.flat, atol=1e-3)


@pytest.mark.parametrize("method", ["bf16", "topk"])
async def test_a_compressed_run_has_the_same_bits_over_both_brokers(
    memory_url: str, rabbit_url: str, method: str
) -> None:
    data = {name: regression(seed, n=2, n_features=SIZES["in streams"]) for seed, name in enumerate(("ant", "bee"))}
    spec, start = spec_with(METHODS[method], rounds=2, clients=2), start_of(SIZES["in streams"])

    here, _ = await run_here(memory_url, spec, data, weights=start)
    there, _ = await run_here(rabbit_url, spec, data, weights=start)

    assert here.weights == there.weights


async def test_fewer_bytes_travel(memory_url: str) -> None:
    (ant,) = await sites_of({"ant": regression(0, n=2, n_features=SIZES["in streams"])})
    start = start_of(SIZES["in streams"])
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec_with("int8", rounds=1, clients=1), start)
        chunks = Binding("chunks", topology.UP.name, f"{submission.run}.ant.u.#")
        await parties.owner.declare(Queue(chunks.queue), chunks)
        parties.worker()
        parties.daemon(ant)
        await parties.outcome(submission)
        sizes: list[int] = []
        async with await parties.owner.consume(chunks.queue, prefetch=1) as copies:
            while sum(sizes) < start.layout.nbytes // 8:
                sizes.append(len((await anext(copies)).message.body))

    assert start.layout.nbytes / 8 <= sum(sizes) < start.layout.nbytes / 7


async def test_a_client_that_does_not_compress_as_agreed_is_left_out_and_named(memory_url: str) -> None:
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec_with("bf16", rounds=1, clients=1, patience=0), start_of(N_FEATURES))
        parties.worker()
        parties.puppet(Puppet("ant", weights=start_of(N_FEATURES)), submission.run)
        outcome = await parties.outcome(submission)

    assert outcome.status is Status.FAILED
    assert "compression 'none', where 'bf16' was agreed on" in outcome.reason


@pytest.mark.parametrize(
    ("compression", "reason"),
    [
        ("bf17", "did you mean 'bf16'"),
        ({"name": "topk", "share": "much"}, "share"),
        ({"name": "topk", "share": 2.0}, "share"),
        ({"name": "int8", "blocks": 8}, "block"),
    ],
)
def test_a_compression_that_cannot_be_is_refused_where_it_is_written(compression: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        spec_with(compression)


def test_nothing_is_compressed_unless_it_is_asked_for() -> None:
    assert compression_of(make_spec()).name == "none"


async def test_rounds_of_a_compressed_run_say_who_took_part(memory_url: str) -> None:
    data = {name: regression(seed) for seed, name in enumerate(("ant", "bee"))}

    _, records = await run_here(memory_url, spec_with("topk", rounds=2, clients=2), data)

    assert [[one.client for one in commit.participants] for commit in of_kind(records, RoundCommitted)] == [
        ["ant", "bee"]
    ] * 2
