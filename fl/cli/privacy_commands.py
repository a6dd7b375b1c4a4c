"""Commands about privacy: what a budget means before a run, and what has been spent after it."""

from pathlib import Path
from typing import Annotated

import typer


def plan_privacy(
    samples: Annotated[int, typer.Option(min=1, help="How many samples the site trains on.")],
    batch_size: Annotated[int, typer.Option(min=1, help="How many of them are in a batch, on average.")],
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds the site takes part in, at most.")],
    epsilon: Annotated[float, typer.Option(help="The budget: 1 is strict, 8 is usual.")],
    *,
    delta: Annotated[float, typer.Option(help="The chance that epsilon does not hold; below 1 / samples.")] = 1e-5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a round.  [default: 1]", show_default=False)
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of a round; with epochs the fewer.")] = None,
    parameters: Annotated[int, typer.Option(min=1, help="Trainable numbers of the model.")] = 1000,
    accountant: Annotated[str, typer.Option(help="rdp, prv or gdp.")] = "rdp",
    keep_remainder: Annotated[
        bool, typer.Option("--keep-remainder", help="As drop_remainder = false in the run: one step more an epoch.")
    ] = False,
) -> None:
    """Say what a privacy budget means for a run: the noise, the steps, and what is left of the signal.

    \b
    A hospital of 2000 patients, 20 rounds of one epoch, a model of 500 numbers:
        fluffle plan-privacy --samples 2000 --batch-size 100 --rounds 20 --epsilon 8 --parameters 500

    Differentially private training clips each sample's gradient to a length C, and adds noise of sigma·C to their sum.
    Whoever sees the updates cannot tell whether a sample was in the data, but for a factor of e^epsilon in the odds,
    and a chance of delta.

    \b
    What makes the same budget go further:
        more samples        each is in fewer batches
        larger batches      the noise is divided by more samples; more of it is needed, but less than that
        fewer steps         each costs; a larger learning rate may do with fewer
        fewer parameters    noise is added to every one of them, the signal is not
        prv                 counts the same steps more closely than rdp, and takes longer to count

    Every site plans with its own number of samples; this asks no broker and changes nothing.
    """
    from fl.cli.privacy_plan import print_plan
    from fl.core.privacy.options import Budget
    from fl.core.training import Effort

    print_plan(
        samples=samples,
        batch_size=batch_size,
        rounds=rounds,
        effort=Effort(n_epoch=1 if epochs is None and steps is None else epochs, n_steps=steps),
        budget=Budget(epsilon, delta, accountant),
        parameters=parameters,
        drop_remainder=not keep_remainder,
    )


def ledger(
    state: Annotated[Path, typer.Argument(metavar="STATE_DIR", help="State directory of a site, or its ledger.")],
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it, as PNG.")] = None,
) -> None:
    """Show what a site has spent of its privacy: every round of every run, and epsilon so far on its dataset.

    A round is in the ledger before it is trained; one that a crash cut short has been paid for. So is an evaluation
    that has noise: "eval" in the place of steps. Datasets are known by what is in them, and epsilon is of all runs on
    the same data together. Lines that are counted by prv take a moment each.
    """
    from fl.cli.ledger import show_ledger

    show_ledger(state, csv_file=csv, plot=plot)
