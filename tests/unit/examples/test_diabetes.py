"""The regression example: what its clinics have, and what its table claims."""

import asyncio
import secrets
from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from fl.examples.diabetes.clinics import LEAST, SCALES, load_clinics, together
from fl.examples.diabetes.study import MODELS, Result, compare, spec_of


@cache
def result(framework: str) -> Result:
    spec = spec_of(framework, clinics=6, rounds=40, seed=0)
    return asyncio.run(compare(f"memory://{secrets.token_hex(4)}", spec, *load_clinics(seed=0)))


def test_every_patient_is_at_one_clinic_or_held_out() -> None:
    # Given
    clinics, held_out = load_clinics(seed=3)
    everybody = together(clinics)

    # When
    rows = np.concatenate([everybody.train.x, everybody.valid.x, held_out.x])

    # Then nobody is lost and nobody is in twice
    assert len(rows) == len(np.unique(rows, axis=0)) == len(load_diabetes().target)


def test_clinics_are_of_unlike_sizes_and_none_is_empty() -> None:
    clinics, _ = load_clinics()
    sizes = [len(clinic.train) + len(clinic.valid) for clinic in clinics.values()]
    assert LEAST <= min(sizes) < max(sizes) / 3


def test_every_column_has_an_agreed_scale_that_is_about_right() -> None:
    # Given the columns as scikit-learn names them
    data = load_diabetes(scaled=False)

    # Then
    assert list(SCALES) == data.feature_names
    for column, (middle, spread) in zip(data.data.T, SCALES.values(), strict=True):
        assert abs(column.mean() - middle) < spread / 2
        assert spread / 2 < column.std() < 2 * spread


@pytest.mark.parametrize("framework", MODELS)
def test_one_federated_model_predicts_nearly_as_well_as_a_central_one_and_better_than_a_clinics_own(
    framework: str,
) -> None:
    compared = result(framework)
    assert compared.federated > compared.central - 0.05
    assert compared.federated > compared.alone + 0.03


def test_central_training_does_as_well_as_ridge_regression_by_scikit_learn() -> None:
    # Given all training patients in one place
    clinics, held_out = load_clinics()
    train = together(clinics).train

    # When scikit-learn finds the optimum
    optimum = Ridge().fit(train.x, train.y).score(held_out.x, held_out.y)

    # Then
    assert result("scikit-learn").central == pytest.approx(optimum, abs=0.03)
