from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tiervec import errors
from tiervec.rpc.status_codes import STATUS_CODES, error_class, status_code


def all_errors(base: type[errors.TiervecError] = errors.TiervecError) -> Iterator[type[errors.TiervecError]]:
    yield base
    for subclass in base.__subclasses__():
        yield from all_errors(subclass)


def test_every_error_has_its_own_code() -> None:
    ours = [error for error in all_errors() if error.__module__ == "tiervec.errors"]
    assert set(STATUS_CODES) == set(ours) - {errors.DiskFullError}
    assert len(set(STATUS_CODES.values())) == len(STATUS_CODES)


@pytest.mark.parametrize("error", list(STATUS_CODES))
def test_there_and_back(error: type[errors.TiervecError]) -> None:
    assert error_class(status_code(error("text"))) is error


def test_a_subclass_has_its_parents_code() -> None:
    class Special(errors.DataLossError):
        pass

    assert status_code(Special("text")) is grpc.StatusCode.DATA_LOSS
    assert status_code(errors.DiskFullError("text")) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_codes_we_never_send() -> None:
    assert error_class(grpc.StatusCode.UNAUTHENTICATED) is errors.TiervecError
