"""Whatever happens, in whatever order, the promises of a run hold."""

import operator
from collections.abc import Container, Sequence
from typing import Any

from hypothesis import reject, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fl.errors import ConfigError
from fl.run.commands import CompleteWeights, Fold
from fl.run.dealing import by_block
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
    ResumeAsked,
    RoundOpened,
    StartFailed,
    TimePassed,
    Timer,
    TimeUp,
    Trouble,
    UpdateUnusable,
    WeightsCompleted,
)
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking, SumFailed
from fl.run.spec import RunSpec
from fl.run.state import Phase, RunState
from tests.unit.run.audit import Audit
from tests.unit.run.driver import Happening, Leader, Letter, Log
from tests.unit.run.histories import AGREED, DATA, OTHER_DATA, a_run, a_spec, parcel, results
from tests.unit.run.state_check import check_state
from tests.unit.run.strategies import decisions

NAMES = st.sampled_from("abcde")
SELDOM = st.integers(0, 9).map(lambda number: number == 9)
PROBLEMS = SELDOM.map(lambda wrong: "not finite" if wrong else None)
SAMPLERS = st.sampled_from(["uniform", "weighted", {"name": "criterion", "criterion": "loss"}])
LOSSES = st.none() | st.sampled_from([0.1, 0.2, 0.3, float("nan")])


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    low = draw(st.integers(1, 3))
    limits = {"max_clients": st.integers(low, 4), "timeout": st.just(60.0)}
    register = draw(st.fixed_dictionaries({"min_clients": st.just(low)}, optional=limits))
    shares = st.integers(low, 4) | st.sampled_from([0.3, 0.5, 1.0])
    options: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"rounds": st.integers(1, 3)},
            optional={
                "min_replies": st.integers(1, low) | st.just(0.3),
                "sampling": st.fixed_dictionaries({"clients": shares}, optional={"by": SAMPLERS})
                | st.fixed_dictionaries({"take": shares}),
                "deadline": st.just(30.0),
                "patience": st.just(60.0),
                "set_aside_after": st.integers(0, 2),
                "late_join": st.booleans(),
                "shards": st.integers(1, 3),
                "evaluate": st.fixed_dictionaries({"frequency": st.integers(1, 3)}, optional={"clients": shares}),
                "early_stop": st.fixed_dictionaries({"patience": st.integers(1, 2)}),
            },
        )
    )
    try:
        return a_spec(register=register, **options)
    except ConfigError:  # such as one that takes fewer replies than it needs
        reject()


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

    @initialize(spec=specs(), submitted=st.sampled_from([None, parcel("submitted")]), head_start=st.integers(0, 12))
    def begin(self, spec: RunSpec, submitted: Parcel | None, head_start: int) -> None:
        """Chance alone would hardly ever see a commit, so some runs start well."""
        self.audit = Audit(spec, submitted)
        self._lead(a_run(spec, submitted))
        for _ in range(head_start):
            self._go_on(loss=0.2)

    # ---- what should happen ------------------------------------------------------------------------------------------

    @rule(all_but=st.sets(NAMES, max_size=1), loss=LOSSES, changes=st.booleans(), keeps_state=st.booleans())
    def go_on(self, all_but: set[str], loss: float | None, changes: bool, keeps_state: bool) -> None:
        self._go_on(all_but, loss, changes=changes, keeps_state=keeps_state)

    # ---- what clients say ------------------------------------------------------------------------------------------

    @rule(client=NAMES, fits=SELDOM.map(operator.not_), problem=PROBLEMS)
    def join(self, client: str, fits: bool, problem: str | None) -> None:
        self.leader.take(JoinAsked(client, DATA if fits else OTHER_DATA, problem))

    @rule(client=NAMES)
    def build_the_model(self, client: str) -> None:
        self.leader.take(InitAnswered(client))

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(client=NAMES, problem=PROBLEMS)
    def reply_to_the_open_round(self, client: str, problem: str | None) -> None:
        self.leader.take(self._reply(client, problem))

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

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(client=NAMES, again=st.booleans())
    def prove_unusable(self, client: str, again: bool) -> None:
        self.leader.take(UpdateUnusable(client, "no numbers", again))

    # ---- what shards say -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(clients=st.lists(NAMES, unique=True, min_size=1, max_size=3), now=SELDOM.map(operator.not_))
    def hold_replies(self, clients: list[str], now: bool) -> None:
        self.leader.take(RepliesHeld(tuple(clients), *self._about(now=now)))

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(clients=st.lists(NAMES, unique=True, min_size=1, max_size=3), now=SELDOM.map(operator.not_))
    def lack_replies(self, clients: list[str], now: bool) -> None:
        known = {*self._opened.participants}
        self.leader.take(RepliesLacking(tuple(one for one in clients if one in known), *self._about(now=now)))

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(clients=st.none() | st.lists(NAMES, unique=True, min_size=1), block=st.integers(0, 1))
    def sum_up(self, clients: list[str] | None, block: int) -> None:
        """Mostly what is to be in the sum."""
        assert self.leader.state.open is not None
        names = self.leader.state.open.asked if clients is None else tuple(sorted(clients))
        self.leader.take(BlockSummed(0 if clients is None else block, names, *self._about()))

    @precondition(lambda self: self.leader.state.open is not None)
    @rule(indeed=SELDOM)
    def fail_to_sum(self, indeed: bool) -> None:
        if indeed:
            self.leader.take(SumFailed("no such aggregator", *self._about()))

    # ---- what the leader observes ----------------------------------------------------------------------------------

    @rule(clients=st.lists(NAMES, unique=True, max_size=2))
    def miss(self, clients: Sequence[str]) -> None:
        self.leader.take(ClientsGone(tuple(clients)))

    @rule(timer=st.sampled_from(Timer), indeed=SELDOM)
    def let_time_pass(self, timer: Timer, indeed: bool) -> None:
        if indeed or self.leader.timer is timer:
            self.leader.take(TimeUp(timer))

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

    @rule(seconds=st.sampled_from([1.0, 5.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.leader.take(TimePassed(seconds))

    @rule()
    def resume(self) -> None:
        self.leader.take(ResumeAsked())

    @rule(indeed=SELDOM)
    def cancel(self, indeed: bool) -> None:
        if indeed:
            self.leader.take(CancelAsked("enough"))

    # ---- what befalls leaders --------------------------------------------------------------------------------------

    @rule(data=st.data())
    def take_over(self, data: st.DataObject) -> None:
        again: list[Letter] = data.draw(st.permutations(self.leader.held))
        self._lead(self.leader.empty)
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
        check_state(self.leader)

    @invariant()
    def the_end_closes_the_run(self) -> None:
        assert self.leader.closed is (self.audit.ended is not None)

    def _lead(self, empty: RunState) -> None:
        self.leaders += 1
        self.leader = Leader(f"leader-{self.leaders}", empty, self.log, self.trace)
        self.leader.start()

    def _answer(self, client: str) -> Input:
        return InitAnswered(client) if self.leader.state.open is None else self._reply(client)

    def _reply(self, client: str, problem: str | None = None) -> Replied:
        state = self.leader.state
        assert state.open is not None
        assert state.weights is not None
        opened = state.open.opened
        return Replied(client, opened.kind, opened.round, state.weights.digest, problem)

    @property
    def _opened(self) -> RoundOpened:
        assert self.leader.state.open is not None
        return self.leader.state.open.opened

    def _about(self, *, now: bool = True) -> tuple[int, bytes]:
        """Of the open round, or of another one."""
        state = self.leader.state
        assert state.weights is not None
        return self._opened.round, state.weights.digest if now else b"?"

    def _publish(self, what: str) -> Parcel:
        self.published += 1
        return parcel(f"{what}{self.published}")

    def _go_on(
        self,
        all_but: Container[str] = (),
        loss: float | None = None,
        *,
        changes: bool = True,
        keeps_state: bool = True,
    ) -> None:
        leader = self.leader
        if leader.tasks:
            leader.take(self._outcome(leader.tasks.popleft(), loss, changes=changes, keeps_state=keeps_state))
        elif leader.state.phase is Phase.REGISTERING:
            for client in [name for name in "abcd" if name not in all_but]:
                leader.take(JoinAsked(client, DATA))
        else:
            for client in sorted(name for name in leader.state.awaiting if name not in all_but):
                leader.take(self._answer(client))
            open_ = leader.state.open
            if open_ is not None and open_.closed is not None:
                for block, names in by_block(open_.opened, open_.closed).items():
                    leader.take(BlockSummed(block, names, *self._about()))

    def _outcome(
        self, task: CompleteWeights | Fold, loss: float | None, *, changes: bool, keeps_state: bool
    ) -> WeightsCompleted | Folded:
        if isinstance(task, CompleteWeights):
            return WeightsCompleted(task.data_info, self.leader.state.weights or self._publish("w"))
        if task.kind is Kind.EVALUATE:
            return Folded(results(*task.clients), loss=loss)
        weights = self._publish("w") if changes else self.leader.state.weights
        return Folded(results(*task.clients), weights, self._publish("s") if keeps_state else None)


AnyEvents.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAnyEvents = AnyEvents.TestCase
