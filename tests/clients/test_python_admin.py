# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""bora.Admin against a real house: every method, and that what changes something is asked for once."""
import datetime
from concurrent import futures

import grpc
import pytest

import bora
from bora import admin as module
from bora.v1 import usage_pb2
from conftest import e2e
from scripted_gateway import KEY
from test_readme import blocks_of_readme


@pytest.fixture(scope="module")
def admin(house):
    with bora.Admin(f"127.0.0.1:{house.ports['grpc']}", key=house.admin_key) as admin:
        yield admin


def test_a_key_from_its_making_to_its_end(house, admin):
    made = admin.create_key(name="lab", role="service", limits={"requests_per_minute": 60}, model_limits=[{"model": "small", "limits": {"concurrent_streams": 4}}],
                            scopes={"models": ["small"], "endpoints": ["chat", "models", "usage"]}, expiration=datetime.date(2031, 12, 31), user_id="ada")
    assert made.key.split("_")[1] == made.info.prefix and made.info.role == "service" and made.info.user_id == "ada" and made.info.expiration_date.startswith("2032-01-01")
    assert bora.to_dict(made.info)["model_limits"] == [{"model": "small", "limits": {"concurrent_streams": 4}}]
    with bora.Admin(admin._client.target, key=made.key) as own:
        assert (own.me().role, own.me().api_key.name) == ("service", "lab")
        with pytest.raises(bora.AuthenticationError):
            list(own.keys())
    changed = admin.update_key(made.info.prefix, name="laboratory", limits={"tokens_per_day": 1000}, model_limits=[], expiration="")
    assert (changed.name, bora.to_dict(changed.limits), changed.expiration_date) == ("laboratory", {"tokens_per_day": 1000}, "") and not changed.model_limits
    assert admin.update_key(made.key_id, disabled=True).disabled and not admin.update_key(made.key_id, disabled=False).disabled
    second = admin.rotate_key(made.key_id, overlap_seconds=0)
    assert second.key != made.key and second.key_id == made.key_id
    level = next(level for level in admin.rate_limit(key_id=made.key_id).levels if level.scope == "key")
    assert level.limits.tokens_per_day == 1000
    admin.revoke_key(made.key_id)
    assert admin.key(made.key_id).status == "revoked"
    with pytest.raises(bora.NotFoundError):
        admin.key("nosuchkey000")
    with pytest.raises(bora.InvalidRequestError) as caught:
        admin.create_key(role="boss")
    assert caught.value.field == "role"
    with pytest.raises(TypeError, match="limits.tokens_per_year"):
        admin.create_key(limits={"tokens_per_year": 5})


def test_lists_of_several_pages(admin, monkeypatch):
    place = admin.create_workspace("many keys", key_limits={"requests_per_second": 5})
    assert admin.workspace(place.id).key_limits.requests_per_second == 5
    made = [admin.create_key(name=f"page {i}", workspace_id=place.id).info.prefix for i in range(5)]
    monkeypatch.setattr(module, "PAGE", 2)
    assert [key.prefix for key in admin.keys(workspace_id=place.id)] == made
    places = [one.name for one in admin.workspaces()]
    assert places.count("many keys") == 1 and len(places) > 1
    monkeypatch.setattr(module, "PAGE", 3)
    assert [entry.target for entry in admin.audit() if entry.action == "key.create"][:5] == made[::-1]
    today = datetime.datetime.now(datetime.timezone.utc).date()
    assert [entry.target for entry in admin.audit(today, action="key", actor="operator")][:5] == made[::-1] and not list(admin.audit(until=today - datetime.timedelta(days=1)))
    assert [entry.action for entry in admin.audit(key_id=made[0])] == ["key.create"]


