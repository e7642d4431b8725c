# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The way to a gateway: chats, streams, models."""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Literal, Optional, Union

import grpc

from bora import dispatch, json_form, signature
from bora.answer import Accumulator, Answer, Chunk, ToolCall, answer_of_response, messages_of
from bora.cancellation import Cancellation
from bora.errors import APIError, BoraError, CancelledError, RateLimitError, StreamCutError, UnavailableError, error_of_call
from bora.tools import Tools
from bora.v1 import chat_pb2, models_pb2

MESSAGE_BYTES_MAX = 64 << 20
_BACKOFF_S = (0.2, 0.8, 2.0)
# The same as the C client: found again soon when it was away, and never through a proxy that is meant for the outside world.
_CHANNEL_OPTIONS = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.max_send_message_length", -1), ("grpc.initial_reconnect_backoff_ms", 100),
                    ("grpc.max_reconnect_backoff_ms", 2000), ("grpc.enable_http_proxy", 0)]


@dataclass(frozen=True)
class TLS:
    """An encrypted connection. Paths to PEM files; `ca_file` None: the authorities that come with gRPC."""

    ca_file: Optional[str] = None
    certificate_file: Optional[str] = None  # shown to the server (mutual TLS), with its key
    key_file: Optional[str] = None
    server_name: Optional[str] = None  # expected in the server's certificate, where it is not the target's host

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(_read(self.ca_file), _read(self.key_file), _read(self.certificate_file))


def _read(path: Optional[str]) -> Optional[bytes]:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


