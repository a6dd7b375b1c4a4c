"""What compression left out of one update is added to the next."""

from collections.abc import Mapping
from typing import Any

from fl.core.compression.api import Compression
from fl.core.vector import NumpyVector


class Feedback:
    """Error feedback: p_t = u_t + e_t is compressed in the place of the update u_t, and e_{t+1} = p_t - decoded(p_t).

    Seide et al. 2014; Karimireddy et al. 2019, algorithm 1 (EF-SGD), with e_1 = 0. Law: over rounds 1 … T, the
    decoded updates add up to the updates minus e_{T+1}, up to rounding: nothing is lost, only late.

    The state is the residual e alone: from the same one, the same update gives the same bits.
    """

    def __init__(self, compression: Compression) -> None:
        self.compression = compression
        self.residual: NumpyVector | None = None
        """e: what has not been sent yet. None before the first round, and where nothing is ever left out."""

    def compress(self, update: NumpyVector) -> memoryview:
        """The payload of the update with what is owed from before; `update` is left as it is.

        Raises `ValueError` for an update of another layout, or with values that are not finite, which would stay in
        the residual for ever. It is then as before.
        """
        if self.compression.lossless:
            return self.compression.encode(update)
        owed = update.copy() if self.residual is None else update + self.residual
        name = owed.first_nonfinite()
        if name is not None:
            raise ValueError(f"tensor {name!r} has values that are NaN or infinite: no later update can make up for it")
        payload = self.compression.encode(owed)
        decoder = self.compression.decoder(owed.layout)
        for start, values in decoder.feed(payload):
            owed.flat[start : start + len(values)] -= values
        decoder.finish()
        self.residual = owed
        return payload

    def get_state(self) -> dict[str, Any]:
        """As `pack_state` takes it; no later round changes it."""
        return {"residual": self.residual}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave. Raises `ValueError` for another's."""
        if state.keys() != {"residual"} or not isinstance(state["residual"], NumpyVector | None):
            raise ValueError(f"this is no state of error feedback: it has the fields {sorted(state)}")
        self.residual = state["residual"]
