/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Models as their publishers ship them, under one set of names. */
#include "engine/weights/checkpoint.h"

#include "base/json.h"
#include "engine/weights/checkpoint_names.h"
#include "tests/support/check.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/safetensors_builder.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *in_folder(const char *name) {
    static char paths[4][384];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bora_checkpoint_test_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    DIR *entries = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) unlink(in_folder(entry->d_name));
    closedir(entries);
    return rmdir(folder);
}

/** A folder with config.json and one file with these tensors of 2 x 4, each filled with its number. */
static void write_model(const char *config, const char *const *names) {
    struct safetensors_builder builder;
    safetensors_builder_init(&builder);
    for (int i = 0; names[i] != NULL; i++) safetensors_builder_filled(&builder, names[i], 2, 4, (float)i);
    safetensors_builder_write(&builder, in_folder("model.safetensors"));
    safetensors_builder_text(in_folder("config.json"), config);
}

static struct checkpoint *opened(const char *path) {
    struct checkpoint *checkpoint = NULL;
    check_ok(checkpoint_open(path, &checkpoint, &check_error));
    return checkpoint;
}

static float first_value(const struct checkpoint *checkpoint, const char *name) {
    struct tensor_view view;
    check_ok(checkpoint_matrix(checkpoint, name, 2, 4, &view, &check_error));
    return *(const float *)view.data;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

enum { SANDWICH = 1 };

static void test_hugging_face_names(void **state) {
    (void)state;
    static const struct {
        const char *stored, *canonical;
        int expert, flags;
    } cases[] = {
        {"model.embed_tokens.weight", "token_embd.weight", -1, 0},
        {"lm_head.weight", "output.weight", -1, 0},
        {"model.norm.weight", "output_norm.weight", -1, 0},
        {"model.layers.31.self_attn.q_proj.weight", "blk.31.attn_q.weight", -1, 0},
        {"model.layers.0.self_attn.k_proj.bias", "blk.0.attn_k.bias", -1, 0},
        {"model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight", -1, 0},
        {"model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight", -1, 0},
        {"model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight", -1, 0},
        {"model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight", -1, 0},
        {"model.layers.0.post_attention_layernorm.weight", "blk.0.post_attention_norm.weight", -1, SANDWICH},
        {"model.layers.0.pre_feedforward_layernorm.weight", "blk.0.ffn_norm.weight", -1, SANDWICH},
        {"model.layers.0.post_feedforward_layernorm.weight", "blk.0.post_ffw_norm.weight", -1, SANDWICH},
        {"model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight", -1, 0},
        {"model.layers.0.block_sparse_moe.gate.weight", "blk.0.ffn_gate_inp.weight", -1, 0},
        {"model.layers.0.block_sparse_moe.experts.7.w1.weight", "blk.0.ffn_gate_exps.weight", 7, 0},
        {"model.layers.0.block_sparse_moe.experts.7.w2.weight", "blk.0.ffn_down_exps.weight", 7, 0},
        {"model.layers.0.block_sparse_moe.experts.7.w3.weight", "blk.0.ffn_up_exps.weight", 7, 0},
        {"model.layers.0.mlp.gate.weight", "blk.0.ffn_gate_inp.weight", -1, 0},
        {"model.layers.0.mlp.experts.127.up_proj.weight", "blk.0.ffn_up_exps.weight", 127, 0},
        {"model.layers.0.mlp.experts.gate_up_proj", "blk.0.ffn_gate_exps.weight", -1, 0},
        {"model.layers.0.mlp.experts.down_proj", "blk.0.ffn_down_exps.weight", -1, 0},
        {"model.layers.0.mlp.shared_expert.down_proj.weight", "blk.0.ffn_down_shexp.weight", -1, 0},
        {"model.layers.0.mlp.shared_expert_gate.weight", "blk.0.ffn_gate_inp_shexp.weight", -1, 0},
        {"language_model.model.layers.3.mlp.up_proj.weight", "blk.3.ffn_up.weight", -1, 0},
        {"model.language_model.layers.3.mlp.up_proj.weight", "blk.3.ffn_up.weight", -1, 0},
        {"language_model.lm_head.weight", "output.weight", -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct canonical_name name;
        assert_int_equal(
            name_from_hugging_face(bytes_view_string(cases[i].stored), cases[i].flags & SANDWICH, false, &name),
            NAME_KNOWN);
        assert_string_equal(name.text, cases[i].canonical);
        assert_int_equal(name.expert, cases[i].expert);
    }
}

static void test_hugging_face_names_that_are_none(void **state) {
    (void)state;
    static const struct {
        const char *stored;
        enum name_kind kind;
    } cases[] = {{"model.layers.0.self_attn.q_proj.weight_scale_inv", NAME_UNKNOWN},
                 {"model.layers.0.self_attn.sinks", NAME_UNKNOWN},
                 {"model.layers.00.self_attn.q_proj.weight", NAME_UNKNOWN},
                 {"model.layers.9999.self_attn.q_proj.weight", NAME_UNKNOWN},
                 {"model.layers.x.self_attn.q_proj.weight", NAME_UNKNOWN},
                 {"model.layers.0.mlp.experts.99999.up_proj.weight", NAME_UNKNOWN},
                 {"model.layers.0.mlp.experts.1.wrong.weight", NAME_UNKNOWN},
                 {"score.weight", NAME_UNKNOWN},
                 {"", NAME_UNKNOWN},
                 {"model.vision_tower.encoder.layers.0.mlp.fc1.weight", NAME_LEFT_OUT},
                 {"vision_tower.vision_model.post_layernorm.weight", NAME_LEFT_OUT},
                 {"multi_modal_projector.mm_input_projection_weight", NAME_LEFT_OUT},
                 {"model.layers.0.self_attn.rotary_emb.inv_freq", NAME_LEFT_OUT}};
    struct canonical_name name;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(name_from_hugging_face(bytes_view_string(cases[i].stored), false, false, &name),
                         cases[i].kind);
    assert_int_equal(name_from_hugging_face(bytes_view_string("lm_head.weight"), false, true, &name), NAME_LEFT_OUT);
}

static void test_native_mistral_names(void **state) {
    (void)state;
    static const struct {
        const char *stored, *canonical;
        int expert;
    } cases[] = {{"tok_embeddings.weight", "token_embd.weight", -1},
                 {"output.weight", "output.weight", -1},
                 {"norm.weight", "output_norm.weight", -1},
                 {"layers.5.attention.wq.weight", "blk.5.attn_q.weight", -1},
                 {"layers.5.attention.wo.weight", "blk.5.attn_output.weight", -1},
                 {"layers.5.attention_norm.weight", "blk.5.attn_norm.weight", -1},
                 {"layers.5.ffn_norm.weight", "blk.5.ffn_norm.weight", -1},
                 {"layers.5.feed_forward.w1.weight", "blk.5.ffn_gate.weight", -1},
                 {"layers.5.feed_forward.w2.weight", "blk.5.ffn_down.weight", -1},
                 {"layers.5.feed_forward.w3.weight", "blk.5.ffn_up.weight", -1},
                 {"layers.5.feed_forward.gate.weight", "blk.5.ffn_gate_inp.weight", -1},
                 {"layers.5.feed_forward.experts.3.w2.weight", "blk.5.ffn_down_exps.weight", 3}};
    struct canonical_name name;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(name_from_mistral(bytes_view_string(cases[i].stored), &name), NAME_KNOWN);
        assert_string_equal(name.text, cases[i].canonical);
        assert_int_equal(name.expert, cases[i].expert);
    }
    assert_int_equal(name_from_mistral(bytes_view_string("vision_encoder.ln_pre.weight"), &name), NAME_LEFT_OUT);
    assert_int_equal(name_from_mistral(bytes_view_string("patch_merger.merging_layer.weight"), &name), NAME_LEFT_OUT);
    assert_int_equal(name_from_mistral(bytes_view_string("model.norm.weight"), &name), NAME_UNKNOWN);
}

/* ---- Hugging Face folders ------------------------------------------------------------------------------------------ */

static void test_folder_lists_every_name_once(void **state) {
    (void)state;
    write_model("{\"model_type\":\"mixtral\"}",
                (const char *[]){"model.embed_tokens.weight", "model.layers.0.block_sparse_moe.experts.1.w1.weight",
                                 "model.layers.0.block_sparse_moe.experts.0.w1.weight", "vision_tower.x", "odd.one",
                                 NULL});
    struct checkpoint *checkpoint = opened(folder);
    assert_int_equal(checkpoint_form(checkpoint), CHECKPOINT_HUGGING_FACE);
    assert_int_equal(checkpoint_tensor_count(checkpoint), 3);
    assert_string_equal(checkpoint_tensor_at(checkpoint, 0)->name, "token_embd.weight");
    assert_string_equal(checkpoint_tensor_at(checkpoint, 1)->name, "blk.0.ffn_gate_exps.weight");
    assert_int_equal(checkpoint_tensor_at(checkpoint, 1)->experts_apart, 2);
    assert_string_equal(checkpoint_tensor_at(checkpoint, 2)->name, "odd.one");
    assert_int_equal(checkpoint_left_out_count(checkpoint), 1);
    assert_string_equal(checkpoint_left_out_at(checkpoint, 0)->name, "vision_tower.x");
    assert_int_equal(checkpoint_parameters(checkpoint), 4 * 8);
    assert_true(json_is_string(json_member(checkpoint_config(checkpoint), "model_type"), "mixtral"));
    struct tensor_view view;
    for (int expert = 0; expert < 2; expert++) {
        check_ok(checkpoint_expert(checkpoint, "blk.0.ffn_gate_exps.weight", expert, 2, 2, 4, &view, &check_error));
        assert_true(*(const float *)view.data == (float)(expert == 0 ? 2 : 1));
    }
    check_fails(checkpoint_expert(checkpoint, "blk.0.ffn_gate_exps.weight", 0, 3, 2, 4, &view, &check_error),
                STATUS_INVALID_ARGUMENT, "is 2 x 2 x 4 where 3 x 2 x 4 is expected");
    check_fails(checkpoint_matrix(checkpoint, "output.weight", 2, 4, &view, &check_error), STATUS_NOT_FOUND,
                "'output.weight' is missing");
    checkpoint_close(checkpoint);
}

static void test_packed_experts_are_gate_and_up(void **state) {
    (void)state;
    enum { E = 2, I = 3, H = 4 };
    float gate_up[E][2 * I][H], down[E][H][I];
    struct safetensors_builder builder;
    struct tensor_view view;
    for (int e = 0; e < E; e++) {
        for (int i = 0; i < 2 * I; i++) gate_up[e][i][0] = (float)(100 * e + i);
        down[e][0][0] = (float)(1000 + e);
    }
    safetensors_builder_init(&builder);
    safetensors_builder_tensor(&builder, "model.layers.4.mlp.experts.gate_up_proj", "F32", 3, (int64_t[]){E, 2 * I, H},
                               gate_up, sizeof gate_up);
    safetensors_builder_tensor(&builder, "model.layers.4.mlp.experts.down_proj", "F32", 3, (int64_t[]){E, H, I}, down,
                               sizeof down);
    safetensors_builder_write(&builder, in_folder("model.safetensors"));
    safetensors_builder_text(in_folder("config.json"), "{}");
    struct checkpoint *checkpoint = opened(folder);
    assert_int_equal(checkpoint_tensor_count(checkpoint), 3);
    for (int e = 0; e < E; e++) {
        check_ok(checkpoint_expert(checkpoint, "blk.4.ffn_gate_exps.weight", e, E, I, H, &view, &check_error));
        assert_true(*(const float *)view.data == (float)(100 * e));
        check_ok(checkpoint_expert(checkpoint, "blk.4.ffn_up_exps.weight", e, E, I, H, &view, &check_error));
        assert_true(*(const float *)view.data == (float)(100 * e + I));
        check_ok(checkpoint_expert(checkpoint, "blk.4.ffn_down_exps.weight", e, E, H, I, &view, &check_error));
        assert_true(*(const float *)view.data == (float)(1000 + e));
    }
    checkpoint_close(checkpoint);
}

static void test_experts_that_are_missing_or_twice_are_refused(void **state) {
    (void)state;
    struct checkpoint *checkpoint = NULL;
    write_model("{}", (const char *[]){"model.layers.0.mlp.experts.0.up_proj.weight",
                                       "model.layers.0.mlp.experts.2.up_proj.weight", NULL});
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "expert 2 is there, but not all before it");
    write_model("{}", (const char *[]){"model.layers.0.mlp.experts.0.up_proj.weight",
                                       "model.layers.0.block_sparse_moe.experts.0.w3.weight", NULL});
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT, "stands there twice");
    write_model("{}", (const char *[]){"model.norm.weight", "norm.weight", NULL});
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "'output_norm.weight' stands there twice");
}

