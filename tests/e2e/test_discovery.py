# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Which worker a name means, and for how long an announcement counts: announcements that a test writes."""
import pytest

from conftest import until
from scripted_worker import ScriptedWorker

FAR = 10**15  # milliseconds: an announcement that does not run out


@pytest.fixture(scope="module")
def worker(house, tmp_path_factory):
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("discovery"))
    until(lambda: house.send("GET", f"/v1/models/{worker.MODEL}")[0] == 200, "the gateway knows the scripted worker")
    worker.reset(lambda start, index: worker.text(start.model, [-1]))
    yield worker
    worker.stop()


@pytest.fixture
def announce(worker):
    """announce(id, score=..., **fields of the announcement): another one of the same address."""
    ids = []

    def write(worker_id, score=FAR, draining=False, running=0, **model):
        address = worker.address
        message = worker.pb.WorkerAnnouncement(worker_id=worker_id, address=address, draining=draining, load=worker.pb.Load(sequences_max=8, running=running), rank_count=1,
                                               model=worker.pb.ModelDescription(**{"context_tokens": 1000, "capabilities": ["completion_chat"], **model}))
        worker.redis.command("SET", f"bora:worker:{worker_id}", message.SerializeToString())
        worker.redis.command("ZADD", "bora:workers", score, worker_id)
        ids.append(worker_id)

    yield write
    for worker_id in ids:
        worker.redis.command("ZREM", "bora:workers", worker_id)


def listed(house):
    return [m["id"] for m in house.send("GET", "/v1/models")[2]["data"]]


def answered_by(house, name):
    status, _, body = house.chat(model=name)
    return body["model"] if status == 200 else (status, body["code"])


def test_a_models_own_name_comes_before_aliases_and_tiers(house, announce):
    announce("a-near", name="near", aliases=["shared"], tier="wide")
    announce("b-wide", name="wide", aliases=["near", "shared-too"], running=0)
    until(lambda: {"near", "wide"} <= set(listed(house)), "both are known")
    for _ in range(6):  # whoever is first in turn
        assert answered_by(house, "near") == "near"
        assert answered_by(house, "wide") == "wide"
    assert answered_by(house, "shared") == "near" and answered_by(house, "shared-too") == "wide"


def test_stale_and_draining_announcements_do_not_count(house, announce):
    announce("stale", score=1000, name="stale-model")
    announce("draining", draining=True, name="draining-model")
    announce("fresh", name="fresh-model")
    until(lambda: "fresh-model" in listed(house), "the fresh one is known")
    assert not {"stale-model", "draining-model"} & set(listed(house))
    assert answered_by(house, "stale-model") == (400, "1500")  # never served
    assert answered_by(house, "draining-model")[0] in (400, 503)


def test_a_name_that_was_served_is_503_when_its_worker_has_gone(house, announce, worker):
    announce("short", name="short-lived")
    until(lambda: "short-lived" in listed(house), "it is known")
    worker.redis.command("ZREM", "bora:workers", "short")
    until(lambda: "short-lived" not in listed(house), "it is forgotten", 15)
    assert answered_by(house, "short-lived")[0] == 503
    assert answered_by(house, "never-lived") == (400, "1500")

