# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A house for the tests of one file: its own folder, its own free ports, the real model."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release"))
PORT_NAMES = ["http", "grpc", "keys", "worker", "redis", "keys-metrics", "worker-metrics", "redis-limits"]
PACE = float(os.environ.get("BORA_TEST_PACE", "1"))  # how much slower this build may be (sanitizers)
PATIENCE_S = 30


# house.py with a models.ini of the test's own
WITH_MODELS_FILE = f"""
import pathlib, sys
sys.path.insert(0, {str(ROOT / "tools")!r})
import house_models
house_models.MODELS_FILE = pathlib.Path(sys.argv.pop(1))
import house
sys.exit(house.main())
"""


def free_ports(count):
    """Ports below the ephemeral range, so that no client's own socket sits on one between choosing and binding."""
    found, candidate = [], 20000 + os.getpid() * 37 % 9000
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        found.append(candidate)
    return found


def until(condition, what, seconds=PATIENCE_S):
    """Wait for a condition; the only thing that a test may wait for."""
    end = time.monotonic() + seconds * PACE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds * PACE} s: {what}")


@contextlib.contextmanager
def another_gateway(house, *flags, log=subprocess.DEVNULL):
    """A second gateway of the house, with settings of its own, which logs into an open file. Has `base`, `http`, `grpc` (ports) and `process`."""
    http, grpc = free_ports(2)
    process = subprocess.Popen([str(BUILD / "bin/bora-gateway"), *flags, "--http-listen", f"127.0.0.1:{http}", "--grpc-listen", f"127.0.0.1:{grpc}", "--keys", f"127.0.0.1:{house.ports['keys']}",
                                "--service-token-file", str(house.state / "secrets/service-token"), "--redis", f"127.0.0.1:{house.ports['redis-limits']}",
                                "--redis-password-file", str(house.state / "secrets/redis-password")], stderr=log)
    gateway = types.SimpleNamespace(base=f"http://127.0.0.1:{http}", http=http, grpc=grpc, process=process, killed=False)

    def ready():
        try:
            return house.send("GET", "/readyz", key=False, base=gateway.base)[0] == 200
        except OSError:
            return False

    try:
        until(ready, "the second gateway is ready")
        yield gateway
    finally:
        process.terminate()
        assert process.wait(60 * PACE) == 0 or gateway.killed


@contextlib.contextmanager
def lone_gateway(keys_port, log, *flags):
    """A gateway with this keys service, or whatever is at that port, and nothing else: no Redis, no workers. Has `base`, `port` (HTTP), `grpc` (port), `pid` and `log`."""
    http, grpc, nothing = free_ports(3)
    with open(log, "wb") as out:
        process = subprocess.Popen([str(BUILD / "bin/bora-gateway"), "--http-listen", f"127.0.0.1:{http}", "--grpc-listen", f"127.0.0.1:{grpc}", "--keys", f"127.0.0.1:{keys_port}", "--redis", f"127.0.0.1:{nothing}", *flags], stderr=out)
    gateway = types.SimpleNamespace(base=f"http://127.0.0.1:{http}", port=http, grpc=grpc, pid=process.pid, log=log)

    def alive():
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(gateway.base + "/healthz", timeout=10).status == 200

    try:
        until(alive, "the gateway is alive")
        yield gateway
    finally:
        process.terminate()
        assert process.wait(60 * PACE) == 0


