"""Whatever happens, in whatever order, the promises of a run hold."""

from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fl.run.commands import CompleteWeights, Fold
from fl.run.events import (
    CancelAsked,
    ClientFailed,
    ClientsGone,
    Folded,
    InitAnswered,
    Input,
    JoinAsked,
    Kind,
    Parcel,
    Record,
    Replied,
    StartFailed,
    Timer,
    TimeUp,
    Trouble,
    WeightsCompleted,
)
from fl.run.spec import RunSpec
from tests.unit.run.audit import Audit, check_state
from tests.unit.run.driver import Happening, Leader, Letter, Log
from tests.unit.run.histories import AGREED, DATA, OTHER_DATA, a_spec, parcel, results
from tests.unit.run.strategies import decisions

NAMES = st.sampled_from("abcd")
PROBLEMS = st.none() | st.just("not finite")
LOSSES = st.none() | st.sampled_from([0.1, 0.2, 0.3, float("nan")])


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    low = draw(st.integers(1, 3))
    register = {"min_clients": low, **draw(st.fixed_dictionaries({}, optional={
        "max_clients": st.integers(low, 4), "timeout": st.just(60.0)}))}  # fmt: skip
    options: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"rounds": st.integers(1, 3)},
            optional={
                "min_replies": st.integers(1, low),
                "deadline": st.just(30.0),
                "late_join": st.booleans(),
                "evaluate": st.fixed_dictionaries({"frequency": st.integers(1, 3)}),
                "early_stop": st.fixed_dictionaries({"patience": st.integers(1, 2)}),
            },
        )
    )
    return a_spec(register=register, **options)


class AnyEvents(RuleBasedStateMachine):
    """A run with leaders that die, and clients that say anything at any time."""

    leader: Leader

    def __init__(self) -> None:
        super().__init__()
        self.log: Log = []
        self.trace: list[Happening] = []
        self.audited = 0
        self.leaders = 0
        self.published = 0

    @initialize(spec=specs())
    def begin(self, spec: RunSpec) -> None:
        self.audit = Audit(spec)
        self._lead(spec)

    # ---- what clients say ------------------------------------------------------------------------------------------

    @rule(client=NAMES, data_info=st.sampled_from([DATA, DATA, DATA, OTHER_DATA]), problem=st.none() | PROBLEMS)
    def join(self, client: str, data_info: Any, problem: str | None) -> None:
        self.leader.take(JoinAsked(client, data_info, problem))

    @rule(client=NAMES)
    def build_the_model(self, client: str) -> None:
        self.leader.take(InitAnswered(client))

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(client=NAMES, problem=st.none() | PROBLEMS)
    def reply_to_the_open_round(self, client: str, problem: str | None) -> None:
        state = self.leader.state
        assert state.open is not None
        assert state.weights is not None
        opened = state.open.opened
        self.leader.take(Replied(client, opened.kind, opened.round, state.weights.digest, problem))

    @rule(client=NAMES, kind=st.sampled_from(Kind), round_=st.integers(0, 4), base=st.sampled_from(["w1", "w2", "?"]))
    def reply_to_anything(self, client: str, kind: Kind, round_: int, base: str) -> None:
        self.leader.take(Replied(client, kind, round_, base.encode()))

    @rule(client=NAMES, trouble=st.sampled_from(Trouble), in_round=st.booleans(), other=st.integers(0, 3))
    def fail(self, client: str, trouble: Trouble, in_round: bool, other: int) -> None:
        state = self.leader.state
        round_, base = other, b"?"
        if in_round and state.open is not None and state.weights is not None:
            round_, base = state.open.opened.round, state.weights.digest
        self.leader.take(ClientFailed(client, trouble, "a failure", round_, base))

    # ---- what the leader observes ----------------------------------------------------------------------------------

    @rule(clients=st.lists(NAMES, unique=True, max_size=2))
    def miss(self, clients: Sequence[str]) -> None:
        self.leader.take(ClientsGone(tuple(clients)))

    @rule(timer=st.sampled_from(Timer))
    def let_time_pass(self, timer: Timer) -> None:
        self.leader.take(TimeUp(timer))

    @precondition(lambda self: self.leader.tasks)
    @rule(loss=LOSSES, changes=st.booleans(), keeps_state=st.booleans())
    def finish_a_task(self, loss: float | None, changes: bool, keeps_state: bool) -> None:
        self.leader.take(self._outcome(self.leader.tasks.popleft(), loss, changes=changes, keeps_state=keeps_state))

    @precondition(lambda self: not self.leader.tasks)
    @rule(event=st.sampled_from(["weights", "failure", "fold"]))
    def report_what_nobody_asked_for(self, event: str) -> None:
        weights, state = self._publish("w"), self._publish("s")
        outcomes: dict[str, Input] = {
            "weights": WeightsCompleted(AGREED, weights),
            "failure": StartFailed("no such thing"),
            "fold": Folded(results("a"), weights, state),
        }
        self.leader.take(outcomes[event])

    @rule(seldom=st.integers(0, 9))
    def cancel(self, seldom: int) -> None:
        if seldom == 0:
            self.leader.take(CancelAsked("enough"))

    # ---- what befalls leaders --------------------------------------------------------------------------------------

    @rule(data=st.data())
    def take_over(self, data: st.DataObject) -> None:
        again: list[Letter] = data.draw(st.permutations(self.leader.held))
        self._lead(self.leader.spec)
        for letter in again:
            self.leader.receive(letter)

    @precondition(lambda self: self.leaders > 1)
    @rule(record=decisions())
    def wake_up_as_a_former_leader(self, record: Record) -> None:
        self.log.append((f"leader-{self.leaders - 1}", record))

    # ---- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def every_promise_is_kept(self) -> None:
        for happening in self.trace[self.audited :]:
            self.audit.watch(happening)
        self.audited = len(self.trace)

    @invariant()
    def the_state_is_what_the_log_says(self) -> None:
        if self.trace:
            check_state(self.leader)

    @invariant()
    def the_end_closes_the_run(self) -> None:
        assert self.audit.ended is None or self.leader.closed if self.trace else True

    def _lead(self, spec: RunSpec) -> None:
        self.leaders += 1
        self.leader = Leader(f"leader-{self.leaders}", spec, self.log, self.trace)
        self.leader.start()

    def _publish(self, what: str) -> Parcel:
        self.published += 1
        return parcel(f"{what}{self.published}")

    def _outcome(
        self, task: CompleteWeights | Fold, loss: float | None, *, changes: bool, keeps_state: bool
    ) -> WeightsCompleted | Folded:
        if isinstance(task, CompleteWeights):
            return WeightsCompleted(task.data_info, self._publish("w"))
        if task.kind is Kind.EVALUATE:
            return Folded(results(*task.clients), loss=loss)
        weights = self._publish("w") if changes else self.leader.state.weights
        return Folded(results(*task.clients), weights, self._publish("s") if keeps_state else None)


AnyEvents.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestAnyEvents = AnyEvents.TestCase
