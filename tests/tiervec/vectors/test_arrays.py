from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiervec.errors import InvalidArgumentError
from tiervec.vectors.arrays import VECTOR_DTYPES, as_matrix, as_queries, check_finite, check_ids, require_vector_dtype


class OnlyDlpack:
    """What a foreign tensor library shows of an array."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class OnAnotherDevice(OnlyDlpack):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the array is\non device cuda:0")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)  # kDLCUDA


@pytest.mark.parametrize("dtype", VECTOR_DTYPES, ids=str)
def test_a_matrix_that_fits_is_not_copied(dtype: np.dtype[Any]) -> None:
    data = np.ones((3, 4), dtype)
    assert np.shares_memory(as_matrix(data), data)
    assert as_matrix(data).dtype == dtype


def test_another_layout_or_byte_order_is_copied_into_the_right_one() -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    for variant in (np.asfortranarray(data), np.repeat(data, 2, axis=1)[:, ::2], data.astype(">f4")):
        matrix = as_matrix(variant)
        assert matrix.flags.c_contiguous
        assert matrix.dtype == np.dtype("=f4")
        np.testing.assert_array_equal(matrix, data)


def test_an_unaligned_matrix_is_copied() -> None:
    raw = np.zeros(4 * 6 + 1, np.uint8)[1:].view(np.float32).reshape(2, 3)
    assert not raw.flags.aligned
    assert as_matrix(raw).flags.aligned


def test_float64_is_rounded_to_the_nearest_float32() -> None:
    data = np.array([[0.1, 1e-50], [np.nan, np.inf]])
    matrix = as_matrix(data)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.array([[np.float32(0.1), 0], [np.nan, np.inf]], np.float32))


def test_float64_beyond_float32_is_an_error_that_names_the_value() -> None:
    data = np.zeros((5, 3))
    data[3, 2] = 1e39
    with pytest.raises(InvalidArgumentError, match=r"base has 1e\+39 at row 3, column 2"):
        as_matrix(data, what="base")


@pytest.mark.parametrize("dtype", ["int64", "int16", "uint32", "bool", "complex64", "U3", "O", "longdouble"])
def test_other_dtypes_are_refused_by_name(dtype: str) -> None:
    data = np.zeros((2, 2), dtype)
    with pytest.raises(InvalidArgumentError, match=f"dtype {data.dtype}.*float32, float16, int8 or uint8"):
        as_matrix(data)


@pytest.mark.parametrize("shape", [(), (4,), (2, 2, 2), (0, 4), (4, 0), (0, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="data has the shape"):
        as_matrix(np.zeros(shape, np.float32))


def test_lists_of_numbers_become_float32() -> None:
    np.testing.assert_array_equal(as_matrix([[1, 2], (3, 4)]), np.array([[1, 2], [3, 4]], np.float32))
    assert as_matrix([[0.5], [1.5]]).dtype == np.float32
    assert as_matrix([np.zeros(2, np.uint8), np.ones(2, np.uint8)]).dtype == np.uint8


@pytest.mark.parametrize("data", [[[1, 2], [3]], [["a"]], [[True]], [[None]], [], [[]], [[1e39]]])
def test_lists_that_are_not_a_matrix_of_numbers_are_refused(data: object) -> None:
    with pytest.raises(InvalidArgumentError):
        as_matrix(data)


@pytest.mark.parametrize("data", [None, 3, "vectors.npy", {1: 2}, object(), b"ab"])
def test_what_is_no_array_is_refused_by_its_type(data: object) -> None:
    with pytest.raises(InvalidArgumentError, match=type(data).__name__):
        as_matrix(data)


def test_masked_values_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="masked"):
        as_matrix(np.ma.masked_invalid([[1.0, np.nan]]))


def test_dlpack_is_read_without_a_copy() -> None:
    data = np.ones((2, 3), np.float16)
    assert np.shares_memory(as_matrix(OnlyDlpack(data)), data)


def test_dlpack_on_another_device_is_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"a OnAnotherDevice. cannot be read .*the array is on device cuda:0"
    ):
        as_matrix(OnAnotherDevice(np.ones((2, 3), np.float32)))


def test_arrow_fixed_size_lists_are_read_without_a_copy_even_when_sliced() -> None:
    pa = pytest.importorskip("pyarrow")
    values = np.arange(12, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), 3)
    matrix = as_matrix(column.slice(1, 2))
    np.testing.assert_array_equal(matrix, values.reshape(4, 3)[1:3])
    assert np.shares_memory(matrix, values)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8"])
def test_arrow_lists_and_chunks_give_the_same_matrix(dtype: str) -> None:
    pa = pytest.importorskip("pyarrow")
    values = np.arange(12).astype(dtype).reshape(6, 2)
    expected = as_matrix(values)
    item = pa.from_numpy_dtype(np.dtype(dtype))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 2)
    variable = pa.array([list(row) for row in values], type=pa.list_(item))
    large = pa.array([list(row) for row in values], type=pa.large_list(item))
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(item, (2,)), fixed)
    for column in (fixed, variable, large, tensor):
        np.testing.assert_array_equal(as_matrix(column), expected)
        np.testing.assert_array_equal(as_matrix(column.slice(2)), expected[2:])
        chunked = pa.chunked_array([column.slice(0, 2), column.slice(2, 0), column.slice(2)])
        np.testing.assert_array_equal(as_matrix(chunked), expected)


def test_arrow_errors_name_the_row() -> None:
    pa = pytest.importorskip("pyarrow")
    cases = {
        "null at row 1;": pa.array([[1.0], None], type=pa.list_(pa.float32())),
        "null at row 1, column 1": pa.array([[1.0, 2.0], [1.0, None]], type=pa.list_(pa.float32(), 2)),
        "3 values in row 2, but 2": pa.array([[1, 2], [3, 4], [5, 6, 7]], type=pa.list_(pa.int8())),
        "2 values in a later chunk, but 1": pa.chunked_array([[[1]], [[1, 2]]], type=pa.list_(pa.int8())),
        "Arrow type list<item: string": pa.array([["a"]]),
        "Arrow type string": pa.array(["a"]),
        "dtype int64": pa.array([[1, 2]]),
        "dtype uint16": pa.array([[1, 2]], type=pa.list_(pa.uint16())),
        "no rows": pa.array([], type=pa.list_(pa.float32(), 2)),
        r"shape \(2,\)": pa.array([1.0, 2.0], type=pa.float32()),
        "Arrow table; pass one of its columns .a, b.": pa.table({"a": [1], "b": [2]}),
    }
    for message, column in cases.items():
        with pytest.raises(InvalidArgumentError, match=message):
            as_matrix(column)
    with pytest.raises(InvalidArgumentError, match="no rows"):
        as_matrix(pa.chunked_array([], type=pa.list_(pa.float32(), 2)))


def test_require_vector_dtype_names_what_is_right() -> None:
    assert require_vector_dtype(">f4") == np.dtype("float32")
    for wrong in ("int64", "float64", "no such thing"):
        with pytest.raises(InvalidArgumentError, match="float32, float16, int8 or uint8"):
            require_vector_dtype(wrong)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finite_names_the_first_bad_value(dtype: str, value: float) -> None:
    matrix = np.zeros((700, 5000), dtype)  # several blocks
    check_finite(matrix)
    matrix[650, 7] = matrix[651, 0] = value
    with pytest.raises(InvalidArgumentError, match=f"data has {value} at row 750, column 7"):
        check_finite(matrix, first_row=100)


def test_check_finite_needs_little_memory() -> None:
    matrix = np.zeros((40_000, 500), np.float32)
    tracemalloc.start()
    try:
        check_finite(matrix)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20 < matrix.nbytes / 8


def test_check_finite_passes_integers() -> None:
    check_finite(np.zeros((1, 1), np.int8))


def test_ids_are_returned_as_int64() -> None:
    ids = np.array([5, 2, 9], np.int64)
    assert np.shares_memory(check_ids(ids, 3), ids)
    for variant in (ids.astype(np.uint8), ids.astype(">i4"), [5, 2, 9], np.repeat(ids, 2)[::2]):
        checked = check_ids(variant, 3)
        assert checked.dtype == np.int64
        assert checked.flags.c_contiguous
        np.testing.assert_array_equal(checked, ids)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], r"shape \(2,\); it must be \(3,\)"),
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        ([1.0, 2.0, 3.0], "dtype float64; it must be int64"),
        ([True, False, True], "dtype bool"),
        (["a", "b", "c"], "dtype <U1"),
        ([4, -1, 2], "has -1 at row 1"),
        ([7, 3, 7], "has 7 at rows 0 and 2; ids must be unique"),
        ([1, 2, 2], "has 2 at rows 1 and 2"),
        (np.array([0, 2**63, 1], np.uint64), "9223372036854775808 at row 1"),
        (None, "NoneType"),
    ],
)
def test_bad_ids_are_refused(ids: object, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        check_ids(ids, 3)


def test_arrow_ids_are_accepted_without_nulls() -> None:
    pa = pytest.importorskip("pyarrow")
    np.testing.assert_array_equal(check_ids(pa.chunked_array([[3], [1]]), 2), [3, 1])
    with pytest.raises(InvalidArgumentError, match="1 nulls"):
        check_ids(pa.array([1, None]), 2)


@given(st.lists(st.integers(0, 40), max_size=30))
def test_ids_pass_exactly_when_they_are_unique(ids: list[int]) -> None:
    if len(set(ids)) == len(ids):
        assert check_ids(np.array(ids, np.int64), len(ids)).tolist() == ids
    else:
        with pytest.raises(InvalidArgumentError, match="unique"):
            check_ids(np.array(ids, np.int64), len(ids))


@pytest.mark.parametrize("index", ["float32", "float16"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_queries_of_a_float_index_become_float32(index: str, dtype: str) -> None:
    queries = as_queries(np.ones((2, 3), dtype), index, 3)
    assert queries.dtype == np.float32
    assert queries.flags.c_contiguous


def test_float32_queries_are_not_copied() -> None:
    queries = np.ones((2, 3), np.float32)
    assert np.shares_memory(as_queries(queries, "float32", 3), queries)


def test_one_vector_becomes_one_row() -> None:
    assert as_queries(np.ones(3, np.float32), "float32", 3).shape == (1, 3)
    assert as_queries([1, 2, 3], "float32", 3).dtype == np.float32
    assert as_queries([1, 2, 3], "int8", 3).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("index", ["int8", "uint8"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float32", "float64"])
def test_queries_of_an_integer_index_keep_their_values(index: str, dtype: str) -> None:
    queries = as_queries(np.array([[0, 1, 127]]).astype(dtype), index, 3)
    assert queries.dtype == np.dtype(index)
    assert queries.tolist() == [[0, 1, 127]]


@pytest.mark.parametrize(
    ("queries", "index", "message"),
    [
        (np.zeros((1, 4), np.float32), "float32", "queries has dim 4, but the index has dim 3"),
        (np.zeros(2, np.float32), "float32", "dim 2"),
        (np.zeros((0, 3), np.float32), "float32", "no rows"),
        (np.zeros((1, 1, 3), np.float32), "float32", "shape"),
        (np.float32(1), "float32", "shape"),
        (np.zeros((1, 3), np.int32), "float32", "dtype int32; an index of float32 takes"),
        (np.zeros((1, 3), bool), "uint8", "dtype bool; an index of uint8 takes integers"),
        (np.array([[0, np.nan, 0]], np.float32), "float32", "nan at row 0, column 1"),
        (np.array([[0, 0, np.inf]], np.float16), "int8", "inf at row 0, column 2"),
        (np.array([[1e300, 0, 0]]), "float16", "float32's range"),
        (
            np.array([[0.5, 0, 0]]),
            "uint8",
            "has 0.5 at row 0, column 0; an index of uint8 takes integers from 0 to 255",
        ),
        (np.array([[0, -1, 0]]), "uint8", "has -1 at row 0, column 1"),
        (np.array([[0, 0, 200]]), "int8", "from -128 to 127"),
        (np.array([[0, 0, 0], [2**64 - 1, 0, 0]], np.uint64), "int8", "at row 1, column 0"),
        ("title", "float32", "str"),
    ],
)
def test_queries_that_the_index_cannot_compare_are_refused(queries: object, index: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        as_queries(queries, index, 3)


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(name) for name in ("f8", "f4", "f2", "i8", "u8", "i1", "u1", ">f4", "?", "c8")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_gives_a_good_matrix_or_our_error(data: np.ndarray[Any, Any]) -> None:
    for dtype in ("float32", "uint8"):
        try:
            queries = as_queries(data, dtype, 3)
        except InvalidArgumentError:
            continue
        assert queries.shape[1] == 3
        assert np.isfinite(queries).all()
    try:
        matrix = as_matrix(data)
    except InvalidArgumentError:
        return
    assert matrix.shape == data.shape
    assert matrix.dtype in VECTOR_DTYPES
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, data.astype(matrix.dtype))
