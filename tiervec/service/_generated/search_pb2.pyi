from google.protobuf import struct_pb2 as _struct_pb2
from tiervec.service._generated import vectors_pb2 as _vectors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SearchRequest(_message.Message):
    __slots__ = ("index", "queries", "k", "target_recall", "params")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    TARGET_RECALL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    index: str
    queries: _vectors_pb2.Vectors
    k: int
    target_recall: float
    params: _containers.ScalarMap[str, str]
    def __init__(self, index: _Optional[str] = ..., queries: _Optional[_Union[_vectors_pb2.Vectors, _Mapping]] = ..., k: _Optional[int] = ..., target_recall: _Optional[float] = ..., params: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("ids", "distances", "receipt")
    IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    ids: bytes
    distances: bytes
    receipt: Receipt
    def __init__(self, ids: _Optional[bytes] = ..., distances: _Optional[bytes] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("queries", "k", "threads", "params", "tier", "emulated", "reads", "bytes_read", "rounds", "code_distances", "cpu_us", "wall_us", "latency_us", "device", "notes", "hot_records", "waiting_us", "expected_recall")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    CODE_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    CPU_US_FIELD_NUMBER: _ClassVar[int]
    WALL_US_FIELD_NUMBER: _ClassVar[int]
    LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    HOT_RECORDS_FIELD_NUMBER: _ClassVar[int]
    WAITING_US_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_RECALL_FIELD_NUMBER: _ClassVar[int]
    queries: int
    k: int
    threads: int
    params: _struct_pb2.Struct
    tier: str
    emulated: bool
    reads: int
    bytes_read: int
    rounds: int
    code_distances: int
    cpu_us: float
    wall_us: float
    latency_us: _containers.RepeatedScalarFieldContainer[float]
    device: DeviceProfile
    notes: _containers.RepeatedScalarFieldContainer[str]
    hot_records: int
    waiting_us: float
    expected_recall: float
    def __init__(self, queries: _Optional[int] = ..., k: _Optional[int] = ..., threads: _Optional[int] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tier: _Optional[str] = ..., emulated: bool = ..., reads: _Optional[int] = ..., bytes_read: _Optional[int] = ..., rounds: _Optional[int] = ..., code_distances: _Optional[int] = ..., cpu_us: _Optional[float] = ..., wall_us: _Optional[float] = ..., latency_us: _Optional[_Iterable[float]] = ..., device: _Optional[_Union[DeviceProfile, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ..., hot_records: _Optional[int] = ..., waiting_us: _Optional[float] = ..., expected_recall: _Optional[float] = ...) -> None: ...

class DeviceProfile(_message.Message):
    __slots__ = ("latency_us", "reads_per_s", "bytes_per_s", "block_bytes", "emulated", "knee_bytes", "source", "service")
    LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    READS_PER_S_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    KNEE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    latency_us: float
    reads_per_s: float
    bytes_per_s: float
    block_bytes: int
    emulated: bool
    knee_bytes: float
    source: str
    service: _containers.RepeatedCompositeFieldContainer[ServicePoint]
    def __init__(self, latency_us: _Optional[float] = ..., reads_per_s: _Optional[float] = ..., bytes_per_s: _Optional[float] = ..., block_bytes: _Optional[int] = ..., emulated: bool = ..., knee_bytes: _Optional[float] = ..., source: _Optional[str] = ..., service: _Optional[_Iterable[_Union[ServicePoint, _Mapping]]] = ...) -> None: ...

class ServicePoint(_message.Message):
    __slots__ = ("bytes", "ns")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    NS_FIELD_NUMBER: _ClassVar[int]
    bytes: float
    ns: float
    def __init__(self, bytes: _Optional[float] = ..., ns: _Optional[float] = ...) -> None: ...
