# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, as exceptions. Everything is a BoraError; what the gateway or the way to it answered is an APIError."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union

import grpc

from bora.v1 import error_pb2

if TYPE_CHECKING:
    from bora.answer import Answer
    from bora.dispatch import Run


class BoraError(Exception):
    """The root of all exceptions of this package."""

    #: Of a run (Client.run): what there is so far, with the whole conversation. None elsewhere.
    run: Optional["Run"] = None


@dataclass(frozen=True)
class FieldError:
    """One field that was refused."""

    field: str  # "messages[0].content", "temperature"
    message: str
    type: str  # "less_than_equal", "missing", ...


class APIError(BoraError):
    """The call failed.

    status       gRPC's name of what happened: "INVALID_ARGUMENT", "UNAVAILABLE", ...
    message      a sentence
    type, code   the service's own: "invalid_model" and "1500"; None where there is none
    field        the field that was refused: "tools[0].function.parameters"; None when it is no field's fault
    fields       all of them, where the service checked them all
    retry_after  seconds after which it may go better; None when nobody said so
    request_id   to be found in the gateway's log; None when the answer is not the gateway's
    partial      of a stream: what had come before; None when nothing had
    """

    def __init__(self, status: str, message: str, *, type: Optional[str] = None, code: Optional[str] = None, field: Optional[str] = None,
                 fields: tuple[FieldError, ...] = (), retry_after: Optional[float] = None, request_id: Optional[str] = None):
        super().__init__(message)
        self.status, self.message, self.type, self.code, self.field = status, message, type, code, field
        self.fields, self.retry_after, self.request_id = fields, retry_after, request_id
        self.partial: Optional["Answer"] = None

    def __str__(self) -> str:
        return f"{self.message} ({self.status}{', code ' + self.code if self.code else ''})"


class InvalidRequestError(APIError):
    """The request is not valid, or asks for what this model cannot do (HTTP 400, 413, 422). `field` and `fields` say where."""


class AuthenticationError(APIError):
    """No key, or one that is unknown, expired or revoked (HTTP 401, 403)."""


class NotFoundError(APIError):
    """There is no such thing (HTTP 404)."""


class RateLimitError(APIError):
    """A limit of the key is reached, or the model's queue is full (HTTP 429). `retry_after` says when to come back."""


class UnavailableError(APIError):
    """Nobody there: no connection, no worker for the model, a worker that died (HTTP 503)."""


class DeadlineError(APIError, TimeoutError):
    """The call's `timeout` passed."""


class CancelledError(APIError):
    """The call was cancelled, here or there."""


class StreamCutError(APIError):
    """The stream ended without saying how the answer ended. `partial` is what had come."""


_CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: AuthenticationError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimitError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.CANCELLED: CancelledError,
}


def error_of_call(call: Any) -> APIError:
    """The exception for a grpc.RpcError (or a call that ended with a status)."""
    status, message = call.code() or grpc.StatusCode.UNKNOWN, call.details() or "the call failed"
    detail = _detail(call)
    facts: dict[str, Any] = {}
    if detail is not None:
        if detail.retry_after_ms > 0:
            facts["retry_after"] = detail.retry_after_ms / 1000
        if detail.WhichOneof("kind") == "error":
            error = detail.error
            facts.update(type=error.type or None, code=error.code or None, field=error.param or None, request_id=error.request_id or None)
        elif detail.WhichOneof("kind") == "validation":
            fields = tuple(FieldError(_path(e.loc), e.msg, e.type) for e in detail.validation.detail)
            facts.update(type="validation_error", fields=fields, field=fields[0].field if fields else None)
    known = _CLASSES.get(status, APIError)
    if known is RateLimitError and facts.get("retry_after") is None:
        known = InvalidRequestError  # gRPC has one status for "too often" and "too large"; only the first gets better by waiting
    return known(status.name, message, **facts)


def _path(steps: Any) -> str:
    path = ""
    for step in list(steps)[1:]:  # the first is always "body"
        if step.WhichOneof("kind") == "index":
            path += f"[{step.index}]"
        else:
            path += f".{step.name}" if path else step.name
    return path


def _detail(call: Any) -> Optional[error_pb2.ErrorDetail]:
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                packed = _find_detail(value)
                return error_pb2.ErrorDetail.FromString(packed) if packed is not None else None
            except Exception:  # whatever a stranger's bytes do to the parser, the status stands
                return None
    return None


def _find_detail(blob: bytes) -> Optional[bytes]:
    """google.rpc.Status is {code = 1, message = 2, repeated Any details = 3}, Any {type_url = 1, value = 2}: too little for a dependency."""
    for number, value in _wire_fields(blob):
        if number == 3 and isinstance(value, bytes):
            entry = dict(_wire_fields(value))
            packed = entry.get(2, b"")
            if entry.get(1) == b"type.googleapis.com/bora.v1.ErrorDetail" and isinstance(packed, bytes):
                return packed
    return None


def _wire_fields(blob: bytes) -> Iterator[tuple[int, Union[int, bytes]]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = blob[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if not byte & 0x80:
                return value

    while at < len(blob):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            length = varint()
            yield tag >> 3, blob[at:at + length]
            at += length
        else:
            raise ValueError("not a google.rpc.Status")
