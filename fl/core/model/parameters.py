"""What a `SklearnSGDModel` is, besides its weights."""

from dataclasses import dataclass
from typing import Literal, get_args

from fl.core.model.losses import CLASSIFICATION, REGRESSION
from fl.core.registry import nearest
from fl.errors import ConfigError

Kind = Literal["classifier", "regressor"]
Penalty = Literal["l2", "l1", "elasticnet"]
Precision = Literal["float64", "float32"]
PENALTIES = (*get_args(Penalty), None)


@dataclass(frozen=True, slots=True)
class SGDParameters:
    """Parameters with the names and meanings they have in scikit-learn's SGD estimators.

    Raises `ConfigError` naming the one that is wrong. `loss=None` is scikit-learn's default: hinge for a
    classifier, squared_error for a regressor.
    """

    kind: Kind
    loss: str | None = None
    penalty: Penalty | None = "l2"
    alpha: float = 1e-4
    l1_ratio: float = 0.15
    epsilon: float = 0.1
    fit_intercept: bool = True
    dtype: Precision = "float64"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind {self.kind!r} is neither 'classifier' nor 'regressor'")
        if self.loss is None:
            object.__setattr__(self, "loss", "hinge" if self.kind == "classifier" else "squared_error")
        losses = CLASSIFICATION if self.kind == "classifier" else REGRESSION
        if self.loss not in losses:
            raise ConfigError(f"loss {self.loss!r} is none of a {self.kind}'s; {nearest(str(self.loss), losses)}")
        if self.penalty not in PENALTIES:
            raise ConfigError(f"penalty {self.penalty!r} is none of {', '.join(map(repr, PENALTIES))}")
        if self.dtype not in get_args(Precision):
            raise ConfigError(f"dtype {self.dtype!r} is neither 'float64' nor 'float32'")
        _check_range("alpha", self.alpha)
        _check_range("epsilon", self.epsilon)
        _check_range("l1_ratio", self.l1_ratio, most=1.0)


def _check_range(name: str, value: float, most: float = float("inf")) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == float("inf"):
        bound = "" if most == float("inf") else f" and at most {most:g}"
        raise ConfigError(f"{name} is {value!r}: use a number of at least 0{bound}")
