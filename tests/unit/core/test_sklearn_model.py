"""The scikit-learn model: weights, labels, predictions, and the estimator it becomes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.model import Model
from fl.core.model.losses import CLASSIFICATION, REGRESSION
from fl.core.model.parameters import Kind
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, DataError, ModelError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
DECISIONS = st.floats(-800, 800, allow_subnormal=True)


def model(
    kind: Kind = "classifier", classes: tuple[int | str, ...] | None = ("no", "yes"), **options: Any
) -> SklearnSGDModel:
    made = SklearnSGDModel.from_parameters(kind, **options)
    made.initialize(DataInfo(40, 3, classes=classes))
    return made


def with_random_weights(made: SklearnSGDModel) -> SklearnSGDModel:
    weights = made.get_weights()
    weights.flat[...] = np.random.default_rng(1).normal(size=weights.flat.size)
    made.set_weights(weights)
    return made


def test_two_classes_share_one_row() -> None:
    assert [str(spec) for spec in model().get_weights().layout.specs] == [
        "coef: float64[1, 3]",
        "intercept: float64[1]",
    ]


def test_more_classes_have_a_row_each() -> None:
    shapes = [spec.shape for spec in model(classes=(0, 1, 2)).get_weights().layout.specs]
    assert shapes == [(3, 3), (3,)]


def test_a_regressor_has_one_row() -> None:
    shapes = [spec.shape for spec in model("regressor", None).get_weights().layout.specs]
    assert shapes == [(1, 3), (1,)]


def test_a_server_knows_the_initial_weights_from_config_and_data_info() -> None:
    config = SklearnSGDModel.from_parameters("classifier", dtype="float32").get_config()
    weights = Model.registry.get("sklearn-sgd").initial_weights(config, DataInfo(9, 3, classes=(0, 1, 2)))
    assert weights == model(classes=(0, 1, 2), dtype="float32").get_weights()


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (DataInfo(9, classes=(0, 1)), "number of features"),
        (DataInfo(9, 3), "expose_classes=True"),
        (DataInfo(9, 3, classes=(1,)), "one-class data"),
    ],
)
def test_data_info_that_is_not_enough_is_refused_with_what_to_do(info: DataInfo, message: str) -> None:
    with pytest.raises((ModelError, DataError), match=message):
        SklearnSGDModel.from_parameters("classifier").initialize(info)


def test_weights_are_asked_for_only_after_initialization() -> None:
    with pytest.raises(ModelError, match="call initialize"):
        SklearnSGDModel.from_parameters("regressor").get_weights()


def test_weights_that_were_taken_out_do_not_change_with_the_model() -> None:
    made = with_random_weights(model())
    before, twin = made.get_weights(), made.get_weights()
    made.apply_updates(before * 0.5)
    assert before == twin
    assert made.get_weights() == before * 0.5


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="'coef' differs"):
        model().set_weights(model(classes=(0, 1, 2)).get_weights())


def test_a_model_from_its_config_is_the_same() -> None:
    made = SklearnSGDModel.from_parameters("regressor", "huber", "elasticnet", alpha=0.1, l1_ratio=0.3, dtype="float32")
    assert SklearnSGDModel.from_config(made.get_config()).params == made.params


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "classifer"}, "neither 'classifier' nor 'regressor'"),
        ({"kind": "classifier", "loss": "logloss"}, "did you mean 'log_loss'"),
        ({"kind": "regressor", "loss": "hinge"}, "none of a regressor's"),
        ({"kind": "classifier", "penalty": "l3"}, "penalty 'l3'"),
        ({"kind": "classifier", "alpha": -1.0}, "alpha is -1.0"),
        ({"kind": "classifier", "l1_ratio": 1.5}, "l1_ratio is 1.5.* at most 1"),
        ({"kind": "classifier", "dtype": "float16"}, "dtype 'float16'"),
        ({"kind": "classifier", "aplha": 1.0}, "did you mean 'alpha'"),
        ({}, "option 'kind' is missing"),
    ],
)
def test_a_wrong_parameter_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SklearnSGDModel.from_config(options)


@pytest.mark.parametrize("y", [["no", "yes"], np.array(["no", "yes"]), np.array(["no", "yes"], dtype=object)])
def test_text_labels_are_signed_by_the_order_of_the_sorted_classes(y: Any) -> None:
    made = model(classes=("yes", "no"), loss="squared_error")
    # with a decision value of 0 the squared error's gradient is the mean of -target·x
    gradient = made.compute_batch_gradients(Batch(np.eye(2, 3), y))
    np.testing.assert_array_equal(gradient.arrays()["coef"], [[0.5, -0.5, 0.0]])


@pytest.mark.parametrize(
    ("classes", "labels", "strange"),
    [
        (("no", "yes"), ["no", "maybe"], "'maybe'"),
        ((0, 1), [0, 7], "7"),
        ((0, 1), ["0", "1"], "'0'"),
        ((0, 1, 2), [0, 5], "5"),
        ((0, 1, 2), [0.5, 1.0], "0.5"),
        ((0, 1, 2), ["0", "1"], "'0'"),
        (("a", "b", "c"), [0, 1], "0"),
        ((0, 1, 2), [None, 1], "None"),
        (("a", "b", "c"), ["a", "bb"], "'bb'"),
    ],
)
def test_a_label_that_is_no_class_is_named(classes: tuple[int | str, ...], labels: list[Any], strange: str) -> None:
    with pytest.raises(DataError, match=f"label {strange} is none of the classes"):
        model(classes=classes).compute_batch_gradients(Batch(X[:2], np.array(labels)))


def test_a_regressor_refuses_text() -> None:
    with pytest.raises(DataError, match="numbers as targets"):
        model("regressor", None).compute_batch_gradients(Batch(X[:1], np.array(["a"])))


def test_samples_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(2,\) do not fit a model of 3 features"):
        model().forward(Batch(X[:, :2]))


def test_samples_without_target_cannot_be_learned_from() -> None:
    with pytest.raises(DataError, match="no target"):
        model().compute_batch_gradients(Batch(X))


@given(hnp.arrays("float64", 5, elements=DECISIONS))
def test_a_probability_is_above_a_half_exactly_when_the_second_class_wins(decisions: Any) -> None:
    probability = model().to_predictions(decisions)
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_array_equal(probability > 0.5, decisions > 0)


@given(hnp.arrays("float64", (3, 4), elements=DECISIONS))
def test_the_class_of_the_largest_decision_value_has_the_largest_score(decisions: Any) -> None:
    scores = model(classes=(0, 1, 2, 3)).to_predictions(decisions)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_array_equal(scores.argmax(axis=1), decisions.argmax(axis=1))


@pytest.mark.parametrize("classes", [("no", "yes"), (0, 1, 2)])
def test_with_the_log_loss_predictions_are_scikit_learns_probabilities(classes: tuple[int | str, ...]) -> None:
    made = with_random_weights(model(classes=classes, loss="log_loss"))
    expected = made.to_estimator().predict_proba(X)
    predictions = made.compute_batch_predictions(Batch(X))[1]
    np.testing.assert_allclose(predictions, expected[:, 1] if len(classes) == 2 else expected, rtol=1e-9)


def test_a_regressors_prediction_is_its_decision_value() -> None:
    made = with_random_weights(model("regressor", None))
    np.testing.assert_allclose(made.compute_batch_predictions(Batch(X))[1], made.to_estimator().predict(X))


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_the_estimator_predicts_the_class_of_the_largest_prediction(classes: tuple[str, ...]) -> None:
    made = with_random_weights(model(classes=classes))
    predictions = made.compute_batch_predictions(Batch(X))[1]
    place = predictions.argmax(axis=1) if predictions.ndim == 2 else (predictions > 0.5).astype(int)
    assert made.to_estimator().predict(X).tolist() == [classes[i] for i in place]


def test_the_estimator_goes_on_with_partial_fit() -> None:
    made = with_random_weights(model())
    before = made.get_weights()
    made.to_estimator().partial_fit(X, RNG.choice(["no", "yes"], 40))
    assert made.get_weights() == before


@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
def test_an_unfitted_estimator_gives_its_parameters(kind: Any) -> None:
    made = SklearnSGDModel(
        kind(loss="huber", penalty="elasticnet", alpha=0.5, l1_ratio=0.7, epsilon=0.3, fit_intercept=False)
    )
    assert made.get_config() == {
        "kind": "classifier" if kind is SGDClassifier else "regressor",
        "loss": "huber",
        "penalty": "elasticnet",
        "alpha": 0.5,
        "l1_ratio": 0.7,
        "epsilon": 0.3,
        "fit_intercept": False,
        "dtype": "float64",
    }


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression(), "not LogisticRegression"),
        (SGDRegressor().fit(X, X[:, 0]), "is fitted"),
        (SGDClassifier(class_weight="balanced"), "class_weight='balanced'.* sample weights"),
        (SGDClassifier(average=True), "average=True"),
    ],
)
def test_an_estimator_that_cannot_be_federated_is_refused(estimator: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SklearnSGDModel(estimator)


OF_MARGIN: dict[str, Callable[[float], float]] = {
    "hinge": lambda z: max(0.0, 1 - z),
    "perceptron": lambda z: max(0.0, -z),
    "log_loss": lambda z: math.log1p(math.exp(-z)),
    "modified_huber": lambda z: max(0.0, 1 - z) ** 2 if z > -1 else -4 * z,
    "squared_hinge": lambda z: max(0.0, 1 - z) ** 2,
}
OF_ERROR: dict[str, Callable[[float], float]] = {
    "squared_error": lambda r: r * r / 2,
    "huber": lambda r: r * r / 2 if abs(r) < 0.1 else 0.1 * abs(r) - 0.005,
    "epsilon_insensitive": lambda r: max(0.0, abs(r) - 0.1),
    "squared_epsilon_insensitive": lambda r: max(0.0, abs(r) - 0.1) ** 2,
}
"""The losses of scikit-learn's user guide, of the margin z = y·p or of the error r = p - y."""


