"""A researcher's script: submits a run, and leads it here or leaves it to the workers."""

import asyncio
import getpass
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.base import Session
from broker.connect import open_session
from broker.errors import Retryable
from broker.redact import redact
from broker.retry import keep_connected
from fl.communication import NetworkServerConfig
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.vector import NumpyVector, Vector
from fl.log import get_log
from fl.main.coerce import coerce
from fl.main.files import save_outcome
from fl.main.initial import load_initial, weights_of
from fl.main.lead import lead_here
from fl.main.outcome import Outcome, outcome_of
from fl.main.trust import trust_own
from fl.run.optim import OptimConfig
from fl.run.requirements import with_requirements
from fl.run.spec import RunConfig, RunSpec
from fl.submit.submission import Submission, prepare, submit
from fl.tasks import together

log = get_log("fl.main.server")


@dataclass(slots=True)
class FederatedServer:
    """A model, how to optimize it, and a broker: `run` gives the trained weights."""

    model: Model | Mapping[str, Any]
    """A model, or its `kind` and `config`. One that has weights already lends them to the run."""
    netwk: NetworkServerConfig | Mapping[str, Any] | str | Path
    optim: OptimConfig | Mapping[str, Any] | str | Path
    metrics: Sequence[Any] | MetricSet = ()
    """Names, `(name, config)` pairs or metrics, or a set of metrics, computed at the clients."""
    checkpoint: str | Path | None = None
    """Folder for the best weights and the history."""
    initial_weights: Vector | str | Path | None = field(default=None, kw_only=True)
    """What the run starts from in the place of the model's own weights: weights, a safetensors file, or a folder of
    checkpoints, of which the best ones are taken."""
    name: str = field(default="run", kw_only=True)

    def run(self, config: RunConfig | Mapping[str, Any] | str | Path) -> Outcome:
        """Submit the run, lead it in this process to its end, and return what it came to.

        Raises `ConfigError`, `ModelError` for initial weights of another model, `RunFailed`, and
        `broker.errors.Fatal` where the broker refuses.
        """
        submission = self._prepare(config)
        outcome = asyncio.run(self._keep_leading(submission))
        if self.checkpoint is not None:
            save_outcome(outcome, Path(self.checkpoint))
        return outcome.require()

    def submit(self, config: RunConfig | Mapping[str, Any] | str | Path) -> str:
        """Submit the run, leave it to the workers of the broker, and return its name."""
        submission = self._prepare(config)
        asyncio.run(self._submit(submission))
        return submission.run

    def _prepare(self, config: RunConfig | Mapping[str, Any] | str | Path) -> Submission:
        spec = RunSpec.parse(
            {
                "name": self.name,
                "model": _model_config(self.model),
                "optim": coerce(OptimConfig, self.optim).model_dump(),
                "run": coerce(RunConfig, config).model_dump(by_alias=True),
                "metrics": self.metrics.get_config() if isinstance(self.metrics, MetricSet) else self.metrics,
            },
            "FederatedServer",
        )
        trust_own(spec.model)
        return prepare(with_requirements(spec), self._start(), sender=getpass.getuser(), now=time.time())

    def _start(self) -> NumpyVector | None:
        if self.initial_weights is not None:
            return load_initial(self.initial_weights, self.model)
        return weights_of(self.model) if isinstance(self.model, Model) else None

    async def _submit(self, submission: Submission) -> None:
        session = await open_session(self._url, name="fluffle submit")
        try:
            await submit(session, submission)
        finally:
            await session.close()

    async def _keep_leading(self, submission: Submission) -> Outcome:
        """Any number of lost connections long."""
        submitted = False

        async def work(session: Session) -> Outcome:
            nonlocal submitted
            if not submitted:
                await submit(session, submission)
                submitted = True
            async with together() as group:
                group.create_task(lead_here(session, submission))
                return await outcome_of(session, submission.run, submission.spec)

        def on_trouble(error: Retryable, delay_s: float) -> None:
            log.warning("broker_lost", broker=redact(self._url), reason=error, again_in_s=round(delay_s, 1))

        return await keep_connected(
            lambda: open_session(self._url, name=f"fluffle {submission.run}"),
            work,
            rng=random.Random(),  # noqa: S311  # jitter
            on_trouble=on_trouble,
        )

    @property
    def _url(self) -> str:
        return coerce(NetworkServerConfig, self.netwk).url


def _model_config(model: Model | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"kind": model.name, "config": model.get_config()} if isinstance(model, Model) else model
