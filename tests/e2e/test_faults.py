# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Killed, stopped and slow: the house says so, loses nothing, and comes back by itself."""
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from conftest import BUILD, PACE, until


def open_stream(house, max_tokens=3000, receive_buffer=None, **fields):
    body = json.dumps({"model": house.model, "messages": [{"role": "user", "content": "Write a very long story."}], "max_tokens": max_tokens, "stream": True, "temperature": 1, **fields}).encode()
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(60 * PACE)
    connection.connect(("127.0.0.1", house.ports["http"]))
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + house.key.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def read_events(connection, enough):
    received = b""
    while not enough(received):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def test_worker_killed_is_a_terminal_event_and_it_comes_back(house):
    connection = open_stream(house)
    read_events(connection, lambda r: r.count(b"data:") > 3)
    house.kill("worker")
    rest = read_events(connection, lambda r: b"[DONE]" in r)
    assert b'"finish_reason":"error"' in rest and b"[DONE]" in rest
    began = time.monotonic()
    status, _, body = house.chat(max_tokens=1)
    assert status == 503 and time.monotonic() - began < 5 * PACE, body
    until(lambda: house.send("GET", "/readyz", key=False)[0] == 503, "the gateway says that it is not ready", 10)
    house.up()
    until(lambda: house.chat(max_tokens=1)[0] == 200, "the worker serves again", 10)


