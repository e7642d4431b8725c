# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The program `bora` against a house: every command, its JSON, its exit status, and where its keys come from."""
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import termios
import time

import pytest

from command_line import BORA, FAILED, NOT_AUTHORISED, NOT_FOUND, OK, RATE_LIMITED, UNAVAILABLE, USAGE, Cli, Terminal, clean_environment
from conftest import BUILD, PACE, free_ports, until


@pytest.fixture
def cli(house, tmp_path):
    return Cli(house, tmp_path)


def number(text):
    return int(text.replace(",", ""))


# ---- help, manual, completion -------------------------------------------------------------------------------------------


def all_commands():
    """["keys create", "chat", ...] as the overview lists them."""
    overview = subprocess.run([BORA, "--help"], capture_output=True, text=True, check=True).stdout
    found = []
    for line in overview.split("Environment:")[0].splitlines():
        noun = re.match(r"  (\w+) +(.*)", line)
        if not noun:
            continue
        verbs = subprocess.run([BORA, noun[1], "--help"], capture_output=True, text=True, check=True).stdout
        several = re.findall(rf"^  {noun[1]} (\w+)", verbs, re.M)
        found += [f"{noun[1]} {verb}" for verb in several] or [noun[1]]
    return found


def test_every_command_has_help_and_a_place_in_the_manual(tmp_path):
    commands = all_commands()
    assert {"chat", "complete", "embed", "keys create", "keys rotate", "limits set", "usage export", "config set", "model convert", "grammar check"} <= set(commands)
    manual = subprocess.run([BORA, "help", "--man"], capture_output=True, text=True, check=True).stdout
    for command in commands:
        told = subprocess.run([BORA, *command.split(), "--help"], capture_output=True, text=True, check=False)
        assert told.returncode == OK and told.stdout.startswith(f"Usage: bora {command}"), command
        also = subprocess.run([BORA, "help", *command.split()], capture_output=True, text=True, check=False)
        assert also.stdout == told.stdout
        assert f'.SS "bora {command}' in manual
        for option in re.findall(r"^  (--[a-z-]+)", told.stdout, re.M):
            if option != "--help":
                assert ".B " + option.replace("-", "\\-") in manual, option


