# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Plain chats are admitted by an upper bound of their tokens where there is plenty of room: one way to Redis, one to the worker. What counts in the end is what
the worker has counted, whoever dies."""
import json
import socket
import threading
import time

import grpc
import pytest

from conftest import until
from scripted_worker import ScriptedWorker


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("estimate"), bound=True)
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    until(lambda: ask(house, worker)[0] == 200, "the gateway knows the scripted worker")
    yield worker
    worker.stop()


TEXT = "x" * 90  # with the 10 of the bound 100 tokens at most, where the worker counts 10


def ask(house, worker, key=None, **fields):
    return house.chat(key=key, **{"model": worker.MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20, **fields})


def entries(house, key_id):
    return [(e["input_tokens"], e["output_tokens"]) for e in house.send("GET", f"/v1/admin/usage/ledger?key_id={key_id}", key=house.admin_key)[2]["entries"]]


def open_stream(house, worker, key):
    body = json.dumps({"model": worker.MODEL, "messages": [{"role": "user", "content": TEXT}], "stream": True, "max_tokens": 20}).encode()
    connection = socket.create_connection(("127.0.0.1", house.ports["http"]))
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def test_with_plenty_of_room_the_worker_needs_no_second_word(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    key, key_id = house.new_key(limits={"tokens_per_minute": 1000, "requests_per_minute": 5})
    status, headers, _ = ask(house, worker, key=key)
    assert status == 200 and worker.starts[0].proceed_prompt_tokens == 100 and not worker.proceeds
    # As if it had been counted before: 10 and 20 tokens were held.
    assert headers["x-ratelimit-tokens-query-cost"] == "30" and headers["x-ratelimit-remaining-tokens-minute"] == "970"
    assert headers["x-ratelimit-remaining-req-minute"] == "4"
    until(lambda: entries(house, key_id), "it is in the ledger")
    assert entries(house, key_id) == [(10, 1)]


@pytest.mark.parametrize("limit", [479, 120, 40])
def test_with_little_room_tokens_are_counted_first(house, worker, limit):
    """Three quarters of a limit have to be left behind the bound, 120; exactly counted, 30 pass."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    key, _ = house.new_key(limits={"tokens_per_minute": limit})
    status, headers, _ = ask(house, worker, key=key)
    assert status == 200 and worker.starts[0].proceed_prompt_tokens == 0 and len(worker.proceeds) == 1
    assert headers["x-ratelimit-remaining-tokens-minute"] == str(limit - 30)


def test_every_token_of_a_limit_can_be_had(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1] * 20))
    key, key_id = house.new_key(limits={"tokens_per_minute": 3000})
    answers = [ask(house, worker, key=key)[0] for _ in range(101)]
    assert answers == [200] * 100 + [429]
    assert any(start.proceed_prompt_tokens for start in worker.starts) and worker.proceeds
    until(lambda: len(entries(house, key_id)) == 100, "all are in the ledger")
    assert entries(house, key_id) == [(10, 20)] * 100


