# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Python's `jsonschema` as the judge, with numbers as they are written (no binary fractions) and patterns as ECMA has them; formats on request, by format_judges.py."""
import decimal
import functools
import json

import jsonschema
import regex
from format_judges import checker, wide_checker
from jsonschema import validators

Decimal = decimal.Decimal
decimal.DefaultContext.prec = decimal.getcontext().prec = 2000  # of other threads too
SPACE = r"\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": SPACE}


def is_number(_checker, value):
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def is_integer(checker, value):
    return is_number(checker, value) and (isinstance(value, int) or value == value.to_integral_value())


def whole(decimal_number):
    """(digits as an integer, exponent)"""
    _, digits, exponent = Decimal(decimal_number).as_tuple()
    return int("".join(map(str, digits))), exponent


def divides(factor, value):
    """Exact, and without writing 1e99999999 out."""
    (factor, factor_exponent), (value, exponent) = whole(factor), whole(value)
    if value == 0:
        return True
    shift = exponent - factor_exponent
    return value * pow(10, shift, factor) % factor == 0 if shift >= 0 else -shift < 5000 and value % (factor * 10**-shift) == 0


def multiple_of(validator, factor, instance, _schema):
    if validator.is_type(instance, "number") and not divides(factor, instance):
        yield jsonschema.ValidationError(f"{instance} is no multiple of {factor}")


def pattern(validator, expression, instance, _schema):
    if validator.is_type(instance, "string") and not search(expression, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match")


@functools.lru_cache(maxsize=4096)
def translated(expression):
    """ECMA's pattern as Python's: `$` is the end of the text alone, `.` is no end of line, classes are ASCII's but for \\s."""
    out, inside, i = [], False, 0
    while i < len(expression):
        one, two = expression[i], expression[i:i + 2]
        if one == "\\" and len(two) == 2:
            wide = CLASSES.get(two[1].lower())
            if wide and two[1].islower():
                out.append(wide if inside else f"[{wide}]")
            elif wide and not inside:
                out.append(f"[^{wide}]")
            else:
                out.append(two)
            i += 2
            continue
        if not inside and one == "$":
            out.append(r"\Z")
        elif not inside and one == ".":
            out.append(r"[^\n\r\u2028\u2029]")
        elif inside and one == "[":
            out.append(r"\[")
        else:
            out.append(one)
        inside = one == "[" if not inside else one != "]"
        i += 1
    return regex.compile("".join(out).replace("[^]", r"[\s\S]"))


def search(expression, text):
    return translated(expression).search(text)


def pattern_properties(validator, patterns, instance, _schema):
    if not validator.is_type(instance, "object"):
        return
    for expression, inner in patterns.items():
        for name, value in instance.items():
            if search(expression, name):
                yield from validator.descend(value, inner, path=name, schema_path=expression)


def additional_properties(validator, others, instance, schema):
    """jsonschema's own looks patterns up as Python has them."""
    if not validator.is_type(instance, "object"):
        return
    for name, value in instance.items():
        if name not in schema.get("properties", {}) and not any(search(p, name) for p in schema.get("patternProperties", {})):
            yield from validator.descend(value, others, path=name)


def additional_items(validator, others, instance, schema):
    """Only of items that are a list; jsonschema's own stumbles over a boolean."""
    if isinstance(schema.get("items"), list) and validator.is_type(instance, "array"):
        for index, item in enumerate(instance[len(schema["items"]):], len(schema["items"])):
            yield from validator.descend(item, others, path=index)


@functools.lru_cache(maxsize=None)
def extended(dialect):
    own = {"multipleOf": multiple_of, "pattern": pattern, "patternProperties": pattern_properties, "additionalProperties": additional_properties}
    if "additionalItems" in dialect.VALIDATORS:
        own["additionalItems"] = additional_items
    return validators.extend(dialect, own, type_checker=dialect.TYPE_CHECKER.redefine("number", is_number).redefine("integer", is_integer))


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
    """`schema` in the dialect that it names, else draft 7's. Text is read strictly: lone surrogates are no text."""

    def __init__(self, schema, formats=False):
        schema = read(schema if isinstance(schema, str) else json.dumps(schema))
        dialect = validators.validator_for(schema, default=jsonschema.Draft7Validator)
        self.validator = extended(dialect)(schema, format_checker=checker if formats else None)
        self.wide = extended(dialect)(schema, format_checker=wide_checker)

    def must_be_accepted(self, text):
        """It is valid, and so it is whatever the formats hold that the engine has not exactly."""
        return self.valid(text) and self.wide.is_valid(read(text))

    def valid(self, text):
        try:
            value = read(text)
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except ValueError:  # UnicodeEncodeError too
            return False
        return self.validator.is_valid(value)
