/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversion: the tiny models of every family (tests/golden/tiny) become GGUF and a Hugging Face folder again, and compute the same; what cannot be
 * said in the other form is refused by name; an output is whole or not there.
 */
#include "engine/convert/convert.h"
#include "engine/convert/hugging_face_files.h"
#include "engine/convert/inspect.h"

#include "base/json.h"
#include "engine/kv_cache/kv_cache.h"
#include "engine/model/model.h"
#include "engine/weights/gguf.h"
#include "tests/support/check.h"
#include "tests/support/gguf_builder.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 32, TOKENS = 32 };

static char folder[64];

static const char *in_folder(const char *name) {
    static char paths[8][400];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bora_convert_test_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static void empty_folder(const char *path) {
    char name[512];
    DIR *entries = opendir(path);
    for (const struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) != 0) {
            empty_folder(name);
            rmdir(name);
        }
    }
    if (entries != NULL) closedir(entries);
}

static int tear_down(void **state) {
    (void)state;
    empty_folder(folder);
    return rmdir(folder);
}

static const char *golden(const char *family) {
    static char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/tiny/%s", BORA_SOURCE_DIR, family);
    return path;
}

static enum status convert(const char *from, const char *to, struct convert_options options) {
    struct checkpoint *checkpoint = NULL;
    struct bytes notes;
    bytes_init(&notes, 1 << 16);
    options.threads = options.threads == 0 ? 2 : options.threads;
    enum status status = checkpoint_open(from, &checkpoint, &check_error);
    if (status == STATUS_OK) status = convert_model(checkpoint, to, &options, &notes, &check_error);
    checkpoint_close(checkpoint);
    bytes_deinit(&notes);
    return status;
}

/** Logits of all rows of a fixed prompt, [ROWS][vocabulary]; free() them. */
static float *logits_of(const char *path, int64_t *out_count) {
    struct checkpoint *checkpoint = NULL;
    struct model_config *config = malloc(sizeof *config);
    struct kernels *kernels = NULL;
    struct model *model = NULL;
    struct kv_cache *cache = NULL;
    int32_t ids[ROWS], positions[ROWS], wanted[ROWS], blocks[1] = {0};
    check_ok(checkpoint_open(path, &checkpoint, &check_error));
    check_ok(model_config_read(checkpoint, config, &check_error));
    struct kernels_options options = {.variant = "plain",
                                      .threads = 1,
                                      .rows_max = ROWS,
                                      .columns_max = model_config_columns_max(config),
                                      .context_max = TOKENS,
                                      .heads_max = config->heads,
                                      .experts_used_max = config->experts_used};
    check_ok(kernels_open("cpu", &options, &kernels, &check_error));
    check_ok(model_load(checkpoint, config, kernels, ROWS, ROWS, &model, &check_error));
    struct kv_cache_options cache_options = {.layers = config->layers,
                                             .kv_heads = config->kv_heads,
                                             .head_dim = config->head_dim,
                                             .type = KV_F32,
                                             .block_count = 2};
    check_ok(kv_cache_create(&cache_options, &cache, &check_error));
    for (int i = 0; i < ROWS; i++) {
        ids[i] = (i * 37 + 11) % config->vocabulary;
        positions[i] = wanted[i] = i;
    }
    struct kv_sequence sequence = {.row_count = ROWS, .context = ROWS, .blocks = blocks};
    *out_count = (int64_t)ROWS * config->vocabulary;
    float *logits = malloc((size_t)*out_count * sizeof *logits);
    struct model_batch batch = {.rows = ROWS,
                                .ids = ids,
                                .positions = positions,
                                .sequences = &sequence,
                                .sequence_count = 1,
                                .logit_rows = wanted,
                                .logit_count = ROWS,
                                .logits = logits};
    assert_true(model_forward(model, cache, &batch));
    kv_cache_destroy(cache);
    model_destroy(model);
    kernels_close(kernels);
    checkpoint_close(checkpoint);
    free(config);
    return logits;
}

