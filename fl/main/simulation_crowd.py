"""The clients of a simulation: one model serves all of them in turn, and each keeps its data and its state."""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from fl.client.learner import Data, Learner, Shared, Trained, shared_seed
from fl.client.privacy import Policy, PrivateRun
from fl.client.round_states import RecalledStates
from fl.core.data_info import DataInfo
from fl.core.device import DevicePolicy, get_device_policy
from fl.core.mergeable import Sum
from fl.core.optimizer import Optimizer
from fl.core.privacy.ledger import MemoryLedger
from fl.core.training import EvaluateResult, round_generator
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, DataError, FluffleError
from fl.log import get_log
from fl.main.simulation_linear import LinearRounds, Prepared
from fl.run.spec import RunSpec
from fl.run.terms import Terms

SEED_BYTES: Final = 32

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class VirtualClient:
    """A client of a simulation. Raises `DataError` where it has nothing to learn from."""

    name: str
    data: Data
    share_metrics: bool = True
    """Whether its metrics count; its loss always does."""

    def __post_init__(self) -> None:
        if self.data.train.n_samples == 0 or self.data.held_out.n_samples == 0:
            raise DataError(f"virtual client {self.name!r} has no samples to train on, or none to evaluate on")

    @property
    def data_info(self) -> DataInfo:
        return self.data.train.get_data_specs()


class Unable(Exception):
    """A client cannot do what it was asked for."""


@dataclass(slots=True)
class Seat:
    """What a virtual client has of its own while others are served."""

    client: VirtualClient
    seed: bytes
    fresh: dict[str, Any]
    """The state before its first round: an optimizer's may be drawn by chance."""
    states: RecalledStates = field(default_factory=RecalledStates)
    private: PrivateRun | None = None


class TurnLearner(Learner):
    """A learner for many clients: whoever's turn it is brings its data, its seed and its state."""

    def __init__(self, spec: RunSpec, shared: Shared, first: VirtualClient, *, run: str) -> None:
        """Raises `FluffleError` where the model does not fit the data."""
        super().__init__(spec, shared, first.data, seed=b"", run=run, device=_device(spec), states=RecalledStates())

    def fresh_state(self) -> dict[str, Any]:
        """What a client starts from: the model's state, and that of an optimizer of its own."""
        if not self._optimizer.modules:
            return self._fresh
        return {**self._fresh, "optimizer": Optimizer.from_config(self._spec.optim.client_opt).get_state()}

    def serve(self, seat: Seat) -> None:
        """Whoever calls next is the client of this seat."""
        self._data, self._seed, self._states, self._fresh = seat.client.data, seat.seed, seat.states, seat.fresh
        self._private = seat.private
        self._at = None  # what model and optimizer hold is somebody else's

    @property
    def private(self) -> PrivateRun | None:
        """How whoever was served last trains privately."""
        return self._private


class Crowd:
    """All clients of one run, by name. Raises `ConfigError` for none at all, and for two of one name."""

    def __init__(self, spec: RunSpec, clients: Iterable[VirtualClient], *, run: str) -> None:
        self._spec = spec
        self._run_key = run if spec.run.seed is None else ""
        self.clients = _by_name(clients)
        self._learner: TurnLearner | None = None
        self._seats: dict[str, Seat] = {}
        self._linear: LinearRounds | None = None
        self._prepared: dict[str, Prepared] = {}
        """Of those clients whose rounds need no learner."""
        self._idle = np.random.default_rng(0)
        """For rounds that draw nothing: making a generator takes as long as a step."""

    def initialise(self, shared: Shared) -> None:
        """Build the model, once. Raises `FluffleError` where it does not fit the data: then it fits nobody's."""
        assert self._learner is None, "all clients are there from the beginning"
        learner = TurnLearner(self._spec, shared, next(iter(self.clients.values())), run=self._run_key)
        self._seats = {
            name: Seat(client, self._seed_of(name), learner.fresh_state()) for name, client in self.clients.items()
        }
        self._learner = learner
        self._linear = LinearRounds.of(self._spec, shared)
        if self._linear is not None:
            prepared = {name: self._linear.prepare(client.data) for name, client in self.clients.items()}
            self._prepared = {name: samples for name, samples in prepared.items() if samples is not None}

    def settle_privacy(self, name: str) -> Terms:
        """How a client is going to train privately. Raises `Unable`."""
        privacy = self._spec.run.privacy
        assert privacy is not None, "asked of private runs only"
        learner, seat = self._serve(name), self._seats[name]
        with _in_words():
            terms = learner.settle_privacy(privacy.options, Policy(MemoryLedger(), time.time), unprotected=())
        seat.private = learner.private
        return terms

    def train(self, name: str, round_: int, weights: NumpyVector, *, counted: int, aux: Mapping[str, Sum]) -> Trained:
        """One client's round. Raises `Unable`."""
        trained = None if aux else self._linear_round(name, round_, weights)
        if trained is not None:
            return trained
        with _in_words():
            return self._serve(name).train(round_, weights, counted=self._known(name, counted), aux=aux)

    def evaluate(self, name: str, weights: NumpyVector, *, counted: int) -> EvaluateResult:
        """One client's evaluation. Raises `Unable`."""
        with _in_words():
            return self._serve(name).evaluate(weights, counted=self._known(name, counted))

    def _linear_round(self, name: str, round_: int, weights: NumpyVector) -> Trained | None:
        """The same round without a learner; None where it takes one."""
        samples = self._prepared.get(name)
        if self._linear is None or samples is None:
            return None
        draws = self._linear.draws
        rng = round_generator(self._seats[name].seed, run=self._run_key, round_=round_) if draws else self._idle
        return self._linear.train(samples, weights, rng)

    def _known(self, name: str, counted: int) -> int:
        """The round after which a client's own state goes on; rounds without a learner leave none, and need none."""
        return 0 if name in self._prepared else counted

    def _serve(self, name: str) -> TurnLearner:
        assert self._learner is not None, "a crowd is initialised before it is asked for anything"
        self._learner.serve(self._seats[name])
        return self._learner

    def _seed_of(self, name: str) -> bytes:
        seed = self._spec.run.seed
        return secrets.token_bytes(SEED_BYTES) if seed is None else shared_seed(seed, name)


def _by_name(clients: Iterable[VirtualClient]) -> dict[str, VirtualClient]:
    """In the order of their names, which is that of every sum."""
    ordered = sorted(clients, key=lambda one: one.name)
    for one, next_ in pairwise(ordered):
        if one.name == next_.name:
            raise ConfigError(f"two virtual clients are named {one.name!r}: give each a name of its own")
    if not ordered:
        raise ConfigError("there are no clients to simulate: give at least one")
    return {client.name: client for client in ordered}


def _device(spec: RunSpec) -> DevicePolicy:
    return DevicePolicy(gpu=False) if spec.run.gpu is False else get_device_policy()


@contextmanager
def _in_words() -> Iterator[None]:
    """Raises `Unable`, with one line for histories and terminals, where a client's part fails."""
    try:
        yield
    except FluffleError as error:
        raise Unable(" ".join(str(error).split())) from error
    except Exception as error:  # a model, dataset or plug-in may raise anything
        log.exception("virtual_client_failed")
        raise Unable(" ".join(f"{type(error).__name__}: {error}".split())) from error
