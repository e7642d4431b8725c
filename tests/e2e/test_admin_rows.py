# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The gateway's half of administration, alone with a keys service whose answers are written here: what each row asks for, what becomes of each answer."""
import contextlib
import csv
import http.client
import io
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from conftest import BUILD, PACE, ROOT, error_detail, lone_gateway, parse, until
from scripted_keys import Refusal, ScriptedKeys, gateway, keys  # noqa: F401 (fixtures)

KEY = "bora_0123456789ab_" + "x" * 43
UNAUTHORIZED = {"detail": "Unauthorized", "message": "Unauthorized", "type": "authentication_error", "param": None, "code": "invalid_api_key"}


def send(gateway, method, path, body=None, key=KEY, headers=None):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(gateway.base + path, data=data, method=method, headers={**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=60 * PACE) as answer:
            return answer.status, answer.headers, parse(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, parse(error.read())


def errors_of(body):
    return [(e["loc"], e["type"]) for e in body["detail"]]


# Every row of the three files: what goes in, which method it is, with which message.
ROWS = [
    ("POST", "/v1/admin/api-keys", {"name": "a", "workspace_uuid": "w", "user_id": "u", "expiration": "2027-01-01", "limits": {"requests_per_second": 2}, "scopes": {"models": ["m"], "endpoints": ["chat"]}},
     "CreateKey", {"name": "a", "workspace_uuid": "w", "user_id": "u", "expiration": "2027-01-01", "limits": {"requests_per_second": 2}, "scopes": {"models": ["m"], "endpoints": ["chat"]}}),
    ("GET", "/v1/admin/api-keys?limit=7&offset=3&name=b%20c&workspace_id=w&organization_id=o", None, "ListKeys", {"limit": 7, "offset": 3, "name": "b c", "workspace_id": "w", "organization_id": "o"}),
    ("GET", "/v1/admin/api-keys", None, "ListKeys", {}),
    ("GET", "/v1/admin/api-keys/k1", None, "GetKey", {"key_id": "k1"}),
    ("PATCH", "/v1/admin/api-keys/k1", {"disabled": True, "model_limits": [{"model": "m", "limits": {"tokens_per_day": 0}}]}, "UpdateKey",
     {"key_id": "k1", "disabled": True, "model_limits": {"items": [{"model": "m", "limits": {"tokens_per_day": 0}}]}}),
    ("DELETE", "/v1/admin/api-keys/k1", None, "RevokeKey", {"key_id": "k1"}),
    ("POST", "/v1/admin/api-keys/k1/rotate", {"overlap_seconds": 60}, "RotateKey", {"key_id": "k1", "overlap_seconds": 60}),
    ("POST", "/v1/admin/api-keys/k1/rotate", None, "RotateKey", {"key_id": "k1"}),
    ("GET", "/v1/admin/organizations?limit=1", None, "ListOrganizations", {"limit": 1}),
    ("POST", "/v1/admin/organizations", {"name": "o"}, "CreateOrganization", {"name": "o"}),
    ("GET", "/v1/admin/organizations/o1", None, "GetOrganization", {"organization_id": "o1"}),
    ("PATCH", "/v1/admin/organizations/o1", {"limits": {"spend_per_month": 1.5}}, "UpdateOrganization", {"organization_id": "o1", "limits": {"spend_per_month": 1.5}}),
    ("DELETE", "/v1/admin/organizations/o1", None, "DeleteOrganization", {"organization_id": "o1"}),
    ("GET", "/v1/admin/workspaces?offset=0&organization_id=o", None, "ListWorkspaces", {"offset": 0, "organization_id": "o"}),
    ("POST", "/v1/admin/workspaces", {"name": "w", "key_limits": {"concurrent_streams": 3}}, "CreateWorkspace", {"name": "w", "key_limits": {"concurrent_streams": 3}}),
    ("GET", "/v1/admin/workspaces/w1", None, "GetWorkspace", {"workspace_id": "w1"}),
    ("PATCH", "/v1/admin/workspaces/w1", {"name": "x", "disabled": False}, "UpdateWorkspace", {"workspace_id": "w1", "name": "x", "disabled": False}),
    ("DELETE", "/v1/admin/workspaces/w1", None, "DeleteWorkspace", {"workspace_id": "w1"}),
    ("GET", "/v1/admin/audit?before=5-0&limit=2", None, "ListAudit", {"before": "5-0", "limit": 2}),
    ("GET", "/v1/users/me", None, "GetMe", {}),
    ("GET", "/v1/admin/usage?from=2026-11-01&to=2026-12-01&interval=hour&group_by=model&group_by=key&key_id=k&format=json", None, "GetUsage",
     {"from": "2026-11-01", "to": "2026-12-01", "interval": "hour", "group_by": ["model", "key"], "key_id": "k", "format": "json"}),
    ("GET", "/v1/usage?year=2026&month=11&model=m", None, "GetUsage", {"year": 2026, "month": 11, "model": "m"}),
    ("GET", "/v1/admin/usage/ledger?after=1-1&limit=10000", None, "ListLedger", {"after": "1-1", "limit": 10000}),
    ("GET", "/v1/admin/rate-limit?key_id=k", None, "GetRateLimit", {"key_id": "k"}),
    ("GET", "/v1/admin/spend-limit?workspace_id=w", None, "GetSpendLimit", {"workspace_id": "w"}),
    ("POST", "/v1/admin/spend-limit", {"spend_per_month": 9.99}, "SetSpendLimit", {"spend_per_month": 9.99}),
    ("POST", "/v1/admin/spend-limit", {"workspace_id": "w", "spend_per_month": None}, "SetSpendLimit", {"workspace_id": "w"}),
    ("GET", "/v1/admin/prices", None, "GetPrices", {}),
    ("PUT", "/v1/admin/prices", {"currency": "EUR", "prices": [{"model": "m", "input_per_million": 0.1, "output_per_million": 0.2}]}, "SetPrices",
     {"currency": "EUR", "prices": [{"model": "m", "input_per_million": 0.1, "output_per_million": 0.2}]}),
]


def response_type(modules, method):
    for file in (modules.keys, modules.tenants, modules.usage):
        for service in file.DESCRIPTOR.services_by_name.values():
            if method in service.methods_by_name:
                return getattr(modules, {"keys": "keys", "tenants": "tenants", "usage": "usage"}[service.methods_by_name[method].output_type.file.name.split("/")[-1].split(".")[0]]).__dict__[service.methods_by_name[method].output_type.name]
    raise KeyError(method)


def from_dict(message_type, fields):
    from google.protobuf import json_format

    return json_format.ParseDict(fields, message_type(), ignore_unknown_fields=False)


@pytest.mark.parametrize("verb, path, body, method, fields", ROWS, ids=[f"{r[0]} {r[1].split('?')[0]} {i}" for i, r in enumerate(ROWS)])
def test_each_row_calls_its_method(gateway, keys, grpc_modules, verb, path, body, method, fields):
    keys.reset(**{method: response_type(grpc_modules, method)()})
    status, headers, answer = send(gateway, verb, path, body)
    assert status == 200 and isinstance(answer, dict), answer
    assert headers["content-type"] == "application/json" and headers["cache-control"] == "no-store"
    (name, message, metadata), = keys.calls
    assert (name, message) == (method, from_dict(type(message), fields))
    assert metadata["authorization"] == f"Bearer {KEY}" and metadata["x-client-address"] == "127.0.0.1"
    assert metadata["x-request-id"] == headers["x-request-id"]


def test_answers_look_as_the_protos_say(gateway, keys, grpc_modules):
    k, u = grpc_modules.keys, grpc_modules.usage
    info = k.ApiKey(key_id="0198", name="n", hidden_key="bora_0123456789ab_...abcd", limits=k.Limits(requests_per_minute=0), actions=k.KeyActions(rotate=k.KeyAction(status="available"), delete=k.KeyAction(status="unavailable", reason="it is")))
    keys.reset(CreateKey=k.CreateKeyResponse(key=KEY, info=info, key_id="0198", actions=info.actions))
    _, _, body = send(gateway, "POST", "/v1/admin/api-keys", {})
    assert body["key"] == KEY and body["key_id"] == "0198" and body["expiration_date"] is None
    assert body["actions"] == {"rotate": {"status": "available", "reason": None}, "delete": {"status": "unavailable", "reason": "it is"}}
    assert body["info"]["limits"] == {"requests_per_minute": 0} and body["info"]["last_used"] is None and body["info"]["model_limits"] == []
    limit = u.RateLimit(requests_per_second=1.5, levels=[u.RateLimitLevel(scope="key", id="k", limits=k.Limits(tokens_per_minute=5), used=k.Limits(tokens_per_minute=2))])
    limit.tokens_limits_by_model["m"].tokens_per_minute = 10
    limit.tokens_limits_by_model["*"].tokens_per_month = 20
    keys.reset(GetRateLimit=limit)
    _, _, body = send(gateway, "GET", "/v1/admin/rate-limit")
    assert body == {"requests_per_second": 1.5, "tokens_limits_by_model": {"m": {"tokens_per_minute": 10, "tokens_per_month": None}, "*": {"tokens_per_minute": None, "tokens_per_month": 20}},
                    "levels": [{"scope": "key", "id": "k", "name": "", "model": None, "limits": {"tokens_per_minute": 5}, "used": {"tokens_per_minute": 2}, "models": []}]}
    keys.reset(GetRateLimit=u.RateLimit())
    assert send(gateway, "GET", "/v1/admin/rate-limit")[2] == {"requests_per_second": None, "tokens_limits_by_model": {}, "levels": []}
    keys.reset(ListAudit=grpc_modules.tenants.ListAuditResponse(entries=[{"id": "1-0", "action": "key.update", "detail": '{"limits": {"after": null}}'}]))
    assert send(gateway, "GET", "/v1/admin/audit")[2]["entries"][0]["detail"] == {"limits": {"after": None}}


@pytest.mark.parametrize("query, expected", [
    ("limit=x", [(["query", "limit"], "int_parsing")]),
    ("limit=", [(["query", "limit"], "int_parsing")]),
    ("limit=0", [(["query", "limit"], "greater_than_equal")]),
    ("limit=1001&offset=-1", [(["query", "limit"], "less_than_equal"), (["query", "offset"], "greater_than_equal")]),
    ("limit=1&limit=2", [(["query", "limit"], "value_error")]),
    ("nonsense=1&after=a", [(["query", "nonsense"], "extra_forbidden")]),
    ("Limit=1", [(["query", "Limit"], "extra_forbidden")]),
    ("name=" + "a" * 256, [(["query", "name"], "string_too_long")]),
])
def test_wrong_queries_are_422_like_anywhere(gateway, keys, grpc_modules, query, expected):
    keys.reset(ListKeys=grpc_modules.keys.ListKeysResponse())
    status, _, body = send(gateway, "GET", f"/v1/admin/api-keys?{query}")
    assert status == 422 and errors_of(body) == expected, body
    assert body["message"].startswith("query.")


def test_wrong_values_of_lists_and_words_in_queries(gateway, keys, grpc_modules):
    keys.reset(GetMe=grpc_modules.tenants.Me())
    status, _, body = send(gateway, "GET", "/v1/usage?group_by=key&group_by=colour&interval=week&month=13&format=xml")
    assert status == 422 and sorted(errors_of(body)) == sorted([(["query", "month"], "less_than_equal"), (["query", "interval"], "literal_error"), (["query", "group_by", 1], "literal_error"), (["query", "format"], "literal_error")])


def test_what_stands_in_the_path_stands_nowhere_else(gateway, keys, grpc_modules):
    keys.reset(ListKeys=grpc_modules.keys.ListKeysResponse())
    assert errors_of(send(gateway, "PATCH", "/v1/admin/api-keys/k1", {"key_id": "k2"})[2]) == [(["body", "key_id"], "extra_forbidden")]
    assert errors_of(send(gateway, "GET", "/v1/admin/api-keys/k1?key_id=k2")[2]) == [(["query", "key_id"], "extra_forbidden")]
    assert errors_of(send(gateway, "GET", "/v1/admin/api-keys/" + "k" * 65)[2]) == [(["path", "key_id"], "string_too_long")]
    assert errors_of(send(gateway, "POST", "/v1/admin/api-keys?name=a", {"name": 5})[2]) == [(["body", "name"], "string_type"), (["query", "name"], "extra_forbidden")]
    assert errors_of(send(gateway, "POST", "/v1/admin/api-keys", b"")[2]) == [(["body"], "missing")]
    assert errors_of(send(gateway, "POST", "/v1/admin/api-keys/k1/rotate", b"[]")[2]) == [(["body"], "model_attributes_type")]
    assert {call[0] for call in keys.calls} == {"ListKeys"}  # nobody was asked to do any of it


@pytest.mark.parametrize("code, http_status, kind", [
    (grpc.StatusCode.PERMISSION_DENIED, 403, "permission_denied"), (grpc.StatusCode.NOT_FOUND, 404, "not_found"), (grpc.StatusCode.ALREADY_EXISTS, 409, "already_exists"),
    (grpc.StatusCode.FAILED_PRECONDITION, 409, "conflict"), (grpc.StatusCode.INVALID_ARGUMENT, 400, "invalid_request_error"), (grpc.StatusCode.OUT_OF_RANGE, 400, "invalid_request_error"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, 409, "quota_exceeded"), (grpc.StatusCode.UNAVAILABLE, 503, "service_unavailable"),
])
def test_refusals_are_told_as_the_keys_service_words_them(gateway, keys, grpc_modules, code, http_status, kind):
    e = grpc_modules.error
    keys.reset(CreateWorkspace=Refusal(code, "the name is taken", e.ErrorDetail(error=e.ApiError(message="the name is taken"))))
    status, headers, body = send(gateway, "POST", "/v1/admin/workspaces", {"name": "w"})
    assert (status, body["object"], body["message"], body["type"], body["raw_status_code"]) == (http_status, "error", "The name is taken.", kind, http_status)
    assert body["param"] is None and body["request_id"] == headers["x-request-id"]
    assert (headers["retry-after"] is not None) == (http_status == 503)


@pytest.mark.parametrize("code, http_status, message", [
    (grpc.StatusCode.UNAVAILABLE, 503, "The keys service cannot be reached right now."), (grpc.StatusCode.DEADLINE_EXCEEDED, 503, "The keys service cannot be reached right now."),
    (grpc.StatusCode.INTERNAL, 500, "The keys service failed."), (grpc.StatusCode.RESOURCE_EXHAUSTED, 400, "The answer would be too large; ask for less at a time."), (grpc.StatusCode.UNKNOWN, 500, "The keys service failed."),
    (grpc.StatusCode.UNIMPLEMENTED, 501, "The keys service does not have this; it may be an older one."),
])
def test_what_grpc_itself_says_is_not_passed_on(gateway, keys, code, http_status, message):
    keys.reset(GetMe=Refusal(code, "internals: 10.0.0.1"))
    status, _, body = send(gateway, "GET", "/v1/users/me")
    assert (status, body["message"]) == (http_status, message)


def test_fields_that_the_keys_service_refuses_are_named_where_they_stood(gateway, keys, grpc_modules):
    e = grpc_modules.error

    def refuse(*path):
        steps = [e.PathStep(name="body"), *(e.PathStep(name=p) if isinstance(p, str) else e.PathStep(index=p) for p in path)]
        detail = e.ValidationErrors(detail=[e.ValidationError(type="value_error", loc=steps, msg="Value error, no", input='"x"', ctx='{"error":"no"}')])
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "the request is not valid", e.ErrorDetail(validation=detail))

    keys.reset(CreateKey=refuse("scopes", "models", 0))
    status, _, body = send(gateway, "POST", "/v1/admin/api-keys", {"scopes": {"models": ["x"]}})
    assert status == 422 and body["detail"] == [{"type": "value_error", "loc": ["body", "scopes", "models", 0], "msg": "Value error, no", "input": "x", "ctx": {"error": "no"}}]
    keys.reset(GetUsage=refuse("from"))
    assert send(gateway, "GET", "/v1/admin/usage?from=x")[2]["detail"][0]["loc"] == ["query", "from"]
    keys.reset(GetKey=refuse("key_id"), UpdateKey=refuse("key_id"))
    assert send(gateway, "GET", "/v1/admin/api-keys/x")[2]["detail"][0]["loc"] == ["path", "key_id"]
    assert send(gateway, "PATCH", "/v1/admin/api-keys/x", {"name": "a"})[2]["detail"][0]["loc"] == ["path", "key_id"]


def test_without_a_key_nothing_is_read_and_nobody_asked(gateway, keys):
    keys.reset()
    for verb, path, body, _, _ in ROWS:
        status, headers, answer = send(gateway, verb, path, body, key=None)
        assert (status, answer, headers["www-authenticate"]) == (401, UNAUTHORIZED, "Bearer"), path
    assert send(gateway, "GET", "/v1/admin/api-keys?nonsense=1", key=None)[0] == 401
    assert send(gateway, "GET", "/v1/admin/api-keys", key=None, headers={"Authorization": "Basic YTpi"})[0] == 401
    assert keys.calls == []


def test_who_may_not_ask_is_not_told_what_is_wrong(gateway, keys, grpc_modules):
    e = grpc_modules.error
    for code, http_status in ((grpc.StatusCode.UNAUTHENTICATED, 401), (grpc.StatusCode.PERMISSION_DENIED, 403)):
        refusal = Refusal(code, "Only administrators may.", e.ErrorDetail(error=e.ApiError(message="Only administrators may.")))
        keys.reset(ListKeys=refusal, GetMe=refusal)
        for verb, path, body in (("POST", "/v1/admin/api-keys", {"nonsense": 1}), ("GET", "/v1/admin/api-keys?limit=x", None), ("GET", "/v1/usage?month=x", None)):
            status, _, answer = send(gateway, verb, path, body)
            assert status == http_status and "nonsense" not in str(answer) and "limit" not in str(answer), answer


@pytest.mark.parametrize("path", ["/v1/models?key=" + KEY, "/v1/models?API_KEY=secret-value", "/v1/admin/api-keys?api_key=secret-value", "/v1/users/me?access_token=secret-value", "/v1/admin/api-keys?name=" + KEY,
                                  "/v1/admin/api-keys/" + KEY, "/v1/nothing?key=secret-value", "/healthz?key=secret-value", "/v1/admin/api-keys?limit=1&name=bora%5F0123456789ab_" + "x" * 43])
@pytest.mark.parametrize("key", [KEY, None])
def test_keys_in_urls_are_refused_and_not_logged(gateway, keys, path, key):
    keys.reset()
    status, _, body = send(gateway, "GET", path, key=key)
    assert status == 400 and "Keys do not belong into URLs" in body["message"] and "logs" in body["message"]
    assert "secret-value" not in str(body) and "x" * 43 not in str(body) and keys.calls == []
    log = gateway.log.read_text()
    assert "secret-value" not in log and "x" * 43 not in log


def test_methods_that_a_path_has_not_are_405(gateway, keys):
    keys.reset()
    for verb, path, allowed in (("PUT", "/v1/admin/api-keys", "POST, GET"), ("POST", "/v1/admin/api-keys/k", "GET, PATCH, DELETE"), ("GET", "/v1/admin/api-keys/k/rotate", "POST"), ("POST", "/v1/admin/prices", "GET, PUT"),
                                ("DELETE", "/v1/users/me", "GET"), ("POST", "/v1/admin/workers", "GET")):
        status, headers, body = send(gateway, verb, path, {})
        assert (status, headers["allow"], body["object"]) == (405, allowed, "error"), path
    for path in ("/v1/admin", "/v1/admin/api-keys/", "/v1/admin/api-keys/k/", "/v1/admin/usage/ledger/x", "/v1/users/you"):
        assert send(gateway, "GET", path)[0] == 404, path
    assert keys.calls == []


def test_only_named_proxies_are_believed(gateway, keys, grpc_modules, tmp_path):
    keys.reset(GetMe=grpc_modules.tenants.Me())
    send(gateway, "GET", "/v1/users/me", headers={"X-Forwarded-For": "6.6.6.6", "X-Client-Address": "7.7.7.7", "X-Request-Id": "mine"})
    assert keys.calls[-1][2]["x-client-address"] == "127.0.0.1" and keys.calls[-1][2]["x-request-id"] != "mine"
    with lone_gateway(keys.port, tmp_path / "log", "--trusted-proxies", "10.0.0.0/8,127.0.0.1") as behind:
        send(behind, "GET", "/v1/users/me", headers={"X-Forwarded-For": "1.1.1.1, 6.6.6.6, 10.1.2.3"})
        assert keys.calls[-1][2]["x-client-address"] == "6.6.6.6"
        connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=30 * PACE)
        connection.putrequest("GET", "/v1/users/me")
        for name, value in (("Authorization", f"Bearer {KEY}"), ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "8.8.8.8")):  # the client's own and the proxy's
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 200
        assert keys.calls[-1][2]["x-client-address"] == "8.8.8.8"