class House:
    def __init__(self, state):
        self.state = state
        self.ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES))))
        self.environment = {**os.environ, "BORA_STATE": str(state), "BORA_BUILD_DIR": str(BUILD)}
        self.up()
        self.base = f"http://127.0.0.1:{self.ports['http']}"
        self.admin_key = (state / "secrets/admin-key").read_text().strip()
        self.key = (state / "secrets/demo-key").read_text().strip()
        self.model = "smollm2-135m-instruct"

    def command(self, *arguments):
        return subprocess.run([sys.executable, str(ROOT / "tools/house.py"), *arguments], env=self.environment, capture_output=True, text=True, timeout=300)

    def up(self):
        flags = [f for name, port in self.ports.items() for f in (f"--{name}-port", str(port))]
        done = self.command("up", "--no-question", "--threads", "2", *flags)
        assert done.returncode == 0, done.stdout + done.stderr

    def down(self):
        self.command("down")

    def pid(self, name):
        return int((self.state / "run" / f"{name}.pid").read_text().split()[0])

    def kill(self, name, how=signal.SIGKILL):
        pid = self.pid(name)
        os.kill(pid, how)
        if how == signal.SIGKILL:
            until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text(), f"{name} is dead")

    def log(self, name):
        return (self.state / "log" / f"{name}.log").read_text(errors="replace")

    def metric(self, port_name, metric, labels=""):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port_name]}/metrics", timeout=10).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((metric + " ", metric + "{")) and labels in line)

    def resident_bytes(self, name):
        return int(Path(f"/proc/{self.pid(name)}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def send(self, method, path, body=None, key=None, headers=None, base=None):
        """(status, headers, parsed JSON or text); `body` is bytes or something for JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        key = self.key if key is None else key
        if key:
            all_headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request((base or self.base) + path, data=data, headers=all_headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.headers, parse(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.headers, parse(error.read())

    def chat(self, messages="Say hi.", key=None, base=None, **fields):
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self.send("POST", "/v1/chat/completions", {"model": self.model, "messages": messages, "max_tokens": 8, "temperature": 0, **fields}, key=key, base=base)

    def new_key(self, **fields):
        status, _, body = self.send("POST", "/v1/admin/api-keys", fields, key=self.admin_key)
        assert status == 200, body
        return body["key"], body["info"]["key_id"]

    def revoke(self, key_id):
        status, _, body = self.send("DELETE", f"/v1/admin/api-keys/{key_id}", key=self.admin_key)
        assert status == 200, body


def parse(data):
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def error_detail(grpc_modules, error):
    """The ErrorDetail inside grpc-status-details-bin, found without knowing google.rpc."""
    blob = dict(error.trailing_metadata())["grpc-status-details-bin"]
    at = blob.index(b"type.googleapis.com/bora.v1.ErrorDetail") + len(b"type.googleapis.com/bora.v1.ErrorDetail")
    assert blob[at] == 0x12
    length, shift, at = 0, 0, at + 1
    while True:
        length |= (blob[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not blob[at - 1] & 0x80:
            break
    return grpc_modules.error.ErrorDetail.FromString(blob[at:at + length])


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("house"))
    yield house
    house.down()


@pytest.fixture(scope="module")
def grpc_modules(tmp_path_factory):
    """A Python client generated from proto/, as a user would."""
    from grpc_tools import protoc

    out = tmp_path_factory.mktemp("generated")
    files = ["bora/v1/options.proto", "bora/v1/error.proto", "bora/v1/chat.proto", "bora/v1/models.proto", "bora/v1/keys.proto",
             "bora/v1/tenants.proto", "bora/v1/usage.proto"]
    well_known = Path(protoc.__file__).parent / "_proto"
    assert protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *files]) == 0
    sys.path.insert(0, str(out))
    from bora.v1 import chat_pb2, chat_pb2_grpc, error_pb2, keys_pb2, keys_pb2_grpc, models_pb2, models_pb2_grpc, tenants_pb2, tenants_pb2_grpc, usage_pb2, usage_pb2_grpc

    class Modules:
        pass

    modules = Modules()
    modules.chat, modules.chat_grpc, modules.error, modules.keys, modules.keys_grpc, modules.models, modules.models_grpc = (
        chat_pb2, chat_pb2_grpc, error_pb2, keys_pb2, keys_pb2_grpc, models_pb2, models_pb2_grpc)
    modules.tenants, modules.tenants_grpc, modules.usage, modules.usage_grpc = tenants_pb2, tenants_pb2_grpc, usage_pb2, usage_pb2_grpc
    return modules
