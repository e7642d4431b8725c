# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Random schemas of draft 7 as people write them and worse: every keyword, combined, recursive, with names, numbers and texts of all kinds; and instances that are about them."""
import json
import re
from decimal import Decimal

from validator import read

NAMES = ["a", "b", "id", "name", "x/y", "m~n", "%25", "é", "東京", "💩", "", " ", "a\"b", "c\\d", "tab\t", "$ref", "items", "longer_name-with.parts"]
DEFINITIONS = ["one", "a/b", "t~x", "p%q", "ü"]
PATTERNS = {  # texts that match, or nearly
    "^a": ["a", "ab", "b"], "b$": ["b", "ab", "ba"], "^[a-z_]{1,4}$": ["a", "name", "abcde", "A"], r"^\d{2,3}$": ["12", "123", "1", "1234"], "^(?!b)": ["", "a", "b"], "[^a]": ["a", "b", "aa"],
    r"^\w+@\w+\.(org|net)$": ["a@b.org", "a@b.net", "a@b.com"], "^.$": ["x", "東", "💩", "", "\n"], r"^\S+ \S+$": ["a b", "ab", "é 東"], r"^[\u4e00-\u9fff]+$": ["東京", "a東"], r"^x-": ["x-", "x-1", "y-"], "^(a|b)*c?$": ["", "abc", "ca"],
    r"^\p{L}+$": ["é", "東京", "1"], r"^[^\x00-\x1f\"\\]*$": ["a", "\"", "\\", "\n", ""], "(?=.*1)(?=.*2)": ["12", "21", "11"], "^-?(0|[1-9][0-9]*)$": ["0", "-12", "01"],
}
FORMATS = {
    "date": ["2024-02-29", "2023-02-29", "0000-01-01", "2024-2-9"], "time": ["08:30:00Z", "08:30:00+01:30", "24:00:00Z", "08:30:00"], "date-time": ["2024-02-29T12:30:00Z", "2024-02-29t12:30:00.5-08:00", "2024-02-30T12:30:00Z"],
    "duration": ["P1D", "PT5M", "P1Y2M3DT4H5M6S", "P", "P1W2D"], "email": ["a@b.org", "\"a b\"@b.org", "a@[127.0.0.1]", "a", "a@-b"], "hostname": ["a.b", "a-b", "-a", "a..b"], "ipv4": ["127.0.0.1", "256.0.0.1", "1.2.3"],
    "ipv6": ["::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", ":::"], "uri": ["http://a.b/c?d#e", "urn:x:y", "a b", "//a"], "uri-reference": ["/a/b", "#x", "a:b", "a\\b"], "uuid": ["3f2b8c1e-7d4a-4e0b-9f6a-1c2d3e4f5a6b", "3f2b8c1e"],
    "json-pointer": ["", "/a~1b", "/~2", "a"], "relative-json-pointer": ["0", "1/a", "0#", "-1"], "unknown-format": ["x"],
}
NUMBERS = ["0", "1", "-1", "2", "3", "5", "7", "10", "100", "0.5", "1.5", "-2.5", "0.1", "0.01", "-0.001", "1.25", "99.99", "1e3", "1E-2", "12345678901234567890", "-98765432109876543210.125", "9007199254740993", "1e30", "0.30000000000000004"]
FACTORS = ["1", "2", "3", "7", "0.5", "0.1", "0.01", "0.25", "1.5", "0.003", "10", "1e2", "1e-5", "9007199254740993", "12"]
TEXTS = ["", "a", "b", "ab", "aa", "abc", "name", "12", "é", "e\u0301", "東京", "💩", "💩💩", "\"", "\\", "/", "\n", "\u007f", "\u2028", "a b", "x-1", "true", "long " * 5]
SCALAR_TYPES = ["null", "boolean", "integer", "number", "string"]