def test_proxies_that_are_no_networks_are_refused_at_start():
    done = subprocess.run([str(BUILD / "bin/bora-gateway"), "--trusted-proxies", "ten"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "'ten' is no network" in done.stderr


def test_answers_of_the_largest_size_pass(gateway, keys, grpc_modules):
    k, u = grpc_modules.keys, grpc_modules.usage
    limits = [k.ModelLimits(model=f"model-{i:03}" + "m" * 10, limits=k.Limits(requests_per_minute=10**9, tokens_per_minute=10**12, tokens_per_day=10**12, tokens_per_month=10**12, concurrent_streams=10**6, spend_per_month=i)) for i in range(64)]
    page = k.ListKeysResponse(keys=[k.ApiKey(key_id=f"{i:036}", name="\N{grinning face}" * 255, model_limits=limits) for i in range(1000)])
    assert 4 << 20 < page.ByteSize() < 8 << 20
    keys.reset(ListKeys=page)
    status, _, body = send(gateway, "GET", "/v1/admin/api-keys?limit=1000")
    assert status == 200 and len(body["keys"]) == 1000 and len(body["keys"][999]["model_limits"]) == 64
    rows = [u.UsageRow(start="2026-11-01T00:00:00Z", key_id=f"{i:036}", workspace_id=f"{i:036}", model="m", requests=i, input_tokens=i, output_tokens=i, cost=i) for i in range(100_000)]
    keys.reset(GetUsage=u.UsageReport(rows=rows))
    status, _, body = send(gateway, "GET", "/v1/admin/usage")
    assert status == 200 and len(body["rows"]) == 100_000
    assert send(gateway, "GET", "/v1/admin/usage?format=csv")[2].count("\r\n") == 100_001
    keys.reset(GetUsage=u.UsageReport(rows=rows + rows))
    status, _, body = send(gateway, "GET", "/v1/admin/usage")
    assert status == 400 and "too large" in body["message"]


# ---- downloads


def entry(modules, i):
    return modules.usage.LedgerEntry(id=f"{i}-0", time="2026-11-30T00:00:00Z", request_id=f"{i:032}", key_id="k", workspace_id="w", model="=evil()" if i % 2 else "m", input_tokens=i, output_tokens=-i, cost=i / 8, kind="settled", endpoint="chat")


def ledger(modules, total, asked, fail_after=None):
    """A ledger of so many entries, page by page."""
    def answer(request):
        asked.append((request.after, request.limit))
        first = int(request.after.split("-")[0]) + 1 if request.HasField("after") else 1
        if fail_after is not None and first > fail_after:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "gone")
        assert not request.HasField("format") and request.model in ("", "m")
        last = min(total, first + request.limit - 1)
        return modules.usage.ListLedgerResponse(entries=[entry(modules, i) for i in range(first, last + 1)], has_more=last < total, currency="EUR", next_after=f"{last}-0" if last < total else None)

    return answer


def settled(asked):
    """How many pages were asked for when no more are."""
    counts = []

    def still():
        counts.append(len(asked))
        time.sleep(0.2)
        return len(counts) > 5 and len(set(counts[-5:])) == 1

    until(still, "nobody is asked any more")
    return counts[-1]


def test_the_ledger_comes_as_csv_page_by_page(gateway, keys, grpc_modules):
    asked = []
    keys.reset(ListLedger=ledger(grpc_modules, 2500, asked))
    status, headers, text = send(gateway, "GET", "/v1/admin/usage/ledger?format=csv&from=2026-11-01&to=2026-12-01T00:00:00Z&model=m")
    assert status == 200 and headers["content-type"] == "text/csv; charset=utf-8"
    assert headers["content-disposition"] == 'attachment; filename="bora-ledger-2026-11-01-2026-12-01.csv"' and headers["cache-control"] == "no-store"
    assert text.startswith("id,time,request_id,key_id,workspace_id,model,input_tokens,cached_tokens,output_tokens,cost,kind,endpoint")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [int(row["input_tokens"]) for row in rows] == list(range(1, 2501)) and (rows[0]["model"], rows[1]["output_tokens"]) == ("'=evil()", "-2")
    assert asked == [("", 1000), ("1000-0", 1000), ("2000-0", 1000)]


def test_pages_without_entries_are_not_the_end(gateway, keys, grpc_modules):
    """Where a filter lets little through, the keys service says after so many entries where to go on."""
    pages = {"": ([], "5-0"), "5-0": ([7], "9-0"), "9-0": ([], "12-0"), "12-0": ([13], None)}
    def answer(request):
        numbers, following = pages[request.after]
        return grpc_modules.usage.ListLedgerResponse(entries=[entry(grpc_modules, i) for i in numbers], has_more=following is not None, currency="EUR", next_after=following)
    keys.reset(ListLedger=answer)
    text = send(gateway, "GET", "/v1/admin/usage/ledger?format=csv&key_id=k")[2]
    assert [row["input_tokens"] for row in csv.DictReader(io.StringIO(text, newline=""))] == ["7", "13"]
    text = send(gateway, "GET", "/v1/admin/usage/ledger?format=jsonl&key_id=k")[2]
    assert [json.loads(line)["input_tokens"] for line in text.splitlines()] == [7, 13]


def test_the_ledger_comes_as_json_lines(gateway, keys, grpc_modules):
    asked = []
    keys.reset(ListLedger=ledger(grpc_modules, 1200, asked))
    status, headers, _ = send(gateway, "GET", "/v1/admin/usage/ledger?format=jsonl&limit=1001&after=100-0")
    with urllib.request.urlopen(urllib.request.Request(gateway.base + "/v1/admin/usage/ledger?format=jsonl&limit=1001&after=100-0", headers={"Authorization": f"Bearer {KEY}"}), timeout=60) as answer:
        lines = [json.loads(line) for line in answer.read().decode().splitlines()]
    assert status == 200 and headers["content-type"] == "application/jsonl" and headers["content-disposition"] == 'attachment; filename="bora-ledger.jsonl"'
    assert [line["input_tokens"] for line in lines] == list(range(101, 1102))
    assert asked[:2] == [("100-0", 1000), ("1100-0", 1)]


def test_an_empty_ledger_has_its_names(gateway, keys, grpc_modules):
    keys.reset(ListLedger=ledger(grpc_modules, 0, []))
    assert send(gateway, "GET", "/v1/admin/usage/ledger?format=csv")[2].startswith("id,time,request_id,")
    status, _, text = send(gateway, "GET", "/v1/admin/usage/ledger?format=jsonl")
    assert (status, text) == (200, "")


def test_usage_comes_as_csv(gateway, keys, grpc_modules):
    u = grpc_modules.usage
    report = u.UsageReport(**{"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}, interval="day", currency="EUR", rows=[u.UsageRow(start="2026-11-01T00:00:00Z", model='a "b", c', requests=2, cost=0.5)])
    keys.reset(GetUsage=report)
    for path in ("/v1/admin/usage", "/v1/usage"):
        status, headers, text = send(gateway, "GET", path + "?format=csv&group_by=model")
        assert status == 200 and headers["content-disposition"] == 'attachment; filename="bora-usage-2026-11-01-2026-12-01.csv"'
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(rows) == 1 and (rows[0]["model"], rows[0]["requests"], rows[0]["cost"], rows[0]["key_id"]) == ('a "b", c', "2", "0.5", "")
    keys.reset(GetUsage=u.UsageReport())
    assert send(gateway, "GET", "/v1/usage?format=csv")[2].count("\n") == 1


@pytest.mark.parametrize("amount, text", [(0.0000985, "0.0000985"), (0.000000001, "0.000000001"), (0, "0"), (12.5, "12.5"), (1e9, "1000000000"), (1e-12, "1e-12"), (1e300, "1e+300")])
def test_amounts_have_no_exponents(gateway, keys, grpc_modules, amount, text):
    """Programs read 9.85e-05 as well, people do not; what is no amount of money does not become a line of zeros."""
    keys.reset(GetSpendLimit=grpc_modules.usage.SpendLimit(spent=amount))
    request = urllib.request.Request(gateway.base + "/v1/admin/spend-limit", headers={"Authorization": f"Bearer {KEY}"})
    assert f'"spent":{text},' in urllib.request.urlopen(request, timeout=60).read().decode()


def test_refusals_of_downloads_are_answers_like_others(gateway, keys, grpc_modules):
    e = grpc_modules.error
    refusal = Refusal(grpc.StatusCode.PERMISSION_DENIED, "Only administrators may.", e.ErrorDetail(error=e.ApiError()))
    keys.reset(ListLedger=refusal, GetUsage=refusal)
    for path in ("/v1/admin/usage/ledger?format=csv", "/v1/admin/usage?format=csv"):
        status, headers, body = send(gateway, "GET", path)
        assert (status, body["message"], headers["content-disposition"]) == (403, "Only administrators may.", None)


def test_a_ledger_that_cannot_be_read_to_its_end_is_no_whole_file(gateway, keys, grpc_modules):
    keys.reset(ListLedger=ledger(grpc_modules, 5000, [], fail_after=2000))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        urllib.request.urlopen(urllib.request.Request(gateway.base + "/v1/admin/usage/ledger?format=csv", headers={"Authorization": f"Bearer {KEY}"}), timeout=60).read()


def test_a_slow_reader_holds_no_more_than_a_page(keys, grpc_modules, tmp_path):
    """Who reads nothing gets what fits into the sockets, a page more, and then nobody is asked any more; who reads on gets the rest."""
    asked, total = [], 100_000
    keys.reset(ListLedger=ledger(grpc_modules, total, asked), GetMe=grpc_modules.tenants.Me())
    with lone_gateway(keys.port, tmp_path / "log") as gateway, contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60 * PACE)) as connection:
        resident = lambda: int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")  # noqa: E731
        assert send(gateway, "GET", "/v1/users/me")[0] == 200
        before = resident()
        connection.request("GET", "/v1/admin/usage/ledger?format=jsonl", headers={"Authorization": f"Bearer {KEY}"})
        until(lambda: asked, "the download has begun")
        held = settled(asked)
        assert held < 60  # of 100 pages; loopback sockets take megabytes
        assert resident() - before < (8 << 20) * PACE
        assert connection.getresponse().read().count(b'"request_id"') == total and len(asked) == 100


def test_a_reader_that_leaves_ends_the_download(gateway, keys, grpc_modules):
    asked = []
    keys.reset(ListLedger=ledger(grpc_modules, 10_000_000, asked))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60 * PACE) as connection:
        connection.sendall(f"GET /v1/admin/usage/ledger?format=csv HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        connection.recv(65536)
    assert settled(asked) < 1000


# ---- gRPC


@pytest.fixture(scope="module")
def channel(gateway):
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc}") as channel:
        yield channel


