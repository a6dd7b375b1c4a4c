"""What a centrally private run has cost each of its clients so far, in words."""

from fl.cli.view import View
from fl.core.privacy.accounting import epsilon
from fl.errors import ConfigError
from fl.run.releases import clip_norm, spending


def central_privacy(view: View) -> str:
    """Empty for a run that is not centrally private."""
    central = view.spec.run.central_privacy
    cost = None if central is None else spending(view.state)
    if central is None or cost is None:
        return ""
    of = "" if central.budget is None else f" of {central.budget[0]:g}"
    try:
        spent = f"epsilon {epsilon([cost], delta=central.told_at, accountant=central.accountant):.3g}{of}"
    except ConfigError as error:  # Opacus is not installed where it is only looked on
        spent = f"epsilon{of} not known here ({error})"
    sums = f"{cost.steps} noised sum{'s' * (cost.steps != 1)}"
    return (
        f"each client: {spent} at delta {central.told_at:g}, after {sums} with noise multiplier "
        f"{cost.noise_multiplier:.3g}; clip norm {clip_norm(view.state, central):.3g}"
    )