static void test_sandwich_norms_are_seen_from_the_names(void **state) {
    (void)state;
    write_model("{}", (const char *[]){"model.layers.0.post_attention_layernorm.weight",
                                       "model.layers.0.pre_feedforward_layernorm.weight", NULL});
    struct checkpoint *checkpoint = opened(folder);
    assert_true(first_value(checkpoint, "blk.0.post_attention_norm.weight") == 0);
    assert_true(first_value(checkpoint, "blk.0.ffn_norm.weight") == 1);
    checkpoint_close(checkpoint);
}

static void test_tied_head_is_left_out(void **state) {
    (void)state;
    static const struct {
        const char *config;
        bool there;
    } cases[] = {{"{\"tie_word_embeddings\":true}", false},
                 {"{\"tie_word_embeddings\":true,\"text_config\":{\"tie_word_embeddings\":false}}", true},
                 {"{\"model_type\":\"gemma3_text\"}", false},
                 {"{\"model_type\":\"gemma3_text\",\"tie_word_embeddings\":false}", true},
                 {"{\"model_type\":\"llama\"}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_model(cases[i].config, (const char *[]){"model.embed_tokens.weight", "lm_head.weight", NULL});
        struct checkpoint *checkpoint = opened(folder);
        assert_int_equal(checkpoint_has(checkpoint, "output.weight"), cases[i].there);
        checkpoint_close(checkpoint);
    }
}

static void test_types_kernels_do_not_know_are_listed_but_no_matrix(void **state) {
    (void)state;
    struct safetensors_builder builder;
    struct tensor_view view;
    safetensors_builder_init(&builder);
    safetensors_builder_tensor(&builder, "model.norm.weight", "F8_E4M3", 1, (int64_t[]){4}, "abcd", 4);
    safetensors_builder_write(&builder, in_folder("model.safetensors"));
    safetensors_builder_text(in_folder("config.json"), "{}");
    struct checkpoint *checkpoint = opened(folder);
    assert_string_equal(checkpoint_tensor_at(checkpoint, 0)->type_name, "F8_E4M3");
    check_fails(checkpoint_matrix(checkpoint, "output_norm.weight", 0, 4, &view, &check_error), STATUS_UNIMPLEMENTED,
                "'output_norm.weight' is F8_E4M3");
    checkpoint_close(checkpoint);
}

static void write_shards(const char *index) {
    struct safetensors_builder builder;
    safetensors_builder_init(&builder);
    safetensors_builder_filled(&builder, "model.norm.weight", 2, 4, 1);
    safetensors_builder_write(&builder, in_folder("model-00001-of-00002.safetensors"));
    safetensors_builder_init(&builder);
    safetensors_builder_filled(&builder, "lm_head.weight", 2, 4, 2);
    safetensors_builder_write(&builder, in_folder("model-00002-of-00002.safetensors"));
    safetensors_builder_text(in_folder("config.json"), "{}");
    safetensors_builder_text(in_folder("model.safetensors.index.json"), index);
}

static void test_shards_are_one_model(void **state) {
    (void)state;
    write_shards("{\"weight_map\":{\"model.norm.weight\":\"model-00001-of-00002.safetensors\","
                 "\"lm_head.weight\":\"model-00002-of-00002.safetensors\"}}");
    struct checkpoint *checkpoint = opened(folder);
    assert_int_equal(checkpoint_tensor_count(checkpoint), 2);
    assert_true(first_value(checkpoint, "output_norm.weight") == 1);
    assert_true(first_value(checkpoint, "output.weight") == 2);
    checkpoint_close(checkpoint);
}

static void test_indexes_that_lie_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *index;
        enum status status;
        const char *word;
    } cases[] = {
        {"{\"weight_map\":{\"lm_head.weight\":\"model-00001-of-00002.safetensors\"}}", STATUS_INVALID_ARGUMENT,
         "'lm_head.weight' is not there, where the index puts it"},
        {"{\"weight_map\":{\"lm_head.weight\":\"model-00003-of-00002.safetensors\"}}", STATUS_NOT_FOUND,
         "model-00003-of-00002"},
        {"{\"weight_map\":{\"lm_head.weight\":\"../other.safetensors\"}}", STATUS_INVALID_ARGUMENT, "'lm_head.weight'"},
        {"{\"weight_map\":{\"lm_head.weight\":\"/etc/passwd\"}}", STATUS_INVALID_ARGUMENT, "'lm_head.weight'"},
        {"{\"weight_map\":{\"lm_head.weight\":\"..safetensors\"}}", STATUS_INVALID_ARGUMENT, "'lm_head.weight'"},
        {"{\"weight_map\":{\"lm_head.weight\":7}}", STATUS_INVALID_ARGUMENT, "'lm_head.weight'"},
        {"{\"weight_map\":{}}", STATUS_INVALID_ARGUMENT, "no weight_map"},
        {"{\"weight_map\":[]}", STATUS_INVALID_ARGUMENT, "no weight_map"},
        {"{", STATUS_INVALID_ARGUMENT, "is not JSON"},
    };
    struct checkpoint *checkpoint = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_shards(cases[i].index);
        check_fails(checkpoint_open(folder, &checkpoint, &check_error), cases[i].status, cases[i].word);
    }
}

