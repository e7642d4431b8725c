# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Administration of the whole house over HTTP and gRPC: shapes, errors, roles. What the gateway does with each row alone: test_admin_rows.py."""
import csv
import datetime
import io
import json
import os
import re
import subprocess
import time
import uuid

import grpc
import pytest

from conftest import PACE, ROOT, until

UNAUTHORIZED = {"detail": "Unauthorized", "message": "Unauthorized", "type": "authentication_error", "param": None, "code": "invalid_api_key"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
PREFIX = re.compile(r"bora_([0-9a-z]{12})_")
LIMITS = ["requests_per_minute", "tokens_per_minute", "requests_per_second", "input_tokens_per_minute", "output_tokens_per_minute", "tokens_per_day", "tokens_per_month", "concurrent_streams", "spend_per_month"]


def admin(house, method, path, body=None, key=None):
    """As an operator, unless `key` says who; the answer must be a good one."""
    status, _, answer = house.send(method, path, body, key=key or house.admin_key)
    assert status == 200, (method, path, answer)
    return answer


def refused(house, method, path, body=None, key=None):
    """(status, message) of a refusal, which looks as the contract says."""
    status, headers, answer = house.send(method, path, body, key=key or house.admin_key)
    if status == 401:
        assert answer == UNAUTHORIZED
        return 401, None
    assert set(answer) == {"object", "message", "type", "param", "code", "raw_status_code", "request_id"} and answer["object"] == "error", answer
    assert (answer["raw_status_code"], answer["request_id"]) == (status, headers["x-request-id"])
    return status, answer["message"]


def name():
    return "test-" + uuid.uuid4().hex[:8]


class Place:
    """A workspace of its own with a key of each role."""

    def __init__(self, house):
        self.workspace = admin(house, "POST", "/v1/admin/workspaces", {"name": name()})
        for role in ("admin", "member", "service"):
            body = admin(house, "POST", "/v1/admin/api-keys", {"name": f"a {role}", "role": role, "workspace_uuid": self.workspace["id"]})
            setattr(self, role, body["key"])
            setattr(self, role + "_id", body["key_id"])


@pytest.fixture(scope="module")
def place(house):
    return Place(house)


# ---- keys


def test_a_new_key_is_shown_once_and_works(house, place):
    body = admin(house, "POST", "/v1/admin/api-keys", {"name": "new", "workspace_uuid": place.workspace["id"], "user_id": "ada", "expiration": "2099-12-31", "limits": {"requests_per_minute": 100}}, key=place.admin)
    assert UUID.fullmatch(body["key_id"]) and re.fullmatch(r"bora_[0-9a-z]{12}_\S{43}", body["key"]) and TIME.fullmatch(body["created_at"])
    assert body["name"] == "new" and body["hidden_key"].startswith(body["key"][:18]) and body["hidden_key"].endswith(body["key"][-4:]) and body["key"] not in body["hidden_key"]
    assert body["expiration_date"].startswith("2099-12-31") or body["expiration_date"].startswith("2100-01-01")
    for action in ("rotate", "delete"):
        assert set(body["actions"][action]) == {"status", "reason"} and body["actions"][action]["status"] in ("available", "unavailable")
    assert house.chat(key=body["key"], max_tokens=1)[0] == 200
    one = admin(house, "GET", f"/v1/admin/api-keys/{body['key_id']}", key=place.admin)
    assert one["limits"] == {"requests_per_minute": 100} and one["user_id"] == "ada" and one["status"] == "active" and one["role"] == "service"
    assert (one["workspace_id"], one["workspace_name"]) == (place.workspace["id"], place.workspace["name"]) and one["created_by"] == PREFIX.match(place.admin)[1]
    assert one["prefix"] == PREFIX.match(body["key"])[1] and isinstance(one["can_delete"], bool) and "last_used" in one
    assert admin(house, "GET", f"/v1/admin/api-keys/{one['prefix']}", key=place.admin)["key_id"] == body["key_id"]
    assert {"workspace_id", "workspace_name", "created_by", "product", "last_used", "can_delete"} <= set(one) and one["product"] is None
    listed = house.send("GET", "/v1/admin/api-keys?limit=1000", key=place.admin)[2]
    assert body["key_id"] in [k["key_id"] for k in listed["keys"]] and body["key"][18:] not in json.dumps(listed) + json.dumps(one)


def test_keys_are_listed_by_page_name_and_last_characters(house, place):
    stem = name()
    made = [admin(house, "POST", "/v1/admin/api-keys", {"name": f"{stem}-{i}", "workspace_uuid": place.workspace["id"]}) for i in range(5)]

    def ids(query):
        body = admin(house, "GET", f"/v1/admin/api-keys?workspace_id={place.workspace['id']}&{query}", key=place.admin)
        return [k["key_id"] for k in body["keys"]], body["has_more"]

    expected = [m["key_id"] for m in made]
    assert ids(f"name={stem}") == (expected, False)
    assert ids(f"name={stem}&limit=2") == (expected[:2], True)
    assert ids(f"name={stem}&limit=2&offset=2") == (expected[2:4], True)
    assert ids(f"name={stem}&limit=2&after={expected[2]}") == (expected[3:], False)
    assert expected[1] in ids(f"name={made[1]['key'][-4:]}")[0]
    assert ids("name=" + uuid.uuid4().hex) == ([], False)


@pytest.mark.parametrize("fields, path", [
    ({"nonsense": 1}, ["body", "nonsense"]), ({"name": "a" * 256}, ["body", "name"]), ({"expiration": "tomorrow"}, ["body", "expiration"]), ({"expires_at": 1}, ["body", "expires_at"]),
    ({"role": "king"}, ["body", "role"]), ({"scopes": {"endpoints": ["chat", "fly"]}}, ["body", "scopes", "endpoints", 1]), ({"limits": {"tokens_per_day": -1}}, ["body", "limits", "tokens_per_day"]),
    ({"model_limits": [{"limits": {}}]}, ["body", "model_limits", 0, "model"]), ({"expiration": "2099-01-01", "expires_at": 4102444800}, ["body", "expiration"]),
])
def test_wrong_requests_for_keys_name_the_field(house, place, fields, path):
    status, _, body = house.send("POST", "/v1/admin/api-keys", fields, key=place.admin)
    assert status == 422 and body["detail"][0]["loc"] == path, body


def test_wrong_queries_name_the_parameter(house, place):
    for query, path in (("limit=0", ["query", "limit"]), ("limit=x", ["query", "limit"]), ("nonsense=1", ["query", "nonsense"]), ("after=nothing", ["query", "after"])):
        status, _, body = house.send("GET", f"/v1/admin/api-keys?{query}", key=place.admin)
        assert status == 422 and body["detail"][0]["loc"] == path, body
    status, _, body = house.send("GET", "/v1/usage?from=yesterday", key=place.service)
    assert status == 422 and body["detail"][0]["loc"] == ["query", "from"], body


def test_disabling_and_rotating_and_revoking_hold_at_once(house, place):
    body = admin(house, "POST", "/v1/admin/api-keys", {"workspace_uuid": place.workspace["id"]})
    path, old = f"/v1/admin/api-keys/{body['key_id']}", body["key"]
    works = lambda key: house.send("GET", "/v1/models", key=key)[0]  # noqa: E731
    assert works(old) == 200
    assert admin(house, "PATCH", path, {"disabled": True, "name": "renamed"}, key=place.admin)["status"] == "disabled"
    assert works(old) == 401
    back = admin(house, "PATCH", path, {"disabled": False}, key=place.admin)
    assert (back["status"], back["name"]) == ("active", "renamed") and works(old) == 200
    second = admin(house, "POST", path + "/rotate", {"overlap_seconds": 3600}, key=place.admin)
    assert second["key"] != old and second["key"][:18] == old[:18] and second["key_id"] == body["key_id"] and second["info"]["previous_expires_at"] > time.time()
    assert (works(old), works(second["key"])) == (200, 200)
    third = admin(house, "POST", path + "/rotate", {"overlap_seconds": 0}, key=place.admin)
    assert (works(old), works(second["key"]), works(third["key"])) == (401, 401, 200)
    assert admin(house, "POST", path + "/rotate", key=place.admin)["key"] != third["key"]  # a body is not needed
    gone = admin(house, "DELETE", path, key=place.admin)
    assert (gone["key_id"], gone["deleted"], gone["info"]["status"]) == (body["key_id"], True, "revoked")
    assert works(third["key"]) == 401
    assert admin(house, "DELETE", path, key=place.admin)["deleted"]  # again is no fault
    assert refused(house, "PATCH", path, {"disabled": False}, key=place.admin)[0] == 409
    assert refused(house, "POST", path + "/rotate", {}, key=place.admin)[0] == 409


def test_a_gateway_that_does_not_hear_of_a_rotation_refuses_the_old_secret(house, place):
    """Each secret has a gate of its own, which gateways look at, whatever they remember: the old one's is shut here without telling anybody."""
    body = admin(house, "POST", "/v1/admin/api-keys", {"workspace_uuid": place.workspace["id"]})
    new = admin(house, "POST", f"/v1/admin/api-keys/{body['key_id']}/rotate", {"overlap_seconds": 3600}, key=place.admin)["key"]
    assert [house.chat(key=key, max_tokens=1)[0] for key in (body["key"], new)] == [200, 200]
    gate = f"bora:gate:{{{body['info']['organization_id']}}}:{body['info']['prefix']}"
    words = ["redis-cli", "-p", str(house.ports["redis-limits"]), "SET", gate, "1", "PX", "60000"]
    done = subprocess.run(words, env={**os.environ, "REDISCLI_AUTH": (house.state / "secrets/redis-password").read_text().strip()}, capture_output=True, text=True)
    assert done.stdout.strip() == "OK", done
    assert [house.chat(key=key, max_tokens=1)[0] for key in (body["key"], new)] == [401, 200]


def test_before_all_time_there_is_nothing_in_the_trail(house, place):
    for query in ("to=1970-01-01", "to=1970-01-01T00:00:00Z", "before=0-0"):
        assert admin(house, "GET", f"/v1/admin/audit?{query}", key=place.admin)["entries"] == [], query


def test_what_is_not_there_is_404(house, place):
    nothing = str(uuid.uuid4())
    for method, path, body in (("GET", f"/v1/admin/api-keys/{nothing}", None), ("PATCH", "/v1/admin/api-keys/nothing", {"name": "a"}), ("DELETE", f"/v1/admin/api-keys/{nothing}", None), ("POST", f"/v1/admin/api-keys/{nothing}/rotate", None),
                               ("GET", f"/v1/admin/workspaces/{nothing}", None), ("PATCH", f"/v1/admin/workspaces/{nothing}", {"name": name()}), ("DELETE", f"/v1/admin/workspaces/{nothing}", None),
                               ("GET", f"/v1/admin/organizations/{nothing}", None), ("GET", f"/v1/usage?key_id={nothing}", None), ("GET", f"/v1/admin/rate-limit?key_id={nothing}", None)):
        assert refused(house, method, path, body)[0] == 404, (method, path)
    for path in ("/v1/admin", "/v1/admin/", "/v1/admin/api-keys/a/b", "/v1/users", "/v1/admin/keys"):
        assert refused(house, "GET", path)[0] == 404, path


# ---- places


def test_workspaces_come_change_and_go(house, place):
    first = name()
    made = admin(house, "POST", "/v1/admin/workspaces", {"name": first, "limits": {"tokens_per_day": 1000}, "key_limits": {"requests_per_minute": 7}}, key=place.admin)
    assert UUID.fullmatch(made["id"]) and UUID.fullmatch(made["organization_id"]) and TIME.fullmatch(made["created_at"])
    assert made["limits"] == {"tokens_per_day": 1000} and made["key_limits"] == {"requests_per_minute": 7} and made["model_limits"] == [] and made["disabled"] is False
    path = f"/v1/admin/workspaces/{made['id']}"
    assert refused(house, "POST", "/v1/admin/workspaces", {"name": first}, key=place.admin)[0] == 409
    changed = admin(house, "PATCH", path, {"name": name(), "model_limits": [{"model": "m", "limits": {"requests_per_second": 1}}]}, key=place.admin)
    assert changed["limits"] == {"tokens_per_day": 1000} and changed["model_limits"] == [{"model": "m", "limits": {"requests_per_second": 1}}]
    assert admin(house, "GET", path, key=place.admin) == changed
    assert changed in admin(house, "GET", "/v1/admin/workspaces?limit=1000", key=place.admin)["workspaces"]
    key = admin(house, "POST", "/v1/admin/api-keys", {"workspace_uuid": made["id"]}, key=place.admin)
    assert refused(house, "DELETE", path, key=place.admin)[0] == 409
    admin(house, "PATCH", path, {"disabled": True}, key=place.admin)
    assert house.send("GET", "/v1/models", key=key["key"])[0] == 401
    admin(house, "PATCH", path, {"disabled": False}, key=place.admin)
    assert house.send("GET", "/v1/models", key=key["key"])[0] == 200
    admin(house, "DELETE", f"/v1/admin/api-keys/{key['key_id']}", key=place.admin)
    assert admin(house, "DELETE", path, key=place.admin) == {"id": made["id"], "deleted": True}
    assert refused(house, "GET", path, key=place.admin)[0] == 404


def test_organizations_are_the_operators_and_apart(house, place):
    made = admin(house, "POST", "/v1/admin/organizations", {"name": name(), "limits": {"spend_per_month": 2.5}})
    assert UUID.fullmatch(made["id"]) and made["limits"] == {"spend_per_month": 2.5} and made["disabled"] is False
    assert admin(house, "GET", f"/v1/admin/organizations/{made['id']}") == made
    assert made in admin(house, "GET", "/v1/admin/organizations?limit=1000")["organizations"]
    theirs = admin(house, "GET", f"/v1/admin/workspaces?organization_id={made['id']}")["workspaces"]
    assert [w["name"] for w in theirs] == ["default"]
    boss = admin(house, "POST", "/v1/admin/api-keys", {"role": "admin", "workspace_uuid": theirs[0]["id"]})
    # To each other they are not there.
    assert refused(house, "GET", f"/v1/admin/api-keys/{place.service_id}", key=boss["key"])[0] == 404
    assert refused(house, "DELETE", f"/v1/admin/api-keys/{boss['key_id']}", key=place.admin)[0] == 404
    assert refused(house, "GET", f"/v1/admin/workspaces/{place.workspace['id']}", key=boss["key"])[0] == 404
    assert [k["key_id"] for k in admin(house, "GET", "/v1/admin/api-keys", key=boss["key"])["keys"]] == [boss["key_id"]]
    assert house.send("POST", "/v1/admin/api-keys", {"workspace_uuid": place.workspace["id"]}, key=boss["key"])[0] in (404, 422)
    admin(house, "PATCH", f"/v1/admin/organizations/{made['id']}", {"disabled": True})
    assert house.send("GET", "/v1/users/me", key=boss["key"])[0] == 401


OPERATORS = [("GET", "/v1/admin/organizations", None), ("POST", "/v1/admin/organizations", {"name": "x"}), ("PUT", "/v1/admin/prices", {"currency": "EUR", "prices": []})]
ADMINS = [("GET", "/v1/admin/api-keys", None), ("POST", "/v1/admin/api-keys", {}), ("GET", "/v1/admin/workspaces", None), ("POST", "/v1/admin/workspaces", {"name": "x"}), ("GET", "/v1/admin/audit", None), ("GET", "/v1/admin/workers", None),
          ("POST", "/v1/admin/spend-limit", {"spend_per_month": 1})]
ANYONE = [("GET", "/v1/users/me", None), ("GET", "/v1/usage", None), ("GET", "/v1/admin/rate-limit", None), ("GET", "/v1/admin/prices", None)]


def test_roles_open_what_they_should(house, place):
    for method, path, body in OPERATORS:
        assert refused(house, method, path, body, key=place.admin)[0] == 403, path
    for method, path, body in OPERATORS + ADMINS:
        for key in (place.member, place.service):
            assert refused(house, method, path, body, key=key)[0] == 403, path
    for method, path, body in [a for a in ADMINS if a[0] == "GET"] + ANYONE:
        admin(house, method, path, body, key=place.admin)
    for method, path, body in ANYONE:
        for key in (place.member, place.service):
            admin(house, method, path, body, key=key)
    for method, path, body in OPERATORS + ADMINS + ANYONE:
        for key in ("nonsense", "bora_aaaaaaaaaaaa_" + "x" * 43, place.admin[:-1] + ("a" if place.admin[-1] != "a" else "b")):
            assert refused(house, method, path, body, key=key)[0] == 401, path
        assert house.send(method, path, body, key=False)[0] == 401, path


def test_scopes_are_kept(house, place):
    body = admin(house, "POST", "/v1/admin/api-keys", {"role": "admin", "workspace_uuid": place.workspace["id"], "scopes": {"endpoints": ["chat"], "models": [house.model]}})
    assert body["info"]["scopes"] == {"models": [house.model], "endpoints": ["chat"]}
    assert house.chat(key=body["key"], max_tokens=1)[0] == 200
    assert refused(house, "GET", "/v1/admin/api-keys", key=body["key"])[0] == 403
    assert refused(house, "GET", "/v1/admin/workers", key=body["key"])[0] == 403
    assert refused(house, "GET", "/v1/models", key=body["key"])[0] == 403


def test_who_am_i(house, place):
    me = admin(house, "GET", "/v1/users/me", key=place.service)
    assert set(me) == {"id", "email", "first_name", "last_name", "user_id", "organization", "workspace", "api_key", "role", "scopes"}
    assert me["id"] == place.service_id and me["user_id"] is None and me["email"] is None and me["role"] == "service"
    assert me["workspace"] == {"id": place.workspace["id"], "name": place.workspace["name"]} and me["organization"]["id"] == place.workspace["organization_id"]
    assert me["api_key"] == {"id": place.service_id, "name": "a service", "prefix": PREFIX.match(place.service)[1]} and me["scopes"] == {"models": [], "endpoints": []}
    operator = admin(house, "GET", "/v1/users/me")
    assert (operator["id"], operator["role"]) == ("operator", "operator")


def test_the_audit_trail_says_who_did_what(house, place):
    status, headers, body = house.send("POST", "/v1/admin/api-keys", {"name": "audited", "workspace_uuid": place.workspace["id"]}, key=place.admin)
    assert status == 200
    page = admin(house, "GET", "/v1/admin/audit?limit=20", key=place.admin)
    entry, = [e for e in page["entries"] if e["request_id"] == headers["x-request-id"]]
    assert (entry["action"], entry["actor"], entry["address"]) == ("key.create", PREFIX.match(place.admin)[1], "127.0.0.1") and entry["target"] in (body["key_id"], body["info"]["prefix"])
    assert TIME.fullmatch(entry["time"]) and isinstance(entry["detail"], dict) and body["key"][18:] not in json.dumps(page)
    before = admin(house, "GET", f"/v1/admin/audit?limit=1&before={page['entries'][0]['id']}", key=place.admin)
    assert before["entries"] == [page["entries"][1]] and before["has_more"] is True


def rows_that_change_something():
    """Of the tables of docs/admin.md."""
    return {(method, path) for method, path in re.findall(r"^\| (POST|PUT|PATCH|DELETE) `([^`]+)`", (ROOT / "docs/admin.md").read_text(), re.M)}


def test_every_administrative_act_is_in_the_trail(house):
    """Each row of docs/admin.md that changes something, and what it changed, by the id of its request."""
    organization = admin(house, "POST", "/v1/admin/organizations", {"name": name()})["id"]
    prices = admin(house, "GET", "/v1/admin/prices")
    done, acts = set(), {}

    def act(method, row, body, action, **ids):
        status, headers, answer = house.send(method, row.format(**ids), body, key=house.admin_key)
        assert status == 200, (method, row, answer)
        done.add((method, row))
        acts[headers["x-request-id"]] = action
        return answer

    gone = act("POST", "/v1/admin/organizations", {"name": name()}, "organization.create")["id"]
    act("DELETE", "/v1/admin/organizations/{organization_id}", None, "organization.delete", organization_id=gone)
    place = {"organization_id": organization}
    for body, action in (({"name": name()}, "organization.update"), ({"disabled": True}, "organization.update"), ({"disabled": False}, "organization.update"), ({"limits": {"tokens_per_day": 10**9}}, "limits.update")):
        act("PATCH", "/v1/admin/organizations/{organization_id}", body, action, **place)
    workspace = act("POST", "/v1/admin/workspaces", {"name": name(), **place}, "workspace.create")["id"]
    for body, action in (({"name": name()}, "workspace.update"), ({"disabled": True}, "workspace.update"), ({"disabled": False}, "workspace.update"), ({"key_limits": {"tokens_per_day": 1}}, "limits.update")):
        act("PATCH", "/v1/admin/workspaces/{workspace_id}", body, action, workspace_id=workspace)
    act("POST", "/v1/admin/spend-limit", {"spend_per_month": 5, **place}, "limits.update")
    act("POST", "/v1/admin/spend-limit", {"spend_per_month": 5, "workspace_id": workspace}, "limits.update")
    key = act("POST", "/v1/admin/api-keys", {"workspace_uuid": workspace}, "key.create")["key_id"]
    for body in ({"name": "a"}, {"limits": {"tokens_per_day": 1}}, {"model_limits": [{"model": "m", "limits": {"tokens_per_day": 1}}]}, {"scopes": {"models": ["m"]}}, {"role": "member"}, {"expiration": "2099-01-01"}, {"disabled": True}, {"disabled": False}):
        act("PATCH", "/v1/admin/api-keys/{key_id}", body, "key.update", key_id=key)
    act("POST", "/v1/admin/api-keys/{key_id}/rotate", {}, "key.rotate", key_id=key)
    act("DELETE", "/v1/admin/api-keys/{key_id}", None, "key.revoke", key_id=key)
    act("DELETE", "/v1/admin/workspaces/{workspace_id}", None, "workspace.delete", workspace_id=workspace)
    act("PUT", "/v1/admin/prices", {"currency": prices["currency"] or "EUR", "prices": [{"model": "audited", "input_per_million": 1, "output_per_million": 1}]}, "price.update")
    act("PUT", "/v1/admin/prices", {"currency": prices["currency"] or "EUR", "prices": prices["prices"]}, "price.update")
    assert done == rows_that_change_something()

    entries = [e for trail in ("", f"&organization_id={organization}", f"&organization_id={gone}") for e in admin(house, "GET", f"/v1/admin/audit?limit=1000{trail}")["entries"]]
    found = {}
    for entry in entries:
        if entry["request_id"] in acts and entry["action"] == acts[entry["request_id"]]:
            assert (entry["actor"], entry["address"]) == ("operator", "127.0.0.1") and entry["target"], entry
            assert entry["detail"] or entry["action"] in ("key.revoke", "workspace.delete", "organization.delete"), entry
            found.setdefault(entry["request_id"], []).append(entry)
    missing = {acts[request] for request in acts if request not in found}
    assert not missing, missing
    assert all(len(of) == 1 or of[0]["action"] == "organization.delete" for of in found.values())  # that one is in two trails


# ---- limits, usage, money


def test_rate_limits_and_what_is_used_of_them(house, place):
    body = admin(house, "POST", "/v1/admin/api-keys", {"workspace_uuid": place.workspace["id"], "limits": {"requests_per_second": 50, "tokens_per_minute": 100000}, "model_limits": [{"model": house.model, "limits": {"tokens_per_minute": 90000, "tokens_per_month": 1000000}}]})
    assert house.chat(key=body["key"], max_tokens=4)[0] == 200
    limit = admin(house, "GET", "/v1/admin/rate-limit", key=body["key"])
    assert set(limit) == {"requests_per_second", "tokens_limits_by_model", "levels", "day_resets_at", "month_resets_at"} and limit["requests_per_second"] == 50
    assert limit["tokens_limits_by_model"][house.model] == {"tokens_per_minute": 90000, "tokens_per_month": 1000000} and limit["tokens_limits_by_model"]["*"] == {"tokens_per_minute": 100000, "tokens_per_month": None}
    level, = [at for at in limit["levels"] if at["scope"] == "key" and at["model"] is None]
    assert level["id"] == body["key_id"] and level["limits"]["tokens_per_minute"] == 100000 and level["used"]["tokens_per_minute"] > 4
    assert level["remaining"] == {name: level["limits"][name] - level["used"][name] for name in level["limits"]}
    assert set(level["used"]) <= set(LIMITS)
    assert admin(house, "GET", f"/v1/admin/rate-limit?key_id={body['key_id']}", key=place.admin)["levels"][-1]["scope"] == "key"
    assert house.send("GET", "/v1/admin/rate-limit")[0] in (200, 422)


def test_spend_limits(house, place):
    path, body = "/v1/admin/spend-limit", {"workspace_id": place.workspace["id"], "spend_per_month": 12.5}
    made = admin(house, "POST", path, body, key=place.admin)
    assert set(made) == {"spend_per_month", "spent", "currency"} and made["spend_per_month"] == 12.5
    assert admin(house, "GET", f"{path}?workspace_id={place.workspace['id']}", key=place.admin)["spend_per_month"] == 12.5
    assert admin(house, "GET", f"/v1/admin/workspaces/{place.workspace['id']}", key=place.admin)["limits"]["spend_per_month"] == 12.5
    assert admin(house, "POST", path, {**body, "spend_per_month": None}, key=place.admin)["spend_per_month"] is None
    assert admin(house, "POST", path, body, key=place.admin)["spend_per_month"] == 12.5
    for nothing in ({}, {"workspace_id": place.workspace["id"]}):  # a limit goes when that is said, not when it is forgotten
        status, _, answer = house.send("POST", path, nothing, key=place.admin)
        assert status == 422 and [(e["type"], e["loc"]) for e in answer["detail"]] == [("missing", ["body", "spend_per_month"])], answer
    assert admin(house, "GET", f"{path}?workspace_id={place.workspace['id']}", key=place.admin)["spend_per_month"] == 12.5
    assert house.send("POST", path, {"spend_per_month": -1}, key=place.admin)[0] == 422


def test_prices_are_the_operators(house, place):
    before = admin(house, "GET", "/v1/admin/prices")
    prices = {"currency": "EUR", "prices": [{"model": house.model, "input_per_million": 1, "output_per_million": 2.5, "cached_input_per_million": 0.5}]}
    try:
        assert admin(house, "PUT", "/v1/admin/prices", prices)["prices"] == prices["prices"]
        assert admin(house, "GET", "/v1/admin/prices", key=place.service)["currency"] == "EUR"
        assert house.send("PUT", "/v1/admin/prices", {"currency": "EURO", "prices": []}, key=house.admin_key)[0] == 422
        for field in ("input_per_million", "output_per_million", "cached_input_per_million"):  # the most that is taken is what requests can be charged
            dear = {"currency": "EUR", "prices": [{"model": house.model, "input_per_million": 1, "output_per_million": 1, field: 1000}]}
            admin(house, "PUT", "/v1/admin/prices", dear)
            assert until(lambda: house.send("GET", "/v1/admin/prices", key=place.service)[2]["prices"] == dear["prices"], "it is known") and house.chat(key=place.service, max_tokens=1)[0] == 200
            dear["prices"][0][field] = 1000.001
            status, _, answer = house.send("PUT", "/v1/admin/prices", dear, key=house.admin_key)
            assert status == 422 and answer["detail"][0]["loc"] == ["body", "prices", 0, field], answer
    finally:
        admin(house, "PUT", "/v1/admin/prices", {"currency": before["currency"] or "EUR", "prices": before["prices"]})


def test_usage_and_ledger_count_what_was_answered(house):
    place = Place(house)
    answers = [house.chat(key=place.service, max_tokens=n)[2]["usage"] for n in (2, 3)]
    answers.append(house.chat(key=place.member, max_tokens=4)[2]["usage"])
    sent = {"requests": 3, "input_tokens": sum(a["prompt_tokens"] for a in answers), "output_tokens": sum(a["completion_tokens"] for a in answers)}
    query = f"workspace_id={place.workspace['id']}"

    def total():
        body = admin(house, "GET", f"/v1/admin/usage?{query}&interval=all", key=place.admin)
        return body if body["total"]["requests"] == 3 else None

    body = until(total, "all answers are in the sums", 10)
    assert {field: body["total"][field] for field in sent} == sent and body["interval"] == "all" and TIME.fullmatch(body["from"])
    today = datetime.datetime.now(datetime.timezone.utc)
    rows = admin(house, "GET", f"/v1/admin/usage?{query}&group_by=key&group_by=model&year={today.year}&month={today.month}", key=place.admin)["rows"]
    assert {(r["key_id"], r["model"], r["requests"]) for r in rows} == {(place.service_id, house.model, 2), (place.member_id, house.model, 1)}
    # A member sees its workspace, a service key itself.
    assert admin(house, "GET", "/v1/usage?interval=all", key=place.member)["total"]["requests"] == 3
    assert admin(house, "GET", "/v1/usage?interval=all", key=place.service)["total"]["requests"] == 2
    status, headers, text = house.send("GET", f"/v1/admin/usage?{query}&format=csv&group_by=key&interval=month", key=place.admin)
    assert status == 200 and headers["content-type"].startswith("text/csv") and headers["content-disposition"].startswith('attachment; filename="bora-usage-')
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted((row["key_name"], int(row["requests"])) for row in table) == [("a member", 1), ("a service", 2)]
    status, headers, text = house.send("GET", f"/v1/admin/usage/ledger?key_id={place.service_id}&format=csv", key=place.admin)
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert status == 200 and [(int(r["input_tokens"]), int(r["output_tokens"]), r["kind"], r["endpoint"]) for r in table] == [(a["prompt_tokens"], a["completion_tokens"], "settled", "chat") for a in answers[:2]]
    shown = admin(house, "GET", f"/v1/admin/api-keys/{place.service_id}", key=place.admin)
    assert {(r["key_prefix"], r["key_name"], r["workspace_name"]) for r in table} == {(shown["prefix"], "a service", place.workspace["name"])}
    page = admin(house, "GET", f"/v1/admin/usage/ledger?key_id={place.service_id}&limit=1", key=place.admin)
    assert page["has_more"] is True and page["entries"][0]["id"] == table[0]["id"]
    lines = house.send("GET", f"/v1/admin/usage/ledger?key_id={place.service_id}&format=jsonl&after={table[0]['id']}", key=place.admin)[2]
    assert lines["id"] == table[1]["id"] and lines["request_id"]  # a file of one line


def test_workers_show_their_load(house, place):
    worker, = admin(house, "GET", "/v1/admin/workers", key=place.admin)["workers"]
    assert (worker["model"], worker["draining"]) == (house.model, False) and worker["worker_id"] and "smollm2" in worker["aliases"] and worker["device"] == "cpu"
    assert worker["sequences_max"] > 0 and 0 <= worker["kv_tokens_used"] <= worker["kv_tokens_total"] and worker["completion_tokens"] >= 0 and abs(worker["started_at"] - time.time()) < 3600
    assert set(worker) == {"worker_id", "model", "aliases", "tier", "device", "kernel_variant", "region", "running", "waiting", "sequences_max", "alive_max", "kv_tokens_used", "kv_tokens_total", "prompt_tokens", "completion_tokens",
                           "started_at", "draining", "version", "gateway_running"}
    assert admin(house, "GET", "/v1/admin/workers") is not None  # the operator


# ---- gRPC


def test_the_same_over_grpc(house, place, grpc_modules):
    k, t, u, m = grpc_modules.keys, grpc_modules.tenants, grpc_modules.usage, grpc_modules.models
    bearer = lambda key: (("authorization", f"Bearer {key}"),)  # noqa: E731
    with grpc.insecure_channel(f"127.0.0.1:{house.ports['grpc']}") as channel:
        keys, tenants = grpc_modules.keys_grpc.KeyServiceStub(channel), grpc_modules.tenants_grpc.TenantServiceStub(channel)
        usage, models = grpc_modules.usage_grpc.UsageServiceStub(channel), grpc_modules.models_grpc.ModelServiceStub(channel)
        made, call = keys.CreateKey.with_call(k.CreateKeyRequest(name="by gRPC", workspace_uuid=place.workspace["id"]), metadata=bearer(place.admin))
        assert house.send("GET", "/v1/models", key=made.key)[0] == 200
        entries = tenants.ListAudit(t.ListAuditRequest(limit=5), metadata=bearer(place.admin)).entries
        entry, = [e for e in entries if e.request_id == dict(call.initial_metadata())["x-request-id"]]
        assert entry.target in (made.key_id, made.info.prefix) and entry.address == "127.0.0.1"
        assert keys.GetKey(k.GetKeyRequest(key_id=made.key_id), metadata=bearer(place.admin)).name == "by gRPC"
        assert tenants.GetMe(t.GetMeRequest(), metadata=bearer(made.key)).api_key.id == made.key_id
        assert usage.GetUsage(u.GetUsageRequest(interval="all"), metadata=bearer(made.key)).total.requests == 0
        assert [w.model for w in models.ListWorkers(m.ListWorkersRequest(), metadata=bearer(place.admin)).workers] == [house.model]
        assert keys.RevokeKey(k.RevokeKeyRequest(key_id=made.key_id), metadata=bearer(place.admin)).deleted
        for ask, message, key, code in ((tenants.GetMe, t.GetMeRequest(), made.key, "UNAUTHENTICATED"), (keys.ListKeys, k.ListKeysRequest(), place.service, "PERMISSION_DENIED"), (models.ListWorkers, m.ListWorkersRequest(), place.member, "PERMISSION_DENIED"),
                                        (keys.GetKey, k.GetKeyRequest(key_id="nothing"), place.admin, "NOT_FOUND"), (tenants.CreateWorkspace, t.CreateWorkspaceRequest(name=place.workspace["name"]), place.admin, "ALREADY_EXISTS"),
                                        (tenants.DeleteWorkspace, t.DeleteWorkspaceRequest(workspace_id=place.workspace["id"]), place.admin, "FAILED_PRECONDITION"), (keys.ListKeys, k.ListKeysRequest(limit=0), place.admin, "INVALID_ARGUMENT")):
            with pytest.raises(grpc.RpcError) as caught:
                ask(message, metadata=bearer(key), timeout=30 * PACE)
            assert caught.value.code() == getattr(grpc.StatusCode, code), (ask, caught.value)
