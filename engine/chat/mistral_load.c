/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which of Mistral's layouts a model has: what its tekken.json says, and which control tokens its vocabulary must have for it. */
#include "engine/chat/chat_internal.h"

#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTINGS_DEPTH = 16, SETTINGS_VALUES = 10000, SETTINGS_ARENA_BYTES = 4 << 20 };

static const struct {
    const char *name;
    int from; /* the version that cannot do without it; 0: optional */
} controls[MISTRAL_CONTROLS] = {
    [MISTRAL_CONTROL_INST] = {"[INST]", 2},
    [MISTRAL_CONTROL_INST_END] = {"[/INST]", 2},
    [MISTRAL_CONTROL_AVAILABLE_TOOLS] = {"[AVAILABLE_TOOLS]", 2},
    [MISTRAL_CONTROL_AVAILABLE_TOOLS_END] = {"[/AVAILABLE_TOOLS]", 2},
    [MISTRAL_CONTROL_TOOL_RESULTS] = {"[TOOL_RESULTS]", 2},
    [MISTRAL_CONTROL_TOOL_RESULTS_END] = {"[/TOOL_RESULTS]", 2},
    [MISTRAL_CONTROL_TOOL_CALLS] = {"[TOOL_CALLS]", 2},
    [MISTRAL_CONTROL_SYSTEM_PROMPT] = {"[SYSTEM_PROMPT]", 7},
    [MISTRAL_CONTROL_SYSTEM_PROMPT_END] = {"[/SYSTEM_PROMPT]", 7},
    [MISTRAL_CONTROL_TOOL_CONTENT] = {"[TOOL_CONTENT]", 0}, /* v7 and v11 */
    [MISTRAL_CONTROL_ARGS] = {"[ARGS]", 11},
    [MISTRAL_CONTROL_CALL_ID] = {"[CALL_ID]", 0}, /* v11 */
    [MISTRAL_CONTROL_MODEL_SETTINGS] = {"[MODEL_SETTINGS]", 15},
    [MISTRAL_CONTROL_MODEL_SETTINGS_END] = {"[/MODEL_SETTINGS]", 15},
    [MISTRAL_CONTROL_THINK] = {"[THINK]", 0},
    [MISTRAL_CONTROL_THINK_END] = {"[/THINK]", 0},
    [MISTRAL_CONTROL_IMG] = {"[IMG]", 0},
    [MISTRAL_CONTROL_IMG_BREAK] = {"[IMG_BREAK]", 0},
    [MISTRAL_CONTROL_IMG_END] = {"[IMG_END]", 0},
    [MISTRAL_CONTROL_PREFIX] = {"[PREFIX]", 0},
    [MISTRAL_CONTROL_SUFFIX] = {"[SUFFIX]", 0},
};

static bool is_needed(int control, int version) {
    if (control == MISTRAL_CONTROL_TOOL_CONTENT) return version == 7 || version == 11;
    if (control == MISTRAL_CONTROL_CALL_ID) return version == 11;
    return controls[control].from != 0 && version >= controls[control].from;
}

static const struct {
    int version;
    const char *name;
} names[] = {{1, "mistral-v1"},   {2, "mistral-v2"},   {3, "mistral-v3"},  {7, "mistral-v7"},
             {11, "mistral-v11"}, {13, "mistral-v13"}, {15, "mistral-v15"}};

int mistral_layout_version(const char *name) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].name, name) == 0) return names[i].version;
    }
    return 0;
}

