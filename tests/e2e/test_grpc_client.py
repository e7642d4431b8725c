# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Does a Python client generated from proto/ work, and are foreign health and reflection clients answered?"""
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from conftest import error_detail, until


@pytest.fixture(scope="module")
def channel(house):
    with grpc.insecure_channel(f"127.0.0.1:{house.ports['grpc']}") as channel:
        yield channel


@pytest.fixture(scope="module")
def chat(channel, grpc_modules):
    return grpc_modules.chat_grpc.ChatServiceStub(channel)


def bearer(key):
    return (("authorization", f"Bearer {key}"),)


def request(grpc_modules, house, text="What is the capital of France? Answer in one sentence.", **fields):
    c = grpc_modules.chat
    message = c.ChatMessage(user=c.UserMessage(content=c.Content(text=text)))
    return c.ChatCompletionRequest(model=house.model, messages=[message], **{"max_tokens": 24, "temperature": 0, **fields})


def test_complete_and_stream_agree_with_http(chat, grpc_modules, house):
    whole = chat.CompleteChat(request(grpc_modules, house), metadata=bearer(house.key))
    assert "Paris" in whole.choices[0].message.content.text
    pieces = list(chat.StreamChat(request(grpc_modules, house), metadata=bearer(house.key)))
    assert "".join(p.choices[0].delta.content for p in pieces) == whole.choices[0].message.content.text
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    _, _, over_http = house.chat("What is the capital of France? Answer in one sentence.", max_tokens=24)
    assert over_http["choices"][0]["message"]["content"] == whole.choices[0].message.content.text


def test_sampling_extensions_work_and_are_checked(chat, grpc_modules, house):
    def text(**fields):
        return chat.CompleteChat(request(grpc_modules, house, "Tell me a story.", max_tokens=12, **fields), metadata=bearer(house.key)).choices[0].message.content.text

    assert text(temperature=1.3, top_k=1, seed=3) == text(temperature=0) != text(temperature=1.3, seed=3)
    with pytest.raises(grpc.RpcError) as caught:
        text(typical_p=0, best_of=17)
    assert [[step.name for step in e.loc] for e in error_detail(grpc_modules, caught.value).validation.detail] == [["body", "typical_p"], ["body", "best_of"]]


