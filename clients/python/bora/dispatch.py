# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Ask, run the calls that come back, give their results, ask again: until the model answers or a limit is reached."""
from __future__ import annotations

import collections
import contextvars
import json
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Literal, Optional

from bora.answer import Answer, ToolCall, Usage
from bora.cancellation import Cancellation
from bora.errors import BoraError, CancelledError, DeadlineError
from bora.tools import CallContext, CallRefused, HandlerError, Tools

ABANDONED_MAX = 32  # handlers of one registry that run on after their time; further calls are refused until some of them end (those that run at once may come on top)

#: (messages, tools, tool_choice or None, seconds left or None, cancellation, hear(text)) -> the answer. BoraError when there is none.
Ask = Callable[[list[dict[str, Any]], list[dict[str, Any]], Any, Optional[float], Cancellation, Callable[[str], object]], Answer]


@dataclass(frozen=True)
class CallRecord:
    """A call that was run, or refused."""

    call: ToolCall
    result: str  # what the model was told
    error: Optional[str] = None  # why it is an error; None: it is none
    seconds: float = 0.0
    round: int = 0  # of the answer that asked for it, from 1; 0: it stood in the conversation already


@dataclass
class Run:
    """How a run ended, and the whole conversation: nothing is lost, whatever the reason.

    reason    "answered"; "length": the last answer was cut (`max_tokens`, or the model's context); "max_rounds", "timeout" or "cancelled": a limit, or somebody, stopped it; "failed": it raised, and this is `error.run`
    answer    the last answer of the model; when it was stopped in the middle of one, what there was of it (finish_reason None)
    messages  the conversation with all answers and results. To go on, give it to `run` again: calls that wait are run first.
    pending   calls without a result
    """

    messages: list[dict[str, Any]]
    reason: str = "failed"
    answer: Optional[Answer] = None
    rounds: int = 0
    usage: Usage = Usage()
    calls: list[CallRecord] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.answer.text if self.answer is not None else ""

    @property
    def parsed(self) -> Any:
        """As Answer.parsed."""
        return self.answer.parsed if self.answer is not None else None

    @property
    def pending(self) -> tuple[ToolCall, ...]:
        return pending_calls(self.messages)


def pending_calls(messages: Sequence[dict[str, Any]]) -> tuple[ToolCall, ...]:
    """Calls of the last assistant's message that no tool message behind it answers."""
    answered: collections.Counter[str] = collections.Counter()
    for message in reversed(messages):
        if message.get("role") == "tool":
            answered[message.get("tool_call_id") or ""] += 1
            continue
        waiting = []
        for value in message.get("tool_calls") or () if message.get("role") == "assistant" else ():
            call = ToolCall.from_message(value)
            if answered[call.id] > 0:
                answered[call.id] -= 1
            else:
                waiting.append(call)
        return tuple(waiting)
    return ()


def choice_after_first_round(choice: Any) -> Any:
    """A choice that forces a call would force one in every round, and no answer would ever come: it counts once."""
    if choice in ("required", "any"):
        return "auto"
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            return {**choice, "allowed_tools": {**(choice.get("allowed_tools") or {}), "mode": "auto"}}
        return "auto"
    return choice


@dataclass(frozen=True)
class _Options:
    tool_choice: Any
    max_rounds: int
    timeout: Optional[float]
    handler_timeout: Optional[float]
    parallel: int
    raise_errors: bool
    on_tool_call: Optional[Callable[[ToolCall], object]]
    on_tool_result: Optional[Callable[[CallRecord], object]]
    max_result_bytes: int