def test_places_limits_and_money(admin):
    acme = admin.create_organization("Acme", limits={"tokens_per_month": 10_000_000})
    assert acme.id in [one.id for one in admin.organizations()] and admin.organization(acme.id).limits.tokens_per_month == 10_000_000
    assert admin.update_organization(acme.id, name="Acme Ltd").name == "Acme Ltd"
    place = admin.create_workspace("lab", organization_id=acme.id)
    assert admin.update_workspace(place.id, disabled=True, limits={"concurrent_streams": 2}).limits.concurrent_streams == 2
    assert admin.set_spend_limit(12.5, workspace_id=place.id).spend_per_month == 12.5 == admin.spend_limit(workspace_id=place.id).spend_per_month
    assert not admin.set_spend_limit(None, workspace_id=place.id).HasField("spend_per_month")
    admin.delete_workspace(place.id)
    assert "lab" not in [one.name for one in admin.workspaces(organization_id=acme.id)]
    empty = admin.create_organization("empty")
    admin.delete_organization(empty.id)
    with pytest.raises(bora.NotFoundError):
        admin.organization(empty.id)
    assert [entry.action for entry in admin.audit(organization_id=empty.id)] == ["organization.delete", "workspace.create", "organization.create"]
    prices = admin.set_prices("EUR", [{"model": "small", "input_per_million": 1, "output_per_million": 4}])
    assert prices == admin.prices() and [(price.model, price.output_per_million) for price in prices.prices] == [("small", 4)]


def test_usage_and_the_ledger_count_an_answer(house, admin):
    made = admin.create_key(name="counted")
    with bora.Client(admin._client.target, api_key=made.key, model=house.model) as client:
        used = client.chat("hi", max_tokens=4).usage
    entries = e2e.until(lambda: list(admin.ledger(key_id=made.key_id)), "the answer is in the ledger")
    assert [(entry.key_name, entry.key_prefix, entry.output_tokens) for entry in entries] == [("counted", made.info.prefix, used.completion_tokens)]
    today = datetime.datetime.now(datetime.timezone.utc).date()
    report = admin.usage(today, datetime.datetime.now() + datetime.timedelta(days=1), interval="hour", group_by=["key", "model"], key_id=made.key_id)
    assert [(row.key_name, row.model, row.requests) for row in report.rows] == [("counted", house.model, 1)]
    assert not list(admin.ledger(today + datetime.timedelta(days=2)))
    assert [worker.model for worker in admin.workers()] == [house.model]


def test_the_readme_runs_as_it_is(house, admin, monkeypatch, capsys):
    monkeypatch.setenv("BORA_ADMIN_KEY", house.admin_key)
    monkeypatch.setenv("BORA_ADDRESS", admin._client.target)
    block, = [block for block in blocks_of_readme() if "bora.Admin" in block]
    exec(compile(block, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "{'requests_per_minute': 120, 'spend_per_month': 25.0}" in said and said.endswith("key.revoke\n")


def test_a_key_is_needed(monkeypatch):
    for name in ("BORA_ADMIN_KEY", "BORA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(bora.BoraError, match="BORA_ADMIN_KEY"):
        bora.Admin()


def test_what_changes_something_is_asked_for_once():
    calls = []

    class Away(grpc.GenericRpcHandler):
        def service(self, details):
            calls.append(details.method.rsplit("/", 1)[1])
            return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "away"))

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Away()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with bora.Admin(f"127.0.0.1:{port}", key=KEY, max_retries=2) as admin:
            for act, times in ((lambda: admin.create_key(name="x"), 1), (lambda: admin.revoke_key("x"), 1), (lambda: admin.set_prices("EUR", []), 1), (admin.prices, 3), (lambda: list(admin.keys()), 3)):
                calls.clear()
                with pytest.raises(bora.UnavailableError):
                    act()
                assert len(calls) == times
    finally:
        server.stop(None)


@pytest.mark.parametrize("pages, ids", [([(1, True), (2, False)], ["1-0", "2-0"]), ([(1, True), (None, True)], ["1-0"]), ([(None, True)], [])])
def test_a_ledger_that_does_not_say_where_it_goes_on_is_read_to_its_end_or_fails(pages, ids):
    """As an earlier keys service answers: `has_more` alone."""
    rest, asked = list(pages), []

    class Earlier(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(self.answer, request_deserializer=usage_pb2.ListLedgerRequest.FromString, response_serializer=lambda page: page.SerializeToString())

        def answer(self, request, context):
            asked.append(request.after)
            number, more = rest.pop(0)
            return usage_pb2.ListLedgerResponse(entries=[usage_pb2.LedgerEntry(id=f"{number}-0")] if number else [], has_more=more)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Earlier()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with bora.Admin(f"127.0.0.1:{port}", key=KEY) as admin:
            entries, found = admin.ledger(), []
            if pages[-1][1]:
                with pytest.raises(bora.BoraError, match="does not say where"):
                    for entry in entries:
                        found.append(entry.id)
            else:
                found = [entry.id for entry in entries]
    finally:
        server.stop(None)
    assert found == ids and asked == ["", "1-0"][:len(pages)]
