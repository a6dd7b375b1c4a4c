"""Cutting one dataset into the shares of several clients, alike or unlike each other.

Every scheme returns one index array a client, of shape (n_k,), int64 and in random order. Each sample is in exactly one
share, and no share is empty. The same generator gives the same shares. All raise `DataError` where there are too few
samples, `ConfigError` for an option out of its range.

    shares = dirichlet(labels, 5, alpha=0.3, rng=np.random.default_rng(0))
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fl.core.vector import Array
from fl.errors import ConfigError, DataError

Shares = list[Array]


def iid(n_samples: int, clients: int, *, rng: np.random.Generator) -> Shares:
    """Shares drawn uniformly, whose sizes differ by at most one."""
    _check_enough(n_samples, clients, 1)
    return np.array_split(rng.permutation(n_samples), clients)


def by_size(
    n_samples: int, clients: int, *, sigma: float = 1.0, min_samples: int = 1, rng: np.random.Generator
) -> Shares:
    """Shares drawn uniformly, of sizes ∝ exp(sigma·z), z ~ N(0, 1): lognormal, and equal for `sigma` 0.

    Each client has `min_samples` first, and the rest is dealt in proportion.
    """
    if not 0 <= sigma < np.inf:
        raise ConfigError(f"sigma is {sigma}: use a number of at least 0, where 0 makes equal sizes")
    _check_enough(n_samples, clients, min_samples)
    z = sigma * rng.standard_normal(clients)
    weights = np.exp(z - z.max())
    sizes = min_samples + _apportion(n_samples - clients * min_samples, weights)
    return np.split(rng.permutation(n_samples), np.cumsum(sizes)[:-1])


def by_label(
    labels: Any, clients: int, *, labels_per_client: int = 2, min_samples: int = 1, rng: np.random.Generator
) -> Shares:
    """Shares of few labels each: a label is dealt evenly to its clients, whose numbers differ by at most one.

    A client that ends below `min_samples` takes samples from whoever has most, and may so see one more label.
    Raises `ConfigError` where some label would be nobody's.
    """
    codes, n_labels = _codes(labels)
    _check_enough(len(codes), clients, min_samples)
    if not 1 <= labels_per_client <= n_labels:
        raise ConfigError(f"labels_per_client is {labels_per_client}: use 1 to {n_labels}, as many as there are")
    if clients * labels_per_client < n_labels:
        raise ConfigError(
            f"{clients} clients of {labels_per_client} labels each leave some of the {n_labels} labels to nobody: "
            f"use labels_per_client={-(-n_labels // clients)} or more, or more clients"
        )
    holders = _deal_labels(n_labels, clients, labels_per_client, rng)
    pieces: list[Shares] = [[] for _ in range(clients)]
    for label, owners in enumerate(holders):
        places = rng.permutation(np.flatnonzero(codes == label))
        for owner, piece in zip(rng.permutation(owners), np.array_split(places, len(owners)), strict=True):
            pieces[owner].append(piece)
    shares = [rng.permutation(np.concatenate(own)) for own in pieces]
    return _top_up(shares, min_samples)


def dirichlet(labels: Any, clients: int, *, alpha: float = 0.5, rng: np.random.Generator) -> Shares:
    """Shares of equal size, whose label mixtures are q_k ~ Dir(alpha·L·p), p the mixture of all of L labels.

    Where labels are equally frequent that is the symmetric Dir(alpha, ..., alpha) that most papers mean; with
    alpha·L as their concentration it is the scheme of Hsu et al. (2019, §3).
    A small `alpha` gives each client few labels, a large one the mixture of all. Where clients want more of a label
    than there is, those who get it are drawn, and the others go on with what is left of the labels, by their q_k.
    """
    if not 0 < alpha < np.inf:
        raise ConfigError(f"alpha is {alpha}: use a number above 0; the smaller, the less alike are the clients")
    codes, n_labels = _codes(labels)
    _check_enough(len(codes), clients, 1)
    left = np.bincount(codes, minlength=n_labels)
    mixtures = _mixtures(alpha * n_labels * left / len(codes), clients, rng)
    sizes = rng.permutation(_apportion(len(codes), np.ones(clients)))
    counts = _fill(mixtures, sizes, left, rng)
    pieces: list[Shares] = [[] for _ in range(clients)]
    for label in range(n_labels):
        places = rng.permutation(np.flatnonzero(codes == label))
        for client, piece in enumerate(np.split(places, np.cumsum(counts[:, label])[:-1])):
            pieces[client].append(piece)
    return [rng.permutation(np.concatenate(own)) for own in pieces]


def quantile_bins(values: Any, n_bins: int = 10) -> Array:
    """The number of each value's bin, 0 first, where bins hold about as many values each.

    Makes labels of a regression's target. Equal values share a bin, so there may be fewer than `n_bins`.
    """
    if n_bins < 1:
        raise ConfigError(f"n_bins is {n_bins}: use at least 1")
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError(f"quantile bins need one finite number a sample, not shape {values.shape} with NaN or infinity")
    edges = np.quantile(values, np.arange(1, n_bins) / n_bins)
    return np.asarray(np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1])


def label_counts(labels: Any, shares: Sequence[Array]) -> Array:
    """Samples of each label at each client, of shape (clients, labels), labels sorted."""
    codes, n_labels = _codes(labels)
    return np.stack([np.bincount(codes[share], minlength=n_labels) for share in shares])


def heterogeneity(counts: Array) -> float:
    """Σ_k n_k/n · ½‖p_k - p‖₁ of `label_counts`: 0 where all mixtures are alike, near 1 where nobody shares a label.

    It is the part of all samples that would have to change hands for all mixtures to be alike.
    """
    sizes = counts.sum(axis=1, keepdims=True)
    expected = sizes * counts.sum(axis=0) / counts.sum()
    return float(np.abs(counts - expected).sum() / (2 * counts.sum()))


def _codes(labels: Any) -> tuple[Array, int]:
    known, codes = np.unique(np.asarray(labels), return_inverse=True)
    if codes.ndim != 1:
        raise DataError(f"labels have shape {codes.shape}: give one a sample")
    return codes, len(known)


def _check_enough(n_samples: int, clients: int, min_samples: int) -> None:
    if clients < 1:
        raise ConfigError(f"{clients} clients: use at least 1")
    if min_samples < 1:
        raise ConfigError(f"min_samples is {min_samples}: use at least 1, for nobody can learn from nothing")
    if n_samples < clients * min_samples:
        raise DataError(
            f"{n_samples} samples are too few for {clients} clients with at least {min_samples} each: use fewer clients"
        )


def _apportion(total: int, weights: Array) -> Array:
    """Whole numbers that sum to `total`, in proportion to `weights`: the largest remainders are rounded up."""
    quotas = total * weights / weights.sum()
    sizes = np.floor(quotas).astype(np.int64)
    missing = total - int(sizes.sum())
    sizes[np.argsort(sizes - quotas, kind="stable")[:missing]] += 1
    return np.asarray(sizes)


def _deal_labels(n_labels: int, clients: int, each: int, rng: np.random.Generator) -> list[list[int]]:
    """The clients of each label: every client in turn takes the `each` labels with fewest, ties at random."""
    holders: list[list[int]] = [[] for _ in range(n_labels)]
    for client in range(clients):
        order = np.lexsort((rng.random(n_labels), np.array([len(owners) for owners in holders])))
        for label in order[:each]:
            holders[label].append(client)
    return holders


def _top_up(shares: Shares, min_samples: int) -> Shares:
    """Move single samples from the largest share to the smallest until all have `min_samples`."""
    shares = list(shares)
    while len(shares[poorest := int(np.argmin([len(share) for share in shares]))]) < min_samples:
        richest = int(np.argmax([len(share) for share in shares]))
        shares[poorest] = np.append(shares[poorest], shares[richest][-1])
        shares[richest] = shares[richest][:-1]
    return shares


def _mixtures(concentration: Array, clients: int, rng: np.random.Generator) -> Array:
    """One draw of Dir(concentration) a client, of shape (clients, labels).

    Gamma draws underflow to 0 for the smallest concentrations, so logarithms are drawn:
    Gamma(a) = Gamma(a + 1)·U^(1/a).
    """
    shape = (clients, len(concentration))
    logs = np.log(rng.gamma(concentration + 1.0, size=shape)) + np.log1p(-rng.random(shape)) / concentration
    mixtures = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(mixtures / mixtures.sum(axis=1, keepdims=True))


def _fill(mixtures: Array, sizes: Array, left: Array, rng: np.random.Generator) -> Array:
    """How many samples of each label each client gets, of shape (clients, labels).

    Every pass serves all that clients still want, or exhausts a label; so there are at most as many as labels, and one.
    """
    counts = np.zeros(mixtures.shape, np.int64)
    left, wanted = left.copy(), sizes.copy()
    while wanted.any():
        chances = np.where(left > 0, mixtures, 0.0)
        # who finds none of its labels any more takes of all that is left
        chances = np.where(chances.sum(axis=1, keepdims=True) > 0, chances, left)
        demand = rng.multinomial(wanted, chances / chances.sum(axis=1, keepdims=True))
        for label in np.flatnonzero(demand.sum(axis=0) > left):
            demand[:, label] = rng.multivariate_hypergeometric(demand[:, label], left[label])
        counts += demand
        left -= demand.sum(axis=0)
        wanted -= demand.sum(axis=1)
    return counts
