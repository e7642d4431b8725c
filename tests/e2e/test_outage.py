# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""While the Redis of limits is away: nothing passes, or a small allowance, which is accounted for when it is back."""
import json
import signal
import time
import urllib.request

from conftest import another_gateway, until


def used(house, key_id):
    status, _, body = house.send("GET", f"/v1/admin/usage/ledger?key_id={key_id}", key=house.admin_key)
    assert status == 200, body
    return [(entry["input_tokens"], entry["output_tokens"]) for entry in body["entries"]]


def admissions(gateway, outcome):
    text = urllib.request.urlopen(f"{gateway.base}/metrics", timeout=10).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("bora_gateway_outage_admissions_total") and outcome in line)


def test_a_small_allowance_passes_and_is_in_the_ledger_later(house):
    with another_gateway(house, "--limits-outage", "local", "--outage-requests", "2") as gateway:
        key, key_id = house.new_key(limits={"requests_per_minute": 1})
        other, other_id = house.new_key()
        assert house.chat(key=key, base=gateway.base, max_tokens=2)[0] == 200
        house.kill("redis-limits")
        answers = [house.chat(key=key, base=gateway.base, max_tokens=3) for _ in range(3)]
        assert [a[0] for a in answers] == [200, 200, 503], answers  # its limit of one is not known to anybody now
        time.sleep(6)  # workers are known for longer than they announce themselves
        assert house.chat(key=other, base=gateway.base, max_tokens=3)[0] == 200
        assert house.chat(key=other, max_tokens=3)[0] == 503  # the house's own gateway is closed
        assert (admissions(gateway, "passed"), admissions(gateway, "refused")) == (3, 1)
        house.up()
        until(lambda: len(used(house, key_id)) == 3, "what passed is in the ledger", 30)
        told = [(a[2]["usage"]["prompt_tokens"], a[2]["usage"]["completion_tokens"]) for a in answers[:2]]
        assert used(house, key_id)[1:] == told
        until(lambda: len(used(house, other_id)) == 1, "and of the other key", 30)
        assert house.chat(key=key, base=gateway.base, max_tokens=1)[0] == 429  # and counts against its limit
        # The next outage begins anew.
        house.kill("redis-limits")
        assert house.chat(key=key, base=gateway.base, max_tokens=3)[0] == 200
        house.up()
    until(lambda: len(used(house, key_id)) == 4, "what was left to settle is settled", 30)


def test_what_a_hung_worker_had_generated_is_in_the_ledger_all_the_same(house):
    """Its gateway gives it up after two seconds and settles what it has heard; the worker says the rest when it is back."""
    key, key_id = house.new_key()
    before = house.metric("worker-metrics", "bora_engine_completion_tokens_total")
    body = json.dumps({"model": house.model, "messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 1000, "stream": True}).encode()
    asked = [urllib.request.Request(f"{house.base}/v1/chat/completions", data=body, headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"}) for _ in range(6)]
    answers = [urllib.request.urlopen(one, timeout=60) for one in asked]
    for answer in answers:
        for _ in range(20):
            answer.readline()
    house.kill("worker", signal.SIGSTOP)
    try:
        for answer in answers:
            answer.close()
        until(lambda: len(used(house, key_id)) == 6, "what was heard of is settled", 20)
        heard = sum(output for _, output in used(house, key_id))
    finally:
        house.kill("worker", signal.SIGCONT)
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the worker is free")
    generated = house.metric("worker-metrics", "bora_engine_completion_tokens_total") - before
    until(lambda: sum(output for _, output in used(house, key_id)) == generated, f"all {generated} tokens are in the ledger, {heard} were heard of", 20)
