"""The entry point: chooses the subcommand and turns every failure into one line and an exit status.

0    done
1    it could not be done; one line on stderr says why
2    the command line itself is wrong
130  interrupted by Ctrl-C
141  the reader of our output went away
143  ended by SIGTERM
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from tiervec.cli import (
    advise,
    bench,
    build,
    doctor,
    import_index,
    info,
    memory_node,
    profile,
    publish,
    regions,
    relayout,
    search,
    serve,
    verify,
)
from tiervec.cli.numpy_needs import check_numpy_needs

__all__ = ["main"]

_COMMANDS = (
    build,
    import_index,
    info,
    verify,
    relayout,
    search,
    serve,
    publish,
    memory_node,
    regions,
    profile,
    advise,
    bench,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the ``tiervec`` command.

    Args:
        argv: Arguments without the program's name; None means those of the process.

    Returns:
        The exit status.

    Example:
        >>> from tiervec.cli.main import main
        >>> main(["search"])  # prints the usage on stderr
        2
    """
    _print_whatever_the_encoding()
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as exit_:  # argparse has printed the usage, the help or the version
        return exit_.code if isinstance(exit_.code, int) else 2
    try:
        with _termination_as_exception():
            check_numpy_needs()
            status: int = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except _Terminated:
        return _fail("ended by SIGTERM", 143)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        return _output_closed()
    except Exception as error:
        if os.environ.get("TIERVEC_DEBUG") == "1":
            traceback.print_exc()
        return _fail(f"error: {_sentence(error)}", 1)


def _parser() -> argparse.ArgumentParser:
    from tiervec import __version__

    parser = argparse.ArgumentParser(
        prog="tiervec",
        description="Vector search with the index in second-tier memory.",
        epilog="`tiervec COMMAND --help` explains a command. TIERVEC_DEBUG=1 shows the traceback of an error.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tiervec {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _print_whatever_the_encoding() -> None:
    """Lets a path in another alphabet than the terminal's be printed with escapes, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Terminated(BaseException):
    """SIGTERM arrived; unwinding removes temporary files, as it does for Ctrl-C."""


@contextmanager
def _termination_as_exception() -> Iterator[None]:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _sentence(error: Exception) -> str:
    from tiervec.errors import TiervecError

    if isinstance(error, TiervecError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, MemoryError):
        text = f"out of memory: {error}" if str(error) else "out of memory"
    else:
        text = f"{type(error).__name__}: {error} (a bug of tiervec; TIERVEC_DEBUG=1 shows where)"
    return " ".join(text.split())


def _fail(text: str, status: int) -> int:
    print(f"tiervec: {text}", file=sys.stderr)
    return status


def _output_closed() -> int:
    # The interpreter flushes stdout once more on its way out, which would complain.
    with suppress(OSError, ValueError):  # under a test, stdout is not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


if __name__ == "__main__":
    sys.exit(main())
