"""`fluffle quota`: how much of the broker one run may take."""

from broker.blocking import BlockingBroker
from broker.quota import quota_of, set_quota


def show_quota(url: str, *, timeout_s: float) -> None:
    """Print it."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        _tell(quota_of(broker))


def change_quota(mib: int, url: str, *, timeout_s: float) -> None:
    """Set it for all runs that start from now on, and print it."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        set_quota(broker, mib)
        _tell(quota_of(broker))


def _tell(mib: int) -> None:
    print(f"one run may take {mib} MiB of this broker")  # noqa: T201  # the command's output
