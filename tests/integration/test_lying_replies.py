"""Replies that lie: none of them enters the sum, and each is named where it is left out."""

from collections.abc import Callable

import numpy as np
import pytest

from broker import topology
from fl.core.vector import NumpyVector
from fl.run.events import Kind, RoundCommitted, Status
from fl.wire.messages_pb2 import (
    DataInfo,
    EvaluateReply,
    TrainReply,
)
from fl.wire.tensors import digest, inline
from fl.wire.tensors_pb2 import BlobRef, Tensors
from tests.integration.parties import Parties, stored
from tests.integration.world import (
    N_FEATURES,
    Puppet,
    make_spec,
    of_kind,
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


@pytest.mark.parametrize(
    ("client", "leader"), [("ant", None), ("liar", "never-led")], ids=["another client's", "made by no leader"]
)
async def test_an_update_said_to_be_in_a_stream_that_is_not_for_it_is_named(
    memory_url: str, client: str, leader: str | None
) -> None:
    size = 50_000
    start = NumpyVector.from_arrays({"coef": np.full((1, size), 0.5), "intercept": np.ones(1)})
    info = DataInfo(n_samples=10, n_features=size, input_shape=[0, size])
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=2), start)
        parties.worker()

        def swapped(reply: TrainReply) -> None:
            other = topology.Room(submission.run, reply.round, client, leader or liar.leader).stream
            tensors = reply.update
            ref = BlobRef(stream=other, bytes=len(tensors.inline), chunks=1, sha256=tensors.digest)
            tensors.CopyFrom(Tensors(layout=tensors.layout, digest=tensors.digest, ref=ref))

        parties.puppet(Puppet("ant", weights=start, info=info), submission.run)
        liar = Puppet("liar", weights=start, info=info, lie=swapped)
        parties.puppet(liar, submission.run)
        outcome = await parties.outcome(submission)
        commits = of_kind(await parties.records(submission), RoundCommitted)

    assert outcome.weights is not None
    np.testing.assert_allclose(outcome.weights.flat, start.flat * 0.9)
    assert [note.client for note in commits[0].dropped] == ["liar"]
    assert "not the stream for it" in commits[0].dropped[0].reason
