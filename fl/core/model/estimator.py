"""Between `SklearnSGDModel` and the estimators of scikit-learn; the only file of the model that imports it."""

from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor

from fl.core.model.parameters import SGDParameters
from fl.core.vector import Array, NumpyVector
from fl.errors import ModelError

REFUSED = {
    "class_weight": "give sample weights to the dataset instead",
    "average": "averaging over steps is not what clients send",
    "early_stopping": "ask for early stopping of the run instead",
}
"""What would change the result if it were silently left out."""


def read_estimator(estimator: Any) -> SGDParameters:
    """The parameters of an unfitted estimator. Raises `ModelError`.

    What concerns the loop of `fit`, such as `learning_rate` and `max_iter`, is the run's to say and is not read.
    """
    if type(estimator) not in {SGDClassifier, SGDRegressor}:
        raise ModelError(f"give an SGDClassifier or an SGDRegressor of scikit-learn, not {type(estimator).__name__}")
    if hasattr(estimator, "coef_"):
        raise ModelError("this estimator is fitted: give sklearn.base.clone(estimator), and weights to the run")
    for name, advice in REFUSED.items():
        if getattr(estimator, name, None):
            raise ModelError(f"{name}={getattr(estimator, name)!r} has no federated counterpart: {advice}")
    return SGDParameters(
        kind="classifier" if isinstance(estimator, SGDClassifier) else "regressor",
        loss=estimator.loss,
        penalty=estimator.penalty,
        alpha=estimator.alpha,
        l1_ratio=0.15 if estimator.l1_ratio is None else estimator.l1_ratio,
        epsilon=estimator.epsilon,
        fit_intercept=estimator.fit_intercept,
    )


def build_estimator(params: SGDParameters, weights: NumpyVector, classes: Array | None) -> Any:
    """A fitted estimator, ready to predict and to go on with `partial_fit`."""
    options = {name: getattr(params, name) for name in ("loss", "penalty", "alpha", "l1_ratio", "epsilon")}
    kind = SGDClassifier if params.kind == "classifier" else SGDRegressor
    estimator = kind(fit_intercept=params.fit_intercept, **options)
    coef, intercept = weights.copy().arrays().values()
    estimator.coef_ = coef if params.kind == "classifier" else coef[0]
    estimator.intercept_ = intercept
    estimator.n_features_in_ = coef.shape[1]
    estimator.t_ = 1.0
    if classes is not None:
        estimator.classes_ = np.asarray(classes)
    return estimator
