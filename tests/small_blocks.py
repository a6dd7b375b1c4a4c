"""Blocks of few clients in this process, so that a handful is several blocks."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fl.core.aggregator import blocks
from fl.run import dealing


@contextmanager
def small_blocks(size: int = 2) -> Iterator[None]:
    """Rounds that are opened and closed inside have blocks of so many."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "BLOCK", size)
        dealing._block_of.cache_clear()
        yield
    dealing._block_of.cache_clear()
