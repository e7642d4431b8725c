# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The program `bora` where somebody new to it stumbles: what was hardly meant is refused or warned of, and no wait is in vain."""
import datetime
import json
import re
import subprocess
import time

import pytest

from command_line import BORA, FAILED, NOT_AUTHORISED, NOT_FOUND, OK, RATE_LIMITED, USAGE, Cli, Terminal
from conftest import PACE

TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
DAY_S = 86400


@pytest.fixture
def cli(house, tmp_path):
    return Cli(house, tmp_path)


def seconds_from_now(text):
    """Of a time that the program has printed, whose zone is UTC here."""
    moment = datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() - time.time()


# ---- nothing where something was meant ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--models", "--endpoints"])
@pytest.mark.parametrize("empty", ["", " ", ",", " , "])
def test_an_empty_list_does_not_open_a_key_to_all(cli, option, empty):
    _, key_id = cli.new_key("--models", cli.house.model, "--endpoints", "chat,models")
    before = cli.json("keys", "get", key_id)["scopes"]
    cli.run("keys", "update", key_id, option, empty, status=USAGE)
    assert f"{option} is empty: name one or more, or any" in cli.errors
    assert cli.json("keys", "get", key_id)["scopes"] == before == {"models": [cli.house.model], "endpoints": ["chat", "models"]}
    made = len(cli.json("keys", "list")["keys"])
    assert cli.run("keys", "create", option, empty, status=USAGE) == "" and f"{option} is empty" in cli.errors
    assert len(cli.json("keys", "list")["keys"]) == made


def test_a_name_that_is_given_is_one(cli):
    _, key_id = cli.new_key("--name", "kept")
    cli.run("keys", "update", key_id, "--name", "", status=USAGE)
    assert "--name is empty" in cli.errors
    cli.run("keys", "create", "--name", " ", status=USAGE)
    assert cli.json("keys", "get", key_id)["name"] == "kept"


def test_a_disabled_key_is_not_disabled_again(cli):
    key, key_id = cli.new_key("--name", "twice")

    def changes():
        return [(entry["action"], entry["detail"]) for entry in cli.json("audit", "--all")["entries"] if entry["target"] == key_id]

    before = len(changes())
    for _ in range(2):
        assert cli.run("keys", "disable", key_id) == f"{key_id} is disabled.\n"
        cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=key)
    cli.run("keys", "update", key_id, "--name", "twice", "--models", "any")  # as it is
    assert len(changes()) == before + 1 and changes()[0] == ("key.update", {"disabled": {"before": False, "after": True}})
    for _ in range(2):
        cli.run("keys", "enable", key_id)
    cli.run("models", BORA_API_KEY=key)
    assert len(changes()) == before + 2


# ---- rotations ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, lasts_s", [([], DAY_S), (["--overlap", "1h"], 3600), (["--overlap", "0"], 0)], ids=["default", "1h", "0"])
def test_a_rotation_tells_until_when_the_old_secret_works(cli, words, lasts_s):
    _, key_id = cli.new_key()
    cli.run("keys", "rotate", key_id, *words)
    assert "warning" not in cli.errors
    if lasts_s == 0:
        assert "The old secret is refused now.\n" in cli.errors
        return
    told = re.search(rf"^The old secret works until {TIME}\.$", cli.errors, re.M)
    assert lasts_s - 60 * PACE < seconds_from_now(told[1]) <= lasts_s + 1


def test_a_second_rotation_within_the_overlap_is_confirmed_on_a_terminal(cli):
    first, key_id = cli.new_key()
    second = cli.run("keys", "rotate", key_id).strip()
    for typed, status in (("n\r", FAILED), ("y\r", OK)):
        for key in (first, second):
            cli.run("models", BORA_API_KEY=key)
        terminal = Terminal(cli.environment, "keys", "rotate", key_id)
        terminal.expect(rf"Rotate key {key_id}, .*The secret before its last rotation, which was to go on until {TIME}, is refused at once\.")
        terminal.expect(r"\[y/N\] ")
        terminal.type(typed)
        assert terminal.end() == status
    cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=first)
    cli.run("models", BORA_API_KEY=second)


def test_a_script_is_warned_of_a_second_rotation(cli):
    first, key_id = cli.new_key()
    cli.run("keys", "rotate", key_id)
    third = cli.run("keys", "rotate", key_id).strip()
    told = re.search(rf"^bora: warning: the secret before the last rotation, which was to go on until {TIME}, is refused now$", cli.errors, re.M)
    assert DAY_S - 60 * PACE < seconds_from_now(told[1]) <= DAY_S
    cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=first)
    cli.run("models", BORA_API_KEY=third)


