# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Tools, with the public clients, unmodified: whatever the model would rather say, a call is whole, of a tool that was offered, and its arguments fit the schema."""
import json
import re

import jsonschema
import openai
import pydantic
import pytest

try:
    from mistralai.client import Mistral
except ImportError:
    from mistralai import Mistral

QUESTION = [{"role": "user", "content": "What is the weather in Bern, and what is 3 plus 4?"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 16}, "unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
           "required": ["city", "unit"], "additionalProperties": False}
ADD = {"type": "object", "properties": {"a": {"type": "integer", "minimum": -99, "maximum": 99}, "b": {"type": "integer", "minimum": -99, "maximum": 99}}, "required": ["a", "b"], "additionalProperties": False}
SCHEMAS = {"get_weather": WEATHER, "add": ADD}


def tool(name, schema, **more):
    return {"type": "function", "function": {"name": name, "description": f"The tool {name}.", "parameters": schema, **more}}


TOOLS = [tool(name, schema) for name, schema in SCHEMAS.items()]


@pytest.fixture(scope="module")
def client(house):
    return openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)


@pytest.fixture(scope="module")
def mistral(house):
    with Mistral(api_key=house.key, server_url=house.base) as client:
        yield client


def ask(client, house, **fields):
    fields = {"max_tokens": 200, "temperature": 1.0, "seed": 1, "messages": QUESTION, "tools": TOOLS, **fields}
    return client.chat.completions.create(model=house.model, **fields)


def check_calls(calls, schemas=SCHEMAS):
    for call in calls:
        assert call.type == "function" and re.fullmatch(r"[A-Za-z0-9]{9}", call.id)
        jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])
    assert len({call.id for call in calls}) == len(calls)


# ---- the choice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["required", "any"])
def test_required_gives_calls_and_nothing_else(client, house, choice):
    for seed in range(4):
        answer = ask(client, house, tool_choice=choice, seed=seed, temperature=1.5).choices[0]
        assert answer.finish_reason == "tool_calls" and answer.message.content is None
        assert answer.message.tool_calls
        check_calls(answer.message.tool_calls)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_named_function_is_called(client, house, name):
    for seed in range(3):
        answer = ask(client, house, tool_choice={"type": "function", "function": {"name": name}}, seed=seed, temperature=1.5).choices[0]
        assert answer.finish_reason == "tool_calls" and {call.function.name for call in answer.message.tool_calls} == {name}
        check_calls(answer.message.tool_calls)


def test_allowed_tools(client, house):
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}}
    answer = ask(client, house, tool_choice=allowed, temperature=1.5).choices[0]
    assert {call.function.name for call in answer.message.tool_calls} == {"add"}


def test_one_call_where_they_are_not_parallel(client, house):
    several = 0
    for seed in range(6):
        assert len(ask(client, house, tool_choice="required", parallel_tool_calls=False, seed=seed, temperature=1.5).choices[0].message.tool_calls) == 1
        several += len(ask(client, house, tool_choice="required", seed=seed, temperature=1.5).choices[0].message.tool_calls) > 1
    assert several > 0  # else the line before shows nothing


def test_none_gives_content(client, house):
    for seed in range(3):
        answer = ask(client, house, tool_choice="none", seed=seed, max_tokens=40).choices[0]
        assert answer.message.tool_calls is None and answer.message.content and "<tool_call>" not in answer.message.content
        assert answer.finish_reason in ("stop", "length")


def test_auto_gives_content_or_calls(client, house):
    for seed in range(6):
        answer = ask(client, house, tool_choice="auto" if seed % 2 else openai.NOT_GIVEN, seed=seed, max_tokens=60).choices[0]
        check_calls(answer.message.tool_calls or [])
        assert "<tool_call" not in (answer.message.content or "")
        assert (answer.finish_reason == "tool_calls") == (answer.message.tool_calls is not None) or answer.finish_reason == "length"


def test_auto_calls_when_the_model_begins_to(client, house):
    """A small model does what it has seen: so many calls that it makes another one by itself."""
    messages = []
    for i, (a, b) in enumerate([(1, 2), (5, 6), (10, 20), (7, 8)]):
        messages += [{"role": "user", "content": f"What is {a} plus {b}?"},
                     {"role": "assistant", "content": None, "tool_calls": [{"id": f"abcdefgh{i}", "type": "function", "function": {"name": "add", "arguments": json.dumps({"a": a, "b": b})}}]},
                     {"role": "tool", "tool_call_id": f"abcdefgh{i}", "content": str(a + b)}, {"role": "assistant", "content": f"{a + b}."}]
    messages.append({"role": "user", "content": "What is 3 plus 4?"})
    answer = ask(client, house, messages=messages, temperature=0).choices[0]
    assert answer.finish_reason == "tool_calls" and answer.message.tool_calls[0].function.name == "add"
    check_calls(answer.message.tool_calls)
    chunks = stream(client, house, messages=messages, temperature=0)
    assert [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or []][0].function.arguments == answer.message.tool_calls[0].function.arguments
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (answer.message.content or "")


