"""The shape of a round's sum: the same bits for any number of hands."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.aggregator import (
    Aggregator,
    AveragingAggregator,
    GradientMaskedAveraging,
    MedianAggregator,
    SumAggregator,
)
from fl.core.aggregator.blocks import BLOCK, BlockFold, blocks, fold_in_blocks, shard_of
from fl.core.aggregator.weighted import AccumulatingFold, PartwiseFold
from fl.core.vector import NumpyVector
from tests.unit.core.aggregator_rounds import Part, with_buffer

IN_BLOCKS: list[Aggregator] = [
    AveragingAggregator(),
    AveragingAggregator(steps_weighted=False),
    SumAggregator(),
    GradientMaskedAveraging(0.3),
]
each = pytest.mark.parametrize("aggregator", IN_BLOCKS, ids=lambda one: f"{one.name}-{one.get_config()}")
numbers_asked = st.integers(1, 3 * BLOCK + 9)


def names(number: int) -> list[str]:
    return [f"c{place:04}" for place in range(number)]


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[str], list[Part]]:
    """Who is asked, and what some of them send; their sizes differ so much that every other shape has other bits."""
    asked = names(draw(numbers_asked))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.02, 0.5, 1.0]))
    answer = [name for name in asked if rng.random() < share] or asked[-1:]
    sizes = rng.choice([1e-6, 1.0, 1e6], size=(len(answer), 1))
    values = rng.normal(size=(len(answer), 3)) * sizes
    steps = rng.integers(0, 9, len(answer)).tolist()
    updates = [with_buffer(row[:2], row[2:]) for row in values]
    return asked, [Part(update, *one) for update, *one in zip(updates, answer, steps, steps, strict=True)]


def add(fold: Any, parts: Sequence[Part]) -> None:
    for part in parts:
        fold.add(part.update, client=part.client, n_steps=part.n_steps, n_samples=part.n_samples)


def bits(vector: NumpyVector | None) -> bytes | None:
    return None if vector is None else bytes(vector.pack())


def by_hands(aggregator: Aggregator, asked: list[str], parts: list[Part], shards: int) -> NumpyVector | None:
    """Each hand sums its blocks; one of them adds what all of them have, a few numbers at a time."""
    cut = blocks(asked)
    sums: dict[int, dict[int, AccumulatingFold]] = {}
    for number, block in enumerate(cut):
        own = [part for part in parts if part.client in block]
        fold = aggregator.start(parts[0].update.layout)
        assert isinstance(fold, AccumulatingFold)
        add(fold, own)
        if own:
            sums.setdefault(shard_of(number, len(cut), shards), {})[number] = fold
    whole = aggregator.start(parts[0].update.layout)
    assert isinstance(whole, AccumulatingFold)
    for _, one in sorted((number, fold) for hand in sums.values() for number, fold in hand.items()):
        take = whole.open_block(one.weight)
        for start in range(0, len(one.accumulated), 2):
            take(start, one.accumulated[start : start + 2])
    return whole.finish()


def mean_written_out(asked: list[str], parts: list[Part]) -> np.ndarray | None:
    """Σ block sums / Σ block weights, in loops over numbers."""
    total, weight = [0.0, 0.0, 0.0], 0.0
    for start in range(0, len(asked), 64):
        block = [part for part in parts if part.client in asked[start : start + 64]]
        block_total, block_weight = [0.0, 0.0, 0.0], 0.0
        for part in block:
            block_weight += part.n_steps
            for place, value in enumerate(part.update.flat.tolist()):
                block_total[place] += value * part.n_steps
        if block:
            weight += block_weight
            total = [one + other for one, other in zip(total, block_total, strict=True)]
    return np.array([one / weight for one in total]).astype("float32") if weight else None


@given(made=rounds())
def test_a_mean_has_the_bits_of_plain_sums_of_blocks_of_64(made: tuple[list[str], list[Part]]) -> None:
    # Given
    asked, parts = made
    fold = fold_in_blocks(AveragingAggregator(), parts[0].update.layout, asked)

    # When
    add(fold, parts)

    # Then
    expected = mean_written_out(asked, parts)
    assert bits(fold.finish()) == (None if expected is None else expected.tobytes())


@each
@given(made=rounds(), shards=st.integers(1, 9))
def test_any_number_of_hands_come_to_the_same_bits(
    aggregator: Aggregator, made: tuple[list[str], list[Part]], shards: int
) -> None:
    asked, parts = made
    alone = fold_in_blocks(aggregator, parts[0].update.layout, asked)
    add(alone, parts)

    assert bits(by_hands(aggregator, asked, parts, shards)) == bits(alone.finish())


@each
@given(made=rounds())
def test_a_round_that_fits_into_one_block_has_the_bits_of_a_sum_in_the_order_of_names(
    aggregator: Aggregator, made: tuple[list[str], list[Part]]
) -> None:
    # Given
    asked, parts = made
    few = [part for part in parts if part.client in asked[:BLOCK]] or parts[:1]
    plain, cut = aggregator.start(few[0].update.layout), fold_in_blocks(aggregator, few[0].update.layout, asked[:BLOCK])
    few = [part._replace(client=name) for part, name in zip(few, asked, strict=False)]

    # When
    add(plain, few)
    add(cut, few)

    # Then
    assert bits(plain.finish()) == bits(cut.finish())


@given(asked=numbers_asked.map(names).flatmap(st.permutations))
def test_blocks_are_the_names_in_their_order(asked: list[str]) -> None:
    cut = blocks(asked)

    assert [name for block in cut for name in block] == sorted(asked)
    assert [len(block) for block in cut[:-1]] == [64] * (len(cut) - 1)
    assert 0 < len(cut[-1]) <= 64


@given(n_blocks=st.integers(1, 99), shards=st.integers(1, 20))
def test_blocks_are_dealt_to_shards_evenly_and_side_by_side(n_blocks: int, shards: int) -> None:
    dealt = [shard_of(block, n_blocks, shards) for block in range(n_blocks)]

    assert dealt == sorted(dealt)
    assert set(dealt) <= set(range(shards))
    counts = [dealt.count(shard) for shard in range(shards)]
    assert max(counts) - min(counts) <= 1
    assert max(counts) == -(-Fraction(n_blocks, shards) // 1)


def test_nobody_is_summed_after_a_client_of_a_later_block() -> None:
    # Given
    asked, update = names(BLOCK + 1), with_buffer([1.0], [])
    fold = fold_in_blocks(AveragingAggregator(), update.layout, asked)
    assert isinstance(fold, BlockFold)
    add(fold, [Part(update, asked[-1])])

    # Then
    with pytest.raises(ValueError, match="client 'c0000' is of block 0, and block 1 has begun"):
        add(fold, [Part(update, asked[0])])


def test_those_who_see_all_updates_at_once_have_no_blocks() -> None:
    update = with_buffer([1.0], [])

    assert not isinstance(fold_in_blocks(MedianAggregator(), update.layout, names(99)), PartwiseFold)
