"""What a Keras model computes on a batch, as graphs that are traced once and then called."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from fl.core.model.clipping import Clipping
from fl.core.model.tensorflow.inputs import Inputs
from fl.core.model.tensorflow.loss import SampleLoss
from fl.core.model.tensorflow.weights import Weights, generators, has_layer
from fl.core.vector import Array
from fl.errors import DataError, FluffleError

SAMPLE_GRADIENT_ELEMENTS: Final = 1 << 24
"""Elements of single samples' gradients held at a time: 64 MiB of float32."""


class Compiled:
    """A function of tensors as a graph, traced for a batch of any length, and again only for another kind of sample.

    Of each argument, a length that once differed from batch to batch is left open from then on.
    """

    def __init__(self, function: Callable[..., Any], *, device: str, jit: bool = False) -> None:
        self._function = tf.function(function, autograph=False, jit_compile=jit)
        self._device = device
        self._specs: list[tuple[np.dtype[Any], tuple[int | None, ...]]] = []
        self._graph: Any = None

    def __call__(self, *arrays: Array) -> Any:
        with tf.device(self._device):  # where variables are, TensorFlow would not compute of its own accord
            if not self._fits(arrays):
                self._trace(arrays)
            return self._graph(*map(tf.constant, arrays))

    def _fits(self, arrays: tuple[Array, ...]) -> bool:
        if len(arrays) != len(self._specs):
            return False
        for array, (dtype, shape) in zip(arrays, self._specs, strict=True):
            if array.dtype != dtype or array.ndim != len(shape):
                return False
            for length, known in zip(array.shape, shape, strict=True):
                if known is not None and known != length:
                    return False
        return True

    def _trace(self, arrays: tuple[Array, ...]) -> None:
        before = dict(enumerate(self._specs))
        specs = [_opened(array, before.get(place)) for place, array in enumerate(arrays)]
        self._graph = self._function.get_concrete_function(*(tf.TensorSpec(shape, dtype) for dtype, shape in specs))
        self._specs = specs


