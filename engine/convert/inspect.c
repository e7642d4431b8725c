/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/inspect.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/text.h"
#include "engine/chat/chat.h"
#include "engine/model/model.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one writer for both forms ---------------------------------------------------------------------------------------- */

/** As text: "name   value" lines, sections indented. As JSON: members. */
struct writer {
    struct bytes *out;
    bool json;
    int depth;
    bool first;
};

static void name(struct writer *writer, const char *text) {
    enum { WIDTH = 20 };
    if (writer->json) {
        (void)bytes_printf(writer->out, "%s\"%s\":", writer->first ? "" : ",", text);
        writer->first = false;
        return;
    }
    char label[WIDTH + 1];
    snprintf(label, sizeof label, "%s", text);
    for (char *c = label; *c != 0; c++) *c = *c == '_' ? ' ' : *c;
    (void)bytes_printf(writer->out, "%*s%-*s ", 2 * writer->depth, "", WIDTH - 2 * writer->depth, label);
}
static void begin(struct writer *writer, const char *text) {
    if (writer->json) {
        name(writer, text);
        (void)bytes_append_byte(writer->out, '{');
        writer->first = true;
    } else {
        (void)bytes_printf(writer->out, "%*s%s\n", 2 * writer->depth, "", text);
    }
    writer->depth++;
}
static void end(struct writer *writer) {
    writer->depth--;
    writer->first = false;
    if (writer->json) (void)bytes_append_byte(writer->out, '}');
}

/** Control characters and what is no UTF-8 become '?'. */
static void append_clean(struct bytes *out, struct bytes_view view) {
    for (size_t i = 0; i < view.length;) {
        uint32_t code_point;
        bool valid;
        size_t used = text_decode(view.data + i, view.length - i, &code_point, &valid);
        if (valid && code_point >= 0x20 && code_point != 0x7f && !(code_point >= 0x80 && code_point < 0xa0))
            (void)bytes_append(out, view.data + i, used);
        else
            (void)bytes_append_byte(out, '?');
        i += used;
    }
}

static void put_view(struct writer *writer, const char *text, struct bytes_view value) {
    name(writer, text);
    if (writer->json) {
        (void)json_append_string(writer->out, value);
    } else {
        append_clean(writer->out, value);
        (void)bytes_append_byte(writer->out, '\n');
    }
}
static void put_text(struct writer *writer, const char *text, const char *value) {
    put_view(writer, text, bytes_view_string(value));
}
static void put_integer(struct writer *writer, const char *text, int64_t value) {
    name(writer, text);
    (void)bytes_printf(writer->out, writer->json ? "%" PRId64 : "%" PRId64 "\n", value);
}
static void put_number(struct writer *writer, const char *text, double value) {
    name(writer, text);
    (void)bytes_printf(writer->out, writer->json ? "%.9g" : "%.9g\n", value);
}
static void put_bytes(struct writer *writer, const char *text, uint64_t bytes) {
    name(writer, text);
    if (writer->json)
        (void)bytes_printf(writer->out, "%" PRIu64, bytes);
    else
        (void)bytes_printf(writer->out, "%" PRIu64 " (%.1f MiB)\n", bytes, (double)bytes / (1 << 20));
}

/* ---- config ------------------------------------------------------------------------------------------------------------ */

static void put_rope(struct writer *writer, const struct model_config *config) {
    static const char *const scalings[] = {"none", "linear", "llama3", "yarn"};
    const struct rope_config *rope = &config->ropes[MODEL_ROPE_GLOBAL], *local = &config->ropes[MODEL_ROPE_LOCAL];
    put_number(writer, "rope_base", rope->base);
    if (rope->scaling != ROPE_SCALING_NONE) {
        put_text(writer, "rope_scaling", scalings[rope->scaling]);
        put_number(writer, "rope_factor", rope->factor);
        if (rope->original_context > 0) put_number(writer, "rope_original_context", rope->original_context);
    }
    if (rope->scaling == ROPE_SCALING_LLAMA3) {
        put_number(writer, "rope_low_frequency_factor", rope->low_frequency_factor);
        put_number(writer, "rope_high_frequency_factor", rope->high_frequency_factor);
    }
    int64_t window = 0;
    int local_layers = 0, unrotated = 0;
    for (int i = 0; i < config->layers; i++) {
        if (config->layer[i].window > 0) window = config->layer[i].window;
        local_layers += config->layer[i].window > 0;
        unrotated += config->layer[i].rope == MODEL_ROPE_NONE;
    }
    if (window > 0) {
        put_integer(writer, "window", window);
        put_integer(writer, "window_layers", local_layers);
        if (local->base != rope->base) put_number(writer, "window_rope_base", local->base);
    }
    if (unrotated > 0) put_integer(writer, "unrotated_layers", unrotated);
}