/** The largest difference between two models' logits, over max(1, |logit|). */
static double distance(const char *a, const char *b) {
    int64_t count, other;
    float *x = logits_of(a, &count), *y = logits_of(b, &other);
    double most = 0;
    assert_int_equal(count, other);
    for (int64_t i = 0; i < count; i++) {
        double size = fabs((double)x[i]) > 1 ? fabs((double)x[i]) : 1, away = fabs((double)x[i] - y[i]) / size;
        if (!(away <= most)) most = away;
    }
    free(x);
    free(y);
    return most;
}

/** The root of the mean square of the differences, relative to that of the logits. */
static double relative_rms(const char *a, const char *b) {
    int64_t count, other;
    float *x = logits_of(a, &count), *y = logits_of(b, &other);
    double squares = 0, differences = 0;
    assert_int_equal(count, other);
    for (int64_t i = 0; i < count; i++) {
        squares += (double)x[i] * x[i];
        differences += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    }
    free(x);
    free(y);
    return sqrt(differences / squares);
}

/* ---- all families -------------------------------------------------------------------------------------------------- */

/** Sums over permuted columns differ in their last bits. */
static const double SAME = 1e-4;

static void there_and_back(const char *from, bool and_back) {
    check_ok(convert(from, in_folder("model.gguf"), (struct convert_options){.keep = true, .force = true}));
    double away = distance(from, in_folder("model.gguf"));
    if (away > SAME) fail_msg("%s as GGUF differs by %g", from, away);
    if (!and_back) return;
    check_ok(convert(in_folder("model.gguf"), in_folder("back"),
                     (struct convert_options){.to = CONVERT_TO_HUGGING_FACE, .keep = true, .force = true}));
    away = distance(from, in_folder("back"));
    if (away > SAME) fail_msg("%s as GGUF and back differs by %g", from, away);
}

static void test_families_there_and_back(void **state) {
    (void)state;
    static const char *const families[] = {"llama_linear", "mistral",          "mistral_native", "nemo",
                                           "ministral",    "ministral_native", "ministral3",     "ministral3_native",
                                           "mixtral",      "mixtral_native",   "qwen2",          "qwen3",
                                           "qwen2_moe",    "qwen3_moe",        "smollm3"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) there_and_back(golden(families[i]), true);
    there_and_back(golden("llama3"), false); /* its scaling is none that config.json can be told from factors */
}

/** A golden's config.json with `from` replaced by `to`, beside its weights. */
static const char *edited(const char *family, const char *from, const char *to) {
    static char text[8192], changed[8192];
    char name[700];
    snprintf(name, sizeof name, "%s/config.json", golden(family));
    FILE *file = fopen(name, "rb");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    const char *place = strstr(text, from);
    assert_non_null(place);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from));
    mkdir(in_folder("edited"), 0700);
    file = fopen(in_folder("edited/config.json"), "wb");
    assert_non_null(file);
    fputs(changed, file);
    fclose(file);
    snprintf(name, sizeof name, "%s/model.safetensors", golden(family));
    unlink(in_folder("edited/model.safetensors"));
    assert_int_equal(symlink(name, in_folder("edited/model.safetensors")), 0);
    return in_folder("edited");
}

static void test_gemmas_there_and_back(void **state) {
    (void)state;
    there_and_back(edited("gemma3", "\"query_pre_attn_scalar\": 24", "\"query_pre_attn_scalar\": 32"), true);
    there_and_back(edited("gemma2", "\"query_pre_attn_scalar\": 20", "\"query_pre_attn_scalar\": 32"), true);
}

static void count_reports(void *context, const struct convert_progress *progress) {
    (void)progress;
    (*(int *)context)++;
}

/** Before the weights are written, which can take hours. */
static void test_what_gguf_cannot_say_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *family, *word;
    } cases[] = {{"gemma3", "the attention's scale"}, {"mistral4", "multi-head latent attention (mistral4)"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int reports = 0;
        check_fails(
            convert(golden(cases[i].family), in_folder("m.gguf"),
                    (struct convert_options){.keep = true, .progress = count_reports, .progress_context = &reports}),
            STATUS_UNIMPLEMENTED, cases[i].word);
        assert_int_equal(reports, 0);
        assert_int_not_equal(access(in_folder("m.gguf"), F_OK), 0);
        assert_int_not_equal(access(in_folder("m.gguf.part"), F_OK), 0);
    }
}

