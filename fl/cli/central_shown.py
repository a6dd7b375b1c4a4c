"""What a centrally private run has cost each of its clients so far, in words."""

from fl.cli.view import View
from fl.errors import ConfigError
from fl.run.releases import clip_norm, spent
from fl.run.state import RunState


def central_privacy(view: View) -> str:
    """Empty for a run that is not centrally private."""
    central, cost = view.spec.run.central_privacy, spent(view.state)
    if central is None or cost is None:
        return ""
    of = "" if central.budget is None else f" of {central.budget[0]:g}"
    try:
        so_far = f"epsilon {cost.epsilon:.3g}{of}"
    except ConfigError as error:  # Opacus is not installed where it is only looked on
        so_far = f"epsilon{of} not known here ({error})"
    sums = f"{cost.sums.steps} noised sum{'s' * (cost.sums.steps != 1)}"
    return (
        f"each client: {so_far} at delta {cost.delta:g}, after {sums} with noise multiplier "
        f"{cost.sums.noise_multiplier:.3g}; clip norm {clip_norm(view.state, central):.3g}"
    )


def epsilon_so_far(state: RunState) -> str:
    """The figure alone, as `central_privacy` has it; "?" where Opacus is not installed."""
    cost = spent(state)
    if cost is None:
        return ""
    try:
        return f"{cost.epsilon:.3g}"
    except ConfigError:
        return "?"
