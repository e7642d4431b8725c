# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the public `mistralai` client, unmodified, complete and stream?"""
import json

import pytest

try:
    from mistralai.client import Mistral
    from mistralai.client import errors
except ImportError:
    from mistralai import Mistral
    from mistralai import models as errors
from conftest import free_ports, lone_gateway

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@pytest.fixture(scope="module")
def client(house):
    with Mistral(api_key=house.key, server_url=house.base) as client:
        yield client


def test_completion_answers(client, house):
    answer = client.chat.complete(model=house.model, messages=QUESTION, max_tokens=24, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_gives_the_same_text_and_usage_on_the_last_chunk(client, house):
    whole = client.chat.complete(model=house.model, messages=QUESTION, max_tokens=24, temperature=0)
    chunks = [event.data for event in client.chat.stream(model=house.model, messages=QUESTION, max_tokens=24, temperature=0)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_random_seed_reproduces(client, house):
    texts = {client.chat.complete(model=house.model, messages=QUESTION, max_tokens=12, temperature=1.2, random_seed=5).choices[0].message.content for _ in range(2)}
    assert len(texts) == 1


def test_prefix_is_continued_and_contained(client, house):
    answer = client.chat.complete(model=house.model, messages=[*QUESTION, {"role": "assistant", "content": "The capital city is", "prefix": True}], max_tokens=8, temperature=0)
    assert answer.choices[0].message.content.startswith("The capital city is")
    assert "Paris" in answer.choices[0].message.content


def test_safe_prompt_lengthens_the_prompt(client, house):
    plain = client.chat.complete(model=house.model, messages=QUESTION, max_tokens=1)
    safe = client.chat.complete(model=house.model, messages=QUESTION, max_tokens=1, safe_prompt=True)
    assert safe.usage.prompt_tokens > plain.usage.prompt_tokens


def test_models_list(client, house):
    assert [m.id for m in client.models.list().data] == [house.model]
    assert client.models.retrieve(model_id=house.model).max_context_length == 8192


def test_validation_error_has_the_path(client, house):
    with pytest.raises(errors.HTTPValidationError) as caught:
        client.chat.complete(model=house.model, messages=QUESTION, temperature=9)
    detail = caught.value.data.detail
    assert [(list(e.loc), e.type) for e in detail] == [(["body", "temperature"], "less_than_equal")]


def test_errors_have_their_statuses_and_bodies(client, house):
    def complete(key, **fields):
        with Mistral(api_key=key, server_url=house.base) as other:
            return other.chat.complete(**{"model": house.model, "messages": QUESTION, "max_tokens": 1, **fields})

    limited, elsewhere = house.new_key(limits={"requests_per_minute": 1})[0], house.new_key(scopes={"models": ["another"]})[0]
    complete(limited)
    for status, kind, call in ((401, "authentication_error", lambda: complete("bora_aaaaaaaaaaaa_" + "x" * 43)), (403, "permission_denied", lambda: complete(elsewhere)), (404, "invalid_model", lambda: client.models.retrieve(model_id="nothing")),
                               (400, "invalid_model", lambda: complete(house.key, model="nothing")), (429, "rate_limited", lambda: complete(limited))):
        with pytest.raises(errors.SDKError) as caught:
            call()
        assert (caught.value.status_code, json.loads(caught.value.body)["type"]) == (status, kind), caught.value.body


def test_a_house_without_its_keys_service_is_a_server_error(house, tmp_path):
    with lone_gateway(free_ports(1)[0], tmp_path / "log") as gateway, Mistral(api_key=house.key, server_url=gateway.base) as client:
        with pytest.raises(errors.SDKError) as caught:
            client.chat.complete(model=house.model, messages=QUESTION, max_tokens=1)
        assert caught.value.status_code == 503
