# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Escapes, surrogates and lengths: what a string of JSON may be, in every place where a string stands. Tokens are bytes, and pieces that cut characters and escapes."""
import json

import pytest
from grammar_program import ANY_SPELLING, PIECES, run, write_tokenizer

HIGH, LOW = "\\ud83d", "\\ude00"  # of U+1F600


@pytest.fixture(scope="module", params=["bytes", "pieces"])
def tokenizer(request, tmp_path_factory):
    pieces = [*PIECES, "\\ud83d", "\\ude00", "\\ud8", "3d\\ude", "\\ude00\"", "00e", "\\u0", "d\\"] if request.param == "pieces" else []
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), pieces)


def accepted(tokenizer, schema, texts):
    answer, = run("check", tokenizer, [{"id": 1, "schema": schema, "instances": texts}], *ANY_SPELLING)
    assert answer["declined"] is None and "errors" not in answer, answer
    return dict(zip(texts, answer["accepted"], strict=True))


STRINGS = {  # schema, what stands around the string's inside
    "anything": (True, '"', '"'), "string": ({"type": "string"}, '"', '"'), "length": ({"type": "string", "minLength": 1, "maxLength": 40}, '"', '"'), "pattern": ({"type": "string", "pattern": "^[^]*$"}, '"', '"'),
    "class": ({"type": "string", "pattern": "^[^#]+$"}, '"', '"'), "not": ({"type": "string", "not": {"const": "#"}}, '"', '"'), "unique": ({"type": "array", "uniqueItems": True}, '["', '"]'),
    "name": ({"type": "object"}, '{"', '":1}'), "other name": ({"type": "object", "properties": {"a": False}, "required": []}, '{"', '":1}'), "matched name": ({"type": "object", "patternProperties": {"^[^]": True}, "additionalProperties": False}, '{"', '":1}'),
    "name that fits": ({"type": "object", "propertyNames": {"minLength": 1}}, '{"', '":1}'),
}


@pytest.mark.parametrize("place", STRINGS)
def test_escapes(tokenizer, place):
    schema, before, behind = STRINGS[place]
    good = ['\\"', "\\\\", "\\/", "\\b\\f\\n\\r\\t", "\\u0000", "\\u001f", "\\u00e9", "\\u00E9", "\\uFFFF", "\\u2028", HIGH + LOW, "\\uD83D\\uDE00", "x" + HIGH + LOW + "y", HIGH + LOW + HIGH + LOW, "\\udbff\\udfff", "\\ud800\\udc00", "\\ud7ff", "\\ue000", "\U0001f600"]
    bad = [HIGH, LOW, HIGH + "x", HIGH + "\\u0041", HIGH + "\\n", HIGH + HIGH + LOW, LOW + HIGH, HIGH + LOW + LOW, HIGH + " " + LOW, HIGH + "\\ue000", "\\ud800\\ud7ff", "\\udfff", "\\x41", "\\u12", "\\u123g", "\\U0041", "\\'", "\\0", "\\a", "\\v", "\\u 041", "\\u+041", "\n", "\t", "\\\n"]
    found = accepted(tokenizer, schema, [before + inside + behind for inside in good + bad])
    wrong = [(inside, inside in good) for inside in good + bad if found[before + inside + behind] != (inside in good)]
    assert not wrong


@pytest.mark.parametrize("where", ["value", "name", "item"])
def test_length_is_in_code_points(tokenizer, where):
    ones = ["x", "é", "東", "\U0001f600", "\\u00e9", HIGH + LOW, "\\n", "\\\\", "\\u0000", "\\/", "\ufeff"]
    fits = {"minLength": 3, "maxLength": 3}
    schema, before, behind = {"value": ({"type": "string", **fits}, '"', '"'), "name": ({"type": "object", "propertyNames": fits, "minProperties": 1}, '{"', '": 0}'), "item": ({"type": "array", "items": {"type": "string", **fits}, "uniqueItems": True}, '["', '"]')}[where]
    texts = {one * n: n == 3 for one in ones for n in (2, 3, 4)} | {"e\u0301": False, "e\u0301x": True, HIGH + LOW + "ab": True, "\U0001f600\\ud83d\\ude00a": True}
    found = accepted(tokenizer, schema, [before + text + behind for text in texts])
    assert {text: found[before + text + behind] for text in texts} == texts


@pytest.mark.parametrize("value", ["é", "\U0001f600", "a\"b", "\\", "\n", "\u0000", "\u2028", "東京", "/", "\U0010ffff"])
def test_constants_and_names_in_every_spelling(tokenizer, value):
    escaped = "".join(f"\\u{value.encode('utf-16-be')[i]:02x}{value.encode('utf-16-be')[i + 1]:02x}" for i in range(0, len(value.encode("utf-16-be")), 2))
    plain, near = json.dumps(value, ensure_ascii=False)[1:-1], "\\u0061"
    for schema, before, behind in (({"const": value}, '"', '"'), ({"enum": ["b", value, 1]}, '"', '"'), ({"type": "object", "properties": {value: True}, "required": [value], "additionalProperties": False}, '{"', '": 1}')):
        texts = {plain: True, escaped: True, escaped.upper().replace("\\U", "\\u"): True, near: False, escaped + escaped: False, plain + " ": False, "": False}
        found = accepted(tokenizer, schema, [before + text + behind for text in texts])
        assert {text: found[before + text + behind] for text in texts} == texts, schema


def test_a_name_comes_once_in_whatever_spelling(tokenizer):
    for schema in (True, {"type": "object", "properties": {"é": True, "\U0001f600": True}}, {"type": "object", "patternProperties": {"^é": True}}, {"type": "object", "additionalProperties": {"type": "integer"}}):
        texts = ['{"é": 1, "\\u00e9": 2}', '{"\\u00e9": 1, "\\u00E9": 2}', f'{{"\U0001f600": 1, "{HIGH}{LOW}": 2}}', '{"a": 1, "\\u0061": 2}']
        assert not any(accepted(tokenizer, schema, texts).values()), schema
        assert all(accepted(tokenizer, schema, ['{"é": 1, "e\\u0301": 2}', f'{{"{HIGH}{LOW}": 1, "{HIGH}\\ude01": 2}}']).values())


def test_a_schema_may_ask_for_no_surrogates(tokenizer):
    """A lone surrogate is in no text of UTF-8, so what only they satisfy is satisfied by nothing, and what is outside of them by all."""
    answer, = run("check", tokenizer, [{"id": 1, "schema": {"type": "string", "pattern": "^[\\ud800-\\udfff]$"}, "instances": ['"\\ud800"']}])
    assert answer["accepted"] in ([], [False])
    assert accepted(tokenizer, {"type": "string", "pattern": "^[^\\ud800-\\udfff]$"}, ['"\U0001f600"', '"a"', '"\\ud800"']) == {'"\U0001f600"': True, '"a"': True, '"\\ud800"': False}


def test_nothing_stands_before_or_behind(tokenizer):
    assert not any(accepted(tokenizer, True, ["\ufeff1", "1\ufeff", "\u00a01", "1\u2028", "\v1", "1\f"]).values())
