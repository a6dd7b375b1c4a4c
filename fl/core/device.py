"""Where models compute: a policy for the process, and for what reads it when it is made or moved."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fl.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """Whether to use a GPU, and which. Raises `ConfigError` when `idx` is given without `gpu`."""

    gpu: bool = True
    """Use a GPU where there is one, else the CPU."""
    idx: int | None = None
    """Index of the GPU; None: the first available."""

    def __post_init__(self) -> None:
        if self.idx is not None and not self.gpu:
            raise ConfigError(f"device policy: idx={self.idx} names a GPU, but gpu is False: drop one of them")
        if self.idx is not None and self.idx < 0:
            raise ConfigError(f"device policy: idx={self.idx}, but GPUs count from 0")


@dataclass(slots=True)
class _Process:
    policy: DevicePolicy
    said_cpu: bool = False
    said_no_gpu: bool = False


_process = _Process(DevicePolicy())


def set_device_policy(gpu: bool, idx: int | None = None) -> None:
    """Set the policy of this process; models that exist already keep theirs until `update_device_policy`."""
    _process.policy = DevicePolicy(gpu, idx)


def get_device_policy() -> DevicePolicy:
    return _process.policy


def resolve(policy: DevicePolicy, available: Sequence[str], what: str) -> int | None:
    """Index of the GPU to use among those that the framework `what` lists, or None for the CPU.

    A GPU that is wanted where there is none is warned of once a process. Raises `ConfigError` when `idx` names one
    that is not there.
    """
    if policy.idx is not None and policy.idx >= len(available):
        listed = ", ".join(f"{index} ({name})" for index, name in enumerate(available)) or "none"
        raise ConfigError(f"device policy: {what} sees no GPU of idx={policy.idx}; those that it sees: {listed}")
    if not policy.gpu:
        return None
    if not available:
        if not _process.said_no_gpu:
            _process.said_no_gpu = True
            logger.warning("device_is_cpu framework=%s reason=%s", what, "it sees no GPU here")
        return None
    return policy.idx or 0


def stay_on_cpu(model: str, policy: DevicePolicy) -> None:
    """Note, once a process, that a model which knows no GPU takes no notice of a policy that asks for one."""
    if policy.gpu and not _process.said_cpu:
        _process.said_cpu = True
        logger.debug("device_is_cpu model=%s reason=%s", model, "its arithmetic is numpy's")
