# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The program `bora` as tests run it: with an environment of its own, and on a terminal of its own."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from conftest import BUILD, PACE

BORA = str(BUILD / "bin/bora")
OK, FAILED, USAGE, NOT_AUTHORISED, NOT_FOUND, RATE_LIMITED, UNAVAILABLE = 0, 1, 2, 3, 4, 5, 6


def clean_environment(home):
    """Nothing of whoever runs the tests: no profile, no keys, no colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BORA_", "XDG_"))}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state"), "TZ": "UTC"}


class Cli:
    def __init__(self, house, home):
        self.house, self.home = house, home
        self.environment = {**clean_environment(home), "BORA_ADDRESS": f"127.0.0.1:{house.ports['grpc']}", "BORA_API_KEY": house.key, "BORA_ADMIN_KEY": house.admin_key}

    def run(self, *words, status=OK, stdin="", **variables):
        """Standard output; standard error is kept in `errors`. A variable that is None is taken out of the environment."""
        environment = {name: value for name, value in {**self.environment, **variables}.items() if value is not None}
        done = subprocess.run([BORA, *map(str, words)], env=environment, input=stdin, capture_output=True, text=True, timeout=120 * PACE)
        assert done.returncode == status, f"bora {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.errors = done.stderr
        return done.stdout

    def json(self, *words, **options):
        return json.loads(self.run(*words, "--json", **options))

    def new_key(self, *words):
        """The key, and its id."""
        key = self.run("keys", "create", *words).strip()
        return key, key.split("_")[1]


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, environment, *words, columns=0):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            # libedit 3.1 forgets the names of functions that are added to it, so that a build with ASan would end with 1
            os.execve(BORA, [BORA, *words], {**environment, "TERM": "xterm", "LC_ALL": "C.UTF-8", "ASAN_OPTIONS": "detect_leaks=0"})
        self.output, self.seen = "", 0

    def read(self):
        """Keep what comes within a moment. False: the program has let go of the terminal."""
        if select.select([self.descriptor], [], [], 0.1)[0]:
            try:
                self.output += os.read(self.descriptor, 65536).decode(errors="replace")
            except OSError:
                return False
        return True

    def expect(self, pattern):
        end, there = time.monotonic() + 60 * PACE, True
        while there and time.monotonic() < end:
            found = re.search(pattern, self.output[self.seen:])
            if found:
                self.seen += found.end()
                return found
            there = self.read()
        raise AssertionError(f"no {pattern!r} behind {self.output[self.seen:]!r}" + ("" if there else ", which is the end"))

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def end(self):
        end, ended = time.monotonic() + 60 * PACE, 0
        while ended == 0 and time.monotonic() < end:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended == 0 and not self.read():
                time.sleep(0.01)
        if ended == 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        while ended and self.read() and time.monotonic() < end:
            pass  # what it said last
        self.modes = termios.tcgetattr(self.descriptor)[3]
        os.close(self.descriptor)
        assert ended, f"it does not end behind {self.output[self.seen:]!r}"
        return os.waitstatus_to_exitcode(status)
