"""A digest of what samples hold."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fl.core.vector import Array
from fl.errors import DataError

if TYPE_CHECKING:
    from fl.core.dataset.api import Batch  # which imports this

BLOCK: Final = 512
"""Samples in memory at a time. Digests depend on it."""


def fingerprint(take: "Callable[[slice | Array], Batch]", n_samples: int) -> str:
    """SHA-256 over blocks of samples: their structure, dtypes, shapes and bytes.

    Raises `DataError` where the first block is another when it is taken again, as with random transforms: whoever
    counts by fingerprints would count anew each time.
    """
    blocks = (slice(start, min(start + BLOCK, n_samples)) for start in range(0, n_samples, BLOCK))
    digests = [_digest(take(block)) for block in blocks]
    if digests and _digest(take(slice(0, min(BLOCK, n_samples)))) != digests[0]:
        raise DataError(
            "samples of this dataset are others each time they are taken, so nobody can tell what has been learned of "
            "them: leave out transforms that draw at random, or draw once and keep the result"
        )
    return hashlib.sha256(b"".join([n_samples.to_bytes(8, "little"), *digests])).hexdigest()


def _digest(batch: "Batch") -> bytes:
    digest = hashlib.sha256()
    for part in batch:
        _add(digest, part)
    return digest.digest()


def _add(digest: "hashlib._Hash", part: Any) -> None:
    """One part of a batch; what says where it ends comes before it, so that no two structures have the same bytes."""
    if isinstance(part, dict):
        _note(digest, "dict", len(part))
        for name in sorted(part):
            _note(digest, "key", name)
            _add(digest, part[name])
    elif isinstance(part, tuple | list):
        _note(digest, "list", len(part))
        for item in part:
            _add(digest, item)
    elif part is None:
        _note(digest, "none")
    elif hasattr(part, "tocsr"):
        matrix = part.tocsr()
        _note(digest, "csr", *matrix.shape)
        for array in (matrix.data, np.asarray(matrix.indices, np.int64), np.asarray(matrix.indptr, np.int64)):
            _add(digest, array)
    else:
        array = _as_array(part)
        if array.dtype == object:
            raise DataError(f"samples hold {type(array.ravel()[0]).__name__} objects, which have no bytes to compare")
        _note(digest, array.dtype.str, *array.shape)
        digest.update(np.ascontiguousarray(array).tobytes())


def _as_array(part: Any) -> Array:
    if hasattr(part, "detach"):  # a tensor of torch, on any device
        part = part.detach().cpu()
        part = part.float() if "bfloat16" in str(part.dtype) else part  # which numpy does not have
    return np.asarray(part)


def _note(digest: "hashlib._Hash", *words: object) -> None:
    digest.update(f"{words!r}\n".encode())
