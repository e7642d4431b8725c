/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Configs of all three forms: what each family's says, old and new spellings of the same, and what is refused by name. */
#include "engine/model/model.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"
#include "tests/unit/engine/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

static struct model_config config; /* large */

/** A folder with `json` as its config, and the weights of some tiny model, for a folder without weights is none. */
static enum status read_folder(const char *json, bool native) {
    const char *temporary = getenv("TMPDIR");
    char folder[256], path[300], weights[600];
    snprintf(folder, sizeof folder, "%s/bora-config-XXXXXX", temporary != NULL ? temporary : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/%s", folder, native ? "params.json" : "config.json");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(json, file);
    fclose(file);
    snprintf(weights, sizeof weights, "%s/tests/golden/tiny/%s", BORA_SOURCE_DIR,
             native ? "mistral_native/consolidated.safetensors" : "mistral/model.safetensors");
    char link[300];
    snprintf(link, sizeof link, "%s/%s", folder, native ? "consolidated.safetensors" : "model.safetensors");
    assert_int_equal(symlink(weights, link), 0);
    struct checkpoint *checkpoint = NULL;
    check_error = (struct error){0};
    enum status status = checkpoint_open(folder, &checkpoint, &check_error);
    if (status == STATUS_OK) status = model_config_read(checkpoint, &config, &check_error);
    checkpoint_close(checkpoint);
    unlink(path);
    unlink(link);
    rmdir(folder);
    return status;
}

/** One line for a config: "llama 32x4096 f14336 h32/8x128 v32000 c32768 halves rope 10000 window 4096 on 32". */
static const char *summary(void) {
    static char text[1024];
    static const char *const scalings[] = {"none", "linear", "llama3", "yarn"};
    size_t at = 0;
    int windows = 0, unrotated = 0, mixtures = 0;
    int64_t window = 0;
    for (int i = 0; i < config.layers; i++) {
        windows += config.layer[i].window != 0;
        window = config.layer[i].window != 0 ? config.layer[i].window : window;
        unrotated += config.layer[i].rope == MODEL_ROPE_NONE;
        mixtures += config.layer[i].experts;
    }
#define ADD(...) at += (size_t)snprintf(text + at, sizeof text - at, __VA_ARGS__)
    ADD("%s %dx%lld f%lld h%d/%dx%d v%d c%lld %s", config.architecture, config.layers, (long long)config.width,
        (long long)config.feed_forward, config.heads, config.kv_heads, config.head_dim, config.vocabulary,
        (long long)config.context_tokens, config.rope_style == ROPE_HALVES ? "halves" : "pairs");
    for (int r = 0; r < (config.ropes[0].base != config.ropes[1].base ? 2 : 1); r++) {
        const struct rope_config *rope = &config.ropes[r];
        ADD(" rope %g", rope->base);
        if (rope->scaling != ROPE_SCALING_NONE) ADD(" %s %g", scalings[rope->scaling], rope->factor);
        if (rope->scaling == ROPE_SCALING_LLAMA3)
            ADD(" of %g %g..%g", rope->original_context, rope->low_frequency_factor, rope->high_frequency_factor);
        if (rope->scaling == ROPE_SCALING_YARN)
            ADD(" of %g %g..%g by %.4f", rope->original_context, rope->beta_fast, rope->beta_slow, rope->magnitude);
    }
    if (windows > 0) ADD(" window %lld on %d", (long long)window, windows);
    if (unrotated > 0) ADD(" unrotated %d", unrotated);
    if (mixtures > 0)
        ADD(" experts %d/%d f%lld%s on %d", config.experts_used, config.experts, (long long)config.expert_feed_forward,
            config.normalise_experts ? " normalised" : "", mixtures);
    if (config.shared_feed_forward > 0) ADD(" shared f%lld", (long long)config.shared_feed_forward);
    if (config.key_rank > 0)
        ADD(" latent %lld %lld values %d rotary %d", (long long)config.query_rank, (long long)config.key_rank,
            config.value_dim, config.rotary_dim);
    if (config.biases) ADD(" biases%s", config.output_bias ? "+" : "");
    if (config.query_key_norms) ADD(" qk-norms");
    if (config.post_norms) ADD(" post-norms");
    if (config.activation == ACTIVATION_GELU_TANH) ADD(" gelu");
    if (config.embedding_scale != 1) ADD(" embedding*%.2f", (double)config.embedding_scale);
    if (fabs(config.attention_scale * sqrt(config.head_dim) - 1) > 1e-6)
        ADD(" scores/sqrt %.0f", 1 / ((double)config.attention_scale * (double)config.attention_scale));
    if (config.attention_softcap > 0) ADD(" score cap %g", (double)config.attention_softcap);
    if (config.output_softcap > 0) ADD(" cap %g", (double)config.output_softcap);
    if (config.temperature_beta > 0)
        ADD(" temperature %g per %lld", (double)config.temperature_beta, (long long)config.temperature_length);
    ADD(" eps %g", (double)config.norm_eps);
#undef ADD
    return text;
}

static void says(const char *json, bool native, const char *expected) {
    check_ok(read_folder(json, native));
    if (strcmp(summary(), expected) != 0) fail_msg("\n%s\n  gives %s\n  not   %s", json, summary(), expected);
}

/* ---- Hugging Face ------------------------------------------------------------------------------------------------------ */

#define SHAPE(layers, width, ffn, heads, kv, vocabulary, context)                                     \
    "\"num_hidden_layers\":" #layers ",\"hidden_size\":" #width ",\"intermediate_size\":" #ffn        \
    ",\"num_attention_heads\":" #heads ",\"num_key_value_heads\":" #kv ",\"vocab_size\":" #vocabulary \
    ",\"max_position_embeddings\":" #context

/** Shapes as published; spellings of transformers 4 and 5. */
static const struct {
    const char *json, *expected;
} PUBLISHED[] = {
    /* Mistral 7B v0.1 and v0.3 */
    {"{\"model_type\":\"mistral\"," SHAPE(32, 4096, 14336, 32, 8, 32000,
                                          32768) ",\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-05,"
                                                 "\"rope_theta\":10000.0,\"sliding_window\":4096,\"torch_dtype\":"
                                                 "\"bfloat16\",\"bos_token_id\":1,\"use_cache\":true}",
     "llama 32x4096 f14336 h32/8x128 v32000 c32768 halves rope 10000 window 4096 on 32 eps 1e-05"},
    {"{\"model_type\":\"mistral\"," SHAPE(32, 4096, 14336, 32, 8, 32768,
                                          32768) ",\"rms_norm_eps\":1e-05,\"rope_theta\":1000000.0,"
                                                 "\"sliding_window\":null,\"tie_word_embeddings\":false}",
     "llama 32x4096 f14336 h32/8x128 v32768 c32768 halves rope 1e+06 eps 1e-05"},
    /* what transformers 4 wrote of its own, and trainers of theirs */
    {"{\"model_type\":\"mistral\"," SHAPE(32, 4096, 14336, 32, 8, 32768,
                                          32768) ",\"rms_norm_eps\":1e-05,\"rope_theta\":1000000.0,"
                                                 "\"sliding_window\":null,\"problem_type\":\"x\",\"num_labels\":1,"
                                                 "\"finetuning_task\":\"x\",\"attn_implementation\":\"sdpa\","
                                                 "\"use_flash_attn\":true,\"tokenizer_model_max_length\":8192,"
                                                 "\"tokenizer_padding_side\":\"right\",\"embd_pdrop\":0.1,"
                                                 "\"resid_pdrop\":0.1,\"hidden_dropout\":0.1,\"model_name\":\"x\","
                                                 "\"gradient_checkpointing\":true,\"renormalize_logits\":true}",
     "llama 32x4096 f14336 h32/8x128 v32768 c32768 halves rope 1e+06 eps 1e-05"},
    /* Nemo; Small 3.1 inside a model with images */
    {"{\"model_type\":\"mistral\"," SHAPE(40, 5120, 14336, 32, 8, 131072,
                                          131072) ",\"head_dim\":128,\"rms_norm_eps\":1e-05,"
                                                  "\"rope_theta\":1000000.0,\"sliding_window\":null}",
     "llama 40x5120 f14336 h32/8x128 v131072 c131072 halves rope 1e+06 eps 1e-05"},
    {"{\"model_type\":\"mistral3\",\"image_token_index\":10,\"vision_config\":{\"hidden_size\":1024},\"text_"
     "config\":{\"model_type\":\"mistral\"," SHAPE(
         40, 5120, 32768, 32, 8, 131072, 131072) ",\"head_dim\":128,\"rms_norm_eps\":1e-05,\"rope_theta\":1000000000.0,"
                                                 "\"sliding_window\":null}}",
     "llama 40x5120 f32768 h32/8x128 v131072 c131072 halves rope 1e+09 eps 1e-05"},
    /* Mixtral 8x7B; Ministral 8B; Ministral 3 8B */
    {"{\"model_type\":\"mixtral\"," SHAPE(32, 4096, 14336, 32, 8, 32000,
                                          32768) ",\"rms_norm_eps\":1e-05,\"rope_theta\":1000000.0,"
                                                 "\"sliding_window\":null,\"num_local_experts\":8,\"num_experts_"
                                                 "per_tok\":2,\"router_aux_loss_coef\":0.02}",
     "llama 32x4096 f14336 h32/8x128 v32000 c32768 halves rope 1e+06 experts 2/8 f14336 normalised on 32 eps "
     "1e-05"},
    {"{\"model_type\":\"ministral\"," SHAPE(
         4, 4096, 12288, 32, 8, 131072,
         131072) ",\"head_dim\":128,\"rms_norm_eps\":1e-05,"
                 "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e8},\"sliding_window\":32768,"
                 "\"layer_types\":[\"full_attention\","
                 "\"sliding_attention\",\"sliding_attention\",\"sliding_attention\"]}",
     "llama 4x4096 f12288 h32/8x128 v131072 c131072 halves rope 1e+08 window 32768 on 3 eps 1e-05"},
    {"{\"model_type\":\"ministral3\"," SHAPE(
         34, 4096, 14336, 32, 8, 131072,
         262144) ",\"head_dim\":128,\"rms_norm_eps\":1e-05,"
                 "\"rope_parameters\":{\"type\":\"yarn\",\"rope_type\":\"yarn\",\"rope_theta\":1e6,\"factor\":16.0,"
                 "\"original_max_position_embeddings\":16384,\"max_position_embeddings\":262144,\"beta_fast\":32.0,"
                 "\"beta_slow\":1.0,"
                 "\"mscale\":1.0,\"mscale_all_dim\":1.0,\"llama_4_scaling_beta\":0.1},\"sliding_window\":null}",
     "mistral3 34x4096 f14336 h32/8x128 v131072 c262144 halves rope 1e+06 yarn 16 of 16384 32..1 by 1.0000 "
     "temperature 0.1 per "
     "16384 eps 1e-05"},
    /* Llama 3.1 8B in both spellings; Llama 2 7B; SmolLM2 */
    {"{\"model_type\":\"llama\"," SHAPE(32, 4096, 14336, 32, 8, 128256,
                                        131072) ",\"rms_norm_eps\":1e-05,\"rope_theta\":500000.0,"
                                                "\"rope_scaling\":{\"factor\":8.0,\"low_freq_factor\":1.0,\"high_"
                                                "freq_factor\":4.0,\"original_max_position_embeddings\":8192,"
                                                "\"rope_type\":\"llama3\"},\"attention_bias\":false,\"mlp_bias\":"
                                                "false,\"pretraining_tp\":1,\"eos_token_id\":[1,2]}",
     "llama 32x4096 f14336 h32/8x128 v128256 c131072 halves rope 500000 llama3 8 of 8192 1..4 eps 1e-05"},
    {"{\"model_type\":\"llama\"," SHAPE(
         32, 4096, 14336, 32, 8, 128256,
         131072) ",\"rms_norm_eps\":1e-05,"
                 "\"rope_parameters\":{\"rope_theta\":500000.0,\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_"
                 "factor\":4.0,"
                 "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}}",
     "llama 32x4096 f14336 h32/8x128 v128256 c131072 halves rope 500000 llama3 8 of 8192 1..4 eps 1e-05"},
    {"{\"model_type\":\"llama\"," SHAPE(32, 4096, 11008, 32, 32, 32000,
                                        4096) ",\"rms_norm_eps\":1e-05,"
                                              "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
     "llama 32x4096 f11008 h32/32x128 v32000 c4096 halves rope 10000 linear 2 eps 1e-05"},
    {"{\"model_type\":\"llama\"," SHAPE(30, 576, 1536, 9, 3, 49152,
                                        8192) ",\"rms_norm_eps\":1e-05,\"rope_theta\":100000,"
                                              "\"rope_interleaved\":false,\"is_llama_config\":true,\"rope_"
                                              "scaling\":null,\"tie_word_embeddings\":true}",
     "llama 30x576 f1536 h9/3x64 v49152 c8192 halves rope 100000 eps 1e-05"},
    /* SmolLM2 135M Instruct with all its members; Llama 2 as saved by an old transformers, generation settings and all */
    {"{\"model_type\":\"llama\"," SHAPE(
         30, 576, 1536, 9, 3, 49152,
         8192) ",\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,\"bos_"
               "token_"
               "id\":1,\"eos_token_id\":2,\"hidden_act\":\"silu\",\"initializer_range\":0.041666666666666664,\"is_"
               "llama_"
               "config\":true,\"mlp_bias\":false,\"pad_token_id\":2,\"pretraining_tp\":1,\"rms_norm_eps\":1e-05,\"rope_"
               "interleaved\":false,\"rope_scaling\":null,\"rope_theta\":100000,\"tie_word_embeddings\":true,\"torch_"
               "dtype\":\"bfloat16\",\"transformers.js_config\":{\"kv_cache_dtype\":{\"q4f16\":\"float16\",\"fp16\":"
               "\"float16\"}},\"transformers_version\":\"4.42.3\",\"use_cache\":true}",
     "llama 30x576 f1536 h9/3x64 v49152 c8192 halves rope 100000 eps 1e-05"},
    {"{\"model_type\":\"llama\"," SHAPE(
         40, 5120, 13824, 40, 40, 32000,
         4096) ",\"_name_or_path\":\"f:\\\\Llama2-13b-hf\",\"max_length\":4096,\"do_sample\":true,\"temperature\":0.9,"
               "\"top_p\":0.6,\"num_beams\":1,\"diversity_penalty\":0.0,\"is_decoder\":true,\"rms_norm_eps\":1e-05}",
     "llama 40x5120 f13824 h40/40x128 v32000 c4096 halves rope 10000 eps 1e-05"},
    /* Qwen 2.5 7B, as it is and with the YaRN that its card names; Qwen 3 0.6B; the MoE of both */
    {"{\"model_type\":\"qwen2\"," SHAPE(
         28, 3584, 18944, 28, 4, 152064,
         32768) ",\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,"
                "\"sliding_window\":131072,\"use_sliding_window\":false,\"max_window_layers\":28}",
     "qwen2 28x3584 f18944 h28/4x128 v152064 c32768 halves rope 1e+06 biases eps 1e-06"},
    {"{\"model_type\":\"qwen2\"," SHAPE(
         28, 3584, 18944, 28, 4, 152064,
         32768) ",\"rope_theta\":1000000.0,"
                "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}}",
     "qwen2 28x3584 f18944 h28/4x128 v152064 c32768 halves rope 1e+06 yarn 4 of 32768 32..1 by 1.1386 biases eps "
     "1e-06"},
    {"{\"model_type\":\"qwen3\"," SHAPE(28, 1024, 3072, 16, 8, 151936,
                                        40960) ",\"head_dim\":128,\"rope_theta\":1000000,"
                                               "\"attention_bias\":false,\"sliding_window\":null,\"use_sliding_"
                                               "window\":false,\"max_window_layers\":28}",
     "qwen3 28x1024 f3072 h16/8x128 v151936 c40960 halves rope 1e+06 qk-norms eps 1e-06"},
    {"{\"model_type\":\"qwen2_moe\"," SHAPE(24, 2048, 5632, 16, 16, 151936,
                                            8192) ",\"rope_theta\":1000000.0,\"num_experts\":60,"
                                                  "\"num_experts_per_tok\":4,\"moe_intermediate_size\":1408,\"shared_"
                                                  "expert_intermediate_size\":5632,\"norm_topk_prob\":false,"
                                                  "\"decoder_sparse_step\":1}",
     "qwen2moe 24x2048 f5632 h16/16x128 v151936 c8192 halves rope 1e+06 experts 4/60 f1408 on 24 shared f5632 "
     "biases eps 1e-06"},
    {"{\"model_type\":\"qwen3_moe\"," SHAPE(48, 2048, 6144, 32, 4, 151936,
                                            40960) ",\"head_dim\":128,\"rope_theta\":1000000.0,"
                                                   "\"num_experts\":128,\"num_experts_per_tok\":8,\"moe_intermediate_"
                                                   "size\":768,\"norm_topk_prob\":true,\"mlp_only_layers\":[]}",
     "qwen3moe 48x2048 f6144 h32/4x128 v151936 c40960 halves rope 1e+06 experts 8/128 f768 normalised on 48 "
     "qk-norms eps 1e-06"},
    /* Gemma 2 2B and 9B; Gemma 3 4B as first published and 1B; SmolLM3 */
    {"{\"model_type\":\"gemma2\"," SHAPE(26, 2304, 9216, 8, 4, 256000,
                                         8192) ",\"head_dim\":256,\"hidden_act\":\"gelu_pytorch_tanh\","
                                               "\"hidden_activation\":\"gelu_pytorch_tanh\",\"query_pre_attn_"
                                               "scalar\":256,\"sliding_window\":4096,\"rope_theta\":10000.0,"
                                               "\"attn_logit_softcapping\":50.0,\"final_logit_softcapping\":30.0,"
                                               "\"cache_implementation\":\"hybrid\"}",
     "gemma2 26x2304 f9216 h8/4x256 v256000 c8192 halves rope 10000 window 4096 on 13 post-norms gelu "
     "embedding*48.00 score cap 50 "
     "cap 30 eps 1e-06"},
    {"{\"model_type\":\"gemma2\"," SHAPE(42, 3584, 14336, 16, 8, 256000,
                                         8192) ",\"head_dim\":256,\"hidden_activation\":\"gelu_pytorch_tanh\","
                                               "\"query_pre_attn_scalar\":256,\"sliding_window\":4096,\"sliding_"
                                               "window_size\":4096}",
     "gemma2 42x3584 f14336 h16/8x256 v256000 c8192 halves rope 10000 window 4096 on 21 post-norms gelu "
     "embedding*59.87 score cap 50 "
     "cap 30 eps 1e-06"},
    {"{\"model_type\":\"gemma3\",\"vision_config\":{},\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":"
     "10240,"
     "\"model_type\":\"gemma3_text\",\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":"
     "\"linear\"},"
     "\"sliding_window\":1024}}",
     "gemma3 34x2560 f10240 h8/4x256 v262208 c131072 halves rope 1e+06 linear 8 rope 10000 window 1024 on 29 "
     "qk-norms post-norms "
     "gelu embedding*50.60 eps 1e-06"},
    {"{\"model_type\":\"gemma3_text\"," SHAPE(
         26, 1152, 6912, 4, 1, 262144,
         32768) ",\"head_dim\":256,\"rope_theta\":1000000,"
                "\"rope_local_base_freq\":10000,\"rope_scaling\":null,\"sliding_window\":512,\"sliding_window_"
                "pattern\":6,"
                "\"query_pre_attn_scalar\":256,\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null}",
     "gemma3 26x1152 f6912 h4/1x256 v262144 c32768 halves rope 1e+06 rope 10000 window 512 on 22 qk-norms "
     "post-norms gelu "
     "embedding*33.94 eps 1e-06"},
    {"{\"model_type\":\"gemma3_text\"," SHAPE(62, 5376, 21504, 32, 16, 262208,
                                              131072) ",\"head_dim\":128,"
                                                      "\"query_pre_attn_scalar\":168,\"sliding_window\":1024,\"rope_"
                                                      "parameters\":{\"full_attention\":{\"rope_type\":\"linear\","
                                                      "\"factor\":8.0,\"rope_theta\":1000000.0},\"sliding_attention\":{"
                                                      "\"rope_type\":\"default\",\"rope_theta\":10000.0}}}",
     "gemma3 62x5376 f21504 h32/16x128 v262208 c131072 halves rope 1e+06 linear 8 rope 10000 window 1024 on 52 "
     "qk-norms post-norms "
     "gelu embedding*73.32 scores/sqrt 168 eps 1e-06"},
    {"{\"model_type\":\"smollm3\"," SHAPE(
         36, 2048, 11008, 16, 4, 128256,
         65536) ",\"rope_theta\":5000000.0,\"use_sliding_window\":false,"
                "\"sliding_window\":null,\"no_rope_layer_interval\":4,\"max_window_layers\":28,\"mlp_bias\":false}",
     "smollm3 36x2048 f11008 h16/4x128 v128256 c65536 halves rope 5e+06 unrotated 9 eps 1e-06"},
    /* Small 4 */
    {"{\"model_type\":\"mistral4\"," SHAPE(
         36, 4096, 12288, 32, 32, 131072,
         1048576) ",\"rms_norm_eps\":1e-06,\"q_lora_rank\":1024,"
                  "\"kv_lora_rank\":256,\"qk_nope_head_dim\":64,\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"n_routed_"
                  "experts\":128,"
                  "\"num_experts_per_tok\":4,\"moe_intermediate_size\":2048,\"n_shared_experts\":1,\"n_group\":1,"
                  "\"topk_group\":1,"
                  "\"routed_scaling_factor\":1.0,\"rope_parameters\":{\"type\":\"yarn\",\"rope_type\":\"yarn\",\"rope_"
                  "theta\":10000.0,\"factor\":128.0,"
                  "\"original_max_position_embeddings\":8192,\"max_position_embeddings\":1048576,\"beta_fast\":32.0,"
                  "\"beta_slow\":1.0,"
                  "\"mscale_all_dim\":1.0,\"mscale\":1.0,\"llama_4_scaling_beta\":0.1,\"partial_rotary_factor\":0.5}}",
     "mistral4 36x4096 f12288 h32/32x128 v131072 c1048576 pairs rope 10000 yarn 128 of 8192 32..1 by 1.0000 experts "
     "4/128 f2048 "
     "normalised on 36 shared f2048 latent 1024 256 values 128 rotary 64 scores/sqrt 26 temperature 0.1 per 8192 eps "
     "1e-06"},
};

static void test_hugging_face_configs_of_every_family(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof PUBLISHED / sizeof PUBLISHED[0]; i++)
        says(PUBLISHED[i].json, false, PUBLISHED[i].expected);
}

