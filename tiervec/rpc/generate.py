"""Generates the ``_generated`` packages from our .proto files: ``python -m tiervec.rpc.generate``.

The generated code is committed, so that neither users nor the build need protoc. It is generated with one fixed, old
version of grpcio-tools: generated code refuses older runtimes than its own and runs on newer ones, so this version
decides how old a user's grpcio and protobuf may be. The file also runs alone, where TierVec is not installed.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GRPCIO_TOOLS_VERSION", "PROTOCOLS", "Protocol", "generate"]

GRPCIO_TOOLS_VERSION = "1.72.2"
_TIERVEC = Path(__file__).resolve().parent.parent
# rdma/ lies beside tiervec/ in the source tree and inside it once installed.
_RDMA = _TIERVEC.parent / "rdma" if (_TIERVEC.parent / "rdma").is_dir() else _TIERVEC / "rdma"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The .proto files of one folder.

    Attributes:
        folder: It holds ``proto/`` and ``_generated/``.
        package: What the generated modules are imported from.
    """

    folder: Path
    package: str

    @property
    def root(self) -> Path:
        """Where the paths of the .proto files begin, as protoc and the descriptors name them."""
        return self.folder / "proto"

    def files(self) -> list[str]:
        """Paths of the .proto files relative to `root`."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*.proto"))


PROTOCOLS = (
    Protocol(folder=_TIERVEC / "service", package="tiervec.service._generated"),
    Protocol(folder=_RDMA / "memory_node", package="tiervec.rdma.memory_node._generated"),
)


def generate(protocol: Protocol, out: Path) -> list[Path]:
    """Writes the modules of a protocol's .proto files into the folder ``out`` and returns their paths.

    Raises:
        RuntimeError: protoc refused a file, or grpcio-tools is not installed in version ``GRPCIO_TOOLS_VERSION``.
    """
    _check_tools()
    from grpc_tools import protoc

    includes = [f"-I{protocol.root}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [f"--{plugin}_out={scratch}" for plugin in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", *includes, *outputs, *protocol.files()]) != 0:
            raise RuntimeError(f"protoc could not compile the files in {protocol.root}; its message is above")
        written = []
        for module in sorted(Path(scratch).rglob("*_pb2*.py*")):
            if module.name.endswith("_pb2_grpc.py") and "Servicer" not in module.read_text():
                continue  # a file without services gets an empty module
            target = out / module.name
            target.write_text(_with_our_imports(module.read_text(), protocol.package))
            written.append(target)
    return written


def _with_our_imports(source: str, package: str) -> str:
    # protoc derives module names from the proto path (tiervec/v1), which is not where the code lives.
    return re.sub(r"^from tiervec\.v1 import", f"from {package} import", source, flags=re.MULTILINE)


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
        for protocol in PROTOCOLS:
            for path in generate(protocol, protocol.folder / "_generated"):
                print(path)
    except RuntimeError as error:
        print(f"tiervec.rpc.generate: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
