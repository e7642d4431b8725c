#!/usr/bin/env node
// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
/*
 * Make tests/golden/regex/goldens.json and random.txt: what V8 finds in texts.
 *
 *     node tools/make_regex_goldens.mjs [FOLDER of the JSON Schema test suite, draft 7]
 *
 * Patterns and texts come from tests/golden/regex/patterns.txt and, if its folder is given, from the suite's pattern, patternProperties,
 * ecmascript-regex and non-bmp-regex files; random.txt has patterns made up, dense with assertions. A pattern that has no reading with the flag "u" is read without it, as annex B of ECMA-262 would.
 */
import { readFileSync, writeFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "../tests/golden/regex");
const SUITE = ["pattern.json", "patternProperties.json", "optional/ecmascript-regex.json", "optional/non-bmp-regex.json"];

function compile(pattern, flags) {
    for (const more of ["u", ""]) {
        try {
            return new RegExp(pattern, flags + more);
        } catch {
            continue;
        }
    }
    return null;
}

/** Every JSON string of a line. */
const strings = (line) => (line.match(/"(?:[^"\\]|\\.)*"/gu) ?? []).map((s) => JSON.parse(s));

/** Small changes, the same on every run. */
function* changed(text) {
    const characters = [...text];
    const middle = characters.length >> 1;
    if (characters.length > 40) return;
    yield characters.slice(1).join("");
    yield characters.slice(0, -1).join("");
    yield characters.filter((_, i) => i !== middle).join("");
    yield text + text;
    yield "x" + text;
    yield text + "x";
    yield text + "\n";
    yield " " + text;
    yield characters.toReversed().join("");
    yield characters.map((c, i) => (i === middle ? "-" : c)).join("");
    yield characters.map((c, i) => (i === middle ? c + c : c)).join("");
    yield characters.map((c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase())).join("");
}

const wellFormed = (text) => text.isWellFormed();

const cases = [];
const add = (flags, pattern, texts) => cases.push({ flags, pattern, texts: new Set(texts.filter(wellFormed)) });

const invalid = [];
let shared = [];
for (const line of readFileSync(join(folder, "patterns.txt"), "utf8").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const flags = line.startsWith("i:") ? "i" : "";
    const found = strings(line);
    if (line.startsWith("*:")) shared = shared.concat(found);
    else if (line.startsWith("!:")) invalid.push(...found);
    else add(flags, found[0], found.slice(1).flatMap((t) => [t, ...changed(t)]));
}

const suite = process.argv[2];
if (suite !== undefined) {
    for (const name of SUITE) {
        for (const group of JSON.parse(readFileSync(join(suite, name), "utf8"))) {
            const schema = group.schema;
            const patterns = [schema.pattern, ...Object.keys(schema.patternProperties ?? {})].filter((p) => p !== undefined);
            const texts = group.tests.flatMap(({ data }) => (typeof data === "string" ? [data] : data !== null && typeof data === "object" ? Object.keys(data) : []));
            for (const pattern of patterns) add("", pattern, texts);
        }
    }
}

// Texts that Bora's own walks over the patterns found (tests/unit/engine/regex_golden_test.c writes them): V8 judges them too.
const walks = join(folder, "walks.json");
if (existsSync(walks)) {
    const more = JSON.parse(readFileSync(walks, "utf8"));
    for (const c of cases) for (const text of more[c.flags + ":" + c.pattern] ?? []) c.texts.add(text);
}

const out = [];
for (const { flags, pattern, texts } of cases) {
    const regex = compile(pattern, flags);
    if (regex === null) throw new Error("no pattern: " + pattern);
    const all = [...new Set([...texts, ...shared])];
    out.push({ pattern, flags, match: all.filter((t) => regex.test(t)), none: all.filter((t) => !regex.test(t)) });
}
for (const pattern of invalid) {
    if (compile(pattern, "") !== null) throw new Error("a pattern after all: " + pattern);
    out.push({ pattern, invalid: true });
}
writeFileSync(join(folder, "goldens.json"), "[\n" + out.map((c) => JSON.stringify(c)).join(",\n") + "\n]\n");
console.log(`${out.length} patterns, ${out.reduce((n, c) => n + (c.match?.length ?? 0) + (c.none?.length ?? 0), 0)} texts`);

// ---- random.txt: a pattern, a tab, and a hexadecimal digit for every four texts of up to five characters out of "ab " ----

let seed = 20260301n;
function below(n) {
    seed = (seed * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n);
    return Number((seed >> 33n) % BigInt(n));
}
const pick = (list) => list[below(list.length)];

function atom(depth) {
    const kind = below(depth > 0 ? 16 : 7);
    if (kind < 4) return pick(["a", "b", " ", "."]);
    if (kind < 5) return pick(["[ab]", "[^a]", "\\w", "\\W", "[^b]"]);
    if (kind < 7) return kind === 5 ? pick(["^", "$", "\\b", "\\B"]) : pick(["a", "b"]);
    if (kind === 14) return pick(["(?<=a)", "(?<!a)", "(?<=^|b)", "(?<![ab])", "(?<=\\s)"]);
    return pick(["(?:", "(?:", "(?=", "(?!", "("]) + alternatives(depth - 1) + ")";
}
function repeated(text) {
    const assertion = /^(\^|\$|\\b|\\B|\(\?<?[=!])/i.test(text) && !text.startsWith("\\\\");
    return assertion || below(2) === 0 ? text : text + pick(["*", "+", "?", "{2}", "{1,2}", "{0,3}", "{2,}"]);
}
function sequence(depth) {
    return Array.from({ length: 1 + below(3) }, () => repeated(atom(depth))).join("");
}
function alternatives(depth) {
    let text = sequence(depth);
    while (below(4) === 0) text += "|" + sequence(depth);
    return text;
}
function whole() {
    const text = alternatives(3);
    if (below(3) === 0) return "^(?:" + text + ")$";
    return below(12) === 0 ? pick(["(?<=ab)", "(?<!ab)", "(?<!b.)", "(?<=^a|bb)"]) + text : text;
}

let texts = [""];
for (let from = 0, length = 0; length < 5; length++) {
    const to = texts.length;
    for (let i = from; i < to; i++) for (const c of "ab ") texts.push(texts[i] + c);
    from = to;
}
const lines = [];
while (lines.length < 700) {
    const pattern = whole();
    if (pattern.length > 100 || pattern.length < 6) continue;
    const regex = new RegExp(pattern, "u");
    const bits = texts.map((t) => (regex.test(t) ? 1 : 0));
    let hex = "";
    for (let i = 0; i < bits.length; i += 4) hex += parseInt(bits.slice(i, i + 4).join("").padEnd(4, "0"), 2).toString(16);
    lines.push(pattern + "\t" + hex);
}
writeFileSync(join(folder, "random.txt"), lines.join("\n") + "\n");