@pytest.mark.parametrize("checker", [["mandoc", "-Tlint", "-Wwarning"], ["man", "--warnings", "-l"], ["groff", "-man", "-Tutf8", "-ww", "-z"]], ids=lambda words: words[0])
def test_the_manual_is_sound(tmp_path, checker):
    if not shutil.which(checker[0]):
        pytest.skip(f"{checker[0]} is not installed")
    page = tmp_path / "bora.1"
    page.write_bytes(subprocess.run([BORA, "help", "--man"], capture_output=True, check=True).stdout)
    done = subprocess.run([*checker, str(page)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"}, check=False)
    problems = done.stderr + (done.stdout if checker[0] == "mandoc" else "")
    assert done.returncode == 0 and problems == ""


def complete(environment, *words):
    """What bash would offer for the last of the words."""
    script = """source <(bora completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bora; printf '%s\\n' "${COMPREPLY[@]}" """
    path = f"{BUILD / 'bin'}:{environment['PATH']}"
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", "bora", *words], env={**environment, "PATH": path}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_values(cli, tmp_path, monkeypatch):
    (tmp_path / "a-file").touch()
    monkeypatch.chdir(tmp_path)
    environment = cli.environment
    assert complete(environment, "ke") == ["keys"]
    assert complete(environment, "keys", "r") == ["rotate", "revoke"]
    assert complete(environment, "keys", "create", "--ro") == ["--role"]
    assert complete(environment, "keys", "create", "--role", "") == ["admin", "member", "service"]
    assert complete(environment, "keys", "create", "--role", "=", "m") == ["member"]
    assert complete(environment, "usage", "--inter") == ["--interval"]  # a noun alone is its default command
    assert complete(environment, "usage", "--interval", "h") == ["hour"]
    assert complete(environment, "models", "--j") == ["--json"]
    assert complete(environment, "config", "set", "--address") == []  # it asks no gateway
    assert complete(environment, "config", "set", "api-") == ["api-key", "api-key-file"] and complete(environment, "config", "unset", "time") == ["timeout"]
    assert complete(environment, "completion", "") == ["bash", "zsh", "fish"]
    assert complete(environment, "chat", "--schema", "a-") == ["a-file"]
    assert complete(environment, "help", "ke") == ["keys"]
    assert complete(environment, "chat", "--model", "smol") == [cli.house.model]
    _, key_id = cli.new_key()
    assert complete(environment, "keys", "get", key_id[:8]) == [key_id]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_sound(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "completion"
    script.write_bytes(subprocess.run([BORA, "completion", shell], capture_output=True, check=True).stdout)
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes(cli):
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    environment = {**cli.environment, "PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}"}

    def offered(line):
        script = f"bora completion fish | source; complete -C '{line}'"
        return [entry.split("\t")[0] for entry in subprocess.run(["fish", "--no-config", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout.splitlines()]

    assert offered("bora ke") == ["keys"]
    assert offered("bora keys r") == ["revoke", "rotate"]
    assert offered("bora keys create --role ") == ["admin", "member", "service"]
    assert "--json" in offered("bora keys create --j")
    assert offered("bora model convert --ad") == []


def test_zsh_completes(cli):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    # compadd and _arguments need a line editor; what can be asked without one is that the functions are there and compdef takes them
    script = "autoload -Uz compinit; compinit -u -D; source <(bora completion zsh); print $_comps[bora]; functions _bora >/dev/null && print there"
    environment = {**cli.environment, "PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["zsh", "-f", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["_bora", "there"], "")


# ---- wrong calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "says"), [
    ([], "Usage: bora COMMAND"),
    (["kesy"], "did you mean 'keys'?"),
    (["keys", "lits"], "did you mean 'keys list'?"),
    (["keys", "--jsno"], "unknown option --jsno; did you mean --json?"),
    (["--csv", "usage"], "unknown option '--csv' in front of a command"),
    (["keys", "get"], "KEY_ID is missing"),
    (["keys", "create", "--role", "boss"], "--role: 'boss' is not one of admin|member|service"),
    (["keys", "create", "--tokens-per-minute", "1.5"], "--tokens-per-minute: '1.5' is no number"),
    (["keys", "create", "--model-limit", "small"], "--model-limit: 'small' is neither"),
    (["keys", "create", "--expires", "soon"], "--expires: 'soon' is neither a date"),
    (["keys", "create", "--expires", "2027-01-01", "--expires-in", "1d"], "exclude each other"),
    (["usage", "--from", "2026-02-30"], "--from: '2026-02-30' is no date"),
    (["usage", "--by", "colour"], "--by: 'colour' is not one of"),
    (["usage", "--by", "key,key"], "--by has key twice"),
    (["usage", "--csv", "--json"], "exclude each other"),
    (["limits", "set", "--tokens-per-day", "5"], "give --key, --workspace or --organization"),
    (["limits", "set", "--key", "x"], "no limit was given"),
    (["spend", "set", "much"], "'much' is no amount"),
    (["prices", "set", "small"], "give --input and --output"),
    (["audit", "--limit", "0"], "--limit: from 1"),
    (["models", "--timeout", "soon"], "--timeout: 'soon'"),
    (["models", "--retry", "1000"], "--retry: from 0 to 100"),
    (["config", "set", "adress", "x:1"], "did you mean 'address'?"),
    (["config", "set", "address", "nowhere"], "is not HOST:PORT"),
    (["config", "set", "tls", "maybe"], "neither true nor false"),
    (["config", "set", "timeout", "soon"], "timeout:"),
    (["config", "set", "model", "a\nb"], "one line"),
    (["completion", "tcsh"], "not one of bash, zsh, fish"),
    (["chat", "one", "two"], "one word too many"),
], ids=lambda words: " ".join(words) if isinstance(words, list) else "")
def test_wrong_calls_name_what_is_wrong(cli, words, says):
    assert cli.run(*words, status=USAGE) == ""
    assert says in cli.errors


# ---- keys ---------------------------------------------------------------------------------------------------------------


def test_a_key_from_its_making_to_its_end(cli):
    key, key_id = cli.new_key("--name", "Zürich lab", "--requests-per-minute", "60", "--tokens-per-day", "1M", "--model-limit", "small:concurrent-streams=4")
    assert re.fullmatch(r"bora_[a-z0-9]{12}_[A-Za-z0-9]{43}", key)
    assert f"Key id {key_id}" in cli.errors and key not in cli.errors
    shown = cli.json("keys", "get", key_id)
    assert shown["limits"] == {"requests_per_minute": 60, "tokens_per_day": 1000000}
    assert shown["model_limits"] == [{"model": "small", "limits": {"concurrent_streams": 4}}]
    assert (shown["name"], shown["role"], shown["status"]) == ("Zürich lab", "service", "active")
    assert cli.run("chat", "--max-tokens", "4", "hi", BORA_API_KEY=key)

    cli.run("keys", "update", key_id, "--name", "lab", "--models", "small,large", "--expires", "2031-01-01")
    cli.run("keys", "update", key_id, "--endpoints", "chat,models")
    shown = cli.json("keys", "get", shown["key_id"])  # by its UUID
    assert shown["scopes"] == {"models": ["small", "large"], "endpoints": ["chat", "models"]}
    assert shown["expiration_date"].startswith("2031-01-0")
    shown = cli.json("keys", "update", key_id, "--models", "any", "--expires", "never")
    assert (shown["scopes"]["models"], shown["scopes"]["endpoints"], shown["expires_at"]) == ([], ["chat", "models"], None)

    assert cli.run("keys", "disable", key_id) == f"{key_id} is disabled.\n"
    cli.run("chat", "hi", status=NOT_AUTHORISED, BORA_API_KEY=key)
    cli.run("keys", "enable", key_id)
    rotated = cli.run("keys", "rotate", key_id, "--overlap", "1h").strip()
    assert rotated != key and rotated.startswith(f"bora_{key_id}_")
    for both in (key, rotated):
        cli.run("models", BORA_API_KEY=both)
    listed = cli.run("keys", "list")
    assert re.search(rf"^{key_id}  lab +active", listed, re.M)
    assert cli.json("keys", "revoke", key_id)["deleted"] is True
    for both in (key, rotated):
        cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=both)
    assert "Unauthorized" in cli.errors and "the key is from BORA_API_KEY" in cli.errors
    cli.run("keys", "get", "nosuchkey000", status=NOT_FOUND)


def test_lists_of_several_pages_are_one(cli):
    made = {cli.new_key("--name", f"page {i}")[1] for i in range(3)}
    listed = cli.json("keys", "list", "--name", "page ")
    assert {key["prefix"] for key in listed["keys"]} == made and listed["has_more"] is False
    assert cli.run("keys", "list", "--name", "page ", "--quiet").split() == [key["key_id"] for key in listed["keys"]]
    newest = [entry["id"] for entry in cli.json("audit", "--all")["entries"]]
    assert [entry["id"] for entry in cli.json("audit", "--limit", "2")["entries"]] == newest[:2]
    assert len(newest) > 3 and len(set(newest)) == len(newest)


def test_a_key_is_found_by_its_name_its_id_and_its_status(cli):
    _, key_id = cli.new_key("--name", "needle of the search")
    found = cli.json("keys", "get", "needle of the search")
    assert found["prefix"] == key_id == cli.json("keys", "get", key_id)["prefix"] == cli.json("keys", "get", found["key_id"])["prefix"]
    for text in (key_id, key_id[:6], found["key_id"], found["key_id"].upper(), "needle of"):
        assert key_id in [key["prefix"] for key in cli.json("keys", "list", "--name", text)["keys"]], text
    assert cli.json("keys", "list", "--name", found["key_id"])["keys"] == cli.json("keys", "list", "--name", key_id)["keys"]
    assert cli.run("keys", "list", "--name", key_id[2:] + "0") == "" and "no such keys" in cli.errors
    _, other = cli.new_key("--name", "needle of the search")
    cli.run("keys", "get", "needle of the search", status=USAGE)
    assert "2 keys are called 'needle of the search'" in cli.errors
    cli.run("keys", "revoke", other)
    assert cli.json("keys", "get", "needle of the search")["prefix"] == key_id  # the one that is left
    cli.run("keys", "disable", key_id)
    by_status = {status: {key["prefix"] for key in cli.json("keys", "list", "--status", status, "--name", "needle")["keys"]} for status in ("active", "disabled", "expired", "revoked")}
    assert by_status == {"active": set(), "disabled": {key_id}, "expired": set(), "revoked": {other}}
    cli.run("keys", "list", "--status", "lost", status=USAGE)
    cli.run("keys", "get", "needle", status=NOT_FOUND)  # a part of a name is no name
    assert "NOT_FOUND" in cli.errors


def test_options_of_every_command_may_stand_in_front_of_it(cli):
    assert json.loads(cli.run("--json", "keys", "--name", "nobody has this"))["keys"] == []
    assert json.loads(cli.run("--json", f"--address={cli.environment['BORA_ADDRESS']}", "models", BORA_ADDRESS="127.0.0.1:1"))["data"]
    cli.run("--profile", "nightly", "config", "set", "timeout", "30s")
    assert json.loads(cli.run("--profile", "nightly", "config", "--json"))["profile"] == "nightly"
    cli.run("--retry", "1000", "models", status=USAGE)
    assert "--retry: from 0 to 100" in cli.errors


def test_the_audit_trail_of_one_key_is_read_by_people_and_by_programs(cli):
    _, key_id = cli.new_key("--name", "watched", "--expires", "2031-01-02", "--tokens-per-day", "5")
    cli.run("limits", "set", "--key", key_id, "--tokens-per-day", "none")
    table = cli.run("audit", "--key", key_id)
    lines = table.splitlines()
    assert len(lines) == 3 and re.match(r"TIME +ACTOR +CALLED +ACTION +TARGET +NAME +FROM +DETAIL$", lines[0])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  operator ", lines[1]) and lines[1].endswith("limits: tokens_per_day 5 → none")
    assert re.search(r"workspace: default \([0-9a-f-]{36}\); role: service; expires: 2031-01-0\d \d\d:\d\d; limits: tokens_per_day 5$", lines[2])
    assert [entry["action"] for entry in cli.json("audit", "--key", key_id, "--action", "key.create")["entries"]] == ["key.create"]
    assert cli.json("audit", "--key", key_id, "--from", "7d", "--to", "now", "--actor", "operator")["has_more"] is False
    assert cli.run("audit", "--key", key_id, "--to", "2020-01-01") == "" and "Nothing that fits" in cli.errors
    rows = list(csv.DictReader(io.StringIO(cli.run("audit", "--key", key_id, "--csv"))))
    assert [row["action"] for row in rows] == [entry["action"] for entry in cli.json("audit", "--key", key_id)["entries"]]
    assert json.loads(rows[0]["detail"]) == {"limits": {"before": {"tokens_per_day": 5}, "after": {}}} and rows[0]["time"].endswith("Z")
    cli.run("audit", "--csv", "--json", status=USAGE)
    admin, admin_id = cli.new_key("--role", "admin", "--name", "the boss")
    cli.run("keys", "disable", key_id, BORA_ADMIN_KEY=None, BORA_API_KEY=admin)
    assert re.search(rf"  {admin_id}  the boss  key.update +{key_id}  watched ", cli.run("audit", "--actor", admin_id))


def test_who_may_not_is_told_so(cli):
    member, _ = cli.new_key("--role", "member")
    admin, _ = cli.new_key("--role", "admin")
    cli.run("keys", "list", status=NOT_AUTHORISED, BORA_ADMIN_KEY=None, BORA_API_KEY=member)
    assert "PERMISSION_DENIED" in cli.errors
    cli.run("keys", "list", BORA_ADMIN_KEY=None, BORA_API_KEY=admin)
    cli.run("orgs", "list", status=NOT_AUTHORISED, BORA_ADMIN_KEY=None, BORA_API_KEY=admin)
    cli.run("keys", "list", status=NOT_AUTHORISED, BORA_ADMIN_KEY=None, BORA_API_KEY=None)
    assert "no key of an administrator" in cli.errors
    cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=None)
    assert "no API key" in cli.errors


def test_no_key_is_ever_repeated(cli, tmp_path):
    """Neither what was configured nor what was typed in the wrong place comes out again, whatever is asked and however it goes."""
    key, key_id = cli.new_key("--name", "quiet one")
    secrets = [key, key.split("_")[2], cli.house.admin_key, cli.house.key]
    file = tmp_path / "key-file"
    file.write_text(key + "\n")
    commands = [command.split() for command in all_commands() if command not in ("keys rotate", "chat", "complete", "completion", "help", "usage export")]
    for words in commands:
        for arguments in ([], ["--json"], [key], [key_id], ["--api-key-file", file], ["--address", "127.0.0.1:1", "--timeout", "1s"]):
            if words == ["keys", "create"] and arguments in ([], ["--json"]) or words[-1] == "create" and arguments == [key]:
                continue  # it prints a new key, or was given a name
            done = subprocess.run([BORA, *words, *map(str, arguments)], env=cli.environment, input="", capture_output=True, text=True, timeout=60 * PACE, check=False)
            said = done.stdout + done.stderr
            for secret in secrets:
                assert secret not in said, f"bora {words} {arguments[:1]}"
            assert done.returncode in (OK, FAILED, USAGE, NOT_AUTHORISED, NOT_FOUND, UNAVAILABLE)


# ---- where settings come from -------------------------------------------------------------------------------------------


def test_flag_before_environment_before_file(cli, tmp_path):
    good, bad = cli.environment["BORA_ADDRESS"], "127.0.0.1:1"
    (tmp_path / "key").write_text(cli.house.key + "\n")
    plain = {"BORA_ADDRESS": None, "BORA_API_KEY": None, "BORA_ADMIN_KEY": None}
    cli.run("config", "set", "address", good, **plain)
    cli.run("config", "set", "api-key-file", tmp_path / "key", **plain)
    assert cli.house.model in cli.run("models", **plain)
    cli.run("models", status=UNAVAILABLE, **{**plain, "BORA_ADDRESS": bad})
    assert "the address is from BORA_ADDRESS" in cli.errors
    cli.run("models", "--address", good, **{**plain, "BORA_ADDRESS": bad})
    cli.run("models", status=NOT_AUTHORISED, **{**plain, "BORA_API_KEY": "wrong"})
    cli.run("models", "--api-key-file", tmp_path / "key", **{**plain, "BORA_API_KEY": "wrong"})

    cli.run("config", "set", "address", bad, "--profile", "far", **plain)
    cli.run("models", "--profile", "far", status=NOT_AUTHORISED, **plain)  # profiles share nothing
    cli.run("config", "set", "api-key-file", "~/key", "--profile", "far", **plain)
    cli.run("models", "--profile", "far", status=UNAVAILABLE, **plain)
    cli.run("models", status=UNAVAILABLE, **{**plain, "BORA_PROFILE": "far"})
    cli.run("models", "--profile", "further", status=FAILED, **plain)
    assert "[further]" in cli.errors

    listed = cli.json("config", "list", **{**plain, "BORA_MODEL": "small"})
    assert listed["settings"]["address"] == {"value": good, "from": listed["path"]}
    assert listed["settings"]["model"] == {"value": "small", "from": "BORA_MODEL"}
    assert cli.run("config", "get", "address", **plain) == good + "\n"
    assert cli.run("config", "path") == listed["path"] + "\n"
    cli.run("config", "unset", "address", **plain)
    assert cli.run("config", "get", "address", **plain) == "127.0.0.1:8081\n"
    cli.run("config", "get", "model", status=NOT_FOUND, **plain)


def test_a_key_in_the_file_is_read_silently_and_kept_from_others(cli, tmp_path):
    plain = {"BORA_API_KEY": None, "BORA_ADMIN_KEY": None}
    file = tmp_path / "config/bora/config"
    cli.run("config", "set", "api-key", cli.house.key, status=USAGE, **plain)
    assert "does not belong into a command line" in cli.errors and cli.house.key not in cli.errors
    assert cli.run("config", "set", "api-key", stdin=cli.house.key + "\n", **plain) == ""
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    cli.run("models", **plain)
    assert cli.errors == ""
    for shown in (cli.run("config", "list", **plain), cli.run("config", "get", "api-key", **plain), cli.run("config", "list", "--json", **plain)):
        assert cli.house.key not in shown
    file.chmod(0o644)
    cli.run("models", **plain)
    assert "holds a key and others may read it (mode 0644)" in cli.errors
    cli.run("config", "set", "api-key", status=USAGE, stdin="", **plain)
    cli.run("config", "set", "api-key", status=USAGE, stdin="two words\n", **plain)


def test_a_mistake_in_the_file_is_shown(cli, tmp_path):
    file = tmp_path / "config/bora/config"
    file.parent.mkdir(parents=True)
    file.write_text("[default]\nadress = a:1\n")
    cli.run("models", status=FAILED)
    assert "config:2: unknown setting 'adress'; did you mean 'address'?" in cli.errors


# ---- places, limits, usage, money ---------------------------------------------------------------------------------------


def test_workspaces_and_organizations(cli):
    made = cli.json("workspaces", "create", "attic", "--tokens-per-minute", "20k", "--model-limit", "small:5:")
    assert made["limits"] == {"tokens_per_minute": 20000}
    cli.run("workspaces", "create", "attic", status=FAILED)
    assert "ALREADY_EXISTS" in cli.errors
    cli.run("workspaces", "update", made["id"], "--name", "cellar")
    assert re.search(rf"^{made['id']}  cellar", cli.run("workspaces"), re.M)
    key, key_id = cli.new_key("--workspace", made["id"])
    assert cli.json("whoami", BORA_API_KEY=key)["workspace"] == {"id": made["id"], "name": "cellar"}
    cli.run("workspaces", "disable", made["id"])
    cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=key)
    cli.run("workspaces", "enable", made["id"])
    cli.run("models", BORA_API_KEY=key)
    cli.run("workspaces", "delete", made["id"], status=FAILED)
    cli.run("keys", "revoke", key_id)
    cli.run("workspaces", "delete", made["id"])
    cli.run("workspaces", "get", made["id"], status=NOT_FOUND)

    made = cli.json("orgs", "create", "Acme")
    assert made["id"] in cli.run("orgs", "list", "--quiet").split()
    assert [place["name"] for place in cli.json("workspaces", "list", "--organization", made["id"])["workspaces"]] == ["default"]
    assert "Acme" in cli.run("orgs", "get", made["id"])
    cli.run("orgs", "create", "", status=FAILED)
    assert "  name: " in cli.errors  # the field


def test_limits_are_changed_one_by_one_and_shown(cli):
    key, key_id = cli.new_key("--requests-per-minute", "60")
    assert cli.run("limits", "set", "--key", key_id, "--tokens-per-day", "1M") == f"Limits of key {key_id} now: 60 req/min, 1,000,000 tok/day\n"
    assert cli.run("limits", "set", "--key", key_id, "--requests-per-minute", "none") == f"Limits of key {key_id} now: 1,000,000 tok/day\n"
    cli.run("limits", "set", "--key", key_id, "--model", "small", "--concurrent-streams", "4")
    cli.run("limits", "set", "--key", key_id, "--model", "large", "--concurrent-streams", "2")
    cli.run("limits", "set", "--key", key_id, "--model", "small", "--clear", "--tokens-per-minute", "5k")
    shown = cli.json("keys", "get", key_id)
    assert shown["limits"] == {"tokens_per_day": 1000000}
    assert {entry["model"]: entry["limits"] for entry in shown["model_limits"]} == {"small": {"tokens_per_minute": 5000}, "large": {"concurrent_streams": 2}}
    cli.run("limits", "set", "--key", key_id, "--model", "large", "--clear")
    assert [entry["model"] for entry in cli.json("keys", "get", key_id)["model_limits"]] == ["small"]

    cli.run("chat", "--max-tokens", "4", "hi", BORA_API_KEY=key)
    table = cli.run("limits", BORA_API_KEY=key)  # one's own
    used, left = map(number, re.search(r"^  tokens / day +([\d,]+) of 1,000,000 +0 %  ([\d,]+) left$", table, re.M).groups())
    assert used > 0 and used + left == 1000000
    assert re.search(r"^The day's limits begin anew at \d{4}-\d\d-\d\d \d\d:\d\d\.$", table, re.M) and "month" not in table
    levels = cli.json("limits", "--key", key_id)["levels"]
    assert {(level["scope"], level["model"]) for level in levels} >= {("key", None), ("key", "small")}
    assert all(level["used"]["tokens_per_day"] > 0 for level in levels if level["model"] is None and level["scope"] == "key")

    place = cli.json("workspaces", "create", "limited from the start", "--tokens-per-day", "1M", "--each-key", "tokens-per-day=10k,concurrent-streams=1")
    assert (place["limits"], place["key_limits"]) == ({"tokens_per_day": 1000000}, {"tokens_per_day": 10000, "concurrent_streams": 1})
    for wrong, says in (("5", "--each-key: '5' is not as"), ("tokens-per-week=5", "--each-key: there is no limit 'tokens-per-week'"), ("tokens-per-day=x", "--each-key: tokens-per-day: 'x'"), ("", "--each-key is empty")):
        cli.run("workspaces", "create", "never made", "--each-key", wrong, status=USAGE)
        assert says in cli.errors
    assert " 1 stream\n" in cli.run("workspaces", "get", "limited from the start")
    place = cli.json("workspaces", "create", "limited")
    cli.run("limits", "set", "--workspace", place["id"], "--each-key", "--requests-per-second", "5")
    assert cli.json("workspaces", "get", place["id"])["key_limits"] == {"requests_per_second": 5}


def test_a_limit_that_is_reached_has_its_own_exit_status_and_can_be_waited_out(cli):
    key, _ = cli.new_key("--requests-per-second", "1")
    ask = ["chat", "--max-tokens", "1", "--temperature", "0", "hi"]
    refused = 0
    for _ in range(20):  # two within one second, whatever the machine is busy with
        done = subprocess.run([BORA, *ask], env={**cli.environment, "BORA_API_KEY": key}, capture_output=True, text=True, check=False)
        assert done.returncode in (OK, RATE_LIMITED), done.stderr
        if done.returncode == RATE_LIMITED:
            assert "RESOURCE_EXHAUSTED" in done.stderr and re.search(r"try again in \d+\.\d s", done.stderr)
            refused += 1
            break
    assert refused
    cli.run(*ask, "--retry", "20", BORA_API_KEY=key)
    none, _ = cli.new_key("--requests-per-minute", "0")
    cli.run(*ask, status=RATE_LIMITED, BORA_API_KEY=none)


def entries(cli, key_id):
    return [json.loads(line) for line in cli.run("usage", "export", "-", "--format", "jsonl", "--key", key_id).splitlines()]


def test_usage_is_counted_shown_and_exported(cli, tmp_path):
    key, key_id = cli.new_key("--name", "counted, \"one\"")
    for _ in range(3):
        cli.run("chat", "--max-tokens", "4", "hi", BORA_API_KEY=key)
    until(lambda: len(entries(cli, key_id)) == 3, "three entries of the ledger")
    ledger = entries(cli, key_id)
    report = cli.json("usage", "--key", key_id, "--by", "key,model", "--interval", "hour")
    assert report["total"]["requests"] == 3
    for kind in ("input_tokens", "output_tokens"):
        assert report["total"][kind] == sum(entry[kind] for entry in ledger) > 0
    assert report["rows"][0]["key_name"] == "counted, \"one\"" and report["rows"][0]["model"] == cli.house.model
    assert re.search(rf" {key_id}  counted", cli.run("usage", "--key", key_id, "--by", "key"))
    table = cli.run("usage", "--key", key_id, "--by", "model", "--from", "today")
    assert re.search(rf"^{time.strftime('%Y-%m-%d', time.gmtime())}  {cli.house.model} +3 ", table, re.M) or "total" in table
    rows = list(csv.DictReader(io.StringIO(cli.run("usage", "--key", key_id, "--by", "key", "--interval", "all", "--csv"))))
    assert [(row["key_name"], row["requests"]) for row in rows] == [("counted, \"one\"", "3")]
    cli.run("usage", "--key", key_id, "--to", "2020-01-01", "--from", "2019-01-01")
    assert "Nothing was used" in cli.errors

    file, partial = tmp_path / "ledger.csv", tmp_path / "ledger.csv.partial"
    cli.run("usage", "export", file, "--key", key_id)
    assert "3 entries" in cli.errors and not partial.exists()
    assert file.stat().st_mode & 0o777 == 0o600
    whole = file.read_text()
    assert [row["id"] for row in csv.DictReader(io.StringIO(whole))] == [entry["id"] for entry in ledger]
    cli.run("usage", "export", file, "--key", key_id, status=USAGE)
    assert "--force" in cli.errors and file.read_text() == whole
    cli.run("usage", "export", tmp_path, "--force", status=USAGE)
    assert "is a folder" in cli.errors and not tmp_path.with_name(tmp_path.name + ".partial").exists()


def test_an_export_goes_on_where_it_stopped(cli, tmp_path):
    key, key_id = cli.new_key()
    for _ in range(3):
        cli.run("chat", "--max-tokens", "2", "hi", BORA_API_KEY=key)
    until(lambda: len(entries(cli, key_id)) == 3, "three entries of the ledger")
    for name in ("ledger.csv", "ledger.jsonl"):
        file, partial = tmp_path / name, tmp_path / f"{name}.partial"
        cli.run("usage", "export", file, "--key", key_id)
        whole = file.read_bytes()
        lines = whole.splitlines(keepends=True)
        for kept in (0, 1, len(lines) - 1, len(lines)):
            for half in (b"", lines[min(kept, len(lines) - 1)][:10]):
                file.unlink()
                partial.write_bytes(b"".join(lines[:kept]) + half)
                cli.run("usage", "export", file, "--key", key_id, status=USAGE)
                assert "--resume goes on with it" in cli.errors
                cli.run("usage", "export", file, "--key", key_id, "--resume")
                assert file.read_bytes() == whole, (name, kept, half)
        file.unlink()
        partial.write_text("something else\n\n")
        cli.run("usage", "export", file, "--key", key_id, "--resume", status=USAGE)
        assert partial.read_text() == "something else\n\n"
        cli.run("usage", "export", file, "--key", key_id, "--force")
        cli.run("usage", "export", file, "--key", key_id, "--force", "--address", "127.0.0.1:1", status=UNAVAILABLE)
        assert file.read_bytes() == whole and not partial.exists()


def test_prices_and_budgets(cli):
    cli.run("prices", "set", "small", "--input", "0.1", status=USAGE)
    cli.run("prices", "set", "small", "--input", "0.1", "--output", "0.4", "--currency", "EUR")
    cli.run("prices", "set", "large", "--input", "1", "--output", "4", "--cached-input", "0.5")
    cli.run("prices", "set", "small", "--output", "0.5")
    prices = cli.json("prices")
    assert prices["currency"] == "EUR"
    assert {price["model"]: (price["input_per_million"], price["output_per_million"], price.get("cached_input_per_million")) for price in prices["prices"]} == {"small": (0.1, 0.5, None), "large": (1, 4, 0.5)}
    assert re.search(r"^small +0\.10 +- +0\.50$", cli.run("prices"), re.M)
    cli.run("prices", "remove", "large")
    cli.run("prices", "remove", "large", status=NOT_FOUND)
    assert [price["model"] for price in cli.json("prices")["prices"]] == ["small"]

    place = cli.json("workspaces", "create", "budget")["id"]
    assert cli.json("spend", "set", "12.5", "--workspace", place)["spend_per_month"] == 12.5
    assert "of 12.50" in cli.run("spend", "--workspace", place)
    assert cli.json("spend", "set", "none", "--workspace", place)["spend_per_month"] is None
    assert "(no limit)" in cli.run("spend", "--workspace", place)


# ---- the platform -------------------------------------------------------------------------------------------------------


def test_status_models_workers_and_who_am_i(cli):
    assert re.search(r"^state +serving, answered in ", cli.run("status"), re.M)
    state = cli.json("status")
    assert state["status"] == "SERVING" and state["models"] == [cli.house.model] and state["me"]["role"] == "service"
    assert cli.json("status", BORA_API_KEY=None, BORA_ADMIN_KEY=None)["me"] is None
    assert cli.json("status", BORA_API_KEY="wrong")["status"] == "SERVING"
    cli.run("status", "--address", "127.0.0.1:1", status=UNAVAILABLE)
    assert cli.run("status", "--quiet") == ""
    assert cli.json("whoami", "--admin-key-file", cli.house.state / "secrets/admin-key")["role"] == "operator"
    assert "service" in cli.run("whoami")
    assert cli.json("models")["data"][0]["id"] == cli.house.model
    assert cli.json("models", "show", "small")["id"] == cli.house.model
    assert cli.run("models", "list", "--quiet") == cli.house.model + "\n"
    cli.run("models", "show", "nosuchmodel", status=NOT_FOUND)
    assert cli.json("workers")["workers"][0]["model"] == cli.house.model
    assert cli.house.model in cli.run("workers")


def test_what_no_gateway_can_yet_is_said_by_the_gateway(cli):
    for words in (["embed", "hi"], ["files"], ["files", "upload", "x"], ["jobs"], ["jobs", "create", "small"]):
        assert cli.run(*words, status=NOT_FOUND) == ""
        assert "UNIMPLEMENTED" in cli.errors and "no such service yet" in cli.errors


def test_nobody_there_and_not_in_time(cli):
    port = free_ports(1)[0]
    cli.run("keys", "list", "--address", f"127.0.0.1:{port}", status=UNAVAILABLE)
    cli.run("chat", "hi", "--address", f"127.0.0.1:{port}", status=UNAVAILABLE)
    cli.run("chat", "--timeout", "1ms", "hi", status=UNAVAILABLE)


# ---- answers ------------------------------------------------------------------------------------------------------------


def test_chat_and_complete_take_words_or_standard_input(cli):
    ask = ["--max-tokens", "4", "--temperature", "0"]
    answer = cli.run("chat", *ask, "Say hi.")
    assert answer.strip() and cli.run("chat", *ask, stdin="Say hi.") == answer == cli.run("chat", *ask, "-", stdin="Say hi.")
    assert cli.run("complete", *ask, "Say hi.") == answer  # a model that was taught to chat answers
    assert cli.run("complete", *ask, "--echo", "Say hi.") == "Say hi." + answer
    chunks = [json.loads(line) for line in cli.run("chat", *ask, "--json", "Say hi.").splitlines()]
    assert "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]) == answer.rstrip("\n")
    assert cli.run("chat", *ask, "--model", "small", "Say hi.", BORA_MODEL="nosuchmodel") == answer
    cli.run("chat", *ask, "Say hi.", status=NOT_FOUND, BORA_MODEL="nosuchmodel")
    assert f"served now: {cli.house.model} (smollm2, smollm2-latest, small)\n" in cli.errors
    for words in (["chat"], ["chat", "-"], ["chat", ""], ["complete", ""]):
        cli.run(*words, stdin="", status=USAGE)
        assert "the question is empty" in cli.errors


def test_interrupted_ends_by_the_signal(cli):
    """As shells expect of it: they call that 130."""
    process = subprocess.Popen([BORA, "chat", "--max-tokens", "4000", "--temperature", "0", "Write a very long story about the sea."], env=cli.environment, stdout=subprocess.PIPE)
    assert process.stdout.read(1)  # it answers
    process.send_signal(signal.SIGINT)
    assert process.wait(60 * PACE) == -signal.SIGINT
    process.stdout.close()
    until(lambda: cli.json("workers")["workers"][0]["running"] == 0, "the model is free")


ANSWERS = r"\n(?!Write )\w+ \w+ "  # not the question, which is on the screen twice when it was typed before the line editor was there


def test_a_conversation_on_a_terminal(cli, tmp_path):
    terminal = Terminal(cli.environment, "chat", "--max-tokens", "8", "--temperature", "0")
    terminal.expect(">>> ")
    terminal.type("/usage\r")
    terminal.expect("token counts: on")
    terminal.type("hello\r")
    first = int(terminal.expect(r"(\d+) prompt tokens, \d+ answered")[1])
    terminal.expect(">>> ")
    terminal.type("and you?\r")
    assert int(terminal.expect(r"(\d+) prompt tokens, \d+ answered")[1]) > first  # what was said is sent along
    terminal.expect(">>> ")
    terminal.type("/clear\r")
    terminal.type("hello\r")
    assert int(terminal.expect(r"(\d+) prompt tokens, \d+ answered")[1]) == first
    terminal.expect(">>> ")
    terminal.type("one \\\r")
    terminal.expect(r"\.\.\. ")
    terminal.type("two\r")
    terminal.expect("answered")
    terminal.type('"""one\r')
    terminal.expect(r"\.\.\. ")
    terminal.type('two"""\r')
    terminal.expect("answered")
    terminal.type("dropped\x03")  # Ctrl-C on a line drops it
    terminal.expect(r"\^C")
    terminal.type("/nonsense\r")
    terminal.expect("there is no /nonsense here")
    terminal.type("/model nosuchmodel\r")
    terminal.expect("no model is served as nosuchmodel, so the next question goes to .*; served: ")  # at once, not after the next question
    terminal.type("/model smollm2\r")
    terminal.type("/model\r")
    terminal.expect(f"asked: smollm2; served: {cli.house.model}")
    terminal.type("\x04")
    assert terminal.end() == OK
    history = tmp_path / "state/bora/history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "dropped" not in history.read_text() and "nonsense" in history.read_text()


def test_what_is_typed_while_it_answers_is_read_next(cli):
    """Whatever the key: the terminal may be with the program or with the line editor when it comes."""
    terminal = Terminal(cli.environment, "chat", "--max-tokens", "100", "--temperature", "0", "--no-history")
    terminal.expect(">>> ")
    terminal.type("Write a very long story about the sea.\r")
    terminal.expect(ANSWERS)
    terminal.type("/usage\r")
    terminal.type("\x04")
    terminal.expect("token counts: on")
    assert terminal.end() == OK
    assert terminal.modes & termios.ICANON  # as it was found


def test_ctrl_c_ends_the_answer_not_the_conversation(cli, tmp_path):
    terminal = Terminal(cli.environment, "chat", "--max-tokens", "4000", "--temperature", "0", "--no-history")
    terminal.expect(">>> ")
    terminal.type("Write a very long story about the sea.\r")
    terminal.expect(ANSWERS)
    terminal.type("\x03")
    terminal.expect(r"\(ended\)")
    terminal.expect(">>> ")
    until(lambda: cli.json("workers")["workers"][0]["running"] == 0, "the model is free")
    terminal.type("/exit\r")
    assert terminal.end() == OK
    assert not (tmp_path / "state").exists()


def test_colours_are_for_terminals_alone(cli):
    assert "\033[" not in cli.run("keys")
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        terminal = Terminal({**cli.environment, **variables}, "keys")
        terminal.expect("active")
        assert terminal.end() == OK
        assert ("\033[" in terminal.output) == coloured


def test_a_key_is_typed_without_being_shown(cli, tmp_path):
    terminal = Terminal(cli.environment, "config", "set", "api-key")
    terminal.expect(r"api-key \(not shown\): ")
    terminal.type("bora_typed_in_secret\r")
    terminal.expect("is set in")
    assert terminal.end() == OK
    assert "bora_typed_in_secret" not in terminal.output
    assert "api-key = bora_typed_in_secret" in (tmp_path / "config/bora/config").read_text()


def test_progress_of_an_export_is_a_bar_on_a_terminal(cli, tmp_path):
    terminal = Terminal(cli.environment, "usage", "export", str(tmp_path / "ledger.csv"), "--from", "today")
    terminal.expect(r"\[[#.]+\] +\d+ %  \d+ entries")
    terminal.expect(r"Wrote .*ledger\.csv: \d+ entries\.")
    assert terminal.end() == OK


# ---- names --------------------------------------------------------------------------------------------------------------


def test_places_are_named_as_people_name_them(cli):
    acme, beta = (cli.json("orgs", "create", name)["id"] for name in ("Acme & Söhne", "Beta"))
    lab = cli.json("workspaces", "create", "the lab", "--organization", "Acme & Söhne")
    assert lab["organization_id"] == acme
    assert re.search(rf"^{lab['id']}  the lab .*  Acme & Söhne$", cli.run("workspaces"), re.M)
    for words in (["the lab"], [lab["id"]], [lab["id"][:8]]):
        assert cli.json("workspaces", "get", *words)["id"] == lab["id"]
    assert cli.json("orgs", "update", "Beta", "--name", "Gamma")["id"] == beta
    key, key_id = cli.new_key("--workspace", "the lab", "--organization", acme)
    assert cli.json("whoami", BORA_API_KEY=key)["workspace"]["id"] == lab["id"]
    assert cli.json("whoami", BORA_API_KEY=cli.new_key("--organization", "Gamma")[0])["organization"]["id"] == beta
    assert [found["prefix"] for found in cli.json("keys", "list", "--workspace", "the lab")["keys"]] == [key_id]
    assert cli.run("limits", "set", "--workspace", "the lab", "--tokens-per-day", "2M") == "Limits of workspace the lab now: 2,000,000 tok/day\n"
    assert re.search(r"^  tokens / day +0 of 2,000,000 ", cli.run("limits", "--workspace", "the lab"), re.M)
    assert cli.json("spend", "set", "7", "--organization", acme[:6])["spend_per_month"] == 7
    assert "workspace.create" in cli.run("audit", "--organization", "Acme & Söhne")
    cli.run("usage", "--workspace", "the lab", "--organization", "Acme & Söhne")
    assert cli.run("usage", "export", "-", "--organization", "Gamma").startswith("id,time,")

    cli.run("workspaces", "get", "default", status=USAGE)  # every organization has one
    assert "workspaces are meant by 'default'" in cli.errors and "(organization Acme & Söhne)" in cli.errors and "(organization Gamma)" in cli.errors
    assert [place["name"] for place in cli.json("keys", "list", "--organization", "Gamma", "--workspace", "default")["keys"]] == [""]
    cli.run("workspaces", "get", "the labb", status=NOT_FOUND)
    assert "there is no workspace 'the labb'; did you mean 'the lab'?" in cli.errors
    cli.run("orgs", "get", acme[:3], status=NOT_FOUND)  # so few characters are no id's beginning

    member, _ = cli.new_key("--workspace", "the lab", "--role", "member")  # who knows no other place by name
    cli.run("usage", "--workspace", "the lab", BORA_ADMIN_KEY=None, BORA_API_KEY=member)
    cli.run("usage", "--workspace", "nowhere", status=NOT_FOUND, BORA_ADMIN_KEY=None, BORA_API_KEY=member)
    cli.run("keys", "revoke", key_id)
    cli.run("workspaces", "disable", "the lab")


def test_an_organization_says_where_a_workspace_is_wherever_one_is_named(cli):
    ids = {name: cli.json("orgs", "create", name)["id"] for name in ("North", "South")}
    labs = {name: cli.json("workspaces", "create", "twin", "--organization", name)["id"] for name in ids}
    cli.new_key("--workspace", "twin", "--organization", "South")
    commands = [["limits"], ["limits", "set", "--tokens-per-day", "5"], ["usage"], ["spend"], ["spend", "set", "5"], ["keys"]]
    for words in [[*words, "--workspace", "twin"] for words in commands] + [["workspaces", verb, "twin"] for verb in ("get", "disable", "enable")] + [["workspaces", "update", "twin", "--name", "twins"], ["workspaces", "delete", "twins"]]:
        if "twins" not in words:
            cli.run(*words, status=USAGE)
            assert all(f"{labs[name]}  twin  (organization {name})" in cli.errors for name in ids), words
        cli.run(*words, "--organization", "Nowhere", status=NOT_FOUND)
        cli.run(*words, "--organization", "North")
    assert cli.json("workspaces", "get", labs["South"])["limits"] == {} and cli.json("workspaces", "get", "twin")["id"] == labs["South"]
    cli.run("workspaces", "get", labs["North"], status=NOT_FOUND)
    cli.run("limits", "--key", "x", "--organization", "North", status=USAGE)
    cli.run("limits", status=FAILED, BORA_API_KEY=None)  # of the operator, who has none
    assert "give --key KEY_ID, --workspace WORKSPACE or --organization ORGANIZATION" in cli.errors


def test_the_operator_is_told_which_organization_it_is(cli):
    cli.run("orgs", "create", "another one")
    first = cli.json("orgs", "list")["organizations"][0]["name"]
    for words in (["usage"], ["audit"], ["spend"], ["keys", "create"], ["usage", "export", "-"]):
        cli.run(*words)
        assert f"of the organization '{first}', as none is named" in cli.errors, words
    for words in (["usage", "--organization", first], ["usage", "--json"], ["usage", "--quiet"], ["keys", "list"]):
        cli.run(*words)
        assert "none is named" not in cli.errors, words
    admin, _ = cli.new_key("--role", "admin")
    cli.run("usage", BORA_ADMIN_KEY=None, BORA_API_KEY=admin)
    assert "none is named" not in cli.errors


def test_completion_offers_names(cli):
    umbra = cli.json("orgs", "create", "Umbra: tools")["id"]
    place = cli.json("workspaces", "create", "blue room", "--organization", umbra)["id"]
    _, key_id = cli.new_key("--workspace", "blue room", "--name", "robot")
    assert f"blue room\t{place}\n" in cli.run("workspaces", "list", "--names")
    assert f"{key_id}\trobot\n" in cli.run("keys", "list", "--names")
    defaults = [line for line in cli.run("workspaces", "list", "--names").splitlines() if "default" in line]
    assert len(defaults) > 1 and all(re.fullmatch(r"[0-9a-f-]{36}\tdefault", line) for line in defaults)  # a name of several says nothing
    offered = complete(cli.environment, "workspaces", "get", "blue")
    assert offered == ["blue\\", "room"]  # one word, quoted
    assert complete(cli.environment, "workspaces", "get", "blue\\ r") == offered
    environment = {**cli.environment, "PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}"}
    shells = {"fish": ["fish", "--no-config", "-c", "bora completion fish | source; complete -C 'bora usage --organization Umb'"],
              "zsh": ["zsh", "-f", "-c", "compdef() {}; _describe() { print -rl -- ${(P)2} }; source <(bora completion zsh); _bora_orgs"]}
    for shell, words in shells.items():
        if shutil.which(shell):
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
            assert {"fish": f"Umbra: tools\t{umbra}", "zsh": f"Umbra\\: tools:{umbra}"}[shell] in done.stdout.replace("\\ ", " "), (shell, done.stdout)


def test_what_bounds_a_key_is_in_its_row(cli):
    _, key_id = cli.new_key("--name", "bounded", "--requests-per-minute", "60", "--tokens-per-day", "1.5M", "--model-limit", "small:concurrent-streams=4")
    _, scoped = cli.new_key("--name", "scoped", "--models", "small", "--endpoints", "chat")
    listed = cli.run("keys", "list")
    assert re.search(rf"^{key_id} .* 60 req/min, 1.5M tok/day; small: 4 streams$", listed, re.M)
    assert re.search(rf"^{scoped} .* only models small; only for chat$", listed, re.M)


def test_an_answer_that_a_limit_cuts_says_so(cli):
    key, _ = cli.new_key("--tokens-per-minute", "90")
    story = "Write a very long story about the sea."
    cli.run("chat", "--temperature", "0", story, BORA_API_KEY=key)
    assert "the answer was cut: a limit of the key, its workspace or organization leaves no more tokens" in cli.errors
    cli.run("chat", "--temperature", "0", "--max-tokens", "8", story)
    assert "the answer was cut: --max-tokens is used up" in cli.errors


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_finds_the_manual_beside_the_program(tmp_path):
    version = subprocess.run(["man", "--version"], capture_output=True, text=True, check=False).stdout
    if not version.startswith("man 2"):
        pytest.skip("this man is not man-db, which looks beside the folders of PATH")
    environment = {**clean_environment(tmp_path), "PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    environment.pop("MANPATH", None)
    assert subprocess.run(["man", "-w", "bora"], env=environment, capture_output=True, text=True, check=False).stdout.strip() == str(BUILD / "share/man/man1/bora.1")
    assert subprocess.run(["man", "bora"], env=environment, capture_output=True, text=True, check=True).stdout.startswith("BORA(1)")
