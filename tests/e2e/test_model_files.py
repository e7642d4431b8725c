# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""`bora model inspect`, `convert` and `upcycle` as a person calls them: what they print, how they end, and what they leave behind."""
import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

from conftest import BUILD, PACE, ROOT

sys.path.insert(0, str(ROOT / "bench"))
import places  # noqa: E402

BORA = str(BUILD / "bin/bora")
TINY = ROOT / "tests/golden/tiny"
REAL = places.CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA = places.CACHE / "models/gemma-3-270m.Q4_K_M.gguf"


def bora(*words, code=0):
    done = subprocess.run([BORA, "model", *map(str, words)], capture_output=True, text=True, timeout=120 * PACE)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done


def inspected(path):
    return json.loads(bora("inspect", path, "--json", "--tensors").stdout)


def test_a_folder_becomes_gguf_and_a_folder_again(tmp_path):
    before = inspected(TINY / "mixtral")
    bora("convert", TINY / "mixtral", tmp_path / "m.gguf")
    file = inspected(tmp_path / "m.gguf")
    assert (before["form"], file["form"]) == ("Hugging Face (safetensors)", "GGUF")
    assert file["config"] == before["config"] and file["parameters"] == before["parameters"]
    bora("convert", tmp_path / "m.gguf", tmp_path / "folder", "--to", "safetensors", "--type", "bf16")
    after = inspected(tmp_path / "folder")
    names = lambda said: sorted((t["name"], t["stored"], tuple(t["shape"])) for t in said["tensors"])
    assert names(after) == names(before) and after["config"] == before["config"]


def with_vocabulary(source, folder, config_name, tokenizer, more=()):
    """A tiny model whose embeddings have a row for each token of another tokenizer; the new rows are zeros, and so are tensors of the names in `more`."""
    folder.mkdir()
    count = 760  # tests/golden/tokenizers have 740 at most
    weights = next(source.glob("*.safetensors"))
    config = json.loads((source / config_name).read_text())
    (folder / config_name).write_text(json.dumps({**config, "vocab_size": count}))
    data = weights.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    out, header = b"", {}
    for name, tensor in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        piece = data[start + begin:start + end]
        if tensor["shape"][0] == config["vocab_size"]:
            row = len(piece) // tensor["shape"][0]
            piece, tensor["shape"][0] = piece + bytes(row * (count - tensor["shape"][0])), count
        header[name] = {**tensor, "data_offsets": [len(out), len(out) + len(piece)]}
        out += piece
    for name in more:
        header[name] = {"dtype": "F32", "shape": [2, 8], "data_offsets": [len(out), len(out) + 64]}
        out += bytes(64)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / weights.name).write_bytes(struct.pack("<Q", len(text)) + text + out)
    shutil.copy(*tokenizer)
    return folder


def test_inspect_says_what_cannot_be_served_and_why(tmp_path):
    """What a worker would refuse when it opens the weights, without opening them."""
    tokenizer = ROOT / "tests/golden/tokenizers/qwen2.json"
    good = inspected(with_vocabulary(TINY / "qwen2", tmp_path / "good", "config.json", (tokenizer, tmp_path / "good/tokenizer.json")))
    odd = inspected(with_vocabulary(TINY / "qwen2", tmp_path / "odd", "config.json", (tokenizer, tmp_path / "odd/tokenizer.json"), more=["score.weight"]))
    assert good["servable"] and "refused" not in good
    assert not odd["servable"] and "'score.weight' is not used by a qwen2" in odd["refused"] and odd["config"] == good["config"]
    text = bora("inspect", tmp_path / "odd")
    assert text.stdout.count("score.weight") == 1 and text.stderr == ""


def test_converted_files_know_the_prompt_layout(tmp_path):
    """A v3 vocabulary may have [SYSTEM_PROMPT], which only v7 was trained with: the version has to be said."""
    tekken = json.loads((ROOT / "tests/golden/tokenizers/tekken.json").read_text())
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    tekken["special_tokens"] = [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(names)]
    (tmp_path / "tekken.json").write_text(json.dumps(tekken))
    native = with_vocabulary(TINY / "mistral_native", tmp_path / "native", "params.json", (tmp_path / "tekken.json", tmp_path / "native"))
    said = [inspected(native)]
    bora("convert", native, tmp_path / "m.gguf", "--type", "q8_0")
    bora("convert", tmp_path / "m.gguf", tmp_path / "folder", "--to", "safetensors", "--type", "bf16")
    bora("upcycle", native, tmp_path / "x.gguf")
    said += [inspected(tmp_path / name) for name in ["m.gguf", "folder", "x.gguf"]]
    assert [(one["prompt_layout"], one["servable"], one["ends"]) for one in said] == [("mistral-v3", True, ["</s>"])] * 4


def test_converted_files_normalise_text_as_before(tmp_path):
    folder = with_vocabulary(TINY / "qwen2", tmp_path / "hf", "config.json", (ROOT / "tests/golden/tokenizers/qwen2.json", tmp_path / "hf/tokenizer.json"))
    said = bora("convert", folder, tmp_path / "m.gguf").stderr
    assert "NFC" in said and "llama.cpp" in said
    bora("convert", tmp_path / "m.gguf", tmp_path / "back", "--to", "safetensors", "--type", "bf16")

    assert not [token for token in json.loads((tmp_path / "back/tokenizer.json").read_text())["model"]["vocab"] if token.startswith("[PAD")]  # GGUF's names for rows without a token

    def ids(model, *texts):
        return subprocess.run([BUILD / "bin/bora-tokenize", model], input="".join(json.dumps(text) + "\n" for text in texts), capture_output=True, text=True, check=True).stdout.splitlines()

    decomposed, composed = ids(folder, "u\u0308ber cafe\u0301 \u1112\u1161\u11ab", "\u00fcber caf\u00e9 \ud55c")
    assert decomposed == composed
    for other in [tmp_path / "m.gguf", tmp_path / "back"]:
        assert ids(other, "u\u0308ber cafe\u0301 \u1112\u1161\u11ab") == [composed]


