# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Administration: keys, workspaces, limits, usage, prices, the audit trail."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, Literal, Optional, TypedDict, Union

from bora import json_form
from bora.client import TLS, Client, _Deadline
from bora.errors import BoraError
from bora.v1 import keys_pb2, models_pb2, tenants_pb2, usage_pb2

PAGE = 1000  # of lists, which come page by page as they are read

Moment = Union[str, date, datetime]  # RFC 3339; a datetime without a zone is UTC
Role = Literal["admin", "member", "service"]
Group = Literal["key", "workspace", "model"]


class Limits(TypedDict, total=False):
    """What may be used; what is absent is not limited, 0 lets nothing pass."""

    requests_per_second: int
    requests_per_minute: int
    tokens_per_minute: int
    input_tokens_per_minute: int
    output_tokens_per_minute: int
    tokens_per_day: int
    tokens_per_month: int
    concurrent_streams: int
    spend_per_month: float


class ModelLimits(TypedDict):
    model: str  # name, alias or tier
    limits: Limits


class Scopes(TypedDict, total=False):
    """What a key may ask for; an empty or absent list: all that its role may."""

    models: Sequence[str]
    endpoints: Sequence[str]


class Price(TypedDict, total=False):
    """Of a million tokens."""

    model: str
    input_per_million: float
    output_per_million: float
    cached_input_per_million: float


