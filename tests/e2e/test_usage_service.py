# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""UsageService of bora-keys over gRPC, with two Redis servers of its own: is what was settled in the ledger, exactly, and does everybody see what is theirs?

The tests stand in for gateways: they write settled answers into the outbox (the end of store/limits.h has its fields).
"""
import datetime
import importlib
import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types

import grpc
import pytest

from conftest import BUILD, PACE, ROOT, error_detail, until

OPERATOR, TOKEN = "operator-key-0123456789", "service-token-0123456789"
NOW = datetime.datetime.now(datetime.timezone.utc)
MONTH = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
MS = int(NOW.timestamp() * 1000)


class Redis:
    """A redis-server on a Unix socket in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="bora-test-usage-")
        self.socket = f"{self.folder}/redis.sock"
        self.start()

    def start(self):
        self.process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", "server.log"])
        until(lambda: self.ask("PING", check=False) == "PONG", "redis answers")

    def ask(self, *words, check=True):
        done = subprocess.run(["redis-cli", "-s", self.socket, *map(str, words)], capture_output=True, text=True)
        assert not check or (done.returncode == 0 and not done.stdout.startswith("ERR")), done.stdout + done.stderr
        return done.stdout.strip()

    def pipe(self, commands):
        """Many commands at once; words without blanks."""
        done = subprocess.run(["redis-cli", "-s", self.socket, "--pipe"], input="".join(" ".join(map(str, c)) + "\r\n" for c in commands), capture_output=True, text=True)
        assert "errors: 0" in done.stdout, done.stdout + done.stderr

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder)