static void test_shards_that_hold_one_tensor_twice_are_refused(void **state) {
    (void)state;
    struct safetensors_builder builder;
    struct checkpoint *checkpoint = NULL;
    write_shards("{\"weight_map\":{\"model.norm.weight\":\"model-00001-of-00002.safetensors\","
                 "\"lm_head.weight\":\"model-00002-of-00002.safetensors\"}}");
    safetensors_builder_init(&builder);
    safetensors_builder_filled(&builder, "lm_head.weight", 2, 4, 2);
    safetensors_builder_filled(&builder, "model.norm.weight", 2, 4, 2);
    safetensors_builder_write(&builder, in_folder("model-00002-of-00002.safetensors"));
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "'output_norm.weight' stands there twice");
}

static void test_files_beside_the_weights(void **state) {
    (void)state;
    struct bytes_view first, again;
    write_model("{}", (const char *[]){"model.norm.weight", NULL});
    safetensors_builder_text(in_folder("tokenizer.json"), "{\"a\":1}");
    safetensors_builder_text(in_folder("empty.json"), "");
    struct checkpoint *checkpoint = opened(folder);
    check_ok(checkpoint_file(checkpoint, "tokenizer.json", &first, &check_error));
    assert_true(bytes_view_equal_string(first, "{\"a\":1}"));
    check_ok(checkpoint_file(checkpoint, "tokenizer.json", &again, &check_error));
    assert_ptr_equal(first.data, again.data);
    check_ok(checkpoint_file(checkpoint, "empty.json", &first, &check_error));
    assert_int_equal(first.length, 0);
    check_fails(checkpoint_file(checkpoint, "tekken.json", &first, &check_error), STATUS_NOT_FOUND, "tekken.json");
    check_fails(checkpoint_file(checkpoint, "../config.json", &first, &check_error), STATUS_NOT_FOUND, "config.json");
    checkpoint_close(checkpoint);
}

