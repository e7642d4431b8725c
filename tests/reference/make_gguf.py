# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""GGUF files that hold a vocabulary and nothing else, for comparing with llama.cpp."""
import json
import pathlib

import gguf


def writer(path, model, pre=None):
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(1024)
    out.add_embedding_length(64)
    out.add_block_count(1)
    out.add_feed_forward_length(64)
    out.add_head_count(1)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_tokenizer_model(model)
    if pre is not None:
        out.add_tokenizer_pre(pre)
    return out


def close(out):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def of_json(source, path, pre):
    """A byte-level tokenizer.json as "gpt2"."""
    data = json.loads(pathlib.Path(source).read_text())
    names = {i: n for n, i in data["model"]["vocab"].items()}
    types = {i: gguf.TokenType.NORMAL for i in names}
    for token in data["added_tokens"]:
        names[token["id"]] = token["content"]
        types[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    out = writer(path, "gpt2", pre)
    out.add_token_list([names.get(i, f"[PAD{i}]") for i in range(max(names) + 1)])
    out.add_token_types([types.get(i, gguf.TokenType.UNUSED) for i in range(max(names) + 1)])
    out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]])
    out.add_bos_token_id(0)
    out.add_eos_token_id(0)
    close(out)


def of_sentencepiece(source, path, model="llama", **settings):
    """A SentencePiece model as "llama" (BPE) or "t5" (unigram)."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(source))
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(pathlib.Path(source).read_bytes())
    out = writer(path, model, "default")
    out.add_token_list([p.piece for p in proto.pieces])
    out.add_token_scores([p.score for p in proto.pieces])
    out.add_token_types([p.type for p in proto.pieces])
    for key, value in (("bos", pieces.bos_id()), ("eos", pieces.eos_id()), ("unk", pieces.unk_id())):
        if value >= 0:
            getattr(out, f"add_{key}_token_id")(value)
    out.add_add_space_prefix(settings.get("add_space_prefix", proto.normalizer_spec.add_dummy_prefix))
    out.add_remove_extra_whitespaces(settings.get("remove_extra_whitespaces", proto.normalizer_spec.remove_extra_whitespaces))
    if proto.normalizer_spec.precompiled_charsmap and model == "t5":
        out.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    close(out)
