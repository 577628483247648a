from __future__ import annotations

from typing import Any

import pytest

from tiervec.errors import InvalidArgumentError
from tiervec.rdma.memory_node.configuration import MemoryNodeConfig
from tiervec.rpc.tokens import Tokens


def config(**settings: Any) -> MemoryNodeConfig:
    return MemoryNodeConfig(**{"listen": "127.0.0.1:0", "capacity_bytes": 1 << 20, **settings})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "7800"}, "must be HOST:PORT"),
        ({"capacity_bytes": 0}, "capacity_bytes is 0"),
        ({"transports": ("tcp", "ftp")}, "transports has 'ftp', which is unknown; known are tcp, rdma"),
        ({"transports": ("tcp", "tcp")}, "each once"),
        ({"transports": ()}, "name one or both"),
        ({"data_port": 70000}, "data_port is 70000; it must be an integer from 0 to 65535"),
        ({"data_threads": 0}, "data_threads is 0"),
        ({"lock_memory": "maybe"}, "lock_memory is 'maybe'"),
        ({"client_ca": "ca.pem"}, "needs a certificate and a key"),
        ({"scrub_bytes_per_s": -1}, "scrub_bytes_per_s is -1; it must be an integer from 0"),
    ],
)
def test_refusals(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        config(**settings)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.7:0", "node7:0"])
def test_without_tokens_only_this_machine_may_connect(listen: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give --token-file, or --allow-anonymous"):
        config(listen=listen)
    with pytest.raises(InvalidArgumentError, match="--allow-anonymous"):
        config(data_host=listen.rpartition(":")[0])
    config(listen=listen, tokens=Tokens(write="a-long-enough-token"))
    config(listen=listen, allow_anonymous=True)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1.2.3:0", "[::1]:0", "localhost:0"])
def test_loopback(listen: str) -> None:
    assert config(listen=listen).is_loopback


@pytest.mark.parametrize(
    ("data_host", "bare", "advertised"),
    [(None, "127.0.0.1", ""), ("0.0.0.0", "0.0.0.0", ""), ("[::]", "::", ""), ("10.0.0.1", "10.0.0.1", "10.0.0.1")],
)
def test_what_readers_are_told(data_host: str | None, bare: str, advertised: str) -> None:
    made = config(data_host=data_host, allow_anonymous=True)
    assert (made.bare_data_host, made.advertised_host) == (bare, advertised)
