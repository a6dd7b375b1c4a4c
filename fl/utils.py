"""Settings of this process."""

from fl.core.device import DevicePolicy, get_device_policy, set_device_policy

__all__ = ["DevicePolicy", "get_device_policy", "set_device_policy"]
