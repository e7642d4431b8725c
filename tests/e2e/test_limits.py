# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Limits are exact: not one request over at 64 concurrent; tokens are reserved for the worst case and the rest comes back."""
import json
import re
import socket
import statistics
import threading
import time
import urllib.request

import pytest

from conftest import PACE, another_gateway, until
from redis_monitor import Monitor


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


class Asker(threading.Thread):
    """Asks one gateway with one key, over and over: when it last began what was let in, and when a stream of it ended."""

    def __init__(self, house, key, base):
        super().__init__(daemon=True)
        self.house, self.key, self.base = house, key, base
        self.last_let_in, self.stream_ended = None, None
        self.answering = threading.Event()
        self.stream = threading.Thread(target=self.read_stream, daemon=True)
        self.stream.start()

    def read_stream(self):
        """In large pieces: a reader that is slow would find the end late."""
        body = json.dumps({"model": self.house.model, "messages": [{"role": "user", "content": "Count to one million."}], "max_tokens": 4000, "stream": True, "logit_bias": {"0": -100, "2": -100}})
        with socket.create_connection(("127.0.0.1", int(self.base.rsplit(":", 1)[1]))) as connection:
            connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {self.key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            while piece := connection.recv(1 << 20):
                if b"data:" in piece:
                    self.answering.set()
        self.stream_ended = time.monotonic()

    def run(self):
        while True:
            began = time.monotonic()
            if self.house.send("GET", "/v1/models", key=self.key, base=self.base)[0] != 200:
                return
            self.last_let_in = began
            time.sleep(0.005)  # a hundred a second show it; as many as can be would only be in the others' way

    def late_by(self, since):
        """How long after `since` something of the key still went on here."""
        self.join(20 * PACE)
        self.stream.join(20 * PACE)
        assert not self.is_alive() and not self.stream.is_alive(), "it goes on"
        return max(self.last_let_in, self.stream_ended) - since


class Neighbour(threading.Thread):
    """Somebody else's requests meanwhile: how late this machine is by itself."""

    def __init__(self, house):
        super().__init__(daemon=True)
        self.house, self.slowest, self.ended = house, 0, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.005):
            began = time.monotonic()
            self.house.send("GET", "/v1/models")
            self.slowest = max(self.slowest, time.monotonic() - began)

    def end(self):
        self.ended.set()
        self.join()
        return self.slowest


ENDS = {"revoke": ("DELETE", "api-keys/{key}", None), "disable": ("PATCH", "api-keys/{key}", {"disabled": True}), "rotate": ("POST", "api-keys/{key}/rotate", {"overlap_seconds": 0}), "disable workspace": ("PATCH", "workspaces/{workspace}", {"disabled": True})}


def end_a_key(house, second, act, name):
    """By how much later than it was asked for something still went on, and how late the machine was."""
    status, _, workspace = house.send("POST", "/v1/admin/workspaces", {"name": name}, key=house.admin_key)
    assert status == 200, workspace
    key, key_id = house.new_key(workspace_uuid=workspace["id"])
    askers = [Asker(house, key, base) for base in (house.base, second.base)]
    for asker in askers:
        asker.start()
    until(lambda: all(asker.answering.is_set() and asker.last_let_in for asker in askers), "both answer")
    neighbour, asked = Neighbour(house), time.monotonic()
    method, path, body = ENDS[act]
    assert house.send(method, "/v1/admin/" + path.format(key=key_id, workspace=workspace["id"]), body, key=house.admin_key)[0] == 200
    late = max(asker.late_by(asked) for asker in askers)
    return late, neighbour.end()


@pytest.mark.parametrize("act", ENDS)
def test_an_end_is_everywhere_within_100_ms(house, second, act):
    """From when it is asked for: requests at two gateways and an answer that runs at each. The median, of more rounds where the machine is busy."""
    seen = []
    while len(seen) < 5 or len(seen) < 15 and statistics.median(late - machine for late, machine in seen) > 0.1 * PACE:
        seen.append(end_a_key(house, second, act, f"{act}-{len(seen)}"))
    print(act, "ms, and of the machine:", [(round(1000 * late), round(1000 * machine)) for late, machine in seen])
    assert statistics.median(late - machine for late, machine in seen) <= 0.1 * PACE


@pytest.fixture(scope="module")
def priced(house):
    """A token costs a thousandth."""
    before = house.send("GET", "/v1/admin/prices", key=house.admin_key)[2]
    prices = {"currency": before["currency"], "prices": [{"model": house.model, "input_per_million": 1000, "output_per_million": 1000}]}
    assert house.send("PUT", "/v1/admin/prices", prices, key=house.admin_key)[0] == 200
    yield
    assert house.send("PUT", "/v1/admin/prices", {"currency": before["currency"], "prices": before["prices"]}, key=house.admin_key)[0] == 200