# ---- names that are none --------------------------------------------------------------------------------------------------


def test_names_of_models_that_nobody_serves_are_doubted(cli):
    _, key_id = cli.new_key()
    doubted = [
        (["keys", "create", "--models", "smol,small"], "so a key cannot ask it yet"),
        (["keys", "create", "--model-limit", "smol:60:"], "so this limit limits nothing yet"),
        (["keys", "update", key_id, "--models", f"smol,{cli.house.model}"], "so a key cannot ask it yet"),
        (["limits", "set", "--key", key_id, "--model", "smol", "--requests-per-minute", "6"], "so this limit limits nothing yet"),
        (["prices", "set", "smol", "--input", "1", "--output", "1", "--currency", "EUR"], "so this price counts for nothing yet"),
    ]
    for words, so in doubted:
        assert cli.run(*words)  # a model may come later
        assert cli.errors.count("warning") == 1, words
        assert f"bora: warning: no model is served as 'smol' now, {so}; there are: {cli.house.model}\n" in cli.errors, words
    cli.run("limits", "set", "--key", key_id, "--model", "smol", "--clear")
    assert "warning" not in cli.errors
    cli.run("prices", "remove", "smol")
    for name in (cli.house.model, "small"):
        cli.run("limits", "set", "--key", key_id, "--model", name, "--requests-per-minute", "6")
        assert "warning" not in cli.errors
        cli.run("keys", "update", key_id, "--models", name)
        assert "warning" not in cli.errors


def test_a_key_that_may_ask_nothing_is_told_so(cli):
    key, _ = cli.new_key("--models", "nosuch", "--endpoints", "chat,models")
    cli.run("chat", "hi", status=NOT_AUTHORISED, BORA_API_KEY=key)
    assert "no model is served right now that this key may ask" in cli.errors
    assert cli.run("models", status=NOT_AUTHORISED, BORA_API_KEY=key) == ""
    assert "no model is served right now that this key may ask" in cli.errors
    assert '"data":[]' in cli.run("models", "--json", status=NOT_AUTHORISED, BORA_API_KEY=key).replace(" ", "")


def test_a_key_is_not_changed_by_its_name(cli):
    cli.new_key("--name", "console key")
    for words in (["keys", "disable"], ["keys", "rotate"], ["keys", "update", "--role", "member"], ["limits", "--key"], ["limits", "set", "--tokens-per-day", "5", "--key"]):
        cli.run(*words, "console key", status=NOT_FOUND)
        assert "a key goes by its id" in cli.errors and "bora keys list --name" in cli.errors, words


def test_keys_are_listed_by_what_they_are_now(cli):
    """However many there are: all pages are looked through, and every form of the list is of those alone."""
    cli.run("workspaces", "create", "by status")
    made = {status: cli.run("keys", "create", "--workspace", "by status", "--name", status).split("_")[1] for status in ("active", "disabled", "revoked")}
    cli.run("keys", "disable", made["disabled"], "--yes")
    cli.run("keys", "revoke", made["revoked"], "--yes")
    for status, prefix in made.items():
        words = ["keys", "list", "--workspace", "by status", "--status", status]
        assert [line.split()[0] for line in cli.run(*words).splitlines()[1:]] == [prefix]
        assert [key["name"] for key in json.loads(cli.run(*words, "--json"))["keys"]] == [status]
        assert cli.run(*words, "--names") == f"{prefix}\t{status}\n"
        assert len(cli.run(*words, "--quiet").splitlines()) == 1
    assert cli.run("keys", "list", "--workspace", "by status", "--status", "expired") == ""
    assert "There are no such keys." in cli.errors
    assert json.loads(cli.run("keys", "list", "--workspace", "by status", "--status", "expired", "--json"))["keys"] == []


# ---- limits ---------------------------------------------------------------------------------------------------------------