# ---- strict, schemas ---------------------------------------------------------------------------------------------------


def test_a_tool_without_parameters(client, house):
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    answer = ask(client, house, tools=[bare], tool_choice="required", parallel_tool_calls=False).choices[0]
    assert json.loads(answer.message.tool_calls[0].function.arguments) == {}


class GetWeather(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=16)
    days: int


def test_parse_helper_of_openai_gives_the_class(client, house):
    answer = client.chat.completions.parse(model=house.model, messages=QUESTION, tools=[openai.pydantic_function_tool(GetWeather)], tool_choice="required", max_tokens=200, temperature=1.5, seed=3)
    assert all(isinstance(call.function.parsed_arguments, GetWeather) for call in answer.choices[0].message.tool_calls)


def test_a_bad_tool_is_named_and_harms_no_other(client, house):
    bad = [TOOLS[0], tool("broken", {"type": "object", "properties": {"x": {"type": "string", "pattern": "("}}}), TOOLS[1]]
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ask(client, house, tools=bad)
    detail = caught.value.response.json()["detail"][0]
    assert detail["loc"] == ["body", "tools", 1, "function", "parameters"] and "broken" in detail["msg"] and "/properties/x/pattern" in detail["msg"]
    check_calls(ask(client, house, tool_choice="required").choices[0].message.tool_calls)


@pytest.mark.parametrize("choice", ["none", "auto", {"type": "function", "function": {"name": "add"}}, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_weather"}}]}}])
def test_a_bad_tool_is_named_whether_it_may_be_called_or_not(client, house, choice):
    for place in range(3):
        bad = [*TOOLS[:place], tool("broken", {"type": "object", "properties": {"x": {"type": "integer", "minimum": 2, "maximum": 1}}, "required": ["x"]}), *TOOLS[place:]]
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            ask(client, house, tools=bad, tool_choice=choice)
        detail = caught.value.response.json()["detail"][0]
        assert detail["loc"] == ["body", "tools", place, "function", "parameters"] and "broken" in detail["msg"] and "/properties/x/maximum" in detail["msg"]


def test_parameters_that_are_null_are_none(client, house):
    for strict in (False, True):
        bare = {"type": "function", "function": {"name": "now", "parameters": None, "strict": strict}}
        call = ask(client, house, tools=[bare], tool_choice="required", parallel_tool_calls=False).choices[0].message.tool_calls[0]
        assert isinstance(json.loads(call.function.arguments), dict) and (not strict or call.function.arguments == "{}")


@pytest.mark.parametrize("fields, param", [
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"tools": TOOLS + [TOOLS[0]]}, "tools.2.function.name"),
    ({"tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice.function.name"),
    ({"tools": openai.NOT_GIVEN, "tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "regex", "regex": "a"}}, "response_format"),
    ({"extra_body": {"use_beam_search": True, "temperature": 0}, "stop": "x"}, "stop"),
])
def test_what_makes_no_sense_is_named(client, house, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, house, **{"temperature": 0, **fields})
    assert caught.value.param == param


def test_a_function_is_required(client, house):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ask(client, house, tools=[{"type": "function"}])
    assert caught.value.response.json()["detail"][0]["loc"] == ["body", "tools", 0, "function"]


# ---- several turns -----------------------------------------------------------------------------------------------------


def test_results_go_back_over_several_turns(client, house):
    messages = list(QUESTION)
    for turn in range(3):
        message = ask(client, house, messages=messages, tool_choice="required", seed=turn).choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": json.dumps({"result": turn})} for call in message.tool_calls]
    answer = ask(client, house, messages=messages, tool_choice="none", max_tokens=20).choices[0]
    assert answer.message.content


def test_an_answer_goes_back_as_the_client_dumps_it(client, house):
    """What OpenAI's client writes for a message has fields that no request has: annotations, audio, function_call, refusal; and reasoning_content is ours."""
    message = ask(client, house, tool_choice="required", parallel_tool_calls=False).choices[0].message.model_dump()
    assert "annotations" in message
    messages = [*QUESTION, {**message, "reasoning_content": "hm"}, {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "7"}]
    assert ask(client, house, messages=messages, max_tokens=2).choices[0].finish_reason


def test_ids_differ_from_turn_to_turn_whatever_the_seed(client, house):
    messages, ids = list(QUESTION), []
    for _ in range(3):
        message = ask(client, house, messages=messages, tool_choice="required", parallel_tool_calls=False, seed=7, temperature=0).choices[0].message
        ids.append(message.tool_calls[0].id)
        messages += [message, {"role": "tool", "tool_call_id": ids[-1], "content": "7"}]
    assert len(set(ids)) == 3
    assert ask(client, house, tool_choice="required", parallel_tool_calls=False, seed=7, temperature=0).choices[0].message.tool_calls[0].id == ids[0]


def conversation(calls, results):
    return [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [{"id": i, "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1, \"b\": 2}"}} for i in calls]},
            *({"role": "tool", "content": "3", **({"tool_call_id": i} if i else {})} for i in results)]


@pytest.mark.parametrize("calls, results", [(["abcdefghi"], ["abcdefghi"]), (["call_of_openai_1", "call_of_openai_2"], ["call_of_openai_2", "call_of_openai_1"]), (["abcdefgh1", "abcdefgh2"], [None, None]), (["null", "null"], ["null", "null"])])
def test_ids_of_any_form_pair(client, house, calls, results):
    assert ask(client, house, messages=conversation(calls, results), max_tokens=5).choices[0].finish_reason


@pytest.mark.parametrize("calls, results, what", [(["a", "b"], ["a"], "number"), (["a"], ["a", "a"], "number"), (["a"], ["b"], "messages.2.tool_call_id"), (["a", "b"], ["a", "a"], "messages.3.tool_call_id"),
                                                  (["a", "a"], ["a", "a"], "messages.1.tool_calls.1.id")])
def test_results_that_pair_with_no_call(client, house, calls, results, what):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, house, messages=conversation(calls, results))
    assert caught.value.param == what or ("Not the same number" in str(caught.value) and what == "number" and caught.value.code == "3230")