class Client:
    """A connection to a gateway. Threads may share one; it connects with the first call and again whenever it has to.

    target       "host:port" of the gateway's gRPC interface; default $BORA_ADDRESS, as of the command line, 127.0.0.1:8081
    api_key      default $BORA_API_KEY
    tls          True, or a TLS; default: not encrypted
    model        for calls that name none
    timeout      seconds for a call that says nothing itself; None: as long as it takes
    max_retries  how often a call is made again that did not begin: the service said when to come back (429, 503), or there was no connection.
                 Never once a piece of the answer is there, and never past the timeout.
    retry_wait_max  seconds: a `retry_after` that is longer is not waited for but raised
    """

    def __init__(self, target: Optional[str] = None, *, api_key: Optional[str] = None, tls: Union[bool, TLS, None] = None, model: Optional[str] = None,
                 timeout: Optional[float] = None, max_retries: int = 2, retry_wait_max: float = 20.0, channel_options: tuple[tuple[str, Any], ...] = ()):
        self.target = target or os.environ.get("BORA_ADDRESS") or "127.0.0.1:8081"
        key = api_key if api_key is not None else os.environ.get("BORA_API_KEY", "")
        if any(not 0x20 < ord(c) < 0x7F for c in key):
            raise BoraError("the API key holds blanks, or characters that no key has")
        if not key:
            raise BoraError("no API key: give api_key, or set BORA_API_KEY")
        self.model, self.timeout, self.max_retries, self.retry_wait_max = model, timeout, max_retries, retry_wait_max
        self._metadata = (("authorization", f"Bearer {key}"),)
        options = [*_CHANNEL_OPTIONS, *channel_options]
        settings = TLS() if tls is True else tls or None
        if settings is None:
            self._channel = grpc.insecure_channel(self.target, options)
        else:
            if settings.server_name:
                options.append(("grpc.ssl_target_name_override", settings.server_name))
            self._channel = grpc.secure_channel(self.target, settings.credentials(), options)

        self._complete = self._method("/bora.v1.ChatService/CompleteChat", chat_pb2.ChatCompletionRequest, chat_pb2.ChatCompletionResponse)
        self._stream = self._method("/bora.v1.ChatService/StreamChat", chat_pb2.ChatCompletionRequest, chat_pb2.ChatCompletionChunk, stream=True)
        self._list_models = self._method("/bora.v1.ModelService/ListModels", models_pb2.ListModelsRequest, models_pb2.ModelList)

    def close(self) -> None:
        """Calls that run end with CancelledError."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- calls -----------------------------------------------------------------------------------------------------

    def models(self, *, timeout: Optional[float] = None) -> list[dict[str, Any]]:
        """The models that can be asked for now."""
        listed = self._unary(self._list_models, models_pb2.ListModelsRequest(), _Deadline(timeout if timeout is not None else self.timeout), None)
        return [json_form.write(card) for card in listed.data]

    def chat(self, messages: Any, *, model: Optional[str] = None, timeout: Optional[float] = None, cancellation: Optional[Cancellation] = None,
             **settings: Any) -> Answer:
        """One whole answer.

        messages  a str (the user's), an Answer, a dict as in the JSON interface ({"role": "user", "content": "..."}), or a list of these
        settings  every other field of bora.v1.ChatCompletionRequest by its name, in its JSON form: temperature=0.7, max_tokens=100, stop=["\\n"],
                  tools=[...]. None is as good as absent. TypeError for a name that there is not. `response_format` may also be a type - a pydantic
                  model, dataclass, TypedDict, enum, list[int], ... -: the answer is JSON of its schema, and `answer.parsed` a value of it.
                  `tools` may be a Tools: its calls are answered, not run (see `run`).
        """
        request, hint = self._request(messages, model, settings)
        deadline = _Deadline(timeout if timeout is not None else self.timeout)
        return answer_of_response(self._unary(self._complete, request, deadline, cancellation)).with_hint(hint)

    def chat_stream(self, messages: Any, *, model: Optional[str] = None, timeout: Optional[float] = None, cancellation: Optional[Cancellation] = None,
                    **settings: Any) -> "ChatStream":
        """The answer in pieces, as a ChatStream to iterate over. Arguments as for `chat`; the call begins at once."""
        request, hint = self._request(messages, model, settings)
        return ChatStream(self, request, _Deadline(timeout if timeout is not None else self.timeout), cancellation or Cancellation(), hint)

    def run(self, messages: Any, tools: Tools, *, model: Optional[str] = None, tool_choice: Any = None, max_rounds: int = 10, timeout: Optional[float] = None,
            handler_timeout: Optional[float] = 60.0, parallel: int = 1, on_error: Literal["report", "raise"] = "report",
            on_text: Optional[Callable[[str], object]] = None, on_tool_call: Optional[Callable[[ToolCall], object]] = None,
            on_tool_result: Optional[Callable[[dispatch.CallRecord], object]] = None, max_result_bytes: int = 256 * 1024,
            cancellation: Optional[Cancellation] = None, **settings: Any) -> dispatch.Run:
        """Answer with the help of tools: calls are run here and their results given back until the model answers. What the limits, `parallel` and the
        callbacks do stands at bora.dispatch.run; `settings` are as for `chat`."""

        def ask(conversation: list[dict[str, Any]], schemas: list[dict[str, Any]], choice: Any, timeout: Optional[float], cancellation: Cancellation,
                hear: Callable[[str], object]) -> Answer:
            stated = {**settings, **({"tools": schemas} if schemas else {}), **({"tool_choice": choice} if schemas and choice is not None else {})}
            with self.chat_stream(conversation, model=model, timeout=timeout, cancellation=cancellation, **stated) as stream:
                for chunk in stream:
                    if chunk.text and chunk.index == 0:
                        hear(chunk.text)
            return stream.answer()

        return dispatch.run(ask, messages_of(messages), tools, tool_choice=tool_choice, max_rounds=max_rounds, timeout=timeout if timeout is not None else self.timeout,
                            handler_timeout=handler_timeout, parallel=parallel, on_error=on_error, on_text=on_text, on_tool_call=on_tool_call,
                            on_tool_result=on_tool_result, max_result_bytes=max_result_bytes, cancellation=cancellation)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _request(self, messages: Any, model: Optional[str], settings: dict[str, Any]) -> tuple[Any, Any]:
        """The message, and the type of the answer where one was given."""
        name = model or self.model
        if not name:
            raise BoraError("no model: give model to the call or to the client")
        for taken in ("stream", "stream_options"):
            if settings.pop(taken, None):
                raise TypeError(f"{taken}: chat gives an answer whole, chat_stream in pieces")
        hint = settings.get("response_format")
        if hint is None or isinstance(hint, Mapping):
            hint = None
        else:
            settings = {**settings, "response_format": _format_of(hint)}
        if isinstance(settings.get("tools"), Tools):
            settings = {**settings, "tools": settings["tools"].schemas() or None}
        request = json_form.read(chat_pb2.ChatCompletionRequest(), {"model": name, **settings})
        for index, message in enumerate(messages_of(messages)):
            json_form.read(request.messages.add(), message, f"messages[{index}]")
        return request, hint

    def _method(self, path: str, request: Any, response: Any, *, stream: bool = False) -> Any:
        kind = self._channel.unary_stream if stream else self._channel.unary_unary
        return kind(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)

    def _unary(self, method: Any, request: Any, deadline: "_Deadline", cancellation: Optional[Cancellation], *, repeatable: bool = True) -> Any:
        """`repeatable` False: made once, whatever becomes of it."""
        cancellation = cancellation or Cancellation()
        for attempt in range(0 if repeatable else self.max_retries, self.max_retries + 1):
            _refuse_cancelled(cancellation)
            call = method.future(request, timeout=deadline.left(), metadata=self._metadata)
            remove = cancellation.add_callback(call.cancel)
            try:
                return call.result()
            except (grpc.RpcError, grpc.FutureCancelledError):
                self._wait_or_raise(error_of_call(call), attempt, deadline, cancellation)
            except BaseException:  # Ctrl-C: nobody waits for the answer any more
                call.cancel()
                raise
            finally:
                remove()
        raise AssertionError("the last attempt raises")

    def _wait_or_raise(self, error: APIError, attempt: int, deadline: "_Deadline", cancellation: Cancellation) -> None:
        """Wait for the next attempt, or raise `error`: nothing of the answer has come yet."""
        wait = error.retry_after
        if wait is None and isinstance(error, UnavailableError):
            wait = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
        left = deadline.left()
        if wait is None or not isinstance(error, (UnavailableError, RateLimitError)) or attempt >= self.max_retries or wait > self.retry_wait_max or (left is not None and wait >= left):
            raise error
        woken = threading.Event()
        remove = cancellation.add_callback(woken.set)
        woken.wait(wait)
        remove()


def _format_of(hint: Any) -> dict[str, Any]:
    """A type as a response_format. TypeError that names the field where it is none."""
    try:
        schema = signature.schema_of_hint(hint)
    except TypeError as error:
        raise TypeError(f"response_format: a dict or a type is wanted: {error}") from None
    return {"type": "json_schema", "json_schema": {"name": str(getattr(hint, "__name__", "answer"))[:64], "schema": schema}}


def _refuse_cancelled(cancellation: Cancellation) -> None:
    if cancellation.cancelled:
        raise CancelledError("CANCELLED", "cancelled before the call began")


class _Deadline:
    """One limit for a call and all its repetitions."""

    def __init__(self, seconds: Optional[float]):
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> Optional[float]:
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)


class ChatStream(Iterator[Chunk]):
    """An answer that is coming: iterate over its chunks, or ask for `answer()`, which reads the rest. One thread at a time, but for `cancel`.

    An error is raised by the iteration, with what had come in its `partial`. Leaving a `with` block, or `close()`, ends the call and frees the model.
    """

    def __init__(self, client: Client, request: Any, deadline: _Deadline, cancellation: Cancellation, hint: Any = None):
        self._hint = hint
        self._client, self._request, self._deadline, self._cancellation = client, request, deadline, cancellation
        self._accumulator = Accumulator()
        self._ready: list[Chunk] = []
        self._attempt = 0
        self._over = True  # until it has begun
        self._begin()
        self._over = False

    def _begin(self) -> None:
        _refuse_cancelled(self._cancellation)
        self._call = self._client._stream(self._request, timeout=self._deadline.left(), metadata=self._client._metadata)
        self._remove = self._cancellation.add_callback(self._call.cancel)

    def __iter__(self) -> "ChatStream":
        return self

    def __next__(self) -> Chunk:
        while not self._ready:
            if self._over:
                raise StopIteration
            self._read()
        return self._ready.pop(0)

    def _read(self) -> None:
        try:
            self._ready = self._accumulator.add(next(self._call))
        except StopIteration:
            self.close()
            if not self._accumulator.finished:
                raise self._with_partial(StreamCutError("UNKNOWN", "the stream ended before the answer did")) from None
        except grpc.RpcError:
            self._remove()
            error = error_of_call(self._call)
            if self._accumulator.started:
                self._over = True
                raise self._with_partial(error) from None
            try:
                self._client._wait_or_raise(error, self._attempt, self._deadline, self._cancellation)
                self._attempt += 1
                self._begin()
            except BaseException:
                self._over = True
                raise
        except BaseException:
            self.close()
            raise

    def _with_partial(self, error: APIError) -> APIError:
        error.partial = self._accumulator.answer() if self._accumulator.started else None
        return error

    def partial(self) -> Answer:
        """What has come so far."""
        return self._accumulator.answer()

    def answer(self) -> Answer:
        """The whole answer; reads what is left of the stream."""
        for _ in self:
            pass
        return self._accumulator.answer().with_hint(self._hint)

    def cancel(self) -> None:
        """Any thread: the iteration ends with CancelledError."""
        self._call.cancel()

    def close(self) -> None:
        """End the call; the iteration is over."""
        self._over = True
        self._remove()
        self._call.cancel()

    def __enter__(self) -> "ChatStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._over:
            self.close()  # an iteration that was left half-way must not go on costing tokens
