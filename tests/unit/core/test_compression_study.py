"""What the study of compression claims, on fewer rounds."""

from functools import cache

import numpy as np

from fl.core.vector import NumpyVector
from fl.examples.compression import WAYS, federated
from fl.examples.digits.shares import deal
from fl.examples.digits.study import FRAMEWORKS, accuracy, spec_of

LEARNER, SHARES = FRAMEWORKS["scikit-learn"], deal(seed=0)
SPEC = spec_of(LEARNER, "fedavg", rounds=25, sites=5, seed=0)


@cache
def weights(way: str) -> NumpyVector:
    return federated(SPEC, SHARES, LEARNER, WAYS[way])


def right(way: str) -> float:
    return accuracy(SPEC, weights(way), LEARNER, SHARES)


def test_a_byte_per_float_in_both_directions_costs_no_accuracy() -> None:
    assert abs(right("int8") - right("none")) <= 0.01


def test_sparse_updates_need_error_feedback() -> None:
    assert right("topk 0.01 up") > right("topk 0.01 up, no feedback") + 0.05


def test_a_study_done_again_gives_the_same_bits() -> None:
    again = federated(SPEC, SHARES, LEARNER, WAYS["topk 0.1 up"])

    np.testing.assert_array_equal(again.flat, weights("topk 0.1 up").flat)