static void keep_report(void *context, const struct convert_progress *progress) {
    *(struct convert_progress *)context = *progress;
}

static void test_the_last_report_says_that_all_is_done(void **state) {
    (void)state;
    struct convert_progress last = {0};
    check_ok(convert(golden("mistral"), in_folder("m.gguf"),
                     (struct convert_options){.keep = true, .progress = keep_report, .progress_context = &last}));
    assert_true(last.bytes > 0 && last.bytes_done == last.bytes && last.tensors_done == last.tensors);
}

/** A limit stands for a disk that is too small: nothing is computed for it. */
static void test_a_disk_that_is_too_small_is_said_at_once(void **state) {
    (void)state;
    struct rlimit before, small;
    int reports = 0;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){8192, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_fails(
        convert(golden("mistral"), in_folder("m.gguf"),
                (struct convert_options){.keep = true, .progress = count_reports, .progress_context = &reports}),
        STATUS_RESOURCE_EXHAUSTED, "m.gguf.part");
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(reports, 0);
    assert_int_not_equal(access(in_folder("m.gguf.part"), F_OK), 0);
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

static void test_types_of_a_quantised_model(void **state) {
    (void)state;
    struct gguf *gguf = NULL;
    check_ok(convert(golden("llama_linear"), in_folder("q.gguf"), (struct convert_options){.type = TENSOR_Q4_0}));
    check_ok(gguf_open(in_folder("q.gguf"), &gguf, &check_error));
    assert_int_equal(gguf_tensor(gguf, "blk.0.attn_q.weight")->type, TENSOR_Q4_0);
    assert_int_equal(gguf_tensor(gguf, "blk.0.attn_norm.weight")->type, TENSOR_F32);
    /* rows of 64 are no multiple of 256: Q8_0 instead of Q6_K */
    assert_int_equal(gguf_tensor(gguf, "token_embd.weight")->type,
                     gguf_tensor(gguf, "output.weight") == NULL ? TENSOR_Q8_0 : TENSOR_Q4_0);
    gguf_close(gguf);
    check_ok(convert(golden("llama_linear"), in_folder("q.gguf"),
                     (struct convert_options){.type = TENSOR_Q4_K, .force = true}));
    check_ok(gguf_open(in_folder("q.gguf"), &gguf, &check_error));
    assert_int_equal(gguf_tensor(gguf, "blk.0.attn_q.weight")->type, TENSOR_Q5_0);
    gguf_close(gguf);
}

static void test_quantised_models_are_near(void **state) {
    (void)state;
    static const struct {
        enum tensor_type type;
        double bound;
    } cases[] = {{TENSOR_F32, 1e-5}, {TENSOR_F16, 1e-5}, {TENSOR_BF16, 1e-5}, {TENSOR_Q8_0, 0.06},
                 {TENSOR_Q5_1, 0.4}, {TENSOR_Q5_0, 0.4}, {TENSOR_Q4_1, 0.7},  {TENSOR_Q4_0, 0.7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_ok(convert(golden("nemo"), in_folder("q.gguf"),
                         (struct convert_options){.type = cases[i].type, .force = true}));
        double away = relative_rms(golden("nemo"), in_folder("q.gguf"));
        if (away > cases[i].bound)
            fail_msg("%s is off by %g (at most %g)", tensor_type_name(cases[i].type), away, cases[i].bound);
    }
}

static char *file_text(const char *path, size_t *out_length) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *out_length = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*out_length + 1);
    assert_int_equal(fread(text, 1, *out_length, file), *out_length);
    fclose(file);
    return text;
}

static void test_threads_do_not_change_the_bytes(void **state) {
    (void)state;
    size_t length[2];
    char *text[2];
    for (int i = 0; i < 2; i++) {
        check_ok(convert(golden("nemo"), in_folder("q.gguf"),
                         (struct convert_options){.type = TENSOR_Q5_1, .force = true, .threads = i == 0 ? 1 : 4}));
        text[i] = file_text(in_folder("q.gguf"), &length[i]);
    }
    assert_int_equal(length[0], length[1]);
    assert_memory_equal(text[0], text[1], length[0]);
    free(text[0]);
    free(text[1]);
}

