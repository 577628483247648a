from __future__ import annotations

import pytest

from tiervec import _core
from tiervec.errors import InvalidArgumentError, UnavailableError


def attachment(**changes: object) -> _core.Attachment:
    fields: dict[str, object] = {
        "transport": "tcp",
        "host": "127.0.0.1",
        "port": 1,
        "region_id": 3,
        "size_bytes": 4096,
        "token": bytes(range(16)),
    }
    return _core.Attachment(**(fields | changes))  # type: ignore[arg-type]


def test_an_attachment_shows_all_but_its_secret() -> None:
    made = attachment(token=b"s" * 16)
    assert (made.transport, made.host, made.port, made.region_id, made.size_bytes) == ("tcp", "127.0.0.1", 1, 3, 4096)
    assert repr(made) == "<Attachment of region 3, 4096 bytes, at tcp://127.0.0.1:1>"
    assert not hasattr(made, "token")


def test_bad_arguments() -> None:
    with pytest.raises(InvalidArgumentError, match="an attach token has 16 bytes, got 3"):
        attachment(token=b"abc")
    with pytest.raises(InvalidArgumentError, match="unknown transport 'telex'; known are tcp"):
        _core.open_remote_tier("tcp://127.0.0.1:1/region", [[attachment(transport="telex")]])
    with pytest.raises(InvalidArgumentError):
        _core.open_remote_tier("tcp://127.0.0.1:1/region", [])
    with pytest.raises(InvalidArgumentError):
        _core.open_remote_tier("tcp://127.0.0.1:1/region", [[]])
    with pytest.raises(TypeError):
        attachment(port=70000)


def test_nobody_there() -> None:
    with pytest.raises(UnavailableError):  # nothing listens on port 1
        _core.open_remote_tier("tcp://127.0.0.1:1/region", [[attachment()]])
    with pytest.raises(UnavailableError):
        _core.open_remote_tier("tcp://127.0.0.1:1,127.0.0.1:2/region", [[attachment()], [attachment(port=2)]])
