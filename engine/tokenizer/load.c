/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which of a checkpoint's files is its tokenizer, and what its configs add. */
#include "engine/tokenizer/loader_json.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- configs ------------------------------------------------------------------------------------------------------- */

/** The id of a token that a config names: a string, or an object with "content"; -1: none. */
static int32_t named_token(const struct tokenizer *tokenizer, const struct json_value *config, const char *member) {
    struct bytes_view name = loader_string(config, member);
    if (name.length == 0) name = loader_string(loader_member(config, member), "content");
    for (int32_t id = 0; name.length > 0 && id < tokenizer->count; id++) {
        if (tokenizer->tokens[id].type != TOKEN_NORMAL && bytes_view_equal(token_name(tokenizer, id), name)) return id;
    }
    return -1;
}

static enum status read_tokenizer_config(struct tokenizer *tokenizer, const struct json_value *root) {
    int32_t bos = named_token(tokenizer, root, "bos_token"), eos = named_token(tokenizer, root, "eos_token");
    if (bos >= 0) tokenizer->bos = bos;
    if (eos >= 0) {
        tokenizer->eos = eos;
        tokenizer->tokens[eos].end = true;
    }
    if (loader_member(root, "add_bos_token") != NULL)
        tokenizer->adds_bos = loader_bool(root, "add_bos_token", tokenizer->adds_bos);
    if (!loader_bool(root, "legacy", true)) tokenizer->prefix_first_only = true;
    return STATUS_OK;
}

/** eos_token_id is a number or a list of them. It says whether "<|endoftext|>" is one: Qwen's ends base models' texts, and pads those of others. */
static enum status read_generation_config(struct tokenizer *tokenizer, const struct json_value *root,
                                          struct error *err) {
    const struct json_value *eos = loader_member(root, "eos_token_id");
    if (eos == NULL) return STATUS_OK;
    bool list = eos->kind == JSON_KIND_ARRAY;
    int32_t document_end = tokenizer_special(tokenizer, "<|endoftext|>");
    if (document_end >= 0 && document_end != tokenizer->eos) tokenizer->tokens[document_end].end = false;
    for (const struct json_value *entry = list ? eos->first : eos; entry != NULL; entry = list ? entry->next : NULL) {
        int64_t id;
        if (!loader_integer(entry, tokenizer->count - 1, &id))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "generation_config.json: eos_token_id is no token of the vocabulary");
        if (tokenizer->eos < 0) tokenizer->eos = (int32_t)id;
        tokenizer->tokens[id].end = true;
    }
    return STATUS_OK;
}

enum status tokenizer_read_configs(struct tokenizer *tokenizer, struct bytes_view tokenizer_config,
                                   struct bytes_view generation_config, struct error *err) {
    static const char *const files[] = {"tokenizer_config.json", "generation_config.json"};
    struct bytes_view sources[] = {tokenizer_config, generation_config};
    for (int i = 0; i < 2; i++) {
        struct arena arena;
        struct json_value *root = NULL;
        if (sources[i].length == 0) continue;
        enum status status = loader_json_read(sources[i], files[i], &arena, &root, err);
        if (status == STATUS_OK)
            status = i == 0 ? read_tokenizer_config(tokenizer, root) : read_generation_config(tokenizer, root, err);
        arena_deinit(&arena);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

/* ---- folders ------------------------------------------------------------------------------------------------------- */

typedef enum status load_bytes(struct bytes_view bytes, const char *file, struct tokenizer **out, struct error *err);

static enum status load_folder(const struct checkpoint *checkpoint, struct tokenizer **out, struct error *err) {
    static const struct {
        const char *name;
        load_bytes *load;
    } files[] = {{"tekken.json", tokenizer_load_tekken},
                 {"tokenizer.json", tokenizer_load_json},
                 {"tokenizer.model", tokenizer_load_sentencepiece},
                 {"tokenizer.model.v3", tokenizer_load_sentencepiece},
                 {"tokenizer.model.v7", tokenizer_load_sentencepiece},
                 {"tokenizer.model.v2", tokenizer_load_sentencepiece},
                 {"tokenizer.model.v1", tokenizer_load_sentencepiece}};
    struct bytes_view bytes, configs[2] = {{0}, {0}};
    struct tokenizer *tokenizer = NULL;
    bool found = false;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && !found; i++) {
        struct error absent = {0};
        enum status status = checkpoint_file(checkpoint, files[i].name, &bytes, &absent);
        if (status == STATUS_NOT_FOUND) continue;
        if (status != STATUS_OK) return error_set(err, status, "%s", absent.message);
        TRY(files[i].load(bytes, files[i].name, &tokenizer, err));
        found = true;
    }
    if (!found)
        return error_set(err, STATUS_NOT_FOUND, "%s has no tokenizer.json, tekken.json or tokenizer.model",
                         checkpoint_path(checkpoint));
    if (checkpoint_file(checkpoint, "tokenizer_config.json", &configs[0], NULL) != STATUS_OK)
        configs[0] = (struct bytes_view){0};
    if (checkpoint_file(checkpoint, "generation_config.json", &configs[1], NULL) != STATUS_OK)
        configs[1] = (struct bytes_view){0};
    enum status status = tokenizer_read_configs(tokenizer, configs[0], configs[1], err);
    if (status != STATUS_OK)
        tokenizer_destroy(tokenizer);
    else
        *out = tokenizer;
    return status;
}

enum status tokenizer_load(const struct checkpoint *checkpoint, struct tokenizer **out, struct error *err) {
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    return gguf != NULL ? tokenizer_load_gguf(gguf, out, err) : load_folder(checkpoint, out, err);
}

/* ---- paths --------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static enum status load_file(const char *path, struct tokenizer **out, struct error *err) {
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return error_set_errno(err, STATUS_NOT_FOUND, errno, "%s", path);
    bool empty = fstat(file, &info) != 0 || info.st_size == 0;
    void *data = empty ? MAP_FAILED : mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (data == MAP_FAILED) return error_set(err, STATUS_INVALID_ARGUMENT, "%s is empty or cannot be mapped", path);
    struct bytes_view bytes = bytes_view_of(data, (size_t)info.st_size);
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    bool json = ends_with(name, ".json"), tekken = json && strncmp(name, "tekken", strlen("tekken")) == 0;
    load_bytes *load = tekken ? tokenizer_load_tekken : json ? tokenizer_load_json : tokenizer_load_sentencepiece;
    enum status status = load(bytes, name, out, err);
    munmap(data, (size_t)info.st_size);
    return status;
}

enum status tokenizer_load_path(const char *path, struct tokenizer **out, struct error *err) {
    struct stat info;
    struct checkpoint *checkpoint = NULL;
    struct gguf *gguf = NULL;
    enum status status;
    if (ends_with(path, ".gguf")) {
        TRY(gguf_open(path, &gguf, err));
        status = tokenizer_load_gguf(gguf, out, err);
        gguf_close(gguf);
        return status;
    }
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return load_file(path, out, err);
    TRY(checkpoint_open(path, &checkpoint, err));
    status = tokenizer_load(checkpoint, out, err);
    checkpoint_close(checkpoint);
    return status;
}