static void test_folders_that_hold_no_model(void **state) {
    (void)state;
    struct checkpoint *checkpoint = NULL;
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT, "holds no model");
    safetensors_builder_text(in_folder("config.json"), "{}");
    safetensors_builder_text(in_folder("pytorch_model.bin"), "x");
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_UNIMPLEMENTED, "only as pickle");
    write_model("[1]", (const char *[]){"model.norm.weight", NULL});
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "config.json is no JSON object");
    check_fails(checkpoint_open(in_folder("missing"), &checkpoint, &check_error), STATUS_NOT_FOUND, "missing");
}

/** What people get when a download did not come to its end, or git had no git-lfs. */
static void test_files_that_are_not_there_in_full_are_called_so(void **state) {
    (void)state;
    struct checkpoint *checkpoint = NULL;
    safetensors_builder_text(in_folder("config.json"), "{}");
    assert_int_equal(symlink("../blobs/none", in_folder("model.safetensors")), 0);
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "model.safetensors is a link to a file that is not there");
    unlink(in_folder("model.safetensors"));
    safetensors_builder_text(in_folder("model.safetensors"),
                             "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2106792\n");
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT, "git-lfs pointer");
}

static void test_adapters_are_called_so(void **state) {
    (void)state;
    struct checkpoint *checkpoint = NULL;
    safetensors_builder_text(in_folder("adapter_config.json"), "{}");
    safetensors_builder_text(in_folder("adapter_model.safetensors"), "x");
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_UNIMPLEMENTED, "is an adapter (LoRA");
}

