"""Steps of DP-SGD: what a sample can change, the noise, the sampling, and how many steps there are."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from fl.core.dataset import Batch, Batching, InMemoryDataset
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.optimizer import Optimizer
from fl.core.privacy.accounting import Spending
from fl.core.privacy.keys import RoundFacts, batches_generator, noise_key, spending_key
from fl.core.privacy.noise import keyed_source
from fl.core.privacy.private import PrivateSteps
from fl.core.training import Effort, TrainResult, train_round
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError

KEY = bytes(32)
LEAST = 0.01  # as little noise as there may be


def made(data: InMemoryDataset, **config: Any) -> SklearnSGDModel:
    model = SklearnSGDModel.from_parameters("regressor", **config)
    model.initialize(data.get_data_specs())
    return model


def private(paid: Spending, clip: float = 1.0, *, secure: bool = False) -> PrivateSteps:
    return PrivateSteps(paid, clip, keyed_source(KEY, secure=secure))


def train(
    model: SklearnSGDModel,
    data: InMemoryDataset,
    steps: PrivateSteps,
    *,
    batching: Batching,
    effort: Effort | None = None,
    seed: int = 0,
) -> TrainResult:
    return train_round(
        model,
        Optimizer(1.0),
        data,
        effort=effort or Effort(n_epoch=None, n_steps=10_000),
        batching=batching,
        rng=np.random.default_rng(seed),
        clock=lambda: 0.0,
        private=steps,
    )


class Recording(InMemoryDataset, register=False):
    """Notes whom it gave into which batch."""

    def take(self, index: "slice | Array") -> Batch:
        self.taken.append(np.asarray(index))
        return super().take(index)

    taken: list[Array]


@pytest.mark.parametrize("secure", [False, True])
def test_noise_on_the_mean_gradient_has_the_standard_deviation_of_the_paper(secure: bool) -> None:
    # Given samples whose weight is nothing, so that all that moves is noise, and batches of 5 of 20
    weights = np.zeros(20)
    weights[0] = 1e-300
    data = InMemoryDataset(np.ones((20, 3000)), np.ones(20), weights)
    sigma, clip = 1.7, 0.3

    # When steps are made, one a round
    steps = private(Spending(sigma, 0.25, 1), clip, secure=secure)
    moved = []
    for _ in range(40):
        model = made(data, penalty=None)
        train(model, data, steps, batching=Batching(5))
        moved.append(model.get_weights().flat)

    # Then it is sigma·C/B, B = 5 however many samples were in the batch; of 120,000 the standard error is 0.2 %
    assert np.std(moved) == pytest.approx(sigma * clip / 5, rel=0.01)
    assert stats.kstest(np.concatenate(moved) / (sigma * clip / 5), "norm").pvalue > 1e-6


def test_gradients_are_clipped_sums_over_the_expected_batch_and_not_over_the_one_there_is() -> None:
    # Given gradients far above the bound, that all point the same way
    data = InMemoryDataset(np.full((8, 1), 1e3), np.full(8, -1e3))
    model = made(data, penalty=None, fit_intercept=False)
    steps = private(Spending(LEAST, 0.5, 1))

    # When a batch has 6 samples where 4 are expected
    gradients = steps.gradients(model, data.take(slice(0, 6)), expected=4.0)

    # Then the gradient is 6 C / 4, but for the noise
    assert gradients.norm() == pytest.approx(6 / 4, abs=5 * LEAST / 4)


def test_a_batch_without_a_sample_gives_noise_alone() -> None:
    data = InMemoryDataset(np.ones((8, 2000)), np.ones(8))
    model = made(data, penalty=None)

    gradients = private(Spending(1.0, 0.5, 1)).gradients(model, data.take(slice(0, 0)), expected=4.0)

    assert np.std(gradients.flat) == pytest.approx(1 / 4, rel=0.08)


FLOATS = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=200, deadline=None)
@given(
    x=arrays.arrays(np.float64, (5, 3), elements=FLOATS),
    y=arrays.arrays(np.float64, 5, elements=FLOATS),
    weights=arrays.arrays(np.float64, 5, elements=st.floats(0, 1e6)),
    clip=st.floats(1e-3, 1e3),
    loss=st.sampled_from(["squared_error", "huber", "epsilon_insensitive"]),
    penalty=st.sampled_from([None, "l2", "l1"]),
    start=st.floats(-100, 100),
)
def test_one_sample_more_changes_the_sum_by_no_more_than_the_bound(
    x: Array, y: Array, weights: Array, clip: float, loss: str, penalty: str | None, start: float
) -> None:
    assume(weights.any())
    # Given a model somewhere, and the same noise twice
    data = InMemoryDataset(x, y, weights)
    model = made(data, loss=loss, penalty=penalty)
    model.set_weights(NumpyVector(model.get_weights().layout, np.full(4, start)))

    # When the same step is made with and without one of the samples
    with_it = private(Spending(LEAST, 0.8, 1), clip).gradients(model, data.take(slice(0, 5)), expected=4.0)
    without = private(Spending(LEAST, 0.8, 1), clip).gradients(model, data.take(slice(0, 4)), expected=4.0)

    # Then the sums differ by C at most: that is all that the noise has to cover
    assert (with_it - without).norm() * 4.0 <= clip * (1 + 1e-9)


def test_batches_are_poisson_whatever_the_run_says() -> None:
    # Given 12 samples at a rate of 1/4, and a batching that would shuffle
    n, rate, rounds = 12, 0.25, 3000
    data = Recording(np.ones((n, 1)), np.ones(n))
    data.taken = []

    # When many steps are made
    model = made(data)
    train(model, data, private(Spending(1.0, rate, rounds)), batching=Batching(3, shuffle=True))

    # Then sizes are binomial, and samples come independently of each other
    sizes = Counter(len(taken) for taken in data.taken[:rounds])
    expected = stats.binom(n, rate).pmf(np.arange(n + 1)) * rounds
    observed = np.array([sizes[size] for size in range(n + 1)])
    tail = 8  # whose expectations are small, together
    assert (
        stats.chisquare([*observed[:tail], observed[tail:].sum()], [*expected[:tail], expected[tail:].sum()]).pvalue
        > 1e-6
    )
    present = np.zeros((rounds, n))
    for number, taken in enumerate(data.taken[:rounds]):
        present[number, taken] = 1
    pairs = (present.T @ present)[np.triu_indices(n, 1)]
    deviation = math.sqrt(rounds * rate**2 * (1 - rate**2))
    assert np.abs(pairs - rounds * rate**2).max() < 6 * deviation


def test_no_more_steps_are_made_than_are_paid_for() -> None:
    data = InMemoryDataset(np.ones((20, 2)), np.ones(20))

    result = train(made(data), data, private(Spending(1.0, 0.25, 7)), batching=Batching(5), effort=Effort(n_epoch=9))

    assert result.n_steps == 7


def test_a_round_may_end_before_all_that_is_paid_for_is_done() -> None:
    data = InMemoryDataset(np.ones((20, 2)), np.ones(20))

    result = train(made(data), data, private(Spending(1.0, 0.25, 7)), batching=Batching(5), effort=Effort(n_steps=3))

    assert result.n_steps == 3


def test_a_batch_larger_than_the_data_takes_all_of_it() -> None:
    data = Recording(np.ones((4, 1)), np.ones(4))
    data.taken = []

    train(made(data), data, private(Spending(1.0, 1.0, 2)), batching=Batching(10))

    assert [len(taken) for taken in data.taken[:2]] == [4, 4]


def test_a_rate_that_was_not_paid_for_is_refused() -> None:
    data = InMemoryDataset(np.ones((20, 2)), np.ones(20))

    with pytest.raises(ConfigError, match=r"paid for at a sampling rate of 0.25, but batches of 10 among 20"):
        train(made(data), data, private(Spending(1.0, 0.25, 7)), batching=Batching(10))


@pytest.mark.parametrize(("paid", "clip"), [(Spending(1.0, 0.5, 0), 1.0), (Spending(1.0, 0.5, 1), 0.0)])
def test_steps_that_are_none_or_have_no_bound_are_refused(paid: Spending, clip: float) -> None:
    with pytest.raises(ConfigError, match=r"no step of this round is paid for|sclip_norm is 0"):
        private(paid, clip)


def test_the_same_key_gives_the_same_round_again() -> None:
    data = InMemoryDataset(np.random.default_rng(1).normal(size=(20, 3)), np.arange(20.0))
    models = [made(data), made(data)]
    for model in models:
        train(model, data, private(Spending(1.0, 0.25, 5)), batching=Batching(5))

    assert models[0].get_weights() == models[1].get_weights()


@pytest.mark.parametrize(
    ("effort", "steps"),
    [(Effort(2), 14), (Effort(2, 5), 5), (Effort(None, 30), 30), (Effort(0, 30, 1.0), 30), (Effort(1, None, 9.0), 7)],
)
def test_the_most_steps_of_a_round_are_those_of_its_first_limit(effort: Effort, steps: int) -> None:
    assert effort.most_steps(7) == steps


def test_a_round_that_only_time_ends_has_no_number_of_steps() -> None:
    with pytest.raises(ConfigError, match="only timeout_s ends: set n_steps or n_epoch"):
        Effort(None, None, 5.0).most_steps(7)


FACTS: dict[str, Any] = {
    "run": "run",
    "task": "t",
    "round_": 3,
    "counted": 2,
    "dataset": "d",
    "weights": "w",
    "state": "s",
    "aux": "a",
    "paid": Spending(1.0, 0.5, 3),
    "sclip_norm": 1.0,
    "secure": False,
}
CHANGES: list[dict[str, Any]] = [
    {"run": "run2"},
    {"task": "u"},
    {"round_": 4},
    {"counted": 1},
    {"dataset": "e"},
    {"weights": "x"},
    {"state": "t"},
    {"aux": "b"},
    {"paid": Spending(1.1, 0.5, 3)},
    {"paid": Spending(1.0, 0.6, 3)},
    {"paid": Spending(1.0, 0.5, 4)},
    {"sclip_norm": 2.0},
    {"secure": True},
    {"weights": "ws", "state": ""},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_round_that_differs_in_anything_has_another_key(change: dict[str, Any]) -> None:
    assert spending_key(KEY, RoundFacts(**FACTS)) != spending_key(KEY, RoundFacts(**FACTS | change))


def test_keys_depend_on_the_secret_seed_and_on_what_they_are_for() -> None:
    key = spending_key(KEY, RoundFacts(**FACTS))
    other = bytes([1]) + KEY[1:]

    assert spending_key(other, RoundFacts(**FACTS)) != key
    assert noise_key(other, key) != noise_key(KEY, key)
    assert noise_key(KEY, key).hex() != key
    assert batches_generator(KEY, key).bytes(8) != np.random.default_rng(int.from_bytes(noise_key(KEY, key))).bytes(8)
    assert batches_generator(KEY, key).bytes(8) == batches_generator(KEY, key).bytes(8)
