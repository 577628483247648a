"""Generates ``tiervec/service/_generated`` from ``tiervec/service/proto``: ``python -m tiervec.service.generate``.

The generated code is committed, so that neither users nor the build need protoc. It is generated with one fixed, old
version of grpcio-tools: generated code refuses older runtimes than its own and runs on newer ones, so this version
decides how old a user's grpcio and protobuf may be. The file also runs alone, where TierVec is not installed.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
from pathlib import Path

__all__ = ["GRPCIO_TOOLS_VERSION", "PROTO_ROOT", "generate", "proto_files"]

GRPCIO_TOOLS_VERSION = "1.72.2"
PROTO_ROOT = Path(__file__).parent / "proto"
_GENERATED = Path(__file__).parent / "_generated"
_PACKAGE = "tiervec.service._generated"


def proto_files() -> list[str]:
    """Paths of our .proto files relative to ``PROTO_ROOT``, as protoc and the descriptors name them."""
    return sorted(path.relative_to(PROTO_ROOT).as_posix() for path in PROTO_ROOT.rglob("*.proto"))


def generate(out: Path) -> list[Path]:
    """Writes the modules of all .proto files into the folder ``out`` and returns their paths.

    Raises:
        RuntimeError: protoc refused a file, or grpcio-tools is not installed in version ``GRPCIO_TOOLS_VERSION``.
    """
    _check_tools()
    from grpc_tools import protoc

    includes = [f"-I{PROTO_ROOT}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [f"--{plugin}_out={scratch}" for plugin in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", *includes, *outputs, *proto_files()]) != 0:
            raise RuntimeError(f"protoc could not compile the files in {PROTO_ROOT}; its message is above")
        written = []
        for module in sorted(Path(scratch).rglob("*_pb2*.py*")):
            if module.name.endswith("_pb2_grpc.py") and "Servicer" not in module.read_text():
                continue  # a file without services gets an empty module
            target = out / module.name
            target.write_text(_with_our_imports(module.read_text()))
            written.append(target)
    return written


def _with_our_imports(source: str) -> str:
    # protoc derives module names from the proto path (tiervec/v1), which is not where the code lives.
    return re.sub(r"^from tiervec\.v1 import", f"from {_PACKAGE} import", source, flags=re.MULTILINE)


def _check_tools() -> None:
    try:
        found = importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != GRPCIO_TOOLS_VERSION:
        raise RuntimeError(
            f"generating needs grpcio-tools {GRPCIO_TOOLS_VERSION}, found {found}; in a venv of its own: "
            f"pip install grpcio-tools=={GRPCIO_TOOLS_VERSION}"
        )


def main() -> int:
    """Regenerates the committed modules."""
    try:
        written = generate(_GENERATED)
    except RuntimeError as error:
        print(f"tiervec.service.generate: error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
