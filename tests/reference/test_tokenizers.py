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


def test_there_is_enough_text(sample):
    assert sum(map(len, sample)) > 200000
    assert sum(not t.isascii() for t in sample) > 1000
