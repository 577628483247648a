"""Whatever the fields of a search hold, the answer is a result of the right shape or one of the promised errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiervec.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from tiervec.service import wire
from tiervec.service._generated import search_pb2, vectors_pb2
from tiervec.service.admission import Admission
from tiervec.service.catalogue import IndexCatalogue
from tiervec.service.configuration import Limits
from tiervec.service.handlers import SearchHandler

requests = st.builds(
    search_pb2.SearchRequest,
    index=st.sampled_from(["fake", "fake", "fake", ""]) | st.text(max_size=5),
    queries=st.builds(
        vectors_pb2.Vectors,
        dtype=st.sampled_from([1, 1, 1, 0, 2, 3, 4, 9]),
        dim=st.sampled_from([8, 8, 8, 0, 1, 7, 2**32 - 1]),
        data=st.binary(max_size=200) | st.integers(0, 8).map(lambda rows: np.ones((rows, 8), "<f4").tobytes()),
    ),
    k=st.integers(0, 12) | st.sampled_from([1000, 1001, 2**32 - 1]),
    target_recall=st.none() | st.floats(),
    params=st.dictionaries(
        st.sampled_from(["search_list", "beam_width", "pipeline"]) | st.text(max_size=4),
        st.integers().map(str) | st.text(max_size=6),
        max_size=2,
    ),
)


@given(message=requests)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_search_message(message: search_pb2.SearchRequest, fake_index: Any) -> None:
    limits = Limits(max_batch_queries=6)
    handler = SearchHandler(IndexCatalogue({"fake": fake_index}), limits, Admission(1, 1))
    refusal: Exception | None = None
    try:
        result = handler.search(wire.search_call(message, 10.0))
    except (InvalidArgumentError, NotFoundError, ResourceExhaustedError) as error:
        refusal = error
    if refusal is not None:
        assert str(refusal)
        assert "\n" not in str(refusal)
        return
    queries = len(message.queries.data) // (8 * {1: 4, 2: 2}[message.queries.dtype])
    ids, distances = wire.result_arrays(wire.search_response(result), queries, message.k)
    assert ids.shape == distances.shape == (queries, message.k)


@given(data=st.binary(max_size=64))
def test_any_bytes_as_a_request_or_response(data: bytes) -> None:
    for kind in (search_pb2.SearchRequest, search_pb2.SearchResponse):
        try:
            message: Any = kind.FromString(data)
        except DecodeError:  # gRPC answers that itself
            continue
        if kind is search_pb2.SearchRequest:
            try:
                call = wire.search_call(message, None)
            except InvalidArgumentError:
                assert message.queries.dtype not in wire._DTYPES
                continue
            assert (call.index, call.k, call.data) == (message.index, message.k, message.queries.data)


def test_a_response_of_the_wrong_size_is_a_bug_of_the_server() -> None:
    from tiervec.errors import TiervecError

    with pytest.raises(TiervecError, match="answered 8 bytes of ids"):
        wire.result_arrays(search_pb2.SearchResponse(ids=b"\0" * 8, distances=b""), 1, 1)
