# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The program `bora` where care is needed: what ends something is asked for once more, and names cannot steer a terminal."""
import signal
import socket
import subprocess
import termios
import uuid

import pytest

from command_line import BORA, FAILED, NOT_FOUND, OK, UNAVAILABLE, USAGE, Cli, Terminal
from conftest import PACE, until


@pytest.fixture
def cli(house, tmp_path):
    return Cli(house, tmp_path)


def name():
    return "care-" + uuid.uuid4().hex[:8]


def answer(cli, words, question, typed):
    """The exit status of a command on a terminal, and what it says behind the answer to its question."""
    terminal = Terminal(cli.environment, *words)
    terminal.expect(question)
    terminal.expect(r"\[y/N\] ")
    terminal.type(typed)
    status = terminal.end()
    return status, terminal.output[terminal.seen:]


# ---- ends of keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb, question, then", [
    (["revoke"], "Revoke", "revoked"), (["disable"], "Disable", "disabled"), (["rotate", "--overlap", "0"], "Rotate", None),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_the_end_of_a_key_is_confirmed_on_a_terminal(cli, verb, question, then):
    key, key_id = cli.new_key("--name", "lab of Ada")
    words = ["keys", verb[0], key_id, *verb[1:]]
    for typed in ("\r", "n\r", "no\r", "yess\r", "\x04"):
        status, said = answer(cli, words, rf"{question} key {key_id}, 'lab of Ada' of workspace 'default'\?", typed)
        assert status == FAILED and "nothing was changed" in said
    assert cli.run("models", BORA_API_KEY=key)
    status, said = answer(cli, words, question, "y\r")
    assert status == OK and (f"{key_id} is {then}." if then else f"bora_{key_id}_") in said
    cli.run("models", BORA_API_KEY=key, status=3)


def test_ctrl_c_at_the_question_changes_nothing(cli):
    _, key_id = cli.new_key()
    status, _ = answer(cli, ["keys", "revoke", key_id], "Revoke", "\x03")
    assert status not in (OK, FAILED) and cli.json("keys", "get", key_id)["status"] == "active"


def test_nothing_is_asked_with_yes_or_without_a_terminal(cli):
    for words in (["--yes"], []):
        _, key_id = cli.new_key()
        if words:
            terminal = Terminal(cli.environment, "keys", "revoke", key_id, *words)
            assert terminal.end() == OK and "[y/N]" not in terminal.output
        else:
            cli.run("keys", "revoke", key_id)
        assert cli.json("keys", "get", key_id)["status"] == "revoked"


def test_a_rotation_with_overlap_is_no_end(cli):
    _, key_id = cli.new_key()
    terminal = Terminal(cli.environment, "keys", "rotate", key_id)
    assert terminal.end() == OK and "[y/N]" not in terminal.output


def test_a_key_that_is_not_there_is_not_asked_about(cli):
    terminal = Terminal(cli.environment, "keys", "revoke", "nosuchkey000")
    assert terminal.end() == NOT_FOUND and "[y/N]" not in terminal.output


# ---- ends of places -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["workspaces", "orgs"])
def place(request, cli):
    """(noun, name, id) of a place of its own."""
    called = name()
    return request.param, called, cli.json(request.param, "create", called)["id"]


@pytest.mark.parametrize("verb", ["delete", "disable"])
def test_the_beginning_of_an_id_is_too_little_to_end_a_place(cli, place, verb):
    noun, called, place_id = place
    assert called in cli.run(noun, "get", place_id[:8])  # and enough to look at it
    for words in ([place_id[:4]], [place_id[:8]], [place_id[:35]], [place_id[:8], "--yes"]):
        cli.run(noun, verb, *words, status=USAGE)
        assert "not the whole id" in cli.errors and f"{place_id}  {called}" in cli.errors
    terminal = Terminal(cli.environment, noun, verb, place_id[:7])
    assert terminal.end() == USAGE and "8 characters or more" in terminal.output and "[y/N]" not in terminal.output
    shown = cli.json(noun, "get", place_id)
    assert shown["name"] == called and shown["disabled"] is False


@pytest.mark.parametrize("verb, question", [("delete", "Delete"), ("disable", "Disable")])
def test_the_end_of_a_place_is_confirmed_on_a_terminal(cli, place, verb, question):
    noun, called, place_id = place
    for word in (called, place_id, place_id[:8]):
        status, said = answer(cli, [noun, verb, word], rf"{question} (workspace|organization) '{called}' \({place_id}\)\?", "\r")
        assert status == FAILED and "nothing was changed" in said
    assert cli.json(noun, "get", place_id)["disabled"] is False
    assert answer(cli, [noun, verb, place_id[:8]], question, "yes\r")[0] == OK
    if verb == "disable":
        assert cli.json(noun, "get", place_id)["disabled"] is True
        terminal = Terminal(cli.environment, noun, "enable", place_id[:8])  # which ends nothing
        assert terminal.end() == OK and "[y/N]" not in terminal.output
    else:
        cli.run(noun, "get", place_id, status=NOT_FOUND)


