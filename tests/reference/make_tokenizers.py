# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""tokenizer.json files with the exact pipelines of real families, over small vocabularies trained here or taken from mistral-common's files."""
import base64
import json
import pathlib
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def special(*names):
    return [AddedToken(n, special=True, normalized=False) for n in names]


def byte_level(texts, split, size=6000, normalizer=None, ignore_merges=False, added=(), skipped_bytes=()):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if c not in skipped_bytes]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|im_start|>", "<|im_end|>"))
    for token in added:
        tokenizer.add_tokens([token])
    return tokenizer


def pattern(text, behavior="isolated"):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(text), behavior), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def marked(texts, normalizer, split, decoder, size=6000, byte_fallback=True, fuse=True, added=(), alphabet=1500):
    """BPE of characters with marked blanks, as Llama 2, Mistral and Gemma have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, fuse_unk=fuse))
    tokenizer.normalizer = normalizer
    if split is not None:
        tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoder
    names = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=alphabet, show_progress=False, max_token_length=12)
    words = (w for t in texts for w in re.findall(r" *[^ ]+| +", t))
    tokenizer.train_from_iterator(words, trainer)
    data = json.loads(tokenizer.to_str())
    have = list(data["model"]["vocab"])
    ordered = names + [n for n in have if n not in names]
    data["model"]["vocab"] = {n: i for i, n in enumerate(ordered)}
    for token in data["added_tokens"]:
        token["id"] = data["model"]["vocab"][token["content"]]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    for token in added:
        tokenizer.add_tokens([token])
    return tokenizer


def of_sentencepiece(path, normalizer, split, decoder):
    """A SentencePiece BPE model as tokenizer.json: every pair that gives a piece is a merge, in the order of scores."""
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    vocab = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    normal = [i for i in range(model.vocab_size()) if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i) or model.is_unused(i))]
    merges = []
    for i in normal:
        piece = model.id_to_piece(i)
        local = [(piece[:at], piece[at:]) for at in range(1, len(piece)) if piece[:at] in vocab and piece[at:] in vocab]
        merges += [(-model.get_score(i), vocab[a], vocab[b], a, b) for a, b in local]
    merges.sort()
    tokenizer = Tokenizer(models.BPE(vocab, [(a, b) for *_, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    if split is not None:
        tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(special(*(model.id_to_piece(i) for i in range(model.vocab_size()) if model.is_control(i) or model.is_unknown(i))))
    return tokenizer


def of_tekken(path):
    """tekken.json as Hugging Face ships it: the merges are how each token's bytes come together."""
    data = json.loads(pathlib.Path(path).read_text())
    count = data["config"]["default_vocab_size"] - data["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(t["token_bytes"]): i for i, t in enumerate(data["vocab"][:count])}
    printable = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    disguise, extra = {b: chr(b) for b in printable}, 0
    for b in range(256):
        if b not in disguise:
            disguise[b] = chr(256 + extra)
            extra += 1
    name = lambda piece: "".join(disguise[b] for b in piece)

    def parts(token):  # the last merge that gives `token`
        pieces = [bytes([b]) for b in token]
        while len(pieces) > 2:
            best = min(((ranks.get(pieces[i] + pieces[i + 1], 1 << 30), i) for i in range(len(pieces) - 1)))
            if best[0] == 1 << 30:
                return None
            pieces[best[1]:best[1] + 2] = [pieces[best[1]] + pieces[best[1] + 1]]
        return pieces

    merges = [tuple(map(name, p)) for p in (parts(t) for t in ranks if len(t) > 1) if p is not None and len(p) == 2]
    vocab = {name(t): i for t, i in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pattern(data["config"]["pattern"])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram(texts, normalizer, scheme, byte_fallback, size=4000):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    tokenizer.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False))
    if byte_fallback:
        data = json.loads(tokenizer.to_str())
        data["model"]["byte_fallback"] = True
        data["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
        tokenizer = Tokenizer.from_str(json.dumps(data))
    return tokenizer


def all_tokenizers(texts, mistral_data, names=None):
    """(name, tokenizer) one after the other, or only those of `names`. `texts`: to train on."""
    for name, make in pipelines(texts, mistral_data):
        if names is None or name in names:
            yield name, make()


def pipelines(texts, mistral_data):
    """(name, what makes it)"""
    ends = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    bare = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    model = lambda name: next(pathlib.Path(mistral_data).glob(f"*{name}"))
    yield "gpt2", lambda: byte_level(texts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
    yield "gpt2-prefix", lambda: byte_level(texts, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True), size=2000)
    yield "smollm", lambda: byte_level(texts, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), skipped_bytes="ăąē")
    yield "llama3", lambda: byte_level(texts, pattern(LLAMA3), ignore_merges=True)
    yield "qwen2", lambda: byte_level(texts, pattern(QWEN2), normalizer=normalizers.NFC(), added=[AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)])
    yield "nemo-small", lambda: byte_level(texts, pattern(TEKKEN), ignore_merges=True)
    yield "o200k", lambda: byte_level(texts, pattern(O200K))
    yield "digits", lambda: byte_level(texts, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex(r"[.,]"), "merged_with_previous"), pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), size=2000)
    yield "behaviors", lambda: byte_level(texts, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"[\p{P}\p{S}]"), "contiguous"), pre_tokenizers.Split(Regex(r"\s"), "removed"), pre_tokenizers.Split(Regex(r"\p{Lu}"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\p{Ll}+"), "isolated", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), size=2000)
    yield "added", lambda: byte_level(texts, pattern(QWEN2), size=2000, normalizer=normalizers.NFKC(), added=[
        AddedToken("ing", single_word=True, normalized=False), AddedToken("<b>", lstrip=True, normalized=False), AddedToken("the", rstrip=True, normalized=False),
        AddedToken("ﬁ", normalized=True), AddedToken("http", normalized=True), AddedToken("//", normalized=False), AddedToken("///", normalized=False)])
    yield "llama2", lambda: marked(texts, prepend, None, ends)
    yield "llama2-no-bytes", lambda: marked(texts, prepend, None, ends, byte_fallback=False, alphabet=300)
    yield "llama2-no-fuse", lambda: marked(texts, prepend, None, ends, byte_fallback=False, fuse=False, alphabet=300)
    for scheme in ("first", "always", "never"):
        yield f"metaspace-{scheme}", lambda scheme=scheme: marked(texts, None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme == "always"), decoders.Metaspace(prepend_scheme=scheme), size=3000)
    yield "gemma", lambda: marked(texts, normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), bare, added=[AddedToken(n, normalized=False) for n in ("\n\n", "\n\n\n", "▁▁", "▁▁▁", "<table>")])
    yield "lowercase", lambda: marked(texts, normalizers.Sequence([normalizers.Strip(), normalizers.Lowercase(), normalizers.NFD(), normalizers.Replace(" ", "▁")]), None, bare, size=2000)
    yield "unigram", lambda: unigram(texts[:200], normalizers.NFKC(), "always", False)
    yield "unigram-bytes", lambda: unigram(texts[:200], None, "first", True)
    yield "mistral-v1", lambda: of_sentencepiece(model("tokenizer.model.v1"), prepend, None, ends)
    yield "mistral-v3", lambda: of_sentencepiece(model(".model.v3"), None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), ends)
    yield "nemo", lambda: of_tekken(model("tekken_240911.json"))
