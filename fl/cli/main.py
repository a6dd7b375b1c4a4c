"""`fluffle`: every command, each a few lines over what does the work, which is imported only when it is called."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from broker.errors import BrokerError
from fl import __version__
from fl.cli.broker_commands import broker_app
from fl.cli.dead_commands import dead_app
from fl.cli.group import new_app
from fl.cli.options import Broker, LogLevel, RunName, StartWeights, Timeout
from fl.cli.privacy_commands import ledger, plan_privacy
from fl.errors import FluffleError

app = new_app(
    "Federated learning over RabbitMQ: sites train one model together, and their data stays where it is.",
    epilog="Start here: `fluffle demo`. At a site: `fluffle client FILE`. Where runs are led: `fluffle server`.",
)
app.add_typer(broker_app, name="broker")
app.add_typer(dead_app, name="dead")

# How data are dealt, to virtual clients and into files alike.
Alpha = Annotated[float | None, typer.Option(help="By dirichlet: the smaller, the less alike.  [default: 0.5]")]
LabelsPerClient = Annotated[int | None, typer.Option(help="By label: how many each has.  [default: 2]")]
Sigma = Annotated[float | None, typer.Option(help="By size: deviation of the sizes' logarithms.  [default: 1]")]


def _show_version(wanted: bool) -> None:  # typer calls it with the option's value
    if wanted:
        typer.echo(f"fluffle {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    del version  # its callback has said it


@app.command()
def demo(
    broker: Annotated[
        bool, typer.Option("--broker", help="Over a real private RabbitMQ, in separate processes.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for weights, history and curves.")] = Path("outputs/demo"),
    seed: Annotated[int, typer.Option(help="Which patients are held out, and the order of batches.")] = 0,
    rounds: Annotated[int | None, typer.Option(min=1, help="Training rounds.")] = None,
) -> None:
    """Train a heart-disease classifier across four real hospitals, and compare it with what each has alone."""
    from fl.cli.demo import run_demo

    run_demo(broker=broker, out=out, seed=seed, rounds=rounds)


@app.command()
def quickrun(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file with the run and its clients.")],
    broker: Annotated[
        str | None, typer.Option(metavar="URL", help="A real broker instead of the embedded one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for weights and history.")] = Path("outputs"),
    weights: StartWeights = None,
) -> None:
    """Run an experiment on this machine: server, clients and broker in one process."""
    from fl.cli.quickrun import run_quickly

    run_quickly(file, broker=broker, out=out, weights=weights)


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file with the run and its clients.")],
    clients: Annotated[
        int | None,
        typer.Option(min=1, help="Deal the data of FILE's clients to so many virtual ones.", show_default=False),
    ] = None,
    *,
    by: Annotated[str, typer.Option(help="How to deal: iid, label, dirichlet or size.")] = "iid",
    alpha: Alpha = None,
    labels_per_client: LabelsPerClient = None,
    sigma: Sigma = None,
    valid: Annotated[float, typer.Option(help="Part of each client's data to evaluate on; 0 for none.")] = 0.2,
    seed: Annotated[int, typer.Option(help="The same seed deals the same data.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for weights and history.")] = Path("outputs"),
    weights: StartWeights = None,
) -> None:
    """Simulate a run of a thousand clients and more in this process: no broker, no messages, the same results.

    \b
    The clients of a quickrun, faster and to the same bits:
        fluffle simulate run.toml
    All their data, dealt to a thousand virtual clients:
        fluffle simulate run.toml --clients 1000
        fluffle simulate run.toml --clients 1000 --by dirichlet --alpha 0.3

    \b
    With --clients:
        a single table of clients in FILE will do, which names all data
        what clients would evaluate on is dealt too; --valid says what part is held out of it
        run.register is the number of virtual clients
        run.sampling = 0.1 in FILE asks a tenth of them in a round

    Nothing is waited for: deadlines, and times to register, are over at once. With run.seed all results are the same.
    """
    from fl.cli.simulate import run_simulation
    from fl.cli.split import Plan

    plan = None
    if clients is None and (by, alpha, labels_per_client, sigma) != ("iid", None, None, None):
        raise typer.BadParameter("say with --clients to how many virtual clients the data are dealt")
    if clients is not None:
        plan = Plan(
            clients=clients,
            by=by,
            alpha=alpha,
            labels_per_client=labels_per_client,
            sigma=sigma,
            valid=valid,
            seed=seed,
        )
    run_simulation(file, plan=plan, out=out, weights=weights)


@app.command()
def server(
    broker: Broker, name: Annotated[str, typer.Option(help="Name in logs.")] = "", log: LogLevel = "info"
) -> None:
    """Start a server worker: it leads runs, keeps nothing, and any other worker can take over from it."""
    from fl.cli.service import run_server

    run_server(broker, name=name, log_level=log)


@app.command()
def client(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML file that says who this site is and what data it has.")
    ],
    broker: Annotated[
        str | None, typer.Option(envvar="FLUFFLE_BROKER", metavar="URL", help="Instead of the file's.")
    ] = None,
    log: LogLevel = "info",
) -> None:
    """Start a site's daemon: it joins runs, trains on the site's data, and answers.

    \b
    FILE says who this site is and what data it has:
        name = "cleveland"
        train = { path = "train.csv", target = "disease", expose_classes = true }
        valid = { path = "valid.csv", target = "disease" }

    Paths are relative to the file. Trainers run in child processes; what is installed for them is all they need.
    """
    from fl.cli.service import run_client

    run_client(file, broker=broker, log_level=log)


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file with the run.")],
    broker: Broker,
    weights: StartWeights = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show its progress until it ends.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Submit a run, to be led by the workers, and print its name.

    \b
    FILE says what to train and how:
        model.kind = "sklearn-sgd"
        model.config = { kind = "classifier", loss = "log_loss" }
        optim.client_opt = 0.05
        run.rounds = 20
        run.register = { min_clients = 2, timeout = 60 }
        run.training = { batch_size = 32 }

    \b
    And, for example:
        optim.preset = "FedYogi"       or FedAvg, FedProx, SCAFFOLD ...
        run.sampling = 0.1             ask a tenth of the clients in a round
        run.sampling = { clients = 12, take = 10 }     the first ten of twelve
        run.sampling = { clients = 5, by = "criterion", criterion = "loss" }
        run.deadline = 600             seconds a round waits for replies
        run.min_replies = 0.5          with less than half the run pauses
        run.patience = 3600            seconds that it stays paused before it fails; without it a day
        run.evaluate = { frequency = 5 }       false: never
        run.early_stop = { patience = 3 }
        initial_weights = "outputs"    start from the best weights there
    """
    from fl.cli.runs import submit_run

    submit_run(file, broker, weights=weights, watch=watch, timeout_s=timeout)


