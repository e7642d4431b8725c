# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""`bora grammar ...` for tests, and small vocabularies for it."""
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release"))
SUITE = ROOT / "tests/data/json-schema-test-suite-draft7"
# What "$ref" may name: the suite expects its remote documents at this address.
DOCUMENTS = ["--documents", f"{SUITE / 'remotes'}=http://localhost:1234"]
# How texts may be spelled that a judge of values has written.
ANY_SPELLING = ["--spelling", "any", "--space", "free", "--order", "any"]
PACE = float(os.environ.get("BORA_TEST_PACE", "1"))

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
DISGUISE = {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(sorted(set(range(256)) - set(PRINTABLE)))}
# Pieces that run over the edges of JSON's tokens, and of characters' bytes.
PIECES = ['{"', '":', '": ', '", ', '", "', '"}', '"]', '],', '},', '}}', ']]', '[]', '{}', '[[', '["', ': "', ', "', '\\"', '\\\\', '\\u', '\\n', 'true', 'false', 'null', ' true', ' null', 'tr', 'ue', '10', '00', '0.', '.0', '1.5', 'e+', 'E-',
          '-1', '12', '123', '-0', '99', 'foo', 'bar', 'baz', '"foo"', '"foo": ', '"bar"', 'fo', 'o"', 'ab', 'aaa', ' a', '  ', '    ', '\n', '\r\n', '\n  ', '\t', 'é', '東', '京', '東京', '💩', '2024', '-01', ':00', '://', 'www.', '.com', '@ex', '::', '127.']


def write_tokenizer(folder, pieces=PIECES, without=b"", controls=()):
    """A byte-level BPE of all 256 bytes and `pieces`, but those with a byte of `without`; "</s>" ends a text, and there are control tokens. Gives the path of its tokenizer.json."""
    pieces = [piece for piece in pieces if not set(piece.encode()) & set(without)]
    vocabulary = {name: i for i, name in enumerate(name for byte, name in DISGUISE.items() if byte not in without)}
    merges = []
    for piece in pieces:
        text = [DISGUISE[byte] for byte in piece.encode()]
        for length in range(2, len(text) + 1):
            whole = "".join(text[:length])
            if whole not in vocabulary:
                vocabulary[whole] = len(vocabulary)
                merges.append(["".join(text[:length - 1]), text[length - 1]])
    end = len(vocabulary)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "added_tokens": [{"id": end + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, name in enumerate(["</s>", *controls])],
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False, "vocab": vocabulary, "merges": merges}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return folder / "tokenizer.json"


def run(command, tokenizer, lines, *options, check=True):
    """The answers to `lines` (objects; text and bytes go as they are)."""
    text = b"".join((line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()) + b"\n" for line in lines)
    done = subprocess.run([BUILD / "bin/bora", "grammar", command, "--tokenizer", tokenizer, *map(str, options)], input=text, capture_output=True, timeout=500 * PACE)
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]
