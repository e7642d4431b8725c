# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""JSON Schema as masks, beside llguidance and xgrammar from PyPI in the same run: the same vocabularies (32k, 49k, 131k), schemas, instances and tokens.

What each side does with a token is the same: compute its mask, look at its bit, accept it. Every line's grammar is compiled anew in every round, with nothing kept from before, so masks are
cold; instances of one schema share what the first has built, on all sides. Rounds are fresh processes, one side after the other. A time counts where both sides computed it (the same schema
compiled by both, the same token of the same instance), and is the least over the rounds: what a side always takes, not what the machine did to it once; percentiles are of these.
What is fair to the peers: bench/grammar_peer.py."""
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from grammar_rules import rules_rows
from places import CACHE, ROOT, clean_environment, program, say
from report import percentile

PEERS = {"llguidance": "1.9.1", "xgrammar": "0.2.8"}
# xgrammar by itself: of PyTorch and transformers, which it asks for, only names are used (bench/grammar_peer.py)
PACKAGES = ["llguidance==1.9.1", "numpy==2.3.5", "apache-tvm-ffi", "pydantic==2.14.4", "typing-extensions", "jsonschema[format-nongpl]==4.26.0", "mistralai==3.7.0", "openai==3.54.0"]
PACKAGES_ALONE = ["xgrammar==0.2.8"]
VOCABULARIES = ["32k", "49k", "131k"]
MAIN = "49k"
MODEL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"  # `./dev bench` has fetched it
SUITE = ROOT / "tests/data/json-schema-test-suite-draft7"
PARTS = {"required": "*.json", "optional": "optional/*.json", "format": "optional/format/*.json"}
TOOLS = [10, 100, 500]
SERVED_SCHEMAS, SERVED_TOKENS = 48, 300
TOOL_BYTES_MAX = 1500  # of a schema that is a tool's arguments
EVERY = {"xgrammar": 5}  # only every fifth real schema: all would take it hours
SECONDS_MAX = {"check": "10", "forced": "10", "fork": "60", "tools": "150"}  # of processor time, for one line of a peer
DEATHS_MAX = 150  # lines that a peer may not survive


def run(command, **environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**clean_environment(), "PYTHONDONTWRITEBYTECODE": "1", **environment})
    if done.returncode != 0:
        sys.exit(f"bench: {done.stderr.strip()[-2000:]}")
    return done.stdout


# ---- what it needs -----------------------------------------------------------------------------------------------------

def peers_python():
    venv = CACHE / f"venv-grammar-{hashlib.sha256(' '.join(PACKAGES + PACKAGES_ALONE).encode()).hexdigest()[:12]}"
    python = venv / "bin/python"
    if not (venv / ".done").exists():
        say("installing llguidance and xgrammar")
        run([sys.executable, "-m", "venv", "--clear", venv])
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES])
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *PACKAGES_ALONE])
        (venv / ".done").touch()
    return python


def vocabularies(model):
    """{name: folder}, each with tokenizer.json, tokenizer_config.json, vocabulary."""
    source = ROOT / "bench/grammar_vocabularies.py"
    folder = CACHE / f"grammar/vocabularies-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    tests_python = os.environ.get("BORA_TEST_PYTHON") or CACHE / "venv-tests/bin/python"
    run([tests_python, source, folder, program("bora"), model], BORA_BUILD_DIR=str(program("bora").parent.parent))
    for name in VOCABULARIES:
        (folder / name / "vocabulary").write_text(run([program("bora-tokenize"), folder / name / "tokenizer.json", "--vocabulary"]))
    return {name: folder / name for name in VOCABULARIES}


def real_lines(python):
    source = ROOT / "bench/grammar_corpus.py"
    folder = CACHE / f"grammar/real-{hashlib.sha256(source.read_bytes() + repr(PACKAGES).encode()).hexdigest()[:12]}"
    if not (folder / "real.jsonl").exists():
        say("collecting real schemas and writing instances of them (about a minute)")
        folder.mkdir(parents=True, exist_ok=True)
        say(run([python, source, folder]).strip())
    return [json.loads(line) for line in (folder / "real.jsonl").read_text().splitlines()]


def suite_lines():
    for part, pattern in PARTS.items():
        for path in sorted(SUITE.glob(pattern)):
            for number, group in enumerate(json.loads(path.read_text())):
                yield {"id": [part, path.stem, number], "schema": group["schema"], "instances": [json.dumps(t["data"], ensure_ascii=False) for t in group["tests"]], "valid": [t["valid"] for t in group["tests"]]}


def with_tokens(lines, folder):
    """`lines` with the tokens that `bora grammar check` walks."""
    answers = ours("check", folder, lines, "--tokens", "--limit-fuel", 1)
    return [{**line, "tokens": answer["tokens"]} for line, answer in zip(lines, answers, strict=True)]


# ---- the sides ---------------------------------------------------------------------------------------------------------

def feed(child, lines):
    try:
        for line in lines:
            child.stdin.write(json.dumps({k: v for k, v in line.items() if k != "valid"}) + "\n")
        child.stdin.close()
    except BrokenPipeError:
        pass  # it died; who reads its answers notices


def answers_of(command, lines, hello, **environment):
    """As many as were given before the program ended; of ours all. `hello`: its first line is no answer."""
    child = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**clean_environment(), "PYTHONDONTWRITEBYTECODE": "1", **environment})
    writer, errors = threading.Thread(target=feed, args=(child, lines)), []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    writer.start()
    reader.start()
    if hello and not child.stdout.readline():
        reader.join()
        sys.exit(f"bench: {errors[0][-2000:]}")
    answers = [json.loads(line) for line in child.stdout]
    child.wait()
    writer.join()
    reader.join()
    if not hello and len(answers) < len(lines):
        sys.exit(f"bench: {command[0]} ended with {child.returncode} at {lines[len(answers)]['id']}: {errors[0][-2000:]}")
    return answers


def ours(mode, folder, lines, *options):
    """Bora; fork, tools and forced by bora-bench-grammar, which repeats by itself."""
    if mode == "check":
        return answers_of([program("bora"), "grammar", "check", "--tokenizer", folder, "--documents", f"{SUITE / 'remotes'}=http://localhost:1234", *options], lines, False)
    return answers_of([program("bora-bench-grammar"), mode, folder / "tokenizer.json"], lines, False)


class Peer:
    def __init__(self, name, python):
        self.name, self.python = name, python
        self.hopeless = set()  # ids that it did not survive; not tried again

    def __call__(self, mode, folder, lines, *options):
        """A line that takes too long, or too much memory, ends the process: that line counts as declined, and another process goes on behind it."""
        answers, todo = {}, [line for line in lines if str(line["id"]) not in self.hopeless]
        while todo:
            given = answers_of([self.python, ROOT / "bench/grammar_peer.py", mode, self.name, folder, *options], todo, True, BORA_PEER_SECONDS=SECONDS_MAX[mode])
            answers.update((str(answer["id"]), answer) for answer in given)
            if len(given) < len(todo):
                self.hopeless.add(str(todo[len(given)]["id"]))
                if len(self.hopeless) > DEATHS_MAX:
                    sys.exit(f"bench: {self.name} dies all the time, lastly at {todo[len(given)]['id']}")
            todo = todo[len(given) + 1:]
        dead = {"declined": {"reason": "it took too long"}, "accepted": [], "mask_us": [], "compile_us": None, "tokens": 0, "forced": 0}
        return [answers.get(str(line["id"]), {"id": line["id"], **dead}) for line in lines]


# ---- counting ----------------------------------------------------------------------------------------------------------

def decided(lines, answers):
    """Instances right, wrong and declined; schemas of which every instance is right."""
    counts = Counter()
    for line, answer in zip(lines, answers, strict=True):
        counts["schemas"] += 1
        counts["instances"] += len(line["valid"])
        if answer["declined"] is not None:
            counts["declined"] += len(line["valid"])
            counts["schemas declined"] += 1
            continue
        wrong = [accepted for accepted, valid in zip(answer["accepted"], line["valid"], strict=True) if accepted != valid]
        counts["invalid accepted"] += sum(wrong)
        counts["valid refused"] += len(wrong) - sum(wrong)
        counts["right"] += len(line["valid"]) - len(wrong)
        counts["passed"] += not wrong
        counts["schemas with invalid accepted"] += any(wrong)
    return counts


def common_times(answers, others):
    """Of both sides the compile times of schemas that both compiled, and the mask times of tokens that both came to."""
    compiles, masks = ([], []), ([], [])
    for pair in zip(answers, others, strict=True):
        if any(answer["declined"] is not None for answer in pair):
            continue
        for side in range(2):
            compiles[side].append(pair[side]["compile_us"])
        for times in zip(pair[0]["mask_us"], pair[1]["mask_us"], strict=True):
            count = min(map(len, times))
            for side in range(2):
                masks[side].extend(times[side][:count])
    return compiles, masks


def least(rounds):
    """Position by position over the rounds."""
    return [min(times) for times in zip(*rounds)]


# ---- the rows ----------------------------------------------------------------------------------------------------------

def suite_rows(report, sides, folder):
    lines = with_tokens(list(suite_lines()), folder)
    for what, parts, right_bar, wrong_bar in (("suite, required 927", {"required"}, 95.0, 0), ("suite, optional and format 794", {"optional", "format"}, 85.0, 5)):
        chosen = [line for line in lines if line["id"][0] in parts]
        for name, side in sides.items():
            counts = decided(chosen, side("check", folder, chosen))
            right = 100 * counts["right"] / counts["instances"]
            note = f"{counts['invalid accepted']} invalid accepted, {counts['valid refused']} valid refused, {counts['declined']} declined"
            report.row(f"{what}: decided right, {name}", [right] if name == "bora" else [], [right] if name != "bora" else [], "%", note)
            if name == "bora":
                report.ratio(f"{what}: decided right", right, right_bar, unit=" %")
                report.ratio(f"{what}: invalid accepted", counts["invalid accepted"], wrong_bar, at_least=False, unit="", digits=0)


def asked(side, lines):
    """Those of the real schemas, or of the answers to them, that a side is asked."""
    return lines[:: EVERY.get(side, 1)]


def real_rows(report, sides, lines, name, folder, rounds):
    lines = with_tokens(lines, folder)
    results = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            if side == "xgrammar" and results[side]:
                continue  # once: its compiling takes minutes, and it has no bar of its own here
            results[side].append(sides[side]("check", folder, asked(side, lines)))
    for side, answers in results.items():
        counts = decided(asked(side, lines), answers[0])
        share = 100 * counts["passed"] / counts["schemas"]
        note = f"{counts['invalid accepted']} invalid accepted in {counts['schemas with invalid accepted']} schemas, {counts['valid refused']} valid refused, {counts['schemas declined']} schemas declined"
        report.row(f"{counts['schemas']} real schemas, {name}: passed, {side}", [share] if side == "bora" else [], [share] if side != "bora" else [], "%", note)
        if side == "bora" and name == MAIN:
            report.ratio("real schemas: passed", share, 95.0, unit=" %")
            report.ratio("real schemas: invalid accepted", counts["invalid accepted"], 0, at_least=False, unit="", digits=0)
    for side in sides:
        if side != "bora":
            time_rows(report, [asked(side, answers) for answers in results["bora"]], results[side], name, side)


def time_rows(report, mine, theirs, name, side):
    rounds = [common_times(a, b) for a, b in zip(mine, theirs)]  # as many as both have
    barred = side == "llguidance"
    for kind, what, bars in ((0, "compile", {"p50": 0.5, "p99": 0.25}), (1, "mask", {"p50": 0.33, "p99": 0.33, "p99.9": None, "max": 0.125})):
        times = [least([pair[kind][i] for pair in rounds]) for i in range(2)]
        for name_of, bar in bars.items():
            share = 1.0 if name_of == "max" else float(name_of[1:]) / 100
            label = f"{what} {name_of}, {name}, beside {side}"
            ratio = report.row(label, *([percentile(of, share)] for of in times), "us", f"{len(times[0])} of them, least of {len(rounds)}", digits=2, ratio_digits=3)
            report.ratio(label, ratio, bar if barred else None, at_least=False, digits=3)


def fork_rows(report, sides, lines, folder):
    line = max((line for line in with_tokens(lines[:200], folder)), key=lambda line: len(line["tokens"][0]))
    fork_us = {name: side("fork", folder, [line])[0].get("fork_us") for name, side in sides.items() if name != "bora"}
    nanoseconds = sides["bora"]("fork", folder, [line])[0].get("fork_ns")
    for name, value in fork_us.items():
        report.row(f"fork behind {len(line['tokens'][0])} tokens, beside {name}", [nanoseconds] if nanoseconds else [], [1000 * value] if value else [], "ns")
    report.ratio("fork", nanoseconds, 100, at_least=False, unit=" ns")


def renamed(schema, prefix):
    """With its definitions' names, and what refers to them, made its own: it is put into a larger document."""
    if isinstance(schema, dict):
        out = {}
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                out[key] = value.replace("#/$defs/", f"#/$defs/{prefix}").replace("#/definitions/", f"#/$defs/{prefix}")
            else:
                out[key] = renamed(value, prefix)
        return out
    return [renamed(value, prefix) for value in schema] if isinstance(schema, list) else schema