/* ---- outputs ------------------------------------------------------------------------------------------------------- */

static void test_an_output_that_is_there_is_kept(void **state) {
    (void)state;
    FILE *file = fopen(in_folder("m.gguf"), "wb");
    fputs("precious", file);
    fclose(file);
    check_fails(convert(golden("mistral"), in_folder("m.gguf"), (struct convert_options){.keep = true}),
                STATUS_ALREADY_EXISTS, "m.gguf is there already");
    size_t length;
    char *text = file_text(in_folder("m.gguf"), &length);
    assert_int_equal(length, 8);
    free(text);
    check_ok(convert(golden("mistral"), in_folder("m.gguf"), (struct convert_options){.keep = true, .force = true}));
    check_fails(
        convert(in_folder("m.gguf"), folder, (struct convert_options){.to = CONVERT_TO_HUGGING_FACE, .keep = true}),
        STATUS_ALREADY_EXISTS, "is there already");
    check_fails(convert(golden("mistral"), folder, (struct convert_options){.keep = true}), STATUS_ALREADY_EXISTS,
                "is there and no file");
}

static void test_a_stopped_conversion_leaves_nothing(void **state) {
    (void)state;
    static volatile const bool stop = true;
    check_fails(convert(golden("mistral"), in_folder("m.gguf"), (struct convert_options){.keep = true, .stop = &stop}),
                STATUS_CANCELLED, "stopped");
    assert_int_not_equal(access(in_folder("m.gguf"), F_OK), 0);
    assert_int_not_equal(access(in_folder("m.gguf.part"), F_OK), 0);
}

static void test_a_full_disk_is_said(void **state) {
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    assert_int_equal(symlink("/dev/full", in_folder("m.gguf.part")), 0);
    check_fails(convert(golden("mistral"), in_folder("m.gguf"), (struct convert_options){.keep = true}),
                STATUS_RESOURCE_EXHAUSTED, "No space left");
    assert_int_not_equal(access(in_folder("m.gguf"), F_OK), 0);
}

static void test_weights_that_are_no_numbers_are_named(void **state) {
    (void)state;
    float values[32] = {0};
    struct gguf_builder builder;
    size_t length;
    values[5] = NAN;
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, "general.architecture", "llama");
    gguf_builder_tensor(&builder, "blk.0.attn_q.weight", TENSOR_F32, 2, (int64_t[]){32, 1}, values, sizeof values);
    uint8_t *bytes = gguf_builder_finish(&builder, &length);
    FILE *file = fopen(in_folder("nan.gguf"), "wb");
    fwrite(bytes, 1, length, file);
    fclose(file);
    free(bytes);
    check_fails(convert(in_folder("nan.gguf"), in_folder("m.gguf"), (struct convert_options){.type = TENSOR_Q8_0}),
                STATUS_OUT_OF_RANGE, "blk.0.attn_q.weight");
}

static void test_metadata_is_taken_along(void **state) {
    (void)state;
    struct gguf *gguf = NULL;
    struct bytes_view text;
    struct gguf_array array;
    float values[32] = {1};
    struct gguf_builder builder;
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, "general.architecture", "anything");
    gguf_builder_u32(&builder, "general.alignment", 32);
    gguf_builder_string(&builder, "tokenizer.chat_template", "{{ bos }}");
    gguf_builder_strings(&builder, "tokenizer.ggml.tokens", (const char *[]){"a", "", "ccc"}, 3);
    gguf_builder_tensor(&builder, "odd.weight", TENSOR_F32, 2, (int64_t[]){32, 1}, values, sizeof values);
    uint8_t *bytes = gguf_builder_finish(&builder, &length);
    FILE *file = fopen(in_folder("any.gguf"), "wb");
    fwrite(bytes, 1, length, file);
    fclose(file);
    free(bytes);
    check_ok(convert(in_folder("any.gguf"), in_folder("m.gguf"), (struct convert_options){.type = TENSOR_Q8_0}));
    check_ok(gguf_open(in_folder("m.gguf"), &gguf, &check_error));
    assert_true(gguf_string(gguf, "tokenizer.chat_template", &text) && bytes_view_equal_string(text, "{{ bos }}"));
    assert_true(gguf_array(gguf, "tokenizer.ggml.tokens", &array) && array.count == 3);
    assert_true(bytes_view_equal_string(gguf_array_string(&array, 2), "ccc"));
    uint64_t type;
    assert_true(gguf_u64(gguf, "general.file_type", &type) && type == 7);
    assert_int_equal(gguf_tensor(gguf, "odd.weight")->type, TENSOR_Q8_0);
    gguf_close(gguf);
}

