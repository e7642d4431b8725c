# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Are the limits exact, are they used up, and is the ledger right? Four gateways, many keys that always want more (demand.py), streams and whole answers,
clients that leave, requests without max_tokens, a gateway killed, Redis stopped and killed.

Short: test_accuracy.py. Long: `./dev soak limits`, with a house of its own.

What is looked at, from outside:
  requests  of each key, by the times of admission that the ledger says (Redis' clock): in no window more than the limit
  tokens    of each key, by the times at which they were charged: in no window more than the limit
  use       what each key got of its limit (under_use.py): before anything happens, after each event, and while Redis was away
  denials   of each key: nobody was denied for whom there was room (in the window of a minute as the limiter counts it, which may be 250 ms longer)
  ledger    its output tokens beside what the worker says that it generated; each whole answer beside its usage; each request once
"""
import argparse
import asyncio
import collections
import contextlib
import datetime
import itertools
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import demand
from conftest import ROOT, House, another_gateway, until
from under_use import MINUTE_MS, SECOND_MS, Charge, Denial, Wait, most_in_a_window, table, use_of, wrongly_denied

TINY = ["--layers", "1", "--width", "32", "--heads", "1", "--kv-heads", "1", "--feed-forward", "32", "--type", "Q8_0"]
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CLIENTS = 3  # of each key
FILL_SHARE, FILLING = 0.9, 0.65  # of the time until spans begin: by then keys have filled their windows; of that: so long a key takes to


def byte_tokenizer():
    """GGUF with a vocabulary of the 256 bytes and three controls: few tokens to choose from, so that the worker is not what the clients wait for."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    disguises = itertools.count(256)
    tokens = [chr(byte if byte in printable else next(disguises)) for byte in range(256)] + CONTROLS
    entries = [text("tokenizer.ggml." + key) + struct.pack("<I", 8) + text(value) for key, value in (("model", "gpt2"), ("pre", "smollm"))]
    entries.append(text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(tokens)) + b"".join(map(text, tokens)))
    entries.append(text("tokenizer.ggml.token_type") + struct.pack(f"<IIQ{len(tokens)}i", 9, 5, len(tokens), *[1] * 256, *[3] * len(CONTROLS)))
    entries.append(text("tokenizer.ggml.merges") + struct.pack("<IIQ", 9, 8, 0))
    entries += [text(f"tokenizer.ggml.{key}_token_id") + struct.pack("<II", 4, value) for key, value in (("bos", 257), ("eos", demand.END_TOKEN))]
    entries.append(text("tokenizer.chat_template") + struct.pack("<I", 8) + text(TEMPLATE))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


def tiny_model(folder):
    """A model that says noise, fast."""
    tokenizer, path = Path(folder) / "tokenizer.gguf", Path(folder) / "tiny.gguf"
    tokenizer.write_bytes(byte_tokenizer())
    subprocess.run([sys.executable, str(ROOT / "tools/make_random_model.py"), "--tokenizer-from", str(tokenizer), *TINY, str(path)], check=True, capture_output=True)
    return path


class TinyHouse(House):
    def __init__(self, state):
        self.tiny = tiny_model(state)
        super().__init__(state)
        self.model = "tiny"

    def up(self):
        flags = [f for name, port in self.ports.items() for f in (f"--{name}-port", str(port))]
        done = self.command("up", "--no-question", "--threads", "1", "--model", str(self.tiny), *flags, "--", "--queue-max", "512")
        assert done.returncode == 0, done.stdout + done.stderr


# ---- keys --------------------------------------------------------------------------------------------------------------

SLICE_MS = 250  # what minutes are made of: store/limits_scopes.lua
CHARGED_FIRST_MS = 2000
PROMPT_TOKENS = len("user\n\nassistant\n") + len(("<|im_start|>", "<|im_end|>", "<|im_start|>"))  # and one for each letter