class Admin:
    """Administration over the gateway's gRPC interface, with the key of an administrator or of the operator. Threads may share one.

    target       "host:port" of the gateway's gRPC interface; default $BORA_ADDRESS, 127.0.0.1:8081
    key          default $BORA_ADMIN_KEY, else $BORA_API_KEY
    tls, timeout, max_retries  as of Client

    Answers are the messages of proto/bora/v1 (`bora.to_dict` gives their JSON form), errors the exceptions of Client. Lists are read page by page while one
    iterates. What only asks is repeated as Client does; what changes something is not, because nobody knows whether a call that was lost did it.
    Ids are UUIDs; a key's may also be its prefix, what stands between its two underscores. What the operator asks without an id of an organization is
    about the first one. None leaves a field as it is, or to its default.
    """

    def __init__(self, target: Optional[str] = None, *, key: Optional[str] = None, tls: Union[bool, TLS, None] = None, timeout: Optional[float] = 30.0, max_retries: int = 2):
        key = key or os.environ.get("BORA_ADMIN_KEY") or os.environ.get("BORA_API_KEY")
        if not key:
            raise BoraError("no key: give key, or set BORA_ADMIN_KEY")
        self._client = Client(target, api_key=key, tls=tls, timeout=timeout, max_retries=max_retries)
        self._methods: dict[str, Any] = {}

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def me(self) -> tenants_pb2.Me:
        """Whose key this is: role, workspace, organization, scopes."""
        return self._ask("TenantService/GetMe", tenants_pb2.GetMeRequest(), tenants_pb2.Me)

    # --- keys ------------------------------------------------------------------------------------------------------

    def keys(self, *, name: Optional[str] = None, workspace_id: Optional[str] = None, organization_id: Optional[str] = None) -> Iterator[keys_pb2.ApiKey]:
        """Oldest first. `name`: part of it, the key's last four characters, its prefix or the beginning of that, or its UUID."""
        request = _fill(keys_pb2.ListKeysRequest(), name=name, workspace_id=workspace_id, organization_id=organization_id)
        return self._list("KeyService/ListKeys", request, keys_pb2.ListKeysResponse, "keys", "after", "key_id")

    def key(self, key_id: str) -> keys_pb2.ApiKey:
        return self._ask("KeyService/GetKey", keys_pb2.GetKeyRequest(key_id=key_id), keys_pb2.ApiKey)

    def create_key(self, *, name: Optional[str] = None, workspace_id: Optional[str] = None, role: Optional[Role] = None, limits: Optional[Limits] = None,
                   model_limits: Optional[Sequence[ModelLimits]] = None, scopes: Optional[Scopes] = None, expiration: Optional[Moment] = None,
                   user_id: Optional[str] = None) -> keys_pb2.CreateKeyResponse:
        """A new key: `.key` is all of it, and shown here only; `.info` what is kept. `expiration`: a date is its end."""
        request = _fill(keys_pb2.CreateKeyRequest(), name=name, workspace_uuid=workspace_id, role=role, limits=limits, model_limits=model_limits, scopes=scopes,
                        expiration=_moment(expiration), user_id=user_id)
        return self._change("KeyService/CreateKey", request, keys_pb2.CreateKeyResponse)

    def update_key(self, key_id: str, *, name: Optional[str] = None, role: Optional[Role] = None, disabled: Optional[bool] = None, limits: Optional[Limits] = None,
                   model_limits: Optional[Sequence[ModelLimits]] = None, scopes: Optional[Scopes] = None, expiration: Optional[Moment] = None) -> keys_pb2.ApiKey:
        """`limits`, `model_limits` and `scopes` are replaced as a whole. `expiration` "": never."""
        request = _fill(keys_pb2.UpdateKeyRequest(), key_id=key_id, name=name, role=role, disabled=disabled, limits=limits, model_limits=model_limits, scopes=scopes,
                        expiration=_moment(expiration))
        return self._change("KeyService/UpdateKey", request, keys_pb2.ApiKey)

    def rotate_key(self, key_id: str, *, overlap_seconds: Optional[int] = None) -> keys_pb2.CreateKeyResponse:
        """A new secret under the same id. The old one goes on for the overlap, a day unless told otherwise."""
        return self._change("KeyService/RotateKey", _fill(keys_pb2.RotateKeyRequest(), key_id=key_id, overlap_seconds=overlap_seconds), keys_pb2.CreateKeyResponse)

    def revoke_key(self, key_id: str) -> None:
        """For good, and on every gateway when this returns."""
        self._change("KeyService/RevokeKey", keys_pb2.RevokeKeyRequest(key_id=key_id), keys_pb2.RevokeKeyResponse)

    # --- workspaces and organizations ------------------------------------------------------------------------------

    def workspaces(self, *, organization_id: Optional[str] = None) -> Iterator[tenants_pb2.Workspace]:
        request = _fill(tenants_pb2.ListWorkspacesRequest(), organization_id=organization_id)
        return self._list("TenantService/ListWorkspaces", request, tenants_pb2.ListWorkspacesResponse, "workspaces", "offset")

    def workspace(self, workspace_id: str) -> tenants_pb2.Workspace:
        return self._ask("TenantService/GetWorkspace", tenants_pb2.GetWorkspaceRequest(workspace_id=workspace_id), tenants_pb2.Workspace)

    def create_workspace(self, name: str, *, organization_id: Optional[str] = None, limits: Optional[Limits] = None,
                         model_limits: Optional[Sequence[ModelLimits]] = None, key_limits: Optional[Limits] = None) -> tenants_pb2.Workspace:
        """`limits` are those of all its keys together, `key_limits` what each key has that says nothing itself."""
        request = _fill(tenants_pb2.CreateWorkspaceRequest(), name=name, organization_id=organization_id, limits=limits, model_limits=model_limits, key_limits=key_limits)
        return self._change("TenantService/CreateWorkspace", request, tenants_pb2.Workspace)

    def update_workspace(self, workspace_id: str, *, name: Optional[str] = None, disabled: Optional[bool] = None, limits: Optional[Limits] = None,
                         model_limits: Optional[Sequence[ModelLimits]] = None, key_limits: Optional[Limits] = None) -> tenants_pb2.Workspace:
        request = _fill(tenants_pb2.UpdateWorkspaceRequest(), workspace_id=workspace_id, name=name, disabled=disabled, limits=limits, model_limits=model_limits,
                        key_limits=key_limits)
        return self._change("TenantService/UpdateWorkspace", request, tenants_pb2.Workspace)

    def delete_workspace(self, workspace_id: str) -> None:
        """One without keys that are not revoked."""
        self._change("TenantService/DeleteWorkspace", tenants_pb2.DeleteWorkspaceRequest(workspace_id=workspace_id), tenants_pb2.DeleteWorkspaceResponse)

    def organizations(self) -> Iterator[tenants_pb2.Organization]:
        """Of the operator, as what follows."""
        return self._list("TenantService/ListOrganizations", tenants_pb2.ListOrganizationsRequest(), tenants_pb2.ListOrganizationsResponse, "organizations", "offset")

    def organization(self, organization_id: str) -> tenants_pb2.Organization:
        return self._ask("TenantService/GetOrganization", tenants_pb2.GetOrganizationRequest(organization_id=organization_id), tenants_pb2.Organization)

    def create_organization(self, name: str, *, limits: Optional[Limits] = None, model_limits: Optional[Sequence[ModelLimits]] = None) -> tenants_pb2.Organization:
        """With a workspace named "default"."""
        request = _fill(tenants_pb2.CreateOrganizationRequest(), name=name, limits=limits, model_limits=model_limits)
        return self._change("TenantService/CreateOrganization", request, tenants_pb2.Organization)

    def update_organization(self, organization_id: str, *, name: Optional[str] = None, disabled: Optional[bool] = None, limits: Optional[Limits] = None,
                            model_limits: Optional[Sequence[ModelLimits]] = None) -> tenants_pb2.Organization:
        request = _fill(tenants_pb2.UpdateOrganizationRequest(), organization_id=organization_id, name=name, disabled=disabled, limits=limits, model_limits=model_limits)
        return self._change("TenantService/UpdateOrganization", request, tenants_pb2.Organization)

    def delete_organization(self, organization_id: str) -> None:
        """One that has used nothing and has no key that is not revoked."""
        self._change("TenantService/DeleteOrganization", tenants_pb2.DeleteOrganizationRequest(organization_id=organization_id), tenants_pb2.DeleteOrganizationResponse)

    # --- limits and money ------------------------------------------------------------------------------------------

    def rate_limit(self, *, key_id: Optional[str] = None, workspace_id: Optional[str] = None, organization_id: Optional[str] = None) -> usage_pb2.RateLimit:
        """The limits that count and what counts against them now; without an id, of this key itself."""
        request = _fill(usage_pb2.GetRateLimitRequest(), key_id=key_id, workspace_id=workspace_id, organization_id=organization_id)
        return self._ask("UsageService/GetRateLimit", request, usage_pb2.RateLimit)

    def spend_limit(self, *, workspace_id: Optional[str] = None, organization_id: Optional[str] = None) -> usage_pb2.SpendLimit:
        request = _fill(usage_pb2.GetSpendLimitRequest(), workspace_id=workspace_id, organization_id=organization_id)
        return self._ask("UsageService/GetSpendLimit", request, usage_pb2.SpendLimit)

    def set_spend_limit(self, amount: Optional[float], *, workspace_id: Optional[str] = None, organization_id: Optional[str] = None) -> usage_pb2.SpendLimit:
        """Of a month of the calendar, in the prices' currency. None takes it away."""
        request = _fill(usage_pb2.SetSpendLimitRequest(), spend_per_month=amount, workspace_id=workspace_id, organization_id=organization_id)
        return self._change("UsageService/SetSpendLimit", request, usage_pb2.SpendLimit)

    def prices(self) -> usage_pb2.Prices:
        return self._ask("UsageService/GetPrices", usage_pb2.GetPricesRequest(), usage_pb2.Prices)

    def set_prices(self, currency: str, prices: Sequence[Price]) -> usage_pb2.Prices:
        """All of them anew (operator)."""
        return self._change("UsageService/SetPrices", _fill(usage_pb2.SetPricesRequest(), currency=currency, prices=prices), usage_pb2.Prices)

    # --- what was done ---------------------------------------------------------------------------------------------

    def usage(self, since: Optional[Moment] = None, until: Optional[Moment] = None, *, interval: Optional[Literal["hour", "day", "month", "all"]] = None,
              group_by: Sequence[Group] = (), key_id: Optional[str] = None, workspace_id: Optional[str] = None, model: Optional[str] = None,
              organization_id: Optional[str] = None) -> usage_pb2.UsageReport:
        """Requests, tokens and costs from `since` (the month's first day) up to `until` (now), without it."""
        request = _fill(usage_pb2.GetUsageRequest(), **{"from": _moment(since)}, to=_moment(until), interval=interval, group_by=list(group_by), key_id=key_id,
                        workspace_id=workspace_id, model=model, organization_id=organization_id)
        return self._ask("UsageService/GetUsage", request, usage_pb2.UsageReport)

    def ledger(self, since: Optional[Moment] = None, until: Optional[Moment] = None, *, after: Optional[str] = None, key_id: Optional[str] = None,
               model: Optional[str] = None, organization_id: Optional[str] = None) -> Iterator[usage_pb2.LedgerEntry]:
        """One entry for each answer, oldest first; `after`: the id of the last one seen."""
        request = _fill(usage_pb2.ListLedgerRequest(), **{"from": _moment(since)}, to=_moment(until), after=after, key_id=key_id, model=model, organization_id=organization_id)
        return self._list("UsageService/ListLedger", request, usage_pb2.ListLedgerResponse, "entries", "after", "id")

    def audit(self, since: Optional[Moment] = None, until: Optional[Moment] = None, *, key_id: Optional[str] = None, actor: Optional[str] = None,
              action: Optional[str] = None, organization_id: Optional[str] = None) -> Iterator[tenants_pb2.AuditEntry]:
        """Who changed what, newest first. `key_id`: what was done to this key and with it; `action`: "key.create", or "key" for all of a key's."""
        request = _fill(tenants_pb2.ListAuditRequest(), **{"from": _moment(since)}, to=_moment(until), key_id=key_id, actor=actor, action=action,
                        organization_id=organization_id)
        return self._list("TenantService/ListAudit", request, tenants_pb2.ListAuditResponse, "entries", "before", "id")

    def workers(self) -> list[models_pb2.WorkerInfo]:
        """Those that the gateway knows now, with their load."""
        return list(self._ask("ModelService/ListWorkers", models_pb2.ListWorkersRequest(), models_pb2.WorkerList).workers)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _call(self, path: str, request: Any, response: Any, repeatable: bool) -> Any:
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self._client._method("/bora.v1." + path, type(request), response)
        return self._client._unary(method, request, _Deadline(self._client.timeout), None, repeatable=repeatable)

    def _ask(self, path: str, request: Any, response: Any) -> Any:
        return self._call(path, request, response, True)

    def _change(self, path: str, request: Any, response: Any) -> Any:
        return self._call(path, request, response, False)

    def _list(self, path: str, request: Any, response: Any, items: str, cursor: str, item_id: str = "id") -> Iterator[Any]:
        request.limit, seen = PAGE, 0
        while True:
            page = self._ask(path, request, response)
            found = getattr(page, items)
            yield from found
            seen += len(found)
            following = "next_" + cursor  # of the ledger and the audit trail, whose page may have few entries or none and yet not be the last
            if hasattr(page, following) and page.HasField(following):
                setattr(request, cursor, getattr(page, following))
                continue
            if page.has_more and not found and hasattr(page, "next_after"):  # a keys service from before it told so
                raise BoraError("There is more of the ledger, but the service does not say where it goes on.")
            if not page.has_more or not found:
                return
            setattr(request, cursor, seen if cursor == "offset" else getattr(found[-1], item_id))


def _fill(request: Any, **fields: Any) -> Any:
    return json_form.read(request, fields)


def _moment(value: Optional[Moment]) -> Optional[str]:
    if isinstance(value, datetime):
        return value.isoformat() + ("Z" if value.tzinfo is None else "")
    return value.isoformat() if isinstance(value, date) else value


def to_dict(message: Any) -> Any:
    """The JSON form of an answer, as the HTTP interface has it."""
    return json_form.write(message)
