"""Configuration of scripts, under the names that users of the field know."""

from fl.run.optim import OptimConfig as FLOptimConfig
from fl.run.privacy import PrivacyConfig
from fl.run.spec import RunConfig as FLRunConfig

__all__ = ["FLOptimConfig", "FLRunConfig", "PrivacyConfig"]
