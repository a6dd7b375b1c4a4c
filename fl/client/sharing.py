"""What leaves a site besides updates, and what it keeps to itself."""

from dataclasses import replace

import numpy as np

from fl.client.learner import Data
from fl.core.data_info import DataInfo
from fl.core.metrics import Metric
from fl.core.privacy.evaluation import Telling
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
    """What the site says of an evaluation; the mean loss, where it tells another number of samples, as if of these.

    It says nothing of metrics where the result has none, and nothing of those of losses where it keeps losses: their
    states are as of no samples.
    """
    reply = EvaluateReply(n_samples=result.n_samples, seconds=result.seconds)
    scale = 1.0
    if setup.HasField("told_samples"):
        reply.n_samples = setup.told_samples
        scale = setup.told_samples / result.weight_sum if result.weight_sum else 0.0
    if setup.share_loss:
        reply.loss_sum, reply.weight_sum = result.loss_sum * scale, result.weight_sum * scale
    if setup.share_metrics and result.metrics:
        metrics = {
            key: value if _may_tell(key, setup) else np.zeros_like(value) for key, value in result.metrics.items()
        }
        reply.metrics.CopyFrom(inline(NumpyVector.from_arrays(metrics)))
    return reply


def _may_tell(key: str, setup: TrainerSetup) -> bool:
    return setup.share_loss or not Metric.registry.get(key.partition("/")[0]).of_losses


def telling_of(setup: TrainerSetup) -> Telling | None:
    """What evaluations tell with noise; None where they have none. Raises `ConfigError`."""
    if not setup.HasField("metric_noise"):
        return None
    return Telling(
        noise_multiplier=setup.metric_noise,
        loss_bound=setup.loss_bound,
        share_loss=setup.share_loss,
        share_metrics=setup.share_metrics,
        n_samples=setup.told_samples if setup.HasField("told_samples") else None,
    )


def unprotected(data: Data, setup: TrainerSetup) -> tuple[str, ...]:
    """What leaves the site without noise, also where it trains privately."""
    noisy = setup.HasField("metric_noise")
    of = "its training data" if data.valid is None else "its validation data"
    left = {
        "how many training steps it takes, and how long": True,
        "how many samples it has": not setup.HasField("told_samples"),
        "which classes its targets have": data.train.get_data_specs().classes is not None,
        f"losses on {of}": setup.share_loss and not noisy,
        f"metrics on {of}": setup.share_metrics and not noisy,
    }
    return tuple(what for what, leaves in left.items() if leaves)