def run(ask: Ask, messages: Sequence[dict[str, Any]], tools: Tools, *, tool_choice: Any = None, max_rounds: int = 10, timeout: Optional[float] = None,
        handler_timeout: Optional[float] = 60.0, parallel: int = 1, on_error: Literal["report", "raise"] = "report", on_text: Optional[Callable[[str], object]] = None,
        on_tool_call: Optional[Callable[[ToolCall], object]] = None, on_tool_result: Optional[Callable[[CallRecord], object]] = None,
        max_result_bytes: int = 256 * 1024, cancellation: Optional[Cancellation] = None) -> Run:
    """Client.run is this with the client's own `ask`; give another to run tools with another service (bora.openai_adapter).

    tool_choice       "auto", "none", "required", "any", {"type": "function", "function": {"name": ...}}; what forces a call counts for the first round only
    max_rounds        answers to ask for. Calls in the last one are not run: they stay `pending`.
    timeout           seconds for all of it
    handler_timeout   seconds for each call; None: no limit of its own. A handler that is late is given up - its thread runs on, and its context says
                      so - and the model is told.
    parallel          calls of one answer that run at once, each in a thread of its own; 1: one after the other, in the model's order
    on_error          a handler raised: "report": the model is told; "raise": HandlerError. Calls of tools that there are not, arguments that are not JSON
                      and handlers that are late are always reported.
    on_text           called with text as it comes; on_tool_call with a ToolCall before it runs; on_tool_result with a CallRecord. All on the caller's thread.
    max_result_bytes  longer results are cut, and the model is told
    cancellation      see Cancellation

    Returns a Run; raises what `ask` raises (the error's `run` is the Run so far), and what the callbacks raise.
    """
    if max_rounds < 1 or parallel < 1:
        raise ValueError("max_rounds and parallel are at least 1")
    if on_error not in ("report", "raise"):
        raise ValueError('on_error is "report" or "raise"')
    options = _Options(tool_choice, max_rounds, timeout, handler_timeout, parallel, on_error == "raise", on_tool_call, on_tool_result, max_result_bytes)
    state = _State(ask, tools, options, on_text or (lambda text: None), cancellation or Cancellation(), Run(list(messages)))
    try:
        state.go()
    except BoraError as error:
        error.run = state.run
        raise
    return state.run


class _State:
    def __init__(self, ask: Ask, tools: Tools, options: _Options, hear: Callable[[str], object], cancellation: Cancellation, result: Run):
        self.ask, self.tools, self.options, self.hear, self.cancellation, self.run = ask, tools, options, hear, cancellation, result
        self.end = None if options.timeout is None else time.monotonic() + options.timeout

    def left(self) -> Optional[float]:
        return None if self.end is None else self.end - time.monotonic()

    def stopped(self) -> Optional[str]:
        if self.cancellation.cancelled:
            return "cancelled"
        left = self.left()
        return "timeout" if left is not None and left <= 0 else None

    def go(self) -> None:
        choice = self.options.tool_choice
        schemas = self.tools.schemas()
        while True:
            pending = self.run.pending
            if pending:
                if self.run.rounds >= self.options.max_rounds:
                    self.run.reason = "max_rounds"
                    return
                choice = choice_after_first_round(choice)
                reason = _Round(self, pending).go()
            elif self.run.rounds > 0:
                cut = self.run.answer is not None and self.run.answer.finish_reason in ("length", "model_length")
                self.run.reason = "length" if cut else "answered"
                return
            else:
                reason = self.stopped()
            if reason is None:
                reason = self.ask_once(schemas, choice)
            if reason is not None:
                self.run.reason = reason
                return
            choice = choice_after_first_round(choice)

    def ask_once(self, schemas: list[dict[str, Any]], choice: Any) -> Optional[str]:
        """One answer more. A reason when it was stopped."""
        try:
            answer = self.ask(self.run.messages, schemas, choice, self.left(), self.cancellation, self.hear)
        except (DeadlineError, CancelledError) as error:
            left = self.left()
            # The call's deadline is the run's; gRPC's clock may be a hair ahead of ours.
            ours = isinstance(error, DeadlineError) and left is not None and left < 0.1
            reason = "timeout" if ours else self.stopped()
            if reason is None:  # the service's own, or the client was closed
                raise
            self.run.answer = error.partial or self.run.answer
            return reason
        self.run.answer = answer
        self.run.rounds += 1
        self.run.usage = self.run.usage + answer.usage
        self.run.messages.append(answer.message)
        return None


@dataclass
class _Outcome:
    text: str
    error: Optional[BaseException]


