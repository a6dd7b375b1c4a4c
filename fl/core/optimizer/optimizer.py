"""The step: gradients through regularizers and modules, times the learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from fl.core.dataset.api import Batch
from fl.core.mergeable import Addend, Sum
from fl.core.model.api import Model
from fl.core.optimizer import options
from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.optimizer.regularizer import Regularizer
from fl.core.optimizer.scheduler import Scheduler, build_rate, rate_config
from fl.core.registry import configure
from fl.core.vector import Vector
from fl.errors import ConfigError

Plugins = Sequence[Any] | None


class Optimizer:
    """Computes what to take off the weights, from gradients.

    A step: regularizers in order, modules in order, then u = lrate·g + w_decay·w, where the decay is decoupled and
    not multiplied by the learning rate (Loshchilov & Hutter 2019, with their η_t·λ as `w_decay`); then w ← w - u.
    A server's optimizer does the same with the aggregated update in the place of the gradient.

    Plug-ins are given as instances, names, `(name, config)` pairs, or tables with the name under "name"; so is a
    learning rate that is no number but a scheduler. State stays from round to round.
    """

    def __init__(
        self,
        lrate: Any,
        w_decay: float = 0.0,
        regularizers: Plugins = None,
        *,
        modules: Plugins = None,
    ) -> None:
        """Raises `ConfigError` for rates that are no rates, and for unknown plug-ins."""
        self.lrate: float | Scheduler = build_rate("optimizer", "lrate", lrate)
        options.at_least("optimizer", 0, w_decay=w_decay)
        self.w_decay = float(w_decay)
        self.regularizers: list[Regularizer] = [Regularizer.registry.build(spec) for spec in regularizers or ()]
        self.modules: list[OptiModule] = [OptiModule.registry.build(spec) for spec in modules or ()]
        self._steps = 0
        self._rounds = 0
        names = self.aux_names
        if len(set(names)) < len(names):
            raise ConfigError(f"optimizer: two of the modules exchange auxiliary variables under one name: {names}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Raises `ConfigError` naming an unknown or missing option."""
        return configure(cls, config)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as values JSON can carry."""
        return {
            "lrate": rate_config(self.lrate),
            "w_decay": self.w_decay,
            "regularizers": [[plugin.name, plugin.get_config()] for plugin in self.regularizers],
            "modules": [[plugin.name, plugin.get_config()] for plugin in self.modules],
        }

    def start_round(self, weights: Vector | None, round_: int | None = None) -> None:
        """A round starts from these weights, on a client or on the server; who only scales does without.

        Schedules by rounds go by `round_`, which counts from 0 and whoever takes part; without it, by those begun here.
        """
        if weights is not None:
            for regularizer in self.regularizers:
                regularizer.start_round(weights)
            for module in self.modules:
                module.start_round(weights)
        self._rounds = (self._rounds if round_ is None else round_) + 1

    def compute_updates(self, source: Vector | Model, gradients: Vector) -> Vector:
        """What to take off the weights; `source` is the trainable weights, or the model that has them.

        Memory of the vector may be the optimizer's, and the next call overwrites it: who keeps it, copies it.
        """
        if self.regularizers or self.w_decay:
            weights = source.trainable_view() if isinstance(source, Model) else source
            for regularizer in self.regularizers:
                gradients = regularizer.run(gradients, weights)
        for module in self.modules:
            gradients = module.run(gradients)
        if self.modules and self.modules[-1].reuses_memory:
            gradients *= self._current_rate()
            updates = gradients
        else:
            updates = gradients * self._current_rate()
        if self.w_decay:
            updates += weights * self.w_decay
        self._steps += 1
        return updates

    @property
    def only_scales(self) -> bool:
        """Whether a step is the gradients times a rate and nothing else, so that it can be taken part by part."""
        return not (self.regularizers or self.modules or self.w_decay)

    def take_rate(self) -> float:
        """The rate of a step that is taken part by part, by an optimizer that only scales."""
        rate = self._current_rate()
        self._steps += 1
        return rate

    def run_train_step(self, model: Model, batch: Batch, sclip: float | None = None) -> None:
        """One training step of `model` on `batch`; `sclip` bounds the norm of each sample's gradient."""
        gradients = model.compute_batch_gradients(batch, sclip)
        model.apply_updates(self.compute_updates(model, gradients))

    @property
    def aux_names(self) -> list[str]:
        """Under which its modules exchange auxiliary variables with those of the other side."""
        return [module.aux_name for module in self.modules if module.aux_name]

    def collect_aux_var(self) -> dict[str, Sum]:
        """What each module has to send, by its `aux_name`."""
        collected = {module.aux_name: module.collect_aux_var() for module in self.modules if module.aux_name}
        return {name: aux for name, aux in collected.items() if aux is not None}

    def process_aux_var(self, aux: Mapping[str, Mapping[str, Addend]]) -> None:
        """Hand each module what the other side sent. Raises `ValueError` for a name that no module has."""
        modules = {module.aux_name: module for module in self.modules if module.aux_name}
        for name in aux:
            if name not in modules:
                raise ValueError(f"auxiliary variables {name!r} came, but no module here exchanges them")
        for name, values in aux.items():
            modules[name].process_aux_var(values)

    def get_state(self) -> dict[str, Any]:
        """All that changes from step to step: vectors, and values JSON can carry."""
        return {
            "steps": self._steps,
            "rounds": self._rounds,
            "regularizers": [[plugin.name, plugin.get_state()] for plugin in self.regularizers],
            "modules": [[plugin.name, plugin.get_state()] for plugin in self.modules],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises `ValueError`, and then nothing has changed."""
        before = self.get_state()
        try:
            self._set_state(state)
        except Exception:
            self._set_state(before)
            raise

    def _set_state(self, state: Mapping[str, Any]) -> None:
        check_fields("optimizer", state, {"steps", "rounds", "regularizers", "modules"})
        both: dict[str, Sequence[Regularizer | OptiModule]] = {
            "regularizers": self.regularizers,
            "modules": self.modules,
        }
        for kind, plugins in both.items():
            names, saved = [plugin.name for plugin in plugins], [name for name, _ in state[kind]]
            if names != saved:
                raise ValueError(f"state of an optimizer with {kind} {saved} does not fit one with {names}")
            for plugin, (_, values) in zip(plugins, state[kind], strict=True):
                plugin.set_state(values)
        self._steps, self._rounds = int(state["steps"]), int(state["rounds"])

    def _current_rate(self) -> float:
        if isinstance(self.lrate, float):  # asking whether it is a Scheduler would take longer than the step
            return self.lrate
        return self.lrate.value(step=self._steps, round_=max(self._rounds - 1, 0))
