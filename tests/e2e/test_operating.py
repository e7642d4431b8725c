# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What whoever runs the services by hand is told when something is set up wrongly, and what signals do."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from conftest import BUILD, PACE, ROOT, free_ports, until
from test_tls import pki  # noqa: F401  (a fixture)


given = set()


def new_ports(count):
    """Free ones that no other service of this file was given: some of those come back at theirs."""
    found = [port for port in free_ports(count + len(given)) if port not in given][:count]
    given.update(found)
    return found


class Service:
    """A process with a log of its own and a status page at `base`."""

    def __init__(self, program, folder, flags, base=None, environment=None):
        self.log_file, self.base = folder / f"{program}.{time.monotonic_ns()}.log", base
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([str(BUILD / "bin" / program), *map(str, flags)], stderr=log, env={**os.environ, **(environment or {})})

    def lines(self):
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def logged(self, text, level=None):
        return [line for line in self.lines() if text in json.dumps(line) and level in (None, line["level"])]

    def get(self, path, key=None, tls=None):
        """(status, text); (0, "") while nobody is there."""
        request = urllib.request.Request(self.base + path, headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=20 * PACE, context=tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60 * PACE)


@pytest.fixture
def start(tmp_path):
    """start(program, flags, base): a Service, which has to end well."""
    started = []

    def begin(program, flags, base=None, environment=None):
        started.append(Service(program, tmp_path, flags, base, environment))
        return started[-1]

    yield begin
    assert [service.stop() for service in started] == [0] * len(started)


