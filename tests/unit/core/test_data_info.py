"""Data info: what clients tell, combined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.data_info import DataInfo, combine, fits
from fl.errors import DataError

GROUPS = st.lists(
    st.builds(
        DataInfo,
        st.integers(0, 9),
        n_features=st.sampled_from([None, 3]),
        classes=st.none() | st.lists(st.integers(-5, 5)).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


def named(infos: list[DataInfo]) -> dict[str, DataInfo]:
    return {f"c{i}": info for i, info in enumerate(infos)}


def test_samples_add_up_and_classes_are_the_sorted_union() -> None:
    infos = {
        "b": DataInfo(10, n_features=3, input_shape=(10, 3), classes=(2, 0), data_type="float64"),
        "a": DataInfo(5, n_features=3, input_shape=(5, 3), classes=(10, 0), data_type="float64"),
    }
    assert combine(infos) == DataInfo(15, 3, (0, 3), (0, 2, 10), "float64")


def test_classes_that_are_text_are_sorted_as_text() -> None:
    infos = {"a": DataInfo(1, classes=("no", "yes")), "b": DataInfo(1, classes=("maybe", "10", "9"))}
    assert combine(infos).classes == ("10", "9", "maybe", "no", "yes")


def test_a_site_without_a_class_of_its_own_takes_nothing_from_the_union() -> None:
    assert combine({"a": DataInfo(0, classes=()), "b": DataInfo(1, classes=("b", "a"))}).classes == ("a", "b")


def test_the_batch_dimension_is_not_compared() -> None:
    infos = {"a": DataInfo(1, input_shape=(32, 3)), "b": DataInfo(1, input_shape=(0, 3))}
    assert combine(infos).input_shape == (0, 3)


@given(GROUPS, GROUPS)
def test_groups_of_clients_combine_to_what_all_do(left: list[DataInfo], right: list[DataInfo]) -> None:
    groups = {"left": combine(named(left)), "right": combine(named(right))}
    assert combine(groups) == combine(named([*left, *right]))


@given(st.dictionaries(st.text("xyz", min_size=1), st.lists(st.integers(-5, 5)), min_size=1, max_size=4))
def test_the_order_of_clients_does_not_matter(labels: dict[str, list[int]]) -> None:
    infos = {client: DataInfo(len(values), classes=tuple(values)) for client, values in labels.items()}
    assert combine(infos) == combine(dict(reversed(infos.items())))


@pytest.mark.parametrize(
    ("left", "right", "field"),
    [
        (DataInfo(1, n_features=3), DataInfo(1, n_features=4), "n_features"),
        (DataInfo(1, input_shape=(1, 3)), DataInfo(1, input_shape=(1, 4)), "input_shape"),
        (DataInfo(1, data_type="float32"), DataInfo(1, data_type="float64"), "data_type"),
        (DataInfo(1, classes=(0, 1)), DataInfo(1, classes=("no", "yes")), "classes"),
    ],
)
def test_a_clash_names_the_field_the_clients_and_their_values(left: DataInfo, right: DataInfo, field: str) -> None:
    with pytest.raises(DataError) as caught:
        combine({"paris": left, "lille": right})
    for word in (field, "paris has", "lille has"):
        assert word in str(caught.value)


def test_a_field_that_only_some_tell_is_theirs() -> None:
    assert combine({"a": DataInfo(1), "b": DataInfo(1, n_features=3)}).n_features == 3


def test_a_union_that_may_lack_classes_is_none() -> None:
    assert combine({"a": DataInfo(1), "b": DataInfo(1, classes=(0, 1))}).classes is None


def test_classes_of_both_kinds_at_one_site_are_refused() -> None:
    with pytest.raises(DataError, match="mix numbers and text"):
        DataInfo(2, classes=(0, "one"))


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(DataError, match="n_samples is -1, and cannot be negative"):
        DataInfo(-1)


def test_no_clients_cannot_be_combined() -> None:
    with pytest.raises(DataError, match="no clients"):
        combine({})


def test_a_newcomer_with_fewer_classes_fits() -> None:
    fits(DataInfo(3, n_features=2, classes=(1,)), DataInfo(9, n_features=2, classes=(0, 1)))


@pytest.mark.parametrize(
    ("late", "message"),
    [
        (DataInfo(3, n_features=2, classes=(1, 7)), r"classes \[7\] of the newcomer"),
        (DataInfo(3, n_features=5), "newcomer has 5, run has 2"),
    ],
)
def test_a_newcomer_that_does_not_fit_is_refused_with_the_reason(late: DataInfo, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fits(late, DataInfo(9, n_features=2, classes=(0, 1)))
