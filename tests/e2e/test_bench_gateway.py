# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""`./dev bench gateway` works: its worker, its clients, its house; what it says of the load is so. No bar on any time but those that are made here."""
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from conftest import BUILD, PACE, ROOT, free_ports, until

sys.path[:0] = [str(ROOT / "bench")]
import gateway  # noqa: E402
import gateway_sides  # noqa: E402
import machine  # noqa: E402

KEPT_FIELDS = {"rate", "seconds", "sent", "status", "broken", "unfinished", "answered_per_s", "latency_us", "first_us", "late_us", "body_bytes", "begun", "cpu_us"}


class Null:
    """The null worker's HTTP face alone."""

    name, key = "null", None

    def __init__(self, folder, *flags):
        self.folder_of_clients = folder
        self.port = free_ports(1)[0]
        self.process = subprocess.Popen([str(BUILD / "bin/bora-bench-null"), "--http-listen", f"127.0.0.1:{self.port}", *flags], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == f"grpc=0 http={self.port}\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10 * PACE) == 0
        self.process.stdout.close()

    def processes(self):
        return {"null": [self.process.pid]}

    def load(self, body, *flags):
        done = subprocess.run(gateway.asks(self, "bora-bench-load", body, "--warmup", "0s", *flags), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def test_the_null_worker_answers_as_asked(tmp_path):
    with Null(tmp_path) as null:
        def post(body):
            return urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{null.port}/v1/chat/completions", data=body), timeout=10).read().decode()

        answer = json.loads(post(json.dumps(gateway.body(70)).encode()))
        assert answer["choices"][0]["message"]["content"] == " word" * 70
        assert answer["usage"] == {"prompt_tokens": 8, "completion_tokens": 70, "total_tokens": 78}
        events = post(json.dumps(gateway.body(70, stream=True)).encode()).split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == " word" * 70
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "length"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(b"{")
        assert refused.value.code == 400


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_load_counts_every_request(arrivals, stream, tmp_path):
    with Null(tmp_path) as null:
        measured = null.load(gateway.body(4, stream), "--rate", "200", "--seconds", "1s", "--arrivals", arrivals)
        assert set(measured) == KEPT_FIELDS
        assert measured["status"] == {"200": measured["sent"]} and measured["broken"] == measured["unfinished"] == 0
        assert measured["sent"] in ((199, 200) if arrivals == "constant" else range(150, 250))
        assert measured["body_bytes"] > 100 * measured["sent"]
        for times in (measured["latency_us"], measured["first_us"], measured["late_us"]):
            assert list(times) == ["p50", "p90", "p99", "p999", "max"] and list(times.values()) == sorted(times.values())
        assert measured["first_us"]["p50"] <= measured["latency_us"]["p50"]


def test_requests_that_wait_for_a_connection_are_charged_for_it(tmp_path):
    """40 requests a second for half a second, of which one connection answers 10 a second: the last one waits for a second and a half."""
    with Null(tmp_path, "--delay", "100ms") as null:
        measured = null.load(gateway.body(2), "--rate", "40", "--seconds", "500ms", "--arrivals", "constant", "--connections", "1", "--drain", "60s")
        assert measured["status"] == {"200": measured["sent"]} and measured["sent"] in (19, 20)
        assert measured["latency_us"]["max"] > 1_200_000
        assert measured["late_us"]["max"] > 1_100_000
        cut = null.load(gateway.body(2), "--rate", "40", "--seconds", "500ms", "--arrivals", "constant", "--connections", "1", "--drain", "0s")
        assert cut["sent"] == cut["status"].get("200", 0) + cut["unfinished"] and cut["unfinished"] >= 10


def test_refusals_are_counted_by_status(tmp_path):
    with Null(tmp_path) as null:
        refused = null.load(gateway.body(), "--rate", "50", "--seconds", "500ms", "--path", "/nowhere")
        assert refused["status"] == {"404": refused["sent"]} and refused["latency_us"] == {}


def test_what_a_dead_server_owes_is_counted(tmp_path):
    null = Null(tmp_path, "--delay", "60s")
    client = subprocess.Popen(gateway.asks(null, "bora-bench-load", gateway.body(2), "--rate", "50", "--seconds", "2s", "--warmup", "0s", "--drain", "0s"), stdout=subprocess.PIPE, text=True)
    until(lambda: len(os.listdir(f"/proc/{null.process.pid}/fd")) > gateway.CONNECTIONS, "it has connected")
    null.process.kill()
    null.process.wait()
    null.process.stdout.close()
    measured = json.loads(client.communicate()[0])
    assert measured["status"] == {} and measured["broken"] + measured["unfinished"] == measured["sent"] > 0


def test_streams_are_held_open_and_slow_ones_hold_the_worker_back(tmp_path):
    with Null(tmp_path, "--delay", "1h") as silent, gateway.held(silent, 50, gateway.body(1000, stream=True)):
        pass  # held() says so itself when one ended
    with Null(tmp_path) as null:
        before = gateway.resident_bytes(null.processes()["null"])
        with gateway.held(null, 20, gateway.body(200_000, stream=True), "--bytes", "8", "--every", "100ms"):
            assert gateway.resident_bytes(null.processes()["null"]) - before < 20 * 1_000_000  # each would be 3 MB


def test_processor_time_is_that_of_a_process_and_of_those_it_started():
    child = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'n = 0\\nwhile n < 3_000_000: n += 1\\nprint(flush=True)\\ninput()'])"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        pids = machine.descendants(child.pid)
        assert len(pids) == 1 and gateway.cpu_seconds(pids) > 0.02
        assert gateway.resident_bytes(pids) > 1_000_000
    finally:
        child.communicate(b"\n")


def test_our_side_is_measured(monkeypatch):
    """The house with the null worker: keys and limits on, streams and plain requests, then a worker that is silent."""
    monkeypatch.setattr(gateway, "SETTLE_S", 0.1)
    with gateway_sides.GatewayHouse() as ours:
        ours.folder_of_clients = ours.folder
        direct = gateway_sides.Direct(ours.null_port, ours)
        direct.folder_of_clients = ours.folder
        for side in (direct, ours):
            measured = gateway.all_answered(side, gateway.ask(side, 40, 0.5, warmup=0.1))
            assert measured["cpu"]["worker"] > 0
        assert set(measured["cpu"]) == {"gateway", "redis", "redis-limits", "keys", "worker"} and measured["cpu"]["gateway"] > 0
        gateway.all_answered(ours, gateway.ask(ours, 40, 0.5, gateway.body(300, stream=True), warmup=0))
        with gateway.held(ours, 20, gateway.body(100_000, stream=True), "--bytes", "8"):
            gateway.all_answered(ours, gateway.ask(ours, 40, 0.5, warmup=0))
        ours.set_delay("1h")
        assert abs(gateway.bytes_a_stream(ours, 50)) < 64 * 1024  # so few that other memory's coming and going may be more