@pytest.mark.parametrize("arguments, fits", [("", True), ("{}", True), ("[1]", False), ("{", False), ("null", False)])
def test_arguments_of_a_conversation(client, house, arguments, fits):
    messages = conversation(["a"], ["a"])
    messages[1]["tool_calls"][0]["function"]["arguments"] = arguments
    if fits:
        ask(client, house, messages=messages, max_tokens=2)
        return
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, house, messages=messages)
    assert caught.value.param == "messages.1.tool_calls.0.function.arguments"


def test_the_model_sees_tools_calls_and_results(client, house):
    plain = ask(client, house, tools=openai.NOT_GIVEN, max_tokens=1).usage.prompt_tokens
    told = ask(client, house, max_tokens=1).usage.prompt_tokens
    paired = ask(client, house, messages=conversation(["a"], ["a"]), max_tokens=1).usage.prompt_tokens
    assert plain + 50 < told < paired
    # what was said does not depend on whether tools are still offered
    assert ask(client, house, tools=openai.NOT_GIVEN, messages=conversation(["a"], ["a"]), max_tokens=1).usage.prompt_tokens > plain + 20


# ---- streams -----------------------------------------------------------------------------------------------------------


def stream(client, house, **fields):
    return list(ask(client, house, stream=True, **fields))


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_has_whole_calls_and_is_the_answer(client, house, n):
    fields = {"tool_choice": "required", "n": n, "seed": 5}
    whole = ask(client, house, **fields)
    chunks = stream(client, house, **fields)
    for choice in whole.choices:
        own = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        calls = [call for c in own for call in c.delta.tool_calls or []]
        assert [call.index for call in calls] == list(range(len(choice.message.tool_calls)))
        assert [(c.id, c.function.name, c.function.arguments) for c in calls] == [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls]
        assert own[0].delta.role == "assistant" and own[-1].finish_reason == "tool_calls"
        assert "".join(c.delta.content or "" for c in own) == ""
    ids = [call.id for choice in whole.choices for call in choice.message.tool_calls]
    assert len(set(ids)) == len(ids)


def test_stream_helper_of_openai(client, house):
    with client.chat.completions.stream(model=house.model, messages=QUESTION, tools=[openai.pydantic_function_tool(GetWeather)], tool_choice="required", max_tokens=200) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert done and all(set(json.loads(event.arguments)) == {"city", "days"} for event in done)


# ---- Mistral's client --------------------------------------------------------------------------------------------------


