# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The Python client's dispatch: registry, schemas of functions, and runs with every limit and mishap."""
import asyncio
import contextvars
import dataclasses
import datetime
import decimal
import enum
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import grpc
import jsonschema
import pydantic
import pytest

import bora
from bora import dispatch
from conftest import ROOT, e2e
from scripted_gateway import KEY, Fail, Wait, calls, text


# --- functions as tools ---------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Tree:
    name: str
    children: list["Tree"] = dataclasses.field(default_factory=list)


class Point(TypedDict):
    x: float
    y: float


class Order(pydantic.BaseModel):
    item: str
    count: int = pydantic.Field(ge=1)


def everything(a: str, b: int, c: float, d: bool, e: list[int], f: dict[str, int], g: Optional[str], h: Literal["x", "y"], i: Colour, j: Tree, k: Point, l: Order,
               m: Annotated[int, "how many", {"minimum": 0}], n: tuple[int, str], o: Any, p: set[str], q: Union[int, list[int]] = 5) -> dict:
    """All there is.

    More of it.

    Args:
        a: a text
            that goes on
        j (Tree): a tree
    """
    return locals()


ARGUMENTS = {"a": "s", "b": 3.0, "c": 1, "d": True, "e": [1], "f": {"k": 1}, "g": None, "h": "x", "i": "blue", "j": {"name": "r", "children": [{"name": "l"}]}, "k": {"x": 1, "y": 2},
             "l": {"item": "i", "count": 2}, "m": 1, "n": [1, "t"], "o": [None], "p": ["u"], "q": [1]}


def test_a_function_becomes_a_schema_and_its_arguments_what_the_hints_say():
    tools = bora.Tools(everything)
    function = tools.schemas()[0]["function"]
    schema = function["parameters"]
    jsonschema.Draft7Validator.check_schema(schema)
    assert function["description"] == "All there is.\n\nMore of it." and schema["properties"]["a"] == {"type": "string", "description": "a text that goes on"}
    assert schema["properties"]["m"] == {"type": "integer", "description": "how many", "minimum": 0} and schema["properties"]["j"] == {"allOf": [{"$ref": "#/$defs/Tree"}], "description": "a tree"}
    assert "q" not in schema["required"] and len(schema["required"]) == 16
    validator = jsonschema.Draft7Validator(schema)
    assert not list(validator.iter_errors(ARGUMENTS))
    for name, wrong in {"b": 1.5, "h": "z", "i": "green", "j": {"name": "r", "children": [{}]}, "k": {"x": 1}, "l": {"item": "i", "count": 0}, "n": [1], "p": ["u", "u"], "zz": 1}.items():
        assert list(validator.iter_errors({**ARGUMENTS, name: wrong})), name
    seen = tools._tools["everything"].invoke(ARGUMENTS, None)
    assert type(seen["b"]) is int and type(seen["c"]) is float and seen["i"] is Colour.BLUE and seen["j"] == Tree("r", [Tree("l")]) and seen["l"] == Order(item="i", count=2)
    assert seen["n"] == (1, "t") and seen["p"] == {"u"} and seen["q"] == [1]


@pytest.mark.parametrize("change, reason", [({"b": "3"}, "b: '3' is no integer"), ({"b": True}, "no integer"), ({"h": "z"}, "none of"), ({"i": "green"}, "green"), ({"k": {"x": 1}}, "y is missing"), ({"zz": 1}, "zz"),
                                            ({"l": {"item": "i", "count": 0}}, "count"), ({"q": "s"}, "no integer; q"), ({"e": {}}, "no array"), ({"f": []}, "no object"), ({"n": [1]}, "2 elements")])
def test_arguments_that_do_not_fit_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        bora.Tools(everything).call(bora.ToolCall("1", "everything", json.dumps({**ARGUMENTS, **change})))


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "null", '{"a": 1} x', "[" * 100000, '"text"', "\x00"])
def test_arguments_that_are_no_json_object_are_refused(arguments):
    tools = bora.Tools()
    tools.register(lambda **all: "ran", name="f", parameters={"type": "object"})
    if arguments == "":
        assert tools.call(bora.ToolCall("1", "f", arguments)) == "ran"  # a tool without parameters
    else:
        with pytest.raises(ValueError):
            tools.call(bora.ToolCall("1", "f", arguments))


