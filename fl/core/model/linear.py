"""Gradients of linear models with scikit-learn's penalties, in closed form and vectorised over the batch.

What scikit-learn does with one sample at a learning rate of 1 defines the gradient g = w_before - w_after of a sample
of features x, whose loss has the slope s in the decision value (times the sample's weight), for each output row:

    v = keep·w - s·x,   keep = max(0, 1 - (1 - l1_ratio)·alpha)          the step, with weights decayed for L2
    w_after = v - clip(v, -shrink, shrink),   shrink = l1_ratio·alpha    the truncated gradient of L1 [1, eq. 4]

so that g = (1 - keep)·w + s·x + clip(v, -shrink, shrink), and g = s for the intercept where one is fitted. Only the
last term, which L1 alone has, is not linear in x; without it a batch is two matrix products, also where each sample's
gradient is clipped.

Sparse data is treated like dense data. scikit-learn differs there in two ways: it takes 0.01 of the intercept's step,
and shrinks only the weights whose feature is in the sample.

[1] Tsuruoka, Tsujii, Ananiadou: Stochastic gradient descent training for L1-regularized log-linear models with
cumulative rule. ACL 2009.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fl.core.model.clipping import Clipping
from fl.core.model.parameters import SGDParameters
from fl.core.vector import Array

SAMPLE_GRADIENT_ELEMENTS = 1 << 20
"""Elements of per-sample gradients held at a time: 8 MiB of float64."""


class Coefficients(NamedTuple):
    """Weights or a gradient: `coef` of shape (rows, features) and `intercept` of shape (rows,)."""

    coef: Array
    intercept: Array


@dataclass(frozen=True, slots=True)
class StepRule:
    """What a step of rate 1 does besides following the loss: decay (L2), shrink (L1), hold the intercept."""

    keep: float = 1.0
    shrink: float = 0.0
    fit_intercept: bool = True

    @classmethod
    def of(cls, params: SGDParameters) -> "StepRule":
        l1_share = {None: 0.0, "l2": 0.0, "l1": 1.0, "elasticnet": params.l1_ratio}[params.penalty]
        alpha = 0.0 if params.penalty is None else params.alpha
        return cls(max(0.0, 1.0 - (1.0 - l1_share) * alpha), l1_share * alpha, params.fit_intercept)


def decision(x: Any, weights: Coefficients) -> Array:
    """x·coefᵀ + intercept, of shape (n, rows), for a dense or CSR `x` of shape (n, features)."""
    # for arrays this small `dot` takes a third of the time of `@`
    raw: Array = x.dot(weights.coef.T)
    raw += weights.intercept
    return raw


def mean_gradient(x: Any, slopes: Array, coef: Array, rule: StepRule, out: Coefficients) -> None:
    """Write the batch mean of the samples' gradients to `out`, which holds zeros. `slopes` has shape (n, rows)."""
    shares = slopes / len(slopes)
    if is_sparse(x):
        out.coef[...] = x.T.dot(shares).T
    else:
        np.dot(shares.T, x, out=out.coef)
    if rule.shrink:
        shrunk = (_shrunk_sparse if is_sparse(x) else _shrunk)(x, slopes, coef, rule)
        np.add(out.coef, shrunk / len(slopes), out=out.coef)
    if rule.keep != 1.0:
        np.add(out.coef, (1.0 - rule.keep) * coef, out=out.coef)
    if rule.fit_intercept:
        np.add.reduce(shares, axis=0, out=out.intercept)


def clipped_mean_gradient(
    x: Any, slopes: Array, coef: Array, rule: StepRule, clipping: Clipping, out: Coefficients
) -> None:
    """As `mean_gradient`, of gradients that are clipped one by one. `out` holds zeros."""
    if not rule.shrink:
        _clipped_products(x, slopes, coef, rule, clipping, out)
        return
    for part in _parts(len(slopes), coef.size):
        gradients = _sample_gradients(_dense(x[part]), slopes[part], coef, rule)
        steps = slopes[part] if rule.fit_intercept else np.zeros_like(slopes[part])
        coef_norms = np.sqrt(np.einsum("nrf,nrf->n", gradients, gradients))
        intercept_norms = np.sqrt(np.einsum("nr,nr->n", steps, steps))
        if not clipping.per_tensor:
            coef_norms = intercept_norms = np.hypot(coef_norms, intercept_norms)
        np.add(out.coef, np.tensordot(_shares(coef_norms, clipping), gradients, axes=1), out=out.coef)
        np.add(out.intercept, _shares(intercept_norms, clipping) @ steps, out=out.intercept)
    np.divide(out.coef, len(slopes), out=out.coef)
    np.divide(out.intercept, len(slopes), out=out.intercept)