def gateway_flags(house, **changes):
    """Those of a gateway of the house at ports of its own, and its address; a change to None takes a flag away."""
    web, rpc = new_ports(2)
    flags = {"http-listen": f"127.0.0.1:{web}", "grpc-listen": f"127.0.0.1:{rpc}", "keys": f"127.0.0.1:{house.ports['keys']}", "service-token-file": house.state / "secrets/service-token",
             "redis": f"127.0.0.1:{house.ports['redis-limits']}", "redis-password-file": house.state / "secrets/redis-password", **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [f"--{name}={value}" for name, value in flags.items() if value is not None], f"http://127.0.0.1:{web}", rpc


def keys_flags(house, port, **changes):
    secrets, metrics = house.state / "secrets", new_ports(1)[0]
    flags = {"listen": f"127.0.0.1:{port}", "metrics-listen": f"127.0.0.1:{metrics}", "hash-secret-file": secrets / "key-hash", "admin-key-file": secrets / "admin-key", "service-token-file": secrets / "service-token",
             "redis": f"127.0.0.1:{house.ports['redis']}", "redis-password-file": secrets / "redis-password", "redis-limits": f"127.0.0.1:{house.ports['redis-limits']}", **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [f"--{name}={value}" for name, value in flags.items() if value is not None], f"http://127.0.0.1:{metrics}"


def worker_flags(tmp_path, **changes):
    """Those of a worker whose model is not the house's."""
    path = next(line.split("=", 1)[1].strip() for line in (ROOT / "models.ini").read_text().splitlines() if line.startswith("path"))
    (tmp_path / "models.ini").write_text(f"[another]\npath = {path}\ntier = code\n")
    metrics, = new_ports(1)
    flags = {"models-file": tmp_path / "models.ini", "listen": "127.0.0.1:0", "metrics-listen": f"127.0.0.1:{metrics}", "threads": 1, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [f"--{name}={value}" for name, value in flags.items() if value is not None], f"http://127.0.0.1:{metrics}"


# ---- the service token ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong", "none"])
def test_a_gateway_whose_token_is_refused_says_so_and_blames_no_key(house, start, tmp_path, token):
    (tmp_path / "token").write_text("another-token-than-theirs\n")
    flags, base, _ = gateway_flags(house, service_token_file=tmp_path / "token" if token == "wrong" else None)
    gateway = start("bora-gateway", flags, base)
    until(lambda: gateway.get("/readyz") == (503, "the keys service refuses this gateway's service token\n"), "it says so")
    for _ in range(3):
        status, text = gateway.get("/v1/models", key=house.key)
        assert status == 503, text
    assert len(gateway.logged("service token", "warn")) == 1
    assert any("service token" in line and '"warn"' in line for line in house.log("keys").splitlines())
    assert gateway.get("/readyz")[0] == 503


def test_a_token_that_is_put_right_lets_the_gateway_in(house, start, tmp_path):
    """The keys service comes back with the gateway's token; nobody asks anything meanwhile."""
    port, = new_ports(1)
    (tmp_path / "token").write_text("the-new-token-that-is-long-enough\n")
    flags, base, _ = gateway_flags(house, keys=f"127.0.0.1:{port}", service_token_file=tmp_path / "token")
    keys = start("bora-keys", keys_flags(house, port)[0])
    gateway = start("bora-gateway", flags, base)
    until(lambda: "service token" in gateway.get("/readyz")[1], "it is refused")
    keys.stop()
    start("bora-keys", keys_flags(house, port, service_token_file=tmp_path / "token")[0])
    until(lambda: gateway.get("/readyz")[0] == 200, "it is let in")
    assert gateway.get("/v1/models", key=house.key)[0] == 200


def test_a_token_that_is_changed_behind_a_gateway_is_noticed(house, start, tmp_path):
    port, = new_ports(1)
    flags, base, _ = gateway_flags(house, keys=f"127.0.0.1:{port}")
    keys = start("bora-keys", keys_flags(house, port)[0])
    gateway = start("bora-gateway", flags, base)
    until(lambda: gateway.get("/readyz")[0] == 200, "it is ready")
    keys.stop()
    (tmp_path / "token").write_text("the-new-token-that-is-long-enough\n")
    start("bora-keys", keys_flags(house, port, service_token_file=tmp_path / "token")[0])
    until(lambda: "service token" in gateway.get("/readyz")[1], "it is refused")


# ---- Redis ------------------------------------------------------------------------------------------------------------------


def wrong(house, tmp_path, how):
    """(address, password file, what is said of it): a Redis that is not there, or takes another password."""
    (tmp_path / "password").write_text("hunter2-is-wrong\n")
    return {"nobody": (f"127.0.0.1:{new_ports(1)[0]}", tmp_path / "password", "Connection refused"),
            "password": (f"127.0.0.1:{house.ports['redis-limits']}", tmp_path / "password", "WRONGPASS"),
            "no password": (f"127.0.0.1:{house.ports['redis-limits']}", None, "NOAUTH")}[how]


@pytest.fixture(params=["nobody", "password", "no password"])
def wrong_redis(request, house, tmp_path):
    return wrong(house, tmp_path, request.param)


def says_which_redis(service, address, answer):
    until(lambda: answer in service.get("/readyz")[1], "the page says why")
    status, text = service.get("/readyz")
    assert status == 503 and address in text and "hunter2" not in text
    until(lambda: service.logged(answer), "the log says why")
    assert address in json.dumps(service.logged(answer)[0]) and not service.logged("hunter2")


def test_a_gateway_says_which_redis_fails_and_how(house, start, wrong_redis):
    address, password, answer = wrong_redis
    flags, base, _ = gateway_flags(house, redis=address, redis_password_file=password)
    says_which_redis(start("bora-gateway", flags, base), address, answer)


def test_a_keys_service_says_which_redis_fails_and_how(house, start, wrong_redis):
    address, password, answer = wrong_redis
    says_which_redis(start("bora-keys", *keys_flags(house, 0, redis=address, redis_password_file=password)), address, answer)


@pytest.mark.parametrize("how", ["nobody", "password"])
def test_a_keys_service_says_how_the_limits_redis_fails(house, start, tmp_path, how):
    address, password, answer = wrong(house, tmp_path, how)
    keys = start("bora-keys", keys_flags(house, 0, redis_limits=address, redis_limits_password_file=password)[0])
    until(lambda: [line for line in keys.logged(answer) if address in json.dumps(line)], "the log says why")


def test_a_worker_says_which_redis_fails_and_how(start, wrong_redis, tmp_path):
    address, password, answer = wrong_redis
    says_which_redis(start("bora-worker", *worker_flags(tmp_path, redis=address, redis_password_file=password)), address, answer)


def test_a_worker_at_all_addresses_that_announces_none_is_warned_of(start, tmp_path):
    nobody, = new_ports(1)
    worker = start("bora-worker", worker_flags(tmp_path, listen="0.0.0.0:0", redis=f"127.0.0.1:{nobody}")[0])
    until(lambda: worker.logged("--advertise", "warn"), "it says so")
    told = start("bora-worker", worker_flags(tmp_path, listen="0.0.0.0:0", advertise="worker.example.com:7011", redis=f"127.0.0.1:{nobody}")[0])
    until(lambda: told.logged("serving"), "it serves")
    assert not told.logged("--advertise")


def test_the_keys_redis_instead_of_the_limits_one_is_named(house, start):
    flags, base, _ = gateway_flags(house, redis=f"127.0.0.1:{house.ports['redis']}")
    gateway = start("bora-gateway", flags, base)
    until(lambda: "no worker" in gateway.get("/readyz")[1], "it has found no worker")
    text = gateway.get("/readyz")[1]
    assert f"127.0.0.1:{house.ports['redis']}" in text and "--redis-limits" in text, text
    until(lambda: gateway.logged("--redis-limits"), "the log says so, too")


# ---- settings ---------------------------------------------------------------------------------------------------------------


PROGRAMS = ["bora-gateway", "bora-keys", "bora-worker"]


def settings_said(program, flags=(), **variables):
    done = subprocess.run([str(BUILD / "bin" / program), *flags, "--print-settings"], env={**{name: value for name, value in os.environ.items() if not name.startswith("BORA_")}, **variables}, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_mistyped_variable_is_warned_of(program):
    said = settings_said(program, BORA_METRISC_LISTEN="127.0.0.1:1", BORA_FROBNICATE="1")
    assert "BORA_METRISC_LISTEN" in said and "BORA_METRICS_LISTEN" in said and "BORA_FROBNICATE" in said, said


def test_a_mistyped_variable_does_not_show_its_value():
    assert "hunter2" not in settings_said("bora-keys", BORA_ADMIN_KEYS="hunter2")


@pytest.mark.parametrize("program", PROGRAMS)
def test_variables_of_others_are_not_warned_of(program):
    service = {"BORA_PORT": "tcp://10.0.0.1:8080", "BORA_SERVICE_HOST": "10.0.0.1", "BORA_SERVICE_PORT": "8080", "BORA_SERVICE_PORT_HTTP": "8080", "BORA_PORT_8080_TCP": "tcp://10.0.0.1:8080", "BORA_PORT_8080_TCP_PROTO": "tcp", "BORA_PORT_8080_TCP_PORT": "8080", "BORA_PORT_8080_TCP_ADDR": "10.0.0.1",
               "BORA_GATEWAY_PORT": "tcp://10.0.0.2:80", "BORA_GATEWAY_SERVICE_HOST": "10.0.0.2", "BORA_GATEWAY_PORT_80_TCP_ADDR": "10.0.0.2", "BORA_REDIS_LIMITS_SERVICE_PORT": "7380"}
    programs = {"BORA_ADDRESS": "127.0.0.1:8081", "BORA_API_KEY": "k", "BORA_API_KEY_FILE": "f", "BORA_ADMIN_KEY": "k", "BORA_ADMIN_KEY_FILE": "f", "BORA_PROFILE": "p", "BORA_STATE": "s", "BORA_BUILD_DIR": "b", "BORA_BASE_URL": "u", "BORA_TEST_PACE": "1",
                "BORA_HTTP_LISTEN": "127.0.0.1:1", "BORA_KV_TYPE": "int8" if program == "bora-worker" else "f32", "BORA_HASH_SECRET_FILE": "f", "BORA_CONFIG": ""}
    assert settings_said(program, **service, **programs) == ""


def variables_of(program):
    done = subprocess.run([str(BUILD / "bin" / program), "--help"], capture_output=True, text=True, timeout=60, check=True)
    return {word.rstrip(",") for word in done.stdout.split() if word.startswith("BORA_")}


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_setting_of_another_service_is_warned_of(program):
    """So that base/settings_environment.c knows them all."""
    others = set().union(*(variables_of(other) for other in PROGRAMS)) - variables_of(program)
    assert len(others) > 20
    assert "is no setting" not in settings_said(program, **dict.fromkeys(others, "x"))  # one that was removed is told otherwise


def test_the_page_about_operating_names_settings_that_are_there():
    page, there = (ROOT / "docs/operating.md").read_text(), set().union(*(variables_of(program) for program in PROGRAMS))
    flags = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*[a-z])", page)) - {"help", "print-settings", "deploy-hook"}
    named = {"BORA_" + flag.upper().replace("-", "_") for flag in flags} | set(re.findall(r"BORA_[A-Z_]+[A-Z]", page)) - {"BORA_PORT", "BORA_SERVICE_HOST", "BORA_KEYS_PORT"}
    assert len(named) > 30 and named <= there | {"BORA_CONFIG"}, named - there


def test_tls_flags_name_each_other_and_the_file_that_is_missing(pki, tmp_path):  # noqa: F811
    def said(program, *flags):
        done = subprocess.run([str(BUILD / "bin" / program), "--log-format=text", *map(str, flags)], capture_output=True, text=True, timeout=60 * PACE, check=False)
        assert done.returncode != 0
        return done.stderr

    for program, listen in (("bora-gateway", ["--http-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"]), ("bora-keys", ["--listen=127.0.0.1:0", f"--hash-secret-file={tmp_path}/hash", "--admin-key=0123456789abcdef0123456789abcdef", "--service-token=token-0123456789abcdef"]), ("bora-worker", ["--listen=127.0.0.1:0"])):
        assert "--tls-key-file" in said(program, *listen, "--tls-certificate-file", pki / "server.pem")
        assert "--tls-certificate-file" in said(program, *listen, "--tls-key-file", pki / "server.key")
        assert "--tls-certificate-file" in said(program, *listen, "--tls-ca-file", pki / "ca.pem")
        text = said(program, *listen, "--tls-certificate-file", pki / "nothing.pem", "--tls-key-file", pki / "server.key")
        assert str(pki / "nothing.pem") in text and "--tls-certificate-file" in text, text
    text = said("bora-gateway", "--http-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--upstream-tls", "--upstream-tls-certificate-file", pki / "client.pem")
    assert "--upstream-tls-key-file" in text


# ---- signals ----------------------------------------------------------------------------------------------------------------


def test_who_is_told_to_stop_serves_on_for_the_drain_delay(house, start):
    flags, base, rpc = gateway_flags(house, drain_delay="3s")
    gateway = start("bora-gateway", flags, base)
    until(lambda: gateway.get("/readyz")[0] == 200, "it is ready")
    told = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: gateway.get("/readyz") == (503, "draining\n"), "it says that it stops")
    assert house.chat(base=base)[0] == 200  # on a connection of its own
    with socket.create_connection(("127.0.0.1", rpc), timeout=10):
        pass
    assert gateway.process.wait(60 * PACE) == 0
    assert time.monotonic() - told >= 3


def test_a_kept_connection_is_given_back_in_the_drain_delay(house, start):
    """Or a proxy might send a request into it at the moment when it is closed."""
    flags, base, _ = gateway_flags(house, drain_delay="10m")
    gateway = start("bora-gateway", flags, base)
    until(lambda: gateway.get("/readyz")[0] == 200, "it is ready")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(base.rsplit(":", 1)[1]), timeout=60 * PACE)) as kept:
        def ask():
            kept.request("GET", "/v1/models", headers={"Authorization": f"Bearer {house.key}"})
            answer = kept.getresponse()
            return answer.status, (answer.read() and answer.getheader("connection") or "").lower()

        assert ask() == (200, "")
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: gateway.get("/readyz") == (503, "draining\n"), "it says that it stops")
        assert ask() == (200, "close")
    gateway.process.send_signal(signal.SIGTERM)


