# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Python functions as tools, and types as forms of answers: a JSON schema from type hints and docstring, and JSON turned back into what the hints promise."""
from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import re
import types
import typing
import uuid
from typing import Any, Callable, Optional, Union

_SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
# Values that JSON has no type for: the format of the string, and the way back. RFC 3339 lets "t" and "z" be small, Python does not.
_FORMATS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    datetime.datetime: ("date-time", lambda text: datetime.datetime.fromisoformat(text.upper())), datetime.date: ("date", datetime.date.fromisoformat),
    datetime.time: ("time", lambda text: datetime.time.fromisoformat(text.upper())), uuid.UUID: ("uuid", uuid.UUID)}
_LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_MAPPINGS = (dict, collections.abc.Mapping)
_UNIONS = (Union, getattr(types, "UnionType", Union))


def _is_model(hint: Any) -> bool:
    """A pydantic model, told by what it can do: pydantic need not be installed."""
    return isinstance(hint, type) and hasattr(hint, "model_json_schema") and hasattr(hint, "model_validate")


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (dataclasses.is_dataclass(hint) or (issubclass(hint, dict) and hasattr(hint, "__required_keys__")))


def _record_fields(hint: Any) -> tuple[dict[str, Any], list[str]]:
    """Hints of a dataclass or TypedDict, and the names that must be there."""
    hints = typing.get_type_hints(hint, include_extras=True)
    if not dataclasses.is_dataclass(hint):
        return hints, [name for name in hints if name in hint.__required_keys__]
    missing = dataclasses.MISSING
    fields = {f.name: f for f in dataclasses.fields(hint) if f.init}
    return {name: hints[name] for name in fields}, [n for n, f in fields.items() if f.default is missing and f.default_factory is missing]


# --- schemas -----------------------------------------------------------------------------------------------------------