static void write_file(const char *name, struct bytes_view text) {
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    fwrite(text.data, 1, text.length, file);
    fclose(file);
}

/** tokenizer.model: "<unk>", the bytes, and two that SentencePiece takes for text of the user's. */
static void write_sentencepiece(const char *name) {
    struct arena arena;
    struct bytes text;
    struct error err;
    struct vocabulary vocabulary = {.arena = &arena, .bos = -1, .eos = -1, .unknown = 0, .padding = -1};
    enum { BYTES = 256, COUNT = BYTES + 3 };
    arena_init(&arena, 1 << 20);
    bytes_init(&text, 1 << 20);
    check_ok(vocabulary_reserve(&vocabulary, COUNT, &err));
    vocabulary.scores = arena_alloc_array(&arena, COUNT, sizeof *vocabulary.scores);
    for (int i = 0; i < BYTES; i++) {
        vocabulary.tokens[i + 1] = bytes_view_string(arena_printf(&arena, "<0x%02X>", i));
        vocabulary.types[i + 1] = VOCABULARY_BYTE;
    }
    vocabulary.tokens[0] = bytes_view_string("<unk>");
    vocabulary.types[0] = VOCABULARY_UNKNOWN;
    vocabulary.tokens[BYTES + 1] = bytes_view_string("<start_of_turn>");
    vocabulary.tokens[BYTES + 2] = bytes_view_string("  ");
    vocabulary.types[BYTES + 1] = vocabulary.types[BYTES + 2] = VOCABULARY_USER_DEFINED;
    hugging_face_sentencepiece(&vocabulary, &text);
    write_file(name, bytes_view(&text));
    bytes_deinit(&text);
    arena_deinit(&arena);
}

/** Gemma's tokenizer.model takes "<start_of_turn>" for text; what the folder says beside it counts, or users could write control tokens. */
static void test_control_tokens_are_those_of_the_folder(void **state) {
    (void)state;
    static const char added[] = "\"content\":\"<start_of_turn>\",\"special\":true}",
                      blanks[] = "\"content\":\"\xE2\x96\x81\xE2\x96\x81\",\"special\":false}";
    char from[600], json[300];
    assert_int_equal(mkdir(in_folder("hf"), 0700), 0);
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"config.json", "model.safetensors"};
        snprintf(from, sizeof from, "%s/%s", golden("llama3"), names[i]);
        snprintf(json, sizeof json, "hf/%s", names[i]);
        assert_int_equal(symlink(from, in_folder(json)), 0);
    }
    write_sentencepiece("hf/tokenizer.model");
    for (int i = 0; i < 2; i++) { /* in tokenizer.json, or where there is none in tokenizer_config.json */
        struct gguf *gguf = NULL;
        struct gguf_array types, tokens;
        if (i == 0)
            snprintf(json, sizeof json, "{\"added_tokens\":[{\"id\":257,%s,{\"id\":258,%s]}", added, blanks);
        else
            snprintf(json, sizeof json, "{\"added_tokens_decoder\":{\"257\":{%s,\"258\":{%s}}", added, blanks);
        write_file(i == 0 ? "hf/tokenizer.json" : "hf/tokenizer_config.json", bytes_view_string(json));
        check_ok(convert(in_folder("hf"), in_folder("m.gguf"), (struct convert_options){.keep = true, .force = true}));
        check_ok(gguf_open(in_folder("m.gguf"), &gguf, &check_error));
        assert_true(gguf_array(gguf, "tokenizer.ggml.token_type", &types) && types.count >= 259);
        assert_true(gguf_array(gguf, "tokenizer.ggml.tokens", &tokens));
        assert_int_equal(gguf_array_i64(&types, 0), VOCABULARY_UNKNOWN);
        assert_int_equal(gguf_array_i64(&types, 257), VOCABULARY_CONTROL);
        assert_int_equal(gguf_array_i64(&types, 258), VOCABULARY_USER_DEFINED);
        assert_true(bytes_view_equal_string(gguf_array_string(&tokens, 258), "  "));
        gguf_close(gguf);
        unlink(in_folder("hf/tokenizer.json"));
    }
}

