# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Python's `jsonschema` as the judge, with numbers as they are written (no binary fractions), patterns as ECMA has them where they differ, formats off."""
import decimal
import json
import re

import jsonschema
from jsonschema import validators

Decimal = decimal.Decimal
decimal.getcontext().prec = 2000


def is_number(_checker, value):
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def is_integer(checker, value):
    return is_number(checker, value) and value == int(value)


def multiple_of(validator, factor, instance, _schema):
    if validator.is_type(instance, "number") and Decimal(instance) % Decimal(factor) != 0:
        yield jsonschema.ValidationError(f"{instance} is no multiple of {factor}")


def pattern(validator, expression, instance, _schema):
    if validator.is_type(instance, "string") and not search(expression, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match")


def search(expression, text):
    """`$` is the end of the text, not the place in front of its last line feed; classes are ASCII's."""
    return re.search(re.sub(r"(?<!\\)\$", r"\\Z", expression), text, re.ASCII)


def pattern_properties(validator, patterns, instance, _schema):
    if not validator.is_type(instance, "object"):
        return
    for expression, inner in patterns.items():
        for name, value in instance.items():
            if search(expression, name):
                yield from validator.descend(value, inner, path=name, schema_path=expression)


def additional_items(validator, others, instance, schema):
    """Only of items that are a list; jsonschema's own stumbles over a boolean."""
    if isinstance(schema.get("items"), list) and validator.is_type(instance, "array"):
        for index, item in enumerate(instance[len(schema["items"]):], len(schema["items"])):
            yield from validator.descend(item, others, path=index)


Validator = validators.extend(
    jsonschema.Draft7Validator, {"multipleOf": multiple_of, "pattern": pattern, "patternProperties": pattern_properties, "additionalItems": additional_items},
    type_checker=jsonschema.Draft7Validator.TYPE_CHECKER.redefine("number", is_number).redefine("integer", is_integer))


def read(text):
    """Python's reading of JSON, with numbers exact; what the standard has not (NaN, names twice) is an error."""
    def pairs(members):
        if len(dict(members)) != len(members):
            raise ValueError("a name is there twice")
        return dict(members)

    def constant(name):
        raise ValueError(name)

    return json.loads(text, parse_float=Decimal, parse_constant=constant, object_pairs_hook=pairs)


class Judge:
    def __init__(self, schema):
        self.validator = Validator(read(json.dumps(schema)))

    def valid(self, text):
        try:
            return self.validator.is_valid(read(text))
        except ValueError:
            return False
