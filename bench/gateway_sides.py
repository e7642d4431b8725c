# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands in front of the null worker in `./dev bench gateway`: nothing, nginx, our gateway, LiteLLM's proxy.

All have a `port`, a `key` (None: none is asked for) and `processes()`: {what: [pids]}, whose processor time and memory are what the side costs.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from machine import descendants
from places import CACHE, clean_environment, program, say
from servers import PORT_NAMES, PREFIX, READY_SECONDS, House, end_with_parent, free_ports, house, sweep, wait_ready

MODEL = "null"
CONNECTIONS_MAX = 16000
NGINX, LITELLM = "nginx", "LiteLLM"
START_SECONDS = 300  # LiteLLM imports for ten seconds of an idle processor
# 1.107.0 of LiteLLM is a compromised release: never that one. openai is pinned since the newest may come to differ from what 1.79.1 knows. What is
# measured is the free edition: litellm-enterprise, which comes along, is taken away again.
LITELLM_VERSION = "1.79.1"
LITELLM_PACKAGES = [f"litellm[proxy]=={LITELLM_VERSION}", "openai==3.57.0"]
LITELLM_KEY = "sk-bench"
# Three limits are looked at in every request, and none is reached.
LIMITS = {"limits": {"requests_per_second": 100_000, "requests_per_minute": 1_000_000_000, "tokens_per_minute": 1_000_000_000_000}}


class GatewayHouse(House):
    """Redis, keys and gateway as `./dev up` starts them, with a worker that computes nothing; a key with three limits."""

    def __init__(self):
        sweep()
        self.name = "bora"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES))))
        self.port, self.null_port = self.ports["http"], self.ports["worker_metrics"]
        self.delay = "0s"

    def start_worker(self):
        self.use()
        house.start("worker", [program("bora-bench-null"), "--listen", f"127.0.0.1:{self.ports['worker']}", "--http-listen", f"127.0.0.1:{self.null_port}", "--model", MODEL, "--delay", self.delay, *house.redis_flags(self.ports)])
        wait_ready(lambda: house.running_pid("worker") is not None, self.null_port, "/healthz", f"the null worker ({self.folder}/log/worker.log)")

    def start_gateway(self):
        house.start_gateway(self.ports, ["--connections-max", CONNECTIONS_MAX, "--peer-connections-max", CONNECTIONS_MAX])

    def new_key(self, tenant, **more):
        return super().new_key(tenant, **{**LIMITS, **more})

    def set_delay(self, delay):
        """A worker that takes so long for each token but the first."""
        if delay == self.delay:
            return
        self.delay = delay
        self.restart_worker()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/chat/completions", headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
                                       data=json.dumps({"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "Is it there?"}]}).encode())
        until = time.perf_counter() + READY_SECONDS
        while True:
            try:
                return urllib.request.urlopen(asked, timeout=10).close()
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.perf_counter() > until:
                    sys.exit(f"bench: the gateway does not find the worker that was started anew: {error.read().decode(errors='replace')}")
            time.sleep(0.05)

    def processes(self):
        self.use()
        return {name: [pid] for name in ("gateway", "redis-limits", "redis", "keys", "worker") if (pid := house.running_pid(name))}


class Direct:
    """Nobody between: the null worker's own HTTP."""

    name, key = "direct", None

    def __init__(self, null_port, worker):
        self.port, self.worker = null_port, worker

    def processes(self):
        return {"worker": self.worker.processes()["worker"]}


class Proxy:
    """A peer's process, which runs inside of a `with`."""

    path = "/"

    def __init__(self, null_port, worker):
        self.null_port, self.worker = null_port, worker
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.port = free_ports(16)[-1] + (self.name == LITELLM)
        self.process = None

    def __enter__(self):
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([str(word) for word in self.command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env={**clean_environment(), **self.environment}, preexec_fn=end_with_parent)
        try:
            wait_ready(lambda: self.process.poll() is None, self.port, self.path, f"{self.name} ({self.folder}/log)", START_SECONDS)
        except BaseException:
            say((self.folder / "log").read_text(errors="replace")[-500:])
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        children = descendants(self.process.pid)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        for pid in (self.process.pid, *children):  # whoever did not go
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self):
        return {self.name: [self.process.pid, *descendants(self.process.pid)], **({"worker": self.worker.processes()["worker"]})}


NGINX_CONFIGURATION = """
daemon off;
worker_processes auto;
worker_rlimit_nofile 40000;
error_log stderr crit;
pid {folder}/pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream worker {{ server 127.0.0.1:{null_port}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_requests 100000000;
    location / {{ proxy_pass http://worker; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 1h; }}
  }}
}}
"""


def nginx_program():
    """The machine's own, or Debian's package laid out in the cache folder: installed, it would start a server on port 80."""
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if found:
        return found
    home = CACHE / "peers/nginx"
    if not (home / "usr/sbin/nginx").exists():
        say(f"fetching Debian's nginx into {home}")
        home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run("apt-get download -q nginx && dpkg-deb -x nginx_*.deb .", shell=True, cwd=home, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"bench: no nginx: {(done.stderr.strip().splitlines() or ['apt-get failed'])[-1]}")
    return home / "usr/sbin/nginx"


class Nginx(Proxy):
    """The floor: a proxy that looks at nothing."""

    name, key, path, environment = NGINX, None, "/healthz", {}

    def command(self):
        (self.folder / "nginx.conf").write_text(NGINX_CONFIGURATION.format(folder=self.folder, null_port=self.null_port, port=self.port))
        return [nginx_program(), "-e", "stderr", "-p", self.folder, "-c", self.folder / "nginx.conf"]


LITELLM_CONFIGURATION = """
model_list:
  - model_name: "{model}"
    litellm_params: {{model: "openai/{model}", api_base: "http://127.0.0.1:{null_port}/v1", api_key: none, max_retries: 0}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: {key}}}
"""


def litellm_program():
    venv = CACHE / f"venv-litellm-{LITELLM_VERSION}"
    if not (venv / ".done").exists():
        say(f"installing LiteLLM {LITELLM_VERSION} into {venv} (a minute or two)")
        pip = [venv / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", "--clear", venv], [*pip, "install", *LITELLM_PACKAGES], [*pip, "uninstall", "-y", "litellm-enterprise"]):
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=clean_environment())
            if done.returncode != 0:
                sys.exit(f"bench: no LiteLLM: {done.stderr.strip()[-500:]}")
        (venv / ".done").touch()
    return venv / "bin/litellm"


class LiteLLM(Proxy):
    """The peer: it knows one key, its master key, and no limits, since keys of its own want PostgreSQL. A worker per processor, nothing logged."""

    name, key, path = LITELLM, LITELLM_KEY, "/health/liveliness"
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self):
        (self.folder / "config.yaml").write_text(LITELLM_CONFIGURATION.format(model=MODEL, null_port=self.null_port, key=LITELLM_KEY))
        return [litellm_program(), "--config", self.folder / "config.yaml", "--host", "127.0.0.1", "--port", self.port, "--telemetry", "False", "--num_workers", os.cpu_count()]