def tools_schema(lines, count):
    """One call of one of `count` tools, whose arguments are schemas of API clients' models."""
    calls, definitions = [], {}
    for number in range(count):
        schema, prefix = lines[number % len(lines)]["schema"], f"t{number}_"
        own = {k: v for k, v in schema.items() if k not in ("$defs", "definitions", "$schema", "$id")}
        for name, value in {**schema.get("$defs", {}), **schema.get("definitions", {})}.items():
            definitions[prefix + name] = renamed(value, prefix)
        calls.append({"type": "object", "properties": {"name": {"const": f"tool_{number}"}, "arguments": renamed(own, prefix)}, "required": ["name", "arguments"], "additionalProperties": False})
    return {"anyOf": calls, "$defs": definitions}


def tools_rows(report, sides, lines, folder, rounds):
    """Only of tools that every side compiles by themselves, so that all compile the same."""
    models = [line for line in lines if line["id"].startswith(("openai:", "mistralai:")) and len(json.dumps(line["schema"])) <= TOOL_BYTES_MAX]
    checked = [{**line, "instances": [], "tokens": []} for line in models]
    answers = [side("check", folder, checked) for side in sides.values()]
    models = [line for line, *found in zip(models, *answers, strict=True) if all(answer["declined"] is None for answer in found)]
    if not models:
        return say("there is no tool that all sides compile")
    documents = [{"id": count, "schema": tools_schema(models, count)} for count in TOOLS]
    times = {name: [answer.get("compile_us") or [] for answer in side("tools", folder, documents, *([] if name == "bora" else [1 if name == "xgrammar" else rounds]))] for name, side in sides.items()}
    for number, count in enumerate(TOOLS):
        best = min((times[name][number] for name in sides if name != "bora" and times[name][number]), key=min, default=[])
        for name in sides:
            if name != "bora":
                report.row(f"{count} tools compiled, beside {name}", [t / 1000 for t in times["bora"][number]], [t / 1000 for t in times[name][number]], "ms", digits=2, ratio_digits=3)
        if best and times["bora"][number]:
            report.ratio(f"{count} tools compiled, over the better peer", min(times["bora"][number]) / min(best), 0.1, at_least=False, digits=3)


