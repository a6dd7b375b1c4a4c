"""Compressed weights at a trainer's desk: decoded in memory that is used again, and refused in words."""

from collections.abc import Callable

import numpy as np
import pytest

from broker.blob import BlobRef
from fl.client.config import DeviceConfig
from fl.client.desk import Desk
from fl.client.setup import new_setup
from fl.core.compression import Compression
from fl.core.vector import NumpyVector
from fl.run.spec import compression_of
from fl.wire.messages_pb2 import EvaluateRequest, InitRequest, TrainRequest
from fl.wire.tensors import digest, enclosed, inline, referring, specs
from fl.wire.tensors_pb2 import Tensors
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall
from tests.integration.world import N_FEATURES, make_spec, regression

WEIGHTS = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.1), "intercept": np.ones(1)})
SPEC = make_spec(compression="int8")
INT8: Compression = compression_of(SPEC)


@pytest.fixture
def desk() -> Desk:
    """In a run whose updates and weights travel in int8."""
    made = Desk(regression(0))
    setup = new_setup("ant", None, None, device=DeviceConfig(gpu=False), share_metrics=True)
    info = made.answer(TrainerCall(setup=setup)).data_info
    request = InitRequest(spec_json=SPEC.to_json(), data_info=info, layout=specs(WEIGHTS.layout))
    assert made.answer(TrainerCall(init=request)).WhichOneof("answer") == "init"
    return made


def rounded() -> NumpyVector:
    return INT8.decode(WEIGHTS.layout, INT8.encode(WEIGHTS))


def train(weights: Tensors) -> TrainerCall:
    return TrainerCall(train=TrainRequest(round=1, weights=weights))


def evaluate(weights: Tensors) -> TrainerCall:
    return TrainerCall(evaluate=EvaluateRequest(round=1, weights=weights))


def sent() -> Tensors:
    return enclosed(WEIGHTS.layout, INT8.encode(WEIGHTS), "int8")


def in_memory(desk: Desk, call: Callable[[Tensors], TrainerCall]) -> TrainerAnswer:
    """What it answers where the weights are in memory, as those from a stream."""
    payload = INT8.encode(WEIGHTS)
    made = call(referring(WEIGHTS.layout, BlobRef("w", len(payload), 1, digest(payload)), "int8"))
    span = desk.memory.reserve(len(payload))
    desk.memory.view(span)[:] = payload
    made.spans["weights"].CopyFrom(span)
    return desk.answer(made)


def test_a_site_trains_from_what_the_bytes_stand_for(desk: Desk) -> None:
    compressed, plain = desk.answer(train(sent())), desk.answer(train(inline(rounded())))

    assert compressed.train.update == plain.train.update
    assert compressed.train.weights_digest == sent().digest


def test_weights_in_memory_are_those_in_a_message(desk: Desk) -> None:
    assert in_memory(desk, train).train.update == desk.answer(train(sent())).train.update


def test_a_round_that_comes_again_has_the_same_bits(desk: Desk) -> None:
    first = desk.answer(train(sent())).train.update
    in_memory(desk, evaluate)

    assert desk.answer(train(sent())).train.update == first


def test_a_site_evaluates_what_the_bytes_stand_for(desk: Desk) -> None:
    plain = desk.answer(evaluate(inline(rounded()))).evaluate
    assert in_memory(desk, evaluate).evaluate.loss_sum == plain.loss_sum


def cut_short(weights: Tensors) -> None:
    weights.inline = weights.inline[:-1]
    weights.digest = digest(weights.inline)


def of_no_scale(weights: Tensors) -> None:
    weights.inline = b"\xff" * len(weights.inline)
    weights.digest = digest(weights.inline)


def damaged(weights: Tensors) -> None:
    weights.inline = b"\x00" * len(weights.inline)


def otherwise(weights: Tensors) -> None:
    weights.compression = "bf16"


def others(weights: Tensors) -> None:
    weights.layout[0].shape[1] += 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_short, "these tensors take 15 bytes: 14 came"),
        (of_no_scale, "a block of the cell at float 0 has the scale nan"),
        (damaged, "the bytes do not have the digest that came with them"),
        (otherwise, "they come with compression 'bf16', where 'int8' was agreed on"),
        (others, "these are not the run's weights"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_weights_that_cannot_be_decoded_are_refused_in_words_and_the_trainer_lives(
    desk: Desk, spoil: Callable[[Tensors], None], reason: str
) -> None:
    # Given
    weights = sent()
    spoil(weights)

    # When
    answer = desk.answer(train(weights))

    # Then
    assert reason in answer.error.text
    assert desk.answer(train(sent())).WhichOneof("answer") == "train"
