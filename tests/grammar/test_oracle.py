# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks beside an independent validator (Python's jsonschema) on random schemas: what is accepted is valid and what is valid is accepted; walks over masks end,
validly; and a mask's bit is what accepting says."""
import json
import os
import random
from collections import Counter

import pytest
from grammar_program import ANY_SPELLING, run, write_tokenizer
from random_schemas import random_schema, texts
from rich_schemas import Sampler, rich_schema
from validator import Judge

SEED = int(os.environ.get("BORA_TEST_SEED", "20261130"))
SCHEMAS = int(os.environ.get("BORA_TEST_SCHEMAS", "400"))
RICH_SCHEMAS = int(os.environ.get("BORA_TEST_RICH_SCHEMAS", SCHEMAS // 6))
DECLINED_SHARE_MAX = 0.0  # lower only
RICH_DECLINED_SHARE_MAX = 0.01  # the same, of schemas where anything may stand beside anything
RICH_FAILED_SHARE_MAX = 0.02  # lower only: of those that cost too much while they are walked, or do not end within what they are given


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def schemas():
    rng = random.Random(SEED)
    return [random_schema(rng) for _ in range(SCHEMAS)]


def test_accepted_is_valid_and_valid_is_accepted(tokenizer, schemas):
    rng = random.Random(SEED + 1)
    lines = [{"id": i, "schema": schema, "instances": texts(rng, 40)} for i, schema in enumerate(schemas)]
    answers = run("check", tokenizer, lines, *ANY_SPELLING)
    wrong, declined, judged = [], Counter(), 0
    for line, answer in zip(lines, answers, strict=True):
        assert "errors" not in answer, answer["errors"]
        judge = Judge(line["schema"])
        if answer["declined"] is not None:
            declined[answer["declined"]["keyword"]] += 1
            continue
        for text, accepted in zip(line["instances"], answer["accepted"], strict=True):
            judged += 1
            if accepted != judge.valid(text):
                wrong.append(("invalid accepted" if accepted else "valid refused", text, line["schema"]))
    print(f"\n{judged} instances of {len(lines)} schemas judged; declined: {dict(declined)}")
    print(Counter((what, text) for what, text, _ in wrong))
    for what, text, schema in wrong[:20]:
        print(f"{what}: {text}: {schema}")
    assert not wrong, f"{len(wrong)} wrong"
    assert declined.total() <= DECLINED_SHARE_MAX * len(lines)


def test_walks_end_validly(tokenizer, schemas):
    answers = run("walk", tokenizer, [{"id": i, "schema": schema} for i, schema in enumerate(schemas)], "--count", 12, "--tokens-max", 40, "--probes", 6, "--seed", SEED % 1000)
    counts, wrong = Counter(), []
    for schema, answer in zip(schemas, answers, strict=True):
        judge = Judge(schema)
        counts.update(probes=answer["probes"], disagreements=answer["disagreements"])
        for walk in answer["walks"]:
            counts.update(walks=1, complete=walk["complete"])
            if "dead_end" in walk or "error" in walk or (walk["complete"] and not judge.valid(walk["text"])):
                wrong.append((walk, schema))
    print(f"\n{dict(counts)}")
    for walk, schema in wrong[:20]:
        print(f"{walk}: {schema}")
    assert not wrong, f"{len(wrong)} wrong"
    assert counts["disagreements"] == 0
    assert counts["complete"] == counts["walks"]  # a walk has a text that ends, or is given the tokens for one


def walk_rich(tokenizer, schemas, counts, wrong):
    """[(judge, texts of its walks that are valid)] of each schema."""
    out = []
    answers = run("walk", tokenizer, [f'{{"id": {i}, "schema": {schema}}}' for i, schema in enumerate(schemas)], "--count", 6, "--tokens-max", 60, "--probes", 6, "--seed", SEED % 1000)
    for schema, answer in zip(schemas, answers, strict=True):
        judge = Judge(schema, formats=True)
        failed = any("error" in walk for walk in answer["walks"])
        counts.update(declined=answer["declined"] is not None, unsatisfiable="unsatisfiable" in answer, probes=answer["probes"], disagreements=answer["disagreements"], failed=failed)
        if failed:
            print(f"failed: {[walk for walk in answer['walks'] if 'error' in walk][0]}: {schema}")
        for walk in answer["walks"]:
            counts.update(walks=1, complete=walk["complete"])
            if "dead_end" in walk or (walk["complete"] and not judge.valid(walk["text"])):
                wrong.append(("walk", json.dumps(walk, ensure_ascii=False), schema))
        out.append((judge, [walk["text"] for walk in answer["walks"] if walk["complete"] and judge.valid(walk["text"])]))
    return out


def test_rich_schemas(tokenizer):
    """Walks end validly; values that fit, and those near them and near the walks' texts, in any spelling, are accepted when and only when they are valid. Formats are asserted."""
    rng = random.Random(SEED + 2)
    schemas = [rich_schema(rng) for _ in range(RICH_SCHEMAS)]
    counts, wrong = Counter(), []
    walked = walk_rich(tokenizer, schemas, counts, wrong)
    instances = [Sampler(random.Random(SEED + i), schema).instances(40, texts) for i, (schema, (_, texts)) in enumerate(zip(schemas, walked))]
    lines = [f'{{"id": {i}, "schema": {schema}, "instances": {json.dumps(list_)}}}' for i, (schema, list_) in enumerate(zip(schemas, instances))]
    for schema, list_, (judge, _), answer in zip(schemas, instances, walked, run("check", tokenizer, lines, *ANY_SPELLING), strict=True):
        if answer["declined"] is not None:
            continue
        failed = {error["instance"]: error["message"] for error in answer.get("errors", [])}
        if failed:
            counts.update(failed=1)
            print(f"failed: {failed}: {schema}")
        for number, (text, accepted) in enumerate(zip(list_, answer["accepted"], strict=True)):
            counts.update(judged=1, accepted=accepted)
            if accepted and not judge.valid(text):
                wrong.append(("invalid accepted", text, schema))
            if not accepted and number not in failed and judge.must_be_accepted(text):
                wrong.append(("valid refused", text, schema))
    print(f"\n{RICH_SCHEMAS} schemas: {dict(counts)}")
    print(Counter(what for what, *_ in wrong))
    for what, text, schema in wrong[:40]:
        print(f"{what}: {text}: {schema}")
    assert not wrong, f"{len(wrong)} wrong"
    assert counts["disagreements"] == 0
    assert counts["declined"] <= RICH_DECLINED_SHARE_MAX * RICH_SCHEMAS
    assert counts["failed"] <= max(2, RICH_FAILED_SHARE_MAX * RICH_SCHEMAS)
