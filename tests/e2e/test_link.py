# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The link between a gateway and a worker: many generations on one stream, each stopped, held and counted for itself."""
import contextlib
import json
import socket
import threading
import time

import grpc
import pytest

from conftest import PACE, until
from scripted_worker import LinkToWorker, ScriptedWorker


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("link"))
    until(lambda: house.send("GET", f"/v1/models/{worker.MODEL}")[0] == 200, "the gateway knows the scripted worker")
    yield worker
    worker.stop()


@pytest.fixture
def link(house, worker):
    with LinkToWorker(house, worker) as link:
        yield link
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the worker is free")


def endless(house, link, **fields):
    """A Start whose answer does not end by itself."""
    pb = link.pb
    sampling = pb.Sampling(temperature=1, top_p=1, seed=3, top_logprobs=-1, logit_bias_ids=[0, 2], logit_bias_values=[-100, -100])
    message = pb.ConversationMessage(content=b"Write a very long story.", role=pb.ConversationMessage.ROLE_USER)
    return pb.Start(**{"model": house.model, "messages": [message], "max_tokens": 6000, "sampling": sampling, "tenant": "t", **fields})


def run(house, link, **fields):
    """The number of a generation that has begun to tell."""
    number = link.start(endless(house, link, **fields))
    assert link.prepared(number).prompt_tokens > 0
    link.send(link.pb.LinkCommand(generation=number, proceed=link.pb.Proceed()))
    link.wait(lambda: len(link.of(number, "delta")) > 3)
    return number


def stop(link, number):
    link.send(link.pb.LinkCommand(generation=number, stop=link.pb.Stop()))
    return link.last(number)


# ---- the worker's side ---------------------------------------------------------------------------------------------------


def test_stop_says_exactly_what_was_generated(house, link):
    generated = lambda: house.metric("worker-metrics", "bora_engine_completion_tokens_total")
    before = generated()
    numbers = [run(house, link) for _ in range(3)]
    ends = [stop(link, number).finished for number in numbers]
    for number, end in zip(numbers, ends):
        assert end.reason == link.pb.Finished.REASON_CANCELLED and end.last
        assert end.prompt_tokens == link.prepared(number).prompt_tokens
        assert end.completion_tokens == sum(len(delta.token_ids) for delta in link.of(number, "delta")) > 0
    until(lambda: generated() - before == sum(end.completion_tokens for end in ends), "the engine has counted as many", 5)


def test_stop_before_anything_was_computed_costs_nothing(house, link):
    start = endless(house, link)
    number = link.start(start)
    link.prepared(number)
    end = stop(link, number).finished
    assert (end.reason, end.prompt_tokens, end.completion_tokens) == (link.pb.Finished.REASON_CANCELLED, 0, 0)
    link.count += 1  # in one message: perhaps before the tokens are counted, perhaps behind
    link.send(link.pb.LinkCommand(generation=link.count, start=start), link.pb.LinkCommand(generation=link.count, stop=link.pb.Stop()))
    end = link.last(link.count).finished
    assert (end.reason, end.prompt_tokens, end.completion_tokens, end.last) == (link.pb.Finished.REASON_CANCELLED, 0, 0, True)


@contextlib.contextmanager
def what_redis_hears(house):
    """A function that waits for a text among the commands of the Redis of limits, and says whether it came."""
    with socket.create_connection(("127.0.0.1", house.ports["redis-limits"]), 5) as connection:
        connection.sendall(f"AUTH {(house.state / 'secrets/redis-password').read_text().strip()}\r\nMONITOR\r\n".encode())
        heard = b""
        while heard.count(b"+OK") < 2:
            heard += connection.recv(65536)

        def comes(text, seconds):
            nonlocal heard
            connection.settimeout(0.1)
            until_when = time.monotonic() + seconds
            while text.encode() not in heard and time.monotonic() < until_when:
                with contextlib.suppress(TimeoutError):
                    heard += connection.recv(1 << 20)
            return text.encode() in heard

        yield comes


