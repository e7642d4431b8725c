# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A gateway, the keys service and a worker on a Redis Cluster of three primaries and three replicas: are limits, the ledger, prices and revocations what they
are on one server, while a slot moves under requests, and when a primary dies?"""
import concurrent.futures
import os
import secrets
import signal
import subprocess
import threading

import pytest

from conftest import BUILD, PACE, PORT_NAMES, ROOT, House, free_ports, until

PASSWORD = "cluster-password-0123456789"


class Cluster:
    """Redis servers; the first three are the primaries."""

    def __init__(self, folder, ports):
        self.ports, buses = ports[:6], ports[6:]
        self.processes = []
        for port, bus in zip(self.ports, buses):
            place = folder / str(port)
            place.mkdir()
            self.processes.append(subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "2000",
                                                    "--requirepass", PASSWORD, "--masterauth", PASSWORD, "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(place), "--logfile", "log"]))
        for port in self.ports:
            until(lambda: self.ask(port, "PING") == "PONG", "a server answers")
        made = self.run("--cluster", "create", *[f"127.0.0.1:{port}" for port in self.ports], "--cluster-replicas", "1", "--cluster-yes")
        assert "All 16384 slots covered" in made, made
        for port in self.ports:
            until(lambda: "cluster_state:ok" in self.ask(port, "CLUSTER", "INFO"), "the cluster is there")
        for port in self.ports[3:]:
            until(lambda: "master_link_status:up" in self.ask(port, "INFO", "replication"), "replicas follow")

    def run(self, *words):
        return subprocess.run(["redis-cli", *words], env={**os.environ, "REDISCLI_AUTH": PASSWORD}, capture_output=True, text=True).stdout.strip()

    def ask(self, port, *words):
        return self.run("-p", str(port), *map(str, words))

    def living(self):
        return next(port for port, process in zip(self.ports, self.processes) if process.poll() is None)

    def primaries(self):
        """Port -> (id, [(first slot, last slot)...])"""
        lines = [line.split() for line in self.ask(self.living(), "CLUSTER", "NODES").splitlines()]
        return {int(words[1].split("@")[0].rsplit(":", 1)[1]): (words[0], [tuple(map(int, (span.split("-") * 2)[:2])) for span in words[8:] if not span.startswith("[")])
                for words in lines if "master" in words[2] and "fail" not in words[2]}

    def slot(self, key):
        return int(self.ask(self.living(), "CLUSTER", "KEYSLOT", key))

    def owner(self, slot):
        return next((port for port, (_, spans) in self.primaries().items() if any(first <= slot <= last for first, last in spans)), None)

    def ask_owner(self, key, *words):
        return self.ask(self.owner(self.slot(key)), *words)

    def move(self, slot):
        """To another primary, as operators' tools do it."""
        nodes, source = self.primaries(), self.owner(slot)
        target = next(port for port in nodes if port != source)
        assert self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", nodes[source][0]) == "OK"
        assert self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", nodes[target][0]) == "OK"
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100).split():
            assert self.ask(source, "MIGRATE", "127.0.0.1", target, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys) in ("OK", "NOKEY")
        for port in (target, source):
            assert self.ask(port, "CLUSTER", "SETSLOT", slot, "NODE", nodes[target][0]) == "OK"
        return target

    def kill(self, port):
        process = self.processes[self.ports.index(port)]
        process.kill()
        process.wait()

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()


