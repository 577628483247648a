"""TierVec itself: its graph and its cluster index, and the graph that DiskANN built, on any tier.

Build parameters are those of `tiervec.build`; ``index = "DIR"`` takes an index that is there instead. DiskANN's graph
has those of `tiervec.import_diskann`. Search parameters are those of the kind of index, or ``target_recall``.
``fast_memory`` (a size) is fixed when the index is opened.

Tiers are URLs. ``tcp://loopback`` and ``rdma://loopback`` start a memory node in a process of its own on this machine,
publish the index there and read it from there. ``tcp://HOST:PORT`` publishes it to that node, where it stays until
somebody withdraws the region or the next run replaces it; ``tcp://HOST:PORT/REGION`` reads what somebody published.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiervec
from tiervec.arguments.sizes import parse_size
from tiervec.bench.disk import Disk
from tiervec.kinds.parameters import build_parameters_class
from tiervec.machine.environment import own_version
from tiervec.rdma.remote_url import is_remote

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiervec.bench.systems.child import Job, Vectors

_DISK_SECONDS = 0.2
_OF_AN_IMPORT = ("layout", "code", "code_bits")


class System:
    """See ``Measured`` in child.py."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open = contextlib.ExitStack()
        self._index: Any = None
        self._params: dict[str, Any] = {}
        self._target_recall: float | None = None
        self._disk: Disk | None = None
        if job.variant["kind"] == "diskann":
            job.parameters(job.build, dict.fromkeys(_OF_AN_IMPORT))

    def version(self) -> str:
        """Version and commit: another commit may build another index."""
        return own_version()

    def build(self, vectors: Vectors) -> None:
        """Builds from the file, as users do, or converts an index of the same graph or clusters, or imports one."""
        job, params = self._job, dict(self._job.build)
        target = job.folder / "index"
        if job.variant["kind"] == "diskann":
            assert job.source is not None
            tiervec.import_diskann(job.source / "ann", target, params=params, threads=job.threads, seed=job.seed)
            return
        if (given := params.pop("index", None)) is not None:
            if params:
                raise ValueError(f"index = {given!r} is built already; leave out {', '.join(params)}")
            target.symlink_to(Path(given).resolve(), target_is_directory=True)
            return
        if job.source is not None:
            wanted = build_parameters_class(job.variant["kind"])(**params)
            changes = {key: getattr(wanted, key) for key in job.conversion_keys}
            tiervec.relayout(job.source / "index", target, params=changes, threads=job.threads)
            return
        tiervec.build(
            vectors.path,
            target,
            kind=job.variant["kind"],
            metric=job.metric,
            params=params,
            threads=job.threads,
            seed=job.seed,
        )

    def open(self) -> Mapping[str, Any]:
        """Opens it on the tier."""
        job = self._job
        opening = job.parameters(job.opening, {"fast_memory": None})
        fast_memory = None if opening["fast_memory"] is None else parse_size(opening["fast_memory"])
        tier = self._tier(job.tier or "dram:")
        self._index = self._open.enter_context(
            tiervec.open(job.folder / "index", tier=tier, fast_memory=fast_memory, threads=job.threads)
        )
        if tier == "ssd:":
            self._disk = Disk(job.folder / "index", job.threads, _DISK_SECONDS)
        info = self._index.info
        return {"fast_bytes": info.fast_bytes, "tier_bytes": info.tier_bytes}

    def configure(self, k: int, params: Mapping[str, Any]) -> None:
        """Takes parameters, or a recall to aim at."""
        del k
        self._params = dict(params)
        self._target_recall = self._params.pop("target_recall", None)

    def prepare_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """As they are."""
        return queries

    def search(self, queries: NDArray[Any], k: int, threads: int) -> tuple[Any, Mapping[str, Any]]:
        """One call. The index has as many threads as the job, whatever `threads` says; one query takes one of them."""
        del threads
        ids, _, receipt = self._index.search(queries, k, target_recall=self._target_recall, params=self._params or None)
        bound = receipt.device_bound_qps
        return ids, {
            "reads": receipt.reads,
            "bytes_read": receipt.bytes_read,
            "rounds": receipt.rounds,
            "code_distances": receipt.code_distances,
            "device_s": None if bound is None else receipt.queries / bound,
            "latency_us": receipt.latency_us,
            "notes": receipt.notes,
        }

    def device_seconds(self, sums: Mapping[str, float]) -> float | None:
        """By the tier's profile; of a disk by what it gives right after the run, as its speed drifts."""
        if self._disk is None or not sums.get("reads"):
            return sums.get("device_s")
        return sums["reads"] / self._disk.reads_per_s(sums["bytes_read"] / sums["reads"])

    def close(self) -> None:
        """Closes the index and ends a memory node of its own."""
        self._open.close()

    def _tier(self, url: str) -> str:
        scheme, _, rest = url.partition("://")
        if not is_remote(url) or "/" in rest:
            return url
        from tiervec.bench.loopback import index_on_loopback, is_loopback
        from tiervec.placement.publish import publish

        folder = self._job.folder / "index"
        if is_loopback(url):
            return self._open.enter_context(index_on_loopback(folder, url))
        region = f"{scheme}://{rest}/bench-{self._job.folder.name}"
        publish(folder, region)
        return region