def test_what_a_gateway_gives_up_the_worker_reports_itself(house, link):
    """Running or just ended: whoever is told that nobody listens says to Redis what the generation has cost; else the gateway does."""
    leases = [f"{i}" * 32 for i in (7, 8, 9)]
    running, ended, settled = (run(house, link, lease=f"nobody/{lease}".encode()) for lease in leases)
    with what_redis_hears(house) as comes:
        link.send(link.pb.LinkCommand(generation=running, stop=link.pb.Stop(abandoned=True)))
        assert link.last(running).finished.completion_tokens > 3
        assert stop(link, ended).finished.completion_tokens > 3 and stop(link, settled).finished.completion_tokens > 3
        assert comes(leases[0], 5 * PACE)
        assert not comes(leases[1], 0.5)
        link.send(link.pb.LinkCommand(generation=ended, stop=link.pb.Stop(abandoned=True)))
        assert comes(leases[1], 5 * PACE) and not comes(leases[2], 0.5)


def test_hold_stops_one_generation_alone(house, link):
    held, other = run(house, link), run(house, link)
    link.send(link.pb.LinkCommand(generation=held, hold=link.pb.Hold()))

    def quiet():
        count = len(link.of(held, "delta"))
        time.sleep(0.3 * PACE)
        return len(link.of(held, "delta")) == count

    until(quiet, "it is held", 10)
    count, others = len(link.of(held, "delta")), len(link.of(other, "delta"))
    link.wait(lambda: len(link.of(other, "delta")) > others + 20)
    assert len(link.of(held, "delta")) == count
    link.send(link.pb.LinkCommand(generation=held, continue_reading=link.pb.Continue()))
    link.wait(lambda: len(link.of(held, "delta")) > count + 5)
    tokens = [delta.completion_tokens for delta in link.of(held, "delta")]
    assert tokens == sorted(tokens)  # nothing was lost meanwhile
    link.send(link.pb.LinkCommand(generation=held, hold=link.pb.Hold()))
    for number in (held, other):  # a held one is stopped like another
        assert stop(link, number).finished.completion_tokens == sum(len(delta.token_ids) for delta in link.of(number, "delta"))


def test_commands_out_of_turn_end_their_generation_alone(house, link):
    pb = link.pb
    good, twice, again = run(house, link), run(house, link), run(house, link)
    link.send(pb.LinkCommand(generation=twice, start=endless(house, link)), pb.LinkCommand(generation=again, proceed=pb.Proceed()), pb.LinkCommand(generation=4711, stop=pb.Stop()))
    for number in (twice, again):
        assert link.last(number).failed.status == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert 4711 not in link.events and not link.ended
    assert stop(link, good).finished.reason == pb.Finished.REASON_CANCELLED


def test_a_start_that_is_too_large_ends_alone(house, link):
    good = run(house, link)
    message = link.pb.ConversationMessage(content=b"x" * (9 << 20), role=link.pb.ConversationMessage.ROLE_USER)
    large = link.start(endless(house, link, messages=[message]))
    failed = link.last(large).failed
    assert failed.status == grpc.StatusCode.INVALID_ARGUMENT.value[0] and "bytes" in failed.message
    assert stop(link, good).finished.reason == link.pb.Finished.REASON_CANCELLED


def test_what_is_late_is_not_begun(house, link):
    number = link.start(endless(house, link, deadline_ms=300))
    link.prepared(number)
    time.sleep(0.4)
    link.send(link.pb.LinkCommand(generation=number, proceed=link.pb.Proceed()))
    assert link.last(number).failed.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_the_end_of_a_link_ends_its_generations(house, worker):
    with LinkToWorker(house, worker) as other:
        with LinkToWorker(house, worker) as link:
            for _ in range(4):
                run(house, link)
            stays = run(house, other)
        until(lambda: house.metric("worker-metrics", "bora_engine_running") == 1, "four are stopped", 10)
        link.wait(lambda: link.ended)
        assert stop(other, stays).finished.last
    until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0, "the worker is free")


