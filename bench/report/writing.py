"""Writes a report into a folder: report.html, and each figure and table as files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tiervec.bench.figures.run_data import load
from tiervec.bench.result_files import read_run_info
from tiervec.errors import UnsupportedError
from tiervec.machine.durable_files import replacing_file, storage_errors

__all__ = ["write_report"]


def write_report(
    runs: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str], *, allow_mixed: bool = False
) -> Path:
    """Writes the report of one or several runs.

    Args:
        runs: Their folders.
        out: The folder to write to; made when it is not there. Files of an earlier report are replaced.
        allow_mixed: Put results of unlike machines together, labelled.

    Returns:
        The path of report.html.

    Raises:
        NotFoundError: A folder is no run.
        InvalidArgumentError: Unlike machines without `allow_mixed`, or nothing was measured yet.
        UnsupportedError: matplotlib is not installed.
        ResourceExhaustedError: The disk is full.
    """
    folders = [Path(run) for run in runs]
    data = load(folders, allow_mixed=allow_mixed)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UnsupportedError(f"a report needs matplotlib: pip install 'tiervec[bench]' ({error})") from None
    from tiervec.bench.figures import figures
    from tiervec.bench.figures.files import csv_text, write_figure
    from tiervec.bench.figures.findings import findings
    from tiervec.bench.report.page import page

    target = Path(out)
    with storage_errors(f"writing the report {target}", target.parent):
        target.mkdir(parents=True, exist_ok=True)
        drawn = [(module, write_figure(module, data, target)) for module in figures()]
        with replacing_file(target / "all.csv") as file:
            file.write(csv_text(data.rows()).encode())
    content = page(
        data,
        [written for _, written in drawn if written is not None],
        [module.TITLE for module, written in drawn if written is None],
        findings(data),
        [read_run_info(folder).began for folder in folders],
    ).encode()
    with replacing_file(target / "report.html", len(content)) as file:
        file.write(content)
    return target / "report.html"