# kind: (limit, requests that it lets through in its window, about; its window)
KINDS = {"requests_per_second": (2, 2, SECOND_MS), "requests_per_minute": (10, 10, MINUTE_MS), "output_tokens_per_minute": (500, 62, MINUTE_MS), "tokens_per_minute": (2000, 60, MINUTE_MS)}
# Of 20 keys, so many: those of seconds and of tokens ask most.
SHARES = ["requests_per_minute"] * 11 + ["output_tokens_per_minute"] * 4 + ["tokens_per_minute"] * 4 + ["requests_per_second"]


class Key:
    """With one limit, which it always reaches, and now and then a second one that it does not."""

    def __init__(self, house, number, count, fill_s):
        self.kind = SHARES[number * 7 % len(SHARES)]
        self.limit, requests, self.window_ms = KINDS[self.kind]
        self.counts_tokens = "tokens" in self.kind
        spare = {"concurrent_streams": 64} if number % 3 == 0 else {}
        self.text, self.id = house.new_key(name=f"k{number}", tenant=f"workspace-{number % 10}", limits={self.kind: self.limit, **spare})
        self.wishes, self.answers = [], collections.Counter()
        # A second is short: there all clients stand at the door, so that not each denial is waited for before the next is risked.
        self.door = asyncio.Semaphore(1 if self.window_ms == MINUTE_MS else CLIENTS)
        self.away = []  # times of answers that were 503
        self.sent = collections.deque(maxlen=self.limit if self.kind == "requests_per_second" else 1)
        # Keys fill their windows one after the other and evenly, so that later no minute begins with a rush.
        self.starts_after_s = fill_s * (1 - FILLING) * number / count
        self.paced_until_s = self.starts_after_s + fill_s * FILLING
        self.pace_s = CLIENTS * fill_s * FILLING / requests if self.window_ms == MINUTE_MS else 0

    def seconds_to_wait(self):
        """A key that knows how many requests a second it may make does not ask in between."""
        return max(0, self.sent[0] + 1 - time.time()) if len(self.sent) == self.sent.maxlen and self.kind == "requests_per_second" else 0

    def passed(self, sent):
        self.sent.append(sent)

    def charges(self, entries, open_ended=None):
        """What counts against its limit, of its entries in the ledger. A request without max_tokens holds what it used at least, or `open_ended`."""
        if not self.counts_tokens:
            return [Charge(e["began"], e["began"], 1, 0) for e in entries if e["kind"] != "correction"]
        most = {w.id: w.max_tokens for w in self.wishes}
        charges = [Charge(e["began"], e["ended"], e["output_tokens"], max(most.get(e["request_id"]) or open_ended or 0, e["output_tokens"])) for e in entries]
        if self.kind == "tokens_per_minute":
            # What was over before a worker had begun costs nothing, but its prompt had been charged until then.
            charges += [Charge(e["began"], e["began"], e["input_tokens"], 0) if e["input_tokens"] else Charge(e["began"], e["ended"], 0, PROMPT_TOKENS + demand.PROMPT_LETTERS) for e in entries]
        return charges

    def need(self, wish):
        """What a request must be sure of to pass."""
        prompt = PROMPT_TOKENS + wish.letters if self.kind == "tokens_per_minute" else 0
        return prompt + (wish.max_tokens or 1) if self.counts_tokens else 1

    def waits(self, entries):
        """When its clients wanted to be let in, and what they needed."""
        began = {e["request_id"]: e["began"] for e in entries if e["kind"] != "correction"}
        return [Wait(w.since * 1000, w.sent * 1000, began.get(w.id, w.sent * 1000), self.need(w)) for w in self.wishes]

    def wrongly_denied(self, entries):
        """Of those that were denied; the window of a minute may be a slice longer. The ledger's milliseconds are rounded down."""
        denials = [Denial(1000 * sent - 1, 1000 * answered, self.need(w)) for w in self.wishes for sent, answered in w.denials]
        window_ms = self.window_ms + (SLICE_MS if self.window_ms == MINUTE_MS else 0)
        return wrongly_denied(self.limit, window_ms, self.charges(entries, self.limit), denials)


# ---- judging -----------------------------------------------------------------------------------------------------------


