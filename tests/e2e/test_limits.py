# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Limits are exact: not one request over at 64 concurrent; tokens are reserved for the worst case and the rest comes back."""
import json
import re
import socket
import threading
import time
import urllib.request

import pytest

from conftest import PACE, another_gateway, until


@pytest.fixture(scope="module")
def second(house):
    """Another gateway, which shares nothing but Redis and the keys service."""
    with another_gateway(house) as gateway:
        yield gateway


def many(house, key, count, bases=(None,), **fields):
    """`count` requests at once, in turns over the gateways of `bases`."""
    results, barrier = [], threading.Barrier(count)

    def one(base):
        barrier.wait()
        results.append(house.chat(key=key, base=base, **{"max_tokens": 1, **fields}))

    threads = [threading.Thread(target=one, args=(bases[i % len(bases)],)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_not_one_request_over_at_64_concurrent(house):
    key, _ = house.new_key(limits={"requests_per_minute": 10})
    results = many(house, key, 64)
    statuses = [r[0] for r in results]
    assert statuses.count(200) == 10 and statuses.count(429) == 54, statuses
    _, headers, body = next(r for r in results if r[0] == 429)
    assert (body["type"], body["code"]) == ("rate_limited", "1300") and re.fullmatch(r"Rate limit exceeded: this key has 10 requests per minute; try again in \d+ s", body["message"])
    assert 1 <= int(headers["retry-after"]) <= 61
    assert int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"]) < int(headers["retry-after-ms"]) + 1000
    _, headers, _ = next(r for r in results if r[0] == 200)
    assert headers["x-ratelimit-limit-req-minute"] == "10" and 0 <= int(headers["x-ratelimit-remaining-req-minute"]) < 10


def test_not_one_request_over_with_two_gateways(house, second):
    key, _ = house.new_key(limits={"requests_per_minute": 10})
    statuses = [r[0] for r in many(house, key, 64, bases=(house.base, second.base))]
    assert statuses.count(200) == 10 and statuses.count(429) == 54, statuses


@pytest.mark.parametrize("gateways", [1, 2])
def test_not_one_token_over_at_64_concurrent(house, second, gateways):
    """All reserve their worst case at once, and nobody has settled: an answer of 1 token uses all that it reserved."""
    prompt = house.chat(max_tokens=1)[2]["usage"]["prompt_tokens"]
    key, _ = house.new_key(limits={"tokens_per_minute": 7 * (prompt + 1) + prompt})
    results = many(house, key, 64, bases=(house.base, second.base)[:gateways])
    assert sorted(r[0] for r in results) == [200] * 7 + [429] * 57
    assert sum(r[2]["usage"]["total_tokens"] for r in results if r[0] == 200) == 7 * (prompt + 1)


def test_a_request_denied_for_its_tokens_takes_no_request(house):
    key, _ = house.new_key(limits={"requests_per_minute": 2, "tokens_per_minute": 200})
    for _ in range(3):
        status, headers, _ = house.chat(key=key, max_tokens=190)
        assert status == 429 and headers["x-ratelimit-remaining-req-minute"] == "2"
    assert [house.chat(key=key, max_tokens=1)[0] for _ in range(3)] == [200, 200, 429]


def test_prompts_that_are_too_long_count_as_requests(house):
    """Counting their tokens is work."""
    key, _ = house.new_key(limits={"requests_per_minute": 2})
    assert [house.chat("word " * 20000, key=key)[0] for _ in range(3)] == [400, 400, 429]


def test_revocation_is_seen_by_the_other_gateway_at_once(house, second):
    """Both know the key; one hears of its end, the other looks at the record."""
    key, key_id = house.new_key()
    assert [house.chat(key=key, base=base, max_tokens=1)[0] for base in (house.base, second.base)] == [200, 200]
    house.revoke(key_id)
    for base in (second.base, house.base):
        assert house.chat(key=key, base=base, max_tokens=1)[0] == 401
        assert house.chat(key=key, base=base, max_tokens=-1)[0] == 401
        assert house.send("GET", "/v1/models", key=key, base=base)[0] == 401


def test_not_one_token_over_when_answers_use_all_they_reserved(house):
    """Each reserves its prompt and 40 tokens at once; the limit holds ten of them."""
    prompt = house.chat(max_tokens=1)[2]["usage"]["prompt_tokens"]
    key, _ = house.new_key(limits={"tokens_per_minute": 10 * (prompt + 40) + 39})
    results = many(house, key, 64, max_tokens=40, logit_bias={"0": -100, "2": -100})  # without an end: what is reserved is used
    admitted = [body["usage"] for status, _, body in results if status == 200]
    assert {r[0] for r in results} == {200, 429} and len(admitted) == 10, [r[0] for r in results]
    assert all(usage["total_tokens"] == prompt + 40 for usage in admitted)
    for status, headers, body in results:
        if status == 429:
            assert (body["type"], body["code"]) == ("rate_limited", "1300") and 1 <= int(headers["retry-after"]) <= 61
        assert int(headers["x-ratelimit-remaining-tokens-minute"]) >= 0


def test_tokens_are_reserved_and_returned(house):
    key, _ = house.new_key(limits={"tokens_per_minute": 1000})
    status, headers, body = house.chat(key=key, max_tokens=500, temperature=0)
    assert status == 200
    prompt, used = body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]
    assert int(headers["x-ratelimit-tokens-query-cost"]) == prompt + 500
    assert int(headers["x-ratelimit-remaining-tokens-minute"]) == 1000 - prompt - 500

    # The next request sees what the first really used, and reserves its own worst case: a prompt and one token.
    until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "the first has settled")
    _, after, _ = house.chat(key=key, max_tokens=1)
    assert used < prompt + 500 and int(after["x-ratelimit-remaining-tokens-minute"]) == 1000 - used - (prompt + 1)
    status, _, body = house.chat(key=key, max_tokens=2000)
    assert status == 429 and "2000" not in body["message"] and str(prompt + 2000) in body["message"]


