"""The client of the gRPC service."""

from tiervec.client.client import Client

__all__ = ["Client"]
