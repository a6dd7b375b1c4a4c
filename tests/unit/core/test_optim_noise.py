"""Noise and clipping where their closed forms say too little: at the edges, and in distribution."""

import math
from typing import Any

import numpy as np
import pytest

from fl.core.optimizer.clipping import L2Clipping, L2GlobalClipping
from fl.core.optimizer.noise import GaussianNoiseModule
from fl.core.vector import NumpyVector
from fl.errors import ConfigError


@pytest.mark.parametrize("options", [{"safe_mode": True}, {"safe_mode": False, "seed": 3}])
def test_noise_is_new_in_every_step_and_has_the_standard_deviation_asked_for(options: dict[str, Any]) -> None:
    module, zeros = GaussianNoiseModule(2.5, **options), NumpyVector.from_arrays({"w": np.zeros(100_000)})
    first, second = module.run(zeros).flat, module.run(zeros).flat
    # the correlation of independent draws has a standard deviation of 1/√100000 = 0.003
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert np.std(np.concatenate([first, second])) == pytest.approx(2.5, rel=0.02)


def test_a_seed_that_safe_mode_would_not_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="noise of safe_mode has no seed"):
        GaussianNoiseModule(seed=3)


def test_a_state_of_the_other_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="is of safe_mode=True, and this module is not"):
        GaussianNoiseModule(safe_mode=False).set_state(GaussianNoiseModule().get_state())


@pytest.mark.parametrize("std", [-1.0, math.nan, math.inf, "1"])
def test_a_standard_deviation_that_is_none_is_refused(std: Any) -> None:
    with pytest.raises(ConfigError, match=r"std is .*: use a number of at least 0"):
        GaussianNoiseModule(std)


@pytest.mark.parametrize("kind", [L2Clipping, L2GlobalClipping])
def test_clipping_leaves_zeros_and_short_gradients_exactly_as_they_are(kind: Any) -> None:
    gradients = NumpyVector.from_arrays({"a": np.zeros(3), "b": np.array([0.3, 0.4]), "empty": np.zeros((0, 2))})
    assert kind(0.51).run(gradients) == gradients


def test_clipping_per_tensor_leaves_no_tensor_longer_than_the_bound() -> None:
    clipped = L2Clipping(0.5).run(NumpyVector.from_arrays({"a": np.array([3.0, 4.0]), "b": np.array([0.1])}))
    np.testing.assert_allclose(clipped.flat, [0.3, 0.4, 0.1])


def test_global_clipping_takes_all_tensors_as_one() -> None:
    clipped = L2GlobalClipping(0.5).run(NumpyVector.from_arrays({"a": np.array([3.0]), "b": np.array([4.0])}))
    np.testing.assert_allclose(clipped.flat, [0.3, 0.4])


@pytest.mark.parametrize("max_norm", [0, -1, math.inf])
def test_a_bound_that_is_none_is_refused(max_norm: float) -> None:
    with pytest.raises(ConfigError, match=r"max_norm is .*: use a number above 0"):
        L2Clipping(max_norm)