def test_model_limits_bind_beside_the_keys_own(house):
    key, _ = house.new_key(limits={"requests_per_minute": 100}, model_limits=[{"model": house.model, "limits": {"requests_per_minute": 2}}])
    assert [house.chat(key=key, max_tokens=1)[0] for _ in range(3)] == [200, 200, 429]
    assert re.fullmatch(r"Rate limit exceeded: this key has 2 requests per minute with this model; try again in \d+ s", house.chat(key=key, max_tokens=1)[2]["message"])


def test_a_refusal_for_tokens_says_so(house):
    key, _ = house.new_key(limits={"requests_per_minute": 100, "tokens_per_minute": 300, "tokens_per_day": 5000})
    usage = house.chat(key=key, max_tokens=100, logit_bias={"0": -100, "2": -100})[2]["usage"]
    until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "it has settled")
    status, headers, body = house.chat(key=key, max_tokens=200)
    left, asked = 300 - usage["total_tokens"], usage["prompt_tokens"] + 200
    found = re.fullmatch(rf"Rate limit exceeded: this key has 300 tokens per minute; {left} are left, this request asks for {asked}; try again in (\d+) s", body["message"])
    assert status == 429 and found and found[1] == headers["retry-after"], body
    assert (headers["x-ratelimit-limit-tokens-day"], headers["x-ratelimit-remaining-tokens-day"]) == ("5000", str(5000 - usage["total_tokens"])) and "x-ratelimit-limit-tokens-month" not in headers


