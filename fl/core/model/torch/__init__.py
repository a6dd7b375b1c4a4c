"""Models of torch: any `nn.Module` with a loss."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy, get_device_policy
from fl.core.model.api import UNBOUNDED, Model
from fl.core.model.clipping import Clipping
from fl.core.model.factory import Factory, factory_in
from fl.core.model.torch.clipped import SampleGradients, Samples
from fl.core.model.torch.config import build, describe
from fl.core.model.torch.inputs import Inputs, as_array, from_array, to_inputs
from fl.core.model.torch.labels import Labels, Target
from fl.core.model.torch.loss import SampleLoss
from fl.core.model.torch.network import Autocast, Network, Options
from fl.core.model.torch.placement import device_of
from fl.core.model.torch.predictions import to_predictions
from fl.core.model.torch.tensors import BufferPolicy
from fl.core.model.torch.trial import made_up, sample_shape, try_out
from fl.core.registry import configure
from fl.core.vector import Array, Vector
from fl.core.vector.torch_vector import TorchVector
from fl.errors import ConfigError, DataError, ModelError

Tensor = torch.Tensor


class TorchModel(Model):
    """A module and a loss; both are copied, and those given stay as they are.

    A batch's `x` is the module's argument, a tuple or list its arguments, a dict its named arguments. Of a batch of n
    samples the gradient is that of Σ weight·loss / n, where a loss has one value a sample whatever its own reduction
    (`fl.core.model.torch.loss`). Parameters that the loss does not reach have gradient zero.

    Labels reach the loss as they are where the classes are indices of outputs, else as their places among the sorted
    classes (`fl.core.model.numbering`). Predictions are scores by class for `CrossEntropyLoss` and `NLLLoss`, the
    probability of the second class for binary losses, else the module's outputs.

    Dropout and the like draw from torch's one generator, which the start of a round seeds.
    """

    name = "torch"
    shares_generator: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        *,
        buffers: BufferPolicy = "average",
        autocast: Autocast | None = None,
        compile: bool = False,  # noqa: A002  # torch's own word for it
        allow_pickle: bool = False,
    ) -> None:
        """Raises `ConfigError` for options, `ModelError` for a module or loss that cannot be trained.

        `buffers` says what becomes of BatchNorm's statistics and other float buffers: "average" shares them as
        weights are, "local" leaves each site its own, "frozen" runs every layer that owns some as in evaluation, so
        that they stay what they were at the run's start. Integer buffers stay at each site.

        `autocast` computes outputs in bfloat16, `compile` runs the module through `torch.compile`. `allow_pickle` puts
        what has no other description into the config as a pickle, which sites refuse unless they allow it too.
        """
        self._network = Network(model, Options(buffers, autocast, compile), device_of(get_device_policy()))
        self._given_loss = copy.deepcopy(loss)
        self._loss = SampleLoss(loss)
        self._loss.module.to(self._network.like)
        self._labels = Labels(loss)
        self._allow_pickle = allow_pickle
        self._factory: Factory | None = None
        self._loss_is_made = False
        self._share = (0, self._network.like)
        self._sample_gradients = SampleGradients(self._network, self._loss)
        self._made_up: list[Tensor] = []

    @classmethod
    def from_factory(
        cls, path: str, kwargs: Mapping[str, Any] | None = None, *, loss: nn.Module | None = None, **options: Any
    ) -> Self:
        """The module that the function at "package.module:function" returns, or the module and its loss, as a pair.

        Sites make it by the same call; they have the package installed and allow the path. `kwargs` are values JSON
        can carry, `options` those of the constructor. Raises `ConfigError` or `ModelError`.
        """
        return cls._made(Factory(path, kwargs or {}, trusted=True), loss, options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Raises `ConfigError` for what this site does not allow, `ModelError` for what cannot be built."""
        return configure(cls._from_parts, config)

    @classmethod
    def _from_parts(
        cls,
        *,
        model: Mapping[str, Any] | None = None,
        factory: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | str | None = None,
        buffers: BufferPolicy = "average",
        autocast: Autocast | None = None,
        compile: bool = False,  # noqa: A002  # as in the constructor
    ) -> Self:
        made_by = factory_in(cls.name, ("model", model), factory, kwargs)
        options: dict[str, Any] = {"buffers": buffers, "autocast": autocast, "compile": compile}
        given = (
            None if loss is None else build({"class": loss, "args": {}} if isinstance(loss, str) else loss, "the loss")
        )
        if made_by is not None:
            return cls._made(made_by, given, options)
        if given is None or model is None:
            raise ConfigError(f"{cls.name}: option 'loss' is missing")
        return cls(build(model, "the model"), given, **options, allow_pickle="pickle" in model)

    @classmethod
    def _made(cls, factory: Factory, loss: nn.Module | None, options: dict[str, Any]) -> Self:
        module, made_loss = factory.call()
        if not isinstance(module, nn.Module):
            raise ModelError(f"factory {factory.path} gave {type(module).__name__} where a torch.nn.Module is needed")
        model = cls(module, factory.choose_loss(loss, made_loss), **options)
        model._factory, model._loss_is_made = factory, loss is None
        return model

    def get_config(self) -> dict[str, Any]:
        """Values JSON can carry. Raises `ModelError` for a module or loss that only code can describe."""
        pickles = self._allow_pickle
        if self._factory is not None:
            config = self._factory.to_config()
        else:
            config = {"model": describe(self._network.module, "the model", pickles=pickles)}
        if not self._loss_is_made:
            config["loss"] = describe(self._given_loss, "the loss", pickles=pickles)
        return {**config, **self._network.options.to_config()}

    def initialize(self, data_info: DataInfo) -> None:
        """Learn the classes, and try module and loss on samples of the data's shape where it is told."""
        network = self._network
        network.set_training(False)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            n_outputs = try_out(lambda x: network(((x,), {})), self._loss, data_info, like=network.like)
        network.expected = sample_shape(data_info)
        self._made_up = made_up(data_info, network.like)
        self._labels = Labels(self._given_loss, data_info.classes, n_outputs)

    def get_weights(self, trainable: bool = False) -> TorchVector:
        return self._network.tensors.read(trainable=trainable)

    def set_weights(self, weights: Vector, trainable: bool = False) -> None:
        self._network.tensors.write(weights, trainable=trainable)

    def trainable_view(self) -> TorchVector:
        return self._network.tensors.trainable

    def check_separate(self) -> None:
        self._sample_gradients.check(self._made_up)

    def apply_updates(self, updates: Vector) -> None:
        trainable = self._network.tensors.trainable
        trainable -= updates

    def start_round(self, rng: np.random.Generator) -> None:
        torch.manual_seed(int(rng.integers(2**63)))

    def get_state(self) -> dict[str, Any]:
        """Buffers that stay at this site: counters, and with `buffers="local"` the floats."""
        kept = self._network.tensors.read_kept()
        return {"buffers": kept} if kept else {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        if state.keys() - {"buffers"}:
            raise ValueError(f"state of model {self.name!r} has the fields {sorted(state)} where 'buffers' is expected")
        self._network.tensors.write_kept(state.get("buffers", {}))

    def compute_batch_gradients(
        self, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False
    ) -> TorchVector:
        network = self._network
        network.set_training(True)
        gradient = network.tensors.gradient
        gradient.flat.zero_()
        n = batch.n_samples
        if n == 0:
            return gradient
        inputs = to_inputs(batch.x, network.like)
        if max_norm is not None:
            self._add_clipped(inputs, batch, Clipping(max_norm, per_tensor))
            return gradient
        raw = network(inputs)
        losses = self._losses(raw, batch.y)
        network.check_finite(losses, inputs, batch.y)
        # the mean's gradient is handed to the losses, so that no mean need be computed
        torch.autograd.backward(losses, self._shares(n) if batch.weights is None else self._weights(batch) / n)
        return gradient

    def forward(self, batch: Batch) -> Any:
        """Outputs as torch has them, on the model's device, as in evaluation."""
        network = self._network
        network.set_training(False)
        inputs = to_inputs(batch.x, network.like)
        with torch.no_grad():
            raw = network(inputs)
        if isinstance(raw, Tensor):
            network.check_finite(raw, inputs)
        return raw

    def loss_function(self, y_true: Array, raw: Any) -> Array:
        with torch.no_grad():
            return as_array(self._losses(raw, y_true))

    def to_predictions(self, raw: Any) -> Array:
        return to_predictions(raw, self._given_loss)

    def update_device_policy(self, policy: DevicePolicy | None = None) -> None:
        device = device_of(policy or get_device_policy())
        if device != self._network.like.device:
            self._network.move(device)
            self._loss.module.to(device)
            self._share = (0, self._network.like)

    def _losses(self, raw: Any, y: Any) -> Tensor:
        """Of shape (n,). Raises `DataError` for targets that do not fit the outputs."""
        if not isinstance(raw, Tensor):
            return self._loss(raw, self._targets(y))
        targets = self._targets(y, n=raw.shape[0], n_classes=raw.shape[1] if raw.ndim > 1 else None)
        try:
            return self._loss(raw, targets)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError) as error:
            raise DataError(
                f"the loss does not take outputs of shape {tuple(raw.shape)} with targets of shape "
                f"{tuple(targets.shape)}: {error}"
            ) from error

    def _targets(self, y: Any, *, n: int | None = None, n_classes: int | None = None) -> Tensor:
        """On the model's device, for `n` samples. Raises `DataError`, before a GPU would fail for a wrong index."""
        labels = self._labels.encode(y)
        if n is not None and labels.shape[:1] != (n,):
            raise DataError(f"targets of shape {labels.shape} came with {n} samples: give one each")
        if n_classes is not None and self._loss.target is Target.INDEX and labels.dtype.kind in "iu":
            self._labels.check_index(labels, n_classes)
        return from_array(labels).to(self._network.like.device)

    def _shares(self, n: int) -> Tensor:
        """1/n for each of n samples; made anew only when n is another than before."""
        if self._share[0] != n:
            self._share = (n, self._network.like.new_full((n,), 1 / n))
        return self._share[1]

    def _weights(self, batch: Batch) -> Tensor:
        like = self._network.like
        weights = batch.weights if isinstance(batch.weights, Tensor) else from_array(batch.weights)
        if weights.numel() != batch.n_samples:
            raise DataError(f"{weights.numel()} sample weights came with {batch.n_samples} samples: give one each")
        return weights.to(like.device, like.dtype).reshape(-1)

    def _add_clipped(self, inputs: Inputs, batch: Batch, clipping: Clipping) -> None:
        network = self._network
        targets = self._targets(batch.y, n=batch.n_samples, n_classes=self._labels.n_outputs)
        weights = network.like.new_ones(batch.n_samples) if batch.weights is None else self._weights(batch)
        if not bool(torch.isfinite(weights).all()):
            raise DataError("some sample weights are NaN or infinite: give each sample a number")
        try:
            self._sample_gradients.add_clipped(Samples(inputs, targets, weights), clipping)
        except IndexError as error:
            raise DataError(f"a label is not among those that the model tells apart: {error}") from error
        gradient = network.tensors.gradient
        network.check_finite(gradient.flat, inputs, batch.y)
        if not gradient.is_finite():
            raise DataError(UNBOUNDED)
