# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The program `bora` where the answers are those of other versions: a gateway with a keys service whose answers are written here."""
import csv
import http.client
import io
import json
import re
import subprocess
import types
import urllib.request

import pytest

from command_line import BORA, FAILED, Cli, Terminal
from conftest import PACE
from scripted_keys import gateway, keys  # noqa: F401 (fixtures)

KEY = "bora_admin_" + "x" * 43


@pytest.fixture
def cli(gateway, tmp_path):
    return Cli(types.SimpleNamespace(ports={"grpc": gateway.grpc}, key=KEY, admin_key=KEY), tmp_path)


# ---- the ledger of a keys service that tells `has_more` alone ------------------------------------------------------------

TOTAL, PAGE = 25, 10


def older_ledger(modules, asked, more_for_ever=False):
    """Pages of PAGE entries at most, whatever was asked for; `has_more`, and never `next_after`."""
    def answer(request):
        asked.append(request.after)
        first = int(request.after.split("-")[0]) + 1 if request.HasField("after") else 1
        last = min(TOTAL, first + PAGE - 1)
        entries = [modules.usage.LedgerEntry(id=f"{i}-0", time="2026-11-30T00:00:00Z", request_id=f"{i:032}", model="m", input_tokens=i, kind="settled") for i in range(first, last + 1)]
        return modules.usage.ListLedgerResponse(entries=entries, has_more=last < TOTAL or more_for_ever, currency="EUR")

    return answer


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_from_an_older_keys_service_is_whole(cli, keys, grpc_modules, form):
    asked = []
    keys.reset(ListLedger=older_ledger(grpc_modules, asked))
    text = cli.run("usage", "export", "-", "--format", form)
    rows = list(csv.DictReader(io.StringIO(text))) if form == "csv" else [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in rows] == [f"{i}-0" for i in range(1, TOTAL + 1)]
    assert asked == ["", "10-0", "20-0"]


def test_an_export_that_is_told_of_more_and_not_where_fails(cli, keys, grpc_modules, tmp_path):
    keys.reset(ListLedger=older_ledger(grpc_modules, [], more_for_ever=True))
    file = tmp_path / "ledger.csv"
    cli.run("usage", "export", file, status=FAILED)
    assert "there is more behind 25-0" in cli.errors and "--resume" in cli.errors
    assert not file.exists() and (tmp_path / "ledger.csv.partial").read_text().count("\n") == TOTAL + 1


def test_every_page_of_an_export_is_of_the_organization_that_was_named(cli, keys, grpc_modules):
    acme, asked, pages = "22222222-2222-4222-8222-222222222222", [], older_ledger(grpc_modules, [])

    def answer(request):
        asked.append(request.organization_id)
        return pages(request)

    keys.reset(ListOrganizations=grpc_modules.tenants.ListOrganizationsResponse(organizations=[grpc_modules.tenants.Organization(id=acme, name="Acme")]), ListLedger=answer)
    assert cli.run("usage", "export", "-", "--organization", "Acme").count("\n") == TOTAL + 1
    assert asked == [acme] * 3


def download(gateway, query):
    request = urllib.request.Request(f"{gateway.base}/v1/admin/usage/ledger?{query}", headers={"Authorization": f"Bearer {KEY}"})
    return urllib.request.urlopen(request, timeout=60 * PACE).read().decode()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_download_from_an_older_keys_service_is_whole(gateway, keys, grpc_modules, form):
    asked = []
    keys.reset(ListLedger=older_ledger(grpc_modules, asked))
    text = download(gateway, f"format={form}")
    rows = list(csv.DictReader(io.StringIO(text, newline=""))) if form == "csv" else [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in rows] == [f"{i}-0" for i in range(1, TOTAL + 1)]
    assert asked == ["", "10-0", "20-0"]


def test_a_download_that_is_told_of_more_and_not_where_breaks(gateway, keys, grpc_modules):
    keys.reset(ListLedger=older_ledger(grpc_modules, [], more_for_ever=True))
    with pytest.raises(http.client.IncompleteRead):
        download(gateway, "format=csv")


# ---- names from before they were looked at ---------------------------------------------------------------------------------

EVIL = "lab\n\x1b[2Jevil\x9b0m\x7f\r\t\u2028\u202eend"
SHOWN = "lab??[2Jevil?0m?????end"