def test_no_key_and_wrong_key_are_unauthenticated(chat, grpc_modules, house):
    for metadata in ((), bearer("bora_aaaaaaaaaaaa_" + "x" * 43), (("authorization", "Basic abc"),)):
        with pytest.raises(grpc.RpcError) as caught:
            chat.CompleteChat(request(grpc_modules, house), metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_out_of_range_names_the_path(chat, grpc_modules, house):
    with pytest.raises(grpc.RpcError) as caught:
        chat.CompleteChat(request(grpc_modules, house, temperature=3), metadata=bearer(house.key))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    error = error_detail(grpc_modules, caught.value).validation.detail[0]
    assert [step.name or step.index for step in error.loc] == ["body", "temperature"] and error.type == "less_than_equal"


def test_unknown_model_has_the_code(chat, grpc_modules, house):
    bad = request(grpc_modules, house)
    bad.model = "nothing"
    with pytest.raises(grpc.RpcError) as caught:
        chat.CompleteChat(bad, metadata=bearer(house.key))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error_detail(grpc_modules, caught.value).error.code == "1500"


def test_deadline_ends_the_call_and_frees_the_slot(chat, grpc_modules, house):
    with pytest.raises(grpc.RpcError) as caught:
        list(chat.StreamChat(request(grpc_modules, house, text="Count to one million.", max_tokens=4000), metadata=bearer(house.key), timeout=0.5))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the slot is free", 5)


def test_cancel_frees_the_slot(chat, grpc_modules, house):
    stream = chat.StreamChat(request(grpc_modules, house, text="Count to one million.", max_tokens=4000), metadata=bearer(house.key))
    next(stream)
    stream.cancel()
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the slot is free", 5)


def test_models(channel, grpc_modules, house):
    stub = grpc_modules.models_grpc.ModelServiceStub(channel)
    assert [m.id for m in stub.ListModels(grpc_modules.models.ListModelsRequest(), metadata=bearer(house.key)).data] == [house.model]
    assert stub.GetModel(grpc_modules.models.GetModelRequest(model="small"), metadata=bearer(house.key)).id == house.model
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModel(grpc_modules.models.GetModelRequest(model="nothing"), metadata=bearer(house.key))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_keys_are_made_listed_and_revoked(channel, chat, grpc_modules, house):
    stub, k = grpc_modules.keys_grpc.KeyServiceStub(channel), grpc_modules.keys
    made = stub.CreateKey(k.CreateKeyRequest(name="grpc", limits=k.Limits(requests_per_minute=5)), metadata=bearer(house.admin_key))
    assert made.key.startswith("bora_" + made.info.prefix + "_") and made.key_id == made.info.key_id
    assert made.info.key_id in [i.key_id for i in stub.ListKeys(k.ListKeysRequest(), metadata=bearer(house.admin_key)).keys]
    chat.CompleteChat(request(grpc_modules, house, max_tokens=1), metadata=bearer(made.key))
    stub.RevokeKey(k.RevokeKeyRequest(key_id=made.info.key_id), metadata=bearer(house.admin_key))
    with pytest.raises(grpc.RpcError) as caught:
        chat.CompleteChat(request(grpc_modules, house, max_tokens=1), metadata=bearer(made.key))
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as caught:
        stub.CreateKey(k.CreateKeyRequest(), metadata=bearer(house.key))
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("who", ["nobody", "stranger", "demo", "admin"])
def test_only_administrators_are_told_what_is_wrong_with_their_requests(channel, grpc_modules, house, who):
    stub, k = grpc_modules.keys_grpc.KeyServiceStub(channel), grpc_modules.keys
    metadata = {"nobody": (), "stranger": bearer("bora_admin_nobody"), "demo": bearer(house.key), "admin": bearer(house.admin_key)}[who]
    garbage = channel.unary_unary("/bora.v1.KeyService/CreateKey", request_serializer=bytes, response_deserializer=bytes)
    for call in (lambda: stub.CreateKey(k.CreateKeyRequest(name="x" * 300), metadata=metadata), lambda: stub.ListKeys(k.ListKeysRequest(limit=-1), metadata=metadata), lambda: garbage(b"\xff\xff", metadata=metadata)):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        told = {"admin": grpc.StatusCode.INVALID_ARGUMENT, "demo": grpc.StatusCode.PERMISSION_DENIED}.get(who, grpc.StatusCode.UNAUTHENTICATED)
        assert caught.value.code() == told, caught.value.details()


def test_foreign_health_client(channel, house):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "bora.v1.ChatService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_foreign_reflection_client_rebuilds_the_service(channel, house):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asks = [reflection_pb2.ServerReflectionRequest(list_services=""), reflection_pb2.ServerReflectionRequest(file_containing_symbol="bora.v1.ChatService"),
            reflection_pb2.ServerReflectionRequest(file_by_filename="no/such.proto")]
    listed, found, missing = stub.ServerReflectionInfo(iter(asks))
    names = {s.name for s in listed.list_services_response.service}
    assert {"bora.v1.ChatService", "bora.v1.ModelService", "bora.v1.KeyService", "grpc.health.v1.Health"} <= names
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    from google.protobuf import descriptor_pb2, descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    files = {f.name: f for f in (descriptor_pb2.FileDescriptorProto.FromString(b) for b in found.file_descriptor_response.file_descriptor_proto)}

    def add(name):
        for dependency in files[name].dependency:
            if dependency in files:
                add(dependency)
        pool.Add(files.pop(name)) if name in files else None

    while files:
        add(next(iter(files)))
    methods = pool.FindServiceByName("bora.v1.ChatService").methods_by_name
    assert set(methods) == {"CompleteChat", "StreamChat"}