def milliseconds(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def ledger(house):
    entries, after = [], None
    while True:
        status, _, page = house.send("GET", "/v1/admin/usage/ledger?limit=10000" + (f"&after={after}" if after else ""), key=house.admin_key)
        assert status == 200, page
        entries += page["entries"]
        if not page["has_more"]:
            return entries
        after = page["entries"][-1]["id"]


def judge_ledger(keys, entries, generated):
    """(what is said, what is wrong): each request once, each answer as its client was told, all tokens that were generated."""
    wrong, by_request = [], collections.defaultdict(list)
    for entry in entries:
        by_request[entry["request_id"]].append(entry)
    twice = sum(len([e for e in es if e["kind"] != "correction"]) > 1 for es in by_request.values())
    if twice:
        wrong.append(f"{twice} requests are in the ledger more than once")
    output = sum(e["output_tokens"] for e in entries)
    if output != generated:
        wrong.append(f"the ledger says {output} output tokens, the worker {generated}")
    for wish in (w for key in keys for w in key.wishes if w.usage is not None):
        of_it = by_request.get(wish.id, [])
        sums = sum(e["input_tokens"] for e in of_it), sum(e["output_tokens"] for e in of_it)
        if sums != (wish.usage["prompt_tokens"], wish.usage["completion_tokens"]):
            wrong.append(f"request {wish.id}: the client was told {wish.usage}, the ledger says {sums}")
    return [f"ledger: {len(entries)} entries, {output} output tokens; the worker generated {generated}; kinds {dict(collections.Counter(e['kind'] for e in entries))}"], wrong


def charged_at_once(charges):
    """Gateways charge an answer first after 2 s; one that is shorter counts when it ends, whenever it began."""
    return [c if c.end - c.begin >= CHARGED_FIRST_MS else c._replace(begin=c.end) for c in charges if c.amount > 0]


def judge(keys, entries, generated, spans):
    """What is said, what is wrong, and {(span, kind): [Use, ...]}."""
    for entry in entries:
        entry["began"], entry["ended"] = milliseconds(entry["started"]), milliseconds(entry["time"])
    said, wrong = judge_ledger(keys, entries, generated)
    by_key, unjust, most = collections.defaultdict(list), [], []
    rows = {(span, kind): [] for span in spans for kind in KINDS}
    for entry in entries:
        by_key[entry["key_id"]].append(entry)
    for key in keys:
        own = by_key[key.id]
        charges, waits = key.charges(own), key.waits(own)
        unjust += [(room_ms, key.kind, denial.sent, denial.answered) for denial, room_ms in key.wrongly_denied(own)]
        most.append(most_in_a_window(charged_at_once(key.charges([e for e in own if e["kind"] != "correction"])), key.window_ms) / key.limit)
        if most[-1] > 1:
            wrong.append(f"key {key.id}: {most[-1] * key.limit:.0f} in a window, limit {key.limit} {key.kind}")
        for span in spans:
            rows[span, key.kind].append(use_of(key.limit, key.window_ms, charges, waits, (span.begin_s * 1000, span.end_s * 1000)))
    said.append(f"fullest window of a key, of its limit: {max(most):.4f}; of the key that comes last: {min(most):.4f}")
    for room_ms, kind, sent_ms, answered_ms in sorted(unjust, reverse=True):
        happens = next((span.name for span in spans if sent_ms < span.end_s * 1000), "")
        wrong.append(f"denied although there was room, {kind}: sent {room_ms:.0f} ms after there was, answered {answered_ms - sent_ms:.0f} ms later; {happens}")
    said.append(f"answers: {dict(sum((k.answers for k in keys), collections.Counter()))}; denied: { {kind: sum(k.answers[429] for k in keys if k.kind == kind) for kind in KINDS} }")
    return said + table({(f"{span.name}, {span.end_s - span.begin_s:.1f} s", kind): uses for (span, kind), uses in rows.items() if uses}), wrong, rows


# ---- running -----------------------------------------------------------------------------------------------------------


def generated_tokens(house):
    return int(house.metric("worker-metrics", "bora_engine_completion_tokens_total"))


def whole_ledger(house, before):
    """The ledger, once it does not move any more and says what the worker says; else, after a while, as it is."""
    for _ in range(15):
        first = len(ledger(house))
        time.sleep(3)
        entries = ledger(house)
        if len(entries) == first and sum(e["output_tokens"] for e in entries) == generated_tokens(house) - before:
            break
    return entries


Span = collections.namedtuple("Span", "name begin_s end_s")


class Events:
    """What happens to the house meanwhile; `spans` is what came of it."""

    def __init__(self, house, dying, report):
        self.house, self.dying, self.report, self.happened = house, dying, report, []

    def kill_gateway(self):
        self.dying.killed = True
        now = time.time()
        self.dying.process.kill()
        self.dying.process.wait()
        self.happened.append(("gateway killed", now, now))
        self.report("one gateway is killed")

    def restart_redis(self, how):
        def event():
            now = time.time()
            pid = self.house.pid("redis-limits")
            self.house.kill("redis-limits", how)
            until(lambda: not Path(f"/proc/{pid}").exists(), "Redis is gone")  # else it is found running, and goes then
            self.house.up()
            self.happened.append((f"Redis {how.name}", now, time.time()))
            self.report(f"Redis is back after {how.name}, {time.time() - now:.1f} s")
        return event

    def spans(self, begin_s, end_s, keys, entries):
        """Redis was away from the signal on until the first request was let in after the last that was told so."""
        admitted = sorted(milliseconds(e["started"]) / 1000 for e in entries)
        away = [t for key in keys for t in key.away]
        spans, name, begun_s = [], "before", begin_s
        for happened, at_s, back_s in self.happened:
            spans.append(Span(name, begun_s, at_s))
            begun_s, name = at_s, f"after {happened}"
            told = [t for t in away if at_s <= t <= back_s + 5]
            if back_s > at_s and told:
                begun_s = next((t for t in admitted if t > max(told)), end_s)
                spans.append(Span(f"{happened}: away", at_s, begun_s))
        clipped = [Span(s.name, max(s.begin_s, begin_s), s.end_s) for s in [*spans, Span(name, begun_s, end_s)]]
        return [s for s in clipped if s.begin_s < s.end_s]


def run(house, count, seconds, fill_s, events_s, report=print):
    """The house has the tiny model; events_s: when the gateway is killed, Redis stopped and killed. Gives what is said, what is wrong, and the uses of spans and kinds."""
    with contextlib.ExitStack() as stack:
        *gateways, dying = [stack.enter_context(another_gateway(house)) for _ in range(3)]
        keys = [Key(house, number, count, FILL_SHARE * fill_s) for number in range(count)]
        before = generated_tokens(house)
        events = Events(house, dying, report)
        began_s = time.time()
        plan = list(zip(events_s, (events.kill_gateway, events.restart_redis(signal.SIGTERM), events.restart_redis(signal.SIGKILL)), strict=True))
        asyncio.run(demand.want(keys, [house.ports["http"], *(g.http for g in gateways), dying.http], began_s, began_s + seconds, CLIENTS, plan))
        until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0 and house.metric("http", "bora_gateway_requests_running") == 0, "all has ended", 60)
        # What the dead gateway held is reported by the worker or runs out; then the ledger is whole.
        entries = whole_ledger(house, before)
        report("Redis read its file again in " + " and ".join(re.findall(r"DB loaded from append only file: ([0-9.]+) seconds", house.log("redis-limits"))) + " s")
        return judge(keys, entries, generated_tokens(house) - before, events.spans(began_s + fill_s, began_s + seconds, keys, entries))


def main():
    parser = argparse.ArgumentParser(prog="./dev soak limits")
    parser.add_argument("--seconds", type=int, default=350)
    parser.add_argument("--fill", type=int, default=95, help="seconds until what is used is looked at")
    parser.add_argument("--keys", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = TinyHouse(Path(folder))
        try:
            said, wrong, _ = run(house, options.keys, options.seconds, options.fill, [options.fill + (options.seconds - options.fill) * part / 4 for part in (1, 2, 3)])
        finally:
            house.down()
    print("\n".join(said + [f"WRONG: {line}" for line in wrong[:50]]))
    print(f"{len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
