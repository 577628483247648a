"""Native part of TierVec; use the tiervec package instead."""

from collections.abc import Sequence
import os
from typing import Annotated, Any

import numpy
import numpy.typing
from numpy.typing import NDArray


def errno_code(number: int) -> str:
    """The code of the error that a failed system call becomes."""

def startable_threads(wanted: int) -> int:
    """
    How many of so many threads, the caller's included, the system lets run at once: for libraries that end the process when they get fewer than they ask for.
    """

def set_leak_warnings(wanted: bool) -> None:
    """
    Whether objects that are alive at the end of the interpreter are reported on stderr.
    """

def build_info() -> dict[str, object]:
    """
    How this extension was built: version, compiler, build_type, architecture, features.
    """

def resolve_threads(threads: int) -> int:
    """
    0 becomes the lesser of the CPUs this process may run on and its CPU quota, rounded up.
    """

def cpu_limit(root: str = '/') -> dict[str, Any]:
    """
    CPUs for this process: threads (what 0 becomes), allowed_cpus (by affinity), quota_cpus (0: none), quota_source.
    """

def available_memory_bytes() -> int:
    """
    Bytes this process can still use without swapping, by the kernel's estimate and its control groups.
    """

def available_memory(root: str = '/') -> dict[str, Any]:
    """
    The same with the file that sets the limit: bytes, source (empty: nothing is known).
    """

class Tier:
    """A region of bytes on a tier; made by open_tier."""

    @property
    def url(self) -> str:
        """The URL it was opened by."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the region."""

    @property
    def emulated(self) -> bool:
        """
        True when a model of a device answers: every figure from it is an emulated one.
        """

    @property
    def verified_at_open(self) -> bool:
        """True when the bytes cannot change under a reader any more."""

    @property
    def loaded_bytes(self) -> numpy.typing.NDArray[numpy.uint8]:
        """
        The region where it was loaded to, not copied; empty unless verified_at_open.
        """

    @property
    def profile(self) -> dict[str, object]:
        """
        What the device can do: latency_us, reads_per_s, bytes_per_s, block_bytes, knee_bytes, emulated, source (nominal, published, given, measured), note (a sentence or empty), service (list of (bytes, ns a read occupies it)).
        """

    @property
    def note(self) -> str:
        """
        The note of the profile: what the tier cannot do as asked, a sentence or empty.
        """

    @property
    def counters(self) -> dict[str, int]:
        """
        What its queues did since it was opened, for example reads and doorbells; empty for a tier that does not count.
        """

    def device_bound_qps(self, reads_per_query: float, bytes_per_query: float) -> float:
        """
        Queries/s at which the device is busy all the time; inf when a query reads nothing.
        """

    def fraction_of_limit(self, qps: float, reads_per_query: float, bytes_per_query: float) -> float:
        """Share of the device's time that such queries take."""

    @property
    def reads_in_flight(self) -> int:
        """Reads that keep the device busy: reads/s times latency."""

    def service_ns(self, read_bytes: float) -> float:
        """
        Nanoseconds that a read of this size occupies the device, by its profile.
        """

    def measure_latency_ns(self, read_bytes: int, reads: int, seed: int) -> numpy.typing.NDArray[numpy.float64]:
        """Times of single reads in nanoseconds, ascending."""

    def measure_reads_per_s(self, read_bytes: int, threads: int, reads_in_flight: int, seconds: float, seed: int, patience_s: float = 1.0) -> float:
        """
        Reads/s of all threads together, `reads_in_flight` for each thread. While none is back the run goes on, for `patience_s` at most; 0 then.
        """

    @property
    def replicas(self) -> int:
        """Copies of the region that answer different attempts of a read."""

    def read(self, offset: int, length: int, attempt: int = 0) -> bytes:
        """
        A copy of bytes of the region, for checks; of another replica at each attempt.
        """

class DaxTier(Tier):
    """A region of a dax: place; made by attach_dax and load_dax."""

    @property
    def bytes(self) -> numpy.typing.NDArray[numpy.uint8]:
        """The region itself, read-only."""

    def complete(self, checksum: int, name: str) -> None:
        """
        Marks a loaded region complete, so that attach_dax finds it. `name` is for people.
        """

