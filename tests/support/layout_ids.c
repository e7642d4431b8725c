/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* For tests that compare with mistral-common live: reads lines of {"file", "request"} and answers each with the prompt's ids as a JSON list, or null
 * when the layout refuses. `file` is a tekken.json or a SentencePiece model. */
#include "engine/chat/chat_internal.h"
#include "tests/support/conversation_json.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tokenizer *tokenizer;
static struct chat_layout *layout;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void load(const char *path) {
    static char loaded[4096];
    struct stat stat;
    struct error err = {0};
    if (strcmp(loaded, path) == 0) return;
    snprintf(loaded, sizeof loaded, "%s", path);
    chat_layout_destroy(layout);
    tokenizer_destroy(tokenizer);
    layout = NULL;
    tokenizer = NULL;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &stat) != 0) fail(path, "cannot be read");
    struct bytes_view bytes = {.length = (size_t)stat.st_size};
    bytes.data = mmap(NULL, bytes.length, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    size_t length = strlen(path);
    bool json = length > 5 && strcmp(path + length - 5, ".json") == 0;
    enum status status = json ? tokenizer_load_tekken(bytes, path, &tokenizer, &err)
                              : tokenizer_load_sentencepiece(bytes, path, &tokenizer, &err);
    if (status == STATUS_OK) status = mistral_layout_load_file(path, bytes, tokenizer, &layout, &err);
    if (status != STATUS_OK) fail(path, err.message);
    munmap((void *)bytes.data, bytes.length);
}

static enum status render(const json_t *request, struct arena *arena, struct token_list *ids, struct error *err) {
    const json_t *suffix = json_object_get(request, "suffix");
    if (suffix != NULL)
        return chat_layout_render_fim(layout, bytes_view_string(json_string_value(json_object_get(request, "prefix"))),
                                      bytes_view_string(json_string_value(suffix)), ids, err);
    struct chat_conversation conversation = conversation_from_json(request, layout, arena);
    return chat_layout_render(layout, &conversation, ids, err);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_error_t json_error;
        json_t *json = json_loads(line, JSON_ALLOW_NUL, &json_error);
        if (json == NULL) fail("stdin", json_error.text);
        struct arena arena;
        struct token_list ids = {.max_count = 1 << 20};
        struct error err = {0};
        arena_init(&arena, 64 << 20);
        load(json_string_value(json_object_get(json, "file")));
        enum status status = render(json_object_get(json, "request"), &arena, &ids, &err);
        if (status != STATUS_OK) fprintf(stderr, "%s\n", err.message);
        fputs(status == STATUS_OK ? "[" : "null", stdout);
        for (size_t i = 0; i < ids.count; i++) printf(i > 0 ? ",%d" : "%d", ids.ids[i]);
        puts(status == STATUS_OK ? "]" : "");
        token_list_deinit(&ids);
        arena_deinit(&arena);
        json_decref(json);
    }
    free(line);
    chat_layout_destroy(layout);
    tokenizer_destroy(tokenizer);
    return 0;
}
