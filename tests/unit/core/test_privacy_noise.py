"""Noise: its distribution, and that it is the same for a key and no other."""

import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy import stats

from fl.core.privacy.noise import NormalSource, SecureNormal, box_muller, gaussian, keyed_source, system_source
from fl.core.vector import CHUNK, NumpyVector
from fl.errors import ConfigError

KEY = bytes(range(32))
SOURCES: dict[str, Callable[[], NormalSource]] = {
    "keyed": lambda: keyed_source(KEY, secure=False),
    "keyed and secure": lambda: keyed_source(KEY, secure=True),
    "system": system_source,
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> NormalSource:
    return SOURCES[request.param]()


def test_noise_is_normal(source: NormalSource) -> None:
    # p is uniform when it is, so this fails once in a million runs
    assert stats.kstest(source.standard_normal(200_001), "norm").pvalue > 1e-6


def test_noise_has_the_standard_deviation_asked_for(source: NormalSource) -> None:
    layout = NumpyVector.from_arrays({"w": np.zeros((1000, 999), np.float32)}).layout

    noise = gaussian(source, layout, 0.37).flat

    # of a million: the standard error is 0.07 %
    assert np.std(noise, dtype=np.float64) == pytest.approx(0.37, rel=0.005)
    assert abs(np.mean(noise, dtype=np.float64)) < 0.37 * 6 / 1000


def test_draws_do_not_depend_on_each_other(source: NormalSource) -> None:
    first, second = source.standard_normal(100_000), source.standard_normal(100_000)
    halves = np.corrcoef(first[:50_000], first[50_000:])[0, 1]

    # the correlation of independent draws has a standard deviation of 1/√50000 = 0.0045
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(halves) < 0.03


@pytest.mark.parametrize("secure", [False, True])
def test_a_key_gives_the_same_noise_again(secure: bool) -> None:
    layout = NumpyVector.from_arrays({"w": np.zeros(CHUNK + 7)}).layout
    once, again = keyed_source(KEY, secure=secure), keyed_source(KEY, secure=secure)

    for _ in range(2):
        assert gaussian(once, layout, 1.0) == gaussian(again, layout, 1.0)


@pytest.mark.parametrize("secure", [False, True])
def test_another_key_gives_other_noise(secure: bool) -> None:
    first = keyed_source(KEY, secure=secure).standard_normal(50_000)
    second = keyed_source(KEY[::-1], secure=secure).standard_normal(50_000)

    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_secure_noise_is_half_the_sum_of_four_numbers_of_the_cipher() -> None:
    # Given the keystreams of the first four nonces
    streams = [Cipher(ChaCha20(KEY, bytes(8) + bytes([n]) + bytes(7)), None).encryptor() for n in range(4)]

    # When noise is drawn
    noise = keyed_source(KEY, secure=True).standard_normal(10)

    # Then it is what they give by the formula
    expected = np.zeros(10)
    for stream in streams:
        words = np.frombuffer(stream.update(bytes(16 * 5)), "<u8") >> np.uint64(11)
        for j in range(5):
            radius = math.sqrt(-2 * math.log((int(words[j]) + 1) / 2**53))
            expected[j] += radius * math.cos(2 * math.pi * int(words[5 + j]) / 2**53) / 2
            expected[5 + j] += radius * math.sin(2 * math.pi * int(words[5 + j]) / 2**53) / 2
    np.testing.assert_allclose(noise, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("byte", "bound"), [(b"\x00", 2 * math.sqrt(2 * 53 * math.log(2))), (b"\xff", 0.0)])
def test_secure_noise_is_finite_whatever_bytes_there_are(byte: bytes, bound: float) -> None:
    noise = SecureNormal(lambda n: byte * n).standard_normal(4)

    assert np.isfinite(noise).all()
    assert abs(noise).max() == pytest.approx(bound, abs=1e-12)


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_as_many_numbers_come_as_are_asked_for(size: int, source: NormalSource) -> None:
    assert source.standard_normal(size).shape == (size,)


def test_all_places_of_a_draw_have_the_same_spread() -> None:
    rng = np.random.default_rng(5)
    draws = np.stack([box_muller(rng.bytes, 4) for _ in range(20_000)])

    # of 20,000: the standard error is 0.5 %
    np.testing.assert_allclose(draws.std(axis=0), 1.0, rtol=0.03)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes, not 3"):
        keyed_source(b"key", secure=False)


def test_secure_noise_without_its_package_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)

    with pytest.raises(ConfigError, match=r"secure noise needs cryptography.*: install fluffle\[dp\]"):
        keyed_source(KEY, secure=True)
