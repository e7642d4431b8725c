# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A registry of tools: what a model may call, and what is done then."""
from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import re
import threading
import uuid
from typing import Any, Callable, Optional, Union

from bora import signature
from bora.answer import ToolCall
from bora.errors import BoraError


class HandlerError(BoraError):
    """A handler raised (its exception is the `__cause__`), and the run was told to stop then."""

    def __init__(self, call: ToolCall, message: str):
        super().__init__(f"{call.name}: {message}")
        self.call = call


class CallRefused(ValueError):
    """A call that no handler saw: there is no such tool, or the arguments are not what it takes."""


class CallContext:
    """For a handler that has a parameter of this type: which call it serves, and whether anybody still waits for it."""

    def __init__(self, call: ToolCall, deadline: Optional[float]):
        self.call = call
        self.deadline = deadline  # of time.monotonic(); None: no limit
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """The result is not wanted any more: the time is up, or the run was cancelled."""
        return self._cancelled.is_set()

    def wait_cancelled(self, seconds: float) -> bool:
        """Sleep, but wake up when cancelled."""
        return self._cancelled.wait(seconds)

    def cancel(self) -> None:
        self._cancelled.set()


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str
    description: str
    parameters: dict[str, Any]
    invoke: Callable[[dict[str, Any], CallContext], Any]  # with the arguments as JSON has them
    strict: Optional[bool] = None

    def schema(self) -> dict[str, Any]:
        """As it stands in a request."""
        function: dict[str, Any] = {"name": self.name, "description": self.description, "parameters": self.parameters}
        if self.strict is not None:
            function["strict"] = self.strict
        return {"type": "function", "function": function}


class Tools:
    """Tools by name.

        tools = Tools()

        @tools.register
        def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
            \"\"\"The weather in a city, now.

            Args:
                city: its English name
            \"\"\"

    Registering is for one thread, before runs; runs of several threads may share a registry.
    """

    def __init__(self, *handlers: Callable[..., Any]) -> None:
        self._tools: dict[str, Tool] = {}
        self._lock = threading.Lock()
        self._abandoned = 0
        for handler in handlers:
            self.register(handler)

    def register(self, handler: Optional[Callable[..., Any]] = None, *, name: Optional[str] = None, description: Optional[str] = None,
                 parameters: Union[dict[str, Any], Any, None] = None, strict: Optional[bool] = None) -> Any:
        """Add a function (or a coroutine function); also a decorator, bare or with arguments.

        name         default: the function's
        description  for the model; default: the docstring
        parameters   None: from the signature, and arguments come as the type hints say. A JSON schema: arguments come as JSON has them, by
                     keyword. A pydantic model: its schema, and the handler is given one instance of it.
        """
        if handler is None:
            return lambda function: self.register(function, name=name, description=description, parameters=parameters, strict=strict)
        name = name or str(getattr(handler, "__name__", ""))
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise ValueError(f"{name!r:.80}: a tool's name is 1 to 64 letters, digits, _ and -")
        if name in self._tools:
            raise ValueError(f"there is a tool named {name} already")
        schema, invoke = _prepare(handler, parameters)
        text = description if description is not None else signature.description_of(handler)
        self._tools[name] = Tool(name, text, schema, invoke, strict)
        return handler

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def schemas(self) -> list[dict[str, Any]]:
        """The `tools` of a request."""
        return [tool.schema() for tool in self._tools.values()]

    def call(self, call: ToolCall, context: Optional[CallContext] = None) -> str:
        """Run one call, here and now, and give its result as text. Raises whatever the handler raises; CallRefused before it got there."""
        tool = self._tools.get(call.name)
        if tool is None:
            raise CallRefused(f"there is no tool named {call.name[:64]}")
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise CallRefused(f"the arguments are not JSON: {error}") from None
        if not isinstance(arguments, dict):
            raise CallRefused("the arguments are not a JSON object")
        return result_text(tool.invoke(arguments, context or CallContext(call, None)))

    # --- handlers that were given up: threads cannot be stopped, so they are counted -------------------------------------

    @property
    def abandoned(self) -> int:
        """Handlers that still run though their time is up."""
        return self._abandoned

    def count_abandoned(self, change: int) -> None:
        with self._lock:
            self._abandoned += change


def _prepare(handler: Callable[..., Any], parameters: Any) -> tuple[dict[str, Any], Callable[[dict[str, Any], CallContext], Any]]:
    if parameters is None:
        schema, hints, context_name = signature.schema_of_function(handler, CallContext)

        def invoke(arguments: dict[str, Any], context: CallContext) -> Any:
            def fit() -> dict[str, Any]:
                signature.check_names(arguments, hints, schema["required"], "arguments")
                return {name: signature.convert(value, hints[name], name) for name, value in arguments.items()}

            values = _fitting(fit)
            return _finish(handler(**values, **({context_name: context} if context_name else {})))

        return schema, invoke
    context_name = _context_name(handler)

    def extra(context: CallContext) -> dict[str, Any]:
        return {context_name: context} if context_name else {}

    if isinstance(parameters, type) and hasattr(parameters, "model_validate"):
        return signature.schema_of_model(parameters), lambda arguments, context: _finish(handler(_fitting(lambda: parameters.model_validate(arguments)), **extra(context)))
    if not isinstance(parameters, dict):
        raise TypeError("parameters: a JSON schema (a dict) or a pydantic model is wanted")
    return parameters, lambda arguments, context: _finish(handler(**arguments, **extra(context)))


def _context_name(handler: Callable[..., Any]) -> Optional[str]:
    try:
        found = inspect.signature(handler).parameters.items()
    except ValueError:  # some builtins have none to show
        return None
    return next((name for name, p in found if p.annotation in (CallContext, "CallContext", "bora.CallContext")), None)


def _fitting(fit: Callable[[], Any]) -> Any:
    try:
        return fit()
    except (ValueError, TypeError, OverflowError) as error:
        raise CallRefused(str(error)) from None


def _finish(result: Any) -> Any:
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def result_text(result: Any) -> str:
    """A handler's result for the model: a str as it is, all else as JSON."""
    if isinstance(result, str):
        return result
    return json.dumps(result, ensure_ascii=False, default=_json_default)


def _json_default(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f"a result of type {type(value).__name__} is not JSON")