def call(channel, keys, path, message, metadata=(("authorization", f"Bearer {KEY}"),)):
    with_metadata = channel.unary_unary(path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=lambda b: b)
    return with_metadata.with_call(message, metadata=metadata, timeout=30 * PACE)


def test_each_method_is_passed_on(channel, keys, grpc_modules):
    fields = {method: f for _, _, _, method, f in ROWS}
    for path, message_type in keys.messages.items():
        method = path.rsplit("/", 1)[1]
        if method == "VerifyKey":
            continue
        keys.reset(**{method: response_type(grpc_modules, method)()})
        message = from_dict(message_type, fields[method])
        _, made = call(channel, keys, path, message)
        (name, got, metadata), = keys.calls
        assert (name, got) == (method, message)
        assert metadata["authorization"] == f"Bearer {KEY}" and metadata["x-client-address"] == "127.0.0.1"
        assert metadata["x-request-id"] == dict(made.initial_metadata())["x-request-id"]


def test_methods_for_gateways_alone_are_not_there(channel, keys, grpc_modules):
    keys.reset(VerifyKey=grpc_modules.keys.VerifyKeyResponse())
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, keys, "/bora.v1.KeyService/VerifyKey", grpc_modules.keys.VerifyKeyRequest(key=KEY))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED and keys.calls == []


