# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The two commands as programs: lines in, lines out, what is malformed, what is not there."""
import json
import subprocess

import pytest
from grammar_program import BUILD, PACE, run, write_tokenizer

INTEGER = {"type": "integer"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def bora(*words, text=b""):
    return subprocess.run([BUILD / "bin/bora", "grammar", *map(str, words)], input=text, capture_output=True, timeout=300 * PACE)


def test_answers_have_the_members_of_the_contract_in_the_order_of_the_lines(tokenizer):
    lines = [{"id": number, "schema": INTEGER, "instances": ["12", "1.5", "é", ""]} for number in (7, 3)]
    answers = run("check", tokenizer, lines)
    assert [a["id"] for a in answers] == [7, 3]
    for answer in answers:
        assert list(answer) == ["id", "declined", "accepted", "compile_us", "mask_us", "refused"]
        assert answer["declined"] is None and answer["accepted"] == [True, False, False, False]
        assert answer["compile_us"] > 0 and [len(times) for times in answer["mask_us"]][0] == 1 and answer["mask_us"][3] == []


def test_an_id_is_given_back_as_it_came(tokenizer):
    ids = ["a b", None, 1.50, {"x": [1, "é"]}, True]
    assert [a["id"] for a in run("check", tokenizer, [{"id": i, "schema": True, "instances": []} for i in ids])] == ids


def test_pieces_of_an_instance_are_its_bytes(tokenizer, tmp_path):
    texts = ['{"foo": "東京 💩", "bar": [10, true]}', '"\x01"', "\ufffd", "  [ ]"]
    answer, = run("check", tokenizer, [{"id": 1, "schema": {"type": "null"}, "instances": texts}], "--tokens")
    decoded = subprocess.run([BUILD / "bin/bora-tokenize", tokenizer, "--decode"], input="".join(json.dumps(ids) + "\n" for ids in answer["tokens"]), capture_output=True, text=True)
    assert [json.loads(line) for line in decoded.stdout.splitlines()] == texts


def test_a_schema_that_nothing_satisfies_refuses_every_instance(tokenizer):
    answer, = run("check", tokenizer, [{"id": 1, "schema": {"allOf": [{"type": "string"}, {"type": "null"}]}, "instances": ["1", "null"]}])
    assert answer["declined"] is None and answer["accepted"] == [False, False] and answer["mask_us"] == [[], []] and answer["unsatisfiable"]["reason"]


def test_malformed_lines_are_answered_and_the_others_go_on(tokenizer):
    good = json.dumps({"id": 1, "schema": INTEGER, "instances": ["1"]}).encode()
    bad = [b"{", b"[1]", b'{"id": 5, "instances": ["1"]}', b'{"id": 6, "schema": true}', b'{"id": 7, "schema": true, "instances": [1]}', b"\xff", b'{"id": 8, "schema": ' + b"[" * 9000 + b"]" * 9000 + b"}"]
    done = bora("check", "--tokenizer", tokenizer, text=b"\n".join([good, *bad, b"", good]))  # the last line has no end
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [a["id"] for a in answers] == [1, None, None, 5, 6, 7, None, None, 1]
    assert answers[0]["accepted"] == answers[-1]["accepted"] == [True]
    assert all(a["error"] and a["declined"]["reason"] == a["error"] for a in answers[1:-1])


def test_a_line_that_is_too_long_is_told_and_skipped(tokenizer):
    text = b'{"id": 1, "pad": "' + b"x" * (65 << 20) + b'"}\n{"id": 2, "schema": true, "instances": ["1"]}\n'
    done = bora("check", "--tokenizer", tokenizer, text=text)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and "more than" in answers[0]["error"] and answers[1]["id"] == 2


def test_a_reader_that_goes_away_ends_it_quietly(tokenizer):
    lines = b'{"id": 1, "schema": true, "instances": ["[1, 2, 3]"]}\n' * 20000
    child = subprocess.Popen([BUILD / "bin/bora", "grammar", "check", "--tokenizer", tokenizer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    try:
        child.stdin.write(lines)
        child.stdin.close()
    except BrokenPipeError:
        pass
    assert child.stderr.read() == b"" and child.wait(timeout=60 * PACE) != 0


def test_each_answer_comes_before_the_next_line(tokenizer):
    child = subprocess.Popen([BUILD / "bin/bora", "grammar", "check", "--tokenizer", tokenizer], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for number in range(3):
        child.stdin.write(json.dumps({"id": number, "schema": True, "instances": ["1"]}).encode() + b"\n")
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["id"] == number
    child.stdin.close()
    assert child.wait(timeout=60 * PACE) == 0


def test_regex_and_grammars_stand_in_for_schemas(tokenizer, tmp_path):
    lines = [{"id": 1, "instances": ["ab", "aab", "b", "abc"]}]
    expected = [True, True, False, False]
    (tmp_path / "a.gbnf").write_text('root ::= "a"+ "b"')
    (tmp_path / "a.lark").write_text('start: "a"+ "b"')
    (tmp_path / "b.txt").write_text('start: "a"+ "b"')
    for options in (["--regex", "a+b"], ["--grammar", tmp_path / "a.gbnf"], ["--grammar", tmp_path / "a.lark"], ["--grammar", tmp_path / "b.txt", "--dialect", "lark"]):
        answer, = run("check", tokenizer, lines, *options)
        assert (answer["declined"], answer["accepted"]) == (None, expected), options
    answer, = run("check", tokenizer, lines, "--regex", "a(")
    assert answer["declined"]["keyword"] == "regex" and answer["declined"]["reason"] and answer["accepted"] == []


def test_space_and_order(tokenizer):
    schema = {"properties": {"foo": True, "bar": True}, "additionalProperties": False, "type": "object"}
    texts = ['{"foo": 1, "bar": 2}', '{"foo":1,"bar":2}', '{"bar": 2, "foo": 1}', '{ "foo" :\n1 }']
    wanted = {("free", "any"): [True, True, True, True], ("model", "any"): [True, False, True, False], ("compact", "any"): [False, True, False, False], ("free", "schema"): [True, True, False, True]}
    for (space, order), accepted in wanted.items():
        answer, = run("check", tokenizer, [{"id": 1, "schema": schema, "instances": texts}], "--space", space, "--order", order)
        assert answer["accepted"] == accepted, (space, order)


def test_documents_are_found_by_their_address(tokenizer, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/unit.json").write_text('{"definitions": {"u": {"enum": ["m", "s"]}}}')
    line = {"id": 1, "schema": {"$ref": "http://example.org/x/in/unit.json#/definitions/u"}, "instances": ['"m"', '"k"']}
    answer, = run("check", tokenizer, [line], "--documents", f"{tmp_path}=http://example.org/x")
    assert answer["accepted"] == [True, False]
    answer, = run("check", tokenizer, [line], "--documents", f"{tmp_path / 'in/unit.json'}=http://example.org/x/in/unit.json")
    assert answer["accepted"] == [True, False]
    answer, = run("check", tokenizer, [line])
    assert answer["declined"]["keyword"] == "$ref" and answer["accepted"] == []


def test_fuel_is_counted(tokenizer):
    answer, = run("check", tokenizer, [{"id": 1, "schema": {"enum": [str(i) for i in range(5000)]}, "instances": ['"1"']}], "--limit-fuel", 50)
    assert answer["declined"] is not None


@pytest.mark.parametrize("options, says", [([], "--tokenizer is missing"), (["--tokenizer", "{t}", "--space", "wide"], "neither free"), (["--tokenizer", "{t}", "--order", "random"], "neither any"),
                                           (["--tokenizer", "{t}", "--spelling", "odd"], "neither any"),
                                           (["--tokenizer", "{t}", "--threads", "2"], "only 1"), (["--tokenizer", "{t}", "--regex", "a", "--grammar", "b"], "exclude each other"),
                                           (["--tokenizer", "{t}", "--dialect", "lark"], "is of --grammar"), (["--tokenizer", "{t}", "extra"], "unexpected word")])
def test_wrong_words_are_told(tokenizer, options, says):
    done = bora("check", *[o.replace("{t}", str(tokenizer)) for o in options])
    assert done.returncode == 2 and says in done.stderr.decode() and done.stdout == b""


def test_files_that_are_not_there(tokenizer, tmp_path):
    for options in (["--tokenizer", tmp_path / "none"], ["--tokenizer", tokenizer, "--grammar", tmp_path / "none.gbnf"], ["--tokenizer", tokenizer, "--documents", f"{tmp_path / 'none'}=http://x"]):
        done = bora("check", *options)
        assert done.returncode == 1 and done.stderr.startswith(b"bora: ")


def test_help(tokenizer):
    for command in ("check", "walk"):
        done = bora(command, "--help")
        assert done.returncode == 0 and b"--tokenizer FILE" in done.stdout


def test_walks_are_the_same_for_a_seed(tokenizer):
    lines = [{"id": 1, "schema": {"type": "array", "items": {"type": "integer"}}}]
    first, second, other = (run("walk", tokenizer, lines, "--seed", seed, "--count", 5)[0] for seed in (1, 1, 2))
    assert first == second != other
    assert len(first["walks"]) == 5 and all(isinstance(walk["text"], str) for walk in first["walks"])


REFUSALS = [(INTEGER, "1.5", 1, "unexpected .; here may come: 0-9 or the end"), (INTEGER, "", 0, "ends too early; here may come: - 0-9"),
            ({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}, '{"nome": 1}', 3, 'unexpected o; here must come: ame": "'),
            ({"enum": ["a", "é"]}, '"b"', 1, "unexpected b; here may come: a characters beyond ASCII"), ({"const": 1}, "1\n", 1, "unexpected \\n; here may come: nothing but the end")]


@pytest.mark.parametrize("schema, text, byte, reason", REFUSALS)
def test_a_refused_text_is_told_with_its_place(tokenizer, schema, text, byte, reason):
    answer, = run("check", tokenizer, [{"id": 1, "schema": schema, "instances": [text]}], "--as-served", "--tokens")
    refused, = answer["refused"]
    assert answer["accepted"] == [False] and refused["byte"] == byte and reason in refused["reason"]
    assert refused["token"] <= len(answer["tokens"][0])


def test_as_served_is_what_four_options_say(tokenizer):
    line = {"id": 1, "schema": {"properties": {"a": True, "b": True}}, "instances": ['{"a": 1, "b": 2}', '{"a":1}', '{"b": 1, "a": 2}', '{"\\u0061": 1}', '{"c": 1}', '[1, 2]']}
    (short,), (long,), (any_order,) = (run("check", tokenizer, [line], *options) for options in (["--as-served"], ["--space", "model", "--order", "schema", "--spelling", "plain", "--properties", "listed"], ["--as-served", "--order", "any"]))
    assert short["accepted"] == long["accepted"] == [True, False, False, False, False, True]
    assert any_order["accepted"] == [True, False, True, False, False, True] and any_order["refused"][0] is None


@pytest.mark.parametrize("schema, keyword, pointer, reason", [
    ({"type": "integer", "minimum": 5, "maximum": 3, "title": "x"}, "maximum", "/maximum", '"type" and "minimum" and "maximum"'),
    ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string", "minLength": 3, "maxLength": 2}}, "required": ["b"]}}, "required": ["a"]},
     "maxLength", "/properties/a/properties/b/maxLength", '"minLength" and "maxLength"'),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "required", "/required", '"a"'),
    ({"allOf": [{"type": "string"}, {"type": "string", "anyOf": [{"type": "null"}, {"type": "boolean"}]}]}, "anyOf", "/allOf/1/anyOf", '"type" and "anyOf"'),
    ({"anyOf": [False, {"type": "string", "const": 1}]}, "anyOf", "/anyOf", "any of it"), (False, "", "", "satisfies")])
def test_what_nothing_satisfies_is_told_with_its_place(tokenizer, schema, keyword, pointer, reason):
    answer, = run("check", tokenizer, [{"id": 1, "schema": schema, "instances": ["1"]}])
    told = answer["unsatisfiable"]
    assert (told["keyword"], told["pointer"]) == (keyword, pointer) and reason in told["reason"] and answer["refused"][0]["byte"] == 0
