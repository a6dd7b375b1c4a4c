"""Whose data go together."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.data_info import DataInfo, combine
from fl.errors import DataError
from fl.run.agreement import in_agreement

USUAL = DataInfo(n_samples=10, n_features=4, input_shape=(0, 4), classes=(0, 1), data_type="float32")
ODD = {
    "features": (replace(USUAL, n_features=3, input_shape=(0, 3)), "n_features"),
    "a shape": (replace(USUAL, input_shape=(0, 2, 2)), "input_shape"),
    "a type": (replace(USUAL, data_type="float64"), "data_type"),
    "labels as text": (replace(USUAL, classes=("no", "yes")), "'yes'"),
}


@pytest.mark.parametrize("name", ODD)
def test_who_differs_from_most_is_left_out_and_told_in_what(name: str) -> None:
    odd, word = ODD[name]

    fitting, notes = in_agreement({"ant": USUAL, "bee": odd, "cat": USUAL})

    assert list(fitting) == ["ant", "cat"]
    assert [(note.client, word in note.reason) for note in notes] == [("bee", True)]


def test_labels_of_another_kind_are_told_also_where_some_tell_none() -> None:
    text = replace(USUAL, classes=("no", "yes"))
    untold = replace(USUAL, classes=None)

    fitting, notes = in_agreement({"ant": USUAL, "bee": text, "cat": USUAL, "dog": untold})

    assert list(fitting) == ["ant", "cat", "dog"]
    assert "['no', 'yes']" in notes[0].reason


def test_without_a_majority_nobody_can_say_who_is_wrong() -> None:
    with pytest.raises(DataError, match="ant has 4, bee has 3"):
        in_agreement({"ant": USUAL, "bee": ODD["features"][0]})


infos = st.builds(
    DataInfo,
    n_samples=st.just(1),
    n_features=st.sampled_from([None, 3, 4]),
    data_type=st.sampled_from([None, "float32", "float64"]),
    classes=st.sampled_from([None, (), (0, 1), (2,), ("a",)]),
)


@given(st.dictionaries(st.sampled_from("abcdefg"), infos, min_size=1))
def test_data_that_go_together_are_all_taken(joining: dict[str, DataInfo]) -> None:
    try:
        combine(joining)
    except DataError:
        return

    assert in_agreement(joining) == (dict(sorted(joining.items())), ())


def outcome(joining: dict[str, DataInfo]) -> object:
    try:
        return in_agreement(joining)
    except DataError as error:
        return str(error)


@given(st.dictionaries(st.sampled_from("abcdefg"), infos, min_size=1), st.randoms())
def test_the_order_of_asking_says_nothing(joining: dict[str, DataInfo], rng: random.Random) -> None:
    shuffled = list(joining.items())
    rng.shuffle(shuffled)

    assert outcome(dict(shuffled)) == outcome(joining)


@given(st.dictionaries(st.sampled_from("abcdefg"), infos, min_size=1))
def test_those_that_are_taken_go_together_and_each_other_one_is_told(joining: dict[str, DataInfo]) -> None:
    found = outcome(joining)
    if isinstance(found, tuple):
        fitting, notes = found
        combine(fitting)
        assert {*fitting, *(note.client for note in notes if note.reason)} == set(joining)
