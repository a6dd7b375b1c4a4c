"""Gaussian noise: from a key, so that it can be drawn again by who has it, or from the operating system.

Floats are dense near 0 and sparse far from it, so that a single noisy number can tell by its last bits what it was
without noise (Mironov 2012). Secure sources give sums of four normal numbers, which each would have to be found
(Holohan & Braghin 2021; what Opacus does in its secure mode).
"""

import hashlib
import os
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from fl.core.vector import Array, Layout, NumpyVector, chunks
from fl.errors import ConfigError

KEY_BYTES: Final = 32
SUMMANDS: Final = 4


class NormalSource(Protocol):
    """Where standard normal numbers come from; each is new. A `numpy.random.Generator` is one."""

    def standard_normal(self, size: int) -> Array:
        """In float64, finite, of shape (size,)."""


class SecureNormal:
    """Standard normal numbers from bytes that nobody can foresee: sums of `SUMMANDS`, over the root of their number."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes

    def standard_normal(self, size: int) -> Array:
        total = box_muller(self._random_bytes, size)
        for _ in range(SUMMANDS - 1):
            total += box_muller(self._random_bytes, size)
        total /= np.sqrt(SUMMANDS)
        return total


def system_source() -> NormalSource:
    """Noise that nobody can draw again, from the operating system's generator for cryptography."""
    return SecureNormal(os.urandom)


def keyed_source(key: bytes, *, secure: bool) -> NormalSource:
    """Noise that is the same for the same key: by PCG64, or securely by the cipher ChaCha20.

    Raises `ConfigError` where secure noise lacks the package for it.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    if secure:
        return SecureNormal(_keystream(key))
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))


def hashed_source(key: bytes) -> NormalSource:
    """Secure noise that is the same for the same key, from SHAKE-256, which takes no package that workers may lack.

    5 s for 25 million numbers, more than half of them in SHAKE, which holds Python's lock: threads gained nothing.
    """
    calls = 0

    def draw(size: int) -> bytes:
        nonlocal calls
        block, calls = key + calls.to_bytes(8, "little"), calls + 1
        return hashlib.shake_256(block).digest(size)

    return SecureNormal(draw)


def gaussian(source: NormalSource, layout: Layout, std: float) -> NumpyVector:
    """N(0, std²) for each float, drawn in float64 whatever the layout's floats are, so that all frameworks get it."""
    noise = np.empty(layout.float_size, layout.float_dtype)
    for part in chunks(noise.size):
        np.multiply(source.standard_normal(part.stop - part.start), std, out=noise[part], casting="same_kind")
    return NumpyVector(layout, noise)


def box_muller(random_bytes: Callable[[int], bytes], size: int) -> Array:
    """Standard normal numbers in float64 of uniform bytes (Box & Muller 1958).

    √(-2·ln u)·(cos 2πv, sin 2πv), with u in (0, 1] and v in [0, 1) of 53 bits each: no number exceeds 8.6.
    """
    half = (size + 1) // 2
    bits = np.frombuffer(random_bytes(16 * half), "<u8").reshape(2, half) >> np.uint64(11)
    u, v = (bits[0] + 1.0) * 2.0**-53, bits[1] * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]


def _keystream(key: bytes) -> Callable[[int], bytes]:
    """Bytes of ChaCha20. Every call has a nonce of its own, as a keystream ends after 256 GiB."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415  # who trains privately has it
        from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20  # noqa: PLC0415  # likewise
    except ModuleNotFoundError as error:
        raise ConfigError(f"secure noise needs {error.name}: install fluffle[dp]") from None
    calls = 0

    def draw(size: int) -> bytes:
        nonlocal calls
        # 8 bytes of the counter, which begins at 0, and the nonce
        nonce, calls = bytes(8) + calls.to_bytes(8, "little"), calls + 1
        return Cipher(ChaCha20(key, nonce), None).encryptor().update(bytes(size))

    return draw