def test_a_refusal_for_spend_has_amounts_to_read_and_days(house):
    """No exponents, however small they are."""
    house.send("PUT", "/v1/admin/prices", {"currency": "EUR", "prices": [{"model": "small", "input_per_million": 0.1, "output_per_million": 0.1}]}, key=house.admin_key)
    try:
        key, _ = house.new_key(limits={"spend_per_month": 0.00001})
        usage = house.chat(key=key, max_tokens=20, logit_bias={"0": -100, "2": -100})[2]["usage"]
        until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "it has settled")
        assert house.chat(key=key, max_tokens=4000)[2]["message"].startswith(f"Rate limit exceeded: this request may cost {(usage['prompt_tokens'] + 4000) / 1e7:.7f}, more than the limit of 0.00001 on spend per month of this key")
        message = house.chat(key=key, max_tokens=60)[2]["message"]
        found = re.fullmatch(r"Rate limit exceeded: this key has a limit of 0\.00001 on its spend per month; (0\.\d+) is left, this request asks for (0\.\d+); try again in \d+ (d|h|min|s)", message)
        assert found and (round(float(found[1]) * 1e7), round(float(found[2]) * 1e7)) == (100 - usage["total_tokens"], usage["prompt_tokens"] + 60), message
    finally:
        house.send("PUT", "/v1/admin/prices", {"currency": "EUR", "prices": []}, key=house.admin_key)


def test_a_refusal_for_answers_under_way_does_not_promise_when(house):
    key, _ = house.new_key(limits={"concurrent_streams": 1})
    messages = [body["message"] for status, _, body in many(house, key, 16, max_tokens=60, logit_bias={"0": -100, "2": -100}) if status == 429]
    assert messages and set(messages) == {"Rate limit exceeded: this key has 1 request at a time; as many are under way"}


def test_model_limits_may_use_any_name_of_the_model(house):
    """A limit under an alias or a tier binds all that the name means, whichever name the request uses; the tightest counts."""
    for name in ("smollm2", "small"):
        key, _ = house.new_key(model_limits=[{"model": name, "limits": {"requests_per_minute": 2}}, {"model": house.model, "limits": {"requests_per_minute": 50}}])
        assert [house.chat(key=key, max_tokens=1, model=asked)[0] for asked in (house.model, "smollm2", "small")] == [200, 200, 429]


def test_what_is_used_of_limits_under_any_name_of_the_model(house):
    """Also what was used before they were set: a name that nobody serves now is said to be none."""
    key, key_id = house.new_key()
    used = house.chat(key=key, max_tokens=4)[2]["usage"]["total_tokens"]
    names = (house.model, "smollm2", "small", "nobody-serves-it")
    status, _, body = house.send("PATCH", f"/v1/admin/api-keys/{key_id}", {"model_limits": [{"model": name, "limits": {"tokens_per_month": 10000}} for name in names]}, key=house.admin_key)
    assert status == 200, body

    def rows():
        levels = house.send("GET", f"/v1/admin/rate-limit?key_id={key_id}", key=house.admin_key)[2]["levels"]
        return {level["model"]: (level["models"], level["used"]["tokens_per_month"]) for level in levels if level["scope"] == "key" and level["model"] is not None}
    until(lambda: rows() == {**{name: ([house.model], used) for name in names[:3]}, "nobody-serves-it": ([], 0)}, f"{used} are used by each name", 20)
    used += house.chat(key=key, max_tokens=4)[2]["usage"]["total_tokens"]
    until(lambda: {rows()[name][1] for name in names[:3]} == {used}, "and of what is used now", 20)


def test_request_without_max_tokens_fits_the_keys_limit(house):
    """The default of both public clients: it may use what the key may use, not the whole context, which would never be let pass."""
    key, _ = house.new_key(limits={"tokens_per_minute": 200})
    status, headers, body = house.send("POST", "/v1/chat/completions", {"model": house.model, "messages": [{"role": "user", "content": "Say hi"}], "n": 2, "temperature": 0}, key=key)
    assert status == 200 and 150 < int(headers["x-ratelimit-tokens-query-cost"]) <= 200 and body["usage"]["total_tokens"] <= 200


