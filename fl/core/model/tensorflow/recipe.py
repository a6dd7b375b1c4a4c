"""How a Keras model is made again in another process: from Keras's own JSON, or by a factory. Never from a pickle."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, Self

import keras

from fl.core.model.factory import Factory
from fl.core.registry import load_plugins
from fl.errors import ConfigError, FluffleError, ModelError

MODULES: Final = ("layers", "activations", "constraints", "dtype_policies", "initializers", "losses", "regularizers")
"""Of Keras, what a config may name things from."""
CORE: Final = {"Sequential", "Functional", "DTypePolicy", "FloatDTypePolicy", "DTypePolicyMap"}
"""What Keras names by other modules."""
OPERATIONS: Final = "keras.src.ops."
"""Where Keras says that the nodes of a graph come from that are not layers, such as a sum."""
VALUES: Final = {"__tensor__", "__numpy__", "__ellipsis__", "__slice__", "__bytes__", "__keras_tensor__"}
REFUSED: Final = {
    "Lambda": "it holds code: write a layer with `call`, and register it or use a factory",
    "TFSMLayer": "it loads code from a file: use a factory",
    "TorchModuleWrapper": "it holds a pickle: use the torch model",
    "JaxLayer": "it holds code: use a factory",
    "FlaxLayer": "it holds code: use a factory",
    "StringLookup": "its table may be read from a file: look words up before, in the dataset",
    "IntegerLookup": "its table may be read from a file: look numbers up before, in the dataset",
    "TextVectorization": "its table may be read from a file: turn text into numbers before, in the dataset",
}
ADVICE: Final = (
    "register it with keras.saving.register_keras_serializable in a package that is installed at every site as a "
    "plug-in, or give a factory: TensorflowModel.from_factory('package.module:function', {...}, loss=...)"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Keras's own JSON config, or a factory."""

    source: "Mapping[str, Any] | Factory"

    @classmethod
    def of(cls, model: Any) -> Self:
        """The recipe of a model at hand. Raises `ModelError` for one that Keras's JSON cannot describe."""
        return cls(describe(model))

    def config(self) -> dict[str, Any]:
        """A copy, as what builds the model must not change with it."""
        return self.source.to_config() if isinstance(self.source, Factory) else {"architecture": deepcopy(self.source)}

    def build(self) -> Any:
        """A new model. Raises `ModelError`, or `ConfigError` for a factory that is not allowed here."""
        return self.build_both()[0]

    def build_both(self) -> tuple[Any, Any]:
        """A new model, and the loss that a factory made with it, or None."""
        made, loss = self.source.call() if isinstance(self.source, Factory) else (restore(self.source), None)
        if not isinstance(made, keras.Model):
            what = f"factory {self.source.path}" if isinstance(self.source, Factory) else "the architecture"
            raise ModelError(f"{what} gave {type(made).__name__} where a keras.Model is needed")
        return made, loss

    def choose_loss(self, given: Any, made: Any) -> Any:
        """The loss to learn with. Raises `ModelError` or `ConfigError` where there is none, or two."""
        if isinstance(self.source, Factory):
            return self.source.choose_loss(given, made)
        if given is None:
            raise ConfigError("tensorflow: option 'loss' is missing")
        return given


def describe(thing: Any) -> dict[str, Any]:
    """Keras's config of a model or a loss, as values JSON can carry. Raises `ModelError`."""
    try:
        config = json.loads(json.dumps(_without_compilation(keras.saving.serialize_keras_object(thing))))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{type(thing).__name__} has no config in JSON: {_first_line(error)}; {ADVICE}") from error
    check(config)
    described: dict[str, Any] = config
    return described


def restore(config: Any) -> Any:
    """What `describe` described, by Keras in its safe mode. Raises `ModelError`."""
    load_plugins()  # they register their layers
    check(config)
    try:
        # some of Keras's classes take entries out of the config they are given
        return keras.saving.deserialize_keras_object(deepcopy(config), safe_mode=True)
    except FluffleError:
        raise
    except Exception as error:  # layers raise whatever they like on arguments that a config made up
        raise ModelError(f"Keras cannot build this config: {_first_line(error)}") from error


def check(config: Any) -> None:
    """Raise `ModelError` unless all that a config names is a harmless part of Keras, or registered in this process."""
    if isinstance(config, list):
        for item in config:
            check(item)
    if isinstance(config, dict):
        if "class_name" in config:
            _check_named(config)
        for item in config.values():
            check(item)


def _check_named(config: Mapping[str, Any]) -> None:
    kind, module = str(config["class_name"]), str(config.get("module"))
    if kind in REFUSED:
        raise ModelError(f"a layer of class {kind} cannot be part of a config: {REFUSED[kind]}")
    if kind == "__lambda__":
        raise ModelError(f"a lambda cannot be part of a config: write a function; {ADVICE}")
    if kind in VALUES or _is_registered(config):
        return
    if kind == "function":
        if not _is_function_of_keras(module, str(config.get("config"))):
            raise ModelError(f"function {config.get('config')} is neither Keras's nor registered: {ADVICE}")
    elif not _is_class_of_keras(module, kind):
        raise ModelError(f"class {kind} of {module} is neither Keras's nor registered: {ADVICE}")
    if kind == "Normalization" and module == "keras.layers" and config["config"].get("mean") is None:
        raise ModelError("a Normalization layer that was adapted to data: give it mean= and variance= instead")


def _is_registered(config: Mapping[str, Any]) -> bool:
    name = config.get("config") if config["class_name"] == "function" else config.get("registered_name")
    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def _is_class_of_keras(module: str, name: str) -> bool:
    place = module.removeprefix("keras.")
    if module != place and place in MODULES:
        return isinstance(getattr(getattr(keras, place), name, None), type)
    if module.startswith(OPERATIONS):
        return True
    return name in CORE and module.partition(".")[0] == "keras"


def _is_function_of_keras(module: str, name: str) -> bool:
    if name in {"get", "serialize", "deserialize"}:
        return False
    places = MODULES if module == "builtins" else [module.removeprefix("keras.")]
    return any(place in MODULES and hasattr(getattr(keras, place), name) for place in places)


def _without_compilation(config: Any) -> Any:
    """Without the optimizer and metrics that a model was compiled with, which are the run's to say."""
    if isinstance(config, dict):
        return {key: _without_compilation(item) for key, item in config.items() if key != "compile_config"}
    return [_without_compilation(item) for item in config] if isinstance(config, list | tuple) else config


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