def test_a_second_signal_ends_the_delay(house, start):
    flags, base, _ = gateway_flags(house, drain_delay="10m")
    gateway = start("bora-gateway", flags, base)
    until(lambda: gateway.get("/readyz")[0] == 200, "it is ready")
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: gateway.get("/readyz") == (503, "draining\n"), "it says that it stops")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(60 * PACE) == 0


def serial_of(port, folder):
    """Of the certificate that is shown at the port."""
    with contextlib.suppress(OSError):
        tls = ssl.create_default_context(cafile=folder / "ca.pem")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, tls.wrap_socket(connection, server_hostname="localhost") as shaken:
            return shaken.getpeercert()["serialNumber"]


@pytest.fixture
def renewed(pki, tmp_path):  # noqa: F811
    """A certificate and key in place, and renew(), which puts other ones there as a rename does."""
    def issue(name):
        run = lambda *words: subprocess.run([str(w) for w in words], check=True, capture_output=True)  # noqa: E731
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=server", "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.csr")
        run("openssl", "x509", "-req", "-days", "2", "-in", tmp_path / f"{name}.csr", "-CA", pki / "ca.pem", "-CAkey", pki / "ca.key", "-CAcreateserial", "-extfile", pki / "server.ext", "-out", tmp_path / f"{name}.pem")

    shutil.copy(pki / "server.pem", tmp_path / "tls.pem")
    shutil.copy(pki / "server.key", tmp_path / "tls.key")

    def renew():
        issue("next")
        os.replace(tmp_path / "next.pem", tmp_path / "tls.pem")
        os.replace(tmp_path / "next.key", tmp_path / "tls.key")

    return tmp_path / "tls.pem", tmp_path / "tls.key", renew


