"""Predicts every design from samples of the data, and recommends one.

The counts of a search (reads, bytes, rounds, code distances) at the target recall are measured on two samples and
extrapolated. CPU time is measured on the larger sample, plus what the further counts cost by a model fitted to the
samples' searches, plus what random accesses cost more in memory of the whole index's size. Throughput is that of the
larger sample, less by as much as CPU time is more, or what the device allows, whichever is less.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tiervec import _core
from tiervec.advisor.advice import Advice, Prediction
from tiervec.advisor.cost_model import CostModel, MemoryGrowth, fit
from tiervec.advisor.design import Design, designs
from tiervec.advisor.device import Device
from tiervec.advisor.growth import Growth, exponent, line, logarithm, power
from tiervec.advisor.measurement import Run, Work, measure
from tiervec.advisor.sample import Samples, draw
from tiervec.arguments.sizes import format_size
from tiervec.codes import code_row_bytes
from tiervec.errors import InvalidArgumentError, ResourceExhaustedError
from tiervec.index_files.directory import IndexDirectory
from tiervec.machine.environment import environment
from tiervec.vectors.vector_files import open_vectors

__all__ = ["Request", "advise"]

_BUSY_DEVICE = 0.7  # from this share of its limit on, the device and not the CPU sets the pace
_SAME_QPS = 0.95  # designs that are at least so fast as the best: the one with fewer bytes wins
_MEASURED_S = 20.0  # of rounds that give QPS: during some a shared machine may be somebody else's
_OTHER_RECALLS = (0.8, 0.98, 0.99)  # more settings for the cost model; those above the target for growth too


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked.

    Attributes:
        data: A file of vectors.
        device: Where the big part is to be.
        k: Neighbours.
        target_recall: Recall.
        fast_memory: Bytes of fast memory that the index may take, or None.
        threads: Worker threads; 0: all allowed CPUs.
        metric: ``l2``, ``ip`` or ``cosine``.
        prefer: ``throughput`` or ``latency``.
        sample: Vectors of the larger sample.
        seed: Seed of the choice of samples.
        work: Folder that keeps the samples' indexes, or None.
        queries: Vectors like the queries to come, or None.
        check: An index of the data that is measured in turn with the samples, or None; its design is predicted too.
        check_queries: To search it for; needed with it.
    """

    data: str | os.PathLike[str]
    device: Device
    k: int = 10
    target_recall: float = 0.95
    fast_memory: int | None = None
    threads: int = 0
    metric: str = "l2"
    prefer: str = "throughput"
    sample: int = 64_000
    seed: int = 0
    work: Path | None = None
    queries: NDArray[Any] | None = None
    check: Path | None = None
    check_queries: NDArray[Any] | None = None


def advise(request: Request, step: Callable[[str], None] = lambda _: None) -> Advice:
    """Recommends a design and predicts what it does.

    Args:
        request: What is asked.
        step: Called with a sentence about what is being done.

    Raises:
        ResourceExhaustedError: No design fits into `fast_memory`; the sentence says how much would do.
        InvalidArgumentError: The data, or a value of the request, cannot be used.
    """
    if (request.check is None) != (request.check_queries is None):
        raise InvalidArgumentError("an index to check and queries for it need each other")
    if request.prefer not in ("throughput", "latency"):
        raise InvalidArgumentError(f"prefer is {request.prefer!r}; it must be throughput or latency")
    request = replace(request, threads=_core.resolve_threads(request.threads))
    vectors, dim = shape = open_vectors(request.data).shape
    block = request.device.block_bytes
    tried = designs(dim, vectors, request.fast_memory, block)
    checked = None if request.check is None else _to_check(request, request.check, shape)
    if checked is not None and checked.design not in tried:
        tried.append(checked.design)
    if not tried:
        raise _too_little(request, vectors, dim, None)
    with ExitStack() as stack:
        folder = request.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiervec-advise-")))
        samples = draw(
            request.data,
            most=request.sample,
            seed=request.seed,
            folder=folder,
            metric=request.metric,
            queries=request.queries,
        )
        runs = _run(request, samples, tried, checked, step)
        step("measuring memory")
        costs = {
            name: fit([run for run in group if run.size == samples.growth.large])
            for name, group in _groups(runs).items()
        }
        predictions = _predict(request, samples, runs, costs)
    return _advice(request, samples.sizes(), vectors, predictions, costs, dim, checked)


def _to_check(request: Request, path: Path, shape: tuple[int, int]) -> Run:
    directory = IndexDirectory.open(path)
    manifest = directory.manifest
    for name, is_of, asked in (
        ("metric", manifest.metric, request.metric),
        ("number of vectors", manifest.vectors, shape[0]),
        ("dimension", manifest.dim, shape[1]),
    ):
        if is_of != asked:
            raise InvalidArgumentError(f"{path} has the {name} {is_of}, but {request.data} is asked about with {asked}")
    design = Design.of_index(path)
    return Run(
        design=design,
        size=shape[0],
        path=directory.path,
        width=design.widths[0],
        target_recall=request.target_recall,
        queries=request.check_queries,
    )