enum status mistral_layout_bind(struct chat_layout *layout, struct error *err) {
    struct mistral_layout *mistral = &layout->mistral;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].version == mistral->version) layout->name = names[i].name;
    }
    mistral->bos = tokenizer_special(layout->tokenizer, "<s>");
    mistral->eos = tokenizer_special(layout->tokenizer, "</s>");
    if (mistral->bos < 0) mistral->bos = tokenizer_bos(layout->tokenizer);
    if (mistral->eos < 0) mistral->eos = tokenizer_eos(layout->tokenizer);
    if (mistral->bos < 0 || mistral->eos < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the layout %s needs <s> and </s>, which the vocabulary lacks",
                         layout->name);
    for (int i = 0; i < MISTRAL_CONTROLS; i++) {
        mistral->controls[i] = tokenizer_special(layout->tokenizer, controls[i].name);
        if (mistral->controls[i] < 0 && is_needed(i, mistral->version))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "the layout %s needs the control token %s, which the vocabulary lacks", layout->name,
                             controls[i].name);
    }
    const int32_t *ids = mistral->controls;
    if (ids[MISTRAL_CONTROL_IMG] < 0 || ids[MISTRAL_CONTROL_IMG_BREAK] < 0 || ids[MISTRAL_CONTROL_IMG_END] < 0)
        mistral->image_patch = 0;
    if (ids[MISTRAL_CONTROL_THINK_END] < 0) mistral->controls[MISTRAL_CONTROL_THINK] = -1;
    layout->kind = CHAT_LAYOUT_MISTRAL;
    layout->support = (struct chat_support){.system = true,
                                            .tools = mistral->version >= 2,
                                            .images = mistral->version >= 3 && mistral->image_patch > 0,
                                            .thinking = mistral->version >= 13 && ids[MISTRAL_CONTROL_THINK] >= 0,
                                            .prefix = true,
                                            .fim = mistral->version >= 2 && ids[MISTRAL_CONTROL_PREFIX] >= 0 &&
                                                   ids[MISTRAL_CONTROL_SUFFIX] >= 0,
                                            .reasoning_effort = mistral->effort_count > 0};
    return STATUS_OK;
}

/* ---- tekken.json ---------------------------------------------------------------------------------------------------- */

/** Behind the JSON value at `at`. Strings and brackets are all that is looked at: the tokenizer reads the file in full. */
static const uint8_t *skip_value(const uint8_t *at, const uint8_t *end) {
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '"') {
            for (at++; at < end && *at != '"'; at++) at += *at == '\\';
            if (at >= end) return end;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            if (depth-- == 0) return at;
        } else if (*at == ',' && depth == 0) {
            return at;
        }
    }
    return end;
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

/** The member `name` of the file's object, without reading the 150,000 others. */
static bool find_member(struct bytes_view file, const char *name, struct bytes_view *out) {
    const uint8_t *at = file.data, *end = at + file.length;
    size_t length = strlen(name);
    at = skip_blanks(at, end);
    if (at >= end || *at != '{') return false;
    while (at < end && *at != '}') {
        at = skip_blanks(at + 1, end);
        if (at >= end || *at != '"') return false;
        const uint8_t *key = at + 1;
        for (at++; at < end && *at != '"'; at++) at += *at == '\\';
        if (at >= end) return false;
        bool found = (size_t)(at - key) == length && memcmp(key, name, length) == 0;
        at = skip_blanks(at + 1, end);
        if (at >= end || *at != ':') return false;
        at = skip_blanks(at + 1, end);
        const uint8_t *value = at;
        at = skip_value(at, end);
        if (found) {
            *out = bytes_view_of(value, (size_t)(at - value));
            return true;
        }
    }
    return false;
}

static const struct json_value *member(const struct json_value *object, const char *name) {
    if (object == NULL || object->kind != JSON_KIND_OBJECT) return NULL;
    for (const struct json_value *child = object->first; child != NULL; child = child->next) {
        if (bytes_view_equal_string(child->name, name)) return child;
    }
    return NULL;
}

static int integer_of(const struct json_value *value, int otherwise, int max) {
    if (value == NULL || value->kind != JSON_KIND_NUMBER || value->text.length > 9) return otherwise;
    int number = atoi((const char *)value->text.data);
    return number >= 1 && number <= max ? number : otherwise;
}

static enum status read_object(struct bytes_view file, const char *name, struct arena *arena, struct json_value **out,
                               struct error *err) {
    struct bytes_view text;
    *out = NULL;
    if (!find_member(file, name, &text)) return STATUS_OK;
    struct json_problem problem;
    if (json_read(text, SETTINGS_DEPTH, SETTINGS_VALUES, arena, out, &problem) != STATUS_OK)
        return error_set(err, STATUS_INVALID_ARGUMENT, "tekken.json: %s: %s", name,
                         problem.reason != NULL ? problem.reason : "too large");
    return STATUS_OK;
}