def _clipped_products(
    x: Any, slopes: Array, coef: Array, rule: StepRule, clipping: Clipping, out: Coefficients
) -> None:
    """The same where a sample's gradient is (1 - keep)·w + s·x, so that its norm follows from those of w and x."""
    decay = 1.0 - rule.keep
    steps = slopes if rule.fit_intercept else np.zeros_like(slopes)
    wide = slopes.astype(np.float64)
    decays, lengths = decay * np.linalg.norm(coef.astype(np.float64), axis=1), _lengths(x)[:, None] * np.abs(wide)
    squares = decays**2 + lengths**2
    if decay:
        squares += 2 * decay * wide * x.dot(coef.T)
        # where the two terms cancel out, what rounding leaves of them counts too
        squares += 8 * np.finfo(coef.dtype).eps * (decays + lengths) ** 2
    coef_norms = np.sqrt(np.maximum(squares, 0.0).sum(axis=1))
    intercept_norms = np.linalg.norm(steps.astype(np.float64), axis=1)
    if not clipping.per_tensor:
        coef_norms = intercept_norms = np.hypot(coef_norms, intercept_norms)
    shares = _shares(coef_norms, clipping) / len(slopes)
    scaled = (shares[:, None] * slopes).astype(coef.dtype)
    out.coef[...] = x.T.dot(scaled).T if is_sparse(x) else np.dot(scaled.T, x)
    np.add(out.coef, decay * shares.sum() * coef, out=out.coef, casting="same_kind")
    out.intercept[...] = (_shares(intercept_norms, clipping) / len(slopes)) @ steps


def is_sparse(x: Any) -> bool:
    """Whether `x` is a scipy sparse matrix or array; asked without importing scipy."""
    return hasattr(x, "tocsr")


def _lengths(x: Any) -> Array:
    """The norm of each sample's features, in float64."""
    squares: Array
    if is_sparse(x):
        sample = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        squares = np.bincount(sample, np.square(x.data, dtype=np.float64), minlength=x.shape[0])
    else:
        squares = np.einsum("nf,nf->n", x, x, dtype=np.float64)
    return np.sqrt(squares)


def _shares(norms: Array, clipping: Clipping) -> Array:
    """min(1, max_norm / norm), which is 1 for a norm of 0."""
    shares: Array = clipping.max_norm / np.maximum(norms, clipping.max_norm)
    return shares


def _parts(n_samples: int, elements: int) -> Iterator[slice]:
    step = max(1, SAMPLE_GRADIENT_ELEMENTS // max(1, elements))
    return (slice(start, min(start + step, n_samples)) for start in range(0, n_samples, step))


def _dense(x: Any) -> Array:
    dense: Array = x.toarray() if is_sparse(x) else x
    return dense


def _sample_gradients(x: Array, slopes: Array, coef: Array, rule: StepRule) -> Array:
    """Gradient of each sample, of shape (n, rows, features)."""
    steps: Array = slopes[:, :, None] * x[:, None, :]
    clipped = np.clip(rule.keep * coef - steps, -rule.shrink, rule.shrink) if rule.shrink else 0.0
    steps += (1.0 - rule.keep) * coef
    steps += clipped
    return steps


def _shrunk(x: Array, slopes: Array, coef: Array, rule: StepRule) -> Array:
    """Σ over samples of clip(v, -shrink, shrink), of shape (rows, features)."""
    total = np.zeros_like(coef)
    base = rule.keep * coef
    for part in _parts(len(slopes), coef.size):
        stepped = base - slopes[part, :, None] * x[part, None, :]
        total += np.clip(stepped, -rule.shrink, rule.shrink).sum(axis=0)
    return total


def _shrunk_sparse(x: Any, slopes: Array, coef: Array, rule: StepRule) -> Array:
    """The same for CSR data: where x is 0 every sample gives clip(keep·w), so only the others are looked at."""
    base = rule.keep * coef
    idle = np.clip(base, -rule.shrink, rule.shrink)
    total = len(slopes) * idle
    sample = np.repeat(np.arange(len(slopes)), np.diff(x.indptr))
    for row in range(len(coef)):
        stepped = base[row, x.indices] - slopes[sample, row] * x.data
        change = np.clip(stepped, -rule.shrink, rule.shrink) - idle[row, x.indices]
        total[row] += np.bincount(x.indices, change, minlength=coef.shape[1])
    return total
