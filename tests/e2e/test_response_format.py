# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Does response_format hold, whatever the model would rather say? With the public clients, unmodified."""
import enum
import json
import random
import re

import jsonschema
import openai
import pydantic
import pytest

try:
    from mistralai.client import Mistral
except ImportError:
    from mistralai import Mistral

QUESTION = [{"role": "user", "content": "Give me a person as JSON."}]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 130},
                                           "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3}},
          "required": ["name", "age", "tags"], "additionalProperties": False}


def schema_format(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, **more}}


@pytest.fixture(scope="module")
def client(house):
    return openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)


@pytest.fixture(scope="module")
def mistral(house):
    with Mistral(api_key=house.key, server_url=house.base) as client:
        yield client


def ask(client, house, response_format, **fields):
    fields = {"max_tokens": 120, "temperature": 1.5, "seed": 1, "messages": QUESTION, **fields}
    return client.chat.completions.create(model=house.model, response_format=response_format, **fields)


# ---- the formats -------------------------------------------------------------------------------------------------------


def test_json_object_is_an_object(client, house):
    for seed in range(4):
        choice = ask(client, house, {"type": "json_object"}, seed=seed, max_tokens=300).choices[0]
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
        else:
            assert choice.message.content.startswith("{")


@pytest.mark.parametrize("strict", [True, False, None])
def test_json_schema_is_enforced(client, house, strict):
    choice = ask(client, house, schema_format(PERSON, strict=strict)).choices[0]
    assert choice.finish_reason == "stop", choice
    jsonschema.validate(json.loads(choice.message.content), PERSON)


class Colour(enum.Enum):
    red = "red"
    green = "green"


class Fruit(pydantic.BaseModel):
    colour: Colour
    grams: int
    ripe: bool


def test_parse_helper_of_openai_gives_the_class(client, house):
    answer = client.chat.completions.parse(model=house.model, messages=QUESTION, response_format=Fruit, max_tokens=300, temperature=1.5, seed=3)
    assert isinstance(answer.choices[0].message.parsed, Fruit)


def test_parse_helper_of_mistral_gives_the_class(mistral, house):
    answer = mistral.chat.parse(model=house.model, messages=QUESTION, response_format=Fruit, max_tokens=300, temperature=1.5, random_seed=3)
    assert isinstance(answer.choices[0].message.parsed, Fruit)


def test_mistral_client_asks_for_an_object(mistral, house):
    answer = mistral.chat.complete(model=house.model, messages=QUESTION, response_format={"type": "json_object"}, max_tokens=40, temperature=1.5)
    assert answer.choices[0].message.content.startswith("{")


def test_regex_matches_all_of_the_answer(client, house):
    for seed in range(4):
        text = ask(client, house, {"type": "regex", "regex": r"[0-9]{4}-(0[1-9]|1[0-2])-[a-z]{3,5}"}, seed=seed).choices[0].message.content
        assert re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])-[a-z]{3,5}", text)


GBNF = 'root ::= sum\nsum ::= term ("+" term){1,3}\nterm ::= [0-9]{1,3} | "(" sum ")"\n'
LARK = 'start: sum\nsum: term ("+" term)~1..3\nterm: /[0-9]{1,3}/ | "(" sum ")"\n'


@pytest.mark.parametrize("fields", [{"grammar": GBNF}, {"grammar": GBNF, "dialect": "gbnf"}, {"grammar": LARK, "dialect": "lark"}])
def test_grammar_is_followed(client, house, fields):
    choice = ask(client, house, {"type": "grammar", **fields}, max_tokens=200, temperature=0.7).choices[0]
    assert re.fullmatch(r"[0-9+()]+", choice.message.content)
    if choice.finish_reason == "stop":
        assert "+" in choice.message.content and isinstance(eval(re.sub(r"\b0+(?=[0-9])", "", choice.message.content)), int)


CHOICE = ["yes", "no", "a.b|c", "\\d+ (x)", "[1]", "{2}", "^$*?/", "z\u00fcrich \U0001f600", "two\nlines", "a", "ab"]