def test_worker_hung_ends_by_the_deadline_not_never(house):
    house.kill("worker", signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = subprocess.run(["curl", "-s", "-m", "4", "-o", "/dev/null", "-w", "%{http_code}", f"{house.base}/v1/models", "-H", f"Authorization: Bearer {house.key}"], capture_output=True, text=True)
        assert done.stdout == "200" and time.monotonic() - began < 3 * PACE  # others are not held up
        until(lambda: house.chat(max_tokens=1)[0] == 503, "a hung worker is forgotten", 20)
    finally:
        house.kill("worker", signal.SIGCONT)
    until(lambda: house.chat(max_tokens=1)[0] == 200, "it serves again", 20)


def test_redis_killed_fails_closed_and_nothing_is_lost(house):
    key, key_id = house.new_key(name="before the crash")
    gone, gone_id = house.new_key(name="revoked before the crash")
    house.revoke(gone_id)
    house.kill("redis")
    house.kill("redis-limits")
    began = time.monotonic()
    status, _, _ = house.chat(key=key, max_tokens=1)
    assert status == 503 and time.monotonic() - began < 5 * PACE
    until(lambda: house.send("GET", "/readyz", key=False)[0] == 503, "no longer ready", 5)
    assert house.send("POST", "/v1/admin/api-keys", {}, key=house.admin_key)[0] == 503
    house.up()
    until(lambda: house.chat(key=key, max_tokens=1)[0] == 200, "the key made before the crash works", 15)
    assert house.chat(key=gone, max_tokens=1)[0] == 401
    _, _, body = house.send("GET", "/v1/admin/api-keys", key=house.admin_key)
    assert {key_id, gone_id} <= {k["key_id"] for k in body["keys"]}


def test_redis_hung_fails_closed_and_recovers(house):
    assert house.chat(max_tokens=1)[0] == 200  # the key is known to the gateway
    refused = house.metric("http", "bora_gateway_outage_admissions_total", 'outcome="refused"')
    house.kill("redis-limits", signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert house.chat(max_tokens=1)[0] == 503
        assert time.monotonic() - began < 10 * PACE
        assert house.metric("http", "bora_gateway_outage_admissions_total", 'outcome="refused"') > refused
        assert house.chat(max_tokens=-1)[0] == 503  # nor is anybody told what is wrong who may have been revoked
        time.sleep(3 - min(3, time.monotonic() - began))  # by now the worker's announcement has expired
    finally:
        house.kill("redis-limits", signal.SIGCONT)
    until(lambda: house.chat(max_tokens=1)[0] == 200, "it serves again", 15)
    for _ in range(40):  # and goes on to: a list without the worker is no reason to refuse while the worker is connected
        assert house.chat(max_tokens=1)[0] == 200
        time.sleep(0.05)


def test_keys_service_killed_known_keys_work_unknown_wait(house):
    assert house.chat(max_tokens=1)[0] == 200
    fresh, _ = house.new_key(name="never seen by the gateway")
    house.kill("keys")
    assert house.chat(max_tokens=1)[0] == 200  # remembered; the record itself is looked at in Redis
    assert house.chat(key=fresh, max_tokens=1)[0] == 503
    house.up()
    until(lambda: house.chat(key=fresh, max_tokens=1)[0] == 200, "the keys service answers again", 15)


def test_slow_reader_holds_bounded_memory_and_stops_its_generation(house):
    """Eight clients that read nothing: their generations pause, the house's memory does not grow, others are served."""
    house.chat(max_tokens=1)
    before = {name: house.resident_bytes(name) for name in ("gateway", "worker")}
    # Twenty log-probabilities make two kilobytes of every token, so that what lies in sockets and queues is soon full; no story ends by itself.
    slow = [open_stream(house, receive_buffer=4096, logprobs=True, top_logprobs=20, logit_bias={"0": -100, "2": -100}) for _ in range(8)]
    until(lambda: house.metric("worker-metrics", "bora_engine_running") >= 8, "they run", 20)
    generated = lambda: house.metric("worker-metrics", "bora_engine_completion_tokens_total")

    def nothing_more():
        before = generated()
        time.sleep(1)
        return generated() == before

    until(nothing_more, "their generations pause", 60)
    assert house.metric("worker-metrics", "bora_engine_running") >= 8  # paused, not ended
    began = time.monotonic()
    status, _, _ = house.chat("Hello", max_tokens=4)
    assert status == 200 and time.monotonic() - began < 30 * PACE
    grown = {name: (house.resident_bytes(name) - before[name]) / 2**20 for name in before}
    print("grown by MiB:", grown)
    assert grown["gateway"] < 16
    for connection in slow:
        connection.close()
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "all slots are free", 10)


def test_sigterm_drains(house):
    """A running stream ends whole; the worker and the gateway then exit with 0; new requests are refused meanwhile."""
    connection = open_stream(house, max_tokens=60)
    read_events(connection, lambda r: r.count(b"data:") > 2)
    worker, gateway = house.pid("worker"), house.pid("gateway")
    os.kill(worker, signal.SIGTERM)
    rest = read_events(connection, lambda r: b"[DONE]" in r)
    assert b"[DONE]" in rest and b'"finish_reason":"error"' not in rest
    until(lambda: not running(worker), "the worker has stopped", 20)
    assert '"event":"stopped"' in house.log("worker").splitlines()[-1]
    os.kill(gateway, signal.SIGTERM)
    until(lambda: not running(gateway), "the gateway has stopped", 20)
    assert '"event":"stopped"' in house.log("gateway").splitlines()[-1]
    house.up()
    assert house.chat(max_tokens=1)[0] == 200


def running(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_second_up_is_quick_and_harmless(house):
    pids = [house.pid(name) for name in ("redis", "redis-limits", "keys", "worker", "gateway")]
    began = time.monotonic()
    house.up()
    assert time.monotonic() - began < 5 * PACE
    assert pids == [house.pid(name) for name in ("redis", "redis-limits", "keys", "worker", "gateway")]


def test_mistakes_leave_a_running_house_alone(house, tmp_path):
    """A taken port, a bad file, a number out of range: one line that says so, and everything still runs and serves."""
    pids = [house.pid(name) for name in ("redis", "redis-limits", "keys", "worker", "gateway")]
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 100)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, says in ((("--http-port", str(port)), f"port {port} (http) is taken"), (("--model", str(bad)), "bad.gguf"), (("--model", "nothing"), "nothing"),
                                (("--threads", "-3"), "0..256"), (("--http-port", "99999"), "1..65535"), (("--redis-port", str(house.ports["http"])), "the same")):
            done = house.command("up", "--no-question", *arguments)
            assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert pids == [house.pid(name) for name in ("redis", "redis-limits", "keys", "worker", "gateway")]
    house.up()  # none of it is remembered
    assert pids == [house.pid(name) for name in ("redis", "redis-limits", "keys", "worker", "gateway")]
    assert house.chat(max_tokens=1)[0] == 200


def test_status_for_scripts(house):
    done = house.command("status", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and all(p["health"] == "ok" for p in report["processes"].values())
    assert Path(report["files"]["demo_key"]).read_text().strip() == house.key
    assert report["processes"]["worker"]["model"] == house.model


def test_taken_port_and_bad_model_file_are_one_clear_line(house, tmp_path):
    from conftest import House  # a second house on the first one's port

    environment = {**house.environment, "BORA_STATE": str(tmp_path / "second")}
    arguments = ["up", "--no-question", "--http-port", str(house.ports["http"]), "--grpc-port", "1999", "--keys-port", "1998", "--worker-port", "1997", "--redis-port", "1996", "--keys-metrics-port", "1995", "--worker-metrics-port", "1994", "--redis-limits-port", "1993"]
    import sys

    from conftest import ROOT

    done = subprocess.run([sys.executable, str(ROOT / "tools/house.py"), *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and f"port {house.ports['http']}" in done.stderr

    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 100)
    done = subprocess.run([str(BUILD / "bin/bora-worker"), "--models-file", str(write_models(tmp_path, bad)), "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "bad.gguf" in done.stderr and "Traceback" not in done.stderr


def write_models(folder, path):
    file = folder / "models.ini"
    file.write_text(f"[bad]\npath = {path}\n")
    return file
