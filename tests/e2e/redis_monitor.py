# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What a Redis of the house is told."""
import contextlib
import socket
import threading

from conftest import until


class Monitor:
    """All commands that a Redis executes, for reading, too; goes on when it was restarted."""

    def __init__(self, house, name):
        self.house, self.name, self.data, self.ended = house, name, bytearray(), threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()
        until(lambda: self.data.count(b"+OK") >= 2, "it is followed")

    def follow(self):
        password = (self.house.state / "secrets/redis-password").read_text().strip().encode()
        while not self.ended.wait(0.02):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.house.ports[self.name]), timeout=1) as connection:
                connection.sendall(b"AUTH " + password + b"\r\nMONITOR\r\n")
                while not self.ended.is_set():
                    with contextlib.suppress(TimeoutError):
                        piece = connection.recv(1 << 16)
                        if piece == b"":
                            break
                        self.data += piece

    def end(self):
        self.ended.set()
        self.thread.join()
        return bytes(self.data)
