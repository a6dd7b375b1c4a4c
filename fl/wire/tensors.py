"""Vectors as protobuf `Tensors`, and what decisions carry of them: a `Parcel`."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from broker.blob import BlobRef
from fl.core.compression import Compression, Uncompressed
from fl.core.data_info import DataInfo
from fl.core.layout import Layout, Role, TensorSpec
from fl.core.vector import Array, NumpyVector
from fl.errors import BadMessage, DataError
from fl.run.events import Parcel
from fl.wire import messages_pb2, tensors_pb2

_ROLES = {
    Role.TRAINABLE: tensors_pb2.Role.TRAINABLE,
    Role.BUFFER: tensors_pb2.Role.BUFFER,
    Role.FIXED: tensors_pb2.Role.FIXED,
}
_ROLES_BACK = {number: role for role, number in _ROLES.items()}

Bytes = bytes | bytearray | memoryview

NONE: Final = Uncompressed()

MOST_KNOWN: Final = 4096
"""Tensors of a layout that is worth remembering: a stranger may make up one of any number."""

_Specs = tuple[tuple[str, str, tuple[int, ...], Role], ...]


def digest(data: Bytes) -> bytes:
    """SHA-256 of a whole buffer: what identifies weights, however they travel."""
    return hashlib.sha256(data).digest()


def specs(layout: Layout) -> Iterable[tensors_pb2.TensorSpec]:
    return (
        tensors_pb2.TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape, role=_ROLES[spec.role])
        for spec in layout.specs
    )


def read_layout(items: Iterable[tensors_pb2.TensorSpec]) -> Layout:
    """Raises `BadMessage` on a dtype or a combination that no vector has."""
    try:
        said = tuple([(item.name, item.dtype, tuple(item.shape), _ROLES_BACK[item.role]) for item in items])
        return _known_layout(said) if len(said) <= MOST_KNOWN else _layout(said)
    except KeyError as error:
        raise BadMessage(f"tensors: a tensor of role {error} is unknown to this release") from None
    except ValueError as error:
        raise BadMessage(f"tensors: {error}") from None


def _layout(specs: _Specs) -> Layout:
    return Layout(tuple([TensorSpec(*spec) for spec in specs]))


_known_layout = lru_cache(maxsize=16)(_layout)
"""Messages of a run have one layout, and each of them says it."""


def inline(vector: NumpyVector) -> tensors_pb2.Tensors:
    """The vector with its bytes inside the message."""
    return enclosed(vector.layout, vector.pack())


def enclosed(layout: Layout, data: Bytes, compression: str = "") -> tensors_pb2.Tensors:
    """Tensors whose bytes, compressed where that is said, are inside the message."""
    return tensors_pb2.Tensors(layout=specs(layout), digest=digest(data), inline=bytes(data), compression=compression)


def referring(layout: Layout, ref: BlobRef, compression: str = "") -> tensors_pb2.Tensors:
    """Tensors whose bytes, compressed where that is said, lie in a blob."""
    return tensors_pb2.Tensors(layout=specs(layout), digest=ref.sha256, compression=compression, ref=write_ref(ref))


def blob_ref(tensors: tensors_pb2.Tensors) -> BlobRef | None:
    """Where the bulk lies, or None when it is inline."""
    if tensors.WhichOneof("data") != "ref":
        return None
    return read_ref(tensors.ref)


def write_ref(ref: BlobRef) -> tensors_pb2.BlobRef:
    return tensors_pb2.BlobRef(
        stream=ref.stream, bytes=ref.size, chunks=ref.chunks, sha256=ref.sha256, edition=ref.edition
    )


def read_ref(ref: tensors_pb2.BlobRef) -> BlobRef:
    return BlobRef(ref.stream, ref.bytes, ref.chunks, ref.sha256, ref.edition)


def tag(compression: Compression) -> str:
    """What tensors say of their compression."""
    return "" if compression.name == NONE.name else compression.name


def unpack(
    tensors: tensors_pb2.Tensors, data: Bytes, compression: Compression = NONE, *, into: Array | None = None
) -> NumpyVector:
    """The vector of `data`, over it and without a copy where it is not compressed.

    `into` is memory for the floats of compressed tensors, as many as their layout has. Raises `BadMessage` when layout
    and length do not fit, and for what is compressed otherwise.
    """
    check_compression(tensors, compression)
    layout = read_layout(tensors.layout)
    try:
        vector = compression.decode(layout, data) if into is None else compression.decode_into(into, layout, data)
        vector.arrays()  # raises for lengths that no array has, as in float32[0, 2**62], before somebody relies on them
    except ValueError as error:
        raise BadMessage(f"tensors: {error}") from None
    return vector


def read_inline(tensors: tensors_pb2.Tensors, compression: Compression = NONE) -> NumpyVector:
    """The vector inside a message. Raises `BadMessage` when layout, length or digest do not fit."""
    return unpack(tensors, inside(tensors), compression)


def inside(tensors: tensors_pb2.Tensors) -> bytes:
    """The bytes inside a message. Raises `BadMessage` for others than were announced."""
    if digest(tensors.inline) != tensors.digest:
        raise BadMessage("tensors: the bytes do not have the digest that came with them")
    return tensors.inline


def check_compression(tensors: tensors_pb2.Tensors, expected: Compression) -> None:
    """Raises `BadMessage` for tensors that are compressed otherwise."""
    found = tensors.compression or NONE.name
    if found != expected.name:
        raise BadMessage(f"tensors: they come with compression {found!r}, where {expected.name!r} was agreed on")


def parcel(tensors: tensors_pb2.Tensors) -> Parcel:
    return Parcel(tensors.digest, tensors.SerializeToString())


def open_parcel(parcel: Parcel) -> tensors_pb2.Tensors:
    """Raises `BadMessage` where a log holds something else."""
    try:
        return tensors_pb2.Tensors.FromString(parcel.payload)
    except DecodeError:
        raise BadMessage("a parcel in the run's log does not hold tensors") from None


def write_data_info(info: DataInfo) -> messages_pb2.DataInfo:
    message = messages_pb2.DataInfo(n_samples=info.n_samples, data_type=info.data_type)
    if info.n_features is not None:
        message.n_features = info.n_features
    if info.input_shape is not None:
        message.input_shape.extend(info.input_shape)
    if info.classes is not None:
        message.classes.strings.extend(label for label in info.classes if isinstance(label, str))
        message.classes.ints.extend(label for label in info.classes if not isinstance(label, str))
    return message


def read_data_info(message: messages_pb2.DataInfo) -> DataInfo:
    """Raises `BadMessage` for what no data can be."""
    classes: tuple[int | str, ...] = (*message.classes.ints, *message.classes.strings)
    try:
        return DataInfo(
            n_samples=message.n_samples,
            n_features=message.n_features if message.HasField("n_features") else None,
            input_shape=tuple(message.input_shape) or None,
            classes=classes if message.HasField("classes") else None,
            data_type=message.data_type if message.HasField("data_type") else None,
        )
    except DataError as error:
        raise BadMessage(f"data info: {error}") from None
