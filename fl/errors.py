"""What can go wrong in learning, sorted by what the caller must do.

    FluffleError
    ├── Rejected         this input is wrong, the next may be fine; the process lives
    │   └── BadMessage   a message that cannot be decoded, or that lies
    └── Fatal            repeating changes nothing until a person acts; the text says what to do
        ├── ConfigError  an option is unknown, missing or of the wrong type
        ├── DataError    a dataset cannot be read, or does not fit
        ├── BudgetSpent  training would cost more privacy than is left
        ├── ModelError   a model cannot be built, or does not fit the data
        └── RunFailed    a run ended without a result

What goes wrong between us and the broker has a tree of its own, in `broker.errors`.
"""


class FluffleError(Exception):
    """Any failure that has a text a person can act on."""


class Rejected(FluffleError):
    """This input is wrong; the next one may be fine."""


class BadMessage(Rejected):
    """A message cannot be decoded, or speaks another protocol version."""


class Fatal(FluffleError):
    """Repeating changes nothing until a person acts."""


class ConfigError(Fatal, ValueError):
    """An option is unknown, missing or of the wrong type."""


class BudgetSpent(Fatal):
    """Training would cost more privacy than is left: `epsilon` with it, and the `limit`."""

    def __init__(self, text: str, *, epsilon: float, limit: float) -> None:
        super().__init__(text)
        self.epsilon = epsilon
        self.limit = limit


class DataError(Fatal, ValueError):
    """A dataset cannot be read, or does not fit its model."""


class ModelError(Fatal, ValueError):
    """A model cannot be built, or does not fit the data."""


class RunFailed(Fatal):
    """A run ended without a result."""
