"""Algorithms by the names of their papers, as tables.

* fedavg: the mean of the clients' models by their numbers of samples (McMahan et al. 2017).
* fedavgm: the same with momentum .9 at the server (Hsu et al. 2019).
* fedprox: the same with a proximal term of mu = .01 at the clients (Li et al. 2020, who tune it over .001 to 1).
* fedadagrad, fedadam, fedyogi: an adaptive optimizer at the server (Reddi et al. 2021, algorithm 2), with the paper's
  tau = 1e-3 as `eps`, β1 = .9 and β2 = .99, and without bias correction. FedAdagrad has β1 = 0, as the paper's
  experiments do. v starts at tau²; the paper asks only that it be no less.
* scaffold: control variates at both sides, and the plain mean over clients (Karimireddy et al. 2020).

The server's learning rate is 1, but for the adaptive ones, whose updates have about the size of that rate at each
coordinate, however small those of the clients were. The paper tunes it for each task and has no default: ours is
10^-1.5, a point of its grid.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from fl.core.optimizer.scheduler import Scheduler, build_rate, rate_config
from fl.core.registry import nearest
from fl.errors import ConfigError

TAU: Final = 1e-3
ADAPTIVE: Final = {"beta_1": 0.9, "beta_2": 0.99, "eps": TAU, "bias_correction": False, "initial": TAU**2}
BY_SAMPLES: Final = {"name": "averaging", "config": {"samples_weighted": True}}
BY_CLIENTS: Final = {"name": "averaging", "config": {"steps_weighted": False}}

Plugins = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an algorithm plugs in where."""

    client_modules: Plugins = field(default_factory=list)
    client_regularizers: Plugins = field(default_factory=list)
    server_modules: Plugins = field(default_factory=list)
    server_lrate: float = 1.0
    aggregator: Mapping[str, Any] = field(default_factory=lambda: BY_SAMPLES)


_RECIPES: Final = {
    "fedavg": _Recipe(),
    "fedavgm": _Recipe(server_modules=[("momentum", {"beta": 0.9})]),
    "fedprox": _Recipe(client_regularizers=[("fedprox", {"alpha": 0.01})]),
    "fedadagrad": _Recipe(server_modules=[("adagrad", {"eps": TAU, "initial": TAU**2})], server_lrate=10**-1.5),
    "fedadam": _Recipe(server_modules=[("adam", ADAPTIVE)], server_lrate=10**-1.5),
    "fedyogi": _Recipe(server_modules=[("yogi", ADAPTIVE)], server_lrate=10**-1.5),
    "scaffold": _Recipe(
        client_modules=[("scaffold-client", {})], server_modules=[("scaffold-server", {})], aggregator=BY_CLIENTS
    ),
}

PRESETS: Final = tuple(_RECIPES)


def preset(
    name: str, *, client_lrate: float | Scheduler, server_lrate: float | Scheduler | None = None
) -> dict[str, Any]:
    """The options `client_opt`, `server_opt` and `aggregator` of an algorithm, whatever the case of its name.

    Raises `ConfigError` for a name that is none of `PRESETS`, and for rates that are no rates.
    """
    recipe = _RECIPES.get(name.lower())
    if recipe is None:
        raise ConfigError(f"unknown algorithm {name!r}; {nearest(name.lower(), PRESETS)}")
    rates = {
        "client_lrate": client_lrate,
        "server_lrate": recipe.server_lrate if server_lrate is None else server_lrate,
    }
    client, server = (rate_config(build_rate("preset", option, rate)) for option, rate in rates.items())
    return deepcopy(
        {
            "client_opt": {
                "lrate": client,
                "regularizers": [list(plugin) for plugin in recipe.client_regularizers],
                "modules": [list(plugin) for plugin in recipe.client_modules],
            },
            "server_opt": {"lrate": server, "modules": [list(plugin) for plugin in recipe.server_modules]},
            "aggregator": dict(recipe.aggregator),
        }
    )