def test_mistral_client_calls_and_answers(mistral, house):
    messages = list(QUESTION)
    answer = mistral.chat.complete(model=house.model, messages=messages, tools=TOOLS, tool_choice="any", parallel_tool_calls=False, max_tokens=200, temperature=1.0, random_seed=2)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert re.fullmatch(r"[A-Za-z0-9]{9}", call.id)
    jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])
    messages += [choice.message, {"role": "tool", "name": call.function.name, "content": "7", "tool_call_id": call.id}]
    assert mistral.chat.complete(model=house.model, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=10).choices[0].message.content


def test_mistral_client_streams_whole_calls(mistral, house):
    with mistral.chat.stream(model=house.model, messages=QUESTION, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "add"}}, max_tokens=200, random_seed=2) as events:
        chunks = [event.data for event in events]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert calls
    for call in calls:
        jsonschema.validate(json.loads(call.function.arguments), ADD)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


# ---- with everything else ----------------------------------------------------------------------------------------------


def test_a_stop_string_cuts_no_call(client, house):
    with_stop = ask(client, house, tool_choice="required", stop=['"', "}", "city"], seed=7).choices[0]
    without = ask(client, house, tool_choice="required", seed=7).choices[0]
    assert [c.function.arguments for c in with_stop.message.tool_calls] == [c.function.arguments for c in without.message.tool_calls] and with_stop.finish_reason == "tool_calls"


def test_max_tokens_is_enough_for_a_whole_call(client, house):
    for seed in range(4):
        answer = ask(client, house, tool_choice={"type": "function", "function": {"name": "add"}}, max_tokens=48, temperature=1.5, seed=seed).choices[0]
        assert answer.finish_reason == "tool_calls"
        check_calls(answer.message.tool_calls)


def test_max_tokens_that_no_call_fits_in_is_a_400_that_says_so(client, house):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, house, tool_choice="required", max_tokens=5)
    assert caught.value.param == "max_tokens" and "tool_choice" in str(caught.value) and re.search(r"takes \d+ tokens", str(caught.value))


def test_content_with_a_schema_or_calls(client, house):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    for seed in range(4):
        answer = ask(client, house, response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}, seed=seed).choices[0].message
        if answer.tool_calls:
            check_calls(answer.tool_calls)
        else:
            jsonschema.validate(json.loads(answer.content), schema)


def test_n_best_of_beams_and_bias(client, house):
    answer = ask(client, house, tool_choice="required", n=2, extra_body={"best_of": 4}, temperature=1.5, max_tokens=120)
    assert len(answer.choices) == 2
    for choice in answer.choices:
        check_calls(choice.message.tool_calls)
    beams = ask(client, house, tool_choice="required", n=2, temperature=0, parallel_tool_calls=False, max_tokens=120, extra_body={"best_of": 3, "use_beam_search": True})
    for choice in beams.choices:
        assert choice.finish_reason == "tool_calls"
        check_calls(choice.message.tool_calls)
    check_calls(ask(client, house, tool_choice="required", presence_penalty=2, frequency_penalty=2, logit_bias={"28": -100}).choices[0].message.tool_calls)


def test_log_probabilities_are_those_of_the_text(client, house):
    choice = ask(client, house, tool_choice="required", logprobs=True).choices[0]
    assert choice.message.tool_calls and choice.logprobs.content == []
    text = ask(client, house, tool_choice="none", logprobs=True, max_tokens=12).choices[0]
    assert "".join(entry.token for entry in text.logprobs.content).strip() == text.message.content.strip()


def test_many_tools_at_once(client, house):
    tools = [tool(f"tool_{i}", {"type": "object", "properties": {f"p{i}_{j}": {"type": ["string", "integer", "boolean"][j % 3], "maxLength": 4} for j in range(3)}, "additionalProperties": False,
                                "required": [f"p{i}_0"]}) for i in range(30)]
    answer = ask(client, house, tools=tools, tool_choice="required", parallel_tool_calls=False, temperature=1.5).choices[0]
    check_calls(answer.message.tool_calls, {t["function"]["name"]: t["function"]["parameters"] for t in tools})


def test_an_answer_has_no_more_calls_than_a_message_may(client, house):
    """A small model that must call and need say nothing does not stop by itself; with more than 128 (chat.proto) its answer could not be sent back."""
    bare = [{"type": "function", "function": {"name": "now", "strict": True}}]
    answer = ask(client, house, tools=bare, tool_choice="required", temperature=0, max_tokens=4000).choices[0]
    assert answer.finish_reason == "tool_calls" and len(answer.message.tool_calls) == 128


def test_the_model_card_says_so(house):
    card = house.send("GET", "/v1/models")[2]["data"][0]
    assert card["capabilities"]["function_calling"] is True
