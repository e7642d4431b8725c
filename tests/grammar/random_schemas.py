# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Small random schemas of draft 7, all keywords in all company, and small JSON texts that they are about."""
import itertools
import json

NAMES = ["a", "b", "ab"]
PATTERNS = ["^a", "b$", "^[ab]*$", "^.$", "a|c", "^(?!b)", "^a{2,3}$", r"^\d+$", "[^a]"]
SCALARS = ["null", "true", "false", "0", "1", "2", "3", "-1", "10", "1.0", "1.5", "0.5", "1e0", "1.00E+0", "5e-1", "-0", '""', '"a"', '"b"', '"ab"', '"aa"', '"\\u0061"', '"12"', '"é"', '"💩"']
SOME = ["null", "true", "0", "1", "1.0", "2", '"a"', '"b"', '"ab"']


def texts(rng, count):
    """All scalars, then arrays and objects of them and of one another, compact."""
    arrays = [f"[{','.join(items)}]" for n in range(3) for items in itertools.product(SOME, repeat=n)]
    objects = ["{" + ",".join(f'"{name}":{value}' for name, value in zip(names, values)) + "}" for n in range(3) for names in itertools.permutations(NAMES, n) for values in itertools.product(SOME, repeat=n)]
    deep = []
    for _ in range(count):
        inner = [rng.choice(rng.choice([SCALARS, arrays, objects])) for _ in range(rng.randint(0, 4))]
        names = rng.sample(NAMES + ["c", "d"], len(inner))
        deep.append("[" + ",".join(inner) + "]" if rng.random() < 0.5 else "{" + ",".join(f'"{name}":{value}' for name, value in zip(names, inner)) + "}")
    return SCALARS + rng.sample(arrays, min(count, len(arrays))) + rng.sample(objects, min(count, len(objects))) + deep


def schema(rng, depth=0, definitions=False):
    """With `definitions` it may refer to #/definitions/0 and 1, which `with_definitions` adds."""
    def inner():
        return schema(rng, depth + 1, definitions)

    if depth > 0 and rng.random() < 0.07:
        return rng.random() < 0.7
    if depth > 0 and definitions and rng.random() < 0.1:
        return {"$ref": f"#/definitions/{rng.randint(0, 1)}"}
    number = lambda: rng.choice([-1, 0, 1, 1.5, 2, 3, 10])
    scalar = lambda: json.loads(rng.choice(SCALARS))
    small = lambda: rng.randint(0, 3)
    names = lambda: rng.sample(NAMES, rng.randint(0, 2))
    keywords = {
        "type": lambda: rng.choice(["object", "array", "string", "integer", "number", ["string", "integer"], ["object", "null"], ["array", "boolean"]]),
        "enum": lambda: [scalar() for _ in range(rng.randint(1, 4))] + ([[1, "a"], {"a": 1}] if rng.random() < 0.3 else []), "const": lambda: rng.choice([scalar(), scalar(), [1], {"a": 1}, []]),
        "minimum": number, "maximum": number, "exclusiveMinimum": number, "exclusiveMaximum": number, "multipleOf": lambda: rng.choice([1, 2, 3, 0.5, 0.1]),
        "minLength": small, "maxLength": small, "pattern": lambda: rng.choice(PATTERNS),
        "minItems": small, "maxItems": small, "uniqueItems": lambda: rng.random() < 0.8,
        "minProperties": small, "maxProperties": small, "required": names,
    }
    if depth < 3:
        keywords |= {
            "items": lambda: inner() if rng.random() < 0.6 else [inner() for _ in range(rng.randint(0, 2))], "additionalItems": inner, "contains": inner,
            "properties": lambda: {name: inner() for name in names()}, "patternProperties": lambda: {rng.choice(PATTERNS): inner()}, "additionalProperties": inner,
            "propertyNames": inner, "dependencies": lambda: {name: names() if rng.random() < 0.5 else inner() for name in names()},
            "allOf": lambda: [inner() for _ in range(rng.randint(1, 3))], "anyOf": lambda: [inner() for _ in range(rng.randint(1, 3))], "oneOf": lambda: [inner() for _ in range(rng.randint(1, 3))], "not": inner, "if": inner, "then": inner, "else": inner,
        }
    return {word: keywords[word]() for word in rng.sample(list(keywords), rng.randint(1, 4 if depth == 0 else 2))}


def random_schema(rng):
    if rng.random() < 0.75:
        return schema(rng)
    # A definition refers to another only inside an array or an object, so that each reference takes a byte.
    definitions = {"0": schema(rng, 1), "1": {"type": ["array", "object", "string"], "items": {"$ref": "#/definitions/1"}, "additionalProperties": {"$ref": "#/definitions/0"}}}
    return {**schema(rng, definitions=True), "definitions": definitions}
