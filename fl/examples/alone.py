"""Training in one place by the same spec: what a federation is compared with."""

import math

from fl.client.learner import Data, Learner, Shared, shared_seed
from fl.client.round_states import RecalledStates
from fl.core.data_info import DataInfo
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.training import EvaluateResult
from fl.core.vector import SHARED, NumpyVector, Role
from fl.errors import ConfigError
from fl.run.spec import RunSpec


def train_alone(spec: RunSpec, name: str, data: Data, *, info: DataInfo) -> tuple[NumpyVector, list[EvaluateResult]]:
    """The weights that a run of `spec` leaves whose only client has these data, and its evaluations.

    As many rounds of the same steps, and of all rounds the weights with the lowest loss on what is watched.
    Raises `ConfigError` where the spec has no seed, since nobody could do it again.
    """
    if spec.run.seed is None:
        raise ConfigError("comparing models needs a seed: set run.seed")
    model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    model.initialize(info)
    start = model.get_weights().to_numpy()
    weights = best = start.select(*SHARED)
    fixed = start.select(Role.FIXED)
    learner = Learner(
        spec,
        Shared(info, weights.layout, fixed if fixed.layout.specs else None),
        data,
        seed=shared_seed(spec.run.seed, name),
        run="",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
    )
    lowest, watched = math.inf, []
    for round_ in range(1, spec.run.rounds + 1):
        weights = weights - learner.train(round_, weights, counted=round_ - 1).update
        watched.append(learner.evaluate(weights, counted=round_))
        loss = watched[-1].loss_sum / watched[-1].weight_sum
        if loss <= lowest:
            best, lowest = weights, loss
    return NumpyVector.join(best, fixed), watched
