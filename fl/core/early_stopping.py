"""Stopping when the loss no longer improves."""

import math
from collections.abc import Sequence

from fl.errors import ConfigError


class EarlyStopping:
    """Stop once `patience` evaluations in a row brought no improvement of more than `tolerance`.

    An improvement is measured against the best value before; with `relative`, in parts of that value. NaN and
    infinity are no improvement. `decrease=False` is for a measure that should rise.
    """

    def __init__(
        self, tolerance: float = 0.0, patience: int = 1, *, decrease: bool = True, relative: bool = False
    ) -> None:
        if math.isnan(tolerance):
            raise ConfigError("early stopping: tolerance is NaN: use a number")
        if patience < 1:
            raise ConfigError(f"early stopping: patience is {patience}: use at least 1")
        self.tolerance = float(tolerance)
        self.patience = patience
        self.decrease = decrease
        self.relative = relative
        self._best: float | None = None
        self._stuck = 0

    def update(self, loss: float) -> bool:
        """Take in the next value; True when it is time to stop."""
        self._stuck = 0 if self._improves(loss) else self._stuck + 1
        if math.isfinite(loss) and (self._best is None or self._gain(loss) > 0):
            self._best = float(loss)
        return self._stuck >= self.patience

    def should_stop(self, losses: Sequence[float]) -> bool:
        """Whether these values, from the first on, were reason to stop at any time; changes nothing."""
        fresh = EarlyStopping(self.tolerance, self.patience, decrease=self.decrease, relative=self.relative)
        return any(map(fresh.update, losses))

    def _improves(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return False
        if self._best is None:
            return True
        return self._gain(loss) > self.tolerance * (abs(self._best) if self.relative else 1.0)

    def _gain(self, loss: float) -> float:
        assert self._best is not None
        return self._best - loss if self.decrease else loss - self._best
