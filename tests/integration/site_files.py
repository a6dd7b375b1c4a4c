"""Sites as in production: data in a file, a state directory, and trainers as processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fl.client.config import ClientConfig
from fl.client.desk import load_data
from fl.client.learner import Data
from fl.client.setup import describe, new_setup, site_from_config
from fl.client.site import Site
from tests.integration.world import N_FEATURES, samples


def config_of(folder: Path, name: str, *, n_features: int = N_FEATURES, **tables: object) -> ClientConfig:
    """A site in a folder of its own, its data made up from its name; `tables` go to its configuration."""
    home = folder / name
    home.mkdir(exist_ok=True)
    data = home / "train.npy"
    if not data.exists():
        x, y = samples(sum(name.encode()), 40, n_features)
        np.save(data, x)
        np.save(home / "target.npy", y)
    tables = {
        "name": name,
        "train": {"path": str(data), "target": str(home / "target.npy")},
        "state": str(home / "state"),
        "device": {"gpu": False},
        **tables,
    }
    return ClientConfig.parse(tables, "test")


async def site_in(folder: Path, name: str, *, n_features: int = N_FEATURES, **tables: object) -> Site:
    """A daemon's site that leaves when one run has ended."""
    config = config_of(folder, name, n_features=n_features, **tables)
    return replace(await site_from_config(config, home=folder / name), leave_after=1)


def file_of(folder: Path, name: str, *, n_features: int = N_FEATURES) -> Path:
    """The TOML file of such a site, for `fluffle client`."""
    config_of(folder, name, n_features=n_features)
    path = folder / name / "client.toml"
    path.write_text(
        f'name = "{name}"\nstate = "state"\ncheckpoint = "kept"\ndevice.gpu = false\n'
        'train = { path = "train.npy", target = "target.npy" }\n'
    )
    return path


def data_in(folder: Path, name: str, *, n_features: int = N_FEATURES) -> Data:
    """What such a site learns from."""
    config = config_of(folder, name, n_features=n_features)
    return load_data(new_setup(name, describe(config.train), None, device=config.device, share_metrics=True))
