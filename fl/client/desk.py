"""What a trainer does with each call: requests in, replies out, and errors in words."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fl.client.disk import NoRoom
from fl.client.evaluations import NoisyEvaluations, Secret
from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.memory import Memory, OwnMemory
from fl.client.privacy import Policy
from fl.client.round_states import RecalledStates, RoundStates, StateFiles
from fl.client.sharing import evaluation, samples_seen, telling_of, told, unprotected
from fl.core.dataset import Dataset
from fl.core.device import DevicePolicy
from fl.core.layout import Layout, Role
from fl.core.optimizer.aux import pack_aux, unpack_aux
from fl.core.privacy.ledger import Accounts, Ledger, MemoryLedger
from fl.core.privacy.options import Budget, PrivacyOptions
from fl.core.requires import missing
from fl.core.vector import Array, NumpyVector
from fl.errors import BadMessage, BudgetSpent, ConfigError, DataError, FluffleError
from fl.log import get_log
from fl.run.spec import RunSpec
from fl.wire.bulk import INLINE_BYTES
from fl.wire.messages_pb2 import Error, EvaluateReply, InitReply, PrivacyReply, PrivacyRequest, TrainReply
from fl.wire.tensors import (
    enclosed,
    inline,
    inside,
    read_data_info,
    read_inline,
    read_layout,
    specs,
    unpack,
    write_data_info,
)
from fl.wire.tensors_pb2 import Tensors
from fl.wire.terms import write_terms
from fl.wire.trainer_pb2 import Span, TrainerAnswer, TrainerCall, TrainerSetup

log = get_log(__name__)


def _device(setup: TrainerSetup) -> DevicePolicy:
    return DevicePolicy(setup.gpu, setup.idx if setup.HasField("idx") else None)


class Desk:
    """Answers the calls for one run, one at a time."""

    def __init__(
        self,
        data: Data | None = None,
        *,
        on_setup: Callable[[TrainerSetup], DevicePolicy] = _device,
        recall: Callable[[str], RoundStates] = lambda _: RecalledStates(),
        memory: Memory | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        """`on_setup` prepares the process, and says which device policy holds in it.

        `recall` has what a run left in memory, where the site has no folder for it. `memory` is shared with the daemon,
        where that is another process. `accounts` are of the site, where it has no file for them.
        """
        self.memory = memory or OwnMemory()
        self._recall = recall
        self._data = data
        self._on_setup = on_setup
        self._device = DevicePolicy()
        self._setup = TrainerSetup()
        self._accounts = accounts or MemoryLedger()
        self._learner: Learner | None = None
        self._floats: Array | None = None
        """Where compressed weights are decoded, in every round: memory that is new costs as much as the decoding."""

    def answer(self, call: TrainerCall) -> TrainerAnswer:
        """Never raises: what goes wrong is an `Error` with a text for the people at both ends.

        One without a code is for the daemon alone: the state of this round finds no room.
        """
        try:
            return self._answer(call)
        except NoRoom as error:
            return TrainerAnswer(error=Error(text=str(error)))
        except BudgetSpent as error:
            return _error(str(error), Error.Code.REFUSED)
        except FluffleError as error:
            return _error(str(error))
        except Exception as error:  # a model, dataset or plug-in may raise anything, and the daemon lives
            log.exception("trainer_failed", run=call.run)
            return _error(f"{type(error).__name__}: {error}")

    def _answer(self, call: TrainerCall) -> TrainerAnswer:
        self.memory.keep(call.spans.values())
        match call.WhichOneof("call"):
            case "setup":
                self._setup = call.setup
                self._device = self._on_setup(call.setup)
                if call.setup.ledger_path:
                    self._accounts = Ledger(Path(call.setup.ledger_path))
                if self._data is None:
                    self._data = load_data(call.setup)
                _check_samples(self._data)
                return TrainerAnswer(data_info=write_data_info(told(self._data, self._setup)))
            case "init":
                self._learner, self._floats = self._build(call), None
                return TrainerAnswer(init=InitReply())
            case "privacy":
                return TrainerAnswer(privacy=self._settle_privacy(call.privacy))
            case "train":
                return self._train(call)
            case "evaluate":
                return TrainerAnswer(evaluate=self._evaluate(call))
            case other:
                raise TypeError(f"no such call: {other}")

    def _build(self, call: TrainerCall) -> Learner:
        assert self._data is not None, "a trainer is set up before it is initialised"
        run, request = call.run, call.init
        spec = RunSpec.from_json(request.spec_json)
        lacking = missing(spec.requires)
        if lacking is not None:
            raise ConfigError(lacking)
        if self._setup.private_only and spec.run.privacy is None:
            raise ConfigError("this site takes part in private runs only, and this one has no `privacy`")
        seed, run_key = self._setup.seed, run
        if spec.run.seed is not None and spec.run.privacy is None:  # the same batches in every run of this spec
            seed, run_key = shared_seed(spec.run.seed, self._setup.client), ""
        shared = Shared(
            read_data_info(request.data_info),
            read_layout(request.layout),
            self._read(call, "fixed") if request.HasField("fixed") else None,
        )
        folder = self._setup.state_path
        states = StateFiles(Path(folder)) if folder else self._recall(run)
        device = DevicePolicy(gpu=False) if spec.run.gpu is False else self._device
        noisy = self._noisy(run)
        return Learner(spec, shared, self._data, seed=seed, run=run_key, device=device, states=states, noisy=noisy)

    def _noisy(self, run: str) -> NoisyEvaluations | None:
        """How evaluations get noise, where the site says so: always from its own seed, whatever the run's is."""
        telling = telling_of(self._setup)
        if telling is None:
            return None
        return NoisyEvaluations(telling, self._policy(), Secret(run, self._setup.seed))

    def _policy(self) -> Policy:
        return Policy(self._accounts, time.time, _cap(self._setup))

    def _settle_privacy(self, request: PrivacyRequest) -> PrivacyReply:
        assert self._data is not None, "a trainer is set up before it is asked for anything"
        assert self._learner is not None, "a trainer is initialised before it is asked for anything"
        options = PrivacyOptions(
            request.epsilon,
            request.delta,
            request.sclip_norm,
            accountant=request.accountant,
            use_csprng=request.use_csprng,
        )
        return write_terms(
            self._learner.settle_privacy(options, self._policy(), unprotected=unprotected(self._data, self._setup))
        )

    def _train(self, call: TrainerCall) -> TrainerAnswer:
        assert self._learner is not None, "a trainer is initialised before it trains"
        request = call.train
        weights = self._weights(call, request.weights)
        aux = {}
        if request.HasField("aux"):
            told = self._read(call, "aux").copy()  # an optimizer may keep what it is told, and the memory is used again
            aux = unpack_aux(told, weights.layout.select(Role.TRAINABLE))
        in_memory = "weights" in call.spans
        in_place = in_memory or weights.flat is self._floats
        trained = self._learner.train(request.round, weights, counted=request.counted, aux=aux, in_place=in_place)
        reply = TrainReply(
            round=request.round,
            weights_digest=request.weights.digest,
            n_steps=trained.result.n_steps,
            n_samples=samples_seen(trained.result, self._learner.batch_size, self._setup),
            seconds=trained.result.seconds,
        )
        answer = TrainerAnswer(train=reply)
        if trained.payload is not None:
            self._hand_over(answer, trained.update.layout, trained.payload)
        elif in_memory and trained.update.layout.nbytes > INLINE_BYTES:
            _refer(answer, "update", trained.update.layout, call.spans["weights"])
        else:
            answer.train.update.CopyFrom(inline(trained.update))
        self._tell(answer, pack_aux(trained.aux))
        return answer

    def _weights(self, call: TrainerCall, tensors: Tensors) -> NumpyVector:
        """A request's weights: as `_read` gives them or, where they are compressed, in memory that is used again.

        They come as they are also where they are beyond what the run's compression carries. Raises `BadMessage`.
        """
        assert self._learner is not None, "a trainer is initialised before it is asked for anything"
        if not tensors.compression:
            return self._read(call, "weights")
        layout = self._learner.layout
        if read_layout(tensors.layout) != layout:
            raise BadMessage("tensors: these are not the run's weights")
        if self._floats is None:
            self._floats = np.empty(layout.float_size, layout.float_dtype)
        data = self.memory.view(call.spans["weights"]) if "weights" in call.spans else inside(tensors)
        return unpack(tensors, data, self._learner.weights_compression, into=self._floats)

    def _read(self, call: TrainerCall, field: str) -> NumpyVector:
        """A request's tensors, without a copy. Raises `BadMessage`."""
        tensors = getattr(getattr(call, call.WhichOneof("call")), field)
        return unpack(tensors, self.memory.view(call.spans[field])) if field in call.spans else read_inline(tensors)

    def _hand_over(self, answer: TrainerAnswer, layout: Layout, payload: memoryview) -> None:
        """Add a compressed update."""
        assert self._learner is not None, "it has just trained"
        name = self._learner.compression
        if len(payload) <= INLINE_BYTES:
            answer.train.update.CopyFrom(enclosed(layout, payload, name))
            return
        span = self.memory.reserve(len(payload))
        self.memory.view(span)[:] = payload
        answer.train.update.compression = name
        _refer(answer, "update", layout, span)

    def _tell(self, answer: TrainerAnswer, told: NumpyVector | None) -> None:
        """Add what the optimizer tells the server's."""
        if told is None:
            return
        if told.layout.nbytes <= INLINE_BYTES:
            answer.train.aux.CopyFrom(inline(told))
            return
        span = self.memory.reserve(told.layout.nbytes)
        there = NumpyVector.unpack(told.layout, self.memory.view(span))
        for target, values in zip((there.flat, *there.others), (told.flat, *told.others), strict=True):
            target[...] = values
        _refer(answer, "aux", told.layout, span)

    def _evaluate(self, call: TrainerCall) -> EvaluateReply:
        assert self._learner is not None, "a trainer is initialised before it evaluates"
        request = call.evaluate
        weights = self._weights(call, request.weights)
        result = self._learner.evaluate(weights, counted=request.counted, round_=request.round)
        reply = evaluation(result, self._setup)
        reply.round, reply.weights_digest = request.round, request.weights.digest
        return reply


