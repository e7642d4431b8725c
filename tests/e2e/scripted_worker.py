# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A worker whose answers a test writes, and which keeps what the gateway asked: proto/bora/internal/v1/worker.proto from the other side."""
import contextlib
import queue
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
    """What a script raises to fail the generation: a status, and the WorkerError that goes with it."""

    def __init__(self, code, message, error=None):
        super().__init__(message)
        self.code, self.message, self.error = code, message, error


class LinkToWorker:
    """The gateway's side of a link, to a worker of the house; `worker` lends its modules. What came is in `events`, by generation."""

    def __init__(self, house, worker):
        self.pb = worker.pb
        self.channel = grpc.insecure_channel(f"127.0.0.1:{house.ports['worker']}")
        self.commands = queue.Queue()
        self.events = {}
        self.arrived = threading.Condition()
        self.ended = False
        self.count = 0
        self.call = worker.code.WorkerServiceStub(self.channel).Link(iter(self.commands.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call.cancel()
        self.channel.close()

    def read(self):
        with contextlib.suppress(grpc.RpcError):
            for message in self.call:
                with self.arrived:
                    for event in message.events:
                        self.events.setdefault(event.generation, []).append(event)
                    self.arrived.notify_all()
        with self.arrived:
            self.ended = True
            self.arrived.notify_all()

    def send(self, *commands):
        """In one message."""
        self.commands.put(self.pb.LinkCommands(commands=commands))

    def start(self, start):
        self.count += 1
        self.send(self.pb.LinkCommand(generation=self.count, start=start))
        return self.count

    def wait(self, condition, timeout=60):
        with self.arrived:
            assert self.arrived.wait_for(condition, timeout), f"it did not come: { {n: len(e) for n, e in self.events.items()} }"

    def of(self, number, kind):
        return [getattr(event, kind) for event in self.events.get(number, []) if event.WhichOneof("kind") == kind]

    def prepared(self, number):
        self.wait(lambda: number in self.events)
        return self.events[number][0].prepared

    def last(self, number):
        """The event that ends the generation."""

        def ends(event):
            return event.WhichOneof("kind") == "failed" or event.WhichOneof("kind") == "finished" and event.finished.last

        self.wait(lambda: self.ended or number in self.events and ends(self.events[number][-1]))
        return self.events[number][-1]


class Generation:
    """One of a link's: what the gateway sent for it, and a thread that runs its script."""

    def __init__(self, link, number, start):
        self.link, self.number, self.start = link, number, start
        self.commands = queue.Queue()  # Proceed, Stop
        self.held = threading.Event()
        self.stopped = threading.Event()
        self.commanded = []  # the kinds of all, in order

    def command(self, command):
        kind = command.WhichOneof("kind")
        self.commanded.append(kind)
        if kind == "hold":
            self.held.set()
        elif kind == "continue_reading":
            self.held.clear()
        else:
            if kind == "stop":
                self.stopped.set()
            self.commands.put(command)

    def send(self, **event):
        self.link.send(self.link.worker.pb.LinkEvent(generation=self.number, **event))


class Link:
    """A Link call: commands to their generations, events of all of them back."""

    def __init__(self, worker, commands, context):
        self.worker, self.context = worker, context
        self.events = queue.Queue()
        self.generations = {}
        self.batches = []  # how many commands came in each message
        threading.Thread(target=self.read, args=(commands,), daemon=True).start()

    def send(self, event):
        self.events.put(event)

    def read(self, commands):
        with contextlib.suppress(grpc.RpcError):
            for batch in commands:
                self.batches.append(len(batch.commands))
                for command in batch.commands:
                    self.take(command)
        self.events.put(None)
        for generation in self.generations.values():
            generation.commands.put(None)

    def take(self, command):
        if command.WhichOneof("kind") == "start":
            generation = Generation(self, command.generation, command.start)
            self.generations[command.generation] = generation
            threading.Thread(target=self.worker.run, args=(generation,), daemon=True).start()
        elif command.generation in self.generations:
            self.generations[command.generation].command(command)

    def written(self):
        """The messages to send: what waits goes together."""
        while (event := self.events.get()) is not None:
            events = [event]
            with contextlib.suppress(queue.Empty):
                while len(events) < 100 and (event := self.events.get_nowait()) is not None:
                    events.append(event)
            yield self.worker.pb.LinkEvents(events=events)
            if event is None:
                return

    def cut(self):
        """Break the stream."""
        self.context.cancel()


class ScriptedWorker:
    """`script(start, index)` yields what follows Proceed, Deltas and Finisheds; `index` counts the generations since the last reset(). A Stop ends it where it
    is, with a Finished that has counted the Deltas' tokens, unless `stops` is False. `generations` and `links` are there to be looked at."""

    MODEL = "scripted"
    PROMPT_TOKENS = 10
    CONTEXT_TOKENS = 1000

    def __init__(self, house, folder, bound=False, worker_id="scripted"):
        """`bound`: it says how many tokens a prompt may have, so that plain chats are admitted before it has counted."""
        self.pb, self.code = generate_modules(folder)
        self.bound = {"prompt_bound": self.pb.PromptBound(fixed_tokens=self.PROMPT_TOKENS, byte_tokens=1)} if bound else {}
        self.mutex = threading.Lock()
        self.links = []
        self.reset(lambda start, index: iter(()))
        outer = self

        class Service(self.code.WorkerServiceServicer):
            def Link(self, commands, context):
                link = Link(outer, commands, context)
                with outer.mutex:
                    outer.links.append(link)
                yield from link.written()

        self.server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.http2.min_ping_interval_without_data_ms", 1000)])  # as the real one
        self.code.add_WorkerServiceServicer_to_server(Service(), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.redis = Redis(house.ports["redis-limits"], (house.state / "secrets/redis-password").read_text().strip())
        self.address = f"127.0.0.1:{self.port}"
        self.id = worker_id
        self.announce()
        self.redis.command("ZADD", "bora:workers", 10**15, self.id)

    def announce(self, started_at=0, worker_id=None, address=None, **model):
        """As a process that began at `started_at` and serves a model like MODEL but for what is given; or as another one, which is elsewhere."""
        model = self.pb.ModelDescription(**{"name": self.MODEL, "context_tokens": self.CONTEXT_TOKENS, "capabilities": ["completion_chat", "function_calling"], **self.bound, **model})
        worker_id = worker_id or self.id
        announcement = self.pb.WorkerAnnouncement(worker_id=worker_id, address=address or self.address, model=model, load=self.pb.Load(sequences_max=8), rank_count=1, started_at=started_at)
        self.redis.command("SET", f"bora:worker:{worker_id}", announcement.SerializeToString())

    def reset(self, script):
        with self.mutex:
            self.script, self.starts, self.proceeds, self.generations, self.count = script, [], [], [], 0
            self.refusals = {}  # index -> status: generations that fail before Prepared
            self.stops = True
            self.goes_on = bool(self.bound)
            self.counting = threading.Event()  # the tokens of prompts; set: done at once
            self.counting.set()

    def run(self, generation):
        start = generation.start
        with self.mutex:
            script, index = self.script, self.count
            self.starts.append(start)
            self.generations.append(generation)
            self.count += 1
            refusal, counting = self.refusals.get(index), self.counting
        if refusal is not None:
            generation.send(failed=self.pb.Failed(status=refusal.value[0], message="not now"))
            return
        counting.wait()
        most = start.max_tokens if start.HasField("max_tokens") else self.CONTEXT_TOKENS - self.PROMPT_TOKENS
        goes_on = self.goes_on and start.proceed_prompt_tokens >= self.PROMPT_TOKENS
        generation.send(prepared=self.pb.Prepared(prompt_tokens=self.PROMPT_TOKENS, max_tokens=most, context_tokens=self.CONTEXT_TOKENS, goes_on=goes_on))
        if not goes_on:
            command = generation.commands.get()
            if command is None:
                return
            if command.WhichOneof("kind") == "stop":
                generation.send(finished=self.pb.Finished(reason=self.pb.Finished.REASON_CANCELLED, last=True))
                return
            with self.mutex:
                self.proceeds.append(command.proceed)
        self.follow(generation, script(start, index))

    def follow(self, generation, script):
        """The script's events, the last of which says so."""
        before, tokens = None, 0
        try:
            for event in script:
                if generation.stopped.is_set() and self.stops:
                    generation.send(finished=self.pb.Finished(reason=self.pb.Finished.REASON_CANCELLED, prompt_tokens=self.PROMPT_TOKENS, completion_tokens=tokens, last=True))
                    return
                if isinstance(event, self.pb.Delta):
                    tokens = event.completion_tokens
                    generation.send(delta=event)
                    continue
                if before is not None:
                    generation.send(finished=before)
                before = event
            if before is not None:
                before.last = True
                generation.send(finished=before)
        except Refusal as refusal:
            generation.send(failed=self.pb.Failed(status=refusal.code.value[0], message=refusal.message, error=refusal.error))

    def text(self, text, logprobs, answer=0):
        """One Delta with a token for each log-probability, and Finished."""
        tokens = [self.pb.TokenLogprob(token=b"t", logprob=l) for l in logprobs]
        yield self.pb.Delta(text=text.encode(), token_ids=[1] * len(tokens), logprobs=tokens, completion_tokens=len(tokens), answer=answer)
        yield self.pb.Finished(prompt_tokens=self.PROMPT_TOKENS, completion_tokens=len(tokens), answer=answer)

    def full(self, milliseconds=None):
        """A refusal for a full queue, with a hint unless that is None."""
        if milliseconds is None:
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return self.refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after_ms=milliseconds)

    def refusal(self, code, message, **facts):
        """A refusal with a WorkerError."""
        return Refusal(code, message, self.pb.WorkerError(**facts))

    def stop(self):
        self.redis.command("ZREM", "bora:workers", self.id)
        self.redis.close()
        self.server.stop(0)
