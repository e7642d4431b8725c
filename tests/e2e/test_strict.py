# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The strict dialect (contract 1.18): what Mistral does not name is refused."""
import subprocess

import pytest

from conftest import BUILD, ROOT, another_gateway, until


@pytest.fixture(scope="module")
def strict(house):
    with another_gateway(house, "--dialect", "mistral") as gateway:
        yield gateway.base


@pytest.mark.parametrize("fields, name", [({"seed": 1}, "seed"), ({"max_completion_tokens": 5}, "max_completion_tokens"), ({"logprobs": True}, "logprobs"), ({"logit_bias": {"1": 1}}, "logit_bias"),
                                          ({"user": "u"}, "user"), ({"store": False}, "store"), ({"stream_options": {}}, "stream_options"), ({"top_k": 5}, "top_k"), ({"min_p": 0.1}, "min_p"), ({"typical_p": 0.5}, "typical_p"),
                                          ({"repetition_penalty": 1.1}, "repetition_penalty"), ({"best_of": 2}, "best_of"), ({"use_beam_search": True}, "use_beam_search"), ({"length_penalty": 1}, "length_penalty"),
                                          ({"early_stopping": True}, "early_stopping"), ({"truncation": "auto"}, "truncation"), ({"guided_json": {}}, "guided_json")])
def test_fields_that_mistral_does_not_name_are_extra(house, strict, fields, name):
    status, _, body = house.chat(base=strict, **fields)
    assert status == 422 and body["detail"][0]["msg"] == "Extra inputs are not permitted"
    assert body["detail"][0] | {"input": 0, "msg": 0, "ctx": 0} == {"type": "extra_forbidden", "loc": ["body", name], "input": 0, "msg": 0, "ctx": 0}


def test_developer_role_and_names_are_refused(house, strict):
    assert house.chat([{"role": "developer", "content": "a"}, {"role": "user", "content": "a"}], base=strict)[0] == 422
    status, _, body = house.chat([{"role": "user", "content": "a", "name": "ada"}], base=strict)
    assert status == 422 and body["detail"][0]["loc"] == ["body", "messages", 0, "user", "name"]


def test_refusals_have_nothing_that_mistral_has_not(house, strict):
    assert set(house.chat(base=strict, temperature=9)[2]) == {"detail"}
    assert house.chat(base=strict, key="bora_wrong")[2] == {"detail": "Unauthorized"}
    assert house.send("GET", "/v1/models", key=False, base=strict)[2] == {"detail": "Unauthorized"}


def test_temperature_ends_at_one_and_a_half(house, strict):
    assert house.chat(base=strict, temperature=1.5, max_tokens=1)[0] == 200
    assert house.chat(base=strict, temperature=1.6)[0] == 422


def test_answer_has_the_contract_shape(house, strict):
    status, headers, body = house.chat(base=strict, random_seed=3)
    assert status == 200 and len(body["id"]) == 32
    assert set(body) == {"id", "object", "created", "model", "choices", "usage"}
    choice = body["choices"][0]
    assert set(choice) == {"index", "message", "finish_reason"}
    assert choice["message"]["role"] == "assistant" and choice["message"]["tool_calls"] is None
    assert headers["mistral-correlation-id"]


def test_user_after_tool_is_refused(house, strict):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "tool", "content": "c"}, {"role": "user", "content": "d"}]
    status, _, body = house.chat(messages, base=strict)
    assert (status, body["code"], body["message"]) == (400, "3230", "Unexpected role 'user' after role 'tool'")


@pytest.fixture(scope="module")
def short_model(house, tmp_path_factory):
    """A second worker: the same file under another name, with a context of 160 tokens."""
    folder = tmp_path_factory.mktemp("short")
    path = next(line.split("=", 1)[1].strip() for line in (ROOT / "models.ini").read_text().splitlines() if line.startswith("path"))
    (folder / "models.ini").write_text(f"[short]\npath = {path}\ncontext = 160\ntier = code\n")
    process = subprocess.Popen([str(BUILD / "bin/bora-worker"), "--models-file", str(folder / "models.ini"), "--listen", "127.0.0.1:0", "--threads", "1", "--redis", f"127.0.0.1:{house.ports['redis-limits']}",
                                "--redis-password-file", str(house.state / "secrets/redis-password")], stderr=subprocess.DEVNULL)
    yield "short"
    process.terminate()
    assert process.wait(30) == 0


def test_context_filled_is_model_length(house, strict, short_model):
    until(lambda: short_model in [m["id"] for m in house.send("GET", "/v1/models", base=strict)[2]["data"]], "the gateway finds the second worker")
    body = {"model": short_model, "messages": [{"role": "user", "content": "Write a long story about a dragon."}], "temperature": 0}
    status, _, answer = house.send("POST", "/v1/chat/completions", body, base=strict)
    assert status == 200 and answer["choices"][0]["finish_reason"] == "model_length"
    assert answer["usage"]["total_tokens"] == 160
    _, _, relaxed = house.send("POST", "/v1/chat/completions", body)
    assert relaxed["choices"][0]["finish_reason"] == "length"
