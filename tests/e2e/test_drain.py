# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""How a gateway goes, what it does when a worker hangs, and what a crowd of strangers may cost it."""
import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path

import grpc
import pytest

from conftest import PACE, another_gateway, until


def open_stream(house, gateway, key=None, **fields):
    body = json.dumps({"model": house.model, "messages": [{"role": "user", "content": "Write a very long story."}], "max_tokens": 6000, "stream": True, "logit_bias": {"0": -100, "2": -100}, **fields}).encode()
    connection = socket.create_connection(("127.0.0.1", gateway.http), timeout=60 * PACE)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + (key or house.key).encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def read_until(connection, enough):
    received = b""
    while not enough(received):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def test_answer_that_outlasts_the_drain_ends_with_an_event(house):
    """Over both fronts: finish_reason "error" and the end of the stream, or UNAVAILABLE; never a cut in the middle."""
    with another_gateway(house, "--drain", "1s") as gateway:
        connection = open_stream(house, gateway)
        read_until(connection, lambda r: r.count(b"data:") > 3)
        gateway.process.send_signal(signal.SIGTERM)
        rest = read_until(connection, lambda r: b"[DONE]" in r)
        assert b'"finish_reason":"error"' in rest and b"data: [DONE]" in rest
        assert gateway.process.wait(20 * PACE) == 0
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the worker is free")


def test_both_fronts_take_nothing_new_while_answers_end(house, grpc_modules):
    with another_gateway(house, "--drain", "20s") as gateway:
        connection = open_stream(house, gateway)
        read_until(connection, lambda r: r.count(b"data:") > 3)
        with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc}") as before:
            models = grpc_modules.models_grpc.ModelServiceStub(before)
            metadata = (("authorization", f"Bearer {house.key}"),)
            models.ListModels(grpc_modules.models.ListModelsRequest(), metadata=metadata)
            gateway.process.send_signal(signal.SIGTERM)

            def refused():
                try:
                    models.ListModels(grpc_modules.models.ListModelsRequest(), metadata=metadata, timeout=2)
                    return False
                except grpc.RpcError as error:
                    return error.code() == grpc.StatusCode.UNAVAILABLE

            until(refused, "gRPC refuses", 5)

        def http_refuses():
            try:
                socket.create_connection(("127.0.0.1", gateway.http), timeout=2).close()
                return False
            except OSError:
                return True

        until(http_refuses, "HTTP refuses", 5)
        assert gateway.process.poll() is None  # the answer goes on meanwhile
        assert b"data:" in read_until(connection, lambda r: r.count(b"data:") > 20)
        connection.close()
        assert gateway.process.wait(20 * PACE) == 0


def test_stream_of_a_hung_worker_ends_with_an_event(house):
    """Nothing closes the connection of a process that hangs: pings that nobody answers do."""
    with another_gateway(house, "--upstream-keepalive", "5s", "--upstream-keepalive-timeout", "2s") as gateway:
        connection = open_stream(house, gateway)
        read_until(connection, lambda r: r.count(b"data:") > 3)
        house.kill("worker", signal.SIGSTOP)
        try:
            began = time.monotonic()
            rest = read_until(connection, lambda r: b"[DONE]" in r)
            assert b'"finish_reason":"error"' in rest and b"data: [DONE]" in rest
            assert time.monotonic() - began < 15 * PACE
        finally:
            house.kill("worker", signal.SIGCONT)
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the worker is free")


def resident_mib(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 >> 20


def half_sent(gateway, size, authorization=b""):
    connection = socket.create_connection(("127.0.0.1", gateway.http), timeout=60)
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + authorization + b"Content-Length: %d\r\n\r\n" % size)
    return connection


INVENTED = b"Authorization: Bearer bora_aaaaaaaaaaaa_" + b"x" * 43 + b"\r\n"


