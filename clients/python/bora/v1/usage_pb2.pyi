# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from bora.v1 import keys_pb2 as _keys_pb2
from bora.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetPricesRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetRateLimitRequest(_message.Message):
    __slots__ = ["key_id", "organization_id", "workspace_id"]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    organization_id: str
    workspace_id: str
    def __init__(self, key_id: _Optional[str] = ..., workspace_id: _Optional[str] = ..., organization_id: _Optional[str] = ...) -> None: ...

class GetSpendLimitRequest(_message.Message):
    __slots__ = ["organization_id", "workspace_id"]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    workspace_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., organization_id: _Optional[str] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ["format", "group_by", "interval", "key_id", "model", "month", "organization_id", "to", "workspace_id", "year"]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    YEAR_FIELD_NUMBER: _ClassVar[int]
    format: str
    group_by: _containers.RepeatedScalarFieldContainer[str]
    interval: str
    key_id: str
    model: str
    month: int
    organization_id: str
    to: str
    workspace_id: str
    year: int
    def __init__(self, to: _Optional[str] = ..., year: _Optional[int] = ..., month: _Optional[int] = ..., interval: _Optional[str] = ..., group_by: _Optional[_Iterable[str]] = ..., key_id: _Optional[str] = ..., workspace_id: _Optional[str] = ..., model: _Optional[str] = ..., organization_id: _Optional[str] = ..., format: _Optional[str] = ..., **kwargs) -> None: ...

class LedgerEntry(_message.Message):
    __slots__ = ["cached_tokens", "cost", "currency", "endpoint", "id", "input_tokens", "key_id", "key_name", "key_prefix", "kind", "model", "output_tokens", "request_id", "started", "time", "workspace_id", "workspace_name"]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_NAME_FIELD_NUMBER: _ClassVar[int]
    cached_tokens: int
    cost: float
    currency: str
    endpoint: str
    id: str
    input_tokens: int
    key_id: str
    key_name: str
    key_prefix: str
    kind: str
    model: str
    output_tokens: int
    request_id: str
    started: str
    time: str
    workspace_id: str
    workspace_name: str
    def __init__(self, id: _Optional[str] = ..., time: _Optional[str] = ..., request_id: _Optional[str] = ..., key_id: _Optional[str] = ..., workspace_id: _Optional[str] = ..., model: _Optional[str] = ..., input_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost: _Optional[float] = ..., kind: _Optional[str] = ..., endpoint: _Optional[str] = ..., started: _Optional[str] = ..., key_prefix: _Optional[str] = ..., key_name: _Optional[str] = ..., workspace_name: _Optional[str] = ..., currency: _Optional[str] = ...) -> None: ...

class ListLedgerRequest(_message.Message):
    __slots__ = ["after", "format", "key_id", "limit", "model", "organization_id", "to"]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    after: str
    format: str
    key_id: str
    limit: int
    model: str
    organization_id: str
    to: str
    def __init__(self, to: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., key_id: _Optional[str] = ..., model: _Optional[str] = ..., organization_id: _Optional[str] = ..., format: _Optional[str] = ..., **kwargs) -> None: ...

class ListLedgerResponse(_message.Message):
    __slots__ = ["currency", "entries", "has_more", "next_after"]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    NEXT_AFTER_FIELD_NUMBER: _ClassVar[int]
    currency: str
    entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    has_more: bool
    next_after: str
    def __init__(self, entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ..., has_more: bool = ..., currency: _Optional[str] = ..., next_after: _Optional[str] = ...) -> None: ...