def test_a_hangup_rereads_the_gateways_certificate(house, start, pki, renewed):  # noqa: F811
    certificate, key, renew = renewed
    flags, base, rpc = gateway_flags(house, tls_certificate_file=certificate, tls_key_file=key)
    web, trusted = int(base.rsplit(":", 1)[1]), ssl.create_default_context(cafile=pki / "ca.pem")
    gateway = start("bora-gateway", flags, f"https://localhost:{web}")
    until(lambda: gateway.get("/readyz", tls=trusted)[0] == 200, "it is ready")
    before = serial_of(web, pki)
    assert before and serial_of(rpc, pki) == before
    with socket.create_connection(("127.0.0.1", web), timeout=60) as plain, trusted.wrap_socket(plain, server_hostname="localhost") as open_before:
        renew()
        assert serial_of(web, pki) == before  # until it is told
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: serial_of(web, pki) not in (None, before), "HTTP shows the new one")
        until(lambda: serial_of(rpc, pki) not in (None, before), "gRPC shows the new one")
        open_before.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert open_before.recv(100).startswith(b"HTTP/1.1 200")  # what was open goes on
    assert gateway.logged("TLS files were read again")
    after = serial_of(web, pki)
    certificate.write_text("no certificate\n")
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.logged(str(certificate), "error"), "it says what is wrong with the file")
    assert serial_of(web, pki) == after == serial_of(rpc, pki)