NOT_ENDING = {"logit_bias": {"0": -100, "2": -100}}


@pytest.mark.parametrize("of_model", [False, True], ids=["all models", "a model"])
@pytest.mark.parametrize("limit", ["requests_per_second", "requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month", "concurrent_streams", "spend_per_month"])
def test_each_limit_lets_in_what_fits_and_nothing_more(house, priced, limit, of_model):
    """A request of eight tokens twice: the second is denied, by this limit."""
    prompt = house.chat(max_tokens=1)[2]["usage"]["prompt_tokens"]
    most = {"requests_per_second": 1, "requests_per_minute": 1, "concurrent_streams": 1, "input_tokens_per_minute": 2 * prompt - 1, "output_tokens_per_minute": 15, "spend_per_month": (2 * prompt + 15) / 1000}.get(limit, 2 * prompt + 15)
    key, _ = house.new_key(**({"model_limits": [{"model": house.model, "limits": {limit: most}}]} if of_model else {"limits": {limit: most}}))
    if limit in ("requests_per_second", "concurrent_streams"):
        answers = many(house, key, 8, max_tokens=40, **NOT_ENDING)
        assert [status for status, _, _ in answers].count(200) >= 1 and {status for status, _, _ in answers} == {200, 429}
    else:
        answers = [house.chat(key=key, max_tokens=8, **NOT_ENDING) for _ in range(2)]
        assert [status for status, _, _ in answers] == [200, 429], answers
    _, headers, _ = next(answer for answer in answers if answer[0] == 429)
    assert headers["x-ratelimit-denied-by"] == f"key{', model' if of_model else ''} {limit}"


@pytest.mark.parametrize("amount, statuses", [("maximum", [200, 200]), ("zero", [429, 429])])
def test_the_largest_and_the_smallest_limits_that_are_taken_mean_what_they_say(house, priced, amount, statuses):
    """At every level and for a model, all kinds together."""
    largest = {"requests_per_second": 10**5, "requests_per_minute": 10**9, "concurrent_streams": 10**6, "spend_per_month": 10**6, **dict.fromkeys(["input_tokens_per_minute", "output_tokens_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month"], 10**12)}
    limits = largest if amount == "maximum" else dict.fromkeys(largest, 0)
    fields = {"limits": limits, "model_limits": [{"model": house.model, "limits": limits}]}
    status, _, organization = house.send("POST", "/v1/admin/organizations", {"name": f"of the {amount}", **(fields if amount == "maximum" else {})}, key=house.admin_key)
    assert status == 200, organization
    status, _, workspace = house.send("POST", "/v1/admin/workspaces", {"name": "all", "organization_id": organization["id"], "key_limits": limits, **(fields if amount == "maximum" else {})}, key=house.admin_key)
    assert status == 200, workspace
    key, key_id = house.new_key(workspace_uuid=workspace["id"], **fields)
    assert [house.chat(key=key, max_tokens=8)[0] for _ in range(2)] == statuses
    status, _, body = house.send("GET", f"/v1/admin/rate-limit?key_id={key_id}", key=house.admin_key)
    assert status == 200 and body["levels"][-1]["limits"] == limits
    for name, most in largest.items():
        status, _, answer = house.send("PATCH", f"/v1/admin/api-keys/{key_id}", {"limits": {name: most + 1}}, key=house.admin_key)
        assert status == 422 and answer["detail"][0]["loc"] == ["body", "limits", name], answer


def test_a_denial_tells_no_more_than_its_role_may_see(house):
    """What is left to a workspace is no business of its service keys."""
    status, _, workspace = house.send("POST", "/v1/admin/workspaces", {"name": "secretive", "limits": {"tokens_per_day": 120}}, key=house.admin_key)
    assert status == 200, workspace
    told = {}
    for role in ("service", "member", "admin"):
        key, _ = house.new_key(workspace_uuid=workspace["id"], role=role)
        denials = (answer for answer in (house.chat(key=key, max_tokens=40, logit_bias={"0": -100, "2": -100}) for _ in range(10)) if answer[0] == 429)
        _, headers, body = next(denials)
        assert "its workspace has 120 tokens per day" in body["message"], body
        told[role] = " left" in body["message"], "x-ratelimit-remaining-tokens-day" in headers
    assert told == {"service": (False, False), "member": (True, True), "admin": (True, True)}