/* ---- native Mistral ---------------------------------------------------------------------------------------------------- */

#define NATIVE(layers, width, ffn, vocabulary)                                           \
    "{\"dim\":" #width ",\"n_layers\":" #layers ",\"head_dim\":128,\"hidden_dim\":" #ffn \
    ",\"n_heads\":32,\"n_kv_heads\":8,\"norm_eps\":1e-05,\"vocab_size\":" #vocabulary

static void test_native_mistral_configs(void **state) {
    (void)state;
    says(NATIVE(32, 4096, 14336, 32000) ",\"sliding_window\":4096}", true,
         "llama 32x4096 f14336 h32/8x128 v32000 c32768 pairs rope 10000 window 4096 on 32 eps 1e-05");
    says(NATIVE(32, 4096, 14336, 32768) ",\"rope_theta\":1000000.0}", true,
         "llama 32x4096 f14336 h32/8x128 v32768 c32768 pairs rope 1e+06 eps 1e-05");
    says(NATIVE(32, 4096, 14336, 32000) ",\"moe\":{\"num_experts_per_tok\":2,\"num_experts\":8}}", true,
         "llama 32x4096 f14336 h32/8x128 v32000 c32768 pairs rope 1e+06 experts 2/8 f14336 normalised on 32 eps 1e-05");
    says(NATIVE(36, 4096, 12288,
                131072) ",\"rope_theta\":1e8,\"max_seq_len\":131072,\"sliding_window\":[null,32768,32768,32768]}",
         true, "llama 36x4096 f12288 h32/8x128 v131072 c131072 pairs rope 1e+08 window 32768 on 27 eps 1e-05");
    says(NATIVE(34, 4096, 14336,
                131072) ",\"rope_theta\":1000000.0,\"max_position_embeddings\":262144,\"tied_embeddings\":false,"
                        "\"vision_encoder\":{\"hidden_size\":1024},\"llama_4_scaling\":{\"original_max_position_"
                        "embeddings\":16384,\"beta\":0.1},"
                        "\"yarn\":{\"original_max_position_embeddings\":16384,\"factor\":16,\"apply_scale\":false,"
                        "\"beta\":32,\"alpha\":1}}",
         true,
         "mistral3 34x4096 f14336 h32/8x128 v131072 c262144 pairs rope 1e+06 yarn 16 of 16384 32..1 by 1.0000 "
         "temperature 0.1 per "
         "16384 eps 1e-05");
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------------- */

struct key {
    const char *name;
    double number;
    const char *word;
};

/** Metadata of a model of 2 layers and what `keys` adds, without tensors. */
static enum status read_gguf(const char *architecture, const struct key *keys, int count) {
    static const struct key shape[] = {
        {"block_count", 12, NULL},          {"embedding_length", 2048, NULL},     {"feed_forward_length", 6144, NULL},
        {"attention.head_count", 16, NULL}, {"attention.head_count_kv", 4, NULL}, {"context_length", 4096, NULL},
        {"vocab_size", 1000, NULL}};
    struct gguf_builder builder;
    char name[128];
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, "general.architecture", architecture);
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", architecture);
    gguf_builder_f32(&builder, name, 1e-5f);
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++) {
        snprintf(name, sizeof name, "%s.%s", architecture, shape[i].name);
        gguf_builder_u32(&builder, name, (uint32_t)shape[i].number);
    }
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s.%s", architecture, keys[i].name);
        if (keys[i].word != NULL)
            gguf_builder_string(&builder, name, keys[i].word);
        else if (keys[i].number == floor(keys[i].number) && strstr(keys[i].name, "scal") == NULL)
            gguf_builder_u32(&builder, name, (uint32_t)keys[i].number);
        else
            gguf_builder_f32(&builder, name, (float)keys[i].number);
    }
    size_t length;
    uint8_t *file = gguf_builder_finish(&builder, &length);
    struct gguf *gguf = NULL;
    struct checkpoint *checkpoint = NULL;
    check_error = (struct error){0};
    enum status status = gguf_open_memory(file, length, "made.gguf", &gguf, &check_error);
    if (status == STATUS_OK) status = checkpoint_of_gguf(gguf, &checkpoint, &check_error);
    if (status == STATUS_OK) status = model_config_read(checkpoint, &config, &check_error);
    checkpoint_close(checkpoint);
    gguf_close(gguf);
    free(file);
    return status;
}