class Service:
    """bora-keys and its stores."""

    def __init__(self, modules):
        self.modules, self.redis, self.limits, self.folder = modules, Redis(), Redis(), tempfile.mkdtemp(prefix="bora-test-usage-")
        for name, text in (("admin", OPERATOR), ("token", TOKEN)):
            with open(f"{self.folder}/{name}", "w") as file:
                file.write(text)
        self.start()

    def start(self, *flags):
        self.log = open(f"{self.folder}/log", "a")
        self.process = subprocess.Popen([str(BUILD / "bin/bora-keys"), "--listen", f"unix:{self.folder}/keys.sock", "--redis", f"unix:{self.redis.socket}", "--redis-limits", f"unix:{self.limits.socket}",
                                         "--hash-secret-file", f"{self.folder}/hash", "--admin-key-file", f"{self.folder}/admin", "--service-token-file", f"{self.folder}/token", *flags], stderr=self.log)
        self.channel = grpc.insecure_channel(f"unix:{self.folder}/keys.sock", options=[("grpc.max_receive_message_length", 64 << 20)])
        until(self.answers, "bora-keys answers")

    def answers(self):
        try:
            return self.usage("GetPrices")
        except grpc.RpcError:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60 * PACE)
        self.channel.close()
        self.redis.close()
        self.limits.close()
        shutil.rmtree(self.folder)
        assert code == 0

    def call(self, service, method, key, /, **fields):
        name, module = service
        method_type = module.DESCRIPTOR.services_by_name[name].methods_by_name[method]
        request, reply = (getattr(self.find(t.name), t.name) for t in (method_type.input_type, method_type.output_type))
        stub = self.channel.unary_unary(f"/bora.v1.{name}/{method}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString)
        return stub(request(**fields), metadata=(("authorization", f"Bearer {key}"), ("x-request-id", "test-request"), ("x-client-address", "192.0.2.7")), timeout=30 * PACE)

    def find(self, message):
        return next(m for m in (self.modules.usage, self.modules.keys, self.modules.tenants) if hasattr(m, message))

    def usage(self, method, key=OPERATOR, /, **fields):
        return self.call(("UsageService", self.modules.usage), method, key, **fields)

    def keys(self, method, key=OPERATOR, /, **fields):
        return self.call(("KeyService", self.modules.keys), method, key, **fields)

    def tenants(self, method, key=OPERATOR, /, **fields):
        return self.call(("TenantService", self.modules.tenants), method, key, **fields)

    def settle(self, entries):
        """`entries`: dicts of the outbox' fields, and `organization`."""
        self.limits.pipe([c for e in entries for c in (("SADD", "bora:orgs-active", e["organization"]), ("XADD", f"bora:outbox:{{{e['organization']}}}", "*", *itertools.chain(*((k, v) for k, v in e.items() if k != "organization"))))])


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    out = tmp_path_factory.mktemp("usage_modules")
    names = ["error", "keys", "tenants", "usage"]
    subprocess.run(["protoc", "-I", str(ROOT / "proto"), f"--python_out={out}", *(f"bora/v1/{n}.proto" for n in ["options", *names])], check=True)
    sys.path.insert(0, str(out))
    yield types.SimpleNamespace(**{n: importlib.import_module(f"bora.v1.{n}_pb2") for n in names})
    sys.path.remove(str(out))


@pytest.fixture(scope="module")
def service(modules):
    service = Service(modules)
    yield service
    service.close()


def prefix_of(key):
    return key.key.split("_")[1]


class Tenant:
    """An organisation of a test's own, with two workspaces, and a key of each role in the first."""

    count = itertools.count()

    def __init__(self, service):
        self.service = service
        self.id = service.tenants("CreateOrganization", name=f"org-{next(self.count)}").id
        self.places = [service.tenants("CreateWorkspace", name=name, organization_id=self.id) for name in ("north", "south")]
        self.made = {role: self.new_key(0, role=role, name=f"the {role}") for role in ("admin", "member", "service")}
        self.admin, self.member, self.service_key = (self.made[role].key for role in ("admin", "member", "service"))

    def new_key(self, place, **fields):
        return self.service.keys("CreateKey", workspace_uuid=self.places[place].id, **fields)

    def entry(self, key, model="small", i=10, c=0, o=5, n=1500000007, t=MS, **more):
        made = key if hasattr(key, "key") else self.made[key]
        place = made.info.workspace_id
        number = next(self.count)
        return {"organization": self.id, "t": t, "b": t - 1500, "r": f"request-{number}", "l": f"{number:032x}", "k": prefix_of(made), "w": place, "m": model, "e": "chat", "i": i, "c": c, "o": o, "n": n, "s": "settled", "q": 1, **more}

    def settle(self, *entries):
        self.service.settle(entries)
        until(lambda: self.service.limits.ask("XLEN", f"bora:outbox:{{{self.id}}}") == "0", "the outbox is empty")

    def usage(self, key=None, **fields):
        return self.service.usage("GetUsage", key or self.admin, **fields)


@pytest.fixture
def tenant(service):
    return Tenant(service)


def refused(modules, code, call):
    """The refusal's words; for a field that is wrong its name."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == code, caught.value
    if code != grpc.StatusCode.INVALID_ARGUMENT:
        return caught.value.details()
    return error_detail(modules, caught.value).validation.detail[0].loc[1].name


# ---- the ledger ----


def test_an_entry_appears_within_two_seconds(service, tenant):
    time.sleep(1.2)  # the keeper has become slow: there was nothing to do
    began = time.monotonic()
    service.settle([tenant.entry("service")])
    until(lambda: tenant.usage().total.requests == 1, "it appears")
    assert time.monotonic() - began < 2 * PACE


def test_what_was_settled_is_in_the_report_whoever_is_killed(service, tenant):
    random.seed(7)
    keys, total = list(tenant.made), [0, 0, 0, 0, 0]
    entries = []
    for _ in range(20000):
        e = tenant.entry(random.choice(keys), random.choice(["small", "large"]), random.randrange(9000), random.randrange(9), random.randrange(900), random.randrange(10**10))
        entries.append(e)
        total = [a + b for a, b in zip(total, (1, e["i"], e["c"], e["o"], e["n"]))]
    for begin in range(0, len(entries), 1000):
        service.settle(entries[begin:begin + 1000])
        if begin % 3000 == 0:
            time.sleep(random.random() * 0.2)  # anywhere in a round
            service.kill()
            service.start()
    until(lambda: service.limits.ask("XLEN", f"bora:outbox:{{{tenant.id}}}") == "0", "all is moved")
    report = tenant.usage(group_by=["key", "model"], interval="all").total
    assert [report.requests, report.input_tokens, report.cached_tokens, report.output_tokens, round(report.cost * 10**9)] == total
    rows = tenant.usage(group_by=["key", "model"], interval="hour").rows
    assert sum(r.requests for r in rows) == len(entries) and sum(round(r.cost * 10**9) for r in rows) == total[4]
    seen, after = [], None
    while True:
        page = service.usage("ListLedger", tenant.admin, limit=7000, **({"after": after} if after else {}))
        seen += [e.request_id for e in page.entries]
        after = page.entries[-1].id
        if not page.has_more:
            break
    assert sorted(seen) == sorted(e["r"] for e in entries)


def test_names_of_hundreds_of_keys(service, tenant):
    """More than are asked for in one piece; each key is asked for once."""
    place = tenant.places[0].id
    prefixes = [f"manykeys{n:04d}" for n in range(1100)]
    service.redis.pipe([("HSET", f"bora:key:{{{tenant.id}}}:{p}", "name", f"name-of-{p}") for p in prefixes if p != prefixes[7]])
    tenant.settle(*[tenant.entry("service", i=n, k=p, w=place if n % 2 else "gone") for n, p in enumerate(prefixes * 2)])
    service.redis.ask("CONFIG", "RESETSTAT")
    entries = service.usage("ListLedger", tenant.admin, limit=3000).entries
    asked = int(re.search(r"cmdstat_hget:calls=(\d+)", service.redis.ask("INFO", "commandstats"))[1])
    assert len(prefixes) <= asked < len(prefixes) + 30
    name_of = lambda prefix: "" if prefix == prefixes[7] else f"name-of-{prefix}"
    assert [(e.key_prefix, e.key_name, e.workspace_name) for e in entries] == [(p, name_of(p), "north" if n % 2 else "") for n, p in enumerate(prefixes * 2)]
    assert [e.HasField("key_name") for e in entries[6:9]] == [True, False, True]
    rows = tenant.usage(group_by=["key", "workspace"], interval="all").rows
    assert {(r.key_prefix, r.key_name, r.workspace_name) for r in rows} == {(p, name_of(p), "north" if n % 2 else "") for n, p in enumerate(prefixes)}


def test_pages_of_the_ledger(service, tenant, modules):
    tenant.settle(*[tenant.entry("service" if n % 3 else "member", "small" if n % 2 else "large", i=n, t=MS + n) for n in range(60)])
    def page(**fields):
        return service.usage("ListLedger", tenant.admin, **fields)
    first = page(limit=1)
    entry = first.entries[0]
    assert first.has_more and first.currency == "EUR" and {entry.currency for entry in first.entries} == {"EUR"}
    assert {row.currency for row in tenant.usage().rows} == {"EUR"}  # a column of CSV, behind all others
    assert (entry.input_tokens, entry.model, entry.kind, entry.endpoint, entry.cost) == (0, "large", "settled", "chat", 1.500000007)
    assert (entry.key_id, entry.workspace_id) == (tenant.made["member"].key_id, tenant.places[0].id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry.time)
    assert datetime.datetime.fromisoformat(entry.time) - datetime.datetime.fromisoformat(entry.started) == datetime.timedelta(seconds=1.5)
    assert [e.input_tokens for e in page(after=entry.id, limit=3).entries] == [1, 2, 3]
    assert [e.input_tokens for e in page(key_id=tenant.made["member"].key_id, model="small").entries] == list(range(3, 60, 6))
    assert not page(key_id=prefix_of(tenant.made["member"]), limit=20).has_more  # exactly the last one
    assert page(key_id=prefix_of(tenant.made["member"]), limit=19).has_more
    def at(ms):
        return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).isoformat()
    whole = (MS // 1000 + 1) * 1000
    assert len(page(**{"from": at(whole)}).entries) + len(page(to=at(whole)).entries) == 60
    assert not page(to="1970-01-01").entries and not page(**{"from": "2999-01-01"}).entries
    assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: page(after="x")) == "after"
    assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: page(after="18446744073709551615-18446744073709551615")) == "after"
    assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: page(to="tomorrow")) == "to"


def test_a_rare_keys_entries_are_looked_for_a_piece_at_a_time(service, tenant):
    """A page says where to go on, though it has found nothing yet."""
    ledger = f"bora:ledger:{{{tenant.id}}}"

    def words(key, i):
        return [w for name, value in tenant.entry(key, i=i).items() if name != "organization" for w in (name, value)]
    usual = words("service", 0)
    service.redis.pipe([("XADD", ledger, f"{MS + 1}-0", *words("member", 1)), *(("XADD", ledger, f"{MS + n}-0", *usual) for n in range(2, 120002)), ("XADD", ledger, f"{MS + 130000}-0", *words("member", 2))])
    found, after, pages = [], {}, 0
    while True:
        page = service.usage("ListLedger", tenant.admin, key_id=tenant.made["member"].key_id, **after)
        found, pages = found + [e.input_tokens for e in page.entries], pages + 1
        assert page.has_more == page.HasField("next_after")
        if not page.has_more:
            break
        after = {"after": page.next_after}
    assert found == [1, 2] and pages == 3
    first = service.usage("ListLedger", tenant.admin, limit=1)
    assert first.next_after == first.entries[0].id == f"{MS + 1}-0"


# ---- reports ----


def test_groups_and_names(service, tenant):
    south = tenant.new_key(1, name="=far, \"away\"")
    tenant.settle(tenant.entry("service", "small", i=1), tenant.entry("service", "large", i=2), tenant.entry(south, "small", i=4))
    assert [(r.key_id, r.key_name, r.input_tokens) for r in sorted(tenant.usage(group_by=["key"]).rows, key=lambda r: r.input_tokens)] == [(tenant.made["service"].key_id, "the service", 3), (south.key_id, "=far, \"away\"", 4)]
    assert sorted((r.workspace_name, r.workspace_id, r.input_tokens) for r in tenant.usage(group_by=["workspace"]).rows) == [("north", tenant.places[0].id, 3), ("south", tenant.places[1].id, 4)]
    assert [(r.model, r.input_tokens) for r in tenant.usage(group_by=["model"]).rows] == [("large", 2), ("small", 5)]
    plain, = tenant.usage().rows
    assert plain.input_tokens == 7 and not plain.HasField("key_id") and not plain.HasField("model") and not plain.HasField("workspace_id")
    assert tenant.usage(model="small").total.input_tokens == 5
    assert tenant.usage(workspace_id=tenant.places[1].id).total.input_tokens == 4
    assert tenant.usage(key_id=south.key_id).total.input_tokens == 4
    assert tenant.usage(model="none").total.input_tokens == 0


def test_intervals(service, tenant):
    day = datetime.timedelta(days=1)
    times = [NOW - 20 * day, NOW - 10 * day, NOW]
    tenant.settle(*[tenant.entry("service", t=int(t.timestamp() * 1000), i=10**n) for n, t in enumerate(times)])
    begin, end = (NOW - 30 * day).date().isoformat(), (NOW + day).date().isoformat()
    def starts(interval):
        return [(r.start, r.input_tokens) for r in tenant.usage(**{"from": begin, "to": end}, interval=interval).rows]
    assert starts("day") == [(t.strftime("%Y-%m-%dT00:00:00Z"), 10**n) for n, t in enumerate(times)]
    assert starts("hour") == [(t.strftime("%Y-%m-%dT%H:00:00Z"), 10**n) for n, t in enumerate(times)]
    months = {}
    for n, t in enumerate(times):
        months[t.strftime("%Y-%m-01T00:00:00Z")] = months.get(t.strftime("%Y-%m-01T00:00:00Z"), 0) + 10**n
    assert starts("month") == sorted(months.items())
    assert starts("all") == [(f"{begin}T00:00:00Z", 111)]
    month = tenant.usage(year=NOW.year, month=NOW.month)
    assert month.total.input_tokens == months[MONTH.strftime("%Y-%m-%dT%H:%M:%SZ")] and getattr(month, "from") == MONTH.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert tenant.usage().total.input_tokens == month.total.input_tokens  # the default


@pytest.mark.parametrize("fields, wrong", [({"from": "2024-01-01", "to": "2024-06-01", "interval": "hour"}, "from"), ({"from": "2010-01-01", "to": "2024-06-01"}, "from"), ({"month": 3}, "month"),
                                           ({"year": 2024, "to": "2024-02-02"}, "year"), ({"from": "2024-02-02", "to": "2024-02-01"}, "to"), ({"interval": "week"}, "interval"), ({"group_by": ["colour"]}, "group_by")])
def test_ranges_that_are_refused(service, tenant, modules, fields, wrong):
    assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: tenant.usage(**fields)) == wrong


# ---- who may ----


def test_everybody_sees_what_is_theirs(service, tenant, modules):
    other, south = Tenant(service), tenant.new_key(1)
    other.settle(other.entry("service", i=1000))
    tenant.settle(tenant.entry("service", i=1), tenant.entry("member", i=10), tenant.entry(south, i=100))
    def seen(key, **fields):
        return (tenant.usage(key, **fields).total.input_tokens, sum(e.input_tokens for e in service.usage("ListLedger", key, **{k: v for k, v in fields.items() if k != "workspace_id"}).entries))
    assert seen(tenant.admin) == (111, 111) and seen(tenant.member) == (11, 11) and seen(tenant.service_key) == (1, 1)
    assert seen(OPERATOR, organization_id=tenant.id) == (111, 111) and seen(OPERATOR, organization_id=other.id) == (1000, 1000)
    assert seen(OPERATOR, key_id=south.key_id) == (100, 100)  # its organisation need not be named
    assert seen(tenant.member, key_id=tenant.made["service"].key_id) == (1, 1)
    missing = grpc.StatusCode.NOT_FOUND
    for key in (tenant.admin, tenant.member, tenant.service_key):
        for fields in ({"organization_id": other.id}, {"key_id": other.made["service"].key_id}, {"workspace_id": other.places[0].id}):
            refused(modules, missing, lambda: tenant.usage(key, **fields))
    refused(modules, missing, lambda: tenant.usage(tenant.member, workspace_id=tenant.places[1].id))
    refused(modules, missing, lambda: tenant.usage(tenant.member, key_id=south.key_id))
    refused(modules, missing, lambda: tenant.usage(tenant.service_key, key_id=tenant.made["member"].key_id))
    refused(modules, missing, lambda: tenant.usage(OPERATOR, organization_id=other.id, key_id=south.key_id))
    refused(modules, missing, lambda: service.usage("GetRateLimit", tenant.service_key, key_id=tenant.made["member"].key_id))


@pytest.mark.parametrize("method, fields, least", [("GetUsage", {}, "service"), ("ListLedger", {}, "service"), ("GetRateLimit", {}, "service"), ("GetPrices", {}, "service"), ("GetSpendLimit", {}, "member"),
                                                   ("SetSpendLimit", {"workspace": True}, "admin"), ("SetPrices", {"currency": "EUR"}, "operator")])
def test_roles(service, tenant, modules, method, fields, least):
    if fields.get("workspace"):
        fields = {"workspace_id": tenant.places[0].id}
    roles = ["service", "member", "admin", "operator"]
    for role, key in zip(roles, (tenant.service_key, tenant.member, tenant.admin, OPERATOR)):
        if roles.index(role) < roles.index(least):
            refused(modules, grpc.StatusCode.PERMISSION_DENIED, lambda: service.usage(method, key, **fields))
        elif not (method == "GetRateLimit" and role == "operator"):
            service.usage(method, key, **fields)
    refused(modules, grpc.StatusCode.UNAUTHENTICATED, lambda: service.usage(method, "bora_aaaaaaaaaaaa_" + "x" * 43, **fields))


def test_a_key_without_the_scope_is_refused(service, tenant, modules):
    scoped = tenant.new_key(0, scopes={"endpoints": ["chat"]})
    refused(modules, grpc.StatusCode.PERMISSION_DENIED, lambda: tenant.usage(scoped.key))
    allowed = tenant.new_key(0, scopes={"endpoints": ["usage"]})
    assert tenant.usage(allowed.key).total.requests == 0


# ---- limits ----


def test_rate_limits_of_all_levels(service, tenant, modules):
    service.tenants("UpdateOrganization", organization_id=tenant.id, limits={"requests_per_second": 100, "spend_per_month": 12.5})
    service.tenants("UpdateWorkspace", tenant.admin, workspace_id=tenant.places[0].id, limits={"tokens_per_minute": 5000, "requests_per_second": 20}, model_limits={"items": [{"model": "large", "limits": {"tokens_per_month": 70}}]},
                    key_limits={"tokens_per_minute": 900})
    key = tenant.new_key(0, limits={"requests_per_second": 30}, model_limits=[{"model": "large", "limits": {"tokens_per_minute": 50}}])
    limit = service.usage("GetRateLimit", tenant.admin, key_id=key.key_id)
    assert limit.requests_per_second == 20
    by_model = {name: (v.tokens_per_minute if v.HasField("tokens_per_minute") else None, v.tokens_per_month if v.HasField("tokens_per_month") else None) for name, v in limit.tokens_limits_by_model.items()}
    assert by_model == {"*": (900, None), "large": (50, 70)}
    assert [(level.scope, level.name, level.model) for level in limit.levels] == [("organization", level_name(service, tenant), ""), ("workspace", "north", ""), ("workspace", "north", "large"), ("key", "", ""), ("key", "", "large")]
    assert limit.levels[0].limits.spend_per_month == 12.5 and limit.levels[0].used.HasField("spend_per_month") and not limit.levels[0].used.HasField("tokens_per_minute")
    assert limit.levels[3].limits.tokens_per_minute == 900 and limit.levels[3].used.tokens_per_minute == 0
    assert service.usage("GetRateLimit", key_id=prefix_of(key)) == limit
    assert [level.scope for level in service.usage("GetRateLimit", workspace_id=tenant.places[0].id).levels] == ["organization", "workspace", "workspace"]
    assert [level.scope for level in service.usage("GetRateLimit", organization_id=tenant.id).levels] == ["organization"]
    assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("GetRateLimit")) == "key_id"


def test_what_is_used_is_seen_by_whose_it_is(service, tenant):
    """The limits that bind a key are its own to know; what others use and may spend is not."""
    service.tenants("UpdateOrganization", organization_id=tenant.id, limits={"requests_per_second": 100, "spend_per_month": 12.5}, model_limits={"items": [{"model": "large", "limits": {"spend_per_month": 3}}]})
    service.tenants("UpdateWorkspace", tenant.admin, workspace_id=tenant.places[0].id, limits={"tokens_per_month": 5000, "spend_per_month": 2}, key_limits={"spend_per_month": 1})

    def seen(key):
        limit = service.usage("GetRateLimit", key, key_id=tenant.made["service"].key_id)
        assert limit.requests_per_second == 100 and limit.tokens_limits_by_model["*"].tokens_per_month == 5000
        return [(level.scope, level.model, level.limits.HasField("spend_per_month"), level.HasField("used")) for level in limit.levels]
    assert seen(tenant.service_key) == [("organization", "", False, False), ("workspace", "", False, False), ("key", "", True, True)]
    assert seen(tenant.member) == [("organization", "", False, False), ("workspace", "", True, True), ("key", "", True, True)]
    assert seen(tenant.admin) == seen(OPERATOR) == [("organization", "", True, True), ("organization", "large", True, True), ("workspace", "", True, True), ("key", "", True, True)]


def test_what_is_left_and_when_it_comes_back(service, tenant):
    """Of every limit whose use the caller may see: never less than nothing."""
    tenant.settle(tenant.entry("service", i=100, n=7))
    key = tenant.made["service"]
    service.keys("UpdateKey", tenant.admin, key_id=key.key_id, limits={"tokens_per_month": 1000, "spend_per_month": 5, "concurrent_streams": 3, "requests_per_minute": 60}, model_limits={"items": [{"model": "small", "limits": {"tokens_per_month": 50}}]})
    service.tenants("UpdateOrganization", organization_id=tenant.id, limits={"tokens_per_day": 100})
    limit = service.usage("GetRateLimit", tenant.service_key)
    own, small = limit.levels[-2:]
    assert (own.remaining.tokens_per_month, round(own.remaining.spend_per_month * 1e9), own.remaining.concurrent_streams, own.remaining.requests_per_minute) == (895, 5 * 10**9 - 7, 3, 60)
    assert not own.remaining.HasField("tokens_per_day") and small.used.tokens_per_month == 105 and small.remaining.HasField("tokens_per_month") and small.remaining.tokens_per_month == 0
    assert not limit.levels[0].HasField("remaining")  # what others use is not shown to a service key
    now = datetime.datetime.now(datetime.timezone.utc)
    day, month = (datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (limit.day_resets_at, limit.month_resets_at))
    assert datetime.timedelta(0) < day - now <= datetime.timedelta(days=1) and day.time() == datetime.time() and day.tzinfo is not None
    assert (month.year, month.month, month.day, month.time()) == (now.year + now.month // 12, now.month % 12 + 1, 1, datetime.time())


def used_of_month(service, tenant, key):
    """Of the key's own limit."""
    return service.usage("GetRateLimit", tenant.admin, key_id=key.key_id).levels[-1].used


def test_a_limit_that_is_set_late_counts_what_is_on_its_way_to_the_ledger(service, tenant):
    """What was settled a moment ago, and what is settled a moment after by answers that began before."""
    service.settle([tenant.entry("service", i=100, n=7)])
    service.keys("UpdateKey", tenant.admin, key_id=tenant.made["service"].key_id, limits={"tokens_per_month": 1000, "spend_per_month": 5})
    used = used_of_month(service, tenant, tenant.made["service"])
    assert (used.tokens_per_month, round(used.spend_per_month * 1e9)) == (105, 7)
    service.settle([tenant.entry("service", i=200, n=8)])
    until(lambda: (lambda used: (used.tokens_per_month, round(used.spend_per_month * 1e9)) == (310, 15))(used_of_month(service, tenant, tenant.made["service"])), "the other one counts too", 20)
    until(lambda: service.redis.ask("ZCARD", "bora:{seeds}:due") == "0" == service.redis.ask("HLEN", "bora:{seeds}:since"), "nothing is left to do", 60)
    assert used_of_month(service, tenant, tenant.made["service"]).tokens_per_month == 310


@pytest.mark.parametrize("place", ["key", "workspace", "organization", "key_limits"])
def test_a_limit_that_is_set_while_the_limits_redis_is_away_counts_the_past(service, tenant, modules, place):
    tenant.settle(tenant.entry("service", i=100))
    key, limits = tenant.made["service"], {"tokens_per_month": 1000}
    service.limits.kill()
    change = {"key": lambda: service.keys("UpdateKey", tenant.admin, key_id=key.key_id, limits=limits), "workspace": lambda: service.tenants("UpdateWorkspace", tenant.admin, workspace_id=tenant.places[0].id, limits=limits),
              "organization": lambda: service.tenants("UpdateOrganization", organization_id=tenant.id, limits=limits), "key_limits": lambda: service.tenants("UpdateWorkspace", tenant.admin, workspace_id=tenant.places[0].id, key_limits=limits)}[place]
    assert "the change was made" in refused(modules, grpc.StatusCode.UNAVAILABLE, change)
    service.kill()
    service.limits.start()
    service.start()
    until(lambda: used_of_month(service, tenant, key).tokens_per_month == 105 or service.usage("GetRateLimit", tenant.admin, key_id=key.key_id).levels[0].used.tokens_per_month == 105, "the past counts", 30)


def level_name(service, tenant):
    return service.tenants("GetOrganization", organization_id=tenant.id).name


def test_the_audit_trail_by_key_actor_action_and_time(service, tenant, modules):
    """By id or UUID; of what is rare a page says where the next one begins."""
    key = tenant.new_key(0, name="watched")
    prefix = prefix_of(key)
    for name in ("second", "third"):
        service.keys("UpdateKey", tenant.admin, key_id=key.key_id, name=name)
    service.keys("CreateKey", tenant.admin, workspace_uuid=tenant.places[0].id, name="another")

    def found(**fields):
        return [(entry.action, entry.target_name) for entry in service.tenants("ListAudit", organization_id=tenant.id, **fields).entries]
    own = [("key.update", "third"), ("key.update", "second"), ("key.create", "watched")]
    assert found(key_id=prefix) == found(key_id=key.key_id) == own
    by_admin = [("key.create", "another"), *own[:2]]
    admin = tenant.made["admin"]
    assert found(actor=admin.key_id) == found(actor=prefix_of(admin)) == by_admin
    assert found(key_id=prefix_of(admin)) == [*by_admin, ("key.create", "the admin")]
    assert found(actor="operator", key_id=prefix) == own[2:] and found(actor="nobody") == []
    assert found(action="key.update") == own[:2] and len(found(action="key")) == 7 and found(action="key.") == found(action="ke") == []
    assert {action for action, _ in found(action="workspace")} == {"workspace.create"}
    entries = service.tenants("ListAudit", tenant.admin).entries
    assert {entry.actor_name for entry in entries if entry.actor == prefix_of(admin)} == {"the admin"} and not any(entry.HasField("actor_name") for entry in entries if entry.actor == "operator")
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert found(**{"from": later}) == [] and len(found(to=later)) == len(entries) and len(found(**{"from": "2026-01-01"}, to=later)) == len(entries)
    assert found(to="2020-01-01") == []
    for field in ("from", "to"):
        assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: found(**{field: "soon"})) == field
    page = service.tenants("ListAudit", organization_id=tenant.id, key_id=prefix, limit=2)
    assert page.has_more and [entry.target_name for entry in page.entries] == ["third", "second"] and page.next_before == page.entries[-1].id
    rest = service.tenants("ListAudit", organization_id=tenant.id, key_id=prefix, limit=2, before=page.next_before, to=later)
    assert [entry.target_name for entry in rest.entries] == ["watched"] and not rest.has_more