def attach_dax(url: str, size_bytes: int, checksum: int) -> DaxTier | None:
    """
    The complete region of that size and XXH3 at a dax: place, without reading it; None when the place is free.
    """

def load_dax(url: str, path: str | os.PathLike[str]) -> DaxTier:
    """
    Copies the file `path` to a free dax: place. Not complete before DaxTier.complete.
    """

def numa_nodes() -> list[dict[str, Any]]:
    """
    NUMA nodes of this machine: id, cpus, total_bytes, available_bytes, distances (to each node of the list); empty without NUMA support.
    """

def dax_devices() -> list[dict[str, Any]]:
    """
    DAX devices of this machine: name, size_bytes, align_bytes, node (-1: none).
    """

def open_tier(url: str, path: str | os.PathLike[str]) -> Tier:
    """Opens the bytes of the file `path` on a tier."""

def check_tier_url(url: str) -> dict[str, str]:
    """
    Splits a tier URL into url, scheme and rest, or raises; touches no file.
    """

def tier_schemes() -> list[dict[str, str]]:
    """The schemes this build knows: name, form, summary."""

def io_uring_status() -> dict[str, Any]:
    """
    Whether ssd: reads by io_uring here: available, reason (why not, or empty).
    """

def emulated_profiles() -> list[dict[str, object]]:
    """
    The published devices that emulated: knows: name, summary and the keys of Tier.profile.
    """

class NodeMemory:
    """
    Zeroed, page-aligned memory that a memory node lends; a writable buffer.
    """

    def __init__(self, size_bytes: int, lock: bool) -> None: ...

    @property
    def size_bytes(self) -> int:
        """Bytes lent."""

    @property
    def locked(self) -> bool:
        """
        True when the pages cannot be swapped out: it was asked for, and RLIMIT_MEMLOCK allowed it.
        """

    @property
    def huge_pages(self) -> bool:
        """True when the kernel may back it with huge pages."""

    @property
    def address(self) -> int:
        """Where it begins, for a network card."""

class RegionServer:
    """The TCP data plane of a memory node."""

    def __init__(self, host: str, port: int = 0, threads: int = 1, max_per_address: int = 0) -> None: ...

    @property
    def port(self) -> int:
        """Where it listens."""

    def stats(self) -> dict[str, int | float]:
        """
        connections (open now), reads, bytes, refused, over_share (of the refused: their address had as many connections as it may), dropped (clients that took no reply), strangers (open now, no token shown yet), max_connections, max_connections_per_address, max_strangers, cut_turns, largest_turn_bytes, cpu_seconds.
        """

    def serve(self, region_id: int, token: bytes, memory: NodeMemory, offset: int, size_bytes: int) -> None:
        """
        Makes a part of the memory readable for clients that show the token of 16 bytes.
        """

    def withdraw(self, region_id: int) -> None:
        """
        Ends a region: when this returns, its memory is not looked at any more.
        """

    def stop(self) -> None:
        """Answers what has arrived, closes every connection, ends the threads."""

def open_tcp_tier(url: str, attachment: Attachment, timeout_ms: int = 500, check_at_open: bool = True) -> Tier:
    """Opens a region of one memory node for reading through TCP."""

