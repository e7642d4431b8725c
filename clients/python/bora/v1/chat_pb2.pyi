# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from bora.v1 import error_pb2 as _error_pb2
from bora.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AllowedTools(_message.Message):
    __slots__ = ["mode", "tools"]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    mode: str
    tools: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mode: _Optional[str] = ..., tools: _Optional[_Iterable[str]] = ...) -> None: ...

class AssistantMessage(_message.Message):
    __slots__ = ["annotations", "audio", "content", "function_call", "name", "prefix", "reasoning_content", "refusal", "tool_calls"]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    REASONING_CONTENT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    annotations: _containers.RepeatedScalarFieldContainer[str]
    audio: str
    content: Content
    function_call: str
    name: str
    prefix: bool
    reasoning_content: str
    refusal: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    def __init__(self, content: _Optional[_Union[Content, _Mapping]] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping]]] = ..., prefix: bool = ..., name: _Optional[str] = ..., refusal: _Optional[str] = ..., audio: _Optional[str] = ..., function_call: _Optional[str] = ..., annotations: _Optional[_Iterable[str]] = ..., reasoning_content: _Optional[str] = ...) -> None: ...

class ChatCompletionChunk(_message.Message):
    __slots__ = ["choices", "created", "error", "id", "model", "object", "system_fingerprint", "usage"]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    choices: _containers.RepeatedCompositeFieldContainer[ChunkChoice]
    created: int
    error: _error_pb2.ApiError
    id: str
    model: str
    object: str
    system_fingerprint: str
    usage: Usage
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., created: _Optional[int] = ..., model: _Optional[str] = ..., choices: _Optional[_Iterable[_Union[ChunkChoice, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., system_fingerprint: _Optional[str] = ..., error: _Optional[_Union[_error_pb2.ApiError, _Mapping]] = ...) -> None: ...

class ChatCompletionRequest(_message.Message):
    __slots__ = ["audio", "best_of", "early_stopping", "frequency_penalty", "function_call", "functions", "guardrails", "length_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages", "metadata", "min_p", "min_tokens", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "prompt_logprobs", "prompt_mode", "random_seed", "reasoning_effort", "repetition_penalty", "response_format", "safe_prompt", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "top_prompt_logprobs", "truncation", "typical_p", "use_beam_search", "user", "verbosity", "web_search_options"]
    class LogitBiasEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    BEST_OF_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALL_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_PENALTY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    MAX_COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODERATION_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_RETENTION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_MODE_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    REASONING_EFFORT_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SAFETY_IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    SAFE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STREAM_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_PROMPT_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    TYPICAL_P_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    USE_BEAM_SEARCH_FIELD_NUMBER: _ClassVar[int]
    VERBOSITY_FIELD_NUMBER: _ClassVar[int]
    WEB_SEARCH_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    audio: str
    best_of: int
    early_stopping: bool
    frequency_penalty: float
    function_call: str
    functions: _containers.RepeatedScalarFieldContainer[str]
    guardrails: _containers.RepeatedScalarFieldContainer[str]
    length_penalty: float
    logit_bias: _containers.ScalarMap[int, float]
    logprobs: bool
    max_completion_tokens: int
    max_tokens: int
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    metadata: str
    min_p: float
    min_tokens: int
    modalities: _containers.RepeatedScalarFieldContainer[str]
    model: str
    moderation: str
    n: int
    parallel_tool_calls: bool
    prediction: Prediction
    presence_penalty: float
    prompt_cache_key: str
    prompt_cache_options: PromptCacheOptions
    prompt_cache_retention: str
    prompt_logprobs: bool
    prompt_mode: str
    random_seed: int
    reasoning_effort: str
    repetition_penalty: float
    response_format: ResponseFormat
    safe_prompt: bool
    safety_identifier: str
    seed: int
    service_tier: str
    stop: StopSequences
    store: bool
    stream: bool
    stream_options: StreamOptions
    temperature: float
    tool_choice: ToolChoice
    tools: _containers.RepeatedCompositeFieldContainer[Tool]
    top_k: int
    top_logprobs: int
    top_p: float
    top_prompt_logprobs: int
    truncation: str
    typical_p: float
    use_beam_search: bool
    user: str
    verbosity: str
    web_search_options: str
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., max_completion_tokens: _Optional[int] = ..., stream: bool = ..., stream_options: _Optional[_Union[StreamOptions, _Mapping]] = ..., stop: _Optional[_Union[StopSequences, _Mapping]] = ..., random_seed: _Optional[int] = ..., seed: _Optional[int] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., n: _Optional[int] = ..., logit_bias: _Optional[_Mapping[int, float]] = ..., logprobs: bool = ..., top_logprobs: _Optional[int] = ..., metadata: _Optional[str] = ..., user: _Optional[str] = ..., safety_identifier: _Optional[str] = ..., prompt_cache_key: _Optional[str] = ..., prompt_cache_retention: _Optional[str] = ..., store: bool = ..., service_tier: _Optional[str] = ..., response_format: _Optional[_Union[ResponseFormat, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[Tool, _Mapping]]] = ..., tool_choice: _Optional[_Union[ToolChoice, _Mapping]] = ..., parallel_tool_calls: bool = ..., functions: _Optional[_Iterable[str]] = ..., function_call: _Optional[str] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., reasoning_effort: _Optional[str] = ..., prompt_mode: _Optional[str] = ..., safe_prompt: bool = ..., guardrails: _Optional[_Iterable[str]] = ..., modalities: _Optional[_Iterable[str]] = ..., audio: _Optional[str] = ..., verbosity: _Optional[str] = ..., web_search_options: _Optional[str] = ..., min_tokens: _Optional[int] = ..., prompt_logprobs: bool = ..., top_prompt_logprobs: _Optional[int] = ..., moderation: _Optional[str] = ..., prompt_cache_options: _Optional[_Union[PromptCacheOptions, _Mapping]] = ..., top_k: _Optional[int] = ..., min_p: _Optional[float] = ..., typical_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., best_of: _Optional[int] = ..., use_beam_search: bool = ..., length_penalty: _Optional[float] = ..., early_stopping: bool = ..., truncation: _Optional[str] = ...) -> None: ...

class ChatCompletionResponse(_message.Message):
    __slots__ = ["choices", "created", "id", "model", "object", "service_tier", "system_fingerprint", "usage"]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    choices: _containers.RepeatedCompositeFieldContainer[Choice]
    created: int
    id: str
    model: str
    object: str
    service_tier: str
    system_fingerprint: str
    usage: Usage
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., created: _Optional[int] = ..., model: _Optional[str] = ..., choices: _Optional[_Iterable[_Union[Choice, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., system_fingerprint: _Optional[str] = ..., service_tier: _Optional[str] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ["assistant", "developer", "function", "system", "tool", "user"]
    ASSISTANT_FIELD_NUMBER: _ClassVar[int]
    DEVELOPER_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    assistant: AssistantMessage
    developer: SystemMessage
    function: FunctionMessage
    system: SystemMessage
    tool: ToolMessage
    user: UserMessage
    def __init__(self, system: _Optional[_Union[SystemMessage, _Mapping]] = ..., user: _Optional[_Union[UserMessage, _Mapping]] = ..., assistant: _Optional[_Union[AssistantMessage, _Mapping]] = ..., tool: _Optional[_Union[ToolMessage, _Mapping]] = ..., developer: _Optional[_Union[SystemMessage, _Mapping]] = ..., function: _Optional[_Union[FunctionMessage, _Mapping]] = ...) -> None: ...

class Choice(_message.Message):
    __slots__ = ["finish_reason", "index", "logprobs", "message"]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    finish_reason: str
    index: int
    logprobs: Logprobs
    message: ResponseMessage
    def __init__(self, index: _Optional[int] = ..., message: _Optional[_Union[ResponseMessage, _Mapping]] = ..., finish_reason: _Optional[str] = ..., logprobs: _Optional[_Union[Logprobs, _Mapping]] = ...) -> None: ...

class ChunkChoice(_message.Message):
    __slots__ = ["delta", "finish_reason", "index", "logprobs"]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    delta: Delta
    finish_reason: str
    index: int
    logprobs: Logprobs
    def __init__(self, index: _Optional[int] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., finish_reason: _Optional[str] = ..., logprobs: _Optional[_Union[Logprobs, _Mapping]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ["parts", "text"]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    parts: ContentParts
    text: str
    def __init__(self, text: _Optional[str] = ..., parts: _Optional[_Union[ContentParts, _Mapping]] = ...) -> None: ...

class ContentPart(_message.Message):
    __slots__ = ["document_url", "file", "image_url", "input_audio", "reference", "refusal", "resource", "resource_link", "text", "thinking"]
    DOCUMENT_URL_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_LINK_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    document_url: DocumentUrlPart
    file: FilePart
    image_url: ImageUrlPart
    input_audio: InputAudioPart
    reference: ReferencePart
    refusal: RefusalPart
    resource: ResourcePart
    resource_link: ResourceLinkPart
    text: TextPart
    thinking: ThinkingPart
    def __init__(self, text: _Optional[_Union[TextPart, _Mapping]] = ..., image_url: _Optional[_Union[ImageUrlPart, _Mapping]] = ..., refusal: _Optional[_Union[RefusalPart, _Mapping]] = ..., input_audio: _Optional[_Union[InputAudioPart, _Mapping]] = ..., file: _Optional[_Union[FilePart, _Mapping]] = ..., document_url: _Optional[_Union[DocumentUrlPart, _Mapping]] = ..., reference: _Optional[_Union[ReferencePart, _Mapping]] = ..., thinking: _Optional[_Union[ThinkingPart, _Mapping]] = ..., resource: _Optional[_Union[ResourcePart, _Mapping]] = ..., resource_link: _Optional[_Union[ResourceLinkPart, _Mapping]] = ...) -> None: ...

class ContentParts(_message.Message):
    __slots__ = ["parts"]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[ContentPart]
    def __init__(self, parts: _Optional[_Iterable[_Union[ContentPart, _Mapping]]] = ...) -> None: ...

class CustomTool(_message.Message):
    __slots__ = ["description", "format", "name"]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    description: str
    format: str
    name: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., format: _Optional[str] = ...) -> None: ...

class CustomToolCall(_message.Message):
    __slots__ = ["input", "name"]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    input: str
    name: str
    def __init__(self, name: _Optional[str] = ..., input: _Optional[str] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ["content", "reasoning_content", "role", "tool_calls"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REASONING_CONTENT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    content: str
    reasoning_content: str
    role: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping]]] = ..., reasoning_content: _Optional[str] = ...) -> None: ...

class DocumentUrlPart(_message.Message):
    __slots__ = ["document_name", "document_url"]
    DOCUMENT_NAME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_URL_FIELD_NUMBER: _ClassVar[int]
    document_name: str
    document_url: str
    def __init__(self, document_url: _Optional[str] = ..., document_name: _Optional[str] = ...) -> None: ...

class DroppedTurns(_message.Message):
    __slots__ = ["dropped_messages", "dropped_tokens"]
    DROPPED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    dropped_messages: int
    dropped_tokens: int
    def __init__(self, dropped_messages: _Optional[int] = ..., dropped_tokens: _Optional[int] = ...) -> None: ...

class FilePart(_message.Message):
    __slots__ = ["file", "file_id", "prompt_cache_breakpoint"]
    FILE_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_BREAKPOINT_FIELD_NUMBER: _ClassVar[int]
    file: str
    file_id: str
    prompt_cache_breakpoint: PromptCacheBreakpoint
    def __init__(self, file_id: _Optional[str] = ..., file: _Optional[str] = ..., prompt_cache_breakpoint: _Optional[_Union[PromptCacheBreakpoint, _Mapping]] = ...) -> None: ...

class FunctionArguments(_message.Message):
    __slots__ = ["object", "text"]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    object: JsonObject
    text: str
    def __init__(self, text: _Optional[str] = ..., object: _Optional[_Union[JsonObject, _Mapping]] = ...) -> None: ...

class FunctionCall(_message.Message):
    __slots__ = ["arguments", "name"]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    arguments: FunctionArguments
    name: str
    def __init__(self, name: _Optional[str] = ..., arguments: _Optional[_Union[FunctionArguments, _Mapping]] = ...) -> None: ...

class FunctionDefinition(_message.Message):
    __slots__ = ["description", "name", "parameters", "strict"]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    description: str
    name: str
    parameters: str
    strict: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., strict: bool = ..., parameters: _Optional[str] = ...) -> None: ...

class FunctionMessage(_message.Message):
    __slots__ = ["content", "name"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    content: Content
    name: str
    def __init__(self, content: _Optional[_Union[Content, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class FunctionName(_message.Message):
    __slots__ = ["name"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ImageUrl(_message.Message):
    __slots__ = ["object", "url"]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    object: ImageUrlObject
    url: str
    def __init__(self, url: _Optional[str] = ..., object: _Optional[_Union[ImageUrlObject, _Mapping]] = ...) -> None: ...

class ImageUrlObject(_message.Message):
    __slots__ = ["detail", "url"]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    detail: str
    url: str
    def __init__(self, url: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ImageUrlPart(_message.Message):
    __slots__ = ["image_url", "prompt_cache_breakpoint"]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_BREAKPOINT_FIELD_NUMBER: _ClassVar[int]
    image_url: ImageUrl
    prompt_cache_breakpoint: PromptCacheBreakpoint
    def __init__(self, image_url: _Optional[_Union[ImageUrl, _Mapping]] = ..., prompt_cache_breakpoint: _Optional[_Union[PromptCacheBreakpoint, _Mapping]] = ...) -> None: ...

class InputAudioPart(_message.Message):
    __slots__ = ["input_audio", "prompt_cache_breakpoint"]
    INPUT_AUDIO_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_BREAKPOINT_FIELD_NUMBER: _ClassVar[int]
    input_audio: str
    prompt_cache_breakpoint: PromptCacheBreakpoint
    def __init__(self, input_audio: _Optional[str] = ..., prompt_cache_breakpoint: _Optional[_Union[PromptCacheBreakpoint, _Mapping]] = ...) -> None: ...

class JsonObject(_message.Message):
    __slots__ = ["json"]
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class JsonSchemaFormat(_message.Message):
    __slots__ = ["description", "name", "order", "schema", "strict", "whitespace"]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    WHITESPACE_FIELD_NUMBER: _ClassVar[int]
    description: str
    name: str
    order: str
    schema: str
    strict: bool
    whitespace: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., schema: _Optional[str] = ..., strict: bool = ..., whitespace: _Optional[str] = ..., order: _Optional[str] = ...) -> None: ...

class Logprobs(_message.Message):
    __slots__ = ["content"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: _containers.RepeatedCompositeFieldContainer[TokenLogprob]
    def __init__(self, content: _Optional[_Iterable[_Union[TokenLogprob, _Mapping]]] = ...) -> None: ...

class NamedToolChoice(_message.Message):
    __slots__ = ["allowed_tools", "custom", "function", "type"]
    ALLOWED_TOOLS_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    allowed_tools: AllowedTools
    custom: FunctionName
    function: FunctionName
    type: str
    def __init__(self, type: _Optional[str] = ..., function: _Optional[_Union[FunctionName, _Mapping]] = ..., allowed_tools: _Optional[_Union[AllowedTools, _Mapping]] = ..., custom: _Optional[_Union[FunctionName, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ["content", "type"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    content: Content
    type: str
    def __init__(self, type: _Optional[str] = ..., content: _Optional[_Union[Content, _Mapping]] = ...) -> None: ...

class PromptCacheBreakpoint(_message.Message):
    __slots__ = ["mode", "ttl"]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    mode: str
    ttl: str
    def __init__(self, mode: _Optional[str] = ..., ttl: _Optional[str] = ...) -> None: ...

class PromptCacheOptions(_message.Message):
    __slots__ = ["mode", "ttl"]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    mode: str
    ttl: str
    def __init__(self, mode: _Optional[str] = ..., ttl: _Optional[str] = ...) -> None: ...

class PromptTokensDetails(_message.Message):
    __slots__ = ["cached_tokens"]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    cached_tokens: int
    def __init__(self, cached_tokens: _Optional[int] = ...) -> None: ...

class ReferenceId(_message.Message):
    __slots__ = ["number", "text"]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class ReferencePart(_message.Message):
    __slots__ = ["reference_ids"]
    REFERENCE_IDS_FIELD_NUMBER: _ClassVar[int]
    reference_ids: _containers.RepeatedCompositeFieldContainer[ReferenceId]
    def __init__(self, reference_ids: _Optional[_Iterable[_Union[ReferenceId, _Mapping]]] = ...) -> None: ...

class RefusalPart(_message.Message):
    __slots__ = ["refusal"]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    refusal: str
    def __init__(self, refusal: _Optional[str] = ...) -> None: ...

class ResourceLinkPart(_message.Message):
    __slots__ = ["metadata", "uri"]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    metadata: str
    uri: str
    def __init__(self, uri: _Optional[str] = ..., metadata: _Optional[str] = ...) -> None: ...

class ResourcePart(_message.Message):
    __slots__ = ["content", "uri"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    content: str
    uri: str
    def __init__(self, uri: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class ResponseFormat(_message.Message):
    __slots__ = ["choice", "dialect", "grammar", "json_schema", "regex", "type"]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    DIALECT_FIELD_NUMBER: _ClassVar[int]
    GRAMMAR_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    choice: _containers.RepeatedScalarFieldContainer[str]
    dialect: str
    grammar: str
    json_schema: JsonSchemaFormat
    regex: str
    type: str
    def __init__(self, type: _Optional[str] = ..., json_schema: _Optional[_Union[JsonSchemaFormat, _Mapping]] = ..., regex: _Optional[str] = ..., grammar: _Optional[str] = ..., dialect: _Optional[str] = ..., choice: _Optional[_Iterable[str]] = ...) -> None: ...

class ResponseMessage(_message.Message):
    __slots__ = ["content", "prefix", "reasoning_content", "role", "tool_calls"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    REASONING_CONTENT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    content: Content
    prefix: bool
    reasoning_content: str
    role: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    def __init__(self, role: _Optional[str] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping]]] = ..., prefix: bool = ..., reasoning_content: _Optional[str] = ...) -> None: ...

class StopSequences(_message.Message):
    __slots__ = ["many", "one"]
    MANY_FIELD_NUMBER: _ClassVar[int]
    ONE_FIELD_NUMBER: _ClassVar[int]
    many: StringList
    one: str
    def __init__(self, one: _Optional[str] = ..., many: _Optional[_Union[StringList, _Mapping]] = ...) -> None: ...

class StreamOptions(_message.Message):
    __slots__ = ["include_obfuscation", "include_usage"]
    INCLUDE_OBFUSCATION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_USAGE_FIELD_NUMBER: _ClassVar[int]
    include_obfuscation: bool
    include_usage: bool
    def __init__(self, include_usage: bool = ..., include_obfuscation: bool = ...) -> None: ...

class StringList(_message.Message):
    __slots__ = ["values"]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class SystemMessage(_message.Message):
    __slots__ = ["content", "name"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    content: Content
    name: str
    def __init__(self, content: _Optional[_Union[Content, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class TextPart(_message.Message):
    __slots__ = ["prompt_cache_breakpoint", "text"]
    PROMPT_CACHE_BREAKPOINT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    prompt_cache_breakpoint: PromptCacheBreakpoint
    text: str
    def __init__(self, text: _Optional[str] = ..., prompt_cache_breakpoint: _Optional[_Union[PromptCacheBreakpoint, _Mapping]] = ...) -> None: ...

class ThinkingChunk(_message.Message):
    __slots__ = ["reference", "text", "tool_reference"]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOOL_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: ReferencePart
    text: TextPart
    tool_reference: ToolReferencePart
    def __init__(self, text: _Optional[_Union[TextPart, _Mapping]] = ..., reference: _Optional[_Union[ReferencePart, _Mapping]] = ..., tool_reference: _Optional[_Union[ToolReferencePart, _Mapping]] = ...) -> None: ...

class ThinkingPart(_message.Message):
    __slots__ = ["closed", "signature", "thinking"]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    closed: bool
    signature: str
    thinking: _containers.RepeatedCompositeFieldContainer[ThinkingChunk]
    def __init__(self, thinking: _Optional[_Iterable[_Union[ThinkingChunk, _Mapping]]] = ..., signature: _Optional[str] = ..., closed: bool = ...) -> None: ...

class TokenLogprob(_message.Message):
    __slots__ = ["bytes", "logprob", "token", "top_logprobs"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    bytes: _containers.RepeatedScalarFieldContainer[int]
    logprob: float
    token: str
    top_logprobs: _containers.RepeatedCompositeFieldContainer[TopLogprob]
    def __init__(self, token: _Optional[str] = ..., logprob: _Optional[float] = ..., bytes: _Optional[_Iterable[int]] = ..., top_logprobs: _Optional[_Iterable[_Union[TopLogprob, _Mapping]]] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ["authorization", "connector_id", "custom", "function", "library_ids", "tool_configuration", "type"]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_IDS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    authorization: str
    connector_id: str
    custom: CustomTool
    function: FunctionDefinition
    library_ids: _containers.RepeatedScalarFieldContainer[str]
    tool_configuration: str
    type: str
    def __init__(self, type: _Optional[str] = ..., function: _Optional[_Union[FunctionDefinition, _Mapping]] = ..., custom: _Optional[_Union[CustomTool, _Mapping]] = ..., tool_configuration: _Optional[str] = ..., library_ids: _Optional[_Iterable[str]] = ..., connector_id: _Optional[str] = ..., authorization: _Optional[str] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ["custom", "function", "id", "index", "type"]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    custom: CustomToolCall
    function: FunctionCall
    id: str
    index: int
    type: str
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., function: _Optional[_Union[FunctionCall, _Mapping]] = ..., index: _Optional[int] = ..., custom: _Optional[_Union[CustomToolCall, _Mapping]] = ...) -> None: ...

class ToolChoice(_message.Message):
    __slots__ = ["mode", "named"]
    MODE_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    mode: str
    named: NamedToolChoice
    def __init__(self, mode: _Optional[str] = ..., named: _Optional[_Union[NamedToolChoice, _Mapping]] = ...) -> None: ...

class ToolMessage(_message.Message):
    __slots__ = ["content", "name", "tool_call_id"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    content: Content
    name: str
    tool_call_id: str
    def __init__(self, content: _Optional[_Union[Content, _Mapping]] = ..., tool_call_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ToolReferencePart(_message.Message):
    __slots__ = ["description", "favicon", "title", "tool", "url"]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    FAVICON_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    description: str
    favicon: str
    title: str
    tool: str
    url: str
    def __init__(self, tool: _Optional[str] = ..., title: _Optional[str] = ..., url: _Optional[str] = ..., favicon: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class TopLogprob(_message.Message):
    __slots__ = ["bytes", "logprob", "token"]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    bytes: _containers.RepeatedScalarFieldContainer[int]
    logprob: float
    token: str
    def __init__(self, token: _Optional[str] = ..., logprob: _Optional[float] = ..., bytes: _Optional[_Iterable[int]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ["completion_tokens", "prompt_tokens", "prompt_tokens_details", "total_tokens", "truncation"]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_DETAILS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    completion_tokens: int
    prompt_tokens: int
    prompt_tokens_details: PromptTokensDetails
    total_tokens: int
    truncation: DroppedTurns
    def __init__(self, prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., prompt_tokens_details: _Optional[_Union[PromptTokensDetails, _Mapping]] = ..., truncation: _Optional[_Union[DroppedTurns, _Mapping]] = ...) -> None: ...

class UserMessage(_message.Message):
    __slots__ = ["content", "name"]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    content: Content
    name: str
    def __init__(self, content: _Optional[_Union[Content, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...
