# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Client of Bora, the self-hosted text-generation platform. README.md beside this package shows it at work."""
from bora.admin import Admin, to_dict
from bora.answer import Answer, Chunk, ToolCall, Usage
from bora.cancellation import Cancellation
from bora.client import TLS, ChatStream, Client
from bora.dispatch import CallRecord, Run
from bora.errors import (APIError, AuthenticationError, BoraError, CancelledError, DeadlineError, FieldError, InvalidRequestError, NotFoundError, RateLimitError,
                         StreamCutError, UnavailableError)
from bora.tools import CallContext, HandlerError, Tool, Tools

__all__ = [
    "APIError", "Admin", "Answer", "AuthenticationError", "BoraError", "CallContext", "CallRecord", "Cancellation", "CancelledError", "ChatStream", "Chunk", "Client",
    "DeadlineError", "FieldError", "HandlerError", "InvalidRequestError", "NotFoundError", "RateLimitError", "Run", "StreamCutError", "TLS", "Tool", "ToolCall",
    "Tools", "UnavailableError", "Usage", "to_dict",
]