def test_registering_what_cannot_be_a_tool_is_an_error():
    tools = bora.Tools()
    tools.register(lambda: 1, name="f")
    for wrong, error in [(lambda: tools.register(lambda: 1, name="f"), ValueError), (lambda: tools.register(lambda: 1), ValueError), (lambda: tools.register(lambda: 1, name="x" * 65), ValueError),
                         (lambda: tools.register(print, name="p", parameters=5), TypeError)]:
        with pytest.raises(error):
            wrong()

    def file(f: bytes): ...

    def rest(*all): ...

    for function in (file, rest):
        with pytest.raises(TypeError, match="parameters"):
            tools.register(function)


def test_schemas_models_coroutines_and_contexts():
    tools = bora.Tools()

    @tools.register(parameters=Order, description="Orders.")
    def order(order: Order) -> Order:
        return order

    @tools.register
    async def later(context: bora.CallContext, text: str):
        await asyncio.sleep(0)
        return {"id": context.call.id, "text": text, "set": {2, 1}}

    assert tools.schemas()[0]["function"]["parameters"]["properties"]["count"]["minimum"] == 1 and list(tools.schemas()[1]["function"]["parameters"]["properties"]) == ["text"]
    assert json.loads(tools.call(bora.ToolCall("1", "order", '{"item": "i", "count": 2}'))) == {"item": "i", "count": 2}
    assert json.loads(tools.call(bora.ToolCall("7", "later", '{"text": "ü"}'))) == {"id": "7", "text": "ü", "set": [1, 2]}
    with pytest.raises(ValueError, match="count"):
        tools.call(bora.ToolCall("1", "order", '{"item": "i", "count": 0}'))


# --- runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tools():
    tools = bora.Tools()

    @tools.register
    def add(a: int, b: int) -> int:
        return a + b

    @tools.register
    def fail(text: str = "boom"):
        raise KeyError(text)

    tools.release = threading.Event()
    tools.contexts = []

    @tools.register
    def hang(context: bora.CallContext):
        tools.contexts.append(context)
        tools.release.wait(60)
        return "late"

    yield tools
    tools.release.set()


ADD = calls(("add", {"a": 1, "b": 2}))


def test_calls_are_run_and_their_results_go_back_until_the_model_answers(connect, tools):
    client, server = connect([calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4}), content="Let me see."), calls(("add", {"a": 3, "b": 7})), text("It is", " 10.")])
    heard, asked, told = [], [], []
    run = client.run("1+2+3+4?", tools, temperature=0, on_text=heard.append, on_tool_call=asked.append, on_tool_result=told.append)
    assert (run.reason, run.text, run.rounds, run.pending) == ("answered", "It is 10.", 3, ()) and run.usage.total_tokens == 45
    assert heard == ["Let me see.", "It is", " 10."] and [c.name for c in asked] == ["add"] * 3 and [(r.result, r.round, r.error) for r in told] == [("3", 1, None), ("7", 1, None), ("10", 2, None)]
    assert told == run.calls
    assert server.messages(2) == run.messages[:-1] and server.requests[0].temperature == 0 and len(server.requests[2].tools) == 3
    assert [(m["role"], m.get("tool_call_id")) for m in run.messages] == [("user", None), ("assistant", None), ("tool", "call00000"), ("tool", "call00001"), ("assistant", None), ("tool", "call00000"), ("assistant", None)]


@pytest.mark.parametrize("choice, later", [("required", "auto"), ("any", "auto"), ("none", "none"), ("auto", "auto"), ({"type": "function", "function": {"name": "add"}}, "auto"),
                                           ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function"}]}},
                                            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}})])
