/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Which layout a model has. In this order:
 *
 *     CHAT_LAYOUT_GGUF_KEY                                     Mistral's, of that version: Bora wrote the file and knew it
 *     a chat template that does not write [INST]               that program
 *     tekken.json, tokenizer.model.vN beside the weights       Mistral's, of that version
 *     a chat template, and [INST] is a control token           Mistral's, of the version whose control tokens it writes
 *     a chat template                                          that program (Llama 2 writes [INST] as text)
 *     no template, but control tokens                          Mistral's by those tokens, ChatML, Llama 3's, Gemma's (template_known.c)
 *     neither                                                  completion of text
 *
 * unless somebody chose one: chat_layout_load_as.
 */
#include "engine/chat/chat_internal.h"

#include "base/limits.h"
#include "base/settings.h"

#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

/** What there is to decide by. */
struct evidence {
    const char *file; /* for messages */
    bool has_template, has_tekken;
    struct bytes_view template, tool_template, tekken;
    int model_version; /* of tokenizer.model.vN; 0: no such file */
    int said_version;  /* by CHAT_LAYOUT_GGUF_KEY or CHAT_LAYOUT_CONFIG_MEMBER; 0: by none */
    bool model_images; /* … m1 */
};

static bool mentions(struct bytes_view template, const char *word) {
    return template.length > 0 && memmem(template.data, template.length, word, strlen(word)) != NULL;
}

static bool has_token(const struct chat_layout *layout, const char *name) {
    return tokenizer_special(layout->tokenizer, name) >= 0;
}

/** The version that writes these control tokens: those of the template, or without one those of the vocabulary. */
static int guess_version(const struct chat_layout *layout, const struct evidence *evidence) {
    bool template = evidence->has_template;
#define WRITES(token) (template ? mentions(evidence->template, (token)) : has_token(layout, (token)))
    if (WRITES("[MODEL_SETTINGS]")) return 15;
    if (WRITES("[ARGS]")) {
        bool thinks = !template && has_token(layout, "[THINK]");
        return WRITES("[CALL_ID]") && !thinks ? 11 : 13;
    }
    if (WRITES("[SYSTEM_PROMPT]")) return 7;
#undef WRITES
    return 3;
}

/** What models of v15 publish in their tekken.json. */
static void set_usual_efforts(struct mistral_layout *mistral) {
    mistral->effort_count = 2;
    strcpy(mistral->efforts[0], "none");
    strcpy(mistral->efforts[1], "high");
    strcpy(mistral->default_effort, "none");
}

/** `version`: the one that was chosen; 0: the model's own. */
static enum status set_mistral(struct chat_layout *layout, const struct evidence *evidence, int version,
                               struct error *err) {
    struct mistral_layout *mistral = &layout->mistral;
    if (evidence->has_tekken) {
        TRY(mistral_layout_read_tekken(evidence->tekken, mistral, err));
    } else {
        mistral->version = evidence->model_version != 0 ? evidence->model_version : guess_version(layout, evidence);
        if (evidence->model_images) {
            mistral->image_patch = 16;
            mistral->image_side = 1024;
            mistral->image_merge = 1;
        }
    }
    if (version != 0) mistral->version = version;
    if (mistral->version < 15) mistral->effort_count = 0;
    if (mistral->version == 15 && mistral->effort_count == 0 && !(evidence->has_tekken && version == 0))
        set_usual_efforts(mistral);
    return mistral_layout_bind(layout, err);
}

/** Mistral's own: by its files, or by [INST] as a control token. But a template that does not write [INST] is somebody's who has trained the model
 *  on another layout. */
static bool is_mistral(const struct chat_layout *layout, const struct evidence *evidence) {
    if (evidence->has_template && !mentions(evidence->template, "[INST]")) return false;
    if (evidence->has_tekken || evidence->model_version != 0) return true;
    return has_token(layout, "[INST]") && has_token(layout, "[/INST]");
}

