/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/models_file.h"

#include "base/settings.h"
#include "base/text.h"
#include "engine/chat/chat.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const model_tiers[] = {"small", "medium", "large", "code", "vision", "embed", NULL};
static const char *const model_capabilities[] = {"completion_chat", "completion_fim", "function_calling",
                                                 "vision",          "embeddings",     NULL};

struct reading {
    const char *path;
    const char *wanted;              /* NULL: the first section */
    struct model_entry entry, other; /* `other` takes the sections that are not wanted, so that they are checked too */
    struct model_entry *current;
    char section[LIMIT_MODEL_NAME_BYTES + 1];
    char names[160]; /* for the message when the wanted one is missing */
    char seen[LIMIT_MODELS][LIMIT_MODEL_NAME_BYTES + 1];
    int seen_count;
    bool found;
};

void model_entry_deinit(struct model_entry *entry) {
    free(entry->name);
    free(entry->path);
    free(entry->tier);
    free(entry->description);
    free(entry->layout);
    for (int i = 0; i < entry->alias_count; i++) free(entry->aliases[i]);
    for (int i = 0; i < entry->capability_count; i++) free(entry->capabilities[i]);
    *entry = (struct model_entry){0};
}

static bool name_is_valid(const char *name) {
    size_t length = strlen(name);
    if (length == 0 || length > LIMIT_MODEL_NAME_BYTES) return false;
    for (const char *c = name; *c != 0; c++) {
        if (!isalnum((unsigned char)*c) && strchr("-_.:/@", *c) == NULL) return false;
    }
    return true;
}

static bool word_is_in(const char *word, const char *const *words) {
    for (; *words != NULL; words++) {
        if (strcmp(word, *words) == 0) return true;
    }
    return false;
}

/** Split "a, b" into copies; -1 when there are more than `max`. */
static int split_words(const char *text, char **out, int max) {
    int count = 0;
    for (const char *at = text; *at != 0;) {
        at += strspn(at, ", \t");
        size_t length = strcspn(at, ", \t");
        if (length == 0) break;
        if (count == max) {
            while (count > 0) free(out[--count]);
            return -1;
        }
        out[count++] = strndup(at, length);
        at += length;
    }
    return count;
}

/** The model's path with {cache} and ~ filled in, relative to the models file's folder. */
static char *expand_path(const char *models_file, const char *value) {
    char *out = NULL;
    int written = -1;
    if (strncmp(value, "{cache}", 7) == 0) {
        const char *cache = getenv("BORA_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
        if (cache != NULL && *cache != 0)
            written = asprintf(&out, "%s%s", cache, value + 7);
        else if (xdg != NULL && *xdg != 0)
            written = asprintf(&out, "%s/bora%s", xdg, value + 7);
        else
            written = asprintf(&out, "%s/.cache/bora%s", home != NULL ? home : "", value + 7);
    } else if (strncmp(value, "~/", 2) == 0 && getenv("HOME") != NULL) {
        written = asprintf(&out, "%s%s", getenv("HOME"), value + 1);
    } else {
        const char *slash = strrchr(models_file, '/');
        if (value[0] == '/' || slash == NULL)
            written = asprintf(&out, "%s", value);
        else
            written = asprintf(&out, "%.*s/%s", (int)(slash - models_file), models_file, value);
    }
    return written < 0 ? NULL : out;
}

static enum status set_words(struct reading *reading, const char *name, const char *value, int line,
                             struct error *err) {
    struct model_entry *entry = reading->current;
    if (strcmp(name, "aliases") == 0) {
        if (entry->alias_count != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: aliases given twice", reading->path, line);
        int count = split_words(value, entry->aliases, LIMIT_MODEL_ALIASES);
        if (count < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: more than %d aliases", reading->path, line,
                             LIMIT_MODEL_ALIASES);
        entry->alias_count = count;
        for (int i = 0; i < count; i++) {
            if (!name_is_valid(entry->aliases[i]))
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: '%.64s' is not a model name", reading->path,
                                 line, entry->aliases[i]);
        }
        return STATUS_OK;
    }
    if (entry->capability_count != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: capabilities given twice", reading->path, line);
    int count = split_words(value, entry->capabilities, 16);
    if (count < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: more than 16 capabilities", reading->path, line);
    entry->capability_count = count;
    for (int i = 0; i < count; i++) {
        if (!word_is_in(entry->capabilities[i], model_capabilities))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: unknown capability '%.64s'", reading->path, line,
                             entry->capabilities[i]);
    }
    return STATUS_OK;
}

static enum status set_value(struct reading *reading, const char *name, const char *value, int line,
                             struct error *err) {
    struct model_entry *entry = reading->current;
    char **text = strcmp(name, "path") == 0          ? &entry->path
                  : strcmp(name, "tier") == 0        ? &entry->tier
                  : strcmp(name, "description") == 0 ? &entry->description
                                                     : NULL;
    if (text != NULL) {
        if (*text != NULL)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: %s given twice", reading->path, line, name);
        if (text == &entry->tier && !word_is_in(value, model_tiers)) {
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s:%d: tier '%.64s' is none of small, medium, large, code, vision, embed", reading->path,
                             line, value);
        }
        *text = text == &entry->path ? expand_path(reading->path, value) : strdup(value);
        return *text != NULL ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (strcmp(name, "context") == 0) {
        int64_t tokens = 0;
        if (!text_to_i64(value, &tokens) || tokens < 16 || tokens > LIMIT_CONTEXT_TOKENS) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: context '%.64s' is not 16..%d tokens", reading->path,
                             line, value, LIMIT_CONTEXT_TOKENS);
        }
        entry->context_tokens = tokens;
        return STATUS_OK;
    }
    if (strcmp(name, "temperature") == 0) {
        if (!text_to_double(value, &entry->temperature) || entry->temperature < 0 || entry->temperature > 2) {
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: temperature '%.64s' is not 0..2", reading->path,
                             line, value);
        }
        return STATUS_OK;
    }
    if (strcmp(name, "truncation") == 0) {
        if (strcmp(value, "auto") != 0 && strcmp(value, "disabled") != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: truncation '%.64s' is neither auto nor disabled",
                             reading->path, line, value);
        entry->truncates = strcmp(value, "auto") == 0;
        return STATUS_OK;
    }
    if (strcmp(name, "layout") == 0) {
        if (!chat_layout_is_choice(value))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s:%d: layout '%.64s' is none of auto, completion, chatml, llama-3, gemma, mistral-v1 "
                             "(v2, v3, v7, v11, v13, v15) and no FILE.jinja",
                             reading->path, line, value);
        if (entry->layout != NULL)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: layout given twice", reading->path, line);
        bool file = strchr(value, '.') != NULL; /* no name has a dot */
        entry->layout = file ? expand_path(reading->path, value) : strdup(value);
        return entry->layout != NULL ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (strcmp(name, "aliases") == 0 || strcmp(name, "capabilities") == 0)
        return set_words(reading, name, value, line, err);
    static const char *const of_others[] = {"source", "sha256", "licence", "made", "demo"}; /* ./dev up's */
    for (size_t i = 0; i < sizeof of_others / sizeof of_others[0]; i++)
        if (strcmp(name, of_others[i]) == 0) return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s:%d: unknown key '%.64s' (known: path aliases tier context capabilities temperature "
                     "truncation layout description source sha256 licence made demo)",
                     reading->path, line, name);
}

