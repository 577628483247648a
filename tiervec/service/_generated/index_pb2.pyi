from google.protobuf import struct_pb2 as _struct_pb2
from tiervec.service._generated import vectors_pb2 as _vectors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListIndexesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListIndexesResponse(_message.Message):
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    def __init__(self, indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ...) -> None: ...

class GetIndexRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("name", "tier", "emulated", "format_version", "kind", "metric", "dtype", "dim", "vectors", "dataset_bytes", "tier_bytes", "fast_bytes", "amplification", "fast_bytes_per_vector", "sections", "params", "calibration", "details")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    DATASET_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIER_BYTES_FIELD_NUMBER: _ClassVar[int]
    FAST_BYTES_FIELD_NUMBER: _ClassVar[int]
    AMPLIFICATION_FIELD_NUMBER: _ClassVar[int]
    FAST_BYTES_PER_VECTOR_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    name: str
    tier: str
    emulated: bool
    format_version: int
    kind: str
    metric: str
    dtype: _vectors_pb2.DType
    dim: int
    vectors: int
    dataset_bytes: int
    tier_bytes: int
    fast_bytes: int
    amplification: float
    fast_bytes_per_vector: float
    sections: _containers.RepeatedCompositeFieldContainer[Section]
    params: _struct_pb2.Struct
    calibration: _struct_pb2.Struct
    details: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., tier: _Optional[str] = ..., emulated: bool = ..., format_version: _Optional[int] = ..., kind: _Optional[str] = ..., metric: _Optional[str] = ..., dtype: _Optional[_Union[_vectors_pb2.DType, str]] = ..., dim: _Optional[int] = ..., vectors: _Optional[int] = ..., dataset_bytes: _Optional[int] = ..., tier_bytes: _Optional[int] = ..., fast_bytes: _Optional[int] = ..., amplification: _Optional[float] = ..., fast_bytes_per_vector: _Optional[float] = ..., sections: _Optional[_Iterable[_Union[Section, _Mapping]]] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., calibration: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., details: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Section(_message.Message):
    __slots__ = ("name", "file", "placement", "bytes", "checksum")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    name: str
    file: str
    placement: str
    bytes: int
    checksum: str
    def __init__(self, name: _Optional[str] = ..., file: _Optional[str] = ..., placement: _Optional[str] = ..., bytes: _Optional[int] = ..., checksum: _Optional[str] = ...) -> None: ...