/** models--ORG--NAME of Hugging Face's cache is what people find and name. */
static void test_a_repository_of_the_hub_is_its_snapshot_of_main(void **state) {
    (void)state;
    struct checkpoint *checkpoint = NULL;
    assert_int_equal(mkdir(in_folder("refs"), 0700) | mkdir(in_folder("snapshots"), 0700) |
                         mkdir(in_folder("snapshots/0af1"), 0700),
                     0);
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT, "in snapshots/");
    safetensors_builder_text(in_folder("refs/main"), "0af1\n");
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT, "snapshots/0af1 holds no");
    safetensors_builder_text(in_folder("snapshots/0af1/config.json"), "{}");
    write_model("{}", (const char *[]){"model.norm.weight", NULL});
    assert_int_equal(rename(in_folder("model.safetensors"), in_folder("snapshots/0af1/model.safetensors")), 0);
    checkpoint = opened(folder);
    assert_int_equal(checkpoint_tensor_count(checkpoint), 1);
    checkpoint_close(checkpoint);
    safetensors_builder_text(in_folder("refs/main"), "../../elsewhere");
    unlink(in_folder("config.json"));
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_INVALID_ARGUMENT, "in snapshots/");
    static const char *const made[] = {
        "refs/main",      "refs",     "snapshots/0af1/config.json", "snapshots/0af1/model.safetensors",
        "snapshots/0af1", "snapshots"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) assert_int_equal(remove(in_folder(made[i])), 0);
}

