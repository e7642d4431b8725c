# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Are the limits exact, are they used up, and is the ledger right? Four gateways, many keys that always want more (demand.py), streams and whole answers,
clients that leave, requests without max_tokens, a gateway killed, Redis stopped and killed. Limits of keys, of a model, and of workspaces and organisations whose keys share them.

Short: test_accuracy.py. Long: `./dev soak limits`, with a house of its own.

What is looked at, from outside, of each limit and all the keys that it binds:
  requests  by the times of admission that the ledger says (Redis' clock): in no window more than the limit
  tokens    by the times at which they were charged: in no window more than the limit
  streams   from admission to settlement: never more at once than the limit
  use       what its keys got of it (under_use.py): before anything happens, after each event, and while Redis was away
  denials   nobody was denied for whom there was room (in the window of a minute as the limiter counts it, which may be 250 ms longer)
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
from under_use import MINUTE_MS, SECOND_MS, Charge, Denial, Wait, most_at_once, most_in_a_window, table, taken, use_of, wrongly_denied

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

# Whose limit it is, how much, how many requests it lets through in its window, about; its window; how many keys share it.
Sort = collections.namedtuple("Sort", "whose kind limit requests window_ms keys")
SORTS = {
    "requests_per_second": Sort("key", "requests_per_second", 2, 2, SECOND_MS, 1),
    "requests_per_minute": Sort("key", "requests_per_minute", 10, 10, MINUTE_MS, 1),
    "output_tokens_per_minute": Sort("key", "output_tokens_per_minute", 500, 62, MINUTE_MS, 1),
    "tokens_per_minute": Sort("key", "tokens_per_minute", 2000, 60, MINUTE_MS, 1),
    "concurrent_streams": Sort("key", "concurrent_streams", 2, 0, 0, 1),
    "model's output_tokens_per_minute": Sort("model", "output_tokens_per_minute", 500, 62, MINUTE_MS, 1),
    "workspace's tokens_per_minute": Sort("workspace", "tokens_per_minute", 3000, 90, MINUTE_MS, 3),
    "organization's requests_per_minute": Sort("organization", "requests_per_minute", 24, 24, MINUTE_MS, 3),
}
# Of 20 limits, so many: those of seconds and of tokens ask most.
SHARES = (["requests_per_minute"] * 7 + ["output_tokens_per_minute"] * 3 + ["tokens_per_minute"] * 3 + ["workspace's tokens_per_minute", "model's output_tokens_per_minute"] * 2
          + ["organization's requests_per_minute", "requests_per_second", "concurrent_streams"])
STREAMING_MAX = 2  # those ask as often as they are answered
OF_MACHINES = ("requests_per_second",)  # each millisecond on the way counts there: its use tells of the machine
BARS = {"concurrent_streams": 0.25}  # a place is free until who waits for it tries again, 3 to 14 % by how busy the machine is; one that is lost would be half of two


def made(house, path, fields, key=None):
    status, _, body = house.send("POST", path, fields, key=key or house.admin_key)
    assert status == 200, body
    return body


class Key:
    """Whose clients always reach its limit, and now and then have a second one that they do not."""

    def __init__(self, limit, text, key_id):
        self.text, self.id, self.kind, self.counts_tokens = text, key_id, limit.kind, limit.counts_tokens
        self.wishes, self.answers = [], collections.Counter()
        # A second is short, and so is an answer: there all clients stand at the door, so that not each denial is waited for before the next is risked.
        self.door = asyncio.Semaphore(1 if limit.window_ms == MINUTE_MS else CLIENTS)
        self.away = []  # times of answers that were 503
        self.sent = collections.deque(maxlen=limit.limit if self.kind == "requests_per_second" else 1)
        self.starts_after_s, self.paced_until_s, self.pace_s = limit.starts_after_s, limit.paced_until_s, limit.pace_s

    def seconds_to_wait(self):
        """A key that knows how many requests a second it may make does not ask in between."""
        return max(0, self.sent[0] + 1 - time.time()) if len(self.sent) == self.sent.maxlen and self.kind == "requests_per_second" else 0

    def passed(self, sent):
        self.sent.append(sent)


class Limit:
    """And the keys that share it."""

    def __init__(self, house, number, count, fill_s):
        self.name = SHARES[number * 7 % len(SHARES)]
        if self.name == "concurrent_streams" and number >= STREAMING_MAX * len(SHARES):
            self.name = "requests_per_minute"
        self.whose, self.kind, self.limit, requests, self.window_ms, keys = SORTS[self.name]
        self.counts_tokens = "tokens" in self.kind
        self.admin_key = house.admin_key  # who sees its ledger
        # Keys fill their windows one after the other and evenly, so that later no minute begins with a rush.
        self.starts_after_s = fill_s * (1 - FILLING) * number / count
        self.paced_until_s = self.starts_after_s + fill_s * FILLING
        self.pace_s = CLIENTS * keys * fill_s * FILLING / requests if self.window_ms == MINUTE_MS else 0
        self.keys = [Key(self, answer["key"], answer["info"]["key_id"]) for answer in self.make_keys(house, number, keys)]

    def make_keys(self, house, number, count):
        bounds = {self.kind: self.limit}
        fields = {"name": f"k{number}", "limits": {"concurrent_streams": 64} if number % 3 == 0 and self.kind != "concurrent_streams" else {}}
        if self.whose == "organization":
            organization = made(house, "/v1/admin/organizations", {"name": f"organization-{number}", "limits": bounds})
            status, _, body = house.send("GET", f"/v1/admin/workspaces?organization_id={organization['id']}", key=house.admin_key)
            assert status == 200, body
            fields["workspace_uuid"] = body["workspaces"][0]["id"]
            self.admin_key = made(house, "/v1/admin/api-keys", {"role": "admin", "workspace_uuid": fields["workspace_uuid"]})["key"]
        elif self.whose == "workspace":
            fields["workspace_uuid"] = made(house, "/v1/admin/workspaces", {"name": f"shared-{number}", "limits": bounds})["id"]
        elif self.whose == "model":
            fields.update(tenant=f"workspace-{number % 10}", model_limits=[{"model": house.model, "limits": bounds}])
        else:
            fields.update(tenant=f"workspace-{number % 10}", limits={**fields["limits"], **bounds})
        return [made(house, "/v1/admin/api-keys", fields, key=self.admin_key) for _ in range(count)]

    @property
    def wishes(self):
        return [wish for key in self.keys for wish in key.wishes]

    def charges(self, entries, open_ended=None):
        """What counts against it, of its keys' entries in the ledger. A request without max_tokens holds what it used at least, or `open_ended`."""
        if self.kind == "concurrent_streams":
            return [Charge(e["began"], e["ended"], 0, 1) for e in entries if e["kind"] != "correction"]
        if not self.counts_tokens:
            return [Charge(e["began"], e["began"], 1, 0) for e in entries if e["kind"] != "correction"]
        most = {w.id: w.max_tokens for w in self.wishes}
        charges = [Charge(e["began"], e["ended"], e["output_tokens"], max(most.get(e["request_id"]) or open_ended or 0, e["output_tokens"])) for e in entries]
        if self.kind == "tokens_per_minute":
            # What was over before a worker had begun costs nothing, but its prompt had been charged until then.
            charges += [Charge(e["began"], e["began"], e["input_tokens"], 0) if e["input_tokens"] else Charge(e["began"], e["ended"], 0, PROMPT_TOKENS + demand.PROMPT_LETTERS) for e in entries]
        return charges

    def most(self, entries):
        """The most that counted at any time."""
        charges = self.charges([e for e in entries if e["kind"] != "correction"])
        return most_in_a_window(charged_at_once(charges), self.window_ms) if self.window_ms else most_at_once(charges)

    def need(self, wish):
        """What a request must be sure of to pass."""
        prompt = PROMPT_TOKENS + wish.letters if self.kind == "tokens_per_minute" else 0
        return prompt + (wish.max_tokens or 1) if self.counts_tokens else 1

    def waits(self, entries):
        """When its clients wanted to be let in, and what they needed."""
        began = {e["request_id"]: e["began"] for e in entries if e["kind"] != "correction"}
        return [Wait(w.since * 1000, w.sent * 1000, began.get(w.id, w.sent * 1000), self.need(w)) for w in self.wishes]

    def use(self, entries, span):
        within = span.begin_s * 1000, span.end_s * 1000
        use = use_of(self.limit, self.window_ms, self.charges(entries), self.waits(entries), within)
        if self.window_ms:
            return use
        sent = {w.id: w.sent * 1000 for w in self.wishes}
        spells = [(min(sent.get(e["request_id"], e["began"]), e["began"]), e["ended"]) for e in entries if e["kind"] != "correction"]
        return use._replace(under_use=1 - use.held, held=0, lost=1 - taken(self.limit, spells, within))

    def wrongly_denied(self, entries):
        """Of those that were denied; the window of a minute may be a slice longer."""
        denials = [Denial(1000 * sent, 1000 * answered, self.need(w)) for w in self.wishes for sent, answered in w.denials]
        window_ms = self.window_ms + (SLICE_MS if self.window_ms == MINUTE_MS else 0)
        return wrongly_denied(self.limit, window_ms, self.charges(entries, self.limit), denials)


# ---- judging -----------------------------------------------------------------------------------------------------------


def milliseconds(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def ledger_of(house, admin_key):
    entries, after = [], None
    while True:
        status, _, page = house.send("GET", "/v1/admin/usage/ledger?limit=10000" + (f"&after={after}" if after else ""), key=admin_key)
        assert status == 200, page
        entries += page["entries"]
        if not page["has_more"]:
            return entries
        after = page["entries"][-1]["id"]


def ledger(house, limits):
    """Of all organisations."""
    return [entry for key in sorted({house.admin_key, *(limit.admin_key for limit in limits)}) for entry in ledger_of(house, key)]


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


def judge(limits, entries, generated, spans):
    """What is said, what is wrong, and {(span, name of the limit): [Use, ...]}."""
    for entry in entries:
        entry["began"], entry["ended"] = milliseconds(entry["started"]), milliseconds(entry["time"])
    keys = [key for limit in limits for key in limit.keys]
    said, wrong = judge_ledger(keys, entries, generated)
    by_key, unjust, most = collections.defaultdict(list), [], []
    rows = {(span, name): [] for span in spans for name in SORTS}
    for entry in entries:
        by_key[entry["key_id"]].append(entry)
    for limit in limits:
        own = [entry for key in limit.keys for entry in by_key[key.id]]
        unjust += [(room_ms, limit.name, denial.sent, denial.answered) for denial, room_ms in limit.wrongly_denied(own)]
        most.append(limit.most(own) / limit.limit)
        if most[-1] > 1:
            wrong.append(f"key {limit.keys[0].id}: {most[-1] * limit.limit:.0f} in a window, limit {limit.limit}, {limit.name}")
        for span in spans:
            rows[span, limit.name].append(limit.use(own, span))
    said.append(f"fullest window, of its limit: {max(most):.4f}; of the limit that comes last: {min(most):.4f}")
    for room_ms, name, sent_ms, answered_ms in sorted(unjust, reverse=True):
        happens = next((span.name for span in spans if sent_ms < span.end_s * 1000), "")
        wrong.append(f"denied although there was room, {name}: sent {room_ms:.0f} ms after there was, answered {answered_ms - sent_ms:.0f} ms later; {happens}")
    said.append(f"answers: {dict(sum((k.answers for k in keys), collections.Counter()))}; denied: { {name: sum(key.answers[429] for limit in limits if limit.name == name for key in limit.keys) for name in SORTS} }")
    return said + table({(f"{span.name}, {span.end_s - span.begin_s:.1f} s", name): uses for (span, name), uses in rows.items() if uses}), wrong, rows


# ---- running -----------------------------------------------------------------------------------------------------------


def generated_tokens(house):
    return int(house.metric("worker-metrics", "bora_engine_completion_tokens_total"))


def whole_ledger(house, limits, before):
    """The ledger, once it does not move any more and says what the worker says; else, after a while, as it is."""
    for _ in range(15):
        first = len(ledger(house, limits))
        time.sleep(3)
        entries = ledger(house, limits)
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
    """`count` limits. The house has the tiny model; events_s: when the gateway is killed, Redis stopped and killed. Gives what is said, what is wrong, and the uses of spans and limits."""
    with contextlib.ExitStack() as stack:
        *gateways, dying = [stack.enter_context(another_gateway(house)) for _ in range(3)]
        limits = [Limit(house, number, count, FILL_SHARE * fill_s) for number in range(count)]
        keys = [key for limit in limits for key in limit.keys]
        before = generated_tokens(house)
        events = Events(house, dying, report)
        began_s = time.time()
        plan = list(zip(events_s, (events.kill_gateway, events.restart_redis(signal.SIGTERM), events.restart_redis(signal.SIGKILL)), strict=True))
        asyncio.run(demand.want(keys, [house.ports["http"], *(g.http for g in gateways), dying.http], began_s, began_s + seconds, CLIENTS, plan))
        until(lambda: house.metric("worker-metrics", "bora_engine_running") == 0 and house.metric("http", "bora_gateway_requests_running") == 0, "all has ended", 60)
        # What the dead gateway held is reported by the worker or runs out; then the ledger is whole.
        entries = whole_ledger(house, limits, before)
        report("Redis read its file again in " + " and ".join(re.findall(r"DB loaded from append only file: ([0-9.]+) seconds", house.log("redis-limits"))) + " s")
        return judge(limits, entries, generated_tokens(house) - before, events.spans(began_s + fill_s, began_s + seconds, keys, entries))


def main():
    parser = argparse.ArgumentParser(prog="./dev soak limits")
    parser.add_argument("--seconds", type=int, default=350)
    parser.add_argument("--fill", type=int, default=95, help="seconds until what is used is looked at")
    parser.add_argument("--limits", type=int, default=154, help="of which a few are shared by three keys: 154 bind 200")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = TinyHouse(Path(folder))
        try:
            said, wrong, _ = run(house, options.limits, options.seconds, options.fill, [options.fill + (options.seconds - options.fill) * part / 4 for part in (1, 2, 3)])
        finally:
            house.down()
    print("\n".join(said + [f"WRONG: {line}" for line in wrong[:50]]))
    print(f"{len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
