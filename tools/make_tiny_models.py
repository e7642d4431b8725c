#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of every family and what transformers computes with them, for tests/unit/engine/families_test.c.

    python tools/make_tiny_models.py [FAMILY ...]        needs torch, transformers >= 5 and safetensors (CPU is enough)

For each family: tests/golden/tiny/FAMILY/ with config.json and model.safetensors as transformers saves them (weights rounded to bf16), and
    golden.json     versions, seed, the prompt and 16 greedy tokens
    logits.f32      logits of all of them, f32 little-endian [tokens][vocabulary], computed in f32, attention "eager"
Families that Mistral publishes in a form of their own have a folder FAMILY_native with the same weights under native names, their rows of q and
k permuted; its golden.json names the folder whose logits it must give.

Windows are shorter than the prompt, and RoPE scalings begin inside it, so that a model without them gives other numbers. Every run
writes the same bytes.
"""
import copy
import json
import shutil
import sys
import warnings
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "tiny"
VOCABULARY, PROMPT, STEPS = 197, 37, 16
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
YARN = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 16, "beta_fast": 4.0, "beta_slow": 1.0}
# family: (class without "Config" and "ForCausalLM", what differs from SMALL)
FAMILIES = {
    # Llama 3.1: long wavelengths are stretched, and the output matrix is its own
    "llama3": ("Llama", {"head_dim": 16, "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 24}}),
    # Llama 2 stretched linearly; biases in all of attention, as some derivatives have; tied as SmolLM is
    "llama_linear": ("Llama", {"attention_bias": True, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "mistral": ("Mistral", {"sliding_window": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    # Nemo: heads are not the model's width
    "nemo": ("Mistral", {"head_dim": 32, "sliding_window": None, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "ministral": ("Ministral", {"num_hidden_layers": 4, "intermediate_size": 64, "head_dim": 16, "sliding_window": 8,
        "layer_types": ["full_attention"] + ["sliding_attention"] * 3, "rope_parameters": {"rope_type": "default", "rope_theta": 1e8}}),
    "ministral3": ("Ministral3", {"head_dim": 32, "tie_word_embeddings": True, "rope_parameters": {**YARN, "rope_theta": 1e6,
        "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.4}}),
    "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2": ("Qwen2", {"num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1,
        "rope_parameters": {**YARN, "factor": 4.0, "rope_theta": 1e6}}),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2_moe": ("Qwen2Moe", {"num_hidden_layers": 3, "mlp_only_layers": [0], "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 96, "norm_topk_prob": False, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3_moe": ("Qwen3Moe", {"head_dim": 32, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32, "norm_topk_prob": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "gemma2": ("Gemma2", {"num_hidden_layers": 2, "head_dim": 32, "sliding_window": 8, "query_pre_attn_scalar": 20,
        "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0}),
    "gemma3": ("Gemma3", {"num_hidden_layers": 6, "intermediate_size": 64, "head_dim": 32, "sliding_window": 8, "query_pre_attn_scalar": 24,
        "rope_parameters": {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 4, "intermediate_size": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 2e6}}),
    # Small 4: latent attention, whose values are narrower than its keys here; a shared expert that counts whole; a dense first layer
    "mistral4": ("Mistral4", {"num_hidden_layers": 3, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 32, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16, "v_head_dim": 16, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 2,
        "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "rope_parameters": {**YARN, "rope_theta": 10000.0, "mscale": 1.0,
        "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.4}}),
}
CONFIG_CLASSES = {"Gemma3": "Gemma3TextConfig"}
NATIVE = ["mistral", "ministral", "ministral3", "mixtral"]


def randomise(model, generator):
    """Weights that matter: scores and routers spread, norms and biases that are not neutral. Rounded to bf16."""
    for name, parameter in model.named_parameters():
        shape = parameter.shape
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1 and "norm" in name:
            value = 0.25 * noise + (0 if "Gemma" in type(model).__name__ else 1)
        elif len(shape) == 1:
            value = 0.4 * noise
        elif "embed_tokens" in name:
            value = noise * (0.2 if model.config.tie_word_embeddings else 1.0)
        else:
            spread = {"q_proj": 1.6, "k_proj": 1.6, "q_b_proj": 1.6, "gate.weight": 3.0}
            value = noise * next((s for part, s in spread.items() if part in name), 1.5) / shape[-1] ** 0.5
        parameter.data.copy_(value.to(torch.bfloat16).to(torch.float32))


def greedy(model, prompt):
    """The prompt and STEPS tokens after it, step by step through the cache, and the logits of all of them in one pass: both must agree."""
    ids, cache, logits, stepwise = list(prompt), None, None, []
    with torch.no_grad():
        for step in range(STEPS + 1):
            fed = ids if cache is None else ids[-1:]
            out = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
            cache, logits = out.past_key_values, out.logits[0]
            stepwise.append(logits)
            if step < STEPS:
                ids.append(int(logits[-1].argmax()))
        whole = model(torch.tensor([ids]), use_cache=False).logits[0]
    difference = (torch.cat(stepwise) - whole).abs().max().item()
    assert difference < 1e-4, f"the cache changes logits by {difference}"
    return ids, whole


def permuted(weight, heads):
    """Rows of q or k for a rotation of neighbours instead of halves."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def native_name(name):
    name = name.removeprefix("model.")
    for old, new in [("embed_tokens", "tok_embeddings"), ("lm_head", "output"), ("self_attn.q_proj", "attention.wq"), ("self_attn.k_proj", "attention.wk"),
                     ("self_attn.v_proj", "attention.wv"), ("self_attn.o_proj", "attention.wo"), ("input_layernorm", "attention_norm"),
                     ("post_attention_layernorm", "ffn_norm"), ("mlp.gate_proj", "feed_forward.w1"), ("mlp.down_proj", "feed_forward.w2"),
                     ("mlp.up_proj", "feed_forward.w3"), ("block_sparse_moe.", "feed_forward.")]:
        name = name.replace(old, new)
    return name


