"""scikit-learn's own single-sample step, as the oracle of gradients."""

from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor

from fl.core.model.parameters import SGDParameters
from fl.core.vector import Array


def one_step(params: SGDParameters, weights: dict[str, Array], x: Array, y: Any, **options: Any) -> dict[str, Array]:
    """w_before - w_after of `partial_fit` on one sample, for a constant learning rate of 1."""
    kind = SGDClassifier if params.kind == "classifier" else SGDRegressor
    estimator = kind(
        loss=params.loss,
        penalty=params.penalty,
        alpha=params.alpha,
        l1_ratio=params.l1_ratio,
        epsilon=params.epsilon,
        fit_intercept=params.fit_intercept,
        learning_rate="constant",
        eta0=1.0,
        shuffle=False,
    )
    classes, weight = options.get("classes"), options.get("weight", 1.0)
    first = {} if classes is None else {"classes": classes}
    # a first step allocates the arrays, whose values are then replaced
    estimator.partial_fit(x, [y], **first)
    coef = weights["coef"].copy()
    estimator.coef_ = coef if params.kind == "classifier" else coef[0]
    estimator.intercept_ = weights["intercept"].copy()
    estimator.partial_fit(x, [y], sample_weight=[weight])
    return {
        "coef": weights["coef"] - np.reshape(estimator.coef_, weights["coef"].shape),
        "intercept": weights["intercept"] - estimator.intercept_,
    }


def batch_mean(params: SGDParameters, weights: dict[str, Array], x: Array, y: Any, **options: Any) -> dict[str, Array]:
    """The mean of the steps of all samples, each from the same weights."""
    each = options.pop("sample_weights", np.ones(len(y)))
    steps = [one_step(params, weights, x[i : i + 1], y[i], weight=each[i], **options) for i in range(len(y))]
    return {name: np.mean([step[name] for step in steps], axis=0) for name in weights}
