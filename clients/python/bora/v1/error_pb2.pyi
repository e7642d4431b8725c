# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from bora.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApiError(_message.Message):
    __slots__ = ["code", "message", "object", "param", "raw_status_code", "request_id", "type"]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    PARAM_FIELD_NUMBER: _ClassVar[int]
    RAW_STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    object: str
    param: str
    raw_status_code: int
    request_id: str
    type: str
    def __init__(self, object: _Optional[str] = ..., message: _Optional[str] = ..., type: _Optional[str] = ..., param: _Optional[str] = ..., code: _Optional[str] = ..., raw_status_code: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ["error", "retry_after_ms", "validation"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    error: ApiError
    retry_after_ms: int
    validation: ValidationErrors
    def __init__(self, error: _Optional[_Union[ApiError, _Mapping]] = ..., validation: _Optional[_Union[ValidationErrors, _Mapping]] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class PathStep(_message.Message):
    __slots__ = ["index", "name"]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    def __init__(self, name: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class ValidationError(_message.Message):
    __slots__ = ["ctx", "input", "loc", "msg", "type"]
    CTX_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LOC_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ctx: str
    input: str
    loc: _containers.RepeatedCompositeFieldContainer[PathStep]
    msg: str
    type: str
    def __init__(self, type: _Optional[str] = ..., loc: _Optional[_Iterable[_Union[PathStep, _Mapping]]] = ..., msg: _Optional[str] = ..., input: _Optional[str] = ..., ctx: _Optional[str] = ...) -> None: ...

class ValidationErrors(_message.Message):
    __slots__ = ["detail", "message"]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    detail: _containers.RepeatedCompositeFieldContainer[ValidationError]
    message: str
    def __init__(self, detail: _Optional[_Iterable[_Union[ValidationError, _Mapping]]] = ..., message: _Optional[str] = ...) -> None: ...
