"""The report of finished runs: one HTML file that needs nothing else, and its figures and tables as files."""

from tiervec.bench.report.writing import write_report

__all__ = ["write_report"]