static enum status bind_completion(struct chat_layout *layout, struct error *err) {
#define TEXTS "{% for message in messages %}{{ message.content }}{{ '' if loop.last else '\\n\\n' }}{% endfor %}"
    const char *source = TEXTS, *with_bos = "{{ bos_token }}" TEXTS;
#undef TEXTS
    return template_layout_bind(layout, "completion",
                                bytes_view_string(tokenizer_adds_bos(layout->tokenizer) ? with_bos : source),
                                (struct bytes_view){0}, err);
}

static enum status choose(struct chat_layout *layout, const struct evidence *evidence, struct error *err) {
    if (evidence->said_version != 0) return set_mistral(layout, evidence, evidence->said_version, err);
    if (is_mistral(layout, evidence)) return set_mistral(layout, evidence, 0, err);
    if (evidence->has_template) {
        if (chatml_layout_knows(evidence->template, layout)) return chatml_layout_bind(layout, evidence->file, err);
        struct error why = {0};
        enum status status =
            template_layout_bind(layout, "template", evidence->template, evidence->tool_template, &why);
        return status == STATUS_OK ? status : error_set(err, status, "%s: its chat %s", evidence->file, why.message);
    }
    const char *name = NULL, *lacks, *known = template_known(layout->tokenizer, &name, &lacks);
    if (known != NULL) return template_layout_bind(layout, name, bytes_view_string(known), (struct bytes_view){0}, err);
    return bind_completion(layout, err);
}

/* ---- what somebody chose --------------------------------------------------------------------------------------------- */

static bool is_template_file(const char *choice) {
    size_t length = strlen(choice), end = strlen(".jinja");
    return length > end && strcmp(choice + length - end, ".jinja") == 0;
}

static bool is_auto(const char *choice) {
    return choice == NULL || strcmp(choice, "auto") == 0;
}

bool chat_layout_is_choice(const char *choice) {
    static const char *const names[] = {"auto", "completion", "chatml", "llama-3", "gemma"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(choice, names[i]) == 0) return true;
    }
    return mistral_layout_version(choice) != 0 || is_template_file(choice);
}

static enum status bind_template_file(struct chat_layout *layout, const char *path, struct error *err) {
    char *text = NULL;
    size_t length = 0;
    struct error why = {0};
    TRY(settings_read_file(path, LIMIT_CHAT_TEMPLATE_BYTES, &text, &length, err));
    enum status status =
        template_layout_bind(layout, "template", bytes_view_of(text, length), (struct bytes_view){0}, &why);
    free(text);
    return status == STATUS_OK ? status : error_set(err, status, "%s: %s", path, why.message);
}

static enum status choose_named(struct chat_layout *layout, const char *name, const struct evidence *evidence,
                                struct error *err) {
    int version = mistral_layout_version(name);
    if (version != 0) return set_mistral(layout, evidence, version, err);
    if (strcmp(name, "completion") == 0) return bind_completion(layout, err);
    if (is_template_file(name)) return bind_template_file(layout, name, err);
    const char *known_name = name, *lacks, *known = template_known(layout->tokenizer, &known_name, &lacks);
    if (known != NULL)
        return template_layout_bind(layout, known_name, bytes_view_string(known), (struct bytes_view){0}, err);
    if (lacks != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "the layout %s needs the control token %s, which the vocabulary lacks", name, lacks);
    return error_set(err, STATUS_INVALID_ARGUMENT, "there is no layout '%.64s'", name);
}

/* ---- loading --------------------------------------------------------------------------------------------------------- */

