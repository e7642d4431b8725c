# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The peers' side of bench/grammar.py, in an environment of their own: llguidance and xgrammar walk the tokens that Bora walks.

    grammar_peer.py check PEER VOCABULARY     lines {"id", "schema", "tokens": [[id, ...], ...]} in (llguidance: "regex" or "lark", too); lines as `bora grammar check` writes them out
    grammar_peer.py forced PEER VOCABULARY          the same in; {"id", "tokens", "forced"} out
    grammar_peer.py tools PEER VOCABULARY ROUNDS    lines {"id", "schema"} in; {"id", "compile_us": [...]} out
    grammar_peer.py fork PEER VOCABULARY            lines {"id", "schema", "tokens"} in; {"id", "fork_us"} out

VOCABULARY is a folder with tokenizer.json, tokenizer_config.json, and what `bora-tokenize --vocabulary` writes as "vocabulary". PEER: llguidance or xgrammar. One thread each, caches of compiled grammars off.

Fair play: llguidance has the slices it recommends for JSON Schema and its own default of free white space; xgrammar runs with strict_mode=False (the
standard's meaning) and any_whitespace=True. Times are of the call alone: what an empty call of the same binding takes (the median of many) is subtracted, and
xgrammar's bitmask is wrapped once, outside the measured part. A line that takes more processor time than LINE_SECONDS_MAX ends the process, and the caller goes on
behind it with a new one.
"""
import importlib.metadata
import json
import os
import resource
import signal
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")
LINE_SECONDS_MAX = int(os.environ.get("BORA_PEER_SECONDS", 10))
MEMORY_MAX = 12 << 30
now = time.perf_counter_ns


class Vocabulary:
    """FOLDER/vocabulary has the pieces; what ends a text is the eos_token of FOLDER/tokenizer_config.json."""

    def __init__(self, folder):
        folder = Path(folder)
        words = (folder / "vocabulary").read_text().split("\n")[:-1]
        self.tokenizer_json = folder / "tokenizer.json"
        self.pieces = [None if word in ("", "-", "end") else bytes.fromhex(word) for word in words]  # None: a control token, or no text
        eos = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
        self.end = next(token["id"] for token in json.loads(self.tokenizer_json.read_text())["added_tokens"] if token["content"] == eos)


def empty_call_us(call, count=2000):
    times = []
    for _ in range(count):
        begin = now()
        call()
        times.append(now() - begin)
    return statistics.median(times) / 1000


class Llguidance:
    def __init__(self, vocabulary):
        import llguidance
        import numpy
        self.module, self.end = llguidance, vocabulary.end
        self.tokenizer = llguidance.LLTokenizer(str(vocabulary.tokenizer_json), eos_token=vocabulary.end, slices=llguidance.LLTokenizer.json_slices())
        for token in range(0, len(vocabulary.pieces), 97):
            if vocabulary.pieces[token] is not None and self.tokenizer.decode_bytes([token]) != vocabulary.pieces[token]:
                sys.exit(f"bench: token {token} is {self.tokenizer.decode_bytes([token])} to llguidance and {vocabulary.pieces[token]} to Bora")
        self.mask = numpy.zeros((len(vocabulary.pieces) + 31) // 32, numpy.uint32)
        self.target = self.mask.ctypes.data, self.mask.nbytes
        self.name = f"llguidance {importlib.metadata.version('llguidance')}"

    def compile_rules(self, line):
        """A regex or a Lark grammar instead of a schema."""
        make = self.module.LLMatcher
        grammar = make.grammar_from_regex(line["regex"]) if "regex" in line else make.grammar_from_lark(line["lark"])
        return self.matcher(grammar)

    def compile(self, schema, model_space=False):
        options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "} if model_space else None
        return self.matcher(self.module.LLMatcher.grammar_from_json_schema(schema, options))

    def matcher(self, grammar):
        matcher = self.module.LLMatcher(self.tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def copies(self, compiled):
        """Matchers at the beginning. What one instance has built of the lexer serves the next, as with Bora; an error is the end of a matcher."""
        matcher = compiled.deep_copy()
        while True:
            yield matcher
            if matcher.is_error() or not matcher.reset():
                matcher = compiled.deep_copy()

    def fill(self, matcher):
        matcher.unsafe_compute_mask_ptr(*self.target)

    def accept(self, matcher, token):
        return matcher.consume_token(token)

    def empty_call(self, matcher):
        return matcher.is_error

    def fork(self, matcher):
        return matcher.deep_copy

    def forced(self, matcher):
        return matcher.compute_ff_tokens()


class Xgrammar:
    def __init__(self, vocabulary):
        import types

        import numpy
        import tvm_ffi  # before the stand-ins, so that it does not take them for PyTorch

        class Module(types.ModuleType):
            """In place of PyTorch and transformers, of which xgrammar uses names only, as long as no logits are touched."""
            int32 = numpy.int32

            @staticmethod
            def tensor(value, dtype=None):
                return numpy.array(value, dtype)

            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (), {})

        for name in ("torch", "transformers"):
            sys.modules[name] = Module(name)
        import xgrammar
        self.module, self.end = xgrammar, vocabulary.end
        info = xgrammar.TokenizerInfo([piece or b"" for piece in vocabulary.pieces], xgrammar.VocabType.RAW, stop_token_ids=[vocabulary.end])
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.mask = numpy.zeros((len(vocabulary.pieces) + 31) // 32, numpy.uint32)
        self.target = tvm_ffi.from_dlpack(self.mask.view(numpy.int32).reshape(1, -1))
        self.name = f"xgrammar {importlib.metadata.version('xgrammar')}"

    def compile(self, schema, model_space=False):
        separators = {"separators": (", ", ": ")} if model_space else {}
        return self.compiler.compile_json_schema(schema, strict_mode=False, any_whitespace=not model_space, **separators)

    def copies(self, compiled):
        while True:
            yield self.module.GrammarMatcher(compiled)

    def fill(self, matcher):
        self.mask[:] = 0xFFFFFFFF  # it leaves the mask alone when everything is allowed
        matcher._handle.fill_next_token_bitmask(self.target, 0, False)

    def accept(self, matcher, token):
        return matcher._handle.accept_token(token, False)

    def empty_call(self, matcher):
        return matcher._handle.is_terminated

    def fork(self, matcher):
        return matcher._handle.fork

    def forced(self, matcher):
        raise NotImplementedError


PEERS = {"llguidance": Llguidance, "xgrammar": Xgrammar}


def bit(peer, token):
    return bool(peer.mask[token >> 5] >> (token & 31) & 1)


def walk(peer, matcher, tokens, empty_us, mask_us):
    for token in tokens:
        begin = now()
        peer.fill(matcher)
        mask_us.append(max(round((now() - begin) / 1000 - empty_us, 2), 0.01))
        if not bit(peer, token) or not peer.accept(matcher, token):
            return False
    peer.fill(matcher)
    return bit(peer, peer.end)


def check_line(peer, line, overhead):
    answer = {"id": line["id"], "declined": None, "accepted": [], "compile_us": None, "mask_us": []}
    schema = json.dumps(line.get("schema"), ensure_ascii=False)
    begin = now()
    try:
        compiled = peer.compile(schema) if "schema" in line else peer.compile_rules(line)
    except Exception as problem:  # whatever the binding makes of a refusal
        answer["compile_us"] = round((now() - begin) / 1000, 1)
        answer["declined"] = {"keyword": "", "pointer": "", "reason": str(problem)[:300]}
        return answer
    answer["compile_us"] = round((now() - begin) / 1000, 1)
    copies = peer.copies(compiled)
    for tokens in line["tokens"]:
        times = []
        try:
            matcher = next(copies)
            if not overhead:
                overhead.append(empty_call_us(peer.empty_call(matcher)))
            answer["accepted"].append(walk(peer, matcher, tokens, overhead[0], times))
        except Exception as problem:
            answer["accepted"].append(False)
            answer.setdefault("errors", []).append(str(problem)[:200])
        answer["mask_us"].append(times)
    return answer


def forced_line(peer, line):
    """How many of the instance's tokens the peer would have put down by itself."""
    answer = {"id": line["id"], "tokens": 0, "forced": 0}
    try:
        copies = peer.copies(peer.compile(json.dumps(line["schema"], ensure_ascii=False), model_space=True))
    except Exception:
        return answer
    for tokens in line["tokens"]:
        matcher, at, forced = next(copies), 0, 0
        while at < len(tokens):
            ahead = peer.forced(matcher)
            if ahead and tokens[at:at + len(ahead)] == list(ahead):
                forced += len(ahead)
            else:
                ahead = tokens[at:at + 1]
            if not all(peer.accept(matcher, token) for token in ahead):
                break
            at += len(ahead)
        if at == len(tokens):
            answer["tokens"] += at
            answer["forced"] += forced
    return answer


def tools_line(peer, line, rounds):
    schema, times = json.dumps(line["schema"]), []
    for _ in range(rounds):
        begin = now()
        peer.compile(schema)
        times.append((now() - begin) / 1000)
    return {"id": line["id"], "compile_us": times}


def fork_line(peer, line, count=2000):
    matcher = next(peer.copies(peer.compile(json.dumps(line["schema"]))))
    for token in line["tokens"][0]:
        peer.fill(matcher)
        peer.accept(matcher, token)
    fork = peer.fork(matcher)
    return {"id": line["id"], "fork_us": empty_call_us(fork, count) - empty_call_us(peer.empty_call(matcher))}


def main():
    mode, name, vocabulary, *rest = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    peer = PEERS[name](Vocabulary(vocabulary))
    overhead = []
    run = {"check": lambda line: check_line(peer, line, overhead), "forced": lambda line: forced_line(peer, line), "fork": lambda line: fork_line(peer, line),
           "tools": lambda line: tools_line(peer, line, int(rest[0]))}[mode]
    print(json.dumps({"peer": peer.name}), flush=True)
    for text in sys.stdin:
        line = json.loads(text)
        signal.setitimer(signal.ITIMER_PROF, LINE_SECONDS_MAX)  # processor time, however busy the machine is
        print(json.dumps(run(line)), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


main()