def test_a_rare_entry_of_a_long_audit_trail_is_found_page_by_page(service, tenant):
    """One call looks through some ten thousand entries."""
    service.keys("UpdateKey", tenant.admin, key_id=tenant.made["service"].key_id, name="rare")
    script = "for i = 1, 12000 do redis.call('XADD', KEYS[1], '*', 'actor', 'operator', 'action', 'limits.update', 'target', 't', 'name', 'n', 'detail', '{}') end return 1"
    assert service.redis.ask("EVAL", script, "1", f"bora:audit:{{{tenant.id}}}") == "1"
    page = service.tenants("ListAudit", tenant.admin, action="key.update")
    assert list(page.entries) == [] and page.has_more
    rest = service.tenants("ListAudit", tenant.admin, action="key.update", before=page.next_before)
    assert [entry.target_name for entry in rest.entries] == ["rare"] and not rest.has_more


def audit(service, tenant_id=None):
    return service.tenants("ListAudit", **({"organization_id": tenant_id} if tenant_id else {})).entries


class Listener:
    """Who has subscribed to bora:changed."""

    def __init__(self, redis):
        self.process = subprocess.Popen(["redis-cli", "-s", redis.socket, "SUBSCRIBE", "bora:changed"], stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            self.process.stdout.readline()

    def next(self):
        return [self.process.stdout.readline().strip() for _ in range(3)][2]

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def listener(service):
    listener = Listener(service.limits)
    yield listener
    listener.close()


def test_spend_limits(service, tenant, modules, listener):
    place = tenant.places[0].id
    before = service.usage("GetSpendLimit", tenant.admin, workspace_id=place)
    assert not before.HasField("spend_per_month") and before.spent == 0 and before.currency == "EUR"
    tenant.settle(tenant.entry("service", n=2500000001), tenant.entry(tenant.new_key(1), n=10**9), tenant.entry("service", n=10**10, t=int(MONTH.timestamp() * 1000) - 1))
    after = service.usage("SetSpendLimit", tenant.admin, workspace_id=place, spend_per_month=0.1)
    assert (after.spend_per_month, after.spent) == (0.1, 2.500000001)  # of this month
    while listener.next() != f"w {place}":
        pass
    assert service.usage("GetSpendLimit", tenant.member) == after
    assert service.tenants("GetWorkspace", workspace_id=place).limits.spend_per_month == 0.1
    refused(modules, grpc.StatusCode.PERMISSION_DENIED, lambda: service.usage("SetSpendLimit", tenant.admin, spend_per_month=1))
    organization = service.usage("SetSpendLimit", organization_id=tenant.id, spend_per_month=1000000)
    assert (organization.spend_per_month, organization.spent) == (1000000, 3.500000001)
    assert service.usage("GetSpendLimit", tenant.admin) == organization
    assert not service.usage("SetSpendLimit", tenant.admin, workspace_id=place).HasField("spend_per_month")
    assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("SetSpendLimit", organization_id=tenant.id, spend_per_month=-1)) == "spend_per_month"
    trail = [(e.actor, e.action, e.target, e.request_id, e.address) for e in audit(service, tenant.id)][:3]
    actor = prefix_of(tenant.made["admin"])
    assert trail == [(actor, trail[0][1], place, "test-request", "192.0.2.7"), ("operator", trail[1][1], tenant.id, "test-request", "192.0.2.7"), (actor, trail[2][1], place, "test-request", "192.0.2.7")]


