# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
from bora.v1 import keys_pb2 as _keys_pb2
from bora.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditEntry(_message.Message):
    __slots__ = ["action", "actor", "actor_name", "address", "detail", "id", "request_id", "target", "target_name", "time"]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TARGET_NAME_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    action: str
    actor: str
    actor_name: str
    address: str
    detail: str
    id: str
    request_id: str
    target: str
    target_name: str
    time: str
    def __init__(self, id: _Optional[str] = ..., time: _Optional[str] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., target: _Optional[str] = ..., target_name: _Optional[str] = ..., detail: _Optional[str] = ..., request_id: _Optional[str] = ..., address: _Optional[str] = ..., actor_name: _Optional[str] = ...) -> None: ...

class CreateOrganizationRequest(_message.Message):
    __slots__ = ["limits", "model_limits", "name"]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    limits: _keys_pb2.Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[_keys_pb2.ModelLimits]
    name: str
    def __init__(self, name: _Optional[str] = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[_keys_pb2.ModelLimits, _Mapping]]] = ...) -> None: ...

class CreateWorkspaceRequest(_message.Message):
    __slots__ = ["key_limits", "limits", "model_limits", "name", "organization_id"]
    KEY_LIMITS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    key_limits: _keys_pb2.Limits
    limits: _keys_pb2.Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[_keys_pb2.ModelLimits]
    name: str
    organization_id: str
    def __init__(self, name: _Optional[str] = ..., organization_id: _Optional[str] = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[_keys_pb2.ModelLimits, _Mapping]]] = ..., key_limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ...) -> None: ...

class DeleteOrganizationRequest(_message.Message):
    __slots__ = ["organization_id"]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    def __init__(self, organization_id: _Optional[str] = ...) -> None: ...

class DeleteOrganizationResponse(_message.Message):
    __slots__ = ["deleted", "id"]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    id: str
    def __init__(self, id: _Optional[str] = ..., deleted: bool = ...) -> None: ...

class DeleteWorkspaceRequest(_message.Message):
    __slots__ = ["workspace_id"]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    def __init__(self, workspace_id: _Optional[str] = ...) -> None: ...

class DeleteWorkspaceResponse(_message.Message):
    __slots__ = ["deleted", "id"]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    id: str
    def __init__(self, id: _Optional[str] = ..., deleted: bool = ...) -> None: ...

class GetMeRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetOrganizationRequest(_message.Message):
    __slots__ = ["organization_id"]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    def __init__(self, organization_id: _Optional[str] = ...) -> None: ...

class GetWorkspaceRequest(_message.Message):
    __slots__ = ["workspace_id"]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    def __init__(self, workspace_id: _Optional[str] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ["action", "actor", "before", "key_id", "limit", "organization_id", "to"]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    action: str
    actor: str
    before: str
    key_id: str
    limit: int
    organization_id: str
    to: str
    def __init__(self, limit: _Optional[int] = ..., before: _Optional[str] = ..., organization_id: _Optional[str] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., key_id: _Optional[str] = ..., to: _Optional[str] = ..., **kwargs) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ["entries", "has_more", "next_before"]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    NEXT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    has_more: bool
    next_before: str
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., has_more: bool = ..., next_before: _Optional[str] = ...) -> None: ...

