# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What somebody new meets: the lines that `up` prints work as they stand, mistakes stop nothing, and every state says what to do."""
import json
import os
import re
import shlex
import subprocess
import sys

import openai
import pytest

from conftest import ROOT, WITH_MODELS_FILE, free_ports, until

sys.path.insert(0, str(ROOT / "tools"))
import house as house_program  # noqa: E402
import house_models  # noqa: E402

QUESTION = house_program.QUESTION


@pytest.fixture(scope="module")
def greeting(house):
    done = house.command("up")
    assert done.returncode == 0, done.stderr
    return done.stdout


def line_with(greeting, words):
    return next(line.strip() for line in greeting.splitlines() if words in line and not line.strip().startswith("#"))


def run_line(line, **environment):
    return subprocess.run(["bash", "-c", line], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


def test_printed_curl_line_works(greeting):
    done = run_line(line_with(greeting, "curl "))
    assert "HTTP/1.1 200" in done.stdout and "x-ratelimit-remaining-tokens-minute" in done.stdout.lower() and "data: [DONE]" in done.stdout, done
    assert "Paris" in "".join(re.findall(r'"content":"([^"]*)"', done.stdout))


@pytest.mark.parametrize("client", ["openai", "mistralai"])
def test_printed_client_lines_work(greeting, client):
    line = line_with(greeting, f"from {client}")
    python, rest = line.split(" ", 1)
    assert python.endswith("/venv/bin/python") and f"python3 -m venv {python.removesuffix('/bin/python')} && " in greeting
    done = run_line(f"{shlex.quote(sys.executable)} {rest}")
    assert done.returncode == 0 and "Paris" in done.stdout, done


def test_printed_program_line_works(greeting):
    line = line_with(greeting, "bora chat")
    assert "--model smollm2-135m-instruct" in line
    done = run_line(line)
    assert done.returncode == 0 and "Paris" in done.stdout and not done.stderr, done


def test_printed_line_makes_a_key_that_works(house, greeting):
    done = run_line(line_with(greeting, "key create"))
    assert done.returncode == 0, done
    status, headers, _ = house.chat(key=done.stdout.strip(), max_tokens=1)
    assert status == 200 and headers["x-ratelimit-limit-req-minute"] == "60"


def test_question_is_shown_to_be_counted(greeting):
    tokens, read, answered = map(int, re.search(r"1 request of 600 and (\d+) tokens of 1,000,000 a minute \((\d+) tokens read, (\d+) answered\)", greeting).groups())
    assert tokens == read + answered and read > 0 and answered > 0
    assert "600 requests and 1,000,000 tokens a minute" in line_with(greeting, "key    ")
    assert "everything runs already" in greeting


def test_what_the_printed_lines_need_is_installed():
    packages = [tuple(line.split()) for line in (ROOT / "tools/packages.txt").read_text().splitlines() if not line.startswith("#")]
    assert {("run", "curl"), ("run", "python3"), ("run", "python3-venv")} <= set(packages)


GOOD = "[smollm2-135m-instruct]\npath = {path}\naliases = smollm2\n"


@pytest.mark.parametrize("arguments, more, says", [((), "[mine]\npath = a.gguf\nalias = m\n", "unknown key 'alias'"), (("--model", "mine"), "[mine]\npath = {path}\ntier = huge\n", "tier 'huge'"),
                                                   (("--model", "mine"), "[mine]\npath = {path}\ncontext = 9000\n", "1..8192"), (("--model", "/etc"), "", "is a folder"), (("--model", "mine"), "[mine]\npath = {path}\nlayout = absent.jinja\n", "absent.jinja"), (("--model", "mine"), "", "there is no file")])
def test_mistake_in_models_file_stops_nothing(house, tmp_path, arguments, more, says):
    file = tmp_path / "models.ini"
    file.write_text((GOOD + more).replace("{path}", str(house_models.fetch_model())))
    pids = [house.pid(name) for name in house_program.names_of({})]
    remembered = (house.state / "config.json").read_text()
    done = subprocess.run([sys.executable, "-c", WITH_MODELS_FILE, str(file), "up", "--no-question", *arguments, "--threads", "3"], env=house.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and says in done.stderr and "stopping" not in done.stdout, done
    assert len(done.stderr.strip().splitlines()) == 1
    assert [house.pid(name) for name in house_program.names_of({})] == pids and house.chat(max_tokens=1)[0] == 200
    assert (house.state / "config.json").read_text() == remembered


def test_file_of_models_ini_is_that_model(house):
    done = house.command("up", "--no-question", "--model", str(house_models.fetch_model()))
    assert done.returncode == 0 and "is the model smollm2-135m-instruct of models.ini" in done.stdout and "stopping" not in done.stdout, done
    assert house.send("GET", "/v1/models/smollm2")[2]["default_model_temperature"] == 0.7


def test_port_restarts_only_who_depends_on_it(house):
    before = {name: house.pid(name) for name in house_program.names_of({})}
    house.ports["http"] = free_ports(1)[0]
    house.base = f"http://127.0.0.1:{house.ports['http']}"
    house.up()
    assert {name for name in before if house.pid(name) != before[name]} == {"gateway"}
    assert house.chat(max_tokens=1)[0] == 200


@pytest.mark.parametrize("port, names", [("http", ["gateway"]), ("grpc", ["gateway"]), ("keys", ["keys", "gateway"]), ("keys_metrics", ["keys"]), ("worker", ["worker"]), ("worker_metrics", ["worker"]),
                                         ("redis", ["redis", "keys"]), ("redis_limits", ["redis-limits", "keys", "worker", "gateway"])])
def test_who_depends_on_a_port(port, names):
    before = {"ports": dict(house_program.PORTS), "workers": {"worker": {"section": "a", "section_text": None, "model_file": None}}, "threads": None}
    assert house_program.what_changed(before, before) == [] and house_program.what_changed({}, before) == []
    assert house_program.what_changed(before, {**before, "ports": {**house_program.PORTS, port: 1}}) == names


def test_port_base_moves_the_house_and_one_flag_one_port():
    options = house_program.parser().parse_args(["up", "--port-base", "31000", "--redis-port", "7"])
    ports = house_program.chosen_config(options, {})["ports"]
    assert ports == {"http": 31000, "grpc": 31001, "keys": 31002, "worker": 31003, "redis": 7, "keys_metrics": 31005, "worker_metrics": 31006, "redis_limits": 31007}


def test_tiers_are_workers_of_their_own(monkeypatch, tmp_path):
    models = tmp_path / "models.ini"
    models.write_text("".join(f"[{tier}-model]\npath = {tier}.gguf\ntier = {tier}\n" for tier in ("small", "medium", "large")))
    monkeypatch.setattr(house_models, "MODELS_FILE", models)
    options = house_program.parser().parse_args(["up", "--tiers", "--port-base", "31000"])
    config = house_program.chosen_config(options, {})
    assert {name: worker["section"] for name, worker in config["workers"].items()} == {"worker": "small-model", "worker-medium": "medium-model", "worker-large": "large-model"}
    assert len(set(config["ports"].values())) == 12 and house_program.names_of(config) == ["redis", "redis-limits", "keys", "worker", "worker-medium", "worker-large", "gateway"]
    again = house_program.chosen_config(house_program.parser().parse_args(["up"]), config)
    assert again["workers"] == config["workers"] and house_program.what_changed(config, again) == []
    one = house_program.chosen_config(house_program.parser().parse_args(["up", "--model", "small-model"]), config)
    assert house_program.names_of(one) == ["redis", "redis-limits", "keys", "worker", "gateway"] and house_program.what_changed(config, one) == ["worker-medium", "worker-large"]
    with pytest.raises(house_program.Failure, match="choose either"):
        house_program.chosen_config(house_program.parser().parse_args(["up", "--tiers", "--model", "small-model"]), {})


def test_worker_options_come_behind_two_dashes(house):
    before = house.pid("gateway")
    done = house.command("up", "--no-question", "--", "--kv-type", "int8", "--queue-max", "3")
    assert done.returncode == 0 and "stopping worker" in done.stdout and house.pid("gateway") == before, done.stderr
    assert b"--kv-type\x00int8" in open(f"/proc/{house.pid('worker')}/cmdline", "rb").read()
    assert house.metric("worker-metrics", "bora_engine_waiting_max") == 3 and house.metric("worker-metrics", "bora_engine_running_max") == 32
    wrong = house.command("up", "--no-question", "--", "--kv-type", "int7")
    assert wrong.returncode == 1 and "int7" in wrong.stderr and house.chat(max_tokens=1)[0] == 200
    worker = house.pid("worker")
    assert house.command("up", "--no-question").returncode == 0 and house.pid("worker") == worker  # remembered
    assert house.command("up", "--no-question", "--").returncode == 0 and house.pid("worker") != worker
    done = subprocess.run([sys.executable, str(ROOT / "tools/house.py"), "up", "--no-question"], env={**house.environment, "BORA_KV_TYPE": "int8"}, capture_output=True, text=True)
    assert done.returncode == 0 and "BORA_KV_TYPE: not used here" in done.stdout


def test_killed_process_is_named_with_what_to_do(house):
    assert "./dev up" not in house.command("status").stdout
    house.kill("worker")
    done = house.command("status")
    assert done.returncode == 1 and "ended without ./dev down: worker (why: ./dev logs worker). Start what is missing: ./dev up" in done.stdout
    house.up()
    until(lambda: house.chat(max_tokens=1)[0] == 200, "the worker serves again", 10)


def test_reader_that_leaves_is_no_traceback(house):
    process = subprocess.Popen([sys.executable, str(ROOT / "tools/house.py"), "status"], env=house.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(60) == 1
    process.stderr.close()


def test_unknown_command_points_at_the_help():
    done = subprocess.run(["bash", str(ROOT / "dev"), "frob"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr == "dev: unknown command 'frob'; ./dev help lists them\n"


@pytest.mark.parametrize("change, status, says", [({"extra_body": {"no_such_field": 4}}, 422, "body.no_such_field: Extra inputs"), ({"temperature": 5}, 422, "body.temperature: "), ({"messages": []}, 422, "body.messages: ")])
def test_openai_client_shows_why(house, change, status, says):
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**{"model": house.model, "messages": [{"role": "user", "content": "a"}], **change})
    assert caught.value.status_code == status and says in caught.value.response.json()["message"] and says in str(caught.value)


def test_openai_client_shows_that_the_key_is_wrong(house):
    with pytest.raises(openai.AuthenticationError) as caught:
        openai.OpenAI(base_url=house.base + "/v1", api_key="bora_wrong", max_retries=0).models.list()
    assert "Unauthorized" in str(caught.value)


def refusal_logged(house, headers):
    def found():
        return next((event for event in map(json.loads, house.log("gateway").splitlines()) if event.get("request_id") == headers["x-request-id"]), None)

    return until(found, "the request is in the gateway's log")


@pytest.mark.parametrize("fields, reason", [({"temperature": 5}, "body.temperature: less_than_equal"), ({"no_such_field": 4}, "body.no_such_field: extra_forbidden"), ({"model": "gpt"}, "Invalid model: gpt")])
def test_log_says_why_a_request_was_refused(house, fields, reason):
    assert refusal_logged(house, house.chat(**fields)[1])["reason"] == reason


@pytest.mark.parametrize("fields, reason", [({"secret" * 50: "confidential"}, "body." + ("secret" * 50)[:59] + ": extra_forbidden"),
                                            ({"messages": [{"role": "confidential", "content": "confidential"}]}, "body.messages.0: union_tag_invalid")])
def test_log_keeps_little_of_what_the_client_wrote(house, fields, reason):
    event = refusal_logged(house, house.chat(**fields)[1])
    assert event["reason"] == reason and "confidential" not in json.dumps(event)


def test_healthy_start_warns_of_nothing(house):
    house.down()
    logs = {name: len(house.log(name)) for name in ("keys", "worker", "gateway")}
    house.up()
    assert not [line for name, length in logs.items() for line in house.log(name)[length:].splitlines() if '"level":"warn"' in line or "\\n" in line]


def test_readme_makes_a_key(house):
    """The curl lines of the README, for this house's port and folder."""
    text = (ROOT / "README.md").read_text()
    line = re.search(r"^    (curl .*\\\n.*)$", text, re.MULTILINE).group(1)
    done = run_line(line.replace("127.0.0.1:8080", f"127.0.0.1:{house.ports['http']}").replace(".bora/", f"{house.state}/"))
    assert done.returncode == 0, done
    assert house.chat(key=json.loads(done.stdout)["key"])[1]["x-ratelimit-limit-tokens-minute"] == "20000"
