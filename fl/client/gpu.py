"""Which GPU a trainer's process sees: its own and no other, so that it cannot take memory on the rest."""

from pathlib import Path
from typing import Final

from fl.core.device import DevicePolicy

DRIVER: Final = Path("/proc/driver/nvidia/gpus")
"""Has an entry for each GPU; not there without the driver."""


def count_gpus(driver: Path = DRIVER) -> int:
    return len(list(driver.iterdir())) if driver.is_dir() else 0


def only_gpu(policy: DevicePolicy, *, visible: str | None, n_gpus: int) -> tuple[str | None, DevicePolicy]:
    """What CUDA_VISIBLE_DEVICES shall be where it was `visible`, and the policy as it reads behind that.

    An index counts the GPUs that were visible. One that is not there hides nothing, so that the framework can say
    which there are.
    """
    if not policy.gpu:
        return "", policy
    names = (
        [str(index) for index in range(n_gpus)] if visible is None else [name for name in visible.split(",") if name]
    )
    index = policy.idx or 0
    if index >= len(names):
        return visible, policy
    return names[index], policy if policy.idx is None else DevicePolicy(gpu=True, idx=0)
