from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REGION_STATE_UNSPECIFIED: _ClassVar[RegionState]
    REGION_STATE_RECEIVING: _ClassVar[RegionState]
    REGION_STATE_LOADING: _ClassVar[RegionState]
    REGION_STATE_READY: _ClassVar[RegionState]
    REGION_STATE_DAMAGED: _ClassVar[RegionState]
REGION_STATE_UNSPECIFIED: RegionState
REGION_STATE_RECEIVING: RegionState
REGION_STATE_LOADING: RegionState
REGION_STATE_READY: RegionState
REGION_STATE_DAMAGED: RegionState

class DescribeNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Node(_message.Message):
    __slots__ = ("protocol", "version", "capacity_bytes", "used_bytes", "transports", "extent_bytes", "persistent")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    EXTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PERSISTENT_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    capacity_bytes: int
    used_bytes: int
    transports: _containers.RepeatedScalarFieldContainer[str]
    extent_bytes: int
    persistent: bool
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., capacity_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., transports: _Optional[_Iterable[str]] = ..., extent_bytes: _Optional[int] = ..., persistent: bool = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("name", "version", "state", "size_bytes", "current", "extents_present", "extents", "checksum", "sealed_at_s", "extent_checksums", "present", "locked", "damage")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    EXTENTS_PRESENT_FIELD_NUMBER: _ClassVar[int]
    EXTENTS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    SEALED_AT_S_FIELD_NUMBER: _ClassVar[int]
    EXTENT_CHECKSUMS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    LOCKED_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    state: RegionState
    size_bytes: int
    current: bool
    extents_present: int
    extents: int
    checksum: int
    sealed_at_s: float
    extent_checksums: _containers.RepeatedScalarFieldContainer[int]
    present: bytes
    locked: bool
    damage: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[_Union[RegionState, str]] = ..., size_bytes: _Optional[int] = ..., current: bool = ..., extents_present: _Optional[int] = ..., extents: _Optional[int] = ..., checksum: _Optional[int] = ..., sealed_at_s: _Optional[float] = ..., extent_checksums: _Optional[_Iterable[int]] = ..., present: _Optional[bytes] = ..., locked: bool = ..., damage: _Optional[str] = ...) -> None: ...

class CreateRegionRequest(_message.Message):
    __slots__ = ("name", "version", "size_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    size_bytes: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("name", "version", "extent", "checksum", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    extent: int
    checksum: int
    data: bytes
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., extent: _Optional[int] = ..., checksum: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ("extents",)
    EXTENTS_FIELD_NUMBER: _ClassVar[int]
    extents: int
    def __init__(self, extents: _Optional[int] = ...) -> None: ...

class LoadRegionRequest(_message.Message):
    __slots__ = ("name", "version", "path", "checksum")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    path: str
    checksum: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., path: _Optional[str] = ..., checksum: _Optional[str] = ...) -> None: ...

class SealRegionRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class SwitchRegionRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetRegionRequest(_message.Message):
    __slots__ = ("name", "version", "with_extents")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WITH_EXTENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    with_extents: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., with_extents: bool = ...) -> None: ...

class ListRegionsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListRegionsResponse(_message.Message):
    __slots__ = ("regions",)
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    def __init__(self, regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ...) -> None: ...

class DeleteRegionRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class DeleteRegionResponse(_message.Message):
    __slots__ = ("freed_bytes",)
    FREED_BYTES_FIELD_NUMBER: _ClassVar[int]
    freed_bytes: int
    def __init__(self, freed_bytes: _Optional[int] = ...) -> None: ...

class AttachRegionRequest(_message.Message):
    __slots__ = ("name", "version", "transport")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    transport: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., transport: _Optional[str] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("version", "transport", "host", "port", "region_id", "size_bytes", "token", "remote_address", "remote_key", "checksum")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    REGION_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_KEY_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    version: str
    transport: str
    host: str
    port: int
    region_id: int
    size_bytes: int
    token: bytes
    remote_address: int
    remote_key: int
    checksum: int
    def __init__(self, version: _Optional[str] = ..., transport: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., region_id: _Optional[int] = ..., size_bytes: _Optional[int] = ..., token: _Optional[bytes] = ..., remote_address: _Optional[int] = ..., remote_key: _Optional[int] = ..., checksum: _Optional[int] = ...) -> None: ...

class NodeStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeStats(_message.Message):
    __slots__ = ("capacity_bytes", "used_bytes", "regions", "damaged_regions", "locked_bytes", "uptime_s", "cpu_s", "uploaded_extents", "refused_extents", "attaches", "refused_calls", "scrub", "data_planes")
    CAPACITY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_REGIONS_FIELD_NUMBER: _ClassVar[int]
    LOCKED_BYTES_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_EXTENTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_EXTENTS_FIELD_NUMBER: _ClassVar[int]
    ATTACHES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_CALLS_FIELD_NUMBER: _ClassVar[int]
    SCRUB_FIELD_NUMBER: _ClassVar[int]
    DATA_PLANES_FIELD_NUMBER: _ClassVar[int]
    capacity_bytes: int
    used_bytes: int
    regions: int
    damaged_regions: int
    locked_bytes: int
    uptime_s: float
    cpu_s: float
    uploaded_extents: int
    refused_extents: int
    attaches: int
    refused_calls: int
    scrub: Scrub
    data_planes: _containers.RepeatedCompositeFieldContainer[DataPlane]
    def __init__(self, capacity_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., regions: _Optional[int] = ..., damaged_regions: _Optional[int] = ..., locked_bytes: _Optional[int] = ..., uptime_s: _Optional[float] = ..., cpu_s: _Optional[float] = ..., uploaded_extents: _Optional[int] = ..., refused_extents: _Optional[int] = ..., attaches: _Optional[int] = ..., refused_calls: _Optional[int] = ..., scrub: _Optional[_Union[Scrub, _Mapping]] = ..., data_planes: _Optional[_Iterable[_Union[DataPlane, _Mapping]]] = ...) -> None: ...

class Scrub(_message.Message):
    __slots__ = ("bytes_per_s", "extents_verified", "passes", "extents_damaged", "extents_repaired")
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    EXTENTS_VERIFIED_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    EXTENTS_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    EXTENTS_REPAIRED_FIELD_NUMBER: _ClassVar[int]
    bytes_per_s: int
    extents_verified: int
    passes: int
    extents_damaged: int
    extents_repaired: int
    def __init__(self, bytes_per_s: _Optional[int] = ..., extents_verified: _Optional[int] = ..., passes: _Optional[int] = ..., extents_damaged: _Optional[int] = ..., extents_repaired: _Optional[int] = ...) -> None: ...

class DataPlane(_message.Message):
    __slots__ = ("transport", "port", "counters")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    transport: str
    port: int
    counters: _containers.ScalarMap[str, float]
    def __init__(self, transport: _Optional[str] = ..., port: _Optional[int] = ..., counters: _Optional[_Mapping[str, float]] = ...) -> None: ...
