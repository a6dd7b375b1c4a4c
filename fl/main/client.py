"""A site's script: takes part in one run with the data that the script has."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from broker.base import Session
from broker.connect import open_session
from broker.errors import Retryable
from broker.redact import redact
from broker.retry import keep_connected
from fl.client.config import AllowConfig, DeviceConfig, SitePrivacyConfig
from fl.client.daemon import serve
from fl.client.learner import Data
from fl.client.setup import default_state, new_setup, new_site, site_from_data
from fl.client.site import Site
from fl.client.state import StateDirectory
from fl.client.trainer import ProcessTrainer
from fl.communication import NetworkClientConfig
from fl.core.dataset import Dataset
from fl.core.device import get_device_policy
from fl.core.doors import Doors, get_doors, set_doors
from fl.main.coerce import coerce


@dataclass(slots=True)
class FederatedClient:
    """Data, and a broker under a name: `run` takes part in the next run and returns when it is over.

    Data that came from files is trained on in a process of its own, like a daemon does; data that is only in this
    process is trained on in a thread.
    """

    netwk: NetworkClientConfig | Mapping[str, Any] | str | Path
    train_data: Dataset
    valid_data: Dataset | None = None
    """Data to evaluate on; without it evaluations use the training data."""
    checkpoint: str | Path | None = None
    """Folder for the weights that the run leaves."""
    share_metrics: bool = True
    """Send metrics of evaluations; without it only the loss is sent."""
    allow: AllowConfig | Mapping[str, Any] = field(default_factory=dict)
    """What models that come with a run may execute here: `factories`, such as "mylab.nets:*", and `pickle`."""
    privacy: SitePrivacyConfig | Mapping[str, Any] = field(default_factory=dict)
    """What these data may be used for: `required`, `max_epsilon`, `delta`, `accountant`, `share_loss`, `n_samples`, and
    `metric_noise` with its `loss_bound`."""
    state: str | Path | None = None
    """Folder for what must survive a restart; default: ~/.local/state/fluffle/<name>."""

    def run(self) -> None:
        """Take part in one run. Raises `ConfigError`, `DataError`, and `broker.errors.Fatal` where it refuses."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        network = coerce(NetworkClientConfig, self.netwk)
        site = await self._site(network)

        def on_trouble(error: Retryable, delay_s: float) -> None:
            site.log.warning("broker_lost", broker=redact(network.url), reason=error, again_in_s=round(delay_s, 1))

        async def work(session: Session) -> None:
            await serve(site, session)

        await keep_connected(
            lambda: open_session(network.url, name=f"fluffle client {network.name}"),
            work,
            rng=random.Random(),  # noqa: S311  # jitter
            on_trouble=on_trouble,
        )

    async def _site(self, network: NetworkClientConfig) -> Site:
        policy = get_device_policy()
        device = DeviceConfig(gpu=policy.gpu, idx=policy.idx)
        train = self.train_data.describe()
        valid = None if self.valid_data is None else self.valid_data.describe()
        allow, privacy = coerce(AllowConfig, self.allow), coerce(SitePrivacyConfig, self.privacy)
        state = StateDirectory(Path(self.state) if self.state else default_state(Path.home(), network.name))
        if network.protocol == "rabbitmq" and train is not None and (valid is not None or self.valid_data is None):
            setup = new_setup(
                network.name,
                train,
                valid,
                device=device,
                share_metrics=self.share_metrics,
                allow=allow,
                privacy=privacy,
            )
            site = await new_site(setup, start=ProcessTrainer.start, state=state)
        else:
            doors = get_doors()
            set_doors(Doors((*doors.factories, *allow.factories), pickle=doors.pickle or allow.pickle))
            data = Data(self.train_data, self.valid_data)
            site = await site_from_data(
                network.name, data, device=device, share_metrics=self.share_metrics, privacy=privacy, state=state
            )
        return replace(site, checkpoint=None if self.checkpoint is None else Path(self.checkpoint), leave_after=1)
