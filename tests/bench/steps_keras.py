"""`python -m tests.bench.steps_keras`: a local step, over the same step of Keras itself.

Ours is `Optimizer(lrate).run_train_step`, from numpy arrays. Keras's are `train_on_batch` from the same arrays, and the
compiled function that `fit` calls, which is handed an iterator of tensors. All take turns; medians are compared.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fl.core.dataset import Batch
from fl.core.model.tensorflow import TensorflowModel
from fl.core.optimizer import Optimizer

layers = keras.layers
LRATE, BATCH, TURNS, STEPS = 0.01, 32, 60, 20


def mlp() -> Any:
    return keras.Sequential([keras.Input((64,)), layers.Dense(128, activation="relu"), layers.Dense(10)])


def cnn() -> Any:
    convolution = layers.Conv2D(16, 3, activation="relu")
    return keras.Sequential(
        [keras.Input((8, 8, 1)), convolution, layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10)]
    )


def ways(build: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
    """One step by each way, from the same batch."""
    rng = np.random.default_rng(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    by_batch, by_fit = build(), build()
    x = rng.normal(size=(BATCH, *by_batch.inputs[0].shape[1:])).astype(np.float32)
    y = rng.integers(10, size=BATCH)
    for model in (by_batch, by_fit):
        model.compile(keras.optimizers.SGD(LRATE), loss)
    by_fit.make_train_function()
    endless = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    ours, optimizer, batch = TensorflowModel(build(), loss), Optimizer(LRATE), Batch(x, y)
    return {
        "ours": lambda: optimizer.run_train_step(ours, batch),
        "train_on_batch": lambda: by_batch.train_on_batch(x, y),
        "train_function": lambda: by_fit.train_function(endless),
    }


def measure(steps: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Median microseconds a step."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(TURNS + 2):
        for name, step in steps.items():
            begun = time.perf_counter()
            for _ in range(STEPS):
                step()
            if turn >= 2:  # the first ones trace
                times[name].append((time.perf_counter() - begun) / STEPS * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    for build in (mlp, cnn):
        row = measure(ways(build))
        ratios = {f"/ {name}": row["ours"] / row[name] for name in row if name != "ours"}
        print(build.__name__, "  ".join(f"{name} {value:.0f} us" for name, value in row.items()), end="  ")
        print("  ".join(f"{name} {value:.2f}" for name, value in ratios.items()), flush=True)


if __name__ == "__main__":
    main()
