"""Between the messages of tiervec.v1 and plain objects, both ways; the server and the client share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format, struct_pb2
from numpy.typing import NDArray

from tiervec.engine.receipt import Receipt
from tiervec.errors import InvalidArgumentError, TiervecError
from tiervec.service._generated import index_pb2, search_pb2, vectors_pb2
from tiervec.service.handlers import SearchCall

if TYPE_CHECKING:
    from tiervec._core import CancelToken
    from tiervec.api import SearchResult
    from tiervec.service.handlers import ServedIndex

__all__ = [
    "index_document",
    "index_message",
    "receipt_from_message",
    "result_arrays",
    "search_call",
    "search_response",
    "vectors_message",
]

_DTYPES: dict[vectors_pb2.DType, str] = {
    vectors_pb2.DTYPE_FLOAT32: "float32",
    vectors_pb2.DTYPE_FLOAT16: "float16",
    vectors_pb2.DTYPE_INT8: "int8",
    vectors_pb2.DTYPE_UINT8: "uint8",
}
_DTYPE_NUMBERS = {name: number for number, name in _DTYPES.items()}

_COUNTERS = (
    "queries",
    "k",
    "threads",
    "tier",
    "emulated",
    "reads",
    "bytes_read",
    "rounds",
    "code_distances",
    "hot_records",
    "cpu_us",
    "waiting_us",
    "wall_us",
)
_DEVICE = ("latency_us", "reads_per_s", "bytes_per_s", "block_bytes", "emulated", "knee_bytes", "source")
_SECTION = ("name", "file", "placement", "bytes", "checksum")
_INFO = (
    "format_version",
    "kind",
    "metric",
    "dim",
    "vectors",
    "dataset_bytes",
    "tier_bytes",
    "fast_bytes",
    "amplification",
    "fast_bytes_per_vector",
)


def search_call(
    message: search_pb2.SearchRequest, time_left_s: float | None, cancel: CancelToken | None = None
) -> SearchCall:
    """Reads a request.

    Raises:
        InvalidArgumentError: The dtype is missing or unknown.
    """
    if message.queries.dtype not in _DTYPES:
        raise InvalidArgumentError(
            f"queries have the dtype number {message.queries.dtype}; it must be one of "
            + ", ".join(f"{number} ({name})" for number, name in _DTYPES.items())
        )
    return SearchCall(
        index=message.index,
        dtype=_DTYPES[message.queries.dtype],
        dim=message.queries.dim,
        data=message.queries.data,
        k=message.k,
        target_recall=message.target_recall if message.HasField("target_recall") else None,
        params=dict(message.params),
        time_left_s=time_left_s,
        cancel=cancel,
    )


def search_response(result: SearchResult) -> search_pb2.SearchResponse:
    """Writes a response."""
    return search_pb2.SearchResponse(
        ids=np.ascontiguousarray(result.ids, dtype="<i8").tobytes(),
        distances=np.ascontiguousarray(result.distances, dtype="<f4").tobytes(),
        receipt=_receipt_message(result.receipt),
    )


def vectors_message(vectors: NDArray[Any]) -> vectors_pb2.Vectors:
    """Writes a matrix of one of the four dtypes, shape (rows, dim)."""
    return vectors_pb2.Vectors(
        dtype=_DTYPE_NUMBERS[vectors.dtype.name],
        dim=vectors.shape[1],
        data=np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<")).tobytes(),
    )


def result_arrays(
    message: search_pb2.SearchResponse, queries: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Reads ids and distances, each of shape (queries, k).

    Raises:
        TiervecError: The response does not have that shape, which is a bug of the server.
    """
    if len(message.ids) != queries * k * 8 or len(message.distances) != queries * k * 4:
        raise TiervecError(
            f"the server answered {len(message.ids)} bytes of ids and {len(message.distances)} of distances "
            f"to {queries} queries with k={k}"
        )
    ids = np.frombuffer(message.ids, dtype="<i8").astype(np.int64).reshape(queries, k)
    return ids, np.frombuffer(message.distances, dtype="<f4").astype(np.float32).reshape(queries, k)


def receipt_from_message(message: search_pb2.Receipt) -> Receipt:
    """Reads a receipt."""
    return Receipt(
        **{name: getattr(message, name) for name in _COUNTERS},
        params=dict(sorted(_from_json(message.params).items())),
        latency_us=np.array(message.latency_us, dtype=np.float32),
        device=_device_from_message(message.device) if message.HasField("device") else None,
        expected_recall=message.expected_recall if message.HasField("expected_recall") else None,
        notes=tuple(message.notes),
    )


def index_message(served: ServedIndex) -> index_pb2.Index:
    """Writes the description of an index."""
    document = served.info.as_dict()
    return index_pb2.Index(
        name=served.name,
        tier=served.tier,
        emulated=served.emulated,
        dtype=_DTYPE_NUMBERS[document["dtype"]],
        **{name: document[name] for name in _INFO},
        sections=[index_pb2.Section(**section) for section in document["sections"]],
        params=_to_struct(document["params"]),
        calibration=None if document["calibration"] is None else _to_struct(document["calibration"]),
        details=_to_struct(document["details"]),
    )


def index_document(message: index_pb2.Index) -> dict[str, Any]:
    """Reads the description of an index: ``name``, ``tier``, ``emulated`` and the keys of ``tiervec info --json``."""
    return {
        "name": message.name,
        "tier": message.tier,
        "emulated": message.emulated,
        **{name: getattr(message, name) for name in _INFO},
        "dtype": _DTYPES[message.dtype],
        "sections": [{name: getattr(section, name) for name in _SECTION} for section in message.sections],
        "params": _from_json(message.params),
        "calibration": _from_json(message.calibration) if message.HasField("calibration") else None,
        "details": _from_json(message.details),
    }


def _receipt_message(receipt: Receipt) -> search_pb2.Receipt:
    params = struct_pb2.Struct()
    params.update(receipt.params)  # a quarter of the time of `_to_struct`, in every call
    return search_pb2.Receipt(
        **{name: getattr(receipt, name) for name in _COUNTERS},
        params=params,
        latency_us=receipt.latency_us.tolist(),
        device=None if receipt.device is None else _device_message(receipt.device),
        expected_recall=receipt.expected_recall,
        notes=receipt.notes,
    )


def _device_message(device: Mapping[str, Any]) -> search_pb2.DeviceProfile:
    return search_pb2.DeviceProfile(
        **{name: device[name] for name in _DEVICE},
        service=[search_pb2.ServicePoint(bytes=size, ns=ns) for size, ns in device["service"]],
    )


def _device_from_message(message: search_pb2.DeviceProfile) -> dict[str, Any]:
    return {
        **{name: getattr(message, name) for name in _DEVICE},
        "service": [(point.bytes, point.ns) for point in message.service],
    }


def _to_struct(document: Mapping[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(dict(document), struct_pb2.Struct())


def _from_json(message: struct_pb2.Struct) -> Any:
    """A Struct as Python objects; JSON has one number type, so whole numbers come back as int."""
    return _whole_as_int(json_format.MessageToDict(message))


def _whole_as_int(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole_as_int(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_as_int(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
