"""Laws that every algorithm of an optimizer keeps, whatever framework the gradients are of."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fl.core.optimizer import Optimizer, OptiModule, Regularizer
from fl.core.optimizer.elementwise import ElementwiseModule
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from tests.unit.core.algorithms.algorithm_list import ALGORITHMS, Algorithm
from tests.unit.core.algorithms.algorithm_oracles import SHAPES, Floats
from tests.unit.core.algorithms.vector_backends import NUMPY, Backend, device_of, values_of

STEPS = 7
EVERY = pytest.mark.parametrize(
    ("algorithm", "backend"),
    [pytest.param(case, backend, id=f"{case}-{backend}") for case in ALGORITHMS for backend in case.backends],
)


def options_of(algorithm: Algorithm) -> dict[str, Any]:
    """Every option of a plug-in, those included that have their default."""
    config: dict[str, Any] = algorithm.optimizer().get_config()[algorithm.kind][0][1]
    return config


def numpy_vector(flat: Floats, dtype: str) -> NumpyVector:
    vector = NumpyVector.from_arrays({name: np.zeros(shape, dtype) for name, shape in SHAPES.items()})
    vector.flat[...] = flat
    return vector


def inputs(seed: int = 0) -> tuple[Floats, Floats]:
    """Gradients and weights of all steps; what float32 makes of them is exact in float64 too."""
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(2, STEPS, 11)).astype("float32").astype("float64")
    return both[0], both[1]


def run(optimizer: Optimizer, backend: Backend, dtype: str, *, steps: slice = slice(0, STEPS)) -> Floats:
    """Updates of some steps; every buffer that is handed in is overwritten once the step is over."""
    gradients, weights = inputs()
    updates = []
    for g, w in zip(gradients[steps], weights[steps], strict=True):
        gradient, weight = (backend.make(numpy_vector(flat, dtype)) for flat in (g, w))
        updates.append(values_of(optimizer.compute_updates(weight, gradient)))
        backend.fill(gradient, np.nan)
        backend.fill(weight, np.nan)
    return np.array(updates)


def started(algorithm: Algorithm, backend: Backend, dtype: str = "float64") -> Optimizer:
    optimizer = algorithm.optimizer()
    start = backend.make(numpy_vector(inputs()[1][0], dtype))
    optimizer.start_round(start)
    backend.fill(start, np.nan)
    return optimizer


@EVERY
def test_the_output_is_that_of_the_closed_form(algorithm: Algorithm, backend: Backend) -> None:
    outputs = run(started(algorithm, backend), backend, "float64")
    # Keras holds its options and what depends on the step alone in float32
    tolerance = 1e-6 if algorithm.name == "tensorflow-optim" else 1e-10
    np.testing.assert_allclose(outputs, algorithm.oracle(*inputs()), rtol=tolerance, atol=1e-12)


@EVERY
def test_float32_gives_what_the_closed_form_gives_within_its_precision(algorithm: Algorithm, backend: Backend) -> None:
    outputs = run(started(algorithm, backend, "float32"), backend, "float32")
    expected = algorithm.oracle(*inputs())
    assert np.linalg.norm(outputs - expected) <= 1e-6 * np.linalg.norm(expected)


@EVERY
def test_dtype_device_and_layout_of_updates_are_those_of_the_gradients(algorithm: Algorithm, backend: Backend) -> None:
    for dtype in ("float32", "float64"):
        optimizer = started(algorithm, backend, dtype)
        gradient, weight = (backend.make(numpy_vector(rows[0], dtype)) for rows in inputs())
        update = optimizer.compute_updates(weight, gradient)
        assert type(update) is type(gradient)
        assert (update.layout, device_of(update)) == (gradient.layout, device_of(gradient))
        assert values_of(update).dtype == dtype


@EVERY
def test_a_step_changes_neither_gradients_nor_weights(algorithm: Algorithm, backend: Backend) -> None:
    optimizer = started(algorithm, backend)
    gradient, weight = (backend.make(numpy_vector(rows[0], "float64")) for rows in inputs())
    for _ in range(2):
        optimizer.compute_updates(weight, gradient)
    np.testing.assert_array_equal(values_of(gradient), inputs()[0][0])
    np.testing.assert_array_equal(values_of(weight), inputs()[1][0])


@EVERY
def test_one_from_stored_config_and_state_goes_on_bit_for_bit(algorithm: Algorithm, backend: Backend) -> None:
    # Given an optimizer in the middle of a round
    optimizer = started(algorithm, backend, "float32")
    run(optimizer, backend, "float32", steps=slice(0, 3))
    # When another is made from what a disk would hold of it
    again = Optimizer.from_config(json.loads(json.dumps(optimizer.get_config())))
    again.set_state(unpack_state(pack_state(optimizer.get_state())))
    # Then both go the same way
    rest = slice(3, STEPS)
    np.testing.assert_array_equal(
        run(again, backend, "float32", steps=rest), run(optimizer, backend, "float32", steps=rest)
    )


@EVERY
def test_a_state_that_was_taken_changes_with_no_later_step(algorithm: Algorithm, backend: Backend) -> None:
    optimizer = started(algorithm, backend)
    run(optimizer, backend, "float64", steps=slice(0, 3))
    state = optimizer.get_state()
    first = run(optimizer, backend, "float64", steps=slice(3, STEPS))
    for _ in range(2):  # twice, because going on from a state must not change it either
        optimizer.set_state(state)
        np.testing.assert_array_equal(run(optimizer, backend, "float64", steps=slice(3, STEPS)), first)


@EVERY
def test_the_state_of_one_that_has_not_begun_is_that_of_a_new_one(algorithm: Algorithm, backend: Backend) -> None:
    fresh = unpack_state(pack_state(algorithm.optimizer().get_state()))
    used = started(algorithm, backend)
    run(used, backend, "float64")
    used.set_state(fresh)
    used.start_round(backend.make(numpy_vector(inputs()[1][0], "float64")))
    np.testing.assert_array_equal(run(used, backend, "float64"), run(started(algorithm, backend), backend, "float64"))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_it_finds_the_minimum_of_a_convex_function(algorithm: Algorithm) -> None:
    backend = algorithm.backends[0]  # step by step they are the same
    # Given the quadratic ½·Σ a·(w - target)², and weights far from its minimum
    rng = np.random.default_rng(1)
    curvature, target = rng.uniform(0.5, 2.0, 11), rng.normal(size=11)
    optimizer, weights = algorithm.optimizer(algorithm.lrate), np.zeros(11)
    for step in range(200):
        vectors = [backend.make(numpy_vector(flat, "float64")) for flat in (weights, curvature * (weights - target))]
        if step % 20 == 0:
            optimizer.start_round(vectors[0])
        weights = weights - values_of(optimizer.compute_updates(*vectors))
    assert np.linalg.norm(weights - target) < 0.1 * np.linalg.norm(target)


ELEMENTWISE = pytest.mark.parametrize(
    ("algorithm", "backend"),
    [
        pytest.param(case, backend, id=f"{case}-{backend}")
        for case in ALGORITHMS
        for backend in case.backends
        if case.kind == "modules" and issubclass(OptiModule.registry.get(case.name), ElementwiseModule)
    ],
)


@ELEMENTWISE
def test_a_long_vector_is_treated_at_each_element_as_a_short_one(algorithm: Algorithm, backend: Backend) -> None:
    # Given more elements than any framework goes through at a time, and no multiple of that
    size, (gradients, _) = 270_001, inputs()
    at_long, at_short = algorithm.optimizer(0.5), algorithm.optimizer(0.5)
    for g in gradients[:3]:
        long, short = (
            backend.make(NumpyVector.from_arrays({"w": np.resize(g, n).astype("float32")})) for n in (size, g.size)
        )
        update = values_of(at_long.compute_updates(long, long))
        expected = values_of(at_short.compute_updates(short, short))
        np.testing.assert_allclose(update, np.resize(expected, size), rtol=1e-6)
        np.testing.assert_array_equal(values_of(long), np.resize(g, size))


@ELEMENTWISE
def test_a_long_state_that_was_taken_changes_with_no_later_step(algorithm: Algorithm, backend: Backend) -> None:
    optimizer = algorithm.optimizer()
    gradient = backend.make(NumpyVector.from_arrays({"w": np.resize(inputs()[0][0], 270_001)}))
    optimizer.compute_updates(gradient, gradient)
    state = optimizer.get_state()
    first = values_of(optimizer.compute_updates(gradient, gradient))
    for _ in range(2):
        optimizer.set_state(state)
        np.testing.assert_array_equal(values_of(optimizer.compute_updates(gradient, gradient)), first)


@pytest.mark.parametrize("algorithm", [case for case in ALGORITHMS if "round_reset" in options_of(case)], ids=str)
def test_state_lives_on_to_the_next_round_unless_told_otherwise(algorithm: Algorithm) -> None:
    # Given a first round of three steps
    kept, reset = algorithm, replace(algorithm, options={**algorithm.options, "round_reset": True})
    optimizers = [started(case, NUMPY) for case in (kept, reset)]
    for optimizer in optimizers:
        run(optimizer, NUMPY, "float64", steps=slice(0, 3))
        optimizer.start_round(numpy_vector(inputs()[1][0], "float64"))
    # When a second one takes the same steps as another optimizer's first
    went_on, began_anew = (run(optimizer, NUMPY, "float64", steps=slice(3, STEPS)) for optimizer in optimizers)
    fresh = run(started(algorithm, NUMPY), NUMPY, "float64", steps=slice(3, STEPS))
    # Then it is as if there had been no first, where that was asked for
    np.testing.assert_array_equal(began_anew, fresh)
    np.testing.assert_allclose(went_on, algorithm.oracle(*inputs())[3:], rtol=1e-10, atol=1e-12)


def test_the_list_has_every_algorithm_there_is() -> None:
    for kind, registry in (("modules", OptiModule.registry), ("regularizers", Regularizer.registry)):
        ours = {name for name in registry.names() if registry.get(name).__module__.startswith("fl.core.optimizer.")}
        assert {case.name for case in ALGORITHMS if case.kind == kind} == ours
