# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Tools of this package with the public `openai` client: bora.dispatch.run(openai_ask(openai.OpenAI(...), model="small"), messages, tools)."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bora.answer import Answer, CallPieces, Usage
from bora.dispatch import Ask
from bora.errors import CancelledError, DeadlineError


def openai_ask(client: Any, **settings: Any) -> Ask:
    """What bora.dispatch.run asks with: `client` is an openai.OpenAI, `settings` are those of its chat.completions.create, `model` among them.
    Its own exceptions come through as they are, but for its time-out and a cancellation."""

    def ask(messages: Any, schemas: Any, choice: Any, timeout: Any, cancellation: Any, hear: Any) -> Answer:
        import openai

        tools = {**({"tools": schemas} if schemas else {}), **({"tool_choice": choice} if schemas and choice is not None else {})}
        texts, pieces, reason, usage, chunk = [], CallPieces(), None, Usage(), None
        try:
            with client.chat.completions.create(messages=messages, stream=True, **tools, **settings, **({"timeout": timeout} if timeout is not None else {})) as stream:
                for chunk in stream:
                    if cancellation.cancelled:
                        raise CancelledError("CANCELLED", "cancelled")
                    if chunk.usage is not None:
                        usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                    for choice_of in chunk.choices[:1]:
                        text = choice_of.delta.content or ""
                        texts.append(text)
                        if text:
                            hear(text)
                        for position, call in enumerate(choice_of.delta.tool_calls or ()):
                            pieces.add(_as_message(call), position)
                        reason = choice_of.finish_reason or reason
        except openai.APITimeoutError as error:
            raise DeadlineError("DEADLINE_EXCEEDED", str(error)) from error
        return Answer("".join(texts), pieces.calls(), reason, usage, getattr(chunk, "model", ""), getattr(chunk, "id", ""))

    return ask


def _as_message(call: Any) -> Any:
    """openai's ToolCall delta with the face of ours."""
    arguments = SimpleNamespace(text=call.function.arguments or "", WhichOneof=lambda kind: "text")
    return SimpleNamespace(id=call.id or "", index=call.index, HasField=lambda name: call.index is not None, function=SimpleNamespace(name=call.function.name or "", arguments=arguments))
