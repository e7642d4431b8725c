# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
DIALECT_ANY: Dialect
DIALECT_EXTENSION: Dialect
DIALECT_MISTRAL: Dialect
DIALECT_OPENAI: Dialect
FORM_LIST: JsonForm
FORM_OBJECT: JsonForm
FORM_TAGGED: JsonForm
FORM_VALUE: JsonForm
JSON_FIELD_NUMBER: _ClassVar[int]
JSON_TEXT_ANY: JsonText
JSON_TEXT_ARRAY: JsonText
JSON_TEXT_NONE: JsonText
JSON_TEXT_OBJECT: JsonText
RULES_FIELD_NUMBER: _ClassVar[int]
json: _descriptor.FieldDescriptor
rules: _descriptor.FieldDescriptor

class Elsewhere(_message.Message):
    __slots__ = ["instead", "name"]
    INSTEAD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    instead: str
    name: str
    def __init__(self, name: _Optional[str] = ..., instead: _Optional[str] = ...) -> None: ...

class FieldRules(_message.Message):
    __slots__ = ["always", "dialect", "empty_as_null", "exclusive_minimum", "exclusive_minimum_strict", "hidden", "identifier", "json_text", "max_bytes", "max_characters", "max_items", "maximum", "maximum_strict", "min_bytes", "min_items", "minimum", "name", "nullable", "one_line", "required", "words", "words_openai"]
    ALWAYS_FIELD_NUMBER: _ClassVar[int]
    DIALECT_FIELD_NUMBER: _ClassVar[int]
    EMPTY_AS_NULL_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_MINIMUM_STRICT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    JSON_TEXT_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_STRICT_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MIN_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    ONE_LINE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    WORDS_OPENAI_FIELD_NUMBER: _ClassVar[int]
    always: bool
    dialect: Dialect
    empty_as_null: bool
    exclusive_minimum: float
    exclusive_minimum_strict: float
    hidden: bool
    identifier: bool
    json_text: JsonText
    max_bytes: int
    max_characters: int
    max_items: int
    maximum: float
    maximum_strict: float
    min_bytes: int
    min_items: int
    minimum: float
    name: str
    nullable: bool
    one_line: bool
    required: bool
    words: _containers.RepeatedScalarFieldContainer[str]
    words_openai: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, required: bool = ..., nullable: bool = ..., minimum: _Optional[float] = ..., exclusive_minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., maximum_strict: _Optional[float] = ..., min_bytes: _Optional[int] = ..., max_bytes: _Optional[int] = ..., min_items: _Optional[int] = ..., max_items: _Optional[int] = ..., words: _Optional[_Iterable[str]] = ..., words_openai: _Optional[_Iterable[str]] = ..., dialect: _Optional[_Union[Dialect, str]] = ..., always: bool = ..., json_text: _Optional[_Union[JsonText, str]] = ..., name: _Optional[str] = ..., hidden: bool = ..., empty_as_null: bool = ..., exclusive_minimum_strict: _Optional[float] = ..., identifier: bool = ..., one_line: bool = ..., max_characters: _Optional[int] = ...) -> None: ...

class MessageRules(_message.Message):
    __slots__ = ["elsewhere", "form", "tag", "tag_default"]
    ELSEWHERE_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    TAG_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    elsewhere: _containers.RepeatedCompositeFieldContainer[Elsewhere]
    form: JsonForm
    tag: str
    tag_default: str
    def __init__(self, form: _Optional[_Union[JsonForm, str]] = ..., tag: _Optional[str] = ..., tag_default: _Optional[str] = ..., elsewhere: _Optional[_Iterable[_Union[Elsewhere, _Mapping]]] = ...) -> None: ...

class Dialect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class JsonText(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class JsonForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
