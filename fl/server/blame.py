"""Parts of others, which may raise anything, end their run and not the worker."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from broker.errors import BrokerError
from fl.errors import FluffleError, RunFailed
from fl.log import EventLog
from fl.server.intake import Unusable
from fl.server.sums import SumLost


@contextmanager
def blaming_parts(log: EventLog, of: str) -> Iterator[None]:
    """Raises `RunFailed` where a part of somebody else's raises anything."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # results are looked at as a whole
            yield
    except (FluffleError, BrokerError, SumLost, Unusable):
        raise
    except Exception as error:  # a model, an aggregator or a metric may raise anything
        log.exception("computation_failed", of=of)
        raise RunFailed(f"a part of this run failed at the server: {type(error).__name__}: {error}") from error