/* ---- native Mistral ------------------------------------------------------------------------------------------------ */

static void test_consolidated_files_in_one_and_in_parts(void **state) {
    (void)state;
    struct safetensors_builder builder;
    struct checkpoint *checkpoint;
    safetensors_builder_text(in_folder("params.json"), "{\"dim\":4}");
    safetensors_builder_init(&builder);
    safetensors_builder_filled(&builder, "tok_embeddings.weight", 2, 4, 1);
    safetensors_builder_write(&builder, in_folder("consolidated-00001-of-00002.safetensors"));
    check_fails(checkpoint_open(folder, &checkpoint, &check_error), STATUS_NOT_FOUND,
                "consolidated-00002-of-00002.safetensors");
    safetensors_builder_init(&builder);
    safetensors_builder_filled(&builder, "layers.1.feed_forward.w3.weight", 2, 4, 2);
    safetensors_builder_write(&builder, in_folder("consolidated-00002-of-00002.safetensors"));
    checkpoint = opened(folder);
    assert_int_equal(checkpoint_form(checkpoint), CHECKPOINT_MISTRAL);
    assert_int_equal(checkpoint_tensor_count(checkpoint), 2);
    assert_true(first_value(checkpoint, "blk.1.ffn_up.weight") == 2);
    checkpoint_close(checkpoint);
    safetensors_builder_init(&builder);
    safetensors_builder_filled(&builder, "norm.weight", 2, 4, 3);
    safetensors_builder_write(&builder, in_folder("consolidated.safetensors"));
    checkpoint = opened(folder);
    assert_int_equal(checkpoint_tensor_count(checkpoint), 1);
    checkpoint_close(checkpoint);
}

