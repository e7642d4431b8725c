# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from bora.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApiKey(_message.Message):
    __slots__ = ["actions", "can_delete", "created_at", "created_by", "disabled", "expiration_date", "expires_at", "hidden_key", "key_id", "last_used", "limits", "model_limits", "name", "organization_id", "prefix", "previous_expires_at", "product", "revoked_at", "role", "scopes", "status", "tenant", "user_id", "workspace_id", "workspace_name"]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    CAN_DELETE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_DATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_NAME_FIELD_NUMBER: _ClassVar[int]
    actions: KeyActions
    can_delete: bool
    created_at: str
    created_by: str
    disabled: bool
    expiration_date: str
    expires_at: int
    hidden_key: str
    key_id: str
    last_used: str
    limits: Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[ModelLimits]
    name: str
    organization_id: str
    prefix: str
    previous_expires_at: int
    product: str
    revoked_at: int
    role: str
    scopes: Scopes
    status: str
    tenant: str
    user_id: str
    workspace_id: str
    workspace_name: str
    def __init__(self, key_id: _Optional[str] = ..., name: _Optional[str] = ..., hidden_key: _Optional[str] = ..., tenant: _Optional[str] = ..., created_at: _Optional[str] = ..., expires_at: _Optional[int] = ..., revoked_at: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[ModelLimits, _Mapping]]] = ..., prefix: _Optional[str] = ..., role: _Optional[str] = ..., scopes: _Optional[_Union[Scopes, _Mapping]] = ..., disabled: bool = ..., workspace_id: _Optional[str] = ..., workspace_name: _Optional[str] = ..., organization_id: _Optional[str] = ..., user_id: _Optional[str] = ..., expiration_date: _Optional[str] = ..., last_used: _Optional[str] = ..., previous_expires_at: _Optional[int] = ..., created_by: _Optional[str] = ..., can_delete: bool = ..., actions: _Optional[_Union[KeyActions, _Mapping]] = ..., status: _Optional[str] = ..., product: _Optional[str] = ...) -> None: ...

class CreateKeyRequest(_message.Message):
    __slots__ = ["expiration", "expires_at", "limits", "model_limits", "name", "role", "scopes", "tenant", "user_id", "workspace_uuid"]
    EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_UUID_FIELD_NUMBER: _ClassVar[int]
    expiration: str
    expires_at: int
    limits: Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[ModelLimits]
    name: str
    role: str
    scopes: Scopes
    tenant: str
    user_id: str
    workspace_uuid: str
    def __init__(self, name: _Optional[str] = ..., tenant: _Optional[str] = ..., expires_at: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[ModelLimits, _Mapping]]] = ..., workspace_uuid: _Optional[str] = ..., user_id: _Optional[str] = ..., expiration: _Optional[str] = ..., role: _Optional[str] = ..., scopes: _Optional[_Union[Scopes, _Mapping]] = ...) -> None: ...

class CreateKeyResponse(_message.Message):
    __slots__ = ["actions", "created_at", "expiration_date", "hidden_key", "info", "key", "key_id", "name"]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_DATE_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_KEY_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    actions: KeyActions
    created_at: str
    expiration_date: str
    hidden_key: str
    info: ApiKey
    key: str
    key_id: str
    name: str
    def __init__(self, key: _Optional[str] = ..., info: _Optional[_Union[ApiKey, _Mapping]] = ..., key_id: _Optional[str] = ..., name: _Optional[str] = ..., hidden_key: _Optional[str] = ..., created_at: _Optional[str] = ..., expiration_date: _Optional[str] = ..., actions: _Optional[_Union[KeyActions, _Mapping]] = ...) -> None: ...

