"""What a simulated run's records stand for, in memory."""

from broker.blob import BlobRef
from fl.core.vector import Array, NumpyVector
from fl.run.events import Parcel
from fl.wire.bulk import INLINE_BYTES
from fl.wire.tensors import digest, inline, parcel, referring


class VectorStore:
    """The run's vectors, which parcels of its records stand for. Nobody may write into them."""

    def __init__(self) -> None:
        self._vectors: dict[Parcel, NumpyVector] = {}

    def put(self, vector: NumpyVector) -> Parcel:
        """A parcel as in the log of any run, but that bulk lies in no stream."""
        if vector.layout.nbytes <= INLINE_BYTES:
            key = parcel(inline(vector))
        else:
            key = parcel(referring(vector.layout, BlobRef("", vector.layout.nbytes, 0, digest(vector.pack()))))
        self._vectors[key] = NumpyVector(vector.layout, _locked(vector.flat), tuple(map(_locked, vector.others)))
        return key

    def get(self, key: Parcel) -> NumpyVector:
        return self._vectors[key]

    def keep_only(self, held: set[Parcel]) -> None:
        self._vectors = {key: vector for key, vector in self._vectors.items() if key in held}


def _locked(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