class Steps:
    """Gradients, outputs and losses of one model. Arrays go in; tensors come out, on the device.

    Gradients are of the mean of the samples' losses, each times its weight, plus the penalties that layers add
    (`model.losses`: weights' and activities' regularizers), as in Keras's own training; a sample's gradient that is
    clipped has the penalties of a batch of that sample.
    """

    def __init__(
        self, model: Any, weights: Weights, loss: SampleLoss, inputs: Inputs, *, device: str, jit: bool
    ) -> None:
        self._model = model
        self._weights = weights
        self._loss = loss
        self._inputs = inputs
        self._device = device
        self._seeds = generators(model)
        self._has_loops = has_layer(model, keras.layers.RNN)
        self._gradient = Compiled(self._mean_gradient, device=device, jit=jit)
        self._weighted = Compiled(self._weighted_mean_gradient, device=device, jit=jit)
        self._clipped = {
            per_tensor: Compiled(self._clipper(per_tensor), device=device, jit=jit) for per_tensor in (False, True)
        }
        self._outputs = Compiled(self._forward, device=device, jit=jit)
        self._losses = Compiled(self._sample_losses, device=device, jit=jit)

    def gradient(self, x: list[Array], y: Array, weights: Array | None) -> Any:
        """Mean gradient as a flat tensor."""
        with _in_words(x, y):
            return self._gradient(y, *x) if weights is None else self._weighted(weights, y, *x)

    def clipped_gradient(self, x: list[Array], y: Array, weights: Array, clipping: Clipping) -> Any:
        """Mean of the samples' clipped gradients, as a flat tensor."""
        bound = np.asarray(clipping.max_norm, self._weights.trainable.float_dtype)
        with _in_words(x, y):
            sums = [
                self._clipped[clipping.per_tensor](bound, weights[part], y[part], *(array[part] for array in x))
                for part in _parts(len(y), self._weights.trainable.float_size)
            ]
        with tf.device(self._device):
            return tf.add_n(sums) / len(y)

    def outputs(self, x: list[Array]) -> Any:
        with _in_words(x):
            raw, mask = self._outputs(*x)
        if mask is not None:
            raw._keras_mask = mask  # noqa: SLF001  # where Keras's losses look for it, and a graph's output has none
        return raw

    def losses(self, y: Array, raw: Any) -> Array:
        """Of shape (n,)."""
        if getattr(raw, "_keras_mask", None) is not None:
            return np.asarray(self._sample_losses(tf.constant(y), raw))
        with _in_words([np.asarray(raw)], y):
            return np.asarray(self._losses(y, np.asarray(raw)))

    def reseed(self, rng: np.random.Generator) -> None:
        """Whatever the model draws from here on, as dropout does, derives from `rng`."""
        for state in self._seeds:
            state.assign(rng.integers(np.iinfo(np.int32).max, size=state.shape))

    def _forward(self, *x: Any) -> Any:
        raw = self._model(self._inputs.pack(list(x)), training=False)
        return raw, getattr(raw, "_keras_mask", None)

    def _sample_losses(self, y: Any, raw: Any) -> Any:
        return self._loss(y, _widened(raw, self._weights.trainable.float_dtype))

    def _mean_gradient(self, y: Any, *x: Any) -> Any:
        return self._gradient_of(y, x, tf.reduce_mean)

    def _weighted_mean_gradient(self, weights: Any, y: Any, *x: Any) -> Any:
        return self._gradient_of(y, x, lambda losses: tf.reduce_mean(losses * tf.cast(weights, losses.dtype)))

    def _gradient_of(
        self, y: Any, x: tuple[Any, ...], reduce: Callable[[Any], Any], seeds: list[Any] | None = None
    ) -> Any:
        """Flat gradient of what `reduce` makes of the losses, plus penalties; `seeds` stand in for the generators."""
        variables = [variable.value for variable in self._weights.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with nullcontext() if seeds is None else self._aside(seeds):
                raw = self._model(self._inputs.pack(list(x)), training=True)
                total = reduce(self._sample_losses(y, raw))
                for penalty in self._model.losses:
                    total += tf.cast(penalty, total.dtype)
        gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return tf.concat([tf.reshape(tf.convert_to_tensor(gradient), [-1]) for gradient in gradients], 0)

    def _aside(self, seeds: list[Any]) -> Any:
        """A scope in which the model runs without changing its state, and draws from `seeds`."""
        # Keras looks up every weight that has a penalty there
        values = [(variable, variable.value) for variable in self._model.weights]
        return keras.StatelessScope([*values, *zip(self._seeds, seeds, strict=True)], collect_losses=True)

    def _clipper(self, per_tensor: bool) -> Callable[..., Any]:
        """The sum over a batch of clipped gradients, as a function of tensors."""

        def clipped_sum(bound: Any, weights: Any, y: Any, *x: Any) -> Any:
            def one(sample: Any) -> Any:
                weight, target, seeds, *parts = sample
                gradient = self._gradient_of(
                    target[None],
                    tuple(part[None] for part in parts),
                    lambda losses: losses[0] * tf.cast(weight, losses.dtype),
                    seeds,  # its own, so that no two samples draw the same
                )
                return self._clip(gradient, bound, per_tensor)

            samples = (weights, y, self._split_seeds(tf.shape(y)[0]), *x)
            return tf.reduce_sum(self._map(one, samples), 0)

        return clipped_sum

    def _map(self, one: Callable[[Any], Any], samples: Any) -> Any:
        """`one` of each sample, stacked: in turn for recurrent layers, and at once for all others."""

        def in_turn() -> Any:
            return tf.map_fn(one, samples, fn_output_signature=self._weights.trainable.float_dtype)

        if self._has_loops:  # it would be traced for a minute where others take seconds
            return in_turn()
        if not self._seeds:
            return tf.vectorized_map(one, samples)
        # a vectorised map cannot draw for a single sample
        return tf.cond(tf.shape(samples[0])[0] > 1, lambda: tf.vectorized_map(one, samples), in_turn)

    def _clip(self, gradient: Any, bound: Any, per_tensor: bool) -> Any:
        sizes = self._weights.trainable.float_sizes if per_tensor else [self._weights.trainable.float_size]
        parts = tf.split(gradient, sizes)
        return tf.concat([part * (bound / tf.maximum(tf.norm(part), bound)) for part in parts], 0)

    def _split_seeds(self, n_samples: Any) -> list[Any]:
        """For each generator a state a sample; the generators themselves go on by one."""
        split = []
        for state in self._seeds:
            seeds = tf.random.stateless_uniform(
                [n_samples, 2], tf.cast(state.value, tf.int64), minval=0, maxval=np.iinfo(np.int32).max, dtype=tf.int64
            )
            split.append(tf.cast(seeds, state.value.dtype))
            state.assign(state.value + tf.constant([0, 1], state.value.dtype))
        return split


class _in_words:  # noqa: N801  # reads as what it does
    """Turns what TensorFlow raises on a batch into a `DataError` that names the batch's shapes."""

    def __init__(self, x: list[Array], y: Array | None = None) -> None:
        self._arrays = [*x, *([] if y is None else [y])]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | TypeError | tf.errors.InvalidArgumentError) and not isinstance(
            error, FluffleError
        ):
            shapes = " and ".join(str(array.shape) for array in self._arrays)
            text = str(error).strip().splitlines() or ["no reason given"]
            raise DataError(f"the model cannot take a batch of arrays of shape {shapes}: {text[0]}") from error


def _widened(raw: Any, dtype: str) -> Any:
    """A half-precision output in the dtype of the weights, as Keras's losses have it."""
    if raw.dtype.name == dtype:
        return raw
    wide = tf.cast(raw, dtype)
    wide._keras_mask = getattr(raw, "_keras_mask", None)  # noqa: SLF001  # where Keras's losses look for it
    return wide


def _opened(array: Array, before: Any) -> tuple[np.dtype[Any], tuple[int | None, ...]]:
    """The array's dtype and shape, with an open batch, and open lengths where they are not what they were before."""
    shape: tuple[int | None, ...] = (None, *array.shape[1:]) if array.ndim else ()
    if before is not None and before[0] == array.dtype and len(before[1]) == len(shape):
        shape = tuple(new if new == old else None for new, old in zip(shape, before[1], strict=True))
    return array.dtype, shape


def _parts(n_samples: int, elements: int) -> Iterator[slice]:
    step = max(1, SAMPLE_GRADIENT_ELEMENTS // max(1, elements))
    return (slice(start, min(start + step, n_samples)) for start in range(0, n_samples, step))