@pytest.mark.parametrize("verb", ["delete", "disable"])
def test_scripts_end_places_by_name_or_whole_id(cli, place, verb):
    noun, called, place_id = place
    cli.run(noun, verb, called)
    if verb == "disable":
        cli.run(noun, "enable", place_id)
        cli.run(noun, verb, place_id)


# ---- names ----------------------------------------------------------------------------------------------------------------

BREAKS = ["a\nb", "a\x1b[2Jb", "a\x9b2Jb", "a\x7fb", "a\tb", "a\u2028b", "a\u202eb"]


@pytest.mark.parametrize("text", BREAKS, ids=ascii)
@pytest.mark.parametrize("words, field", [
    (["keys", "create", "--name", None], "name"), (["keys", "create", "--tenant", None], "tenant"), (["keys", "create", "--user", None], "user_id"),
    (["workspaces", "create", None], "name"), (["orgs", "create", None], "name"), (["keys", "create", "--model-limit", None], "model"),
], ids=lambda value: value if isinstance(value, str) else "-".join(filter(None, value)))
def test_names_of_several_lines_and_controls_are_refused(cli, words, field, text):
    text = text + ":tokens-per-day=1M" if "--model-limit" in words else text
    cli.run(*[word or text for word in words], status=FAILED)
    shown = [line for line in cli.errors.split("\n") if "one line of text" in line]
    assert len(shown) == 1 and f"{field}: Value error, should be one line of text without U+" in shown[0]
    assert not any(c in cli.errors for c in "\x1b\x9b\x7f\t\u2028\u202e")


@pytest.mark.parametrize("method, path, body, loc", [
    ("POST", "api-keys", {"name": "a\u001bb"}, ["body", "name"]), ("PATCH", "api-keys/{key}", {"name": "a\nb"}, ["body", "name"]),
    ("POST", "workspaces", {"name": "\r"}, ["body", "name"]), ("PATCH", "workspaces/{workspace}", {"name": "a\u0085"}, ["body", "name"]),
    ("POST", "organizations", {"name": "\u2029"}, ["body", "name"]), ("PATCH", "organizations/{organization}", {"name": "a\u0007"}, ["body", "name"]),
    ("POST", "api-keys", {"scopes": {"models": ["small", "a\nb"]}}, ["body", "scopes", "models", 1]),
    ("PUT", "prices", {"currency": "EUR", "prices": [{"model": "a\n", "input_per_million": 1, "output_per_million": 1}]}, ["body", "prices", 0, "model"]),
], ids=lambda value: value if isinstance(value, str) else "")
def test_names_are_one_line_over_http_too(cli, house, method, path, body, loc):
    _, key_id = cli.new_key()
    path = path.format(key=key_id, workspace=cli.json("workspaces", "create", name())["id"], organization=cli.json("orgs", "create", name())["id"])
    status, _, answer = house.send(method, "/v1/admin/" + path, body, key=house.admin_key)
    assert status == 422 and [(e["loc"], e["type"]) for e in answer["detail"]] == [(loc, "value_error")], answer


@pytest.mark.parametrize("text", ["Zürich — 東京 🏔", "a\u00a0b", "مشروع\u200f", "e\u0301"], ids=ascii)
def test_names_of_any_language_are_taken(cli, text):
    _, key_id = cli.new_key("--name", text)
    assert cli.json("keys", "get", key_id)["name"] == text


# ---- output that goes nowhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["keys"], ["keys", "--names"], ["keys", "--quiet"], ["limits"], ["usage", "--csv"], ["usage", "export", "-"], ["status"], ["config", "list"],
                                   ["chat", "--max-tokens", "4", "hi"], ["chat", "--json", "--max-tokens", "4", "hi"], ["--help"], ["help", "--man"], ["completion", "bash"], ["--version"]], ids=" ".join)
@pytest.mark.parametrize("closed", [False, True], ids=["full", "closed"])
def test_a_result_that_cannot_be_written_is_a_failure(cli, words, closed):
    done = to_nowhere(cli, words, closed)
    assert done.returncode == FAILED and done.stderr.count("bora: standard output: ") == 1, done.stderr


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_new_key_that_cannot_be_written_is_not_taken_for_made(cli, form):
    called = name()
    done = to_nowhere(cli, ["keys", "create", "--name", called, *form], False)
    (key_id,) = [key["prefix"] for key in cli.json("keys", "list", "--name", called)["keys"]]
    assert done.returncode == FAILED and f"the key could not be written: No space left on device; `bora keys rotate {key_id}`" in done.stderr
    assert cli.run("models", BORA_API_KEY=cli.run("keys", "rotate", key_id).strip())