def test_not_one_over_and_not_one_short_when_many_come_at_once(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1] * 20))
    key, key_id = house.new_key(limits={"tokens_per_minute": 1200})
    answers = []

    def insist():
        for _ in range(4):
            status = 429
            for _ in range(40):
                status = ask(house, worker, key=key)[0]
                if status == 200:
                    break
                time.sleep(0.02)
            answers.append(status)

    threads = [threading.Thread(target=insist) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(200) == 40, answers
    until(lambda: len(entries(house, key_id)) == 40, "all are in the ledger")


def test_a_stream_is_charged_what_its_prompt_has(house, worker):
    """At once, not only at its end."""
    goes_on = threading.Event()

    def script(start, index):
        yield worker.pb.Delta(text=b"a", completion_tokens=1)
        goes_on.wait(30)
        yield worker.pb.Finished(prompt_tokens=10, completion_tokens=1)

    worker.reset(script)
    key, _ = house.new_key(limits={"tokens_per_minute": 1000})
    try:
        asked = threading.Thread(target=ask, args=(house, worker), kwargs={"key": key, "stream": True})
        asked.start()
        until(lambda: worker.starts, "it runs")
        assert worker.starts[0].proceed_prompt_tokens == 100
        time.sleep(0.5)
        assert ask(house, worker, key=key, max_tokens=2, n=2)[1]["x-ratelimit-remaining-tokens-minute"] == str(1000 - 30 - 14)
    finally:
        goes_on.set()
        asked.join()


def test_what_the_worker_declines_costs_no_tokens(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.refusals = {0: grpc.StatusCode.INVALID_ARGUMENT}
    key, key_id = house.new_key(limits={"tokens_per_minute": 1000})
    assert ask(house, worker, key=key)[0] == 400
    assert worker.starts[0].proceed_prompt_tokens == 100
    until(lambda: entries(house, key_id), "it is in the ledger")
    assert entries(house, key_id) == [(0, 0)]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_client_that_leaves_before_the_worker_has_counted(house, worker, goes_on):
    """It costs the prompt where the worker had gone on to it, which its last word says."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.counting.clear()
    key, key_id = house.new_key(limits={"tokens_per_minute": 1000, "requests_per_minute": 10})
    connection = open_stream(house, worker, key)
    until(lambda: worker.generations, "it has begun")
    connection.close()
    until(lambda: worker.generations[0].stopped.is_set(), "it is stopped")
    if goes_on:
        worker.counting.set()
    else:
        worker.generations[0].send(finished=worker.pb.Finished(reason=worker.pb.Finished.REASON_CANCELLED, last=True))
    until(lambda: entries(house, key_id), "it is in the ledger")
    worker.counting.set()
    assert entries(house, key_id) == [(10 if goes_on else 0, 0)]


def test_a_worker_that_is_lost_before_it_has_counted_is_replaced(house, worker):
    """What the lost one does all the same it reports for its own lease; the request counts once."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.counting.clear()
    key, key_id = house.new_key(limits={"tokens_per_minute": 1000, "requests_per_minute": 10})
    answers = []
    asked = threading.Thread(target=lambda: answers.append(ask(house, worker, key=key)))
    asked.start()
    until(lambda: worker.starts, "it has begun")
    worker.links[-1].cut()
    until(lambda: len(worker.starts) == 2, "it is tried again")
    worker.counting.set()
    asked.join()
    assert [(status, headers["x-ratelimit-remaining-req-minute"]) for status, headers, _ in answers] == [(200, "9")]
    assert [start.proceed_prompt_tokens for start in worker.starts] == [100, 0] and worker.starts[0].lease != worker.starts[1].lease
    until(lambda: entries(house, key_id), "it is in the ledger")
    assert entries(house, key_id) == [(10, 1)]


def test_an_older_worker_in_the_place_of_one_that_goes_on_is_told_to(house, worker):
    """Its announcement has not been read yet."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.goes_on = False
    assert ask(house, worker)[0] == 200
    assert worker.starts[0].proceed_prompt_tokens == 100 and len(worker.proceeds) == 1


def test_who_is_denied_beside_what_nobody_has_counted_yet_is_asked_for_again(house, worker):
    """The estimate's worker is slow to count."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    counted = worker.counting
    counted.clear()
    key, _ = house.new_key(limits={"tokens_per_minute": 480})
    answers = []
    first = threading.Thread(target=lambda: answers.append(ask(house, worker, key=key)[0]))
    first.start()
    until(lambda: worker.starts, "it waits to be counted")
    worker.counting = threading.Event()  # of those behind it
    worker.counting.set()
    second = threading.Thread(target=lambda: answers.append(ask(house, worker, key=key, n=2, max_tokens=220)[0]))
    second.start()
    until(lambda: len(worker.starts) == 3, "its tokens are counted, and it is denied")
    time.sleep(0.02)
    counted.set()
    first.join()
    second.join()
    assert answers == [200, 200]


def test_what_no_worker_takes_is_no_request(house, worker):
    key, key_id = house.new_key(limits={"requests_per_minute": 10})
    for code, expected in (grpc.StatusCode.RESOURCE_EXHAUSTED, 429), (grpc.StatusCode.UNAVAILABLE, 503):
        worker.reset(lambda start, index: worker.text("ok", [-1]))
        worker.refusals = {0: code, 1: code}
        assert ask(house, worker, key=key)[0] == expected
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.announce(started_at=1000)
    until(lambda: ask(house, worker)[0] == 200, "it is chosen again")
    assert ask(house, worker, key=key)[1]["x-ratelimit-remaining-req-minute"] == "9"
    until(lambda: entries(house, key_id), "it is in the ledger")
    assert entries(house, key_id) == [(10, 1)]


def test_room_that_an_estimate_holds_too_much_keeps_nobody_out(house, worker):
    """480 tokens: the bound takes 120, of which 30 are held. An exact request, which asks for 450, passes all the same."""
    goes_on = threading.Event()

    def script(start, index):
        yield worker.pb.Delta(text=b"a", completion_tokens=1)
        if index == 0:
            goes_on.wait(30)
        yield worker.pb.Finished(prompt_tokens=10, completion_tokens=1)

    worker.reset(script)
    key, _ = house.new_key(limits={"tokens_per_minute": 480})
    asked = threading.Thread(target=ask, args=(house, worker), kwargs={"key": key, "stream": True})
    try:
        asked.start()
        until(lambda: worker.starts, "it runs")
        assert worker.starts[0].proceed_prompt_tokens == 100
        assert ask(house, worker, key=key, n=2, max_tokens=220)[0] == 200
    finally:
        goes_on.set()
        asked.join()


def test_a_worker_that_counts_more_than_it_has_said_is_not_believed(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.PROMPT_TOKENS = 500
    try:
        key, _ = house.new_key(limits={"tokens_per_minute": 10000})
        status, _, body = ask(house, worker, key=key)
        assert status == 500 and "bound" not in body["message"]
    finally:
        worker.PROMPT_TOKENS = ScriptedWorker.PROMPT_TOKENS


@pytest.mark.parametrize("fields", [{"n": 2}, {"response_format": {"type": "json_object"}}, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}])
def test_what_no_bound_covers_is_counted_first(house, worker, fields):
    worker.reset(lambda start, index: worker.text("{}", [-1]))
    status, _, body = ask(house, worker, **fields)
    assert status == 200, body
    assert worker.starts[0].proceed_prompt_tokens == 0 and worker.proceeds
