/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "base/text.h"
#include "clients/c/client_internal.h"

#include <stdlib.h>
#include <string.h>

enum { TOOLS_MEMORY_BYTES = 64 << 20, TOOL_NAME_BYTES = 64 };

enum status bora_tools_create(struct bora_tools **out, struct bora_error *err) {
    struct bora_tools *tools = calloc(1, sizeof *tools);
    if (tools == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    atomic_init(&tools->references, 1);
    arena_init(&tools->memory, TOOLS_MEMORY_BYTES);
    *out = tools;
    return STATUS_OK;
}

void bora_tools_unref(struct bora_tools *tools) {
    if (tools == NULL || atomic_fetch_sub(&tools->references, 1) != 1) return;
    arena_deinit(&tools->memory);
    free(tools);
}

void bora_tools_destroy(struct bora_tools *tools) {
    bora_tools_unref(tools);
}

int bora_tools_abandoned(const struct bora_tools *tools) {
    return atomic_load(&tools->abandoned);
}

const struct bora_tool *bora_tools_find(const struct bora_tools *tools, const char *name) {
    for (size_t i = 0; i < tools->count; i++) {
        if (strcmp(tools->items[i].name, name) == 0) return &tools->items[i];
    }
    return NULL;
}

static bool name_is_valid(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t length = strlen(name);
    return length >= 1 && length <= TOOL_NAME_BYTES && strspn(name, letters) == length;
}

static enum status check(const struct bora_tools *tools, const struct bora_tool *tool, struct bora_error *err) {
    if (tool->name == NULL || !name_is_valid(tool->name))
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "a tool's name is 1 to 64 letters, digits, _ and -");
    if (tool->handler == NULL) return bora_error_set(err, STATUS_INVALID_ARGUMENT, "%s has no handler", tool->name);
    if (tool->description != NULL && !text_is_utf8(tool->description, strlen(tool->description)))
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "the description of %s is not UTF-8", tool->name);
    enum json_kind kind;
    if (tool->parameters != NULL &&
        (!json_is_valid(bytes_view_string(tool->parameters), LIMIT_JSON_DEPTH, &kind) || kind != JSON_KIND_OBJECT))
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "the parameters of %s are not a JSON object", tool->name);
    if (bora_tools_find(tools, tool->name) != NULL)
        return bora_error_set(err, STATUS_ALREADY_EXISTS, "there is a tool named %s already", tool->name);
    if (tools->count == LIMIT_TOOLS)
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "at most %d tools", LIMIT_TOOLS);
    return STATUS_OK;
}

enum status bora_tools_add(struct bora_tools *tools, const struct bora_tool *tool, struct bora_error *err) {
    TRY(check(tools, tool, err));
    const char *parameters =
        tool->parameters != NULL ? tool->parameters : "{\"type\": \"object\", \"additionalProperties\": false}";
    struct bora_tool added = {.handler = tool->handler, .context = tool->context};
    added.name = arena_copy(&tools->memory, tool->name, strlen(tool->name));
    added.parameters = arena_copy(&tools->memory, parameters, strlen(parameters));
    if (tool->description != NULL)
        added.description = arena_copy(&tools->memory, tool->description, strlen(tool->description));
    if (added.name == NULL || added.parameters == NULL || (tool->description != NULL && added.description == NULL))
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the tools are too large");
    tools->items[tools->count++] = added;
    return STATUS_OK;
}
