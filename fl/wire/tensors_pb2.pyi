from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAINABLE: _ClassVar[Role]
    BUFFER: _ClassVar[Role]
    FIXED: _ClassVar[Role]
TRAINABLE: Role
BUFFER: Role
FIXED: Role

class TensorSpec(_message.Message):
    __slots__ = ("name", "dtype", "shape", "scale", "role")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    scale: float
    role: Role
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., scale: _Optional[float] = ..., role: _Optional[_Union[Role, str]] = ...) -> None: ...

class BlobRef(_message.Message):
    __slots__ = ("stream", "bytes", "chunks", "sha256", "edition")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    EDITION_FIELD_NUMBER: _ClassVar[int]
    stream: str
    bytes: int
    chunks: int
    sha256: bytes
    edition: int
    def __init__(self, stream: _Optional[str] = ..., bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., sha256: _Optional[bytes] = ..., edition: _Optional[int] = ...) -> None: ...

class Tensors(_message.Message):
    __slots__ = ("layout", "digest", "inline", "ref", "compression")
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    layout: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    digest: bytes
    inline: bytes
    ref: BlobRef
    compression: str
    def __init__(self, layout: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., digest: _Optional[bytes] = ..., inline: _Optional[bytes] = ..., ref: _Optional[_Union[BlobRef, _Mapping]] = ..., compression: _Optional[str] = ...) -> None: ...
