# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Both clients against a real house."""
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
from typing import Annotated

import jsonschema
import openai as openai_package
import pytest

import bora
from bora import dispatch
from bora.openai_adapter import openai_ask
from conftest import ROOT, e2e

sys.path.insert(0, str(ROOT / "clients/python/examples"))
import tools as example  # noqa: E402


@pytest.fixture(scope="module")
def client(house):
    with bora.Client(f"127.0.0.1:{house.ports['grpc']}", api_key=house.key, model=house.model, timeout=120 * e2e.PACE) as client:
        yield client


def test_whole_and_streamed_answers_agree_with_http(client, house):
    question = "What is the capital of France? Answer in one sentence."
    whole = client.chat(question, max_tokens=24, temperature=0)
    stream = client.chat_stream(question, max_tokens=24, temperature=0)
    pieces = [chunk.text for chunk in stream]
    _, _, over_http = house.chat(question, max_tokens=24)
    assert "Paris" in whole.text and "".join(pieces) == whole.text == over_http["choices"][0]["message"]["content"]
    assert stream.answer().usage.total_tokens == whole.usage.total_tokens == over_http["usage"]["total_tokens"]
    assert len(pieces) > 3 and whole.finish_reason == stream.answer().finish_reason


def test_a_conversation_goes_on(client):
    talk = ["My name is Ada."]
    talk.append(client.chat(talk, max_tokens=8, temperature=0))
    talk.append({"role": "user", "content": [{"type": "text", "text": "And what is my name?"}]})
    assert client.chat(talk, max_tokens=8, temperature=0).usage.prompt_tokens > client.chat(talk[:1], max_tokens=8).usage.prompt_tokens


def test_answers_under_a_schema_parse(client):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0, "maximum": 150}}, "required": ["name", "age"], "additionalProperties": False}
    answer = client.chat("A person, as JSON.", max_tokens=60, temperature=1.3, seed=5, response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}})
    jsonschema.validate(answer.json(), schema)


def test_errors_of_the_house_are_exceptions(client, house):
    with pytest.raises(bora.InvalidRequestError) as caught:
        client.chat("x", temperature=3.0, top_p=-1.0)
    assert [f.field for f in caught.value.fields] == ["temperature", "top_p"] and caught.value.field == "temperature"
    with pytest.raises(bora.InvalidRequestError) as caught:
        client.chat("x", model="nothing")
    assert caught.value.code == "1500" and caught.value.type == "invalid_model"
    with pytest.raises(bora.AuthenticationError):
        bora.Client(client.target, api_key="bora_wrong", model=house.model).chat("x")
    assert house.model in [card["id"] for card in client.models()]


def test_a_limit_is_a_rate_limit_error_with_its_time(client, house):
    key, _ = house.new_key(name="one", limits={"requests_per_minute": 1})
    poor = bora.Client(client.target, api_key=key, model=house.model, retry_wait_max=0.1)
    poor.chat("x", max_tokens=1)
    with pytest.raises(bora.RateLimitError) as caught:
        poor.chat("x", max_tokens=1)
    assert caught.value.code == "1300" and 0 < caught.value.retry_after <= 61


def test_leaving_a_stream_frees_the_slot(client, house):
    with client.chat_stream("Count to one million.", max_tokens=4000) as stream:
        next(stream)
    e2e.until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the slot is free", 5)


def example_program(house, *command):
    environment = {**os.environ, "BORA_API_KEY": house.key, "BORA_ADDRESS": f"127.0.0.1:{house.ports['grpc']}", "BORA_MODEL": house.model, "PYTHONPATH": str(ROOT / "clients/python")}
    return subprocess.run([*command, "What is 2 times the temperature in Oslo?"], env=environment, capture_output=True, text=True, timeout=300 * e2e.PACE)


PROGRAMS = {"python": [sys.executable, str(ROOT / "clients/python/examples/tools.py")], "c": [str(e2e.BUILD / "bin/bora-example-tools")]}


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_example_program_says_what_is_wrong(house, language):
    house_without_key = type("House", (), {"key": "bora_wrong", "ports": house.ports, "model": house.model})
    done = example_program(house_without_key, *PROGRAMS[language])
    assert done.returncode == 1 and "UNAUTHENTICATED" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_example_program_runs_tools(house, language):
    done = example_program(house, *PROGRAMS[language])
    assert done.returncode == 0, done.stderr
    assert "[weather(" in done.stdout or "[calculate(" in done.stdout


def test_the_example_of_a_format_reads_what_it_asked_for(house):
    done = example_program(house, str(e2e.BUILD / "bin/bora-example-format"))
    assert done.returncode == 0 and re.fullmatch(r".* is \d+ years old\n", done.stdout, re.DOTALL), done.stdout + done.stderr


@dataclasses.dataclass
class Person:
    name: Annotated[str, {"maxLength": 20}]
    born: datetime.date
    age: Annotated[int, {"minimum": 0, "maximum": 130}]


def test_an_answer_is_of_the_type_that_was_asked_for(client):
    for seed in range(5):
        person = client.chat("Invent a person.", response_format=Person, max_tokens=100, temperature=1.5, seed=seed).parsed
        assert isinstance(person, Person) and isinstance(person.born, datetime.date) and 0 <= person.age <= 130
    cut = client.run("Count to one million.", bora.Tools(), max_tokens=5, temperature=0)
    assert cut.reason == "length"


@pytest.mark.parametrize("choice", ["required", "auto", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("parallel", [True, False])
def test_runs_with_real_calls_fit_their_schemas(client, choice, parallel):
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools.schemas()}
    run = client.run("What is 2 times the temperature in Oslo?", example.tools, tool_choice=choice, parallel_tool_calls=parallel, parallel=2, max_rounds=3, temperature=1.0, seed=7, max_tokens=200)
    assert run.reason in ("answered", "length", "max_rounds")
    for record in run.calls:
        jsonschema.validate(json.loads(record.call.arguments), schemas[record.call.name])
        assert len(record.call.id) == 9 and record.call.id.isalnum()
    if choice != "auto":
        assert run.calls
    first = [m for m in run.messages if m["role"] == "assistant"][0]
    assert parallel or len(first.get("tool_calls", ())) <= 1
    for before, message in zip(run.messages, run.messages[1:]):
        assert message["role"] != "tool" or before["role"] in ("assistant", "tool")


def test_tools_run_with_the_openai_client_too(house):
    openai = openai_package.OpenAI(base_url=f"{house.base}/v1", api_key=house.key)
    run = dispatch.run(openai_ask(openai, model=house.model, max_tokens=200, temperature=0), [{"role": "user", "content": "What is the weather in Oslo?"}], example.tools,
                       tool_choice="required", max_rounds=2)
    assert run.reason in ("answered", "length", "max_rounds") and run.calls and run.calls[0].call.name in example.tools and run.usage.prompt_tokens > 0
    impatient = dispatch.run(openai_ask(openai, model=house.model), [{"role": "user", "content": "Count to one million."}], bora.Tools(), timeout=0.001)
    assert impatient.reason == "timeout"