def test_request_without_max_tokens_takes_what_remains(house):
    """One after the other, all pass within a minute, until there is no room for a prompt and a token."""
    key, _ = house.new_key(limits={"tokens_per_minute": 300})
    used = 0
    for _ in range(3):
        status, headers, body = house.chat("Say only: hi", key=key, max_tokens=None, stop=["i", "I", " "])
        assert status == 200 and int(headers["x-ratelimit-tokens-query-cost"]) == 300 - used, body
        used += body["usage"]["total_tokens"]
        until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "it has settled")
    status, _, body = house.chat("Count to one million.", key=key, max_tokens=None, logit_bias={"0": -100, "2": -100})
    assert status == 200 and body["choices"][0]["finish_reason"] == "length" and used + body["usage"]["total_tokens"] == 300, body
    status, headers, body = house.chat("And on", key=key, max_tokens=None)
    assert status == 429 and 1 <= int(headers["retry-after"]) <= 61, body


@pytest.mark.parametrize("limits, sentence", [({"requests_per_minute": 0}, "may make no requests"), ({"tokens_per_minute": 0}, "may use no tokens"), ({"tokens_per_minute": 1}, "uses at least"), ({"tokens_per_day": 0}, "may use no tokens"), ({"concurrent_streams": 0}, "no answer under way"), ({"spend_per_month": 0}, "may spend nothing"), ({"output_tokens_per_minute": 1}, "lower max_tokens")])
def test_what_never_fits_says_why_and_when_to_come_back(house, limits, sentence):
    """No wait helps, but clients obey Retry-After, which every 429 has."""
    for where in ({"limits": limits}, {"model_limits": [{"model": house.model, "limits": limits}]}):
        key, _ = house.new_key(**where)
        status, headers, body = house.chat(key=key, max_tokens=2)
        assert status == 429 and sentence in body["message"] and ("max_tokens" in sentence or "max_tokens" not in body["message"]), body
        assert headers["retry-after"] == "61"


def test_client_gone_mid_stream_frees_slot_and_reservation(house):
    """The worker stops within a step, and what was not generated comes back to the key."""
    key, _ = house.new_key(limits={"tokens_per_minute": 6000})
    body = json.dumps({"model": house.model, "messages": [{"role": "user", "content": "Count to one million."}], "max_tokens": 4000, "stream": True}).encode()
    connection = socket.create_connection(("127.0.0.1", house.ports["http"]), timeout=60)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key.encode() + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    received = b""
    while received.count(b"data:") < 3:
        received += connection.recv(65536)
    assert house.metric("worker-metrics", "bora_engine_running") == 1
    steps_before = house.metric("worker-metrics", "bora_engine_step_seconds_count")
    assert house.chat(key=key, max_tokens=4000)[0] == 429  # the reservation holds while the stream runs
    connection.close()
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the slot is free", 5)
    steps = house.metric("worker-metrics", "bora_engine_step_seconds_count") - steps_before
    print("steps until free:", steps)
    assert steps <= 20 * PACE  # of 4,000: those of the refused request's round trip, and of the news' way to the worker
    until(lambda: house.chat(key=key, max_tokens=4000)[0] == 200, "the reservation came back", 10)


@pytest.mark.parametrize("place", ["key", "workspace", "key_limits"])
def test_a_budget_that_is_set_late_knows_what_was_spent_before(house, place):
    """By day, month or spend: what was used while nothing limited it counts."""
    status, _, body = house.send("POST", "/v1/admin/workspaces", {"name": f"late-{place}"}, key=house.admin_key)
    assert status == 200, body
    workspace = body["id"]
    status, _, made = house.send("POST", "/v1/admin/api-keys", {"name": "late", "workspace_uuid": workspace}, key=house.admin_key)
    assert status == 200, made
    used = house.chat(key=made["key"], max_tokens=8)[2]["usage"]["total_tokens"]
    until(lambda: any(e["input_tokens"] + e["output_tokens"] == used for e in house.send("GET", f"/v1/admin/usage/ledger?key_id={made['key_id']}", key=house.admin_key)[2]["entries"]), "it is in the ledger", 20)
    limits = {"tokens_per_day": used + 8}
    path, fields = {"key": (f"/v1/admin/api-keys/{made['key_id']}", {"limits": limits}), "workspace": (f"/v1/admin/workspaces/{workspace}", {"limits": limits}),
                    "key_limits": (f"/v1/admin/workspaces/{workspace}", {"key_limits": limits})}[place]
    status, _, body = house.send("PATCH", path, fields, key=house.admin_key)
    assert status == 200, body
    time.sleep(0.2 * PACE)  # a gateway hears of limits within 0.1 s; only what a key may not do any more is looked up with each admission
    status, headers, body = house.chat(key=made["key"], max_tokens=8)
    assert status == 429 and headers["x-ratelimit-denied-by"].endswith("tokens_per_day"), body