def _run(
    request: Request, samples: Samples, tried: Sequence[Design], checked: Run | None, step: Callable[[str], None]
) -> list[Run]:
    """All searches of the samples, and those of the index to check beside them."""
    runs = []
    for design in tried:
        for size in samples.sizes():
            path = samples.index(design, size, threads=request.threads, step=step)
            for width in design.widths:
                runs += [
                    Run(design=design, size=size, path=path, width=width, target_recall=recall)
                    for recall in sorted({request.target_recall, *_OTHER_RECALLS})
                ]
    step("measuring searches of the samples")
    asked = [run for run in runs if run.target_recall == request.target_recall]
    large = [run for run in asked if run.size == samples.growth.large]
    small = [run for run in runs if run.size < samples.growth.large]
    others = [run for run in runs if run.size == samples.growth.large and run not in large]
    how: dict[str, Any] = {"k": request.k, "threads": request.threads}
    beside = [] if checked is None else [checked]  # in turn: the machine's own speed drifts
    measure(
        [*large, *beside], samples.queries, tier=request.device.url, rounds=5, seconds=_MEASURED_S, alone=True, **how
    )
    measure(small, samples.queries, tier=request.device.url, rounds=1, alone=False, **how)  # its counts are wanted
    # Where the device sets the pace, waiting looks like work: CPU time is then what it is in memory.
    slowed = [run for run in large if _share_of_device(request.device, run) >= _BUSY_DEVICE]
    for run in slowed:
        run.receipts.clear()
    measure([*slowed, *others], samples.queries, tier="dram:", rounds=3, alone=False, **how)
    return runs


def _share_of_device(device: Device, run: Run) -> float:
    """How much of what the device can do the run used; 0 when it sets no limit."""
    bound = device.bound_qps(run.receipts[0], run.work.reads, run.work.read_bytes)
    return 0.0 if bound is None else max(each.qps for each in run.receipts) / bound


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that share their code path, so that the same parts cost the same."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_group(run.design), []).append(run)
    return found


def _group(design: Design) -> str:
    return design.kind if design.kind == "graph" else f"cluster {design.params.get('layout', 'coded')}"


@dataclass(frozen=True, kw_only=True)
class _Exponents:
    """How what a query of one kind costs grows."""

    reads: float
    rounds: float
    codes: float

    @classmethod
    def of(cls, growth: Growth, runs: Sequence[Run], request: Request) -> _Exponents:
        """From all runs of a group that have one width, at the recall asked for and above."""
        target_recall = request.target_recall
        small = {(run.design.key, run.width, run.target_recall): run for run in runs if run.size == growth.small}
        pairs = [
            (small[run.design.key, run.width, run.target_recall], run)
            for run in runs
            if run.size == growth.large and run.target_recall >= target_recall
        ]
        to_rank = _known((one.reads_to_rank(request.k), two.reads_to_rank(request.k)) for one, two in pairs)
        to_probe = _known((one.codes_to_probe(request.k), two.codes_to_probe(request.k)) for one, two in pairs)
        return cls(
            reads=exponent(growth, to_rank or [(one.work.reads, two.work.reads) for one, two in pairs]),
            rounds=exponent(growth, [(one.work.rounds, two.work.rounds) for one, two in pairs]),
            codes=exponent(growth, to_probe or [(one.work.codes, two.work.codes) for one, two in pairs]),
        )


def _known(pairs: Iterable[tuple[float | None, float | None]]) -> list[tuple[float, float]]:
    return [(one, two) for one, two in pairs if one is not None and two is not None]


def _predict(
    request: Request, samples: Samples, runs: Sequence[Run], costs: Mapping[str, CostModel]
) -> list[Prediction]:
    found = []
    for name, group in _groups(runs).items():
        asked = [run for run in group if run.target_recall == request.target_recall]
        exponents = {
            width: _Exponents.of(samples.growth, [run for run in group if run.width == width], request)
            for width in {run.width for run in group}
        }
        small = {(run.design.key, run.width): run for run in asked if run.size == samples.growth.small}
        found += [
            _prediction(request, samples, small[run.design.key, run.width], run, exponents[run.width], costs[name])
            for run in asked
            if run.size == samples.growth.large
        ]
    return found