def test_refusals_over_grpc(channel, keys, grpc_modules):
    e, k = grpc_modules.error, grpc_modules.keys
    for code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE):
        keys.reset(RevokeKey=Refusal(code, "No.", e.ErrorDetail(error=e.ApiError(message="No."))))
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, keys, "/bora.v1.KeyService/RevokeKey", k.RevokeKeyRequest(key_id="k"))
        assert caught.value.code() == code and caught.value.details() == ("Unauthorized" if code == grpc.StatusCode.UNAUTHENTICATED else "No.")
    keys.reset(ListKeys=k.ListKeysResponse())
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, keys, "/bora.v1.KeyService/RevokeKey", k.RevokeKeyRequest())
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [[s.name for s in d.loc] for d in error_detail(grpc_modules, caught.value).validation.detail] == [["body", "key_id"]]
    keys.reset()
    for metadata in ((), (("authorization", "Basic x"),)):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, keys, "/bora.v1.KeyService/RevokeKey", k.RevokeKeyRequest(key_id="k"), metadata)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert keys.calls == []


def test_a_keys_service_that_is_gone_is_503_and_unavailable(grpc_modules, tmp_path):
    keys = ScriptedKeys(grpc_modules)
    with lone_gateway(keys.port, tmp_path / "log") as gateway:
        keys.reset(GetMe=grpc_modules.tenants.Me(role="admin"))
        assert send(gateway, "GET", "/v1/users/me")[2]["role"] == "admin"
        keys.close()
        status, headers, body = send(gateway, "GET", "/v1/users/me")
        assert (status, body["type"]) == (503, "service_unavailable") and headers["retry-after"]
        for path in ("/v1/admin/usage?format=csv", "/v1/admin/usage/ledger?format=csv"):
            assert send(gateway, "GET", path)[0] == 503
        with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc}") as channel, pytest.raises(grpc.RpcError) as caught:
            call(channel, keys, "/bora.v1.TenantService/GetMe", grpc_modules.tenants.GetMeRequest())
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_port_that_is_not_there_is_not_logged(grpc_modules, tmp_path):
    keys = ScriptedKeys(grpc_modules)

    def serving(name, *flags):
        with lone_gateway(keys.port, tmp_path / name, *flags) as gateway:
            line, = [entry for entry in map(json.loads, gateway.log.read_text().splitlines()) if entry["event"] == "serving"]
            return line
    assert "metrics_port" not in serving("none") and serving("one", "--metrics-listen", "127.0.0.1:0")["metrics_port"] > 0
    keys.close()


