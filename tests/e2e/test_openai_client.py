# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the public `openai` client, unmodified, complete and stream?"""
import openai
import pytest

from conftest import free_ports, lone_gateway


@pytest.fixture(scope="module")
def client(house):
    return openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)


QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


def test_completion_answers_and_counts(client, house):
    answer = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=24, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.object == "chat.completion" and answer.model == house.model
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 < answer.usage.completion_tokens <= 24


def test_stream_gives_the_same_text_in_pieces(client, house):
    whole = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=24, temperature=0)
    chunks = list(client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=24, temperature=0, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len(chunks) > 5 and len({c.id for c in chunks}) == 1


def test_include_usage_adds_a_last_chunk_without_choices(client, house):
    chunks = list(client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=4, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.prompt_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])


def test_seed_reproduces_and_other_seeds_differ(client, house):
    def text(seed):
        return client.chat.completions.create(model=house.model, messages=[{"role": "user", "content": "Tell me a story."}], max_tokens=20, temperature=1.2, seed=seed).choices[0].message.content

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(4)}) > 1


def test_n_answers_share_the_prompt(client, house):
    one = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=6, seed=1, temperature=1)
    three = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=6, seed=1, temperature=1, n=3)
    assert [c.index for c in three.choices] == [0, 1, 2]
    assert three.choices[0].message.content == one.choices[0].message.content
    assert three.usage.prompt_tokens == one.usage.prompt_tokens


def test_stop_never_shows(client, house):
    plain = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=24, temperature=0).choices[0].message.content
    word = plain.split()[3]
    answer = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=24, temperature=0, stop=[word]).choices[0]
    assert word not in answer.message.content and answer.finish_reason == "stop"
    assert plain.startswith(answer.message.content)


def test_logprobs_are_there_and_sorted(client, house):
    answer = client.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3)
    entries = answer.choices[0].logprobs.content
    assert len(entries) >= 1
    for entry in entries:
        values = [t.logprob for t in entry.top_logprobs]
        assert len(values) == 3 and values == sorted(values, reverse=True) and values[0] <= 0
        assert entry.token == entry.top_logprobs[0].token  # greedy takes the likeliest


def test_newer_names_are_understood(client, house):
    answer = client.chat.completions.create(model=house.model, messages=[{"role": "developer", "content": "Answer briefly."}, {"role": "user", "content": "Hi", "name": "ada"}],
                                            max_completion_tokens=3, user="u1", metadata={"a": "b"}, service_tier="auto", store=False)
    assert answer.usage.completion_tokens <= 3


def test_content_parts_of_text(client, house):
    answer = client.chat.completions.create(model=house.model, messages=[{"role": "user", "content": [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France? Answer in one sentence."}]}], max_tokens=16, temperature=0)
    assert answer.choices[0].message.content


def test_alias_and_tier_reach_the_model(client, house):
    for name in ("smollm2", "small"):
        assert client.chat.completions.create(model=name, messages=QUESTION, max_tokens=1).model == house.model


def test_models_list_and_retrieve(client, house):
    assert [m.id for m in client.models.list()] == [house.model]
    assert client.models.retrieve("smollm2").id == house.model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_wrong_key_raises_authentication_error(house):
    stranger = openai.OpenAI(base_url=house.base + "/v1", api_key="bora_aaaaaaaaaaaa_" + "x" * 43, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model=house.model, messages=QUESTION)


def test_unsupported_features_are_refused_by_name(client, house):
    for fields, word in (({"store": True}, "store"), ({"functions": [{"name": "f", "parameters": {"type": "object"}}]}, "functions")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=house.model, messages=QUESTION, **fields)
        assert caught.value.body["param"] == word


def test_logprobs_end_where_the_text_ends(client, house):
    """No token of a stop string or of the end shows in the log-probabilities, whole or streamed."""
    asked = {"model": house.model, "messages": QUESTION, "max_tokens": 24, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0]
    assert "".join(t.token for t in whole.logprobs.content) == whole.message.content and "Paris" in whole.message.content
    cut = client.chat.completions.create(**asked, stop=["Paris"]).choices[0]
    assert "Paris" not in cut.message.content and "".join(t.token for t in cut.logprobs.content).strip() == cut.message.content.strip()
    pieces = [c.choices[0] for c in client.chat.completions.create(**asked, stop=["Paris"], stream=True) if c.choices]
    tokens = [t.token for p in pieces if p.logprobs for t in p.logprobs.content]
    assert "Paris" not in "".join(tokens) and tokens == [t.token for t in cut.logprobs.content]


# ---- each class of errors is the client's own


def with_key(house, key):
    return openai.OpenAI(base_url=house.base + "/v1", api_key=key, max_retries=0)


def ask(client, house, **fields):
    return client.chat.completions.create(model=house.model, messages=QUESTION, **{"max_tokens": 1, **fields})


def test_errors_are_of_the_classes_that_clients_know(client, house):
    admin, limited = with_key(house, house.admin_key), with_key(house, house.new_key(limits={"requests_per_minute": 1})[0])
    elsewhere = with_key(house, house.new_key(scopes={"models": ["another"]})[0])
    ask(limited, house)
    for raised, call in ((openai.AuthenticationError, lambda: ask(with_key(house, "bora_aaaaaaaaaaaa_" + "x" * 43), house)), (openai.PermissionDeniedError, lambda: ask(elsewhere, house)),
                         (openai.PermissionDeniedError, lambda: client.get("/admin/api-keys", cast_to=object)), (openai.NotFoundError, lambda: client.models.retrieve("nothing")),
                         (openai.NotFoundError, lambda: admin.get("/admin/api-keys/nothing", cast_to=object)), (openai.BadRequestError, lambda: client.chat.completions.create(model="nothing", messages=QUESTION)),
                         (openai.UnprocessableEntityError, lambda: ask(client, house, temperature=9)), (openai.UnprocessableEntityError, lambda: admin.get("/admin/usage?month=13", cast_to=object)),
                         (openai.ConflictError, lambda: [admin.post("/admin/workspaces", body={"name": "twice"}, cast_to=object) for _ in range(2)]), (openai.RateLimitError, lambda: ask(limited, house))):
        with pytest.raises(raised) as caught:
            call()
        assert caught.value.request_id == caught.value.response.headers["x-request-id"] and caught.value.message
    assert int(caught.value.response.headers["retry-after"]) >= 1 and caught.value.code == "1300"


def test_a_house_without_its_keys_service_is_a_server_error(house, tmp_path):
    with lone_gateway(free_ports(1)[0], tmp_path / "log") as gateway:
        client = openai.OpenAI(base_url=gateway.base + "/v1", api_key=house.key, max_retries=0)
        for call in (lambda: ask(client, house), lambda: client.get("/users/me", cast_to=object)):
            with pytest.raises(openai.InternalServerError) as caught:
                call()
            assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"]
