# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Are the committed messages of the Python client those of proto/?"""
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from pathlib import Path

import pytest

from conftest import ROOT
from bora.v1 import chat_pb2, error_pb2, keys_pb2, models_pb2, options_pb2, tenants_pb2, usage_pb2


@pytest.mark.parametrize("module", [options_pb2, error_pb2, chat_pb2, models_pb2, keys_pb2, tenants_pb2, usage_pb2], ids=lambda m: m.DESCRIPTOR.name)
def test_generated_code_is_as_new_as_proto(module, tmp_path):
    out = tmp_path / "set.pb"
    well_known = Path(protoc.__file__).parent / "_proto"
    assert protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--descriptor_set_out={out}", module.DESCRIPTOR.name]) == 0
    wanted = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    for message in wanted.message_type:
        forget_json_names(message)
    for extension in wanted.extension:
        extension.ClearField("json_name")
    have = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    assert have == wanted, "run tools/generate_python.sh"


def forget_json_names(message):
    """protoc leaves them out of the code that it writes."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        forget_json_names(nested)
