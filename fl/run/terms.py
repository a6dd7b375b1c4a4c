"""What a client says of its privacy, before a private run trains there."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """How a site trains privately in a run, and what leaves it all the same."""

    noise_multiplier: float
    """The standard deviation of the noise, over the bound on a sample's gradient."""
    planned_steps: int
    """Noisy training steps that the budget is planned for."""
    spent_epsilon: float
    """What other runs had spent on the site's data when this one came."""
    unprotected: tuple[str, ...] = ()
    """What leaves the site without noise."""
    warnings: tuple[str, ...] = ()
    metric_noise: float | None = None
    """The noise multiplier of what each evaluation tells; None: it has no noise."""


@dataclass(frozen=True, slots=True)
class PrivacySettled:
    """A client has the model, and trains it privately on these terms."""

    client: str
    terms: Terms
