"""What optimizers' modules exchange, as one vector: it travels and is stored the way weights are."""

import math
from collections.abc import Mapping

import numpy as np

from fl.core.mergeable import Sum
from fl.core.state import pack_state, unpack_state
from fl.core.vector import Layout, NumpyVector, Vector, check_same


def pack_aux(aux: Mapping[str, Sum]) -> NumpyVector | None:
    """Every module's sum under its `aux_name`; None when nobody has anything to say."""
    return pack_state({name: dict(values.fields) for name, values in aux.items()}) if aux else None


def unpack_aux(packed: NumpyVector, trainable: Layout) -> dict[str, Sum]:
    """What `pack_aux` packed, of modules that work on weights of this layout.

    Raises `ValueError` for anything else: fields are numbers, arrays, or vectors of the weights' layout.
    """
    try:
        state = unpack_state(packed)
    except (AttributeError, KeyError, RecursionError, TypeError) as error:  # somebody else packed it, and may lie
        raise ValueError(f"auxiliary variables are not packed as a state: {error!r}") from None
    if not isinstance(state, dict) or not all(isinstance(fields, dict) for fields in state.values()):
        raise ValueError("auxiliary variables come by the names of modules, and then of their fields")
    for name, fields in state.items():
        for field, value in fields.items():
            if isinstance(value, Vector):
                check_same(trainable, value.layout)
            elif not isinstance(value, np.ndarray) and not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(f"auxiliary variable {name}.{field} is {value!r}, which nobody can add up")
    return {name: Sum(fields) for name, fields in state.items()}