/** A template for conversations with tools goes along beside the other, and back. */
static void test_both_chat_templates_are_taken_along(void **state) {
    (void)state;
    static const char templates[] = "\"chat_template\": [{\"name\": \"default\", \"template\": \"{{ 1 }}\"}, "
                                    "{\"name\": \"tool_use\", \"template\": \"{{ 2 }}\"}]";
    struct gguf *gguf = NULL;
    struct bytes_view text;
    char from[600], json[300];
    size_t length;
    assert_int_equal(mkdir(in_folder("hf"), 0700), 0);
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"config.json", "model.safetensors"};
        snprintf(from, sizeof from, "%s/%s", golden("mistral"), names[i]);
        snprintf(json, sizeof json, "hf/%s", names[i]);
        assert_int_equal(symlink(from, in_folder(json)), 0);
    }
    write_sentencepiece("hf/tokenizer.model");
    snprintf(json, sizeof json, "{%s}", templates);
    write_file("hf/tokenizer_config.json", bytes_view_string(json));
    check_ok(convert(in_folder("hf"), in_folder("m.gguf"), (struct convert_options){.keep = true}));
    check_ok(gguf_open(in_folder("m.gguf"), &gguf, &check_error));
    assert_true(gguf_string(gguf, "tokenizer.chat_template", &text) && bytes_view_equal_string(text, "{{ 1 }}"));
    assert_true(gguf_string(gguf, "tokenizer.chat_template.tool_use", &text) &&
                bytes_view_equal_string(text, "{{ 2 }}"));
    gguf_close(gguf);
    check_ok(convert(in_folder("m.gguf"), in_folder("back"),
                     (struct convert_options){.to = CONVERT_TO_HUGGING_FACE, .keep = true}));
    char *written = file_text(in_folder("back/tokenizer_config.json"), &length);
    assert_non_null(memmem(written, length, templates, strlen(templates)));
    free(written);
}

/** What another model left in the folder would speak for the new one. */
static void test_force_leaves_nothing_of_the_model_that_was_there(void **state) {
    (void)state;
    static const char *const old[] = {"tekken.json", "tokenizer.json", "chat_template.jinja", "generation_config.json",
                                      "model.safetensors.index.json"};
    char name[64];
    struct convert_options options = {.to = CONVERT_TO_HUGGING_FACE, .keep = true};
    check_ok(convert(golden("mistral"), in_folder("m.gguf"), (struct convert_options){.keep = true}));
    assert_int_equal(mkdir(in_folder("hf"), 0700), 0);
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        snprintf(name, sizeof name, "hf/%s", old[i]);
        write_file(name, bytes_view_string("old"));
    }
    write_file("hf/notes.txt", bytes_view_string("mine"));
    check_fails(convert(in_folder("m.gguf"), in_folder("hf"), options), STATUS_ALREADY_EXISTS, "--force");
    assert_int_equal(access(in_folder("hf/tekken.json"), F_OK), 0);
    options.force = true;
    check_ok(convert(in_folder("m.gguf"), in_folder("hf"), options));
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        snprintf(name, sizeof name, "hf/%s", old[i]);
        if (access(in_folder(name), F_OK) == 0) fail_msg("%s is left", name);
    }
    assert_int_equal(access(in_folder("hf/notes.txt"), F_OK), 0);
    assert_true(distance(golden("mistral"), in_folder("hf")) <= SAME);
}

