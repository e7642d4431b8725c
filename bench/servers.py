# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The two things that are asked over HTTP: a house of our own under a private folder and free ports, and llama-server.

Both have a `port`, a `client()` and a `body()` that asks for exactly so many tokens.
"""
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import client
import peer
from places import BIN, ROOT, clean_environment

sys.path.insert(0, str(ROOT / "tools"))
import house  # noqa: E402

SLOTS, SLOT_TOKENS = 16, 4096
END_TOKENS = (0, 2)  # <|endoftext|> and <|im_end|> of SmolLM2: the ones at which an answer would end
READY_SECONDS = 120
PREFIX = "bora-bench-"
PORT_NAMES = list(house.PORTS)


def free_ports(count):
    """Below the ephemeral range, so that no client's own socket sits on one between choosing and binding."""
    found, candidate = [], 20000 + os.getpid() * 37 % 9000
    while len(found) < count:
        candidate += 1
        if house.port_is_free(candidate):
            found.append(candidate)
    return found


def messages(text, system=None):
    return ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": text}]


def answers(port, path):
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return b" 200 " in connection.recv(64)


def wait_ready(process_alive, port, path, what, seconds=READY_SECONDS):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        try:
            if answers(port, path):
                return
        except OSError:
            pass
        if not process_alive():
            sys.exit(f"bench: {what} stopped while it started")
        time.sleep(0.001)
    sys.exit(f"bench: {what} was not ready within {seconds} s")


def stop_house(folder):
    """Whatever runs of the house in `folder`; then the folder goes."""
    house.STATE = folder
    for name in reversed(house.NAMES):
        house.stop(name)
    shutil.rmtree(folder, ignore_errors=True)


def sweep():
    """Stop houses of benches that were killed: a folder's name holds the pid of its bench."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            stop_house(folder)


class House:
    """Redis, keys, one worker and a gateway, as `./dev up` starts them."""

    def __init__(self, model, threads, variant, name="bora", flags=()):
        sweep()
        self.name, self.threads, self.variant, self.flags = name, threads, variant, flags
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES))))
        self.port = self.ports["http"]
        self.use()
        self.models_file, self.model = house.section_for_file(Path(model), self.folder)

    def use(self):
        """tools/house.py keeps the folder of its house in a variable; several houses take turns."""
        house.STATE, house.BIN = self.folder, BIN

    def __enter__(self):
        self.use()
        try:
            for name in ("redis", "redis-limits"):
                house.start_redis(name, self.ports)
            house.start_keys(self.ports)
            self.start_worker()
            self.start_gateway()
            house.wait_for("gateway", lambda: house.http_status(f"http://127.0.0.1:{self.port}/readyz")[0] == 200, "reaches everything behind it")
            self.key = self.new_key("bench")
        except house.Failure as failure:
            self.__exit__()
            sys.exit(f"bench: {failure}")
        return self

    def __exit__(self, *_):
        stop_house(self.folder)

    def start_worker(self):
        """Seconds from exec to ready."""
        self.use()
        began = time.perf_counter()
        house.start("worker", [BIN / "bora-worker", "--models-file", self.models_file, "--model", self.model, "--listen", f"127.0.0.1:{self.ports['worker']}", "--metrics-listen",
                               f"127.0.0.1:{self.ports['worker_metrics']}", "--threads", self.threads, "--kernel-variant", self.variant, *self.flags, *house.redis_flags(self.ports)])
        wait_ready(lambda: house.running_pid("worker") is not None, self.ports["worker_metrics"], "/readyz", f"the worker ({self.folder}/log/worker.log)")
        return time.perf_counter() - began

    def start_gateway(self):
        house.start_gateway(self.ports)

    def restart_worker(self):
        """Seconds from exec to ready."""
        self.use()
        house.stop("worker")
        return self.start_worker()

    def new_key(self, tenant, **more):
        """A key whose limits nobody reaches; `more`: further fields of the request that makes it."""
        self.use()
        admin = house.secret_file("admin-key", "bora_admin_").read_text().strip()
        body = {"name": tenant, "tenant": tenant, "limits": {"requests_per_minute": 1000000, "tokens_per_minute": 1000000000}, **more}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/admin/api-keys", data=json.dumps(body).encode(), headers={"Authorization": f"Bearer {admin}", "Content-Type": "application/json"})
        until = time.perf_counter() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)["key"]
            except urllib.error.HTTPError as error:
                # On a busy machine the gateway may not have reached the keys service yet.
                if error.code != 503 or time.perf_counter() > until:
                    sys.exit(f"bench: no key could be made: {error.read().decode(errors='replace')}")
            time.sleep(0.1)

    def client(self):
        return client.Client(self.port, self.key)

    def body(self, text, tokens, system=None):
        return {"model": self.model, "messages": messages(text, system), "max_tokens": tokens, "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
                "logit_bias": {str(token): -100 for token in END_TOKENS}}

    def metric(self, name):
        return house.metric(house.http_status(f"http://127.0.0.1:{self.ports['worker_metrics']}/metrics")[1], name)


def end_with_parent():
    """In a child: be terminated when the bench is killed (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class PeerServer:
    name = peer.NAME

    def __init__(self, model, threads, variant):
        self.model, self.threads, self.variant = model, threads, variant
        self.port = free_ports(len(PORT_NAMES) + 1)[-1]
        self.process = None

    def start(self):
        """Seconds from exec to ready."""
        command = peer.server_command(self.model, self.threads, self.port, SLOTS, SLOTS * SLOT_TOKENS, self.variant)
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment(), preexec_fn=end_with_parent)
        wait_ready(lambda: self.process.poll() is None, self.port, "/health", "llama-server")
        return time.perf_counter() - began

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def start_and_stop(self):
        seconds = self.start()
        self.stop()
        return seconds

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def client(self):
        return client.Client(self.port)

    def body(self, text, tokens, system=None):
        return {"messages": messages(text, system), "max_tokens": tokens, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
