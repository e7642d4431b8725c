# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A gRPC server that plays the gateway from a script: the wire is the real one, the answers are the test's."""
import json
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients/python"))

from bora import json_form  # noqa: E402
from bora.v1 import chat_pb2, error_pb2, models_pb2  # noqa: E402

KEY = "bora_test_key"


# --- what a script says ---------------------------------------------------------------------------------------------------


def text(*pieces, finish="stop"):
    """An answer of text: a chunk for each piece."""
    return [{"content": p} for p in pieces[:-1]] + [{"content": pieces[-1], "finish": finish}]


def calls(*wanted, content=None):
    """An answer that calls tools, whole: (name, arguments as JSON or text)."""
    listed = [{"id": f"call{i:05d}", "index": i, "type": "function", "function": {"name": name, "arguments": a if isinstance(a, str) else json.dumps(a)}}
              for i, (name, a) in enumerate(wanted)]
    return ([{"content": content}] if content else []) + [{"tool_calls": listed, "finish": "tool_calls"}]


class Fail:
    """A status instead of an answer, or after the chunks before it."""

    def __init__(self, code, message="refused", *, error=None, validation=None, retry_after_ms=0):
        self.code, self.message = code, message
        self.detail = None
        if error or validation or retry_after_ms:
            self.detail = error_pb2.ErrorDetail(retry_after_ms=retry_after_ms)
            if error:
                self.detail.error.CopyFrom(error_pb2.ApiError(object="error", message=message, **error))
            for item in validation or ():
                json_form.read(self.detail.validation.detail.add(), item)

    def end(self, context):
        if self.detail is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", _status(self.code, self.message, self.detail.SerializeToString())),))
        context.abort(self.code, self.message)


class Wait:
    """Stay silent until the test lets go, or the client leaves."""

    def __init__(self):
        self.reached, self.go_on, self.left = threading.Event(), threading.Event(), threading.Event()


class Cut:
    """End the stream with OK though the answer has not ended."""


def _field(number, data):
    length, head = len(data), bytes([number << 3 | 2])
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    return head + bytes([length]) + data


def _status(code, message, detail):
    """A google.rpc.Status with one detail."""
    entry = _field(1, b"type.googleapis.com/bora.v1.ErrorDetail") + _field(2, detail)
    return bytes([8, code.value[0]]) + _field(2, message.encode()) + _field(3, entry)


# --- the server -----------------------------------------------------------------------------------------------------------


class ScriptedGateway:
    """`script` is a list with the answer to each request in turn (the last one again and again), or a function of the request that returns one.
    An answer is a list of steps: dicts (delta fields and `finish`), Fail, Wait, Cut."""

    def __init__(self, script, port=0):
        self.script, self.requests = script, []
        self.lock = threading.Lock()
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self._handlers(),))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        assert self.port, "the port is taken"
        self.server.start()
        self.target = f"127.0.0.1:{self.port}"

    def stop(self):
        self.server.stop(0).wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def messages(self, index):
        """The messages of a request, in their JSON form."""
        return [json_form.write(m) for m in self.requests[index].messages]

    def _handlers(self):
        def handler(kind, function, request, response):
            return kind(function, request_deserializer=request.FromString, response_serializer=response.SerializeToString)

        stream = handler(grpc.unary_stream_rpc_method_handler, self._stream, chat_pb2.ChatCompletionRequest, chat_pb2.ChatCompletionChunk)
        complete = handler(grpc.unary_unary_rpc_method_handler, self._complete, chat_pb2.ChatCompletionRequest, chat_pb2.ChatCompletionResponse)
        models = handler(grpc.unary_unary_rpc_method_handler, self._models, models_pb2.ListModelsRequest, models_pb2.ModelList)
        methods = {"/bora.v1.ChatService/StreamChat": stream, "/bora.v1.ChatService/CompleteChat": complete, "/bora.v1.ModelService/ListModels": models}

        class Handlers(grpc.GenericRpcHandler):
            def service(self, details):
                return methods.get(details.method)

        return Handlers()

    def _begin(self, request, context):
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {KEY}":
            Fail(grpc.StatusCode.UNAUTHENTICATED, "Unauthorized").end(context)
        with self.lock:
            self.requests.append(request)
            number = len(self.requests) - 1
        answer = self.script(request) if callable(self.script) else self.script[min(number, len(self.script) - 1)]
        answer = answer if isinstance(answer, list) else [answer]
        for step in answer:  # at once: who leaves early may leave before it is reached
            if isinstance(step, Wait) and not context.add_callback(step.left.set):
                step.left.set()
        return answer

    def _stream(self, request, context):
        for step in self._begin(request, context):
            if isinstance(step, Fail):
                step.end(context)
            elif isinstance(step, Wait):
                self._wait(step, context)
            elif isinstance(step, Cut):
                return
            else:
                yield self._chunk(step)

    @staticmethod
    def _wait(step, context):
        step.reached.set()
        while context.is_active() and not step.go_on.wait(0.01):
            pass

    @staticmethod
    def _chunk(step):
        chunk = chat_pb2.ChatCompletionChunk(id="0" * 32, object="chat.completion.chunk", created=1, model="scripted")
        choice = chunk.choices.add(index=step.get("index", 0))
        choice.delta.SetInParent()
        if "content" in step:
            choice.delta.content = step["content"]
        if "reasoning" in step:
            choice.delta.reasoning_content = step["reasoning"]
        for call in step.get("tool_calls", ()):
            json_form.read(choice.delta.tool_calls.add(), call)
        if "finish" in step:
            choice.finish_reason = step["finish"]
            chunk.usage.CopyFrom(chat_pb2.Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15))
        return chunk

    def _complete(self, request, context):
        whole = chat_pb2.ChatCompletionResponse(id="0" * 32, object="chat.completion", created=1, model="scripted", usage=chat_pb2.Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15))
        for step in self._begin(request, context):
            if isinstance(step, Fail):
                step.end(context)
            elif isinstance(step, Wait):
                self._wait(step, context)
            else:
                index = step.get("index", 0)
                while len(whole.choices) <= index:
                    whole.choices.add(index=len(whole.choices))
                choice = whole.choices[index]
                choice.message.content.text += step.get("content", "")
                choice.message.reasoning_content += step.get("reasoning", "")
                for call in step.get("tool_calls", ()):
                    json_form.read(choice.message.tool_calls.add(), call)
                choice.finish_reason = step.get("finish", choice.finish_reason)
        return whole

    def _models(self, request, context):
        return models_pb2.ModelList(object="list", data=[models_pb2.ModelCard(id="scripted", object="model", max_context_length=100)])
