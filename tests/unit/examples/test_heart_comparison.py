"""What the example claims: close to central training, and better than alone. Means are over ten seeds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from fl.examples.heart.compare import Score, score
from fl.examples.heart.hospitals import Patients, union
from fl.examples.heart.rivals import train_alone
from tests.unit.examples.heart_runs import comparison, federate, hospitals, rivals, shipped_spec

SEEDS = range(10)


def probabilities(weights: NumpyVector, patients: Patients) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    arrays = weights.arrays()
    return np.asarray(1 / (1 + np.exp(-(patients.x @ arrays["coef"][0] + arrays["intercept"]))))


def test_a_federated_model_is_within_three_hundredths_of_central_training() -> None:
    # Given ten ways to hold out patients
    compared = [comparison(seed) for seed in SEEDS]

    # When a model is trained by all hospitals together, and one with all patients in one place
    federated = np.mean([one.federated.accuracy for one in compared])
    central = np.mean([one.central.accuracy for one in compared])

    # Then they are about equally right about all held-out patients
    assert federated > central - 0.03


def test_a_federated_model_is_more_often_right_than_a_hospitals_own() -> None:
    # Given
    compared = [comparison(seed) for seed in SEEDS]

    # When each hospital's own model is judged by the held-out patients of all
    federated = np.mean([one.federated.accuracy for one in compared])
    own = np.mean([one.mean_own_of_all for one in compared])

    # Then
    assert federated > own + 0.05


def test_central_training_does_as_well_as_logistic_regression_by_scikit_learn() -> None:
    # Given all training patients in one place
    ours, oracle = [], []
    for seed in SEEDS:
        train = union(hospital.train for hospital in hospitals(seed))
        held_out = union(hospital.held_out for hospital in hospitals(seed))

        # When scikit-learn finds the optimum of the same loss and penalty
        alpha = shipped_spec(seed).model.config["alpha"]
        optimum = LogisticRegression(C=1 / (alpha * len(train)), max_iter=1000).fit(train.x, train.y)

        ours.append(comparison(seed).central.accuracy)
        oracle.append(accuracy_score(held_out.y, optimum.predict(held_out.x)))

    # Then it is no better
    assert np.mean(ours) == pytest.approx(np.mean(oracle), abs=0.015)


def test_a_score_is_what_scikit_learn_says() -> None:
    # Given
    weights, patients = rivals(0).central, union(hospital.held_out for hospital in hospitals(0))

    # When
    ours = score(shipped_spec(0).model, weights, patients)

    # Then
    predicted = probabilities(weights, patients)
    assert ours.accuracy == pytest.approx(accuracy_score(patients.y, predicted > 0.5))
    assert ours.log_loss == pytest.approx(log_loss(patients.y, predicted))
    assert ours.n == len(patients)


def test_scores_of_hospitals_add_up_to_that_of_all() -> None:
    # Given one model
    weights, model = rivals(0).central, shipped_spec(0).model

    # When it is judged hospital by hospital, and by all patients at once
    apart = sum((score(model, weights, hospital.held_out) for hospital in hospitals(0)), Score())
    at_once = score(model, weights, union(hospital.held_out for hospital in hospitals(0)))

    # Then
    assert (apart.n, apart.correct) == (at_once.n, at_once.correct)
    assert apart.loss_sum == pytest.approx(at_once.loss_sum)


def test_an_own_model_is_judged_by_its_own_patients_and_by_everybodys() -> None:
    # Given
    compared, own = comparison(0), rivals(0).own
    everybody = union(hospital.held_out for hospital in hospitals(0))

    for hospital, row in zip(hospitals(0), compared.rows, strict=True):
        # When
        at_home, of_all = (
            accuracy_score(patients.y, probabilities(own[hospital.name], patients) > 0.5)
            for patients in (hospital.held_out, everybody)
        )

        # Then
        assert [row.own.accuracy, row.own_of_all.accuracy] == pytest.approx([at_home, of_all])


def test_an_own_model_is_that_of_a_federation_of_one() -> None:
    # Given a hospital with nobody to train with
    hospital = hospitals(0)[0]
    spec = shipped_spec(0, rounds=5, register=1)

    # When
    alone = train_alone(spec, hospital.name, train=hospital.train, valid=hospital.valid)

    # Then, but for the mean over one client, which rounds
    np.testing.assert_allclose(alone.flat, federate(spec, (hospital,)).flat, rtol=1e-12)


def test_a_comparison_that_nobody_could_repeat_is_refused() -> None:
    hospital = hospitals(0)[0]
    with pytest.raises(ConfigError, match="needs a seed"):
        train_alone(shipped_spec(None), "any", train=hospital.train, valid=hospital.valid)