def test_spend_that_no_price_counts_is_doubted(cli):
    model = cli.house.model
    none = "bora: warning: there are no prices, so a limit on spend limits nothing yet: bora prices set\n"
    some = f"bora: warning: no price is set for {model}, so answers count nothing against a limit on spend: bora prices set\n"
    key, key_id = cli.new_key("--spend-per-month", "5")
    assert none in cli.errors
    asked = [
        (["keys", "create", "--model-limit", "small:spend-per-month=5"], {}),
        (["limits", "set", "--key", key_id, "--spend-per-month", "6"], {}),
        (["limits", "--key", key_id], {}),
        (["spend", "set", "100"], {}),
        (["limits"], {"BORA_API_KEY": key, "BORA_ADMIN_KEY": None}),
    ]
    for words, variables in asked:
        cli.run(*words, **variables)
        assert none in cli.errors, words
    cli.run("limits", "set", "--key", key_id, "--tokens-per-day", "1M")
    assert "price" not in cli.errors
    cli.run("prices", "set", "another", "--input", "1", "--output", "1", "--currency", "EUR")
    for words, _ in asked[:-1]:  # the workers are not for everybody to see
        cli.run(*words)
        assert some in cli.errors, words
    cli.run("limits", "set", "--key", key_id, "--model", "another", "--spend-per-month", "6")
    assert "no price" not in cli.errors
    cli.run("prices", "set", "small", "--input", "1", "--output", "1")  # its tier
    for words, variables in asked:
        cli.run(*words, **variables)
        assert "price" not in cli.errors, words
    assert re.search(r"spend / month +0\.00 of 6\.00 EUR ", cli.run("limits", "--key", key_id))
    assert re.search(r"spend / month +0\.00 of 6\.00 EUR ", cli.run("limits", BORA_API_KEY=key, BORA_ADMIN_KEY=None))
    for name in ("another", "small"):
        cli.run("prices", "remove", name)
    cli.run("spend", "set", "none")


def test_an_answer_about_limits_names_whose_they_are(cli):
    _, key_id = cli.new_key()
    assert cli.run("limits", "set", "--key", key_id, "--model", "small", "--tokens-per-day", "500") == f"Limits of key {key_id} for model small now: 500 tok/day\n"
    cli.json("workspaces", "create", "limited place")
    place = ["limits", "set", "--workspace", "limited place"]
    assert cli.run(*place, "--model", "small", "--requests-per-minute", "5") == "Limits of workspace limited place for model small now: 5 req/min\n"
    assert cli.run(*place, "--tokens-per-day", "9") == "Limits of workspace limited place now: 9 tok/day\n  of small: 5 req/min\n"
    assert cli.run(*place, "--clear") == "Limits of workspace limited place now: none\n  of small: 5 req/min\n"
    assert cli.run(*place, "--each-key", "--requests-per-second", "2") == "Limits of each key of workspace limited place now: 2 req/s\n"
    assert cli.run(*place, "--clear", "--model", "small") == "Limits of workspace limited place for model small now: none\n"


def test_no_wait_is_in_vain(cli):
    """Without them --retry would wait a minute five times, for a request that never passes, and for the end of a day."""
    small, _ = cli.new_key("--tokens-per-minute", "300")
    start = time.monotonic()
    cli.run("chat", "--retry", "5", "--max-tokens", "500", "hi", status=RATE_LIMITED, BORA_API_KEY=small)
    assert "lower max_tokens" in cli.errors and "trying again is of no use" in cli.errors and "try again in" not in cli.errors
    daily, _ = cli.new_key("--tokens-per-day", "60")
    ask = ["chat", "--max-tokens", "20", "hi"]
    for _ in range(4):
        done = subprocess.run([BORA, *ask, "--retry", "5"], env={**cli.environment, "BORA_API_KEY": daily}, capture_output=True, text=True, timeout=60 * PACE, check=False)
        if done.returncode == RATE_LIMITED:
            break
    left_s = DAY_S - time.time() % DAY_S
    if left_s > 180:  # else the day ends with this test
        assert re.search(r"try again in \d+ (min|h \d+ min), which is longer than --retry waits", done.stderr), done.stderr
    assert time.monotonic() - start < 55 * PACE


# ---- words ----------------------------------------------------------------------------------------------------------------


def test_an_export_does_not_write_another_format_than_its_name_says(cli, tmp_path):
    file = tmp_path / "ledger.json"
    cli.run("usage", "export", file, status=USAGE)
    assert ".jsonl" in cli.errors and ".csv" in cli.errors and list(tmp_path.glob("ledger*")) == []
    cli.run("usage", "export", file, "--format", "jsonl")
    assert not file.read_text().startswith("id,")


@pytest.mark.parametrize("word", ["--per", "--every"])
def test_other_words_for_an_interval_are_understood_in_the_refusal(cli, word):
    cli.run("usage", word, "hour", status=USAGE)
    assert f"unknown option {word}; did you mean --interval?" in cli.errors
    cli.run("keys", "list", word, "hour", status=USAGE)
    assert "--interval" not in cli.errors
