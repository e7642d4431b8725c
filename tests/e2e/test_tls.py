# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""TLS and mutual TLS in front of the gateway and behind it: HTTP, gRPC, a keys service and a worker that want certificates."""
import contextlib
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request

import grpc
import httpx
import openai
import pytest

from command_line import BORA, FAILED, OK, UNAVAILABLE, clean_environment
from conftest import BUILD, PACE, ROOT, free_ports, until


def run(*command):
    subprocess.run([str(c) for c in command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, a server's and a client's certificate, and a client of another authority."""
    folder = tmp_path_factory.mktemp("pki")
    for authority in ("ca", "stranger-ca"):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={authority}", "-keyout", folder / f"{authority}.key", "-out", folder / f"{authority}.pem")
    for name, authority, usage in (("server", "ca", "serverAuth"), ("client", "ca", "clientAuth"), ("stranger", "stranger-ca", "clientAuth"), ("elsewhere", "ca", "serverAuth")):
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        names = "DNS:bora.example.com" if name == "elsewhere" else "DNS:localhost,IP:127.0.0.1"
        (folder / f"{name}.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\n")
        run("openssl", "x509", "-req", "-days", "2", "-in", folder / f"{name}.csr", "-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}.key", "-CAcreateserial", "-extfile", folder / f"{name}.ext", "-out", folder / f"{name}.pem")
    return folder


def context(pki, client=None):
    made = ssl.create_default_context(cafile=pki / "ca.pem")
    if client:
        made.load_cert_chain(pki / f"{client}.pem", pki / f"{client}.key")
    return made


@contextlib.contextmanager
def process(*command):
    started = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        assert started.wait(60 * PACE) == 0


def redis_flags(house, name="--redis"):
    return [name, f"127.0.0.1:{house.ports['redis-limits']}", f"{name}-password-file", house.state / "secrets/redis-password"]


def server_tls(pki):
    return ["--tls-certificate-file", pki / "server.pem", "--tls-key-file", pki / "server.key", "--tls-ca-file", pki / "ca.pem"]


MODEL = "sealed"


@pytest.fixture(scope="module")
def behind(house, pki, tmp_path_factory):
    """A keys service and a worker that speak mutual TLS only; the worker's model is called MODEL. The port of the keys service."""
    folder, (port,) = tmp_path_factory.mktemp("behind"), free_ports(1)
    path = next(line.split("=", 1)[1].strip() for line in (ROOT / "models.ini").read_text().splitlines() if line.startswith("path"))
    (folder / "models.ini").write_text(f"[{MODEL}]\npath = {path}\ntier = code\n")
    secrets = house.state / "secrets"
    with process(BUILD / "bin/bora-keys", "--listen", f"127.0.0.1:{port}", "--hash-secret-file", secrets / "key-hash", "--admin-key-file", secrets / "admin-key", "--service-token-file", secrets / "service-token", *redis_flags(house, "--redis-limits"), "--redis", f"127.0.0.1:{house.ports['redis']}", "--redis-password-file", secrets / "redis-password", *server_tls(pki)), \
            process(BUILD / "bin/bora-worker", "--models-file", folder / "models.ini", "--listen", "127.0.0.1:0", "--threads", "1", *redis_flags(house), *server_tls(pki)):
        yield port


def gateway(house, pki, keys_port, *flags):
    http, rpc = free_ports(2)
    return http, rpc, process(BUILD / "bin/bora-gateway", "--http-listen", f"127.0.0.1:{http}", "--grpc-listen", f"127.0.0.1:{rpc}", "--keys", f"127.0.0.1:{keys_port}",
                              "--service-token-file", house.state / "secrets/service-token", *redis_flags(house), *flags)


def upstream(pki, client="client"):
    return ["--upstream-tls=true", "--upstream-tls-ca-file", pki / "ca.pem", *(["--upstream-tls-certificate-file", pki / f"{client}.pem", "--upstream-tls-key-file", pki / f"{client}.key"] if client else [])]


def status(port, path, tls, key=None):
    request = urllib.request.Request(f"https://localhost:{port}{path}", headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=20 * PACE, context=tls) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_gateway_is_not_ready_before_its_ports_are_open(house, pki, tmp_path):
    """--metrics-listen is open first, and all behind the gateway is there; its certificate takes its time."""
    certificate, metrics = tmp_path / "server.pem", free_ports(3)[2]  # behind those of gateway()
    os.mkfifo(certificate)
    http, _, started = gateway(house, pki, house.ports["keys"], "--metrics-listen", f"127.0.0.1:{metrics}", "--tls-certificate-file", certificate, "--tls-key-file", pki / "server.key")

    def said():
        with contextlib.suppress(OSError):
            return house.send("GET", "/readyz", key=False, base=f"http://127.0.0.1:{metrics}")[2]

    with started:
        try:
            assert "ports" in until(lambda: (text := said()) and (text.startswith("ok") or "ports" in text) and text, "it says so or is ready")
        finally:
            with open(certificate, "wb") as slow:  # who reads it has it open; others find a file
                shutil.copy(pki / "server.pem", tmp_path / "whole.pem")
                os.replace(tmp_path / "whole.pem", certificate)
                slow.write((pki / "server.pem").read_bytes())
        until(lambda: (said() or "").startswith("ok"), "it is ready")
        assert status(http, "/readyz", context(pki)) == 200


@pytest.mark.parametrize("mutual", [False, True])
def test_an_answer_through_tls_everywhere(house, pki, behind, grpc_modules, mutual):
    flags = server_tls(pki)[:None if mutual else 4]
    http, rpc, started = gateway(house, pki, behind, *flags, *upstream(pki))
    trusted = context(pki, "client" if mutual else None)
    with started:
        until(lambda: status(http, f"/v1/models/{MODEL}", trusted, house.key) == 200, "the gateway has found the worker")
        with httpx.Client(verify=trusted, timeout=60 * PACE) as transport:
            client = openai.OpenAI(base_url=f"https://localhost:{http}/v1", api_key=house.key, max_retries=0, http_client=transport)
            chunks = list(client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=4, temperature=0, stream=True))
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")
            with pytest.raises(openai.AuthenticationError):  # the sealed keys service was asked
                openai.OpenAI(base_url=f"https://localhost:{http}/v1", api_key="bora_aaaaaaaaaaaa_" + "x" * 43, max_retries=0, http_client=transport).models.list()
        shown = {"private_key": (pki / "client.key").read_bytes(), "certificate_chain": (pki / "client.pem").read_bytes()} if mutual else {}
        with grpc.secure_channel(f"localhost:{rpc}", grpc.ssl_channel_credentials((pki / "ca.pem").read_bytes(), **{"private_key": None, "certificate_chain": None, **shown})) as channel:
            listed = grpc_modules.models_grpc.ModelServiceStub(channel).ListModels(grpc_modules.models.ListModelsRequest(), metadata=[("authorization", f"Bearer {house.key}")], timeout=20 * PACE)
            assert MODEL in [m.id for m in listed.data]


def test_who_shows_no_good_certificate_is_not_served(house, pki, behind, grpc_modules):
    http, rpc, started = gateway(house, pki, behind, *server_tls(pki), *upstream(pki))
    with started:
        until(lambda: status(http, "/healthz", context(pki, "client")) == 200, "it serves who does")
        for client in (None, "stranger"):
            assert status(http, "/healthz", context(pki, client)) == 0
            shown = {"private_key": (pki / f"{client}.key").read_bytes(), "certificate_chain": (pki / f"{client}.pem").read_bytes()} if client else {"private_key": None, "certificate_chain": None}
            with grpc.secure_channel(f"localhost:{rpc}", grpc.ssl_channel_credentials((pki / "ca.pem").read_bytes(), **shown)) as channel:
                with pytest.raises(grpc.RpcError) as caught:
                    grpc_modules.models_grpc.ModelServiceStub(channel).ListModels(grpc_modules.models.ListModelsRequest(), metadata=[("authorization", f"Bearer {house.key}")], timeout=5 * PACE)
                assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        with pytest.raises(OSError):  # nor is plain HTTP
            urllib.request.urlopen(f"http://127.0.0.1:{http}/healthz", timeout=10 * PACE)


@pytest.mark.parametrize("flags", ["plain", "no certificate", "a stranger's"])
def test_a_gateway_without_a_good_certificate_gets_nothing_upstream(house, pki, behind, flags):
    """The keys service does not talk to it, so nobody is let in."""
    http, _, started = gateway(house, pki, behind, *{"plain": [], "no certificate": upstream(pki, None), "a stranger's": upstream(pki, "stranger")}[flags])
    with started:
        base = f"http://127.0.0.1:{http}"
        until(lambda: _answers(house, base), "the gateway serves")
        assert house.send("GET", "/v1/models", base=base)[0] == 503
        assert house.send("GET", "/readyz", key=False, base=base)[0] == 503


def _answers(house, base):
    try:
        return house.send("GET", "/healthz", key=False, base=base)[0] == 200
    except OSError:
        return False


# ---- the command line -------------------------------------------------------------------------------------------------------


def own_tls(pki, name, *flags):
    return ["--tls-certificate-file", pki / f"{name}.pem", "--tls-key-file", pki / f"{name}.key", *flags]


def test_the_command_line_says_what_is_wrong_with_certificates(house, pki, tmp_path):
    environment = {**clean_environment(tmp_path), "BORA_API_KEY": house.key}
    trusting = ["--tls-ca-file", pki / "ca.pem"]

    def bora(port, *words, command="models"):
        done = subprocess.run([BORA, command, "--address", f"127.0.0.1:{port}", *map(str, words)], env=environment, capture_output=True, text=True, timeout=60 * PACE, check=False)
        return done.returncode, done.stdout + done.stderr

    def says(port, sentence, *words, status=UNAVAILABLE):
        code, said = bora(port, *words)
        assert code == status and sentence in said and "ipv4:" not in said and "empty address list" not in said, said

    _, port, started = gateway(house, pki, house.ports["keys"], *own_tls(pki, "server"))
    with started:
        until(lambda: bora(port, *trusting)[0] == OK, "the gateway serves")
        (tmp_path / "ca.pem").write_bytes((pki / "ca.pem").read_bytes())
        (tmp_path / "config/bora").mkdir(parents=True)
        (tmp_path / "config/bora/config").write_text("[home]\ntls-ca-file = ~/ca.pem\n")
        assert bora(port, "--profile", "home")[0] == OK
        says(port, "if it speaks TLS: --tls")
        assert "if it speaks TLS: --tls" in bora(port, command="status")[1]
        says(port, "from no authority that this system trusts", "--tls")
        says(port, f"not from an authority in {pki / 'stranger-ca.pem'}", "--tls-ca-file", pki / "stranger-ca.pem")
        says(port, f"cannot read {pki / 'nothing.pem'}", "--tls-ca-file", pki / "nothing.pem", status=FAILED)
        says(port, f"no certificate of an authority in {pki / 'ca.key'}", "--tls-ca-file", pki / "ca.key", status=FAILED)
        says(port, "do not fit", *trusting, "--tls-certificate-file", pki / "client.pem", "--tls-key-file", pki / "stranger.key", status=FAILED)
        says(port, "both a certificate file and a key file", *trusting, "--tls-certificate-file", pki / "client.pem", status=FAILED)
    _, port, started = gateway(house, pki, house.ports["keys"], *own_tls(pki, "server", "--tls-ca-file", pki / "ca.pem"))
    with started:
        until(lambda: bora(port, *trusting, *own_tls(pki, "client"))[0] == OK, "the gateway serves")
        says(port, "it may want a certificate", *trusting)
        says(port, "it may not trust the certificate that was shown", *trusting, *own_tls(pki, "stranger"))
    _, port, started = gateway(house, pki, house.ports["keys"], *own_tls(pki, "elsewhere"))
    with started:
        until(lambda: "for other names" in bora(port, *trusting)[1], "the gateway serves")
    says(house.ports["grpc"], "no TLS is spoken there", *trusting)
