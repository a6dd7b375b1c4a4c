"""`fluffle dead …`: each a few lines over what does the work, which is imported only when it is called."""

from typing import Annotated

import typer

from fl.cli.group import new_app
from fl.cli.options import Broker, Timeout

dead_app = new_app("Dead letters: messages that nobody could handle, kept with the reason until a person has looked.")

DeadLetterName = Annotated[str, typer.Argument(metavar="N|ID", help="Its number in the list, or how its id begins.")]
MaybeDeadLetterName = Annotated[
    str | None, typer.Argument(metavar="N|ID", help="Its number in the list, or how its id begins.", show_default=False)
]
AllDeadLetters = Annotated[bool, typer.Option("--all", help="All of them.")]
OfRun = Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only those of this run.", show_default=False)]


@dead_app.command("list")
def list_(broker: Broker, run: OfRun = None, timeout: Timeout = 10.0) -> None:
    """List dead letters, oldest first: what each was, of whom, where it died and why.

    Looking changes nothing: all of them are given back, in their order.
    """
    from fl.cli.dead import list_dead

    list_dead(broker, run=run, timeout_s=timeout)


@dead_app.command()
def show(which: DeadLetterName, broker: Broker, timeout: Timeout = 10.0) -> None:
    """Show all of a dead letter: how it came, why it died, and what is in it.

    Of tensors it shows layout and size. Where the content cannot be read, it says why and shows how it begins.
    """
    from fl.cli.dead import show_dead

    show_dead(which, broker, timeout_s=timeout)


@dead_app.command()
def requeue(
    broker: Broker,
    which: MaybeDeadLetterName = None,
    everything: AllDeadLetters = False,
    run: OfRun = None,
    timeout: Timeout = 10.0,
) -> None:
    """Send dead letters again to where they had come to, when what they died of is mended.

    \b
        fluffle dead requeue 3
        fluffle dead requeue --all --run heart-1a2b3c

    Each is removed here once the broker has it safe there. Those whose queue is gone, as when a run is over, stay.
    A worker that has failed over a message refuses it until it is started again, as with what is mended it is.
    A message that comes late does no harm: a leader takes no reply to a round that is closed, and no reply twice.
    """
    from fl.cli.dead import Choice, requeue_dead

    requeue_dead(Choice(which, everything=everything, run=run), broker, timeout_s=timeout)


@dead_app.command()
def drop(
    broker: Broker,
    which: MaybeDeadLetterName = None,
    everything: AllDeadLetters = False,
    run: OfRun = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Throw dead letters away for good, after asking."""
    from fl.cli.dead import Choice, drop_dead

    drop_dead(Choice(which, everything=everything, run=run), broker, sure=yes, timeout_s=timeout)
