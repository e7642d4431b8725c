# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What the bench computes and parses, on values known beforehand; no peer and no house."""
import json
import random
import struct
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from conftest import BUILD, ROOT

sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tools")]
import bench  # noqa: E402
import client  # noqa: E402
import engine  # noqa: E402
import grammar  # noqa: E402
import machine  # noqa: E402
import make_random_model  # noqa: E402
import peer  # noqa: E402
import places  # noqa: E402
import report  # noqa: E402
import serve  # noqa: E402
import workloads  # noqa: E402

REAL = places.CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


# ---- statistics --------------------------------------------------------------------------------------------------------


def test_spread_is_median_smallest_and_largest():
    assert report.spread([3.0, 1.0, 2.0]) == "2.0 (1.0..3.0)"
    assert report.spread([]) == "-"
    assert report.spread([4.0], 2) == "4.00"


def test_percentile_is_the_nearest_rank():
    assert report.percentile(range(1, 101), 0.99) == 99
    assert report.percentile([5, 1, 3], 0.99) == 5
    assert report.percentile([5, 1, 3], 0.5) == 3
    assert report.percentile([7], 0.0) == 7


def test_row_gives_the_ratio_of_medians(capsys):
    table = report.Report()
    assert table.row("decode", [10, 30, 20], [5, 4, 100], "tok/s") == pytest.approx(4.0)
    assert table.row("decode", [10.0], [], "tok/s") is None
    assert "20.0 (10.0..30.0)" in capsys.readouterr().out


def test_last_lines_say_which_bars_are_missed(capsys, tmp_path):
    table = report.Report()
    table.ratio("decode", 2.5, 2.0)
    table.ratio("prefill", 1.5, 2.0)
    table.ratio("gap", 3.5, 3.0, at_least=False)
    table.ratio("start", 0.5, 1.0, at_least=False, unit=" s")
    table.ratio("peer alone", 7.0)
    table.ratio("not measured", None, 2.0)
    table.finish(tmp_path / "out.json", facts={"load": 0.1})
    assert capsys.readouterr().out.splitlines() == [
        "",
        "decode: 2.50x (bar >= 2.00x)",
        "prefill: 1.50x (bar >= 2.00x)  BELOW THE BAR",
        "gap: 3.50x (bar <= 3.00x)  ABOVE THE BAR",
        "start: 0.50 s (bar <= 1.00 s)",
        "peer alone: 7.00x",
    ]
    assert [r["met"] for r in json.loads((tmp_path / "out.json").read_text())["ratios"]] == [True, False, False, True, True]


def test_markdown_holds_the_rows_and_the_last_lines():
    table = report.Report()
    table.ratio("decode", table.row("decode", [4.0, 5.0, 6.0], [2.0], "tok/s"), 2.0)
    text = table.markdown({"date": "2026-01-02", "processor": "P"})
    assert text.startswith("## 2026-01-02 · P\n")
    assert "| decode, tok/s | 5.0 (4.0..6.0) | 2.0 | 2.50 |  |\n" in text
    assert "    decode: 2.50x (bar >= 2.00x)\n" in text


def test_decode_bar_is_the_lower_of_ratio_and_bandwidth():
    assert engine.decode_bar("Q4_1", 1e8, 2e10, 150) == (2.0, "")
    assert engine.decode_bar("Q8_0", 1e8, 2e10, 100) == (1.5, "")  # 80 % of 200 tok/s is 1.6 times the peer
    bar, why = engine.decode_bar("Q8_0", 1e8, 2e10, 160)
    assert bar == pytest.approx(1.0) and "bandwidth" in why


def test_ideal_prefill_counts_the_common_beginning_once():
    # 100 common tokens, then 3 and 4 of the user and 5 behind them; with an empty message the prompt has 105.
    assert serve.ideal_prefill([108, 109], 105) == 100 + 8 + 9


def test_longest_gap_takes_what_overlaps_the_arrival():
    gaps = [(0.0, 5.0), (5.0, 6.0), (6.0, 9.0), (9.0, 20.0)]
    assert serve.longest_gap(gaps, 5.5, 8.0) == 3.0
    assert serve.longest_gap(gaps, 4.0, 8.0) == 5.0
    assert serve.longest_gap([], 0, 1) == 0.0