def _prediction(
    request: Request, samples: Samples, small: Run, large: Run, exponents: _Exponents, cost: CostModel
) -> Prediction:
    growth, device = samples.growth, request.device
    work = _grown(growth, small.work, large.work, exponents)
    assert small.info is not None
    assert large.info is not None
    assert large.alone_us is not None
    fast_bytes = round(line(growth, small.info.fast_bytes, large.info.fast_bytes))
    amplification = logarithm(growth, small.info.amplification, large.info.amplification)
    tier_bytes = round(amplification * growth.wanted * samples.dim * samples.itemsize)
    busy_us = large.busy_us + max(cost.difference_us(work, large.work), 0.0)
    if growth.is_needed:
        memory = MemoryGrowth(large.info.fast_bytes + large.info.tier_bytes, fast_bytes + tier_bytes, request.threads)
        busy_us += _memory_us(memory, large, work, device, samples.dim)
    bound = device.bound_qps(large.receipts[0], work.reads, work.read_bytes)
    by_cpu = large.qps * large.busy_us / busy_us  # as busy as the machine was with the sample
    latency_us = large.alone_us + (work.rounds - large.work.rounds) * device.latency_us + busy_us - large.busy_us
    return Prediction(
        design=large.design,
        beam_width=large.width,
        qps=by_cpu if bound is None else min(by_cpu, bound),
        latency_us=latency_us,
        work=work,
        busy_us=busy_us,
        device_bound_qps=bound,
        fast_bytes=fast_bytes,
        tier_bytes=tier_bytes,
        amplification=amplification,
        binds="CPU" if bound is None or by_cpu < bound else device.limit(work.reads, work.read_bytes),
        fits=request.fast_memory is None or fast_bytes <= request.fast_memory,
    )


def _grown(growth: Growth, small: Work, large: Work, exponents: _Exponents) -> Work:
    reads = power(growth, large.reads, exponents.reads)
    per_read = (each.read_bytes / each.reads if each.reads else 0.0 for each in (small, large))
    return Work(
        reads=reads,
        read_bytes=reads * logarithm(growth, *per_read),
        rounds=power(growth, large.rounds, exponents.rounds),
        codes=power(growth, large.codes, exponents.codes),
    )


def _memory_us(memory: MemoryGrowth, large: Run, work: Work, device: Device, dim: int) -> float:
    """What a query's scattered accesses cost more than in the sample's memory; scans of codes run ahead of memory."""
    codes = work.codes if large.design.kind == "graph" else 0.0
    row_bytes = code_row_bytes("rabitq", large.design.code_bits or 0.5, dim)
    reads = work.reads if device.in_memory else 0.0
    read_bytes = round(work.read_bytes / work.reads) if work.reads else 1
    code_us, read_us = memory.more_us([row_bytes, read_bytes])
    return codes * code_us + reads * read_us


def _advice(
    request: Request,
    sizes: tuple[int, ...],
    vectors: int,
    predictions: Sequence[Prediction],
    costs: Mapping[str, CostModel],
    dim: int,
    checked: Run | None,
) -> Advice:
    fitting = [each for each in predictions if each.fits]
    if not fitting:
        raise _too_little(request, vectors, dim, min(each.fast_bytes for each in predictions))
    by_latency = request.prefer == "latency"
    ordered = sorted(predictions, key=lambda each: (not each.fits, each.latency_us if by_latency else -each.qps))
    best = ordered[0]
    if not by_latency:
        as_fast = [each for each in fitting if each.qps >= _SAME_QPS * best.qps]
        best = min(as_fast, key=lambda each: (each.fast_bytes + each.tier_bytes, each.latency_us))
    notes = list(request.device.notes)
    if request.fast_memory is not None and request.fast_memory > best.fast_bytes and best.design.kind == "graph":
        notes.append(
            f"{format_size(request.fast_memory - best.fast_bytes)} of fast_memory are left; `--fast-memory` fills them "
            "with the most read records, which saves reads that are not counted here"
        )
    faster = [each for each in predictions if not each.fits and each.qps > best.qps]
    if faster:
        least = min(faster, key=lambda each: each.fast_bytes)
        notes.append(
            f"fast memory binds: {least.design.name} would answer {least.qps:,.0f} queries per second with "
            f"{format_size(least.fast_bytes)} of it"
        )
    return Advice(
        data=os.fspath(request.data),
        vectors=vectors,
        tier=request.device.asked,
        is_tier=request.device.is_tier,
        emulated=request.device.modelled,
        k=request.k,
        target_recall=request.target_recall,
        threads=request.threads,
        prefer=request.prefer,
        metric=request.metric,
        fast_memory=request.fast_memory,
        best=best,
        predictions=tuple(ordered),
        samples=sizes,
        costs={name: cost.as_dict() for name, cost in costs.items()},
        notes=tuple(notes),
        environment=environment(),
        checked=checked,
    )


def _too_little(request: Request, vectors: int, dim: int, least: int | None) -> ResourceExhaustedError:
    assert request.fast_memory is not None
    if least is None:
        least = (vectors - 1).bit_length() * vectors // 8
    return ResourceExhaustedError(
        f"fast_memory is {format_size(request.fast_memory)}; the smallest index of {vectors:,} vectors of dimension "
        f"{dim} needs about {format_size(least)} of it: give at least that, or fewer vectors"
    )