class Attachment:
    """
    What one memory node said about one region, or about its stripe of one; holds a secret.
    """

    def __init__(self, *, transport: str, host: str, port: int, region_id: int, size_bytes: int, token: bytes, remote_address: int = 0, remote_key: int = 0) -> None: ...

    @property
    def transport(self) -> str:
        """"tcp" or "rdma"."""

    @property
    def host(self) -> str:
        """Of the data plane."""

    @property
    def port(self) -> int: ...

    @property
    def region_id(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def __repr__(self) -> str: ...

def open_remote_tier(url: str, replicas: Sequence[Sequence[Attachment]]) -> Tier:
    """
    Opens a region of memory nodes: a list of replicas, each a list of stripes. Replicas that cannot be reached now are taken in later; one must be there.
    """

class VerbsServer:
    """The RDMA data plane of a memory node."""

    def __init__(self, host: str, port: int = 0, device: str = '', max_connections: int = 4096) -> None:
        """Listens on an address of an RDMA device; port 0 takes a free one."""

    @property
    def port(self) -> int:
        """The port it listens on."""

    @property
    def device(self) -> str:
        """The RDMA device its regions are registered with."""

    def stats(self) -> dict[str, float]:
        """
        connections (open now), accepted, refused, cpu_seconds (of its thread).
        """

    def serve(self, region_id: int, token: bytes, address: int, size_bytes: int) -> tuple[int, int]:
        """
        Registers memory, which the caller keeps until it is withdrawn, for remote reading; returns (remote address, key).
        """

    def withdraw(self, region_id: int) -> None:
        """Ends the region's connections; its memory is free when this returns."""

    def stop(self) -> None:
        """Withdraws everything and accepts nothing more."""

def verbs_status() -> dict[str, object]:
    """
    What this process can do with RDMA: available, reason (why not), devices.
    """

class WorkMonitor:
    """Watches and cancels native work from another thread."""

    def __init__(self) -> None: ...

    def cancel(self) -> None: ...

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def threads_refused(self) -> int: ...

class Code:
    """A trained code: what stays of a vector in fast memory."""

    @property
    def dim(self) -> int: ...

    @property
    def row_bytes(self) -> int: ...

    @property
    def parameter_bytes(self) -> int: ...

    def decode(self, rows: numpy.typing.NDArray[numpy.uint8]) -> numpy.typing.NDArray[numpy.float32]:
        """The vectors (n, dim) that rows stand for."""

    def encode(self, data: numpy.typing.NDArray[numpy.generic], rows: numpy.typing.NDArray[numpy.uint8], threads: int = 1, monitor: WorkMonitor | None = None) -> None:
        """Encodes vectors (n, dim) into rows (n, row_bytes) of uint8."""

    def distances(self, query: numpy.typing.NDArray[numpy.float32], rows: numpy.typing.NDArray[numpy.uint8]) -> numpy.typing.NDArray[numpy.float32]:
        """
        Estimated distances of one float32 query (dim,) to rows (n, row_bytes).
        """

def dot_code(metric: str, center: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], rotation: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, fast_rotation: int | None, widths: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], steps: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], row_bytes: int, unbiased: bool) -> Code: ...

def pq_code(metric: str, dim: int, parts: int, centroids: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Code: ...

def largest_magnitude(values: numpy.typing.NDArray[numpy.float32]) -> float:
    """
    The largest absolute value of a matrix (n, dim) of float32; NaN when it has one, else inf when it has one.
    """

def exact_search(data: numpy.typing.NDArray[numpy.generic], metric: str, queries: numpy.typing.NDArray[numpy.generic], k: int, exclude: numpy.typing.NDArray[numpy.int64] | None = None, threads: int = 0, monitor: WorkMonitor | None = None) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float32]]:
    """
    Exact nearest neighbours by comparing everything: (ids int64, distances float32), each (nq, k).
    """

def huge_bytes(bytes: int) -> numpy.typing.NDArray[numpy.uint8]:
    """
    Zeroed uint8 array in memory that is aligned to, and advised to use, huge pages.
    """

def simd_level() -> str: ...

def detected_simd_level() -> str: ...

class CancelToken:
    """Stops searches that run with it, from any thread."""

    def __init__(self) -> None: ...

    def cancel(self) -> None: ...

    @property
    def cancelled(self) -> bool: ...

class EndedSearches:
    """Tells an event loop of searches that have ended, by their tickets."""

    def __init__(self) -> None: ...

    def fileno(self) -> int:
        """Readable while there are some."""

    def take(self) -> list[int]:
        """Tickets of those that ended since the last take."""

class PendingSearch:
    """
    A search that workers answer meanwhile. Its end cancels it and waits for it.
    """

    @property
    def answered_at_once(self) -> bool:
        """Then nobody is told of its end."""

    def cancel(self) -> None:
        """Stops it; it soon is complete."""

    def expire(self) -> None:
        """To be called at its deadline, where nobody waits."""

    def wait(self, limit_s: float) -> bool:
        """Waits for so long at most; True: it is complete."""

    def result(self) -> tuple[Any, ...]:
        """
        What `search` of the searcher returns, or its error; waits until it is complete. Only once.
        """

def search_result_fields() -> tuple[str, ...]:
    """Names of what a native search returns, in order."""

