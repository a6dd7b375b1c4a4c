"""Device policy."""

import logging
from collections.abc import Iterator

import pytest

from fl.core import device
from fl.core.device import DevicePolicy, get_device_policy, resolve, set_device_policy
from fl.core.model.sklearn import SklearnSGDModel
from fl.errors import ConfigError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(device, "_process", device._Process(DevicePolicy()))
    return iter(())


def test_the_policy_of_the_process_is_the_last_one_set() -> None:
    set_device_policy(gpu=True, idx=2)
    assert get_device_policy() == DevicePolicy(gpu=True, idx=2)


def test_without_a_word_a_gpu_is_used_where_there_is_one() -> None:
    assert get_device_policy() == DevicePolicy(gpu=True, idx=None)


def test_a_gpu_cannot_be_named_and_declined() -> None:
    with pytest.raises(ConfigError, match="idx=0 names a GPU, but gpu is False"):
        set_device_policy(gpu=False, idx=0)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ConfigError, match="count from 0"):
        DevicePolicy(idx=-1)


def test_a_model_of_numpy_stays_on_the_cpu_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        SklearnSGDModel.from_parameters("regressor").update_device_policy(DevicePolicy(gpu=True))
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_the_first_gpu_is_used_unless_another_is_named() -> None:
    assert resolve(DevicePolicy(), ["A100", "T4"], "torch") == 0


def test_a_named_gpu_is_used() -> None:
    assert resolve(DevicePolicy(gpu=True, idx=1), ["A100", "T4"], "torch") == 1


def test_without_gpu_in_the_policy_the_cpu_is_used_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    assert resolve(DevicePolicy(gpu=False), ["A100"], "torch") is None
    assert not caplog.records


def test_without_a_gpu_here_the_cpu_is_used_and_a_warning_given_once(caplog: pytest.LogCaptureFixture) -> None:
    assert [resolve(DevicePolicy(), [], "torch") for _ in range(2)] == [None, None]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(("available", "listed"), [(["A100", "T4"], r"0 \(A100\), 1 \(T4\)"), ([], "none")])
def test_a_named_gpu_that_is_not_there_is_refused_with_those_that_are(available: list[str], listed: str) -> None:
    with pytest.raises(ConfigError, match=f"torch sees no GPU of idx=3; those that it sees: {listed}"):
        resolve(DevicePolicy(gpu=True, idx=3), available, "torch")
