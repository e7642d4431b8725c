# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A worker whose answers a test writes, and which keeps what the gateway asked: proto/bora/internal/v1/worker.proto from the other side."""
import socket
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[2]


def generate_modules(folder):
    from grpc_tools import protoc

    assert protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}", "bora/internal/v1/worker.proto"]) == 0
    sys.path.insert(0, str(folder))
    from bora.internal.v1 import worker_pb2, worker_pb2_grpc

    return worker_pb2, worker_pb2_grpc


class Redis:
    """Enough of the protocol to announce."""

    def __init__(self, port, password):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.command("AUTH", password)

    def command(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        line = self.file.readline()
        assert line[:1] in b"+:", line
        return line

    def close(self):
        self.file.close()
        self.socket.close()


class Refusal(Exception):
    """What a script raises to end the call: a status and the bytes of grpc-status-details-bin."""

    def __init__(self, code, message, details=b""):
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


def field(number, value):
    """A length-delimited protobuf field, below 128 bytes: google.rpc's own code is not among the tests' packages."""
    return bytes([number << 3 | 2, len(value)]) + value


class ScriptedWorker:
    """`script(start, index)` yields what follows Proceed; `index` counts the calls since the last reset()."""

    MODEL = "scripted"
    PROMPT_TOKENS = 10
    CONTEXT_TOKENS = 1000

    def __init__(self, house, folder):
        self.pb, self.code = generate_modules(folder)
        self.mutex = threading.Lock()
        self.reset(lambda start, index: iter(()))
        outer = self

        class Service(self.code.WorkerServiceServicer):
            def Generate(self, commands, context):
                return outer.generate(commands, context)

        self.server = grpc.server(futures.ThreadPoolExecutor(32))
        self.code.add_WorkerServiceServicer_to_server(Service(), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.redis = Redis(house.ports["redis-limits"], (house.state / "secrets/redis-password").read_text().strip())
        self.address = f"127.0.0.1:{self.port}"
        self.announce()
        self.redis.command("ZADD", "bora:workers", 10**15, "scripted")

    def announce(self, started_at=0, **model):
        """As a process that began at `started_at` and serves a model like MODEL but for what is given."""
        model = self.pb.ModelDescription(**{"name": self.MODEL, "context_tokens": self.CONTEXT_TOKENS, "capabilities": ["completion_chat"], **model})
        announcement = self.pb.WorkerAnnouncement(worker_id="scripted", address=f"127.0.0.1:{self.port}", model=model, load=self.pb.Load(sequences_max=8), rank_count=1, started_at=started_at)
        self.redis.command("SET", "bora:worker:scripted", announcement.SerializeToString())

    def reset(self, script):
        with self.mutex:
            self.script, self.starts, self.proceeds, self.count = script, [], [], 0
            self.refusals = {}  # index -> status: calls that end before Prepared

    def generate(self, commands, context):
        start = next(commands).start
        with self.mutex:
            script, index = self.script, self.count
            self.starts.append(start)
            self.count += 1
        if index in self.refusals:
            context.abort(self.refusals[index], "not now")
        most = start.max_tokens if start.HasField("max_tokens") else self.CONTEXT_TOKENS - self.PROMPT_TOKENS
        yield self.pb.GenerateEvent(prepared=self.pb.Prepared(prompt_tokens=self.PROMPT_TOKENS, max_tokens=most, context_tokens=self.CONTEXT_TOKENS))
        command = next(commands, None)
        if command is None:
            return
        self.proceeds.append(command.proceed)
        try:
            yield from script(start, index)
        except Refusal as refusal:
            if refusal.details:
                context.set_trailing_metadata((("grpc-status-details-bin", refusal.details),))
            context.set_code(refusal.code)
            context.set_details(refusal.message)

    def text(self, text, logprobs, answer=0):
        """One Delta with a token for each log-probability, and Finished."""
        tokens = [self.pb.TokenLogprob(token=b"t", logprob=l) for l in logprobs]
        yield self.pb.GenerateEvent(delta=self.pb.Delta(text=text.encode(), token_ids=[1] * len(tokens), logprobs=tokens, completion_tokens=len(tokens), answer=answer))
        yield self.pb.GenerateEvent(finished=self.pb.Finished(prompt_tokens=self.PROMPT_TOKENS, completion_tokens=len(tokens), answer=answer))

    def full(self, milliseconds=None):
        """A refusal for a full queue, with a hint unless that is None."""
        if milliseconds is None:
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return self.refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after_ms=milliseconds)

    def refusal(self, code, message, **facts):
        """A refusal with a WorkerError."""
        error = self.pb.WorkerError(**facts).SerializeToString()
        detail = field(1, b"type.googleapis.com/bora.internal.v1.WorkerError") + field(2, error)
        return Refusal(code, message, bytes([8, code.value[0]]) + field(2, message.encode()) + field(3, detail))

    def stop(self):
        self.redis.command("ZREM", "bora:workers", "scripted")
        self.redis.close()
        self.server.stop(0)
