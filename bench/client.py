# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Many streamed chat requests from one thread, with the time at which each piece arrived.

The client shares the processors with what it measures, so while streams run it only notes bytes and times; they are parsed afterwards.
"""
import json
import selectors
import socket
import sys
import time

RECEIVE_BYTES = 65536


class Stream:
    """One request and what came back."""

    def __init__(self, port, body, key):
        self.began = time.perf_counter()
        self.arrived = []  # (time, bytes)
        self.ended = None
        self.parsed = None
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n"
        if key:
            head += f"Authorization: Bearer {key}\r\n"
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(head.encode() + b"\r\n" + data)
        self.socket.setblocking(False)

    def receive(self):
        """True when the answer is over."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self.arrived.append((time.perf_counter(), data))
            return False
        self.close()
        return True

    def close(self):
        if self.ended is None:
            self.ended = time.perf_counter()
            self.socket.close()

    def pieces(self):
        """About how many events have come: cheap, for deciding when to go on."""
        return sum(data.count(b"data: ") for _, data in self.arrived)

    def answer(self):
        """Parsed once, after the end: status, times of the pieces of text, usage, timings, error."""
        if self.parsed is None:
            self.parsed = parse_answer(self.arrived)
        return self.parsed


class Client:
    def __init__(self, port, key=None):
        self.port, self.key = port, key
        self.selector = selectors.DefaultSelector()
        self.running = set()

    def send(self, body, key=None):
        stream = Stream(self.port, body, key or self.key)
        self.selector.register(stream.socket, selectors.EVENT_READ, stream)
        self.running.add(stream)
        return stream

    def step(self, seconds=0.05):
        """Take in what has come; the streams that ended."""
        ended = []
        for ready, _ in self.selector.select(seconds):
            stream = ready.data
            handle = stream.socket
            if stream.receive():
                self.selector.unregister(handle)
                self.running.discard(stream)
                ended.append(stream)
        return ended

    def until(self, condition, what, seconds=300):
        end = time.perf_counter() + seconds
        while not condition():
            if time.perf_counter() > end:
                sys.exit(f"bench: not within {seconds} s: {what}")
            self.step()

    def wait(self, streams, seconds=600):
        self.until(lambda: all(s.ended for s in streams), "the answers are complete", seconds)

    def cancel_all(self):
        for stream in list(self.running):
            self.selector.unregister(stream.socket)
            stream.close()
        self.running.clear()

    def pause(self, seconds):
        """Let time pass and go on reading."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.step(left)


# ---- parsing -----------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self):
        self.status, self.times, self.usage, self.timings, self.error, self.text = 0, [], {}, {}, None, ""

    def tokens(self):
        return self.usage.get("completion_tokens", 0)

    def gaps(self):
        """[(from, to)] between one piece of text and the next."""
        return list(zip(self.times, self.times[1:]))


class Unchunker:
    """HTTP/1.1 chunked transfer coding (RFC 9112, 7.1), fed piece by piece."""

    def __init__(self):
        self.buffer, self.left = b"", 0  # left: of the chunk, its line end included

    def feed(self, data):
        self.buffer += data
        out = b""
        while self.buffer:
            if self.left == 0:
                line, found, rest = self.buffer.partition(b"\r\n")
                if not found:
                    break
                self.left, self.buffer = int(line.split(b";")[0] or b"0", 16) + 2, rest
                continue
            piece = self.buffer[: self.left]
            out += piece[: max(self.left - 2, 0)]
            self.buffer = self.buffer[len(piece) :]
            self.left -= len(piece)
        return out


def parse_answer(arrived):
    answer, head, lines, unchunker = Answer(), b"", b"", None
    for when, data in arrived:
        if unchunker is None:
            head += data
            start, found, data = head.partition(b"\r\n\r\n")
            if not found:
                continue
            answer.status = int(start.split(b" ", 2)[1])
            chunked = any(line.lower().replace(b" ", b"") == b"transfer-encoding:chunked" for line in start.split(b"\r\n"))
            unchunker = Unchunker().feed if chunked else bytes
        *complete, lines = (lines + unchunker(data)).split(b"\n")
        for line in complete:
            parse_line(answer, when, line.strip())
    if answer.status != 200:
        answer.error = (head + lines).decode(errors="replace")[-300:]
    return answer


def parse_line(answer, when, line):
    if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
        return
    event = json.loads(line[5:])
    if "error" in event:
        answer.error = json.dumps(event["error"])
    answer.usage = event.get("usage") or answer.usage
    answer.timings = event.get("timings") or answer.timings
    text = "".join(choice.get("delta", {}).get("content") or "" for choice in event.get("choices", []))
    if text:
        answer.times.append(when)
        answer.text += text