def test_answers_that_run_while_a_budget_is_set_count_when_they_have_ended(house):
    key, key_id = house.new_key()
    body = {"model": house.model, "messages": [{"role": "user", "content": "Count to one million."}], "max_tokens": 300, "stream": True, "logit_bias": {"0": -100, "2": -100}}
    request = urllib.request.Request(house.base + "/v1/chat/completions", json.dumps(body).encode(), {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as stream:
        lines = [stream.readline() for _ in range(6)]
        status, _, answer = house.send("PATCH", f"/v1/admin/api-keys/{key_id}", {"limits": {"tokens_per_month": 100000}}, key=house.admin_key)
        assert status == 200, answer
        lines += stream.readlines()
    usage = next(json.loads(line[6:])["usage"] for line in reversed(lines) if b'"usage":{' in line.replace(b" ", b""))

    def used():
        return house.send("GET", f"/v1/admin/rate-limit?key_id={key_id}", key=house.admin_key)[2]["levels"][-1]["used"]["tokens_per_month"]
    until(lambda: used() == usage["total_tokens"], "all of it counts", 30)
    another = house.chat(key=key, max_tokens=8)[2]["usage"]["total_tokens"]
    until(lambda: used() == usage["total_tokens"] + another, "and nothing twice", 30)


def test_clients_are_told_not_to_try_again_what_never_fits(house):
    key, _ = house.new_key(limits={"tokens_per_minute": 40})
    _, headers, _ = house.chat(key=key, max_tokens=500)
    assert (headers["x-should-retry"], headers["x-ratelimit-denied-by"]) == ("false", "key tokens_per_minute")


def stream_of_a_key_that_expires(house, seconds):
    import openai

    key, key_id = house.new_key(expires_at=int(time.time()) + seconds)
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=key, max_retries=0)
    return key_id, client.chat.completions.create(model=house.model, messages=[{"role": "user", "content": "Count to one million."}], max_tokens=8000, stream=True, logit_bias={"0": -100, "2": -100})


def test_a_stream_ends_when_its_key_expires(house):
    import openai

    began = time.monotonic()
    _, stream = stream_of_a_key_that_expires(house, 3)
    with pytest.raises(openai.APIError, match="Unauthorized"):
        for _ in stream:
            pass
    assert 1 < time.monotonic() - began < 5 * PACE


def test_a_key_that_is_given_more_time_meanwhile_ends_no_stream(house):
    key_id, stream = stream_of_a_key_that_expires(house, 3)
    next(stream)
    status, _, body = house.send("PATCH", f"/v1/admin/api-keys/{key_id}", {"expiration": ""}, key=house.admin_key)
    assert status == 200, body
    until = time.monotonic() + 4
    for _ in stream:
        if time.monotonic() > until:
            break
    else:
        raise AssertionError("it ended")
    stream.close()


def test_a_stream_that_a_revocation_ends_says_so(house):
    """In its last chunk, which the public client raises, and as an exit status of the program."""
    import openai

    key, key_id = house.new_key()
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=key, max_retries=0)
    stream = client.chat.completions.create(model=house.model, messages=[{"role": "user", "content": "Count to one million."}], max_tokens=1500, stream=True, logit_bias={"0": -100, "2": -100})
    pieces = [next(stream) for _ in range(3)]
    house.revoke(key_id)
    with pytest.raises(openai.APIError, match="Unauthorized"):
        for piece in stream:
            pieces.append(piece)
    assert len(pieces) < 1500
