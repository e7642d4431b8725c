# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Messages <-> what their JSON is in Python: dicts, lists, strings and numbers.

The forms (a content is a string or a list of parts, a message is told by its role) are options of the .proto fields, described in
proto/bora/v1/options.proto. They are read from the generated descriptors, so this file knows no message. Values are not checked here beyond
their types: ranges and words are the server's, whose error names the field.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from bora.v1 import options_pb2

_INTEGERS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
_DEPTH_MAX = 64  # nested messages, as on the server

_M = TypeVar("_M", bound=Message)

_rules: dict[str, Any] = {}  # by full name: reading an option costs more than the whole field


def _rules_of(descriptor: Any, extension: Any) -> Any:
    found = _rules.get(descriptor.full_name)
    if found is None:
        found = _rules[descriptor.full_name] = descriptor.GetOptions().Extensions[extension]
    return found


def _field_rules(field: Any) -> Any:
    return _rules_of(field, options_pb2.rules)


def _message_rules(descriptor: Any) -> Any:
    return _rules_of(descriptor, options_pb2.json)


def _repeated(field: Any) -> bool:
    is_repeated = getattr(field, "is_repeated", None)  # newer runtimes warn about `label`
    return bool(is_repeated) if is_repeated is not None else field.label == FieldDescriptor.LABEL_REPEATED


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _fields(descriptor: Any) -> dict[str, Any]:
    return {_field_rules(f).name or f.name: f for f in descriptor.fields if not _field_rules(f).hidden}


# --- reading -----------------------------------------------------------------------------------------------------------


def read(message: _M, value: Any, path: str = "", depth: int = 0) -> _M:
    """Fill `message` from its JSON form. TypeError names the place of a value that has no place or not its type."""
    if depth > _DEPTH_MAX:
        raise TypeError(f"{path}: too deeply nested")
    descriptor = message.DESCRIPTOR
    rules = _message_rules(descriptor)
    if rules.form == options_pb2.FORM_LIST:
        _read_field(message, descriptor.fields[0], value, path, depth)
    elif rules.form == options_pb2.FORM_VALUE:
        field = next((f for f in descriptor.fields if _takes(f, value)), None)
        if field is None:
            raise TypeError(f"{path}: {_kind(value)} cannot stand here")
        _read_field(message, field, value, path, depth)
    elif not isinstance(value, Mapping):
        raise TypeError(f"{path or descriptor.name}: an object is wanted, not {_kind(value)}")
    elif rules.form == options_pb2.FORM_TAGGED:
        _read_tagged(message, rules, value, path, depth)
    else:
        _read_object(message, value, path, depth)
    return message


def _read_tagged(message: Message, rules: Any, value: Any, path: str, depth: int) -> None:
    tag = value.get(rules.tag, rules.tag_default or None)
    field = _fields(message.DESCRIPTOR).get(tag) if isinstance(tag, str) else None
    if field is None:
        raise TypeError(f"{_join(path, rules.tag)}: " + (f"unknown value {tag!r:.64}" if tag is not None else "is missing"))
    member = getattr(message, field.name)
    member.SetInParent()
    read(member, {name: v for name, v in value.items() if name != rules.tag}, path, depth + 1)


def _read_object(message: Message, value: Any, path: str, depth: int) -> None:
    fields = _fields(message.DESCRIPTOR)
    for name, item in value.items():
        field = fields.get(name)
        if field is None:
            raise TypeError(f"{_join(path, str(name))}: there is no such field")
        if item is not None:  # null is absent
            _read_field(message, field, item, _join(path, name), depth)


def _read_field(message: Message, field: Any, value: Any, path: str, depth: int) -> None:
    if _is_map(field):
        if not isinstance(value, Mapping):
            raise TypeError(f"{path}: an object is wanted, not {_kind(value)}")
        key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        for key, item in value.items():
            getattr(message, field.name)[_map_key(key_field, key, path)] = _scalar(value_field, item, f"{path}[{key!r}]")
    elif _repeated(field):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{path}: a list is wanted, not {_kind(value)}")
        items = getattr(message, field.name)
        for index, item in enumerate(value):
            if field.message_type is not None:
                read(items.add(), item, f"{path}[{index}]", depth + 1)
            else:
                items.append(_scalar(field, item, f"{path}[{index}]"))
    elif field.message_type is not None:
        member = getattr(message, field.name)
        member.SetInParent()
        read(member, value, path, depth + 1)
    else:
        setattr(message, field.name, _scalar(field, value, path))


def _map_key(field: Any, key: Any, path: str) -> Any:
    if field.cpp_type in _INTEGERS and isinstance(key, str):  # JSON has no other keys than strings
        try:
            return int(key)
        except ValueError:
            raise TypeError(f"{path}: the key {key!r:.64} is no number") from None
    return _scalar(field, key, path)


def _scalar(field: Any, value: Any, path: str) -> Any:
    kind = _field_rules(field).json_text
    if kind and not (isinstance(value, str) and kind != options_pb2.JSON_TEXT_ANY):  # a str is taken for JSON text where it can be nothing else
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"{path}: is not JSON: {error}") from None
    if not _takes_scalar(field, value):
        raise TypeError(f"{path}: {_kind(value)} cannot stand here")
    return value


def _takes(field: Any, value: Any) -> bool:
    """True when `value`, by its type, is that member of a union of types."""
    if field.message_type is None:
        return isinstance(value, Mapping) if _field_rules(field).json_text else _takes_scalar(field, value)
    form = _message_rules(field.message_type).form
    if form == options_pb2.FORM_LIST:
        return isinstance(value, (list, tuple))
    if form == options_pb2.FORM_VALUE:
        return any(_takes(f, value) for f in field.message_type.fields)
    return isinstance(value, Mapping)


def _takes_scalar(field: Any, value: Any) -> bool:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return isinstance(value, bool)
    if field.cpp_type in _INTEGERS:
        return isinstance(value, int) and not isinstance(value, bool)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)


def _kind(value: Any) -> str:
    return "null" if value is None else f"a value of type {type(value).__name__}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --- writing -----------------------------------------------------------------------------------------------------------


def write(message: Message) -> Any:
    """The JSON form of a message. JSON that travels as text (a schema, metadata) is parsed where it parses."""
    descriptor = message.DESCRIPTOR
    rules = _message_rules(descriptor)
    if rules.form == options_pb2.FORM_LIST:
        return _write_field(message, descriptor.fields[0])
    if rules.form in (options_pb2.FORM_VALUE, options_pb2.FORM_TAGGED):
        name = message.WhichOneof(descriptor.oneofs[0].name)
        if name is None:
            return None
        value = _write_field(message, descriptor.fields_by_name[name])
        return {rules.tag: name, **value} if rules.form == options_pb2.FORM_TAGGED else value
    written = {}
    for name, field in _fields(descriptor).items():
        field_rules = _field_rules(field)
        if _is_set(message, field):
            written[name] = _write_field(message, field)
        elif field_rules.always:
            written[name] = [] if _repeated(field) and not field_rules.empty_as_null else None
    return written


def _is_set(message: Message, field: Any) -> bool:
    if _repeated(field):
        return len(getattr(message, field.name)) > 0
    return message.HasField(field.name) if field.has_presence else True


def _write_field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        return dict(value)
    if _repeated(field):
        return [write(v) if field.message_type is not None else _plain(field, v) for v in value]
    return write(value) if field.message_type is not None else _plain(field, value)


def _plain(field: Any, value: Any) -> Any:
    if _field_rules(field).json_text:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