class Maker:
    """One schema's: what has been named so far, and where references may stand."""

    def __init__(self, rng):
        self.rng = rng
        self.definitions = rng.sample(DEFINITIONS, rng.randint(0, 3))

    def some(self, list_, most):
        return self.rng.sample(list_, self.rng.randint(0, min(most, len(list_))))

    def number(self):
        return Decimal(self.rng.choice(NUMBERS)) if self.rng.random() < 0.7 else Decimal(self.rng.randint(-300, 300)) / self.rng.choice([1, 1, 2, 4, 5, 100])

    def constant(self, depth=0):
        kind = self.rng.random()
        if depth < 2 and kind < 0.12:
            return [self.constant(depth + 1) for _ in range(self.rng.randint(0, 3))]
        if depth < 2 and kind < 0.24:
            return {name: self.constant(depth + 1) for name in self.some(NAMES, 3)}
        return self.rng.choice([None, True, False, self.number(), self.number(), self.rng.choice(TEXTS), self.rng.choice(TEXTS)])

    def schema(self, depth, guarded):
        """`guarded`: inside an array or an object, where a reference costs a byte."""
        rng = self.rng
        if depth > 0 and rng.random() < 0.06:
            return rng.random() < 0.75
        if guarded and rng.random() < 0.16:
            return {"$ref": self.pointer()}
        if depth >= 4:
            return self.plain(rng.choice(SCALAR_TYPES))
        out = {}
        if rng.random() < 0.78:
            out = self.typed(rng.choice(SCALAR_TYPES + ["array", "object", "object", "array"]) if depth > 0 else rng.choice(["array", "object", "object", "object", "string", "number"]), depth, guarded)
        if rng.random() < 0.15:  # keywords of other kinds, as in schemas without a type
            out = {**self.typed(rng.choice(["array", "object", "string", "number"]), depth, guarded), **out}
            out.pop("type", None)
        if rng.random() < (0.3 if out else 0.9):
            out |= self.combined(depth, guarded)
        return out

    def pointer(self, root=True):
        if not self.definitions or (root and self.rng.random() < 0.1):
            return "#"
        name = self.rng.choice(self.definitions)
        return "#/definitions/" + name.replace("~", "~0").replace("/", "~1").replace("%", "%25")

    def combined(self, depth, guarded):
        rng = self.rng
        inner = lambda: self.schema(depth + 1, guarded)
        word = rng.choice(["allOf", "anyOf", "oneOf", "not", "if", "anyOf", "oneOf"])
        if word == "not":
            return {"not": inner()}
        if word == "if":
            return {"if": inner()} | ({"then": inner()} if rng.random() < 0.8 else {}) | ({"else": inner()} if rng.random() < 0.7 else {})
        return {word: [inner() for _ in range(rng.randint(1, 3))]}

    def typed(self, kind, depth, guarded):
        out = self.array(depth) if kind == "array" else self.object(depth, guarded) if kind == "object" else self.plain(kind)
        if self.rng.random() < 0.1 and "type" in out:
            out["type"] = sorted({kind, self.rng.choice(SCALAR_TYPES + ["array", "object"])})
        if self.rng.random() < 0.08:
            out |= {"const": self.constant()} if self.rng.random() < 0.4 else {"enum": [self.constant() for _ in range(self.rng.randint(1, 5))]}
        return out

    def plain(self, kind):
        rng, out = self.rng, {"type": kind}
        if kind == "string":
            choices = [{"minLength": rng.randint(0, 3)}, {"maxLength": rng.randint(1, 6)}, {"pattern": rng.choice(list(PATTERNS))}, {"format": rng.choice(list(FORMATS))}, {"enum": rng.sample(TEXTS, 3)}, {"title": "t"}]
        elif kind in ("number", "integer"):
            low = self.number()
            choices = [{"minimum": low}, {"maximum": self.number()}, {"exclusiveMinimum": low}, {"exclusiveMaximum": self.number()}, {"multipleOf": Decimal(rng.choice(FACTORS))}, {"minimum": low, "maximum": low + rng.randint(0, 30)}, {"enum": [self.number(), self.number()]}]
        else:
            choices = [{}]
        for more in self.some(choices, 2):
            out |= more
        return out

    def array(self, depth):
        rng, inner = self.rng, lambda: self.schema(depth + 1, True)
        out = {"type": "array"}
        for word in self.some(["items", "tuple", "contains", "uniqueItems", "minItems", "maxItems", "items"], 4):
            if word == "tuple":
                out |= {"items": [inner() for _ in range(rng.randint(1, 3))]} | ({"additionalItems": inner()} if rng.random() < 0.6 else {})
            elif word in ("minItems", "maxItems"):
                out[word] = rng.randint(0, 2) if word == "minItems" else rng.randint(1, 5)
            else:
                out[word] = True if word == "uniqueItems" else inner()
        return out

    def object(self, depth, guarded):
        rng, inner = self.rng, lambda: self.schema(depth + 1, True)
        names = self.some(NAMES, 4)
        out = {"type": "object", "properties": {name: inner() for name in names}} if rng.random() < 0.85 else {"type": "object"}
        if rng.random() < 0.6:
            out["required"] = [name for name in names if rng.random() < 0.6] + (rng.sample(NAMES, 1) if rng.random() < 0.1 else [])
            out["required"] = list(dict.fromkeys(out["required"]))
        if rng.random() < 0.6:
            out["additionalProperties"] = rng.choice([False, False, True]) if rng.random() < 0.6 else inner()
        for word in self.some(["patternProperties", "propertyNames", "minProperties", "maxProperties", "dependencies", None, None, None], 3):
            if word == "patternProperties":
                out[word] = {p: inner() for p in rng.sample(list(PATTERNS), rng.randint(1, 2))}
            elif word == "propertyNames":
                out[word] = rng.choice([{"maxLength": rng.randint(1, 8)}, {"pattern": rng.choice(list(PATTERNS))}, {"enum": rng.sample(NAMES, 6)}, {"not": {"const": rng.choice(NAMES)}}])
            elif word == "dependencies":
                out[word] = {name: self.some(NAMES, 2) if rng.random() < 0.5 else self.schema(depth + 1, guarded) for name in self.some(names or NAMES, 2)}
            elif word is not None:
                out[word] = rng.randint(0, 2) if word == "minProperties" else rng.randint(1, 4)
        return out


