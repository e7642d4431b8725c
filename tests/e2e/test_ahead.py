# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Keys that ask often are admitted before they ask. Nothing else may be different: what counts, what a revoked key may do, who gets the last place."""
import datetime
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

import pytest

from conftest import PACE, another_gateway, until
from scripted_worker import ScriptedWorker

TEXT = "x" * 90
LIMITS = {"requests_per_second": 1000, "requests_per_minute": 10000, "tokens_per_minute": 1000000, "tokens_per_day": 10000000, "concurrent_streams": 100}


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("ahead"), bound=True)
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    until(lambda: ask(house, worker)[0] == 200, "the gateway knows the scripted worker")
    yield worker
    worker.stop()


def ask(house, worker, key=None, base=None, **fields):
    return house.chat(key=key, base=base, **{"model": worker.MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20, **fields})


def ask_often(house, worker, key, count=30, **fields):
    return [ask(house, worker, key=key, **fields) for _ in range(count)]


def counted(house, outcome):
    return house.metric("http", "bora_gateway_admissions_ahead_total", f'outcome="{outcome}"')


def used_of(house, key_id, limit):
    return house.send("GET", f"/v1/admin/rate-limit?key_id={key_id}", key=house.admin_key)[2]["levels"][-1]["used"].get(limit, 0)


def entries(house, key_id):
    return house.send("GET", f"/v1/admin/usage/ledger?key_id={key_id}&limit=1000", key=house.admin_key)[2]["entries"]


def redis(house, *words):
    command = ["redis-cli", "-p", str(house.ports["redis-limits"]), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "REDISCLI_AUTH": (house.state / "secrets/redis-password").read_text().strip()}).stdout.split()


def leases(house):
    """That Redis holds, of all organisations."""
    return sum(int(redis(house, "HLEN", key)[0]) for key in redis(house, "--scan", "--pattern", "bora:leases:*"))


def test_who_asks_often_is_admitted_before_it_asks(house, worker):
    key, key_id = house.new_key(limits=LIMITS)
    used, answers = counted(house, "used"), []

    def asks():
        answers.extend(ask_often(house, worker, key, 10))
        return counted(house, "used") > used + 10

    until(asks, "some were admitted ahead")
    count = len(answers)
    assert [status for status, _, _ in answers] == [200] * count
    # One entry for each answer, under the id that the client was told; what nobody came for is no request.
    until(lambda: len(entries(house, key_id)) == count, "all are in the ledger")
    until(lambda: used_of(house, key_id, "requests_per_minute") == count and used_of(house, key_id, "concurrent_streams") == 0, "the rest went back")
    assert {e["request_id"] for e in entries(house, key_id)} == {headers["x-request-id"] for _, headers, _ in answers}
    assert {body["id"] for _, _, body in answers} == {headers["x-request-id"] for _, headers, _ in answers}
    assert used_of(house, key_id, "tokens_per_minute") == count * 11


def test_its_times_are_in_order(house, worker):
    """It counts as begun up to 100 ms after it did, and never after its end."""
    key, key_id = house.new_key(limits=LIMITS)
    begin = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")[:23] + "Z"
    ask_often(house, worker, key, 30)
    until(lambda: len(entries(house, key_id)) == 30, "all are in the ledger")
    assert all(begin <= e["started"] <= e["time"] for e in entries(house, key_id)), entries(house, key_id)


def test_streams_and_other_sizes(house, worker):
    """A larger request than what was made ready is asked for as before."""
    key, key_id = house.new_key(limits=LIMITS)
    answers = []
    for i in range(30):
        answers.append(ask(house, worker, key=key, max_tokens=20 + i % 3 * 200, stream=i % 2 == 0)[0])
    assert answers == [200] * 30
    until(lambda: len(entries(house, key_id)) == 30, "all are in the ledger")
    until(lambda: used_of(house, key_id, "tokens_per_minute") == 30 * 11, "to the token")