class GetKeyRequest(_message.Message):
    __slots__ = ["key_id"]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class KeyAction(_message.Message):
    __slots__ = ["reason", "status"]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    status: str
    def __init__(self, status: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class KeyActions(_message.Message):
    __slots__ = ["delete", "rotate"]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    ROTATE_FIELD_NUMBER: _ClassVar[int]
    delete: KeyAction
    rotate: KeyAction
    def __init__(self, rotate: _Optional[_Union[KeyAction, _Mapping]] = ..., delete: _Optional[_Union[KeyAction, _Mapping]] = ...) -> None: ...

class LevelLimits(_message.Message):
    __slots__ = ["limits", "model_limits", "scope"]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    limits: Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[ModelLimits]
    scope: str
    def __init__(self, scope: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[ModelLimits, _Mapping]]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ["concurrent_streams", "input_tokens_per_minute", "output_tokens_per_minute", "requests_per_minute", "requests_per_second", "spend_per_month", "tokens_per_day", "tokens_per_minute", "tokens_per_month"]
    CONCURRENT_STREAMS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SPEND_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    concurrent_streams: int
    input_tokens_per_minute: int
    output_tokens_per_minute: int
    requests_per_minute: int
    requests_per_second: int
    spend_per_month: float
    tokens_per_day: int
    tokens_per_minute: int
    tokens_per_month: int
    def __init__(self, requests_per_minute: _Optional[int] = ..., tokens_per_minute: _Optional[int] = ..., requests_per_second: _Optional[int] = ..., input_tokens_per_minute: _Optional[int] = ..., output_tokens_per_minute: _Optional[int] = ..., tokens_per_day: _Optional[int] = ..., tokens_per_month: _Optional[int] = ..., concurrent_streams: _Optional[int] = ..., spend_per_month: _Optional[float] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ["after", "limit", "name", "offset", "organization_id", "workspace_id"]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    after: str
    limit: int
    name: str
    offset: int
    organization_id: str
    workspace_id: str
    def __init__(self, limit: _Optional[int] = ..., after: _Optional[str] = ..., offset: _Optional[int] = ..., name: _Optional[str] = ..., workspace_id: _Optional[str] = ..., organization_id: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ["has_more", "keys"]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    has_more: bool
    keys: _containers.RepeatedCompositeFieldContainer[ApiKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[ApiKey, _Mapping]]] = ..., has_more: bool = ...) -> None: ...

class ModelLimits(_message.Message):
    __slots__ = ["limits", "model"]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    limits: Limits
    model: str
    def __init__(self, model: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class ModelLimitsList(_message.Message):
    __slots__ = ["items"]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ModelLimits]
    def __init__(self, items: _Optional[_Iterable[_Union[ModelLimits, _Mapping]]] = ...) -> None: ...

class ModelPrice(_message.Message):
    __slots__ = ["cached_input_per_million", "input_per_million", "model", "output_per_million"]
    CACHED_INPUT_PER_MILLION_FIELD_NUMBER: _ClassVar[int]
    INPUT_PER_MILLION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PER_MILLION_FIELD_NUMBER: _ClassVar[int]
    cached_input_per_million: float
    input_per_million: float
    model: str
    output_per_million: float
    def __init__(self, model: _Optional[str] = ..., input_per_million: _Optional[float] = ..., output_per_million: _Optional[float] = ..., cached_input_per_million: _Optional[float] = ...) -> None: ...

class RevokeKeyRequest(_message.Message):
    __slots__ = ["key_id"]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class RevokeKeyResponse(_message.Message):
    __slots__ = ["deleted", "info", "key_id"]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    info: ApiKey
    key_id: str
    def __init__(self, info: _Optional[_Union[ApiKey, _Mapping]] = ..., key_id: _Optional[str] = ..., deleted: bool = ...) -> None: ...

class RotateKeyRequest(_message.Message):
    __slots__ = ["key_id", "overlap_seconds"]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    overlap_seconds: int
    def __init__(self, key_id: _Optional[str] = ..., overlap_seconds: _Optional[int] = ...) -> None: ...

class Scopes(_message.Message):
    __slots__ = ["endpoints", "models"]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, models: _Optional[_Iterable[str]] = ..., endpoints: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateKeyRequest(_message.Message):
    __slots__ = ["disabled", "expiration", "key_id", "limits", "model_limits", "name", "role", "scopes"]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    disabled: bool
    expiration: str
    key_id: str
    limits: Limits
    model_limits: ModelLimitsList
    name: str
    role: str
    scopes: Scopes
    def __init__(self, key_id: _Optional[str] = ..., name: _Optional[str] = ..., disabled: bool = ..., expiration: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., model_limits: _Optional[_Union[ModelLimitsList, _Mapping]] = ..., scopes: _Optional[_Union[Scopes, _Mapping]] = ..., role: _Optional[str] = ...) -> None: ...

class VerifyKeyRequest(_message.Message):
    __slots__ = ["key"]
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class VerifyKeyResponse(_message.Message):
    __slots__ = ["gate", "info", "levels", "organization_name", "prices"]
    GATE_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_NAME_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    gate: str
    info: ApiKey
    levels: _containers.RepeatedCompositeFieldContainer[LevelLimits]
    organization_name: str
    prices: _containers.RepeatedCompositeFieldContainer[ModelPrice]
    def __init__(self, info: _Optional[_Union[ApiKey, _Mapping]] = ..., organization_name: _Optional[str] = ..., levels: _Optional[_Iterable[_Union[LevelLimits, _Mapping]]] = ..., prices: _Optional[_Iterable[_Union[ModelPrice, _Mapping]]] = ..., gate: _Optional[str] = ...) -> None: ...
