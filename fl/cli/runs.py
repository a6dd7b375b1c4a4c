"""Commands of the researcher: submit, list, watch, resume, cancel, fetch."""

import asyncio
import getpass
import time
from pathlib import Path

from rich.table import Table

from broker import topology
from broker.blocking import BlockingBroker
from broker.connect import open_session
from broker.errors import NotFound, Unroutable
from fl.cli.central_shown import epsilon_so_far
from fl.cli.examine import pruned, register, watched
from fl.cli.frame import status
from fl.cli.progress import Progress
from fl.cli.terminal import terminal
from fl.cli.times import moment
from fl.core.vector import NumpyVector
from fl.errors import BadMessage, ConfigError, RunFailed
from fl.main.experiment import Experiment
from fl.main.files import save_progress
from fl.run.events import RunEnded, Status
from fl.run.state import RunState
from fl.submit.history import History, final_weights, follow, past
from fl.submit.register import Entry, pick
from fl.submit.submission import Publish, cancellation, prepare, resumption, submit_blocking


def submit_run(file: Path, url: str, *, weights: Path | None, watch: bool, timeout_s: float) -> None:
    """Put the run of a file on the broker, and print its name."""
    experiment = Experiment.from_file(file)
    if experiment.clients:
        note = f"note: the [[clients]] of {file} are for quickrun; sites bring their own data"
        terminal(stderr=True).print(note, soft_wrap=True)
    start = experiment.start(weights)
    submission = prepare(experiment.spec, start, sender=getpass.getuser(), now=time.time())
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        submit_blocking(broker, submission)
    print(submission.run)  # noqa: T201  # the command's output
    if watch:
        watch_run(submission.run, url)


def list_runs(url: str, *, everything: bool, timeout_s: float) -> None:
    """Print a line for each run."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        known = register(broker)
        shown = [entry for entry in known.values() if everything or entry.closed is None]
        rows = [_row(broker, entry) for entry in shown]
    if shown:
        terminal().print(_table(rows))
    else:
        terminal().print("no runs" if everything or not known else "no open runs; --all shows those that are over")


def _table(rows: list[dict[str, str]]) -> Table:
    """Epsilon is among the columns where a run is centrally private."""
    columns = ["run", "state", "round", "clients", "best loss", "epsilon", "by", "submitted"]
    if not any(row.get("epsilon") for row in rows):
        columns.remove("epsilon")
    table = Table(*columns, box=None, pad_edge=False)
    table.columns[-1].no_wrap = True
    for row in rows:
        table.add_row(*(row.get(column, "") for column in columns))
    return table


def watch_run(run: str, url: str) -> None:
    """Show a run until it ends. Raises `RunFailed` when it fails."""
    with BlockingBroker(url) as broker:
        entry = pick(run, register(broker))
    end = asyncio.run(_watch(entry, url))
    if end.status is Status.FAILED:
        raise RunFailed(f"run {entry.run} failed: {end.reason}")


def cancel_run(run: str, url: str, *, reason: str, timeout_s: float) -> None:
    """Ask the run's leader to end it. Raises `ConfigError` when it is over."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        entry = _open_run(broker, run)
        _ask(broker, cancellation(entry.run, reason, sender=getpass.getuser(), now=time.time(), user=broker.user))
    print(f"asked {entry.run} to end; `fluffle runs` shows when it has")  # noqa: T201  # the command's output


def resume_run(run: str, url: str, *, timeout_s: float) -> None:
    """Ask a paused run to go on. Raises `ConfigError` when it is over, or not paused."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        entry = _open_run(broker, run)
        view = watched(broker, entry)
        if view.state.paused is None:
            raise ConfigError(f"run {entry.run} is not paused, there is nothing to resume: {status(view)}")
        _ask(broker, resumption(entry.run, sender=getpass.getuser(), now=time.time(), user=broker.user))
    print(  # noqa: T201  # the command's output
        f"asked {entry.run} to ask its clients again; `fluffle watch {entry.run}` shows whether it goes on, "
        f"`fluffle doctor {entry.run}` what it lacks"
    )


def fetch_run(run: str, url: str, *, folder: Path) -> None:
    """Write the best weights so far and the history of a run to a folder."""
    with BlockingBroker(url) as broker:
        entry = pick(run, register(broker))
        state, history = _replayed(broker, entry)
    weights = asyncio.run(_weights(state, url))
    if weights is None:
        raise ConfigError(f"run {entry.run} has no weights yet: it is {state.phase.value}")
    for path in save_progress(state.final_weights[0], weights, history, folder):
        print(f"wrote {path}")  # noqa: T201  # the command's output


def _open_run(broker: BlockingBroker, run: str) -> Entry:
    entry = pick(run, register(broker))
    if entry.closed is not None:
        raise ConfigError(f"run {entry.run} is over: {entry.closed.status.value}, {entry.closed.reason}")
    return entry


def _ask(broker: BlockingBroker, publish: Publish) -> None:
    """Send something to a run's leader."""
    try:
        broker.publish(publish.message, routing_key=publish.queue)
    except Unroutable:
        raise ConfigError(f"the run of {publish.queue} has just ended") from None


def _replayed(broker: BlockingBroker, entry: Entry) -> tuple[RunState, History]:
    state, history = RunState(entry.run, entry.spec), History()
    try:
        for happened in past(entry.run, entry.spec, broker.read(topology.run_log(entry.run))):
            state = happened.state
            history.add(happened)
    except NotFound:
        raise pruned(entry) from None
    return state, history


def _row(broker: BlockingBroker, entry: Entry) -> dict[str, str]:
    row = {"run": entry.run, "by": entry.submitted.by, "submitted": moment(entry.submitted.at)}
    try:
        state, _ = _replayed(broker, entry)
    except ConfigError:
        return {**row, "state": "pruned"}
    except BadMessage:
        return {**row, "state": "of another release"}
    return {
        **row,
        "state": _stand(state),
        "round": f"{state.trained}/{entry.spec.run.rounds}",
        "clients": str(len(state.ready)),
        "best loss": "" if state.best is None else f"{state.best.loss:.4g}",
        "epsilon": epsilon_so_far(state),
    }


def _stand(state: RunState) -> str:
    if state.ended is not None:
        return state.ended.status.value
    if not state.leader:
        return "waiting for a worker"
    return state.phase.value if state.paused is None else "paused"


async def _watch(entry: Entry, url: str) -> RunEnded:
    session = await open_session(url, name="fluffle watch")
    try:
        with Progress(entry.run, entry.spec) as progress:
            async for happened in follow(session, entry.run, entry.spec):
                progress.on_event(happened)
                if isinstance(happened.record, RunEnded):
                    return happened.record
    finally:
        await session.close()
    raise RunFailed(f"run {entry.run}: its log was deleted before its end")


async def _weights(state: RunState, url: str) -> NumpyVector | None:
    session = await open_session(url, name="fluffle fetch")
    try:
        return await final_weights(session, state)
    finally:
        await session.close()