def forced_rows(report, sides, lines, folder):
    """Tokens that need no model, in instances spaced as models space them, of schemas that both sides walk to the end."""
    models = [line for line in with_tokens(lines, folder) if line["id"].startswith(("openai:", "mistralai:"))]
    valid = [{**line, "tokens": [tokens for tokens, valid in zip(line["tokens"], line["valid"]) if valid]} for line in models]
    mine, theirs = (sides[name]("forced", folder, valid) for name in ("bora", "llguidance"))
    both = [(a, b) for a, b in zip(mine, theirs, strict=True) if a["tokens"] == b["tokens"] > 0]
    if not both:
        return say("there is no instance that both sides walk to the end")
    shares = [100 * sum(pair[side]["forced"] for pair in both) / sum(pair[side]["tokens"] for pair in both) for side in range(2)]
    report.row("tokens forced, arguments of API models, beside llguidance", [shares[0]], [shares[1]], "%", f"{sum(a['tokens'] for a, _ in both)} tokens of {len(both)} schemas")
    report.ratio("tokens forced, beside llguidance", shares[0] / shares[1] if shares[1] else None, 1.0)


def served_rows(report, lines, rounds):
    """What schemas cost the real model, eight requests at a time, each under its own: beside as many tokens without any (bench/served_bench.c)."""
    models = [{"schema": line["schema"]} for line in lines if line["id"].startswith(("openai:", "mistralai:")) and 200 < len(json.dumps(line["schema"])) <= TOOL_BYTES_MAX]
    chosen = models[:: max(1, len(models) // SERVED_SCHEMAS)]
    command = [program("bora-bench-served"), "--model-file", MODEL, "--threads", 2, "--rounds", rounds, "--max-tokens", SERVED_TOKENS]
    done = subprocess.run([str(word) for word in command], input="".join(json.dumps(line) + "\n" for line in chosen), capture_output=True, text=True, env=clean_environment())
    if done.returncode != 0:
        sys.exit(f"bench: {done.stderr.strip()}")
    times = {"wall": {}, "cpu": {}}
    for line in done.stdout.splitlines():
        found = dict(word.split("=") for word in line.split())
        for kind, of in times.items():
            of.setdefault(found["mode"], []).append(int(found[f"{kind}_us"]) / int(found["tokens"]))
    for kind, what in (("wall", "time"), ("cpu", "processor time")):
        for mode, name in (("masks", "masks"), ("jump", "masks and forced text")):
            label = f"{what} a token, batch 8, {name}, beside no schema"
            ratio = report.row(label, times[kind][mode], times[kind]["free"], "us", "the other side is bora without a schema", ratio_digits=3)
            report.ratio(label, ratio, 1.01 if mode == "masks" else None, at_least=False, digits=3)


def bench_grammar(options, report):
    """JSON Schema as masks beside llguidance and xgrammar: decided right, compile, mask, fork, tools, forced text; what schemas cost where they are served"""
    python = peers_python()
    folders = vocabularies(MODEL)
    lines = real_lines(python)
    sides = {"bora": ours, **({name: Peer(name, python) for name in PEERS} if options.peer else {})}
    main_folder = folders[MAIN]
    served_rows(report, lines, options.rounds)
    suite_rows(report, sides, main_folder)
    for name in [MAIN] if options.quick else VOCABULARIES:
        real_rows(report, sides, lines, name, folders[name], options.rounds)
        if options.peer:
            rules_rows(report, sides, name, folders[name], options.rounds)
    if options.peer:
        fork_rows(report, sides, lines, main_folder)
        tools_rows(report, sides, lines, main_folder, options.rounds)
        forced_rows(report, sides, lines, main_folder)
