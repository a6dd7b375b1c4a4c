"""scikit-learn's linear models trained by SGD, without scikit-learn in the loop."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy, get_device_policy, stay_on_cpu
from fl.core.model.api import UNBOUNDED, Model
from fl.core.model.clipping import Clipping
from fl.core.model.labels import SignedLabels
from fl.core.model.linear import Coefficients, StepRule, clipped_mean_gradient, decision, mean_gradient
from fl.core.model.losses import CLASSIFICATION
from fl.core.model.parameters import Kind, Penalty, Precision, SGDParameters
from fl.core.registry import configure
from fl.core.vector import Array, NumpyVector, Vector, check_same
from fl.errors import DataError, ModelError

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier, SGDRegressor


class SklearnSGDModel(Model):
    """`SGDClassifier` or `SGDRegressor`: tensors "coef" (rows, features) and "intercept" (rows,).

    A classifier has a row per class, one-vs-rest, or a single row for two classes; a regressor has one. The gradient
    is what scikit-learn's own `partial_fit` of a single sample implies (`fl.core.model.linear`), and training with
    batches of 1 is therefore `partial_fit` with `learning_rate="constant"`.

    Predictions are the value for a regressor; for two classes the sigmoid of the decision value, above .5 exactly
    when the second class is predicted; for more classes their sigmoids over their sum, the largest being the
    predicted class. With `loss="log_loss"` they are scikit-learn's `predict_proba`; with other losses they only
    rank.
    """

    name = "sklearn-sgd"

    def __init__(self, model: "SGDParameters | SGDClassifier | SGDRegressor") -> None:
        """Take parameters, or an unfitted estimator of scikit-learn whose parameters are read.

        Raises `ModelError` for an estimator that is fitted, or asks for what a federation cannot do.
        """
        if not isinstance(model, SGDParameters):
            from fl.core.model.estimator import read_estimator  # noqa: PLC0415  # imports scikit-learn

            model = read_estimator(model)
        self.params = model
        self._loss = CLASSIFICATION[str(model.loss)]
        self._rule = StepRule.of(model)
        self._labels: SignedLabels | None = None
        self._weights: NumpyVector | None = None
        self._shape = (0, 0)

    @classmethod
    def from_parameters(
        cls,
        kind: Kind,
        loss: str | None = None,
        penalty: Penalty | None = "l2",
        *,
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        epsilon: float = 0.1,
        fit_intercept: bool = True,
        dtype: Precision = "float64",
    ) -> Self:
        """Build from parameters, named as in `SGDParameters`. Raises `ConfigError` naming the one that is wrong."""
        params = SGDParameters(
            kind,
            loss,
            penalty,
            alpha=alpha,
            l1_ratio=l1_ratio,
            epsilon=epsilon,
            fit_intercept=fit_intercept,
            dtype=dtype,
        )
        return cls(params)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return configure(cls.from_parameters, config)

    def get_config(self) -> dict[str, Any]:
        return asdict(self.params)

    @classmethod
    def initial_weights(cls, config: Mapping[str, Any], data_info: DataInfo) -> NumpyVector:
        """Zeros, as many as the data info asks for: where scikit-learn starts too."""
        model = cls.from_config(config)
        model.initialize(data_info)
        return model.get_weights()

    def initialize(self, data_info: DataInfo) -> None:
        """Set all weights to zero. Raises `ModelError`, or `DataError` for one-class data."""
        if data_info.n_features is None:
            raise ModelError(f"{self.name} needs the number of features, which the data info does not tell")
        rows = 1
        if self.params.kind == "classifier":
            if data_info.classes is None:
                raise ModelError(
                    f"{self.name}: a classifier needs the classes, which the data info does not tell: "
                    "give expose_classes=True to the dataset of every client"
                )
            self._labels = SignedLabels(data_info.classes, self.params.dtype)
            rows = self._labels.rows
        self._shape = (rows, data_info.n_features)
        coef, intercept = np.zeros(self._shape), np.zeros(rows)
        self._weights = NumpyVector.from_arrays({"coef": coef, "intercept": intercept}).astype(self.params.dtype)

    @property
    def classes(self) -> Array | None:
        """Sorted labels of a classifier, once it is initialized."""
        return None if self._labels is None else self._labels.classes

    def get_weights(self, trainable: bool = False) -> NumpyVector:
        del trainable  # all are
        return self._known_weights().copy()

    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        del trainable  # all are
        mine, theirs = self._known_weights(), weights.to_numpy()
        check_same(mine.layout, theirs.layout)
        mine.flat[...] = theirs.flat

    def trainable_view(self) -> NumpyVector:
        return self._known_weights()

    def apply_updates(self, updates: Vector) -> None:
        weights = self._known_weights()
        weights -= updates

    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> NumpyVector:
        weights = self._known_weights()
        gradient = NumpyVector(weights.layout, np.zeros(weights.flat.size, weights.flat.dtype))
        x = self._inputs(batch.x)
        if x.shape[0] == 0:
            return gradient
        view = self._view(weights)
        slopes = self._loss.slope(self._targets(batch.y), decision(x, view), self.params.epsilon)
        if batch.weights is not None:
            slopes = slopes * np.asarray(batch.weights, slopes.dtype)[:, None]
        out = self._view(gradient)
        if max_norm is None:
            mean_gradient(x, slopes, view.coef, self._rule, out)
        else:
            clipped_mean_gradient(x, slopes, view.coef, self._rule, Clipping(max_norm, per_tensor), out)
            if not gradient.is_finite():
                raise DataError(UNBOUNDED)
        return gradient

    def forward(self, batch: Batch) -> Array:
        """Decision values: of shape (n,), or (n, classes) for more than two classes."""
        raw = decision(self._inputs(batch.x), self._view(self._known_weights()))
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def loss_function(self, y_true: Array, raw: Array) -> Array:
        """Of shape (n,); for more than two classes the sum over the one-vs-rest rows."""
        losses: Array = self._loss.value(self._targets(y_true), raw.reshape(len(raw), -1), self.params.epsilon)
        total: Array = losses.sum(axis=1)
        return total

    def to_predictions(self, raw: Array) -> Array:
        if self.params.kind == "regressor":
            return raw
        return _to_probability(raw) if raw.ndim == 1 else _to_scores(raw)

    def update_device_policy(self, policy: DevicePolicy | None = None) -> None:
        stay_on_cpu(self.name, policy or get_device_policy())

    def to_estimator(self) -> "SGDClassifier | SGDRegressor":
        """A fitted scikit-learn estimator with these weights."""
        from fl.core.model.estimator import build_estimator  # noqa: PLC0415  # imports scikit-learn

        return build_estimator(self.params, self._known_weights(), self.classes)

    def _known_weights(self) -> NumpyVector:
        if self._weights is None:
            raise ModelError(f"{self.name} has no weights yet: call initialize with the data info first")
        return self._weights

    def _view(self, vector: NumpyVector) -> Coefficients:
        rows = self._shape[0]
        return Coefficients(vector.flat[:-rows].reshape(self._shape), vector.flat[-rows:])

    def _inputs(self, x: Any) -> Any:
        if x.ndim != 2 or x.shape[1] != self._shape[1]:
            raise DataError(f"samples of shape {x.shape[1:]} do not fit a model of {self._shape[1]} features")
        return x if x.dtype == self.params.dtype else x.astype(self.params.dtype)

    def _targets(self, y: Any) -> Array:
        if y is None:
            raise DataError("these samples have no target: name one when the dataset is made")
        if self._labels is not None:
            return self._labels.encode(y)
        try:
            return np.asarray(y, self.params.dtype).reshape(-1, 1)
        except ValueError as error:
            raise DataError(f"a regressor needs numbers as targets: {error}") from None


def _to_probability(raw: Array) -> Array:
    probability = np.exp(-np.logaddexp(0.0, -raw))
    # a tiny decision value rounds to exactly .5, and would not be above it
    return np.where(raw > 0, np.maximum(probability, np.nextafter(probability.dtype.type(0.5), 1)), probability)


def _to_scores(raw: Array) -> Array:
    # the softmax of log-sigmoids is the normalised sigmoids, and does not underflow
    logs = -np.logaddexp(0.0, -raw)
    scores: Array = np.exp(logs - logs.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    # large decision values have sigmoids of exactly 1, and the largest must still win
    winner = (np.arange(len(raw)), raw.argmax(axis=1))
    tied = scores.argmax(axis=1) != winner[1]
    highest = scores.max(axis=1)
    scores[winner] = np.where(tied, np.nextafter(highest, highest.dtype.type(2)), scores[winner])
    return scores
