"""What a simulated run's records stand for, in memory."""

from broker.blob import BlobRef
from fl.core.compression import Compression
from fl.core.vector import Array, NumpyVector
from fl.run.events import Parcel
from fl.wire.bulk import INLINE_BYTES
from fl.wire.tensors import NONE, digest, enclosed, parcel, referring, tag


class VectorStore:
    """The run's vectors, which parcels of its records stand for. Nobody may write into them."""

    def __init__(self) -> None:
        self._vectors: dict[Parcel, NumpyVector] = {}

    def put(self, vector: NumpyVector, compression: Compression = NONE) -> Parcel:
        """A parcel as in the log of any run, but that bulk lies in no stream. It stands for what can be decoded."""
        layout, payload, name = vector.layout, compression.encode(vector), tag(compression)
        if payload.nbytes <= INLINE_BYTES:
            key = parcel(enclosed(layout, payload, name))
        else:
            key = parcel(referring(layout, BlobRef("", payload.nbytes, 0, digest(payload)), name))
        decoded = vector if compression.lossless else compression.decode(layout, payload)
        self._vectors[key] = NumpyVector(layout, _locked(decoded.flat), tuple(map(_locked, decoded.others)))
        return key

    def get(self, key: Parcel) -> NumpyVector:
        return self._vectors[key]

    def keep_only(self, held: set[Parcel]) -> None:
        self._vectors = {key: vector for key, vector in self._vectors.items() if key in held}


def _locked(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