def test_malformed_commands_end_the_link(house, worker):
    with grpc.insecure_channel(f"127.0.0.1:{house.ports['worker']}") as channel:
        call = channel.stream_stream("/bora.internal.v1.WorkerService/Link", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as caught:
            next(call(iter([b"\x0a\x7f"])))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


# ---- the gateway's side --------------------------------------------------------------------------------------------------


def open_stream(house, worker, receive_buffer=None, **fields):
    body = json.dumps({"model": worker.MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}).encode()
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(60 * PACE)
    connection.connect(("127.0.0.1", house.ports["http"]))
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + house.key.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def read_until(connection, enough):
    received = b""
    while not enough(received):
        piece = connection.recv(1 << 20)
        if not piece:
            break
        received += piece
    return received


def whole(received):
    """An answer's body without the marks of its chunks."""
    rest, body = received.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
    return body


def deltas(worker, count, size=1):
    for i in range(count):
        yield worker.pb.Delta(text=b"%06d" % i + b"x" * (size - 6) if size > 6 else b"x" * size, token_ids=[1], completion_tokens=i + 1)


def silent(worker, index, tokens=2):
    """A few tokens and then nothing, until it is stopped."""
    yield from deltas(worker, tokens)
    worker.generations[index].stopped.wait(60)


def counted(house, worker):
    return house.metric("http", "bora_gateway_tokens_total", f'model="{worker.MODEL}",kind="completion"')


def test_when_the_client_leaves_the_worker_says_what_is_charged(house, worker):
    """More was generated than the gateway had heard of."""

    def script(start, index):
        yield from silent(worker, index)
        worker.generations[index].send(finished=worker.pb.Finished(reason=worker.pb.Finished.REASON_CANCELLED, prompt_tokens=worker.PROMPT_TOKENS, completion_tokens=7, last=True))

    worker.reset(script)
    before = counted(house, worker)
    connection = open_stream(house, worker)
    read_until(connection, lambda r: r.count(b'"content":"x"') == 2)
    connection.close()
    until(lambda: worker.generations[0].stopped.is_set(), "the worker hears of it", 5)
    until(lambda: counted(house, worker) == before + 7, "seven are charged", 5)


def test_a_worker_that_does_not_answer_stop_is_not_waited_for_long(house, worker):
    worker.reset(lambda start, index: silent(worker, index, tokens=3))
    worker.stops = False
    before = counted(house, worker)
    connection = open_stream(house, worker)
    read_until(connection, lambda r: r.count(b'"content":"x"') == 3)
    connection.close()
    began = time.monotonic()
    until(lambda: counted(house, worker) == before + 3, "what was heard of is charged", 10)
    assert 1 < time.monotonic() - began < 8 * PACE


def test_a_slow_reader_holds_its_own_generation(house, worker):
    pieces = 400

    def script(start, index):
        for event in deltas(worker, pieces if index == 0 else 2, 4000):
            time.sleep(0.001)
            while worker.generations[index].held.is_set():
                time.sleep(0.01)
            yield event
        yield worker.pb.Finished(prompt_tokens=worker.PROMPT_TOKENS, completion_tokens=pieces)

    worker.reset(script)
    connection = open_stream(house, worker, receive_buffer=4096)
    until(lambda: worker.generations and "hold" in worker.generations[0].commanded, "it is held", 10)
    assert house.chat(model=worker.MODEL, max_tokens=5)[0] == 200  # others go on
    time.sleep(0.3)
    assert "continue_reading" not in worker.generations[0].commanded
    received = whole(read_until(connection, lambda r: b"[DONE]" in r))
    assert "continue_reading" in worker.generations[0].commanded
    commanded = [kind for kind in worker.generations[0].commanded if kind != "proceed"]
    assert commanded == (["hold", "continue_reading"] * len(commanded))[:len(commanded)]  # by turns
    assert [received.find(b'"content":"%06d' % i) >= 0 for i in range(pieces)] == [True] * pieces
    places = [received.index(b'"content":"%06d' % i) for i in range(pieces)]
    assert places == sorted(places)


def test_what_is_behind_a_hold_arrives_also_when_nothing_follows(house, worker):
    """A worker that sends all at once and is done, before it has heard of Hold."""

    def script(start, index):
        yield from deltas(worker, 300, 4000)
        yield worker.pb.Finished(prompt_tokens=worker.PROMPT_TOKENS, completion_tokens=300)

    worker.reset(script)
    connection = open_stream(house, worker, receive_buffer=4096)
    until(lambda: worker.generations and "hold" in worker.generations[0].commanded, "it is held", 10)
    time.sleep(0.2)
    received = whole(read_until(connection, lambda r: b"[DONE]" in r))
    assert received.count(b'"content":"0') == 300 and b'"finish_reason":"stop"' in received
    # ... and a client that leaves instead is settled with the exact count, without waiting for the worker
    worker.reset(script)
    before = counted(house, worker)
    connection = open_stream(house, worker, receive_buffer=4096)
    until(lambda: worker.generations and "hold" in worker.generations[0].commanded, "it is held", 10)
    time.sleep(0.2)
    connection.close()
    until(lambda: counted(house, worker) == before + 300, "all of it is charged", 5)


def test_a_worker_that_floods_loses_that_generation_alone(house, worker):
    def script(start, index):
        if index == 0:
            yield from silent(worker, index)
            return
        for event in deltas(worker, 2000, 60000):  # 120 MB, whatever it is told
            if worker.generations[index].stopped.is_set():
                return
            yield event

    worker.reset(script)
    before = house.resident_bytes("gateway")
    other = open_stream(house, worker)
    read_until(other, lambda r: r.count(b'"content":"x"') == 2)
    connection = open_stream(house, worker, receive_buffer=4096)
    until(lambda: len(worker.generations) == 2 and worker.generations[1].stopped.is_set(), "it is stopped", 30)
    assert house.resident_bytes("gateway") - before < (80 << 20) * PACE  # sanitizers keep what was freed
    assert b'"finish_reason":"error"' in read_until(connection, lambda r: b"[DONE]" in r)
    assert not worker.generations[0].stopped.is_set()
    counts = counted(house, worker)
    other.close()
    until(lambda: counted(house, worker) == counts + 2, "the other is stopped, and counted, when its client leaves", 5)


def test_a_broken_link_ends_every_answer_on_it_and_the_next_request_has_a_new_one(house, worker):
    worker.reset(lambda start, index: silent(worker, index))
    before = counted(house, worker)
    connections = [open_stream(house, worker) for _ in range(5)]
    for connection in connections:
        read_until(connection, lambda r: r.count(b'"content":"x"') == 2)
    links = len(worker.links)
    worker.links[-1].cut()
    for connection in connections:
        rest = read_until(connection, lambda r: b"[DONE]" in r)
        assert b'"finish_reason":"error"' in rest and b"[DONE]" in rest
    until(lambda: counted(house, worker) == before + 10, "what was generated is charged", 5)
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    until(lambda: house.chat(model=worker.MODEL, max_tokens=5)[0] == 200, "it serves again", 5)
    assert len(worker.links) == links + 1


def test_a_link_that_breaks_before_anything_was_computed_costs_nobody_an_answer(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.counting.clear()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(house.chat(model=worker.MODEL, max_tokens=5)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(worker.starts) == 4, "all of them wait", 10)
    worker.links[-1].cut()
    until(lambda: len(worker.starts) == 8, "all of them are tried again", 10)
    worker.counting.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4


def test_many_at_once_share_messages(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    answers = []
    threads = [threading.Thread(target=lambda: answers.extend(house.chat(model=worker.MODEL, max_tokens=5)[0] for _ in range(20))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 320
    assert len(worker.links[-1].generations) >= 320  # all of them on one stream