class ListOrganizationsRequest(_message.Message):
    __slots__ = ["limit", "offset"]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    limit: int
    offset: int
    def __init__(self, limit: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class ListOrganizationsResponse(_message.Message):
    __slots__ = ["has_more", "organizations"]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATIONS_FIELD_NUMBER: _ClassVar[int]
    has_more: bool
    organizations: _containers.RepeatedCompositeFieldContainer[Organization]
    def __init__(self, organizations: _Optional[_Iterable[_Union[Organization, _Mapping]]] = ..., has_more: bool = ...) -> None: ...

class ListWorkspacesRequest(_message.Message):
    __slots__ = ["limit", "offset", "organization_id"]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    limit: int
    offset: int
    organization_id: str
    def __init__(self, limit: _Optional[int] = ..., offset: _Optional[int] = ..., organization_id: _Optional[str] = ...) -> None: ...

class ListWorkspacesResponse(_message.Message):
    __slots__ = ["has_more", "workspaces"]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    has_more: bool
    workspaces: _containers.RepeatedCompositeFieldContainer[Workspace]
    def __init__(self, workspaces: _Optional[_Iterable[_Union[Workspace, _Mapping]]] = ..., has_more: bool = ...) -> None: ...

class Me(_message.Message):
    __slots__ = ["api_key", "email", "first_name", "id", "last_name", "organization", "role", "scopes", "user_id", "workspace"]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    FIRST_NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LAST_NAME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    api_key: MeKey
    email: str
    first_name: str
    id: str
    last_name: str
    organization: MePlace
    role: str
    scopes: _keys_pb2.Scopes
    user_id: str
    workspace: MePlace
    def __init__(self, id: _Optional[str] = ..., email: _Optional[str] = ..., organization: _Optional[_Union[MePlace, _Mapping]] = ..., workspace: _Optional[_Union[MePlace, _Mapping]] = ..., api_key: _Optional[_Union[MeKey, _Mapping]] = ..., role: _Optional[str] = ..., scopes: _Optional[_Union[_keys_pb2.Scopes, _Mapping]] = ..., first_name: _Optional[str] = ..., last_name: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class MeKey(_message.Message):
    __slots__ = ["id", "name", "prefix"]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    prefix: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class MePlace(_message.Message):
    __slots__ = ["id", "name"]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Organization(_message.Message):
    __slots__ = ["created_at", "disabled", "id", "limits", "model_limits", "name"]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    created_at: str
    disabled: bool
    id: str
    limits: _keys_pb2.Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[_keys_pb2.ModelLimits]
    name: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., created_at: _Optional[str] = ..., disabled: bool = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[_keys_pb2.ModelLimits, _Mapping]]] = ...) -> None: ...

class UpdateOrganizationRequest(_message.Message):
    __slots__ = ["disabled", "limits", "model_limits", "name", "organization_id"]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    disabled: bool
    limits: _keys_pb2.Limits
    model_limits: _keys_pb2.ModelLimitsList
    name: str
    organization_id: str
    def __init__(self, organization_id: _Optional[str] = ..., name: _Optional[str] = ..., disabled: bool = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., model_limits: _Optional[_Union[_keys_pb2.ModelLimitsList, _Mapping]] = ...) -> None: ...

class UpdateWorkspaceRequest(_message.Message):
    __slots__ = ["disabled", "key_limits", "limits", "model_limits", "name", "workspace_id"]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    KEY_LIMITS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    disabled: bool
    key_limits: _keys_pb2.Limits
    limits: _keys_pb2.Limits
    model_limits: _keys_pb2.ModelLimitsList
    name: str
    workspace_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., name: _Optional[str] = ..., disabled: bool = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., model_limits: _Optional[_Union[_keys_pb2.ModelLimitsList, _Mapping]] = ..., key_limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ...) -> None: ...

class Workspace(_message.Message):
    __slots__ = ["created_at", "disabled", "id", "key_limits", "limits", "model_limits", "name", "organization_id"]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_LIMITS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LIMITS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    created_at: str
    disabled: bool
    id: str
    key_limits: _keys_pb2.Limits
    limits: _keys_pb2.Limits
    model_limits: _containers.RepeatedCompositeFieldContainer[_keys_pb2.ModelLimits]
    name: str
    organization_id: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., organization_id: _Optional[str] = ..., created_at: _Optional[str] = ..., disabled: bool = ..., limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ..., model_limits: _Optional[_Iterable[_Union[_keys_pb2.ModelLimits, _Mapping]]] = ..., key_limits: _Optional[_Union[_keys_pb2.Limits, _Mapping]] = ...) -> None: ...
