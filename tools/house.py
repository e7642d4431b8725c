#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The house on one machine: fetch the model, start Redis, keys, worker and gateway, watch them, stop them.

`./dev up|down|status|logs` call this; it needs nothing but Python's standard library. Every process gets a folder for its
log and a file with its pid and start time, so that only what was started here is ever stopped.
"""
import argparse
import contextlib
import fcntl
import json
import os
import re
import resource
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from house_models import BIN, MODELS_FILE, ROOT, SMALL_MODEL, Failure, check_memory, check_model, check_models_file, check_room, fetch_model, find_section, hub_snapshot, memory_needed, models, say, section_for_file, section_of_file

STATE = Path(os.environ.get("BORA_STATE", ROOT / ".bora")).absolute()
TIERS = {"worker": "small", "worker-medium": "medium", "worker-large": "large"}  # the workers of --tiers, and what each serves; else there is `worker` alone
SOCKET_PATH_BYTES = 108  # of sockaddr_un, with its end
NAMES = ["redis", "redis-limits", "keys", *TIERS, "gateway"]  # in the order in which they start
PORTS = {"http": 8080, "grpc": 8081, "keys": 7010, "worker": 7011, "redis": 7379, "keys_metrics": 7020, "worker_metrics": 7021, "redis_limits": 7380}
TIER_PORTS = {"worker_medium": 7012, "worker_medium_metrics": 7022, "worker_large": 7013, "worker_large_metrics": 7023}
QUESTION = "What is the capital of France? Answer in one sentence."
DEMO_LIMITS = {"requests_per_minute": 600, "tokens_per_minute": 1000000}
START_SECONDS = 60
KNOWN_VARIABLES = {"BORA_CACHE", "BORA_STATE", "BORA_BUILD_DIR", "BORA_CALLER_FOLDER", "BORA_ADDRESS", "BORA_API_KEY", "BORA_TEST_PYTHON", "BORA_TEST_PACE"}


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


def leave_no_dump():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def start(name, command, environment=None, before=None):
    (STATE / "log").mkdir(parents=True, exist_ok=True)
    (STATE / "run").mkdir(parents=True, exist_ok=True)
    with open(STATE / "log" / f"{name}.log", "ab") as log:
        (STATE / "run" / f"{name}.log-start").write_text(str(log.tell()))
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**clean_environment(), **(environment or {})}, preexec_fn=before)
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
    began, told = time.monotonic(), False
    while running_pid(name) == pid and time.monotonic() < began + grace_s:
        if not told and time.monotonic() > began + 1:
            say(f"{name} may take up to {grace_s} s for what it is answering")
            told = True
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
    if running_pid(name) == pid:
        os.kill(pid, signal.SIGKILL)
    pid_file(name).unlink(missing_ok=True)
    return True


def last_words(name):
    """Why it stopped, from what it wrote since its start: the line that says so plainly, or the last event with an error."""
    words = ""
    with contextlib.suppress(OSError, ValueError):
        begin = int((STATE / "run" / f"{name}.log-start").read_text())
        for line in (STATE / "log" / f"{name}.log").read_bytes()[begin:].decode(errors="replace").splitlines():
            if line.startswith("bora-"):
                return line.partition(": ")[2]
            with contextlib.suppress(ValueError, AttributeError):
                event = json.loads(line)
                if event.get("error"):
                    words = f"{event['event']}: {event['error']}"
                continue
            words = words or line
    return words


def wait_for(name, ready, what):
    until = time.monotonic() + START_SECONDS
    dots = 0
    while not ready():
        if running_pid(name) is None:
            raise Failure(f"{name} stopped: {last_words(name)} (./dev logs {name})")
        if time.monotonic() > until:
            raise Failure(f"{name} runs, but after {START_SECONDS} s it {what} still not: {last_words(name)} (./dev logs {name})")
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


def names_of(config):
    """The processes of this house."""
    return NAMES if config.get("tiers") else [name for name in NAMES if name not in TIERS or name == "worker"]


def ports_of(config):
    """Those that are in use, by name."""
    return {**PORTS, **(TIER_PORTS if config.get("tiers") else {}), **config.get("ports", {})}


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


# Who is told of a port when it starts; the first listens on it. Workers tell gateways theirs by Redis.
USERS = {"http": ["gateway"], "grpc": ["gateway"], "keys": ["keys", "gateway"], "keys_metrics": ["keys"], "worker": ["worker"], "worker_metrics": ["worker"], "redis": ["redis", "keys"], "redis_limits": NAMES[1:],
         **{name: [name.removesuffix("_metrics").replace("_", "-")] for name in TIER_PORTS}}


def check_ports(ports, before):
    """Before anything is stopped: every port is ours already, or free."""
    if len(set(ports.values())) != len(ports):
        raise Failure(f"two of the ports are the same: {', '.join(f'{k} {v}' for k, v in ports.items())}")
    ours = {port for name, port in before.items() if running_pid(USERS[name][0]) is not None}
    for name, port in ports.items():
        if port not in ours and not port_is_free(port):
            flag = f"--{name.replace('_', '-')}-port"
            raise Failure(f"port {port} ({name}) is taken by another program; choose another with {flag} N")


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


def redis_socket(name):
    """For whoever is on the same machine, as all here are: a way that costs half of TCP's. None where the state's folder has too long a name for one."""
    path = STATE / "run" / f"{name}.sock"
    return path if len(os.fsencode(path)) < SOCKET_PATH_BYTES else None


def start_redis(name, ports):
    """Two: what must never be lost, flushed before it is answered; and what every request waits for, written before it is answered (docs/design/tenants.md)."""
    port, data = ports[name.replace("-", "_")], STATE / name
    data.mkdir(parents=True, exist_ok=True)
    password = secret_file("redis-password").read_text().strip()
    config = STATE / f"{name}.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{data}\"\nappendonly yes\nappendfsync {'no' if name == 'redis-limits' else 'always'}\nsave \"\"\n"
        "maxmemory-policy noeviction\nlatency-tracking no\ndaemonize no\nlogfile \"\"\n"
        + (f'unixsocket "{redis_socket(name)}"\nunixsocketperm 700\n' if redis_socket(name) else "")
    )
    start(name, ["redis-server", config], before=leave_no_dump)  # it knows its password; ours see to it themselves
    wait_for(name, lambda: redis_answers(port, password), "answers")


def listens(path):
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(os.fspath(path))
        return True
    return False


def redis_flags(ports, prefix="--redis", port="redis_limits"):
    """By its socket only where it listens: a Redis that runs may have been started without one, or its file be gone."""
    path = redis_socket(port.replace("_", "-"))
    return [prefix, f"unix:{path}" if path and listens(path) else f"127.0.0.1:{ports[port]}", f"{prefix}-password-file", STATE / "secrets/redis-password"]


def start_keys(ports):
    start("keys", [BIN / "bora-keys", "--listen", f"127.0.0.1:{ports['keys']}", "--metrics-listen", f"127.0.0.1:{ports['keys_metrics']}", "--hash-secret-file", STATE / "secrets/key-hash",
                   "--admin-key-file", secret_file("admin-key", "bora_admin_"), "--service-token-file", secret_file("service-token"), *redis_flags(ports, port="redis"), *redis_flags(ports, prefix="--redis-limits")])
    wait_for("keys", lambda: http_status(f"http://127.0.0.1:{ports['keys_metrics']}/readyz")[0] == 200, "is ready")


def start_worker(name, config):
    ports, port = config["ports"], name.replace("-", "_")
    flags = ["--threads", config["threads"]] if config.get("threads") else []
    start(name, [BIN / "bora-worker", "--models-file", config["models_file"], "--model", config["models"][name], "--listen", f"127.0.0.1:{ports[port]}",
                 "--metrics-listen", f"127.0.0.1:{ports[f'{port}_metrics']}", *flags, *(config.get("worker_flags") or []), *redis_flags(ports)])
    wait_for(name, lambda: http_status(f"http://127.0.0.1:{ports[f'{port}_metrics']}/readyz")[0] == 200, "is ready")


def start_gateway(ports, flags=()):
    start("gateway", [BIN / "bora-gateway", "--http-listen", f"127.0.0.1:{ports['http']}", "--grpc-listen", f"127.0.0.1:{ports['grpc']}", "--keys", f"127.0.0.1:{ports['keys']}",
                      "--service-token-file", secret_file("service-token"), "--console-dir", ROOT / "console", *flags, *redis_flags(ports)])
    wait_for("gateway", lambda: http_status(f"http://127.0.0.1:{ports['http']}/readyz")[0] == 200, "is ready")


def demo_key(ports):
    """The demo key; made anew when there is none or it no longer opens the door."""
    path = STATE / "secrets" / "demo-key"
    if path.exists():
        request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/v1/models", headers={"Authorization": f"Bearer {path.read_text().strip()}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):
            return path, path.read_text().strip()
    admin = secret_file("admin-key", "bora_admin_").read_text().strip()
    body = json.dumps({"name": "demo", "tenant": "demo", "limits": DEMO_LIMITS}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/v1/admin/api-keys", data=body, headers={"Authorization": f"Bearer {admin}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            key = json.load(answer)["key"]
    except (OSError, ValueError, KeyError) as error:
        raise Failure(f"no demo key could be made: {error}; see ./dev logs keys") from error
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(key + "\n")
    return path, key


def ask(config, key, name):
    """One question, or what the section of models.ini has to be shown with."""
    ports, model, section = config["ports"], config["models"][name], config["workers"][name]["section"]
    question = models()[section].get("demo", QUESTION) if section else QUESTION
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}], "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 80, "temperature": 0}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/v1/chat/completions", data=body, headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    about = section and len(config["models"]) > 1 and models()[section].get("description")
    print(f"\n    {f'[{model}: {about}]' if about else ''}\n    > {question}\n    ", end="", flush=True)
    usage = {}
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            limits = [int(answer.headers.get(f"x-ratelimit-limit-{what}-minute", 0)) for what in ("req", "tokens")]
            for line in answer:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                chunk = json.loads(line[6:])
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    print(choice["delta"].get("content", ""), end="", flush=True)
    except urllib.error.HTTPError as error:
        raise Failure(f"the question was refused ({error.code}): {error.read().decode(errors='replace')}") from error
    counted = f"1 request of {limits[0]:,} and {usage.get('total_tokens', 0)} tokens of {limits[1]:,} a minute"
    print(f"\n\n    counted against the key: {counted} ({usage.get('prompt_tokens', 0)} tokens read, {usage.get('completion_tokens', 0)} answered)\n")


def shown(path):
    """As the person at the terminal would write it, fit for a shell."""
    with contextlib.suppress(ValueError):
        path = Path(path).relative_to(os.environ.get("BORA_CALLER_FOLDER", "/nowhere"))
    return shlex.quote(str(path))


def print_addresses(config, key, key_path):
    ports, model = config["ports"], config["model"]
    origin, grpc, program, python = f"http://127.0.0.1:{ports['http']}", f"127.0.0.1:{ports['grpc']}", shown(BIN / "bora"), shown(STATE / "venv/bin/python")
    base = f"{origin}/v1"
    question = json.dumps({"model": model, "stream": True, "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]})
    asking = f'model="{model}", temperature=0, messages=[{{"role": "user", "content": "{QUESTION}"}}]'
    others = [name for name in models().sections() if name not in config["models"].values()]
    served = ", ".join(f"{name} (or {TIERS[worker]})" for worker, name in config["models"].items()) if config["tiers"] else model
    print(f"""
    HTTP   {base}
    gRPC   {grpc}
    web    {origin}/console/      (the console: sign in with the key below, or as the operator with the one in {shown(STATE / "secrets/admin-key")})
    model  {served}{f"      (models.ini also describes {', '.join(others)}: ./dev up --model NAME)" if others else ""}
    key    {key}      (kept in {shown(key_path)}; {DEMO_LIMITS['requests_per_minute']:,} requests and {DEMO_LIMITS['tokens_per_minute']:,} tokens a minute)

    curl -i -N {base}/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" -d '{question}'

    # the public clients, once; then each (the address for mistralai has no /v1)
    python3 -m venv {shown(STATE / "venv")} && {shown(STATE / "venv/bin/pip")} install openai mistralai
    {python} -c 'from openai import OpenAI; print(OpenAI(base_url="{base}", api_key="{key}").chat.completions.create({asking}).choices[0].message.content)'
    {python} -c 'from mistralai.client import Mistral; print(Mistral(server_url="{origin}", api_key="{key}").chat.complete({asking}).choices[0].message.content)'

    # the program of this house
    BORA_ADDRESS={grpc} BORA_API_KEY={key} {program} chat --model {model} --temperature 0 '{QUESTION}'

    # a key of your own, with limits of its own
    {program} key create --address {grpc} --admin-key-file {shown(STATE / "secrets/admin-key")} --name me --requests-per-minute 60 --tokens-per-minute 100000

    ./dev status     ./dev logs gateway     ./dev down""")


def chosen_model(options, before):
    """(the name of a section of models.ini, None) or (None, a file of the user's own)."""
    wanted = options.model
    if wanted is None:
        remembered = before.get("workers", {}).get("worker", {})
        if remembered.get("model_file"):
            return None, Path(remembered["model_file"])
        section = remembered.get("section") or SMALL_MODEL
        if find_section(section) is None:
            say(f"models.ini no longer describes {section}; back to {models().sections()[0]}")
            section = models().sections()[0]
        return section, None
    section = find_section(wanted)
    if section is not None:
        return section.name, None
    file = Path(os.path.abspath(Path(os.environ.get("BORA_CALLER_FOLDER", "."), Path(wanted).expanduser())))  # links keep their names: the hub's lead to checksums
    file = hub_snapshot(file)
    if file.is_dir() and not any((file / name).exists() or (file / name).is_symlink() for name in ("config.json", "params.json", "adapter_config.json", "snapshots")):
        raise Failure(f"--model {wanted}: {file} is a folder with neither config.json (Hugging Face) nor params.json (Mistral)")
    if not file.exists():
        raise Failure(f"--model {wanted}: there is no file {file}, and models.ini describes only {', '.join(models().sections())}")
    section = section_of_file(file)
    if section is not None:  # with its aliases, temperature and so on
        say(f"{file.name} is the model {section.name} of models.ini")
        return section.name, None
    return None, file


def section_of_tier(tier):
    for name in models().sections():
        if models()[name].get("tier") == tier:
            return name
    raise Failure(f"--tiers: models.ini describes no model with tier = {tier}")


def chosen_workers(options, before, tiers):
    """What each worker serves: a section of models.ini, as it is written now, or a file."""
    chosen = {name: (section_of_tier(tier), None) for name, tier in TIERS.items()} if tiers else {"worker": chosen_model(options, before)}
    return {name: {"section": section, "section_text": repr(sorted(find_section(section).items())) if section and find_section(section) else None, "model_file": str(file) if file else None}
            for name, (section, file) in chosen.items()}


def chosen_config(options, before):
    """What was asked for now, over what the house was started with before."""
    if options.tiers and options.model:
        raise Failure("--tiers serves a model of each tier and --model one: choose either")
    tiers = options.tiers or (options.model is None and before.get("tiers", False))
    ports = ports_of({**before, "tiers": tiers})
    if options.port_base is not None:
        ports = {name: options.port_base + i for i, name in enumerate(ports)}
    for name in ports:
        value = getattr(options, f"{name}_port")
        if value is not None:
            ports[name] = value
    return {"ports": ports, "tiers": tiers, "workers": chosen_workers(options, before, tiers), "threads": options.threads if options.threads is not None else before.get("threads"),
            "worker_flags": options.worker_flags if options.worker_flags is not None else before.get("worker_flags", [])}


def what_changed(before, config):
    """The processes whose settings are no longer the wanted ones, in the order in which they start."""
    if not before:
        return []
    ports = ports_of(before)
    names = {name for port, number in ports.items() if number != config["ports"].get(port) for name in USERS[port]}
    of_all = before.get("threads") != config["threads"] or before.get("worker_flags", []) != config.get("worker_flags", [])
    names |= {name for name in TIERS if of_all or before.get("workers", {}).get(name) != config["workers"].get(name)}
    return [name for name in NAMES if name in names and name in (*names_of(before), *names_of(config))]


def stop_what_changed(names):
    names = [name for name in names if running_pid(name) is not None]
    if names:
        say(f"settings have changed: stopping {', '.join(names)}")
    for name in reversed(names):
        stop(name)


def write_config(config):
    (STATE / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def start_missing(config):
    ports, names = config["ports"], names_of(config)
    if all(running_pid(name) is not None for name in names):
        say("everything runs already")
    steps = {**{name: lambda ports, name=name: start_redis(name, ports) for name in ("redis", "redis-limits")}, "keys": start_keys, "gateway": start_gateway, **{name: lambda _, name=name: start_worker(name, config) for name in TIERS}}
    for name in names:
        if running_pid(name) is not None:
            continue
        began = time.monotonic()
        print(f"==> starting {name} ", end="", flush=True)
        steps[name](ports)
        print(f" {time.monotonic() - began:.1f} s", flush=True)
    wait_for("gateway", lambda: http_status(f"http://127.0.0.1:{ports['http']}/readyz")[0] == 200, "reaches everything behind it")


@contextlib.contextmanager
def alone():
    """One `up` or `down` at a time for a house."""
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another ./dev up or down of this house")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_worker(name, before, config, model, accepted):
    """What this worker will serve, if it is to be started, is there, fits and can be opened."""
    worker = config["workers"][name]
    path = Path(worker["model_file"]) if worker["model_file"] else fetch_model(worker["section"], accepted)
    same_model = before.get("workers", {}).get(name) == worker
    if same_model and running_pid(name):
        return 0
    check_model(BIN, config["models_file"], model, [*config["worker_flags"], *(["--threads", config["threads"]] if config.get("threads") else [])])
    return memory_needed(path)


def check_what_starts(before, config, changed, accepted):
    """Adds models_file and models to `config`. Every mistake is found here, before anything is stopped."""
    file = config["workers"]["worker"]["model_file"]
    models_file, model = section_for_file(Path(file), STATE) if file else (MODELS_FILE, config["workers"]["worker"]["section"])
    config.update(models_file=str(models_file), model=model, models={name: model if name == "worker" else worker["section"] for name, worker in config["workers"].items()})
    starting = [name for name in config["models"] if name in changed or running_pid(name) is None]
    for name in starting:
        check_models_file(BIN, models_file, config["models"][name], config["worker_flags"])
    check_memory(sum(check_worker(name, before, config, config["models"][name], accepted) for name in starting), config["models"].values())


def up(options):
    for program in ("bora-keys", "bora-worker", "bora-gateway", "bora"):
        if not (BIN / program).exists():
            raise Failure(f"{BIN / program} is not there; run ./dev build")
    if shutil.which("redis-server") is None:
        raise Failure("redis-server is not installed (Debian package redis-server)")
    if running_pid("gateway") is None:
        check_room(STATE, 100 << 20, "the house's state", "BORA_STATE")
    ignored = sorted(k for k in os.environ if k.startswith("BORA_") and k not in KNOWN_VARIABLES)
    if ignored:
        say(f"{', '.join(ignored)}: not used here, as settings of the house are given to ./dev up; those of the worker behind --, as in ./dev up -- --kv-type int8")
    before = load_config()
    config = chosen_config(options, before)
    check_ports(config["ports"], ports_of(before))
    changed = what_changed(before, config)
    check_what_starts(before, config, changed, options.accept_licence)
    stop_what_changed(changed)
    write_config(config)
    try:
        start_missing(config)
    except Failure:
        print()
        if before:  # what does not start is not remembered; the ports are, for what runs has them
            write_config({**before, "ports": config["ports"]})
        raise
    key_path, key = demo_key(config["ports"])
    print_addresses(config, key, key_path)
    if not options.no_question:
        for name in config["models"]:
            ask(config, key, name)


# ---- down, status, logs ------------------------------------------------------------------------------------------------


def down(_options):
    stopped = [name for name in reversed(NAMES) if stop(name)]
    say(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def metric(text, name):
    values = [float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if re.match(rf"{name}(\{{|\s)", l)]
    return sum(values) if values else None


def whole(number):
    return None if number is None else int(number)


def describe(name, ports, config):
    pid = running_pid(name)
    entry = {"name": name, "pid": pid, "health": "stopped"}
    if pid is None:
        return entry
    with contextlib.suppress(OSError):
        entry["memory_mib"] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    own = name.replace("-", "_")
    if name.startswith("redis"):
        password = secret_file("redis-password").read_text().strip()
        entry["health"] = "ok" if redis_answers(ports[own], password) else "does not answer"
        entry["address"] = f"127.0.0.1:{ports[own]}"
        return entry
    port = "http" if name == "gateway" else f"{own}_metrics"
    status, text = http_status(f"http://127.0.0.1:{ports[port]}/readyz")
    entry["health"] = "ok" if status == 200 else text.strip() or "does not answer"
    entry["address"] = f"127.0.0.1:{ports['http' if name == 'gateway' else own]}"
    numbers = http_status(f"http://127.0.0.1:{ports[port]}/metrics")[1]
    if name in TIERS:
        entry["model"] = config.get("models", {}).get(name)
        entry["load"] = {short: whole(metric(numbers, long)) for short, long in (("running", "bora_engine_running"), ("waiting", "bora_engine_waiting"), ("kv_tokens_used", "bora_engine_kv_tokens_used"))}
    if name == "gateway":
        entry["load"] = {"running": whole(metric(numbers, "bora_gateway_requests_running"))}
        entry["grpc_address"] = f"127.0.0.1:{ports['grpc']}"
    return entry


def status(options):
    config = load_config()
    ports = ports_of(config)
    entries = [describe(name, ports, config) for name in names_of(config)]
    if options.json:
        print(json.dumps({
            "processes": {e["name"]: e for e in entries},
            "addresses": {"http": f"http://127.0.0.1:{ports['http']}/v1", "grpc": f"127.0.0.1:{ports['grpc']}", **{name: f"127.0.0.1:{ports[name.replace('-', '_')]}" for name in names_of(config) if name != "gateway"}},
            "files": {"demo_key": str(STATE / "secrets/demo-key"), "admin_key": str(STATE / "secrets/admin-key"), "redis_password": str(STATE / "secrets/redis-password"), "models": config.get("models_file", str(MODELS_FILE))},
            "logs": {name: str(STATE / "log" / f"{name}.log") for name in names_of(config)},
            "model": config.get("model"),
            "models": config.get("models", {}),
        }, indent=2))
    else:
        for e in entries:
            load = ", ".join(f"{k} {v}" for k, v in (e.get("load") or {}).items() if v is not None)
            health = e["health"] if e["health"] in ("ok", "stopped") else "not ready"
            more = [f"grpc {e['grpc_address']}" if "grpc_address" in e else "", e.get("model") or "", load, e["health"] if health == "not ready" else ""]
            print(f"{e['name']:13} {health:10} pid {e['pid'] or '-':<8} {e.get('memory_mib', '-'):>6} MiB  {e.get('address', ''):22} {'  '.join(m for m in more if m)}".rstrip())
        advice = what_to_do(entries)
        if advice:
            print(f"\n{advice}")
    return 0 if all(e["health"] == "ok" for e in entries) else 1


def what_to_do(entries):
    """A sentence for a house that is not well; None for one that is."""
    stopped = [e["name"] for e in entries if e["pid"] is None]
    ended = [name for name in stopped if pid_file(name).exists()]  # `down` takes that file away
    if ended:
        return f"ended without ./dev down: {', '.join(ended)} (why: ./dev logs {ended[0]}). Start what is missing: ./dev up"
    if stopped:
        return "start it: ./dev up"
    unwell = [e["name"] for e in entries if e["health"] != "ok"]
    return f"why: ./dev logs {unwell[0]}" if unwell else None


def logs(options):
    path = STATE / "log" / f"{options.name}.log"
    if not path.exists():
        raise Failure(f"there is no log {path}; was it started? (./dev up)")
    os.execvp("tail", ["tail", "-n", "50", *([] if options.no_follow else ["-F"]), str(path)])


def number(least, most):
    def parse(text):
        value = int(text) if re.fullmatch(r"-?\d+", text) else None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number in {least}..{most}")
        return value
    return parse


def parser():
    parser = argparse.ArgumentParser(prog="./dev", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|down|status|logs")
    up_parser = commands.add_parser("up", allow_abbrev=False, usage="./dev up [OPTIONS] [-- WORKER OPTIONS]", description="Start what does not run yet. Ports, model, threads and worker options are remembered until others are given.",
                                    epilog="Behind -- stand options of bora-worker (build/release/bin/bora-worker --help): KV cache type and pool, kernel variant, speculation, queue...: ./dev up -- --kv-type int8 --kv-pool 2g. "
                                           "A -- with nothing behind it takes them back.")
    up_parser.add_argument("--model", metavar="NAME|FILE.gguf|FOLDER", help=f"serve this model of models.ini, or this file or folder (to begin with: {SMALL_MODEL})")
    up_parser.add_argument("--tiers", action="store_true", help="serve a model of each tier, small, medium and large, each by its own worker")
    up_parser.add_argument("--accept-licence", action="append", default=[], metavar="NAME", help="accept the licence of this model, which is shown otherwise")
    up_parser.add_argument("--threads", type=number(0, 256), metavar="N", help="compute threads of the worker; 0: all processors")
    up_parser.add_argument("--no-question", action="store_true", help="do not ask the demo question")
    up_parser.add_argument("--yes", action="store_true", help="install packages without asking")
    up_parser.add_argument("--port-base", type=number(1, 65536 - len(PORTS) - len(TIER_PORTS)), metavar="N",
                           help=f"{', '.join(n.replace('_', '-') for n in PORTS)} (with --tiers also {', '.join(n.replace('_', '-') for n in TIER_PORTS)}) listen on N, N + 1, ...; the flags below say otherwise for one")
    for name, port in {**PORTS, **TIER_PORTS}.items():
        up_parser.add_argument(f"--{name.replace('_', '-')}-port", type=number(1, 65535), metavar="N", help=f"default {port}")
    up_parser.set_defaults(worker_flags=None)
    up_parser.add_argument("--parse-only", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("down", description="Stop what up started, and nothing else.")
    commands.add_parser("fetch", description="Fetch the small model only.")
    commands.add_parser("status").add_argument("--json", action="store_true", help="for scripts")
    logs_parser = commands.add_parser("logs")
    logs_parser.add_argument("name", choices=NAMES)
    logs_parser.add_argument("--no-follow", action="store_true")
    return parser


def main():
    words = sys.argv[1:]
    behind = words.index("--") if words[:1] == ["up"] and "--" in words else None
    options = parser().parse_args(words[:behind])
    if behind is not None:
        options.worker_flags = words[behind + 1:]
    if getattr(options, "parse_only", False):
        return 0
    try:
        with alone() if options.command in ("up", "down") else contextlib.nullcontext():
            result = {"up": up, "down": down, "status": status, "logs": logs, "fetch": lambda _: fetch_model() and None}[options.command](options) or 0
        sys.stdout.flush()  # where a pipe that nobody reads shows
        return result
    except Failure as failure:
        print(f"dev: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"dev: {error.filename or STATE}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
