"""Second-tier memory: the tiers that hold the big part of an index, and what they can do.

Reads happen in C++ (``rdma/include/tiervec/rdma``); Python opens tiers and measures them (`tiervec.rdma.profile`).
"""

from __future__ import annotations

__all__: list[str] = []
