# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The Python client: requests as they arrive, answers whole and in pieces, and everything that can go wrong on the way."""
import contextlib
import dataclasses
import datetime
import decimal
import enum
import gc
import json
import multiprocessing
import os
import signal
import socket
import threading
import uuid
from typing import Optional

import grpc
import jsonschema
import pydantic
import pytest

import bora
from bora import json_form
from bora.v1 import chat_pb2
from conftest import e2e
from scripted_gateway import KEY, Cut, Fail, ScriptedGateway, Wait, calls, text

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


# --- requests -------------------------------------------------------------------------------------------------------------


def test_a_request_arrives_in_the_forms_of_the_json_interface(connect):
    client, server = connect([text("hi")])
    schema = {"type": "object", "properties": {"z": {}, "a": {"maximum": 10}}}
    client.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "data:x"}}]},
                 {"role": "assistant", "content": None, "tool_calls": [{"id": "123456789", "function": {"name": "f", "arguments": {"x": 1}}}]},
                 {"role": "tool", "content": "ok", "tool_call_id": "123456789"}],
                temperature=0.5, max_tokens=7, stop=["a", "b"], logit_bias={"5": -1, 6: 2.5}, metadata={"k": "v"}, tool_choice={"type": "function", "function": {"name": "f"}},
                response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}, tools=[{"type": "function", "function": {"name": "f", "parameters": "{\"type\":\"object\"}"}}], seed=None)
    request = server.requests[0]
    assert request.model == "scripted" and request.temperature == 0.5 and request.max_tokens == 7 and list(request.stop.many.values) == ["a", "b"]
    assert dict(request.logit_bias) == {5: -1.0, 6: 2.5} and request.metadata == '{"k": "v"}' and not request.HasField("seed")
    assert request.messages[1].user.content.parts.parts[1].image_url.image_url.object.url == "data:x"
    assert request.messages[2].assistant.tool_calls[0].function.arguments.object.json == '{"x": 1}' and not request.messages[2].assistant.HasField("content")
    assert request.tool_choice.named.function.name == "f" and request.tools[0].function.parameters == '{"type":"object"}'
    assert list(json_form.write(request)["response_format"]["json_schema"]["schema"]["properties"]) == ["z", "a"]  # in the caller's order


@pytest.mark.parametrize("settings, place", [({"temprature": 1}, "temprature"), ({"temperature": "warm"}, "temperature"), ({"max_tokens": 1.5}, "max_tokens"), ({"max_tokens": True}, "max_tokens"),
                                             ({"stop": 5}, "stop"), ({"stop": ["a", 5]}, "stop"), ({"metadata": {"k": object()}}, "metadata"), ({"metadata": {"k": float("nan")}}, "metadata"),
                                             ({"tools": {}}, "tools"), ({"logit_bias": {"x": 1}}, "logit_bias"), ({"stream": True}, "stream")])
def test_a_setting_that_cannot_be_is_a_type_error_that_names_it(connect, settings, place):
    client, server = connect([text("hi")])
    with pytest.raises(TypeError, match=place):
        client.chat("x", **settings)
    assert server.requests == []


@pytest.mark.parametrize("messages, place", [([{"role": "nobody", "content": "x"}], "role"), ([{"content": "x"}], "role"), ([{"role": "user", "content": 5}], "content"), ([5], "messages"),
                                             ([{"role": "user", "content": "x"}, {"role": "user", "contents": "x"}], r"messages\[1\]")])
def test_a_message_that_cannot_be_is_a_type_error_that_names_it(connect, messages, place):
    client, server = connect([text("hi")])
    with pytest.raises(TypeError, match=place):
        client.chat(messages)
    assert server.requests == []


def test_json_without_an_end_is_a_type_error(connect):
    client, _ = connect([text("hi")])
    loop = {}
    loop["self"] = loop
    with pytest.raises(TypeError, match="metadata"):
        client.chat("x", metadata=loop)


