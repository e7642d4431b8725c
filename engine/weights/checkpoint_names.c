/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/checkpoint_names.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

/** What stands before ".weight" or ".bias" in a layer. */
struct stem {
    const char *stored, *canonical;
};

static const struct stem hugging_face_layer[] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {NULL, NULL},
};

/** Gemma 2 and 3: norms before and after both halves of a layer. */
static const struct stem sandwich_layer[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {NULL, NULL},
};

static const struct stem hugging_face_expert[] = {
    {"gate_proj", "ffn_gate_exps"},
    {"up_proj", "ffn_up_exps"},
    {"down_proj", "ffn_down_exps"},
    {"w1", "ffn_gate_exps"},
    {"w3", "ffn_up_exps"},
    {"w2", "ffn_down_exps"},
    {NULL, NULL},
};

static const struct stem mistral_layer[] = {
    {"attention.wq", "attn_q"},
    {"attention.wk", "attn_k"},
    {"attention.wv", "attn_v"},
    {"attention.wo", "attn_output"},
    {"attention.wq_a", "attn_q_a"},
    {"attention.q_a_norm", "attn_q_a_norm"},
    {"attention.wq_b", "attn_q_b"},
    {"attention.wkv_a_with_mqa", "attn_kv_a_mqa"},
    {"attention.kv_a_norm", "attn_kv_a_norm"},
    {"attention.wkv_b", "attn_kv_b"},
    {"attention_norm", "attn_norm"},
    {"ffn_norm", "ffn_norm"},
    {"feed_forward.w1", "ffn_gate"},
    {"feed_forward.w2", "ffn_down"},
    {"feed_forward.w3", "ffn_up"},
    {"feed_forward.gate", "ffn_gate_inp"},
    {"gate", "ffn_gate_inp"},
    {"shared_experts.w1", "ffn_gate_shexp"},
    {"shared_experts.w2", "ffn_down_shexp"},
    {"shared_experts.w3", "ffn_up_shexp"},
    {NULL, NULL},
};

static const struct stem mistral_expert[] = {
    {"w1", "ffn_gate_exps"}, {"w2", "ffn_down_exps"}, {"w3", "ffn_up_exps"}, {NULL, NULL}};

/* ---- pieces of a name ---------------------------------------------------------------------------------------------- */

static bool skip(struct bytes_view *rest, const char *prefix) {
    size_t length = strlen(prefix);
    if (rest->length < length || memcmp(rest->data, prefix, length) != 0) return false;
    *rest = bytes_view_of(rest->data + length, rest->length - length);
    return true;
}

static bool ends_with(struct bytes_view view, const char *suffix) {
    size_t length = strlen(suffix);
    return view.length >= length && memcmp(view.data + view.length - length, suffix, length) == 0;
}

static bool starts_with_any(struct bytes_view view, const char *const *prefixes) {
    for (; *prefixes != NULL; prefixes++) {
        struct bytes_view rest = view;
        if (skip(&rest, *prefixes)) return true;
    }
    return false;
}

/** "12." at the front: a number below `limit` in its shortest form. */
static bool skip_index(struct bytes_view *rest, int limit, int *out) {
    size_t digits = 0;
    int value = 0;
    while (digits < rest->length && digits < 5 && rest->data[digits] >= '0' && rest->data[digits] <= '9')
        value = value * 10 + (rest->data[digits++] - '0');
    if (digits == 0 || digits >= rest->length || rest->data[digits] != '.' || value >= limit ||
        (digits > 1 && rest->data[0] == '0'))
        return false;
    *rest = bytes_view_of(rest->data + digits + 1, rest->length - digits - 1);
    *out = value;
    return true;
}

