/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json: normalizer, pre_tokenizer, decoder, post_processor. */
#include "base/text.h"
#include "engine/tokenizer/load_json.h"

#include <stdlib.h>
#include <string.h>

enum { NESTED_MAX = 8 };

static const char mark[] = "\xE2\x96\x81";

enum status json_unsupported(const struct json_loader *loader, const char *what, struct bytes_view type,
                             struct error *err) {
    int shown = (int)text_truncate((const char *)type.data, type.length, 40);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: the %s '%.*s' is not supported", loader->file, what, shown,
                     type.length > 0 ? (const char *)type.data : "");
}

static bool is_type(const struct json_value *value, const char *type) {
    return loader_is(value, "type", type);
}

/* ---- normalizer ---------------------------------------------------------------------------------------------------- */

static enum status add_step(struct json_loader *loader, enum normalizer_kind kind, struct bytes_view from,
                            struct bytes_view to, struct error *err) {
    if (normalizer_add(&loader->tokenizer->normalizer, kind, from, to) == STATUS_OK) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the normalizer has more than %d steps", loader->file,
                     NORMALIZER_STEPS_MAX);
}

static enum status read_replace(struct json_loader *loader, const struct json_value *value, struct error *err) {
    struct bytes_view from = loader_string(loader_member(value, "pattern"), "String");
    if (from.length == 0) return json_unsupported(loader, "normalizer", bytes_view_string("Replace of a pattern"), err);
    return add_step(loader, NORMALIZE_REPLACE, from, loader_string(value, "content"), err);
}

enum status json_read_normalizer(struct json_loader *loader, const struct json_value *value, int depth,
                                 struct error *err) {
    static const struct {
        const char *type;
        enum normalizer_kind kind;
    } plain[] = {{"NFC", NORMALIZE_NFC},
                 {"NFD", NORMALIZE_NFD},
                 {"NFKC", NORMALIZE_NFKC},
                 {"NFKD", NORMALIZE_NFKD},
                 {"Lowercase", NORMALIZE_LOWERCASE}};
    struct bytes_view none = {0};
    if (value == NULL) return STATUS_OK;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (is_type(value, plain[i].type)) return add_step(loader, plain[i].kind, none, none, err);
    }
    if (is_type(value, "Prepend"))
        return add_step(loader, NORMALIZE_PREPEND, none, loader_string(value, "prepend"), err);
    if (is_type(value, "Replace")) return read_replace(loader, value, err);
    if (is_type(value, "Strip")) {
        if (loader_bool(value, "strip_left", true)) TRY(add_step(loader, NORMALIZE_STRIP_LEFT, none, none, err));
        if (loader_bool(value, "strip_right", true)) TRY(add_step(loader, NORMALIZE_STRIP_RIGHT, none, none, err));
        return STATUS_OK;
    }
    const struct json_value *list = loader_member_of(value, "normalizers", JSON_KIND_ARRAY);
    if (!is_type(value, "Sequence") || list == NULL || depth >= NESTED_MAX)
        return json_unsupported(loader, "normalizer", loader_string(value, "type"), err);
    for (const struct json_value *entry = list->first; entry != NULL; entry = entry->next)
        TRY(json_read_normalizer(loader, entry, depth + 1, err));
    return STATUS_OK;
}

/* ---- pre_tokenizer ------------------------------------------------------------------------------------------------- */

static enum status new_step(struct json_loader *loader, struct split_step **out, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    if (tokenizer->split_count == SPLIT_STEPS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the pre_tokenizer has more than %d steps", loader->file,
                         SPLIT_STEPS_MAX);
    *out = &tokenizer->splits[tokenizer->split_count++];
    return STATUS_OK;
}

static enum status read_byte_level(struct json_loader *loader, const struct json_value *value, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct split_step *step = NULL;
    loader->byte_level = true;
    if (loader_bool(value, "add_prefix_space", true)) {
        if (tokenizer->split_count > 0)
            return json_unsupported(loader, "pre_tokenizer",
                                    bytes_view_string("ByteLevel with add_prefix_space, not first"), err);
        tokenizer->prefix = PREFIX_SPACE_EACH;
        tokenizer->prefix_only_if_missing = true;
    }
    if (!loader_bool(value, "use_regex", true)) return STATUS_OK;
    bool digits = tokenizer->split_count == 1 && tokenizer->splits[0].rule == SPLIT_INDIVIDUAL_DIGITS;
    if (digits) { /* both at once, written out by hand */
        tokenizer->splits[0].rule = SPLIT_SMOLLM;
        return STATUS_OK;
    }
    TRY(new_step(loader, &step, err));
    step->rule = SPLIT_GPT2;
    return STATUS_OK;
}

static enum status read_behavior(struct json_loader *loader, const struct json_value *value, struct split_step *step,
                                 struct error *err) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!loader_is(value, "behavior", names[i])) continue;
        step->behavior = (enum split_behavior)i;
        return STATUS_OK;
    }
    return json_unsupported(loader, "behavior", loader_string(value, "behavior"), err);
}

