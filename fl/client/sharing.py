"""What leaves a site besides updates, and what it keeps to itself."""

from dataclasses import replace

from fl.client.learner import Data
from fl.core.data_info import DataInfo
from fl.core.training import EvaluateResult, TrainResult
from fl.core.vector import NumpyVector
from fl.wire.messages_pb2 import EvaluateReply
from fl.wire.tensors import inline
from fl.wire.trainer_pb2 import TrainerSetup


def told(data: Data, setup: TrainerSetup) -> DataInfo:
    """What the site says of its training data."""
    info = data.train.get_data_specs()
    return replace(info, n_samples=setup.told_samples) if setup.HasField("told_samples") else info


def samples_seen(result: TrainResult, batch_size: int, setup: TrainerSetup) -> int:
    """How many samples a round saw; where the site tells another number of them, as many as the run's batches hold."""
    return result.n_steps * batch_size if setup.HasField("told_samples") else result.n_samples


def evaluation(result: EvaluateResult, setup: TrainerSetup) -> EvaluateReply:
    """What the site says of an evaluation; the mean loss, where it tells another number of samples, as if of these."""
    reply = EvaluateReply(n_samples=result.n_samples, seconds=result.seconds)
    scale = 1.0
    if setup.HasField("told_samples"):
        reply.n_samples = setup.told_samples
        scale = setup.told_samples / result.weight_sum if result.weight_sum else 0.0
    if setup.share_loss:
        reply.loss_sum, reply.weight_sum = result.loss_sum * scale, result.weight_sum * scale
    if setup.share_metrics:
        reply.metrics.CopyFrom(inline(NumpyVector.from_arrays(result.metrics)))
    return reply


def unprotected(data: Data, setup: TrainerSetup) -> tuple[str, ...]:
    """What leaves the site without noise, also where it trains privately."""
    of = "its training data" if data.valid is None else "its validation data"
    left = {
        "how many training steps it takes, and how long": True,
        "how many samples it has": not setup.HasField("told_samples"),
        "which classes its targets have": data.train.get_data_specs().classes is not None,
        f"losses on {of}": setup.share_loss,
        f"metrics on {of}": setup.share_metrics,
    }
    return tuple(what for what, leaves in left.items() if leaves)
