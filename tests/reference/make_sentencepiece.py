# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""SentencePiece models trained on the spot: BPE and unigram, with byte fallback and without, with both normalisers and every flag that encoding knows."""
import pathlib

import sentencepiece

MODELS = {
    "bpe-bytes": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True),
    "bpe-nfkc": dict(model_type="bpe", byte_fallback=False, normalization_rule_name="nmt_nfkc"),
    "bpe-bare": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True),
    "bpe-user": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="nmt_nfkc_cf", user_defined_symbols=["<table>", "ing", "ﬁ", "  ", "//", "///"], control_symbols=["[INST]", "[/INST]"]),
    "bpe-suffix": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="nfkc", treat_whitespace_as_suffix=True),
    "unigram": dict(model_type="unigram", byte_fallback=False, normalization_rule_name="nmt_nfkc"),
    "unigram-bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False),
    "unigram-user": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="nmt_nfkc", user_defined_symbols=["<table>", "ing", "ﬁ", "//", "///"], control_symbols=["[INST]"]),
}


def train(texts, folder, names=MODELS, size=3000):
    sentences = [line[:1000] for text in texts for line in text.split("\n") if line.strip()]
    for name in names:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_prefix=str(pathlib.Path(folder) / name), vocab_size=size, character_coverage=0.98,
                                                 hard_vocab_limit=False, minloglevel=2, num_threads=1, max_sentencepiece_length=12, **MODELS[name])
        yield name, pathlib.Path(folder) / f"{name}.model"
