# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What the gateway costs, in front of a worker that answers at once (bench/null_worker.c), on loopback, keys and three limits on: beside nginx,
which looks at nothing (the floor), and LiteLLM's proxy (the peer), all in front of the same process.

The load is an open loop: requests go out at a given rate, whatever comes back, and a latency counts from the moment at which its request was meant to be
sent (bench/gateway_load.c). What a side adds is its latency less that of the null worker asked directly, in the same round and at the same rate.
"""
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from gateway_sides import LITELLM, MODEL, NGINX, Direct, GatewayHouse, LiteLLM, Nginx
from places import clean_environment, program, say
from servers import end_with_parent

RATE, SECONDS, CONNECTIONS = 1000, 5, 64
SLOW_RATE = 20  # what LiteLLM stands on two cores without a queue
ADDED_BARS = {"p50": 200, "p99": 2000}  # us
PEER_BAR = 50
SETTLE_S, SETTLED_LOAD, SETTLE_MAX_S = 1, 0.25, 30  # after many streams were opened
# Sustained: so many of all are answered 200, and p99 stays below.
SUSTAINED_SHARE, SUSTAINED_P99_MS, SUSTAINED_BAR, SUSTAINED_CONNECTIONS = 0.999, 100, 5000, 256
SUSTAINED_FIRST = {"direct": 8000, NGINX: 5000, "bora": 1000, LITELLM: 20}
RATE_STEP, RATE_TOLERANCE = 1.25, 1.04
IDLE_STREAMS, IDLE_BAR_KB = 5000, 8
PEER_IDLE_STREAMS = 200  # LiteLLM takes minutes to open more
READERS, READER_BYTES, READERS_RATE, READERS_TOKENS, READERS_BAR = 500, 8, 500, 200_000, 1.1


# ---- asking ------------------------------------------------------------------------------------------------------------

def body(tokens=4, stream=False):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Say a few words, please."}], "max_tokens": tokens, **({"stream": True} if stream else {})}


def asks(side, name, asked, *flags):
    """The command of a client of `side`."""
    file = side.folder_of_clients / f"body-{hash(json.dumps(asked)) & 0xffffffff:x}.json"
    file.write_text(json.dumps(asked))
    return [str(word) for word in (program(name), "--port", side.port, "--body-file", file, *(["--key", side.key] if side.key else []), *flags)]


def cpu_seconds(pids):
    """Of all their threads that live, to the nanosecond."""
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(path.read_text().split()[0])
    return total / 1e9


def resident_bytes(pids):
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * resource.getpagesize()


def ask(side, rate, seconds, asked=None, connections=CONNECTIONS, warmup=1.0):
    """What bora-bench-load measured, and `cpu`: {process: us a request}."""
    processes = side.processes()
    before = {name: cpu_seconds(pids) for name, pids in processes.items()}
    done = subprocess.run(asks(side, "bora-bench-load", asked or body(), "--rate", rate, "--seconds", f"{int(seconds * 1000)}ms", "--warmup", f"{int(warmup * 1000)}ms", "--connections", connections),
                          capture_output=True, text=True, env=clean_environment())
    if done.returncode != 0:
        sys.exit(f"bench: {done.stderr.strip()}")
    measured = json.loads(done.stdout)
    measured["cpu"] = {name: 1e6 * (cpu_seconds(pids) - before[name]) / max(measured["begun"], 1) for name, pids in processes.items()}
    return measured


def all_answered(side, measured):
    """Only LiteLLM may leave some out."""
    if measured["status"].get("200", 0) != measured["sent"] and not (side.name == LITELLM and measured["latency_us"]):
        sys.exit(f"bench: {side.name} did not answer all requests at {measured['rate']:g}/s: {measured}")
    return measured


def settle(side):
    """Wait until the side has done what opening many streams gave it to do."""
    until, used = time.perf_counter() + SETTLE_MAX_S, SETTLED_LOAD
    while used >= SETTLED_LOAD and time.perf_counter() < until:
        before = cpu_seconds(own_pids(side))
        time.sleep(SETTLE_S)
        used = (cpu_seconds(own_pids(side)) - before) / SETTLE_S


def own_pids(side):
    """Of what stands between client and worker, without what is behind it."""
    return [pid for name, pids in side.processes().items() if name in (side.name, "gateway") for pid in pids]


@contextlib.contextmanager
def held(side, streams, asked, *flags):
    """So many streams are open inside of it."""
    client = subprocess.Popen(asks(side, "bora-bench-hold", asked, "--streams", streams, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(), preexec_fn=end_with_parent)
    try:
        if not client.stdout.readline().startswith("open="):
            sys.exit(f"bench: {side.name}: {client.communicate()[1].strip()}")
        yield client
    finally:
        client.terminate()
        said = client.communicate()[0]
    if f"open={streams} ended=0 refused=0" not in said:
        sys.exit(f"bench: {side.name} did not keep {streams} streams open: {said.strip()}")


# ---- sides -------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def sides(options, report, *wanted):
    """{name: side}; all share one null worker. A side that is left out is not there."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if not report.rows:
        report.peer = "other side"
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(GatewayHouse())
        opened = {"direct": Direct(ours.null_port, ours), "bora": ours}
        for kind in (Nginx, LiteLLM) if options.peer else ():
            if kind.name in wanted:
                opened[kind.name] = stack.enter_context(kind(ours.null_port, ours))
        for side in opened.values():
            side.folder_of_clients = ours.folder
            ask(side, SUSTAINED_FIRST[side.name], 0.5)
        yield opened