class ClusterHouse(House):
    """A house by hand, whose services all have the cluster as both of their Redis."""

    def up(self):
        (self.state / "secrets").mkdir(parents=True)
        for name, text in (("admin-key", "bora_admin_" + secrets.token_urlsafe(32)), ("service-token", secrets.token_urlsafe(32)), ("key-hash", secrets.token_hex(32)), ("demo-key", ""), ("redis-password", PASSWORD)):
            (self.state / "secrets" / name).write_text(text + "\n")
        self.cluster = Cluster(self.state, free_ports(len(PORT_NAMES) + 12)[len(PORT_NAMES):])
        self.cluster.ask_owner("bora:prices:currency", "SET", "bora:prices:currency", "USD")  # as a single server's data that were copied have it
        self.processes = []
        secret = lambda name: str(self.state / "secrets" / name)  # noqa: E731
        at = lambda name: f"127.0.0.1:{self.ports[name]}"  # noqa: E731
        # One of the cluster's servers is enough; two, so that a start does not depend on one.
        redis = ["--redis", ",".join(f"127.0.0.1:{port}" for port in self.cluster.ports[:2]), "--redis-password-file", secret("redis-password")]
        self.start("keys", "--listen", at("keys"), "--hash-secret-file", secret("key-hash"), "--admin-key-file", secret("admin-key"), "--service-token-file", secret("service-token"), *redis)
        self.start("worker", "--models-file", str(ROOT / "models.ini"), "--model", "smollm2-135m-instruct", "--listen", at("worker"), "--threads", "2", *redis)
        self.start("gateway", "--http-listen", at("http"), "--grpc-listen", at("grpc"), "--keys", at("keys"), "--service-token-file", secret("service-token"), *redis)
        self.base = f"http://{at('http')}"
        until(self.is_ready, "the gateway is ready", 60)

    def start(self, name, *flags):
        with open(self.state / f"{name}.log", "wb") as log:
            self.processes.append(subprocess.Popen([str(BUILD / f"bin/bora-{name}"), *flags], stderr=log))

    def is_ready(self):
        try:
            return self.send("GET", "/readyz", key=False)[0] == 200
        except OSError:
            return False

    def down(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60 * PACE) for process in self.processes]
        self.cluster.close()
        assert codes == [0, 0, 0]

    def admin(self, method, path, body=None):
        status, _, answer = self.send(method, path, body, key=self.admin_key)
        assert status == 200, answer
        return answer

    def total(self, key_id):
        return self.admin("GET", f"/v1/admin/usage?interval=all&key_id={key_id}")["total"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = ClusterHouse(tmp_path_factory.mktemp("cluster"))
    yield house
    house.down()


@pytest.fixture(scope="module")
def organization(house):
    return house.admin("GET", "/v1/admin/organizations")["organizations"][0]["id"]


def sums(answers):
    return [len(answers), sum(a["usage"]["prompt_tokens"] for a in answers), sum(a["usage"]["completion_tokens"] for a in answers)]


def in_ledger(house, key_id):
    total = house.total(key_id)
    return [int(total[name]) for name in ("requests", "input_tokens", "output_tokens")]


def price_changes(house):
    return [entry for entry in house.admin("GET", "/v1/admin/audit")["entries"] if entry["action"] == "price.update"]


def test_limits_are_enforced_and_usage_is_exact(house):
    key, key_id = house.new_key(limits={"requests_per_minute": 4, "tokens_per_day": 100000, "concurrent_streams": 2})
    answers = [house.chat(key=key) for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 200, 429]
    assert int(answers[4][1]["Retry-After"]) > 0
    until(lambda: in_ledger(house, key_id) == sums([body for status, _, body in answers if status == 200]), "the ledger has it")


def test_the_data_are_spread_over_the_primaries(house):
    for _ in range(12):
        house.admin("POST", "/v1/admin/organizations", {"name": secrets.token_hex(8)})
    assert all(int(house.cluster.ask(port, "DBSIZE")) > 3 for port in house.cluster.primaries())


def test_a_revoked_key_is_refused_at_once(house):
    key, key_id = house.new_key()
    assert house.chat(key=key)[0] == 200
    house.revoke(key_id)
    assert house.chat(key=key)[0] == 401


def test_prices_are_set_charged_and_in_the_trail(house):
    prices = {"currency": "USD", "prices": [{"model": house.model, "input_per_million": 1, "output_per_million": 2.5, "cached_input_per_million": 0.5}]}
    assert house.admin("GET", "/v1/admin/prices")["currency"] == "USD"  # taken over
    for count in (1, 2):
        prices["prices"][0]["input_per_million"] = count
        assert house.admin("PUT", "/v1/admin/prices", prices)["prices"] == prices["prices"]
        assert len(price_changes(house)) == count
    assert house.cluster.ask_owner("bora:prices", "XLEN", "{bora:prices}:audit") == "0"
    key, key_id = house.new_key(limits={"spend_per_month": 10})
    assert house.chat(key=key)[0] == 200
    until(lambda: float(house.total(key_id)["cost"]) > 0, "it has cost something")
    assert house.send("PUT", "/v1/admin/prices", {**prices, "currency": "EUR"}, key=house.admin_key)[0] == 422


def test_a_slot_moves_under_requests(house, organization):
    key, key_id = house.new_key(limits={"tokens_per_day": 10**6, "concurrent_streams": 8})
    slot, stop = house.cluster.slot("{%s}" % organization), threading.Event()

    def ask():
        answers = []
        while not stop.is_set():
            answers.append(house.chat(key=key, max_tokens=4))
        return answers

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        running = [pool.submit(ask) for _ in range(3)]
        try:
            for _ in range(4):
                target = house.cluster.move(slot)
                assert house.cluster.owner(slot) == target
                house.new_key()
        finally:
            stop.set()
        answers = [answer for future in running for answer in future.result()]
    assert len(answers) > 4 and {status for status, _, _ in answers} == {200}, [body for status, _, body in answers if status != 200][:3]
    assert any("errorstat_MOVED" in house.cluster.ask(port, "INFO", "errorstats") for port in house.cluster.primaries())
    until(lambda: in_ledger(house, key_id) == sums([body for _, _, body in answers]), "the ledger has all of it, once")


def test_a_replica_takes_over(house, organization):
    key, key_id = house.new_key(limits={"requests_per_minute": 1000, "tokens_per_day": 10**6})
    answers = [house.chat(key=key, max_tokens=4) for _ in range(5)]
    until(lambda: in_ledger(house, key_id) == sums([body for _, _, body in answers]), "the ledger has what was before")
    slot = house.cluster.slot("{%s}" % organization)
    victim = house.cluster.owner(slot)
    # As a keys service leaves it that dies behind setting prices.
    house.cluster.ask_owner("bora:prices", "XADD", "{bora:prices}:audit", "*", "actor", "operator", "action", "price.update", "target", "prices", "name", "left behind", "detail", "{}", "request", "", "address", "")
    house.cluster.kill(victim)
    during = house.chat(key=key, max_tokens=4)
    assert during[0] in (200, 503)  # nothing passes without limits
    until(lambda: house.cluster.owner(slot) not in (None, victim), "a replica has taken over", 60)
    last = until(lambda: (answer := house.chat(key=key, max_tokens=4))[0] == 200 and answer, "requests pass again")
    until(house.is_ready, "the gateway says so")
    answers += [answer for answer in (during, last) if answer[0] == 200]
    until(lambda: in_ledger(house, key_id) == sums([body for _, _, body in answers]), "the ledger has all of it, once")
    until(lambda: [entry["target_name"] for entry in price_changes(house)].count("left behind") == 1, "what was left behind is in the trail")
    other, other_id = house.new_key()
    assert house.chat(key=other)[0] == 200
    house.revoke(other_id)
    assert house.chat(key=other)[0] == 401
