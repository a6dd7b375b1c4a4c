"""Runs that share a worker: whatever one of them computes, and for how long, the others go on."""

import os
import threading
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Final

import numpy as np
import pytest

from fl.core.aggregator import Aggregator, AveragingAggregator
from fl.core.aggregator.weighted import PartwiseFold
from fl.core.layout import Layout
from fl.core.mergeable import PartwiseSum
from fl.core.metrics import Metric
from fl.core.optimizer import OptiModule
from fl.core.optimizer.scaffold import ScaffoldServerModule
from fl.core.vector import Array, NumpyVector, TakeFloats, Vector
from fl.run.events import Status
from fl.run.parts import Plugin
from fl.run.spec import RunSpec
from fl.wire.messages_pb2 import DataInfo
from tests.integration.parties import Parties
from tests.integration.world import Puppet, make_spec, regression, sites_of, until, upload

N_LARGE: Final = min(32, (os.cpu_count() or 1) + 4)
"""As many as asyncio's own pool has threads."""

N_FEATURES = 50_000
INFO = DataInfo(n_samples=10, n_features=N_FEATURES, input_shape=[0, N_FEATURES])
LARGE = NumpyVector.from_arrays({"coef": np.full((1, N_FEATURES), 0.001), "intercept": np.zeros(1)})
"""400 kB, which travel in streams."""


class GatedFold(PartwiseFold):
    """Stands still in the middle of the first update until somebody opens the gate."""

    def __init__(self, behind: PartwiseFold, gate: "Gate") -> None:
        super().__init__(behind.layout)
        self._behind = behind
        self._gate = gate

    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        take = self._behind.open(client=client, n_steps=n_steps, n_samples=n_samples)

        def take_behind_the_gate(start: int, values: Array) -> None:
            self._gate.go_through()
            take(start, values)

        return take_behind_the_gate

    def sum(self) -> PartwiseSum:
        return self._behind.sum()


