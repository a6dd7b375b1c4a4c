"""`fluffle plan-privacy`: a budget as noise, before anything runs."""

from rich.table import Table

from fl.cli.terminal import terminal
from fl.core.dataset.sampling import Batching
from fl.core.privacy.options import Budget
from fl.core.privacy.planning import Plan, plan
from fl.core.training import Effort


def print_plan(
    *,
    samples: int,
    batch_size: int,
    rounds: int,
    effort: Effort,
    budget: Budget,
    parameters: int,
    drop_remainder: bool,
) -> None:
    """A small table, and what should be thought of."""
    batching = Batching(batch_size, drop_remainder=drop_remainder)
    made = plan(n_samples=samples, batching=batching, rounds=rounds, effort=effort, budget=budget)
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in _rows(made, parameters):
        table.add_row(*row)
    shown = terminal()
    shown.print(table)
    for advice in _advice(made, batch_size, parameters):
        shown.print(f"! {advice}")


def _rows(made: Plan, parameters: int) -> list[tuple[str, str, str]]:
    total, budget, signal = made.total, made.budget, made.signal_to_noise(parameters)
    return [
        (
            "sampling rate",
            f"{total.sample_rate:.4g}",
            f"{made.batch:g} of {made.n_samples} samples a batch, on average",
        ),
        ("steps", str(total.steps), f"{made.rounds} rounds of {made.steps_per_round}"),
        ("noise multiplier", f"{total.noise_multiplier:.4g}", "sigma, of the noise on a sum of gradients"),
        ("epsilon", f"{made.epsilon:.4g}", f"of {budget.epsilon:g} at delta={budget.delta:g}, by {budget.accountant}"),
        ("noise on the mean", f"{made.noise_std:.4g}", "sigma / B, where no gradient is longer than 1"),
        ("signal to noise", f"{signal:.3g}", f"B / (sigma √{parameters}): in a step, at best"),
        ("over all steps", f"{signal * total.steps**0.5:.3g}", f"√{total.steps} times as much, if all pull one way"),
    ]


def _advice(made: Plan, batch_size: int, parameters: int) -> list[str]:
    found = []
    if made.budget.delta * made.n_samples >= 1:
        found.append(
            f"delta={made.budget.delta:g} is no less than 1/{made.n_samples}: to publish a sample as it is would be "
            f"private by that; use less than {0.1 / made.n_samples:.1g}"
        )
    if batch_size > made.n_samples:
        found.append(f"batches of {batch_size} are larger than the data: every step uses every sample")
    if made.budget.accountant == "gdp":
        found.append("gdp is an approximation that may say too little: for a promise use rdp or prv")
    if made.signal_to_noise(parameters) * made.total.steps**0.5 < 1:
        found.append(
            "there is more noise than signal even in all steps together: use larger batches, fewer parameters or a "
            "larger epsilon"
        )
    return found