static enum status load(const char *choice, const struct evidence *evidence, const struct tokenizer *tokenizer,
                        struct chat_layout **out, struct error *err) {
    struct chat_layout *layout = calloc(1, sizeof *layout);
    if (layout == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    layout->tokenizer = tokenizer;
    enum status status = is_auto(choice) ? choose(layout, evidence, err) : choose_named(layout, choice, evidence, err);
    if (status != STATUS_OK) {
        chat_layout_destroy(layout);
        return status;
    }
    *out = layout;
    return STATUS_OK;
}

/** Only names of Mistral's: a file does not choose other files. */
static enum status take_said(struct bytes_view name, struct evidence *evidence, struct error *err) {
    char text[16] = "";
    if (name.length < sizeof text) memcpy(text, name.data, name.length);
    evidence->said_version = mistral_layout_version(text);
    if (evidence->said_version != 0) return STATUS_OK;
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: its prompt layout is '%.*s', which is not known here",
                     evidence->file, name.length < 32 ? (int)name.length : 32, (const char *)name.data);
}

static enum status load_gguf(const char *choice, const struct gguf *gguf, const struct tokenizer *tokenizer,
                             struct chat_layout **out, struct error *err) {
    struct evidence evidence = {.file = gguf_path(gguf)};
    struct bytes_view said;
    if (is_auto(choice) && gguf_string(gguf, CHAT_LAYOUT_GGUF_KEY, &said)) TRY(take_said(said, &evidence, err));
    evidence.has_template = gguf_string(gguf, "tokenizer.chat_template", &evidence.template);
    (void)gguf_string(gguf, "tokenizer.chat_template.tool_use", &evidence.tool_template);
    return load(choice, &evidence, tokenizer, out, err);
}

enum status chat_layout_load_gguf(const struct gguf *gguf, const struct tokenizer *tokenizer, struct chat_layout **out,
                                  struct error *err) {
    return load_gguf(NULL, gguf, tokenizer, out, err);
}

/** "….model.v7m1": the version, and the images' sizes. False: no such name. */
static bool read_model_name(const char *name, struct evidence *evidence) {
    static const struct {
        const char *end;
        int version;
        bool images;
    } ends[] = {{".model.v1", 1, false},
                {".model.v2", 2, false},
                {".model.v3", 3, false},
                {".model.v7", 7, false},
                {".model.v7m1", 7, true}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t length = strlen(ends[i].end), whole = strlen(name);
        if (whole < length || strcmp(name + whole - length, ends[i].end) != 0) continue;
        evidence->model_version = ends[i].version;
        evidence->model_images = ends[i].images;
        return true;
    }
    return false;
}

enum status mistral_layout_load_file(const char *name, struct bytes_view file, const struct tokenizer *tokenizer,
                                     struct chat_layout **out, struct error *err) {
    struct evidence evidence = {.file = name};
    if (!read_model_name(name, &evidence)) {
        evidence.has_tekken = true;
        evidence.tekken = file;
    }
    return load(NULL, &evidence, tokenizer, out, err);
}

static enum status find_model_file(const struct checkpoint *checkpoint, struct evidence *evidence, struct error *err) {
    static const char *const names[] = {"tokenizer.model.v1", "tokenizer.model.v2", "tokenizer.model.v3",
                                        "tokenizer.model.v7", "tokenizer.model.v7m1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct bytes_view file;
        struct error missing = {0};
        enum status status = checkpoint_file(checkpoint, names[i], &file, &missing);
        if (status == STATUS_NOT_FOUND) continue;
        if (status != STATUS_OK) return error_set(err, status, "%s", missing.message);
        (void)read_model_name(names[i], evidence);
    }
    return STATUS_OK;
}

static enum status find_file(const struct checkpoint *checkpoint, const char *name, bool *out_found,
                             struct bytes_view *out, struct error *err) {
    struct error missing = {0};
    enum status status = checkpoint_file(checkpoint, name, out, &missing);
    *out_found = status == STATUS_OK;
    return status == STATUS_OK || status == STATUS_NOT_FOUND ? STATUS_OK
                                                             : error_set(err, status, "%s", missing.message);
}

