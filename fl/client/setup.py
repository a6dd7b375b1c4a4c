"""How a site comes to be: from its configuration, with trainers as processes, or from objects at hand."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl.client.config import AllowConfig, ClientConfig, DeviceConfig, SitePrivacyConfig
from fl.client.data import DataConfig, OtherDataConfig
from fl.client.limits import check_measurable
from fl.client.site import Site, State
from fl.client.state import NoState, StateDirectory
from fl.client.trainer import ProcessTrainer, ThreadTrainer, Trainer
from fl.errors import DataError
from fl.log import get_log
from fl.wire.messages_pb2 import DataInfo
from fl.wire.trainer_pb2 import PrivacyCap, TrainerAnswer, TrainerCall, TrainerSetup

if TYPE_CHECKING:
    from fl.client.learner import Data  # needs what an idle daemon does without

Start = Callable[[], Awaitable[Trainer]]


async def site_from_config(config: ClientConfig, *, home: Path) -> Site:
    """The site that a TOML file describes; its data is looked at once, by a trainer that ends again.

    Raises `ConfigError` for the state directory and for limits that cannot be held here, `DataError` for the data.
    """
    limits = config.limits
    if limits.memory_mb is not None:
        check_measurable()
    state = StateDirectory(config.state or default_state(home, config.name))
    valid = None if config.valid is None else describe(config.valid)
    setup = new_setup(
        config.name,
        describe(config.train),
        valid,
        device=config.device,
        share_metrics=config.share_metrics,
        allow=config.allow,
        privacy=config.privacy,
    )
    site = await new_site(setup, start=partial(ProcessTrainer.start, limits), state=state)
    return replace(
        site,
        checkpoint=config.checkpoint,
        max_runs=config.max_runs,
        standby=config.standby,
        drain_s=limits.drain_s,
    )


def default_state(home: Path, name: str) -> Path:
    """Where a daemon keeps its state unless told otherwise."""
    return home / ".local" / "state" / "fluffle" / name


async def site_from_data(
    name: str,
    data: "Data",
    *,
    device: DeviceConfig | None = None,
    share_metrics: bool = True,
    privacy: SitePrivacyConfig | None = None,
    state: State | None = None,
) -> Site:
    """A site in this process, with trainers as threads."""
    from fl.client.desk import Desk  # noqa: PLC0415  # only a process that trains loads it
    from fl.core.privacy.ledger import MemoryLedger  # noqa: PLC0415  # likewise

    in_memory, accounts = NoState(), MemoryLedger()

    async def start() -> Trainer:
        return ThreadTrainer(Desk(data, recall=in_memory.recalled, accounts=accounts))

    setup = new_setup(name, None, None, device=device or DeviceConfig(), share_metrics=share_metrics, privacy=privacy)
    return await new_site(setup, start=start, state=state or in_memory)


async def new_site(setup: TrainerSetup, *, start: Start, state: State) -> Site:
    """A site whose trainers are begun by `start`. Raises `DataError` when its data cannot be read."""

    async def new_trainer(run: str) -> Trainer:
        own = TrainerSetup()
        own.CopyFrom(setup)
        own.seed = state.secret_seed(run)
        own.state_path = str(state.folder(run) or "")
        own.ledger_path = str(state.ledger or "")
        trainer, _ = await _set_up(run, own, start)
        return trainer

    trainer, data_info = await _set_up("", setup, start)
    await trainer.close()
    log = get_log("fl.client", client=setup.client)
    return Site(setup.client, data_info, new_trainer, state, clock=time.time, log=log)


async def _set_up(run: str, setup: TrainerSetup, start: Start) -> tuple[Trainer, DataInfo]:
    trainer = await start()
    try:
        return trainer, _data_info(await trainer.ask(TrainerCall(run=run, setup=setup)))
    except BaseException:  # also when the daemon is ended meanwhile: no trainer outlives it
        await trainer.close()
        raise


def _data_info(answer: TrainerAnswer) -> DataInfo:
    if answer.WhichOneof("answer") == "error":
        raise DataError(answer.error.text)
    return answer.data_info


def new_setup(
    client: str,
    train: Mapping[str, Any] | None,
    valid: Mapping[str, Any] | None,
    *,
    device: DeviceConfig,
    share_metrics: bool,
    allow: AllowConfig | None = None,
    privacy: SitePrivacyConfig | None = None,
) -> TrainerSetup:
    """What a trainer must know of its site; datasets by their descriptions, None where it has them already."""
    privacy = privacy or SitePrivacyConfig()
    cap = None
    if privacy.max_epsilon is not None:
        cap = PrivacyCap(epsilon=privacy.max_epsilon, delta=privacy.delta, accountant=privacy.accountant)
    return TrainerSetup(
        client=client,
        train_json="" if train is None else json.dumps(train),
        valid_json="" if valid is None else json.dumps(valid),
        share_metrics=share_metrics,
        gpu=device.gpu,
        idx=device.idx,
        threads=device.threads,
        allow_factories=allow.factories if allow else (),
        allow_pickle=allow.pickle if allow else False,
        private_only=privacy.required,
        cap=cap,
        share_loss=privacy.share_loss,
        told_samples=privacy.n_samples,
        metric_noise=privacy.metric_noise,
        loss_bound=privacy.loss_bound,
    )


def describe(config: DataConfig | OtherDataConfig) -> dict[str, Any]:
    """The description from which a trainer loads a dataset."""
    return config.description()
