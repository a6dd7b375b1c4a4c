"""The weights that all contestants begin with, and what their training adds to them. Needs numpy alone."""

from typing import Any, Final

import numpy as np

N_TENSORS: Final = 10

Tensors = dict[str, "np.ndarray[Any, np.dtype[np.float32]]"]


def weights_of(n_bytes: int) -> Tensors:
    """Float32 tensors of equal sizes, `n_bytes` together, of values that no transport can compress."""
    return _tensors(n_bytes, seed=1)


def gradients_of(n_bytes: int) -> Tensors:
    """What each training takes off, times the learning rate: the same in every round."""
    return _tensors(n_bytes, seed=2)


def _tensors(n_bytes: int, seed: int) -> Tensors:
    flat = np.random.default_rng(seed).standard_normal(n_bytes // 4, dtype=np.float32)
    return {f"tensor{place}": part for place, part in enumerate(np.array_split(flat, N_TENSORS))}
