"""How a view of a run looks in a terminal, and as lines where there is none. Time comes as an argument."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fl.cli.braille import curve
from fl.cli.central_shown import central_privacy
from fl.cli.times import duration, moment
from fl.cli.view import Evaluation, View
from fl.run.events import (
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Kind,
    Note,
    Record,
    RoundCommitted,
    RunEnded,
    RunPaused,
    Status,
    StillWaiting,
)
from fl.run.spec import RegisterConfig
from fl.run.state import Phase
from fl.run.terms import Terms

CURVE_ROWS: Final = 5
CURVE_COLUMNS: Final = 44
AXIS_COLUMNS: Final = 12
"""What stands between the numbers and the curve."""
BAR_COLUMNS: Final = 40
SHOWN_METRICS: Final = 6
SHOWN_WARNINGS: Final = 6
SHOWN_NAMES: Final = 6
COLOURS: Final = {Status.FINISHED: "green", Status.CANCELLED: "yellow", Status.FAILED: "red"}


def frame(view: View, *, now: float) -> RenderableType:
    """All of a run on one screen."""
    parts: list[RenderableType] = [_headline(view), *_waiting(view, now), _bar(view, now)]
    parts += [_clients(view), *_privacy(view)]
    if central := central_privacy(view):
        parts.append(Text(central, "dim"))
    if view.evaluations:
        parts += ["", _Evaluations(view)]
    return Group(*parts, *_warnings(view))


def lines(before: View, record: Record, after: View) -> list[str]:
    """What a record is worth saying in a log: a line for each round, and whatever went wrong, once."""
    said = [f"warning: {warning}" for warning in after.warnings if warning not in before.warnings]
    match record:
        case StillWaiting() if after.state.paused is None and (waiting := awaited(after, after.wait.at)):
            said.append(waiting)
        case RunPaused() if before.state.paused is None:
            said += [status(after), pause(after, after.wait.at)]
        case RunPaused():
            said.append("those are asked again that the run waits for")
        case ClientsOut(clients=notes):
            said += map(_out, notes)
        case ClientsReturned(clients=names):
            said.append(f"back: {', '.join(names)}")
        case ClientsAdmitted(clients=clients) if clients:
            said.append(f"joined: {', '.join(name for name, _ in clients)}")
        case ClientsReady(terms=terms):
            said += (_trains_privately(client, one) for client, one in terms)
        case RoundCommitted(kind=Kind.EVALUATE) if after.last is not None:
            said.append(f"{_position(after, record.round)}: {_values(after.last)}")
        case RoundCommitted(kind=Kind.TRAIN) if not _is_evaluated(after, record.round):
            said.append(f"{_position(after, record.round)}: trained by {len(record.participants)}")
        case RunEnded():
            said += [status(after), *filter(None, [central_privacy(after)])]
        case _:
            pass
    return [f"{after.run}: {text}" for text in said]


def status(view: View) -> str:
    """What is going on, in a few words."""
    state, end = view.state, view.end
    if end is not None:
        best = f"; the best round is {end.best_round}" if end.best_round else ""
        return f"{end.status.value}: {end.reason}{best}"
    if not view.worker:
        return "waiting for a worker to lead it"
    if state.paused is not None:
        return f"paused: {state.paused}"
    if state.phase is Phase.REGISTERING:
        return f"waiting for {_awaited(view.spec.run.registration)}"
    if state.phase is Phase.PREPARING:
        return "making the first weights"
    if state.phase is Phase.INITIALISING:
        return f"{len(state.clients)} clients build the model"
    if state.open is None:
        return _position(view, state.trained)
    opened = state.open.opened
    verb = "train" if opened.kind is Kind.TRAIN else "evaluate"
    return f"{_position(view, opened.round)}: {len(opened.participants)} clients {verb}"


def awaited(view: View, now: float) -> str | None:
    """For whom the run has been waiting, and how long; None where it is its leader's turn."""
    state, lasted = view.state, duration(view.wait.lasted_s(now))
    if state.phase is Phase.REGISTERING:
        joined = ", ".join(sorted(view.wait.answered)) or "nobody so far"
        return f"waiting for clients for {lasted} (joined: {joined})"
    names = view.wait.awaited(state)
    return f"waiting for {few(names)} for {lasted} (answered: {len(view.wait.answered)})" if names else None


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def pause(view: View, now: float) -> str:
    """Since when a run is paused, how long it still waits, and what ends that."""
    wait, patience_s = view.wait, view.spec.run.patience_s
    assert wait.paused_at is not None, "called of a paused run"
    left = duration(max(0.0, patience_s - wait.lasted_s(now)))
    return (
        f"since {moment(wait.paused_at)}; goes on when enough clients are back, or fails in {left}. "
        f"`fluffle resume {view.run}` asks them again, `fluffle cancel {view.run}` ends it"
    )


def _waiting(view: View, now: float) -> list[RenderableType]:
    """Why nothing goes on, where it has taken some time."""
    if view.state.paused is not None:
        return [Text(pause(view, now), "yellow")]
    long = awaited(view, now) if view.wait.is_long else None
    waiting = [] if long is None else [Text(long, "dim")]
    return [*waiting, *(Text(_out(note), "yellow") for note in list(view.state.out.values())[:SHOWN_WARNINGS])]


