"""The device of torch that a policy means."""

import torch

from fl.core.device import DevicePolicy, resolve


def device_of(policy: DevicePolicy) -> torch.device:
    """Raises `ConfigError` when the policy names a GPU that torch does not see."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = resolve(policy, [torch.cuda.get_device_name(index) for index in range(count)], "torch")
    return torch.device("cpu") if index is None else torch.device("cuda", index)