def test_a_choice_that_forces_a_call_counts_once(connect, tools, choice, later):
    client, server = connect([ADD, ADD, text("3")])
    client.run("x", tools, tool_choice=choice)
    seen = [bora.json_form.write(r)["tool_choice"] for r in server.requests]
    assert seen == [choice, later, later]


def test_errors_of_handlers_go_to_the_model(connect, tools):
    client, server = connect([calls(("fail", {}), ("nope", {}), ("add", "{broken"), ("add", {"a": "x", "b": 1}), ("add", {"a": 1, "b": 1})), text("sorry")])
    run = client.run("x", tools)
    results = [m["content"] for m in server.messages(1) if m["role"] == "tool"]
    assert [json.loads(r)["error"].split(":")[0] for r in results[:4]] == ["KeyError", "there is no tool named nope", "the arguments are not JSON", "a"] and results[4] == "2"
    assert run.reason == "answered" and [bool(c.error) for c in run.calls] == [True, True, True, True, False]


def test_a_run_whose_last_answer_was_cut_says_so(connect, tools):
    client, _ = connect([calls(("add", {"a": 1, "b": 2})), text("It is th", finish="length"), text("It is 3.")])
    run = client.run("x", tools, max_tokens=5)
    assert (run.reason, run.text, run.rounds) == ("length", "It is th", 2)
    assert client.run(run.messages[:-1], tools).reason == "answered"


def test_hints_of_values_that_json_has_no_type_for(connect):
    heard = []
    tools = bora.Tools()

    @tools.register
    def book(day: datetime.date, at: datetime.datetime, opens: datetime.time, order: uuid.UUID, price: decimal.Decimal, size: Literal[1, 2] = 1, colour: Optional[Colour] = None) -> dict:
        heard.append((day, at, opens, order, price, size, colour))
        return {"day": day, "at": at, "order": order, "price": price, "colour": colour}

    good = {"day": "2024-02-29", "at": "2024-02-29t12:30:00.5z", "opens": "08:00:00+01:00", "order": "12345678-1234-5678-1234-567812345678", "price": 9.99, "colour": "red"}
    properties = tools.schemas()[0]["function"]["parameters"]["properties"]
    assert {name: properties[name].get("format") for name in good} == {"day": "date", "at": "date-time", "opens": "time", "order": "uuid", "price": None, "colour": None}
    client, server = connect([calls(("book", good), ("book", {**good, "day": "2023-02-29"}), ("book", {**good, "order": "x"})), text("done")])
    run = client.run("x", tools)
    assert heard == [(datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, 0, 500000, datetime.timezone.utc), datetime.time(8, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
                      uuid.UUID("12345678123456781234567812345678"), decimal.Decimal("9.99"), 1, Colour.RED)]
    assert [bool(c.error) for c in run.calls] == [False, True, True] and "day" in run.calls[1].error
    assert json.loads(run.calls[0].result) == {"day": "2024-02-29", "at": "2024-02-29T12:30:00.500000+00:00", "order": good["order"], "price": "9.99", "colour": "red"}


def test_errors_of_handlers_can_end_the_run(connect, tools):
    client, _ = connect([calls(("add", {"a": 1, "b": 1}), ("nope", {}), ("fail", {}), ("add", {"a": 2, "b": 2})), text("4")])
    with pytest.raises(bora.HandlerError, match="boom") as caught:
        client.run("x", tools, on_error="raise")
    run = caught.value.run
    assert isinstance(caught.value.__cause__, KeyError) and run.reason == "failed" and [c.name for c in run.pending] == ["fail", "add"] and len(run.messages) == 4
    with pytest.raises(ValueError, match="on_error"):
        client.run("x", tools, on_error="ignore")


def test_the_last_round_leaves_its_calls_pending_and_a_run_goes_on_from_there(connect, tools):
    client, server = connect([ADD, ADD, ADD, text("3")])
    run = client.run("x", tools, max_rounds=2)
    assert (run.reason, run.rounds, len(run.calls)) == ("max_rounds", 2, 1) and [c.name for c in run.pending] == ["add"]
    again = client.run(run.messages, tools, tool_choice="required")
    assert (again.reason, again.text, again.rounds, len(again.calls)) == ("answered", "3", 2, 2) and again.calls[0].round == 0
    assert server.requests[2].tool_choice.mode == "auto"  # its round was the one before