static void test_gguf_metadata_of_every_family(void **state) {
    (void)state;
    static const struct {
        const char *architecture;
        struct key keys[8];
        const char *expected;
    } files[] = {
        {"llama", {{"rope.freq_base", 1e6, NULL}}, "pairs rope 1e+06 eps 1e-05"},
        {"llama",
         {{"expert_count", 8, NULL}, {"expert_used_count", 2, NULL}},
         "pairs rope 10000 experts 2/8 f6144 normalised on 12 eps 1e-05"},
        {"llama", {{"attention.sliding_window", 4096, NULL}}, "pairs rope 10000 window 4096 on 12 eps 1e-05"},
        {"llama",
         {{"rope.scaling.type", 0, "linear"}, {"rope.scaling.factor", 4, NULL}},
         "pairs rope 10000 linear 4 eps 1e-05"},
        {"mistral3",
         {{"rope.scaling.type", 0, "yarn"},
          {"rope.scaling.factor", 16, NULL},
          {"rope.scaling.original_context_length", 1024, NULL},
          {"rope.scaling.yarn_log_multiplier", 1, NULL},
          {"attention.temperature_scale", 0.1, NULL}},
         "pairs rope 10000 yarn 16 of 1024 32..1 by 1.0000 temperature 0.1 per 1024 eps 1e-05"},
        {"qwen2",
         {{"rope.scaling.type", 0, "yarn"},
          {"rope.scaling.factor", 4, NULL},
          {"rope.scaling.original_context_length", 1024, NULL}},
         "halves rope 10000 yarn 4 of 1024 32..1 by 1.1386 biases eps 1e-05"},
        {"qwen3", {{"rope.freq_base", 1e6, NULL}}, "halves rope 1e+06 qk-norms eps 1e-05"},
        {"gemma2",
         {{"attention.sliding_window", 512, NULL}},
         "halves rope 10000 window 512 on 6 post-norms gelu embedding*45.25 score cap 50 cap 30 eps 1e-05"},
        {"gemma3",
         {{"attention.sliding_window", 512, NULL},
          {"rope.freq_base", 1e6, NULL},
          {"rope.scaling.type", 0, "linear"},
          {"rope.scaling.factor", 8, NULL}},
         "halves rope 1e+06 linear 8 rope 10000 window 512 on 10 qk-norms post-norms gelu embedding*45.25 eps 1e-05"},
        {"smollm3", {{"rope.freq_base", 2e6, NULL}}, "pairs rope 2e+06 unrotated 3 eps 1e-05"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int count = 0;
        while (count < 8 && files[i].keys[count].name != NULL) count++;
        check_ok(read_gguf(files[i].architecture, files[i].keys, count));
        char expected[1024];
        snprintf(expected, sizeof expected, "%s 12x2048 f6144 h16/4x128 v1000 c4096 %s", files[i].architecture,
                 files[i].expected);
        assert_string_equal(summary(), expected);
    }
}

/* ---- what is refused --------------------------------------------------------------------------------------------------- */

#define LLAMA "{\"model_type\":\"llama\"," SHAPE(2, 64, 96, 4, 2, 100, 256)
#define MISTRAL NATIVE(2, 64, 96, 100)

static void test_what_would_change_the_numbers_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *json;
        bool native;
        const char *word;
    } refused[] = {
        {"{\"model_type\":\"deepseek_v3\"}", false, "'deepseek_v3'"},
        {"{\"model_type\":\"mistral_large4\"}", false, "'mistral_large4'"},
        {"{\"model_type\":\"mistral4\"," SHAPE(2, 64, 96, 4, 4, 100,
                                               256) ",\"q_lora_rank\":32,\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,"
                                                    "\"qk_rope_head_dim\":16,\"v_head_dim\":32,\"n_routed_experts\":8,"
                                                    "\"num_experts_per_tok\":2,\"moe_intermediate_size\":32,"
                                                    "\"n_group\":4}",
         false, "n_group"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", false, "'dynamic'"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}}", false, "'longrope'"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"secret\":1}}", false, "rope_parameters.secret"},
        {LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}", false,
         "partial_rotary_factor"},
        {LLAMA ",\"hidden_act\":\"relu\"}", false, "'relu'"},
        {LLAMA ",\"mlp_bias\":true}", false, "mlp_bias"},
        {LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}}", false,
         "quantization_config: weights quantised so (gptq, 4 bits)"},
        {LLAMA ",\"quantization_config\":{\"quant_method\":\"fp8\"}}", false, "(fp8)"},
        {LLAMA ",\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}}", false,
         "(bitsandbytes)"},
        {LLAMA ",\"quantization\":{\"group_size\":64,\"bits\":4}}", false, "(MLX, 4 bits)"},
        {LLAMA ",\"sliding_window\":128}", false, "sliding_window"},
        {LLAMA ",\"logits_scaling\":8}", false,
         "logits_scaling is not known here and could change the model's numbers. If it does not"},
        {LLAMA ",\"head_dim\":20}", false, "heads of 20"},
        {"{\"model_type\":\"gemma3_text\"," SHAPE(2, 64, 96, 4, 2, 100, 256) ",\"use_bidirectional_attention\":true}",
         false, "use_bidirectional_attention"},
        {"{\"model_type\":\"ministral\"," SHAPE(2, 64, 96, 4, 2, 100,
                                                256) ",\"layer_types\":[\"full_attention\",\"chunked_attention\"]}",
         false, "chunked_attention"},
        {MISTRAL ",\"q_lora_rank\":1024}", true, "q_lora_rank"},
        {MISTRAL ",\"model_type\":\"mamba\"}", true, "'mamba'"},
        {MISTRAL ",\"quantization\":{\"qformat_weight\":\"fp8_e4m3\"}}", true,
         "quantization: weights quantised so (fp8_e4m3)"},
        {MISTRAL ",\"moe\":{\"num_experts\":4,\"num_experts_per_tok\":2,\"num_shared_experts\":1}}", true,
         "moe.num_shared_experts"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        check_fails(read_folder(refused[i].json, refused[i].native), STATUS_UNIMPLEMENTED, refused[i].word);
}