/** A text, or a list of {name, template}, of which "default" and "tool_use" are known. */
static void take_templates(const struct json_value *entry, struct evidence *evidence) {
    if (entry == NULL) return;
    if (entry->kind == JSON_KIND_STRING) {
        evidence->has_template = true;
        evidence->template = entry->string;
    }
    for (const struct json_value *item = entry->kind == JSON_KIND_ARRAY ? entry->first : NULL; item != NULL;
         item = item->next) {
        const struct json_value *name = json_member(item, "name"), *text = json_member(item, "template");
        if (name == NULL || text == NULL || text->kind != JSON_KIND_STRING) continue;
        if (bytes_view_equal_string(name->string, "tool_use")) evidence->tool_template = text->string;
        if (!bytes_view_equal_string(name->string, "default")) continue;
        evidence->has_template = true;
        evidence->template = text->string;
    }
}

/** `*out` stays NULL when there is no such file. */
static enum status read_json_file(const struct checkpoint *checkpoint, const char *name, struct arena *arena,
                                  const struct evidence *evidence, struct json_value **out, struct error *err) {
    enum { CONFIG_DEPTH = 32, CONFIG_VALUES = 1 << 20 };
    struct bytes_view file;
    struct json_problem problem;
    bool found;
    *out = NULL;
    TRY(find_file(checkpoint, name, &found, &file, err));
    if (!found) return STATUS_OK;
    enum status status = json_read(file, CONFIG_DEPTH, CONFIG_VALUES, arena, out, &problem);
    if (status == STATUS_OK) return STATUS_OK;
    return error_set(err, status, "%s: %s: %s", evidence->file, name,
                     problem.reason != NULL ? problem.reason : "too large");
}

/** chat_template.jinja, else chat_template of tokenizer_config.json or chat_template.json; and what tokenizer_config.json says of the layout. */
static enum status find_template(const struct checkpoint *checkpoint, struct arena *arena, bool said_counts,
                                 struct evidence *evidence, struct error *err) {
    struct json_value *config, *template_file;
    TRY(find_file(checkpoint, "chat_template.jinja", &evidence->has_template, &evidence->template, err));
    TRY(read_json_file(checkpoint, "tokenizer_config.json", arena, evidence, &config, err));
    const struct json_value *said = json_member(config, CHAT_LAYOUT_CONFIG_MEMBER);
    if (said_counts && said != NULL && said->kind == JSON_KIND_STRING) TRY(take_said(said->string, evidence, err));
    if (!evidence->has_template) take_templates(json_member(config, "chat_template"), evidence);
    if (evidence->has_template) return STATUS_OK;
    TRY(read_json_file(checkpoint, "chat_template.json", arena, evidence, &template_file, err));
    take_templates(json_member(template_file, "chat_template"), evidence);
    return STATUS_OK;
}

enum status chat_layout_load(const struct checkpoint *checkpoint, const struct tokenizer *tokenizer,
                             struct chat_layout **out, struct error *err) {
    return chat_layout_load_as(NULL, checkpoint, tokenizer, out, err);
}

enum status chat_layout_load_as(const char *choice, const struct checkpoint *checkpoint,
                                const struct tokenizer *tokenizer, struct chat_layout **out, struct error *err) {
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    if (gguf != NULL) return load_gguf(choice, gguf, tokenizer, out, err);
    enum { CONFIG_ARENA_BYTES = 256 << 20 };
    struct evidence evidence = {.file = checkpoint_path(checkpoint)};
    struct arena arena;
    enum status status;
    arena_init(&arena, CONFIG_ARENA_BYTES);
    TRY_CLEANUP(find_file(checkpoint, "tekken.json", &evidence.has_tekken, &evidence.tekken, err));
    if (!evidence.has_tekken) TRY_CLEANUP(find_model_file(checkpoint, &evidence, err));
    bool native = evidence.has_tekken || evidence.model_version != 0; /* Mistral's own files say it themselves */
    TRY_CLEANUP(find_template(checkpoint, &arena, is_auto(choice) && !native, &evidence, err));
    TRY_CLEANUP(load(choice, &evidence, tokenizer, out, err));
cleanup:
    arena_deinit(&arena);
    return status;
}