class _Round:
    """The calls of one answer. Handlers run in threads that nobody joins, so that one which hangs holds up neither the run nor the program's end."""

    def __init__(self, state: _State, calls: tuple[ToolCall, ...]):
        self.state, self.calls = state, calls
        self.results: list[Optional[CallRecord]] = [None] * len(calls)
        self.running: dict[int, tuple[CallContext, float]] = {}  # with the time of its start
        self.done: queue.SimpleQueue[Optional[tuple[int, _Outcome]]] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.given_up: set[int] = set()
        self.ended: set[int] = set()  # heard in time, whether or not anybody has looked yet
        self.failure: Optional[HandlerError] = None

    def go(self) -> Optional[str]:
        """Run them and append the results, in the calls' order, also when it is stopped half-way. The reason then."""
        remove = self.state.cancellation.add_callback(lambda: self.done.put(None))
        try:
            reason = self._loop()
        finally:
            remove()
            for index in list(self.running):
                self._give_up(index)
            for call, record in zip(self.calls, self.results):
                if record is not None:
                    self.state.run.messages.append({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": record.result})
        if self.failure is not None:
            raise self.failure from self.failure.__cause__
        return reason

    def _loop(self) -> Optional[str]:
        waiting = collections.deque(range(len(self.calls)))
        while (waiting or self.running) and self.failure is None:
            reason = self.state.stopped()
            if reason is not None:
                return reason
            while waiting and len(self.running) < self.state.options.parallel:
                self._start(waiting.popleft())
            self._take()
        return None

    def _start(self, index: int) -> None:
        call, options = self.calls[index], self.state.options
        if options.on_tool_call is not None:
            options.on_tool_call(call)
        now = time.monotonic()
        if self.state.tools.abandoned >= ABANDONED_MAX:
            self._record(index, "too many handlers of earlier calls still run", now)
            return
        ends = [now + options.handler_timeout] if options.handler_timeout is not None else []
        context = CallContext(call, min(ends + ([self.state.end] if self.state.end is not None else []), default=None))
        self.running[index] = (context, now)
        variables = contextvars.copy_context()
        threading.Thread(target=variables.run, args=(self._work, index, context), name=f"bora-tool-{call.name}", daemon=True).start()

    def _work(self, index: int, context: CallContext) -> None:
        try:
            outcome = _Outcome(self.state.tools.call(self.calls[index], context), None)
        except BaseException as error:  # SystemExit too: a handler must not end somebody's thread unheard
            outcome = _Outcome("", error)
        with self.lock:
            late = index in self.given_up
            if not late:
                self.ended.add(index)
                self.done.put((index, outcome))
        if late:
            self.state.tools.count_abandoned(-1)

    def _take(self) -> None:
        """Wait for the next that ends, or whose time does."""
        if not self.running:
            return
        now = time.monotonic()
        ends = [context.deadline for context, _ in self.running.values() if context.deadline is not None]
        try:
            found = self.done.get(timeout=max(min(ends) - now, 0) if ends else None)
        except queue.Empty:
            found = None
        if found is not None and found[0] in self.running:
            index, outcome = found
            _, began = self.running.pop(index)
            self._finish(index, outcome, began)
            return
        if self.state.stopped() is not None:  # the whole run's time: they stay without a result
            return
        now = time.monotonic()
        for index, (context, began) in list(self.running.items()):
            if context.deadline is not None and context.deadline <= now:
                self._give_up(index)
                self._record(index, f"the tool did not answer within {self.state.options.handler_timeout:g} s", began)

    def _give_up(self, index: int) -> None:
        context, _ = self.running.pop(index)
        with self.lock:
            if index not in self.ended:
                self.given_up.add(index)
                self.state.tools.count_abandoned(1)
        context.cancel()

    def _finish(self, index: int, outcome: _Outcome, began: float) -> None:
        if outcome.error is None:
            self._record(index, None, began, outcome.text)
            return
        refused = isinstance(outcome.error, CallRefused)
        reason = str(outcome.error) if refused else f"{type(outcome.error).__name__}: {outcome.error}"
        if self.state.options.raise_errors and not refused:
            self.failure = HandlerError(self.calls[index], reason)
            self.failure.__cause__ = outcome.error
            return
        self._record(index, reason, began)

    def _record(self, index: int, error: Optional[str], began: float, text: str = "") -> None:
        if error is not None:
            text = json.dumps({"error": error}, ensure_ascii=False)
        text = _cut(text, self.state.options.max_result_bytes)
        record = CallRecord(self.calls[index], text, error, time.monotonic() - began, self.state.run.rounds)
        self.results[index] = record
        self.state.run.calls.append(record)
        if self.state.options.on_tool_result is not None:
            self.state.options.on_tool_result(record)


def _cut(text: str, bytes_max: int) -> str:
    data = text.encode("utf-8", "replace")  # lone surrogates could not be sent
    if len(data) <= bytes_max:
        return data.decode()
    kept = data[:bytes_max].decode("utf-8", "ignore")
    return f"{kept}\n[cut: {len(kept.encode())} of {len(data)} bytes]"
