from __future__ import annotations

import io

from tiervec.cli.progress import ProgressReport


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with ProgressReport(stream) as progress:
        for done in range(1000):
            progress("reading", done, 1000, 12.0)
        progress("reading", 1000, 1000, 0.0)
        progress("reading", 1000, 1000, 0.0)
        progress("training code", 0, 1, None)
        progress("training code", 1, 1, 0.0)
        progress("estimated peak memory 471 MiB", 1, 1, None)
    assert stream.getvalue().splitlines() == [
        "reading: 0% (0 of 1,000), 12.0 s left",
        "reading: 100% (1,000 of 1,000), 0.0 s",
        "training code",
        "training code, 0.0 s",
        "estimated peak memory 471 MiB",
    ]


def test_a_bar_on_a_terminal_ends_its_line() -> None:
    stream = Terminal()
    with ProgressReport(stream) as progress:
        progress("reading", 50, 100, 75.0)
        progress("linking", 0, 100, 7300.0)
    assert stream.getvalue() == (
        "\r\x1b[K[############............] reading: 50% (50 of 100), 1 min 15 s left\n"
        "\r\x1b[K[........................] linking: 0% (0 of 100), 2 h 1 min left\n"
    )


def test_nothing_reported_prints_nothing() -> None:
    stream = Terminal()
    with ProgressReport(stream):
        pass
    assert stream.getvalue() == ""
