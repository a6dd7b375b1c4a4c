"""`fluffle demo`: four real hospitals train one model, live, and then an honest comparison."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from rich.console import Console

from broker.connect import open_session
from broker.local import LocalRabbit
from fl.cli.curves import draw_curves
from fl.cli.demo_table import show_comparison
from fl.cli.fleet import Fleet
from fl.cli.progress import Progress
from fl.cli.quickrun import run_and_show
from fl.cli.terminal import silence_logs, terminal
from fl.errors import ConfigError
from fl.examples.heart.compare import Comparison, compare
from fl.examples.heart.folder import write_example
from fl.examples.heart.hospitals import CREDIT, Hospital, load_hospitals
from fl.examples.heart.rivals import train_rivals
from fl.main.experiment import Experiment
from fl.main.files import save_outcome
from fl.main.outcome import Outcome, outcome_of
from fl.submit.history import History, follow
from fl.submit.submission import Submission, prepare, submit
from fl.tasks import together

WORKERS: Final = 2


def run_demo(*, broker: bool, out: Path, seed: int, rounds: int | None, console: Console | None = None) -> None:
    """Run the demonstration and write what it leaves to `out`.

    Embedded, all is in this process. With `broker`, a private RabbitMQ and a process for each worker and each
    hospital; the weights come out the same, bit for bit. Raises `FluffleError` or `BrokerError` where it cannot.
    """
    silence_logs()
    console = console or terminal()
    if seed < 0:
        raise ConfigError(f"--seed {seed}: use a number of at least 0")
    hospitals = load_hospitals(seed)
    experiment = _write(hospitals, out, seed=seed, rounds=rounds)
    console.print(
        "Four hospitals train one classifier of heart disease, and no patient's record leaves its hospital.\n"
        f"Data: {CREDIT}.\n",
        highlight=False,
    )
    submission = prepare(experiment.spec, None, sender="demo", now=time.time())
    if broker:
        outcome = _with_broker(experiment, submission, out=out, console=console)
    else:
        outcome = asyncio.run(run_and_show(experiment, submission, f"memory://{uuid4().hex}", console=console))
    _report(outcome.require(), hospitals, out=out, console=console)


def _write(hospitals: Sequence[Hospital], out: Path, *, seed: int, rounds: int | None) -> Experiment:
    """The hospitals' files, and the run as `fluffle quickrun` would read it."""
    try:
        return Experiment.from_file(write_example(hospitals, out / "heart", seed=seed, rounds=rounds))
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}; choose another folder with --out") from None


def _with_broker(experiment: Experiment, submission: Submission, *, out: Path, console: Console) -> Outcome:
    logs = out / "logs"
    with ExitStack() as stack:
        with console.status("starting a private RabbitMQ, about 8 s"):
            node = stack.enter_context(LocalRabbit())
        fleet = stack.enter_context(Fleet(node.url, logs))
        for number in range(1, WORKERS + 1):
            fleet.start(f"worker-{number}", "server", "--name", f"worker-{number}", role="worker")
        for config in experiment.clients:
            fleet.start(config.name, "client", out / "heart" / config.name / "client.toml")
        console.print(
            f"A private RabbitMQ on 127.0.0.1, {WORKERS} workers and {len(experiment.clients)} daemons are processes "
            f"of their own; their logs are in {logs}.\n",
            highlight=False,
        )
        return asyncio.run(_submit_and_watch(node.url, submission, fleet=fleet, console=console))


async def _submit_and_watch(url: str, submission: Submission, *, fleet: Fleet, console: Console) -> Outcome:
    session = await open_session(url, name="fluffle demo")
    try:
        await submit(session, submission)
        async with together() as group:
            watching = group.create_task(fleet.watch())
            with Progress(submission.run, submission.spec, console=console) as progress:
                async for happened in follow(session, submission.run, submission.spec):
                    progress.on_event(happened)
            watching.cancel()
        return await outcome_of(session, submission.run, submission.spec)
    finally:
        await session.close()


def _report(outcome: Outcome, hospitals: Sequence[Hospital], *, out: Path, console: Console) -> None:
    assert outcome.weights is not None, "a run that finished has weights"
    with console.status("training what to compare with"):
        rivals = train_rivals(outcome.spec, hospitals)
    judge = partial(compare, outcome.spec.model, hospitals, federated=outcome.weights, rivals=rivals)
    show_comparison(judge(), console)
    written = save_outcome(outcome, out)
    try:
        written.append(_draw(outcome.history, out, judge(part=lambda hospital: hospital.valid)))
    except ConfigError as error:
        console.print(f"no curves: {error}")
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)
    digest = hashlib.sha256(outcome.weights.pack()).hexdigest()
    console.print(f"The weights are {digest[:16]}, with this seed over any broker.")
    console.print(f"The same again: fluffle quickrun {out / 'heart' / 'run.toml'}", soft_wrap=True)


def _draw(history: History, out: Path, watched: Comparison) -> Path:
    """The run's curves are of the patients that it watched, and so is what stands beside them."""
    references = {
        "central: all patients in one place": watched.central.accuracy,
        "own models, mean": watched.mean_own_of_all,
    }
    path = out / "curves.png"
    draw_curves(history, path, title="Heart disease in four hospitals", references=references)
    return path
