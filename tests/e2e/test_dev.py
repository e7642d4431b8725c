# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What a person types: `./dev up` with its answer and the lines it prints, status, logs, and down, which stops nothing else."""
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from conftest import PACE, ROOT, another_gateway, until

NAMES = ("redis", "redis-limits", "keys", "worker", "gateway")


def dev(house, *arguments):
    return subprocess.run([str(ROOT / "dev"), *arguments], env=house.environment, capture_output=True, text=True, timeout=120 * PACE)


@pytest.fixture(scope="module")
def shown(house):
    """What `up` writes, in the pieces in which it came."""
    process = subprocess.Popen([sys.executable, str(ROOT / "tools/house.py"), "up"], env=house.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    pieces = []
    while piece := os.read(process.stdout.fileno(), 65536):
        pieces.append(piece.decode())
    assert process.wait(60) == 0, "".join(pieces)
    return pieces


def test_up_streams_the_answer_to_a_question(shown):
    text = "".join(shown)
    question, answer = text.split("    > ", 1)[1].split("\n", 1)
    assert "capital of France?" in question and "Paris" in answer
    told = [i for i, piece in enumerate(shown) if "    > " in piece][0]
    assert len(shown) - told > 3, shown[told:]  # it came as it was made, not at the end


def test_up_prints_addresses_and_the_key(house, shown):
    text = "".join(shown)
    for line in (rf"HTTP +{re.escape(house.base)}/v1$", rf"gRPC +127\.0\.0\.1:{house.ports['grpc']}$", rf"model +{house.model}\b", rf"key +{re.escape(house.key)} "):
        assert re.search(rf"(?m)^    {line}", text), (line, text)


def test_a_build_for_a_log_tells_each_tenth_and_what_is_no_progress(tmp_path):
    """`up` is not silent for minutes where there is no terminal."""
    progress = "ninja: Entering directory `x'\n" + "".join(f"    [{i}/40] Building C object a{i}.c.o\n" for i in range(1, 41)) + "a.c:1:1: warning: odd\n"
    function = re.search(r"^tenths\(\) .*?^}", (ROOT / "dev").read_text(), re.DOTALL | re.MULTILINE)[0]
    done = subprocess.run(["bash", "-c", f"{function}; tenths"], input=progress, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"    {10 * i} % built" for i in range(1, 11)] + ["a.c:1:1: warning: odd"]


def test_status_for_people(house):
    done = dev(house, "status")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    for name, line in zip(NAMES, lines):
        assert re.search(rf"^{name} +ok +pid {house.pid(name)} +\d+ MiB +127\.0\.0\.1:\d+", line), line
    assert house.model in lines[3] and re.search(r"running \d+, waiting \d+, kv_tokens_used \d+", lines[3])
    assert f"grpc 127.0.0.1:{house.ports['grpc']}" in lines[4]


def test_status_says_what_is_wrong(house):
    house.kill("worker")
    try:
        done = until(lambda: (d := dev(house, "status")).stdout.count(" not ready ") and d, "the gateway has noticed")
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        assert re.search(r"^worker +stopped +pid -", lines[3]) and re.search(r"^gateway +not ready .*worker", lines[4]), lines
    finally:
        house.up()


def test_what_starts_beside_a_redis_without_a_socket_finds_it(house):
    """One that an older house started has none; and files can go."""
    for name in ("redis", "redis-limits"):
        (house.state / f"run/{name}.sock").unlink()
    for name in ("keys", "gateway"):
        house.kill(name)
    try:
        house.up()
        assert house.chat(max_tokens=1)[0] == 200
    finally:
        house.down()
        house.up()
    assert "unix:" in open(f"/proc/{house.pid('gateway')}/cmdline").read()


def test_logs_show_and_follow(house):
    shown = dev(house, "logs", "gateway", "--no-follow")
    assert shown.returncode == 0 and all(json.loads(line)["event"] for line in shown.stdout.splitlines() if line.startswith("{"))
    follower = subprocess.Popen([str(ROOT / "dev"), "logs", "gateway"], env=house.environment, stdout=subprocess.PIPE, text=True)
    try:
        request_id = house.chat(max_tokens=1)[1]["x-request-id"]
        for line in follower.stdout:  # ends with the test's time, not before
            if request_id in line and "request done" in line:
                break
    finally:
        follower.send_signal(signal.SIGTERM)
        follower.wait(30)
    wrong = dev(house, "logs", "nothing")
    assert wrong.returncode != 0 and "gateway" in wrong.stderr and "Traceback" not in wrong.stderr


def test_down_stops_what_up_started_and_nothing_else(house, tmp_path):
    """Programs of the same names go on, also one whose number stands in an old note of ours."""
    files = {name: (house.state / "secrets" / name).read_text() for name in ("demo-key", "admin-key")}
    pids = [house.pid(name) for name in NAMES]
    bystander = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", str(tmp_path / "socket"), "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        with another_gateway(house) as gateway:
            done = dev(house, "down")
            assert done.returncode == 0 and all(name in done.stdout for name in NAMES)
            assert not any(os.path.exists(f"/proc/{pid}") and " Z " not in open(f"/proc/{pid}/stat").read() for pid in pids)
            assert gateway.process.poll() is None and bystander.poll() is None
            (house.state / "run/redis.pid").write_text(f"{bystander.pid} 1")
            done = dev(house, "down")
            assert done.returncode == 0 and "nothing was running" in done.stdout
            assert gateway.process.poll() is None and bystander.poll() is None
        assert {name: (house.state / "secrets" / name).read_text() for name in files} == files
        house.up()
        assert house.chat(max_tokens=1)[0] == 200  # the key of before
    finally:
        bystander.terminate()
        bystander.wait(30)