/* ---- upcycle ------------------------------------------------------------------------------------------------------- */

static void test_an_unperturbed_mixture_computes_what_the_dense_model_does(void **state) {
    (void)state;
    static const struct convert_upcycle two_of_eight = {.experts = 8, .experts_used = 2, .seed = 5},
                                        one_of_three = {.experts = 3, .experts_used = 1};
    static const char *const dense[] = {"llama3", "mistral", "mistral_native", "nemo"};
    for (size_t i = 0; i < sizeof dense / sizeof dense[0]; i++) {
        check_ok(convert(golden(dense[i]), in_folder("moe.gguf"),
                         (struct convert_options){.keep = true, .force = true, .upcycle = &two_of_eight}));
        double away = distance(golden(dense[i]), in_folder("moe.gguf"));
        if (away > SAME) fail_msg("%s as a mixture differs by %g", dense[i], away);
    }
    check_ok(convert(golden("nemo"), in_folder("q.gguf"), (struct convert_options){.type = TENSOR_Q4_0}));
    check_ok(convert(in_folder("q.gguf"), in_folder("moe.gguf"),
                     (struct convert_options){.keep = true, .force = true, .upcycle = &one_of_three}));
    struct gguf *gguf = NULL;
    check_ok(gguf_open(in_folder("moe.gguf"), &gguf, &check_error));
    const struct gguf_tensor *experts = gguf_tensor(gguf, "blk.0.ffn_down_exps.weight");
    assert_int_equal(experts->type, TENSOR_Q4_0);
    assert_int_equal(experts->dimensions[2], 3);
    assert_memory_equal(experts->data, (const char *)experts->data + 2 * experts->bytes / 3, experts->bytes / 3);
    gguf_close(gguf);
    assert_true(distance(in_folder("q.gguf"), in_folder("moe.gguf")) <= SAME);
}

static void test_noise_makes_experts_differ_by_the_seed(void **state) {
    (void)state;
    size_t length[3];
    char *text[3];
    for (int i = 0; i < 3; i++) {
        const struct convert_upcycle upcycle = {.experts = 4, .experts_used = 2, .noise = 0.1, .seed = i == 2 ? 2 : 1};
        check_ok(convert(golden("nemo"), in_folder("moe.gguf"),
                         (struct convert_options){.keep = true, .force = true, .upcycle = &upcycle, .threads = i + 1}));
        text[i] = file_text(in_folder("moe.gguf"), &length[i]);
    }
    assert_memory_equal(text[0], text[1], length[0]);
    assert_true(memcmp(text[0], text[2], length[0]) != 0);
    double away = relative_rms(golden("nemo"), in_folder("moe.gguf"));
    assert_true(away > 0.01 && away < 0.5);
    for (int i = 0; i < 3; i++) free(text[i]);
}

static void test_what_is_no_dense_llama_is_not_upcycled(void **state) {
    (void)state;
    static const struct convert_upcycle good = {.experts = 8, .experts_used = 2},
                                        bad = {.experts = 2, .experts_used = 3};
    check_fails(convert(golden("qwen3"), in_folder("m.gguf"), (struct convert_options){.keep = true, .upcycle = &good}),
                STATUS_UNIMPLEMENTED, "only dense models of the architecture llama");
    check_fails(
        convert(golden("mixtral"), in_folder("m.gguf"), (struct convert_options){.keep = true, .upcycle = &good}),
        STATUS_UNIMPLEMENTED, "only dense models of the architecture llama");
    check_fails(convert(golden("nemo"), in_folder("m.gguf"), (struct convert_options){.keep = true, .upcycle = &bad}),
                STATUS_INVALID_ARGUMENT, "3 of 2 experts");
}

/* ---- inspect ------------------------------------------------------------------------------------------------------- */

static enum status inspect(const char *path, bool json, bool tensors, struct bytes *out) {
    bytes_init(out, 1 << 20);
    check_error = (struct error){0};
    return inspect_model(path, &(struct inspect_options){.json = json, .tensors = tensors}, out, &check_error);
}