def evil_house(m):
    """Answers in which every text that somebody once chose is EVIL."""
    limits = m.keys.Limits(requests_per_minute=5)
    models = [m.keys.ModelLimits(model=EVIL, limits=limits)]
    key = m.keys.ApiKey(key_id="k-1", prefix="0123456789ab", name=EVIL, status="active", role="service", workspace_name=EVIL, workspace_id="w-1", user_id=EVIL, created_by=EVIL,
                        scopes=m.keys.Scopes(models=[EVIL]), model_limits=models, limits=limits)
    workspace = m.tenants.Workspace(id="11111111-1111-4111-8111-111111111111", name=EVIL, organization_id="o-1", model_limits=models)
    organization = m.tenants.Organization(id="22222222-2222-4222-8222-222222222222", name=EVIL, model_limits=models)
    twin = m.tenants.Organization(id="33333333-3333-4333-8333-333333333333", name=EVIL)
    price = m.keys.ModelPrice(model=EVIL, input_per_million=1, output_per_million=2)
    return {
        "ListKeys": m.keys.ListKeysResponse(keys=[key]), "GetKey": key, "UpdateKey": key, "CreateKey": m.keys.CreateKeyResponse(key="bora_0123456789ab_" + "y" * 43, info=key),
        "ListWorkspaces": m.tenants.ListWorkspacesResponse(workspaces=[workspace]), "GetWorkspace": workspace, "UpdateWorkspace": workspace,
        "ListOrganizations": m.tenants.ListOrganizationsResponse(organizations=[organization, twin]), "GetOrganization": organization, "UpdateOrganization": organization,
        "ListAudit": m.tenants.ListAuditResponse(entries=[m.tenants.AuditEntry(id="1-0", time="2026-11-30T00:00:00Z", actor=EVIL, action="key.create", target=EVIL, target_name=EVIL, detail=json.dumps({"name": EVIL}, ensure_ascii=False), address=EVIL)]),
        "GetMe": m.tenants.Me(role="admin", id=EVIL, api_key=m.tenants.MeKey(id="k-1", name=EVIL), workspace=m.tenants.MePlace(id="w-1", name=EVIL), organization=m.tenants.MePlace(id="o-1", name=EVIL)),
        "GetRateLimit": m.usage.RateLimit(levels=[m.usage.RateLimitLevel(scope="key", name=EVIL, id="k-1", model=EVIL, limits=limits, used=m.keys.Limits(requests_per_minute=1), models=[EVIL])]),
        "GetUsage": m.usage.UsageReport(rows=[m.usage.UsageRow(start="2026-11-30", key_name=EVIL, workspace_name=EVIL, model=EVIL)], currency="\x1b[m"),
        "GetPrices": m.usage.Prices(prices=[price], currency="\x1b[m"), "GetSpendLimit": m.usage.SpendLimit(currency="\x1b[m"),
    }


COMMANDS = [
    ["keys"], ["keys", "--names"], ["keys", "get", "0123456789ab"], ["keys", "update", "0123456789ab", "--name", "x"], ["keys", "create"], ["keys", "disable", "0123456789ab"],
    ["workspaces"], ["workspaces", "--names"], ["workspaces", "get", "1111"], ["orgs"], ["orgs", "--names"], ["orgs", "get", "2222"], ["orgs", "delete", "2222"],
    ["workspaces", "get", "lab"], ["audit"], ["whoami"], ["status"], ["limits"], ["limits", "--key", "0123456789ab"], ["usage"], ["usage", "--by", "key,model,workspace"], ["prices"], ["spend"],
]


@pytest.mark.parametrize("form", [[], ["--json"], ["--quiet"]], ids=["table", "json", "quiet"])
@pytest.mark.parametrize("words", COMMANDS, ids=ascii)
def test_what_others_are_called_steers_no_terminal(cli, keys, grpc_modules, words, form):
    keys.reset(**evil_house(grpc_modules))
    done = subprocess.run([BORA, *words, *form], env=cli.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * PACE, check=False)
    said = done.stdout + done.stderr
    lines = said.replace("0123456789ab\t", "").replace("111\t", "").replace("222\t", "").replace("333\t", "")  # --names
    assert not set(lines) & set(EVIL) - set(SHOWN) - {"\n"}, ascii(said)
    assert "lab\n" not in said and said.count("\n") < 40, ascii(said)
    if form == ["--json"] and done.returncode == 0 and done.stdout:
        json.loads(done.stdout)


def test_names_are_still_told(cli, keys, grpc_modules):
    keys.reset(**evil_house(grpc_modules))
    assert SHOWN[:20] in cli.run("keys") and SHOWN in cli.run("keys", "get", "0123456789ab") and SHOWN in cli.run("limits", "--key", "0123456789ab")
    assert cli.json("keys", "get", "0123456789ab")["name"] == EVIL
    terminal = Terminal(cli.environment, "keys", "revoke", "0123456789ab")
    terminal.expect(re.escape(f"'{SHOWN}' of workspace '{SHOWN}'?"))
    terminal.type("n\r")
    assert terminal.end() == FAILED
