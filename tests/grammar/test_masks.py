# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A token's bit in the mask is what accepting it says: schemas, regexes, rules and calls of tools, over a small vocabulary whose tokens cross every boundary.

Long: `./dev soak masks`, which sets BORA_TEST_PAIRS (of each kind), BORA_TEST_TOKENIZERS (files, by ":"; the small one besides) and BORA_TEST_SCHEMA_FILES (lines with "schema").
"""
import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from grammar_program import BUILD, PACE, PIECES, ROOT, SUITE, write_tokenizer
from random_schemas import random_schema
from rich_schemas import rich_schema

SEED = int(os.environ.get("BORA_TEST_SEED", "20261130"))
PAIRS = int(os.environ.get("BORA_TEST_PAIRS", "300000"))
TOKENIZERS = [path for path in os.environ.get("BORA_TEST_TOKENIZERS", "").split(":") if path]
FILES = [path for path in os.environ.get("BORA_TEST_SCHEMA_FILES", "").split(":") if path]
GOLDEN = ROOT / "tests/golden"
CONTROLS = ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]", "<|python_tag|>"]
CALLS = ["<tool_call>", "<tool", "_call>\n", ">\n{", "</tool_call>", "}\n</", "}}\n</tool_call>", "x<tool_call>\n{\"", '{"name": "get', '", "arguments": {', '"parameters"', '}}, {"name": "', '}; {"', '"}]', "get_", "weather", "<think>", "</think>\n\n", "\u00e9\"", "a\u6771"[:2], "\U0001f4a9\""]


def schema_lines(rng):
    lines = [f'{{"schema": {rich_schema(rng)}}}' for _ in range(150)] + [json.dumps({"schema": random_schema(rng)}) for _ in range(80)]
    for path in sorted(SUITE.glob("*.json")):
        lines += [json.dumps({"schema": group["schema"]}) for group in json.loads(path.read_text())]
    for path in FILES:
        lines += [json.dumps({"schema": json.loads(line)["schema"]}) for line in Path(path).read_text().splitlines()]
    return lines


def regex_lines(rng):
    """Patterns written by hand, those made up at random, and, as all of a text must match, each with anything in front and behind."""
    written = [json.JSONDecoder().raw_decode(line)[0] for line in (GOLDEN / "regex/patterns.txt").read_text().splitlines() if line.startswith('"')]
    made_up = [line.split("\t")[0] for line in (GOLDEN / "regex/random.txt").read_text().splitlines()]
    patterns = written + rng.sample(made_up, min(200, len(made_up)))
    return [json.dumps({"regex": pattern}) for pattern in patterns + [f"[^]*(?:{pattern})[^]*" for pattern in written]]


def rules_lines(_rng):
    return [json.dumps({"dialect": entry["dialect"], "grammar": entry["grammar"]}) for entry in json.loads((GOLDEN / "grammar/rules.json").read_text())]


def calls_lines(rng):
    schemas = [text for text in (line[len('{"schema": '):-1] for line in schema_lines(rng)) if '"type": "object"' in text[:20] and len(text) < 5000]
    return [f'{{"layout": {1 + i % 5}, "choice": {i // 5 % 4}, "tools": [{", ".join(rng.sample(schemas, rng.randint(1, 3)))}]}}' for i in range(200)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), PIECES + CALLS, controls=CONTROLS)


@pytest.mark.parametrize("kind, lines_of", [("schema", schema_lines), ("regex", regex_lines), ("rules", rules_lines), ("calls", calls_lines)])
@pytest.mark.parametrize("tokenizer", [None, *TOKENIZERS], ids=lambda path: path or "small")
def test_mask_is_acceptance(kind, lines_of, tokenizer, small):
    rng = random.Random(SEED)
    lines = lines_of(rng)
    rng.shuffle(lines)
    done = subprocess.run([BUILD / "tests/mask_pairs", tokenizer or small, str(PAIRS), str(SEED)], input="\n".join(lines).encode() + b"\n", capture_output=True, timeout=max(300, PAIRS / 500) * PACE)
    print("\n" + kind, done.stdout.decode().strip())
    assert done.returncode == 0, done.stderr.decode()[:5000]
    counts = json.loads(done.stdout)
    assert counts[kind]["pairs"] >= PAIRS and counts[kind]["admitted"] > PAIRS / 20 and counts[kind]["grammars"] > 0