def test_progress_is_lines_where_no_terminal_is(tmp_path):
    said = bora("convert", TINY / "mistral", tmp_path / "m.gguf", "--type", "q8_0").stderr
    assert "tensors" in said and "100 %" in said and "\r" not in said
    assert said.endswith(f"Wrote {tmp_path}/m.gguf: 21 tensors, 0.1 MiB.\n") and "another type" not in said
    assert {t["type"]: t["tensors"] for t in inspected(tmp_path / "m.gguf")["types"]}.keys() == {"Q8_0", "F32"}


def test_who_asks_for_a_type_and_gets_another_is_told(tmp_path):
    said = bora("convert", TINY / "mistral", tmp_path / "m.gguf", "--type", "q4_k_m").stderr  # rows of 64 and 96
    assert re.search(r"\d+ of \d+ matrices have rows that are no multiple of the 256 that Q4_K needs; they have another type \(Q\d_0\)", said)
    assert "q5_k" in bora("convert", TINY / "mistral", tmp_path / "n.gguf", "--type", "q3_k", code=2).stderr


def test_an_output_is_not_replaced_without_force(tmp_path):
    (tmp_path / "m.gguf").write_text("precious")
    assert "--force" in bora("convert", TINY / "mistral", tmp_path / "m.gguf", code=1).stderr
    assert (tmp_path / "m.gguf").read_text() == "precious"
    bora("convert", TINY / "mistral", tmp_path / "m.gguf", "--force")
    assert inspected(tmp_path / "m.gguf")["form"] == "GGUF"


def greedy_text(model):
    """What the weights alone make likeliest: no rounded activations, no rounded cache, no template."""
    command = [str(BUILD / "bin/bora-generate"), "--model-file", str(model), "--completion", "--kernel-variant", "plain", "--kv-type", "f32", "--context", "128", "--max-tokens", "16"]
    done = subprocess.run([*command, "--prompt", "The canal froze on the  eleventh of January,\n\nand Zoë"], capture_output=True, timeout=300 * PACE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", [REAL, GEMMA], ids=["SmolLM2", "Gemma 3"])
def test_the_text_is_the_same_in_every_form(tmp_path, source):
    """GGUF, a folder made of it, and a GGUF made of that: weights, config and tokenizer. The prompt has what tokenizers differ in."""
    if not source.exists():
        pytest.skip(f"there is no {source.name} (./dev up --tiers fetches it)")
    before = greedy_text(source)
    assert len(before) > 20
    for kind in ["f32", "bf16", "f16"]:
        bora("convert", source, tmp_path / "folder", "--to", "safetensors", "--type", kind, "--force")
        bora("convert", tmp_path / "folder", tmp_path / "back.gguf", "--force")
        after = greedy_text(tmp_path / "folder")
        assert after == greedy_text(tmp_path / "back.gguf"), kind
        assert after == before or kind != "f32", kind  # 16 bits round SmolLM2's weights, and that may make another token the likeliest
    shutil.rmtree(tmp_path)  # gigabytes


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_conversion_leaves_a_part_at_most(tmp_path, how):
    """A slow type on the real model, killed when it has begun to write."""
    out = tmp_path / "m.gguf"
    process = subprocess.Popen([BORA, "model", "convert", str(REAL), str(out), "--type", "q6_k"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60 * PACE
    while not (tmp_path / "m.gguf.part").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(how)
    ended = process.wait(60 * PACE)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert ended == (1 if how == signal.SIGTERM else -signal.SIGKILL)
    assert left == ([] if how == signal.SIGTERM else ["m.gguf.part"])


def test_upcycled(tmp_path):
    bora("upcycle", TINY / "nemo", tmp_path / "m.gguf", "--experts", 4, "--experts-per-token", 2, "--seed", 3)
    config = inspected(tmp_path / "m.gguf")["config"]
    assert (config["experts"], config["experts_used"]) == (4, 2)
    bora("upcycle", TINY / "nemo", tmp_path / "n.gguf", "--experts", 1, code=2)


def test_what_is_damaged_is_said(tmp_path):
    bora("convert", TINY / "mistral", tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[: len(whole) // 2])
    said = bora("inspect", tmp_path / "m.gguf", code=1)
    assert "llama" in said.stdout and "is the download complete?" in said.stderr
    bora("convert", tmp_path / "m.gguf", tmp_path / "n.gguf", code=1)
    bora("inspect", tmp_path / "none", code=1)
    bora("inspect", code=2)
    bora("convert", TINY / "mistral", tmp_path / "n.gguf", "--type", "q3_k", code=2)
    bora("convert", TINY / "mistral", "", code=2)
    for name in ["model.safetensors", "config.json"]:
        assert "name the folder" in bora("convert", TINY / "mistral" / name, tmp_path / "n.gguf", code=1).stderr
