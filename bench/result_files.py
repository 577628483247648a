"""The files of a run: written once, and put together again.

Nothing in a run's folder is ever rewritten:

    RESULTS/<run>/run.json               the plan as text, the environment, when it began
    RESULTS/<run>/cells/<cell id>.json   one measured cell, written once, by rename, when its last repeat is done
    RESULTS/<run>/profiles/<id>.json     what one tier can do by read size (experiments of kind "profile")
    RESULTS/<run>/advice/<cell id>.json  what the advisor predicted for one cell, and what it did (kind "advice")

Files are JSON; their keys are the fields of the classes in `results`. A reader that meets another `format` refuses it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tiervec.bench.json_records import record_of_json
from tiervec.bench.machines import machine_of
from tiervec.bench.results import FORMAT, AdviceResult, ProfileResult, Result, RunInfo
from tiervec.errors import AlreadyExistsError, DataLossError, InvalidArgumentError, NotFoundError, UnsupportedError
from tiervec.machine.durable_files import replacing_file, storage_errors

__all__ = [
    "load_advice",
    "load_profiles",
    "load_results",
    "read_advice",
    "read_profile",
    "read_result",
    "read_run_info",
    "write_advice",
    "write_profile",
    "write_result",
    "write_run_info",
]


def write_result(folder: Path, name: str, result: Result) -> Path:
    """Writes ``cells/<name>.json`` of a run's folder, whole or not at all.

    Raises:
        AlreadyExistsError: It is there: results are not rewritten.
        DiskFullError: The disk is full.
    """
    return _write_once(folder / "cells" / f"{name}.json", result)


def read_result(path: Path) -> Result:
    """Reads one result file.

    Raises:
        NotFoundError: No such file.
        UnsupportedError: Another format than `FORMAT`.
        DataLossError: It is no result file, or damaged.
    """
    return record_of_json(Result, _document(path), path)


def write_profile(folder: Path, name: str, result: ProfileResult) -> Path:
    """Writes ``profiles/<name>.json``; as `write_result`."""
    return _write_once(folder / "profiles" / f"{name}.json", result)


def read_profile(path: Path) -> ProfileResult:
    """Reads a file of `write_profile`; raises as `read_result`."""
    return record_of_json(ProfileResult, _document(path), path)


def write_advice(folder: Path, name: str, result: AdviceResult) -> Path:
    """Writes ``advice/<name>.json``; as `write_result`."""
    return _write_once(folder / "advice" / f"{name}.json", result)


def read_advice(path: Path) -> AdviceResult:
    """Reads a file of `write_advice`; raises as `read_result`."""
    return record_of_json(AdviceResult, _document(path), path)


def write_run_info(folder: Path, info: RunInfo) -> Path:
    """Writes ``run.json``; as `write_result`."""
    return _write_once(folder / "run.json", info)


def read_run_info(folder: Path) -> RunInfo:
    """Reads ``run.json``; raises as `read_result`."""
    return record_of_json(RunInfo, _document(folder / "run.json"), folder / "run.json")


def load_results(folders: Iterable[Path], *, allow_mixed: bool = False) -> list[Result]:
    """All results of one or several runs, in the order of their names.

    Args:
        folders: Folders of runs.
        allow_mixed: Put results of unlike machines together; `machines.environment_label` then tells them apart.

    Raises:
        NotFoundError: A folder is not a run.
        InvalidArgumentError: Unlike machines without `allow_mixed`, or one data set with two different sets of true
            neighbours, which no option allows.
    """
    results: list[Result] = []
    for folder in folders:
        read_run_info(folder)
        results += [read_result(path) for path in sorted((folder / "cells").glob("*.json"))]
    if not allow_mixed:
        _refuse_unlike_machines(results)
    _refuse_other_ground_truth(results)
    return results


def load_profiles(folders: Iterable[Path]) -> list[ProfileResult]:
    """The tiers that one or several runs have profiled."""
    return [read_profile(path) for folder in folders for path in sorted((folder / "profiles").glob("*.json"))]


def load_advice(folders: Iterable[Path]) -> list[AdviceResult]:
    """The predictions that one or several runs have checked."""
    return [read_advice(path) for folder in folders for path in sorted((folder / "advice").glob("*.json"))]


def _refuse_unlike_machines(results: Sequence[Result]) -> None:
    for result in results[1:]:
        first, other = machine_of(results[0].environment), machine_of(result.environment)
        for (key, one), (_, two) in zip(first, other, strict=True):
            if one != two:
                raise InvalidArgumentError(
                    f"results of unlike machines: {key} is {one!r} in run {results[0].run} and {two!r} in run "
                    f"{result.run}; compare runs of one machine, or allow mixed ones (--allow-mixed)"
                )


def _refuse_other_ground_truth(results: Sequence[Result]) -> None:
    known: dict[tuple[Any, ...], tuple[str, Result]] = {}
    for result in results:
        dataset = result.cell.dataset
        name = (dataset.name, dataset.slice, dataset.queries, dataset.metric)
        checksums = f"{dataset.checksum} {dataset.queries_checksum} {dataset.ground_truth_checksum}"
        first, of = known.setdefault(name, (checksums, result))
        if first != checksums:
            raise InvalidArgumentError(
                f"{dataset.name} of {dataset.n:,} vectors has other vectors, queries or true neighbours in run "
                f"{result.run} ({checksums}) than in run {of.run} ({first}); their recalls cannot be compared"
            )


def _write_once(path: Path, document: Any) -> Path:
    text = json.dumps(dataclasses.asdict(document), indent=1, allow_nan=False)
    with storage_errors(f"writing {path}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise AlreadyExistsError(f"{path} exists; results are not rewritten")
    with replacing_file(path, len(text)) as file:
        file.write(text.encode())
    return path


def _document(path: Path) -> dict[str, Any]:
    with storage_errors(f"reading {path}", path.parent):
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist; a run of `tiervec bench run` has it")
        text = path.read_bytes()
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataLossError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or "format" not in document:
        raise DataLossError(f"{path} is no result file: it has no format")
    if document["format"] != FORMAT:
        raise UnsupportedError(f"{path} has the format {document['format']!r}; this version reads {FORMAT}")
    return document