static void test_impossible_values_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *json;
        bool native;
        const char *word;
    } refused[] = {
        {"{}", false, "model_type"},
        {"[]", false, "JSON object"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":2}", false, "hidden_size"},
        {LLAMA ",\"rms_norm_eps\":\"small\"}", false, "rms_norm_eps"},
        {LLAMA ",\"rms_norm_eps\":-1}", false, "rms_norm_eps"},
        {LLAMA ",\"rope_theta\":1}", false, "rope_theta"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", false, "factor"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", false, "factor"},
        {LLAMA ",\"rope_scaling\":[2]}", false, "rope_parameters"},
        {LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,"
               "\"original_max_position_embeddings\":64}}",
         false, "RoPE scaling"},
        {LLAMA ",\"tie_word_embeddings\":1}", false, "tie_word_embeddings"},
        {"{\"model_type\":\"llama\"," SHAPE(2.5, 64, 96, 4, 2, 100, 256) "}", false, "num_hidden_layers"},
        {"{\"model_type\":\"llama\"," SHAPE(99999, 64, 96, 4, 2, 100, 256) "}", false, "num_hidden_layers"},
        {"{\"model_type\":\"llama\"," SHAPE(2, 64, 96, 4, 3, 100, 256) "}", false, "4 query heads"},
        {"{\"model_type\":\"mixtral\"," SHAPE(2, 64, 96, 4, 2, 100,
                                              256) ",\"num_local_experts\":4,\"num_experts_per_tok\":5}",
         false, "num_experts_per_tok"},
        {"{\"model_type\":\"ministral\"," SHAPE(2, 64, 96, 4, 2, 100, 256) ",\"layer_types\":[\"full_attention\"]}",
         false, "layer_types"},
        {"{\"model_type\":\"qwen3_moe\"," SHAPE(2, 64, 96, 4, 2, 100,
                                                256) ",\"num_experts\":4,\"num_experts_per_tok\":2,"
                                                     "\"moe_intermediate_size\":32,\"mlp_only_layers\":[2]}",
         false, "mlp_only_layers"},
        {"{\"dim\":64}", true, "n_layers"},
        {MISTRAL ",\"sliding_window\":[8,8,8]}", true, "sliding_window"},
        {MISTRAL ",\"sliding_window\":0}", true, "sliding_window"},
        {MISTRAL ",\"yarn\":{\"factor\":16}}", true, "original_max_position_embeddings"},
        {MISTRAL ",\"moe\":{\"num_experts\":4}}", true, "num_experts_per_tok"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        check_fails(read_folder(refused[i].json, refused[i].native), STATUS_INVALID_ARGUMENT, refused[i].word);
    check_fails(read_gguf("llama", (const struct key[]){{"rope.scaling.factor", -2, NULL}}, 1), STATUS_INVALID_ARGUMENT,
                "rope.scaling.factor");
    check_fails(read_gguf("llama", (const struct key[]){{"expert_count", 4, NULL}, {"expert_used_count", 5, NULL}}, 2),
                STATUS_INVALID_ARGUMENT, "expert_used_count");
    check_fails(read_gguf("qwen2moe", NULL, 0), STATUS_INVALID_ARGUMENT, "expert_count");
}

/** A member's number is not written out whole into a message, and a config of a thousand members is none. */
static void test_long_configs_are_bounded(void **state) {
    (void)state;
    static char json[200000];
    size_t at = (size_t)snprintf(json, sizeof json, "%s", LLAMA);
    for (int i = 0; i < 600; i++) at += (size_t)snprintf(json + at, sizeof json - at, ",\"_m%d\":1", i);
    snprintf(json + at, sizeof json - at, "}");
    check_fails(read_folder(json, false), STATUS_INVALID_ARGUMENT, "members");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hugging_face_configs_of_every_family),
        cmocka_unit_test(test_native_mistral_configs),
        cmocka_unit_test(test_gguf_metadata_of_every_family),
        cmocka_unit_test(test_what_would_change_the_numbers_is_refused_by_name),
        cmocka_unit_test(test_impossible_values_are_refused_by_name),
        cmocka_unit_test(test_long_configs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