def documented():
    """{(verb, path): (gRPC method, role, scope)} of the tables in docs/admin.md."""
    rows = {}
    for line in (ROOT / "docs" / "admin.md").read_text().splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found = re.match(r"(GET|POST|PUT|PATCH|DELETE) (`/v1/.*)", cells[0])
        if found:
            for path in re.findall("`([^`]*)`", found[2]):
                rows[found[1], path] = cells[1], re.split("[;:]", cells[2])[0], cells[3]
    return rows


def test_documentation_has_every_row_with_its_method_role_and_scope():
    """docs/admin.md beside the gateway's table of routes and the keys service's tables of methods."""
    methods = {}
    for file in sorted((ROOT / "services" / "keys").glob("*_methods.c")):
        for name, role, scope in re.findall(r'METHOD\(PATH, "(\w+)", \w+, \w+,\s+KEY_ROLE_(\w+), (NULL|"\w+")\)', file.read_text()):
            methods[name] = role.lower(), "" if role == "OPERATOR" or scope == "NULL" else scope.strip('"')  # the operator has no scopes
    routes = re.findall(r'\{"(\w+)", "(/v1/[^"]*)", \w+ "(\w+)"', (ROOT / "services" / "gateway" / "admin_routes.c").read_text())
    assert len(routes) >= 26 and len(methods) >= 25
    rows = documented()
    assert rows.pop(("GET", "/v1/admin/workers")) == ("`ModelService/ListWorkers`", "admin", "admin")  # the gateway's own
    assert rows == {(verb, path): (name, *methods[name]) for verb, path, name in routes}