def test_a_handler_that_is_late_is_given_up_and_the_model_told(connect, tools):
    client, _ = connect([calls(("hang", {}), ("add", {"a": 1, "b": 2})), text("done")])
    run = client.run("x", tools, handler_timeout=2)
    assert run.reason == "answered" and "within 2 s" in run.calls[0].error and run.calls[1].result == "3"
    assert tools.contexts[0].cancelled and tools.abandoned == 1
    tools.release.set()
    e2e.until(lambda: tools.abandoned == 0, "it ended")


def test_a_handler_that_has_ended_is_not_counted_as_one_that_runs_on(connect, tools):
    client, _ = connect([calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})), text("done")])
    cancellation = bora.Cancellation()

    def told(record):
        e2e.until(lambda: not any(thread.name == "bora-tool-add" for thread in threading.enumerate()), "both have ended")
        cancellation.cancel()

    assert client.run("x", tools, parallel=2, on_tool_result=told, cancellation=cancellation).reason == "cancelled"
    assert tools.abandoned == 0


def test_handlers_that_hang_do_not_pile_up(connect, tools):
    client, server = connect([calls(*[("hang", {})] * 50), text("done")])
    run = client.run("x", tools, handler_timeout=0.05, parallel=8)
    refused = sum("still run" in c.error for c in run.calls)
    assert run.reason == "answered" and refused > 0 and tools.abandoned == 50 - refused
    assert dispatch.ABANDONED_MAX <= tools.abandoned < dispatch.ABANDONED_MAX + 8


def test_the_time_of_the_run_stops_handlers_and_keeps_what_there_is(connect, tools):
    client, _ = connect([calls(("add", {"a": 1, "b": 2}), ("hang", {}), ("add", {"a": 3, "b": 4})), text("never")])
    run = client.run("x", tools, timeout=2 * e2e.PACE)
    assert run.reason == "timeout" and [c.name for c in run.pending] == ["hang", "add"] and run.messages[-1]["content"] == "3" and tools.contexts[0].cancelled


def test_the_time_of_the_run_stops_an_answer_and_keeps_what_came(connect, tools):
    client, _ = connect([ADD, [{"content": "It "}, Wait()]])
    run = client.run("x", tools, timeout=2 * e2e.PACE)
    assert run.reason == "timeout" and run.text == "It " and run.answer.finish_reason is None and [m["role"] for m in run.messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("where", ["handler", "answer", "before"])
def test_cancelling_ends_a_run_and_keeps_what_there_is(connect, tools, where):
    wait = Wait()
    client, server = connect([calls(("add", {"a": 1, "b": 2}), ("hang", {}))] if where == "handler" else [ADD, [{"content": "It "}, wait]])
    cancellation = bora.Cancellation()

    def watch():
        if where == "handler":
            e2e.until(lambda: tools.contexts, "the handler runs")
        else:
            wait.reached.wait(30)
            e2e.until(lambda: heard, "text came")
        cancellation.cancel()

    heard = []
    if where == "before":
        cancellation.cancel()
    else:
        threading.Thread(target=watch).start()
    run = client.run("x", tools, cancellation=cancellation, on_text=heard.append)
    assert run.reason == "cancelled" and len(run.messages) == {"handler": 3, "answer": 3, "before": 1}[where]
    assert run.text == ("It " if where == "answer" else "")


def test_parallel_calls_run_at_once_and_never_more_than_asked(connect):
    tools, lock, now, most = bora.Tools(), threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=30)

    @tools.register
    def meet(number: int):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()  # would break if they came one by one
        with lock:
            now -= 1
        time.sleep(0.01 * (5 - number % 5))
        return number

    client, server = connect([calls(*[("meet", {"number": i}) for i in range(6)]), text("ok")])
    run = client.run("x", tools, parallel=3)
    assert most == 3 and [m["content"] for m in run.messages if m["role"] == "tool"] == list("012345")  # in the model's order, whoever was first