def native_params(config):
    params = {"dim": config.hidden_size, "n_layers": config.num_hidden_layers, "head_dim": config.hidden_size // config.num_attention_heads,
              "hidden_dim": config.intermediate_size, "n_heads": config.num_attention_heads, "n_kv_heads": config.num_key_value_heads,
              "norm_eps": config.rms_norm_eps, "vocab_size": config.vocab_size, "rope_theta": config.rope_parameters["rope_theta"]}
    params["head_dim"] = getattr(config, "head_dim", None) or params["head_dim"]
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        params["sliding_window"] = [None if kind == "full_attention" else config.sliding_window for kind in kinds]
    elif config.sliding_window is not None:
        params["sliding_window"] = config.sliding_window
    if config.model_type == "mixtral":
        params["moe"] = {"num_experts": config.num_local_experts, "num_experts_per_tok": config.num_experts_per_tok}
    if config.model_type == "ministral3":
        rope = config.rope_parameters
        original = rope["original_max_position_embeddings"]
        params |= {"tied_embeddings": True, "yarn": {"factor": rope["factor"], "original_max_position_embeddings": original, "beta": rope["beta_fast"],
                   "alpha": rope["beta_slow"], "apply_scale": False}, "llama_4_scaling": {"original_max_position_embeddings": original,
                   "beta": rope["llama_4_scaling_beta"]}}
    return params


def write_native(family, config):
    folder, out = ROOT / family, ROOT / f"{family}_native"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tensors = {}
    for name, weight in safetensors.torch.load_file(folder / "model.safetensors").items():
        new = native_name(name)
        if "wq.weight" in new:
            weight = permuted(weight, config.num_attention_heads)
        elif "wk.weight" in new:
            weight = permuted(weight, config.num_key_value_heads)
        tensors[new] = weight.contiguous()
    safetensors.torch.save_file(tensors, out / "consolidated.safetensors")
    (out / "params.json").write_text(json.dumps(native_params(config), indent=2) + "\n")
    golden = json.loads((folder / "golden.json").read_text()) | {"logits": family}
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


def make(family, seed):
    kind, differences = FAMILIES[family]
    generator = torch.Generator().manual_seed(seed)
    config_class = getattr(transformers, CONFIG_CLASSES.get(kind, f"{kind}Config"))
    config = config_class(**copy.deepcopy({**SMALL, "tie_word_embeddings": False, **differences}))
    if kind in ("Gemma2", "Gemma3"):
        config.tie_word_embeddings = True
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval().float()
    randomise(model, generator)
    model.tie_weights()
    prompt = torch.randint(0, VOCABULARY, (PROMPT,), generator=generator).tolist()
    ids, logits = greedy(model, prompt)
    folder = ROOT / family
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "logits.f32").write_bytes(logits.numpy().astype("<f4").tobytes())
    golden = {"transformers": transformers.__version__, "torch": torch.__version__, "seed": seed, "prompt": PROMPT, "vocabulary": VOCABULARY,
              "tokens": ids, "logits": family}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    if family in NATIVE:
        write_native(family, config)
    bytes_there = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{family:14} {bytes_there:8} bytes   largest logit {logits.abs().max():6.2f}")


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for number, family in enumerate(FAMILIES):
        if len(sys.argv) < 2 or family in sys.argv[1:]:
            make(family, 1000 + number)


if __name__ == "__main__":
    main()
