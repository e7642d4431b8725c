# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The vocabularies of bench/grammar.py, in the environment of the tests: grammar_vocabularies.py FOLDER BORA MODEL.gguf

FOLDER/32k (Mistral 7B's SentencePiece model), 49k (SmolLM2's, out of the GGUF) and 131k (Mistral's tekken), each a tokenizer.json that all sides read, with a
tokenizer_config.json that names the end of text.
"""
import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/reference"))


def finish(folder, eos):
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))


def mistral(folder, data):
    import make_tokenizers
    _, made = next(iter(make_tokenizers.all_tokenizers([], data, ["mistral-v1"])))
    data = json.loads(made.to_str())
    # Texts go on behind a prompt: no blank comes in front of them.
    data["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    data["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    finish(folder, "</s>")


def tekken(folder, data):
    import make_tokenizers
    made = make_tokenizers.of_tekken(data / "tekken_240911.json")
    made.add_special_tokens(make_tokenizers.special("</s>"))
    made.save(str(folder / "tokenizer.json"))
    finish(folder, "</s>")


def smollm(folder, bora, model):
    whole = folder / "whole"
    subprocess.run([bora, "model", "convert", model, whole, "--to", "safetensors", "--type", "bf16", "--force"], check=True, capture_output=True)
    shutil.copy(whole / "tokenizer.json", folder / "tokenizer.json")
    shutil.rmtree(whole)
    finish(folder, "<|im_end|>")


def main():
    import compare_tokenizers
    data, folder = compare_tokenizers.data_folder(), Path(sys.argv[1])
    makers = {"32k": lambda f: mistral(f, data), "49k": lambda f: smollm(f, *sys.argv[2:]), "131k": lambda f: tekken(f, data)}
    for name, make in makers.items():
        place = folder / name
        if not (place / "tokenizer_config.json").exists():  # written last
            place.mkdir(parents=True, exist_ok=True)
            make(place)


main()
