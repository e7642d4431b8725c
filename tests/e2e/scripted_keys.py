# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A keys service whose answers a test writes, and which keeps what the gateway asked: the services of proto/bora/v1 from the other side."""
import threading
from concurrent import futures

import grpc
import pytest

from conftest import lone_gateway


class Refusal(Exception):
    """What an answer raises to end the call. `detail`: a bora.v1.ErrorDetail; None: as gRPC itself fails a call."""

    def __init__(self, code, message, detail=None):
        super().__init__(message)
        self.code, self.message, self.detail = code, message, detail


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def text_field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def status_details(code, message, detail):
    """google.rpc.Status with one detail; google.rpc's own code is not among the tests' packages."""
    packed = text_field(1, b"type.googleapis.com/bora.v1.ErrorDetail") + text_field(2, detail.SerializeToString())
    return varint(1 << 3) + varint(code.value[0]) + text_field(2, message.encode()) + text_field(3, packed)


class ScriptedKeys(grpc.GenericRpcHandler):
    """`answers[method]` is a message, a Refusal, or a function of the request's message that gives or raises one. `calls` has (method, message, metadata)."""

    def __init__(self, modules):
        self.messages = {}
        for file in (modules.keys, modules.tenants, modules.usage):
            for service in file.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    self.messages[f"/{service.full_name}/{method.name}"] = getattr(file, method.input_type.name)
        self.answers, self.calls, self.lock = {}, [], threading.Lock()
        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def reset(self, **answers):
        """Answers by method name, whichever service has it."""
        with self.lock:
            self.answers, self.calls = answers, []

    def service(self, details):
        message_type = self.messages.get(details.method)
        if message_type is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer(details, request, context), request_deserializer=message_type.FromString,
                                                   response_serializer=lambda message: message.SerializeToString())

    def answer(self, details, request, context):
        name = details.method.rsplit("/", 1)[1]
        with self.lock:
            self.calls.append((name, request, dict(details.invocation_metadata)))
            answer = self.answers.get(name)
        try:
            if callable(answer):
                answer = answer(request)
            if isinstance(answer, Refusal):
                raise answer
        except Refusal as refusal:
            if refusal.detail is not None:
                context.set_trailing_metadata((("grpc-status-details-bin", status_details(refusal.code, refusal.message, refusal.detail)),))
            context.abort(refusal.code, refusal.message)
        if answer is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no answer to {name} is written")
        return answer

    def close(self):
        self.server.stop(None).wait()


# ---- fixtures, for who imports them -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(grpc_modules):
    keys = ScriptedKeys(grpc_modules)
    yield keys
    keys.close()


@pytest.fixture(scope="module")
def gateway(keys, tmp_path_factory):
    """With `keys` behind it, and nothing else."""
    with lone_gateway(keys.port, tmp_path_factory.mktemp("gateway") / "log") as gateway:
        yield gateway