# ---- prices ----


def test_prices(service, tenant, modules, listener):
    prices = [{"model": "large", "input_per_million": 0.1, "output_per_million": 0.3, "cached_input_per_million": 0.0000001}, {"model": "small", "input_per_million": 0, "output_per_million": 1000}]
    try:
        reply = service.usage("SetPrices", currency="EUR", prices=prices[::-1])
        while listener.next() != "prices":
            pass
        assert reply.currency == "EUR" and [p.model for p in reply.prices] == ["large", "small"]  # by name
        assert [(p.input_per_million, p.output_per_million) for p in reply.prices] == [(0.1, 0.3), (0, 1000)]
        assert reply.prices[0].cached_input_per_million == 1e-7 and not reply.prices[1].HasField("cached_input_per_million")
        assert service.usage("GetPrices", tenant.service_key) == reply
        assert {p.model: p.output_per_million for p in service.keys("VerifyKey", TOKEN, key=tenant.service_key).prices} == {"large": 0.3, "small": 1000}
        assert service.usage("SetPrices", currency="EUR", prices=prices[:1]).prices[0].model == "large"
        entry = audit(service)[0]
        assert (entry.actor, entry.action, entry.request_id) == ("operator", "price.update", "test-request") and "small" in entry.detail and "large" not in entry.detail and "1000" in entry.detail
        def wrong(**fields):
            return refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("SetPrices", **fields))
        assert wrong(currency="usd") == "currency" and wrong(currency="US") == "currency" and wrong(currency="EUR", prices=prices[:1] * 2) == "prices"
        assert wrong(currency="EUR", prices=[{**prices[0], "input_per_million": -1}]) == "prices"
        assert wrong(currency="EUR", prices=[{**prices[0], "output_per_million": 1000.001}]) == "prices"  # more than limits can count (store/limits.h)
        assert wrong(currency="EUR", prices=[{**prices[0], "model": f"m{n}"} for n in range(257)]) == "prices"
        assert len(service.usage("SetPrices", currency="EUR", prices=[{**prices[0], "model": f"m{n}"} for n in range(256)]).prices) == 256
        assert len(service.usage("GetPrices").prices) == 256
    finally:
        assert not service.usage("SetPrices", currency="EUR").prices