def rich_schema(rng):
    """As JSON text: its numbers are not floats."""
    maker = Maker(rng)
    out = maker.schema(0, False)
    if maker.definitions:
        if rng.random() < 0.3:
            out.setdefault("allOf", []).append({"$ref": maker.pointer(root=False)})
        out = {**out, "definitions": {name: maker.schema(1, False) for name in maker.definitions}}
    return write(out)


# ---- JSON with exact numbers -------------------------------------------------------------------------------------------


def number_text(value):
    return format(value, "f") if abs(value) < 10**25 else str(value)


def write(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {write(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write(inner) for inner in value) + "]"
    return number_text(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


class Speller:
    """Any spelling of a value: blanks, escapes, order, numbers with zeros behind the point."""

    def __init__(self, rng):
        self.rng = rng

    def space(self):
        return self.rng.choice(["", "", "", " ", "\n  ", "\t", "\r\n"])

    def text(self, text):
        short = {"\"": '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
        def one(letter):
            pick = self.rng.random()
            if pick < 0.06 or (ord(letter) < 32 and letter not in short):
                units = letter.encode("utf-16-be")
                return "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
            return "\\/" if letter == "/" and pick < 0.3 else short.get(letter, letter)
        return '"' + "".join(map(one, text)) + '"'

    def number(self, value):
        text = number_text(value) if isinstance(value, Decimal) else str(value)
        if "E" not in text and self.rng.random() < 0.15:
            text += "0" if "." in text else ".0"
        return text

    def write(self, value):
        a, b = self.space(), self.space()
        if isinstance(value, dict):
            members = [f"{self.text(name)}{self.space()}:{self.write(inner)}" for name, inner in value.items()]
            self.rng.shuffle(members)
            return a + "{" + f"{self.space()},{self.space()}".join(members) + "}" + b
        if isinstance(value, list):
            return a + "[" + ",".join(map(self.write, value)) + "]" + b
        if isinstance(value, str):
            return a + self.text(value) + b
        return a + (json.dumps(value) if value is None or isinstance(value, bool) else self.number(value)) + b


# ---- instances -------------------------------------------------------------------------------------------------------------


class Sampler:
    """Values that try to fit a schema, without looking at all of it at once; then values near them."""

    def __init__(self, rng, schema_text):
        self.rng, self.root = rng, read(schema_text)
        self.texts, self.numbers, self.names, self.constants = set(), set(), set(), [None, True, False]
        self.collect(self.root)
        self.texts |= set(rng.sample(TEXTS, 6))
        self.numbers = sorted(self.numbers | {0, 1, -1, Decimal("1.5")}, key=lambda n: (n, str(n)))
        self.texts, self.names = sorted(self.texts), sorted(self.names | {"zz"})

    def collect(self, schema):
        if isinstance(schema, list):
            for inner in schema:
                self.collect(inner)
        if not isinstance(schema, dict):
            return
        for word, value in schema.items():
            if word in ("enum", "const"):
                self.constants += value if word == "enum" else [value]
            elif word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf") and not isinstance(value, (bool, dict)):
                self.numbers |= {value, value + 1, value - 1, -value, value * 3, value + Decimal("0.5")}
            elif word == "pattern" and isinstance(value, str):
                self.texts |= set(PATTERNS.get(value, ["a"]))
            elif word == "format" and isinstance(value, str):
                self.texts |= set(FORMATS.get(value, ["a"]))
            elif word == "required" and isinstance(value, list):
                self.names |= {name for name in value if isinstance(name, str)}
            elif word in ("properties", "patternProperties", "dependencies", "definitions") and isinstance(value, dict):
                self.names |= {text for name in value for text in (PATTERNS.get(name, []) if word == "patternProperties" else [name] if word != "definitions" else [])}
                for inner in value.values():
                    self.collect(inner)
            else:
                self.collect(value)

    def resolve(self, pointer):
        at = self.root
        for step in pointer.lstrip("#").split("/")[1:]:
            step = re.sub("%([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), step).replace("~1", "/").replace("~0", "~")
            at = at[int(step)] if isinstance(at, list) else at.get(step, True)
        return at

    def any(self, depth=0):
        pick = self.rng.random()
        if depth < 2 and pick < 0.12:
            return [self.any(depth + 1) for _ in range(self.rng.randint(0, 3))]
        if depth < 2 and pick < 0.24:
            return {self.rng.choice(self.names): self.any(depth + 1) for _ in range(self.rng.randint(0, 3))}
        return self.rng.choice(self.constants) if pick < 0.4 else self.rng.choice(self.texts) if pick < 0.7 else self.rng.choice(self.numbers)

    def fitting(self, schema, depth=0):
        rng = self.rng
        if not isinstance(schema, dict) or depth > 7:
            return self.any(2 if depth > 3 else 0)
        if "$ref" in schema:
            return self.fitting(self.resolve(schema["$ref"]), depth + 1)
        branches = [schema[w] for w in ("anyOf", "oneOf") if w in schema] + [[schema[w]] for w in ("then", "else", "if") if w in schema]
        parts = schema.get("allOf", []) + [rng.choice(list_) for list_ in branches if list_ and rng.random() < 0.7]
        for part in parts:  # the later one's word counts: a try
            if isinstance(part, dict) and "$ref" in part:
                part = self.resolve(part["$ref"])
            if isinstance(part, dict):
                schema = {**schema, **{w: v for w, v in part.items() if w not in ("definitions",)}}
                schema["properties"] = {**schema.get("properties", {}), **part.get("properties", {})}
        if "const" in schema:
            return schema["const"]
        if "enum" in schema and schema["enum"]:
            return rng.choice(schema["enum"])
        kinds = schema.get("type") or ([k for k, words in (("object", ("required", "patternProperties", "propertyNames", "additionalProperties", "minProperties")), ("array", ("items", "contains", "minItems")), ("string", ("pattern", "format", "minLength")), ("number", ("minimum", "maximum", "multipleOf"))) if any(w in schema for w in words)]
                                       or (["object"] if schema.get("properties") else ["any"]))
        kind = rng.choice(kinds) if isinstance(kinds, list) else kinds
        return {"object": self.object, "array": self.array, "string": self.string, "number": self.number, "integer": self.number}.get(kind, lambda s, d: {"null": None, "boolean": rng.random() < 0.5}.get(kind, self.any()))(schema, depth)

    def string(self, schema, _depth):
        if "pattern" in schema:
            return self.rng.choice(PATTERNS.get(schema["pattern"], ["a"]))
        if "format" in schema:
            return self.rng.choice(FORMATS.get(schema["format"], ["a"]))
        text, low = self.rng.choice(self.texts), schema.get("minLength", 0)
        return (text + "abcé💩東" * 3)[:max(low, len(text))][:schema.get("maxLength", 99)]

    def number(self, schema, _depth):
        factor, low, high = schema.get("multipleOf"), schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum", schema.get("exclusiveMaximum"))
        near = self.rng.choice([n for n in (low, high) if n is not None] or self.numbers) + self.rng.choice([0, 0, 1, -1, Decimal("0.5")])
        if schema.get("type") == "integer":
            near = near // 1
        return near if factor is None else near // factor * factor

    def array(self, schema, depth):
        rng, items = self.rng, schema.get("items", True)
        count = rng.randint(schema.get("minItems", 0), max(schema.get("minItems", 0), schema.get("maxItems", 3)))
        out = []
        for i in range(count if depth < 5 else schema.get("minItems", 0)):
            inner = items if not isinstance(items, list) else items[i] if i < len(items) else schema.get("additionalItems", True)
            out.append(self.fitting(schema["contains"] if "contains" in schema and rng.random() < 0.4 else inner, depth + 1))
        return out

    def object(self, schema, depth):
        rng, properties = self.rng, schema.get("properties", {})
        names = [n for n in schema.get("required", []) if isinstance(n, str)] + [n for n in properties if rng.random() < (0.5 if depth < 4 else 0.1)]
        if rng.random() < 0.3:
            names.append(rng.choice(self.names))
        out = {}
        for name in dict.fromkeys(names):
            patterned = [inner for p, inner in schema.get("patternProperties", {}).items() if name in PATTERNS.get(p, [])]
            out[name] = self.fitting(properties.get(name, patterned[0] if patterned else schema.get("additionalProperties", True)), depth + 1)
            for more in [schema.get("dependencies", {}).get(name)]:
                if isinstance(more, list):
                    out |= {n: self.fitting(properties.get(n, True), depth + 1) for n in more if n not in out}
        return out

    def near(self, value):
        """One change somewhere."""
        rng = self.rng
        if isinstance(value, list) and value and rng.random() < 0.75:
            out, i = list(value), rng.randrange(len(value))
            change = rng.choice(["inside", "inside", "drop", "twice", "swap"])
            if change == "inside":
                out[i] = self.near(out[i])
            elif change == "drop":
                del out[i]
            elif change == "twice":
                out.append(out[i])
            else:
                out[i], out[0] = out[0], out[i]
            return out
        if isinstance(value, dict) and value and rng.random() < 0.75:
            out, name = dict(value), rng.choice(list(value))
            change = rng.choice(["inside", "inside", "drop", "rename", "more"])
            if change == "inside":
                out[name] = self.near(out[name])
            elif change == "more":
                out[rng.choice(self.names)] = self.any(1)
            else:
                inner = out.pop(name)
                if change == "rename":
                    out[rng.choice(self.names)] = inner
            return out
        if isinstance(value, str) and rng.random() < 0.6:
            return rng.choice([value + "a", value[1:], value[:-1], value + "💩", value.upper(), value + value])
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and rng.random() < 0.6:
            return value + rng.choice([1, -1, Decimal("0.5"), Decimal("0.01")])
        return self.any()

    def instances(self, count, more=()):
        """Texts; `more` are texts of valid values, to go on from."""
        speller, out = Speller(self.rng), []
        starts = [read(text) for text in more if not re.search(r"[eE][+-]?[0-9]{3}", text)]  # spelled out, those are too long
        for _ in range(count):
            value = self.rng.choice(starts) if starts and self.rng.random() < 0.35 else self.fitting(self.root)
            for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
                value = self.near(value)
            out.append(speller.write(value))
        return out
