"""The laws of every aggregator."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.aggregator import (
    Aggregator,
    AveragingAggregator,
    GradientMaskedAveraging,
    KrumAggregator,
    MedianAggregator,
    MultiKrumAggregator,
    SumAggregator,
    TrimmedMeanAggregator,
)
from fl.core.mergeable import Mergeable
from fl.core.vector import Array, NumpyVector, Vector
from fl.errors import ConfigError
from tests.unit.core.aggregator_rounds import Part, fold, folded, merged, prepared, vector, with_buffer

EVERY = [
    AveragingAggregator(),
    AveragingAggregator(steps_weighted=False),
    AveragingAggregator(client_weights={"c0": 3.0}, samples_weighted=True),
    GradientMaskedAveraging(),
    GradientMaskedAveraging(0.4, client_weights={"c1": 0.5}),
    SumAggregator(),
    MedianAggregator(),
    TrimmedMeanAggregator(0.2),
    KrumAggregator(1),
    MultiKrumAggregator(1, 3),
]
"""A new aggregator is one line here, and held to every law below."""

fewer = settings(max_examples=40, deadline=None)  # a law holds ten aggregators, on machines that may be busy
every = pytest.mark.parametrize("aggregator", EVERY, ids=lambda one: f"{one.name}-{one.get_config()}")


def floats32(size: int) -> st.SearchStrategy[Array]:
    return hnp.arrays("float32", size, elements=st.floats(-1e6, 1e6, width=32))


@st.composite
def rounds(draw: st.DrawFn) -> list[Part]:
    """Of clients enough for every aggregator, some of whom may have taken no step."""
    dtype, clients = draw(st.sampled_from(["float32", "float64"])), draw(st.integers(5, 7))
    table = draw(hnp.arrays(dtype, (clients, 4), elements=st.floats(-1e6, 1e6, width=32)))
    steps = draw(
        hnp.arrays("int64", clients, elements=draw(st.sampled_from([st.integers(1, 1000), st.integers(0, 3)])))
    )
    samples = draw(hnp.arrays("int64", clients, elements=st.integers(1, 10_000)))
    work = zip(steps.tolist(), samples.tolist(), strict=True)
    return [Part(vector(table[i], dtype), f"c{i}", *done) for i, done in enumerate(work)]


def outcome(aggregator: Aggregator, parts: list[Part]) -> NumpyVector | str:
    """What folding gives, the reason where it gives none."""
    try:
        return fold(aggregator, parts) or "nobody trained"
    except ConfigError as error:
        return str(error)


def outcome_of(part: Mergeable) -> NumpyVector | str:
    try:
        return part.finish() or "nobody trained"
    except ConfigError as error:
        return str(error)


def test_every_aggregator_that_exists_is_held_to_these_laws() -> None:
    ours = set(filter(Aggregator.registry.is_builtin, Aggregator.registry.names()))  # other tests bring their own

    assert {one.name for one in EVERY} == ours


@every
@fewer
@given(parts=rounds())
def test_folding_updates_is_merging_prepared_parts_bit_for_bit(aggregator: Aggregator, parts: list[Part]) -> None:
    assert outcome(aggregator, parts) == outcome_of(merged(aggregator, parts))


@every
@fewer
@given(parts=rounds(), order=st.permutations(range(5)), cut=st.integers(1, 4))
def test_parts_may_be_merged_in_any_grouping_and_order(
    aggregator: Aggregator, parts: list[Part], order: list[int], cut: int
) -> None:
    # Given parts in another order, in two groups that are merged by themselves
    shuffled = [parts[index] for index in order] + parts[5:]
    groups = merged(aggregator, shuffled[cut:]).merge(merged(aggregator, shuffled[:cut]))
    # When both are finished
    straight, other = outcome_of(merged(aggregator, parts)), outcome_of(groups)
    # Then robust aggregators give the same bits, and sums the same but for rounding
    if aggregator.needs_all or isinstance(straight, str) or isinstance(other, str):
        assert straight == other
    else:
        np.testing.assert_allclose(straight.flat, other.flat, rtol=1e-6, atol=1e-6)


@every
@fewer
@given(parts=rounds())
def test_a_client_without_steps_counts_for_nothing(aggregator: Aggregator, parts: list[Part]) -> None:
    idle = Part(vector([1e9] * 4, parts[0].update.layout.float_dtype), "c3-idle", n_steps=0, n_samples=7)

    assert outcome(aggregator, [*parts[:3], idle, *parts[3:]]) == outcome(aggregator, parts)


@every
def test_when_no_client_took_a_step_there_is_no_update(aggregator: Aggregator) -> None:
    assert fold(aggregator, [Part(vector([1.0]), "a", 0), Part(vector([2.0]), "b", 0)]) is None


@every
def test_a_fold_of_nobody_gives_no_update(aggregator: Aggregator) -> None:
    assert aggregator.start(vector([1.0]).layout).finish() is None


@every
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_result_has_the_layout_and_dtype_of_the_updates(aggregator: Aggregator, dtype: str) -> None:
    parts = [Part(vector([i, -i], dtype), f"c{i}") for i in range(5)]

    result = folded(aggregator, parts)

    assert result.layout == parts[0].update.layout
    assert result.flat.dtype == dtype


@every
def test_integer_tensors_come_out_as_zeros(aggregator: Aggregator) -> None:
    update = NumpyVector.from_arrays({"a": np.ones(2, "float32"), "count": np.array([3, 4])})

    result = folded(aggregator, [Part(update, f"c{i}") for i in range(5)])

    assert result.arrays()["count"].tolist() == [0, 0]


@every
@fewer
@given(parts=rounds())
def test_updates_are_left_as_they_are(aggregator: Aggregator, parts: list[Part]) -> None:
    before = [part.update.copy() for part in parts]

    outcome(aggregator, parts)

    assert [part.update for part in parts] == before


@every
def test_a_copy_from_its_config_makes_the_same_of_a_round(aggregator: Aggregator) -> None:
    parts = [Part(vector([i, i**2]), f"c{i}", i + 1, 10 - i) for i in range(5)]

    again = Aggregator.registry.build((aggregator.name, aggregator.get_config()))

    assert fold(again, parts) == fold(aggregator, parts)


@every
def test_an_update_of_many_chunks_is_aggregated_to_its_last_element(aggregator: Aggregator) -> None:
    # Given updates longer than what any aggregator handles at a time, and the same ones backwards
    rng = np.random.default_rng(0)
    parts = [Part(vector(rng.normal(size=250_003)), f"c{i}") for i in range(5)]
    backwards = [part._replace(update=vector(part.update.flat[::-1])) for part in parts]
    # Then the aggregates of both are each other's reverse
    assert fold(aggregator, backwards) == vector(folded(aggregator, parts).flat[::-1])


@every
def test_an_update_of_another_layout_is_refused(aggregator: Aggregator) -> None:
    running = aggregator.start(vector([1.0]).layout)

    with pytest.raises(ValueError, match="tensor 'a' differs"):
        running.add(vector([1.0, 2.0]), client="a", n_steps=1, n_samples=1)


@every
def test_parts_of_different_layouts_are_refused(aggregator: Aggregator) -> None:
    left, right = (prepared(aggregator, Part(vector(values), str(values))) for values in ([1.0], [1.0, 2.0]))

    with pytest.raises(ValueError, match="tensor 'a' differs"):
        left.merge(right)


@every
@fewer
@given(
    hnp.arrays("float32", 5, elements=st.floats(-1e6, 1e6, width=32)),
    st.lists(st.integers(1, 9), min_size=5, max_size=5),
)
def test_buffers_come_out_between_the_smallest_and_the_largest_of_the_clients(
    aggregator: Aggregator, buffers: np.ndarray[tuple[int, ...], np.dtype[np.float32]], steps: list[int]
) -> None:
    # sums and masks would take a statistic out of that range
    parts = [Part(with_buffer([i, -1.0], [buffers[i]]), f"c{i}", steps[i]) for i in range(5)]

    (buffer,) = folded(aggregator, parts).arrays()["mean"]

    assert buffers.min() <= buffer <= buffers.max()


@pytest.mark.parametrize("aggregator", [one for one in EVERY if one.name != "sum"], ids=lambda one: one.name)
@fewer
@given(values=floats32(3), clients=st.integers(5, 8))
def test_clients_who_agree_get_what_they_agree_on(aggregator: Aggregator, values: Array, clients: int) -> None:
    parts = [Part(vector(values), f"c{i}", i + 1, 2 * i + 1) for i in range(clients)]

    assert np.array_equal(folded(aggregator, parts).flat, values)


@every
def test_what_two_clients_merge_is_what_a_third_may_go_on_with(aggregator: Aggregator) -> None:
    # merging makes a new part: a part that was merged can be merged with another again, and gives the same
    parts = [prepared(aggregator, Part(vector([i, 2.0 * i]), f"c{i}")) for i in range(6)]
    first, *rest = parts
    wholes = []
    for _ in range(2):
        whole = first
        for part in rest:
            whole = whole.merge(part)
        wholes.append(whole.finish())

    assert all(one == other for one, other in pairwise(wholes))


def test_an_aggregator_that_only_prepares_is_folded_by_merging() -> None:
    # Given a third party's aggregator with nothing but `prepare`
    class Prepared(Aggregator, register=False):
        def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> Mergeable:
            return AveragingAggregator().prepare(update, client=client, n_steps=n_steps, n_samples=n_samples)

    # Then its fold is that of the class which folds in place
    parts = [Part(vector([1, 2]), "c0", 3, 10), Part(vector([3, 5]), "c1", 4, 20)]
    assert fold(Prepared(), parts) == fold(AveragingAggregator(), parts)


def test_those_that_must_see_every_update_say_so() -> None:
    assert {one.name for one in EVERY if one.needs_all} == {"median", "trimmed-mean", "krum", "multi-krum"}
