"""Private sums of clients' updates: clipping, noise, and a clip norm that follows a quantile, against plain numpy."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fl.core.aggregator.blocks import BlockFold
from fl.core.aggregator.private import PrivateAveraging, PrivateSum
from fl.core.privacy.central import AdaptiveClipping, SumPrivacy, clip_factor
from fl.core.privacy.noise import SecureNormal, hashed_source
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError
from tests.small_blocks import small_blocks

KEY = bytes(range(32))
PRIVACY = SumPrivacy(noise_multiplier=1.1, clip_norm=2.0, expected=5.0)
ADAPTIVE = replace(PRIVACY, adaptive=AdaptiveClipping(quantile=0.4, lrate=0.3, count_noise=1.5))
NAMES = ("ant", "bee", "cat", "dog", "eel")
floats = st.floats(-1e3, 1e3, width=32)


class Silence:
    """No noise at all."""

    def standard_normal(self, size: int) -> Array:
        return np.zeros(size)


def updates(seed: int = 0, *, size: int = 7, dtype: str = "float32") -> list[NumpyVector]:
    """Of five clients; their norms are about 0.3, 1, 3, 9 and 27."""
    rng = np.random.default_rng(seed)
    scales = 3.0 ** np.arange(-1, 4) / math.sqrt(size)
    return [NumpyVector.from_arrays({"w": (scale * rng.normal(size=size)).astype(dtype)}) for scale in scales]


def summed(privacy: SumPrivacy, given_: Sequence[NumpyVector]) -> PrivateSum:
    fold = PrivateAveraging(privacy).start(given_[0].layout)
    for name, update in zip(NAMES, given_, strict=False):
        fold.add(update, client=name, n_steps=1, n_samples=1)
    return fold.sum()


def mean(total: PrivateSum) -> Array:
    finished = total.finish()
    assert finished is not None
    return finished.flat


# ---- clipping --------------------------------------------------------------------------------------------------------


@given(st.lists(floats, min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_a_clipped_update_is_within_the_bound_and_keeps_its_direction(values: list[float], bound: float) -> None:
    update = np.array(values)
    clipped = update * clip_factor(float(np.linalg.norm(update)), bound)

    assert np.linalg.norm(clipped) <= bound * (1 + 1e-12)
    if np.linalg.norm(update) <= bound:
        assert np.array_equal(clipped, update)
    assert float(clipped @ update) >= 0


def test_an_update_whose_length_no_float_holds_counts_nothing() -> None:
    huge = NumpyVector.from_arrays({"w": np.full(3, 1e200)})

    total = summed(PRIVACY, [huge])

    assert not mean(total).any()


@given(st.lists(st.lists(floats, min_size=4, max_size=4), min_size=1, max_size=5), st.integers(0, 4))
def test_one_client_changes_the_sum_by_no_more_than_the_clip_norm(rows: list[list[float]], who: int) -> None:
    # Given
    given_ = [NumpyVector.from_arrays({"w": np.array(row)}) for row in rows]
    who %= len(given_)
    without = [update for index, update in enumerate(given_) if index != who] or [given_[0] * 0.0]
    # When
    one, other = summed(PRIVACY, given_).total.flat, summed(PRIVACY, without).total.flat
    # Then
    assert np.linalg.norm(one - other) <= PRIVACY.clip_norm * (1 + 1e-9)


@given(st.lists(floats, min_size=1, max_size=5))
def test_one_client_changes_the_count_by_a_half(norms: list[float]) -> None:
    given_ = [NumpyVector.from_arrays({"w": np.array([norm])}) for norm in norms]

    with_it = summed(PRIVACY, given_).within[0]
    without = summed(PRIVACY, given_[:-1]).within[0] if norms[1:] else 0.0

    assert abs(with_it - without) == 0.5


# ---- the mean --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mean_is_that_of_clipped_updates_over_the_expected_clients(dtype: str) -> None:
    # Given
    given_ = updates(dtype=dtype)[:3]
    rows = np.array([update.flat for update in given_], np.float64)
    # When
    found = mean(summed(PRIVACY, given_))
    # Then: of three clients where five were expected
    factors = np.minimum(1, PRIVACY.clip_norm / np.linalg.norm(rows, axis=1))
    np.testing.assert_allclose(found, (factors[:, None] * rows).sum(axis=0) / 5, rtol=1e-6)


def test_all_clients_count_the_same_whatever_they_say_of_their_work() -> None:
    # Given
    update = updates()[0]
    fold = PrivateAveraging(PRIVACY).start(update.layout)
    other = PrivateAveraging(PRIVACY).start(update.layout)
    # When
    fold.add(update, client="ant", n_steps=1000, n_samples=10**6)
    other.add(update, client="ant", n_steps=0, n_samples=1)
    # Then
    assert np.array_equal(mean(fold.sum()), mean(other.sum()))


def test_a_round_without_clients_gives_noise_alone() -> None:
    layout = updates()[0].layout
    total = PrivateAveraging(PRIVACY).start(layout).sum()

    total.add_noise(hashed_source(KEY))

    expected = hashed_source(KEY).standard_normal(7) * (1.1 * 2.0) / 5
    np.testing.assert_allclose(mean(total), expected, rtol=1e-6)


def test_an_update_that_comes_in_parts_is_clipped_as_a_whole() -> None:
    # Given
    update = updates()[4]
    fold = PrivateAveraging(PRIVACY).start(update.layout)
    # When
    take = fold.open(client="ant", n_steps=1, n_samples=1)
    take(0, update.flat[:3])
    take(3, update.flat[3:])
    # Then
    assert np.array_equal(mean(fold.sum()), mean(summed(PRIVACY, [update])))


def test_what_has_come_of_an_update_is_not_in_the_sum_before_all_of_it_has() -> None:
    update = updates()[4]
    fold = PrivateAveraging(PRIVACY).start(update.layout)

    fold.open(client="ant", n_steps=1, n_samples=1)(0, update.flat[:3])

    assert not fold.accumulated.any()


def test_sums_of_blocks_add_up_to_the_bits_of_the_whole_sum() -> None:
    # Given
    given_ = updates()
    layout = given_[0].layout
    with small_blocks():
        aggregator = PrivateAveraging(ADAPTIVE)
        whole = BlockFold(aggregator, aggregator.start(layout), (NAMES[:2], NAMES[2:4], NAMES[4:]))
        for name, update in zip(NAMES, given_, strict=True):
            whole.add(update, client=name, n_steps=1, n_samples=1)
        # When
        folds = [aggregator.start(layout) for _ in range(3)]
        for index, update in enumerate(given_):
            folds[index // 2].add(update, client=NAMES[index], n_steps=1, n_samples=1)
        for block in folds[1:]:
            folds[0].absorb(block)
    # Then
    shared, alone = folds[0].sum(), whole.sum()
    assert isinstance(alone, PrivateSum)
    assert np.array_equal(shared.total.flat, alone.total.flat)
    assert shared.within[0] == alone.within[0]
    assert folds[0].weight == 5


def test_merging_prepared_values_gives_the_bits_of_the_fold() -> None:
    given_ = updates()
    aggregator = PrivateAveraging(PRIVACY)

    parts = [aggregator.prepare(update, client="any", n_steps=1, n_samples=1) for update in given_]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)

    assert np.array_equal(merged.finish().flat, mean(summed(PRIVACY, given_)))


# ---- noise -----------------------------------------------------------------------------------------------------------


def test_the_noise_on_the_sum_has_the_multiplier_times_the_clip_norm() -> None:
    # Given
    layout = NumpyVector.from_arrays({"w": np.zeros(1_000_000, np.float32)}).layout
    total = PrivateAveraging(PRIVACY).start(layout).sum()
    # When
    total.add_noise(hashed_source(KEY))
    # Then: of a million, the standard error is 0.07 %
    assert total.total.flat.std() == pytest.approx(1.1 * 2.0, rel=0.005)
    assert mean(total).astype(np.float64).std() == pytest.approx(1.1 * 2.0 / 5, rel=0.005)


def test_the_noise_is_normal() -> None:
    noise = hashed_source(KEY).standard_normal(200_001)

    # p is uniform when it is, so this would fail for one key in a million
    assert stats.kstest(noise, "norm").pvalue > 1e-6


def test_noise_is_the_same_for_a_key_and_for_no_other() -> None:
    first, again, other = (hashed_source(key).standard_normal(1000) for key in (KEY, KEY, KEY[::-1]))

    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.2


def test_every_draw_of_a_key_is_new() -> None:
    source = hashed_source(KEY)

    first, second = source.standard_normal(10_000), source.standard_normal(10_000)

    # the correlation of independent draws has a standard deviation of 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


def test_the_digest_of_a_sum_tells_of_every_bit_that_is_published() -> None:
    # Given
    given_ = updates()
    known = summed(ADAPTIVE, given_).digest()
    # When
    nudged = [*given_[:4], NumpyVector(given_[4].layout, np.nextafter(given_[4].flat, np.float32(np.inf)))]
    others = (
        summed(ADAPTIVE, nudged),
        summed(replace(ADAPTIVE, expected=5.5), given_),
        summed(replace(ADAPTIVE, noise_multiplier=1.2), given_),
    )
    # Then
    assert summed(ADAPTIVE, given_).digest() == known
    assert known not in {other.digest() for other in others}


# ---- adaptive clipping -----------------------------------------------------------------------------------------------


@given(st.floats(0.1, 4.0), st.floats(0.6, 50.0))
def test_both_releases_together_cost_what_the_multiplier_says(z: float, ratio: float) -> None:
    # Given
    adaptive = AdaptiveClipping(count_noise=z * ratio)
    privacy = SumPrivacy(noise_multiplier=z, clip_norm=3.0, expected=10.0, adaptive=adaptive)
    # When: sensitivities over noise, of the sum and of the count
    of_sum, of_count = 3.0 / privacy.sum_noise, 0.5 / privacy.count_noise
    # Then: as one Gaussian mechanism, of the vector of both (Andrew et al. 2021, theorem 1)
    assert math.hypot(of_sum, of_count) == pytest.approx(1 / z)


def plain_adaptive(rows: Array, clip: float, *, std: float, noise: SecureNormal) -> tuple[Array, float]:
    """Algorithm 1 of Andrew et al. 2021, with sums over the expected number of clients."""
    total, count = np.zeros(rows.shape[1]), 0.0
    for row in rows:
        norm = np.linalg.norm(row)
        total = total + row * min(1.0, clip / norm)
        count += (1.0 if norm <= clip else 0.0) - 0.5
    z_delta = (1.1**-2 - (2 * 1.5) ** -2) ** -0.5
    assert std == pytest.approx(z_delta * clip)
    total = total + z_delta * clip * noise.standard_normal(rows.shape[1])
    count = count + 1.5 * noise.standard_normal(1)[0]
    return total / 5.0, clip * float(np.exp(-0.3 * (count / 5.0 + 0.5 - 0.4)))


def test_twenty_rounds_of_adaptive_clipping_are_those_of_the_paper() -> None:
    # Given
    privacy = ADAPTIVE
    clip = privacy.clip_norm
    for round_ in range(20):
        key = bytes([round_]) * 32
        given_ = updates(round_, dtype="float64")
        rows = np.array([update.flat for update in given_])
        source = hashed_source(key)
        assert isinstance(source, SecureNormal)
        expected, clip = plain_adaptive(rows, clip, std=privacy.sum_noise, noise=source)
        # When
        total = summed(privacy, given_)
        total.add_noise(hashed_source(key))
        privacy = replace(privacy, clip_norm=total.next_clip_norm())
        # Then
        np.testing.assert_allclose(mean(total), expected, rtol=1e-9, atol=1e-12)
        assert privacy.clip_norm == pytest.approx(clip, rel=1e-12)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_without_noise_the_clip_norm_comes_to_the_quantile_of_the_norms(quantile: float) -> None:
    # Given: norms evenly over (0, 1]
    adaptive = AdaptiveClipping(quantile=quantile, lrate=0.2, count_noise=9.0)
    privacy = SumPrivacy(noise_multiplier=1.0, clip_norm=0.01, expected=50.0, adaptive=adaptive)
    norms = np.arange(1, 51) / 50
    given_ = [NumpyVector.from_arrays({"w": np.array([norm])}) for norm in norms]
    # When
    for _ in range(400):
        fold = PrivateAveraging(privacy).start(given_[0].layout)
        for update in given_:
            fold.add(update, client="any", n_steps=1, n_samples=1)
        total = fold.sum()
        total.add_noise(Silence())
        privacy = replace(privacy, clip_norm=total.next_clip_norm())
    # Then: to a step of the norms
    assert privacy.clip_norm == pytest.approx(quantile, abs=0.021)


def test_a_clip_norm_that_follows_nothing_stays_as_it_is() -> None:
    total = summed(PRIVACY, updates())

    total.add_noise(hashed_source(KEY))

    assert total.next_clip_norm() == 2.0


def test_noise_on_the_count_is_a_twentieth_of_the_expected_clients_unless_told() -> None:
    many = replace(PRIVACY, expected=1000.0, adaptive=AdaptiveClipping())
    few = replace(PRIVACY, expected=5.0, adaptive=AdaptiveClipping())

    assert many.count_noise == 50.0
    assert few.count_noise == 1.1


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_norm_is_above_zero(clip_norm: float) -> None:
    with pytest.raises(ConfigError, match=r"clip_norm is .*: use a number above 0"):
        replace(PRIVACY, clip_norm=clip_norm)


@pytest.mark.parametrize(("z", "expected"), [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_noise_and_clients_are_above_zero(z: float, expected: float) -> None:
    with pytest.raises(ConfigError, match="use numbers above 0"):
        SumPrivacy(noise_multiplier=z, clip_norm=1.0, expected=expected)


def test_a_count_that_takes_all_the_noise_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"count_noise is 0\.5: .* takes more than 0\.55 by itself; use about 1\.1"):
        replace(PRIVACY, adaptive=AdaptiveClipping(count_noise=0.5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantile": 1.5}, "quantile is 1.5"),
        ({"lrate": 0.0}, "lrate of the clip norm is 0.0"),
        ({"count_noise": -1.0}, "count_noise is -1.0"),
    ],
)
def test_options_of_adaptive_clipping_that_make_no_sense_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AdaptiveClipping(**options)
