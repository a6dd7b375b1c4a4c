"""`python -m tests.bench.arithmetic`: a step of Adam on many weights, ours against the frameworks' own.

Each figure is the best of some repeats, and includes taking the update off the weights. Ratios are to what the
framework offers for the same: numpy by hand with buffers made beforehand, torch's fused, multi-tensor and plain Adam,
and Keras's Adam, op by op and in a graph.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import torch

from fl.core.optimizer import Optimizer
from fl.core.vector import NumpyVector, Vector
from fl.core.vector.tensorflow_vector import TensorflowVector
from fl.core.vector.torch_vector import TorchVector

Step = Callable[[], object]


def best(step: Step, repeats: int) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    step()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def ours(weights: Vector, gradients: Vector) -> Step:
    optimizer, held = Optimizer(1e-3, modules=["adam"]), [weights]

    def step() -> None:
        held[0] -= optimizer.compute_updates(held[0], gradients)

    return step


def numpy_by_hand(size: int, gradient: Any) -> Step:
    w, m, v, a, b = (np.zeros(size, np.float32) for _ in range(5))

    def step() -> None:
        np.multiply(m, 0.9, out=m)
        np.multiply(gradient, 0.1, out=a)
        np.add(m, a, out=m)
        np.multiply(v, 0.99, out=v)
        np.square(gradient, out=a)
        np.multiply(a, 0.01, out=a)
        np.add(v, a, out=v)
        np.sqrt(v, out=a)
        np.add(a, 1e-7, out=a)
        np.divide(m, a, out=b)
        np.multiply(b, 1e-3, out=b)
        np.subtract(w, b, out=w)

    return step


def torch_own(gradient: Any, **options: Any) -> Step:
    parameter = torch.zeros(gradient.size)
    parameter.grad = torch.from_numpy(gradient)
    return torch.optim.Adam([parameter], **options).step


def keras_own(gradient: Any, *, in_graph: bool) -> Step:
    variable, tensor = keras.Variable(np.zeros_like(gradient)), tf.constant(gradient)
    optimizer = keras.optimizers.Adam()
    optimizer.build([variable])

    def step() -> None:
        optimizer.apply([tensor], [variable])

    return tf.function(step) if in_graph else step


def contests(gradient: Any) -> Iterator[tuple[str, Step, dict[str, Step]]]:
    """A framework, our step in it, and its own."""
    vector = NumpyVector.from_arrays({"w": gradient})
    yield "numpy", ours(vector.zeros_like(), vector), {"by hand": numpy_by_hand(gradient.size, gradient)}
    yield (
        "torch",
        ours(TorchVector.from_numpy(vector.zeros_like()), TorchVector.from_numpy(vector)),
        {
            "fused": torch_own(gradient, fused=True),
            "multi-tensor": torch_own(gradient, foreach=True),
            "plain": torch_own(gradient, foreach=False),
        },
    )
    yield (
        "tensorflow",
        ours(TensorflowVector.from_numpy(vector.zeros_like()), TensorflowVector.from_numpy(vector)),
        {"op by op": keras_own(gradient, in_graph=False), "in a graph": keras_own(gradient, in_graph=True)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000_000, help="weights")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    gradient = np.random.default_rng(0).normal(size=args.size).astype(np.float32)
    print(f"a step of Adam on {args.size:,} weights of float32, {torch.get_num_threads()} threads")
    for framework, our_step, their_steps in contests(gradient):
        gc.collect()
        mine = best(our_step, args.repeats)
        theirs = {name: best(step, args.repeats) for name, step in their_steps.items()}
        ratios = ", ".join(
            f"{mine / seconds:.2f} x {name} ({1e3 * seconds:.3g} ms)" for name, seconds in theirs.items()
        )
        print(f"{framework:10}  {1e3 * mine:7.3g} ms = {ratios}")


if __name__ == "__main__":
    main()