class Prices(_message.Message):
    __slots__ = ["currency", "prices"]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    currency: str
    prices: _containers.RepeatedCompositeFieldContainer[_keys_pb2.ModelPrice]
    def __init__(self, currency: _Optional[str] = ..., prices: _Optional[_Iterable[_Union[_keys_pb2.ModelPrice, _Mapping]]] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ["day_resets_at", "levels", "month_resets_at", "requests_per_second", "tokens_limits_by_model"]
    class TokensLimitsByModelEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: TokenLimits
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[TokenLimits, _Mapping]] = ...) -> None: ...
    DAY_RESETS_AT_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    MONTH_RESETS_AT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_LIMITS_BY_MODEL_FIELD_NUMBER: _ClassVar[int]
    day_resets_at: str
    levels: _containers.RepeatedCompositeFieldContainer[RateLimitLevel]
    month_resets_at: str
    requests_per_second: float
    tokens_limits_by_model: _containers.MessageMap[str, TokenLimits]
    def __init__(self, requests_per_second: _Optional[float] = ..., tokens_limits_by_model: _Optional[_Mapping[str, TokenLimits]] = ..., levels: _Optional[_Iterable[_Union[RateLimitLevel, _Mapping]]] = ..., day_resets_at: _Optional[str] = ..., month_resets_at: _Optional[str] = ...) -> None: ...

class RateLimitLevel(_message.Message):
    __slots__ = ["id", "limits", "model", "models", "name", "remaining", "scope", "used"]
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    id: str
    limits: _keys_pb2.Limits
    model: str
    models: _containers.RepeatedScalarFieldContainer[str]
    name: str
    remaining: _keys_pb2.Limits
    scope: str
    used: _keys_pb2.Limits
    def __init__(self, scope: _Optional[str] = ..., id: _Optional[str] = ..., name: _Optional[str] = ..., model: _Optional[str] = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., used: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., remaining: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ...) -> None: ...

class SetPricesRequest(_message.Message):
    __slots__ = ["currency", "prices"]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    currency: str
    prices: _containers.RepeatedCompositeFieldContainer[_keys_pb2.ModelPrice]
    def __init__(self, currency: _Optional[str] = ..., prices: _Optional[_Iterable[_Union[_keys_pb2.ModelPrice, _Mapping]]] = ...) -> None: ...

class SetSpendLimitRequest(_message.Message):
    __slots__ = ["organization_id", "spend_per_month", "workspace_id"]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    SPEND_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    spend_per_month: float
    workspace_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., organization_id: _Optional[str] = ..., spend_per_month: _Optional[float] = ...) -> None: ...

class SpendLimit(_message.Message):
    __slots__ = ["currency", "spend_per_month", "spent"]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SPEND_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    currency: str
    spend_per_month: float
    spent: float
    def __init__(self, spend_per_month: _Optional[float] = ..., spent: _Optional[float] = ..., currency: _Optional[str] = ...) -> None: ...

class TokenLimits(_message.Message):
    __slots__ = ["tokens_per_minute", "tokens_per_month"]
    TOKENS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    tokens_per_minute: int
    tokens_per_month: int
    def __init__(self, tokens_per_minute: _Optional[int] = ..., tokens_per_month: _Optional[int] = ...) -> None: ...

class UsageReport(_message.Message):
    __slots__ = ["currency", "interval", "rows", "to", "total"]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    currency: str
    interval: str
    rows: _containers.RepeatedCompositeFieldContainer[UsageRow]
    to: str
    total: UsageRow
    def __init__(self, to: _Optional[str] = ..., interval: _Optional[str] = ..., currency: _Optional[str] = ..., rows: _Optional[_Iterable[_Union[UsageRow, _Mapping]]] = ..., total: _Optional[_Union[UsageRow, _Mapping]] = ..., **kwargs) -> None: ...

class UsageRow(_message.Message):
    __slots__ = ["cached_tokens", "cost", "currency", "input_tokens", "key_id", "key_name", "key_prefix", "model", "output_tokens", "requests", "start", "workspace_id", "workspace_name"]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_NAME_FIELD_NUMBER: _ClassVar[int]
    cached_tokens: int
    cost: float
    currency: str
    input_tokens: int
    key_id: str
    key_name: str
    key_prefix: str
    model: str
    output_tokens: int
    requests: int
    start: str
    workspace_id: str
    workspace_name: str
    def __init__(self, start: _Optional[str] = ..., key_id: _Optional[str] = ..., key_name: _Optional[str] = ..., workspace_id: _Optional[str] = ..., workspace_name: _Optional[str] = ..., model: _Optional[str] = ..., requests: _Optional[int] = ..., input_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost: _Optional[float] = ..., key_prefix: _Optional[str] = ..., currency: _Optional[str] = ...) -> None: ...