def duration(options):
    return 2 if options.quick else SECONDS


def cpu_rows(report, of):
    """of: {side: [measured, ...]}: processor time a request, process by process."""
    for side, rounds in of.items():
        for process in rounds[0]["cpu"]:
            report.row(f"CPU a request, {side}: {process}", [m["cpu"][process] for m in rounds], [], "us")
        report.row(f"CPU a request, {side}: load generator", [m["cpu_us"] for m in rounds], [], "us")


# ---- what is added -----------------------------------------------------------------------------------------------------

def added(measured, direct, which):
    return [side["latency_us"][which] - floor["latency_us"][which] for side, floor in zip(measured, direct, strict=True)]


def bench_added(options, report):
    """latency added at 1,000 requests/s, beside nginx; at 20 requests/s, beside LiteLLM; processor time a request"""
    with sides(options, report, NGINX, LITELLM) as opened:
        def at(side, rate):
            return lambda _: all_answered(side, ask(side, rate, duration(options) if rate == RATE else 2 * duration(options)))

        plan = {name: at(side, RATE) for name, side in opened.items() if name != LITELLM}
        if LITELLM in opened:
            plan |= {f"{name} slow": at(opened[name], SLOW_RATE) for name in ("direct", NGINX, "bora", LITELLM) if name in opened}
        found = report.interleave(plan, options.rounds, options.patience)
    direct = found["direct"]
    for which in ADDED_BARS:
        report.row(f"the null worker itself at {RATE:,}/s, {which}", [m["latency_us"][which] for m in direct], [], "us", "how late the generator wakes up is in it" if which == "p50" else "")
    report.row("... of that, until the generator sent it, p50", [m["late_us"]["p50"] for m in direct], [], "us")
    for which, bar in ADDED_BARS.items():
        ours, floor = added(found["bora"], direct, which), added(found[NGINX], direct, which) if NGINX in found else []
        report.row(f"added at {RATE:,}/s, {which}, beside nginx", ours, floor, "us")
        report.ratio(f"added at {RATE:,} requests/s, {which}", statistics.median(ours), bar, at_least=False, unit=" us", digits=0)
    if f"{LITELLM} slow" in found:
        for which in ADDED_BARS:
            ours, theirs = (added(found[f"{name} slow"], found["direct slow"], which) for name in ("bora", LITELLM))
            owed = sum(m["sent"] - m["status"]["200"] for m in found[f"{LITELLM} slow"])
            report.row(f"added at {SLOW_RATE}/s, {which}, beside LiteLLM", ours, theirs, "us", f"LiteLLM left {owed} unanswered" if owed else "", ratio_digits=4)
            if f"{NGINX} slow" in found:
                floor = added(found[f"{NGINX} slow"], found["direct slow"], which)
                report.row(f"added at {SLOW_RATE}/s, {which}, beside nginx", ours, floor, "us")
                if which == "p50":
                    report.ratio(f"LiteLLM adds, over nginx, both at {SLOW_RATE}/s, p50", statistics.median(theirs) / max(statistics.median(floor), 1), None, digits=0)
            if which == "p50":
                report.ratio(f"LiteLLM adds, over ours, both at {SLOW_RATE}/s, p50", statistics.median(theirs) / max(statistics.median(ours), 1), PEER_BAR, digits=0)
                report.ratio(f"... over ours at {RATE:,}/s, p50", statistics.median(theirs) / max(statistics.median(added(found["bora"], direct, which)), 1), PEER_BAR, digits=0)
    cpu_rows(report, {name: found[name] for name in ("direct", NGINX, "bora", f"{LITELLM} slow") if name in found})


# ---- the highest rate --------------------------------------------------------------------------------------------------