/** The section just read is complete: nothing needed is missing. */
static enum status finish_section(struct reading *reading, struct error *err) {
    if (reading->current == NULL) return STATUS_OK;
    if (reading->current->path == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: model %s has no path", reading->path, reading->section);
    if (reading->current == &reading->other) model_entry_deinit(&reading->other);
    return STATUS_OK;
}

static enum status begin_section(struct reading *reading, const char *section, int line, struct error *err) {
    TRY(finish_section(reading, err));
    if (!name_is_valid(section))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s:%d: '%.64s' is not a model name (letters, digits, - _ . : / @)", reading->path, line,
                         section);
    for (int i = 0; i < reading->seen_count; i++) {
        if (strcmp(reading->seen[i], section) == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: model %s stands there twice", reading->path, line,
                             section);
    }
    if (reading->seen_count == LIMIT_MODELS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: more than %d models", reading->path, LIMIT_MODELS);
    snprintf(reading->seen[reading->seen_count++], sizeof reading->seen[0], "%s", section);
    snprintf(reading->section, sizeof reading->section, "%s", section);
    size_t used = strlen(reading->names);
    snprintf(reading->names + used, sizeof reading->names - used, "%s%s", used != 0 ? ", " : "", section);

    bool wanted = !reading->found && (reading->wanted == NULL || strcmp(section, reading->wanted) == 0);
    reading->current = wanted ? &reading->entry : &reading->other;
    reading->current->temperature = NAN;
    if (wanted) {
        reading->found = true;
        reading->entry.name = strdup(section);
        if (reading->entry.name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    return STATUS_OK;
}

static enum status on_entry(void *context, const char *section, const char *name, const char *value, int line,
                            struct error *err) {
    struct reading *reading = context;
    if (section == NULL || *section == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: '%.64s' stands before any [model name]", reading->path,
                         line, name);
    if (reading->current == NULL || strcmp(reading->section, section) != 0)
        TRY(begin_section(reading, section, line, err));
    return set_value(reading, name, value, line, err);
}

static bool has_capability(const struct model_entry *entry, const char *name) {
    bool found = false;
    for (int i = 0; i < entry->capability_count; i++) found = found || strcmp(entry->capabilities[i], name) == 0;
    return found;
}

/** What is not said: a model completes chats, and whatever does can call tools. */
static void add_capabilities(struct model_entry *entry) {
    int most = (int)(sizeof entry->capabilities / sizeof entry->capabilities[0]);
    if (entry->capability_count == 0) entry->capabilities[entry->capability_count++] = strdup("completion_chat");
    if (!has_capability(entry, "completion_chat") || has_capability(entry, "function_calling")) return;
    if (entry->capability_count < most) entry->capabilities[entry->capability_count++] = strdup("function_calling");
}

enum status models_file_load(const char *path, const char *name, struct model_entry *out, struct error *err) {
    struct reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = STATUS_OK;
    reading->path = path;
    reading->wanted = name;
    TRY_CLEANUP(settings_read_ini(path, LIMIT_MODELS_FILE_BYTES, on_entry, reading, err));
    TRY_CLEANUP(finish_section(reading, err));
    if (!reading->found) {
        status = name == NULL ? error_set(err, STATUS_NOT_FOUND, "%s describes no model", path)
                              : error_set(err, STATUS_NOT_FOUND, "%s has no model '%.64s' (it has: %s)", path, name,
                                          reading->names);
        goto cleanup;
    }
    if (reading->entry.tier == NULL) reading->entry.tier = strdup("small");
    add_capabilities(&reading->entry);
    *out = reading->entry;
    reading->entry = (struct model_entry){0};
cleanup:
    model_entry_deinit(&reading->entry);
    model_entry_deinit(&reading->other);
    free(reading);
    return status;
}