static enum status read_version(const struct json_value *config, struct mistral_layout *out, struct error *err) {
    static const int versions[] = {1, 2, 3, 7, 11, 13, 15};
    const struct json_value *version = member(config, "version");
    if (version == NULL || version->kind != JSON_KIND_STRING)
        return error_set(err, STATUS_INVALID_ARGUMENT, "tekken.json: config has no version");
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        char name[8];
        snprintf(name, sizeof name, "v%d", versions[i]);
        if (bytes_view_equal_string(version->string, name)) {
            out->version = versions[i];
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_UNIMPLEMENTED, "tekken.json: version '%.*s' is not known",
                     (int)(version->string.length < 16 ? version->string.length : 16),
                     (const char *)version->string.data);
}

static bool keep_word(char out[16], const struct json_value *value) {
    if (value->kind != JSON_KIND_STRING || value->string.length >= 16) return false;
    memcpy(out, value->string.data, value->string.length);
    out[value->string.length] = 0;
    return true;
}

/** model_settings_builder: which settings the model is told, and which values they have. */
static enum status read_settings(const struct json_value *builder, struct mistral_layout *out, struct error *err) {
    if (builder == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "tekken.json: version v15 without model_settings_builder");
    const struct json_value *schema = member(builder, "json_schema");
    out->takes_json_schema = schema != NULL && schema->kind == JSON_KIND_OBJECT;
    const struct json_value *effort = member(builder, "reasoning_effort");
    out->effort_count = 0;
    if (effort == NULL || effort->kind != JSON_KIND_OBJECT) return STATUS_OK;
    const struct json_value *values = member(effort, "values"), *initial = member(effort, "default");
    if (values == NULL || values->kind != JSON_KIND_ARRAY || initial == NULL ||
        !keep_word(out->default_effort, initial))
        return error_set(err, STATUS_INVALID_ARGUMENT, "tekken.json: reasoning_effort has no values or no default");
    for (const struct json_value *value = values->first; value != NULL; value = value->next) {
        if (out->effort_count == MISTRAL_EFFORTS_MAX || !keep_word(out->efforts[out->effort_count], value))
            return error_set(err, STATUS_INVALID_ARGUMENT, "tekken.json: reasoning_effort has a value that is no word");
        out->effort_count++;
    }
    return STATUS_OK;
}

enum status mistral_layout_read_tekken(struct bytes_view file, struct mistral_layout *out, struct error *err) {
    struct arena arena;
    struct json_value *config = NULL, *image = NULL, *builder = NULL;
    enum status status = STATUS_OK;
    arena_init(&arena, SETTINGS_ARENA_BYTES);
    TRY_CLEANUP(read_object(file, "config", &arena, &config, err));
    TRY_CLEANUP(read_version(config, out, err));
    TRY_CLEANUP(read_object(file, "image", &arena, &image, err));
    if (image == NULL) TRY_CLEANUP(read_object(file, "multimodal", &arena, &image, err));
    out->image_patch = integer_of(member(image, "image_patch_size"), 0, 1024);
    out->image_side = integer_of(member(image, "max_image_size"), 0, 65536);
    out->image_merge = integer_of(member(image, "spatial_merge_size"), 1, 64);
    if (out->image_side == 0) out->image_patch = 0;
    if (out->version >= 15) {
        TRY_CLEANUP(read_object(file, "model_settings_builder", &arena, &builder, err));
        TRY_CLEANUP(read_settings(builder, out, err));
    }
cleanup:
    arena_deinit(&arena);
    return status;
}

/* ---- images --------------------------------------------------------------------------------------------------------- */

enum status chat_image_grid(const struct chat_layout *layout, int width, int height, int32_t *out_columns,
                            int32_t *out_rows, struct error *err) {
    const struct mistral_layout *mistral = &layout->mistral;
    if (!layout->support.images)
        return error_set(err, STATUS_UNIMPLEMENTED, "the layout %s has no place for images", layout->name);
    if (width < 1 || height < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "an image of %d x %d pixels", width, height);
    double side = mistral->image_side, ratio = fmax(height / side, width / side);
    long columns = width, rows = height;
    if (ratio > 1) { /* Python's round: halves to even */
        columns = lrint(fmax(width / ratio, 1));
        rows = lrint(fmax(height / ratio, 1));
    }
    int step = mistral->image_patch * mistral->image_merge;
    *out_columns = (int32_t)((columns - 1) / step + 1);
    *out_rows = (int32_t)((rows - 1) / step + 1);
    return STATUS_OK;
}
