# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The Python client from this tree, a scripted gateway for each test, and a real house for those that ask for one."""
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients/python"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bora  # noqa: E402
from scripted_gateway import KEY, ScriptedGateway  # noqa: E402

_spec = importlib.util.spec_from_file_location("e2e_conftest", ROOT / "tests/e2e/conftest.py")
e2e = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(e2e)


@pytest.fixture
def gateway():
    """gateway(script) starts one; all are stopped at the end."""
    started = []

    def start(script, **options):
        started.append(ScriptedGateway(script, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def connect(gateway):
    """connect(script) -> (client, gateway)"""
    clients = []

    def start(script, **options):
        server = gateway(script)
        clients.append(bora.Client(server.target, api_key=KEY, model="scripted", **options))
        return clients[-1], server

    yield start
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = e2e.House(tmp_path_factory.mktemp("house"))
    yield house
    house.down()
