# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from bora.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetModelRequest(_message.Message):
    __slots__ = ["model"]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class ModelCapabilities(_message.Message):
    __slots__ = ["classification", "completion_chat", "completion_fim", "fine_tuning", "function_calling", "reasoning", "vision"]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_CHAT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIM_FIELD_NUMBER: _ClassVar[int]
    FINE_TUNING_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALLING_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    VISION_FIELD_NUMBER: _ClassVar[int]
    classification: bool
    completion_chat: bool
    completion_fim: bool
    fine_tuning: bool
    function_calling: bool
    reasoning: bool
    vision: bool
    def __init__(self, completion_chat: bool = ..., completion_fim: bool = ..., function_calling: bool = ..., fine_tuning: bool = ..., vision: bool = ..., classification: bool = ..., reasoning: bool = ...) -> None: ...

class ModelCard(_message.Message):
    __slots__ = ["aliases", "capabilities", "created", "default_model_temperature", "deprecation", "description", "id", "max_context_length", "name", "object", "owned_by", "tier", "type"]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    DEPRECATION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    OWNED_BY_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    capabilities: ModelCapabilities
    created: int
    default_model_temperature: float
    deprecation: str
    description: str
    id: str
    max_context_length: int
    name: str
    object: str
    owned_by: str
    tier: str
    type: str
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., created: _Optional[int] = ..., owned_by: _Optional[str] = ..., capabilities: _Optional[_Union[ModelCapabilities, _Mapping]] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., max_context_length: _Optional[int] = ..., aliases: _Optional[_Iterable[str]] = ..., deprecation: _Optional[str] = ..., default_model_temperature: _Optional[float] = ..., type: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...

class ModelList(_message.Message):
    __slots__ = ["data", "object"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedCompositeFieldContainer[ModelCard]
    object: str
    def __init__(self, object: _Optional[str] = ..., data: _Optional[_Iterable[_Union[ModelCard, _Mapping]]] = ...) -> None: ...

class WorkerInfo(_message.Message):
    __slots__ = ["aliases", "alive_max", "completion_tokens", "device", "draining", "gateway_running", "kernel_variant", "kv_tokens_total", "kv_tokens_used", "model", "prompt_tokens", "region", "running", "sequences_max", "started_at", "tier", "version", "waiting", "worker_id"]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    ALIVE_MAX_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_RUNNING_FIELD_NUMBER: _ClassVar[int]
    KERNEL_VARIANT_FIELD_NUMBER: _ClassVar[int]
    KV_TOKENS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    KV_TOKENS_USED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_MAX_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    alive_max: int
    completion_tokens: int
    device: str
    draining: bool
    gateway_running: int
    kernel_variant: str
    kv_tokens_total: int
    kv_tokens_used: int
    model: str
    prompt_tokens: int
    region: str
    running: int
    sequences_max: int
    started_at: int
    tier: str
    version: str
    waiting: int
    worker_id: str
    def __init__(self, worker_id: _Optional[str] = ..., model: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., tier: _Optional[str] = ..., device: _Optional[str] = ..., kernel_variant: _Optional[str] = ..., region: _Optional[str] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., sequences_max: _Optional[int] = ..., alive_max: _Optional[int] = ..., kv_tokens_used: _Optional[int] = ..., kv_tokens_total: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., started_at: _Optional[int] = ..., draining: bool = ..., version: _Optional[str] = ..., gateway_running: _Optional[int] = ...) -> None: ...

class WorkerList(_message.Message):
    __slots__ = ["workers"]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerInfo]
    def __init__(self, workers: _Optional[_Iterable[_Union[WorkerInfo, _Mapping]]] = ...) -> None: ...