static void put_config(struct writer *writer, const struct model_config *config) {
    begin(writer, "config");
    put_integer(writer, "layers", config->layers);
    put_integer(writer, "width", config->width);
    put_integer(writer, "heads", config->heads);
    put_integer(writer, "kv_heads", config->kv_heads);
    put_integer(writer, "head_dim", config->head_dim);
    if (config->feed_forward > 0) put_integer(writer, "feed_forward", config->feed_forward);
    if (config->experts > 0) {
        put_integer(writer, "experts", config->experts);
        put_integer(writer, "experts_used", config->experts_used);
        put_integer(writer, "expert_width", config->expert_feed_forward);
    }
    put_integer(writer, "vocabulary", config->vocabulary);
    put_integer(writer, "context", config->context_tokens);
    put_rope(writer, config);
    put_text(writer, "embeddings", config->tied_embeddings ? "tied" : "untied");
    end(writer);
}

/* ---- tokenizer and template -------------------------------------------------------------------------------------------- */

static bool contains(struct bytes_view text, const char *word) {
    return text.length > 0 && memmem(text.data, text.length, word, strlen(word)) != NULL;
}

static const char *template_kind(struct bytes_view text) {
    static const struct {
        const char *word, *kind;
    } kinds[] = {{"<|im_start|>", "ChatML"},
                 {"<|start_header_id|>", "Llama 3"},
                 {"<start_of_turn>", "Gemma"},
                 {"[INST]", "Mistral or Llama 2"}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (contains(text, kinds[i].word)) return kinds[i].kind;
    }
    return "its own";
}

static void put_gguf_tokenizer(struct writer *writer, const struct gguf *gguf) {
    struct bytes_view text;
    struct gguf_array tokens;
    begin(writer, "tokenizer");
    if (gguf_string(gguf, "tokenizer.ggml.model", &text)) put_view(writer, "kind", text);
    if (gguf_string(gguf, "tokenizer.ggml.pre", &text)) put_view(writer, "split", text);
    if (gguf_array(gguf, "tokenizer.ggml.tokens", &tokens)) put_integer(writer, "tokens", tokens.count);
    end(writer);
    if (gguf_string(gguf, "tokenizer.chat_template", &text)) put_text(writer, "chat_template", template_kind(text));
}

static void put_folder_tokenizer(struct writer *writer, const struct checkpoint *checkpoint) {
    static const char *const names[] = {"tokenizer.json",     "tokenizer.model",    "tokenizer.model.v1",
                                        "tokenizer.model.v2", "tokenizer.model.v3", "tokenizer.model.v7",
                                        "tekken.json"};
    struct bytes_view text;
    bool found = false;
    begin(writer, "tokenizer");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (checkpoint_file(checkpoint, names[i], &text, NULL) != STATUS_OK) continue;
        put_bytes(writer, names[i], text.length);
        found = true;
    }
    if (!found) put_text(writer, "kind", "none");
    end(writer);
    if (checkpoint_file(checkpoint, "chat_template.jinja", &text, NULL) == STATUS_OK ||
        (checkpoint_file(checkpoint, "tokenizer_config.json", &text, NULL) == STATUS_OK &&
         contains(text, "chat_template")))
        put_text(writer, "chat_template", template_kind(text));
}

/* ---- what serving makes of it ------------------------------------------------------------------------------------------ */

/** A model opened as far as serving it would, but for the weights' contents. */
struct opened {
    struct model_config *config; /* NULL: it is not supported */
    struct tokenizer *tokenizer; /* NULL: there is none, or not one that is known */
    struct chat_layout *layout;  /* likewise */
    struct error refused;        /* why it cannot be served; empty: it can */
};

static enum status check_tensors(const struct checkpoint *checkpoint, const struct model_config *config,
                                 struct error *err) {
    struct kernels *kernels = NULL;
    struct kernels_options options = {.variant = "plain",
                                      .threads = 1,
                                      .rows_max = 1,
                                      .columns_max = model_config_columns_max(config),
                                      .context_max = 1,
                                      .heads_max = config->heads,
                                      .experts_used_max = config->experts_used};
    TRY(kernels_open("cpu", &options, &kernels, err));
    enum status status = model_check(checkpoint, config, kernels, err);
    kernels_close(kernels);
    return status;
}