@app.command()
def runs(
    broker: Broker,
    everything: Annotated[bool, typer.Option("--all", help="Also runs that are over.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """List runs: where each stands, and who takes part."""
    from fl.cli.runs import list_runs

    list_runs(broker, everything=everything, timeout_s=timeout)


@app.command()
def watch(run: RunName, broker: Broker) -> None:
    """Show the progress of a run until it ends; Ctrl-C leaves, the run goes on.

    It says for whom the run waits, and for how long, and why it is paused, if it is.
    """
    from fl.cli.runs import watch_run

    watch_run(run, broker)


@app.command()
def cancel(
    run: RunName,
    broker: Broker,
    reason: Annotated[str, typer.Option(help="What the clients are told.")] = "cancelled by its owner",
    timeout: Timeout = 10.0,
) -> None:
    """End a run; the weights of its best round so far stay."""
    from fl.cli.runs import cancel_run

    cancel_run(run, broker, reason=reason, timeout_s=timeout)


@app.command()
def doctor(
    broker: Broker,
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Name of a run, or the beginning of it.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Say why a run does not go on, and what to do; without RUN, how the broker and all open runs are.

    Who leads it, for whom it waits and since when, whose daemon is not connected, who was set aside and why, why it is
    paused and what ends that, what is dead-lettered. It asks the broker alone, and changes nothing.

    Exit code 0 when nobody needs to do anything, 1 when somebody does: those lines begin with an exclamation mark.
    """
    from fl.cli.doctor import examine_all, examine_run

    if run is None:
        is_well = examine_all(broker, as_json=json, timeout_s=timeout)
    else:
        is_well = examine_run(run, broker, as_json=json, timeout_s=timeout)
    raise typer.Exit(0 if is_well else 1)


@app.command()
def resume(run: RunName, broker: Broker, timeout: Timeout = 10.0) -> None:
    """Make a paused run ask those clients again that it waits for, whatever was held against them.

    A run pauses when too few clients are left, or have answered. It goes on by itself when enough are back: a daemon
    that is started again joins again. This is for clients that are there and were given up, as after failing often.
    """
    from fl.cli.runs import resume_run

    resume_run(run, broker, timeout_s=timeout)


@app.command()
def quota(
    broker: Broker,
    mib: Annotated[
        int | None, typer.Argument(metavar="MIB", min=1, help="Change it to so many MiB.", show_default=False)
    ] = None,
    timeout: Timeout = 10.0,
) -> None:
    """Show or change how much of the broker one run may take.

    A run that would take more is refused when it is submitted, or ends when its clients have joined and it proves to:
    weights of up to three rounds, and an update of each client that is asked. Choose it well below the room that the
    broker's disk has, by the number of large runs that go on side by side. Unless it is changed it is 65536 MiB.
    """
    from fl.cli.quota import change_quota, show_quota

    if mib is None:
        show_quota(broker, timeout_s=timeout)
    else:
        change_quota(mib, broker, timeout_s=timeout)


@app.command()
def fetch(run: RunName, folder: Annotated[Path, typer.Argument(metavar="DIR")], broker: Broker) -> None:
    """Write a run's best weights (safetensors) and history (CSV) to a folder."""
    from fl.cli.runs import fetch_run

    fetch_run(run, broker, folder=folder)


@app.command()
def split(
    data: Annotated[
        str, typer.Argument(help="CSV, NPY, NPZ or svmlight file, or breast-cancer, diabetes, digits, iris, wine.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the shares.")],
    *,
    clients: Annotated[int, typer.Option(min=1, help="How many shares.")] = 5,
    by: Annotated[str, typer.Option(help="iid, label, dirichlet or size.")] = "iid",
    alpha: Alpha = None,
    labels_per_client: LabelsPerClient = None,
    sigma: Sigma = None,
    target: Annotated[
        str | None, typer.Option(help="What is to be predicted: a column, or a file beside an array.")
    ] = None,
    valid: Annotated[float, typer.Option(help="Part of each share to evaluate on; 0 for none.")] = 0.2,
    bins: Annotated[
        int | None,
        typer.Option(help="Cut the target's values into so many quantiles; 0: never. By default where it is no class."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the split that is in the folder.")] = False,
) -> None:
    """Cut a dataset into the shares of several clients, alike or unlike each other.

    \b
    Handwritten digits for five clients, few kinds of them to each:
        fluffle split digits shares --clients 5 --by dirichlet --alpha 0.3
    A table, of which every client has two labels:
        fluffle split patients.csv shares --target disease --by label

    \b
    Every sample goes to one client:
        iid         drawn at random
        label       each client has few labels
        dirichlet   mixtures of labels are drawn from a Dirichlet distribution, sizes are equal
        size        drawn at random, sizes are lognormal

    \b
    Writes a folder for each client, with its data and client.toml,
    and beside them report.txt, report.json, who-got-what.png, and a run.toml to begin with.
    """
    from fl.cli.split import Plan, run_split

    plan = Plan(
        clients=clients,
        by=by,
        alpha=alpha,
        labels_per_client=labels_per_client,
        sigma=sigma,
        valid=valid,
        bins=bins,
        seed=seed,
    )
    run_split(data, out, target=target, plan=plan, force=force)


app.command("plan-privacy")(plan_privacy)
app.command()(ledger)


@app.command()
def health(
    broker: Broker,
    client: Annotated[
        str | None, typer.Option(metavar="NAME", help="Also: the daemon of this name is connected.")
    ] = None,
    timeout: Timeout = 5.0,
) -> None:
    """Check the connection to the broker, as a probe does; exit code 0 means well."""
    from fl.cli.health import check_health

    check_health(broker, client=client, timeout_s=timeout)


def run() -> None:
    """Entry point: errors meant for people are one line, and exit code 1."""
    # what a run may import, in this process too, reads them when it is imported: Keras, and TensorFlow's log
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except (FluffleError, BrokerError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is the command's own output
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