def test_messages_survive_the_way_there_and_back():
    message = {"role": "assistant", "content": "x", "tool_calls": [{"id": "123456789", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}
    assert json_form.write(json_form.read(chat_pb2.ChatMessage(), message)) == message


def test_environment_names_the_gateway_and_the_key(gateway, monkeypatch):
    server = gateway([text("hi")])
    monkeypatch.setenv("BORA_API_KEY", KEY)
    monkeypatch.setenv("BORA_ADDRESS", server.target)
    with bora.Client(model="m") as client:
        assert client.chat("x").text == "hi"
    monkeypatch.delenv("BORA_API_KEY")
    with pytest.raises(bora.BoraError, match="no API key"):
        bora.Client()
    with pytest.raises(bora.BoraError, match="no key has"):
        bora.Client(api_key="two\r\nlines")
    with pytest.raises(bora.BoraError, match="no model"):
        bora.Client(server.target, api_key=KEY).chat("x")


# --- types as forms of answers --------------------------------------------------------------------------------------------


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class City(pydantic.BaseModel):
    name: str
    founded: datetime.date


@dataclasses.dataclass
class Person:
    name: str
    age: int
    mood: Optional[Mood] = None
    friends: list["Person"] = dataclasses.field(default_factory=list)


TYPED = [(City, '{"name": "Bern", "founded": "1191-01-01"}', City(name="Bern", founded=datetime.date(1191, 1, 1))),
         (Person, '{"name": "Ada", "age": 36, "mood": "good", "friends": [{"name": "Bob", "age": 1, "mood": null}]}', Person("Ada", 36, Mood.GOOD, [Person("Bob", 1)])),
         (list[int], "[1, 2]", [1, 2]), (Mood, '"bad"', Mood.BAD), (list[City], '[{"name": "B", "founded": "2000-02-29"}]', [City(name="B", founded=datetime.date(2000, 2, 29))]),
         (Optional[uuid.UUID], '"12345678-1234-5678-1234-567812345678"', uuid.UUID("12345678123456781234567812345678")), (dict[str, decimal.Decimal], '{"a": 9.99}', {"a": decimal.Decimal("9.99")})]


@pytest.mark.parametrize("hint, written, value", TYPED)
def test_a_type_is_a_form_of_answers_and_parsed_is_one_of_it(connect, hint, written, value):
    client, server = connect([text(written)] * 2)
    assert client.chat("x", response_format=hint).parsed == value
    assert client.chat_stream("x", response_format=hint).answer().parsed == value
    for request in server.requests:
        schema = json.loads(request.response_format.json_schema.schema)
        assert request.response_format.type == "json_schema" and request.response_format.json_schema.name
        jsonschema.validate(json.loads(written), schema, jsonschema.Draft7Validator)


def test_what_cannot_be_parsed_says_why(connect):
    client, _ = connect([text('{"name": "Be', finish="length"), text("x"), text("[1]"), calls(("f", {}))])
    cut, plain, wrong, called = (client.chat("x", response_format=hint) for hint in (City, None, City, City))
    with pytest.raises(ValueError, match="cut by its length"):
        cut.parsed
    assert plain.parsed is None and called.parsed is None
    with pytest.raises(ValueError):
        wrong.parsed
    for bad in (object(), 5, bytes, "json"):
        with pytest.raises(TypeError, match="response_format"):
            client.chat("x", response_format=bad)


def test_a_registry_is_a_list_of_tools(connect):
    client, server = connect([calls(("add", {"a": 1, "b": 2})), text("x")])

    def add(a: int, b: int) -> int:
        return a + b

    assert client.chat("x", tools=bora.Tools(add)).tool_calls[0].name == "add"
    assert client.chat("x", tools=bora.Tools()).text == "x"
    assert [t.function.name for t in server.requests[0].tools] == ["add"] and not server.requests[1].tools


# --- answers --------------------------------------------------------------------------------------------------------------


def test_whole_and_streamed_answers_are_the_same(connect):
    client, _ = connect([[{"content": "", "reasoning": "Hm"}, {"content": "Grüße", "reasoning": "."}, {"content": " and"}, *calls(("f", {"a": 1}), ("g", "{}"))]])
    whole = client.chat("x")
    stream = client.chat_stream("x")
    chunks = list(stream)
    assert [c.text for c in chunks] == ["", "Grüße", " and", ""] and whole.reasoning == "Hm." and chunks[0].reasoning == "Hm" and chunks[-1].finish_reason == "tool_calls" and len(chunks[-1].tool_calls) == 2
    assert whole == dataclasses.replace(stream.answer(), choices=whole.choices)
    assert whole.tool_calls == (bora.ToolCall("call00000", "f", '{"a": 1}'), bora.ToolCall("call00001", "g", "{}"))
    assert whole.usage.total_tokens == 15 and client.models()[0]["id"] == "scripted"


def test_several_choices_are_kept_apart(connect):
    client, _ = connect([[{"content": "a"}, {"content": "b", "index": 1}, {"content": "A", "finish": "stop"}, {"content": "B", "index": 1, "finish": "length"}]])
    for answer in (client.chat("x", n=2), client.chat_stream("x", n=2).answer()):
        assert [(c.text, c.finish_reason) for c in answer.choices] == [("aA", "stop"), ("bB", "length")] and answer.text == "aA"


def piece(arguments, **head):
    call = {"function": {"name": head.pop("name", ""), "arguments": arguments}, **head}
    return {"tool_calls": [call]}


@pytest.mark.parametrize("steps", [
    [piece("", id="aaaaaaaaa", name="f", index=0), piece('{"x"', index=0, id="null"), piece(": 1}", index=0), piece("", id="bbbbbbbbb", name="g", index=1), piece("{}", index=1)],
    [piece('{"x": 1}', id="aaaaaaaaa", name="f", index=0), piece("{}", id="bbbbbbbbb", name="g", index=0)],  # numbered by id alone
    [piece('{"x": 1}', id="aaaaaaaaa", name="f"), piece("{}", id="bbbbbbbbb", name="g")],
], ids=["pieces", "index 0", "no index"])
def test_calls_are_put_together_from_whatever_pieces(connect, steps):
    client, _ = connect([[*steps, {"finish": "tool_calls"}]])
    stream = client.chat_stream("x")
    given = [call for chunk in stream for call in chunk.tool_calls]
    assert given == [bora.ToolCall("aaaaaaaaa", "f", '{"x": 1}'), bora.ToolCall("bbbbbbbbb", "g", "{}")] == list(stream.answer().tool_calls)


# --- what goes wrong ------------------------------------------------------------------------------------------------------


def both(client, **settings):
    """The same question, whole and streamed."""
    return [lambda: client.chat("x", **settings), lambda: client.chat_stream("x", **settings).answer()]


def test_a_wrong_key_is_an_authentication_error(gateway):
    client = bora.Client(gateway([text("hi")]).target, api_key="wrong", model="m")
    for ask in both(client):
        with pytest.raises(bora.AuthenticationError) as caught:
            ask()
        assert caught.value.status == "UNAUTHENTICATED" and "Unauthorized" in str(caught.value)


def test_refused_fields_are_named(connect):
    refusal = Fail(grpc.StatusCode.INVALID_ARGUMENT, "body.tools.0: no", validation=[
        {"type": "missing", "msg": "Field required", "loc": ["body", "tools", 0, "function", "name"]}, {"type": "less_than_equal", "msg": "too much", "loc": ["body", "top_p"]}])
    client, server = connect([refusal])
    for ask in both(client):
        with pytest.raises(bora.InvalidRequestError) as caught:
            ask()
        assert caught.value.field == "tools[0].function.name" and [f.field for f in caught.value.fields] == ["tools[0].function.name", "top_p"]
    assert len(server.requests) == 2  # no second attempt


def test_a_refusal_has_its_code_and_place(connect):
    client, _ = connect([Fail(grpc.StatusCode.INVALID_ARGUMENT, "Invalid model: m", error={"type": "invalid_model", "code": "1500", "param": "model", "request_id": "f" * 32})])
    for ask in both(client):
        with pytest.raises(bora.InvalidRequestError) as caught:
            ask()
        error = caught.value
        assert (error.type, error.code, error.field, error.request_id, error.retry_after) == ("invalid_model", "1500", "model", "f" * 32, None)


def limit(milliseconds):
    return Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "Rate limit exceeded", error={"type": "rate_limited", "code": "1300"}, retry_after_ms=milliseconds)


@pytest.mark.parametrize("refusal", [limit(30), Fail(UNAVAILABLE, "no worker", retry_after_ms=30), Fail(UNAVAILABLE, "gone")], ids=["429", "503", "no details"])
@pytest.mark.parametrize("which", [0, 1])
def test_what_did_not_begin_is_tried_again(connect, refusal, which):
    client, server = connect([refusal, refusal, text("hi")])
    assert both(client)[which]().text == "hi" and len(server.requests) == 3


@pytest.mark.parametrize("which", [0, 1])
def test_a_limit_that_lasts_is_raised_with_its_time(connect, which):
    client, server = connect([limit(30)], max_retries=1)
    with pytest.raises(bora.RateLimitError) as caught:
        both(client)[which]()
    assert caught.value.retry_after == 0.03 and caught.value.code == "1300" and len(server.requests) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_waits_that_are_too_long_are_not_begun(connect, which):
    client, server = connect([limit(60_000)])
    with pytest.raises(bora.RateLimitError):
        both(client)[which]()
    with pytest.raises(bora.RateLimitError):
        both(client, timeout=30)[which]()
    assert len(server.requests) == 2


def test_too_large_is_no_rate_limit(connect):
    client, server = connect([Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max")])
    with pytest.raises(bora.InvalidRequestError):
        client.chat("x")
    assert len(server.requests) == 1


def test_nobody_there_is_unavailable():
    client = bora.Client(f"127.0.0.1:{e2e.free_ports(1)[0]}", api_key=KEY, model="m", max_retries=1)
    for ask in both(client):
        with pytest.raises(bora.UnavailableError):
            ask()


def test_a_server_that_comes_back_is_found_again(gateway):
    port = e2e.free_ports(1)[0]
    client = bora.Client(f"127.0.0.1:{port}", api_key=KEY, model="m", max_retries=0)
    with pytest.raises(bora.UnavailableError):
        client.chat("x")
    client.max_retries = 10
    with ScriptedGateway([text("hi")], port=port):
        assert client.chat("x").text == "hi"


@pytest.mark.parametrize("which", [0, 1])
def test_the_deadline_ends_a_call(connect, which):
    wait = Wait()
    client, _ = connect([[{"content": "a"}, wait]])
    with pytest.raises(bora.DeadlineError) as caught:
        both(client, timeout=2 * e2e.PACE)[which]()
    assert isinstance(caught.value, TimeoutError) and wait.left.wait(10)
    assert which == 0 or caught.value.partial.text == "a"


@pytest.mark.parametrize("end, error", [(Fail(UNAVAILABLE, "the worker died"), bora.UnavailableError), (Cut(), bora.StreamCutError)], ids=["error", "cut"])
def test_a_stream_that_breaks_keeps_what_came_and_is_not_begun_again(connect, end, error):
    client, server = connect([[{"content": "Once "}, {"content": "upon"}, end]])
    seen = []
    with pytest.raises(error) as caught:
        for chunk in client.chat_stream("x"):
            seen.append(chunk.text)
    assert seen == ["Once ", "upon"] and caught.value.partial.text == "Once upon" and caught.value.partial.finish_reason is None and len(server.requests) == 1


def serve_and_hang(connection):
    server = ScriptedGateway([[{"content": "a"}, Wait()]])
    connection.send(server.port)
    signal.pause()


def test_a_server_that_is_killed_in_the_middle_is_an_error_with_what_came():
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_and_hang, args=(there,))
    process.start()
    client = bora.Client(f"127.0.0.1:{here.recv()}", api_key=KEY, model="m")
    stream = client.chat_stream("x")
    assert next(stream).text == "a"
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(bora.UnavailableError) as caught:
        next(stream)
    assert caught.value.partial.text == "a"
    assert list(stream) == []  # it is over, and stays so
    process.join(10)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 100, bytes(range(256)) * 40], ids=["nothing", "http", "zeros", "noise"])