/** The canonical stem of `rest`, which is a stem of the table and ".weight" or ".bias"; `*out_suffix` gets the latter. */
static const char *find_stem(const struct stem *table, struct bytes_view rest, const char **out_suffix) {
    *out_suffix = ends_with(rest, ".weight") ? ".weight" : ".bias";
    if (!ends_with(rest, *out_suffix)) return NULL;
    rest.length -= strlen(*out_suffix);
    for (; table->stored != NULL; table++) {
        if (bytes_view_equal_string(rest, table->stored)) return table->canonical;
    }
    return NULL;
}

static enum name_kind whole(struct canonical_name *out, const char *name) {
    snprintf(out->text, sizeof out->text, "%s", name);
    return NAME_KNOWN;
}

static enum name_kind in_layer(struct canonical_name *out, int layer, const char *stem, const char *suffix) {
    snprintf(out->text, sizeof out->text, "blk.%d.%s%s", layer, stem, suffix);
    return NAME_KNOWN;
}

static enum name_kind expert_of(struct bytes_view rest, const struct stem *table, int layer,
                                struct canonical_name *out) {
    const char *suffix, *stem;
    int expert;
    if (!skip_index(&rest, LIMIT_EXPERTS, &expert) || (stem = find_stem(table, rest, &suffix)) == NULL)
        return NAME_UNKNOWN;
    out->expert = expert;
    return in_layer(out, layer, stem, suffix);
}

/* ---- Hugging Face -------------------------------------------------------------------------------------------------- */

static enum name_kind hugging_face_layer_name(struct bytes_view rest, int layer, bool sandwich_norms,
                                              struct canonical_name *out) {
    const char *suffix, *stem = NULL;
    if (ends_with(rest, "rotary_emb.inv_freq")) return NAME_LEFT_OUT; /* a buffer of old checkpoints */
    if (sandwich_norms) stem = find_stem(sandwich_layer, rest, &suffix);
    if (stem == NULL) stem = find_stem(hugging_face_layer, rest, &suffix);
    if (stem != NULL) return in_layer(out, layer, stem, suffix);
    if (!skip(&rest, "mlp.experts.") && !skip(&rest, "block_sparse_moe.experts.")) return NAME_UNKNOWN;
    if (bytes_view_equal_string(rest, "gate_up_proj")) {
        out->part = NAME_GATE_AND_UP;
        return in_layer(out, layer, "ffn_gate_exps", ".weight");
    }
    if (bytes_view_equal_string(rest, "down_proj")) return in_layer(out, layer, "ffn_down_exps", ".weight");
    return expert_of(rest, hugging_face_expert, layer, out);
}

bool name_is_sandwich_norm(struct bytes_view stored) {
    return ends_with(stored, ".pre_feedforward_layernorm.weight");
}

enum name_kind name_from_hugging_face(struct bytes_view stored, bool sandwich_norms, bool tied,
                                      struct canonical_name *out) {
    static const char *const others[] = {"vision_tower.",
                                         "model.vision_tower.",
                                         "vision_model.",
                                         "model.vision_model.",
                                         "vision_encoder.",
                                         "model.vision_encoder.",
                                         "visual.",
                                         "model.visual.",
                                         "multi_modal_projector.",
                                         "model.multi_modal_projector.",
                                         "audio_tower.",
                                         "model.audio_tower.",
                                         NULL};
    struct bytes_view rest = stored;
    *out = (struct canonical_name){.expert = -1, .part = NAME_WHOLE};
    if (starts_with_any(stored, others)) return NAME_LEFT_OUT;
    /* A model with a head keeps "model." before its base; one with images has "language_model" before or behind that. */
    if (!skip(&rest, "language_model.model.") && !skip(&rest, "model.language_model.") &&
        !skip(&rest, "language_model."))
        (void)skip(&rest, "model.");
    if (bytes_view_equal_string(rest, "lm_head.weight")) return tied ? NAME_LEFT_OUT : whole(out, "output.weight");
    if (bytes_view_equal_string(rest, "embed_tokens.weight")) return whole(out, "token_embd.weight");
    if (bytes_view_equal_string(rest, "norm.weight")) return whole(out, "output_norm.weight");
    if (bytes_view_equal_string(rest, "rotary_emb.inv_freq")) return NAME_LEFT_OUT;
    int layer;
    if (!skip(&rest, "layers.") || !skip_index(&rest, LIMIT_LAYERS, &layer)) return NAME_UNKNOWN;
    return hugging_face_layer_name(rest, layer, sandwich_norms, out);
}

