# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The program `bora` where the answers are those of other versions: a gateway with a keys service whose answers are written here."""
import csv
import http.client
import io
import json
import types
import urllib.request

import pytest

from command_line import FAILED, Cli
from conftest import PACE, lone_gateway
from scripted_keys import ScriptedKeys

KEY = "bora_admin_" + "x" * 43


@pytest.fixture(scope="module")
def keys(grpc_modules):
    keys = ScriptedKeys(grpc_modules)
    yield keys
    keys.close()


@pytest.fixture(scope="module")
def gateway(keys, tmp_path_factory):
    with lone_gateway(keys.port, tmp_path_factory.mktemp("gateway") / "log") as gateway:
        yield gateway


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
