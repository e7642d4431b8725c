/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What an open checkpoint holds; for the files of this folder. checkpoint_folder.c and checkpoint_gguf.c open files and hand in pieces,
 * checkpoint_index.c makes tensors of them, checkpoint.c answers.
 */
#ifndef ENGINE_WEIGHTS_CHECKPOINT_INTERNAL_H
#define ENGINE_WEIGHTS_CHECKPOINT_INTERNAL_H

#include "base/arena.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/safetensors.h"

#include <pthread.h>

/** A stored tensor, or the half of one that has a name of its own. */
struct checkpoint_piece {
    struct checkpoint_tensor tensor; /* of this piece alone */
    int expert;                      /* -1, or which expert of tensor.name it is */
    bool left_out;
    size_t order;
    const void *data;
    size_t expert_stride; /* all experts in one: bytes from one to the next */
};

struct checkpoint_entry {
    struct checkpoint_tensor tensor;
    size_t order;
    const void *data;
    size_t expert_stride;
    const void **experts; /* where each is, when they are stored apart; else NULL */
};

struct side_file {
    struct side_file *next;
    char *name;
    struct bytes_view map;
};

struct side_files {
    pthread_mutex_t mutex;
    struct side_file *first;
};

struct checkpoint {
    enum checkpoint_form form;
    char *path;
    const struct gguf **ggufs;
    size_t gguf_count;
    bool ggufs_owned;
    struct safetensors **files;
    size_t file_count;
    struct bytes_view config_map;
    struct json_value *config;
    struct arena arena; /* names, the config's tree, and all lists below */
    struct side_files *side_files;
    struct checkpoint_piece *pieces; /* while opening */
    size_t piece_count, piece_capacity;
    struct checkpoint_entry *entries, *left_out;
    size_t entry_count, left_out_count;
    size_t *by_name; /* entries, sorted */
    int64_t parameters;
};

/** Hugging Face's hub caches a repository as models--ORG--NAME/{blobs, refs, snapshots/COMMIT}; people name that folder. The snapshot that its
 *  refs/main names; false: there is none. */
enum { CHECKPOINT_PATH_BYTES = 4096 };
bool checkpoint_hub_snapshot(const char *folder, char out[CHECKPOINT_PATH_BYTES]);

/** `checkpoint` has path and form; the functions fill the rest. On failure checkpoint_close frees what there is. */
enum status checkpoint_open_folder(struct checkpoint *checkpoint, struct error *err);
enum status checkpoint_open_gguf(struct checkpoint *checkpoint, struct error *err);
enum status checkpoint_take_gguf(struct checkpoint *checkpoint, const struct gguf *gguf, struct error *err);

/** One more piece, copied. */
enum status checkpoint_add_piece(struct checkpoint *checkpoint, const struct checkpoint_piece *piece,
                                 struct error *err);
/** Entries from pieces: names twice, experts that are missing or unlike are refused. */
enum status checkpoint_index(struct checkpoint *checkpoint, struct error *err);

/** The JSON file at `path`, mapped and read into `arena`. */
enum status checkpoint_read_json(const char *path, struct arena *arena, struct bytes_view *out_map,
                                 struct json_value **out, struct error *err);

#endif