def test_a_revoked_key_ends_with_its_revocation(house, worker):
    """Though its next requests had been admitted."""
    for _ in range(8):
        key, key_id = house.new_key(limits=LIMITS)
        ask_often(house, worker, key, 12)
        house.revoke(key_id)
        assert ask(house, worker, key=key)[0] == 401


def test_what_is_held_for_others_to_come_keeps_nobody_out(house, worker):
    """All places are taken by requests for which nothing is ready, as they are larger."""
    unused = counted(house, "unused")
    for _ in range(30):
        key, _ = house.new_key(limits={"concurrent_streams": 8})
        worker.reset(lambda start, index: worker.text("ok", [-1]))
        assert [status for status, _, _ in ask_often(house, worker, key, 15)] == [200] * 15
        goes_on, statuses = threading.Event(), []

        def script(start, index):
            yield worker.pb.Delta(text=b"a", completion_tokens=1)
            goes_on.wait(30)
            yield worker.pb.Finished(prompt_tokens=10, completion_tokens=1)

        worker.reset(script)
        threads = [threading.Thread(target=lambda: statuses.append(ask(house, worker, key=key, max_tokens=500)[0])) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: len(worker.generations) == 8 or statuses, "all eight run")
            assert statuses == []
            assert ask(house, worker, key=key, max_tokens=500)[0] == 429
        finally:
            goes_on.set()
            for thread in threads:
                thread.join()
        assert statuses == [200] * 8
        if counted(house, "unused") > unused + 3:
            break
    else:
        pytest.fail("nothing was held")
    worker.reset(lambda start, index: worker.text("ok", [-1]))


def test_every_request_of_a_limit_can_be_had_and_no_more(house, worker):
    key, key_id = house.new_key(limits={"requests_per_minute": 200})
    answers = []
    threads = [threading.Thread(target=lambda: answers.extend(status for status, _, _ in ask_often(house, worker, key, 55))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(200) == 200 and answers.count(429) == 20
    until(lambda: len(entries(house, key_id)) == 200, "all are in the ledger")


def test_a_gate_that_nobody_tells_of_counts_after_a_tenth_of_a_second(house, worker):
    """A gateway that does not hear of a revocation goes on with what it has ready, and no longer."""
    key, key_id = house.new_key(limits=LIMITS)
    answers = []

    def insist():
        while not answers or time.time() - began < 1.5:
            asked = time.time()
            answers.append((asked, ask(house, worker, key=key)[0]))

    began = time.time()
    threads = [threading.Thread(target=insist) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    gates = redis(house, "--scan", "--pattern", "bora:use:*:k:" + key.split("_")[1])
    assert len(gates) == 1
    redis(house, "SET", gates[0].replace("bora:use:", "bora:gate:").replace(":k:", ":"), "1", "PX", "60000")
    shut = time.time()
    for thread in threads:
        thread.join()
    assert {status for asked, status in answers if asked < shut - 0.4} == {200}
    assert {status for asked, status in answers if asked > shut + 0.1} == {401}, answers


def test_a_gateway_that_goes_gives_back_what_it_has_ready(house, worker):
    key, _ = house.new_key(limits=LIMITS)
    until(lambda: leases(house) == 0, "nothing is held")
    with another_gateway(house, "--drain", "1s") as gateway:
        base = f"http://127.0.0.1:{gateway.http}"
        until(lambda: ask(house, worker, key=key, base=base)[0] == 200, "it knows the worker")
        for _ in range(20):
            assert ask(house, worker, key=key, base=base)[0] == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20 * PACE) == 0
    assert leases(house) == 0


def test_it_can_be_switched_off(house, worker):
    key, _ = house.new_key(limits=LIMITS)
    with another_gateway(house, "--no-admit-ahead") as gateway:
        base = f"http://127.0.0.1:{gateway.http}"
        until(lambda: ask(house, worker, key=key, base=base)[0] == 200, "it knows the worker")
        for _ in range(20):
            assert ask(house, worker, key=key, base=base)[0] == 200
        metrics = urllib.request.urlopen(f"{base}/metrics").read().decode()
        assert not re.search(r"bora_gateway_admissions_ahead_total\{", metrics)
