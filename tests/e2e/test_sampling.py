# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The sampling settings that other open servers know, through the public `openai` client's extra_body, on the real model."""
import subprocess
import threading
import time

import openai
import pytest

from conftest import BUILD, PACE, ROOT, free_ports, until

STORY = [{"role": "user", "content": "Tell me a story."}]


@pytest.fixture(scope="module")
def client(house):
    return openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)


def create(client, house, extra, **fields):
    return client.chat.completions.create(**{"model": house.model, "messages": STORY, "max_tokens": 16, "temperature": 1.2, "seed": 3, "extra_body": extra, **fields})


def text(client, house, extra, **fields):
    return create(client, house, extra, **fields).choices[0].message.content


# What each leaves is one token, so that the answer is the greedy one whatever the seed.
@pytest.mark.parametrize("extra", [{"top_k": 1}, {"min_p": 1}, {"top_k": 50, "min_p": 1, "typical_p": 0.9, "repetition_penalty": 1}])
def test_filters_that_leave_one_are_greedy(client, house, extra):
    greedy = text(client, house, {}, temperature=0)
    assert text(client, house, extra) == greedy
    assert text(client, house, {}) != greedy


@pytest.mark.parametrize("extra", [{"top_k": -1}, {"top_k": 0, "min_p": 0, "typical_p": 1, "repetition_penalty": 1, "best_of": 1}, {"top_k": 1000000, "use_beam_search": False, "length_penalty": 1, "early_stopping": False}])
def test_neutral_values_change_nothing(client, house, extra):
    assert text(client, house, extra) == text(client, house, {})


@pytest.mark.parametrize("extra", [{"top_k": 5}, {"min_p": 0.1}, {"typical_p": 0.3}, {"repetition_penalty": 1.5}])
def test_each_filter_changes_answers_and_keeps_seeds(client, house, extra):
    with_it = [text(client, house, extra, seed=seed) for seed in range(4)]
    assert with_it == [text(client, house, extra, seed=seed) for seed in range(4)]
    assert with_it != [text(client, house, {}, seed=seed) for seed in range(4)]


def test_repetition_penalty_reaches_the_prompt(client, house):
    """A greedy answer repeats the prompt's word; a strong penalty on it, from the prompt alone, makes it another."""
    messages = [{"role": "user", "content": "Repeat this word: banana banana banana banana"}]
    plain = text(client, house, {}, messages=messages, temperature=0, max_tokens=4)
    assert text(client, house, {"repetition_penalty": 5}, messages=messages, temperature=0, max_tokens=4) != plain


def test_best_of_is_the_likeliest_of_its_candidates(client, house):
    def mean(choice):
        values = [t.logprob for t in choice.logprobs.content]
        return sum(values) / len(values)

    every = create(client, house, {}, n=4, logprobs=True)
    ranked = sorted(every.choices, key=mean, reverse=True)
    best = create(client, house, {"best_of": 4}, n=2, logprobs=True)
    assert [c.message.content for c in best.choices] == [c.message.content for c in ranked[:2]]
    assert [c.index for c in best.choices] == [0, 1]
    assert best.usage.completion_tokens == every.usage.completion_tokens and best.usage.prompt_tokens == every.usage.prompt_tokens


def test_best_of_like_n_streams(client, house):
    chunks = list(create(client, house, {"best_of": 2}, n=2, stream=True))
    assert {c.choices[0].index for c in chunks} == {0, 1}


def test_a_long_burst_of_log_probabilities_comes_whole(client, house):
    """Letters that a stop string holds back, and tokens without text between them, come all at once in the end: a megabyte of log-probabilities."""
    letter, mark = "81", "3"  # "a" and a control token of this model's
    chunks = create(client, house, {}, temperature=0, frequency_penalty=0.2, logit_bias={letter: 100, mark: 100}, stop=["a" * 255 + "b"], max_tokens=340, stream=True, logprobs=True, top_logprobs=20)
    choices = [c.choices[0] for c in chunks]
    tokens = [t for c in choices if c.logprobs for t in c.logprobs.content]
    assert choices[-1].finish_reason == "length" and len(tokens) == 340
    assert "".join(c.delta.content or "" for c in choices) == "".join(t.token for t in tokens) and 100 < sum(t.token == "a" for t in tokens) < 256
    assert all(len(t.top_logprobs) == 20 for t in tokens)