class RowFilter:
    """
    Which rows of an index may be found: of vertices, or of positions; immutable.
    """

    def __init__(self, rows: int, words: numpy.typing.NDArray[numpy.uint64]) -> None:
        """Bit `row % 64` of words[row // 64] admits a row."""

    @property
    def rows(self) -> int: ...

    @property
    def matching(self) -> int:
        """Rows that it admits."""

class GraphBuilder:
    """Builds a Vamana graph over vectors (n, dim) and writes its records."""

    def __init__(self, data: numpy.typing.NDArray[numpy.generic], metric: str, threads: int = 0) -> None: ...

    def link(self, graph_degree: int, build_list: int, alpha: float, seed: int = 0, late: numpy.typing.NDArray[numpy.uint32] | None = None, monitor: WorkMonitor | None = None) -> None:
        """
        Links all vectors but the rows in `late`, ascending, which stay alone until link_late.
        """

    def adopt(self, neighbors: numpy.typing.NDArray[numpy.uint32], degrees: numpy.typing.NDArray[numpy.uint32], late: numpy.typing.NDArray[numpy.uint32] | None = None) -> None:
        """
        Takes a graph that was linked elsewhere: rows of neighbours (n, width), of which the first `degrees` count. Without the rows in `late`, ascending, and the edges that lead to them.
        """

    def link_late(self, monitor: WorkMonitor | None = None) -> None: ...

    def set_aside(self, path: str | os.PathLike[str]) -> None:
        """
        Moves the graph into a file, so that its memory is free until bring_back.
        """

    def bring_back(self, path: str | os.PathLike[str]) -> None: ...

    def write_records(self, path: str | os.PathLike[str], labels: numpy.typing.NDArray[numpy.int64] | None = None, monitor: WorkMonitor | None = None, layout: str = 'packed', description: int = 0) -> dict[str, Any]:
        """
        Writes the records; `description` is a hash of what the build is, which the salt of the checks depends on.
        """

    def navigation(self, size: int, seed: int = 0, monitor: WorkMonitor | None = None) -> tuple[numpy.typing.NDArray[numpy.uint32], numpy.typing.NDArray[numpy.uint32]]: ...

    def adjacency(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Out-neighbours (n, widest) int64, padded with -1; for tests and analysis.
        """

def rewrite_records(section: numpy.typing.NDArray[numpy.uint8], count: int, dim: int, dtype: str, layout: dict[str, int], locator: numpy.typing.NDArray[numpy.uint8], wanted: str, path: str | os.PathLike[str], description: int, monitor: WorkMonitor | None = None) -> dict[str, Any]:
    """
    Writes the records of a section in another layout, each of them checked; returns what write_records does.
    """

def vamana_memory_bytes(count: int, graph_degree: int, build_list: int, threads: int = 0) -> int: ...

class GraphSearcher:
    """Searches a graph whose records lie in a tier."""

    def __init__(self, tier: Tier, count: int, dim: int, dtype: str, metric: str, layout: dict[str, int], locator: numpy.typing.NDArray[numpy.uint8], navigation_ids: numpy.typing.NDArray[numpy.uint8], navigation_edges: numpy.typing.NDArray[numpy.uint8], code: Code, rows: numpy.typing.NDArray[numpy.uint8]) -> None: ...

    @property
    def fast_bytes(self) -> int: ...

    def fill_hot_set(self, budget_bytes: int, threads: int = 0, cancel: CancelToken | None = None) -> int:
        """
        Keeps the most read records in fast memory, within a budget; returns how many. Before any other search.
        """

    def search(self, queries: numpy.typing.NDArray[numpy.generic], k: int, search_list: int, beam_width: int, stop_margin: float, pipeline: bool, threads: int, cancel: CancelToken | None = None, timeout_s: float | None = None, filter: RowFilter | None = None) -> tuple[Any, ...]: ...

    def submit(self, queries: numpy.typing.NDArray[numpy.generic], k: int, search_list: int, beam_width: int, stop_margin: float, pipeline: bool, threads: int, cancel: CancelToken | None = None, timeout_s: float | None = None, filter: RowFilter | None = None, ended: EndedSearches | None = None, ticket: int = 0) -> PendingSearch:
        """A search that workers answer meanwhile; `ended` hears of its end."""

    def plan(self, filter: RowFilter, k: int, search_list: int) -> str:
        """How a search finds what the filter admits: empty, rows, or search."""

def cluster_closure(centroids: numpy.typing.NDArray[numpy.float32], ids: numpy.typing.NDArray[numpy.int64], distances: numpy.typing.NDArray[numpy.float32], most_distance: float, rng: float, lists: numpy.typing.NDArray[numpy.uint32], threads: int) -> None:
    """
    Chooses the clusters that list each vector among its nearest (rows, width); fills lists (rows, replicas).
    """

def cluster_members(lists: numpy.typing.NDArray[numpy.uint32], next: numpy.typing.NDArray[numpy.int64], rows: numpy.typing.NDArray[numpy.uint32]) -> None:
    """
    Fills `rows` with the members of each cluster, ascending, from the offsets `next` on.
    """

def cluster_group_order(posting_offsets: numpy.typing.NDArray[numpy.int64], members: numpy.typing.NDArray[numpy.uint32], groups: numpy.typing.NDArray[numpy.uint32], probes: numpy.typing.NDArray[numpy.uint32], chain: numpy.typing.NDArray[numpy.uint32], rows: numpy.typing.NDArray[numpy.uint32], threads: int, monitor: WorkMonitor | None = None) -> None:
    """
    Fills `chain` (clusters,) with the clusters and `rows` (n,) with the rows in the order of the grouped layout.
    """

def code_blocks_bytes(code: Code, vectors: int) -> int:
    """Bytes of the code blocks of so many vectors."""

def encode_clusters(data: numpy.typing.NDArray[numpy.generic], order: numpy.typing.NDArray[numpy.uint32], cluster_offsets: numpy.typing.NDArray[numpy.uint32], centroid_code: Code, centroid_rows: numpy.typing.NDArray[numpy.uint8], code: Code, blocks: numpy.typing.NDArray[numpy.uint8], threads: int = 0, monitor: WorkMonitor | None = None) -> None:
    """
    Codes vectors relative to what their cluster's centroid code stands for, into blocks for scans.
    """

def write_cluster_vectors(path: str | os.PathLike[str], data: numpy.typing.NDArray[numpy.generic], order: numpy.typing.NDArray[numpy.uint32], salt: int, monitor: WorkMonitor | None = None) -> None:
    """
    Writes the records of layouts coded, grouped and decoupled: order[position] is the row.
    """

def write_cluster_postings(path: str | os.PathLike[str], data: numpy.typing.NDArray[numpy.generic], members: numpy.typing.NDArray[numpy.uint32], offsets: numpy.typing.NDArray[numpy.uint64], positions: numpy.typing.NDArray[numpy.uint32], salt: int, align: int = 1, monitor: WorkMonitor | None = None) -> numpy.typing.NDArray[numpy.uint64]:
    """
    Writes the records of layout replicated: rows of each posting, positions of each row. Returns the byte offset of each posting, and the end.
    """

class ClusterSearcher:
    """Searches clusters whose vectors lie in a tier."""

    def __init__(self, tier: Tier, parts: dict[str, Any]) -> None: ...

    @property
    def fast_bytes(self) -> int: ...

    def search(self, queries: numpy.typing.NDArray[numpy.generic], k: int, nprobe: int, rerank: int, pipeline: bool, threads: int, exclude: numpy.typing.NDArray[numpy.int64] | None = None, cancel: CancelToken | None = None, timeout_s: float | None = None, prune: float = 0.2, coalesce_bytes: int | None = None, split: bool = False, filter: RowFilter | None = None) -> tuple[Any, ...]: ...

    def submit(self, queries: numpy.typing.NDArray[numpy.generic], k: int, nprobe: int, rerank: int, pipeline: bool, threads: int, exclude: numpy.typing.NDArray[numpy.int64] | None = None, cancel: CancelToken | None = None, timeout_s: float | None = None, prune: float = 0.2, coalesce_bytes: int | None = None, split: bool = False, filter: RowFilter | None = None, ended: EndedSearches | None = None, ticket: int = 0) -> PendingSearch:
        """A search that workers answer meanwhile; `ended` hears of its end."""

    def plan(self, filter: RowFilter, k: int, nprobe: int, rerank: int) -> str:
        """How a search finds what the filter admits: empty, rows, or clusters."""
