"""Modules whose every coordinate goes by itself: what they are at one is a function of the gradient and state there."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.vector import Layout, Vector
from fl.core.vector.api import Formula


class ElementwiseModule(OptiModule, register=False):
    """A module that is its `update`; state, its storage and memory are looked after here.

    Steps are counted from 1. With `round_reset`, state starts anew in each round. Long vectors are gone through in
    blocks, so that what lies between the formula's start and end never leaves the cache.
    """

    reuses_memory = True

    def __init__(self, starts: Mapping[str, float], *, round_reset: bool) -> None:
        """`starts` has the value that each vector of the state starts from, in the order of `update`."""
        self.round_reset = round_reset
        self._starts = dict(starts)
        self._steps = 0
        self._state: tuple[Vector, ...] | None = None
        self._result: Vector | None = None
        self._compiled: tuple[tuple[type[Vector], Layout], Formula] | None = None

    @abstractmethod
    def update(self, t: int, g: Vector, *state: Vector) -> tuple[Vector, ...]:
        """What step t makes of the gradient, then the new state. The state's vectors may be written into.

        Frameworks may trace it once for all steps: no branch may depend on t, and no function of `math` be of it.
        """

    def start_round(self, weights: Vector) -> None:
        if self.round_reset:
            self._steps, self._state = 0, None

    def run(self, gradients: Vector) -> Vector:
        state = self._state_like(gradients)
        self._steps += 1
        blocks = tuple(gradients.blocks())
        if len(blocks) > 1:
            return self._run_in_blocks(blocks, gradients, state)
        result, *after = self._formula(gradients)(self._steps, gradients, *state)
        self._state = tuple(after)
        return result.copy() if any(result is kept for kept in (gradients, *after)) else result

    def _formula(self, gradients: Vector) -> Formula:
        made_for = (type(gradients), gradients.layout)
        if self._compiled is None or self._compiled[0] != made_for:
            self._compiled = made_for, gradients.compiled(self.update)
        return self._compiled[1]

    def _run_in_blocks(self, blocks: tuple[Vector, ...], gradients: Vector, state: tuple[Vector, ...]) -> Vector:
        if type(self._result) is not type(gradients) or self._result.layout != gradients.layout:
            self._result = gradients.empty_like()
        for into, g, *before in zip(self._result.blocks(), blocks, *(item.blocks() for item in state), strict=True):
            result, *after = self.update(self._steps, g, *before)
            for old, new in zip((into, *before), (result, *after), strict=True):
                if new is not old:
                    old.flat[...] = new.flat
        self._state = state
        return self._result

    def _state_like(self, gradients: Vector) -> tuple[Vector, ...]:
        if self._state is None:
            return tuple(gradients.zeros_like() + start for start in self._starts.values())
        # what was read from disk is of numpy, whatever the model is of
        return tuple(gradients.like(item) for item in self._state)

    def get_state(self) -> dict[str, Any]:
        vectors = [None] * len(self._starts) if self._state is None else [item.copy() for item in self._state]
        return {"steps": self._steps, **dict(zip(self._starts, vectors, strict=True))}

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"steps", *self._starts})
        vectors = [state[name] for name in self._starts]
        if any(item is None for item in vectors):
            self._state = None
        else:
            self._state = tuple(item.copy() for item in vectors)
        self._steps = int(state["steps"])