def test_busy_time_leaves_out_idle_and_waiting():
    assert machine.busy_seconds("cpu  100 20 30 5000 600 7 3 40 0 0\ncpu0 1 1 1 1\n") == pytest.approx(200 * machine.TICK_S)


# ---- parsing -----------------------------------------------------------------------------------------------------------


def test_llama_bench_output_is_told_apart():
    output = json.dumps([{"n_prompt": 512, "n_gen": 0, "avg_ts": 313.0}, {"n_prompt": 0, "n_gen": 128, "avg_ts": 92.5}])
    assert peer.parse_bench(output) == {"prefill": 313.0, "decode": 92.5}


def event(text=None, **fields):
    choices = [{"index": 0, "delta": {"content": text}}] if text is not None else []
    return b"data: " + json.dumps({"choices": choices, **fields}).encode() + b"\n\n"


def chunked(data, size):
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


BODY = event("") + event("Hel") + event("lo") + event(usage={"completion_tokens": 2}, timings={"prompt_n": 9}) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("received", [1, 13, 4096])
def test_answers_are_read_however_they_are_cut(chunk, received):
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY, chunk)
    pieces = [answer[i : i + received] for i in range(0, len(answer), received)]
    parsed = client.parse_answer(list(enumerate(pieces)))
    assert (parsed.status, parsed.text, parsed.error) == (200, "Hello", None)
    assert parsed.tokens() == 2 and parsed.timings == {"prompt_n": 9}
    assert len(parsed.times) == 2 and parsed.times == sorted(parsed.times)


def test_times_are_those_of_the_pieces_of_text():
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    parsed = client.parse_answer([(1.0, head), (2.0, event("")), (3.0, event("a")), (3.5, event("b")[:9]), (5.0, event("b")[9:] + event("c"))])
    assert parsed.times == [3.0, 5.0, 5.0]
    assert parsed.gaps() == [(3.0, 5.0), (5.0, 5.0)]


def test_a_refusal_is_an_error():
    parsed = client.parse_answer([(1.0, b'HTTP/1.1 429 Too Many Requests\r\n\r\n{"detail": "limit"}')])
    assert parsed.status == 429 and "limit" in parsed.error
    parsed = client.parse_answer([(1.0, b"HTTP/1.1 200 OK\r\n\r\n"), (2.0, b'data: {"error": {"message": "worker died"}}\n\n')])
    assert "worker died" in parsed.error


# ---- choices -----------------------------------------------------------------------------------------------------------


def test_options_choose_benches_rounds_and_models():
    options = bench.parse_arguments(["--quick"])
    assert options.names == bench.ALL and options.rounds == 3 and len(options.thread_counts) == 1
    assert [w.name for w in workloads.chosen(options)] == ["135M Q4_1", "135M Q4_0", "135M Q8_0", "135M BF16"]
    assert [w.name for w in workloads.chosen(Namespace(models="1.1B Q4_0,135M Q4_1", quick=True))] == ["135M Q4_1", "1.1B Q4_0"]
    with pytest.raises(SystemExit):
        bench.parse_arguments(["nonsense"])


def test_the_command_is_told_without_its_output_files():
    assert bench.command_line(["gap", "--models", "1.1B Q4_0", "--json", "x.json", "--quick"]) == "./dev bench gap --models '1.1B Q4_0' --quick"


def test_texts_repeat_for_a_seed_only():
    assert workloads.text(20, "a", 1) == workloads.text(20, "a", 1)
    assert workloads.text(20, "a", 1)[:12] != workloads.text(20, "a", 2)[:12]
    assert len(workloads.text(20, "a").split()) == 20


# ---- models with random weights ----------------------------------------------------------------------------------------

SHAPE = ["--layers", "1", "--width", "256", "--heads", "4", "--kv-heads", "2", "--feed-forward", "512"]