/** Goes on where something is wrong, for what else there is to show; the first failure counts. */
static void open_all(const struct checkpoint *checkpoint, struct opened *out) {
    struct error later, *err = &out->refused;
    *out = (struct opened){.config = malloc(sizeof *out->config)};
    if (out->config == NULL || model_config_read(checkpoint, out->config, err) != STATUS_OK) {
        free(out->config);
        out->config = NULL;
        err = &later;
    }
    if (tokenizer_load(checkpoint, &out->tokenizer, err) != STATUS_OK ||
        chat_layout_load(checkpoint, out->tokenizer, &out->layout, err) != STATUS_OK)
        err = &later;
    if (out->config != NULL) (void)check_tensors(checkpoint, out->config, err);
}

static void close_all(struct opened *opened) {
    chat_layout_destroy(opened->layout);
    tokenizer_destroy(opened->tokenizer);
    free(opened->config);
}

/** The names of the tokens that end an answer. */
static void put_ends(struct writer *writer, const struct tokenizer *tokenizer) {
    bool first = true;
    name(writer, "ends");
    if (writer->json) (void)bytes_append_byte(writer->out, '[');
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++) {
        if (!tokenizer_is_end(tokenizer, id)) continue;
        if (!first) (void)bytes_append_byte(writer->out, writer->json ? ',' : ' ');
        first = false;
        if (writer->json)
            (void)json_append_string(writer->out, tokenizer_name(tokenizer, id));
        else
            append_clean(writer->out, tokenizer_name(tokenizer, id));
    }
    (void)bytes_append_byte(writer->out, writer->json ? ']' : '\n');
}

static void put_serving(struct writer *writer, const struct opened *opened) {
    bool refused = opened->refused.message[0] != 0;
    if (opened->layout != NULL) put_text(writer, "prompt_layout", chat_layout_name(opened->layout));
    if (opened->tokenizer != NULL) put_ends(writer, opened->tokenizer);
    name(writer, "servable");
    if (writer->json)
        (void)bytes_append_string(writer->out, refused ? "false" : "true");
    else
        (void)bytes_append_string(writer->out, refused ? "no\n" : "yes\n");
    if (refused) put_text(writer, "refused", opened->refused.message);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------------- */

static void append_shape(struct writer *writer, const struct checkpoint_tensor *tensor) {
    for (int i = tensor->dimension_count - 1; i >= 0; i--)
        (void)bytes_printf(writer->out, "%" PRId64 "%s", tensor->dimensions[i],
                           i == 0         ? ""
                           : writer->json ? ","
                                          : " x ");
}

static void put_tensor(struct writer *writer, const struct checkpoint_tensor *tensor, bool first) {
    if (writer->json) {
        (void)bytes_printf(writer->out, "%s{\"name\":", first ? "" : ",");
        (void)json_append_string(writer->out, bytes_view_string(tensor->name));
        (void)bytes_append_string(writer->out, ",\"stored\":");
        (void)json_append_string(writer->out, tensor->stored_name);
        (void)bytes_append_string(writer->out, ",\"shape\":[");
        append_shape(writer, tensor);
        (void)bytes_printf(writer->out, "],\"type\":\"%s\",\"bytes\":%zu}", tensor->type_name, tensor->bytes);
        return;
    }
    (void)bytes_append_string(writer->out, "  ");
    size_t start = writer->out->length;
    append_clean(writer->out, bytes_view_string(tensor->name));
    while (writer->out->length - start < 40 && !writer->out->failed) (void)bytes_append_byte(writer->out, ' ');
    (void)bytes_printf(writer->out, " %-9s %12zu  ", tensor->type_name, tensor->bytes);
    append_shape(writer, tensor);
    if (tensor->experts_apart > 0) (void)bytes_append_string(writer->out, " (experts apart)");
    (void)bytes_append_byte(writer->out, '\n');
}

typedef const struct checkpoint_tensor *at_fn(const struct checkpoint *checkpoint, int64_t index);

static void put_tensors(struct writer *writer, const char *text, const struct checkpoint *checkpoint, int64_t count,
                        at_fn *at) {
    if (writer->json) {
        name(writer, text);
        (void)bytes_append_byte(writer->out, '[');
    } else {
        (void)bytes_printf(writer->out, "%s\n", text);
    }
    for (int64_t i = 0; i < count; i++) put_tensor(writer, at(checkpoint, i), i == 0);
    if (writer->json) (void)bytes_append_byte(writer->out, ']');
}

struct type_sum {
    const char *name;
    int64_t tensors;
    uint64_t bytes;
};

static int compare_sums(const void *a, const void *b) {
    const struct type_sum *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->name, y->name);
}