@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_a_classifiers_loss_is_that_of_the_user_guide(loss: str) -> None:
    signs, raw = RNG.choice([-1.0, 1.0], 40), RNG.normal(size=40) * 3
    losses = model(loss=loss).loss_function(np.where(signs > 0, "yes", "no"), raw)
    expected = [
        OF_MARGIN[loss](y * p) if loss in OF_MARGIN else OF_ERROR[loss](p - y) for y, p in zip(signs, raw, strict=True)
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@pytest.mark.parametrize("loss", REGRESSION)
def test_a_regressors_loss_is_that_of_the_user_guide(loss: str) -> None:
    y, raw = RNG.normal(size=40) / 5, RNG.normal(size=40) / 5
    expected = [OF_ERROR[loss](error) for error in raw - y]
    losses = model("regressor", None, loss=loss).loss_function(y, raw)
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-15)


def test_a_loss_of_many_classes_is_the_sum_over_the_rows() -> None:
    made = model(classes=(0, 1, 2), loss="hinge")
    losses = made.loss_function(np.array([1, 2]), np.array([[0.5, 0.0, -3.0], [0.0, 0.0, 2.0]]))
    np.testing.assert_array_equal(losses, [1.5 + 1.0 + 0.0, 1.0 + 1.0 + 0.0])


def test_weights_may_be_read_only_bytes_that_came_over_the_wire() -> None:
    made = with_random_weights(model())
    weights = NumpyVector.unpack(made.get_weights().layout, bytes(made.get_weights().pack()))
    made.set_weights(weights)
    made.apply_updates(weights)
    assert not made.get_weights().flat.any()