def test_the_currency_changes_until_something_was_charged(modules):
    service = Service(modules)
    try:
        tenant = Tenant(service)
        price = [{"model": "small", "input_per_million": 1, "output_per_million": 2}]
        tenant.settle(tenant.entry("service", n=0))
        assert service.usage("SetPrices", currency="USD", prices=price).currency == "USD" == tenant.usage().currency
        assert service.usage("SetPrices", currency="CHF", prices=price).currency == "CHF"
        service.limits.ask("HSET", f"bora:leases:{{{tenant.id}}}", "0" * 32, "an answer that is under way")
        assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("SetPrices", currency="USD", prices=price)) == "currency"
        service.limits.ask("DEL", f"bora:leases:{{{tenant.id}}}")
        tenant.settle(tenant.entry("service", n=1))
        until(lambda: tenant.usage().total.cost == 1e-9, "it is in the ledger")
        assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("SetPrices", currency="USD", prices=price)) == "currency"
        assert service.usage("SetPrices", currency="CHF").currency == "CHF" == tenant.usage().currency
        assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("SetPrices", currency="EUR")) == "currency"
    finally:
        service.close()


def test_the_currency_of_what_earlier_versions_charged_stays(modules):
    """They did not note in the ledger's position that something had cost anything: the sums say it."""
    service = Service(modules)
    try:
        tenant = Tenant(service)
        days_ago = lambda days: MS - days * 86400000
        assert service.usage("SetPrices", currency="USD").currency == "USD"
        tenant.settle(tenant.entry("service", n=0, t=days_ago(41)))
        service.redis.ask("HSET", f"bora:org:{{{tenant.id}}}", "created_at", days_ago(45) // 1000)
        assert service.usage("SetPrices", currency="CHF").currency == "CHF"  # what cost nothing is of no currency
        tenant.settle(tenant.entry("service", n=1, t=days_ago(40)), tenant.entry("service", n=-1, t=days_ago(39)))
        position = f"bora:ledger-seen:{{{tenant.id}}}"
        assert service.redis.ask("HDEL", position, "priced") == "1"
        assert refused(modules, grpc.StatusCode.INVALID_ARGUMENT, lambda: service.usage("SetPrices", currency="EUR")) == "currency"
        assert service.redis.ask("HGET", position, "priced") == "1"  # the next one need not look at all that
        assert service.usage("GetPrices").currency == "CHF"
    finally:
        service.close()


def test_the_currency_stays_while_answers_run_that_began_with_prices(modules):
    service = Service(modules)
    try:
        tenant = Tenant(service)
        lease = lambda command, *words: service.limits.ask(command, f"bora:leases:{{{tenant.id}}}", "0" * 32, *words)
        lease("HSET", "an answer that is under way")
        price = [{"model": "small", "input_per_million": 1, "output_per_million": 2}]
        assert service.usage("SetPrices", currency="USD", prices=price).currency == "USD"  # there have been no prices yet
        assert not service.usage("SetPrices", currency="USD").prices  # it was admitted with the one that goes
        with pytest.raises(grpc.RpcError) as caught:
            service.usage("SetPrices", currency="EUR")
        assert "answers are under way" in error_detail(modules, caught.value).validation.detail[0].msg
        lease("HDEL")
        assert service.usage("SetPrices", currency="EUR").currency == "EUR"
    finally:
        service.close()


# ---- faults ----


def test_without_redis_calls_are_unavailable_and_nothing_is_lost(service, tenant, modules):
    tenant.settle(tenant.entry("service", i=1))
    service.redis.kill()
    service.settle([tenant.entry("service", i=2)])
    refused(modules, grpc.StatusCode.UNAVAILABLE, lambda: tenant.usage(OPERATOR, organization_id=tenant.id))
    service.redis.start()
    until(service.answers, "it is ready again")
    until(lambda: tenant.usage().total.input_tokens == 3, "the second entry is there")
    service.limits.kill()
    refused(modules, grpc.StatusCode.UNAVAILABLE, lambda: service.usage("GetSpendLimit", tenant.admin))
    assert tenant.usage().total.input_tokens == 3
    service.limits.start()
    tenant.settle(tenant.entry("service", i=4))
    assert tenant.usage().total.input_tokens == 7
