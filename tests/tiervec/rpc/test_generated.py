"""The committed modules are what the .proto files say."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from tiervec.rdma.memory_node._generated import memory_node_pb2, memory_node_pb2_grpc
from tiervec.rpc import generate
from tiervec.service._generated import index_pb2, index_pb2_grpc, search_pb2, search_pb2_grpc, vectors_pb2

MODULES = {
    "tiervec.service._generated": (index_pb2, search_pb2, vectors_pb2),
    "tiervec.rdma.memory_node._generated": (memory_node_pb2,),
}


@pytest.mark.parametrize("protocol", generate.PROTOCOLS, ids=lambda protocol: protocol.folder.name)
def test_generated_modules_agree_with_the_proto_files(protocol: generate.Protocol, tmp_path: Path) -> None:
    # Compares what the modules describe and not their text, which differs from one grpcio-tools to the next.
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")
    out = tmp_path / "descriptors"
    includes = [f"-I{protocol.root}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    assert protoc.main(["protoc", *includes, f"--descriptor_set_out={out}", *protocol.files()]) == 0
    described = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file}

    modules = MODULES[protocol.package]
    assert protocol.files() == [module.DESCRIPTOR.name for module in modules]
    for module in modules:
        committed = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        expected = described[committed.name]
        _forget_json_names(expected)
        assert committed == expected, f"{committed.name} changed; run python -m tiervec.rpc.generate"


def test_every_method_has_a_servicer() -> None:
    modules = {"search": search_pb2_grpc, "index": index_pb2_grpc, "memory_node": memory_node_pb2_grpc}
    for name, module in modules.items():
        file = descriptor_pool.Default().FindFileByName(f"tiervec/v1/{name}.proto")
        for service in file.services_by_name.values():
            servicer = getattr(module, f"{service.name}Servicer")
            assert all(hasattr(servicer, method) for method in service.methods_by_name)


def test_another_version_of_the_tools_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generate, "GRPCIO_TOOLS_VERSION", "0.0.1")
    with pytest.raises(RuntimeError, match=r"needs grpcio-tools 0\.0\.1, found .*pip install grpcio-tools==0\.0\.1"):
        generate.generate(generate.PROTOCOLS[0], tmp_path)


def _forget_json_names(file: descriptor_pb2.FileDescriptorProto) -> None:
    # protoc fills them in for a descriptor set and leaves them out of generated code.
    def forget(message: descriptor_pb2.DescriptorProto) -> None:
        for field in message.field:
            field.ClearField("json_name")
        for nested in message.nested_type:
            forget(nested)

    for message in file.message_type:
        forget(message)
