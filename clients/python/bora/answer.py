# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What a model answers: whole, in chunks, and chunks put together."""
from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from bora import json_form, signature
from bora.v1 import chat_pb2


@dataclass(frozen=True)
class ToolCall:
    """The model wants a tool to be called. `arguments` is JSON text, as it was written."""

    id: str
    name: str
    arguments: str

    def to_message(self) -> dict[str, Any]:
        """As it stands in an assistant's message."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    @staticmethod
    def from_message(value: dict[str, Any]) -> "ToolCall":
        function = value.get("function") or {}
        arguments = function.get("arguments", "")
        return ToolCall(value.get("id") or "", function.get("name", ""), arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, that were not computed anew

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens, self.cached_tokens + other.cached_tokens)


@dataclass(frozen=True)
class Answer:
    """One choice of an answer. With `n` above 1 all of them are in `choices`, this one included."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: Optional[str] = None  # stop, length, model_length, tool_calls, error; None: it was cut off
    usage: Usage = Usage()
    model: str = ""
    id: str = ""
    reasoning: str = ""  # what the model thought before, where it says so
    choices: tuple["Answer", ...] = field(default=(), repr=False)
    raw: Any = field(default=None, repr=False, compare=False)  # the bora.v1.ChatCompletionResponse; of a stream its last chunk
    hint: Any = field(default=None, repr=False, compare=False)  # the type that was given as response_format

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, to go on with the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [call.to_message() for call in self.tool_calls]
        return message

    def json(self) -> Any:
        """The text, parsed: for answers under a `response_format` of JSON."""
        return json.loads(self.text)

    @property
    def parsed(self) -> Any:
        """The text as a value of the type that was given as `response_format`; None without one, and beside tool calls without a text.

        ValueError when the answer was cut: by length (`max_tokens` too small, or a stop string), it is only the beginning of one.
        """
        if self.hint is None or (self.tool_calls and not self.text):
            return None
        if self.finish_reason in ("length", "model_length"):
            raise ValueError(f"the answer was cut by its length: {self.text!r:.64}")
        return signature.convert(json.loads(self.text), self.hint, "answer")

    def with_hint(self, hint: Any) -> "Answer":
        """The same for all its choices."""
        return self if hint is None else replace(self, hint=hint, choices=tuple(replace(choice, hint=hint) for choice in self.choices))


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed answer."""

    text: str
    index: int = 0  # of the choice
    finish_reason: Optional[str] = None
    tool_calls: tuple[ToolCall, ...] = ()  # those that are whole with this chunk
    reasoning: str = ""
    raw: Any = field(default=None, repr=False, compare=False)  # the bora.v1.ChatCompletionChunk


def text_of(content: Any) -> str:
    """The text of a Content message, whether it is a string or a list of parts."""
    if content.WhichOneof("kind") == "parts":
        return "".join(part.text.text for part in content.parts.parts if part.WhichOneof("type") == "text")
    return str(content.text)


def _arguments_of(function: Any) -> str:
    return str(function.arguments.object.json if function.arguments.WhichOneof("kind") == "object" else function.arguments.text)


def _usage_of(usage: Any) -> Usage:
    return Usage(usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)


def answer_of_response(response: Any) -> Answer:
    choices = []
    for choice in response.choices:
        pieces = CallPieces()
        for position, call in enumerate(choice.message.tool_calls):
            pieces.add(call, position)
        choices.append(Answer(text_of(choice.message.content), pieces.calls(), choice.finish_reason or None, _usage_of(response.usage), response.model, response.id,
                              choice.message.reasoning_content, raw=response))
    first = choices[0] if choices else Answer("", usage=_usage_of(response.usage), model=response.model, id=response.id, raw=response)
    return replace(first, choices=tuple(choices))


class CallPieces:
    """Calls of one choice, put together: they come whole, or as a head with the name and then pieces of the arguments with the same index."""

    def __init__(self) -> None:
        self._open: list[dict[str, Any]] = []  # in order of appearance
        self._given = 0

    def add(self, piece: Any, position: int) -> None:
        """`position` is the piece's place in its message; it stands in for an index that is not there."""
        identifier = "" if piece.id == "null" else piece.id
        index = piece.index if piece.HasField("index") else position
        # The last with that index: a server that leaves the index out numbers by id alone.
        found = next((c for c in reversed(self._open) if c["index"] == index), None)
        if found is None or (piece.function.name and identifier and found["id"] not in ("", identifier)):
            found = {"index": index, "id": "", "name": "", "arguments": []}
            self._open.append(found)
        found["id"] = found["id"] or identifier
        found["name"] = found["name"] or piece.function.name
        found["arguments"].append(_arguments_of(piece.function))

    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(self._call(position) for position in range(len(self._open)))

    def take_whole(self, finished: bool) -> tuple[ToolCall, ...]:
        """Calls that are whole now and have not been given yet: all but the last one, and that too when the choice has ended."""
        end = len(self._open) if finished else max(len(self._open) - 1, self._given)
        taken = tuple(self._call(position) for position in range(self._given, end))
        self._given = end
        return taken

    def _call(self, position: int) -> ToolCall:
        call = self._open[position]
        # Nine letters and digits, as the contract has it; results need an id to refer to, so one that is missing is made up.
        return ToolCall(call["id"] or f"call{position:05d}", call["name"], "".join(call["arguments"]))