@pytest.mark.parametrize("kind", ["Q4_1", "Q6_K", "BF16"])
def test_a_random_model_runs(kind, tmp_path):
    path = tmp_path / "tiny.gguf"
    make_random_model.write_model(make_random_model.parse_arguments(["--tokenizer-from", str(REAL), "--type", kind, *SHAPE, str(path)]), path)
    done = subprocess.run([str(BUILD / "bin/bora-bench-model"), "--model-file", str(path), "--prefill", "8", "--decode", "4", "--threads", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = engine.parse_model_bench(done.stdout)
    assert measured["prefill_tok_s"] > 0 and measured["decode_tok_s"] > 0 and measured["read_bytes_s"] > 0
    # What a decode reads: all of the file but the vocabulary, the header and the embedding.
    embedding = make_random_model.tensor_bytes(kind, (256, 49152))
    assert embedding < measured["weight_bytes"] < Path(path).stat().st_size - embedding


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_random_floats_have_the_wanted_size(kind):
    data = bytes(make_random_model.random_piece(random.Random(1), kind, 40000))
    if kind == "BF16":
        data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    code = "e" if kind == "F16" else "f"
    values = struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)
    assert all(2**-7 <= abs(v) < 2**-5 for v in values)
    assert abs(sum(values) / len(values)) < 0.002


def test_a_seed_gives_the_same_bytes(tmp_path):
    def made(name, seed):
        make_random_model.write_model(make_random_model.parse_arguments(["--tokenizer-from", str(REAL), "--seed", seed, *SHAPE, str(tmp_path / name)]), tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert made("a", "3") == made("b", "3") != made("c", "4")


# ---- rounds ------------------------------------------------------------------------------------------------------------


class Disturbance:
    """Stands for machine.Others: what others used beside each round."""

    def __init__(self, used):
        self.used = iter(used)

    def __call__(self):
        return self

    def processors(self):
        return next(self.used)


def interleaved(monkeypatch, used, rounds, patience_s):
    calls = []
    monkeypatch.setattr(report, "Others", Disturbance(used))
    monkeypatch.setattr(report, "wait_calm", lambda most, until: None)
    table = report.Report()
    sides = {name: lambda number, name=name: calls.append(name) or number for name in "ab"}
    return table.interleave(sides, rounds, patience_s), "".join(calls), table.others_used


def test_rounds_alternate_and_are_all_kept_without_patience(monkeypatch):
    samples, calls, used = interleaved(monkeypatch, [0.0, 0.6, 0.0], 3, 0)
    assert samples == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert calls == "abbaab"
    assert used == pytest.approx(0.2)


def test_patience_repeats_disturbed_rounds(monkeypatch):
    samples, _, used = interleaved(monkeypatch, [0.0, 0.6, 0.05, 0.9, 0.02], 3, 60)
    assert samples["a"] == [0, 2, 4]
    assert used < report.OTHERS_MAX


# ---- grammars ----------------------------------------------------------------------------------------------------------


def test_decided_counts_instances_and_schemas():
    lines = [{"valid": [True, False]}, {"valid": [True, False]}, {"valid": [True]}]
    answers = [{"declined": None, "accepted": [True, False]}, {"declined": None, "accepted": [False, True]}, {"declined": {"reason": "x"}, "accepted": []}]
    assert dict(grammar.decided(lines, answers)) == {"schemas": 3, "instances": 5, "right": 2, "invalid accepted": 1, "valid refused": 1, "declined": 1, "schemas declined": 1, "passed": 1, "schemas with invalid accepted": 1}


def test_times_count_where_both_sides_came():
    mine = [{"declined": None, "compile_us": 1, "mask_us": [[1, 2], [3]]}, {"declined": None, "compile_us": 2, "mask_us": [[9]]}]
    theirs = [{"declined": None, "compile_us": 10, "mask_us": [[10], [30, 40]]}, {"declined": {}, "compile_us": 5, "mask_us": []}]
    assert grammar.common_times(mine, theirs) == (([1], [10]), ([1, 3], [10, 30]))
    assert grammar.least([[3, 1], [2, 5]]) == [2, 1]


def test_tools_keep_their_definitions_apart():
    lines = [{"schema": {"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"next": {"$ref": "#/$defs/A"}}}}}}]
    schema = grammar.tools_schema(lines, 2)
    assert [call["properties"]["arguments"] for call in schema["anyOf"]] == [{"$ref": "#/$defs/t0_A"}, {"$ref": "#/$defs/t1_A"}]
    assert schema["$defs"]["t1_A"]["properties"]["next"] == {"$ref": "#/$defs/t1_A"}