def test_choice_gives_one_of_the_texts(client, house):
    for seed in range(6):
        assert ask(client, house, {"type": "choice", "choice": CHOICE}, seed=seed).choices[0].message.content in CHOICE
    for text in CHOICE:
        assert ask(client, house, {"type": "choice", "choice": [text]}).choices[0].message.content == text
    many = [f"item {i}" for i in range(1024)]
    assert ask(client, house, {"type": "choice", "choice": many}).choices[0].message.content in many


def test_blanks_and_order(client, house):
    def text(**more):
        return ask(client, house, schema_format(PERSON, **more), seed=4).choices[0].message.content

    def bones(text):
        return re.sub(r'"([^"\\]|\\.)*"', '""', text)

    assert bones(text()) == bones(json.dumps(json.loads(text()))) and list(json.loads(text())) == ["name", "age", "tags"]
    assert " " not in bones(text(whitespace="compact"))
    jsonschema.validate(json.loads(text(whitespace="free", order="any")), PERSON)


# ---- with everything else ----------------------------------------------------------------------------------------------


def test_stream_gives_the_same(client, house):
    whole = ask(client, house, schema_format(PERSON))
    chunks = list(ask(client, house, schema_format(PERSON), stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_many_answers_and_the_best(client, house):
    for fields in ({"n": 4}, {"n": 2, "extra_body": {"best_of": 4}}, {"n": 3, "temperature": 0, "extra_body": {"use_beam_search": True, "best_of": 4}}):
        answer = ask(client, house, schema_format(PERSON), **fields)
        assert len(answer.choices) == fields["n"]
        for choice in answer.choices:
            assert choice.finish_reason == "stop"
            jsonschema.validate(json.loads(choice.message.content), PERSON)


def test_logprobs_stop_and_penalties(client, house):
    choice = ask(client, house, schema_format(PERSON), logprobs=True, top_logprobs=2, presence_penalty=2, frequency_penalty=2, logit_bias={"30": 50}).choices[0]
    jsonschema.validate(json.loads(choice.message.content), PERSON)
    assert "".join(t.token for t in choice.logprobs.content) == choice.message.content
    cut = ask(client, house, schema_format(PERSON), stop=['"age"']).choices[0]
    assert cut.finish_reason == "stop" and '"age"' not in cut.message.content and cut.message.content.startswith('{"name": "')


def test_what_must_come_is_written_without_drawing(client, house):
    """... and counts as tokens like all else; a stop string inside it ends it, and log-probabilities are of every token."""
    schema = {"type": "object", "properties": {"measured_temperature_in_celsius": {"type": "boolean"}, "relative_humidity_percentage": {"enum": ["very low", "very high"]}},
              "required": ["measured_temperature_in_celsius", "relative_humidity_percentage"]}
    forced = lambda: house.metric("worker-metrics", "bora_engine_forced_tokens_total")
    before = forced()
    whole = ask(client, house, schema_format(schema), seed=4)
    assert set(json.loads(whole.choices[0].message.content)) == set(schema["required"])
    jumped = forced() - before
    assert jumped >= 10 and whole.usage.completion_tokens > jumped  # two names alone are about that many
    chunks = list(ask(client, house, schema_format(schema), seed=4, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert forced() - before == 2 * jumped
    cut = ask(client, house, schema_format(schema), seed=4, stop=["humidity"])
    assert cut.choices[0].finish_reason == "stop" and cut.choices[0].message.content.endswith('"relative_')
    before = forced()
    told = ask(client, house, schema_format(schema), seed=4, logprobs=True)
    assert forced() == before
    assert "".join(entry.token for entry in told.choices[0].logprobs.content) == told.choices[0].message.content
    short = ask(client, house, schema_format(schema), seed=4, max_tokens=whole.usage.completion_tokens)
    assert set(json.loads(short.choices[0].message.content)) == set(schema["required"])


def test_prefix_is_part_of_what_fits(house):
    status, _, body = house.chat([*QUESTION, {"role": "assistant", "content": '{"name": "Bob", "a', "prefix": True}], response_format=schema_format(PERSON), max_tokens=60)
    assert status == 200, body
    text = body["choices"][0]["message"]["content"]
    assert text.startswith('{"name": "Bob", "age": ')
    jsonschema.validate(json.loads(text), PERSON)
    status, _, body = house.chat([*QUESTION, {"role": "assistant", "content": "Sure!", "prefix": True}], response_format=schema_format(PERSON))
    assert (status, body["param"]) == (400, "messages"), body


SHORT = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "uniqueItems": True}}, "required": ["name", "n"], "additionalProperties": False}


def test_max_tokens_that_no_answer_fits_in_is_a_400_and_others_end_in_time(client, house):
    before = house.metric("worker-metrics", "bora_engine_completion_tokens_total")
    status, _, body = house.chat(response_format=schema_format(SHORT), max_tokens=2)
    assert (status, body["type"], body["param"]) == (400, "invalid_request_error", "max_tokens"), body
    assert house.metric("worker-metrics", "bora_engine_completion_tokens_total") == before
    needed = int(re.search(r"takes ([0-9]+) tokens", body["message"])[1])
    assert house.chat(response_format=schema_format(SHORT), max_tokens=needed - 1)[0] == 400
    for more in range(0, 21, 4):
        for fields in ({}, {"n": 2}, {"n": 2, "temperature": 0, "extra_body": {"use_beam_search": True, "best_of": 3}}):
            answer = ask(client, house, schema_format(SHORT), max_tokens=needed + more, seed=more, **fields)
            for choice in answer.choices:
                assert choice.finish_reason == "stop", choice
                jsonschema.validate(json.loads(choice.message.content), SHORT)


# ---- what is declined --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("response_format, param, words", [
    (schema_format({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a"}}}), "response_format.json_schema.schema", ["pattern", "/properties/a/pattern"]),
    (schema_format({"properties": {"a": {"$ref": "#/nowhere"}}}), "response_format.json_schema.schema", ["$ref", "/properties/a"]),
    (schema_format({"type": "integer", "minimum": 3, "maximum": 2}), "response_format.json_schema.schema", ["/maximum", "\"type\" and \"minimum\" and \"maximum\""]),
    ({"type": "regex", "regex": "(a"}, "response_format.regex", []),
    ({"type": "regex", "regex": r"(a+)\1"}, "response_format.regex", []),
    ({"type": "grammar", "grammar": "root ::= nothing"}, "response_format.grammar", ["1:10"]),
])
def test_what_cannot_be_enforced_is_a_400_and_costs_nothing(house, response_format, param, words):
    before = house.metric("worker-metrics", "bora_engine_completion_tokens_total")
    for n in (1, 3):
        status, _, body = house.chat(response_format=response_format, n=n, temperature=1)
        assert (status, body["type"], body["param"]) == (400, "invalid_request_error", param), body
        assert all(word in body["message"] for word in words), body
    assert house.metric("worker-metrics", "bora_engine_completion_tokens_total") == before


def test_what_is_too_ambiguous_is_given_up_as_a_400_that_says_so(house):
    rules = ["root ::= r0 root?", *[f"r{i} ::= r{i + 1} | r{i + 1} r{i + 1} | [a-z]" for i in range(1000)], "r1000 ::= [a-z ]"]
    fields = {"response_format": {"type": "grammar", "grammar": "\n".join(rules)}, "temperature": 1}
    for more in ({}, {"n": 2}, {"temperature": 0, "use_beam_search": True, "best_of": 2}):
        status, _, body = house.chat(**(fields | more))
        assert (status, body["type"], body["param"]) == (400, "invalid_request_error", "response_format.grammar"), body
        assert "too ambiguous" in body["message"], body


@pytest.mark.parametrize("response_format, param", [
    ({"type": "json_schema"}, "json_schema"), ({"type": "json_schema", "json_schema": {"name": "x"}}, "json_schema.schema"), ({"type": "regex"}, "regex"), ({"type": "grammar"}, "grammar"), ({"type": "choice"}, "choice"), ({"type": "regex", "regex": "a", "choice": ["a"]}, "choice"),
])
def test_what_is_missing_is_a_400(house, response_format, param):
    status, _, body = house.chat(response_format=response_format)
    assert (status, body["param"]) == (400, "response_format." + param), body


@pytest.mark.parametrize("response_format, where", [
    (schema_format(True), ["json_schema", "schema"]), ({"type": "json_schema", "json_schema": {"schema": {}}}, ["json_schema", "name"]), ({"type": "choice", "choice": [""]}, ["choice", 0]), ({"type": "grammar", "grammar": "x", "dialect": "ebnf"}, ["dialect"]),
    (schema_format({}, order="none"), ["json_schema", "order"]), ({"type": "regex", "regex": ""}, ["regex"]),
])
def test_what_is_unknown_is_a_422(house, response_format, where):
    status, _, body = house.chat(response_format=response_format)
    assert status == 422 and body["detail"][0]["loc"] == ["body", "response_format", *where], body


ELSEWHERE = {"guided_json": {"type": "object"}, "guided_regex": "a", "guided_choice": ["a"], "guided_grammar": "root ::= [a]", "structured_outputs": {"json": {}}, "json_schema": {}, "grammar": "root ::= [a]"}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_of_other_servers_are_told_what_to_send(client, house, name):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model=house.model, messages=QUESTION, extra_body={name: ELSEWHERE[name]})
    body = caught.value.response.json()
    detail, = body["detail"]
    assert (detail["type"], detail["loc"]) == ("extra_forbidden", ["body", name]) and '"response_format": {"type": "' in detail["msg"]
    assert detail["msg"] in body["message"]


def test_text_is_anything(client, house):
    assert ask(client, house, {"type": "text"}, max_tokens=4).choices[0].message.content


# ---- many schemas ------------------------------------------------------------------------------------------------------


def random_schema(dice, depth=0):
    kind = dice.choice(["string", "integer", "number", "boolean", "enum", "const", "any", "null"] if depth > 1 else ["object", "object", "array", "any", "string", "enum"])
    if kind == "string":
        return {"type": "string", **dice.choice([{"maxLength": dice.randint(1, 12)}, {"pattern": "^[a-f]{2,6}$"}, {"format": "date"}, {"minLength": 2, "maxLength": 9}])}
    if kind == "integer":
        return {"type": "integer", "minimum": dice.randint(-50, 0), "maximum": dice.randint(1, 500), **dice.choice([{}, {"multipleOf": dice.randint(2, 7)}])}
    if kind == "number":
        return {"type": "number", "exclusiveMinimum": 0, "maximum": dice.choice([1, 2.5, 100]), "multipleOf": dice.choice([0.5, 0.25, 0.01])}
    if kind == "enum":
        return {"enum": dice.sample(["x", "yy", 1, 2.5, None, True, "z z", [1, 2], {"k": 0}], dice.randint(1, 4))}
    if kind == "const":
        return {"const": dice.choice(["c", 0, False, None])}
    if kind == "any":
        return {"anyOf": [random_schema(dice, depth + 1) for _ in range(dice.randint(1, 3))]}
    if kind == "array":
        return {"type": "array", "items": random_schema(dice, depth + 1), "minItems": dice.randint(0, 2), "maxItems": dice.randint(2, 4)}
    if kind == "object":
        names = dice.sample(["a", "b", "name", "list", "x y"], dice.randint(1, 4))
        return {"type": "object", "properties": {n: random_schema(dice, depth + 1) for n in names}, "required": dice.sample(names, dice.randint(1, len(names))), "additionalProperties": False}
    return {"type": kind}


@pytest.mark.parametrize("seed", range(20))
def test_random_schemas_hold_at_a_high_temperature(client, house, seed):
    schema = random_schema(random.Random(seed))
    choice = ask(client, house, schema_format(schema), seed=seed, max_tokens=400).choices[0]
    assert choice.finish_reason in ("stop", "length"), (schema, choice.message.content)  # complete with the last token that it may have, at the latest
    jsonschema.validate(json.loads(choice.message.content), schema, format_checker=jsonschema.FormatChecker())


def test_grammars_are_kept(house):
    def found():
        return house.metric("worker-metrics", "bora_worker_grammars_found_total")

    for expected in (0, 1):
        before = found()
        body = house.chat(response_format=schema_format({"enum": ["only here"]}), max_tokens=80)[2]
        assert json.loads(body["choices"][0]["message"]["content"]) == "only here"
        assert found() == before + expected
    assert house.metric("worker-metrics", "bora_engine_mask_seconds_count") > 0
