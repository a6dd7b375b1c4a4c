"""What each algorithm does, a second time: in plain numpy, from the formulas of the papers, all steps at once.

An oracle gets the gradients of all steps, of shape (steps, size), and the weights before each of them, and gives what
the algorithm makes of the gradients. Nothing here is shared with the code under test.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Oracle = Callable[[Floats, Floats], Floats]

SHAPES = {"weight": (2, 3), "bias": (4,), "scale": ()}
"""The tensors of every vector in the suite."""
BOUNDS = [6, 10]
"""Where one tensor's elements end and the next one's begin."""


def weighted(weight: Callable[[int], float], g: Floats) -> Floats:
    """Row t is Σ over i <= t of weight(t - i)·g_i."""
    matrix = np.array([[weight(t - i) if i <= t else 0.0 for i in range(len(g))] for t in range(len(g))])
    return matrix @ g


def average(beta: float, g: Floats) -> Floats:
    return weighted(lambda age: (1 - beta) * beta**age, g)


def powers(beta: float, g: Floats) -> Floats:
    """beta^t for t = 1, 2 ..., as a column."""
    return np.asarray(beta ** np.arange(1, len(g) + 1)[:, None])


def momentum(beta: float, nesterov: bool = False) -> Oracle:
    def outputs(g: Floats, _: Floats) -> Floats:
        u = weighted(lambda age: beta**age, g)
        return g + beta * u if nesterov else u

    return outputs


def ewma(beta: float) -> Oracle:
    return lambda g, _: average(beta, g)


def yogi_momentum(beta: float) -> Oracle:
    def outputs(g: Floats, _: Floats) -> Floats:
        rows, s = [], np.zeros_like(g[0])
        for row in g:
            s = np.where(s > row, s - (1 - beta) * abs(row), np.where(s < row, s + (1 - beta) * abs(row), s))
            rows.append(s)
        return np.array(rows)

    return outputs


def adagrad(eps: float, initial: float = 0.0) -> Oracle:
    return lambda g, _: g / (np.sqrt(initial + np.cumsum(g**2, axis=0)) + eps)


def rmsprop(beta: float, eps: float) -> Oracle:
    return lambda g, _: g / (np.sqrt(average(beta, g**2)) + eps)


def adam(
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    eps: float = 1e-7,
    *,
    amsgrad: bool = False,
    bias_correction: bool = True,
    initial: float = 0.0,
    yogi: bool = False,
) -> Oracle:
    def outputs(g: Floats, _: Floats) -> Floats:
        m = average(beta_1, g)
        v = yogi_moment(beta_2, g, initial) if yogi else average(beta_2, g**2) + initial * powers(beta_2, g)
        if bias_correction:
            m, v = m / (1 - powers(beta_1, g)), v / (1 - powers(beta_2, g))
        if amsgrad:
            v = np.maximum.accumulate(v, axis=0)
        return m / (np.sqrt(v) + eps)

    return outputs


def yogi_moment(beta: float, g: Floats, initial: float) -> Floats:
    rows, v = [], np.full_like(g[0], initial)
    for square in g**2:
        v = v - (1 - beta) * square * np.where(v > square, 1.0, np.where(v < square, -1.0, 0.0))
        rows.append(v)
    return np.array(rows)


def clipping(max_norm: float) -> Oracle:
    def clipped(row: Floats) -> Floats:
        norm = np.linalg.norm(row)
        return row if norm <= max_norm else row * (max_norm / norm)

    return lambda g, _: np.array([np.concatenate([clipped(part) for part in np.split(row, BOUNDS)]) for row in g])


def global_clipping(max_norm: float) -> Oracle:
    return lambda g, _: g * np.minimum(1.0, max_norm / np.linalg.norm(g, axis=1, keepdims=True))


def noise(std: float, seed: int) -> Oracle:
    return lambda g, _: g + np.random.default_rng(seed).normal(0.0, std, g.shape)


def nothing(g: Floats, _: Floats) -> Floats:
    return g


def fedprox(alpha: float) -> Oracle:
    """The first weights are those of the round's start."""
    return lambda g, w: g + alpha * (w - w[0])


def lasso(alpha: float) -> Oracle:
    return lambda g, w: g + alpha * np.where(w > 0, 1.0, -1.0)


def ridge(alpha: float) -> Oracle:
    return lambda g, w: g + 2 * alpha * w


def keras_adam(beta_1: float, beta_2: float, eps: float) -> Oracle:
    """As in the paper's section 2: eps is added to √v without bias correction."""

    def outputs(g: Floats, _: Floats) -> Floats:
        rate = np.sqrt(1 - powers(beta_2, g)) / (1 - powers(beta_1, g))
        return rate * average(beta_1, g) / (np.sqrt(average(beta_2, g**2)) + eps)

    return outputs
