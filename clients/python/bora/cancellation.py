# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""A switch that ends calls and runs from another thread."""
from __future__ import annotations

import threading
from typing import Callable


class Cancellation:
    """Give one to `chat`, `chat_stream` or `run`, and call `cancel()` from any thread, once or often, early or late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` when cancelled (at once when it is so already). Returns what takes it away again."""
        with self._lock:
            waiting = not self._cancelled
            if waiting:
                self._callbacks.append(callback)
        if not waiting:
            callback()

        def remove() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return remove
