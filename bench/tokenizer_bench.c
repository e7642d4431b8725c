/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-tokenizer TOKENIZER TEXTS: megabytes of UTF-8 encoded a second on one thread, the best of RUNS passes.
 * TEXTS: one JSON string per line; each is encoded on its own, into a list that keeps its memory. Prints "MB/s tokens load-milliseconds".
 */
#include "base/clock.h"
#include "base/json.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 5, TEXTS_MAX = 1 << 20 };

static int fail(const char *message) {
    fprintf(stderr, "bora-bench-tokenizer: %s\n", message);
    return 1;
}

/** The strings of the file, in the arena. */
static size_t read_texts(const char *path, struct arena *arena, struct bytes_view *texts) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0, count = 0;
    ssize_t length;
    while (file != NULL && count < TEXTS_MAX && (length = getline(&line, &capacity, file)) > 0) {
        struct json_value *value;
        struct json_problem problem;
        char *kept = arena_copy(arena, line, (size_t)length);
        if (kept == NULL || json_read(bytes_view_of(kept, (size_t)length), 1, 2, arena, &value, &problem) != STATUS_OK)
            break;
        texts[count++] = value->string;
    }
    free(line);
    if (file != NULL) fclose(file);
    return count;
}

int main(int count, char **values) {
    struct tokenizer *tokenizer = NULL;
    struct error err = {0};
    struct arena arena;
    if (count != 3) return fail("usage: bora-bench-tokenizer TOKENIZER TEXTS");
    int64_t begin = clock_monotonic_ns(clock_system());
    if (tokenizer_load_path(values[1], &tokenizer, &err) != STATUS_OK) return fail(err.message);
    int64_t loaded = clock_monotonic_ns(clock_system()) - begin, best = INT64_MAX;
    arena_init(&arena, SIZE_MAX / 2);
    struct bytes_view *texts = calloc(TEXTS_MAX, sizeof *texts);
    size_t text_count = texts != NULL ? read_texts(values[2], &arena, texts) : 0, bytes = 0, tokens = 0;
    struct token_list ids = {.max_count = 1U << 30};
    for (size_t i = 0; i < text_count; i++) bytes += texts[i].length;
    for (int run = 0; run < RUNS; run++) {
        begin = clock_monotonic_ns(clock_system());
        tokens = 0;
        for (size_t i = 0; i < text_count; i++) {
            ids.count = 0;
            if (tokenizer_encode(tokenizer, texts[i], &ids, &err) != STATUS_OK) return fail(err.message);
            tokens += ids.count;
        }
        int64_t time = clock_monotonic_ns(clock_system()) - begin;
        if (time < best) best = time;
    }
    printf("%.2f %zu %.0f\n", (double)bytes / (double)best * 1e3, tokens, (double)loaded / 1e6);
    token_list_deinit(&ids);
    free(texts);
    arena_deinit(&arena);
    tokenizer_destroy(tokenizer);
    return 0;
}
