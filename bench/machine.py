# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The machine: what processor it has, and how much of it others used while something was measured."""
import os
import re
import resource
import time
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def processor():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)[1]
    flags = set(re.search(r"flags\s*: (.*)", text)[1].split())
    shown = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f in flags]
    return f"{name}, {os.cpu_count()} CPUs, {' '.join(shown)}"


def load():
    """Processes that ran or wanted to, on average over the last minute."""
    return os.getloadavg()[0]


def busy_seconds(stat):
    """Seconds of all processors that were not idle, from the text of /proc/stat; what a hypervisor took away counts as busy."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_S


def processes():
    """{pid: (parent's pid, seconds of processor time)} of all that run."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended just now
        found[int(path.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) * TICK_S
    return found


def descendants(pid, running=None):
    """Children that run, their children, and so on."""
    running = running or processes()
    children = [child for child, (parent, _) in running.items() if parent == pid]
    return [found for child in children for found in (child, *descendants(child, running))]


def own_seconds():
    """Processor time of this process, its children that ended, and its descendants that run."""
    running = processes()
    mine = sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
    return mine + sum(running[pid][1] for pid in descendants(os.getpid(), running))


class Others:
    """How many processors other programs have used since this was made."""

    def __init__(self):
        self.began, self.busy, self.own = time.perf_counter(), busy_seconds(Path("/proc/stat").read_text()), own_seconds()

    def processors(self):
        busy, own = busy_seconds(Path("/proc/stat").read_text()) - self.busy, own_seconds() - self.own
        return max(busy - own, 0.0) / max(time.perf_counter() - self.began, 1e-3)


def wait_calm(most, until):
    """Return when others used at most `most` processors for a second, or at the time `until` (time.perf_counter)."""
    while time.perf_counter() < until:
        others = Others()
        time.sleep(1)
        if others.processors() <= most:
            return