def test_one_call_of_redis_admits_whatever_the_limits(house):
    """All levels and the model's, at once; what was used goes back in calls that nobody waits for."""
    limits = {"requests_per_second": 1000, "requests_per_minute": 1000, "tokens_per_minute": 10**6, "tokens_per_day": 10**6, "concurrent_streams": 100}
    fields = {"limits": limits, "model_limits": [{"model": house.model, "limits": limits}]}
    status, _, workspace = house.send("POST", "/v1/admin/workspaces", {"name": "one call", **fields}, key=house.admin_key)
    assert status == 200, workspace
    key, _ = house.new_key(workspace_uuid=workspace["id"], **fields)
    with another_gateway(house, "--no-admit-ahead") as gateway:  # for requests that may not come it would ask as well
        assert house.chat(key=key, max_tokens=1, base=gateway.base)[0] == 200  # the key is known now, and a limit that is new has been counted up
        monitor = Monitor(house, "redis-limits")
        assert [house.chat(key=key, max_tokens=1, base=gateway.base)[0] for _ in range(20)] == [200] * 20
    commands = [line for line in monitor.end().split(b"\r\n") if key.split("_")[1].encode() in line and b" lua]" not in line]
    admissions = [line for line in commands if b"limits_admit" in line]
    assert len(admissions) == 20, commands
    assert all(b"limits_settle" in line for line in commands if line not in admissions), commands


def test_keys_inherit_their_workspaces_limits_one_by_one(house):
    """What a key says nothing about is its workspace's; each key has it for itself."""
    status, _, workspace = house.send("POST", "/v1/admin/workspaces", {"name": "inherited", "key_limits": {"requests_per_minute": 1, "concurrent_streams": 5}}, key=house.admin_key)
    assert status == 200, workspace
    first, second, own = (house.new_key(workspace_uuid=workspace["id"], **fields)[0] for fields in ({}, {}, {"limits": {"requests_per_minute": 2}}))
    assert [[house.chat(key=key, max_tokens=1)[0] for _ in range(3)] for key in (first, second, own)] == [[200, 429, 429], [200, 429, 429], [200, 200, 429]]


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
    # without an end of its own: it is the client's leaving that ends it
    body = json.dumps({"model": house.model, "messages": [{"role": "user", "content": "Count to one million."}], "max_tokens": 4000, "stream": True, "logit_bias": {"0": -100, "2": -100}}).encode()
    connection = socket.create_connection(("127.0.0.1", house.ports["http"]), timeout=60)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key.encode() + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    received = b""
    while received.count(b"data:") < 3:
        received += connection.recv(65536)

    def steps():
        return house.metric("worker-metrics", "bora_engine_step_seconds_count")
    assert house.metric("worker-metrics", "bora_engine_running") == 1
    began = steps()
    assert house.chat(key=key, max_tokens=4000)[0] == 429  # the reservation holds while the stream runs
    left = steps()
    connection.close()
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the slot is free", 5)
    print("steps of a request's round trip:", left - began, "until free:", steps() - left)
    assert steps() - left <= 40 * PACE + left - began  # of 4,000: those of the news' way to the worker, on a machine as busy as it was for the refused request
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


def ends_with_its_key(stream, began):
    """In some seconds, and not at once."""
    import openai

    with pytest.raises(openai.APIError, match="Unauthorized"):
        for _ in stream:
            assert time.monotonic() - began < 5 * PACE
    assert time.monotonic() - began > 0.5


@pytest.mark.parametrize("path, fields", [("/v1/admin/api-keys/{key}", {"name": "another"}), ("/v1/admin/workspaces/{workspace}", {"key_limits": {"requests_per_minute": 600}})], ids=["key", "workspace"])
def test_a_change_of_something_else_meanwhile_keeps_no_stream_from_its_keys_end(house, path, fields):
    key_id, stream = stream_of_a_key_that_expires(house, 3)
    next(stream)
    began = time.monotonic()
    workspace = house.send("GET", f"/v1/admin/api-keys/{key_id}", key=house.admin_key)[2]["workspace_id"]
    status, _, body = house.send("PATCH", path.format(key=key_id, workspace=workspace), fields, key=house.admin_key)
    assert status == 200, body
    ends_with_its_key(stream, began)


def test_a_key_that_is_given_less_time_meanwhile_ends_its_stream(house):
    key_id, stream = stream_of_a_key_that_expires(house, 3600)
    next(stream)
    end = time.gmtime(time.time() + 3)
    status, _, body = house.send("PATCH", f"/v1/admin/api-keys/{key_id}", {"expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", end)}, key=house.admin_key)
    assert status == 200, body
    began = time.monotonic()
    ends_with_its_key(stream, began)


def test_a_stream_of_a_secret_that_is_rotated_away_ends_with_the_overlap(house):
    import openai

    key, key_id = house.new_key()
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=key, max_retries=0)
    stream = client.chat.completions.create(model=house.model, messages=[{"role": "user", "content": "Count to one million."}], max_tokens=8000, stream=True, logit_bias={"0": -100, "2": -100})
    next(stream)
    status, _, body = house.send("POST", f"/v1/admin/api-keys/{key_id}/rotate", {"overlap_seconds": 3}, key=house.admin_key)
    assert status == 200, body
    began = time.monotonic()
    ends_with_its_key(stream, began)


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