static void put_types(struct writer *writer, const struct checkpoint *checkpoint) {
    enum { TYPES_MAX = 64 };
    struct type_sum sums[TYPES_MAX];
    size_t count = 0;
    uint64_t all = 0;
    for (int64_t i = 0; i < checkpoint_tensor_count(checkpoint); i++) {
        const struct checkpoint_tensor *tensor = checkpoint_tensor_at(checkpoint, i);
        size_t j = 0;
        while (j < count && strcmp(sums[j].name, tensor->type_name) != 0) j++;
        if (j == count && count == TYPES_MAX) continue;
        if (j == count) sums[count++] = (struct type_sum){.name = tensor->type_name};
        sums[j].tensors++;
        sums[j].bytes += tensor->bytes;
        all += tensor->bytes;
    }
    qsort(sums, count, sizeof *sums, compare_sums);
    if (writer->json) {
        name(writer, "types");
        (void)bytes_append_byte(writer->out, '[');
    } else {
        (void)bytes_append_string(writer->out, "types\n");
    }
    for (size_t i = 0; i < count; i++) {
        if (writer->json)
            (void)bytes_printf(writer->out, "%s{\"type\":\"%s\",\"tensors\":%" PRId64 ",\"bytes\":%" PRIu64 "}",
                               i == 0 ? "" : ",", sums[i].name, sums[i].tensors, sums[i].bytes);
        else
            (void)bytes_printf(writer->out, "  %-9s %6" PRId64 " tensors %10.1f MiB %5.1f %%\n", sums[i].name,
                               sums[i].tensors, (double)sums[i].bytes / (1 << 20),
                               all > 0 ? 100.0 * (double)sums[i].bytes / (double)all : 0);
    }
    if (writer->json) (void)bytes_append_byte(writer->out, ']');
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

static void put_checkpoint(struct writer *writer, const struct checkpoint *checkpoint, bool tensors) {
    static const char *const forms[] = {"GGUF", "Hugging Face (safetensors)", "native Mistral (safetensors)"};
    put_text(writer, "form", forms[checkpoint_form(checkpoint)]);
    put_bytes(writer, "bytes", checkpoint_file_bytes(checkpoint));
    put_integer(writer, "parameters", checkpoint_parameters(checkpoint));
    struct opened opened;
    open_all(checkpoint, &opened);
    if (opened.config != NULL) {
        put_text(writer, "architecture", opened.config->architecture);
        put_config(writer, opened.config);
    }
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    if (gguf != NULL)
        put_gguf_tokenizer(writer, gguf);
    else
        put_folder_tokenizer(writer, checkpoint);
    put_serving(writer, &opened);
    close_all(&opened);
    put_types(writer, checkpoint);
    if (tensors) put_tensors(writer, "tensors", checkpoint, checkpoint_tensor_count(checkpoint), checkpoint_tensor_at);
    if (tensors && checkpoint_left_out_count(checkpoint) > 0)
        put_tensors(writer, "left_out", checkpoint, checkpoint_left_out_count(checkpoint), checkpoint_left_out_at);
    else if (checkpoint_left_out_count(checkpoint) > 0)
        put_integer(writer, "left_out_tensors", checkpoint_left_out_count(checkpoint));
}

/** Of a GGUF whose tensors are cut off or overlap the metadata can still be read. */
static void put_damaged(struct writer *writer, const struct gguf *gguf) {
    struct bytes_view text;
    put_text(writer, "form", "GGUF");
    put_bytes(writer, "bytes", gguf_file_bytes(gguf));
    if (gguf_string(gguf, "general.architecture", &text)) put_view(writer, "architecture", text);
    if (gguf_string(gguf, "general.name", &text)) put_view(writer, "name", text);
    put_gguf_tokenizer(writer, gguf);
    put_integer(writer, "metadata", gguf_metadata_count(gguf));
    put_integer(writer, "tensors_read", gguf_tensor_count(gguf));
}

enum status inspect_model(const char *path, const struct inspect_options *options, struct bytes *out,
                          struct error *err) {
    struct checkpoint *checkpoint = NULL;
    struct gguf *damaged = NULL;
    struct writer writer = {.out = out, .json = options->json, .first = true};
    enum status status = checkpoint_open(path, &checkpoint, err);
    if (status != STATUS_OK && gguf_open_damaged(path, &damaged) != STATUS_OK) damaged = NULL;
    if (options->json) (void)bytes_append_byte(out, '{');
    if (options->json || checkpoint != NULL || damaged != NULL) put_text(&writer, "path", path);
    if (checkpoint != NULL) put_checkpoint(&writer, checkpoint, options->tensors);
    if (damaged != NULL) put_damaged(&writer, damaged);
    if (status != STATUS_OK && options->json) put_text(&writer, "damage", err->message);
    if (options->json) (void)bytes_append_string(out, "}\n");
    gguf_close(damaged);
    checkpoint_close(checkpoint);
    if (status == STATUS_OK && out->failed) status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return status;
}
