# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What the public clients' own types can say is understood: it is done, or refused by its name, and never called unknown."""
import collections.abc
import time
import typing

import openai
import pytest
import typing_extensions

try:
    from mistralai.client import Mistral
except ImportError:
    from mistralai import Mistral

from conftest import PACE, another_gateway, until
from scripted_worker import ScriptedWorker


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("dialects"))
    until(lambda: house.send("GET", f"/v1/models/{worker.MODEL}")[0] == 200, "the gateway knows the scripted worker")
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    yield worker
    worker.stop()


# ---- values of a type --------------------------------------------------------------------------------------------------


def members(kind):
    """The types that a field may have, without what only the checker of types needs."""
    origin = typing.get_origin(kind)
    if origin is None:
        kind = getattr(kind, "__value__", kind)  # type X = ...
        origin = typing.get_origin(kind)
    if origin in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired, typing.Required, typing.NotRequired):
        return members(typing.get_args(kind)[0])
    if origin is typing.Union:
        return [m for argument in typing.get_args(kind) for m in members(argument)]
    if getattr(origin, "__value__", None) is not None:  # Nullable[X] and its like: a generic alias
        return [m for argument in typing.get_args(kind) for m in members(argument)] + [type(None)]
    return [kind]


def is_list(kind):
    return typing.get_origin(kind) in (list, collections.abc.Iterable, collections.abc.Sequence) or "SequenceNotStr" in str(kind)


def samples(kind, name=""):
    """Values that together use every member, every word and every optional field of a type."""
    for member in members(kind):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if typing_extensions.is_typeddict(member):
            yield from dict_samples(member)
        elif origin is typing.Literal:
            yield from arguments
        elif is_list(member):
            yield from ([item] for item in samples(arguments[0], name))
        elif origin in (dict, collections.abc.Mapping) or member is dict:
            yield {} if name != "logit_bias" else {"5": 1}
        elif member is type(None):
            yield None
        elif member is bool:
            yield from (False, True)
        elif member is int:
            yield 1
        elif member is float:
            yield 0.5
        elif "UnrecognizedStr" not in str(member):  # whatever a later version of the service may send
            assert member is str or member in (object, typing.Any), member
            yield "function" if name == "type" else "x"  # the mistralai client leaves the word open


def hints(kind):
    return {name: hint for name, hint in typing.get_type_hints(kind, include_extras=True).items()}


def wire_name(name):
    return {"schema_definition": "schema"}.get(name, name)  # the mistralai client's one alias


def dict_samples(kind):
    fields = {name: list(samples(hint, name)) for name, hint in hints(kind).items()}
    marks = {n: typing.get_origin(hint) for n, hint in hints(kind).items()}
    optional, required = (typing.NotRequired, typing_extensions.NotRequired), (typing.Required, typing_extensions.Required)
    needed = [n for n, mark in marks.items() if mark in required or (kind.__total__ and mark not in optional)]
    needed += ["type"] if "type" in fields and "type" not in needed else []
    base = {wire_name(n): next((v for v in fields[n] if v is not None), None) for n in needed}
    yield base
    for name, values in fields.items():
        yield from ({**base, wire_name(name): value} for value in values if name not in needed or value != base[wire_name(name)])


# ---- requests ----------------------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "hi"}


def conversation(message):
    """A conversation in which the message stands where its role may."""
    role = message["role"]
    if role == "user":
        return [message]
    if role in ("tool", "function"):
        call = {"id": message.get("tool_call_id") or "abcdefghi", "function": {"name": "f", "arguments": "{}"}}
        return [USER, {"role": "assistant", "content": "a", **({"tool_calls": [call]} if role == "tool" else {})}, message]
    if role == "assistant":
        results = [{"role": "tool", "tool_call_id": call.get("id"), "content": "42"} for call in message.get("tool_calls") or []]
        return [USER, message] if message.get("prefix") else [USER, message, *results, USER]
    return [message, USER]


NEEDS = {"top_logprobs": {"logprobs": True}, "stream_options": {"stream": True}, "top_prompt_logprobs": {"prompt_logprobs": True},
         "max_completion_tokens": {"max_tokens": None}}


def ask(house, worker, fields):
    return house.send("POST", "/v1/chat/completions", {"model": worker.MODEL, "messages": [USER], "max_tokens": 4, **fields})


def check(house, worker, name, value):
    status, _, body = ask(house, worker, {**NEEDS.get(name, {}), name: value})
    if status == 200:
        return "done"
    assert status == 400 and body["type"] == "invalid_request_error" and body["code"] is None, (name, value, status, body)
    assert body["param"].split(".")[0] in (name, *NEEDS.get(name, {}), *(("functions",) if name == "function_call" else ())), (name, value, body)
    return "refused"


def check_all(house, worker, request):
    fields = hints(request)
    assert len(fields) > 25
    outcomes = {}
    for name, hint in fields.items():
        if name == "model":
            continue
        values = [conversation(m[0]) for m in samples(hint)] if name == "messages" else list(samples(hint, name))
        assert values, name
        outcomes[name] = {check(house, worker, name, value) for value in values}
    assert all("done" in outcomes[name] for name in ("messages", "temperature", "top_p", "max_tokens", "n", "stop", "stream", "response_format", "reasoning_effort", "presence_penalty", "metadata")), outcomes
    return outcomes