def test_a_stranger_at_the_port_is_unavailable(said):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def speak():
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.sendall(said)

        threading.Thread(target=speak, daemon=True).start()
        client = bora.Client(f"127.0.0.1:{listener.getsockname()[1]}", api_key=KEY, model="m", max_retries=1, timeout=20)
        for ask in both(client):
            with pytest.raises(bora.UnavailableError):
                ask()


def test_leaving_a_stream_frees_the_model(connect):
    waits = [Wait() for _ in range(4)]
    client, _ = connect([[{"content": "a"}, wait] for wait in waits])
    with client.chat_stream("x") as stream:
        next(stream)
        assert waits[0].reached.wait(10)
    assert waits[0].left.wait(10)
    stream = client.chat_stream("x")
    next(stream)
    assert waits[1].reached.wait(10)
    del stream
    gc.collect()
    assert waits[1].left.wait(10)
    cancellation = bora.Cancellation()
    stream = client.chat_stream("x", cancellation=cancellation)
    next(stream)
    assert waits[2].reached.wait(10)
    cancellation.cancel()
    with pytest.raises(bora.CancelledError):
        next(stream)
    assert waits[2].left.wait(10)
    with pytest.raises(bora.CancelledError):
        client.chat_stream("x", cancellation=cancellation)  # stays cancelled


def test_another_thread_cancels_a_whole_answer(connect):
    wait = Wait()
    client, _ = connect([[wait]])
    cancellation = bora.Cancellation()
    threading.Thread(target=lambda: (wait.reached.wait(10), cancellation.cancel())).start()
    with pytest.raises(bora.CancelledError):
        client.chat("x", cancellation=cancellation)
    assert wait.left.wait(10)


def test_cancelling_wakes_who_waits_for_a_limit(connect):
    client, server = connect([limit(10_000)])
    cancellation = bora.Cancellation()
    threading.Thread(target=lambda: (e2e.until(lambda: server.requests, "asked"), cancellation.cancel())).start()
    with pytest.raises(bora.CancelledError):
        client.chat("x", cancellation=cancellation)


def test_details_that_are_garbage_do_no_harm(connect):
    class Garbage(Fail):
        def end(self, context):
            context.set_trailing_metadata((("grpc-status-details-bin", b"\x1a\xff\xff\xff\xff\xff\xff"),))
            context.abort(self.code, self.message)

    client, _ = connect([Garbage(grpc.StatusCode.INVALID_ARGUMENT, "no")])
    with pytest.raises(bora.InvalidRequestError, match="no"):
        client.chat("x")
