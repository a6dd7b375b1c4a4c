"""What a trainer does with each call: requests in, replies out, and errors in words."""

import json
from collections.abc import Callable
from pathlib import Path

from fl.client.disk import NoRoom
from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates, RoundStates, StateFiles
from fl.core.dataset import Dataset
from fl.core.device import DevicePolicy
from fl.core.layout import Role
from fl.core.optimizer.aux import pack_aux, unpack_aux
from fl.core.requires import missing
from fl.core.training import EvaluateResult
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, DataError, FluffleError
from fl.log import get_log
from fl.run.spec import RunSpec
from fl.wire.messages_pb2 import Error, EvaluateReply, EvaluateRequest, InitReply, InitRequest, TrainReply, TrainRequest
from fl.wire.tensors import inline, read_data_info, read_inline, read_layout, write_data_info
from fl.wire.trainer_pb2 import TrainerAnswer, TrainerCall, TrainerSetup

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
    ) -> None:
        """`on_setup` prepares the process, and says which device policy holds in it.

        `recall` has what a run left in memory, where the site has no folder for it.
        """
        self._recall = recall
        self._data = data
        self._on_setup = on_setup
        self._device = DevicePolicy()
        self._setup = TrainerSetup()
        self._learner: Learner | None = None

    def answer(self, call: TrainerCall) -> TrainerAnswer:
        """Never raises: what goes wrong is an `Error` with a text for the people at both ends.

        One without a code is for the daemon alone: the state of this round finds no room.
        """
        try:
            return self._answer(call)
        except NoRoom as error:
            return TrainerAnswer(error=Error(text=str(error)))
        except FluffleError as error:
            return _error(str(error))
        except Exception as error:  # a model, dataset or plug-in may raise anything, and the daemon lives
            log.exception("trainer_failed", run=call.run)
            return _error(f"{type(error).__name__}: {error}")

    def _answer(self, call: TrainerCall) -> TrainerAnswer:
        match call.WhichOneof("call"):
            case "setup":
                self._setup = call.setup
                self._device = self._on_setup(call.setup)
                if self._data is None:
                    self._data = load_data(call.setup)
                _check_samples(self._data)
                return TrainerAnswer(data_info=write_data_info(self._data.train.get_data_specs()))
            case "init":
                self._learner = self._build(call.run, call.init)
                return TrainerAnswer(init=InitReply())
            case "train":
                return TrainerAnswer(train=self._train(call.train))
            case "evaluate":
                return TrainerAnswer(evaluate=self._evaluate(call.evaluate))
            case other:
                raise TypeError(f"no such call: {other}")

    def _build(self, run: str, request: InitRequest) -> Learner:
        assert self._data is not None, "a trainer is set up before it is initialised"
        spec = RunSpec.from_json(request.spec_json)
        lacking = missing(spec.requires)
        if lacking is not None:
            raise ConfigError(lacking)
        seed, run_key = self._setup.seed, run
        if spec.run.seed is not None:  # the same batches in every run of this spec
            seed, run_key = shared_seed(spec.run.seed, self._setup.client), ""
        shared = Shared(
            read_data_info(request.data_info),
            read_layout(request.layout),
            read_inline(request.fixed) if request.HasField("fixed") else None,
        )
        folder = self._setup.state_path
        states = StateFiles(Path(folder)) if folder else self._recall(run)
        device = DevicePolicy(gpu=False) if spec.run.gpu is False else self._device
        return Learner(spec, shared, self._data, seed=seed, run=run_key, device=device, states=states)

    def _train(self, request: TrainRequest) -> TrainReply:
        assert self._learner is not None, "a trainer is initialised before it trains"
        weights = read_inline(request.weights)
        aux = (
            unpack_aux(read_inline(request.aux), weights.layout.select(Role.TRAINABLE))
            if request.HasField("aux")
            else {}
        )
        trained = self._learner.train(request.round, weights, counted=request.counted, aux=aux)
        reply = TrainReply(
            round=request.round,
            weights_digest=request.weights.digest,
            update=inline(trained.update),
            n_steps=trained.result.n_steps,
            n_samples=trained.result.n_samples,
            seconds=trained.result.seconds,
        )
        told = pack_aux(trained.aux)
        if told is not None:
            reply.aux.CopyFrom(inline(told))
        return reply

    def _evaluate(self, request: EvaluateRequest) -> EvaluateReply:
        assert self._learner is not None, "a trainer is initialised before it evaluates"
        result = self._learner.evaluate(read_inline(request.weights), counted=request.counted)
        reply = EvaluateReply(
            round=request.round,
            weights_digest=request.weights.digest,
            loss_sum=result.loss_sum,
            weight_sum=result.weight_sum,
            n_samples=result.n_samples,
            seconds=result.seconds,
        )
        if self._setup.share_metrics:
            reply.metrics.CopyFrom(inline(_states(result)))
        return reply


def _states(result: EvaluateResult) -> NumpyVector:
    return NumpyVector.from_arrays(result.metrics)


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


def _error(text: str) -> TrainerAnswer:
    one_line = " ".join(text.split())  # it goes into logs and terminals
    return TrainerAnswer(error=Error(code=Error.Code.FAILED, text=one_line))