def samples():
    """[(verb, path, JSON)] of the answers in docs/admin.md."""
    text = (ROOT / "docs" / "admin.md").read_text()
    return [(verb, path, json.loads(body)) for verb, path, body in re.findall(r"^(GET|POST) `(/v1/[^`]*)`[^\n]*:\n\n```json\n(.*?)\n```$", text, re.M | re.S)]


def test_documentation_has_an_answer_of_each_kind():
    assert {next(name for name, value in body.items() if isinstance(value, list)) for _, path, body in samples() if "has_more" in body} == {"keys", "organizations", "workspaces", "entries"}
    assert len(samples()) >= 11


@pytest.mark.parametrize("verb, path, sample", samples(), ids=[f"{verb} {path}" for verb, path, _ in samples()])
def test_answers_are_as_documented(gateway, keys, grpc_modules, verb, path, sample):
    """Field by field, and no field more: whoever adds one adds it there."""
    method = documented()[verb, path][0]
    fields = json.loads(json.dumps(sample))
    for entry in fields.get("entries", ()):
        if "detail" in entry:
            entry["detail"] = json.dumps(entry["detail"])  # an object in JSON, a text in the message
    answer = from_dict(response_type(grpc_modules, method), fields)
    assert {field.name for field in answer.DESCRIPTOR.fields} - set(sample) <= {"next_after"}  # where there is more
    for item in next((value for value in sample.values() if isinstance(value, list) and value and "has_more" in sample), ()):
        kind = next(field for field in answer.DESCRIPTOR.fields if field.message_type and isinstance(sample[field.name], list)).message_type
        assert {field.name for field in kind.fields} - set(item) <= {"actor_name"}  # of a key that did it; here it was the operator
    keys.reset(**{method: answer})
    status, _, body = send(gateway, verb, path, {} if verb == "POST" else None)
    assert (status, body) == (200, sample)
