# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Keys are shown once and are nowhere else: not in logs, metrics, URLs, errors, what Redis is told and keeps, arguments, environments or core dumps, under load and while things die."""
import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import grpc
import pytest

from command_line import clean_environment
from conftest import BUILD, PACE, another_gateway, free_ports, until
from redis_monitor import Monitor

PROCESSES = ("redis", "redis-limits", "keys", "worker", "gateway")
METRICS = ("http", "keys-metrics", "worker-metrics")
SECRET_FILES = ("admin-key", "demo-key", "key-hash", "redis-password", "service-token")
CLIENTS = 12
SHOWN = 4  # characters at a key's end are shown on purpose


def pieces(secret):
    """Parts of a secret that are one as well: who cuts a line to a length, or shows a beginning, tells them."""
    return [secret[:12], secret[len(secret) // 2 - 6 : len(secret) // 2 + 6], secret[-SHOWN - 12 : -SHOWN]]


class Secrets:
    """What nobody may find: of keys all behind the public prefix."""

    def __init__(self, house):
        self.mutex, self.values = threading.Lock(), []
        for name in SECRET_FILES:
            self.add((house.state / "secrets" / name).read_text().strip())

    def add(self, secret):
        with self.mutex:
            self.values += pieces(re.sub("^bora_[0-9a-z]{12}_", "", secret))
        return secret

    def found(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        return [value for value in self.values if value.encode() in data]


def ask(house, key):
    """Requests of all kinds with a key: good ones, and such as have it where it does not belong."""
    chat = {"model": house.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    for body in (chat, {**chat, "stream": True}, {**chat, "model": key}, {**chat, "temperature": "hot"}, {**chat, key: 1}, {**chat, "user": key, "tool_choice": key}, b"{", b'{"model": "' + key.encode(), {**chat, "max_tokens": 10**9}):
        yield house.send("POST", "/v1/chat/completions", body, key=key)
    quoted = "".join(f"%{byte:02x}" for byte in key.encode())
    for path in ("/v1/models", f"/v1/models/{key[:5]}", "/v1/users/me", "/v1/nothing", "/v1/usage", f"/v1/models/{key}", f"/v1/admin/api-keys/{key}", f"/v1/models?key={key}", f"/?api_key={key}", f"/console/{key}", f"/{key}/", f"/v1/models/{quoted}",
                 f"/v1/usage?from={quoted}", f"/v1/admin/usage?{key}=1"):
        yield house.send("GET", path, key=key)
    yield house.send("POST", "/v1/admin/api-keys", {"name": 5}, key=key)
    yield house.send("GET", "/v1/models", key=key + "x")
    yield house.send("GET", "/v1/models", key=False, headers={"Authorization": f"Basic {key}"})
    yield house.send("GET", "/v1/models", key=False, headers={"x-api-key": key, "cookie": f"key={key}", "referer": f"http://a/?key={key}", "x-request-id": key, "x-forwarded-for": key})


def ask_grpc(house, grpc_modules, key):
    with grpc.insecure_channel(f"127.0.0.1:{house.ports['grpc']}") as channel:
        chat, keys = grpc_modules.chat_grpc.ChatServiceStub(channel), grpc_modules.keys_grpc.KeyServiceStub(channel)
        for call, message in ((chat.CompleteChat, grpc_modules.chat.ChatCompletionRequest(model=key)), (keys.GetKey, grpc_modules.keys.GetKeyRequest(key_id=key)), (keys.ListKeys, grpc_modules.keys.ListKeysRequest(name=key, limit=0))):
            for shown in (key, key + "x", "Bearer " + key):
                try:
                    yield call(message, metadata=(("authorization", f"Bearer {shown}"), ("x-request-id", key)), timeout=30 * PACE)
                except grpc.RpcError as error:
                    yield error.code(), error.details(), error.trailing_metadata()


def ask_raw(house, key):
    """What is no good HTTP, and a client that leaves in the middle."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    stream = json.dumps({"model": house.model, "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 200})
    for request in (f"GET /{key} HTTP/9\r\n\r\n", f"{key} / HTTP/1.1\r\n\r\n", f"Bearer {key}\r\n\r\n", head + f"Authorization: Bearer {key}\r\n\r\n", head + f"Content-Length: {key}\r\n\r\n", head + f"{key}\r\n\r\n", head + f"X: {key * 500}\r\n\r\n",
                    head + f"Transfer-Encoding: {key}\r\n\r\n", head + f"Content-Length: {len(stream)}\r\n\r\n{stream}"):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", house.ports["http"]), timeout=5) as connection:
            connection.sendall(request.encode())
            yield connection.recv(65536)


def administer(house, secrets, key):
    """The life of a key; `key` is an administrator's."""
    status, _, made = house.send("POST", "/v1/admin/api-keys", {"name": "short", "user_id": "ada"}, key=key)
    if status != 200:
        return
    path = f"/v1/admin/api-keys/{made['key_id']}"
    new = secrets.add(made["key"])
    yield house.send("GET", "/v1/models", key=new)
    yield house.send("GET", path, key=key)
    yield house.send("PATCH", path, {"name": "renamed", "limits": {"tokens_per_day": 5}}, key=key)
    status, _, rotated = house.send("POST", path + "/rotate", {"overlap_seconds": 5}, key=key)
    if status == 200:
        yield house.send("GET", "/v1/models", key=secrets.add(rotated["key"]))
    yield house.send("PATCH", path, {"disabled": True}, key=key)
    yield house.send("DELETE", path, key=key)
    for listing in ("/v1/admin/api-keys?limit=1000", "/v1/admin/audit?limit=1000", "/v1/admin/usage/ledger?format=csv", "/v1/admin/usage?group_by=key"):
        yield house.send("GET", listing, key=key)


def use_command_line(house, key, home):
    for words in (["whoami"], ["models"], ["--json", "limits"], ["chat", "--max-tokens", "1", "hi"], ["keys", "show", key], ["chat", "--model", key, "hi"], ["config"], ["nonsense", key]):
        done = subprocess.run([BUILD / "bin/bora", *words], env={**clean_environment(home), "BORA_ADDRESS": f"127.0.0.1:{house.ports['grpc']}", "BORA_API_KEY": key}, capture_output=True, text=True, timeout=60 * PACE)
        yield done.returncode, done.stdout, done.stderr


def what_processes_show(house):
    """Of those that run just now, and of what they have started."""
    for name in PROCESSES:
        with contextlib.suppress(OSError, ValueError):
            pid = house.pid(name)
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for one in [str(pid), *children]:
                yield f"{name} cmdline", Path(f"/proc/{one}/cmdline").read_bytes()
                with contextlib.suppress(PermissionError):  # whose memory nobody may read
                    yield f"{name} environ", Path(f"/proc/{one}/environ").read_bytes()
    for port in METRICS:
        with contextlib.suppress(OSError):
            yield f"{port} metrics", urllib.request.urlopen(f"http://127.0.0.1:{house.ports[port]}/metrics", timeout=10).read()


class Load:
    """Many clients at once, for as long as things happen to the house. What they were answered is in `answers`, what there was to see in `seen`."""

    def __init__(self, house, secrets, grpc_modules, home):
        self.house, self.ended = house, threading.Event()
        self.answers, self.seen, self.rounds, self.failures = [], {}, {}, []
        keys = [secrets.add(house.new_key(name=f"secret-{i}", **fields)[0]) for i, fields in enumerate([{"limits": {"requests_per_minute": 12, "spend_per_month": 0.5}}, {}, {"expires_at": 4102444800}, {"scopes": {"endpoints": ["models"]}}])]
        gone, gone_id = house.new_key(name="gone")
        house.revoke(gone_id)
        admin = secrets.add(house.new_key(name="admin", role="admin")[0])
        of_all = [*keys, secrets.add(gone), admin, house.admin_key]
        works = [(f"client {i}", lambda key=of_all[i % len(of_all)]: ask(house, key)) for i in range(CLIENTS)]
        works += [("administrator", lambda: administer(house, secrets, admin)), ("operator", lambda: administer(house, secrets, house.admin_key)), ("gRPC", lambda: ask_grpc(house, grpc_modules, keys[1])), ("raw", lambda: ask_raw(house, keys[1])),
                  ("command line", lambda: use_command_line(house, keys[1], home))]
        self.threads = [threading.Thread(target=self.repeat, args=work) for work in works] + [threading.Thread(target=self.look)]
        for thread in self.threads:
            thread.start()

    def repeat(self, name, work):
        self.rounds[name] = 0
        while not self.ended.is_set():
            try:
                for answer in work():
                    self.answers.append(str((answer[0], dict(answer[1]), answer[2]) if isinstance(answer, tuple) and len(answer) == 3 and hasattr(answer[1], "items") else answer))
                self.rounds[name] += 1
            except (OSError, http.client.HTTPException):
                self.ended.wait(0.05)  # what it asked is dead, perhaps in the middle of an answer
            except Exception as error:  # noqa: BLE001 - a thread's own end would pass for an empty result
                self.failures.append(f"{name}: {error!r}")
                return

    def look(self):
        while not self.ended.wait(0.1):
            for where, data in what_processes_show(self.house):
                self.seen.setdefault(where, set()).add(data)

    def goes_on(self):
        """Everybody comes to the end of a round from now on."""
        before = dict(self.rounds)
        until(lambda: self.failures or all(self.rounds[name] > count for name, count in before.items()), "everybody is served", 60)
        assert not self.failures, self.failures

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture(scope="module")
def loaded(house, grpc_modules, tmp_path_factory):
    """A house after a load in the middle of which each of its parts died, one after the other."""
    folder = tmp_path_factory.mktemp("secrets")
    secrets = Secrets(house)
    with open(folder / "debug.log", "wb") as log, another_gateway(house, "--log-level", "debug", "--log-format", "text", log=log) as talkative:
        monitors = [Monitor(house, name) for name in ("redis", "redis-limits")]
        load = Load(house, secrets, grpc_modules, folder)
        try:
            load.goes_on()
            for name in ("redis-limits", "keys", "worker", "redis", "gateway"):
                house.kill(name, signal.SIGKILL)
                house.up()
                until(lambda: house.chat(max_tokens=1)[0] == 200, "it serves again", 30)
                load.goes_on()
            for answer in ask(types_of(house, talkative), house.key):
                load.answers.append(str(answer[::2]))
        finally:
            load.end()
        load.monitored = [monitor.end() for monitor in monitors]
    load.debug_log, load.secrets = (folder / "debug.log").read_bytes(), secrets
    return load


def types_of(house, gateway):
    """The house, asked at another gateway."""

    class At:
        model = house.model

        @staticmethod
        def send(method, path, body=None, key=None, headers=None):
            return house.send(method, path, body, key=key, headers=headers, base=gateway.base)

    return At


def test_no_secret_is_in_any_file(house, loaded):
    """Logs, Redis' append-only files, pid files: all of the house but the folder of secrets and what Redis is started with, which nobody else may read."""
    checked = 0
    for path in house.state.rglob("*"):
        if not path.is_file() or path.parent.name == "secrets":
            continue
        checked += 1
        found = loaded.secrets.found(path.read_bytes())
        if path.suffix == ".conf":
            found = [value for value in found if value not in pieces((house.state / "secrets/redis-password").read_text().strip())]
            assert path.stat().st_mode & 0o077 == 0, path
        assert not found, f"a secret stands in {path}"
    assert checked > 10
    assert not loaded.secrets.found(loaded.debug_log) and loaded.debug_log.count(b"\n") > 10


def test_logs_are_about_these_requests(house, loaded):
    """Or there would be nothing that could have a secret in it."""
    for log, words in ((house.log("gateway"), "request done"), (loaded.debug_log.decode(), "request done"), (house.log("keys"), "key created"), (house.log("worker"), "serving")):
        assert words in log, words


def test_no_secret_is_told_to_redis(loaded):
    """Neither to keep nor to look for: only hashes and public prefixes."""
    for commands in loaded.monitored:
        assert commands.count(b"\n") > 100 and not loaded.secrets.found(commands)


def test_no_secret_is_in_metrics_arguments_or_environments(loaded):
    assert {f"{name} {what}" for name in PROCESSES for what in ("cmdline",)} | {f"{port} metrics" for port in METRICS} <= set(loaded.seen)
    for where, all_data in loaded.seen.items():
        for data in all_data:
            assert not loaded.secrets.found(data), f"a secret stands in {where}"


def test_no_answer_shows_a_secret(loaded):
    """Not even what a client wrote itself into a field that is refused, a path or a header: bodies and headers, of HTTP, gRPC and the command line."""
    assert len(loaded.answers) > 500
    shown = [answer for answer in loaded.answers if loaded.secrets.found(answer) or loaded.secrets.found(urllib.parse.unquote(answer))]
    assert not shown, shown[:3]
    assert any("****" in answer for answer in loaded.answers)


# ---- memory


def command_of(house, name):
    """The command line of a process of the house, at ports of its own."""
    words = Path(f"/proc/{house.pid(name)}/cmdline").read_bytes().decode().split("\0")[:-1]
    listens = [i for i, word in enumerate(words) if word in ("--listen", "--metrics-listen", "--http-listen", "--grpc-listen")]
    for i, port in zip(listens, free_ports(len(listens))):
        words[i + 1] = f"127.0.0.1:{port}"
    return words


def end_by_abort(process):
    """Whether its memory was written away, however much of it the system would allow."""
    with contextlib.suppress(PermissionError):  # nobody but root may raise what the process has given away
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.kill(process.pid, signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGABRT
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.mark.parametrize("name", ["gateway", "keys", "worker", "bora"])
def test_no_core_dump_is_left(house, tmp_path, name):
    control = subprocess.Popen(["sleep", "1000"], cwd=tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2))
    control_dumps = end_by_abort(control)
    with socket.create_server(("127.0.0.1", 0)) as silent, open(tmp_path / "log", "wb") as log:
        silent.settimeout(30 * PACE)
        words = [BUILD / "bin/bora", "whoami"] if name == "bora" else command_of(house, name)
        variables = {"BORA_ADDRESS": f"127.0.0.1:{silent.getsockname()[1]}", "BORA_API_KEY": house.key} if name == "bora" else {}
        process = subprocess.Popen(words, cwd=tmp_path, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **variables})
        try:
            if name == "bora":
                waiting, _ = silent.accept()
            else:
                until(lambda: '"serving"' in (tmp_path / "log").read_text(), "it serves")
            limits = Path(f"/proc/{process.pid}/limits").read_text()
            assert next(line.split() for line in limits.splitlines() if line.startswith("Max core file size"))[4:6] == ["0", "0"]
            dumped = end_by_abort(process)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if name == "bora":
            waiting.close()
    assert not dumped
    if not control_dumps:
        pytest.skip("this system dumps nobody: only the limit was looked at")


@pytest.mark.parametrize("name", ["redis", "redis-limits"])
def test_redis_leaves_no_core_file(house, name):
    limits = Path(f"/proc/{house.pid(name)}/limits").read_text()
    assert next(line.split() for line in limits.splitlines() if line.startswith("Max core file size"))[4:6] == ["0", "0"]