/* ---- native Mistral ------------------------------------------------------------------------------------------------ */

enum name_kind name_from_mistral(struct bytes_view stored, struct canonical_name *out) {
    static const char *const others[] = {"vision_encoder.", "vision_language_adapter.", "pre_mm_projector_norm.",
                                         "patch_merger.", NULL};
    const char *suffix, *stem;
    struct bytes_view rest = stored;
    int layer;
    *out = (struct canonical_name){.expert = -1, .part = NAME_WHOLE};
    if (starts_with_any(stored, others)) return NAME_LEFT_OUT;
    if (bytes_view_equal_string(rest, "tok_embeddings.weight")) return whole(out, "token_embd.weight");
    if (bytes_view_equal_string(rest, "norm.weight")) return whole(out, "output_norm.weight");
    if (bytes_view_equal_string(rest, "output.weight")) return whole(out, "output.weight");
    if (!skip(&rest, "layers.") || !skip_index(&rest, LIMIT_LAYERS, &layer)) return NAME_UNKNOWN;
    if ((stem = find_stem(mistral_layer, rest, &suffix)) != NULL) return in_layer(out, layer, stem, suffix);
    if (!skip(&rest, "feed_forward.experts.") && !skip(&rest, "experts.")) return NAME_UNKNOWN;
    return expert_of(rest, mistral_expert, layer, out);
}

/* ---- to Hugging Face ------------------------------------------------------------------------------------------------- */

static const char *stored_stem(const struct stem *table, struct bytes_view canonical) {
    for (; table->stored != NULL; table++) {
        if (bytes_view_equal_string(canonical, table->canonical)) return table->stored;
    }
    return NULL;
}

bool name_to_hugging_face(const char *canonical, int expert, struct name_style style, char out[CANONICAL_NAME_BYTES]) {
    static const struct stem outer[] = {
        {"lm_head", "output"}, {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {NULL, NULL}};
    struct bytes_view rest = bytes_view_string(canonical);
    const char *suffix = ends_with(rest, ".weight") ? ".weight" : ".bias", *stem;
    int layer;
    if (!ends_with(rest, suffix)) return false;
    rest.length -= strlen(suffix);
    if ((stem = stored_stem(outer, rest)) != NULL && expert < 0)
        return snprintf(out, CANONICAL_NAME_BYTES, "%s%s", stem, suffix) < CANONICAL_NAME_BYTES;
    if (!skip(&rest, "blk.") || !skip_index(&rest, LIMIT_LAYERS, &layer)) return false;
    if (expert >= 0) {
        /* The table has both spellings; Mixtral's are its second half. */
        stem = stored_stem(hugging_face_expert + (style.mixtral ? 3 : 0), rest);
        return stem != NULL &&
               snprintf(out, CANONICAL_NAME_BYTES, "model.layers.%d.%s.experts.%d.%s%s", layer,
                        style.mixtral ? "block_sparse_moe" : "mlp", expert, stem, suffix) < CANONICAL_NAME_BYTES;
    }
    stem = style.sandwich_norms ? stored_stem(sandwich_layer, rest) : NULL;
    if (stem == NULL) stem = stored_stem(hugging_face_layer, rest);
    if (style.mixtral && bytes_view_equal_string(rest, "ffn_gate_inp")) stem = "block_sparse_moe.gate";
    return stem != NULL &&
           snprintf(out, CANONICAL_NAME_BYTES, "model.layers.%d.%s%s", layer, stem, suffix) < CANONICAL_NAME_BYTES;
}