def test_without_parallel_they_run_one_after_the_other(connect):
    tools, order = bora.Tools(), []

    @tools.register
    def step(number: int):
        order.append(("begin", number))
        time.sleep(0.01)
        order.append(("end", number))

    client, _ = connect([calls(*[("step", {"number": i}) for i in range(3)]), text("ok")])
    client.run("x", tools)
    assert order == [(what, i) for i in range(3) for what in ("begin", "end")]


def test_huge_results_are_cut_at_a_character_and_said_to_be(connect):
    tools = bora.Tools()
    tools.register(lambda: "ä" * 5_000_000, name="huge")
    tools.register(lambda: "\ud800", name="broken")
    tools.register(lambda: object(), name="opaque")
    client, server = connect([calls(("huge", {}), ("broken", {}), ("opaque", {})), text("ok")])
    run = client.run("x", tools, max_result_bytes=1001)
    assert run.calls[0].result == "ä" * 500 + "\n[cut: 1000 of 10000000 bytes]" and run.calls[1].result == "?" and "not JSON" in run.calls[2].error


@pytest.mark.parametrize("end", [Fail(grpc.StatusCode.UNAVAILABLE, "the worker died"), Fail(grpc.StatusCode.INVALID_ARGUMENT, "context overflow"), Fail(grpc.StatusCode.DEADLINE_EXCEEDED, "theirs")])
def test_an_error_of_the_service_carries_the_run(connect, tools, end):
    client, _ = connect([ADD, [{"content": "It "}, end]])
    with pytest.raises(bora.APIError) as caught:
        client.run("x", tools)
    assert caught.value.run.reason == "failed" and len(caught.value.run.messages) == 3 and caught.value.partial.text == "It "


def test_what_a_callback_raises_comes_out_and_ends_the_call(connect, tools):
    wait = Wait()
    client, _ = connect([[{"content": "a"}, wait]])

    def stop(piece):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        client.run("x", tools, on_text=stop)
    assert wait.left.wait(10)


def test_handlers_see_the_callers_context_variables(connect):
    variable = contextvars.ContextVar("tenant")
    variable.set("me")
    tools = bora.Tools()
    tools.register(lambda: variable.get(), name="who")
    client, _ = connect([calls(("who", {})), text("ok")])
    assert client.run("x", tools).calls[0].result == "me"


def test_a_handler_that_exits_ends_neither_run_nor_program(connect):
    tools = bora.Tools()
    tools.register(lambda: exit(3), name="leave")
    client, _ = connect([calls(("leave", {})), text("ok")])
    assert client.run("x", tools).calls[0].error == "SystemExit: 3"


def test_without_tools_a_run_is_a_chat(connect):
    client, server = connect([text("hi")])
    assert client.run("x", bora.Tools(), tool_choice="required").text == "hi" and not server.requests[0].tools and not server.requests[0].HasField("tool_choice")


def test_calls_of_one_id_are_all_answered(connect, tools):
    same = {"type": "function", "id": "aaaaaaaaa", "function": {"name": "add", "arguments": '{"a": 1, "b": 1}'}}
    client, _ = connect([[{"tool_calls": [{**same, "index": 0}, {**same, "index": 1}], "finish": "tool_calls"}], text("ok")])
    run = client.run("x", tools)
    assert run.reason == "answered" and len(run.calls) == 2
    assert dispatch.pending_calls(run.messages[:3]) == (bora.ToolCall("aaaaaaaaa", "add", '{"a": 1, "b": 1}'),)


def test_a_handler_that_hangs_does_not_hold_up_the_programs_end(gateway):
    server = gateway([calls(("hang", {})), text("ok")])
    program = f"""
import threading, bora
tools = bora.Tools()
tools.register(lambda: threading.Event().wait(), name="hang")
print(bora.Client({server.target!r}, api_key={KEY!r}, model="m").run("x", tools, handler_timeout=0.05).text)
"""
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python")}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
