"""What sites tell about their data, and what all of it together is."""

from fl.core.data_info import DataInfo, combine

__all__ = ["DataInfo", "combine"]
