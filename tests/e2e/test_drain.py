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


def test_strangers_bodies_are_not_read(house):
    with another_gateway(house) as gateway:
        connection = half_sent(gateway, 1 << 20)
        answer = read_until(connection, lambda r: b"Unauthorized" in r)
        assert answer.startswith(b"HTTP/1.1 401") and b'{"detail":"Unauthorized",' in answer


def test_bodies_together_are_bounded(house):
    """Sixty half-sent bodies of 2 MiB under keys that nobody gave out: 16 MiB are kept, the rest is dropped or refused, and requests are served when they have gone."""
    with another_gateway(house, "--bodies-max", "16m") as gateway:
        before = resident_mib(gateway.process)
        connections = [half_sent(gateway, 2 << 20, b"Authorization: Bearer bora_nobody_gave_this_out\r\n") for _ in range(60)]

        def send(connection):
            with contextlib.suppress(OSError):  # refused already
                connection.sendall(b"x" * ((2 << 20) - 1))

        threads = [threading.Thread(target=send, args=(c,)) for c in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert resident_mib(gateway.process) - before < 80
        for connection in connections:
            connection.close()
        until(lambda: house.chat(base=gateway.base, max_tokens=1)[0] == 200, "requests are served again", 10)


def test_body_that_cannot_fit_is_refused_at_once(house):
    with another_gateway(house, "--bodies-max", "1m") as gateway:
        connection = half_sent(gateway, 2 << 20, b"Authorization: Bearer bora_nobody_gave_this_out\r\n")
        refused = read_until(connection, lambda r: b"}" in r)
        assert refused.startswith(b"HTTP/1.1 503") and b"too many large requests" in refused