def _out(note: Note) -> str:
    return f"{note.client} is not waited for: {note.reason}"


def _headline(view: View) -> Text:
    colour = COLOURS[view.end.status] if view.end is not None else "cyan" if view.state.paused is None else "yellow"
    return Text.assemble((view.run, "bold"), "  ", (status(view), colour))


def _bar(view: View, now: float) -> Table:
    rounds, trained = view.spec.run.rounds, view.state.trained
    left = view.left_s(now)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(max_width=BAR_COLUMNS)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_row(
        ProgressBar(total=rounds, completed=trained, complete_style="cyan", finished_style="green"),
        Text(f"{trained}/{rounds}"),
        Text(duration(view.elapsed_s(now)) + ("" if left is None else f", about {duration(left)} left"), "dim"),
    )
    return grid


def _clients(view: View) -> Text:
    names = view.state.ready or tuple(sorted(view.state.clients))
    if not names:
        return Text("no clients yet", "dim")
    text = Text(f"{len(names)} clients: ", "dim", overflow="ellipsis", no_wrap=True)
    return text.append(", ".join(names), "default")


def _privacy(view: View) -> list[RenderableType]:
    """What protects the samples of a private run, and by how much noise."""
    privacy = view.spec.run.privacy
    if privacy is None:
        return []
    epsilon, delta = privacy.budget
    sigmas = sorted(one.terms.noise_multiplier for one in view.state.clients.values() if one.terms is not None)
    noise = f", noise multipliers {sigmas[0]:.3g} to {sigmas[-1]:.3g}" if sigmas else ""
    return [Text(f"private: each sample within epsilon {epsilon:g} at delta {delta:g}{noise}", "dim")]


def _trains_privately(client: str, terms: Terms) -> str:
    left = f"; without noise leave: {'; '.join(terms.unprotected)}" if terms.unprotected else ""
    before = f", epsilon {terms.spent_epsilon:.3g} spent by earlier runs" if terms.spent_epsilon else ""
    noisy = "" if terms.metric_noise is None else f" and {terms.metric_noise:.3g} for each evaluation"
    return (
        f"{client} trains privately: noise multiplier {terms.noise_multiplier:.3g} for {terms.planned_steps} steps"
        f"{noisy}{before}{left}"
    )


class _Evaluations:
    """The numbers, and beside them the curve of the loss where there is room for it."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        numbers = _numbers(self._view)
        room = options.max_width - console.measure(numbers).maximum - AXIS_COLUMNS
        if len(self._view.losses) < 2 or room < 10 or options.ascii_only:
            yield numbers
            return
        grid = Table.grid(padding=(0, 3))
        grid.add_row(numbers, _curve(self._view, min(CURVE_COLUMNS, room)))
        yield grid


def _numbers(view: View) -> Table:
    last, best = view.last, view.best
    assert last is not None, "called once there are evaluations"
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column(f"round {last.round}", justify="right")
    table.add_column("" if best is None else f"best: {best.round}", justify="right", style="green")
    table.add_row("loss", f"{last.loss:.4f}", "" if best is None else f"{best.loss:.4f}")
    for name in _shown(last):
        known = "" if best is None or name not in best.metrics else f"{best.metrics[name]:.4f}"
        table.add_row(name, f"{last.metrics[name]:.4f}", known)
    return table


def _curve(view: View, width: int) -> Text:
    """The loss over all rounds of the run."""
    rounds, values = zip(*view.losses, strict=True)
    labels = [f"{max(values):.3f}", *[""] * (CURVE_ROWS - 2), f"{min(values):.3f}"]
    rows = curve(view.losses, end=view.spec.run.rounds, width=width, height=CURVE_ROWS)
    drawn = [Text.assemble((f"{label:>7} │", "dim"), (row, "cyan")) for label, row in zip(labels, rows, strict=True)]
    return Text("\n").join([Text(f"   loss  rounds {rounds[0]} to {view.spec.run.rounds}", "dim"), *drawn])


def _warnings(view: View) -> list[RenderableType]:
    shown = view.warnings[-SHOWN_WARNINGS:]
    hidden = len(view.warnings) - len(shown)
    more = [Text(f"and {hidden} more before these", "dim")] if hidden else []
    return [*more, *(Text.assemble(("! ", "bold yellow"), (warning, "yellow")) for warning in shown)]


def _values(evaluation: Evaluation) -> str:
    metrics = (f", {name} {evaluation.metrics[name]:.4f}" for name in _shown(evaluation))
    return f"loss {evaluation.loss:.4f}" + "".join(metrics)


def _shown(evaluation: Evaluation) -> list[str]:
    """Metrics by name, without the numbers of samples that they are of."""
    return [name for name in evaluation.metrics if name != "n" and not name.endswith("/n")][:SHOWN_METRICS]


def _position(view: View, round_: int) -> str:
    return f"round {round_} of {view.spec.run.rounds}"


def _is_evaluated(view: View, round_: int) -> bool:
    return view.spec.run.evaluates_after(round_)


def _awaited(registration: RegisterConfig) -> str:
    least, most = registration.min_clients, registration.max_clients
    if most is None:
        return f"at least {least} {'client' if least == 1 else 'clients'}"
    return f"{least} to {most} clients" if least < most else f"{most} {'client' if most == 1 else 'clients'}"