def stands(side, rate, seconds):
    """Twice is asked where the first time failed: on a shared machine others may be at fault."""
    for _ in range(2):
        measured = ask(side, rate, seconds, connections=SUSTAINED_CONNECTIONS, warmup=0.5)
        good = measured["status"].get("200", 0)
        if good >= SUSTAINED_SHARE * measured["sent"] and good > 0 and measured["latency_us"]["p99"] < SUSTAINED_P99_MS * 1000:
            return True
        time.sleep(1)  # what it has in hand still
    return False


def highest(side, seconds):
    """Requests a second: in steps until one is too many, then halving the step."""
    low, high = 0.0, None
    rate = SUSTAINED_FIRST[side.name]
    while high is None or low == 0 or high / low > RATE_TOLERANCE:
        if stands(side, rate, seconds):
            low = rate
        elif low == 0 and rate <= 1:
            return 0.0
        else:
            high = rate
        rate = (low * RATE_STEP if high is None else (low * high) ** 0.5 if low > 0 else high / 2)
    return low


def bench_sustained(options, report):
    """the highest rate at which 99.9 % are answered and p99 is below 100 ms: ours, nginx, LiteLLM"""
    seconds = 2 if options.quick else 3
    with sides(options, report, NGINX, LITELLM) as opened:
        found = report.interleave({name: lambda _, side=side: highest(side, seconds) for name, side in opened.items()}, 1 if options.quick else min(options.rounds, 3), options.patience)
        at = {name: ask(opened[name], statistics.median(rates), seconds, connections=SUSTAINED_CONNECTIONS) for name, rates in found.items() if name in ("bora", NGINX) and rates[0] > 0}
    report.row("the null worker itself stands", found["direct"], [], "requests/s", digits=0)
    for name in (NGINX, LITELLM):
        report.row(f"stands, beside {name}", found["bora"], found.get(name, []), "requests/s", digits=0)
    report.ratio("sustained", statistics.median(found["bora"]), SUSTAINED_BAR, unit=" requests/s", digits=0)
    cpu_rows(report, {f"{name} at {m['rate']:.0f}/s": [m] for name, m in at.items()})


# ---- idle streams ------------------------------------------------------------------------------------------------------

def bytes_a_stream(side, streams):
    """What the side's own processes hold for an open stream that is silent; the worker's are not its own."""
    before = resident_bytes(own_pids(side))
    with held(side, streams, body(1000, stream=True), "--patience", "300s"):
        settle(side)
        return (resident_bytes(own_pids(side)) - before) / streams


def bench_idle(options, report):
    """resident bytes of an open and silent stream, 5,000 of them, beside nginx and LiteLLM"""
    streams = 500 if options.quick else IDLE_STREAMS
    with sides(options, report, NGINX, LITELLM) as opened:
        opened["bora"].set_delay("1h")
        found = {name: bytes_a_stream(side, PEER_IDLE_STREAMS if name == LITELLM else streams) / 1000 for name, side in opened.items() if name != "direct"}
    for name in (NGINX, LITELLM):
        report.row(f"an idle stream, {streams:,} open, beside {name}", [found["bora"]], [found[name]] if name in found else [], "kB", f"{LITELLM}: {PEER_IDLE_STREAMS} open" if name == LITELLM else "", digits=2)
    report.ratio("resident, an idle stream", found["bora"], IDLE_BAR_KB, at_least=False, unit=" kB")


# ---- slow readers ------------------------------------------------------------------------------------------------------

def bench_readers(options, report):
    """latency of plain requests at 500/s while 500 clients read long answers, 8 bytes a second each, over the same without them"""
    with sides(options, report) as opened:
        ours = opened["bora"]

        def alone(_):
            return all_answered(ours, ask(ours, READERS_RATE, duration(options)))

        def beside(number):
            with held(ours, READERS, body(READERS_TOKENS, stream=True), "--bytes", READER_BYTES):
                settle(ours)
                return alone(number)

        found = report.interleave({"alone": alone, "beside": beside}, options.rounds, options.patience)
    for which in ("p50", "p99"):
        with_, without = ([m["latency_us"][which] for m in found[name]] for name in ("beside", "alone"))
        report.row(f"{READERS_RATE}/s beside {READERS} slow readers, {which}", with_, without, "us", "the other side: without them")
        report.ratio(f"{which} beside {READERS} slow readers, over alone", statistics.median(with_) / statistics.median(without), READERS_BAR if which == "p50" else None, at_least=False)


def bench_gateway(options, report):
    """what the gateway costs: added, sustained, idle and readers, all four"""
    for bench in (bench_added, bench_sustained, bench_idle, bench_readers):
        say(bench.__doc__)
        bench(options, report)
