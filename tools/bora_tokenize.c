/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-tokenize TOKENIZER [--template] [--decode] [--count] [FILE]
 * bora-tokenize TOKENIZER --vocabulary
 *
 * Texts to token ids, or ids to texts. TOKENIZER: a .gguf, a tokenizer.json, a tekken.json, a SentencePiece .model, or a model's folder.
 * Input (FILE, or standard input) is one JSON string per line and output one JSON list of ids per line, so that any text passes;
 * with --decode the other way round. --count writes how many ids instead. --vocabulary: a line per id, "-" of control tokens, "end" of those
 * that end a text, else the bytes of its piece in hexadecimal digits.
 */
#include "base/json.h"
#include "base/text.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 1 << 30, LINE_VALUES_MAX = 1 << 24 };

struct arguments {
    const char *tokenizer, *file;
    bool template, decode, count, vocabulary;
};

static int fail(const char *message) {
    fprintf(stderr, "bora-tokenize: %s\n", message);
    return 1;
}

static enum status encode_line(const struct arguments *arguments, const struct tokenizer *tokenizer,
                               struct bytes_view text, struct bytes *out, struct error *err) {
    struct token_list ids = {.max_count = TOKENS_MAX};
    enum status status = arguments->template ? tokenizer_encode_template(tokenizer, text, NULL, &ids, err)
                                             : tokenizer_encode(tokenizer, text, &ids, err);
    if (status == STATUS_OK && arguments->count) {
        (void)bytes_printf(out, "%zu\n", ids.count);
    } else if (status == STATUS_OK) {
        for (size_t i = 0; i < ids.count; i++) (void)bytes_printf(out, "%s%d", i == 0 ? "[" : ",", ids.ids[i]);
        (void)bytes_append_string(out, ids.count == 0 ? "[]\n" : "]\n");
    }
    token_list_deinit(&ids);
    return status;
}

static enum status decode_line(const struct tokenizer *tokenizer, const struct json_value *list, struct bytes *out) {
    struct detokenizer detokenizer;
    struct bytes text;
    bytes_init(&text, TOKENS_MAX);
    detokenizer_init(&detokenizer, tokenizer);
    enum status status = STATUS_OK;
    for (const struct json_value *id = list->first; id != NULL && status == STATUS_OK; id = id->next)
        status = detokenizer_push(&detokenizer, (int32_t)strtol((const char *)id->text.data, NULL, 10), &text);
    if (status == STATUS_OK) status = detokenizer_finish(&detokenizer, &text);
    if (status == STATUS_OK) status = json_append_string(out, bytes_view(&text));
    if (status == STATUS_OK) status = bytes_append_byte(out, '\n');
    bytes_deinit(&text);
    return status;
}

static enum status run_line(const struct arguments *arguments, const struct tokenizer *tokenizer,
                            struct bytes_view line, struct arena *arena, struct bytes *out, struct error *err) {
    struct json_value *value;
    struct json_problem problem;
    arena_reset(arena);
    if (json_read(line, 1, LINE_VALUES_MAX, arena, &value, &problem) != STATUS_OK ||
        value->kind != (arguments->decode ? JSON_KIND_ARRAY : JSON_KIND_STRING))
        return error_set(err, STATUS_INVALID_ARGUMENT, "a line is no JSON %s", arguments->decode ? "list" : "string");
    bytes_reset(out);
    if (arguments->decode) return decode_line(tokenizer, value, out);
    return encode_line(arguments, tokenizer, value->string, out, err);
}

static int run(const struct arguments *arguments, const struct tokenizer *tokenizer) {
    FILE *input = arguments->file != NULL ? fopen(arguments->file, "r") : stdin;
    if (input == NULL) return fail("the input cannot be read");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    struct arena arena;
    struct bytes out;
    struct error err = {0};
    enum status status = STATUS_OK;
    arena_init(&arena, SIZE_MAX / 2);
    bytes_init(&out, SIZE_MAX / 2);
    while (status == STATUS_OK && (length = getline(&line, &capacity, input)) > 0) {
        status = run_line(arguments, tokenizer, bytes_view_of(line, (size_t)length), &arena, &out, &err);
        if (status == STATUS_OK) fwrite(out.data, 1, out.length, stdout);
    }
    free(line);
    bytes_deinit(&out);
    arena_deinit(&arena);
    if (input != stdin) fclose(input);
    return status == STATUS_OK ? 0 : fail(err.message);
}

static int write_vocabulary(const struct tokenizer *tokenizer) {
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, id);
        bool end = tokenizer_is_end(tokenizer, id);
        if (end || tokenizer_is_control(tokenizer, id)) {
            puts(end ? "end" : "-");
            continue;
        }
        for (size_t i = 0; i < piece.length; i++) printf("%02x", piece.data[i]);
        putchar('\n');
    }
    return fflush(stdout) == 0 ? 0 : fail("the output cannot be written");
}

int main(int count, char **values) {
    struct arguments arguments = {0};
    struct tokenizer *tokenizer = NULL;
    struct error err = {0};
    for (int i = 1; i < count; i++) {
        if (strcmp(values[i], "--template") == 0)
            arguments.template = true;
        else if (strcmp(values[i], "--decode") == 0)
            arguments.decode = true;
        else if (strcmp(values[i], "--count") == 0)
            arguments.count = true;
        else if (strcmp(values[i], "--vocabulary") == 0)
            arguments.vocabulary = true;
        else if (arguments.tokenizer == NULL && values[i][0] != '-')
            arguments.tokenizer = values[i];
        else if (arguments.file == NULL && values[i][0] != '-')
            arguments.file = values[i];
        else
            return fail("usage: bora-tokenize TOKENIZER [--template] [--decode] [--count] [--vocabulary] [FILE]");
    }
    if (arguments.tokenizer == NULL)
        return fail("usage: bora-tokenize TOKENIZER [--template] [--decode] [--count] [--vocabulary] [FILE]");
    if (tokenizer_load_path(arguments.tokenizer, &tokenizer, &err) != STATUS_OK) return fail(err.message);
    int result = arguments.vocabulary ? write_vocabulary(tokenizer) : run(&arguments, tokenizer);
    tokenizer_destroy(tokenizer);
    return result;
}