class _Schemas:
    """Schemas of hints; records stand once each, under `$defs`, so that they may hold themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._owners: dict[str, Any] = {}

    def of(self, hint: Any, where: str) -> dict[str, Any]:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            schema = self.of(arguments[0], where)
            notes = [{"description": n} if isinstance(n, str) else n for n in arguments[1:] if isinstance(n, (str, dict))]
            if notes and "$ref" in schema:
                schema = {"allOf": [schema]}  # draft 7: what stands beside a $ref does not count
            return {**schema, **{k: v for note in notes for k, v in note.items()}}
        if hint is Any or hint is inspect.Parameter.empty or hint is object:
            return {}
        if hint in _SCALARS:
            return {"type": _SCALARS[hint]}
        if hint in _FORMATS:
            return {"type": "string", "format": _FORMATS[hint][0]}
        if hint is decimal.Decimal:
            return {"type": "number"}
        if origin in _UNIONS:
            return {"anyOf": [self.of(a, where) for a in arguments]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return {"enum": [member.value for member in hint]}
        if _is_model(hint):
            return self._model(hint, where)
        if _is_record(hint):
            return self._record(hint, where)
        return self._collection(hint, origin or hint, arguments, where)

    def _collection(self, hint: Any, origin: Any, arguments: Any, where: str) -> dict[str, Any]:
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return {"type": "array", "items": [self.of(a, where) for a in arguments], "minItems": len(arguments), "maxItems": len(arguments)}
        if origin is tuple or origin in _LISTS:
            unique = {"uniqueItems": True} if origin in (set, frozenset, collections.abc.Set) else {}
            return {"type": "array", **({"items": self.of(arguments[0], where)} if arguments else {}), **unique}
        if origin in _MAPPINGS and (not arguments or arguments[0] is str):
            return {"type": "object", **({"additionalProperties": self.of(arguments[1], where)} if arguments else {})}
        raise TypeError(f"{where}: there is no JSON schema for {hint!r}; say parameters={{...}}")

    def _claim(self, hint: Any, where: str) -> bool:
        """True when `hint` has no definition yet."""
        if self._owners.setdefault(hint.__name__, hint) is not hint:
            raise TypeError(f"{where}: there are two types named {hint.__name__}")
        return hint.__name__ not in self.definitions

    def _record(self, hint: Any, where: str) -> dict[str, Any]:
        if self._claim(hint, where):
            self.definitions[hint.__name__] = {}
            hints, required = _record_fields(hint)
            properties = {name: self.of(h, f"{where}.{name}") for name, h in hints.items()}
            self.definitions[hint.__name__] = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return {"$ref": f"#/$defs/{hint.__name__}"}

    def _model(self, hint: Any, where: str) -> dict[str, Any]:
        schema = dict(hint.model_json_schema(ref_template="#/$defs/{model}"))
        for name, definition in schema.pop("$defs", {}).items():
            if self.definitions.setdefault(name, definition) != definition:
                raise TypeError(f"{where}: there are two types named {name}")
        if self._claim(hint, where):
            self.definitions[hint.__name__] = schema
        return {"$ref": f"#/$defs/{hint.__name__}"}


def schema_of_model(model: Any) -> dict[str, Any]:
    """The schema of a pydantic model."""
    schema: dict[str, Any] = model.model_json_schema()
    return schema


def schema_of_hint(hint: Any) -> dict[str, Any]:
    """The schema of values that a hint promises. TypeError where there is none."""
    if _is_model(hint):
        return schema_of_model(hint)
    schemas = _Schemas()
    schema = schemas.of(hint, getattr(hint, "__name__", repr(hint)))
    return {**schema, "$defs": schemas.definitions} if schemas.definitions else schema


def schema_of_function(function: Callable[..., Any], context_type: type) -> tuple[dict[str, Any], dict[str, Any], Optional[str]]:
    """(schema of the parameters, hint by parameter, name of the parameter that takes the context). TypeError where a hint has no schema."""
    hints = typing.get_type_hints(function, include_extras=True)
    schemas, notes = _Schemas(), _described_parameters(inspect.getdoc(function) or "")
    properties: dict[str, Any] = {}
    required, wanted, context_name = [], {}, None
    for name, parameter in inspect.signature(function).parameters.items():
        where = f"{getattr(function, '__name__', 'handler')}({name})"
        hint = hints.get(name, Any)
        if hint is context_type:
            context_name = name
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{where}: models name their arguments; say parameters={{...}} for a handler that takes others")
        schema = schemas.of(hint, where)
        if name in notes and "description" not in schema:
            schema = {**({"allOf": [schema]} if "$ref" in schema else schema), "description": notes[name]}
        properties[name], wanted[name] = schema, hint
        if parameter.default is parameter.empty:
            required.append(name)
    parameters: dict[str, Any] = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if schemas.definitions:
        parameters["$defs"] = schemas.definitions
    return parameters, wanted, context_name


def description_of(function: Callable[..., Any]) -> str:
    """The docstring up to where it comes to the parameters."""
    text = inspect.getdoc(function) or ""
    return re.split(r"^(?:Args|Arguments|Parameters|Returns|Raises):\s*$|^\s*:(?:param|return|returns|raises)\b", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def _described_parameters(text: str) -> dict[str, str]:
    """What a docstring says of parameters: an `Args:` section ("name: text", going on where indented deeper), or lines of `:param name: text`."""
    found = {m[1]: m[2].strip() for m in re.finditer(r"^\s*:param\s+(?:\w+\s+)?(\w+):\s*(.+)$", text, re.MULTILINE)}
    section = re.search(r"^(?:Args|Arguments|Parameters):\s*\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    name = None
    for line in section[1].splitlines() if section else ():
        head = re.match(r"[ \t]+(\w+)(?:\s*\([^)]*\))?:\s*(.*)$", line)
        if head:
            name = head[1]
            found[name] = head[2].strip()
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


# --- arguments ---------------------------------------------------------------------------------------------------------


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value`, which is JSON, as what `hint` says. ValueError when it is no such thing."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return convert(value, arguments[0], where)
    if hint is Any or hint is inspect.Parameter.empty or hint is object:
        return value
    if hint in _SCALARS:
        return _convert_scalar(value, hint, where)
    if hint in _FORMATS or hint is decimal.Decimal:
        return _convert_formatted(value, hint, where)
    if origin in _UNIONS:
        return _convert_union(value, arguments, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {value!r:.64} is none of {', '.join(map(repr, arguments))}")
        return value
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if _is_model(hint):
        return hint.model_validate(value)
    if _is_record(hint):
        return _convert_record(value, hint, where)
    return _convert_collection(value, origin or hint, arguments, where)


def _convert_scalar(value: Any, hint: Any, where: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    if hint is int and is_number and value == int(value):  # JSON's 3.0 is an integer
        return int(value)
    if hint not in (int, float) and isinstance(value, hint):
        return value
    raise ValueError(f"{where}: {value!r:.64} is no {_SCALARS[hint]}")


def _convert_formatted(value: Any, hint: Any, where: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        if hint is decimal.Decimal and (is_number or isinstance(value, str)):
            return decimal.Decimal(str(value))  # as it was written, for up to 17 digits
        if hint is not decimal.Decimal and isinstance(value, str):
            return _FORMATS[hint][1](value)
    except (ValueError, decimal.InvalidOperation):
        pass
    raise ValueError(f"{where}: {value!r:.64} is no {hint.__name__}")


def _convert_union(value: Any, members: Any, where: str) -> Any:
    reasons = []
    for member in members:
        try:
            return convert(value, member, where)
        except (ValueError, TypeError, OverflowError) as error:
            reasons.append(str(error))
    raise ValueError("; ".join(reasons))


def _convert_record(value: Any, hint: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {value!r:.64} is no object")
    hints, required = _record_fields(hint)
    check_names(value, hints, required, where)
    return hint(**{name: convert(v, hints[name], f"{where}.{name}") for name, v in value.items()})


def _convert_collection(value: Any, origin: Any, arguments: Any, where: str) -> Any:
    if origin in _MAPPINGS:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {value!r:.64} is no object")
        return {k: convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()} if arguments else value
    if not isinstance(value, list):
        raise ValueError(f"{where}: {value!r:.64} is no array")
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ValueError(f"{where}: {len(arguments)} elements are wanted, not {len(value)}")
        return tuple(convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, arguments)))
    items = [convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value)] if arguments else value
    kinds = {tuple: tuple, set: set, frozenset: frozenset, collections.abc.Set: set}
    return kinds.get(origin, list)(items)


def check_names(values: dict[str, Any], known: Any, required: list[str], where: str) -> None:
    for name in values:
        if name not in known:
            raise ValueError(f"{where}: there is no parameter {name!r:.64}")
    for name in required:
        if name not in values:
            raise ValueError(f"{where}: {name} is missing")
