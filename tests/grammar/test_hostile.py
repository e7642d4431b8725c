# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Hostile schemas end at once, enforced or declined with a place, within a memory cap; and items that must differ never lead where nothing can follow."""
import json
import os
import resource
import time

import pytest
from grammar_program import PACE, run, write_tokenizer
from hostile_schemas import CASES
from validator import Judge

# Compiling and the masks of four texts, the program's start included. Measured: 0.6 s of processor time at most; the promise is 1 s on one half as fast.
SECONDS_MAX = 10 * PACE
MEBIBYTES_MAX = 512  # of the largest process: the grammar's 64, the schema's text and values, the vocabulary
UNIQUE = {
    "enum_objects": {"items": {"enum": [{"a": i, "b": [i]} for i in range(5)]}},
    "enum_mixed": {"items": {"enum": [1, "a", None, [1], [1, 2], {"a": 1}, {"a": 1, "b": 2}]}, "minItems": 7},
    "booleans": {"minItems": 9, "items": {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}}, "additionalProperties": False}},
    "closed": {"items": {"type": "object", "properties": {"id": {"enum": ["x", "y"]}, "n": {"type": "integer", "minimum": 0, "maximum": 3}}, "required": ["id"], "additionalProperties": False}},
    "pairs": {"minItems": 4, "items": {"type": "array", "items": [{"type": "boolean"}, {"type": "boolean"}], "minItems": 2, "maxItems": 2}},
    "arrays": {"minItems": 6, "maxItems": 30, "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
    "unique_within": {"minItems": 3, "items": {"type": "array", "uniqueItems": True, "items": {"type": "boolean"}}},
    "nested": {"minItems": 3, "items": {"type": "object", "properties": {"p": {"enum": [{"k": 1}, {"k": 2}]}, "q": {"enum": [[1], [2]]}}, "required": ["p", "q"], "additionalProperties": False}},
    "kinds": {"minItems": 4, "items": {"anyOf": [{"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False, "required": ["a"]},
                                                 {"type": "object", "properties": {"b": {"type": "boolean"}}, "additionalProperties": False, "required": ["b"]}, {"type": "null"}]}},
    "tuple": {"items": [{"enum": [[1], [2]]}, {"enum": [[1], [2]]}, {"enum": [[1], [2], [3]]}], "minItems": 3, "additionalItems": False},
    "contains": {"items": {"enum": [{"a": 1}, {"a": 2}, {"a": 3}]}, "contains": {"properties": {"a": {"const": 3}}}, "minItems": 2},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("name", CASES)
def test_hostile_schema_ends_at_once(tokenizer, name):
    texts = json.dumps(['{"a": 1, "b": {"a": [1]}, "k0": null}', '[1, 2, [3], {"a": 1}]', '"abc-1"', "12.5"])
    start = time.monotonic()
    answers = run("check", tokenizer, [f'{{"id": 0, "schema": {CASES[name]}, "instances": {texts}}}'], check=False)
    seconds = time.monotonic() - start
    assert seconds < SECONDS_MAX
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MEBIBYTES_MAX * 1024
    for answer in answers:  # none: nested too deeply to be read
        assert answer["declined"] is None or answer["declined"]["reason"]


@pytest.mark.parametrize("order", ["schema", "any"])
@pytest.mark.parametrize("name", UNIQUE)
def test_unique_items_never_end_dead(tokenizer, name, order):
    schema = {"type": "array", "uniqueItems": True} | UNIQUE[name]
    answer, = run("walk", tokenizer, [{"id": 0, "schema": schema}], "--count", 15, "--tokens-max", 120, "--probes", 2, "--order", order)
    assert answer["disagreements"] == 0
    judge = Judge(schema)
    for walk in answer["walks"]:
        assert "dead_end" not in walk, walk  # "error" is another matter: the finish within a budget of tokens does not foresee all
        assert not walk["complete"] or judge.valid(walk["text"]), walk


@pytest.mark.parametrize("contains", [{"const": 5}, {"enum": [[]]}, {"type": "array", "maxItems": 0}])
def test_what_cannot_begin_is_declined(tokenizer, contains):
    """Arrays of themselves that must contain what they cannot: found out before a token is spent."""
    schema = {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "contains": contains}, {"enum": [1000]}]}
    answer, = run("walk", tokenizer, [{"id": 0, "schema": schema}], "--count", 4, "--tokens-max", 20)
    assert answer["declined"] or all(walk["complete"] for walk in answer["walks"])


@pytest.mark.parametrize("name", ["required_50k", "not_50k_properties", "properties_50k", "patterns_60_distinct", "nested_not_101_obj", "regex_counts", "regex_lookaheads"])
def test_hostile_schema_is_walked_to_its_end(tokenizer, name):
    """Near the end of what may come, too, each mask is bounded."""
    start = time.monotonic()
    run("walk", tokenizer, [f'{{"id": 0, "schema": {CASES[name]}}}'], "--count", 1, "--tokens-max", 60, "--spelling", "plain", "--space", "model", "--order", "schema", check=False)
    assert time.monotonic() - start < 2 * SECONDS_MAX