def _refer(answer: TrainerAnswer, field: str, layout: Layout, span: Span) -> None:
    """Say of a reply's tensors that they lie in memory."""
    getattr(answer.train, field).layout.extend(specs(layout))
    answer.spans[field].CopyFrom(span)


def _cap(setup: TrainerSetup) -> Budget | None:
    return Budget(setup.cap.epsilon, setup.cap.delta, setup.cap.accountant) if setup.HasField("cap") else None


def load_data(setup: TrainerSetup) -> Data:
    """Raises `DataError`."""
    valid = Dataset.load(json.loads(setup.valid_json)) if setup.valid_json else None
    return Data(Dataset.load(json.loads(setup.train_json)), valid)


def _check_samples(data: Data) -> None:
    """Raises `DataError`: a site without samples would fail in every round."""
    if data.train.n_samples == 0:
        raise DataError(f"dataset {data.train.name!r} has no samples, so there is nothing to train on")
    if data.valid is not None and data.valid.n_samples == 0:
        raise DataError(
            f"dataset {data.valid.name!r} for validation has no samples: leave it out, and evaluations take the "
            "training data, or give it some"
        )


def _error(text: str, code: "Error.Code" = Error.Code.FAILED) -> TrainerAnswer:
    one_line = " ".join(text.split())  # it goes into logs and terminals
    return TrainerAnswer(error=Error(code=code, text=one_line))