@pytest.mark.parametrize("authorization", [b"", INVENTED])
def test_strangers_bodies_are_not_read(house, authorization):
    with another_gateway(house) as gateway:
        connection = half_sent(gateway, 1 << 20, authorization)
        answer = read_until(connection, lambda r: b"Unauthorized" in r)
        assert answer.startswith(b"HTTP/1.1 401") and b'{"detail":"Unauthorized",' in answer
        assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer


@pytest.mark.parametrize("path", ["/v1/admin/api-keys", "/v1/nothing", "/healthz"])
def test_large_bodies_are_read_only_where_they_belong(house, path):
    assert house.send("POST", path, b" " * 70000, key="bora_admin_nobody")[0] == 413


def fill(connections, size):
    """All but the last byte of each body, from a thread each; whoever is refused stops."""

    def send(connection):
        with contextlib.suppress(OSError):
            connection.sendall(b"x" * (size - 1))

    threads = [threading.Thread(target=send, args=(c,)) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def large(house, gateway):
    """A request of 3 MiB that is 422 when it was read."""
    return house.chat("x" * (3 << 20), base=gateway.base, temperature=9)


def test_strangers_shut_nobody_out(house):
    """Bodies under a key that nobody gave out, sent up to the last byte, one after the other until there is no room: large and small requests of
    others are served meanwhile."""
    with another_gateway(house, "--bodies-max", "16m") as gateway:
        connections = []
        for _ in range(8):
            connections.append(half_sent(gateway, 4 << 20, INVENTED))
            fill(connections[-1:], 4 << 20)
        for _ in range(3):
            assert house.chat(base=gateway.base, max_tokens=1)[0] == 200
            assert large(house, gateway)[0] == 422
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("setting", ["--bodies-max", "--peer-bodies-max"])
def test_bodies_together_are_bounded(house, setting):
    """Sixty half-sent bodies of 2 MiB: 16 MiB are kept, the rest is dropped or refused; small requests are served while they stay, large ones when they have gone."""
    with another_gateway(house, setting, "16m") as gateway:
        before = resident_mib(gateway.process)
        connections = [half_sent(gateway, 2 << 20, b"Authorization: Bearer " + house.key.encode() + b"\r\n") for _ in range(60)]
        fill(connections, 2 << 20)
        assert resident_mib(gateway.process) - before < 80
        assert house.chat(base=gateway.base, max_tokens=1)[0] == 200
        status, headers, body = large(house, gateway)
        assert (status, headers["retry-after"], body["type"]) == (503, "1", "service_unavailable")
        for connection in connections:
            connection.close()
        until(lambda: large(house, gateway)[0] == 422, "large requests are read again", 10)


def test_body_that_cannot_fit_is_refused_at_once(house):
    with another_gateway(house, "--bodies-max", "1m") as gateway:
        connection = half_sent(gateway, 2 << 20, b"Authorization: Bearer " + house.key.encode() + b"\r\n")
        refused = read_until(connection, lambda r: b"}" in r)
        assert refused.startswith(b"HTTP/1.1 503") and b"too many large requests" in refused


def connect_from(gateway, address):
    connection = socket.socket()
    connection.settimeout(30 * PACE)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", gateway.http))
    return connection


def test_idle_connections_of_one_address_do_not_hide_the_health(house):
    with another_gateway(house, "--connections-max", "64", "--peer-connections-max", "32", "--header-timeout", "2s") as gateway:
        idle = [connect_from(gateway, "127.0.0.2") for _ in range(100)]
        for _ in range(10):
            assert house.send("GET", "/healthz", key=False, base=gateway.base)[0] == 200
        assert all(connection.recv(1) == b"" for connection in idle)  # beyond 32 at once, the others after header-timeout

        def served_again():
            try:
                with connect_from(gateway, "127.0.0.2") as again:
                    again.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                    return read_until(again, lambda r: b"ok\n" in r).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

        until(served_again, "the places are free", 5)  # a connection's place is free a moment after its client has seen the end