def to_nowhere(cli, words, closed):
    """A command whose standard output is full, or closed."""
    redirection = ">&-" if closed else ">/dev/full"
    return subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", BORA, *words], env=cli.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60 * PACE, check=False)


# ---- addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "", "http://127.0.0.1:8080", "https://bora.example.com:443", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:0", "127.0.0.1:70000"])
def test_what_is_no_address_is_said_to_be_none(cli, address):
    cli.run("models", "--address", address, status=USAGE)
    assert "HOST:PORT" in cli.errors and "from the command line" in cli.errors
    cli.run("config", "set", "address", address, status=USAGE)
    if address:
        cli.run("models", status=USAGE, BORA_ADDRESS=address)
        assert "HOST:PORT" in cli.errors and "from BORA_ADDRESS" in cli.errors


def test_who_says_nothing_is_named(cli):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for words in (["models"], ["chat", "hi", "--model", "m"]):
            cli.run(*words, "--address", address, "--timeout", "500ms", status=UNAVAILABLE)
            assert cli.errors == f"bora: {address} gave no answer in time (DEADLINE_EXCEEDED); --timeout waits longer\n  the address is from the command line\n"


def test_who_is_not_there_or_something_else_is_told_shortly(cli, house):
    cli.run("models", "--address", "127.0.0.1:1", status=UNAVAILABLE)
    assert cli.errors == "bora: 127.0.0.1:1 cannot be reached: Connection refused\n  the address is from the command line\n"
    cli.run("models", "--address", f"127.0.0.1:{house.ports['http']}", status=UNAVAILABLE)
    assert "speaks HTTP, not gRPC" in cli.errors
    cli.run("models", "--tls", status=UNAVAILABLE)
    assert "no TLS is spoken there" in cli.errors


# ---- narrow terminals -----------------------------------------------------------------------------------------------------


def shown(cli, columns, *words):
    terminal = Terminal({**cli.environment, "NO_COLOR": "1"}, *words, columns=columns)
    assert terminal.end() == OK
    return [line for line in terminal.output.replace("\r\n", "\n").splitlines() if line and not line.startswith("bora: ")]


@pytest.mark.parametrize("words, least", [(["keys", "--name", "narrow"], 48), (["workspaces"], 68), (["orgs"], 52), (["audit", "--limit", "1"], 76), (["workers"], 62), (["limits"], 62), (["usage"], 60)], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_tables_fit_the_terminal_where_they_can(cli, words, least):
    cli.new_key("--name", "narrow", "--tokens-per-day", "1M", "--requests-per-minute", "60")
    cli.run("chat", "--max-tokens", "1", "hi")
    until(lambda: len(cli.run(*words).splitlines()) > 1, "there is something to show: the ledger comes a little later")
    wide, *narrower, unknown, plain = shown_at_once(cli, words, (200, least, 80, 100, 0))
    for columns, lines in zip((least, 80, 100), narrower):
        assert len(lines) == len(wide) > 1 and max(map(len, lines)) <= columns, lines
        assert lines[0].split()[0] == wide[0].split()[0] or words == ["workers"]  # what a row is called stays
    assert unknown == [line.rstrip() for line in plain.splitlines()]  # a width that is not known is none


def shown_at_once(cli, words, widths):
    """The table in each width, and without a terminal, of one moment: what was used comes into the ledger, and leaves a minute, while one looks."""
    for _ in range(20):
        before = cli.run(*words)
        tables = [shown(cli, columns, *words) for columns in widths]
        if cli.run(*words) == before:
            return *tables, before
    raise AssertionError(f"{words} shows something else each time")


# ---- a prompt that shows nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed, number", [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)], ids=["Ctrl-C", "Ctrl-backslash"])
def test_a_terminal_shows_what_is_typed_again_whatever_ends_the_prompt(cli, typed, number):
    terminal = Terminal(cli.environment, "config", "set", "api-key")
    terminal.expect(r"\(not shown\): ")
    terminal.type("bora_half" + typed)
    assert terminal.end() == -number and terminal.modes & termios.ECHO and "bora_half" not in terminal.output
    assert not (cli.home / "config/bora/config").exists()


def test_a_prompt_that_was_put_aside_asks_again(cli):
    terminal = Terminal(cli.environment, "config", "set", "api-key")
    terminal.expect(r"\(not shown\): ")
    terminal.type("bora_half\x1a")  # the kernel stops nobody here, as there is no shell that could let it go on
    terminal.expect(r"\(not shown\): ")
    terminal.type(cli.house.key + "\r")
    assert terminal.end() == OK and terminal.modes & termios.ECHO and cli.house.key not in terminal.output
    assert cli.run("models", BORA_API_KEY=None)
