"""The arithmetic of a commit, part by part: the same bits as with whole vectors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.aggregator import Aggregator, AveragingAggregator, GradientMaskedAveraging, SumAggregator
from fl.core.aggregator.weighted import PartwiseFold
from fl.core.optimizer import Optimizer
from fl.core.vector import CHUNK, Layout, NumpyVector, Role, TensorSpec
from fl.server.fold import Descent, updated

AGGREGATORS: dict[str, Aggregator] = {
    "averaging": AveragingAggregator(),
    "sum": SumAggregator(),
    "gradient-masked-averaging": GradientMaskedAveraging(0.7),
}


def vector_of(rng: np.random.Generator, dtype: str, n_trained: int, n_buffers: int) -> NumpyVector:
    """A trainable tensor, an integer one, and a buffer."""
    specs = (
        TensorSpec("w", dtype, (n_trained,)),
        TensorSpec("steps", "int64", (3,)),
        TensorSpec("mean", dtype, (n_buffers,), Role.BUFFER),
    )
    flat = rng.normal(size=n_trained + n_buffers).astype(dtype)
    return NumpyVector(Layout(specs), flat, (rng.integers(9, size=3),))


@pytest.mark.parametrize("name", AGGREGATORS)
@given(
    seed=st.integers(0, 9),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    sizes=st.tuples(st.integers(1, 40), st.integers(0, 40)) | st.just((CHUNK - 1, CHUNK + 2)),
    length=st.integers(1, 50) | st.just(2 * CHUNK),
    rate=st.sampled_from([1.0, 0.3, {"name": "inverse-scaling", "base": 0.5, "step_level": False}]),
)
def test_weights_written_over_the_sum_have_the_bits_of_whole_vectors(
    name: str, seed: int, dtype: str, sizes: tuple[int, int], length: int, rate: Any
) -> None:
    # Given
    rng = np.random.default_rng(seed)
    weights, *updates = (vector_of(rng, dtype, *sizes) for _ in range(4))
    whole, partwise = (AGGREGATORS[name].start(weights.layout) for _ in range(2))
    assert isinstance(partwise, PartwiseFold)
    one, other = (Optimizer(rate) for _ in range(2))
    length = min(length, max(1, weights.flat.size // 3)) if weights.flat.size < CHUNK else 2 * CHUNK

    # When
    for number, update in enumerate(updates):
        client, n_samples = f"c{number}", 8 * number
        whole.add(update, client=client, n_steps=number, n_samples=n_samples)
        take = partwise.open(client=client, n_steps=number, n_samples=n_samples)
        for start in range(0, update.flat.size, length):
            take(start, update.flat[start : start + length])
    mean = whole.finish()
    assert mean is not None
    expected = updated(weights, mean, one, aux={}, round_=3)
    other.start_round(None, 2)
    descent = Descent(partwise.sum(), weights.layout, rate=other.take_rate())
    for start in range(0, weights.flat.size, length):
        descent.take(start, weights.flat[start : start + length])
    got = descent.weights(weights.others)

    # Then
    assert bytes(got.pack()) == bytes(expected.pack())
    assert one.get_state() == other.get_state()


def test_nobody_who_only_scales_has_anything_else() -> None:
    assert [
        Optimizer(0.1, **options).only_scales
        for options in ({}, {"w_decay": 0.1}, {"modules": ["momentum"]}, {"regularizers": ["lasso"]})
    ] == [True, False, False, False]
