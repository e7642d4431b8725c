# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Answers of the real model under many schemas, at a high temperature, each judged by Python's `jsonschema` with formats asserted.

Short: tests/e2e/test_generations.py. Long: `./dev soak generations --answers 10000 --schemas 300 --log FILE`, with a house of its own. A schema's answers are written to the log when
they are all there (a line of JSON, what `ask` gives), and a run with the same log goes on behind them; --report sums it up.
"""
import argparse
import collections
import concurrent.futures
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "grammar"))
from rich_schemas import Sampler, rich_schema
from validator import Judge

ANSWERS = 8  # of one request
LATE, UNJUDGED = "no answer in time", "not judged"
BUDGETS = [32, 64, 48, 96]
WHOLE, CUT = "length, whole", "length, cut"  # it came to its last token where the text was complete, or not
QUESTIONS = ["Give me an example as JSON.", "Describe Ada Lovelace as JSON.", "Write any value that fits. Use é, 東京 and 💩 where you can.", "List three things."]

# What people ask models for; short ones.
WRITTEN = {
    "person": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 130}}, "required": ["name", "age"], "additionalProperties": False},
    "event": {"type": "object", "properties": {"title": {"type": "string", "minLength": 1, "maxLength": 30}, "on": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "time"}}, "required": ["title", "on", "at"], "additionalProperties": False},
    "moment": {"type": "string", "format": "date-time"}, "length": {"type": "string", "format": "duration"}, "address": {"type": "string", "format": "email"}, "link": {"type": "string", "format": "uri", "maxLength": 60},
    "key": {"type": "string", "format": "uuid"}, "host": {"type": "string", "format": "hostname"}, "machine": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "type": "string"}, "pointer": {"type": "string", "format": "json-pointer"},
    "price": {"type": "number", "minimum": 0, "exclusiveMaximum": 1000, "multipleOf": 0.01}, "even": {"type": "integer", "multipleOf": 2}, "big": {"type": "integer", "minimum": 12345678901234567890, "maximum": 12345678901234567990},
    "colours": {"type": "array", "items": {"enum": ["red", "green", "blue", "black"]}, "uniqueItems": True, "minItems": 2, "maxItems": 4}, "set": {"type": "array", "uniqueItems": True, "items": {"type": "integer", "minimum": 1, "maximum": 9}, "minItems": 5},
    "pair": {"type": "array", "items": [{"type": "string", "maxLength": 5}, {"type": "boolean"}], "additionalItems": False, "minItems": 2}, "has": {"type": "array", "contains": {"const": "here"}, "items": {"type": "string", "maxLength": 8}, "maxItems": 4},
    "tree": {"type": "object", "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 3}}, "required": ["value"], "additionalProperties": False},
    "shape": {"oneOf": [{"type": "object", "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "exclusiveMinimum": 0}}, "required": ["kind", "radius"]},
                        {"type": "object", "properties": {"kind": {"const": "square"}, "side": {"type": "number", "exclusiveMinimum": 0}}, "required": ["kind", "side"]}]},
    "pays": {"type": "object", "properties": {"how": {"enum": ["card", "cash"]}, "number": {"type": "string", "pattern": "^[0-9]{4}$"}}, "required": ["how"], "additionalProperties": False, "if": {"properties": {"how": {"const": "card"}}}, "then": {"required": ["number"]}, "else": {"not": {"required": ["number"]}}},
    "counts": {"type": "object", "patternProperties": {"^[a-z]{1,6}$": {"type": "integer", "minimum": 0}}, "additionalProperties": False, "minProperties": 2, "maxProperties": 4},
    "names": {"type": "object", "propertyNames": {"pattern": "^x-"}, "additionalProperties": {"type": "string", "maxLength": 10}, "minProperties": 1, "maxProperties": 3},
    "together": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "dependencies": {"a": ["b"]}, "additionalProperties": False, "minProperties": 1},
    "not a word": {"type": "string", "not": {"enum": ["", "a", "example"]}, "maxLength": 12}, "code points": {"type": "string", "minLength": 5, "maxLength": 5}, "letters": {"type": "string", "pattern": "^\\p{L}{2,8}$"}, "either": {"anyOf": [{"type": "null"}, {"type": "boolean"}, {"type": "integer"}]},
    "not one": {"not": {"type": ["string", "object", "array"]}}, "odd names": {"type": "object", "properties": {"a\"b": {"type": "null"}, "東京": {"type": "boolean"}, "x/y~z": {"type": "integer"}}, "required": ["a\"b", "東京", "x/y~z"], "additionalProperties": False},
}


def short_answers(text, rng):
    """Can it be answered shortly, and judged? The judge finds a valid instance of few bytes, and none that it stumbles over."""
    try:
        judge, sampler = Judge(text, formats=True), Sampler(rng, text)
        found = [instance for instance in sampler.instances(60) if judge.valid(instance)]
        return any(len(instance) <= 60 for instance in found)
    except Exception:  # of the judge or the sampler: whatever it is, the schema is not for this
        return False


def real(path):
    """[(name, schema's text)] of a file of lines with "id", "schema" and, where known, "instances" and "valid"."""
    for line in Path(path).read_text().splitlines():
        entry = json.loads(line)
        good = [i for i, valid in zip(entry.get("instances", []), entry.get("valid", [])) if valid]
        if len(line) < 30000 and (not good or min(map(len, good)) <= 80):
            yield entry["id"], json.dumps(entry["schema"])


def schemas(count, seed, more=()):
    """[(name, text)]: the written ones, those of the files `more`, and random ones for the rest."""
    rng = random.Random(seed)
    out = [(name, json.dumps(schema)) for name, schema in WRITTEN.items()]
    for path in more:
        found = [(name, text) for name, text in real(path) if short_answers(text, rng)]
        out += rng.sample(found, min(len(found), count * 2 // 5))
    number = 0
    while len(out) < count:
        text = rich_schema(rng)
        if short_answers(text, rng):
            out.append((f"random {number}", text))
        number += 1
    return out[:count]


def judged(judge, answer):
    """None: the judge stumbles over this value (a reference it cannot follow, recursion)."""
    try:
        return judge.valid(answer)
    except Exception:
        return None


def ask(house, name, text, seed, max_tokens, key, count):
    """`count` answers: {"name", "seed", "max_tokens", "reasons": {"stop": 8}, "wrong": [text]}."""
    rng = random.Random(f"{name} {seed}")
    text = json.dumps(json.loads(text))  # numbers as they are sent
    try:
        status, _, body = house.chat(rng.choice(QUESTIONS), key=key, temperature=1.5, n=count, seed=seed, max_tokens=max_tokens, response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": json.loads(text)}})
    except OSError as error:  # the client's patience is at its end
        return {"name": name, "seed": seed, "max_tokens": max_tokens, "reasons": {LATE: count}, "wrong": [], "message": str(error)}
    if status != 200:
        return {"name": name, "seed": seed, "max_tokens": max_tokens, "reasons": {f"status {status}": count}, "wrong": [], "message": str(body)[:300]}
    judge, reasons, wrong, cut = Judge(text, formats=True), collections.Counter(), [], []
    for choice in body["choices"]:
        answer, reason = choice["message"]["content"], choice["finish_reason"]
        valid = judged(judge, answer)
        if valid is None:
            reasons[UNJUDGED] += 1
            continue
        reasons[reason if reason != "length" else WHOLE if valid else CUT] += 1
        if reason == "stop" and not valid:
            wrong.append(answer)
        if reason == "length" and not valid:
            cut.append(answer)
    return {"name": name, "seed": seed, "max_tokens": max_tokens, "reasons": dict(reasons), "tokens": body["usage"]["completion_tokens"], "wrong": wrong, "cut": cut}


def run(house, chosen, answers, each=ANSWERS, budgets=BUDGETS, at_once=4, done=(), log=None):
    """As many requests of `each` answers as make up `answers`, over the schemas in turn; those of (name, seed) in `done` are left out. Gives the entries; `log` is called with each."""
    key, _ = house.new_key(limits={"requests_per_minute": 100000, "tokens_per_minute": 10**9})
    jobs = [(name, text, seed) for seed in range(answers) for name, text in chosen][:(answers + each - 1) // each]
    out = []
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(ask, house, name, text, seed, budgets[seed % len(budgets)], key, each) for name, text, seed in jobs if (name, seed) not in done]
        try:
            for job in concurrent.futures.as_completed(waiting):
                out.append(job.result())
                if log is not None:
                    log(out[-1])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return out


def report(entries):
    reasons = collections.Counter()
    for entry in entries:
        reasons.update(entry["reasons"])
    wrong = [(entry["name"], text) for entry in entries for text in entry["wrong"]]
    lines = [f"{sum(reasons.values())} answers under {len({e['name'] for e in entries})} schemas: {dict(reasons)}; {sum(e.get('tokens', 0) for e in entries)} tokens; invalid: {len(wrong)}"]
    lines += [f"  invalid: {name}: {text}" for name, text in wrong]
    lines += [f"  cut at {entry['max_tokens']} tokens: {entry['name']}: {text}" for entry in entries for text in entry.get("cut", [])][:20]
    lines += [f"  {entry['name']}: {entry['message']}" for entry in entries if "message" in entry]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="./dev soak generations")
    parser.add_argument("--answers", type=int, default=10000)
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--more", action="append", default=[], help="a file of lines with \"id\" and \"schema\": real schemas")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="a schema to leave out")
    parser.add_argument("--log", default="build/generations.jsonl")
    parser.add_argument("--report", action="store_true", help="of the log, and nothing else")
    options = parser.parse_args()
    path = Path(options.log)
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not options.report:
        from conftest import House
        chosen = [(name, text) for name, text in schemas(options.schemas, options.seed, options.more) if name not in options.skip]
        house = House(path.absolute().with_suffix(".house"))
        try:
            with path.open("a") as file:
                def log(entry):
                    file.write(json.dumps(entry) + "\n")
                    file.flush()

                entries += run(house, chosen, options.answers, done={(e["name"], e["seed"]) for e in entries if LATE not in e["reasons"]}, log=log)
        finally:
            house.down()
    print(report(entries))
    bad = [e for e in entries if e["wrong"] or set(e["reasons"]) - {"stop", WHOLE, CUT, UNJUDGED}]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
