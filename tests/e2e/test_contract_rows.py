# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Keys, limits, administration (contract 1.16) and errors (1.17), row by row, through the public clients `openai` and `mistralai`, unmodified.

`mistralai` has a function for /v1/users/me alone of the rows of 1.16; the others go through `openai`'s own verbs, with its authentication, its errors and its
retries. Rows that belong to what this server has not yet (batches, embeddings, fine-tuning) are not here."""
import contextlib
import datetime
import re
import time
import uuid

import grpc
import openai
import pytest
from mistralai.client import Mistral
from mistralai.client import errors as mistral_errors
from mistralai.client import models as mistral_models

from conftest import another_gateway, until
from scripted_worker import Refusal, ScriptedWorker

QUESTION = [{"role": "user", "content": "hi"}]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
STRANGER = "bora_aaaaaaaaaaaa_" + "x" * 43


class Client:
    """Both clients with one key."""

    def __init__(self, house, key, base=None):
        self.model, self.key, self.base = house.model, key, base or house.base
        self.openai = openai.OpenAI(base_url=self.base + "/v1", api_key=key, max_retries=0)

    def ask(self, **fields):
        return self.openai.chat.completions.create(**{"model": self.model, "messages": QUESTION, "max_tokens": 1, **fields})

    def ask_mistral(self, **fields):
        with Mistral(api_key=self.key, server_url=self.base) as client:
            return client.chat.complete(**{"model": self.model, "messages": QUESTION, "max_tokens": 1, **fields})

    def me(self):
        with Mistral(api_key=self.key, server_url=self.base) as client:
            return client.beta.users.get_identity(security=mistral_models.UsersAPIGetIdentitySecurity(bearer_user_context_auth=self.key))

    def get(self, path):
        return self.openai.get(path, cast_to=object)

    def post(self, path, body=None):
        return self.openai.post(path, body=body, cast_to=object)

    def patch(self, path, body):
        return self.openai.patch(path, body=body, cast_to=object)

    def delete(self, path):
        return self.openai.delete(path, cast_to=object)

    def new_key(self, **fields):
        return self.post("/admin/api-keys", fields)


class Tenant:
    """An organisation of its own, with a key of each role in its workspace."""

    def __init__(self, house):
        self.house, self.operator = house, Client(house, house.admin_key)
        self.organization = self.operator.post("/admin/organizations", {"name": "rows-" + uuid.uuid4().hex[:8]})
        self.workspace, = self.operator.get(f"/admin/workspaces?organization_id={self.organization['id']}")["workspaces"]
        for role in ("admin", "member", "service"):
            setattr(self, role, Client(house, self.operator.new_key(role=role, name=role, workspace_uuid=self.workspace["id"])["key"]))

    def client(self, **fields):
        """With a new key of the workspace."""
        return Client(self.house, self.admin.new_key(workspace_uuid=self.workspace["id"], **fields)["key"])


@pytest.fixture(scope="module")
def tenant(house):
    return Tenant(house)


@pytest.fixture(scope="module")
def strict(house):
    with another_gateway(house, "--dialect", "mistral") as gateway:
        yield gateway.base


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):
    """A second model, which answers and fails as a test says."""
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("scripted"))
    until(lambda: house.send("GET", f"/v1/models/{worker.MODEL}")[0] == 200, "the gateway knows the scripted worker")
    yield worker
    worker.stop()


# ---- 1.16: keys, limits, administration ---------------------------------------------------------------------------------


def test_post_api_keys_takes_the_contracts_fields_and_gives_them(tenant):
    """POST /v1/admin/api-keys {name?, expiration?, workspace_uuid*, user_id*} -> {key_id, key, name, hidden_key, created_at, expiration_date, actions}."""
    made = tenant.admin.new_key(name="row", expiration="2099-12-31", workspace_uuid=tenant.workspace["id"], user_id="ada")
    assert {"key_id", "key", "name", "hidden_key", "created_at", "expiration_date", "actions"} <= set(made)
    assert UUID.fullmatch(made["key_id"]) and made["name"] == "row" and TIME.fullmatch(made["created_at"]) and made["expiration_date"] == "2100-01-01T00:00:00Z"  # the end of that day
    assert made["hidden_key"] != made["key"] and made["hidden_key"].endswith(made["key"][-4:])
    assert set(made["actions"]) == {"rotate", "delete"} and all(a == {"status": "available", "reason": None} for a in made["actions"].values())
    assert Client(tenant.house, made["key"]).ask().usage.completion_tokens == 1


def test_actions_that_are_unavailable_say_why(tenant):
    """actions {rotate, delete}: {status: available | unavailable, reason}."""
    made = tenant.admin.new_key(workspace_uuid=tenant.workspace["id"])
    tenant.admin.delete(f"/admin/api-keys/{made['key_id']}")
    actions = tenant.admin.get(f"/admin/api-keys/{made['key_id']}")["actions"]
    assert actions["rotate"]["status"] == "unavailable" and actions["rotate"]["reason"]


def test_a_name_has_255_characters_at_most(tenant):
    for name in ("a" * 255, "é" * 255, "\N{grinning face}" * 255):
        assert tenant.admin.new_key(name=name, workspace_uuid=tenant.workspace["id"])["name"] == name
    for name in ("a" * 256, "é" * 256):
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            tenant.admin.new_key(name=name, workspace_uuid=tenant.workspace["id"])
        assert [(e["loc"], e["type"]) for e in caught.value.body["detail"]] == [(["body", "name"], "string_too_long")]


def test_the_key_is_shown_only_by_the_call_that_makes_it(tenant):
    made = tenant.admin.new_key(name="once", workspace_uuid=tenant.workspace["id"])
    secret = made["key"].rsplit("_", 1)[1]
    shown = [tenant.admin.get("/admin/api-keys?limit=1000"), tenant.admin.get(f"/admin/api-keys/{made['key_id']}"), tenant.admin.get("/admin/audit"), tenant.admin.patch(f"/admin/api-keys/{made['key_id']}", {"name": "twice"}),
             Client(tenant.house, made["key"]).me().model_dump(), tenant.admin.delete(f"/admin/api-keys/{made['key_id']}")]
    assert secret in str(made) and not [one for one in shown if secret in str(one)]


def test_get_api_keys_has_the_contracts_fields(tenant):
    """GET /v1/admin/api-keys -> {keys: [... + workspace_id, workspace_name, created_by, product, last_used, can_delete]}."""
    made = tenant.admin.new_key(name="listed", workspace_uuid=tenant.workspace["id"], user_id="ada")
    used = Client(tenant.house, made["key"])
    used.ask()
    one, = [k for k in tenant.admin.get("/admin/api-keys?name=listed")["keys"] if k["key_id"] == made["key_id"]]
    assert {k: one[k] for k in ("name", "hidden_key", "created_at", "expiration_date", "actions")} == {k: made[k] for k in ("name", "hidden_key", "created_at", "expiration_date", "actions")}
    assert "key" not in one
    assert (one["workspace_id"], one["workspace_name"], one["product"], one["can_delete"]) == (tenant.workspace["id"], tenant.workspace["name"], None, True)
    assert one["created_by"] == tenant.admin.key.split("_")[1]
    until(lambda: tenant.admin.get(f"/admin/api-keys/{made['key_id']}")["last_used"], "it was used")
    assert TIME.fullmatch(tenant.admin.get(f"/admin/api-keys/{made['key_id']}")["last_used"])


def test_get_api_keys_pages_a_hundred_at_a_time(house):
    """limit = 100, offset."""
    tenant = Tenant(house)
    made = [tenant.admin.new_key(name=f"page-{i}", workspace_uuid=tenant.workspace["id"])["key_id"] for i in range(103)]
    ids = lambda query: [k["key_id"] for k in tenant.admin.get(f"/admin/api-keys?name=page-{query}")["keys"]]  # noqa: E731
    assert ids("") == made[:100] and ids("&offset=100") == made[100:] and ids("&limit=2&offset=50") == made[50:52]


def test_get_api_keys_finds_by_part_of_the_name_or_last_four_characters(tenant):
    made = tenant.admin.new_key(name="find me by this", workspace_uuid=tenant.workspace["id"])
    for words in ("me%20by", made["key"][-4:]):
        assert made["key_id"] in [k["key_id"] for k in tenant.admin.get(f"/admin/api-keys?name={words}")["keys"]]
    assert tenant.admin.get("/admin/api-keys?name=" + uuid.uuid4().hex)["keys"] == []


def test_delete_api_keys_ends_a_key_for_both_clients(tenant):
    """DELETE /v1/admin/api-keys/{key_id}."""
    made = tenant.admin.new_key(workspace_uuid=tenant.workspace["id"])
    client = Client(tenant.house, made["key"])
    client.ask(), client.ask_mistral()
    assert tenant.admin.delete(f"/admin/api-keys/{made['key_id']}")["deleted"] is True
    refused(client, 401, openai.AuthenticationError)


def test_only_admins_call_administration(tenant):
    """Only an admin-scoped key may call these."""
    key_id = tenant.admin.new_key(workspace_uuid=tenant.workspace["id"])["key_id"]
    for client in (tenant.member, tenant.service, tenant.client(role="admin", scopes={"endpoints": ["chat"]})):
        for call in (lambda c: c.get("/admin/api-keys"), lambda c: c.new_key(), lambda c: c.get(f"/admin/api-keys/{key_id}"), lambda c: c.delete(f"/admin/api-keys/{key_id}"), lambda c: c.get("/admin/workspaces"),
                     lambda c: c.post("/admin/spend-limit", {"spend_per_month": 1})):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                call(client)
            assert caught.value.type == "permission_denied"
    tenant.admin.delete(f"/admin/api-keys/{key_id}")


def test_an_ordinary_key_belongs_to_one_workspace(tenant):
    elsewhere = tenant.admin.post("/admin/workspaces", {"name": "elsewhere-" + uuid.uuid4().hex[:8]})
    there = Client(tenant.house, tenant.admin.new_key(workspace_uuid=elsewhere["id"])["key"])
    assert (there.me().workspace.id, tenant.service.me().workspace.id) == (elsewhere["id"], tenant.workspace["id"])
    with pytest.raises((openai.NotFoundError, openai.PermissionDeniedError)):
        there.get(f"/admin/usage?workspace_id={tenant.workspace['id']}")


def test_a_key_ends_when_it_expires(tenant):
    """Keys can carry an expiry date."""
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    client = tenant.client(expiration=end.strftime("%Y-%m-%dT%H:%M:%SZ"))
    client.ask()

    def ended():
        with contextlib.suppress(openai.AuthenticationError):
            return not client.ask()
        return True

    until(ended, "the key has expired", 10)
    assert time.time() >= end.timestamp() - 1
    refused(client, 401, openai.AuthenticationError)


def test_get_rate_limit_has_the_contracts_fields(tenant, house):
    """GET /v1/admin/rate-limit -> {requests_per_second, tokens_limits_by_model: {model: {tokens_per_minute, tokens_per_month}}}."""
    client = tenant.client(limits={"requests_per_second": 50}, model_limits=[{"model": house.model, "limits": {"tokens_per_minute": 90000, "tokens_per_month": 1000000}}])
    limit = client.get("/admin/rate-limit")
    assert limit["requests_per_second"] == 50 and limit["tokens_limits_by_model"][house.model] == {"tokens_per_minute": 90000, "tokens_per_month": 1000000}
    assert all(set(of) == {"tokens_per_minute", "tokens_per_month"} for of in limit["tokens_limits_by_model"].values())


def test_spend_limit_is_read_and_set(tenant):
    """Spend limit GET/POST."""
    path = f"/admin/spend-limit?workspace_id={tenant.workspace['id']}"
    made = tenant.admin.post("/admin/spend-limit", {"workspace_id": tenant.workspace["id"], "spend_per_month": 12.5})
    assert made["spend_per_month"] == tenant.admin.get(path)["spend_per_month"] == 12.5
    assert tenant.admin.post("/admin/spend-limit", {"workspace_id": tenant.workspace["id"], "spend_per_month": None})["spend_per_month"] is None


def test_usage_is_read_by_month_year_and_workspace(house):
    """Usage by month/year/workspace: what both clients were told they used."""
    tenant, today = Tenant(house), datetime.datetime.now(datetime.timezone.utc)
    told = [tenant.service.ask(max_tokens=3).usage, tenant.service.ask_mistral(max_tokens=2).usage]
    *_, last = tenant.service.openai.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=4, stream=True)
    told.append(last.usage)
    usage = lambda when: tenant.admin.get(f"/admin/usage?{when}&workspace_id={tenant.workspace['id']}&group_by=workspace")  # noqa: E731
    now = f"year={today.year}&month={today.month}"
    until(lambda: usage(now)["total"]["requests"] == 3, "all answers are in the sums", 10)
    for when in (now, f"year={today.year}"):
        report = usage(when)
        row, = report["rows"]
        assert row["workspace_id"] == tenant.workspace["id"]
        for sums in (row, report["total"]):
            assert (sums["requests"], sums["input_tokens"], sums["output_tokens"]) == (3, sum(u.prompt_tokens for u in told), sum(u.completion_tokens for u in told))
    assert usage(f"year={today.year - 1}&month={today.month}")["total"]["requests"] == 0


def test_users_me_is_the_mistral_clients_identity(tenant):
    """GET /v1/users/me -> id, email, organization, workspace, api_key {id, name}."""
    made = tenant.admin.new_key(name="mine", workspace_uuid=tenant.workspace["id"], user_id="ada")
    me = Client(tenant.house, made["key"]).me()
    assert (me.id, me.email, me.first_name, me.last_name) == ("ada", None, None, None)
    assert (me.organization.id, me.organization.name) == (tenant.organization["id"], tenant.organization["name"])
    assert (me.workspace.id, me.workspace.name, me.api_key.id, me.api_key.name) == (tenant.workspace["id"], tenant.workspace["name"], made["key_id"], "mine")
    nobodys = tenant.admin.new_key(workspace_uuid=tenant.workspace["id"])
    me = Client(tenant.house, nobodys["key"]).me()
    assert (me.id, me.api_key.id) == (nobodys["key_id"], nobodys["key_id"])
    assert tenant.operator.me().id == "operator"


LEVELS = ["organization", "workspace", "key"]


@pytest.mark.parametrize("of_model", [False, True], ids=["all models", "a model"])
@pytest.mark.parametrize("limit", ["requests_per_second", "tokens_per_minute", "tokens_per_month"])
@pytest.mark.parametrize("level", LEVELS)
def test_limits_are_per_organisation_workspace_key_and_model(house, level, limit, of_model):
    """Limits model: requests per second, tokens per minute, tokens per month, per organisation/workspace and model."""
    tenant = Tenant(house)
    prompt = tenant.service.ask().usage.prompt_tokens
    limits = {limit: 1 if limit == "requests_per_second" else prompt + 8}
    limits = {"model_limits": [{"model": house.model, "limits": limits}]} if of_model else {"limits": limits}
    if level == "key":
        client = tenant.client(**limits)
    else:
        tenant.operator.patch(f"/admin/{level}s/{tenant.organization['id'] if level == 'organization' else tenant.workspace['id']}", limits)
        client = tenant.client()

    def denial():
        try:
            return not client.ask(max_tokens=8, temperature=0) and None
        except openai.RateLimitError as error:
            return error

    assert until(denial, "the limit keeps somebody out").response.headers["x-ratelimit-denied-by"] == f"{level}{', model' if of_model else ''} {limit}"


def test_a_limit_of_zero_keeps_a_model_out(tenant, house):
    """A limit of 0 means the model is not in the plan."""
    client = tenant.client(model_limits=[{"model": house.model, "limits": {"tokens_per_minute": 0}}])
    error = refused(client, 429, openai.RateLimitError)
    assert error.response.headers["x-should-retry"] == "false"


# ---- 1.17: errors ---------------------------------------------------------------------------------------------------------

GENERAL = {"object", "message", "type", "param", "code"}


def refused(client, status, raised, **fields):
    """What both clients say of a chat that is refused; the error of `openai`, after a look at that of `mistralai`."""
    extra = {k: fields.pop(k) for k in list(fields) if k in ("nonsense",)}
    with pytest.raises(raised) as caught:
        client.ask(**fields, extra_body=extra)
    assert caught.value.status_code == status
    if not extra:  # `mistralai` sends nothing that it does not know
        with pytest.raises(mistral_errors.MistralError) as other:
            client.ask_mistral(**fields)
        assert other.value.status_code == status and ("detail" in other.value.body) == (status in (401, 422)), other.value.body
        assert isinstance(other.value, mistral_errors.HTTPValidationError) == (status == 422)
    return caught.value


def test_401(tenant, house, strict):
    """401 {"detail": "Unauthorized"} or {"message": "Unauthorized", ...}: the relaxed dialect has both, the strict one the newer alone."""
    revoked = tenant.admin.new_key(workspace_uuid=tenant.workspace["id"])
    tenant.admin.delete(f"/admin/api-keys/{revoked['key_id']}")
    for key in (STRANGER, "nonsense", revoked["key"], tenant.service.key[:-1] + ("a" if tenant.service.key[-1] != "a" else "b")):
        body = refused(Client(house, key), 401, openai.AuthenticationError).response.json()
        assert (body["detail"], body["message"]) == ("Unauthorized", "Unauthorized")
        assert refused(Client(house, key, strict), 401, openai.AuthenticationError).response.json() == {"detail": "Unauthorized"}
        for call in (lambda: Client(house, key).me(), lambda: Client(house, key).get("/admin/api-keys")):
            with pytest.raises((openai.AuthenticationError, mistral_errors.SDKError)) as caught:
                call()
            assert caught.value.status_code == 401


def test_403(tenant):
    """403: model not allowed."""
    body = refused(tenant.client(scopes={"models": ["another"]}), 403, openai.PermissionDeniedError).response.json()
    assert GENERAL <= set(body) and (body["object"], body["type"]) == ("error", "permission_denied")


def test_404(tenant, house):
    """404: unknown id or path."""
    for path in ("/models/nothing", f"/admin/api-keys/{uuid.uuid4()}", "/nothing"):
        with pytest.raises(openai.NotFoundError) as caught:
            tenant.admin.get(path)
        assert GENERAL <= set(caught.value.response.json()) and caught.value.body["object"] == "error"
    with Mistral(api_key=house.key, server_url=house.base) as client, pytest.raises(mistral_errors.SDKError) as caught:
        client.models.retrieve(model_id="nothing")
    assert caught.value.status_code == 404


def test_400_invalid_model(tenant):
    """400 {"object": "error", "message": "Invalid model: X", "type": "invalid_model", "param": null, "code": "1500"}."""
    body = refused(tenant.service, 400, openai.BadRequestError, model="nothing").response.json()
    assert body["message"].startswith("Invalid model: nothing") and {k: body[k] for k in ("object", "type", "param", "code")} == {"object": "error", "type": "invalid_model", "param": None, "code": "1500"}


def test_400_order_of_roles(tenant, house, strict):
    """400 type invalid_request_message_order, code "3230", "Unexpected role 'user' after role 'tool'"."""
    after_tool = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "tool", "content": "c", "tool_call_id": "abcdefghi"}, {"role": "user", "content": "d"}]
    client = Client(house, tenant.service.key, strict)
    error = refused(client, 400, openai.BadRequestError, messages=after_tool)
    assert (error.type, error.code, error.body["message"]) == ("invalid_request_message_order", "3230", "Unexpected role 'user' after role 'tool'")
    error = refused(client, 400, openai.BadRequestError, messages=[*QUESTION, {"role": "assistant", "content": "b"}])
    assert (error.type, error.code) == ("invalid_request_message_order", "3230")


def test_422(tenant, house, strict):
    """422 {"detail": [{type, loc, msg, input, ctx?}]}, which `mistralai` reads as its HTTPValidationError."""
    for base in (None, strict):
        client = Client(house, tenant.service.key, base)
        with pytest.raises(mistral_errors.HTTPValidationError) as caught:
            client.ask_mistral(temperature=9)
        one, = caught.value.data.detail
        assert (one.loc, one.type, one.input) == (["body", "temperature"], "less_than_equal", 9) and one.msg
        body = refused(client, 422, openai.UnprocessableEntityError, temperature=9).response.json()
        assert set(body["detail"][0]) == {"type", "loc", "msg", "input", "ctx"} and (set(body) == {"detail"}) == (base is not None)


def test_422_of_administration(tenant):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        tenant.admin.new_key(nonsense=1, expiration="tomorrow")
    assert sorted((e["loc"], e["type"]) for e in caught.value.body["detail"])[0] == (["body", "nonsense"], "extra_forbidden")


@pytest.mark.parametrize("fields, loc, kind", [
    ({"messages": [{"role": "user"}]}, ["messages", 0, "user", "content"], "missing"),
    ({"nonsense": 1}, ["nonsense"], "extra_forbidden"),
    ({"model": 5}, ["model"], "string_type"),
    ({"temperature": "hot"}, ["temperature"], "float_type"),
    ({"max_tokens": "many"}, ["max_tokens"], "int_type"),
    ({"max_tokens": -1}, ["max_tokens"], "greater_than_equal"),
    ({"temperature": 9}, ["temperature"], "less_than_equal"),
    ({"top_p": 0}, ["top_p"], "greater_than"),
    ({"tool_choice": "perhaps"}, ["tool_choice"], "literal_error"),
    ({"messages": [{"role": "king", "content": "a"}]}, ["messages", 0], "union_tag_invalid"),
    ({"messages": [{"role": "user", "content": "a", "name": "ada"}]}, ["messages", 0, "user", "name"], "extra_forbidden"),
    ({"stop": ["a"] * 1000}, ["stop"], "too_long"),
])
def test_kinds_of_validation_errors(tenant, house, strict, fields, loc, kind):
    """Common type strings; the role of a message is part of the path: ["body", "messages", 0, "user", "name"]."""
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        Client(house, tenant.service.key, strict).ask(**{k: v for k, v in fields.items() if k != "nonsense"}, extra_body={"nonsense": 1} if "nonsense" in fields else None)
    assert (["body", *loc], kind) in [(e["loc"], e["type"]) for e in caught.value.response.json()["detail"]], caught.value.response.json()


def test_429_and_its_headers(tenant, house, strict):
    """429 {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": null, "code": "1300", "raw_status_code": 429}; Retry-After;
    x-ratelimit-{limit,remaining}-{req,tokens}-minute and x-ratelimit-tokens-query-cost."""
    for base in (None, strict):
        client = Client(house, tenant.client(limits={"requests_per_minute": 1, "tokens_per_minute": 100000}).key, base)
        passed = client.openai.chat.completions.with_raw_response.create(model=house.model, messages=QUESTION, max_tokens=1)
        used = passed.parse().usage
        assert (passed.headers["x-ratelimit-limit-req-minute"], passed.headers["x-ratelimit-remaining-req-minute"], passed.headers["x-ratelimit-limit-tokens-minute"]) == ("1", "0", "100000")
        assert int(passed.headers["x-ratelimit-tokens-query-cost"]) >= used.total_tokens and int(passed.headers["x-ratelimit-remaining-tokens-minute"]) <= 100000 - used.total_tokens
        assert passed.headers["mistral-correlation-id"]
        error = refused(client, 429, openai.RateLimitError)
        body = error.response.json()
        assert body["message"].startswith("Rate limit exceeded") and {k: body[k] for k in ("object", "type", "param", "code", "raw_status_code")} == {
            "object": "error", "type": "rate_limited", "param": None, "code": "1300", "raw_status_code": 429}
        assert 1 <= int(error.response.headers["retry-after"]) <= 61 and error.response.headers["mistral-correlation-id"]


def test_429_is_waited_out_by_the_openai_client(tenant, house):
    """Retry-After is what a client waits for."""
    client = tenant.client(limits={"requests_per_second": 1})
    patient = openai.OpenAI(base_url=house.base + "/v1", api_key=client.key, max_retries=5)
    for _ in range(3):
        assert patient.chat.completions.create(model=house.model, messages=QUESTION, max_tokens=1).usage.completion_tokens == 1


def test_429_capacity(tenant, worker):
    """429 "Service tier capacity exceeded for this model." (3505)."""

    def full(start, index):
        raise worker.full(1500)
        yield

    worker.reset(full)
    error = refused(tenant.service, 429, openai.RateLimitError, model=worker.MODEL)
    assert (error.type, error.code, error.body["message"], error.response.headers["retry-after"]) == ("service_tier_capacity_exceeded", "3505", "Service tier capacity exceeded for this model.", "2")


def test_500_503_and_504(tenant, house, worker):
    """500, 502, 503, 504: generic."""

    def failing(code):
        def script(start, index):
            raise Refusal(code, "it is so")
            yield

        return script

    for code, status in ((grpc.StatusCode.INTERNAL, 500), (grpc.StatusCode.UNAVAILABLE, 503), (grpc.StatusCode.DEADLINE_EXCEEDED, 504)):
        worker.reset(failing(code))
        body = refused(tenant.service, status, openai.InternalServerError, model=worker.MODEL).response.json()
        assert GENERAL <= set(body) and (body["object"], body["raw_status_code"]) == ("error", status)


def test_409(tenant):
    """409: what is there already. (The contract has it of fine-tuning; administration has it here.)"""
    with pytest.raises(openai.ConflictError) as caught:
        tenant.admin.post("/admin/workspaces", {"name": tenant.workspace["name"]})
    assert GENERAL <= set(caught.value.response.json()) and caught.value.type == "already_exists"