class Accumulator:
    """The answer so far of a stream of chunks."""

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        self._thoughts: dict[int, list[str]] = {}
        self._calls: dict[int, CallPieces] = {}
        self._reasons: dict[int, str] = {}
        self._last: Any = chat_pb2.ChatCompletionChunk()
        self._usage = Usage()
        self.started = False

    def add(self, chunk: Any) -> list[Chunk]:
        """What is new: a Chunk for each choice that the message holds."""
        self._last, self.started = chunk, True
        if chunk.HasField("usage"):
            self._usage = _usage_of(chunk.usage)
        pieces = []
        for choice in chunk.choices:
            calls = self._calls.setdefault(choice.index, CallPieces())
            self._texts.setdefault(choice.index, []).append(choice.delta.content)
            self._thoughts.setdefault(choice.index, []).append(choice.delta.reasoning_content)
            for position, call in enumerate(choice.delta.tool_calls):
                calls.add(call, position)
            if choice.finish_reason:
                self._reasons[choice.index] = choice.finish_reason
            whole = calls.take_whole(bool(choice.finish_reason))
            pieces.append(Chunk(choice.delta.content, choice.index, choice.finish_reason or None, whole, choice.delta.reasoning_content, chunk))
        return pieces

    @property
    def finished(self) -> bool:
        return bool(self._texts) and all(index in self._reasons for index in self._texts)

    def answer(self) -> Answer:
        def one(index: int) -> Answer:
            calls = self._calls[index].calls() if index in self._calls else ()
            text, thoughts = "".join(self._texts.get(index, ())), "".join(self._thoughts.get(index, ()))
            return Answer(text, calls, self._reasons.get(index), self._usage, self._last.model, self._last.id, thoughts, raw=self._last)

        choices = tuple(one(index) for index in sorted(self._texts))
        return replace(choices[0] if choices else one(0), choices=choices)


def message_of(value: Any) -> dict[str, Any]:
    """A message of a conversation as a dict: a str is the user's, an Answer the assistant's, a ChatMessage its JSON form."""
    if isinstance(value, str):
        return {"role": "user", "content": value}
    if isinstance(value, Answer):
        return value.message
    if isinstance(value, chat_pb2.ChatMessage):
        written: dict[str, Any] = json_form.write(value)
        return written
    if isinstance(value, dict):
        return value
    raise TypeError(f"messages: a str, a dict or an Answer is wanted, not a value of type {type(value).__name__}")


def messages_of(value: Any) -> list[dict[str, Any]]:
    """A conversation: one message or a list of them."""
    return [message_of(v) for v in value] if isinstance(value, (list, tuple)) else [message_of(value)]