static enum status read_split(struct json_loader *loader, const struct json_value *value, struct error *err) {
    const struct json_value *pattern = loader_member(value, "pattern");
    struct bytes_view regex = loader_string(pattern, "Regex"), literal = loader_string(pattern, "String");
    struct split_step *step = NULL, made = {.rule = SPLIT_LITERAL};
    TRY(new_step(loader, &step, err));
    TRY(read_behavior(loader, value, &made, err));
    made.invert = loader_bool(value, "invert", false);
    if (literal.length > 0) {
        *step = made;
        step->literal = malloc(literal.length);
        if (step->literal == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        memcpy(step->literal, literal.data, literal.length);
        step->literal_length = literal.length;
        return STATUS_OK;
    }
    if (regex.length == 0) return json_unsupported(loader, "pre_tokenizer", bytes_view_string("Split of nothing"), err);
    /* The patterns written out by hand cut text without gaps, so that other behaviours of theirs need the general way. */
    struct error cause = {0};
    enum status status;
    if (made.behavior != SPLIT_ISOLATED || made.invert) {
        made.rule = SPLIT_REGEX;
        status = split_regex_compile(regex, &made.regex, &cause);
        *step = made;
    } else {
        status = split_step_of_pattern(regex, step, &cause);
    }
    return status == STATUS_OK ? status : error_set(err, status, "%s: %s", loader->file, cause.message);
}

static enum status read_metaspace(struct json_loader *loader, const struct json_value *value, struct error *err) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct bytes_view scheme = loader_string(value, "prepend_scheme");
    struct split_step *step = NULL;
    if (tokenizer->split_count > 0 || !loader_is(value, "replacement", mark))
        return json_unsupported(loader, "pre_tokenizer", bytes_view_string("Metaspace in another form"), err);
    bool older = scheme.length == 0;
    if (bytes_view_equal_string(scheme, "first"))
        tokenizer->prefix = PREFIX_SPACE_FIRST;
    else if (bytes_view_equal_string(scheme, "always") || (older && loader_bool(value, "add_prefix_space", true)))
        tokenizer->prefix = PREFIX_SPACE_EACH;
    else if (!older && !bytes_view_equal_string(scheme, "never"))
        return json_unsupported(loader, "prepend_scheme", scheme, err);
    tokenizer->prefix_only_if_missing = true;
    tokenizer->spaces_to_marks = loader->has_metaspace = true;
    if (!loader_bool(value, "split", true)) return STATUS_OK;
    TRY(new_step(loader, &step, err));
    step->rule = SPLIT_BEFORE_MARK;
    return STATUS_OK;
}

enum status json_read_pre_tokenizer(struct json_loader *loader, const struct json_value *value, int depth,
                                    struct error *err) {
    struct split_step *step = NULL;
    if (value == NULL) return STATUS_OK;
    if (is_type(value, "ByteLevel")) return read_byte_level(loader, value, err);
    if (is_type(value, "Split")) return read_split(loader, value, err);
    if (is_type(value, "Metaspace")) return read_metaspace(loader, value, err);
    if (is_type(value, "Digits")) {
        TRY(new_step(loader, &step, err));
        step->rule = loader_bool(value, "individual_digits", false) ? SPLIT_INDIVIDUAL_DIGITS : SPLIT_DIGITS;
        return STATUS_OK;
    }
    const struct json_value *list = loader_member_of(value, "pretokenizers", JSON_KIND_ARRAY);
    if (!is_type(value, "Sequence") || list == NULL || depth >= NESTED_MAX)
        return json_unsupported(loader, "pre_tokenizer", loader_string(value, "type"), err);
    for (const struct json_value *entry = list->first; entry != NULL; entry = entry->next)
        TRY(json_read_pre_tokenizer(loader, entry, depth + 1, err));
    return STATUS_OK;
}

/* ---- decoder and post_processor ------------------------------------------------------------------------------------ */

/** True when text loses the blank of its first piece. */
static bool strips_first_space(const struct json_value *decoder, int depth) {
    if (is_type(decoder, "Metaspace")) {
        struct bytes_view scheme = loader_string(decoder, "prepend_scheme");
        return scheme.length > 0 ? !bytes_view_equal_string(scheme, "never")
                                 : loader_bool(decoder, "add_prefix_space", true);
    }
    int64_t start;
    if (is_type(decoder, "Strip"))
        return loader_is(decoder, "content", " ") && loader_integer(loader_member(decoder, "start"), 8, &start) &&
               start > 0;
    const struct json_value *list = loader_member_of(decoder, "decoders", JSON_KIND_ARRAY);
    for (const struct json_value *entry = list != NULL && depth < NESTED_MAX ? list->first : NULL; entry != NULL;
         entry = entry->next) {
        if (strips_first_space(entry, depth + 1)) return true;
    }
    return false;
}

/** The name of the special token that a text begins with; empty: none. */
static struct bytes_view first_special(const struct json_value *processor, int depth) {
    const struct json_value *single = loader_member_of(processor, "single", JSON_KIND_ARRAY);
    const struct json_value *list = loader_member_of(processor, "processors", JSON_KIND_ARRAY);
    if (is_type(processor, "TemplateProcessing") && single != NULL)
        return loader_string(loader_member(single->first, "SpecialToken"), "id");
    for (const struct json_value *entry = list != NULL && depth < NESTED_MAX ? list->first : NULL; entry != NULL;
         entry = entry->next) {
        struct bytes_view name = first_special(entry, depth + 1);
        if (name.length > 0) return name;
    }
    return (struct bytes_view){0};
}

void json_read_ends(struct json_loader *loader) {
    struct tokenizer *tokenizer = loader->tokenizer;
    tokenizer->strip_first_space = strips_first_space(loader_member(loader->root, "decoder"), 0);
    struct bytes_view bos = first_special(loader_member(loader->root, "post_processor"), 0);
    for (int32_t id = 0; bos.length > 0 && id < tokenizer->count; id++) {
        if (tokenizer->tokens[id].type != TOKEN_CONTROL || !bytes_view_equal(token_name(tokenizer, id), bos)) continue;
        tokenizer->bos = id;
        tokenizer->adds_bos = true;
    }
}
