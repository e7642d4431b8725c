/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/grammar_documents.h"

#include "engine/grammar/schema.h"
#include "engine/weights/file_map.h"

#include <fts.h>
#include <string.h>
#include <sys/stat.h>

static enum status add(struct grammar_run *run, const char *path, char *address, struct error *err) {
    struct schema_document *documents = (struct schema_document *)run->options.documents;
    struct bytes_view text;
    struct json_value *schema;
    struct json_problem problem = {0};
    if (run->document_count == GRAMMAR_DOCUMENTS_MAX)
        return error_set(err, STATUS_OUT_OF_RANGE, "--documents: more than %d files", GRAMMAR_DOCUMENTS_MAX);
    if (address == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(file_map_open(path, GRAMMAR_FILE_BYTES_MAX, &text, err));
    run->document_files[run->document_count] = text;
    if (json_read_python(text, GRAMMAR_LINE_DEPTH_MAX, GRAMMAR_FILE_BYTES_MAX, &run->documents, &schema, &problem) !=
        STATUS_OK) {
        file_map_close(text);
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.64s: %s (byte %zu)", path,
                         problem.reason != NULL ? problem.reason : "out of memory", problem.offset);
    }
    documents[run->document_count++] = (struct schema_document){bytes_view_string(address), schema};
    run->options.document_count = run->document_count;
    return STATUS_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static enum status add_folder(struct grammar_run *run, char *folder, const char *address, struct error *err) {
    char *roots[] = {folder, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (tree == NULL) return error_set(err, STATUS_NOT_FOUND, "%.64s cannot be read", folder);
    enum status status = STATUS_OK;
    size_t root_length = strlen(folder);
    for (FTSENT *entry; status == STATUS_OK && (entry = fts_read(tree)) != NULL;) {
        const char *suffix = strrchr(entry->fts_name, '.');
        if (entry->fts_info == FTS_F && suffix != NULL && strcmp(suffix, ".json") == 0)
            status = add(run, entry->fts_path,
                         arena_printf(&run->documents, "%s/%s", address, entry->fts_path + root_length + 1), err);
    }
    fts_close(tree);
    return status;
}

enum status grammar_documents_load(struct grammar_run *run, const struct argument_list *list, struct error *err) {
    if (list->count == 0) return STATUS_OK;
    run->document_files = arena_alloc_array(&run->documents, GRAMMAR_DOCUMENTS_MAX, sizeof *run->document_files);
    run->options.documents = arena_alloc_array(&run->documents, GRAMMAR_DOCUMENTS_MAX, sizeof *run->options.documents);
    if (run->document_files == NULL || run->options.documents == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (equals == NULL || equals == list->items[i] || equals[1] == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "--documents: '%.64s' is not DIR=URL", list->items[i]);
        char *path = arena_copy(&run->documents, list->items[i], (size_t)(equals - list->items[i]));
        if (path == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        for (size_t last = strlen(path); last > 1 && path[last - 1] == '/'; last--) path[last - 1] = 0;
        struct stat about;
        if (stat(path, &about) == 0 && S_ISDIR(about.st_mode))
            TRY(add_folder(run, path, equals + 1, err));
        else
            TRY(add(run, path, arena_printf(&run->documents, "%s", equals + 1), err));
    }
    return STATUS_OK;
}
