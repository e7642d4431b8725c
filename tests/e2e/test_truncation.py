# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Context windowing: the oldest turns go where a request or the model allows it, and the answer says how much went."""
import json
import subprocess

import pytest

from conftest import BUILD, ROOT, until

CONTEXT = 160
SYSTEM = {"role": "system", "content": "You answer in one word."}


def turns(count):
    for i in range(count):
        yield {"role": "user", "content": f"Question {i}: which colour has a ripe tomato, please tell me?"}
        yield {"role": "assistant", "content": f"Answer {i}: red."}


LONG = [SYSTEM, *turns(12), {"role": "user", "content": "And the sky?"}]


@pytest.fixture(scope="module")
def short(house, tmp_path_factory):
    """Two more workers of the same file with a context of 160 tokens: one drops nothing by itself, one does."""
    folder = tmp_path_factory.mktemp("short")
    path = next(line.split("=", 1)[1].strip() for line in (ROOT / "models.ini").read_text().splitlines() if line.startswith("path"))
    (folder / "models.ini").write_text(f"[short]\npath = {path}\ncontext = {CONTEXT}\ntier = code\n\n[sliding]\npath = {path}\ncontext = {CONTEXT}\ntier = large\ntruncation = auto\n")
    processes = [subprocess.Popen([str(BUILD / "bin/bora-worker"), "--models-file", str(folder / "models.ini"), "--model", name, "--listen", "127.0.0.1:0", "--threads", "1", "--redis", f"127.0.0.1:{house.ports['redis-limits']}",
                                   "--redis-password-file", str(house.state / "secrets/redis-password")], stderr=subprocess.DEVNULL) for name in ("short", "sliding")]
    until(lambda: {"short", "sliding"} <= {m["id"] for m in house.send("GET", "/v1/models")[2]["data"]}, "the gateway finds the workers")
    yield "short"
    for process in processes:
        process.terminate()
        assert process.wait(30) == 0


def ask(house, model, messages, **fields):
    return house.send("POST", "/v1/chat/completions", {"model": model, "messages": messages, "temperature": 0, "max_tokens": 4, **fields})


def prompt_tokens(house, messages):
    """As the model with the long context counts them."""
    return ask(house, house.model, messages)[2]["usage"]["prompt_tokens"]


def test_without_it_a_long_conversation_is_a_400(house, short):
    for fields in ({}, {"truncation": "disabled"}, {"truncation": None}):
        status, _, body = ask(house, short, LONG, **fields)
        assert (status, body["code"]) == (400, "context_length_exceeded"), body


def test_fewest_oldest_turns_go_and_are_counted(house, short):
    status, _, body = ask(house, short, LONG, truncation="auto")
    assert status == 200, body
    usage = body["usage"]
    went = usage["truncation"]["dropped_messages"]
    assert went % 2 == 0 and 0 < went < len(LONG) - 2
    rest, one_more = [SYSTEM, *LONG[1 + went:]], [SYSTEM, *LONG[1 + went - 2:]]
    assert usage["prompt_tokens"] == prompt_tokens(house, rest) <= CONTEXT - 4 < prompt_tokens(house, one_more)
    assert usage["truncation"]["dropped_tokens"] == prompt_tokens(house, LONG) - usage["prompt_tokens"]
    assert body["choices"][0]["message"]["content"] == ask(house, short, rest)[2]["choices"][0]["message"]["content"]


def test_what_fits_is_left_alone(house, short):
    status, _, body = ask(house, short, [SYSTEM, LONG[-1]], truncation="auto")
    assert status == 200 and "truncation" not in body["usage"]


def test_stream_says_it_too(house, short):
    text = ask(house, short, LONG, truncation="auto", stream=True)[2]
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    usage = next(chunk["usage"] for chunk in chunks if chunk.get("usage"))
    assert usage["truncation"]["dropped_messages"] > 0 and usage["truncation"]["dropped_tokens"] > 0


def test_models_file_allows_it_and_a_request_overrides_that(house, short):
    assert ask(house, "sliding", LONG)[2]["usage"]["truncation"]["dropped_messages"] > 0
    assert ask(house, "sliding", LONG, truncation="disabled")[0] == 400


def test_last_turn_that_is_too_long_is_a_400(house, short):
    status, _, body = ask(house, short, [*LONG[:5], {"role": "user", "content": "word " * 400}], truncation="auto")
    assert (status, body["code"]) == (400, "context_length_exceeded") and "last turn" in body["message"]


def test_without_max_tokens_an_eighth_of_the_context_is_kept_free(house, short):
    status, _, body = ask(house, short, LONG, truncation="auto", max_tokens=None)
    assert status == 200 and body["usage"]["prompt_tokens"] <= CONTEXT - CONTEXT // 8


def test_a_prompt_that_fits_to_the_token_is_left_whole(house, short):
    whole = prompt_tokens(house, LONG[:6] + [LONG[-1]])
    assert whole < CONTEXT
    fits = ask(house, short, LONG[:6] + [LONG[-1]], truncation="auto", max_tokens=CONTEXT - whole)[2]
    assert fits["usage"]["prompt_tokens"] == whole and "truncation" not in fits["usage"]
    less = ask(house, short, LONG[:6] + [LONG[-1]], truncation="auto", max_tokens=CONTEXT - whole + 1)[2]
    assert less["usage"]["truncation"]["dropped_messages"] > 0
    status, _, body = ask(house, short, LONG[:6] + [LONG[-1]], max_tokens=CONTEXT - whole + 1)
    assert (status, body["code"]) == (400, "context_length_exceeded")


def test_a_result_never_loses_its_question(house, short):
    turn = [{"role": "user", "content": "Weather, please, in the town of Bern?"}, {"role": "assistant", "content": "Let me see.", "tool_calls": [{"id": "abcdefghi", "function": {"name": "weather", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "abcdefghi", "content": "{\"temp\": 21}"},
            {"role": "assistant", "content": "It is warm."}]
    messages = [SYSTEM, *turn * 5, {"role": "user", "content": "And the sky?"}]
    status, _, body = ask(house, short, messages, truncation="auto")
    assert status == 200, body
    went = body["usage"]["truncation"]["dropped_messages"]
    assert went % len(turn) == 0 and 0 < went
    assert body["usage"]["prompt_tokens"] == prompt_tokens(house, [SYSTEM, *messages[1 + went:]])


def test_only_the_two_words_are_known(house, short):
    status, _, body = ask(house, short, LONG, truncation="middle")
    assert status == 422 and body["detail"][0]["loc"] == ["body", "truncation"]