def test_one_beam_is_greedy(client, house):
    greedy = create(client, house, {}, temperature=0)
    beam = create(client, house, {"use_beam_search": True}, temperature=0)
    assert beam.choices[0].message.content == greedy.choices[0].message.content and beam.choices[0].finish_reason == greedy.choices[0].finish_reason
    assert beam.usage.completion_tokens == greedy.usage.completion_tokens


def test_beam_search_gives_the_n_best_of_its_beams(client, house):
    extra = {"use_beam_search": True, "best_of": 6, "length_penalty": 1.0}
    three = create(client, house, extra, n=3, temperature=0)
    texts = [c.message.content for c in three.choices]
    assert [c.index for c in three.choices] == [0, 1, 2] and len(set(texts)) == 3 and all(texts)
    assert 0 < three.usage.completion_tokens <= 3 * 16
    assert [c.message.content for c in create(client, house, extra, n=3, temperature=0).choices] == texts
    assert create(client, house, extra, n=1, temperature=0).choices[0].message.content == texts[0]
    width_by_n = create(client, house, {"use_beam_search": True}, n=6, temperature=0)
    assert [c.message.content for c in width_by_n.choices][:3] == texts


def test_a_beam_search_obeys_stop(client, house):
    """It ends where the stop string does, and counts no token behind that."""
    greedy = create(client, house, {}, temperature=0).choices[0].message.content
    stop = [greedy[12:15]]  # of several tokens, or ends inside one
    plain = create(client, house, {}, temperature=0, stop=stop)
    assert plain.choices[0].finish_reason == "stop" and plain.usage.completion_tokens < 16
    one = create(client, house, {"use_beam_search": True}, temperature=0, stop=stop)
    assert one.choices[0].message.content == plain.choices[0].message.content and one.choices[0].finish_reason == "stop"
    assert one.usage.completion_tokens == plain.usage.completion_tokens
    letters = [" ", "e", "a"]
    for n in (1, 3):
        some = create(client, house, {"use_beam_search": True, "best_of": 3}, temperature=0, stop=letters, n=n)
        for choice in some.choices:
            assert choice.finish_reason == "stop" and not any(letter in choice.message.content for letter in letters)
        assert n <= some.usage.completion_tokens < n * 16


def test_a_beam_search_wider_than_the_worker_is_a_400(house, small_worker):
    status, _, body = house.chat(model=small_worker, use_beam_search=True, best_of=2)
    assert status == 400 and "2" in body["message"] and body["param"] == "best_of", body


def test_more_answers_than_a_worker_ever_takes_is_a_400(house, small_worker):
    limits = [house.chat(model=small_worker, max_tokens=1, **extra)[::2] for extra in ({"n": 128}, {"best_of": 16, "n": 1})]
    assert [status for status, _ in limits] == [400, 400] and [body["param"] for _, body in limits] == ["n", "best_of"], limits


def test_max_tokens_past_the_context_is_named(house):
    status, _, body = house.chat(max_tokens=100000)
    assert status == 400 and body["param"] == "max_tokens" and body["code"] == "context_length_exceeded", body


@pytest.mark.parametrize("extra, kind", [
    ({"top_k": -2}, "greater_than_equal"), ({"top_k": 1048577}, "less_than_equal"), ({"top_k": 1.5}, "int_from_float"), ({"min_p": -0.1}, "greater_than_equal"), ({"min_p": 1.1}, "less_than_equal"),
    ({"typical_p": 0}, "greater_than"), ({"typical_p": 1.1}, "less_than_equal"), ({"repetition_penalty": 0}, "greater_than"), ({"repetition_penalty": 11}, "less_than_equal"),
    ({"best_of": 0}, "greater_than_equal"), ({"best_of": 17}, "less_than_equal"), ({"use_beam_search": 7}, "bool_type"), ({"length_penalty": "x"}, "float_type"), ({"length_penalty": 11}, "less_than_equal"),
    ({"early_stopping": "never"}, "bool_type")])
def test_outside_a_range_is_422_with_the_path(client, house, extra, kind):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        create(client, house, extra)
    detail = caught.value.response.json()["detail"]
    assert [(d["loc"], d["type"]) for d in detail] == [(["body", *extra], kind)]