class Gate:
    def __init__(self) -> None:
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self.n_waiting = 0

    def go_through(self) -> None:
        with self._lock:
            self.n_waiting += 1
        assert self._opened.wait(60.0), "nobody opened the gate"

    def open(self) -> None:
        self._opened.set()

    async def aclose(self) -> None:
        """For a test that fails: nobody waits for it then."""
        self.open()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The gate of all folds of the aggregator "gated"."""
    gate = Gate()

    class GatedAveraging(AveragingAggregator, register=False):
        name = "gated"

        def start(self, layout: Layout) -> GatedFold:
            behind = super().start(layout)
            assert isinstance(behind, PartwiseFold)
            return GatedFold(behind, gate)

    monkeypatch.setitem(Aggregator.registry._classes, "gated", GatedAveraging)
    return gate


def changed(spec: RunSpec, **tables: Any) -> RunSpec:
    return RunSpec.parse({**spec.model_dump(by_alias=True), **tables}, "the test")


async def test_a_small_run_goes_on_while_as_many_large_ones_fold_as_there_are_threads_for(
    broker_url: str, gate: Gate
) -> None:
    large = changed(make_spec(rounds=1, clients=1, evaluate=False), optim={"client_opt": 0.1, "aggregator": "gated"})
    async with Parties(broker_url) as parties, aclosing(gate):
        # Given a worker that folds large updates, in all of which it stands still
        parties.worker()
        large_runs = [await parties.submit(large, LARGE) for _ in range(N_LARGE)]
        for number, submission in enumerate(large_runs):
            puppet = Puppet(f"large-{number}", info=INFO, weights=LARGE, upload=upload)
            parties.puppet(puppet, submission.run)
        await until(lambda: gate.n_waiting == N_LARGE)

        # When a small run comes
        small_run = await parties.submit(make_spec(rounds=5, clients=1))
        parties.puppet(Puppet("small"), small_run.run)

        # Then it goes through all its rounds
        assert (await parties.outcome(small_run)).status is Status.FINISHED
        assert gate.n_waiting == N_LARGE

        # And so do the others, when they can
        gate.open()
        assert {(await parties.outcome(submission)).status for submission in large_runs} == {Status.FINISHED}


class Witness:
    """Notes which work is done in the thread of the event loop."""

    def __init__(self) -> None:
        self._loop_thread = threading.current_thread()
        self.seen: set[str] = set()
        self.seen_in_loop: set[str] = set()

    def see(self, work: str) -> None:
        self.seen.add(work)
        if threading.current_thread() is self._loop_thread:
            self.seen_in_loop.add(work)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    """Sees whatever the aggregator, the optimizer's module and the metric named "watched" do for a server."""
    witness = Witness()

    class WatchedFold:
        def __init__(self, layout: Layout) -> None:
            witness.see("start a fold")
            self._behind = AveragingAggregator().start(layout)

        def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
            witness.see("add")
            self._behind.add(update, client=client, n_steps=n_steps, n_samples=n_samples)

        def finish(self) -> NumpyVector | None:
            witness.see("finish")
            return self._behind.finish()

    class WatchedAveraging(AveragingAggregator, register=False):
        name = "watched"

        def start(self, layout: Layout) -> Any:
            return WatchedFold(layout)

    class WatchedModule(ScaffoldServerModule, register=False):
        name = "watched"
        aux_name: ClassVar[str | None] = "scaffold"

        def start_round(self, weights: Vector) -> None:
            witness.see("start a round")
            super().start_round(weights)

        def run(self, gradients: Vector) -> Vector:
            witness.see("run")
            return super().run(gradients)

        def collect_aux_var(self) -> Any:
            witness.see("collect")
            return super().collect_aux_var()

        def process_aux_var(self, aux: Mapping[str, Any]) -> None:
            witness.see("process")
            super().process_aux_var(aux)

        def get_state(self) -> dict[str, Any]:
            witness.see("get state")
            return super().get_state()

        def set_state(self, state: Mapping[str, Any]) -> None:
            witness.see("set state")
            super().set_state(state)

    class WatchedMetric(Metric, register=False):
        name = "watched"

        def zero(self) -> dict[str, Array]:
            return {"n": np.zeros(())}

        def measure(self, y_true: Array, y_pred: Array, weights: Array) -> dict[str, Array]:
            return {"n": weights.sum()}

        def compute(self, state: dict[str, Array]) -> dict[str, float | Array]:
            witness.see("compute")
            return {self.name: float(state["n"])}

    monkeypatch.setitem(Aggregator.registry._classes, "watched", WatchedAveraging)
    monkeypatch.setitem(OptiModule.registry._classes, "watched", WatchedModule)
    monkeypatch.setitem(Metric.registry._classes, "watched", WatchedMetric)
    return witness


async def test_a_worker_computes_nothing_of_a_run_in_its_event_loop(memory_url: str, witness: Witness) -> None:
    # Given a run whose parts see where they work
    optim = {
        "client_opt": {"lrate": 1e-5, "modules": ["scaffold-client"]},
        "server_opt": {"lrate": 1.0, "modules": ["watched"]},
        "aggregator": "watched",
    }
    spec = changed(make_spec(rounds=2, clients=2), optim=optim, metrics=[Plugin(name="watched").model_dump()])
    data = {name: regression(seed, n=12, n_features=N_FEATURES) for seed, name in enumerate(("ant", "bee"))}

    # When
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec, LARGE)
        parties.worker()
        for site in await sites_of(data):
            parties.daemon(site)
        outcome = await parties.outcome(submission)

    # Then nothing holds up the heartbeats of the others
    work = {"start a fold", "add", "finish", "start a round", "run", "collect", "process", "get state", "set state"}
    assert outcome.status is Status.FINISHED
    assert witness.seen == {*work, "compute"}
    assert witness.seen_in_loop == set()