/* ---- GGUF ---------------------------------------------------------------------------------------------------------- */

static void write_gguf_part(const char *name, int number, int count, int tensors, const char *tensor) {
    static const float values[8] = {1};
    struct gguf_builder builder;
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_u32(&builder, "split.no", (uint32_t)number);
    gguf_builder_u32(&builder, "split.count", (uint32_t)count);
    gguf_builder_i32(&builder, "split.tensors.count", tensors);
    gguf_builder_tensor(&builder, tensor, TENSOR_F32, 2, (int64_t[]){4, 2}, values, sizeof values);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    FILE *out = fopen(in_folder(name), "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(file, 1, length, out), length);
    assert_int_equal(fclose(out), 0);
    free(file);
}

static void test_gguf_in_parts(void **state) {
    (void)state;
    struct checkpoint *checkpoint = NULL;
    write_gguf_part("m-00001-of-00002.gguf", 0, 2, 2, "a");
    check_fails(checkpoint_open(in_folder("m-00001-of-00002.gguf"), &checkpoint, &check_error), STATUS_NOT_FOUND,
                "m-00002-of-00002.gguf");
    write_gguf_part("m-00002-of-00002.gguf", 1, 2, 2, "b");
    checkpoint = opened(in_folder("m-00001-of-00002.gguf"));
    assert_int_equal(checkpoint_tensor_count(checkpoint), 2);
    assert_true(first_value(checkpoint, "b") == 1);
    checkpoint_close(checkpoint);
    check_fails(checkpoint_open(in_folder("m-00002-of-00002.gguf"), &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "name the first");
    write_gguf_part("m-00002-of-00002.gguf", 1, 2, 2, "a");
    check_fails(checkpoint_open(in_folder("m-00001-of-00002.gguf"), &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "'a' stands there twice");
    write_gguf_part("m-00002-of-00002.gguf", 1, 3, 2, "b");
    check_fails(checkpoint_open(in_folder("m-00001-of-00002.gguf"), &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "part 2 of 3, not 2 of 2");
    write_gguf_part("m-00002-of-00002.gguf", 1, 2, 2, "b");
    write_gguf_part("m-00001-of-00002.gguf", 0, 2, 3, "a");
    check_fails(checkpoint_open(in_folder("m-00001-of-00002.gguf"), &checkpoint, &check_error), STATUS_INVALID_ARGUMENT,
                "2 tensors where 3 are due");
}

#define in_a_folder(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hugging_face_names),
        cmocka_unit_test(test_hugging_face_names_that_are_none),
        cmocka_unit_test(test_native_mistral_names),
        in_a_folder(test_folder_lists_every_name_once),
        in_a_folder(test_packed_experts_are_gate_and_up),
        in_a_folder(test_experts_that_are_missing_or_twice_are_refused),
        in_a_folder(test_sandwich_norms_are_seen_from_the_names),
        in_a_folder(test_tied_head_is_left_out),
        in_a_folder(test_types_kernels_do_not_know_are_listed_but_no_matrix),
        in_a_folder(test_shards_are_one_model),
        in_a_folder(test_indexes_that_lie_are_refused),
        in_a_folder(test_shards_that_hold_one_tensor_twice_are_refused),
        in_a_folder(test_files_beside_the_weights),
        in_a_folder(test_a_repository_of_the_hub_is_its_snapshot_of_main),
        in_a_folder(test_adapters_are_called_so),
        in_a_folder(test_files_that_are_not_there_in_full_are_called_so),
        in_a_folder(test_folders_that_hold_no_model),
        in_a_folder(test_consolidated_files_in_one_and_in_parts),
        in_a_folder(test_gguf_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
