# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Keys are shown once and are nowhere else: not in logs, metrics, errors, Redis or its files, arguments, environments or core dumps, under load and when things go wrong."""
import json
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from conftest import until

PROCESSES = ("redis", "redis-limits", "keys", "worker", "gateway")


def answers(house, key, errors):
    """All kinds of requests with a key; what they answer is looked at too."""
    chat = {"model": house.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    for body in (chat, {**chat, "stream": True}, {**chat, "model": key}, {**chat, "temperature": "hot"}, {**chat, key: 1}, b"{", {**chat, "max_tokens": 10**9}):
        errors.append(house.send("POST", "/v1/chat/completions", body, key=key)[2])
    for path in ("/v1/models", f"/v1/models/{key[:5]}", "/v1/users/me", "/v1/nothing", "/v1/usage"):
        errors.append(house.send("GET", path, key=key)[2])
    errors.append(house.send("POST", "/v1/admin/api-keys", {"name": "x"}, key=key)[2])
    errors.append(house.send("GET", "/v1/models", key=key + "x")[2])


def everything_kept(house):
    """Every file of the house but those that hold secrets on purpose, and what its processes say of themselves."""
    for path in house.state.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            yield str(path), path.read_bytes()
    for name in PROCESSES:
        for what in ("cmdline", "environ"):
            yield f"{name} {what}", Path(f"/proc/{house.pid(name)}/{what}").read_bytes()
    for port in ("http", "keys-metrics", "worker-metrics"):
        yield f"{port} metrics", urllib.request.urlopen(f"http://127.0.0.1:{house.ports[port]}/metrics", timeout=10).read()


@pytest.fixture(scope="module")
def used_keys(house):
    """Keys that were used, refused, rotated, limited and revoked, by several clients at once, while Redis and the worker die."""
    texts, errors = [], []
    for i in range(6):
        key, key_id = house.new_key(name=f"secret-{i}", limits={"requests_per_minute": 12, "spend_per_month": 0.5})
        texts.append(key)
        if i == 1:
            status, _, body = house.send("POST", f"/v1/admin/api-keys/{key_id}/rotate", {}, key=house.admin_key)
            assert status == 200
            texts.append(body["key"])
        if i == 2:
            house.revoke(key_id)
    for event in (None, lambda: house.kill("redis-limits"), lambda: house.kill("keys"), lambda: house.kill("worker", signal.SIGKILL)):
        if event is not None:
            event()
        threads = [threading.Thread(target=answers, args=(house, key, errors)) for key in [*texts, house.admin_key]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        house.up()
        until(lambda: house.chat(max_tokens=1)[0] == 200, "it serves again", 30)
    return texts, errors


def secret_of(text):
    """The part of a key that is nobody's business: all behind the public prefix."""
    return text.rsplit("_", 1)[1].encode()


def test_no_secret_is_kept_anywhere(house, used_keys):
    texts, _ = used_keys
    service_token = (house.state / "secrets/service-token").read_text().strip().encode()
    secrets = [*map(secret_of, [*texts, house.key]), house.admin_key.encode(), service_token]
    for where, data in everything_kept(house):
        assert not [s for s in secrets if s in data], f"a secret stands in {where}"


def test_no_answer_shows_a_key(used_keys):
    """Not even what a client wrote itself into a field that is refused."""
    texts, errors = used_keys
    shown = json.dumps(errors)
    assert "****" in shown and not [text for text in texts if secret_of(text).decode() in shown]


@pytest.mark.parametrize("name", ["gateway", "keys"])
def test_no_core_dump_can_hold_a_key(house, name):
    limits = Path(f"/proc/{house.pid(name)}/limits").read_text()
    core = next(line.split() for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core[4] == "0"
    done = subprocess.run(["stat", "-c", "%U", f"/proc/{house.pid(name)}/environ"], capture_output=True, text=True)
    assert done.stdout.strip() == "root"  # what is not dumpable belongs to root in /proc, whoever runs it
