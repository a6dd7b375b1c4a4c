"""The hospitals' arrays: encoded without a look at anybody else's patients, and parted as announced."""

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from fl.core.vector import Array
from fl.examples.heart.hospitals import PLACES, Hospital, load_hospitals, standardised, union
from fl.examples.heart.schema import CATEGORIES, FEATURES, LEFT_OUT, NUMBERS

TABLE = pd.read_csv(str(files("fl.examples") / "data" / "heart_disease_uci.csv"), dtype=str)
HOSPITALS = load_hospitals(0)


def column(hospital: Hospital, name: str) -> Array:
    return np.asarray(hospital.train.x[:, FEATURES.index(name)])


def measured_tables() -> st.SearchStrategy[Array]:
    values = st.integers(-300, 300).map(float) | st.just(np.nan)
    return arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=values)


@given(measured_tables(), measured_tables())
def test_columns_are_standardised_as_scikit_learn_does_it_with_the_training_patients(
    measured: Array, training: Array
) -> None:
    # Given columns that training patients have, and not all alike: the others have no deviation to divide by
    known = [i for i in range(3) if len(np.unique(training[:, i][~np.isnan(training[:, i])])) > 1]

    # When
    ours = standardised(measured, training)

    # Then
    oracle = StandardScaler().fit(training[:, known]).transform(measured[:, known]) if known else measured[:, known]
    np.testing.assert_allclose(ours[:, known], np.nan_to_num(oracle, nan=0.0), atol=1e-9)


@given(measured_tables())
def test_a_column_that_no_training_patient_has_becomes_zero(measured: Array) -> None:
    assert not standardised(measured, np.full((4, 3), np.nan)).any()


def test_patients_that_are_not_learned_from_have_no_say_in_the_scales() -> None:
    # Given the age, which everybody has
    age = FEATURES.index("age")

    for hospital in HOSPITALS:
        # When it is scaled, then by the training patients: their mean is 0 and their deviation 1
        ages = column(hospital, "age")
        assert (abs(ages.mean()), ages.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
        # and of the others neither is
        others = union([hospital.valid, hospital.held_out]).x[:, age]
        assert abs(others.mean()) > 1e-3


def test_every_category_in_the_data_is_known_to_the_schema() -> None:
    twofold = {"sex": {"Female"}, "fbs": {"FALSE"}, "exang": {"FALSE"}}
    for test, categories in CATEGORIES.items():
        assert set(TABLE[test].dropna()) == set(categories) | twofold.get(test, set())


def test_every_test_that_was_not_always_taken_has_an_indicator() -> None:
    assert set(TABLE.columns[TABLE.isna().any()]) == set(LEFT_OUT)


def test_a_category_is_plus_one_where_it_applies_and_zero_where_nothing_is_recorded() -> None:
    # Given all of Hungary's patients, of whom most have no thal
    hungary = HOSPITALS[PLACES.index("Hungary")]
    thal = np.stack([column(hungary, f"thal={category}") for category in CATEGORIES["thal"]])

    # When a patient has one
    recorded = column(hungary, "no thal") == 0

    # Then it is one +1 among -1, and else three zeros
    assert (thal[:, recorded].sum(axis=0) == -1).all()
    assert not thal[:, ~recorded].any()


def test_a_zero_of_cholesterol_counts_as_not_measured() -> None:
    # Given Switzerland, where all of them are zeros
    switzerland = HOSPITALS[PLACES.index("Switzerland")]

    # Then nothing was measured, and that is what its features say
    assert not column(switzerland, "chol").any()
    assert column(switzerland, "no chol").all()


def test_no_two_patients_of_a_hospital_are_one() -> None:
    for hospital in HOSPITALS:
        everybody = union([hospital.train, hospital.valid, hospital.held_out])
        # only patients without most tests could look alike by chance, and none do
        assert len(np.unique(everybody.x, axis=0)) == len(everybody)


@pytest.mark.parametrize("seed", range(5))
def test_a_hospital_keeps_all_its_patients_in_three_parts(seed: int) -> None:
    # Given each place's patients, two of whom are in the table twice
    patients = TABLE.drop(columns="id").drop_duplicates()["dataset"].value_counts()

    for hospital in load_hospitals(seed):
        # When they are parted
        n, parts = patients[hospital.place], (hospital.train, hospital.valid, hospital.held_out)

        # Then nobody is lost, and the shares are 60, 15 and 25 % to within a patient of each kind
        assert sum(map(len, parts)) == n
        np.testing.assert_allclose([len(part) / n for part in parts], [0.60, 0.15, 0.25], atol=2 / n)


@pytest.mark.parametrize("seed", range(5))
def test_held_out_patients_are_as_often_ill_as_the_others(seed: int) -> None:
    for hospital in load_hospitals(seed):
        everybody = union([hospital.train, hospital.valid, hospital.held_out])
        n = len(hospital.held_out)
        assert hospital.held_out.y.mean() == pytest.approx(everybody.y.mean(), abs=1 / n)


def test_the_same_seed_parts_patients_alike() -> None:
    for one, other in zip(load_hospitals(3), load_hospitals(3), strict=True):
        np.testing.assert_array_equal(one.held_out.x, other.held_out.x)


def test_another_seed_holds_out_other_patients() -> None:
    for one, other in zip(load_hospitals(3), load_hospitals(4), strict=True):
        assert not np.array_equal(one.held_out.x, other.held_out.x)


def test_there_are_as_many_columns_as_features() -> None:
    assert {hospital.train.x.shape[1] for hospital in HOSPITALS} == {len(FEATURES)}
    assert FEATURES[: len(NUMBERS)] == NUMBERS