static void assert_says(const struct bytes *out, const char *text) {
    if (strstr((const char *)out->data, text) == NULL) fail_msg("'%s' is not in: %s", text, (const char *)out->data);
}

static void test_inspect_says_what_a_folder_is(void **state) {
    (void)state;
    struct bytes out;
    check_ok(inspect(golden("mixtral"), true, true, &out));
    enum json_kind kind;
    assert_true(json_is_valid(bytes_view(&out), 8, &kind) && kind == JSON_KIND_OBJECT);
    assert_says(&out, "\"form\":\"Hugging Face (safetensors)\"");
    assert_says(&out, "\"architecture\":\"llama\"");
    assert_says(&out, "\"experts\":4,\"experts_used\":2");
    assert_says(
        &out,
        "{\"name\":\"blk.0.attn_k.weight\",\"stored\":\"model.layers.0.self_attn.k_proj.weight\",\"shape\":[32,64],"
        "\"type\":\"BF16\",\"bytes\":4096}");
    bytes_deinit(&out);
    check_ok(inspect(golden("mistral_native"), false, false, &out));
    assert_says(&out, "native Mistral");
    assert_says(&out, "servable             no");
    assert_says(&out, "has no tokenizer.json");
    bytes_deinit(&out);
}

static void test_inspect_reads_what_is_left_of_a_damaged_file(void **state) {
    (void)state;
    struct bytes out;
    size_t length;
    enum json_kind kind;
    check_ok(convert(golden("mixtral"), in_folder("m.gguf"), (struct convert_options){.keep = true}));
    free(file_text(in_folder("m.gguf"), &length));
    assert_int_equal(truncate(in_folder("m.gguf"), (off_t)length / 2), 0);
    assert_int_equal(inspect(in_folder("m.gguf"), true, true, &out), STATUS_INVALID_ARGUMENT);
    assert_true(json_is_valid(bytes_view(&out), 8, &kind));
    assert_says(&out, "\"architecture\":\"llama\"");
    assert_says(&out, "\"damage\":");
    assert_says(&out, "after the file");
    bytes_deinit(&out);
    assert_int_equal(truncate(in_folder("m.gguf"), 30), 0);
    assert_int_equal(inspect(in_folder("m.gguf"), false, false, &out), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(check_error.message, "the file ends inside"));
    assert_int_equal(out.length, 0);
    bytes_deinit(&out);
    assert_int_equal(inspect(in_folder("none"), false, false, &out), STATUS_NOT_FOUND);
    bytes_deinit(&out);
}

#define in_a_folder(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_folder(test_families_there_and_back),
        in_a_folder(test_gemmas_there_and_back),
        in_a_folder(test_what_gguf_cannot_say_is_refused_by_name),
        in_a_folder(test_the_last_report_says_that_all_is_done),
        in_a_folder(test_a_disk_that_is_too_small_is_said_at_once),
        in_a_folder(test_types_of_a_quantised_model),
        in_a_folder(test_quantised_models_are_near),
        in_a_folder(test_threads_do_not_change_the_bytes),
        in_a_folder(test_an_output_that_is_there_is_kept),
        in_a_folder(test_a_stopped_conversion_leaves_nothing),
        in_a_folder(test_a_full_disk_is_said),
        in_a_folder(test_weights_that_are_no_numbers_are_named),
        in_a_folder(test_metadata_is_taken_along),
        in_a_folder(test_control_tokens_are_those_of_the_folder),
        in_a_folder(test_both_chat_templates_are_taken_along),
        in_a_folder(test_force_leaves_nothing_of_the_model_that_was_there),
        in_a_folder(test_an_unperturbed_mixture_computes_what_the_dense_model_does),
        in_a_folder(test_noise_makes_experts_differ_by_the_seed),
        in_a_folder(test_what_is_no_dense_llama_is_not_upcycled),
        in_a_folder(test_inspect_says_what_a_folder_is),
        in_a_folder(test_inspect_reads_what_is_left_of_a_damaged_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
