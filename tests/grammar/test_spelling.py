# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Which escapes strings may have: none that is not needed where a model writes, all of JSON's where texts are checked; and masks that say the same."""
import json
import re
from collections import Counter

import pytest
from grammar_program import PIECES, run, write_tokenizer

# Escapes of all kinds, whole and cut, with what may stand around them.
ESCAPES = ["\\/", "\\b", "\\t", "\\f\\r", "\\u0", "\\u00", "\\u000", "\\u0000", "\\u001f", "\\u001F", "\\u0041", "\\u00e9", "\\u00E9", "\\ud8", "\\ud83d", "\\ud83d\\ude00", "\\ud900\\udc00", "\\uD900\\uDC00", "\\udc", '\\u0000"', '\\u0001": ', '"\\u00',
           '"\\u0061', '\\""', '\\"": ', '"\\n', '/"', "d83d", "d900", "dc00", "de00", "0000", "001", "00e9"]
SCHEMAS = [True, {"type": "string"}, {"type": "object"}, {"type": "string", "maxLength": 4}, {"type": "string", "pattern": "^[^a-z]+$"}, {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
           {"type": "object", "additionalProperties": {"maxLength": 3}, "properties": {"\u0001": True, "a\"b": {"const": "\\"}, "/": {"type": "string"}}}, {"type": "object", "propertyNames": {"pattern": "^.?$"}},
           {"type": "object", "patternProperties": {"^[^a]": {"type": "string"}}, "additionalProperties": False}]
VALUES = ["\0\n", "Q/é", "\U0001f600", "\U00050000", "\U00100000", 'a"\\']
SCHEMAS += [{"const": value} for value in VALUES] + [{"enum": VALUES}]
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def walks(tokenizer, *options, count=40):
    counts, texts = Counter(), []
    for answer in run("walk", tokenizer, [{"id": i, "schema": schema} for i, schema in enumerate(SCHEMAS)], "--count", count, "--tokens-max", 24, "--space", "model", "--probes", 30, *options):
        counts.update(probes=answer["probes"], disagreements=answer["disagreements"])
        assert all(walk["complete"] for walk in answer["walks"]), answer["walks"]
        texts += [walk["text"] for walk in answer["walks"]]
    assert counts["disagreements"] == 0 and counts["probes"] > 50000, counts
    assert set(VALUES) <= {json.loads(text) for text in texts if text.startswith('"')}  # no value is lost
    return texts


def escapes(texts):
    return {escape for text in texts for escape in re.findall(r"\\(?:ud[89ab]..\\ud[c-f]..|u....|.)", text)}


def test_plain_strings_are_written_as_json_dumps_writes_them(tmp_path):
    texts = walks(write_tokenizer(tmp_path, PIECES + ESCAPES), "--spelling", "plain")
    strings = [string for text in texts for string in STRING.findall(text)]
    assert len(strings) > 500
    assert [s for s in strings if json.dumps(json.loads(s), ensure_ascii=False) != s] == []
    assert {"\\u0000", '\\"', "\\\\", "\\n"} <= escapes(texts)


def test_any_spelling_is_there_on_request(tmp_path):
    texts = walks(write_tokenizer(tmp_path, PIECES + ESCAPES), "--spelling", "any", count=400)
    assert {"\\/", "\\u001F", "\\u0041", "\\u00e9"} <= escapes(texts)


@pytest.mark.parametrize("without, first", [(b"Q", "\0"), (b"\xc3", "\x80"), (b"\xf0", "\U00010000"), (b"\xf1", "\U00040000"), (b"\xf4", "\U00100000")])
def test_escapes_write_what_the_vocabulary_lacks_a_byte_of(tmp_path, without, first):
    texts = walks(write_tokenizer(tmp_path, PIECES + ESCAPES, without), "--spelling", "plain")
    found = {json.loads(f'"{escape}"') for escape in escapes(texts) if escape[1] == "u"}
    assert all(c < " " or c >= first for c in found), found
    assert any(c >= max(first, " ") for c in found)


def test_check_admits_every_spelling_unless_told_otherwise(tmp_path):
    tokenizer = write_tokenizer(tmp_path, PIECES + ESCAPES)
    line = {"id": 1, "schema": {"enum": ["a/b", "é", "\n", "\U0001f600"]}, "instances": ['"a/b"', '"a\\/b"', '"\\u0061/b"', '"é"', '"\\u00E9"', '"\\n"', '"\\u000a"', '"\\ud83d\\ude00"']}
    for options, accepted in (([], [True] * 8), (["--spelling", "any"], [True] * 8), (["--spelling", "plain"], [True, False, False, True, False, True, False, False])):
        answer, = run("check", tokenizer, [line], *options)
        assert answer["accepted"] == accepted, options