@pytest.mark.parametrize("extra, fields, param", [
    ({"best_of": 2}, {"n": 3}, "best_of"), ({"best_of": 3}, {"stream": True}, "best_of"), ({"length_penalty": 2}, {}, "length_penalty"), ({"early_stopping": True}, {}, "early_stopping"),
    ({"use_beam_search": True}, {"stream": True, "temperature": 0}, "use_beam_search"), ({"use_beam_search": True}, {}, "temperature"), ({"use_beam_search": True, "top_k": 5}, {"temperature": 0}, "top_k"),
    ({"use_beam_search": True}, {"temperature": 0, "top_p": 0.5}, "top_p"), ({"use_beam_search": True}, {"temperature": 0, "logprobs": True}, "logprobs"), ({"best_of": 2, "prediction": {"type": "content", "content": "x"}}, {}, "prediction")])
def test_what_cannot_go_together_is_a_400_by_name(client, house, extra, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, house, extra, **fields)
    assert caught.value.body["param"] == param


def test_a_shared_prompt_is_cached_for_its_tenant_only(house):
    """Two keys of one tenant share a prompt's cache; another tenant's request finds nothing of it."""
    first, second, stranger = (house.new_key(tenant=tenant)[0] for tenant in ("one", "one", "two"))
    words = "The quick brown fox jumps over the lazy dog near the old river bank. " * 12
    cached = [house.chat(words, key=key, max_tokens=1, **extra)[2]["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)
              for key, extra in ((first, {}), (second, {}), (stranger, {"user": "one", "prompt_cache_key": "one"}), (stranger, {}))]
    assert cached[0] == 0 and cached[1] >= 64 and cached[2] == 0 and cached[3] >= 64


@pytest.fixture(scope="module")
def small_worker(house, tmp_path_factory):
    """A second worker with the same model under another name, one slot and a queue of one."""
    tmp_path = tmp_path_factory.mktemp("crowded")
    section = next(line for line in (ROOT / "models.ini").read_text().split("[") if line.startswith(house.model))
    lines = [line for line in section.splitlines()[1:] if not line.strip().startswith(("aliases", "tier"))]
    (tmp_path / "models.ini").write_text("[crowded]\n" + "\n".join(lines) + "\n")
    (port,) = free_ports(1)
    process = subprocess.Popen([str(BUILD / "bin/bora-worker"), "--models-file", str(tmp_path / "models.ini"), "--listen", f"127.0.0.1:{port}", "--sequences-max", "1", "--queue-max", "1", "--threads", "1",
                                "--redis", f"127.0.0.1:{house.ports['redis-limits']}", "--redis-password-file", str(house.state / "secrets/redis-password")], stderr=subprocess.DEVNULL)
    until(lambda: house.send("GET", "/v1/models/crowded")[0] == 200, "the small worker is known")
    yield "crowded"
    process.terminate()
    assert process.wait(60 * PACE) == 0


def test_a_full_engine_says_when_to_come_again(house, small_worker):
    results = []

    def one():
        results.append(house.chat("Count to one hundred.", model=small_worker, max_tokens=120))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [r[0] for r in results]
    assert set(statuses) == {200, 429} and statuses.count(200) >= 2, statuses
    for status, headers, body in results:
        if status == 429:
            assert body["code"] == "3505" and 1 <= int(headers["retry-after"]) <= 60


def test_a_tenant_that_keeps_an_engine_full_does_not_shut_others_out(house, small_worker):
    """Its waiting request goes, with the answer of a full queue; nobody of another tenant is refused."""
    (many, _), (few, _) = house.new_key(tenant="many"), house.new_key(tenant="few")
    results, over = [], threading.Event()

    def one():
        while not over.is_set():
            results.append(house.chat("Count to one hundred.", key=many, model=small_worker, max_tokens=60))
            if results[-1][0] == 429:
                time.sleep(0.05)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: any(status == 429 for status, _, _ in results), "the engine is full")
        assert [house.chat("Say hi.", key=few, model=small_worker, max_tokens=2)[0] for _ in range(5)] == [200] * 5
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for status, headers, body in results:
        assert status == 200 or (status, body["code"]) == (429, "3505") and 1 <= int(headers["retry-after"]) <= 60
