# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The short form of compare_tokenizers.py: some 100,000 characters and 5,000 fuzzed strings beside mistral-common, sentencepiece and tokenizers."""
import compare_tokenizers as compare
import pytest
import texts as source


@pytest.fixture(scope="module")
def sample():
    return list(source.real_texts(100000)) + list(source.fuzzed_texts(5000, 3)) + [source.long_text(100000)]


@pytest.fixture(scope="module")
def train():
    return list(source.real_texts(300000))


def test_mistral_files_give_the_reference_ids(sample, train, tmp_path):
    assert compare.mistral(sample, train, tmp_path) == 0


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2", "smollm", "o200k", "added", "llama2", "gemma", "unigram", "mistral-v1"])
def test_pipelines_of_the_families_give_the_reference_ids(name, sample, train, tmp_path):
    assert compare.hugging_face(sample, train, tmp_path, [name]) == 0


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_every_character_normalises_as_in_the_reference(form, tmp_path):
    """Alone, behind a mark, and between a letter and marks of other classes: what a character becomes, its class, and what composes over it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    model = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    model.normalizer = getattr(normalizers, form)()
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model.save(str(tmp_path / "form.json"))
    ideographs = (range(0x3400, 0xA000), range(0xAC00, 0xD7A4), range(0xD800, 0xF900), range(0x17000, 0x18D00), range(0x20000, 0x2F800))  # nothing is done to them, or by arithmetic
    characters = [chr(c) for c in range(0x80, 0x2FA20) if not any(c in r for r in ideographs)] + [chr(c) for c in range(0xAC00, 0xD7A4, 13)]
    texts = [text for c in characters for text in (c, f"a\u0345{c}", f"a{c}\u0334", f"a{c}\u0301")]
    assert compare.compare(form, tmp_path / "form.json", lambda t: model.encode(t, add_special_tokens=False).ids, texts) == 0


def test_there_is_enough_text(sample):
    assert sum(map(len, sample)) > 200000
    assert sum(not t.isascii() for t in sample) > 1000