def test_a_hangup_rereads_the_certificates_of_keys_and_worker(house, start, pki, renewed, tmp_path):  # noqa: F811
    certificate, key, renew = renewed
    tls = {"tls_certificate_file": certificate, "tls_key_file": key}
    keys_port, worker_port = new_ports(2)
    redis = {"redis": f"127.0.0.1:{house.ports['redis-limits']}", "redis_password_file": house.state / "secrets/redis-password"}
    services = {keys_port: start("bora-keys", keys_flags(house, keys_port, **tls)[0]), worker_port: start("bora-worker", worker_flags(tmp_path, listen=f"127.0.0.1:{worker_port}", **redis, **tls)[0])}
    for port in services:
        until(lambda port=port: serial_of(port, pki), "it listens")
    before = {port: serial_of(port, pki) for port in services}
    renew()
    for port, service in services.items():
        service.process.send_signal(signal.SIGHUP)
        until(lambda port=port: serial_of(port, pki) not in (None, before[port]), "it shows the new one")


def test_a_hangup_without_tls_changes_nothing(house, start):
    flags, base, _ = gateway_flags(house)
    gateway = start("bora-gateway", flags, base)
    keys = start("bora-keys", keys_flags(house, 0)[0])
    until(lambda: gateway.get("/readyz")[0] == 200, "it is ready")
    until(lambda: keys.logged("serving"), "it serves")
    for service in (gateway, keys):
        service.process.send_signal(signal.SIGHUP)
        until(lambda service=service: service.logged("SIGHUP"), "it says so")
        assert service.process.poll() is None