def test_openai_types(house, worker):
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    outcomes = check_all(house, worker, CompletionCreateParamsNonStreaming)
    assert outcomes["messages"] == {"done", "refused"} and outcomes["moderation"] == {"done", "refused"}  # null is done


def test_mistral_types(house, worker):
    from mistralai.client.models import ChatCompletionRequestTypedDict

    outcomes = check_all(house, worker, ChatCompletionRequestTypedDict)
    assert outcomes["min_tokens"] == {"refused", "done"}  # null is done


@pytest.mark.parametrize("message, param", [
    ({"role": "assistant", "content": "a", "function_call": {"name": "f", "arguments": "{}"}}, "messages.1.function_call"),
    ({"role": "assistant", "content": "a", "audio": {"id": "x"}}, "messages.1.audio"),
    ({"role": "assistant", "tool_calls": [{"id": "x", "type": "custom", "custom": {"name": "f", "input": "i"}}]}, "messages.1.tool_calls.0.type"),
    ({"role": "function", "name": "f", "content": "42"}, "messages.2"),
    ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "data:,"}]}, "messages.0.content.1"),
    ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}, "messages.0.content.0"),
    ({"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}]}, "messages.0.content.0"),
])
def test_what_this_model_lacks_is_refused_at_its_place(house, worker, message, param):
    status, _, body = ask(house, worker, {"messages": conversation(message)})
    assert (status, body["param"]) == (400, param), body


def test_refusals_of_the_model_stay_in_the_conversation(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    for content, text in ((None, "no"), ("a", "a\n\nno")):
        assert ask(house, worker, {"messages": conversation({"role": "assistant", "content": content, "refusal": "no"})})[0] == 200
        assert worker.starts[-1].messages[1].content.decode() == text


def test_top_p_zero_leaves_one_token(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    assert ask(house, worker, {"top_p": 0})[0] == 200
    assert 0 < worker.starts[0].sampling.top_p < 1e-6


def test_n_goes_to_128(house, worker):
    status, _, body = house.chat(n=128, max_tokens=1)
    assert status == 200, body
    assert [c["index"] for c in body["choices"]] == list(range(128)) and body["usage"]["completion_tokens"] == 128
    assert ask(house, worker, {"n": 17, "use_beam_search": True})[2]["param"] == "n"
    assert ask(house, worker, {"n": 129})[0] == 422


@pytest.mark.parametrize("fields, where", [
    ({"stop": ""}, ["stop"]), ({"stop": "x" * 257}, ["stop"]), ({"stop": ["a", ""]}, ["stop", 1]), ({"logit_bias": {"-1": 1}}, ["logit_bias", "-1", "[key]"]),
    ({"tools": [{"type": "function", "function": {"name": "bad name!"}}], "tool_choice": "none"}, ["tools", 0, "function", "name"]),
    ({"tools": [{"type": "function"}], "tool_choice": "none"}, ["tools", 0, "function"]),
    ({"tools": [{}], "tool_choice": "none"}, ["tools", 0, "function"]),
])
def test_out_of_range_is_422_with_the_path(house, worker, fields, where):
    status, _, body = ask(house, worker, fields)
    assert status == 422 and body["detail"][0]["loc"] == ["body", *where], body


@pytest.mark.parametrize("n", [1, 3])
def test_a_prefix_larger_than_the_output_window_is_streamed(house, worker, n):
    """It comes back as one event for each answer, however little of a stream may wait."""
    worker.reset(lambda start, index: worker.text("!", [-1]))
    prefix = " " * 300000
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)
    texts = [""] * n
    for chunk in client.chat.completions.create(model=worker.MODEL, messages=[USER, {"role": "assistant", "content": prefix, "prefix": True}], n=n, max_tokens=4, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [prefix + "!"] * n


# ---- silence -----------------------------------------------------------------------------------------------------------


def test_the_clients_pass_over_the_comments_of_a_stream_that_is_silent(house, worker):
    """A call comes whole, so while it is written nothing does: then there are comment lines, from the first token on."""
    silence_s = 0.5 * PACE

    def script(start, index):
        pb = worker.pb
        yield pb.Delta(token_ids=[1], completion_tokens=1)
        time.sleep(silence_s)
        yield pb.Delta(token_ids=[1], completion_tokens=2, tool_calls=[pb.ToolCall(id="abcdefghi", name="f", arguments=b"{}")])
        yield pb.Finished(prompt_tokens=worker.PROMPT_TOKENS, completion_tokens=2)

    worker.reset(script)
    fields = {"model": worker.MODEL, "messages": [USER], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}
    worker.announce(capabilities=["completion_chat", "function_calling"])
    with another_gateway(house, "--heartbeat", "50ms") as gateway:
        _, _, raw = house.send("POST", "/v1/chat/completions", {**fields, "stream": True}, base=gateway.base)
        assert ": keep-alive\n\n" in raw and raw.index("data: ") < raw.index(": keep-alive")
        chunks = list(openai.OpenAI(base_url=gateway.base + "/v1", api_key=house.key, max_retries=0).chat.completions.create(stream=True, **fields))
        assert [c.function.name for chunk in chunks for choice in chunk.choices for c in choice.delta.tool_calls or []] == ["f"]
        with Mistral(api_key=house.key, server_url=gateway.base) as client, client.chat.stream(**fields) as stream:
            assert [c.function.name for event in stream for choice in event.data.choices for c in choice.delta.tool_calls or []] == ["f"]
